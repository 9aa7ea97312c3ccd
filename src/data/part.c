/* A SPEC is taken apart, its kind opens the collection, labels=FILE replaces labels, split= and limit= choose samples.
 * The table of kinds is at the top. */
#include "data/part.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "data/exclude.h"
#include "data/hierarchy.h"
#include "data/label_sets.h"
#include "data/select.h"

#define MAX_WEIGHT 1000000

static const vt_collection_kind *const kinds[] = {&vt_folder_kind, &vt_wds_kind, &vt_csv_kind, &vt_idx_kind,
                                                  &vt_synthetic_kind};
#define N_KINDS VT_COUNT_OF(kinds)

/* One row an entry of kinds, and NULL at the end; forms and sentences stand here because a table of constants cannot
 * read them from another file. */
const vt_source_help vt_source_kinds_help[] = {
    {"folder", "folder:PATH", "class folders, PATH/CLASS/IMAGE.jpg, .png or .webp, or a tar or tar.gz of them"},
    {"wds", "wds:PATH/{000..012}.tar?json_key=label",
     "WebDataset shards, tar or tar.gz: KEY.jpg, .png or .webp beside KEY.cls, .json or .txt"},
    {"csv", "csv:FILE?path=COLUMN&label=COLUMN&root=DIR",
     "a list with a header: paths relative to FILE's folder or DIR; labels, several between ; or |"},
    {"idx", "idx:IMAGES,LABELS", "the two files of MNIST and its kin, plain or gzip"},
    {"synthetic", "synthetic:shapes?classes=16&noise=0.1&size=32&count=10000&seed=0",
     "coloured shapes drawn on the fly; noise is the share of wrong labels; count=endless never repeats one"},
    {NULL, NULL, NULL},
};

const vt_source_help vt_source_options_help[] = {
    {"split", "split=[A%:B%]",
     "the samples from A % to B % of the keyed order, every class in proportion, equal images together"},
    {"limit", "limit=N", "the first N of them; a smaller N is part of a larger one"},
    {"exclude", "exclude=FILE", "without the images that FILE names, one a line (vitro data check --drop writes it)"},
    {"weight", "weight=W",
     "in SPEC + SPEC: draw from each in proportion to its weight; without weights every image once"},
    {"labels", "labels=FILE",
     "each sample's classes, none or several: rows of NAME, TAB, classes with TAB or comma between; or CSV, or JSON"},
    {"hierarchy", "hierarchy=FILE",
     "which class lies above which, a line CHILD, TAB, PARENT; ancestors=on makes those above a label labels too"},
    {"classes", "classes=FILE", "names of the classes in order, one a line; not for synthetic:"},
    {NULL, NULL, NULL},
};
static const char *const common_options[] = {"split", "limit", "exclude", "labels", "weight", "hierarchy", "ancestors"};

/* A bare path: a folder, or something that ends in .tar, .tar.gz, .tgz, .csv or .tsv. */
static const vt_collection_kind *kind_of_path(const char *path, vt_err *err)
{
    if (vt_has_suffix(path, ".tar") || vt_has_suffix(path, ".tar.gz") || vt_has_suffix(path, ".tgz"))
        return &vt_wds_kind;
    if (vt_has_suffix(path, ".csv") || vt_has_suffix(path, ".tsv"))
        return &vt_csv_kind;
    if (vt_is_dir(path))
        return &vt_folder_kind;
    if (vt_is_file(path))
        vt_fail(err, VT_EINVAL,
                "this file is no .tar, .tar.gz, .tgz, .csv or .tsv; say what it is, as in idx:IMAGES,LABELS");
    else
        vt_fail(err, VT_EINVAL,
                "no such folder or tar file; forms are folder:PATH, wds:PATH/{000..012}.tar, "
                "csv:FILE, idx:IMAGES,LABELS and synthetic:shapes");
    return NULL;
}

static const vt_collection_kind *find_kind(const vt_spec *spec, vt_err *err)
{
    if (!spec->kind)
        return kind_of_path(spec->place, err);
    const char *names[N_KINDS];
    for (size_t i = 0; i < N_KINDS; i++) {
        names[i] = kinds[i]->name;
        if (strcmp(names[i], spec->kind) == 0)
            return kinds[i];
    }
    const char *near = vt_nearest(spec->kind, names, N_KINDS);
    vt_fail(err, VT_EINVAL, "unknown kind of data '%s'%s%s%s; kinds are folder, wds, csv, idx, synthetic", spec->kind,
            near ? "; did you mean '" : "", near ? near : "", near ? "'" : "");
    return NULL;
}

static vt_status check_options(const vt_part *p, vt_err *err)
{
    const char *known[VT_COUNT_OF(common_options) + VT_COUNT_OF(p->kind->options)];
    int n = 0;
    for (size_t i = 0; i < VT_COUNT_OF(common_options); i++)
        known[n++] = common_options[i];
    for (const char *const *o = p->kind->options; *o; o++)
        known[n++] = *o;
    return vt_spec_check_options(&p->spec, known, n, err);
}

static vt_status choose(vt_part *p, vt_err *err)
{
    int64_t from, to, limit;
    VT_TRY(vt_spec_get_split(&p->spec, &from, &to, err));
    VT_TRY(vt_spec_get_i64(&p->spec, "limit", 0, 1, INT64_MAX, &limit, err));
    p->count = p->all.count;
    if (limit == 0 && from == 0 && to == VT_SHARE_ALL)
        return VT_OK;
    if (p->all.endless)
        return vt_fail(err, VT_EINVAL, "split and limit choose among samples, and these have no end; give count=N");
    return vt_select(p->kind, &p->all, from, to, limit, &p->chosen, &p->count, err);
}

/* weight=W in millionths, so that sums are exact. */
static vt_status read_weight(vt_part *p, vt_err *err)
{
    const char *text = vt_spec_get(&p->spec, "weight");
    double weight = 0.0;
    if (!text)
        return VT_OK;
    if (vt_parse_f64(text, &weight, err) != VT_OK)
        return vt_prefix(err, "option weight");
    if (!(weight * VT_WEIGHT_ONE >= 1.0 && weight <= MAX_WEIGHT))
        return vt_fail(err, VT_EINVAL, "option weight is %s; it must be from 0.000001 to %d", text, MAX_WEIGHT);
    p->weight = (int64_t)(weight * VT_WEIGHT_ONE + 0.5);
    return VT_OK;
}

static vt_status read_labels(vt_part *p, vt_err *err)
{
    const char *path = vt_spec_get(&p->spec, "labels");
    if (path && p->all.endless)
        return vt_fail(err, VT_EINVAL, "labels=FILE names every sample, and these have no end; give count=N");
    return path ? vt_label_sets_read(p->kind, &p->all, path, err) : VT_OK;
}

/* After samples were chosen, so that a hierarchy does not change the choice. */
static vt_status read_hierarchy(vt_part *p, vt_err *err)
{
    const char *path = vt_spec_get(&p->spec, "hierarchy"), *ancestors = vt_spec_get(&p->spec, "ancestors");
    bool on = ancestors && strcmp(ancestors, "on") == 0;
    if (ancestors && !path)
        return vt_fail(err, VT_EINVAL, "the option ancestors needs hierarchy=FILE");
    if (ancestors && !on && strcmp(ancestors, "off") != 0)
        return vt_fail(err, VT_EINVAL, "option ancestors is '%.40s'; it must be on or off", ancestors);
    if (!path)
        return VT_OK;
    VT_TRY(vt_hierarchy_read(&p->all, path, on, err));
    int32_t classes[VT_MAX_LABELS];
    for (int64_t i = 0; p->all.labels.rows && i < p->count; i++) {
        int n = vt_label_sets_of(p->kind, &p->all, vt_part_sample(p, i), classes);
        n = vt_hierarchy_expand(p->all.hierarchy, classes, n, VT_MAX_LABELS);
        if (n > VT_MAX_LABELS) {
            char name[256];
            p->kind->sample_name(&p->all, vt_part_sample(p, i), name, sizeof name);
            return vt_fail(err, VT_EUNSUPPORTED, "%s has %d classes with their ancestors; the limit is %d", name, n,
                           VT_MAX_LABELS);
        }
    }
    return VT_OK;
}

/* The kind's messages name files; those of the SPEC itself get it in front. */
vt_status vt_part_open(vt_part *p, const char *text, size_t n, vt_err *err)
{
    vt_status status = vt_spec_parse(&p->spec, text, n, err);
    if (status == VT_OK) {
        p->kind = find_kind(&p->spec, err);
        status = p->kind ? check_options(p, err) : VT_EINVAL;
    }
    if (status == VT_OK) {
        VT_TRY(p->kind->open(&p->all, &p->spec, err));
        VT_TRY(read_labels(p, err));
        assert(p->all.count >= 1 && p->all.classes >= 1);
        status = choose(p, err);
        const char *exclude = vt_spec_get(&p->spec, "exclude");
        if (status == VT_OK && exclude)
            status = vt_exclude(p->kind, &p->all, exclude, &p->chosen, &p->count, err);
        if (status == VT_OK)
            status = read_hierarchy(p, err);
    }
    if (status == VT_OK)
        status = read_weight(p, err);
    if (status != VT_OK)
        vt_prefix(err, "data '%.*s'", (int)(n < 300 ? n : 300), text);
    return status;
}

void vt_part_close(vt_part *p)
{
    if (p->all.class_names)
        vt_free_names(p->all.class_names, (size_t)p->all.classes);
    if (p->kind)
        p->kind->close(&p->all);
    vt_label_sets_release(&p->all.labels);
    vt_hierarchy_release(p->all.hierarchy);
    free(p->chosen);
    free(p->classes);
    vt_spec_release(&p->spec);
    *p = (vt_part){0};
}

int64_t vt_part_sample(const vt_part *p, int64_t i)
{
    assert(i >= 0 && i < p->count);
    return p->chosen ? (int64_t)p->chosen[i] : i;
}

static int compare_classes(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

int vt_part_labels(const vt_part *p, int64_t i, int32_t classes[VT_MAX_LABELS])
{
    int n = vt_label_sets_of(p->kind, &p->all, vt_part_sample(p, i), classes);
    if (p->all.hierarchy)
        n = vt_hierarchy_expand(p->all.hierarchy, classes, n, VT_MAX_LABELS);
    for (int k = 0; p->classes && k < n; k++)
        classes[k] = p->classes[classes[k]];
    if (p->classes && n > 1)
        qsort(classes, (size_t)n, sizeof *classes, compare_classes);
    return n;
}

int64_t vt_part_label(const vt_part *p, int64_t i)
{
    int64_t label = vt_label_sets_first(p->kind, &p->all, vt_part_sample(p, i));
    return label >= 0 && p->classes ? p->classes[label] : label;
}

vt_status vt_collection_name_classes(vt_collection *c, const vt_spec *spec, int64_t max_label, vt_err *err)
{
    const char *path = vt_spec_get(spec, "classes");
    c->classes = max_label + 1;
    if (!path)
        return VT_OK;
    VT_TRY(vt_class_file_read(path, &c->class_names, &c->classes, err));
    if (max_label >= c->classes && !vt_spec_get(spec, "labels"))
        return vt_fail(err, VT_EINVAL, "%s names %lld classes, but the data have a class numbered %lld", path,
                       (long long)c->classes, (long long)max_label);
    return VT_OK;
}
