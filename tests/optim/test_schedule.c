/* Schedules: big_vision's values (spec 4), and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "optim/schedule.h"

/* Breaks when a run's learning rate leaves the recipe's curve. */
static void test_rsqrt(void **state)
{
    (void)state;
    static const vt_schedule paper = {.steps = 1000000, .timescale = 10000, .warmup = 10000, .cooldown = 50000};
    static const vt_schedule slow = {.steps = 200000, .timescale = 100000, .warmup = 10000, .cooldown = 10000};
    static const vt_schedule percent = {.steps = 1000, .timescale = 100, .warmup = 100, .cooldown = 200};
    static const struct {
        const vt_schedule *s;
        int64_t t;
        double value;
    } rows[] = {
        {&paper, 0, 0.0},
        {&paper, 1, 1e-4},
        {&paper, 5000, 0.5},
        {&paper, 9999, 0.9999},
        {&paper, 10000, 1.0},
        {&paper, 20000, 0.70710677},
        {&paper, 40000, 0.5},
        {&paper, 110000, 0.30151135},
        {&paper, 500000, 0.14142136},
        {&paper, 949999, 0.10259789},
        {&paper, 950000, 0.10259783},
        {&paper, 975000, 0.05063697},
        {&paper, 999999, 2.0000009e-6},
        {&paper, 1000000, 0.0},
        {&slow, 110000, 0.70710677},
        {&slow, 190000, 0.59761429},
        {&slow, 195000, 0.29617444},
        {&percent, 50, 0.5},
        {&percent, 200, 0.70710677},
        {&percent, 800, 0.35355338},
        {&percent, 900, 0.16666667},
    };
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        assert_int_equal(vt_schedule_check(rows[i].s, NULL), VT_OK);
        assert_true(fabs(vt_schedule_at(rows[i].s, rows[i].t) - rows[i].value) <= 1e-6 * fmax(rows[i].value, 1e-6));
    }
}

/* Breaks when a ramp of no steps is anything but absent. */
static void test_no_ramps(void **state)
{
    (void)state;
    static const vt_schedule s = {.steps = 5, .timescale = 1.0};
    assert_int_equal(vt_schedule_check(&s, NULL), VT_OK);
    assert_true(vt_schedule_at(&s, 0) == 1.0);
    assert_true(vt_schedule_at(&s, 3) == 0.5);
}

/* Breaks when a schedule that divides by zero or never peaks is let through. */
static void test_check(void **state)
{
    (void)state;
    static const vt_schedule bad[] = {
        {.steps = 0, .timescale = 1},
        {.steps = -5, .timescale = 1},
        {.steps = 10, .timescale = 0},
        {.steps = 10, .timescale = -1},
        {.steps = 10, .timescale = (double)NAN},
        {.steps = 10, .timescale = (double)INFINITY},
        {.steps = 10, .timescale = 1, .warmup = -1},
        {.steps = 10, .timescale = 1, .cooldown = -1},
        {.steps = 10, .timescale = 1, .warmup = 6, .cooldown = 5},
        {.steps = INT64_MAX, .timescale = 1, .warmup = INT64_MAX, .cooldown = INT64_MAX},
        {.steps = 10, .timescale = 1, .kind = 1},
        {.steps = 10, .timescale = 1, .kind = -1},
    };
    for (size_t i = 0; i < VT_COUNT_OF(bad); i++) {
        vt_err err = {0};
        assert_int_equal(vt_schedule_check(&bad[i], &err), VT_EINVAL);
        assert_non_null(strstr(err.msg, "schedule."));
    }
    static const vt_schedule full = {.steps = 10, .timescale = 1, .warmup = 5, .cooldown = 5};
    assert_int_equal(vt_schedule_check(&full, NULL), VT_OK);
}

/* Breaks when the recipe's names and the rows part. */
static void test_names(void **state)
{
    (void)state;
    assert_string_equal(vt_schedule_names[0], vt_schedule_kinds[0].name);
    assert_null(vt_schedule_names[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rsqrt),
        cmocka_unit_test(test_no_ramps),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
