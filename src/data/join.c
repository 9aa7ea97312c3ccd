/* Joined sources: " + " between SPECs (with its blanks, so that names may hold a '+'). Names are looked up in a sorted
 * list, so that many classes in many parts stay cheap. */
#include "data/join.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "data/hierarchy.h"

static const char between[] = " + ";

static const char *trim(const char *text, size_t *n)
{
    for (; *n > 0 && *text == ' '; text++)
        --*n;
    while (*n > 0 && text[*n - 1] == ' ')
        --*n;
    return text;
}

vt_status vt_join_open(const char *text, vt_part **parts, int *n, vt_err *err)
{
    *parts = vt_xcalloc(VT_MAX_PARTS, sizeof **parts);
    *n = 0;
    for (const char *at = text, *next; at; at = next) {
        const char *mark = strstr(at, between);
        size_t size = mark ? (size_t)(mark - at) : strlen(at);
        next = mark ? mark + strlen(between) : NULL;
        if (*n == VT_MAX_PARTS)
            return vt_fail(err, VT_EINVAL, "data '%.300s': more than %d sources are joined", text, VT_MAX_PARTS);
        if (mark || *n > 0)
            at = trim(at, &size);
        VT_TRY(vt_part_open(&(*parts)[(*n)++], at, size, err));
    }
    return VT_OK;
}

/* --- classes --- */

typedef struct {
    const char *name;
    int32_t class;
} entry;

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static void add_name(vt_class_list *list, char *name)
{
    list->names[list->n++] = name;
    list->bytes += sizeof(char *) + strlen(name) + 1;
}

/* Moves the part's names into the list, but for those that are among the first `known` of it. */
static void unite(vt_class_list *list, vt_part *p, entry *sorted, int64_t known)
{
    p->classes = vt_xmalloc((size_t)p->all.classes * sizeof *p->classes);
    bool same = true;
    for (int64_t c = 0; c < p->all.classes; c++) {
        entry key = {p->all.class_names[c], 0};
        const entry *found = bsearch(&key, sorted, (size_t)known, sizeof *sorted, compare_entries);
        p->classes[c] = found ? found->class : (int32_t)list->n;
        same = same && p->classes[c] == c;
        if (found)
            free(p->all.class_names[c]);
        else
            add_name(list, p->all.class_names[c]);
    }
    free(p->all.class_names);
    p->all.class_names = NULL;
    if (same) {
        free(p->classes);
        p->classes = NULL;
    }
}

static vt_status check_names(const vt_part *parts, int n, vt_err *err)
{
    for (int k = 1; k < n; k++) {
        bool named = parts[k].all.class_names != NULL;
        if (named != (parts[0].all.class_names != NULL))
            return vt_fail(err, VT_EINVAL,
                           "'%.200s' has names of classes and '%.200s' only numbers; they are joined by name: give the "
                           "names of the latter with ?classes=FILE",
                           parts[named ? k : 0].spec.text, parts[named ? 0 : k].spec.text);
    }
    return VT_OK;
}

static vt_status unite_all(vt_class_list *list, vt_part *parts, int n, vt_err *err)
{
    for (int k = 0; k < n; k++) {
        int64_t known = list->n;
        if (known + parts[k].all.classes > VT_MAX_CLASSES * 2LL)
            return vt_fail(err, VT_EUNSUPPORTED, "'%.200s': more than %d classes together", parts[k].spec.text,
                           VT_MAX_CLASSES);
        entry *sorted = vt_xmalloc((size_t)(known + 1) * sizeof *sorted);
        for (int64_t c = 0; c < known; c++)
            sorted[c] = (entry){list->names[c], (int32_t)c};
        qsort(sorted, (size_t)known, sizeof *sorted, compare_entries);
        list->names = vt_xrealloc(list->names, (size_t)(known + parts[k].all.classes) * sizeof *list->names);
        unite(list, &parts[k], sorted, known);
        free(sorted);
        if (list->n > VT_MAX_CLASSES)
            return vt_fail(err, VT_EUNSUPPORTED, "'%.200s': more than %d classes together", parts[k].spec.text,
                           VT_MAX_CLASSES);
    }
    return VT_OK;
}

static void mark_inner(vt_class_list *list, const vt_part *parts, int n)
{
    for (int k = 0; k < n; k++) {
        const vt_hierarchy *h = parts[k].all.hierarchy;
        if (h && !list->inner) {
            list->inner = vt_xcalloc((size_t)list->n, sizeof *list->inner);
            list->bytes += (size_t)list->n * sizeof *list->inner;
        }
        for (int64_t c = 0; h && c < parts[k].all.classes; c++) {
            int64_t class = parts[k].classes ? parts[k].classes[c] : c;
            list->inner[class] = list->inner[class] || h->inner[c];
        }
    }
}

vt_status vt_join_classes(vt_part *parts, int n, vt_class_list *list, vt_err *err)
{
    VT_TRY(check_names(parts, n, err));
    list->named = parts[0].all.class_names != NULL;
    if (list->named) {
        VT_TRY(unite_all(list, parts, n, err));
        mark_inner(list, parts, n);
        return VT_OK;
    }
    int64_t most = 0;
    for (int k = 0; k < n; k++)
        most = parts[k].all.classes > most ? parts[k].all.classes : most;
    list->names = vt_xcalloc((size_t)most, sizeof *list->names);
    while (list->n < most)
        add_name(list, vt_xasprintf("%lld", (long long)list->n));
    return VT_OK;
}

void vt_class_list_release(vt_class_list *list)
{
    if (list->names)
        vt_free_names(list->names, (size_t)list->n);
    free(list->inner);
    *list = (vt_class_list){0};
}
