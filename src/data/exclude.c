/* The names are sorted once; every image of the collection is looked up among them. */
#include "data/exclude.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

#define MAX_BYTES ((size_t)1 << 30)

typedef struct {
    const char *name;
    size_t line; /* from 1 */
    bool found;
} entry;

typedef struct {
    char *text;
    entry *entries; /* sorted, each name once */
    size_t n;
} list;

static int by_name(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    const int order = strcmp(x->name, y->name);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

static vt_status read_list(list *l, const char *path, vt_err *err)
{
    unsigned char *data;
    size_t size, lines = 1;
    VT_TRY(vt_file_read(path, MAX_BYTES, &data, &size, err));
    l->text = (char *)data;
    if (memchr(data, '\0', size))
        return vt_fail(err, VT_EFORMAT, "%s: holds a zero byte; it must hold a name a line", path);
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    l->entries = vt_xcalloc(lines, sizeof *l->entries);
    char *next = l->text;
    for (size_t line = 1; next; line++) {
        char *name = next, *end = strchr(name, '\n');
        next = end ? end + 1 : NULL;
        end = end ? end : name + strlen(name);
        if (end > name && end[-1] == '\r')
            end--;
        *end = '\0';
        if (*name)
            l->entries[l->n++] = (entry){name, line, false};
    }
    qsort(l->entries, l->n, sizeof *l->entries, by_name);
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++)
        if (kept == 0 || strcmp(l->entries[i].name, l->entries[kept - 1].name) != 0)
            l->entries[kept++] = l->entries[i];
    l->n = kept;
    return VT_OK;
}

static entry *find(const list *l, const char *name, size_t n)
{
    size_t low = 0, high = l->n;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        int order = strncmp(l->entries[middle].name, name, n);
        if (order == 0)
            order = l->entries[middle].name[n] != '\0';
        if (order == 0)
            return &l->entries[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* Notes in listed[i] whether sample i of the collection is on the list. A name that two have is refused: shards that
 * each begin at 000000 would lose an image apiece. */
static vt_status mark(const vt_collection_kind *kind, const vt_collection *c, const list *l, bool *listed,
                      const char *path, vt_err *err)
{
    for (int64_t i = 0; i < c->count; i++) {
        char index[32];
        size_t n = (size_t)snprintf(index, sizeof index, "%lld", (long long)i);
        const char *name = kind->key ? kind->key(c, i, &n) : index;
        entry *e = find(l, name, n);
        listed[i] = e != NULL;
        if (e && e->found)
            return vt_fail(err, VT_EINVAL,
                           "%s: line %zu: two images are named '%.300s', so the line cannot tell which it means", path,
                           e->line, e->name);
        if (e)
            e->found = true;
    }
    return VT_OK;
}

static vt_status check_found(const list *l, const char *path, vt_err *err)
{
    for (size_t i = 0; i < l->n; i++)
        if (!l->entries[i].found)
            return vt_fail(err, VT_EINVAL, "%s: line %zu: '%.300s' is no image of these data", path, l->entries[i].line,
                           l->entries[i].name);
    return VT_OK;
}

static vt_status leave_out(const bool *listed, const char *path, uint32_t **chosen, int64_t *n, vt_err *err)
{
    int64_t kept = 0;
    uint32_t *left = vt_xcalloc((size_t)*n, sizeof *left);
    for (int64_t i = 0; i < *n; i++) {
        const uint32_t sample = *chosen ? (*chosen)[i] : (uint32_t)i;
        if (!listed[sample])
            left[kept++] = sample;
    }
    free(*chosen);
    *chosen = left;
    *n = kept;
    return kept > 0 ? VT_OK : vt_fail(err, VT_EINVAL, "%s leaves out every image", path);
}

vt_status vt_exclude(const vt_collection_kind *kind, const vt_collection *c, const char *path, uint32_t **chosen,
                     int64_t *n, vt_err *err)
{
    list l = {0};
    if (c->endless || c->count > INT32_MAX)
        return vt_fail(err, VT_EUNSUPPORTED, "exclude=FILE chooses among at most %d images", INT32_MAX);
    vt_status status = read_list(&l, path, err);
    if (status == VT_OK) {
        bool *listed = vt_xcalloc((size_t)c->count, sizeof *listed);
        status = mark(kind, c, &l, listed, path, err);
        if (status == VT_OK)
            status = check_found(&l, path, err);
        if (status == VT_OK)
            status = leave_out(listed, path, chosen, n, err);
        free(listed);
    }
    free(l.entries);
    free(l.text);
    return status;
}
