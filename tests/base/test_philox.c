/* Random numbers: known answers, ranges, moments, and the keyed permutation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "base/attr.h"
#include "base/philox.h"

/* Every result of vitro would change. Known answers of Random123 (kat_vectors, philox4x32 10). */
static void test_known_answers(void **state)
{
    static const struct {
        uint32_t key[2], counter[4], out[4];
    } rows[] = {{{0, 0}, {0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
                {{0xffffffff, 0xffffffff},
                 {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
                 {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
                {{0xa4093822, 0x299f31d0},
                 {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                 {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        uint64_t index = (uint64_t)rows[i].counter[1] << 32 | rows[i].counter[0];
        vt_philox4 x = vt_philox(rows[i].key[0], rows[i].key[1], index, rows[i].counter[2], rows[i].counter[3]);
        assert_memory_equal(x.v, rows[i].out, sizeof(x.v));
    }
    assert_int_equal(vt_fnv1a(""), 0x811c9dc5);
    assert_int_equal(vt_fnv1a("foobar"), 0xbf9cf968);
}

/* The cursor would repeat or skip words. */
static void test_cursor(void **state)
{
    vt_rng r = vt_rng_at(7, VT_STREAM_TEST, UINT64_C(0x123456789), 3);
    for (uint32_t block = 0; block < 5; block++) {
        vt_philox4 x = vt_philox(7, VT_STREAM_TEST, UINT64_C(0x123456789), 3, block);
        for (int i = 0; i < 4; i++)
            assert_int_equal(vt_rng_u32(&r), x.v[i]);
    }
}

/* Crops or initial weights would come from a skewed or wrong distribution. Bounds: 5 standard errors. */
static void test_distributions(void **state)
{
    const int n = 200000;
    vt_rng r = vt_rng_at(1, VT_STREAM_TEST, 0, 0);
    double mean = 0, square = 0, normal = 0, normal2 = 0, normal4 = 0;
    int counts[7] = {0};
    for (int i = 0; i < n; i++) {
        double u = (double)vt_rng_uniform(&r), z = vt_rng_normal(&r);
        assert_true(u >= 0 && u < 1);
        mean += u / n;
        square += u * u / n;
        normal += z / n;
        normal2 += z * z / n;
        normal4 += z * z * z * z / n;
        counts[vt_rng_below(&r, 7)]++;
    }
    double root = sqrt(n);
    assert_true(fabs(mean - 0.5) < 5 * sqrt(1.0 / 12) / root);
    assert_true(fabs(square - 1.0 / 3) < 5 * sqrt(4.0 / 45) / root);
    assert_true(fabs(normal) < 5 / root);
    assert_true(fabs(normal2 - 1) < 5 * sqrt(2) / root);
    assert_true(fabs(normal4 - 3) < 5 * sqrt(96) / root);
    for (int i = 0; i < 7; i++)
        assert_true(fabs(counts[i] - n / 7.0) < 5 * sqrt(n * 6.0 / 49));
    /* Without rejection, half of the numbers below 3 * 2^30 would be multiples of 3. */
    int thirds = 0;
    for (int i = 0; i < n; i++)
        thirds += vt_rng_below(&r, UINT32_C(3) << 30) % 3 == 0;
    assert_true(fabs(thirds - n / 3.0) < 5 * sqrt(n * 2.0 / 9));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(vt_rng_below(&r, 1), 0);
        assert_true(vt_rng_below(&r, UINT32_MAX) < UINT32_MAX);
    }
}

/* An image would be seen twice in an epoch and another never. */
static void test_permutation_is_bijection(void **state)
{
    static const uint64_t sizes[] = {1, 2, 3, 4, 5, 7, 15, 16, 17, 63, 64, 65, 255, 256, 257, 1000, 1024, 4097};
    for (size_t s = 0; s < VT_COUNT_OF(sizes); s++) {
        uint64_t n = sizes[s];
        unsigned char *seen = calloc(n, 1);
        for (uint64_t p = 0; p < n; p++) {
            uint64_t q = vt_permute(42, 3, n, p);
            assert_true(q < n);
            assert_int_equal(seen[q]++, 0);
        }
        free(seen);
    }
    const uint64_t large[] = {UINT64_C(1) << 40, (UINT64_C(1) << 62) + 1, UINT64_MAX};
    for (size_t i = 0; i < VT_COUNT_OF(large); i++) {
        assert_true(vt_permute(1, 0, large[i], large[i] - 1) < large[i]);
        assert_true(vt_permute(1, 0, large[i], 0) != vt_permute(1, 0, large[i], 1));
    }
}

/* Some orders would come up more often than others: where each position of a small set goes must be uniform over
 * epochs. Chi-square of each table of n x n counts, 5 standard deviations of the statistic. */
static void test_permutation_is_uniform(void **state)
{
    enum { EPOCHS = 2000, MAX_N = 12 };
    for (uint64_t n = 2; n <= MAX_N; n++) {
        int counts[MAX_N][MAX_N] = {{0}};
        for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
            for (uint64_t p = 0; p < n; p++)
                counts[p][vt_permute(5, epoch, n, p)]++;
        }
        double chi2 = 0, expected = EPOCHS / (double)n, freedom = (double)((n - 1) * (n - 1));
        for (uint64_t p = 0; p < n; p++) {
            for (uint64_t q = 0; q < n; q++)
                chi2 += (counts[p][q] - expected) * (counts[p][q] - expected) / expected;
        }
        if (chi2 > freedom + 5 * sqrt(2 * freedom) + 5)
            fail_msg("n %d: chi-square %.1f for %.0f degrees of freedom", (int)n, chi2, freedom);
    }
}

/* Neighbours would stay together: over epochs, the step from one position's image to the next one's must be spread. */
static void test_permutation_separates_neighbours(void **state)
{
    const uint64_t n = 1000;
    int adjacent = 0;
    for (uint64_t epoch = 0; epoch < 5; epoch++) {
        for (uint64_t p = 0; p + 1 < n; p++)
            adjacent += vt_permute(9, epoch, n, p) + 1 == vt_permute(9, epoch, n, p + 1);
    }
    assert_in_range(adjacent, 0, 20); /* 5 are expected */
    assert_true(vt_permute(9, 0, n, 0) != vt_permute(9, 1, n, 0) || vt_permute(9, 0, n, 1) != vt_permute(9, 1, n, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),          cmocka_unit_test(test_cursor),
        cmocka_unit_test(test_distributions),          cmocka_unit_test(test_permutation_is_bijection),
        cmocka_unit_test(test_permutation_is_uniform), cmocka_unit_test(test_permutation_separates_neighbours)};
    return cmocka_run_group_tests_name("base/philox", tests, NULL, NULL);
}
