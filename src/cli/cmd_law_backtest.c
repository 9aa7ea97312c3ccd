/* vitro law backtest: how far the intervals of predictions would have held, and by how much they must be widened. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/cmd_law.h"
#include "law/backtest.h"
#include "law/record.h"

#define MAX_SERIES 200

static const char text[] =
    "TABLE holds several series (metrics, data sets) that --by tells apart. At up to 8 cut-offs of each, the law is "
    "fitted\n"
    "below and the best run 3, 10 and 30 times beyond is predicted. Widening factors are learned on all series but one "
    "and\n"
    "tried on that one: the coverage printed is of series that the factors have not seen.\n\n"
    "Examples:\n"
    "  for m in u v w; do for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13; do awk -v i=$i -v m=$m 'BEGIN{srand(i);c=10^(i/4);"
    "printf \"%s,%g,%g\\n\",m,c,.1+.6*c^-.3*(1+.02*(rand()-.5))}'; done; done | sed '1i metric,flops,error' >many.csv\n"
    "  vitro law backtest many.csv --x flops --y error --by metric\n"
    "  vitro law backtest many.csv --x flops --y error --by metric --json";

typedef struct {
    vt_select select;
    const char *by, *out;
    bool json, trials;
} backtest_options;

typedef struct {
    vt_table table;
    vt_points points[MAX_SERIES];
    const vt_points *list[MAX_SERIES];
    char *names[MAX_SERIES];
    size_t n;
} series_set;

/* --- series of a table
 * ------------------------------------------------------------------------------------------------ */

/* "set=jft,metric=INet10" for a row: the condition that picks its series, or NULL where a cell cannot stand in one. */
static char *condition_of(const vt_table *t, size_t row, const size_t *columns, size_t n)
{
    vt_text c = {0};
    for (size_t i = 0; i < n; i++) {
        const char *cell = vt_table_cell(t, row, columns[i]);
        if (strpbrk(cell, ",|")) {
            vt_text_release(&c);
            return NULL;
        }
        vt_text_addf(&c, "%s%s=%s", i ? "," : "", t->columns[columns[i]], cell);
    }
    return c.s;
}

static vt_status find_columns(const vt_table *t, const char *by, size_t *columns, size_t max, size_t *n, vt_err *err)
{
    char *copy = vt_xstrdup(by);
    vt_status status = VT_OK;
    *n = 0;
    for (char *p = copy, *next; *p && status == VT_OK; p = next) {
        next = p + strcspn(p, ",");
        if (*next)
            *next++ = '\0';
        status = *n == max ? vt_fail(err, VT_EINVAL, "more than %zu columns", max)
                           : vt_table_find(t, p, &columns[(*n)++], err);
    }
    free(copy);
    return status == VT_OK ? VT_OK : vt_prefix(err, "--by");
}

/* The names of all series, in the order in which they appear. */
static vt_status find_series(series_set *s, const backtest_options *o, vt_err *err)
{
    size_t columns[8], n;
    vt_where *where;
    VT_TRY(find_columns(&s->table, o->by, columns, 8, &n, err));
    VT_TRY(vt_where_parse(&where, &s->table, o->select.where, err));
    vt_status status = VT_OK;
    for (size_t row = 0; row < s->table.n_rows && status == VT_OK; row++) {
        if (!vt_where_holds(where, &s->table, row))
            continue;
        char *name = condition_of(&s->table, row, columns, n);
        bool known = !name || !name[0];
        for (size_t i = s->n; i-- > 0 && !known;)
            known = strcmp(s->names[i], name) == 0;
        if (known)
            free(name);
        else if (s->n == MAX_SERIES) {
            free(name);
            status = vt_fail(err, VT_EINVAL, "--by gives more than %d series", MAX_SERIES);
        } else
            s->names[s->n++] = name;
    }
    vt_where_free(where);
    return status;
}

static vt_status select_series(series_set *s, const backtest_options *o, vt_err *err)
{
    VT_TRY(find_series(s, o, err));
    for (size_t i = 0; i < s->n; i++) {
        vt_select one = o->select;
        char *where = one.where ? vt_xasprintf("%s,%s", one.where, s->names[i]) : vt_xstrdup(s->names[i]);
        one.where = where;
        vt_status status = vt_points_select(&s->points[i], &s->table, &one, err);
        free(where);
        VT_TRY(status);
        s->list[i] = &s->points[i];
    }
    return VT_OK;
}

/* --- what is printed
 * -------------------------------------------------------------------------------------------------- */

static void print_coverage(const char *name, const vt_coverage *c, double level, double k)
{
    char factor[32] = "-";
    if (!isnan(k))
        (void)snprintf(factor, sizeof factor, "%.2f", k);
    printf("  %-12s %6zu  %6.0f%%  %9.0f%%  %10.0f%%  %7s  %8.3f %+8.3f %8.3f\n", name, c->n, 100 * level, 100 * c->raw,
           100 * c->left_out, factor, c->width, c->bias, c->rms);
}

static void print_text(const vt_backtest *b, const series_set *s, bool trials)
{
    printf("predictions of the best run beyond a cut-off, by distance; ln(actual / predicted) has bias and rms\n\n");
    printf("  %-12s %6s  %7s  %10s  %11s  %7s  %8s %8s %8s\n", "distance", "trials", "nominal", "t alone", "series out",
           "k", "width", "bias", "rms");
    for (int bin = 0; bin < VT_N_BINS; bin++)
        for (int l = 0; l < VT_N_LEVELS; l++) {
            char name[32];
            (void)snprintf(name, sizeof name, "up to %gx", vt_bins[bin]);
            if (b->by_bin[bin][l].n > 0)
                print_coverage(name, &b->by_bin[bin][l], vt_levels[l], b->all.k[bin][l]);
        }
    for (int l = 0; l < VT_N_LEVELS; l++)
        print_coverage("all", &b->total[l], vt_levels[l], (double)NAN);
    printf("\n  width is the median ln(high / low). t alone: the same intervals without widening. series out: factors "
           "learned\n"
           "  without the series they are tried on. k multiplies the scale of a prediction.\n\n");
    printf("  %-40s %8s %8s %10s\n", "series", "frontier", "cut-offs", "80% covers");
    for (size_t i = 0; i < s->n; i++) {
        printf("  %-40s %8zu %8zu", s->names[i], s->points[i].n_frontier, b->cuts[i]);
        if (isnan(b->by_series[i]))
            printf(" %10s\n", "-");
        else
            printf(" %9.0f%%\n", 100 * b->by_series[i]);
    }
    for (size_t i = 0; i < b->n && trials; i++) {
        const vt_trial *t = &b->trials[i];
        printf("%s%-40s cut-off %-10.5g at %-10.5g actual %.4f predicted %.4f (with d %.4f, without %.4f) s %.4f\n",
               i ? "" : "\n", s->names[t->series], t->cutoff, t->x, t->actual, t->centre, t->full, t->floor, t->s);
    }
}

static json_t *coverage_json(const vt_coverage *c, double level)
{
    json_t *o = json_object();
    (void)json_object_set_new(o, "level", vt_json_number(level));
    (void)json_object_set_new(o, "trials", json_integer((json_int_t)c->n));
    (void)json_object_set_new(o, "coverage_t", vt_json_number(c->raw));
    (void)json_object_set_new(o, "coverage", vt_json_number(c->left_out));
    (void)json_object_set_new(o, "width", vt_json_number(c->width));
    (void)json_object_set_new(o, "bias", vt_json_number(c->bias));
    (void)json_object_set_new(o, "rms", vt_json_number(c->rms));
    return o;
}

static json_t *result_json(const vt_backtest *b, const series_set *s)
{
    json_t *root = json_object(), *bins = json_array(), *total = json_array(), *series = json_array();
    for (int bin = 0; bin < VT_N_BINS; bin++) {
        json_t *levels = json_array();
        for (int l = 0; l < VT_N_LEVELS; l++)
            (void)json_array_append_new(levels, coverage_json(&b->by_bin[bin][l], vt_levels[l]));
        (void)json_array_append_new(bins, json_pack("{s:f,s:o}", "up_to", vt_bins[bin], "levels", levels));
    }
    for (int l = 0; l < VT_N_LEVELS; l++)
        (void)json_array_append_new(total, coverage_json(&b->total[l], vt_levels[l]));
    for (size_t i = 0; i < s->n; i++) {
        json_t *o = json_object();
        (void)json_object_set_new(o, "series", vt_cli_json_text(s->names[i]));
        (void)json_object_set_new(o, "frontier", json_integer((json_int_t)s->points[i].n_frontier));
        (void)json_object_set_new(o, "cutoffs", json_integer((json_int_t)b->cuts[i]));
        (void)json_object_set_new(o, "coverage_80", vt_json_number(b->by_series[i]));
        (void)json_array_append_new(series, o);
    }
    (void)json_object_set_new(root, "by_distance", bins);
    (void)json_object_set_new(root, "all", total);
    (void)json_object_set_new(root, "series", series);
    (void)json_object_set_new(root, "calibration", vt_calibration_json(&b->all));
    return root;
}

/* --- the command
 * ------------------------------------------------------------------------------------------------------ */

static vt_status report(const backtest_options *o, series_set *s, vt_err *err)
{
    vt_backtest b;
    VT_TRY(select_series(s, o, err));
    VT_TRY(vt_backtest_run(&b, s->list, s->n, err));
    vt_status status = VT_OK;
    if (o->out) {
        json_t *cal = vt_calibration_json(&b.all);
        status = vt_json_save(o->out, cal, err);
        json_decref(cal);
    }
    if (status == VT_OK && o->json)
        vt_cli_print_json(result_json(&b, s));
    else if (status == VT_OK)
        print_text(&b, s, o->trials);
    vt_backtest_release(&b);
    return status;
}

static vt_status run(const backtest_options *o, const char *path, vt_err *err)
{
    series_set *s = vt_xcalloc(1, sizeof *s);
    vt_status status = vt_table_load(&s->table, path, err);
    if (status == VT_OK) {
        status = report(o, s, err);
        for (size_t i = 0; i < s->n; i++) {
            vt_points_release(&s->points[i]);
            free(s->names[i]);
        }
        vt_table_release(&s->table);
    }
    free(s);
    return status;
}

static vt_status check(const backtest_options *o, vt_err *err)
{
    VT_TRY(vt_law_check_select(&o->select, err));
    if (!o->by)
        return vt_fail(err, VT_EINVAL, "--by is missing: the columns that tell series apart, such as set,metric");
    return VT_OK;
}

int vt_cmd_law_backtest(vt_cli *cli, int argc, char **argv)
{
    backtest_options o = {0};
    const vt_opt opts[] = {
        VT_LAW_OPTS(o.select),
        {"by", "COLUMNS", &o.by, "columns that tell series apart: set,metric"},
        {"trials", NULL, &o.trials, "print every prediction"},
        {"out", "FILE", &o.out, "write the widening factors, for vitro law fit --calibration"},
        {"json", NULL, &o.json, "print the result as JSON"},
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
