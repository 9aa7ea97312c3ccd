/* Dropout's random numbers and what follows from them, and what inspect reports, for every implementation that this
 * processor runs: facts that do not come from comparing with ref. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/philox.h"
#include "base/text.h"
#include "kernels/backend.h"
#include "kernels/bf16.h"

/* Larger than a job's piece of a sample, and no multiple of anything. */
enum { SAMPLES = 5, COUNT = 16661 };

static vt_pool *pool;
static vt_exec ex;
static vt_ops ops;
static float *x, *y, *residual;

/* Makes implementation i the one to test; false when this processor lacks it. */
static bool use_isa(int i)
{
    const vt_limits limits = {1, 1, 1, 1, 1};
    if (!vt_isas[i].usable())
        return false;
    vt_isas[i].fill(&ops);
    free(ex.scratch);
    ex = (vt_exec){.pool = pool, .scratch_bytes = (vt_isas[i].scratch_bytes(&limits) + 63) / 64 * 64};
    ex.scratch = aligned_alloc(64, 3 * ex.scratch_bytes + 64);
    return true;
}

#define FOR_EACH_ISA(k)                                                                                                \
    for (int k = 0; k < vt_n_isas; k++)                                                                                \
        if (use_isa(k))

static vt_drop_args drop_args(float rate, float path_rate)
{
    return (vt_drop_args){.samples = SAMPLES,
                          .count = COUNT,
                          .x = x,
                          .rate = rate,
                          .path_rate = path_rate,
                          .seed = 77,
                          .use = 0xabcdef01,
                          .position = 0x1fffffffe, /* the index passes a multiple of 2^32 */
                          .y = y};
}

/* Breaks when an element takes its number from another address than ops.h says, or the comparison is off by one. */
static void test_drop_numbers(void **state)
{
    (void)state;
    const float rates[] = {0, 0x1p-24f, 0.3f, 0.5f, 0.9f};
    for (int64_t i = 0; i < (int64_t)SAMPLES * COUNT; i++)
        x[i] = 1;
    FOR_EACH_ISA(k)
    for (size_t r = 0; r < VT_COUNT_OF(rates); r++) {
        const vt_drop_args a = drop_args(rates[r], rates[4 - r] / 2);
        ops.drop(&ex, &a);
        for (int64_t b = 0; b < SAMPLES; b++) {
            const uint64_t index = (uint64_t)(a.position + b);
            vt_rng rng = vt_rng_at(a.seed, VT_STREAM_DROP, index, a.use), path = rng;
            path.block = 0xffffffff;
            const double kept = vt_rng_uniform(&path) >= a.path_rate ? 1 / (1 - (double)a.path_rate) : 0;
            for (int64_t i = 0; i < COUNT; i++) {
                const double want = vt_rng_uniform(&rng) >= a.rate ? kept / (1 - (double)a.rate) : 0;
                if (!(fabs(y[b * COUNT + i] - want) <= 1e-6 * want))
                    fail_msg("%s: element %d of sample %d is %g, not %g", vt_isas[k].name, (int)i, (int)b,
                             (double)y[b * COUNT + i], want);
            }
        }
    }
}

/* Breaks when a number equal to the rate is dropped: u_bi >= rate keeps it. */
static void test_drop_boundary(void **state)
{
    (void)state;
    vt_drop_args a = drop_args(0, 0);
    vt_rng rng = vt_rng_at(a.seed, VT_STREAM_DROP, (uint64_t)a.position, a.use);
    a.rate = vt_rng_uniform(&rng);
    a.samples = a.count = 1;
    FOR_EACH_ISA(k)
    for (int above = 0; above < 2; above++) {
        vt_drop_args with = a;
        with.rate = above ? nextafterf(a.rate, 1) : a.rate;
        ops.drop(&ex, &with);
        assert_int_equal(y[0] == 0, above);
    }
}

/* Breaks when what is kept is not scaled up, or numbers repeat: over many elements, and over many samples, the mean
 * must be that of x within five standard deviations. */
static void test_drop_mean(void **state)
{
    (void)state;
    const double rate = 0.1, path_rate = 0.25;
    double sum = 0, path_sum = 0;
    enum { MANY = 4000 };
    assert_true(use_isa(vt_n_isas - 2));
    const int64_t n = (int64_t)SAMPLES * COUNT;
    for (int64_t i = 0; i < n; i++)
        x[i] = 1;
    ops.drop(&ex, &(vt_drop_args){.samples = SAMPLES, .count = COUNT, .x = x, .rate = (float)rate, .y = y});
    for (int64_t i = 0; i < n; i++)
        sum += y[i];
    assert_true(fabs(sum / (double)n - 1) < 5 * sqrt(rate / (1 - rate) / (double)n));
    ops.drop(&ex, &(vt_drop_args){.samples = MANY, .count = 2, .x = x, .path_rate = (float)path_rate, .y = y});
    for (int64_t b = 0; b < MANY; b++) {
        assert_true(y[2 * b] == y[2 * b + 1]);
        path_sum += y[2 * b];
    }
    assert_true(fabs(path_sum / MANY - 1) < 5 * sqrt(path_rate / (1 - path_rate) / MANY));
}

/* Breaks when the backward pass (bf16 gradients, in place) drops other elements than the forward pass (float32 onto the
 * residual stream). The factors are powers of two, so all is exact. */
static void test_drop_both_ways(void **state)
{
    (void)state;
    const int64_t n = (int64_t)SAMPLES * COUNT;
    uint16_t *dy = vt_xcalloc((size_t)n, sizeof *dy);
    FOR_EACH_ISA(k)
    {
        for (int64_t i = 0; i < n; i++) {
            x[i] = (float)(1 + i % 7);
            residual[i] = (float)(i % 5);
            dy[i] = vt_bf16_from_f32((float)(1 + i % 3));
        }
        vt_drop_args a = drop_args(0.5f, 0.5f);
        a.residual = residual;
        ops.drop(&ex, &a);
        a.residual = NULL, a.type = VT_BF16, a.x = dy, a.y = dy;
        ops.drop(&ex, &a);
        int64_t kept = 0;
        for (int64_t i = 0; i < n; i++) {
            const float forward = (y[i] - residual[i]) / x[i], backward = vt_bf16_to_f32(dy[i]) / (float)(1 + i % 3);
            assert_true(forward == backward && (forward == 0 || forward == 4));
            kept += forward > 0;
        }
        assert_true(kept > n / 10 && kept < n / 2);
    }
    free(dy);
}

/* Breaks when rates of 0 change anything: the sum of both inputs, and the bits of the input. */
static void test_drop_nothing(void **state)
{
    (void)state;
    const int64_t n = (int64_t)SAMPLES * COUNT;
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)i * 0.37f, residual[i] = 1 / (float)(i + 1);
    FOR_EACH_ISA(k)
    {
        vt_drop_args a = drop_args(0, 0);
        ops.drop(&ex, &a);
        assert_memory_equal(y, x, (size_t)n * sizeof *x);
        a.residual = residual;
        ops.drop(&ex, &a);
        for (int64_t i = 0; i < n; i++)
            assert_true(y[i] == x[i] + residual[i]);
    }
}

/* Breaks when mixup mixes with another image than the one before, or with the wrong share. */
static void test_mixup(void **state)
{
    (void)state;
    const uint8_t images[3][3] = {{200, 100, 0}, {10, 20, 30}, {0, 255, 128}};
    FOR_EACH_ISA(k)
    {
        ops.patchify(&ex, &(vt_patchify_args){.samples = 2,
                                              .image_height = 1,
                                              .image_width = 1,
                                              .patch = 1,
                                              .images = images[1],
                                              .scale = {0.5f, 1, 0.25f},
                                              .offset = {-3, 0, 1},
                                              .partner_share = 0.25f,
                                              .patches = y});
        for (int b = 0; b < 2; b++)
            for (int c = 0; c < 3; c++) {
                static const double scale[] = {0.5, 1, 0.25}, offset[] = {-3, 0, 1};
                const double pixel = 0.75 * images[b + 1][c] + 0.25 * images[b][c];
                assert_true(fabs(y[b * 3 + c] - (scale[c] * pixel + offset[c])) < 1e-4);
            }
    }
}

static const struct {
    float x[5];
    int n; /* the numbers repeat until the tensor is full */
    double least, most, bad;
} contents[] = {
    {{2, 3}, 2, 2, 3, 0},
    {{-2, -3}, 2, -3, -2, 0},
    {{NAN, 4, INFINITY, -INFINITY, 5}, 5, 4, 5, 3},
    {{-NAN, -4}, 2, -4, -4, 1},
    {{NAN}, 1, INFINITY, -INFINITY, 1},
    {{INFINITY, -INFINITY, NAN}, 3, INFINITY, -INFINITY, 3},
    {{0x1.fep127f, -0x1.fep127f}, 2, -0x1.fep127, 0x1.fep127, 0},
    {{1e-40f, 1}, 2, 0, 1, 0},
};

static bool about(double got, double want)
{
    return got == want || fabs(got - want) <= 1e-12 * fabs(want) + 1e-39;
}

/* Breaks when a NaN or infinity enters a minimum, maximum or sum, lanes beyond the end count as zeros, or a tensor
 * without finite numbers is not told apart. A denormal counts as the zero that arithmetic takes it for, or as itself.
 */
static void test_inspect(void **state)
{
    (void)state;
    static const int rounds[] = {1, 7, 3001};
    enum { TYPES = 2, LENGTHS = VT_COUNT_OF(rounds), CASES = VT_COUNT_OF(contents) * LENGTHS * TYPES };
    uint16_t *half = vt_xcalloc((size_t)SAMPLES * COUNT, sizeof *half);
    FOR_EACH_ISA(k)
    for (int c = 0; c < CASES; c++) {
        const int which = c / (LENGTHS * TYPES), n = contents[which].n, m = rounds[c / TYPES % LENGTHS];
        double squares = 0, out[4];
        for (int i = 0; i < m * n; i++) {
            x[i] = contents[which].x[i % n];
            half[i] = vt_bf16_from_f32(x[i]);
            squares += isfinite(x[i]) ? (double)x[i] * (double)x[i] : 0;
        }
        const vt_real type = c % TYPES ? VT_BF16 : VT_F32;
        const void *tensor = type == VT_BF16 ? (const void *)half : x;
        ops.inspect(&ex, &(vt_inspect_args){.count = m * n, .type = type, .x = tensor, .out = out});
        const double want[4] = {contents[which].least, contents[which].most, squares, m * contents[which].bad};
        for (int i = 0; i < 4; i++)
            if (!about(out[i], want[i]))
                fail_msg("%s: out[%d] of contents %d, %d times, type %d is %g, not %g", vt_isas[k].name, i, which, m,
                         (int)type, out[i], want[i]);
    }
    free(half);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drop_numbers),   cmocka_unit_test(test_drop_boundary), cmocka_unit_test(test_drop_mean),
        cmocka_unit_test(test_drop_both_ways), cmocka_unit_test(test_drop_nothing),  cmocka_unit_test(test_mixup),
        cmocka_unit_test(test_inspect),
    };
    vt_err err = {0};
    const size_t count = (size_t)SAMPLES * COUNT;
    vt_flush_denormals();
    if (vt_pool_new(&pool, 3, &err) != VT_OK)
        return EXIT_FAILURE;
    x = vt_xcalloc(count, sizeof *x);
    y = vt_xcalloc(count, sizeof *y);
    residual = vt_xcalloc(count, sizeof *residual);
    const int failed = cmocka_run_group_tests_name("kernels/rows", tests, NULL, NULL);
    free(x);
    free(y);
    free(residual);
    free(ex.scratch);
    vt_pool_free(pool);
    return failed;
}
