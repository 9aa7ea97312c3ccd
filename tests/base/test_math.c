/* Elementary functions against the C library's long double ones, and their bits against stored ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/attr.h"
#include "base/math.h"
#include "base/philox.h"
#include "base/pool.h"

static vt_rng rng;

/* Uniform in [low, high). */
static double draw(double low, double high)
{
    double u = ((double)vt_rng_u32(&rng) + (double)vt_rng_u32(&rng) * 0x1p-32) * 0x1p-32;
    return low + (high - low) * u;
}

/* The distance of got from exact, in units in the last place of the double nearest to exact. */
static double ulps(double got, long double exact)
{
    double size = fabs((double)exact);
    return fabs((double)((long double)got - exact)) / (nextafter(size, HUGE_VAL) - size);
}

typedef double one_fn(double x);
typedef long double long_fn(long double x);

static const struct {
    const char *name;
    one_fn *fn;
    long_fn *exact;
    double low, high;
    bool spread; /* x = +-exp(draw): all magnitudes */
} rows[] = {
    {"exp", vt_exp, expl, -707, 709.7, false},   {"exp", vt_exp, expl, -2, 2, false},
    {"exp", vt_exp, expl, -300, 6, true},        {"ln", vt_ln, logl, 0, 4, false},
    {"ln", vt_ln, logl, 0.99, 1.01, false},      {"log1p", vt_log1p, log1pl, -1, 1, false},
    {"log1p", vt_log1p, log1pl, -700, -1, true}, {"log1p", vt_log1p, log1pl, 0, 1e6, false},
    {"tanh", vt_tanh, tanhl, -20, 20, false},    {"tanh", vt_tanh, tanhl, -1, 1, false},
    {"tanh", vt_tanh, tanhl, -700, 4, true},     {"erf", vt_erf, erfl, -6.5, 6.5, false},
    {"erf", vt_erf, erfl, -1.2, 1.2, false},     {"erf", vt_erf, erfl, -700, 2, true},
    {"sin", vt_sin, sinl, -1e5, 1e5, false},     {"sin", vt_sin, sinl, -7, 7, false},
    {"sin", vt_sin, sinl, -700, 2, true},        {"cos", vt_cos, cosl, -1e5, 1e5, false},
    {"cos", vt_cos, cosl, -7, 7, false},         {"cos", vt_cos, cosl, -700, 2, true},
};

/* Initial weights, schedules and the reference kernels would be off. */
static void test_accuracy(void **state)
{
    rng = vt_rng_at(1, VT_STREAM_TEST, 0, 0);
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        double worst = 0, at = 0;
        for (int k = 0; k < 50000; k++) {
            double x = draw(rows[i].low, rows[i].high);
            if (rows[i].spread)
                x = (double)expl((long double)x) * (k % 2 == 0 ? 1 : -1);
            double e = ulps(rows[i].fn(x), rows[i].exact((long double)x));
            if (!(e <= worst)) {
                worst = e;
                at = x;
            }
        }
        if (!(worst <= 2))
            fail_msg("%s is %.3g units off at %.17g", rows[i].name, worst, at);
    }
}

/* The logarithm would be wrong at some magnitude. */
static void test_ln_of_all_magnitudes(void **state)
{
    rng = vt_rng_at(2, VT_STREAM_TEST, 0, 0);
    for (int k = 0; k < 50000; k++) {
        double x = (double)expl((long double)draw(-708, 709));
        assert_true(ulps(vt_ln(x), logl((long double)x)) <= 2);
        assert_true(ulps(vt_log1p(x), log1pl((long double)x)) <= 2);
    }
}

/* Reductions of the angle would lose all digits at the doubles nearest to a multiple of pi/2. */
static void test_near_multiples_of_half_pi(void **state)
{
    for (int k = 1; k < 63661; k++) {
        double x = (double)(1.57079632679489661923132169163975144L * k);
        assert_true(ulps(vt_sin(x), sinl((long double)x)) <= 2);
        assert_true(ulps(vt_cos(x), cosl((long double)x)) <= 2);
    }
}

/* A power of a large or a long exponent would amplify the logarithm's error. */
static void test_pow(void **state)
{
    static const struct {
        double x_low, x_high, y_low, y_high;
    } boxes[] = {{1e-3, 10, -10, 10},
                 {0.01, 10, -150, 150},
                 {0.998, 1.002, 0, 3e5},
                 {1, 1e6, -0.8, -0.8},
                 {1e-300, 1e300, -1, 1}};
    rng = vt_rng_at(3, VT_STREAM_TEST, 0, 0);
    for (size_t i = 0; i < VT_COUNT_OF(boxes); i++) {
        for (int k = 0; k < 30000; k++) {
            double x = draw(boxes[i].x_low, boxes[i].x_high), y = draw(boxes[i].y_low, boxes[i].y_high);
            long double exact = powl((long double)x, (long double)y);
            if (exact > 1e-307L && exact < 1e308L && !(ulps(vt_pow(x, y), exact) <= 2))
                fail_msg("pow(%.17g, %.17g) is %.17g, expected %.17Lg", x, y, vt_pow(x, y), exact);
        }
    }
    assert_true(vt_pow(2, 10) == 1024 && vt_pow(5, 0) == 1 && vt_pow(1, 1e300) == 1 && vt_pow(7, 1) == 7);
    assert_true(vt_pow(0, 2) == 0 && vt_pow(0, -1) == HUGE_VAL && vt_pow(2, 1e300) == HUGE_VAL &&
                vt_pow(2, -1e300) == 0);
    assert_true(vt_pow(0.5, HUGE_VAL) == 0 && vt_pow(2, HUGE_VAL) == HUGE_VAL && vt_pow(HUGE_VAL, -1) == 0);
    assert_true(isnan(vt_pow(-1, 0.5)) && isnan(vt_pow((double)NAN, 1)));
}

/* Overflow, not-a-number or the ends of a range would give nonsense. */
static void test_special_values(void **state)
{
    const double nan = (double)NAN, inf = HUGE_VAL, tiny = 5e-324;
    assert_true(vt_exp(0) == 1 && vt_exp(inf) == inf && vt_exp(-inf) == 0 && vt_exp(710) == inf && vt_exp(-745) == 0);
    assert_true(isfinite(vt_exp(709.78)) && vt_exp(-708.39) > 0 && vt_exp(-708.4) == 0);
    assert_true(vt_ln(1) == 0 && vt_ln(0) == -inf && vt_ln(inf) == inf && isnan(vt_ln(-1)));
    assert_true(vt_log1p(0) == 0 && vt_log1p(-1) == -inf && vt_log1p(inf) == inf && isnan(vt_log1p(-2)));
    assert_true(vt_tanh(inf) == 1 && vt_tanh(-inf) == -1 && vt_tanh(0) == 0 && signbit(vt_tanh(-0.0)));
    assert_true(vt_erf(inf) == 1 && vt_erf(-inf) == -1 && vt_erf(0) == 0);
    assert_true(vt_sin(0) == 0 && vt_cos(0) == 1 && isnan(vt_sin(1.1e5)) && isnan(vt_cos(inf)));
    assert_true(isnan(vt_exp(nan)) && isnan(vt_ln(nan)) && isnan(vt_log1p(nan)) && isnan(vt_tanh(nan)));
    assert_true(isnan(vt_erf(nan)) && isnan(vt_sin(nan)) && isnan(vt_cos(nan)));
    /* A denormal counts as zero. */
    assert_true(vt_ln(tiny) == -inf && vt_tanh(tiny) == 0 && vt_erf(tiny) == 0 && vt_sin(tiny) == 0 &&
                vt_log1p(tiny) == 0);
    assert_true(vt_exp(DBL_MAX) == inf && vt_tanh(DBL_MAX) == 1 && isnan(vt_sin(DBL_MAX)));
}

/* FNV-1a, 64 bits, of the bits of all functions over fixed arguments. */
static uint64_t fingerprint(void)
{
    static one_fn *const fns[] = {vt_exp, vt_ln, vt_log1p, vt_tanh, vt_erf, vt_sin, vt_cos};
    uint64_t hash = UINT64_C(14695981039346656037);
    rng = vt_rng_at(4, VT_STREAM_TEST, 0, 0);
    for (int k = 0; k < 20000; k++) {
        double x = draw(-30, 30), y = draw(0, 3), values[9];
        for (int i = 0; i < 7; i++)
            values[i] = fns[i](i == 1 || i == 2 ? fabs(x) : x);
        values[7] = vt_pow(fabs(x), y);
        values[8] = vt_exp(x * 24); /* also where results are denormal or zero */
        for (int i = 0; i < 9; i++) {
            uint64_t bits;
            memcpy(&bits, &values[i], sizeof(bits));
            hash = (hash ^ bits) * UINT64_C(1099511628211);
        }
    }
    return hash;
}

/* Compilers, processors or the treatment of denormals would change results: these bits hold everywhere. */
static void test_same_bits_everywhere(void **state)
{
    const uint64_t stored = UINT64_C(0x3c16f55c2cd850e5);
    uint64_t hash = fingerprint();
    if (hash != stored)
        fail_msg("the bits are 0x%016llx, expected 0x%016llx", (unsigned long long)hash, (unsigned long long)stored);
    vt_flush_denormals();
    assert_true(fingerprint() == stored);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accuracy),
                                       cmocka_unit_test(test_ln_of_all_magnitudes),
                                       cmocka_unit_test(test_near_multiples_of_half_pi),
                                       cmocka_unit_test(test_pow),
                                       cmocka_unit_test(test_special_values),
                                       cmocka_unit_test(test_same_bits_everywhere)};
    return cmocka_run_group_tests_name("base/math", tests, NULL, NULL);
}
