/* labels=FILE as CSV and as JSON (label_sets.h). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/csv.h"
#include "base/json.h"
#include "base/text.h"
#include "data/label_rows.h"

/* --- CSV --- */

static bool is_one_of(const char *s, const char *const *names)
{
    while (*names && strcmp(*names, s) != 0)
        names++;
    return *names != NULL;
}

/* Which cells of a row are wanted, and how many a row has. */
typedef struct {
    size_t name, label, n;
} columns;

static vt_status read_csv_header(vt_csv *csv, columns *at, vt_err *err)
{
    static const char *const names[] = {"path", "name", "key", NULL}, *const labels[] = {"label", "labels", "class",
                                                                                         NULL};
    *at = (columns){SIZE_MAX, SIZE_MAX, 0};
    for (bool last = false; !last; at->n++) {
        VT_TRY(vt_csv_next_cell(csv, &last, err));
        size_t *place = is_one_of(csv->cell.s, names) ? &at->name : is_one_of(csv->cell.s, labels) ? &at->label : NULL;
        if (place && *place != SIZE_MAX)
            return vt_fail(err, VT_EFORMAT, "two columns could be meant, the latter being '%.100s'", csv->cell.s);
        if (place)
            *place = at->n;
    }
    if (at->name == SIZE_MAX || at->label == SIZE_MAX)
        return vt_fail(err, VT_EFORMAT, "no column is named '%s'", at->name == SIZE_MAX ? "path" : "label");
    return VT_OK;
}

static vt_status read_csv_row(vt_label_reader *r, vt_csv *csv, const columns *at, vt_text texts[2], vt_err *err)
{
    size_t n = 0;
    int64_t sample;
    vt_label_row *row;
    vt_text_clear(&texts[0]);
    vt_text_clear(&texts[1]);
    for (bool last = false; !last; n++) {
        VT_TRY(vt_csv_next_cell(csv, &last, err));
        if (n == at->name || n == at->label)
            vt_text_add(&texts[n == at->label], csv->cell.s);
    }
    VT_TRY(vt_csv_check_cells(n, at->n, err));
    VT_TRY(vt_label_find_sample(r, (vt_piece){texts[0].s, texts[0].len}, &sample, err));
    VT_TRY(vt_label_begin_row(r, sample, &row, err));
    vt_piece rest = {texts[1].s, texts[1].len};
    for (char *c = texts[1].s; c && *c; c++)
        *c = *c == '|' ? ';' : *c;
    const bool none = rest.n == 0;
    while (!none && rest.s)
        VT_TRY(vt_label_add_class(r, row, vt_piece_trim(vt_piece_cut(&rest, ';')), err));
    vt_label_end_row(r, row);
    return VT_OK;
}

vt_status vt_label_read_csv(vt_label_reader *r, const char *text, size_t size, vt_err *err)
{
    vt_csv csv;
    vt_text texts[2] = {{0}, {0}};
    columns at;
    vt_status status = vt_csv_begin(&csv, "CSV", text, size, err);
    if (status == VT_OK)
        status = read_csv_header(&csv, &at, err);
    while (status == VT_OK && vt_csv_next_row(&csv)) {
        size_t line = csv.line;
        if ((status = read_csv_row(r, &csv, &at, texts, err)) != VT_OK)
            vt_prefix(err, "line %zu", line);
    }
    vt_text_release(&texts[0]);
    vt_text_release(&texts[1]);
    vt_csv_release(&csv);
    return status;
}

/* --- JSON --- */

/* Parsed, a text takes many times its bytes. A sample's list is rarely above a hundred. */
#define JSON_SAMPLE_BYTES 4096
#define JSON_LEAST_BYTES  ((uint64_t)1 << 20)

static vt_status check_json_size(size_t size, int64_t samples, vt_err *err)
{
    const uint64_t room = 64 + (uint64_t)samples * JSON_SAMPLE_BYTES;
    const uint64_t most = room > JSON_LEAST_BYTES ? room : JSON_LEAST_BYTES;
    if (size <= most)
        return VT_OK;
    return vt_fail(err, VT_EFORMAT,
                   "%zu bytes of JSON; for %lld samples the limit is %llu (%d a sample, at least 1 MiB); write rows of "
                   "text or CSV instead",
                   size, (long long)samples, (unsigned long long)most, JSON_SAMPLE_BYTES);
}

/* The samples in the order of their names without folders; malloc'ed. */
static vt_status sort_files(const vt_label_reader *r, vt_label_entry **files, vt_err *err)
{
    int64_t count = r->c->count;
    *files = malloc((size_t)count * sizeof **files);
    if (!*files)
        return vt_fail(err, VT_ENOMEM, "no memory for the names of %lld samples", (long long)count);
    for (int64_t i = 0; i < count; i++) {
        vt_piece name = r->samples[i].name;
        for (size_t k = name.n; k > 0; k--) {
            if (name.s[k - 1] == '/') {
                name = (vt_piece){name.s + k, name.n - k};
                break;
            }
        }
        (*files)[i] = (vt_label_entry){name, r->samples[i].index};
    }
    qsort(*files, (size_t)count, sizeof **files, vt_label_compare_entries);
    for (int64_t i = 1; i < count; i++) {
        vt_piece name = (*files)[i].name;
        if (vt_piece_compare((*files)[i - 1].name, name) == 0)
            return vt_fail(err, VT_EINVAL,
                           "two files are named '%.*s', so their order is not clear; give rows with names instead",
                           vt_piece_shown(name), name.s);
    }
    return VT_OK;
}

static vt_status read_json_class(vt_label_reader *r, vt_label_row *row, const json_t *value, vt_err *err)
{
    char number[32];
    if (json_is_string(value))
        return vt_label_add_class(r, row, (vt_piece){json_string_value(value), json_string_length(value)}, err);
    if (!json_is_integer(value))
        return vt_fail(err, VT_EFORMAT, "what stands for a class is neither a number nor a name");
    int64_t class = json_integer_value(value), limit = r->classes ? r->c->classes : VT_MAX_CLASSES;
    int n = snprintf(number, sizeof number, "%lld", (long long)class);
    if (class < 0 || class >= limit)
        return vt_fail(err, VT_EFORMAT, "there is no class %s: they are numbered from 0 to %lld", number,
                       (long long)limit - 1);
    return vt_label_insert_class(r, row, class, (vt_piece){number, (size_t)n}, err);
}

static vt_status read_json_rows(vt_label_reader *r, const json_t *root, const vt_label_entry *files, vt_err *err)
{
    if (!json_is_array(root) || (int64_t)json_array_size(root) != r->c->count)
        return vt_fail(err, VT_EFORMAT, "it has %zu lists, but there are %lld samples", json_array_size(root),
                       (long long)r->c->count);
    for (int64_t i = 0; i < r->c->count; i++) {
        const json_t *list = json_array_get(root, (size_t)i);
        vt_label_row *row;
        VT_TRY(vt_label_begin_row(r, files ? files[i].index : i, &row, err));
        if (!json_is_array(list))
            return vt_fail(err, VT_EFORMAT, "element %lld is no list of classes", (long long)i);
        for (size_t k = 0; k < json_array_size(list); k++) {
            if (read_json_class(r, row, json_array_get(list, k), err) != VT_OK)
                return vt_prefix(err, "list %lld", (long long)i);
        }
        vt_label_end_row(r, row);
    }
    return VT_OK;
}

vt_status vt_label_read_json(vt_label_reader *r, const char *text, size_t size, vt_err *err)
{
    json_t *root = NULL;
    vt_label_entry *files = NULL;
    VT_TRY(check_json_size(size, r->c->count, err));
    VT_TRY(vt_json_parse(text, size, "JSON", &root, err));
    vt_status status = r->samples ? sort_files(r, &files, err) : VT_OK;
    if (status == VT_OK)
        status = read_json_rows(r, root, files, err);
    free(files);
    json_decref(root);
    return status;
}
