/* The rows of labels=FILE. Samples and classes are found by their names in sorted lists, so that no choice of names
 * makes reading slow. What is kept: eight bytes a sample, four a label. */
#include "data/label_sets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/csv.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#define MAX_FILE_BYTES (1u << 31)
#define MAX_SAMPLES    (1LL << 28) /* as split and limit choose among */
#define FREE_SAMPLES   1000000     /* for more, the file's size bounds what is allocated */
#define UNSEEN         UINT32_MAX  /* as the number of classes: the sample had no row yet */

/* A stretch of the file, or of a name elsewhere; not terminated. */
typedef struct {
    const char *s;
    size_t n;
} piece;

typedef struct {
    piece name;
    int64_t index;
} entry;

typedef struct {
    const vt_collection_kind *kind;
    vt_collection *c;
    entry *samples, *classes; /* sorted by name; NULL where indices or numbers stand for names */
    vt_label_sets sets;
    size_t n_labels, capacity; /* of sets.classes */
    int64_t most;              /* largest class so far */
    int64_t rows;
} reader;

static int compare_pieces(piece a, piece b)
{
    int order = memcmp(a.s, b.s, a.n < b.n ? a.n : b.n);
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static int compare_entries(const void *a, const void *b)
{
    return compare_pieces(((const entry *)a)->name, ((const entry *)b)->name);
}

/* The index of a name among n sorted entries, or -1. */
static int64_t find(const entry *entries, int64_t n, piece name)
{
    entry key = {name, 0};
    const entry *found = bsearch(&key, entries, (size_t)n, sizeof *entries, compare_entries);
    return found ? found->index : -1;
}

/* A whole number from 0 to below limit, or -1. */
static int64_t number_of(piece text, int64_t limit)
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

static vt_status sort_samples(reader *r, vt_err *err)
{
    const vt_collection *c = r->c;
    r->samples = malloc((size_t)c->count * sizeof *r->samples);
    if (!r->samples)
        return vt_fail(err, VT_ENOMEM, "no memory for the names of %lld samples", (long long)c->count);
    for (int64_t i = 0; i < c->count; i++) {
        entry *e = &r->samples[i];
        e->name.s = r->kind->key(c, i, &e->name.n);
        e->index = i;
    }
    qsort(r->samples, (size_t)c->count, sizeof *r->samples, compare_entries);
    for (int64_t i = 1; i < c->count; i++) {
        piece name = r->samples[i].name;
        if (compare_pieces(r->samples[i - 1].name, name) == 0)
            return vt_fail(err, VT_EINVAL, "two samples are named '%.*s', so a row cannot tell which it means",
                           (int)(name.n < 200 ? name.n : 200), name.s);
    }
    return VT_OK;
}

static void sort_classes(reader *r)
{
    const vt_collection *c = r->c;
    r->classes = vt_xcalloc((size_t)c->classes, sizeof *r->classes);
    for (int64_t k = 0; k < c->classes; k++)
        r->classes[k] = (entry){{c->class_names[k], strlen(c->class_names[k])}, k};
    qsort(r->classes, (size_t)c->classes, sizeof *r->classes, compare_entries);
}

/* --- one row --- */

static int64_t class_of(const reader *r, piece text)
{
    return r->classes ? find(r->classes, r->c->classes, text) : number_of(text, VT_MAX_CLASSES);
}

static int shown(piece text)
{
    return (int)(text.n < 100 ? text.n : 100);
}

static vt_status insert_class(reader *r, vt_label_row *row, int64_t class, piece text, vt_err *err)
{
    if (row->n == VT_MAX_LABELS)
        return vt_fail(err, VT_EFORMAT, "more than %d classes for one sample", VT_MAX_LABELS);
    int32_t *classes = r->sets.classes + row->first;
    uint32_t at = row->n;
    for (; at > 0 && classes[at - 1] >= class; at--) {
        if (classes[at - 1] == class)
            return vt_fail(err, VT_EFORMAT, "the class '%.*s' stands twice", shown(text), text.s);
        classes[at] = classes[at - 1];
    }
    classes[at] = (int32_t) class;
    row->n++;
    r->most = class > r->most ? class : r->most;
    return VT_OK;
}

static vt_status add_class(reader *r, vt_label_row *row, piece text, vt_err *err)
{
    int64_t class = class_of(r, text);
    if (text.n == 0)
        return vt_fail(err, VT_EFORMAT, "no class stands between two separators, or behind the last");
    if (class < 0)
        return vt_fail(err, VT_EFORMAT, "'%.*s' is no class%s", shown(text), text.s,
                       r->classes ? " of these data"
                                  : ": these data have no names of classes, so it must be a number "
                                    "from 0 (or give the names, with classes=FILE)");
    return insert_class(r, row, class, text, err);
}

static piece trim(piece p)
{
    for (; p.n > 0 && *p.s == ' '; p.s++, p.n--)
        ;
    while (p.n > 0 && p.s[p.n - 1] == ' ')
        p.n--;
    return p;
}

/* What is in front of the first mark, or all; *rest goes on behind it, or its text is NULL. */
static piece cut(piece *rest, char mark)
{
    const char *at = memchr(rest->s, mark, rest->n);
    piece first = {rest->s, at ? (size_t)(at - rest->s) : rest->n};
    rest->n -= first.n + (at != NULL);
    rest->s = at ? at + 1 : NULL;
    return first;
}

/* Between two TABs stands a class whose name holds commas, or classes that commas separate. */
static vt_status add_field(reader *r, vt_label_row *row, piece field, vt_err *err)
{
    if (!memchr(field.s, ',', field.n) || class_of(r, field) >= 0)
        return add_class(r, row, field, err);
    while (field.s) {
        piece part = cut(&field, ',');
        VT_TRY(add_class(r, row, trim(part), err));
    }
    return VT_OK;
}

static vt_status find_sample(const reader *r, piece name, int64_t *sample, vt_err *err)
{
    if (name.n == 0)
        return vt_fail(err, VT_EFORMAT, "the name of a sample is missing; a row is NAME, TAB, classes");
    *sample = r->samples ? find(r->samples, r->c->count, name) : number_of(name, r->c->count);
    if (*sample >= 0)
        return VT_OK;
    return vt_fail(err, VT_EFORMAT, "no sample is named '%.*s'%s", shown(name), name.s,
                   r->samples ? "" : "; samples are numbered from 0 here");
}

/* Room for one sample's classes; a file of 2 GiB cannot list more of them than uint32_t counts. */
static vt_status reserve(reader *r, vt_err *err)
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
static vt_status begin_row(reader *r, int64_t sample, vt_label_row **row, vt_err *err)
{
    *row = &r->sets.rows[sample];
    if ((*row)->n != UNSEEN)
        return vt_fail(err, VT_EFORMAT, "the sample had a row before");
    VT_TRY(reserve(r, err));
    **row = (vt_label_row){(uint32_t)r->n_labels, 0};
    return VT_OK;
}

static void end_row(reader *r, const vt_label_row *row)
{
    r->n_labels += row->n;
    r->rows++;
}

static vt_status read_row(reader *r, piece line, vt_err *err)
{
    int64_t sample = -1;
    vt_label_row *row;
    if (line.n > 0 && line.s[line.n - 1] == '\r')
        line.n--;
    VT_TRY(find_sample(r, cut(&line, '\t'), &sample, err));
    VT_TRY(begin_row(r, sample, &row, err));
    bool none = !line.s || line.n == 0;
    while (!none && line.s)
        VT_TRY(add_field(r, row, cut(&line, '\t'), err));
    end_row(r, row);
    return VT_OK;
}

static vt_status read_text(reader *r, char *text, size_t size, vt_err *err)
{
    piece rest = {text, size};
    for (int64_t line = 1; rest.s; line++) {
        if (read_row(r, cut(&rest, '\n'), err) != VT_OK)
            return vt_prefix(err, "line %lld", (long long)line);
    }
    return VT_OK;
}

/* --- CSV --- */

static bool is_one_of(const char *s, const char *const *names)
{
    while (*names && strcmp(*names, s) != 0)
        names++;
    return *names != NULL;
}

static vt_status read_csv_header(vt_csv *csv, size_t *name, size_t *label, vt_err *err)
{
    static const char *const names[] = {"path", "name", "key", NULL}, *const labels[] = {"label", "labels", "class",
                                                                                         NULL};
    *name = *label = SIZE_MAX;
    bool last = false;
    for (size_t k = 0; !last; k++) {
        VT_TRY(vt_csv_next_cell(csv, &last, err));
        size_t *place = is_one_of(csv->cell.s, names) ? name : is_one_of(csv->cell.s, labels) ? label : NULL;
        if (place && *place != SIZE_MAX)
            return vt_fail(err, VT_EFORMAT, "two columns could be meant, the latter being '%.100s'", csv->cell.s);
        if (place)
            *place = k;
    }
    if (*name == SIZE_MAX || *label == SIZE_MAX)
        return vt_fail(err, VT_EFORMAT, "no column is named '%s'", *name == SIZE_MAX ? "path" : "label");
    return VT_OK;
}

static vt_status read_csv_row(reader *r, vt_csv *csv, size_t name, size_t label, vt_text texts[2], vt_err *err)
{
    bool last = false;
    int64_t sample;
    vt_label_row *row;
    vt_text_clear(&texts[0]);
    vt_text_clear(&texts[1]);
    for (size_t k = 0; !last; k++) {
        VT_TRY(vt_csv_next_cell(csv, &last, err));
        if (k == name || k == label)
            vt_text_add(&texts[k == label], csv->cell.s);
    }
    VT_TRY(find_sample(r, (piece){texts[0].s, texts[0].len}, &sample, err));
    VT_TRY(begin_row(r, sample, &row, err));
    piece rest = {texts[1].s, texts[1].len};
    for (char *at = texts[1].s; at && *at; at++)
        *at = *at == '|' ? ';' : *at;
    while (rest.n > 0 && rest.s)
        VT_TRY(add_class(r, row, trim(cut(&rest, ';')), err));
    end_row(r, row);
    return VT_OK;
}

static vt_status read_csv(reader *r, const char *text, size_t size, vt_err *err)
{
    vt_csv csv;
    vt_text texts[2] = {{0}, {0}};
    size_t name, label;
    vt_status status = vt_csv_begin(&csv, "CSV", text, size, err);
    if (status == VT_OK)
        status = read_csv_header(&csv, &name, &label, err);
    while (status == VT_OK && vt_csv_next_row(&csv)) {
        size_t line = csv.line;
        if ((status = read_csv_row(r, &csv, name, label, texts, err)) != VT_OK)
            vt_prefix(err, "line %zu", line);
    }
    vt_text_release(&texts[0]);
    vt_text_release(&texts[1]);
    vt_csv_release(&csv);
    return status;
}

/* --- JSON --- */

/* The samples in the order of their names without folders; malloc'ed. */
static vt_status sort_files(const reader *r, entry **files, vt_err *err)
{
    int64_t count = r->c->count;
    *files = malloc((size_t)count * sizeof **files);
    if (!*files)
        return vt_fail(err, VT_ENOMEM, "no memory for the names of %lld samples", (long long)count);
    for (int64_t i = 0; i < count; i++) {
        piece name = r->samples[i].name;
        for (size_t k = name.n; k > 0; k--) {
            if (name.s[k - 1] == '/') {
                name = (piece){name.s + k, name.n - k};
                break;
            }
        }
        (*files)[i] = (entry){name, r->samples[i].index};
    }
    qsort(*files, (size_t)count, sizeof **files, compare_entries);
    for (int64_t i = 1; i < count; i++) {
        piece name = (*files)[i].name;
        if (compare_pieces((*files)[i - 1].name, name) == 0)
            return vt_fail(err, VT_EINVAL,
                           "two files are named '%.*s', so their order is not clear; give rows with names instead",
                           shown(name), name.s);
    }
    return VT_OK;
}

static vt_status read_json_class(reader *r, vt_label_row *row, const json_t *value, vt_err *err)
{
    char number[32];
    if (json_is_string(value))
        return add_class(r, row, (piece){json_string_value(value), json_string_length(value)}, err);
    if (!json_is_integer(value))
        return vt_fail(err, VT_EFORMAT, "what stands for a class is neither a number nor a name");
    int64_t class = json_integer_value(value), limit = r->classes ? r->c->classes : VT_MAX_CLASSES;
    int n = snprintf(number, sizeof number, "%lld", (long long)class);
    if (class < 0 || class >= limit)
        return vt_fail(err, VT_EFORMAT, "there is no class %s: they are numbered from 0 to %lld", number,
                       (long long)limit - 1);
    return insert_class(r, row, class, (piece){number, (size_t)n}, err);
}

static vt_status read_json_rows(reader *r, const json_t *root, const entry *files, vt_err *err)
{
    if (!json_is_array(root) || (int64_t)json_array_size(root) != r->c->count)
        return vt_fail(err, VT_EFORMAT, "it has %zu lists, but there are %lld samples", json_array_size(root),
                       (long long)r->c->count);
    for (int64_t i = 0; i < r->c->count; i++) {
        const json_t *list = json_array_get(root, (size_t)i);
        vt_label_row *row;
        VT_TRY(begin_row(r, files ? files[i].index : i, &row, err));
        if (!json_is_array(list))
            return vt_fail(err, VT_EFORMAT, "element %lld is no list of classes", (long long)i);
        for (size_t k = 0; k < json_array_size(list); k++) {
            if (read_json_class(r, row, json_array_get(list, k), err) != VT_OK)
                return vt_prefix(err, "list %lld", (long long)i);
        }
        end_row(r, row);
    }
    return VT_OK;
}

static vt_status read_json(reader *r, const char *text, size_t size, vt_err *err)
{
    json_t *root = NULL;
    entry *files = NULL;
    VT_TRY(vt_json_parse(text, size, "JSON", &root, err));
    vt_status status = r->samples ? sort_files(r, &files, err) : VT_OK;
    if (status == VT_OK)
        status = read_json_rows(r, root, files, err);
    free(files);
    json_decref(root);
    return status;
}

/* --- the file --- */

static vt_status check_complete(const reader *r, vt_err *err)
{
    if (r->rows == r->c->count)
        return VT_OK;
    int64_t missing = 0;
    while (r->sets.rows[missing].n != UNSEEN)
        missing++;
    char number[32];
    piece name = {number, 0};
    if (r->kind->key)
        name.s = r->kind->key(r->c, missing, &name.n);
    else
        name.n = (size_t)snprintf(number, sizeof number, "%lld", (long long)missing);
    return vt_fail(err, VT_EFORMAT,
                   "no row for the sample '%.*s' (%lld rows, %lld samples); a sample without classes needs a row too",
                   shown(name), name.s, (long long)r->rows, (long long)r->c->count);
}

static vt_status read_rows(reader *r, const char *path, char *text, size_t size, vt_err *err)
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
        r->sets.rows[i] = (vt_label_row){0, UNSEEN};
    VT_TRY(size > 0 && text[0] == '['    ? read_json(r, text, size, err)
           : vt_has_suffix(path, ".csv") ? read_csv(r, text, size, err)
                                         : read_text(r, text, size, err));
    return check_complete(r, err);
}

vt_status vt_label_sets_read(const vt_collection_kind *kind, vt_collection *c, const char *path, vt_err *err)
{
    unsigned char *data = NULL;
    size_t size = 0;
    VT_TRY(vt_file_read(path, MAX_FILE_BYTES, &data, &size, err));
    reader r = {.kind = kind, .c = c, .most = -1};
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
