/* vitro law next: which runs would say most about a target, for a budget. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/cmd_law.h"
#include "law/next.h"

static const char text[] =
    "Of runs that together cost at most --budget (in the unit of x), names those that shrink the standard error of the "
    "law\n"
    "at --target most. A run is taken to be as good as the frontier at its cost: of the best size and recipe for "
    "it.\n\n"
    "Examples:\n"
    "  for i in 0 1 2 3 4 5 6 7 8 9 10 11; do awk -v i=$i 'BEGIN{srand(i);c=10^(15+i/4);printf \"%g,%g\\n\",c,"
    ".1+.6*(c/1e15)^-.3*(1+.04*(rand()-.5))}'; done | sed '1i flops,error' >twelve.csv\n"
    "  vitro law next twelve.csv --x flops --y error --budget 1e18 --target 1e19\n"
    "  vitro law next twelve.csv --x flops --y error --budget 1e18 --json";

typedef struct {
    vt_select select;
    const char *budget_text, *target_text, *most_text;
    bool json;
    double budget, target, most;
} next_options;

static void print_text(const next_options *o, const vt_next *n, const char *unit)
{
    printf("target      x = %.4g %s: the law is known there to %.1f%% (one standard error)\n\n", n->target, unit,
           100 * n->se_now);
    printf("  %3s  %12s  %10s  %s\n", "run", "x", "expected", "known to, once this run and those above are made");
    for (size_t i = 0; i < n->n; i++)
        printf("  %3zu  %12.4g  %10.4f  %.2f%%\n", i + 1, n->runs[i].x, n->runs[i].expected, 100 * n->runs[i].se);
    printf("\n  they cost %.4g of %.4g %s; the form itself may still be wrong: runs near the target are the only test "
           "of it\n",
           n->spent, o->budget, unit);
}

static void print_json(const vt_next *n)
{
    json_t *root = json_object(), *runs = json_array();
    (void)json_object_set_new(root, "target", vt_json_number(n->target));
    (void)json_object_set_new(root, "standard_error_ln_now", vt_json_number(n->se_now));
    for (size_t i = 0; i < n->n; i++)
        (void)json_array_append_new(runs, json_pack("{s:f,s:f,s:f}", "x", n->runs[i].x, "expected", n->runs[i].expected,
                                                    "standard_error_ln_after", n->runs[i].se));
    (void)json_object_set_new(root, "runs", runs);
    (void)json_object_set_new(root, "spent", vt_json_number(n->spent));
    vt_cli_print_json(root);
}

static vt_status work(const next_options *o, const vt_table *t, vt_points *pts, vt_err *err)
{
    vt_law law;
    vt_next next;
    VT_TRY(vt_points_select(pts, t, &o->select, err));
    VT_TRY(vt_law_make(&law, pts, &(vt_law_how){0}, err));
    const double largest = law.x[law.n - 1];
    vt_status status = vt_next_runs(&next, &law, o->target > 0 ? o->target : 10 * largest, o->budget,
                                    o->most > 0 ? o->most : 3 * largest, err);
    vt_law_release(&law);
    VT_TRY(status);
    if (o->json)
        print_json(&next);
    else
        print_text(o, &next, pts->x_unit);
    return VT_OK;
}

static vt_status run(const next_options *o, const char *path, vt_err *err)
{
    vt_table t;
    vt_points pts = {0};
    VT_TRY(vt_table_load(&t, path, err));
    vt_status status = work(o, &t, &pts, err);
    vt_points_release(&pts);
    vt_table_release(&t);
    return status;
}

static vt_status check(next_options *o, vt_err *err)
{
    VT_TRY(vt_law_check_select(&o->select, err));
    if (!o->budget_text)
        return vt_fail(err, VT_EINVAL, "--budget is missing: what the new runs may cost together, in the unit of x");
    VT_TRY(vt_law_number("budget", o->budget_text, 1e-60, 1e60, 0, &o->budget, err));
    VT_TRY(vt_law_number("target", o->target_text, 1e-60, 1e60, 0, &o->target, err));
    return vt_law_number("most", o->most_text, 1e-60, 1e60, 0, &o->most, err);
}

int vt_cmd_law_next(vt_cli *cli, int argc, char **argv)
{
    next_options o = {0};
    const vt_opt opts[] = {
        VT_LAW_OPTS(o.select),
        {"budget", "NUMBER", &o.budget_text, "what the runs may cost together, in the unit of x"},
        {"target", "NUMBER", &o.target_text, "x at which the law is wanted; default: 10 times the largest run"},
        {"most", "NUMBER", &o.most_text, "what one run may cost; default: 3 times the largest run"},
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
