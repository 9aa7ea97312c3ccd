/* Joint laws in size and data: known truths, the constants of two papers, and the paper's runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "law/joint.h"
#include "paper.h"

static void near(const char *what, double got, double want, double relative)
{
    if (!(fabs(got / want - 1) <= relative))
        fail_msg("%s is %.8g, %.8g +- %.1g expected", what, got, want, relative);
}

/* T9: the best split of compute by Besiroglu's parameters. */
static void test_optimum(void **state)
{
    const vt_joint j = {.p = {482.01, .3478, 2085.43, .3658, 1.8172, (double)INFINITY}};
    double n, d, loss;
    vt_joint_optimum(&j, 5.76e23, 6, &n, &d, &loss);
    near("N", n, 7.2249e10, 1e-4); /* as many digits as are printed */
    near("D", d, 1.32874e12, 1e-5);
    near("L", loss, 1.974441, 1e-6);
    near("C", 6 * n * d, 5.76e23, 1e-12);
}

/* T10: Muennighoff's constants, 40 epochs of 100 million tokens. */
static void test_repeats(void **state)
{
    const vt_muennighoff m = {.a = exp(6.255414),
                              .alpha = .3526596,
                              .b = exp(7.3049974),
                              .beta = .3526596,
                              .e = exp(.6254804),
                              .r_data = 15.387756,
                              .r_size = 5.309743};
    near("L", vt_muennighoff_at(&m, 1e9, 4e9, 1e8), 3.902204, 1e-6);
    double slope;
    const double step = 1e-6, at = vt_repeat_worth(4e9, 1e8, 15, &slope);
    near("derivative", slope, (vt_repeat_worth(4e9, 1e8, 15 * exp(step), NULL) - at) / step, 1e-4);
    assert_true(vt_repeat_worth(5e7, 1e8, 15, NULL) == 5e7);
    near("four epochs", vt_repeat_worth(4e8, 1e8, 15.387756, NULL), 3.72e8, 2e-2);
}

/* A law that is known must come back, repeats included, whatever the units. */
static void test_known(void **state)
{
    const double truth[VT_N_J] = {30, .3, 80, .4, .15, 12};
    vt_joint_point points[120];
    size_t n = 0;
    vt_joint j;
    vt_err err = {0};
    for (int s = 0; s < 5; s++)
        for (int d = 0; d < 8; d++)
            for (int u = 0; u < 3; u++) {
                vt_joint_point *p = &points[n++];
                *p =
                    (vt_joint_point){1e6 * pow(4, s), 1e6 * pow(3, d), u == 2 ? (double)INFINITY : 1e7 * pow(10, u), 0};
                p->y = truth[0] * pow(p->size, -truth[1]) + truth[4] +
                       truth[2] * pow(vt_repeat_worth(p->data, p->unique, truth[5], NULL), -truth[3]);
            }
    if (vt_joint_fit(&j, &(vt_joint_how){.repeat = true}, points, n, &err) != VT_OK)
        fail_msg("%s", err.msg);
    for (int i = 0; i < VT_N_J; i++)
        near(vt_joint_names[i], j.p[i], truth[i], 1e-5);
    assert_true(j.agree >= 3);
    points[7].y *= 1.5; /* an outlier: Huber's loss must not mind */
    assert_int_equal(vt_joint_fit(&j, &(vt_joint_how){.repeat = true, .loss = VT_LOSS_HUBER}, points, n, NULL), VT_OK);
    for (int i = 0; i < VT_N_J; i++)
        near(vt_joint_names[i], j.p[i], truth[i], 1e-3);
}

/* One size, one amount or too few runs cannot tell a joint law. */
static void test_refusals(void **state)
{
    vt_joint_point p[8];
    vt_joint j;
    vt_err err = {0};
    for (int i = 0; i < 8; i++)
        p[i] = (vt_joint_point){1e6, 1e6 * (i + 1), (double)INFINITY, .5 / (i + 1)};
    assert_int_equal(vt_joint_fit(&j, &(vt_joint_how){0}, p, 8, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "one model size"));
    for (int i = 0; i < 8; i++)
        p[i].size = 1e6 * (i + 1), p[i].data = 1e6;
    assert_int_equal(vt_joint_fit(&j, &(vt_joint_how){0}, p, 8, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "same amount of data"));
    assert_int_equal(vt_joint_fit(&j, &(vt_joint_how){0}, p, 5, &err), VT_EINVAL);
}

/* --- the paper's runs
 * ------------------------------------------------------------------------------------------------- */

/* Forward GFLOPs of the paper's table 2, by model and patch. */
static double gflops(const char *model, const char *patch)
{
    static const struct {
        const char *model, *patch;
        double gflops;
    } rows[] = {{"s", "28", .7},    {"s", "16", 2.2},   {"S", "32", 2.3},  {"Ti", "16", 2.5},
                {"B", "32", 8.7},   {"S", "16", 9.2},   {"B", "28", 11.3}, {"B", "16", 35.1},
                {"L", "16", 122.9}, {"g", "14", 533.1}, {"G", "14", 965.3}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++)
        if (strcmp(rows[i].model, model) == 0 && strcmp(rows[i].patch, patch) == 0)
            return rows[i].gflops;
    fail_msg("no operations for %s/%s", model, patch);
    return 0;
}

static double amount(const char *text)
{
    return atof(text) * (strchr(text, 'B') ? 1 : 1e-3);
}

/* The table of joint laws in the notes: size and data must share the error as SciPy says. */
static void test_paper(void **state)
{
    static const struct {
        const char *where;
        bool repeat;
        double p[VT_N_J], rms;
    } rows[] = {{"set=jft,metric=INet10", false, {.1257, .287, .0748, .571, .0665, 0}, .072},
                {"set=jft,metric=INet10", true, {.1100, .308, .0874, .530, .0664, 43.9}, .061},
                {"set=jft,metric=FT", false, {.0302, .410, .0282, .699, .0832, 0}, .064},
                {"set=jft,metric=FT", true, {.0289, .418, .0305, .676, .0811, 68.8}, .062}};
    vt_table t;
    size_t model, patch, data, images;
    if (!paper_open(&t))
        skip();
    assert_true(vt_table_has(&t, "model", &model) && vt_table_has(&t, "patch", &patch) &&
                vt_table_has(&t, "data", &data) && vt_table_has(&t, "images_m", &images));
    for (size_t r = 0; r < VT_COUNT_OF(rows); r++) {
        vt_points pts;
        vt_joint_point points[300];
        vt_joint j;
        paper_points(&t, rows[r].where, &pts);
        for (size_t i = 0; i < pts.n; i++) {
            const size_t row = pts.p[i].row;
            points[i] = (vt_joint_point){gflops(vt_table_cell(&t, row, model), vt_table_cell(&t, row, patch)) / 100,
                                         atof(vt_table_cell(&t, row, images)) / 1000,
                                         amount(vt_table_cell(&t, row, data)), pts.p[i].y};
        }
        assert_int_equal(vt_joint_fit(&j, &(vt_joint_how){.repeat = rows[r].repeat}, points, pts.n, NULL), VT_OK);
        print_message("%s: A %.4f alpha %.3f B %.4f beta %.3f c %.4f R %.1f rms %.4f\n", rows[r].where, j.p[0], j.p[1],
                      j.p[2], j.p[3], j.p[4], j.p[5], j.rms);
        for (int i = 0; i < (rows[r].repeat ? VT_N_J : VT_N_J - 1); i++)
            near(vt_joint_names[i], j.p[i], rows[r].p[i], i == VT_J_R ? .03 : .01);
        near("rms", j.rms, rows[r].rms, .01);
        vt_points_release(&pts);
    }
    vt_table_release(&t);
}

static int by_loss(const void *a, const void *b)
{
    const vt_joint_point *p = a, *q = b;
    return (p->y > q->y) - (p->y < q->y);
}

/* T8: the points of Chinchilla's figure 4 as Besiroglu et al. read them (VITRO_CHINCHILLA names their CSV). */
static void test_chinchilla(void **state)
{
    const char *path = getenv("VITRO_CHINCHILLA");
    vt_table t;
    vt_err err = {0};
    size_t size, flop, loss;
    if (!path) {
        print_message("skipped: VITRO_CHINCHILLA does not name svg_extracted_data.csv of epoch-research\n");
        skip();
    }
    if (vt_table_load(&t, path, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_true(vt_table_has(&t, "Model Size", &size) && vt_table_has(&t, "Training FLOP", &flop) &&
                vt_table_has(&t, "loss", &loss));
    vt_joint_point *points = vt_xcalloc(t.n_rows, sizeof *points);
    for (size_t i = 0; i < t.n_rows; i++) {
        const double n = atof(vt_table_cell(&t, i, size));
        points[i] = (vt_joint_point){n, atof(vt_table_cell(&t, i, flop)) / (6 * n), (double)INFINITY,
                                     atof(vt_table_cell(&t, i, loss))};
    }
    qsort(points, t.n_rows, sizeof *points, by_loss);
    vt_joint j;
    const vt_joint_how how = {.loss = VT_LOSS_HUBER, .delta = 1e-3};
    assert_int_equal(vt_joint_fit(&j, &how, points, t.n_rows - 5, NULL), VT_OK);
    print_message("A %.1f B %.1f E %.4f alpha %.4f beta %.4f sum %.6g, %d of %d starts\n", j.p[0], j.p[2], j.p[4],
                  j.p[1], j.p[3], j.objective, j.agree, j.starts);
    near("sum", j.objective, 1.01827e-3, .005);
    near("A", j.p[VT_J_A], 477.8, .03);
    near("B", j.p[VT_J_B], 2143, .03);
    near("E", j.p[VT_J_C], 1.8172, .002);
    near("alpha", j.p[VT_J_ALPHA], .3473, .002 / .3473);
    near("beta", j.p[VT_J_BETA], .3672, .002 / .3672);
    assert_int_equal(vt_joint_fit(&j, &how, points, t.n_rows, NULL), VT_OK);
    near("B with the outliers", j.p[VT_J_B], 12846, .05);
    free(points);
    vt_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_optimum),  cmocka_unit_test(test_repeats), cmocka_unit_test(test_known),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_paper),   cmocka_unit_test(test_chinchilla),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
