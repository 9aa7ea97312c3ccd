/* vitro law fit: reads a table of runs, fits how error falls with what was spent, and predicts with an interval. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/machine.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/cmd_law.h"
#include "law/backtest.h"
#include "law/bootstrap.h"
#include "law/equal.h"
#include "law/record.h"

#define MAX_AT      64
#define EQUAL_STEPS 7

static const char text[] =
    "TABLE is CSV of any column names (also W&B's exports and timm's summary.csv), JSON lines (vitro's metrics.jsonl,\n"
    "big_vision's metrics), a run's folder or a TensorBoard event file. Errors of 0 or above 1 and compute of 0 are "
    "left\n"
    "out; what is left out is counted with its reason.\n\n"
    "Fitted is E = a (C + d)^-b + c to the frontier: runs better than every cheaper one. Four forms and two robust "
    "fits\n"
    "are compared by their error on the largest runs, fitted without them. A prediction lies between the two forms "
    "that\n"
    "level off; its interval is widened as back-tests ask for.\n\n"
    "Examples:\n"
    "  printf 'flops,error\\n1e15,.81\\n3e15,.72\\n1e16,.61\\n3e16,.53\\n1e17,.45\\n3e17,.39\\n1e18,.34\\n3e18,.30\\n' "
    ">runs.csv\n"
    "  vitro law fit runs.csv --x flops --y error --at 1e19\n"
    "  vitro law fit runs.csv --x flops --y error --loss huber --level 90 --json\n"
    "  vitro law fit runs.csv --x flops --y error --out fit.json";

typedef struct {
    vt_select select;
    const char *loss_text, *delta_text, *at_text, *level_text, *bootstrap_text, *seed_text, *threads_text, *out;
    const char *calibration, *equal, *via;
    bool all, far, json;
    vt_law_how how;
    double at[MAX_AT];
    size_t n_at;
    int level;
    int64_t draws, draw_seed, threads;
} fit_options;

typedef struct {
    vt_table table;
    vt_points points;
    vt_law law;
    vt_calibration cal;
    vt_bootstrap bootstrap;
    vt_law loss_law; /* --via: the law of the loss, and the error that goes with a loss */
    vt_fit error_of_loss;
    size_t n_pairs;
    double equal_ratio; /* --equal; 0: not asked for */
    vt_equal equals[EQUAL_STEPS];
    char *equal_names[2];
} fitted;

/* --- as text
 * ---------------------------------------------------------------------------------------------------------- */

static void print_parameter(const vt_fit *f, int i)
{
    if (!vt_form_has[f->form][i])
        printf(" %11s", "-");
    else if (f->at_bound[i])
        printf(" %9.4g *", f->p[i]);
    else
        printf(" %11.5g", f->p[i]);
}

static void print_rows(const vt_law *law)
{
    bool any_bound = false;
    printf("\n  %-16s %-6s %11s %11s %11s %11s  %7s %8s %8s\n", "form", "loss", "a", "b", "c", "d", "rms ln", "AICc",
           "held out");
    for (int i = 0; i < VT_LAW_ROWS; i++) {
        const vt_law_row *r = &law->rows[i];
        if (!r->done)
            continue;
        printf("%c %-16s %-6s", i == law->best ? '>' : ' ', vt_form_texts[r->form], vt_loss_names[r->loss]);
        for (int p = 0; p < VT_N_P; p++) {
            print_parameter(&r->fit, p);
            any_bound = any_bound || r->fit.at_bound[p];
        }
        printf("  %7.4f %8.1f ", sqrt(r->fit.sse_log / (double)r->fit.n), r->aicc);
        if (r->n_held > 0)
            printf("%8.4f\n", r->held_out);
        else
            printf("%8s\n", "-");
    }
    printf("  > predicts the largest runs best, fitted without them (rms of ln E)%s\n",
           law->rows[law->best].n_held > 0 ? "" : "; too few points for that: the least AICc instead");
    if (any_bound)
        printf("  * at its bound: the points do not ask for this parameter\n");
}

static void print_errors(const vt_law *law)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < VT_LAW_ROWS; i++) {
        const vt_fit *f = &law->rows[i].fit;
        if (!law->rows[i].done || law->rows[i].loss != law->how.loss || (i != VT_FORM_FULL && i != VT_FORM_FLOOR))
            continue;
        printf("  %-16s standard errors:", vt_form_texts[f->form]);
        for (int p = 0; p < VT_N_P; p++)
            if (f->free[p])
                printf(" %s %.3g", names[p], f->se[p]);
        printf("; %d of %d starts agree\n", f->agree, f->starts);
    }
}

static void print_prediction(const fit_options *o, const fitted *r, double x)
{
    const vt_prediction p = vt_law_predict(&r->law, &r->cal, x, o->level);
    printf("  %-12.5g", x);
    if (p.distance > 10 && !o->far) {
        printf("  %.0f times beyond the largest run: not extrapolated; --far asks for it\n", p.distance);
        return;
    }
    printf("  %8.4f  %8.4f to %-8.4f", p.centre, p.low, p.high);
    if (!isnan(p.full))
        printf("  %8.4f  %8.4f", p.full, p.floor);
    if (!isnan(p.pure))
        printf("  %8.4f", p.pure);
    printf("%s\n", p.distance > 1 && !p.supported ? "  no back-test supports this" : "");
}

static void print_bootstrap(const fit_options *o, fitted *r)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    vt_bootstrap *b = &r->bootstrap;
    printf("\nbootstrap   %zu draws of %zu %s, the frontier chosen anew, %.0f%%%s\n", b->n, b->n_units,
           b->by_group ? "groups" : "runs", 100 * vt_levels[o->level],
           b->failed ? "; draws with too few runs are left out" : "");
    for (size_t i = 0; i < VT_N_P + b->n_x; i++) {
        double low, high;
        if (i < VT_N_P && !vt_form_has[b->form][i])
            continue;
        vt_bootstrap_interval(b, i, vt_levels[o->level], &low, &high);
        if (i < VT_N_P)
            printf("  %-12s  %10.4g to %.4g\n", names[i], low, high);
        else
            printf("  curve at %-10.4g  %.4f to %.4f\n", o->at[i - VT_N_P], low, high);
    }
}

static void print_equal(const fitted *r, const char *y)
{
    printf("\nequal %s, %s against %s\n", y, r->equal_names[0], r->equal_names[1]);
    for (int i = 0; i < EQUAL_STEPS; i++)
        printf("  %8.4f  %10.4g  %10.4g  %8.3g times\n", r->equals[i].y, r->equals[i].x[0], r->equals[i].x[1],
               r->equals[i].x[0] / r->equals[i].x[1]);
    printf("  %s needs %.3g times as much (geometric mean)\n", r->equal_names[0], r->equal_ratio);
}

/* The law of the loss, carried to error by the relation of the two over all runs that have both. */
static void print_via(const fit_options *o, const fitted *r)
{
    const vt_fit *f = &r->error_of_loss;
    printf("\nby %s    error = %.4g L^%.4g + %.4g, %zu runs, rms of ln %.4f\n", o->via, f->p[VT_P_A], f->p[VT_P_B],
           f->p[VT_P_C], r->n_pairs, sqrt(f->sse_log / (double)f->n));
    for (size_t i = 0; i < o->n_at; i++) {
        const vt_prediction p = vt_law_predict(&r->loss_law, &r->cal, o->at[i], o->level);
        if (p.distance > 10 && !o->far)
            continue;
        const double low = vt_error_at_loss(f, p.low), high = vt_error_at_loss(f, p.high);
        printf("  %-12.5g  %s %.4f, so error %.4f  (%.4f to %.4f from the interval of the loss alone)\n", o->at[i],
               o->via, p.centre, vt_error_at_loss(f, p.centre), low, high);
    }
}

static void print_text(const fit_options *o, fitted *r)
{
    const char *y = vt_law_y_word(r->points.y_unit);
    vt_law_print_points(&r->table, &r->points, !o->all);
    printf("\nlaw         E = %s against C = %s in %s, %zu points, C from %.5g to %.5g\n", y, o->select.x,
           r->points.x_unit, r->law.n, r->law.x[0], r->law.x[r->law.n - 1]);
    print_rows(&r->law);
    print_errors(&r->law);
    if (!isnan(r->points.seed_sd))
        printf("  seeds differ by %.4f in ln E (%zu degrees of freedom)\n", r->points.seed_sd, r->points.seed_df);
    if (o->n_at > 0) {
        printf("\n  %-12s  %8s  %20s  %8s  %8s  %8s\n", "C", y, "one run, interval", "with d", "no d", "pure");
        for (size_t i = 0; i < o->n_at; i++)
            print_prediction(o, r, o->at[i]);
        printf("  %.0f%% intervals of one new best run, widened as %s asks for\n", 100 * vt_levels[o->level],
               r->cal.source);
    }
    if (r->bootstrap.n > 0)
        print_bootstrap(o, r);
    if (r->loss_law.n > 0)
        print_via(o, r);
    if (r->equal_ratio > 0)
        print_equal(r, y);
    if (r->law.n_notes > 0)
        printf("\nwatch out\n");
    for (size_t i = 0; i < r->law.n_notes; i++)
        printf("  - %s\n", r->law.notes[i]);
}

/* --- as JSON
 * ---------------------------------------------------------------------------------------------------------- */

static json_t *prediction_json(const fit_options *o, const fitted *r, double x)
{
    const vt_prediction p = vt_law_predict(&r->law, &r->cal, x, o->level);
    json_t *j = json_object();
    (void)json_object_set_new(j, "x", vt_json_number(x));
    (void)json_object_set_new(j, "distance", vt_json_number(p.distance));
    (void)json_object_set_new(j, "supported", json_boolean(p.distance <= 1 || p.supported));
    if (p.distance <= 10 || o->far) {
        (void)json_object_set_new(j, "value", vt_json_number(p.centre));
        (void)json_object_set_new(j, "low", vt_json_number(p.low));
        (void)json_object_set_new(j, "high", vt_json_number(p.high));
        (void)json_object_set_new(j, "level", vt_json_number(vt_levels[o->level]));
        (void)json_object_set_new(j, "full", vt_json_number(p.full));
        (void)json_object_set_new(j, "floor", vt_json_number(p.floor));
        (void)json_object_set_new(j, "pure", vt_json_number(p.pure));
    }
    return j;
}

static json_t *bootstrap_json(const fit_options *o, fitted *r)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    vt_bootstrap *b = &r->bootstrap;
    json_t *j = json_object(), *rows = json_array();
    (void)json_object_set_new(j, "draws", json_integer((json_int_t)b->n));
    (void)json_object_set_new(j, "of", json_string(b->by_group ? "groups" : "runs"));
    for (size_t i = 0; i < VT_N_P + b->n_x; i++) {
        double low, high;
        if (i < VT_N_P && !vt_form_has[b->form][i])
            continue;
        vt_bootstrap_interval(b, i, vt_levels[o->level], &low, &high);
        json_t *row = json_object();
        if (i < VT_N_P)
            (void)json_object_set_new(row, "parameter", json_string(names[i]));
        else
            (void)json_object_set_new(row, "x", vt_json_number(o->at[i - VT_N_P]));
        (void)json_object_set_new(row, "low", vt_json_number(low));
        (void)json_object_set_new(row, "high", vt_json_number(high));
        (void)json_array_append_new(rows, row);
    }
    (void)json_object_set_new(j, "intervals", rows);
    return j;
}

static json_t *via_json(const fit_options *o, const fitted *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < o->n_at; i++) {
        const vt_prediction p = vt_law_predict(&r->loss_law, &r->cal, o->at[i], o->level);
        if (p.distance <= 10 || o->far)
            (void)json_array_append_new(list, json_pack("{s:f,s:f,s:f}", "x", o->at[i], "loss", p.centre, "error",
                                                        vt_error_at_loss(&r->error_of_loss, p.centre)));
    }
    return list;
}

static json_t *record_of(const fit_options *o, fitted *r)
{
    char *table = r->table.path, *x = vt_xstrdup(o->select.x), *y = vt_xstrdup(o->select.y);
    char *where = o->select.where ? vt_xstrdup(o->select.where) : NULL;
    const vt_record record = {.table = table,
                              .x = x,
                              .y = y,
                              .where = where,
                              .x_unit = r->points.x_unit,
                              .y_unit = r->points.y_unit,
                              .cal = r->cal,
                              .seed_sd = r->points.seed_sd};
    json_t *root = vt_record_json(&record, &r->law, &r->points, &r->table), *at = json_array();
    for (size_t i = 0; i < o->n_at; i++)
        (void)json_array_append_new(at, prediction_json(o, r, o->at[i]));
    (void)json_object_set_new(root, "predictions", at);
    if (r->bootstrap.n > 0)
        (void)json_object_set_new(root, "bootstrap", bootstrap_json(o, r));
    if (r->loss_law.n > 0)
        (void)json_object_set_new(root, "by_loss", via_json(o, r));
    if (r->equal_ratio > 0)
        (void)json_object_set_new(root, "equal_ratio", vt_json_number(r->equal_ratio));
    free(x);
    free(y);
    free(where);
    return root;
}

/* --- the command
 * ------------------------------------------------------------------------------------------------------ */

/* --equal A,B: what both models need for the errors that both reach. */
static vt_status find_equal(const fit_options *o, fitted *r, vt_err *err)
{
    size_t model[2] = {SIZE_MAX, SIZE_MAX};
    const char *comma = strchr(o->equal, ',');
    r->equal_names[0] = vt_xstrdup(o->equal);
    r->equal_names[0][comma - o->equal] = '\0';
    r->equal_names[1] = vt_xstrdup(comma + 1);
    for (int k = 0; k < 2; k++) {
        for (size_t m = 0; m < r->points.n_models; m++)
            if (strcmp(r->points.models[m], r->equal_names[k]) == 0)
                model[k] = m;
        if (model[k] == SIZE_MAX) {
            const char *near = vt_nearest(r->equal_names[k], (const char *const *)r->points.models, r->points.n_models);
            return vt_fail(err, VT_EINVAL, "--equal: no run is of model \"%.60s\"%s%.60s%s", r->equal_names[k],
                           near ? "; did you mean \"" : "; --model names the columns", near ? near : "",
                           near ? "\"?" : "");
        }
    }
    if (!vt_equal_ratio(r->points.p, r->points.n, model[0], model[1], EQUAL_STEPS, r->equals, &r->equal_ratio))
        return vt_fail(err, VT_EINVAL, "--equal: there is no error that both %s and %s reach", r->equal_names[0],
                       r->equal_names[1]);
    return VT_OK;
}

/* --via LOSS: the frontier of the loss, and the pairs of loss and error. */
static vt_status fit_via(const fit_options *o, fitted *r, vt_err *err)
{
    vt_points losses;
    size_t column;
    vt_select s = o->select;
    s.y = o->via;
    s.y_unit = "loss";
    VT_TRY(vt_table_find(&r->table, o->via, &column, err));
    vt_status status = vt_points_select(&losses, &r->table, &s, err);
    if (status == VT_OK)
        status = vt_law_make(&r->loss_law, &losses, &o->how, err);
    vt_points_release(&losses);
    if (status != VT_OK)
        return vt_prefix(err, "--via %s", o->via);
    double *loss = vt_xcalloc(2 * r->points.n, sizeof *loss), *error = loss + r->points.n;
    for (size_t i = 0; i < r->points.n; i++) {
        const char *cell = vt_table_cell(&r->table, r->points.p[i].row, column);
        if (vt_parse_f64(cell, &loss[r->n_pairs], NULL) == VT_OK && loss[r->n_pairs] > 1e-9)
            error[r->n_pairs++] = r->points.p[i].y;
    }
    status = vt_error_from_loss(&r->error_of_loss, loss, error, r->n_pairs, err);
    free(loss);
    return status == VT_OK ? VT_OK : vt_prefix(err, "--via %s", o->via);
}

static vt_status work(const fit_options *o, fitted *r, vt_err *err)
{
    VT_TRY(vt_law_calibration(o->calibration, &r->cal, err));
    VT_TRY(vt_points_select(&r->points, &r->table, &o->select, err));
    VT_TRY(vt_law_make(&r->law, &r->points, &o->how, err));
    if (!o->calibration && !o->how.all_points)
        r->cal = vt_calibration_for(&r->cal, &r->points);
    if (o->equal)
        VT_TRY(find_equal(o, r, err));
    if (o->via)
        VT_TRY(fit_via(o, r, err));
    if (o->draws == 0)
        return VT_OK;
    vt_pool *pool;
    const vt_bootstrap_how how = {
        .draws = (size_t)o->draws, .seed = (uint32_t)o->draw_seed, .x = o->at, .n_x = o->n_at};
    VT_TRY(vt_pool_new(&pool, (int)o->threads, err));
    vt_status status = vt_bootstrap_run(&r->bootstrap, &r->points, &r->law, &how, pool, err);
    vt_pool_free(pool);
    return status;
}

static vt_status run(const fit_options *o, const char *path, vt_err *err)
{
    fitted r = {0};
    VT_TRY(vt_table_load(&r.table, path, err));
    vt_status status = work(o, &r, err);
    if (status == VT_OK && o->out) {
        json_t *root = record_of(o, &r);
        status = vt_json_save(o->out, root, err);
        json_decref(root);
    }
    if (status == VT_OK && o->json)
        vt_cli_print_json(record_of(o, &r));
    else if (status == VT_OK)
        print_text(o, &r);
    vt_bootstrap_release(&r.bootstrap);
    vt_law_release(&r.law);
    vt_law_release(&r.loss_law);
    free(r.equal_names[0]);
    free(r.equal_names[1]);
    vt_points_release(&r.points);
    vt_table_release(&r.table);
    return status;
}

static vt_status check(fit_options *o, vt_err *err)
{
    VT_TRY(vt_law_check_select(&o->select, err));
    VT_TRY(vt_law_loss(o->loss_text, &o->how.loss, err));
    VT_TRY(vt_law_number("delta", o->delta_text, 1e-6, 10, 0, &o->how.delta, err));
    VT_TRY(vt_law_numbers("at", o->at_text, o->at, MAX_AT, &o->n_at, err));
    VT_TRY(vt_law_level(o->level_text, &o->level, err));
    VT_TRY(vt_cli_integer("bootstrap", o->bootstrap_text, 20, VT_BOOTSTRAP_MAX, 0, &o->draws, err));
    VT_TRY(vt_cli_integer("bootstrap-seed", o->seed_text, 0, UINT32_MAX, 0, &o->draw_seed, err));
    VT_TRY(vt_cli_integer("threads", o->threads_text, 1, 1024, vt_machine_cpus(), &o->threads, err));
    o->how.all_points = o->all;
    if (o->equal && !strchr(o->equal, ','))
        return vt_fail(err, VT_EINVAL, "--equal is \"%.60s\"; two models are expected: Ti,L", o->equal);
    return VT_OK;
}

int vt_cmd_law_fit(vt_cli *cli, int argc, char **argv)
{
    fit_options o = {0};
    const vt_opt opts[] = {
        VT_LAW_OPTS(o.select),
        {"all", NULL, &o.all, "fit all runs instead of their frontier"},
        {"loss", "WORD", &o.loss_text, "log (squares of ln E), huber (robust) or linear; default: log"},
        {"delta", "NUMBER", &o.delta_text, "of huber, in ln E; default: 0.03"},
        {"at", "LIST", &o.at_text, "predict at these values of x"},
        {"far", NULL, &o.far, "predict more than ten times beyond the largest run"},
        {"level", "PERCENT", &o.level_text, "50, 80, 90 or 95; default: 80"},
        {"calibration", "FILE", &o.calibration, "widening factors of vitro law backtest --out"},
        {"via", "COLUMN", &o.via, "a column of losses: fit it first, and carry it to error"},
        {"equal", "A,B", &o.equal, "what model A needs for the errors of model B: sample efficiency where x is images"},
        {"bootstrap", "N", &o.bootstrap_text, "draw the groups N times and refit"},
        {"bootstrap-seed", "N", &o.seed_text, "default: 0"},
        {"threads", "N", &o.threads_text, "of the bootstrap; no result depends on it"},
        {"out", "FILE", &o.out, "write the fit, with all that it rests on, as JSON"},
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
