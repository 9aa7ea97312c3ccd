/* vitro data check: every image is read before a run reads it for hours, and found again where it is there twice. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/cmd_data.h"
#include "cli/duplicates.h"
#include "cli/scan.h"

#define EMPTY_LISTED 10 /* classes without an image that are named one by one */
#define MAX_SETS     65 /* DATA, and others that it is held against */

static const char check_text[] =
    "Reads and decodes every image. Each bad one is named with the reason; classes without images are named too. Then\n"
    "images that are there twice: the same file, the same pixels, or nearly the same picture (encoded again, resized,\n"
    "cut a little, brighter, mirrored); and those whose copies have other classes. With --against, images of DATA "
    "that\n"
    "are also in other data: a test set, another split. Each image is named once a data set, beside the one nearest "
    "to\n"
    "it. Takes about 560 bytes of memory an image. Exit status 1 when an image is bad.\n\n"
    "Examples:\n"
    "  vitro data check 'synthetic:shapes?count=200'\n"
    "  vitro data check 'synthetic:shapes?count=200&classes=4' --exact --json\n"
    "  vitro data check 'synthetic:shapes?split=[:90%]' --against 'synthetic:shapes?split=[90%:]' --list pairs.csv";

typedef struct {
    const char *against, *list, *drop;
    bool json, exact, strict;
} check_options;

/* A data set that is being read. */
typedef struct {
    vt_looked *set;
    bool json;
    json_t *bad;
} reading;

typedef struct {
    vt_looked sets[2]; /* DATA, and the one that it is held against now */
    reading reading;
    json_t *root, *leaks;
    vt_atomic_file list;
    bool *drop; /* images of DATA that are bad, or there twice; NULL: nobody asked */
    int64_t found;
} checking;

static vt_status look(void *context, int64_t index, vt_scan_tools *tools, void *item, vt_err *err)
{
    const reading *r = context;
    bool file;
    VT_TRY(vt_scan_load(r->set->source, index, tools, &file, err));
    const vt_read_buffer *b = &tools->buffer;
    return vt_look_at(&b->image, file ? b->bytes : NULL, b->size, &tools->spare, item, err);
}

static vt_status receive(void *context, const vt_scan_sample *s, vt_err *err)
{
    reading *r = context;
    r->set->good[s->index] = s->status == VT_OK;
    if (s->status == VT_OK) {
        memcpy(&r->set->looks[s->index], s->item, sizeof(vt_look));
        return VT_OK;
    }
    r->set->bad++;
    if (r->json)
        (void)json_array_append_new(r->bad, vt_cli_json_text(s->why));
    else
        printf("bad: %s\n", s->why);
    return VT_OK;
}

static vt_status read_set(checking *c, vt_looked *set, const char *spec, vt_cli *cli, vt_err *err)
{
    VT_TRY(vt_looked_open(set, spec, err));
    c->reading.set = set;
    const vt_scan scan = {.source = set->source,
                          .end = set->n,
                          .item_bytes = sizeof(vt_look),
                          .work = look,
                          .receive = receive,
                          .context = &c->reading,
                          .term = cli->term,
                          .what = "checking"};
    return vt_scan_run(&scan, err);
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

/* DATA itself, before its duplicates. */
static void report_set(checking *c)
{
    char a[32], b[32], d[32];
    const vt_looked *set = &c->sets[0];
    const vt_source *s = set->source;
    int64_t *counts = vt_data_class_counts(s);
    if (c->root) {
        json_t *empty = json_array();
        for (int64_t k = 0; k < vt_source_classes(s); k++)
            if (counts[k] == 0)
                (void)json_array_append_new(empty, vt_cli_json_text(vt_source_class_name(s, k)));
        (void)json_object_set_new(c->root, "data", vt_cli_json_text(vt_source_spec(s)));
        (void)json_object_set_new(c->root, "images", json_integer(set->n));
        (void)json_object_set_new(c->root, "classes", json_integer(vt_source_classes(s)));
        (void)json_object_set_new(c->root, "empty_classes", empty);
    } else {
        print_empty_classes(s, counts);
        printf("%s images, %s classes, %s bad\n", vt_cli_number(a, set->n), vt_cli_number(b, vt_source_classes(s)),
               vt_cli_number(d, set->bad));
    }
    free(counts);
}

static vt_status compare(checking *c, const vt_looked *other, const check_options *o, vt_cli *cli, vt_err *err)
{
    vt_duplicates d;
    vt_status status = vt_duplicates_find(&d, &c->sets[0], other, !o->exact, cli->term, err);
    if (status == VT_OK) {
        c->found += d.total;
        for (int64_t i = 0; c->drop && i < d.set->n; i++)
            c->drop[i] = c->drop[i] || d.matches[i].same != VT_SAME_NONE;
        if (c->list.open)
            status = vt_duplicates_csv(&d, &c->list, err);
        if (!c->root)
            vt_duplicates_print(&d);
        else if (other == &c->sets[0])
            (void)json_object_set_new(c->root, "duplicates", vt_duplicates_json(&d));
        else
            (void)json_array_append_new(c->leaks, vt_duplicates_json(&d));
    }
    vt_duplicates_release(&d);
    return status;
}

/* A name by which exclude=FILE knows an image. */
typedef struct {
    const char *s;
    size_t n;
    bool drop;
} key;

static int compare_keys(const void *a, const void *b)
{
    const key *x = a, *y = b;
    const int order = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* Whether each name that is to be written is that of one image alone: shards may each begin at 000000. */
static vt_status check_keys(const checking *c, const char *path, vt_err *err)
{
    const int64_t n = c->sets[0].n;
    key *keys = vt_xcalloc((size_t)n, sizeof *keys);
    bool named = true;
    for (int64_t i = 0; i < n && named; i++) {
        keys[i].s = vt_source_key(c->sets[0].source, i, &keys[i].n);
        keys[i].drop = c->drop[i];
        named = keys[i].s != NULL;
    }
    if (named)
        qsort(keys, (size_t)n, sizeof *keys, compare_keys);
    vt_status status = VT_OK;
    for (int64_t i = 1; named && i < n && status == VT_OK; i++)
        if ((keys[i - 1].drop || keys[i].drop) && compare_keys(&keys[i - 1], &keys[i]) == 0)
            status =
                vt_fail(err, VT_EINVAL,
                        "%s is not written: two images are named '%.*s', and exclude=FILE could not tell which one "
                        "to leave out; the pack of these data (vitro data pack) has names of its own",
                        path, (int)(keys[i].n < 200 ? keys[i].n : 200), keys[i].s);
    free(keys);
    return status;
}

/* Names as exclude=FILE takes them, a line each. */
static vt_status write_drop(const checking *c, const char *path, vt_err *err)
{
    const vt_source *source = c->sets[0].source;
    vt_text text = {0};
    VT_TRY(check_keys(c, path, err));
    vt_text_add(&text, "");
    vt_status status = VT_OK;
    for (int64_t i = 0; i < c->sets[0].n && status == VT_OK; i++) {
        size_t n = 0;
        const char *name = c->drop[i] ? vt_source_key(source, i, &n) : NULL;
        if (name && memchr(name, '\n', n))
            status = vt_fail(err, VT_EUNSUPPORTED, "%s: the name of image %lld holds a line break", path, (long long)i);
        else if (name)
            vt_text_addn(&text, name, n);
        else if (c->drop[i])
            vt_text_addf(&text, "%zu", n);
        if (c->drop[i])
            vt_text_add(&text, "\n");
    }
    if (status == VT_OK)
        status = vt_file_write(path, text.s, text.len, err);
    vt_text_release(&text);
    return status;
}

static vt_status check_sets(checking *c, const check_options *o, const vt_args *args, vt_cli *cli, vt_err *err)
{
    int64_t bad = 0, images = 0;
    VT_TRY(read_set(c, &c->sets[0], args->list[0], cli, err));
    report_set(c);
    if (o->drop) {
        c->drop = vt_xcalloc((size_t)c->sets[0].n, sizeof *c->drop);
        for (int64_t i = 0; i < c->sets[0].n; i++)
            c->drop[i] = !c->sets[0].good[i];
    }
    VT_TRY(compare(c, &c->sets[0], o, cli, err));
    bad = c->sets[0].bad;
    images = c->sets[0].n;
    for (int i = 0; o->against && i < args->n; i++) {
        vt_looked *other = &c->sets[1];
        vt_status status = read_set(c, other, i == 0 ? o->against : args->list[i], cli, err);
        if (status == VT_OK)
            status = compare(c, other, o, cli, err);
        bad += other->bad;
        images += other->n;
        vt_looked_close(other);
        VT_TRY(status);
    }
    if (c->list.open)
        VT_TRY(vt_atomic_commit(&c->list, err));
    if (o->drop)
        VT_TRY(write_drop(c, o->drop, err));
    if (c->root)
        (void)json_object_set_new(c->root, "bad_count", json_integer(bad));
    if (bad > 0)
        return vt_fail(err, VT_EFORMAT, "%lld of %lld images are bad; a run would stop at the first it meets",
                       (long long)bad, (long long)images);
    if (o->strict && c->found > 0)
        return vt_fail(err, VT_EFORMAT, "%lld images are there twice or in other data", (long long)c->found);
    return VT_OK;
}

static vt_status open_list(checking *c, const char *path, vt_err *err)
{
    if (!path)
        return VT_OK;
    VT_TRY(vt_atomic_open(&c->list, path, err));
    return vt_atomic_write(&c->list, vt_duplicates_csv_header, strlen(vt_duplicates_csv_header), err);
}

static vt_status check(vt_cli *cli, const check_options *o, const vt_args *args, vt_err *err)
{
    checking c = {.reading = {.json = o->json, .bad = json_array()}};
    c.root = o->json ? json_object() : NULL;
    c.leaks = json_array();
    vt_status status = open_list(&c, o->list, err);
    if (status == VT_OK)
        status = check_sets(&c, o, args, cli, err);
    vt_atomic_release(&c.list);
    if (c.root && json_object_get(c.root, "bad_count")) {
        (void)json_object_set(c.root, "bad", c.reading.bad);
        if (o->against)
            (void)json_object_set(c.root, "against", c.leaks);
        vt_cli_print_json(json_incref(c.root));
    }
    json_decref(c.root);
    json_decref(c.leaks);
    json_decref(c.reading.bad);
    free(c.drop);
    vt_looked_close(&c.sets[0]);
    return status;
}

static vt_status check_args(const check_options *o, const vt_args *args, vt_err *err)
{
    if (args->n > 1 && !o->against)
        return vt_fail(err, VT_EINVAL,
                       "'%s' is one argument too many; data to hold DATA against stand behind --against",
                       args->list[1]);
    if (o->drop && strstr(args->list[0], " + "))
        return vt_fail(err, VT_EINVAL, "--drop names images of one SPEC, for its exclude=FILE; check each for itself");
    return VT_OK;
}

int vt_cmd_data_check(vt_cli *cli, int argc, char **argv)
{
    check_options o = {0};
    const vt_opt opts[] = {
        {"against", "DATA ...", &o.against, "other data, one or several, of which no image should be in DATA"},
        {"exact", NULL, &o.exact, "leave out near duplicates: only the same file or the same pixels"},
        {"list", "FILE", &o.list, "write all pairs as CSV"},
        {"drop", "FILE", &o.drop,
         "write the names of DATA's bad and repeated images, for exclude=FILE; DATA is one SPEC"},
        {"strict", NULL, &o.strict, "exit status 1 also where an image is there twice"},
        {"json", NULL, &o.json, "print the result as JSON"},
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), check_text, 1, MAX_SETS};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (check_args(&o, &args, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, check(cli, &o, &args, &err), &err);
    vt_args_release(&args);
    return status;
}
