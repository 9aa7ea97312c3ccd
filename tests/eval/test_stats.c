/* Intervals and means of evaluation against known values. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/attr.h"
#include "eval/stats.h"

/* Breaks when the interval of an accuracy is not Wilson's at 95 % (values: roots p of |p - right/count| = z sqrt(p (1 -
 * p)/count), found by bisection). */
static void test_wilson(void **state)
{
    static const struct {
        int64_t right, count;
        double low, high;
    } known[] = {
        {0, 10, 0, 0.277533}, {10, 10, 0.722467, 1},         {5, 10, 0.236593, 0.763407},
        {1, 1, 0.206549, 1},  {87, 100, 0.790196, 0.922428},
    };
    for (size_t i = 0; i < VT_COUNT_OF(known); i++) {
        vt_estimate e = vt_accuracy(known[i].right, known[i].count);
        assert_true(e.value == (double)known[i].right / (double)known[i].count);
        assert_true(fabs(e.low - known[i].low) < 1e-6 && fabs(e.high - known[i].high) < 1e-6);
    }
}

/* Breaks when an interval leaves [0, 1], misses its value, or does not narrow with more images. */
static void test_wilson_shape(void **state)
{
    for (int64_t n = 1; n <= 3000; n = 3 * n + 1) {
        for (int64_t right = 0; right <= n; right += n / 7 + 1) {
            vt_estimate e = vt_accuracy(right, n), more = vt_accuracy(9 * right, 9 * n);
            assert_true(0 <= e.low && e.low <= e.value && e.value <= e.high && e.high <= 1);
            assert_true(more.high - more.low < e.high - e.low);
        }
    }
}

/* Breaks when the deviation over seeds is not the sample one (divided by n - 1), or one seed divides by zero. */
static void test_mean_deviation(void **state)
{
    const double x[] = {2, 4, 4, 4, 5, 5, 7, 9};
    double mean, deviation;
    vt_mean_deviation(x, 8, &mean, &deviation);
    assert_true(mean == 5 && fabs(deviation - sqrt(32.0 / 7)) < 1e-15);
    vt_mean_deviation(x, 1, &mean, &deviation);
    assert_true(mean == 2 && deviation == 0);
}

/* Breaks when the interval of a mean of fractions is not that of as many right ones, or leaves [0, 1]. */
static void test_proportion(void **state)
{
    for (int64_t right = 0; right <= 8; right++) {
        vt_estimate a = vt_accuracy(right, 8), b = vt_proportion((double)right / 8, 8);
        assert_true(a.value == b.value && a.low == b.low && a.high == b.high);
    }
    vt_estimate e = vt_proportion(0.3, 8), less = vt_accuracy(2, 8), more = vt_accuracy(3, 8);
    assert_true(e.low > less.low && e.low < more.low && e.high > less.high && e.high < more.high);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_proportion),
        cmocka_unit_test(test_wilson),
        cmocka_unit_test(test_wilson_shape),
        cmocka_unit_test(test_mean_deviation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
