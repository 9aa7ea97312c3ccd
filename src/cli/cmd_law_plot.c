/* vitro law plot: the figures of a law, as SVG with data and scripts beside them, and one page that holds them all. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/cmd_law.h"
#include "law/backtest.h"
#include "report/figures.h"

#define MAX_PANELS 24
#define MAX_NAMES  (MAX_PANELS * 4)

static const char text[] =
    "For each series of --by (one where it is not given): error against cost with frontier, fits and band; with "
    "--data, the\n"
    "best error by model and by data (the bottlenecks); with --images, the best error against images seen (sample\n"
    "efficiency). gnuplot draws them; DIR/NAME.gp and DIR/NAME.dat can be restyled. DIR/index.html holds all.\n\n"
    "Examples:\n"
    "  for n in 1 4 16; do for d in 10 40 160 640 2560; do awk -v n=$n -v d=$d 'BEGIN{printf \"m%g,%g,%g,%g\\n\","
    "n,d,n*d*1e15,.1+.4*n^-.4+.5*d^-.5}'; done; done | sed '1i model,images,flops,error' >grid.csv\n"
    "  vitro law plot grid.csv --x flops --y error --out figures\n"
    "  vitro law plot grid.csv --x flops --y error --model model --images images --out figures";

typedef struct {
    vt_select select;
    const char *by, *data, *images, *out, *level_text, *title;
    int level;
} plot_options;

typedef struct {
    char *names[MAX_NAMES];
    size_t n;
} drawn;

static char *remember(drawn *d, const char *prefix, const char *kind)
{
    char *text_name = vt_xasprintf("%s%s%s", prefix, prefix[0] ? "-" : "", kind);
    d->names[d->n++] = vt_figure_file_name(text_name);
    free(text_name);
    return d->names[d->n - 1];
}

/* The panel's title: what was asked for, and what it shows. */
static char *title_of(const plot_options *o, const char *series, const char *what)
{
    return vt_xasprintf("%s%s%s%s", o->title ? o->title : "", o->title ? ": " : "", series, what);
}

static vt_status draw_law(const plot_options *o, const vt_points *pts, const vt_labels *models, const char *series,
                          drawn *d, vt_err *err)
{
    vt_law law;
    VT_TRY(vt_law_make(&law, pts, &(vt_law_how){0}, err));
    const vt_calibration cal = vt_calibration_for(&vt_calibration_paper, pts);
    char *title = title_of(o, series, ""), *x = strcmp(o->select.x, pts->x_unit) == 0
                                                    ? vt_xstrdup(o->select.x)
                                                    : vt_xasprintf("%s (%s)", o->select.x, pts->x_unit);
    const vt_figure f = {o->out, remember(d, series, "law"), title, x, vt_law_y_word(pts->y_unit)};
    vt_status status = vt_figure_law(&f, pts, models, &law, &cal, o->level, err);
    vt_law_release(&law);
    free(title);
    free(x);
    return status;
}

static vt_status draw_best(const plot_options *o, const vt_points *pts, const vt_labels *models, const vt_labels *data,
                           const char *series, drawn *d, vt_err *err)
{
    char *by_model = title_of(o, series, " best by model"), *by_data = title_of(o, series, " best by data");
    const char *y = vt_law_y_word(pts->y_unit);
    const vt_figure one = {o->out, remember(d, series, "by-model"), by_model, "model", y};
    vt_status status = vt_figure_best(&one, pts, models, data, err);
    const vt_figure other = {o->out, remember(d, series, "by-data"), by_data, "data", y};
    if (status == VT_OK)
        status = vt_figure_best(&other, pts, data, models, err);
    free(by_model);
    free(by_data);
    return status;
}

static vt_status draw_images(const plot_options *o, const vt_table *t, const vt_points *pts, const vt_labels *models,
                             const char *series, drawn *d, vt_err *err)
{
    size_t column;
    VT_TRY(vt_table_find(t, o->images, &column, err));
    double *x = vt_xcalloc(pts->n + 1, sizeof *x);
    for (size_t i = 0; i < pts->n; i++)
        if (vt_parse_f64(vt_table_cell(t, pts->p[i].row, column), &x[i], NULL) != VT_OK || !(x[i] > 0))
            x[i] = (double)NAN;
    char *title = title_of(o, series, " against images seen");
    const vt_figure f = {o->out, remember(d, series, "images"), title, o->images, vt_law_y_word(pts->y_unit)};
    vt_status status = vt_figure_efficiency(&f, pts, models, x, err);
    free(title);
    free(x);
    return status;
}

static vt_status draw_series(const plot_options *o, const vt_table *t, const vt_points *pts, const char *series,
                             drawn *d, vt_err *err)
{
    vt_labels models, data = {0};
    if (pts->n == 0)
        return vt_fail(err, VT_EINVAL, "%s: no row is left to draw", series[0] ? series : t->path);
    VT_TRY(vt_labels_make(&models, t, pts, o->select.model, err));
    vt_status status = draw_law(o, pts, &models, series, d, err);
    if (status == VT_OK && o->data)
        status = vt_labels_make(&data, t, pts, o->data, err);
    if (status == VT_OK && o->data)
        status = draw_best(o, pts, &models, &data, series, d, err);
    if (status == VT_OK && o->images)
        status = draw_images(o, t, pts, &models, series, d, err);
    vt_labels_release(&models);
    vt_labels_release(&data);
    return status;
}

/* The different values of column --by among the rows asked for. */
static vt_status series_of(const plot_options *o, const vt_table *t, const char **values, size_t *n, size_t *column,
                           vt_err *err)
{
    vt_where *where;
    *n = 0;
    VT_TRY(vt_table_find(t, o->by, column, err));
    VT_TRY(vt_where_parse(&where, t, o->select.where, err));
    vt_status status = VT_OK;
    for (size_t row = 0; row < t->n_rows && status == VT_OK; row++) {
        const char *cell = vt_table_cell(t, row, *column);
        size_t k = 0;
        if (!vt_where_holds(where, t, row) || !cell[0] || strpbrk(cell, ",|"))
            continue;
        while (k < *n && strcmp(values[k], cell) != 0)
            k++;
        if (k == MAX_PANELS)
            status = vt_fail(err, VT_EINVAL, "--by %s has more than %d values; --where picks some", o->by, MAX_PANELS);
        else if (k == *n)
            values[(*n)++] = cell;
    }
    vt_where_free(where);
    return status;
}

static vt_status draw_all(const plot_options *o, const vt_table *t, drawn *d, vt_err *err)
{
    const char *values[MAX_PANELS] = {""};
    size_t n = 1, column = 0;
    vt_status status = VT_OK;
    VT_TRY(vt_make_dirs(o->out, err));
    if (o->by)
        VT_TRY(series_of(o, t, values, &n, &column, err));
    for (size_t i = 0; i < n && status == VT_OK; i++) {
        vt_points pts = {0};
        vt_select one = o->select;
        char *where = !o->by      ? NULL
                      : one.where ? vt_xasprintf("%s,%s=%s", one.where, o->by, values[i])
                                  : vt_xasprintf("%s=%s", o->by, values[i]);
        one.where = where ? where : one.where;
        status = vt_points_select(&pts, t, &one, err);
        if (status == VT_OK)
            status = draw_series(o, t, &pts, values[i], d, err);
        vt_points_release(&pts);
        free(where);
    }
    return status;
}

static vt_status run(const plot_options *o, const char *path, vt_err *err)
{
    vt_table t;
    drawn d = {0};
    VT_TRY(vt_table_load(&t, path, err));
    vt_status status = draw_all(o, &t, &d, err);
    if (status == VT_OK)
        status = vt_figures_page(o->out, o->title ? o->title : vt_path_base(path), d.names, d.n, err);
    for (size_t i = 0; i < d.n; i++) {
        if (status == VT_OK)
            printf("%s/%s.svg\n", o->out, d.names[i]);
        free(d.names[i]);
    }
    if (status == VT_OK)
        printf("%s/index.html\n", o->out);
    vt_table_release(&t);
    return status;
}

static vt_status check(plot_options *o, vt_err *err)
{
    VT_TRY(vt_law_check_select(&o->select, err));
    if (!o->out)
        return vt_fail(err, VT_EINVAL, "--out is missing: the folder for the figures");
    return vt_law_level(o->level_text, &o->level, err);
}

int vt_cmd_law_plot(vt_cli *cli, int argc, char **argv)
{
    plot_options o = {0};
    const vt_opt opts[] = {
        VT_LAW_OPTS(o.select),
        {"by", "COLUMN", &o.by, "a set of figures for each value: metric"},
        {"data", "COLUMNS", &o.data, "columns that name the data: draws the best by model and by data"},
        {"images", "COLUMN", &o.images, "images seen: draws sample efficiency"},
        {"level", "PERCENT", &o.level_text, "of the band: 50, 80, 90 or 95; default: 80"},
        {"title", "TEXT", &o.title, "in front of every title"},
        {"out", "DIR", &o.out, "the folder for the figures; made if absent"},
    };
    const vt_cli_form form = {opts, VT_COUNT_OF(opts), text, 1, 1};
    vt_args args;
    vt_err err = {0};
    int status;
    if (!vt_cli_parse(cli, &form, argc, argv, &args, &status))
        return status;
    if (check(&o, &err) != VT_OK)
        status = vt_cli_wrong_use(cli, &err);
    else
        status = vt_cli_end(cli, run(&o, args.list[0], &err), &err);
    vt_args_release(&args);
    return status;
}
