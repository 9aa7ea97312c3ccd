/* CSV files as tables (base/csv.h): a row with another number of cells than the header is left out and counted. */
#include <stdlib.h>
#include <string.h>

#include "base/csv.h"
#include "base/text.h"
#include "law/table_build.h"

static vt_status read_header(vt_csv *r, vt_table *t, vt_err *err)
{
    bool last = false;
    for (size_t i = 0; !last; i++) {
        size_t column;
        VT_TRY(vt_csv_next_cell(r, &last, err));
        char *unnamed = NULL;
        if (r->cell.len == 0) { /* pandas writes its index without a name */
            unnamed = vt_xasprintf("column %zu", i + 1);
            vt_text_add(&r->cell, unnamed);
        }
        free(unnamed);
        const size_t before = t->n_columns;
        VT_TRY(vt_table_column(t, r->cell.s, r->cell.len, true, &column, err));
        if (t->n_columns == before)
            return vt_fail(err, VT_EFORMAT, "%s:%zu: two columns are named \"%.60s\"; rename one", t->path,
                           r->line - last, r->cell.s);
    }
    return VT_OK;
}

/* The row at p; one with another number of cells than the header leaves no row. */
static vt_status read_row(vt_csv *r, vt_table *t, vt_err *err)
{
    const size_t line = r->line;
    size_t n = 0;
    bool last = false;
    VT_TRY(vt_table_add_row(t, err));
    while (!last) {
        VT_TRY(vt_csv_next_cell(r, &last, err));
        if (n < t->n_columns)
            VT_TRY(vt_table_set(t, n, r->cell.s, r->cell.len, err));
        n++;
    }
    if (n != t->n_columns) {
        t->n_rows--;
        vt_table_torn(t, line, n < t->n_columns ? "fewer cells than the header" : "more cells than the header");
    }
    return VT_OK;
}

vt_status vt_table_read_csv(vt_table *t, const unsigned char *data, size_t size, vt_err *err)
{
    vt_csv r;
    t->format = "CSV";
    if (memchr(data, '\0', size))
        return vt_fail(err, VT_EFORMAT,
                       "%s holds zero bytes: it is neither CSV (UTF-8), JSON lines nor a TensorBoard event file",
                       t->path);
    vt_status status = vt_csv_begin(&r, t->path, data, size, err);
    if (status == VT_OK)
        status = read_header(&r, t, err);
    while (status == VT_OK && vt_csv_next_row(&r))
        status = read_row(&r, t, err);
    vt_csv_release(&r);
    return status;
}

/* --- charts of W&B
 * ---------------------------------------------------------------------------------------------------- */

/* "run - metric": the metric stands behind the last " - ". NULL where there is none. */
static const char *wandb_metric(const char *column)
{
    const char *found = NULL;
    for (const char *p = strstr(column, " - "); p; p = strstr(p + 1, " - "))
        found = p;
    return found;
}

/* Whether t is such a chart: some column has a twin with __MIN and one with __MAX, all others but the first are of the
 * same metric or such twins. *metric is its name. */
static bool is_wandb_chart(const vt_table *t, const char **metric)
{
    *metric = NULL;
    for (size_t i = 1; i < t->n_columns; i++) {
        const char *m = wandb_metric(t->columns[i]);
        if (!m)
            return false;
        m += 3;
        if (vt_has_suffix(m, "__MIN") || vt_has_suffix(m, "__MAX") || vt_has_prefix(m, "_step"))
            continue;
        if (*metric && strcmp(*metric, m) != 0)
            return false;
        *metric = m;
    }
    return *metric != NULL && t->n_columns >= 4;
}

vt_status vt_table_unfold_wandb(vt_table *t, vt_err *err)
{
    const char *metric;
    size_t run, x, y;
    if (!is_wandb_chart(t, &metric))
        return VT_OK;
    vt_table u = {.path = vt_xstrdup(t->path), .format = "CSV of a W&B chart"};
    memcpy(u.hash, t->hash, sizeof u.hash);
    vt_status status = vt_table_column(&u, "run", 3, true, &run, err);
    if (status == VT_OK)
        status = vt_table_column(&u, t->columns[0], strlen(t->columns[0]), true, &x, err);
    if (status == VT_OK)
        status = vt_table_column(&u, metric, strlen(metric), true, &y, err);
    for (size_t c = 1; c < t->n_columns && status == VT_OK; c++) {
        const char *m = wandb_metric(t->columns[c]);
        if (strcmp(m + 3, metric) != 0)
            continue;
        for (size_t row = 0; row < t->n_rows && status == VT_OK; row++) {
            const char *at = vt_table_cell(t, row, 0), *value = vt_table_cell(t, row, c);
            if (!value[0])
                continue;
            status = vt_table_add_row(&u, err);
            if (status == VT_OK)
                status = vt_table_set(&u, run, t->columns[c], (size_t)(m - t->columns[c]), err);
            if (status == VT_OK)
                status = vt_table_set(&u, x, at, strlen(at), err);
            if (status == VT_OK)
                status = vt_table_set(&u, y, value, strlen(value), err);
        }
    }
    u.n_torn = t->n_torn, u.torn_line = t->torn_line, u.torn_why = t->torn_why;
    vt_table_release(t);
    *t = u;
    return status;
}
