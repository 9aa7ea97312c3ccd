/* vitro doctor: what this machine has, what vitro will use of it, and whether it works. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/version.h"
#include "cli/about.h"
#include "cli/cli.h"
#include "kernels/backend.h"

static const char text[] =
    "Limits of cgroups (containers) are taken into account. VITRO_ISA forces an instruction set.\n\n"
    "Examples:\n"
    "  vitro doctor\n"
    "  VITRO_ISA=portable vitro doctor --json";

typedef struct {
    long processors; /* of the machine */
    int used;        /* what vitro will use */
    size_t memory;   /* bytes that vitro may use */
    const vt_isa *isa;
    char *cache;
    double start_seconds; /* from here through a pool of threads and back */
} findings;

static vt_status look(findings *f, vt_err *err)
{
    f->processors = sysconf(_SC_NPROCESSORS_ONLN);
    f->used = vt_machine_cpus();
    f->memory = vt_machine_memory();
    VT_TRY(vt_isa_pick(getenv("VITRO_ISA"), &f->isa, err));
    VT_TRY(vt_cache_dir(&f->cache, err));
    int64_t start = vt_now_ns();
    vt_pool *pool = NULL;
    VT_TRY(vt_pool_new(&pool, f->used, err));
    vt_pool_free(pool);
    f->start_seconds = (double)(vt_now_ns() - start) * 1e-9;
    return VT_OK;
}

static void print_json(const findings *f)
{
    json_t *root = vt_about_json(), *sets = json_array();
    for (int i = 0; i < vt_n_isas; i++) {
        json_t *set = json_object();
        (void)json_object_set_new(set, "name", json_string(vt_isas[i].name));
        (void)json_object_set_new(set, "usable", json_boolean(vt_isas[i].usable()));
        (void)json_array_append_new(sets, set);
    }
    (void)json_object_set_new(root, "processor", json_string(vt_machine_cpu_name()));
    (void)json_object_set_new(root, "processors", json_integer(f->processors));
    (void)json_object_set_new(root, "processors_used", json_integer(f->used));
    (void)json_object_set_new(root, "memory_bytes", json_integer((json_int_t)f->memory));
    (void)json_object_set_new(root, "kernels", sets);
    (void)json_object_set_new(root, "kernels_used", json_string(f->isa->name));
    (void)json_object_set_new(root, "tensor_guard", json_boolean(vt_device_guarded()));
    (void)json_object_set_new(root, "cache", vt_cli_json_text(f->cache));
    (void)json_object_set_new(root, "thread_start_seconds", vt_json_number(f->start_seconds));
    vt_cli_print_json(root);
}

static void print_lines(const findings *f)
{
    char a[32];
    vt_library libraries[VT_N_LIBRARIES];
    vt_about_libraries(libraries);
    printf("program     vitro %s, commit %s, %s%s\n", vt_version(), vt_commit(), vt_compiler(),
           vt_device_guarded() ? ", tensors guarded" : "");
    printf("processor   %s\n", vt_machine_cpu_name());
    printf("threads     %d of %ld processors\n", f->used, f->processors);
    printf("memory      %s\n", vt_format_bytes(a, (double)f->memory));
    printf("cache       %s\n", f->cache);
    printf("start       %s for the threads\n", vt_format_seconds(a, f->start_seconds));
    printf("\nkernels\n");
    for (int i = 0; i < vt_n_isas; i++)
        printf("%c %-10s %s%s\n", &vt_isas[i] == f->isa ? '*' : ' ', vt_isas[i].name, vt_isas[i].what,
               vt_isas[i].usable() ? "" : " (not on this processor)");
    printf("\nlibraries\n");
    for (int i = 0; i < VT_N_LIBRARIES; i++)
        printf("  %-14s %-10s %s\n", libraries[i].name, libraries[i].version, libraries[i].use);
}

int vt_cmd_doctor(vt_cli *cli, int argc, char **argv)
{
    bool json = false;
    const vt_opt opts[] = {{"json", NULL, &json, "print the result as JSON"}};
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), text, 0, 0};
    vt_args args;
    vt_err err = {0};
    findings f = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    vt_status looked = look(&f, &err);
    if (looked == VT_OK && json)
        print_json(&f);
    else if (looked == VT_OK)
        print_lines(&f);
    status = vt_cli_end(cli, looked, &err);
    free(f.cache);
    vt_args_release(&args);
    return status;
}
