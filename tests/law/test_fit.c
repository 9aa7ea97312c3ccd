/* The fit, against values that SciPy computed (tests T1 to T7 of the notes on laws, and the table of fits of every
 * metric), and its arithmetic against other ways to get the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/file.h"
#include "base/json.h"
#include "law/fit.h"
#include "law/quantile.h"
#include "paper.h"

static void near(const char *what, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%s is %.8g, %.8g +- %.1g expected", what, got, want, tolerance);
}

static const double t1_x[] = {.25, .5, 1, 2, 5, 10, 30, 100, 300, 1000, 3000, 10000};
static const double t1_y[] = {.81223309, .75292584, .67752325, .59488159, .49049433, .42224386,
                              .3361999,  .26895019, .22609183, .19343251, .17279304, .15710596};

static vt_fit fit_of(vt_form form, vt_loss loss, const double *x, const double *y, size_t n)
{
    vt_fit fit;
    vt_err err = {0};
    if (vt_fit_run(&fit, &(vt_fit_how){.form = form, .loss = loss}, x, y, n, &err) != VT_OK)
        fail_msg("%s", err.msg);
    return fit;
}

static void expect_fit(const char *name, const vt_fit *f, const double want[VT_N_P], double tolerance,
                       double d_tolerance)
{
    char what[64];
    for (int i = 0; i < VT_N_P; i++) {
        (void)snprintf(what, sizeof what, "%s: %c", name, "abcd"[i]);
        near(what, f->p[i], want[i], i == VT_P_D ? d_tolerance : tolerance);
    }
}

/* T1: on exact points the parameters must come back; T2: with noise, the optimum and its standard errors. */
static void test_exact_and_noisy(void **state)
{
    static const int signs[] = {1, -1, -1, 1, 1, -1, 1, 1, -1, -1, 1, -1};
    double y[12];
    vt_fit f = fit_of(VT_FORM_FULL, VT_LOSS_LOG, t1_x, t1_y, 12);
    expect_fit("T1", &f, (double[]){.6326, .3190, .1236, .5164}, 1e-5, 1e-5);
    for (int i = 0; i < 12; i++)
        y[i] = t1_y[i] * exp(.02 * signs[i]);
    f = fit_of(VT_FORM_FULL, VT_LOSS_LOG, t1_x, y, 12);
    expect_fit("T2", &f, (double[]){.632366, .309482, .118457, .487307}, 1e-4, 1e-4);
    near("T2: objective", f.objective, .0044719, 1e-6);
    static const double se[] = {.02395, .02142, .00845, .15555};
    for (int i = 0; i < VT_N_P; i++)
        near("T2: standard error", f.se[i], se[i], .02 * se[i]);
    f = fit_of(VT_FORM_FLOOR, VT_LOSS_LOG, t1_x, y, 12);
    expect_fit("T2b", &f, (double[]){.570208, .234075, .084061, 0}, 1e-4, 0);
    near("T2b: objective", f.objective, .0164743, 1e-6);
}

/* Units of C must not matter: the same law in FLOPs and in core-days. */
static void test_units_do_not_matter(void **state)
{
    double x[12];
    for (int i = 0; i < 12; i++)
        x[i] = t1_x[i] * 3e18;
    const vt_fit f = fit_of(VT_FORM_FULL, VT_LOSS_LOG, x, t1_y, 12);
    near("b", f.p[VT_P_B], .3190, 1e-5);
    near("c", f.p[VT_P_C], .1236, 1e-5);
    near("d / unit", f.p[VT_P_D] / 3e18, .5164, 1e-5);
    near("E", vt_fit_at(&f, 2e5 * 3e18), vt_fit_at(&(vt_fit){.p = {.6326, .3190, .1236, .5164}, .unit = 1}, 2e5), 1e-6);
}

/* The standard error of the curve must be what moving each parameter by its covariance gives; a wrong derivative would
 * make every interval wrong. Checked by refitting to points each moved a little (the influence of every point). */
static void test_curve_error(void **state)
{
    static const int signs[] = {1, -1, -1, 1, 1, -1, 1, 1, -1, -1, 1, -1};
    const double at = 1e5, step = 1e-4;
    double y[12], variance = 0;
    for (int i = 0; i < 12; i++)
        y[i] = t1_y[i] * exp(1e-3 * signs[i]);
    const vt_fit f = fit_of(VT_FORM_FULL, VT_LOSS_LOG, t1_x, y, 12);
    for (int i = 0; i < 12; i++) {
        double moved[12];
        memcpy(moved, y, sizeof y);
        moved[i] *= exp(step);
        const vt_fit g = fit_of(VT_FORM_FULL, VT_LOSS_LOG, t1_x, moved, 12);
        const double slope = log(vt_fit_at(&g, at) / vt_fit_at(&f, at)) / step;
        variance += slope * slope * f.sigma * f.sigma;
    }
    near("standard error of ln E", vt_fit_se(&f, at) / sqrt(variance), 1, .01);
}

/* Huber's loss must let go of an outlier that least squares follow. */
static void test_robust(void **state)
{
    double y[12];
    memcpy(y, t1_y, sizeof y);
    y[6] *= 1.4;
    const vt_fit squares = fit_of(VT_FORM_FULL, VT_LOSS_LOG, t1_x, y, 12);
    const vt_fit robust = fit_of(VT_FORM_FULL, VT_LOSS_HUBER, t1_x, y, 12);
    const double truth = vt_fit_at(&(vt_fit){.p = {.6326, .3190, .1236, .5164}, .unit = 1}, 1e5);
    assert_true(fabs(log(vt_fit_at(&robust, 1e5) / truth)) < .3 * fabs(log(vt_fit_at(&squares, 1e5) / truth)));
}

/* Too few points, or all at one cost, must be refused: any number would mean nothing. */
static void test_refusals(void **state)
{
    static const double same[] = {1, 1, 1, 1, 1, 1}, y[] = {.5, .4, .3, .25, .2, .19};
    vt_fit f;
    vt_err err = {0};
    assert_int_equal(vt_fit_run(&f, &(vt_fit_how){.form = VT_FORM_FULL}, t1_x, t1_y, 4, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "4 points cannot tell 4 parameters"));
    assert_int_equal(vt_fit_run(&f, &(vt_fit_how){.form = VT_FORM_FULL}, same, y, 6, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "only 1 different x"));
}

/* The same points must give the same bytes, whatever was fitted before. */
static void test_same_bytes(void **state)
{
    vt_fit a, b;
    memset(&a, 1, sizeof a);
    memset(&b, 2, sizeof b);
    a = fit_of(VT_FORM_FULL, VT_LOSS_HUBER, t1_x, t1_y, 12);
    (void)fit_of(VT_FORM_FLOOR, VT_LOSS_LOG, t1_x, t1_y, 7);
    b = fit_of(VT_FORM_FULL, VT_LOSS_HUBER, t1_x, t1_y, 12);
    assert_memory_equal(a.p, b.p, sizeof a.p);
    assert_memory_equal(a.cov, b.cov, sizeof a.cov);
}

/* --- golden values
 * ------------------------------------------------------------------------------------------------------ */

static size_t read_numbers(const json_t *array, double *out)
{
    const size_t n = json_array_size(array);
    for (size_t i = 0; i < n; i++)
        out[i] = json_number_value(json_array_get(array, i));
    return n;
}

static int index_of(const char *word, const char *const *names, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(word, names[i]) == 0)
            return i;
    fail_msg("%s is no known name", word);
    return 0;
}

static void compare_golden(const json_t *want, const double *x, const double *y, size_t n)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    const vt_form form = (vt_form)index_of(json_string_value(json_object_get(want, "form")), vt_form_names, VT_N_FORMS);
    const vt_loss loss = (vt_loss)index_of(json_string_value(json_object_get(want, "loss")), vt_loss_names, 3);
    const double objective = json_number_value(json_object_get(want, "objective"));
    const vt_fit f = fit_of(form, loss, x, y, n);
    near("objective", f.objective / objective, 1, 1e-6);
    for (int i = 0; i < VT_N_P; i++) {
        const json_t *value = json_object_get(want, names[i]),
                     *se = json_object_get(json_object_get(want, "se"), names[i]);
        if (value && json_number_value(value) > 1e-3 * (i == VT_P_D ? x[0] : y[n - 1]))
            near(names[i], f.p[i] / json_number_value(value), 1, 2e-3);
        if (se && f.free[i])
            near("standard error", f.se[i] / json_number_value(se), 1, 5e-3);
    }
}

/* Every form and loss on four tables, against SciPy (tools/golden/law.py): another optimum or objective would show. */
static void test_golden(void **state)
{
    const char *source = getenv("MESON_SOURCE_ROOT");
    char *path = vt_path_join(source ? source : ".", "tests/golden/law.json");
    json_t *root, *one, *want;
    vt_err err = {0};
    double x[64], y[64];
    size_t i, k, compared = 0;
    if (vt_json_load(path, &root, &err) != VT_OK)
        fail_msg("%s", err.msg);
    json_array_foreach(json_object_get(root, "cases"), i, one)
    {
        const size_t n = read_numbers(json_object_get(one, "x"), x);
        (void)read_numbers(json_object_get(one, "y"), y);
        json_array_foreach(json_object_get(one, "fits"), k, want)
        {
            compare_golden(want, x, y, n);
            compared++;
        }
    }
    assert_int_equal(compared, 36);
    json_decref(root);
    free(path);
}

/* --- the paper's runs
 * ------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name, *where;
    size_t runs, n;
    double p[VT_N_P], rms, linear[VT_N_P];
    bool d_at_bound;
} metrics[] = {
    {"INet10",
     "set=jft,metric=INet10",
     262,
     33,
     {.63431, .32853, .12787, .55149},
     .0261,
     {.63647, .33041, .12849, .56573},
     false},
    {"INet5",
     "set=jft,metric=INet5",
     262,
     34,
     {.69118, .33301, .14472, .76328},
     .0229,
     {.6857, .3274, .1429, .7230},
     false},
    {"FT", "set=jft,metric=FT", 264, 28, {.25777, .34875, .09115, 0}, .0244, {.2616, .3773, .0952, .0523}, true},
    {"FT without G", "set=jft,metric=FT,model!=G", 263, 27, {.2564, .3535, .0927, 0}, -1, {-1}, true},
    {"Cifar10", "set=jft,metric=Cifar10", 262, 27, {.4442, .2193, .0765, 0}, .0291, {.4368, .2308, .0857, 0}, true},
    {"Cifar5", "set=jft,metric=Cifar5", 262, 28, {.4904, .1980, .0861, 0}, .0265, {.4829, .2064, .0951, 0}, true},
    {"Pets10",
     "set=jft,metric=Pets10",
     262,
     27,
     {.3763, .5486, .0234, .1104},
     .1005,
     {.5584, .7864, .0322, .6801},
     false},
    {"Pets5",
     "set=jft,metric=Pets5",
     262,
     30,
     {.4838, .5468, .0268, .2976},
     .0930,
     {.8893, .8597, .0400, 1.336},
     false},
    {"Birds10",
     "set=jft,metric=Birds10",
     262,
     27,
     {.5460, .3652, .0875, .2372},
     .0422,
     {.6265, .4665, .1069, .6339},
     false},
    {"Birds5",
     "set=jft,metric=Birds5",
     262,
     28,
     {.63483, .33867, .10386, .42774},
     .0313,
     {.6768, .3819, .1158, .6704},
     false},
    {"i21k",
     "set=i21k,metric=INet10",
     119,
     12,
     {2.145, .9492, .2694, 3.524},
     .0323,
     {2.700, 1.031, .2733, 4.072},
     false},
};

/* T3 to T6 and the table of fits: another frontier rule, loss or optimum would show here. */
static void test_every_metric(void **state)
{
    vt_table t;
    if (!paper_open(&t))
        skip();
    for (size_t i = 0; i < VT_COUNT_OF(metrics); i++) {
        vt_points pts;
        double x[300], y[300];
        paper_points(&t, metrics[i].where, &pts);
        assert_int_equal(pts.n, metrics[i].runs);
        assert_int_equal(pts.n_frontier, metrics[i].n);
        const size_t n = vt_points_take(pts.p, pts.n, HUGE_VAL, true, x, y);
        vt_fit f = fit_of(VT_FORM_FULL, VT_LOSS_LOG, x, y, n);
        expect_fit(metrics[i].name, &f, metrics[i].p, 5e-4, 2e-3);
        assert_int_equal(f.at_bound[VT_P_D], metrics[i].d_at_bound);
        if (metrics[i].rms > 0)
            near(metrics[i].name, sqrt(f.sse_log / (double)n), metrics[i].rms, 6e-5);
        if (metrics[i].linear[0] > 0) {
            f = fit_of(VT_FORM_FULL, VT_LOSS_LINEAR, x, y, n);
            expect_fit(metrics[i].name, &f, metrics[i].linear, 1e-3, 2e-3);
        }
        vt_points_release(&pts);
    }
    vt_table_release(&t);
}

/* T3 in full: sums of squares, standard errors, the interval of the curve; T3b: fewer parameters, linear loss. */
static void test_inet10(void **state)
{
    static const double se[] = {.0185, .0147, .0047, .1281};
    vt_table t;
    vt_points pts;
    double x[300], y[300];
    if (!paper_open(&t))
        skip();
    paper_points(&t, "set=jft,metric=INet10", &pts);
    const size_t n = vt_points_take(pts.p, pts.n, HUGE_VAL, true, x, y);
    near("least C", x[0], .26696, 1e-9);
    near("largest C", x[n - 1], 27499, 1e-9);
    vt_fit f = fit_of(VT_FORM_FULL, VT_LOSS_LOG, x, y, n);
    near("T3: objective", f.objective, .022411, 1e-6);
    for (int i = 0; i < VT_N_P; i++)
        near("T3: standard error", f.se[i], se[i], 5e-4);
    const double e = vt_fit_at(&f, 1e5), half = vt_t_quantile(.95, (double)(n - 4)) * vt_fit_se(&f, 1e5);
    near("T3: E(1e5)", e, .14232, 1e-5);
    near("T3: low", e * exp(-half), .13764, 1e-4);
    near("T3: high", e * exp(half), .14715, 1e-4);
    f = fit_of(VT_FORM_FLOOR, VT_LOSS_LOG, x, y, n);
    expect_fit("T3b", &f, (double[]){.56256, .25977, .10476, 0}, 5e-4, 0);
    near("T3b: objective", f.objective, .056508, 1e-6);
    f = fit_of(VT_FORM_PURE, VT_LOSS_LOG, x, y, n);
    expect_fit("T3b", &f, (double[]){.63178, .16116, 0, 0}, 5e-4, 0);
    near("T3b: objective", f.objective, .244751, 1e-6);
    f = fit_of(VT_FORM_FULL, VT_LOSS_LINEAR, x, y, n);
    near("T3b: objective", f.objective, .0043205, 1e-7);
    vt_points_release(&pts);
    vt_table_release(&t);
}

/* T7: what the law said of G/14 before it was trained. */
static void test_backtest_on_g14(void **state)
{
    static const struct {
        const char *where;
        size_t n;
        double full, pure;
    } rows[] = {{"set=jft,metric=INet10,model!=G", 32, .1494, .1169},
                {"set=jft,metric=INet10,model!=G,model!=g", 28, .1612, .1037}};
    vt_table t;
    if (!paper_open(&t))
        skip();
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_points pts;
        double x[300], y[300];
        paper_points(&t, rows[i].where, &pts);
        const size_t n = vt_points_take(pts.p, pts.n, HUGE_VAL, true, x, y);
        assert_int_equal(n, rows[i].n);
        const vt_fit full = fit_of(VT_FORM_FULL, VT_LOSS_LOG, x, y, n),
                     pure = fit_of(VT_FORM_PURE, VT_LOSS_LOG, x, y, n);
        near("T7", vt_fit_at(&full, 27499), rows[i].full, 3e-4);
        near("T7", vt_fit_at(&pure, 27499), rows[i].pure, 3e-4);
        vt_points_release(&pts);
    }
    vt_table_release(&t);
}

/* Quantiles of Student's t, against printed tables. */
static void test_quantiles(void **state)
{
    near("t .95, 29", vt_t_quantile(.95, 29), 1.699127, 1e-6);
    near("t .975, 1", vt_t_quantile(.975, 1), 12.7062047, 1e-6);
    near("t .9, 4", vt_t_quantile(.9, 4), 1.5332063, 1e-6);
    near("t .025, 10", vt_t_quantile(.025, 10), -2.2281389, 1e-6);
    near("t .95, 1e6", vt_t_quantile(.95, 1e6), 1.6448551, 1e-5);
    near("ln gamma(0.5)", vt_ln_gamma(.5), .5723649429247001, 1e-13);
    near("ln gamma(100)", vt_ln_gamma(100), 359.1342053695754, 1e-10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact_and_noisy), cmocka_unit_test(test_units_do_not_matter),
        cmocka_unit_test(test_curve_error),     cmocka_unit_test(test_robust),
        cmocka_unit_test(test_refusals),        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_golden),          cmocka_unit_test(test_every_metric),
        cmocka_unit_test(test_inet10),          cmocka_unit_test(test_backtest_on_g14),
        cmocka_unit_test(test_quantiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
