/* Series of runs by the cells of some columns. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "report/figures.h"

static vt_status parse_columns(const vt_table *t, const char *text, size_t *list, size_t max, size_t *n, vt_err *err)
{
    char *copy = vt_xstrdup(text);
    vt_status status = VT_OK;
    *n = 0;
    for (char *p = copy, *next; *p && status == VT_OK; p = next) {
        next = p + strcspn(p, ",");
        if (*next)
            *next++ = '\0';
        status =
            *n == max ? vt_fail(err, VT_EINVAL, "more than %zu columns", max) : vt_table_find(t, p, &list[(*n)++], err);
    }
    free(copy);
    return status;
}

vt_status vt_labels_make(vt_labels *l, const vt_table *t, const vt_points *pts, const char *columns, vt_err *err)
{
    size_t list[8], n = 0;
    vt_text text = {0};
    vt_status status = VT_OK;
    *l = (vt_labels){0};
    if (columns)
        VT_TRY(parse_columns(t, columns, list, VT_COUNT_OF(list), &n, err));
    l->of = vt_xcalloc(pts->n + 1, sizeof *l->of);
    l->names = vt_xcalloc(VT_MAX_SERIES, sizeof *l->names);
    for (size_t i = 0; i < pts->n && status == VT_OK; i++) {
        vt_text_clear(&text);
        vt_text_add(&text, n ? "" : "runs");
        for (size_t c = 0; c < n; c++)
            vt_text_addf(&text, "%s%s", c ? "/" : "", vt_table_cell(t, pts->p[i].row, list[c]));
        size_t k = 0;
        while (k < l->n && strcmp(l->names[k], text.s) != 0)
            k++;
        if (k == VT_MAX_SERIES)
            status = vt_fail(err, VT_EINVAL, "columns %s have more than %d different values: too many for a figure",
                             columns, VT_MAX_SERIES);
        else if (k == l->n)
            l->names[l->n++] = vt_xstrdup(text.s);
        l->of[i] = k;
    }
    vt_text_release(&text);
    if (status != VT_OK)
        vt_labels_release(l);
    return status;
}

void vt_labels_release(vt_labels *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->names[i]);
    free(l->names);
    free(l->of);
    *l = (vt_labels){0};
}
