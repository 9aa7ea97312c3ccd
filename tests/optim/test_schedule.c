/* Schedules: big_vision's values (spec 4), and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "optim/schedule.h"

static const char *golden_path; /* the test's argument */

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
        {.steps = 10, .timescale = 1, .kind = 5},
        {.steps = 10, .timescale = 1, .kind = -1},
        {.steps = 10, .timescale = 1, .cooldown_kind = 2},
        {.steps = 10, .timescale = 1, .shift = -1},
        {.steps = 10, .kind = 1, .end = 1.5},
        {.steps = 10, .kind = 4, .power = 0},
        {.steps = 10, .kind = 4, .power = 1, .end = (double)NAN},
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
    for (int i = 0; vt_schedule_names[i]; i++)
        assert_string_equal(vt_schedule_names[i], vt_schedule_kinds[i].name);
    for (int i = 0; vt_cooldown_names[i]; i++)
        assert_string_equal(vt_cooldown_names[i], vt_cooldown_kinds[i].name);
}

static int row_of(const char *const *names, const char *name)
{
    int i = 0;
    while (names[i] && strcmp(names[i], name) != 0)
        i++;
    return names[i] ? i : -1;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* One case of the golden file; a multiple of the schedule (`base`) is that of its values where `end` is 0. */
static void check_case(const json_t *c, int kind)
{
    const json_t *t = json_object_get(c, "t"), *value = json_object_get(c, "s");
    const double base = number(c, "base");
    const vt_schedule s = {.kind = kind,
                           .steps = (int64_t)number(c, "steps"),
                           .warmup = (int64_t)number(c, "warmup"),
                           .cooldown = (int64_t)number(c, "cooldown"),
                           .cooldown_kind =
                               row_of(vt_cooldown_names, json_string_value(json_object_get(c, "cooldown_kind"))),
                           .timescale = number(c, "timescale"),
                           .shift = number(c, "shift"),
                           .power = number(c, "power"),
                           .end = number(c, "end")};
    assert_true(base == 1 || s.end == 0);
    assert_int_equal(vt_schedule_check(&s, NULL), VT_OK);
    for (size_t i = 0; i < json_array_size(t); i++) {
        const int64_t at = json_integer_value(json_array_get(t, i));
        const double expected = json_number_value(json_array_get(value, i)), found = base * vt_schedule_at(&s, at);
        /* the file's values are float32 all the way: some roundings of 6e-8 */
        if (!(fabs(found - expected) <= 1e-6 * base))
            fail_msg("%s at %lld is %.9g, expected %.9g", json_string_value(json_object_get(c, "name")), (long long)at,
                     found, expected);
    }
}

/* Breaks when any kind of curve or cooldown leaves big_vision's values (spec 4) or its formulas at drawn lengths. */
static void test_golden(void **state)
{
    (void)state;
    json_error_t problem;
    json_t *golden = json_load_file(golden_path, 0, &problem);
    assert_non_null(golden);
    size_t i;
    json_t *c;
    int seen[5] = {0}, all = 0;
    json_array_foreach(json_object_get(golden, "cases"), i, c)
    {
        const char *name = json_string_value(json_object_get(c, "kind"));
        const int kind = row_of(vt_schedule_names, name);
        if (kind < 0) { /* vitro has no stairs */
            assert_string_equal(name, "stair");
            continue;
        }
        check_case(c, kind);
        seen[kind] = 1;
    }
    for (int kind = 0; kind < 5; kind++)
        all += seen[kind];
    assert_int_equal(all, 5);
    json_decref(golden);
}

/* Breaks when a cooldown leaves the curve before it begins or does not end at 0, or the two are mixed up. */
static void test_cooldowns(void **state)
{
    (void)state;
    vt_schedule s = {.kind = 3, .steps = 100, .cooldown = 16};
    for (int kind = 0; kind < 2; kind++) {
        s.cooldown_kind = kind;
        assert_true(vt_schedule_at(&s, 84) == 1 && vt_schedule_at(&s, 100) == 0);
        assert_true(vt_schedule_at(&s, 88) == (kind == 0 ? 0.75 : 0.5));
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    golden_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rsqrt), cmocka_unit_test(test_no_ramps), cmocka_unit_test(test_check),
        cmocka_unit_test(test_names), cmocka_unit_test(test_golden),   cmocka_unit_test(test_cooldowns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
