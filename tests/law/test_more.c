/* Shape laws, equal error, error from loss, budgets, and the runs to make next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "law/budget.h"
#include "law/equal.h"
#include "law/next.h"
#include "law/shape.h"
#include "paper.h"

static void near(const char *what, double got, double want, double relative)
{
    if (!(fabs(got / want - 1) <= relative))
        fail_msg("%s is %.8g, %.8g +- %.1g expected", what, got, want, relative);
}

/* A shape law that is known must come back: its growth exponent is what shapes are scaled by. */
static void test_shape(void **state)
{
    static const double widths[] = {608, 768, 928, 1088, 1328, 1648, 1968};
    vt_shape_point p[21];
    vt_shape_law law;
    vt_err err = {0};
    double x;
    for (int i = 0; i < 21; i++) {
        p[i] = (vt_shape_point){widths[i % 7], 1e9 * pow(4, i / 7), 0};
        p[i].y = 8 * pow(p[i].x, -.6) + (2e3 * pow(p[i].x, .7) + 1e4) * pow(p[i].t, -.6) + .1;
    }
    if (vt_shape_fit(&law, p, 21, &err) != VT_OK)
        fail_msg("%s", err.msg);
    near("s", law.s, .6 / 1.3, .02);
    near("curve", vt_shape_at(&law, 1000, 5e9), 8 * pow(1000, -.6) + (2e3 * pow(1000, .7) + 1e4) * pow(5e9, -.6) + .1,
         1e-4);
    const double best = pow(8 * .6 * pow(5e9, .6) / (2e3 * .7), 1 / 1.3);
    assert_int_equal(vt_shape_best(&law, 5e9, &x, &err), best > 608 && best < 1968 ? VT_OK : VT_EINVAL);
    near("best width", pow(law.alpha * law.a * pow(5e9, law.c) / (law.beta * law.b), 1 / (law.a + law.b)), best, .02);
    assert_int_equal(vt_shape_best(&law, 5e20, &x, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "beyond the edge"));
    assert_int_equal(vt_shape_fit(&law, p, 7, &err), VT_EINVAL);
}

/* Sample efficiency of known curves, and nothing beyond their ends. */
static void test_equal(void **state)
{
    vt_point p[20];
    vt_equal list[9];
    double ratio;
    for (int i = 0; i < 20; i++) {
        const double x = pow(2, i / 2 + (i % 2 ? 3 : 0));
        p[i] = (vt_point){.x = x, .y = .8 * pow(i % 2 ? x / 8 : x, -.3), .model = (size_t)(i % 2), .row = (size_t)i};
    }
    vt_points_sort(p, 20);
    assert_true(vt_equal_ratio(p, 20, 1, 0, 9, list, &ratio));
    near("model 1 needs 8 times as much", ratio, 8, 1e-6);
    near("x", vt_equal_x(p, 20, 0, .8 * pow(3, -.3)), 3, 1e-9);
    assert_true(isnan(vt_equal_x(p, 20, 0, .9)));
    assert_true(isnan(vt_equal_x(p, 20, 0, .01)));
    for (int i = 0; i < 20; i++)
        p[i].y *= p[i].model ? .01 : 1;
    assert_false(vt_equal_ratio(p, 20, 1, 0, 9, list, &ratio));
}

/* What the paper says of sample efficiency: Ti/16 needs about 100 times the images of L/16 (10-shot), 20 times
 * (fine-tuned), read off the figure; the order of magnitude must be met on its own runs. */
static void test_paper_efficiency(void **state)
{
    static const struct {
        const char *where;
        double low, high;
    } rows[] = {{"set=jft,metric=INet10,model=Ti|L,data=3B", 50, 200},
                {"set=jft,metric=FT,model=Ti|L,data=3B", 10, 100}};
    vt_table t;
    if (!paper_open(&t))
        skip();
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_points pts;
        vt_equal list[20];
        vt_err err = {0};
        double ratio;
        const vt_select s = {.x = "images_m", .y = "error", .where = rows[i].where};
        if (vt_points_select(&pts, &t, &s, &err) != VT_OK)
            fail_msg("%s", err.msg);
        const size_t ti = strcmp(pts.models[0], "Ti") == 0 ? 0 : 1;
        const bool overlap = vt_equal_ratio(pts.p, pts.n, ti, 1 - ti, 20, list, &ratio);
        print_message("%s: %s %.3g\n", rows[i].where, overlap ? "Ti/16 needs x" : "no error that both reach", ratio);
        if (overlap)
            assert_true(ratio > rows[i].low && ratio < rows[i].high);
        vt_points_release(&pts);
    }
    vt_table_release(&t);
}

/* Error from loss: a known relation must come back. */
static void test_error_from_loss(void **state)
{
    double loss[12], error[12];
    vt_fit f;
    for (int i = 0; i < 12; i++) {
        loss[i] = 4 * pow(.85, i);
        error[i] = .1 * pow(loss[i], 1.3) + .05;
    }
    assert_int_equal(vt_error_from_loss(&f, loss, error, 12, NULL), VT_OK);
    near("at half the least loss", vt_error_at_loss(&f, loss[11] / 2), .1 * pow(loss[11] / 2, 1.3) + .05, 1e-4);
}

/* A budget read wrongly would be spent wrongly. */
static void test_budgets(void **state)
{
    static const struct {
        const char *text, *unit;
        double amount;
    } good[] = {{"1e19flops", "flops", 1e19},
                {"1e19 FLOPs", "gflops", 1e10},
                {"3EFLOPs", "flops", 3e18},
                {"2e4core_days", "core_days", 2e4},
                {"2xH100h", "flops", 2 * 3600 * 989e12 * .4},
                {"50000xh100h", "pflops", 50000 * 3600. * .989 * .4}};
    static const char *const bad[] = {"",     "flops",  "12",       "-3flops",  "0flops",
                                      "1e19", "3xFOOh", "3parsecs", "nanflops", "1e999flops"};
    vt_budget b;
    vt_err err = {0};
    for (size_t i = 0; i < VT_COUNT_OF(good); i++) {
        if (vt_budget_parse(&b, good[i].text, good[i].unit, .4, &err) != VT_OK)
            fail_msg("%s: %s", good[i].text, err.msg);
        near(good[i].text, b.amount, good[i].amount, 1e-12);
    }
    for (size_t i = 0; i < VT_COUNT_OF(bad); i++)
        assert_int_equal(vt_budget_parse(&b, bad[i], "flops", .4, &err), VT_EINVAL);
    assert_int_equal(vt_budget_parse(&b, "2xH100h", "core_days", .4, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "give the budget in core_days"));
    int width, depth, mlp;
    vt_shape_for(8.53e21, &width, &depth, &mlp); /* SoViT-400m: 1152, 27, 4304 */
    near("width", width, 1152, .1);
    near("depth", depth, 27, .2);
    near("MLP", mlp, 4304, .05);
}

/* The budget from which training pays lies where the curve crosses the baseline, and later for the interval's end; the
 * runs to make next must lower the error at the target, within the budget. */
static void test_break_even_and_next(void **state)
{
    double x[30], y[30], centre, upper;
    vt_law law;
    vt_next next;
    vt_err err = {0};
    for (int i = 0; i < 30; i++) {
        x[i] = pow(10, .15 * i);
        y[i] = (.6 * pow(x[i], -.3) + .1) * exp(i % 2 ? .01 : -.01);
    }
    assert_int_equal(vt_law_of(&law, x, y, 30, &(vt_law_how){.quick = true}, NULL), VT_OK);
    vt_break_even(&law, &vt_calibration_paper, VT_LEVEL_80, .13, &centre, &upper);
    near("pays from", centre, pow(.03 / .6, -1 / .3), .2);
    assert_true(upper > centre);
    vt_break_even(&law, &vt_calibration_paper, VT_LEVEL_80, .05, &centre, &upper);
    assert_true(isinf(centre) && isinf(upper));
    vt_break_even(&law, &vt_calibration_paper, VT_LEVEL_80, .9, &centre, &upper);
    assert_true(centre == 0);
    if (vt_next_runs(&next, &law, 1e6, 5e4, 2e4, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_true(next.n >= 2 && next.spent <= 5e4);
    double before = next.se_now;
    for (size_t i = 0; i < next.n; i++) {
        assert_true(next.runs[i].se < before && next.runs[i].x <= 2e4);
        before = next.runs[i].se;
    }
    assert_true(before < .8 * next.se_now);
    vt_law_release(&law);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_paper_efficiency),
        cmocka_unit_test(test_error_from_loss),
        cmocka_unit_test(test_budgets),
        cmocka_unit_test(test_break_even_and_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
