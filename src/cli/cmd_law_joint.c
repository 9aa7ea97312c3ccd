/* vitro law joint: how error falls with the size of the model and with the data it saw, each on its own. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/cmd_law.h"
#include "law/joint.h"

static const char text[] =
    "Fits E = A N^-alpha + B D^-beta + c to all runs of TABLE: N is the column of --size (parameters, or operations of "
    "an\n"
    "image), D that of --data (images or tokens seen). With --unique, the column of different images, repeats count "
    "less\n"
    "and less (R epochs' worth in all). With --budget, the best split of compute = PER_PAIR x N x D.\n\n"
    "Examples:\n"
    "  for n in 1e6 4e6 16e6 64e6; do for d in 1e7 4e7 16e7 64e7; do awk -v n=$n -v d=$d 'BEGIN{printf \"%g,%g,%g\\n\","
    "n,d,30*n^-.3+80*d^-.35+.1}'; done; done | sed '1i params,images,error' >sizes.csv\n"
    "  vitro law joint sizes.csv --size params --data images --y error --budget 1e16\n"
    "  vitro law joint sizes.csv --size params --data images --y error --loss huber --out joint.json --json";

typedef struct {
    vt_select select;
    const char *data, *unique, *loss_text, *delta_text, *budget_text, *pair_text, *out;
    bool json;
    vt_joint_how how;
    double budget, per_pair;
} joint_options;

/* A cell as a positive number: "30M" and "3B" are what they say, a column named images_m counts millions. */
static bool read_amount(const char *column, const char *cell, double *value)
{
    char copy[64];
    const size_t n = strlen(cell);
    double unit = vt_has_suffix(column, "_m") ? 1e6 : 1;
    if (n == 0 || n >= sizeof copy)
        return false;
    memcpy(copy, cell, n + 1);
    const char last = copy[n - 1];
    if (strchr("kKmMbBgG", last)) {
        unit *= strchr("kK", last) ? 1e3 : strchr("mM", last) ? 1e6 : 1e9;
        copy[n - 1] = '\0';
    }
    if (vt_parse_f64(copy, value, NULL) != VT_OK)
        return false;
    *value *= unit;
    return *value > 0 && *value < 1e60;
}

/* The points with the columns of data and unique beside them; those where one is missing are left out and counted. */
static vt_status gather(const joint_options *o, const vt_table *t, const vt_points *pts, vt_joint_point *points,
                        size_t *n, vt_err *err)
{
    size_t data, unique = 0;
    VT_TRY(vt_table_find(t, o->data, &data, err));
    if (o->unique)
        VT_TRY(vt_table_find(t, o->unique, &unique, err));
    *n = 0;
    for (size_t i = 0; i < pts->n; i++) {
        vt_joint_point p = {.size = pts->p[i].x, .unique = (double)INFINITY, .y = pts->p[i].y};
        if (read_amount(t->columns[data], vt_table_cell(t, pts->p[i].row, data), &p.data) &&
            (!o->unique || read_amount(t->columns[unique], vt_table_cell(t, pts->p[i].row, unique), &p.unique)))
            points[(*n)++] = p;
    }
    return VT_OK;
}

static void print_optimum(const joint_options *o, const vt_joint *j)
{
    double size, data, y;
    vt_joint_optimum(j, o->budget, o->per_pair, &size, &data, &y);
    printf("\nbudget      %.4g = %.4g x N x D\n", o->budget, o->per_pair);
    if (size <= j->least_size || size >= j->most_size) {
        printf("  the best size would be %.4g, at or beyond the edge of those tried (%.4g to %.4g): not told; try "
               "sizes on\n"
               "  both sides of it\n",
               size, j->least_size, j->most_size);
        return;
    }
    printf("  best N      %.5g\n  with D      %.5g\n  E           %.4f\n", size, data, y);
    const double share = j->p[VT_J_BETA] / (j->p[VT_J_ALPHA] + j->p[VT_J_BETA]);
    printf("  ten times the budget: %.2f times the size, %.2f times the data\n", pow(10, share), pow(10, 1 - share));
}

static void print_text(const joint_options *o, const vt_table *t, const vt_points *pts, const vt_joint *j)
{
    vt_law_print_points(t, pts, false);
    if (j->n < pts->n)
        printf("  %10zu  of the runs have no %s%s\n", pts->n - j->n, o->data, o->unique ? " or unique data" : "");
    printf("\njoint law   E = A N^-alpha + B D^-beta + c, N = %s, D = %s, %zu runs\n\n", o->select.x, o->data, j->n);
    for (int i = 0; i < (j->how.repeat ? VT_N_J : VT_N_J - 1); i++) {
        printf("  %-6s %12.5g", vt_joint_names[i], j->p[i]);
        if (j->at_bound[i])
            printf("  at its bound: these runs do not tell it\n");
        else
            printf("  +- %.3g\n", j->se[i]);
    }
    printf("  rms of ln E %.4f; %d of %d starts agree\n", j->rms, j->agree, j->starts);
    if (o->budget > 0)
        print_optimum(o, j);
}

static vt_status work(const joint_options *o, const vt_table *t, vt_points *pts, vt_joint *j, vt_err *err)
{
    size_t n;
    VT_TRY(vt_points_select(pts, t, &o->select, err));
    vt_joint_point *points = vt_xcalloc(pts->n + 1, sizeof *points);
    vt_status status = gather(o, t, pts, points, &n, err);
    if (status == VT_OK)
        status = vt_joint_fit(j, &o->how, points, n, err);
    free(points);
    return status;
}

static vt_status run(const joint_options *o, const char *path, vt_err *err)
{
    vt_table t;
    vt_points pts = {0};
    vt_joint j;
    VT_TRY(vt_table_load(&t, path, err));
    vt_status status = work(o, &t, &pts, &j, err);
    if (status == VT_OK) {
        json_t *root = vt_joint_json(&j, o->select.x, o->data);
        (void)json_object_set_new(root, "table", vt_law_points_json(&t, &pts));
        if (o->out)
            status = vt_json_save(o->out, root, err);
        if (status == VT_OK && o->json)
            vt_cli_print_json(json_incref(root));
        else if (status == VT_OK)
            print_text(o, &t, &pts, &j);
        json_decref(root);
    }
    vt_points_release(&pts);
    vt_table_release(&t);
    return status;
}

static vt_status check(joint_options *o, vt_err *err)
{
    if (!o->select.x || !o->select.y || !o->data)
        return vt_fail(err, VT_EINVAL, "--%s is missing: a column of the table",
                       !o->select.x   ? "size"
                       : !o->select.y ? "y"
                                      : "data");
    o->select.x_unit = "size";
    VT_TRY(vt_law_loss(o->loss_text, &o->how.loss, err));
    if (o->how.loss == VT_LOSS_LINEAR)
        return vt_fail(err, VT_EINVAL, "--loss is linear; a joint law is fitted by log or huber");
    VT_TRY(vt_law_number("delta", o->delta_text, 1e-6, 10, 1e-3, &o->how.delta, err));
    VT_TRY(vt_law_number("budget", o->budget_text, 1e-30, 1e60, 0, &o->budget, err));
    VT_TRY(vt_law_number("per-pair", o->pair_text, 1e-30, 1e30, 6, &o->per_pair, err));
    o->how.repeat = o->unique != NULL;
    return VT_OK;
}

int vt_cmd_law_joint(vt_cli *cli, int argc, char **argv)
{
    joint_options o = {0};
    const vt_opt opts[] = {
        {"size", "COLUMN", &o.select.x, "size of the model: parameters, or operations of an image"},
        {"data", "COLUMN", &o.data,
         "images or tokens seen; 30M and 3B are numbers, a name that ends in _m counts millions"},
        {"unique", "COLUMN", &o.unique, "different images or tokens there are: fits what repeats are worth"},
        {"y", "COLUMN", &o.select.y, "what came of it: error, accuracy or loss"},
        {"y-unit", "WORD", &o.select.y_unit,
         "error, error%, accuracy, accuracy% or loss, where the name does not tell"},
        {"where", "LIST", &o.select.where, "rows to take: set=jft,metric=INet10"},
        {"loss", "WORD", &o.loss_text, "log (squares of ln E) or huber (robust); default: log"},
        {"delta", "NUMBER", &o.delta_text, "of huber, in ln E; default: 0.001"},
        {"budget", "NUMBER", &o.budget_text, "compute to split best"},
        {"per-pair", "NUMBER", &o.pair_text, "compute of one unit of size and one of data; default: 6"},
        {"out", "FILE", &o.out, "write the law as JSON, for vitro law plan --sizes"},
        {"json", NULL, &o.json, "print the same as JSON"},
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
