/* vitro law shape: the best width, depth or MLP for a compute, from a sweep of one of them (SoViT's law). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/cmd_law.h"
#include "law/shape.h"

#define MAX_AT 64

static const char text[] =
    "TABLE holds runs that differ in one dimension (--size) and in compute (--x). Fits\n"
    "f = alpha x^-a + (beta x^b + xi) t^-c + eps by relative errors; the best size grows as compute to the power\n"
    "s = c / (a + b). A best size at the edge of those tried is refused.\n\n"
    "Examples:\n"
    "  for w in 256 384 512 768 1024 1536; do for t in 1 4 16; do awk -v w=$w -v t=$t 'BEGIN{printf \"%g,%g,%g\\n\","
    "w,t*1e15,8*w^-.6+(.1*w^.7+2)*(t*1000)^-.6+.1}'; done; done | sed '1i width,flops,error' >widths.csv\n"
    "  vitro law shape widths.csv --size width --x flops --y error --at 4e15,1e16\n"
    "  vitro law shape widths.csv --size width --x flops --y error --json";

typedef struct {
    vt_select select;
    const char *size, *at_text;
    bool json;
    double at[MAX_AT];
    size_t n_at;
} shape_options;

static void print_text(const shape_options *o, const vt_shape_law *l, size_t n)
{
    printf("shape law   f = alpha x^-a + (beta x^b + xi) t^-c + eps, x = %s, t = %s, %zu runs\n\n", o->size,
           o->select.x, n);
    printf("  alpha %.5g  a %.4f  beta %.5g  b %.4f  xi %.5g  c %.4f  eps %.5g\n", l->alpha, l->a, l->beta, l->b, l->xi,
           l->c, l->eps);
    printf("  rms of relative errors %.4f; %d of %d starts agree\n", l->rms, l->agree, l->starts);
    printf("  s = c / (a + b) = %.3f: ten times the compute, %.2f times the best %s\n", l->s, pow(10, l->s), o->size);
    for (size_t i = 0; i < o->n_at; i++) {
        double x;
        vt_err err = {0};
        if (vt_shape_best(l, o->at[i], &x, &err) == VT_OK)
            printf("  at %.4g: best %s %.5g, f = %.4f\n", o->at[i], o->size, x, vt_shape_at(l, x, o->at[i]));
        else
            printf("  at %.4g: %s\n", o->at[i], err.msg);
    }
}

static void print_json(const shape_options *o, const vt_shape_law *l)
{
    json_t *root = json_object(), *best = json_array();
    const struct {
        const char *name;
        double value;
    } rows[] = {{"alpha", l->alpha}, {"a", l->a},     {"beta", l->beta}, {"b", l->b},    {"xi", l->xi},
                {"c", l->c},         {"eps", l->eps}, {"s", l->s},       {"rms", l->rms}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++)
        (void)json_object_set_new(root, rows[i].name, vt_json_number(rows[i].value));
    (void)json_object_set_new(root, "starts", json_integer(l->starts));
    (void)json_object_set_new(root, "starts_agree", json_integer(l->agree));
    for (size_t i = 0; i < o->n_at; i++) {
        double x;
        const bool told = vt_shape_best(l, o->at[i], &x, NULL) == VT_OK;
        json_t *row = json_object();
        (void)json_object_set_new(row, "compute", vt_json_number(o->at[i]));
        (void)json_object_set_new(row, "size", told ? vt_json_number(x) : json_null());
        (void)json_array_append_new(best, row);
    }
    (void)json_object_set_new(root, "best", best);
    vt_cli_print_json(root);
}

static vt_status work(const shape_options *o, const vt_table *t, vt_points *pts, vt_err *err)
{
    size_t column, n = 0;
    vt_shape_law law;
    VT_TRY(vt_table_find(t, o->size, &column, err));
    VT_TRY(vt_points_select(pts, t, &o->select, err));
    vt_shape_point *points = vt_xcalloc(pts->n + 1, sizeof *points);
    for (size_t i = 0; i < pts->n; i++) {
        const char *cell = vt_table_cell(t, pts->p[i].row, column);
        if (vt_parse_f64(cell, &points[n].x, NULL) == VT_OK && points[n].x > 1e-9) {
            points[n].t = pts->p[i].x;
            points[n++].y = pts->p[i].y;
        }
    }
    vt_status status = vt_shape_fit(&law, points, n, err);
    free(points);
    VT_TRY(status);
    if (o->json)
        print_json(o, &law);
    else
        print_text(o, &law, n);
    return VT_OK;
}

static vt_status run(const shape_options *o, const char *path, vt_err *err)
{
    vt_table t;
    vt_points pts = {0};
    VT_TRY(vt_table_load(&t, path, err));
    vt_status status = work(o, &t, &pts, err);
    vt_points_release(&pts);
    vt_table_release(&t);
    return status;
}

static vt_status check(shape_options *o, vt_err *err)
{
    VT_TRY(vt_law_check_select(&o->select, err));
    if (!o->size)
        return vt_fail(err, VT_EINVAL, "--size is missing: the column of the dimension that was swept");
    return vt_law_numbers("at", o->at_text, o->at, MAX_AT, &o->n_at, err);
}

int vt_cmd_law_shape(vt_cli *cli, int argc, char **argv)
{
    shape_options o = {0};
    const vt_opt opts[] = {
        VT_LAW_OPTS(o.select),
        {"size", "COLUMN", &o.size, "the dimension that was swept: width, depth, mlp"},
        {"at", "LIST", &o.at_text, "compute for which the best size is wanted"},
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
