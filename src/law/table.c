/* Tables: storage with its limits, columns by name, and the choice of reader. Texts lie behind one another in one
 * block; a cell is an offset into it. */
#include "law/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "law/table_build.h"

#define INDEX_SIZE 4096 /* a power of two, at least twice VT_TABLE_MAX_COLUMNS */

static_assert(INDEX_SIZE >= 2 * VT_TABLE_MAX_COLUMNS, "the hash table of columns must stay half empty");

static uint32_t hash_name(const char *name, size_t n)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)name[i]) * 16777619u;
    return h;
}

vt_status vt_table_column(vt_table *t, const char *name, size_t n, bool add, size_t *column, vt_err *err)
{
    if (!t->index)
        t->index = vt_xcalloc(INDEX_SIZE, sizeof *t->index);
    uint32_t slot = hash_name(name, n) % INDEX_SIZE;
    for (; t->index[slot]; slot = (slot + 1) % INDEX_SIZE) {
        const char *have = t->columns[t->index[slot] - 1];
        if (strlen(have) == n && memcmp(have, name, n) == 0) {
            *column = t->index[slot] - 1;
            return VT_OK;
        }
    }
    *column = SIZE_MAX;
    if (!add)
        return VT_OK;
    if (t->n_columns == VT_TABLE_MAX_COLUMNS)
        return vt_fail(err, VT_EFORMAT, "%s has more than %d columns; leave out those that are not needed", t->path,
                       VT_TABLE_MAX_COLUMNS);
    if (n > VT_TABLE_MAX_CELL || memchr(name, '\0', n))
        return vt_fail(err, VT_EFORMAT, "%s: the name of column %zu is no text of at most %d bytes", t->path,
                       t->n_columns + 1, VT_TABLE_MAX_CELL);
    t->columns = vt_xrealloc(t->columns, (t->n_columns + 1) * sizeof *t->columns);
    char *copy = vt_xmalloc(n + 1);
    memcpy(copy, name, n);
    copy[n] = '\0';
    *column = t->n_columns;
    t->columns[t->n_columns++] = copy;
    t->index[slot] = (uint32_t)t->n_columns;
    return VT_OK;
}

vt_status vt_table_add_row(vt_table *t, vt_err *err)
{
    const size_t need = (t->n_rows + 1) * t->n_columns;
    if (t->n_rows == VT_TABLE_MAX_ROWS)
        return vt_fail(err, VT_EFORMAT, "%s has more than %d rows; keep one row a run, or thin out its moments",
                       t->path, VT_TABLE_MAX_ROWS);
    if (need > VT_TABLE_MAX_CELLS)
        return vt_fail(err, VT_EFORMAT, "%s has more than %d cells (%zu columns); leave out columns", t->path,
                       VT_TABLE_MAX_CELLS, t->n_columns);
    if (need > t->cells_cap) {
        t->cells_cap = need * 2;
        t->cells = vt_xrealloc(t->cells, t->cells_cap * sizeof *t->cells);
    }
    memset(t->cells + t->n_rows * t->n_columns, 0, t->n_columns * sizeof *t->cells);
    t->n_rows++;
    return VT_OK;
}

vt_status vt_table_set(vt_table *t, size_t column, const char *s, size_t n, vt_err *err)
{
    assert(t->n_rows > 0 && column < t->n_columns);
    if (n == 0)
        return VT_OK;
    if (n > VT_TABLE_MAX_CELL || memchr(s, '\0', n))
        return vt_fail(err, VT_EFORMAT, "%s: a cell of column \"%.60s\" is no text of at most %d bytes", t->path,
                       t->columns[column], VT_TABLE_MAX_CELL);
    if (t->text_len + n + 2 > t->text_cap) {
        t->text_cap = (t->text_len + n + 2) * 2;
        t->text = vt_xrealloc(t->text, t->text_cap);
    }
    if (t->text_len == 0)
        t->text[t->text_len++] = '\0';
    if (t->text_len > UINT32_MAX - n - 1)
        return vt_fail(err, VT_EFORMAT, "%s has more than 4 GB of text", t->path);
    t->cells[(t->n_rows - 1) * t->n_columns + column] = (uint32_t)t->text_len;
    memcpy(t->text + t->text_len, s, n);
    t->text_len += n;
    t->text[t->text_len++] = '\0';
    return VT_OK;
}

void vt_table_torn(vt_table *t, size_t line, const char *why)
{
    if (t->n_torn++ == 0) {
        t->torn_line = line;
        t->torn_why = why;
    }
}

const char *vt_table_cell(const vt_table *t, size_t row, size_t column)
{
    assert(row < t->n_rows && column < t->n_columns);
    const uint32_t offset = t->cells[row * t->n_columns + column];
    return offset ? t->text + offset : "";
}

bool vt_table_has(const vt_table *t, const char *name, size_t *column)
{
    for (size_t i = 0; i < t->n_columns; i++)
        if (strcmp(t->columns[i], name) == 0) {
            *column = i;
            return true;
        }
    return false;
}

vt_status vt_table_find(const vt_table *t, const char *name, size_t *column, vt_err *err)
{
    if (vt_table_has(t, name, column))
        return VT_OK;
    const char *near = vt_nearest(name, (const char *const *)t->columns, t->n_columns);
    if (near)
        return vt_fail(err, VT_EINVAL, "%s has no column \"%.60s\"; did you mean \"%.60s\"?", t->path, name, near);
    vt_text list = {0};
    for (size_t i = 0; i < t->n_columns && list.len < 300; i++)
        vt_text_addf(&list, "%s%.60s", i ? ", " : "", t->columns[i]);
    vt_status status = vt_fail(err, VT_EINVAL, "%s has no column \"%.60s\"; its columns are %s%s", t->path, name,
                               list.len ? list.s : "none", list.len >= 300 ? ", ..." : "");
    vt_text_release(&list);
    return status;
}

/* Whether data are JSON lines: the first byte that is no blank opens an object. */
static bool looks_like_json(const unsigned char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!strchr(" \t\r\n", data[i]) || data[i] == '\0')
            return data[i] == '{';
    return false;
}

vt_status vt_table_parse(vt_table *t, const char *place, const unsigned char *data, size_t size, vt_err *err)
{
    *t = (vt_table){.path = vt_xstrdup(place)};
    vt_hash_bytes(data, size, t->hash);
    vt_status status = VT_OK;
    if (size > VT_TABLE_MAX_BYTES)
        status = vt_fail(err, VT_EFORMAT, "%s has %zu bytes; at most %zu are read", place, size, VT_TABLE_MAX_BYTES);
    else if (vt_table_looks_like_events(data, size))
        status = vt_table_read_events(t, data, size, err);
    else if (looks_like_json(data, size))
        status = vt_table_read_json(t, data, size, err);
    else
        status = vt_table_read_csv(t, data, size, err);
    if (status == VT_OK)
        status = vt_table_unfold_wandb(t, err);
    if (status == VT_OK && t->n_rows == 0)
        status = vt_fail(err, VT_EFORMAT, "%s has no rows of data%s%s", place, t->n_torn ? ": " : "",
                         t->n_torn ? t->torn_why : "");
    if (status != VT_OK)
        vt_table_release(t);
    return status;
}

vt_status vt_table_load(vt_table *t, const char *path, vt_err *err)
{
    unsigned char *data;
    size_t size;
    *t = (vt_table){0};
    char *inside = vt_is_dir(path) ? vt_path_join(path, "metrics.jsonl") : vt_xstrdup(path);
    vt_status status = vt_file_read(inside, VT_TABLE_MAX_BYTES, &data, &size, err);
    if (status == VT_OK) {
        status = vt_table_parse(t, inside, data, size, err);
        free(data);
    }
    free(inside);
    return status;
}

void vt_table_release(vt_table *t)
{
    for (size_t i = 0; i < t->n_columns; i++)
        free(t->columns[i]);
    free(t->columns);
    free(t->cells);
    free(t->text);
    free(t->index);
    free(t->path);
    *t = (vt_table){0};
}
