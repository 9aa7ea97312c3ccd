/* The rows of labels=FILE. Samples and classes are found by their names in sorted lists, so that no choice of names
 * makes reading slow. What is kept: eight bytes a sample, four a label. */
#include "data/label_sets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "data/label_rows.h"

#define MAX_FILE_BYTES (1u << 31)
#define MAX_SAMPLES    (1LL << 28) /* as split and limit choose among */
#define FREE_SAMPLES   1000000     /* for more, the file's size bounds what is allocated */

int vt_piece_compare(vt_piece a, vt_piece b)
{
    int order = memcmp(a.s, b.s, a.n < b.n ? a.n : b.n);
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

int vt_label_compare_entries(const void *a, const void *b)
{
    return vt_piece_compare(((const vt_label_entry *)a)->name, ((const vt_label_entry *)b)->name);
}

/* The index of a name among n sorted entries, or -1. */
static int64_t find(const vt_label_entry *entries, int64_t n, vt_piece name)
{
    vt_label_entry key = {name, 0};
    const vt_label_entry *found = bsearch(&key, entries, (size_t)n, sizeof *entries, vt_label_compare_entries);
    return found ? found->index : -1;
}

/* A whole number from 0 to below limit, or -1. */
static int64_t number_of(vt_piece text, int64_t limit)
{
    int64_t v = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.s[i] < '0' || text.s[i] > '9')
            return -1;
        v = v * 10 + (text.s[i] - '0');
        if (v >= limit)
            return -1;
    }
    return text.n > 0 ? v : -1;
}

static vt_status sort_samples(vt_label_reader *r, vt_err *err)
{
    const vt_collection *c = r->c;
    r->samples = malloc((size_t)c->count * sizeof *r->samples);
    if (!r->samples)
        return vt_fail(err, VT_ENOMEM, "no memory for the names of %lld samples", (long long)c->count);
    for (int64_t i = 0; i < c->count; i++) {
        vt_label_entry *e = &r->samples[i];
        e->name.s = r->kind->key(c, i, &e->name.n);
        e->index = i;
    }
    qsort(r->samples, (size_t)c->count, sizeof *r->samples, vt_label_compare_entries);
    for (int64_t i = 1; i < c->count; i++) {
        vt_piece name = r->samples[i].name;
        if (vt_piece_compare(r->samples[i - 1].name, name) == 0)
            return vt_fail(err, VT_EINVAL, "two samples are named '%.*s', so a row cannot tell which it means",
                           (int)(name.n < 200 ? name.n : 200), name.s);
    }
    return VT_OK;
}

static void sort_classes(vt_label_reader *r)
{
    const vt_collection *c = r->c;
    r->classes = vt_xcalloc((size_t)c->classes, sizeof *r->classes);
    for (int64_t k = 0; k < c->classes; k++)
        r->classes[k] = (vt_label_entry){{c->class_names[k], strlen(c->class_names[k])}, k};
    qsort(r->classes, (size_t)c->classes, sizeof *r->classes, vt_label_compare_entries);
}

/* --- one row --- */

static int64_t class_of(const vt_label_reader *r, vt_piece text)
{
    return r->classes ? find(r->classes, r->c->classes, text) : number_of(text, VT_MAX_CLASSES);
}

int vt_piece_shown(vt_piece text)
{
    return (int)(text.n < 100 ? text.n : 100);
}

vt_status vt_label_insert_class(vt_label_reader *r, vt_label_row *row, int64_t class, vt_piece text, vt_err *err)
{
    if (row->n == VT_MAX_LABELS)
        return vt_fail(err, VT_EFORMAT, "more than %d classes for one sample", VT_MAX_LABELS);
    int32_t *classes = r->sets.classes + row->first;
    uint32_t at = row->n;
    for (; at > 0 && classes[at - 1] >= class; at--) {
        if (classes[at - 1] == class)
            return vt_fail(err, VT_EFORMAT, "the class '%.*s' stands twice", vt_piece_shown(text), text.s);
        classes[at] = classes[at - 1];
    }
    classes[at] = (int32_t) class;
    row->n++;
    r->most = class > r->most ? class : r->most;
    return VT_OK;
}

vt_status vt_label_add_class(vt_label_reader *r, vt_label_row *row, vt_piece text, vt_err *err)
{
    int64_t class = class_of(r, text);
    if (text.n == 0)
        return vt_fail(err, VT_EFORMAT, "no class stands between two separators, or behind the last");
    if (class < 0)
        return vt_fail(err, VT_EFORMAT, "'%.*s' is no class%s", vt_piece_shown(text), text.s,
                       r->classes ? " of these data"
                                  : ": these data have no names of classes, so it must be a number "
                                    "from 0 (or give the names, with classes=FILE)");
    return vt_label_insert_class(r, row, class, text, err);
}

vt_piece vt_piece_trim(vt_piece p)
{
    for (; p.n > 0 && *p.s == ' '; p.s++, p.n--)
        ;
    while (p.n > 0 && p.s[p.n - 1] == ' ')
        p.n--;
    return p;
}

/* What is in front of the first mark, or all; *rest goes on behind it, or its text is NULL. */
vt_piece vt_piece_cut(vt_piece *rest, char mark)
{
    const char *at = memchr(rest->s, mark, rest->n);
    vt_piece first = {rest->s, at ? (size_t)(at - rest->s) : rest->n};
    rest->n -= first.n + (at != NULL);
    rest->s = at ? at + 1 : NULL;
    return first;
}

/* Between two TABs stands a class whose name holds commas, or classes that commas separate. */
static vt_status add_field(vt_label_reader *r, vt_label_row *row, vt_piece field, vt_err *err)
{
    if (!memchr(field.s, ',', field.n) || class_of(r, field) >= 0)
        return vt_label_add_class(r, row, field, err);
    while (field.s) {
        vt_piece part = vt_piece_cut(&field, ',');
        VT_TRY(vt_label_add_class(r, row, vt_piece_trim(part), err));
    }
    return VT_OK;
}

vt_status vt_label_find_sample(const vt_label_reader *r, vt_piece name, int64_t *sample, vt_err *err)
{
    if (name.n == 0)
        return vt_fail(err, VT_EFORMAT, "the name of a sample is missing; a row is NAME, TAB, classes");
    *sample = r->samples ? find(r->samples, r->c->count, name) : number_of(name, r->c->count);
    if (*sample >= 0)
        return VT_OK;
    return vt_fail(err, VT_EFORMAT, "no sample is named '%.*s'%s", vt_piece_shown(name), name.s,
                   r->samples ? "" : "; samples are numbered from 0 here");
}

/* Room for one sample's classes; a file of 2 GiB cannot list more of them than uint32_t counts. */
static vt_status reserve(vt_label_reader *r, vt_err *err)
{
    if (r->n_labels + VT_MAX_LABELS <= r->capacity)
        return VT_OK;
    size_t capacity = r->capacity * 2 + 16 * VT_MAX_LABELS;
    int32_t *classes = realloc(r->sets.classes, capacity * sizeof *classes);
    if (!classes)
        return vt_fail(err, VT_ENOMEM, "no memory for %zu labels", capacity);
    r->sets.classes = classes;
    r->capacity = capacity;
    return VT_OK;
}

/* Begins the row of a sample; end_row must follow. */
vt_status vt_label_begin_row(vt_label_reader *r, int64_t sample, vt_label_row **row, vt_err *err)
{
    *row = &r->sets.rows[sample];
    if ((*row)->n != VT_LABEL_UNSEEN)
        return vt_fail(err, VT_EFORMAT, "the sample had a row before");
    VT_TRY(reserve(r, err));
    **row = (vt_label_row){(uint32_t)r->n_labels, 0};
    return VT_OK;
}

void vt_label_end_row(vt_label_reader *r, const vt_label_row *row)
{
    r->n_labels += row->n;
    r->rows++;
}

static vt_status read_row(vt_label_reader *r, vt_piece line, vt_err *err)
{
    int64_t sample = -1;
    vt_label_row *row;
    if (line.n > 0 && line.s[line.n - 1] == '\r')
        line.n--;
    VT_TRY(vt_label_find_sample(r, vt_piece_cut(&line, '\t'), &sample, err));
    VT_TRY(vt_label_begin_row(r, sample, &row, err));
    bool none = !line.s || line.n == 0;
    while (!none && line.s)
        VT_TRY(add_field(r, row, vt_piece_cut(&line, '\t'), err));
    vt_label_end_row(r, row);
    return VT_OK;
}

static vt_status read_text(vt_label_reader *r, char *text, size_t size, vt_err *err)
{
    vt_piece rest = {text, size};
    for (int64_t line = 1; rest.s; line++) {
        if (read_row(r, vt_piece_cut(&rest, '\n'), err) != VT_OK)
            return vt_prefix(err, "line %lld", (long long)line);
    }
    return VT_OK;
}

/* --- the file --- */

static vt_status check_complete(const vt_label_reader *r, vt_err *err)
{
    if (r->rows == r->c->count)
        return VT_OK;
    int64_t missing = 0;
    while (r->sets.rows[missing].n != VT_LABEL_UNSEEN)
        missing++;
    char number[32];
    vt_piece name = {number, 0};
    if (r->kind->key)
        name.s = r->kind->key(r->c, missing, &name.n);
    else
        name.n = (size_t)snprintf(number, sizeof number, "%lld", (long long)missing);
    return vt_fail(err, VT_EFORMAT,
                   "no row for the sample '%.*s' (%lld rows, %lld samples); a sample without classes needs a row too",
                   vt_piece_shown(name), name.s, (long long)r->rows, (long long)r->c->count);
}

static vt_status read_rows(vt_label_reader *r, const char *path, char *text, size_t size, vt_err *err)
{
    int64_t count = r->c->count;
    if (memchr(text, '\0', size))
        return vt_fail(err, VT_EFORMAT, "not a text file");
    while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
        size--;
    if (count > MAX_SAMPLES)
        return vt_fail(err, VT_EUNSUPPORTED, "these are %lld samples; the limit here is %lld", (long long)count,
                       MAX_SAMPLES);
    if (count > FREE_SAMPLES && (size_t)count > size / 2 + 1) /* the shortest row is "0" and a line's end */
        return vt_fail(err, VT_EFORMAT, "too short: each of the %lld samples needs a row", (long long)count);
    if (r->kind->key)
        VT_TRY(sort_samples(r, err));
    if (r->c->class_names)
        sort_classes(r);
    r->sets.rows = malloc((size_t)count * sizeof *r->sets.rows);
    if (!r->sets.rows)
        return vt_fail(err, VT_ENOMEM, "no memory for the classes of %lld samples", (long long)count);
    for (int64_t i = 0; i < count; i++)
        r->sets.rows[i] = (vt_label_row){0, VT_LABEL_UNSEEN};
    VT_TRY(size > 0 && text[0] == '['    ? vt_label_read_json(r, text, size, err)
           : vt_has_suffix(path, ".csv") ? vt_label_read_csv(r, text, size, err)
                                         : read_text(r, text, size, err));
    return check_complete(r, err);
}

vt_status vt_label_sets_read(const vt_collection_kind *kind, vt_collection *c, const char *path, vt_err *err)
{
    unsigned char *data = NULL;
    size_t size = 0;
    VT_TRY(vt_file_read(path, MAX_FILE_BYTES, &data, &size, err));
    vt_label_reader r = {.kind = kind, .c = c, .most = -1};
    vt_status status = read_rows(&r, path, (char *)data, size, err);
    free(data);
    free(r.samples);
    free(r.classes);
    if (status != VT_OK) {
        vt_label_sets_release(&r.sets);
        return vt_prefix(err, "%s", path);
    }
    if (!c->class_names)
        c->classes = r.most < 0 ? 1 : r.most + 1;
    c->resident += (size_t)c->count * sizeof *r.sets.rows + r.capacity * sizeof *r.sets.classes;
    c->labels = r.sets;
    return VT_OK;
}

void vt_label_sets_release(vt_label_sets *labels)
{
    free(labels->rows);
    free(labels->classes);
    *labels = (vt_label_sets){0};
}

int vt_label_sets_of(const vt_collection_kind *kind, const vt_collection *c, int64_t i, int32_t classes[VT_MAX_LABELS])
{
    if (!c->labels.rows) {
        classes[0] = c->labels.classes ? c->labels.classes[i] : (int32_t)kind->label(c, i);
        return 1;
    }
    vt_label_row row = c->labels.rows[i];
    if (row.n > 0)
        memcpy(classes, c->labels.classes + row.first, row.n * sizeof *classes);
    return (int)row.n;
}

int64_t vt_label_sets_first(const vt_collection_kind *kind, const vt_collection *c, int64_t i)
{
    if (!c->labels.rows)
        return c->labels.classes ? c->labels.classes[i] : kind->label(c, i);
    vt_label_row row = c->labels.rows[i];
    return row.n > 0 ? c->labels.classes[row.first] : -1;
}
