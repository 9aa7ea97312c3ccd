/* csv:FILE, a list of images with their labels: one column of paths, one of labels (several in one cell stand between
 * ';' or '|'; none: the image has no class). Paths are relative to FILE's folder, or to root=DIR, and stay below it.
 * Order: that of the rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/csv.h"
#include "base/file.h"
#include "base/text.h"
#include "data/collection.h"
#include "data/label_build.h"
#include "data/label_sets.h"

#define MAX_CSV_BYTES  (1u << 31)
#define MAX_PATH_BYTES 4096

typedef struct {
    size_t name; /* offset in names */
    int64_t size;
} row;

typedef struct {
    char *root, *file;
    vt_text names;
    row *rows;
    int64_t n, capacity;
    vt_label_build labels;
} csv;

/* Which cells of a row are wanted. */
typedef struct {
    size_t path, label, n; /* label is SIZE_MAX where labels=FILE makes it unnecessary and it is not there */
} columns;

static vt_status read_header(vt_csv *r, const char *path, const char *label, bool labelled, columns *at, vt_err *err)
{
    vt_text list = {0};
    vt_status status = VT_OK;
    *at = (columns){SIZE_MAX, SIZE_MAX, 0};
    for (bool last = false; !last && status == VT_OK; at->n++) {
        status = vt_csv_next_cell(r, &last, err);
        if (status != VT_OK)
            break;
        size_t *place = strcmp(r->cell.s, path) == 0 ? &at->path : strcmp(r->cell.s, label) == 0 ? &at->label : NULL;
        if (place && *place != SIZE_MAX)
            status = vt_fail(err, VT_EFORMAT, "%s: two columns are named '%.100s'", r->path, r->cell.s);
        else if (place)
            *place = at->n;
        if (list.len < 200)
            vt_text_addf(&list, "%s%.50s", list.len ? ", " : "", r->cell.s);
    }
    if (status == VT_OK && at->path == SIZE_MAX)
        status = vt_fail(err, VT_EINVAL,
                         "%s: no column is named '%.100s', as that of the paths; say which one with "
                         "path=COLUMN (there are: %s)",
                         r->path, path, list.s);
    else if (status == VT_OK && at->label == SIZE_MAX && !labelled)
        status = vt_fail(err, VT_EINVAL,
                         "%s: no column is named '%.100s', as that of the labels; say which one with "
                         "label=COLUMN (there are: %s)",
                         r->path, label, list.s);
    vt_text_release(&list);
    return status;
}

/* Below the root: no "..", and a '/' in front only where the root is "/". */
static vt_status check_path(const csv *f, const char *path, vt_err *err)
{
    if (*path == '\0')
        return vt_fail(err, VT_EFORMAT, "no path stands here");
    if (strlen(path) > MAX_PATH_BYTES)
        return vt_fail(err, VT_EFORMAT, "a path above %d bytes", MAX_PATH_BYTES);
    if (*path == '/' && strcmp(f->root, "/") != 0)
        return vt_fail(err, VT_EFORMAT, "the path '%.200s' is absolute; paths are relative to %s, or give root=/", path,
                       f->root);
    for (const char *at = path; at; at = strchr(at, '/')) {
        at += *at == '/';
        if (strcmp(at, "..") == 0 || strncmp(at, "../", 3) == 0)
            return vt_fail(err, VT_EFORMAT, "the path '%.200s' leads outside of %s; give root=DIR", path, f->root);
    }
    return VT_OK;
}

static vt_status add_row(csv *f, const char *path, uint64_t *changed, vt_err *err)
{
    struct stat st;
    VT_TRY(check_path(f, path, err));
    while (*path == '/')
        path++;
    char *full = vt_path_join(f->root, path);
    vt_status status = VT_OK;
    if (stat(full, &st) != 0)
        status = vt_fail_errno(err, "%s", full);
    else if (!S_ISREG(st.st_mode))
        status = vt_fail(err, VT_EINVAL, "%s is no file", full);
    free(full);
    VT_TRY(status);
    if (f->n == f->capacity) {
        f->capacity = f->capacity ? f->capacity * 2 : 1024;
        f->rows = vt_xrealloc(f->rows, (size_t)f->capacity * sizeof *f->rows);
    }
    f->rows[f->n++] = (row){f->names.len, (int64_t)st.st_size};
    vt_text_addn(&f->names, path, strlen(path) + 1);
    *changed = *changed * 31 + vt_changed_mix(&st);
    return VT_OK;
}

/* A cell of labels: one, or several between ';' or '|'. */
static vt_status add_labels(csv *f, const char *cell, vt_err *err)
{
    while (*cell) {
        size_t n = strcspn(cell, ";|"), used = n;
        bool more = cell[n] != '\0';
        const char *label = cell;
        for (; used > 0 && *label == ' '; label++)
            used--;
        while (used > 0 && label[used - 1] == ' ')
            used--;
        VT_TRY(vt_label_build_add(&f->labels, VT_LABEL_EITHER, label, used, err));
        cell += n + more;
        if (more && *cell == '\0')
            return vt_fail(err, VT_EFORMAT, "no class stands behind the last separator");
    }
    return VT_OK;
}

static vt_status read_row(csv *f, vt_csv *r, const columns *at, uint64_t *changed, vt_err *err)
{
    size_t n = 0;
    vt_text path = {0};
    vt_status status = VT_OK;
    for (bool last = false; !last && status == VT_OK; n++) {
        status = vt_csv_next_cell(r, &last, err);
        if (status == VT_OK && n == at->path)
            vt_text_add(&path, r->cell.s);
        if (status == VT_OK && n == at->label)
            status = add_labels(f, r->cell.s, err);
    }
    if (status == VT_OK)
        status = vt_csv_check_cells(n, at->n, err);
    if (status == VT_OK)
        status = add_row(f, path.s, changed, err);
    if (status == VT_OK && at->label != SIZE_MAX)
        status = vt_label_build_end(&f->labels, err);
    vt_text_release(&path);
    return status;
}

static vt_status read_rows(csv *f, vt_csv *r, const vt_spec *spec, uint64_t *changed, vt_err *err)
{
    const char *path = vt_spec_get(spec, "path"), *label = vt_spec_get(spec, "label");
    bool labelled = vt_spec_get(spec, "labels") != NULL;
    columns at;
    VT_TRY(read_header(r, path ? path : "path", label ? label : "label", labelled, &at, err));
    if (labelled)
        at.label = SIZE_MAX;
    while (vt_csv_next_row(r)) {
        size_t line = r->line;
        if (read_row(f, r, &at, changed, err) != VT_OK)
            return vt_prefix(err, "%s:%zu", r->path, line);
    }
    if (f->n == 0)
        return vt_fail(err, VT_EINVAL, "%s: no row follows the header", r->path);
    return VT_OK;
}

static vt_status csv_open(vt_collection *c, const vt_spec *spec, vt_err *err)
{
    csv *f = c->state = vt_xcalloc(1, sizeof *f);
    const char *root = vt_spec_get(spec, "root"), *slash = strrchr(spec->place, '/');
    f->file = vt_xstrdup(vt_path_base(spec->place));
    f->root = root && *root          ? vt_xstrdup(root)
              : slash == spec->place ? vt_xstrdup("/")
              : slash                ? vt_xasprintf("%.*s", (int)(slash - spec->place), spec->place)
                                     : vt_xstrdup(".");
    unsigned char *data = NULL;
    size_t size = 0;
    VT_TRY(vt_file_read(spec->place, MAX_CSV_BYTES, &data, &size, err));
    vt_csv r;
    vt_status status = vt_csv_begin(&r, spec->place, data, size, err);
    if (status == VT_OK)
        status = read_rows(f, &r, spec, &c->changed, err);
    vt_csv_release(&r);
    free(data);
    VT_TRY(status);
    c->count = f->n;
    c->resident = (size_t)f->capacity * sizeof *f->rows + f->names.cap;
    status = vt_spec_get(spec, "labels") ? vt_collection_name_classes(c, spec, 0, err)
                                         : vt_label_build_finish(&f->labels, &vt_csv_kind, c, spec, err);
    vt_label_build_release(&f->labels);
    return status;
}

static void csv_close(vt_collection *c)
{
    csv *f = c->state;
    if (!f)
        return;
    free(f->root);
    free(f->file);
    free(f->rows);
    vt_text_release(&f->names);
    vt_label_build_release(&f->labels);
    free(f);
}

static const char *name_of(const csv *f, int64_t i)
{
    return f->names.s + f->rows[i].name;
}

static void csv_name(const vt_collection *c, int64_t i, char *buf, size_t size)
{
    const csv *f = c->state;
    snprintf(buf, size, "%s:%s", f->file, name_of(f, i));
}

static const char *csv_key(const vt_collection *c, int64_t i, size_t *n)
{
    const char *name = name_of(c->state, i);
    *n = strlen(name);
    return name;
}

static void csv_identify_sample(const vt_collection *c, int64_t i, vt_hasher *h)
{
    const csv *f = c->state;
    const char *name = name_of(f, i);
    char numbers[64];
    int n = snprintf(numbers, sizeof numbers, "%lld %lld", (long long)f->rows[i].size,
                     (long long)vt_label_sets_first(&vt_csv_kind, c, i));
    vt_hasher_add(h, name, strlen(name) + 1);
    vt_hasher_add(h, numbers, (size_t)n + 1);
}

static int64_t csv_stored_bytes(const vt_collection *c, int64_t i)
{
    const csv *f = c->state;
    return f->rows[i].size;
}

static vt_status csv_fetch(const vt_collection *c, int64_t i, vt_read_buffer *b, vt_err *err)
{
    const csv *f = c->state;
    char *path = vt_path_join(f->root, name_of(f, i));
    vt_status status = vt_read_buffer_file(b, path, err);
    free(path);
    return status;
}

static vt_status csv_fetch_end(const vt_collection *c, int64_t i, unsigned char *end, size_t n, vt_err *err)
{
    const csv *f = c->state;
    char *path = vt_path_join(f->root, name_of(f, i));
    vt_status status = vt_read_file_end(path, f->rows[i].size, end, n, err);
    free(path);
    return status;
}

const vt_collection_kind vt_csv_kind = {
    .name = "csv",
    .options = {"path", "label", "root", "classes"},
    .open = csv_open,
    .close = csv_close,
    .sample_name = csv_name,
    .key = csv_key,
    .identify_sample = csv_identify_sample,
    .stored_bytes = csv_stored_bytes,
    .fetch = csv_fetch,
    .fetch_end = csv_fetch_end,
};
