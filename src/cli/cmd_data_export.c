/* vitro data export: images of any source as PNG files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/cli.h"
#include "cli/scan.h"
#include "data/source.h"

#define EXPORT_LIMIT 1000000 /* files in one call */

static const char export_text[] =
    "Writes images, evenly spread over DATA, as PNG files named by class and index, and prints their names. With "
    "--folders\n"
    "each class gets a folder: the result is DATA itself (folder:DIR).\n\n"
    "Examples:\n"
    "  vitro data export 'synthetic:shapes?count=200' --out images --count 3\n"
    "  vitro data export 'synthetic:shapes?count=200&classes=4' --out my-photos --count 80 --folders";

typedef struct {
    const char *out, *count_text;
    bool folders;
    int64_t count;
} export_options;

/* A class name as part of a file name: what no name may hold, or would hide a folder, becomes '_'. */
static char *safe_name(const char *name)
{
    char *safe = vt_xstrdup(name[0] ? name : "_");
    for (char *p = safe; *p; p++)
        if (*p == '/' || (unsigned char)*p < ' ' || *p == 127 || (*p == '.' && p == safe))
            *p = '_';
    return safe;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whether each class has a folder of its own. */
static vt_status check_folders(const vt_source *s, vt_err *err)
{
    const size_t n = (size_t)vt_source_classes(s);
    char **folders = vt_xcalloc(n, sizeof *folders);
    for (size_t c = 0; c < n; c++)
        folders[c] = safe_name(vt_source_class_name(s, (int64_t)c));
    qsort(folders, n, sizeof *folders, compare_names);
    vt_status status = VT_OK;
    for (size_t c = 1; c < n && status == VT_OK; c++)
        if (strcmp(folders[c - 1], folders[c]) == 0)
            status =
                vt_fail(err, VT_EINVAL,
                        "--folders: two classes would share the folder '%.200s', since a folder's name cannot hold "
                        "all that theirs do; export them without --folders",
                        folders[c]);
    vt_free_names(folders, n);
    return status;
}

static vt_status export_one(const export_options *o, const vt_source *s, int64_t i, vt_scan_tools *tools, vt_err *err)
{
    int64_t label = vt_source_label(s, i); /* of several classes the first; of none, "_" */
    char *class = safe_name(label < 0 ? "" : vt_source_class_name(s, label));
    char *dir = o->folders ? vt_path_join(o->out, class) : vt_xstrdup(o->out);
    char *name =
        o->folders ? vt_xasprintf("%06lld.png", (long long)i) : vt_xasprintf("%s-%06lld.png", class, (long long)i);
    char *path = vt_path_join(dir, name);
    bool file;
    vt_status status = vt_make_dirs(dir, err);
    if (status == VT_OK)
        status = vt_scan_load(s, i, tools, &file, err);
    if (status == VT_OK)
        status = vt_image_write_png(&tools->buffer.image, path, err);
    if (status == VT_OK)
        printf("%s\n", path);
    free(class);
    free(dir);
    free(name);
    free(path);
    return status;
}

static vt_status export(vt_cli *cli, const export_options *o, const char *spec, vt_err *err)
{
    vt_source *source = NULL;
    vt_scan_tools tools = {0};
    vt_status status = vt_source_open(&source, spec, err);
    if (status == VT_OK && o->folders && !vt_source_has_single_labels(source))
        status = vt_fail(err, VT_EINVAL,
                         "--folders puts each image into one class, but labels=FILE gives some image none or several");
    if (status == VT_OK && o->folders)
        status = check_folders(source, err);
    if (status == VT_OK) {
        const int64_t count = vt_source_count(source), n = o->count < count ? o->count : count;
        for (int64_t i = 0; i < n && status == VT_OK; i++)
            status = export_one(o, source, count / n * i + count % n * i / n, &tools, err);
    }
    vt_read_buffer_release(&tools.buffer);
    vt_image_release(&tools.spare);
    vt_source_close(source);
    return status;
}

static vt_status check_export(export_options *o, vt_err *err)
{
    if (!o->out)
        return vt_fail(err, VT_EINVAL, "--out is missing: the folder to write to");
    return vt_cli_integer("count", o->count_text, 1, EXPORT_LIMIT, 1, &o->count, err);
}

int vt_cmd_data_export(vt_cli *cli, int argc, char **argv)
{
    export_options o = {0};
    const vt_opt opts[] = {
        {"out", "DIR", &o.out, "the folder to write to; made if absent"},
        {"count", "N", &o.count_text, "images; default: 1"},
        {"folders", NULL, &o.folders, "a folder for each class"},
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), export_text, 1, 1};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (check_export(&o, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, export(cli, &o, args.list[0], &err), &err);
    vt_args_release(&args);
    return status;
}
