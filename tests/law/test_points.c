/* From rows to points: what is taken, what is left out and why, and the frontier. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "law/points.h"

static void table_of(vt_table *t, const char *text)
{
    vt_err err = {0};
    if (vt_table_parse(t, "t.csv", (const unsigned char *)text, strlen(text), &err) != VT_OK)
        fail_msg("%s", err.msg);
}

/* Each reason for leaving a row out must be met by the row made for it, and be counted once. */
static void test_left_out(void **state)
{
    vt_table t;
    vt_points p;
    table_of(&t, "set,flops,error,state\n"
                 "a,10,.5,finished\nb,20,.4,finished\na,30,.3,crashed\na,,.3,\na,40,abc,\na,50,NaN,\na,0,.3,\na,60,0,\n"
                 "a,70,1,\na,80,1.5,\na,10,.5,finished\na,-inf,.2,\na,90,.2,\ntorn\n");
    const vt_select s = {.x = "flops", .y = "error", .where = "set=a"};
    assert_int_equal(vt_points_select(&p, &t, &s, NULL), VT_OK);
    assert_int_equal(p.rows, 14);
    assert_int_equal(p.n, 2);
    static const size_t expected[VT_N_LEFT] = {1, 1, 1, 1, 1, 1, 2, 3, 1, 0};
    for (int i = 0; i < VT_N_LEFT; i++)
        if (p.left[i] != expected[i])
            fail_msg("%s: %zu rows, %zu expected", vt_left_reasons[i], p.left[i], expected[i]);
    assert_int_equal(p.first[VT_LEFT_STATE], 3);
    vt_points_release(&p);
    vt_table_release(&t);
}

/* An accuracy or percentage taken for an error would turn the law upside down. */
static void test_units(void **state)
{
    static const struct {
        const char *column, *unit, *cell;
        double y;
    } rows[] = {{"error", NULL, "0.25", 0.25},   {"top1_err", NULL, "0.25", 0.25},
                {"val/acc", NULL, "0.75", 0.25}, {"eval_top1", "accuracy%", "75", 0.25},
                {"loss", NULL, "2.5", 2.5},      {"error%", NULL, "25", 0.25},
                {"Accuracy", NULL, "0.75", 0.25}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_table t;
        vt_points p;
        vt_err err = {0};
        char *text = vt_xasprintf("flops,%s\n7,%s\n", rows[i].column, rows[i].cell);
        table_of(&t, text);
        const vt_select s = {.x = "flops", .y = rows[i].column, .y_unit = rows[i].unit};
        if (vt_points_select(&p, &t, &s, &err) != VT_OK)
            fail_msg("%s", err.msg);
        assert_int_equal(p.n, 1);
        assert_true(fabs(p.p[0].y - rows[i].y) < 1e-15);
        vt_points_release(&p);
        vt_table_release(&t);
        free(text);
    }
}

/* A unit that nobody stated must be asked for, never guessed. */
static void test_units_missing(void **state)
{
    static const struct {
        vt_select s;
        const char *sentence;
    } rows[] = {{{.x = "cost", .y = "error"}, "column \"cost\" does not say its unit; say --x-unit"},
                {{.x = "flops", .y = "score"}, "column \"score\" does not say what it is; say --y-unit"},
                {{.x = "flops", .y = "score", .y_unit = "percent"}, "--y-unit is \"percent\"; expected error"},
                {{.x = "flops", .y = "flops", .y_unit = "loss"}, "the same column"},
                {{.x = "flops", .y = "errors"}, "column \"errors\" does not say"},
                {{.x = "flops", .y = "error", .where = "cost"}, "--where: \"cost\" is no condition"},
                {{.x = "flops", .y = "error", .where = "kost=1"}, "did you mean \"cost\"?"},
                {{.x = "flops", .y = "error", .group = "nobody"}, "--group: "}};
    vt_table t;
    table_of(&t, "cost,flops,error,score,errors\n1,2,.3,4,5\n");
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_points p;
        vt_err err = {0};
        assert_int_equal(vt_points_select(&p, &t, &rows[i].s, &err), VT_EINVAL);
        if (!strstr(err.msg, rows[i].sentence))
            fail_msg("\"%s\", not \"%s\"", err.msg, rows[i].sentence);
        vt_points_release(&p);
    }
    vt_table_release(&t);
}

static size_t count_where(const vt_table *t, const char *where)
{
    vt_where *w;
    size_t n = 0;
    vt_err err = {0};
    if (vt_where_parse(&w, t, where, &err) != VT_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < t->n_rows; i++)
        n += vt_where_holds(w, t, i);
    vt_where_free(w);
    return n;
}

/* A condition that holds for other rows than it says would fit another law. */
static void test_where(void **state)
{
    vt_table t;
    table_of(&t, "m,n\ng,1\nG,2\nL,10\n,x\n");
    assert_int_equal(count_where(&t, ""), 4);
    assert_int_equal(count_where(&t, "m=g"), 1);
    assert_int_equal(count_where(&t, "m=g|L"), 2);
    assert_int_equal(count_where(&t, "m!=g"), 3);
    assert_int_equal(count_where(&t, "m!=g|G"), 2);
    assert_int_equal(count_where(&t, "m!=g,m!=G"), 2);
    assert_int_equal(count_where(&t, "n<10"), 2);
    assert_int_equal(count_where(&t, "n>=2"), 2);
    assert_int_equal(count_where(&t, "n=1.0"), 1);
    assert_int_equal(count_where(&t, "m="), 1);
    vt_table_release(&t);
}

/* The rule of the frontier: ties and costs equal within 3e-4 keep the best run alone. */
static void test_frontier(void **state)
{
    vt_point p[] = {{.x = 1, .y = .5}, {.x = 1.0002, .y = .45},     {.x = 2, .y = .45, .row = 2},
                    {.x = 3, .y = .4}, {.x = 3, .y = .4, .row = 4}, {.x = 4, .y = .6},
                    {.x = 5, .y = .39}};
    vt_points_sort(p, VT_COUNT_OF(p));
    assert_int_equal(vt_frontier_mark(p, VT_COUNT_OF(p)), 3);
    static const bool expected[] = {false, true, false, true, false, false, true};
    for (size_t i = 0; i < VT_COUNT_OF(p); i++)
        assert_int_equal(p[i].frontier, expected[i]);
    double x[7], y[7];
    assert_int_equal(vt_points_take(p, VT_COUNT_OF(p), 3.5, true, x, y), 2);
    assert_int_equal(vt_points_take(p, VT_COUNT_OF(p), 3.5, false, x, y), 5);
}

/* Seeds: runs alike are one point at their mean, and what they differ by is known. */
static void test_seeds(void **state)
{
    vt_table t;
    vt_points p;
    table_of(&t, "model,flops,error,seed\nA,10,.5,0\nA,10,.4,1\nB,20,.3,0\n");
    const vt_select s = {.x = "flops", .y = "error", .seed = "seed"};
    assert_int_equal(vt_points_select(&p, &t, &s, NULL), VT_OK);
    assert_int_equal(p.n, 2);
    assert_true(fabs(p.p[0].y - sqrt(.5 * .4)) < 1e-12);
    assert_true(fabs(p.seed_sd - log(.5 / .4) / sqrt(2)) < 1e-12);
    assert_int_equal(p.seed_df, 1);
    assert_int_equal(p.left[VT_LEFT_SEED], 1);
    vt_points_release(&p);
    vt_table_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_left_out), cmocka_unit_test(test_units),    cmocka_unit_test(test_units_missing),
        cmocka_unit_test(test_where),    cmocka_unit_test(test_frontier), cmocka_unit_test(test_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
