/* Collecting labels: each distinct text has a number; at the end those numbers become classes. */
#include "data/label_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define MAX_SAMPLES (1LL << 30)

static bool is_number(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
    }
    return n == 1 || (n > 1 && s[0] != '0'); /* 007 is a name */
}

static int shown(size_t n)
{
    return (int)(n < 100 ? n : 100);
}

static vt_status reserve_label(vt_label_build *b, vt_err *err)
{
    if (b->n_labels < b->labels_capacity)
        return VT_OK;
    int64_t capacity = b->labels_capacity ? b->labels_capacity * 2 : 1024;
    int32_t *labels = capacity > UINT32_MAX ? NULL : realloc(b->labels, (size_t)capacity * sizeof *labels);
    if (!labels)
        return vt_fail(err, VT_ENOMEM, "no memory for %lld labels", (long long)capacity);
    b->labels = labels;
    b->labels_capacity = capacity;
    return VT_OK;
}

vt_status vt_label_build_add(vt_label_build *b, vt_label_form form, const char *s, size_t n, vt_err *err)
{
    if (n == 0)
        return vt_fail(err, VT_EFORMAT, "an empty label");
    if (n > VT_MAX_LABEL_BYTES || memchr(s, '\0', n))
        return vt_fail(err, VT_EFORMAT,
                       "a label of %zu bytes that begins with '%.40s'; the limit is %d, without zero "
                       "bytes",
                       n, s, VT_MAX_LABEL_BYTES);
    if (b->open == VT_MAX_LABELS)
        return vt_fail(err, VT_EFORMAT, "more than %d classes for one sample", VT_MAX_LABELS);
    VT_TRY(reserve_label(b, err));
    int32_t before = b->texts.n, id = vt_names_add(&b->texts, s, n);
    if (id >= VT_MAX_CLASSES)
        return vt_fail(err, VT_EFORMAT, "more than %d different labels", VT_MAX_CLASSES);
    if (id == b->first_capacity) {
        b->first_capacity = b->first_capacity ? b->first_capacity * 2 : 64;
        b->first = vt_xrealloc(b->first, (size_t)b->first_capacity * sizeof *b->first);
    }
    if (id == before)
        b->first[id] = b->n_samples;
    for (uint32_t k = 0; k < b->open; k++) {
        if (b->labels[b->n_labels - 1 - k] == id)
            return vt_fail(err, VT_EFORMAT, "the class '%.*s' stands twice", shown(n), s);
    }
    b->labels[b->n_labels++] = id;
    b->open++;
    if (!b->of_form[form])
        b->of_form[form] = b->n_samples + 1;
    return VT_OK;
}

vt_status vt_label_build_number(vt_label_build *b, int64_t number, vt_err *err)
{
    char text[32];
    if (number < 0 || number >= VT_MAX_CLASSES)
        return vt_fail(err, VT_EFORMAT, "class %lld; classes are numbered from 0, and the limit is %d classes",
                       (long long)number, VT_MAX_CLASSES);
    int n = snprintf(text, sizeof text, "%lld", (long long)number);
    return vt_label_build_add(b, VT_LABEL_NUMBER, text, (size_t)n, err);
}

static vt_status reserve_row(vt_label_build *b, vt_err *err)
{
    if (b->rows && b->n_samples < b->samples_capacity)
        return VT_OK;
    int64_t capacity = b->samples_capacity ? b->samples_capacity * 2 : 1024;
    while (capacity <= b->n_samples)
        capacity *= 2;
    vt_label_row *rows = b->n_samples >= MAX_SAMPLES ? NULL : realloc(b->rows, (size_t)capacity * sizeof *rows);
    if (!rows)
        return vt_fail(err, VT_ENOMEM, "no memory for the labels of %lld samples", (long long)capacity);
    for (int64_t i = 0; !b->rows && i < b->n_samples; i++)
        rows[i] = (vt_label_row){(uint32_t)i, 1};
    b->rows = rows;
    b->samples_capacity = capacity;
    return VT_OK;
}

vt_status vt_label_build_end(vt_label_build *b, vt_err *err)
{
    if (b->rows || b->open != 1) {
        VT_TRY(reserve_row(b, err));
        b->rows[b->n_samples] = (vt_label_row){(uint32_t)(b->n_labels - b->open), b->open};
    }
    b->n_samples++;
    b->open = 0;
    return VT_OK;
}

/* --- classes --- */

typedef struct {
    const vt_label_build *b;
    const vt_collection_kind *kind;
    vt_collection *c;
    const char *file;  /* classes=FILE, or NULL */
    int32_t *class_of; /* of each text; -1: none */
} finish;

static const char *sample_name(const finish *f, int64_t i, char *buf, size_t size)
{
    f->kind->sample_name(f->c, i, buf, size);
    return buf;
}

/* classes by name, whatever FILE's order; whether all texts are there */
static bool match_names(finish *f, int32_t *missing)
{
    vt_names all = {0};
    for (int64_t c = 0; c < f->c->classes; c++)
        (void)vt_names_add(&all, f->c->class_names[c], strlen(f->c->class_names[c]));
    *missing = -1;
    for (int32_t i = 0; i < f->b->texts.n; i++) {
        const char *name = vt_names_get(&f->b->texts, i);
        int32_t class = vt_names_add(&all, name, strlen(name));
        f->class_of[i] = class < f->c->classes ? class : -1;
        if (class >= f->c->classes && *missing < 0)
            *missing = i;
    }
    vt_names_release(&all);
    return *missing < 0;
}

static vt_status use_names(finish *f, vt_err *err)
{
    const vt_names *texts = &f->b->texts;
    char sample[256];
    int32_t missing;
    if (f->file) {
        if (match_names(f, &missing))
            return VT_OK;
        return vt_fail(err, VT_EFORMAT, "%s: '%.100s' is no class of %s",
                       sample_name(f, f->b->first[missing], sample, sizeof sample), vt_names_get(texts, missing),
                       f->file);
    }
    int32_t *sorted = vt_names_sorted(texts);
    f->c->classes = texts->n;
    f->c->class_names = vt_xcalloc((size_t)texts->n, sizeof *f->c->class_names);
    for (int32_t k = 0; k < texts->n; k++) {
        f->class_of[sorted[k]] = k;
        f->c->class_names[k] = vt_xstrdup(vt_names_get(texts, sorted[k]));
    }
    free(sorted);
    return VT_OK;
}

static vt_status use_numbers(finish *f, vt_err *err)
{
    const vt_names *texts = &f->b->texts;
    char sample[256];
    int32_t largest = 0;
    for (int32_t i = 0; i < texts->n; i++) {
        const char *s = vt_names_get(texts, i);
        size_t n = strlen(s);
        f->class_of[i] = is_number(s, n) && n < 8 ? (int32_t)strtol(s, NULL, 10) : -1;
        if (f->class_of[i] < 0 || f->class_of[i] >= VT_MAX_CLASSES)
            return vt_fail(err, VT_EFORMAT, "%s: '%.100s' is no class number below %d",
                           sample_name(f, f->b->first[i], sample, sizeof sample), s, VT_MAX_CLASSES);
        if (f->class_of[i] > f->class_of[largest])
            largest = i;
    }
    int64_t needed = texts->n > 0 ? f->class_of[largest] + 1 : 1;
    if (!f->file)
        f->c->classes = needed;
    else if (needed > f->c->classes)
        return vt_fail(err, VT_EINVAL, "%s names %lld classes, but the data have a class numbered %lld (%s)", f->file,
                       (long long)f->c->classes, (long long)needed - 1,
                       sample_name(f, f->b->first[largest], sample, sizeof sample));
    return VT_OK;
}

/* Whether the labels are names. */
static vt_status decide(finish *f, bool *names, vt_err *err)
{
    const vt_label_build *b = f->b;
    char one[256], other[256];
    if (b->of_form[VT_LABEL_NAME] && b->of_form[VT_LABEL_NUMBER])
        return vt_fail(err, VT_EFORMAT, "%s has the name of a class and %s a number; they cannot be mixed",
                       sample_name(f, b->of_form[VT_LABEL_NAME] - 1, one, sizeof one),
                       sample_name(f, b->of_form[VT_LABEL_NUMBER] - 1, other, sizeof other));
    *names = b->of_form[VT_LABEL_NAME] > 0;
    if (*names || b->of_form[VT_LABEL_NUMBER] || !b->of_form[VT_LABEL_EITHER])
        return VT_OK;
    int32_t missing;
    if (f->file && match_names(f, &missing)) {
        *names = true;
        return VT_OK;
    }
    for (int32_t i = 0; i < b->texts.n && !*names; i++) {
        const char *s = vt_names_get(&b->texts, i);
        *names = !is_number(s, strlen(s));
    }
    return VT_OK;
}

static int compare_classes(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static vt_status resolve(finish *f, vt_label_build *b, vt_err *err)
{
    bool names;
    if (f->file)
        VT_TRY(vt_class_file_read(f->file, &f->c->class_names, &f->c->classes, err));
    VT_TRY(decide(f, &names, err));
    VT_TRY(names ? use_names(f, err) : use_numbers(f, err));
    for (int64_t i = 0; i < b->n_labels; i++)
        b->labels[i] = f->class_of[b->labels[i]];
    for (int64_t i = 0; b->rows && i < b->n_samples; i++)
        qsort(b->labels + b->rows[i].first, b->rows[i].n, sizeof *b->labels, compare_classes);
    return VT_OK;
}

vt_status vt_label_build_finish(vt_label_build *b, const vt_collection_kind *kind, vt_collection *c,
                                const vt_spec *spec, vt_err *err)
{
    finish f = {.b = b, .kind = kind, .c = c, .file = vt_spec_get(spec, "classes")};
    f.class_of = vt_xmalloc(((size_t)b->texts.n + 1) * sizeof *f.class_of);
    vt_status status = resolve(&f, b, err);
    free(f.class_of);
    VT_TRY(status);
    c->labels = (vt_label_sets){b->rows, b->labels};
    c->resident += (size_t)b->samples_capacity * sizeof *b->rows + (size_t)b->labels_capacity * sizeof *b->labels;
    b->rows = NULL;
    b->labels = NULL;
    return VT_OK;
}

void vt_label_build_release(vt_label_build *b)
{
    vt_names_release(&b->texts);
    free(b->first);
    free(b->rows);
    free(b->labels);
    *b = (vt_label_build){0};
}
