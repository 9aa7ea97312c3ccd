/* The law of a table: choice of form, predictions, notes, back-tests, the bootstrap, and the record of it all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/philox.h"
#include "base/text.h"
#include "law/backtest.h"
#include "law/bootstrap.h"
#include "law/record.h"
#include "paper.h"

static double truth(double x)
{
    return .6 * pow(x + .5, -.3) + .1;
}

/* n runs of three models along a known law, noise of sd in ln E. */
static void make_table(vt_table *t, int n, double sd, uint32_t seed)
{
    vt_text s = {0};
    vt_rng r = vt_rng_at(seed, VT_STREAM_TEST, 1, 0);
    vt_text_add(&s, "model,core_days,error\n");
    for (int i = 0; i < n; i++) {
        const double x = pow(10, 4.0 * i / (n - 1));
        vt_text_addf(&s, "m%d,%.10g,%.10g\n", i % 3, x, truth(x) * exp(sd * vt_rng_normal(&r)));
    }
    assert_int_equal(vt_table_parse(t, "runs.csv", (const unsigned char *)s.s, s.len, NULL), VT_OK);
    vt_text_release(&s);
}

static void make_points(vt_points *p, int n, double sd, uint32_t seed)
{
    vt_table t;
    vt_err err = {0};
    make_table(&t, n, sd, seed);
    const vt_select s = {.x = "core_days", .y = "error", .group = "model"};
    if (vt_points_select(p, &t, &s, &err) != VT_OK)
        fail_msg("%s", err.msg);
    vt_table_release(&t);
}

/* On a known law the right form must win, its prediction be near, and its interval hold the truth. */
static void test_known_law(void **state)
{
    vt_points p;
    vt_law law;
    make_points(&p, 40, .01, 1);
    assert_int_equal(vt_law_make(&law, &p, &(vt_law_how){0}, NULL), VT_OK);
    assert_true(law.rows[law.best].form == VT_FORM_FULL);
    assert_true(law.rows[VT_FORM_PURE].held_out > 3 * law.rows[VT_FORM_FULL].held_out);
    const vt_prediction q = vt_law_predict(&law, &vt_calibration_paper, 5e4, VT_LEVEL_80);
    assert_true(fabs(log(q.full / truth(5e4))) < .05);
    assert_true(q.supported);
    assert_false(vt_law_predict(&law, &vt_calibration_paper, 4e5, VT_LEVEL_80).supported);
    const vt_prediction wide = vt_law_predict(&law, &vt_calibration_paper, 5e4, VT_LEVEL_95);
    assert_true(wide.low < q.low && wide.high > q.high);
    assert_true(wide.low < truth(5e4) && truth(5e4) < wide.high);
    vt_law_release(&law);
    vt_points_release(&p);
}

static vt_status law_of_text(vt_law *law, vt_points *p, const char *text, vt_err *err)
{
    vt_table t;
    *p = (vt_points){0};
    VT_TRY(vt_table_parse(&t, "bad.csv", (const unsigned char *)text, strlen(text), err));
    const vt_select s = {.x = "flops", .y = "error"};
    vt_status status = vt_points_select(p, &t, &s, err);
    vt_table_release(&t);
    return status == VT_OK ? vt_law_make(law, p, &(vt_law_how){0}, err) : status;
}

/* What cannot be a law must get a sentence, never a number. */
static void test_bad_input(void **state)
{
    static const struct {
        const char *text, *sentence;
    } rows[] = {
        {"flops,error\n1,.5\n2,.4\n", "a law needs at least 3"},
        {"flops,error\n1,.5\n2,.5\n3,.5\n4,.5\n", "the frontier of 4 runs has 1 member"},
        {"flops,error\n5,.5\n5,.4\n5,.3\n5,.2\n", "the frontier of 4 runs has 1 member"},
        {"flops,error\n0,.5\n0,.4\n0,.3\n", "no row is left to fit; all 3 were left out"},
        {"flops,error\n1,0\n2,1.2\n3,0\n", "no row is left to fit; all 3 were left out"},
        {"flops,error\n1,x\n2,y\n", "no row is left to fit"},
        {"hello\nworld\n", "no column \"flops\""},
    };
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_law law;
        vt_points p;
        vt_err err = {0};
        assert_int_not_equal(law_of_text(&law, &p, rows[i].text, &err), VT_OK);
        if (!strstr(err.msg, rows[i].sentence))
            fail_msg("\"%s\", not \"%s\"", err.msg, rows[i].sentence);
        vt_points_release(&p);
    }
}

static bool has_note(const vt_law *law, const char *words)
{
    for (size_t i = 0; i < law->n_notes; i++)
        if (strstr(law->notes[i], words))
            return true;
    return false;
}

/* Each pitfall must be seen in a table that has it, and not in one that has not. */
static void test_notes(void **state)
{
    vt_points p;
    vt_law law;
    assert_int_equal(law_of_text(&law, &p, "flops,error\n1,.5\n2,.4\n3,.35\n4,.3\n", NULL), VT_OK);
    assert_true(has_note(&law, "too few to tell where the law levels off"));
    assert_true(has_note(&law, "one model only"));
    assert_false(law.rows[VT_FORM_FULL].done);
    assert_false(vt_law_predict(&law, &vt_calibration_paper, 10, VT_LEVEL_80).supported);
    vt_law_release(&law);
    vt_points_release(&p);

    vt_table t;
    const vt_select s = {.x = "core_days", .y = "error", .group = "model"};
    make_table(&t, 40, .01, 1);
    assert_int_equal(vt_points_select(&p, &t, &s, NULL), VT_OK);
    p.p[20].y *= .6; /* far off, and on the frontier */
    p.n_frontier = vt_frontier_mark(p.p, p.n);
    assert_int_equal(vt_law_make(&law, &p, &(vt_law_how){.all_points = true}, NULL), VT_OK);
    assert_true(has_note(&law, "look at it"));
    assert_true(has_note(&law, "all runs are fitted"));
    assert_false(has_note(&law, "one model only"));
    assert_false(has_note(&law, "too few"));
    vt_law_release(&law);
    vt_points_release(&p);
    vt_table_release(&t);
}

/* The bootstrap must not depend on threads, and must cover what it was drawn from. */
static void test_bootstrap(void **state)
{
    vt_points p;
    vt_law law;
    vt_pool *pool;
    const double at = 1e5;
    double low[2], high[2];
    make_points(&p, 60, .02, 3);
    assert_int_equal(vt_law_make(&law, &p, &(vt_law_how){.all_points = true}, NULL), VT_OK);
    for (int threads = 1; threads <= 2; threads++) {
        vt_bootstrap b;
        const vt_bootstrap_how how = {.draws = 200, .seed = 7, .x = &at, .n_x = 1, .by_run = true};
        assert_int_equal(vt_pool_new(&pool, threads, NULL), VT_OK);
        assert_int_equal(vt_bootstrap_run(&b, &p, &law, &how, pool, NULL), VT_OK);
        vt_bootstrap_interval(&b, VT_N_P, .9, &low[threads - 1], &high[threads - 1]);
        vt_bootstrap_release(&b);
        vt_pool_free(pool);
    }
    assert_true(low[0] == low[1] && high[0] == high[1]);
    const double curve = vt_fit_at(&law.rows[VT_FORM_FULL].fit, at), se = vt_fit_se(&law.rows[VT_FORM_FULL].fit, at);
    assert_true(low[0] < curve && curve < high[0]);
    assert_true(log(high[0] / low[0]) > 1.5 * se && log(high[0] / low[0]) < 7 * se); /* 3.3 where all is well */
    vt_law_release(&law);
    vt_points_release(&p);
}

/* A fit that was written must come back as the same law. */
static void test_record(void **state)
{
    char path[] = "/tmp/vitro-record-XXXXXX";
    vt_points p;
    vt_law law, again;
    vt_record back;
    vt_err err = {0};
    char x[] = "core_days", y[] = "error";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    make_points(&p, 30, .02, 4);
    assert_int_equal(vt_law_make(&law, &p, &(vt_law_how){.loss = VT_LOSS_HUBER, .delta = .02}, NULL), VT_OK);
    const vt_record r = {
        .x = x, .y = y, .x_unit = p.x_unit, .y_unit = p.y_unit, .cal = vt_calibration_paper, .seed_sd = (double)NAN};
    json_t *root = vt_record_json(&r, &law, &p, NULL);
    assert_int_equal(vt_json_save(path, root, NULL), VT_OK);
    if (vt_record_load(&back, &again, path, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_memory_equal(law.rows[VT_FORM_FULL].fit.p, again.rows[VT_FORM_FULL].fit.p, sizeof law.rows[0].fit.p);
    assert_true(back.cal.k[2][1] == r.cal.k[2][1]);
    vt_record_release(&back);
    vt_law_release(&again);
    (void)json_object_set_new(root, "points", json_pack("[[f,f],[f,f]]", 2.0, .5, 1.0, .5));
    assert_int_equal(vt_json_save(path, root, NULL), VT_OK);
    assert_int_equal(vt_record_load(&back, &again, path, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "rising order"));
    json_decref(root);
    (void)unlink(path);
    vt_law_release(&law);
    vt_points_release(&p);
}

/* The factors that are tried on a series must not have seen it: one series that bends where the others do not must be
 * missed by factors of those others, and not be counted as covered by its own. */
static void test_series_left_out(void **state)
{
    vt_points points[3];
    const vt_points *list[3];
    vt_backtest b;
    for (int s = 0; s < 3; s++) {
        make_points(&points[s], 40, .01, (uint32_t)(20 + s));
        for (size_t i = 0; i < points[s].n && s == 2; i++)
            if (points[s].p[i].x > 100)
                points[s].p[i].y *= pow(points[s].p[i].x / 100, -.3);
        points[s].n_frontier = vt_frontier_mark(points[s].p, points[s].n);
        list[s] = &points[s];
    }
    assert_int_equal(vt_backtest_run(&b, list, 3, NULL), VT_OK);
    print_message("coverage of three series at 80%%: %.2f %.2f %.2f\n", b.by_series[0], b.by_series[1], b.by_series[2]);
    assert_true(b.by_series[0] > .8 && b.by_series[1] > .8);
    assert_true(b.by_series[2] < .38);
    vt_backtest_release(&b);
    assert_int_equal(vt_backtest_run(&b, list, 2, NULL), VT_EINVAL);
    for (int s = 0; s < 3; s++)
        vt_points_release(&points[s]);
}

/* The promise of the back-test: on every series that its factors have not seen, nominal 80 % covers 70 to 90 %; and the
 * factors that are built in are those that it learns. */
static void test_backtest(void **state)
{
    static const char *const where[] = {"set=jft,metric=INet10",  "set=jft,metric=INet5",  "set=jft,metric=FT",
                                        "set=jft,metric=FTv2",    "set=jft,metric=FTReaL", "set=jft,metric=Cifar10",
                                        "set=jft,metric=Cifar5",  "set=jft,metric=Pets10", "set=jft,metric=Pets5",
                                        "set=jft,metric=Birds10", "set=jft,metric=Birds5", "set=i21k,metric=INet10"};
    enum { N = VT_COUNT_OF(where) };
    vt_table t;
    vt_points points[N];
    const vt_points *list[N];
    vt_backtest b;
    if (!paper_open(&t))
        skip();
    for (int i = 0; i < N; i++) {
        paper_points(&t, where[i], &points[i]);
        list[i] = &points[i];
    }
    assert_int_equal(vt_backtest_run(&b, list, N, NULL), VT_OK);
    const vt_coverage *c = &b.total[VT_LEVEL_80];
    print_message("nominal 80%%: %.1f%% of %zu predictions, bias %+.3f\n", 100 * c->left_out, c->n, c->bias);
    assert_true(c->left_out >= .7 && c->left_out <= .9);
    for (int bin = 0; bin < VT_N_BINS; bin++) {
        assert_true(b.by_bin[bin][VT_LEVEL_80].left_out >= .7 && b.by_bin[bin][VT_LEVEL_80].left_out <= .9);
        for (int l = 0; l < VT_N_LEVELS; l++)
            assert_true(fabs(b.all.k[bin][l] - vt_calibration_paper.k[bin][l]) < 2e-3);
    }
    for (int i = 0; i < N - 1; i++)
        assert_true(b.cuts[i] >= 6);
    vt_backtest_release(&b);
    for (int i = 0; i < N; i++)
        vt_points_release(&points[i]);
    vt_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_law),       cmocka_unit_test(test_bad_input), cmocka_unit_test(test_notes),
        cmocka_unit_test(test_bootstrap),       cmocka_unit_test(test_record),    cmocka_unit_test(test_backtest),
        cmocka_unit_test(test_series_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
