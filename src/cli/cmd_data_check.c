/* vitro data check: every image is read before a run reads it for hours. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/cmd_data.h"
#include "cli/scan.h"
#include "data/source.h"

#define EMPTY_LISTED 10 /* classes without an image that are named one by one */

static const char check_text[] =
    "Reads and decodes every image. Each bad one is named with the reason; classes without images are named too. Exit\n"
    "status 1 when an image is bad.\n\n"
    "Examples:\n"
    "  vitro data check 'synthetic:shapes?count=200'\n"
    "  vitro data check 'synthetic:shapes?count=200&classes=4' --json";

typedef struct {
    int64_t read, bad;
    bool json;
    json_t *list; /* of bad images */
} check_result;

static void receive_check(void *context, const vt_scan_sample *s)
{
    check_result *r = context;
    r->read++;
    if (s->status == VT_OK)
        return;
    r->bad++;
    if (r->json)
        (void)json_array_append_new(r->list, vt_cli_json_text(s->why));
    else
        printf("bad: %s\n", s->why);
}

static void print_empty_classes(const vt_source *s, const int64_t *counts)
{
    int64_t empty = 0;
    for (int64_t c = 0; c < vt_source_classes(s); c++) {
        if (counts[c] > 0)
            continue;
        if (empty++ < EMPTY_LISTED)
            printf("class without images: %s\n", vt_source_class_name(s, c));
    }
    if (empty > EMPTY_LISTED)
        printf("... and %lld more classes without images\n", (long long)(empty - EMPTY_LISTED));
}

static void print_check(const vt_source *s, check_result *r)
{
    char a[32], b[32], c[32];
    int64_t *counts = vt_data_class_counts(s);
    if (r->json) {
        json_t *root = json_object(), *empty = json_array();
        for (int64_t k = 0; k < vt_source_classes(s); k++)
            if (counts[k] == 0)
                (void)json_array_append_new(empty, vt_cli_json_text(vt_source_class_name(s, k)));
        (void)json_object_set_new(root, "data", vt_cli_json_text(vt_source_spec(s)));
        (void)json_object_set_new(root, "images", json_integer(r->read));
        (void)json_object_set_new(root, "classes", json_integer(vt_source_classes(s)));
        (void)json_object_set_new(root, "bad_count", json_integer(r->bad));
        (void)json_object_set(root, "bad", r->list);
        (void)json_object_set_new(root, "empty_classes", empty);
        vt_cli_print_json(root);
    } else {
        print_empty_classes(s, counts);
        printf("%s images, %s classes, %s bad\n", vt_cli_number(a, r->read), vt_cli_number(b, vt_source_classes(s)),
               vt_cli_number(c, r->bad));
    }
    free(counts);
}

static vt_status check(vt_cli *cli, const char *spec, bool json, vt_err *err)
{
    vt_source *source = NULL;
    check_result r = {.json = json, .list = json_array()};
    vt_status status = vt_source_open(&source, spec, err);
    if (status == VT_OK) {
        const vt_scan scan = {.source = source,
                              .n = vt_source_count(source),
                              .term = cli->term,
                              .what = "checking",
                              .receive = receive_check,
                              .context = &r};
        status = vt_scan_run(&scan, err);
    }
    if (status == VT_OK) {
        print_check(source, &r);
        if (r.bad > 0)
            status = vt_fail(err, VT_EFORMAT, "%lld of %lld images are bad; a run would stop at the first it meets",
                             (long long)r.bad, (long long)r.read);
    }
    json_decref(r.list);
    vt_source_close(source);
    return status;
}

int vt_cmd_data_check(vt_cli *cli, int argc, char **argv)
{
    bool json = false;
    const vt_opt opts[] = {{"json", NULL, &json, "print the result as JSON"}};
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), check_text, 1, 1};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    status = vt_cli_end(cli, check(cli, args.list[0], json, &err), &err);
    vt_args_release(&args);
    return status;
}
