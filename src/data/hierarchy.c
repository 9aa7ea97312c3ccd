/* The hierarchy: names become nodes (classes first), lines become edges sorted by child, and a walk upwards from each
 * class collects what lies above it. Walks are loops with a stack of their own, so that no file exhausts that of the
 * thread. */
#include "data/hierarchy.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "data/names.h"

#define MAX_FILE_BYTES (64u << 20)

typedef struct {
    int32_t child, parent;
    int64_t line;
} edge;

typedef struct {
    vt_names names; /* nodes; the first `own` are the data's classes */
    int64_t own;
    edge *edges;
    int64_t n_edges, capacity;
    int64_t *first; /* edges of node i: first[i] .. first[i + 1] - 1 */
} graph;

static vt_status add_line(graph *g, const char *line, size_t n, int64_t number, vt_err *err)
{
    const char *tab = memchr(line, '\t', n);
    size_t child = tab ? (size_t)(tab - line) : n, parent = tab ? n - child - 1 : 0;
    if (child == 0 || parent == 0 || memchr(tab + 1, '\t', parent))
        return vt_fail(err, VT_EFORMAT, "the line is not CHILD, TAB, PARENT");
    edge e = {vt_names_add(&g->names, line, child), vt_names_add(&g->names, tab + 1, parent), number};
    if (g->names.n > 2 * VT_MAX_CLASSES)
        return vt_fail(err, VT_EUNSUPPORTED, "more than %d names", 2 * VT_MAX_CLASSES);
    if (e.child == e.parent)
        return vt_fail(err, VT_EFORMAT, "'%.100s' is its own parent", vt_names_get(&g->names, e.child));
    if (g->n_edges == g->capacity) {
        g->capacity = g->capacity ? g->capacity * 2 : 256;
        g->edges = vt_xrealloc(g->edges, (size_t)g->capacity * sizeof *g->edges);
    }
    g->edges[g->n_edges++] = e;
    return VT_OK;
}

static vt_status read_lines(graph *g, const char *text, size_t size, vt_err *err)
{
    if (memchr(text, '\0', size))
        return vt_fail(err, VT_EFORMAT, "not a text file");
    const char *end = text + size;
    int64_t number = 1;
    for (const char *line = text, *next; line < end; line = next, number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        next = stop ? stop + 1 : end;
        size_t n = (size_t)((stop ? stop : end) - line);
        n -= n > 0 && line[n - 1] == '\r';
        if (n > 0 && add_line(g, line, n, number, err) != VT_OK)
            return vt_prefix(err, "line %lld", (long long)number);
    }
    return g->n_edges > 0 ? VT_OK : vt_fail(err, VT_EFORMAT, "no line; a line is CHILD, TAB, PARENT");
}

static int compare_edges(const void *a, const void *b)
{
    const edge *x = a, *y = b;
    if (x->child != y->child)
        return x->child < y->child ? -1 : 1;
    return (x->parent > y->parent) - (x->parent < y->parent);
}

static vt_status sort_edges(graph *g, vt_err *err)
{
    qsort(g->edges, (size_t)g->n_edges, sizeof *g->edges, compare_edges);
    for (int64_t k = 1; k < g->n_edges; k++) {
        if (compare_edges(&g->edges[k - 1], &g->edges[k]) == 0)
            return vt_fail(err, VT_EFORMAT, "lines %lld and %lld say the same",
                           (long long)(g->edges[k - 1].line < g->edges[k].line ? g->edges[k - 1] : g->edges[k]).line,
                           (long long)(g->edges[k - 1].line < g->edges[k].line ? g->edges[k] : g->edges[k - 1]).line);
    }
    g->first = vt_xcalloc((size_t)g->names.n + 2, sizeof *g->first);
    for (int64_t k = 0; k < g->n_edges; k++)
        g->first[g->edges[k].child + 1]++;
    for (int32_t i = 0; i < g->names.n; i++)
        g->first[i + 1] += g->first[i];
    return VT_OK;
}

static vt_status fail_cycle(const graph *g, const int32_t *path, int64_t from, int64_t to, vt_err *err)
{
    vt_text text = {0};
    for (int64_t k = from; k < to && text.len < 300; k++)
        vt_text_addf(&text, "'%.60s' below ", vt_names_get(&g->names, path[k]));
    vt_text_addf(&text, "'%.60s'", vt_names_get(&g->names, path[from]));
    vt_status status = vt_fail(err, VT_EFORMAT, "a class lies above itself: %s", text.s);
    vt_text_release(&text);
    return status;
}

/* Depth first from every node; one that is met again while it is on the path closes a cycle. */
static vt_status check_cycles(const graph *g, vt_err *err)
{
    size_t n = (size_t)g->names.n;
    unsigned char *state = vt_xcalloc(n, 1); /* 1: on the path, 2: done */
    int32_t *path = vt_xmalloc(n * sizeof *path);
    int64_t *at = vt_xmalloc(n * sizeof *at); /* next edge of each node on the path */
    vt_status status = VT_OK;
    for (int32_t start = 0; start < g->names.n && status == VT_OK; start++) {
        int64_t depth = 0;
        if (state[start] == 0) {
            state[start] = 1;
            path[0] = start;
            at[0] = g->first[start];
            depth = 1;
        }
        while (depth > 0 && status == VT_OK) {
            int32_t node = path[depth - 1];
            if (at[depth - 1] == g->first[node + 1]) {
                state[node] = 2;
                depth--;
                continue;
            }
            int32_t parent = g->edges[at[depth - 1]++].parent;
            if (state[parent] == 1) {
                int64_t from = depth - 1;
                while (path[from] != parent)
                    from--;
                status = fail_cycle(g, path, from, depth, err);
            } else if (state[parent] == 0) {
                state[parent] = 1;
                path[depth] = parent;
                at[depth++] = g->first[parent];
            }
        }
    }
    free(state);
    free(path);
    free(at);
    return status;
}

/* Everything above a node into above (room for VT_MAX_LABELS), as nodes. Returns how many, or -1 where they do not fit.
 */
static int collect(const graph *g, int32_t node, int32_t *above)
{
    int n = 0;
    for (int done = -1; done < n; done++) {
        int32_t from = done < 0 ? node : above[done];
        for (int64_t k = g->first[from]; k < g->first[from + 1]; k++) {
            int32_t parent = g->edges[k].parent;
            bool known = false;
            for (int i = 0; i < n && !known; i++)
                known = above[i] == parent;
            if (!known && n == VT_MAX_LABELS - 1)
                return -1;
            if (!known)
                above[n++] = parent;
        }
    }
    return n;
}

/* Marks what lies above any of the data's classes. */
static bool *mark_above(const graph *g)
{
    bool *marked = vt_xcalloc((size_t)g->names.n, sizeof *marked);
    int32_t *stack = vt_xmalloc((size_t)g->names.n * sizeof *stack);
    int64_t n = 0;
    for (int64_t c = 0; c < g->own; c++)
        stack[n++] = (int32_t)c;
    while (n > 0) {
        int32_t node = stack[--n];
        for (int64_t k = g->first[node]; k < g->first[node + 1]; k++) {
            int32_t parent = g->edges[k].parent;
            if (!marked[parent]) {
                marked[parent] = true;
                if (parent >= g->own) /* the others are on the stack from the start */
                    stack[n++] = parent;
            }
        }
    }
    free(stack);
    return marked;
}

/* Names that have to do with no class of the data are said, since a misspelled one is among them. */
static vt_status check_known(const graph *g, const bool *above, const char *path, vt_err *err)
{
    int64_t strange = 0, used = 0;
    const char *name = NULL;
    for (int32_t i = (int32_t)g->own; i < g->names.n; i++) {
        if (!above[i] && strange++ == 0)
            name = vt_names_get(&g->names, i);
    }
    for (int64_t c = 0; c < g->own; c++)
        used += g->first[c + 1] > g->first[c];
    if (used == 0)
        return vt_fail(err, VT_EINVAL,
                       "none of the data's classes has a parent here; the first of them is '%.100s', the "
                       "first child '%.100s'",
                       vt_names_get(&g->names, 0), vt_names_get(&g->names, g->edges[0].child));
    if (strange > 0)
        vt_log(VT_LOG_WARN, "%s: %lld names, the first '%.100s', are no classes of these data and lie above none", path,
               (long long)strange, name);
    return VT_OK;
}

/* --- classes --- */

/* The marked names become classes behind the data's; class_of: of each node, or -1. */
static vt_status add_classes(vt_collection *c, const graph *g, const bool *above, int32_t *class_of, vt_err *err)
{
    int32_t *sorted = vt_names_sorted(&g->names);
    int64_t n = g->own;
    for (int32_t i = 0; i < g->names.n; i++)
        class_of[i] = i < g->own ? i : -1;
    for (int32_t k = 0; k < g->names.n; k++) {
        if (sorted[k] >= g->own && above[sorted[k]])
            class_of[sorted[k]] = (int32_t)n++;
    }
    vt_status status = VT_OK;
    if (n > VT_MAX_CLASSES) {
        status = vt_fail(err, VT_EUNSUPPORTED, "more than %d classes with their ancestors", VT_MAX_CLASSES);
    } else {
        c->class_names = vt_xrealloc(c->class_names, (size_t)n * sizeof *c->class_names);
        for (int32_t i = (int32_t)g->own; i < g->names.n; i++) {
            if (class_of[i] >= 0)
                c->class_names[class_of[i]] = vt_xstrdup(vt_names_get(&g->names, i));
        }
        c->classes = n;
    }
    free(sorted);
    return status;
}

static int compare_classes(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static vt_status list_ancestors(vt_hierarchy *h, const vt_collection *c, const graph *g, const int32_t *class_of,
                                vt_err *err)
{
    int32_t above[VT_MAX_LABELS], *node_of = vt_xmalloc((size_t)c->classes * sizeof *node_of);
    size_t capacity = 0;
    vt_status status = VT_OK;
    for (int32_t i = 0; i < g->names.n; i++) {
        if (class_of[i] >= 0)
            node_of[class_of[i]] = i;
    }
    h->first = vt_xcalloc((size_t)c->classes + 1, sizeof *h->first);
    for (int64_t k = 0; k < c->classes && status == VT_OK; k++) {
        int n = collect(g, node_of[k], above);
        if (n < 0) {
            status = vt_fail(err, VT_EUNSUPPORTED,
                             "'%.100s' has more than %d ancestors; with itself a sample has at most "
                             "%d classes",
                             c->class_names[k], VT_MAX_LABELS - 1, VT_MAX_LABELS);
            break;
        }
        for (int i = 0; i < n; i++)
            above[i] = class_of[above[i]];
        qsort(above, (size_t)n, sizeof *above, compare_classes);
        h->first[k + 1] = h->first[k] + (uint32_t)n;
        if (h->first[k + 1] > capacity) {
            capacity = capacity * 2 + VT_MAX_LABELS;
            h->ancestors = vt_xrealloc(h->ancestors, capacity * sizeof *h->ancestors);
        }
        if (n > 0)
            memcpy(h->ancestors + h->first[k], above, (size_t)n * sizeof *above);
    }
    free(node_of);
    h->bytes += ((size_t)c->classes + 1) * sizeof *h->first + capacity * sizeof *h->ancestors;
    return status;
}

static vt_status build(vt_hierarchy *h, vt_collection *c, graph *g, const char *path, bool ancestors, vt_err *err)
{
    VT_TRY(sort_edges(g, err));
    VT_TRY(check_cycles(g, err));
    bool *above = mark_above(g);
    int32_t *class_of = vt_xmalloc((size_t)g->names.n * sizeof *class_of);
    vt_status status = check_known(g, above, path, err);
    for (int32_t i = 0; i < g->names.n; i++)
        class_of[i] = i < g->own ? i : -1;
    if (status == VT_OK && ancestors)
        status = add_classes(c, g, above, class_of, err);
    h->inner = vt_xcalloc((size_t)c->classes, sizeof *h->inner);
    h->bytes = (size_t)c->classes * sizeof *h->inner;
    for (int64_t k = 0; k < g->n_edges; k++) {
        if (class_of[g->edges[k].parent] >= 0)
            h->inner[class_of[g->edges[k].parent]] = true;
    }
    if (status == VT_OK && ancestors)
        status = list_ancestors(h, c, g, class_of, err);
    free(above);
    free(class_of);
    return status;
}

vt_status vt_hierarchy_read(vt_collection *c, const char *path, bool ancestors, vt_err *err)
{
    unsigned char *data = NULL;
    size_t size = 0;
    graph g = {.own = c->classes};
    if (!c->class_names)
        return vt_fail(err, VT_EINVAL,
                       "%s holds names of classes, but these data have only numbers; give their names "
                       "with classes=FILE",
                       path);
    VT_TRY(vt_file_read(path, MAX_FILE_BYTES, &data, &size, err));
    for (int64_t k = 0; k < c->classes; k++)
        (void)vt_names_add(&g.names, c->class_names[k], strlen(c->class_names[k]));
    c->hierarchy = vt_xcalloc(1, sizeof *c->hierarchy);
    c->hierarchy->own = c->classes;
    vt_status status = read_lines(&g, (const char *)data, size, err);
    if (status == VT_OK)
        status = build(c->hierarchy, c, &g, path, ancestors, err);
    free(data);
    vt_names_release(&g.names);
    free(g.edges);
    free(g.first);
    if (status != VT_OK)
        return vt_prefix(err, "%s", path);
    c->resident += c->hierarchy->bytes;
    return VT_OK;
}

void vt_hierarchy_release(vt_hierarchy *h)
{
    if (!h)
        return;
    free(h->inner);
    free(h->first);
    free(h->ancestors);
    free(h);
}

int vt_hierarchy_expand(const vt_hierarchy *h, int32_t *classes, int n, int room)
{
    int given = n;
    for (int k = 0; h->first && k < given; k++) {
        for (uint32_t a = h->first[classes[k]]; a < h->first[classes[k] + 1]; a++) {
            bool known = false;
            for (int i = 0; i < n && i < room && !known; i++)
                known = classes[i] == h->ancestors[a];
            if (!known && n < room)
                classes[n] = h->ancestors[a];
            n += !known;
        }
    }
    if (n > given && n <= room)
        qsort(classes, (size_t)n, sizeof *classes, compare_classes);
    return n;
}

int vt_hierarchy_most(const vt_hierarchy *h, int64_t classes)
{
    uint32_t most = 0;
    for (int64_t k = 0; h->first && k < classes; k++) {
        uint32_t n = h->first[k + 1] - h->first[k];
        most = n > most ? n : most;
    }
    return (int)most;
}
