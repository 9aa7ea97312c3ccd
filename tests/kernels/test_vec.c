/* Vector operations under one instruction set (VT_ISA, with its compiler flags): functions against base/math.h,
 * vf_dot_bf16 and rounding against the formula of kernels/ops.h, gemm_bf16 and its packing against the chain that it
 * promises. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/math.h"
#include "base/philox.h"
#include "base/pool.h"
#include "base/text.h"
#include "kernels/backend.h"
#include "kernels/bf16.h"
#include "kernels/cpu/gemm_bf16.h"
#include "kernels/cpu/vmath.h"

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

static vt_rng rng;

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static double true_exp(double x)
{
    return vt_exp(x);
}

static double true_log(double x)
{
    return vt_ln(x);
}

static double true_tanh(double x)
{
    return vt_tanh(x);
}

static double true_tanh_slope(double x)
{
    return 4 * vt_exp(-2 * x) / ((1 + vt_exp(-2 * x)) * (1 + vt_exp(-2 * x)));
}

static double true_gelu(double z)
{
    return 0.5 * z * (1 + vt_tanh(0.79788456080286536 * (z + 0.044715 * z * z * z)));
}

static double true_gelu_erf(double z)
{
    return 0.5 * z * (1 + vt_erf(0.70710678118654752 * z));
}

static double true_gelu_erf_slope(double z)
{
    return 0.5 * (1 + vt_erf(0.70710678118654752 * z)) + z * 0.39894228040143268 * vt_exp(-0.5 * z * z);
}

static double true_logistic(double x)
{
    return 1 / (1 + vt_exp(-x));
}

static vf quick_derivative(vf z)
{
    return vf_gate_derivative(z, 1.702F);
}

static double true_quick_slope(double z)
{
    const double x = (double)1.702F * z, s = true_logistic(x);
    return s + x * s * true_logistic(-x);
}

/* Errors allowed: in units of the last place of the result, plus an absolute one. */
static const struct {
    const char *name;
    vf (*vector)(vf x);
    double (*truth)(double x);
    double from, to, ulps, absolute;
} functions[] = {
    {"exp", vf_exp, true_exp, -86, 88, 1.1, 0},
    {"log", vf_log, true_log, 1, 1e6, 2, 1.2e-7},
    {"tanh", vf_tanh, true_tanh, -12, 12, 2.5, 0},
    {"tanh", vf_tanh, true_tanh, -0.01, 0.01, 2.5, 0},
    {"tanh'", vf_tanh_derivative, true_tanh_slope, 0, 40, 6, 0},
    {"gelu", vf_gelu, true_gelu, -12, 12, 0, 8e-7},
    {"gelu_erf", vf_gelu_erf, true_gelu_erf, -1, 12, 2, 1e-7},
    {"gelu_erf", vf_gelu_erf, true_gelu_erf, -12, 0, 2, 1e-7},
    {"logistic", vf_logistic, true_logistic, -60, 60, 4, 0},
    {"quick'", quick_derivative, true_quick_slope, -60, 60, 0, 4e-7},
    {"gelu_erf'", vf_gelu_erf_derivative, true_gelu_erf_slope, -14, 14, 0, 3e-7},
};

/* Breaks when a coefficient is wrong, or a limit cuts off what still matters. */
static void test_functions(void **state)
{
    (void)state;
    const double more = VT_VEC_BITS == 128 ? 1 : 0; /* ulp, where vf_fma rounds twice */
    for (size_t f = 0; f < VT_COUNT_OF(functions); f++) {
        for (int i = 0; i < 40000; i++) {
            float x[VW], y[VW];
            for (int l = 0; l < VW; l++) {
                const double share = (i * VW + l) / (40000.0 * VW);
                x[l] = (float)(functions[f].from + share * (functions[f].to - functions[f].from));
            }
            vf_store(y, functions[f].vector(vf_load(x)));
            for (int l = 0; l < VW; l++) {
                const double truth = functions[f].truth((double)x[l]), error = fabs((double)y[l] - truth);
                const double ulp = ldexp(1, ilogb(truth == 0 ? 1e-30 : truth) - 23);
                if (!(error <= (functions[f].ulps + more) * ulp + functions[f].absolute))
                    fail_msg("%s(%.9g) is %.9g, not %.9g: %.2f ulp", functions[f].name, (double)x[l], (double)y[l],
                             truth, error / ulp);
            }
        }
    }
}

/* A float: any bits; or of moderate size; or so small that a product of two of them is near the smallest normal number;
 * or one of the extremes. */
static uint32_t draw(int kind)
{
    static const uint32_t extremes[] = {0, 1, 0x00010000, 0x007fffff, 0x00800000, 0x7f7fffff, 0x7f7f0000, 0x7f800000};
    const uint32_t bits = vt_rng_u32(&rng), sign = bits & 0x80000000U, mantissa = bits & 0x007fffffU;
    switch (kind) {
    case 1:
        return sign | (120 + (bits >> 23) % 16) << 23 | mantissa;
    case 2:
        return sign | (56 + (bits >> 23) % 16) << 23 | mantissa;
    case 3:
        return sign | extremes[bits % VT_COUNT_OF(extremes)];
    default:
        return bits;
    }
}

static float multiply_add(float a, float b, float c)
{
#if VT_VEC_BITS == 128
    return a * b + c;
#else
    return fmaf(a, b, c);
#endif
}

static float dot(float acc, uint32_t a, uint32_t b)
{
    acc = multiply_add(from_bits(a & 0xffff0000U), from_bits(b & 0xffff0000U), acc);
    return multiply_add(from_bits(a << 16), from_bits(b << 16), acc);
}

static int same(float x, float y)
{
    return bits_of(x) == bits_of(y) || (x != x && y != y);
}

static uint32_t draw_pair(int kind)
{
    return draw(kind) >> 16 | (draw(kind) & 0xffff0000U);
}

/* Breaks when the instruction and the formula part ways: in order, in rounding, at denormals, infinities or NaNs. */
static void test_dot(void **state)
{
    (void)state;
    for (int i = 0; i < 400000; i++) {
        uint32_t a[VW], b[VW];
        float acc[VW], got[VW];
        for (int l = 0; l < VW; l++) {
            a[l] = draw_pair((i + l) % 4);
            b[l] = draw_pair((i + l + i / 16) % 4);
            acc[l] = from_bits(draw((i + i / 64) % 4));
            if (i % 4 == 2 && l % 2) /* a sum near the smallest normal number too */
                acc[l] = from_bits((bits_of(acc[l]) & 0x80ffffffU));
        }
        vf_store(got, vf_dot_bf16(vf_load(acc), vb_load(a), vb_load(b)));
        for (int l = 0; l < VW; l++)
            if (!same(got[l], dot(acc[l], a[l], b[l])))
                fail_msg("%08x . %08x + %08x is %08x, not %08x", a[l], b[l], bits_of(acc[l]), bits_of(got[l]),
                         bits_of(dot(acc[l], a[l], b[l])));
    }
}

/* To nearest even, a denormal to zero: what the instruction for it does. */
static uint16_t rounded(uint32_t bits)
{
    return (bits & 0x7f800000U) == 0 ? (uint16_t)(bits >> 16 & 0x8000U) : vt_bf16_from_f32(from_bits(bits));
}

/* Breaks when a way of rounding to bf16 disagrees with the others, or puts a number into another place. */
static void test_rounding(void **state)
{
    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint32_t x[2 * VW], pairs[VW];
        uint16_t line[2 * VW], stored[VW];
        float floats[2 * VW];
        for (int l = 0; l < 2 * VW; l++)
            x[l] = i % 3 ? draw((i + l) % 4) : (draw(0) & 0xffff0000U) | 0x8000U; /* a tie */
        memcpy(floats, x, sizeof x);
        const vf lo = vf_load(floats), hi = vf_load(floats + VW);
        vb_store(pairs, vb_pair(lo, hi));
        vb_store((uint32_t *)(void *)memset(line, 0, sizeof line), vb_line(lo, hi));
        vf_store_bf16(stored, lo);
        for (int l = 0; l < VW; l++) {
            assert_int_equal(pairs[l] & 0xffffU, rounded(x[l]));
            assert_int_equal(pairs[l] >> 16, rounded(x[VW + l]));
            assert_int_equal(line[l], rounded(x[l]));
            assert_int_equal(line[VW + l], rounded(x[VW + l]));
            assert_int_equal(stored[l], rounded(x[l]));
        }
        const int n = 1 + i % VW;
        uint16_t few[VW];
        memset(few, 0x55, sizeof few);
        vf_store_bf16_n(few, n, lo);
        vf_store(floats, vf_load_bf16_n(stored, n));
        for (int l = 0; l < VW; l++) {
            assert_int_equal(few[l], l < n ? stored[l] : 0x5555);
            assert_int_equal(bits_of(floats[l]), l < n ? (uint32_t)stored[l] << 16 : 0);
        }
    }
}

/* A product in all forms of its operands. */
typedef struct {
    int64_t m, n, k;
    float *a, *b;       /* a (m, k), b (k, n); a in bf16 already */
    uint16_t *a16, *at; /* a; and its transpose (k, m) */
    uint16_t *b16;
    float *bt; /* (n, k) */
    uint16_t *bt16;
    float *expected;
} product;

static product make_product(int64_t m, int64_t n, int64_t k, const float *bias)
{
    product p = {.m = m, .n = n, .k = k};
    p.a = vt_xcalloc((size_t)(m * k), 4), p.b = vt_xcalloc((size_t)(k * n), 4), p.bt = vt_xcalloc((size_t)(k * n), 4);
    p.a16 = vt_xcalloc((size_t)(m * k), 2), p.at = vt_xcalloc((size_t)(m * k), 2);
    p.b16 = vt_xcalloc((size_t)(k * n), 2), p.bt16 = vt_xcalloc((size_t)(k * n), 2);
    p.expected = vt_xcalloc((size_t)(m * n), 4);
    for (int64_t i = 0; i < m; i++)
        for (int64_t q = 0; q < k; q++) {
            p.a16[i * k + q] = p.at[q * m + i] = vt_bf16_from_f32((float)vt_rng_normal(&rng));
            p.a[i * k + q] = vt_bf16_to_f32(p.a16[i * k + q]);
        }
    for (int64_t q = 0; q < k; q++)
        for (int64_t j = 0; j < n; j++) {
            p.b[q * n + j] = p.bt[j * k + q] = (float)vt_rng_normal(&rng);
            p.b16[q * n + j] = p.bt16[j * k + q] = vt_bf16_from_f32(p.b[q * n + j]);
        }
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float acc = bias ? bias[j] : 0;
            for (int64_t q = 0; q < k; q += 2) {
                const int odd = q + 1 < k;
                const uint32_t x = p.a16[i * k + q] | (odd ? (uint32_t)p.a16[i * k + q + 1] << 16 : 0);
                const uint32_t y = p.b16[q * n + j] | (odd ? (uint32_t)p.b16[(q + 1) * n + j] << 16 : 0);
                acc = dot(acc, x, y);
            }
            p.expected[i * n + j] = acc;
        }
    return p;
}

static void free_product(product *p)
{
    free(p->a), free(p->b), free(p->bt), free(p->a16), free(p->at), free(p->b16), free(p->bt16), free(p->expected);
}

/* The product with that packed b and both forms of a, at once and in two parts. */
static void check_product(const product *p, const float *bias, int packing,
                          void (*pack)(const product *, int64_t p0, int64_t p1, uint32_t *))
{
    const int64_t words = ceil_div(p->k, 2) * round_up_vw(p->n), ldp = round_up_vw(p->m);
    uint32_t *packed = vt_xcalloc((size_t)words, 4), *pairs = vt_xcalloc((size_t)(ceil_div(p->k, 2) * ldp), 4);
    float *c = vt_xcalloc((size_t)(p->m * p->n), 4);
    for (int way = 0; way < 4; way++) {
        const int paired = way % 2;
        const int64_t middle = way < 2 ? p->k : p->k / 4 * 2;
        for (int64_t p0 = 0; p0 < p->k; p0 = p0 < middle ? middle : p->k) {
            const int64_t p1 = p0 < middle ? middle : p->k;
            pack(p, p0, p1, packed);
            if (paired)
                gemm_bf16_pair_rows(p->at + p0 * p->m, VT_BF16, p->m, p1 - p0, p->m, pairs, ldp);
            const void *a = paired ? (const void *)pairs : p->a16 + p0;
            gemm_bf16(&(gemm_bf16_args){.m = p->m,
                                        .n = p->n,
                                        .k = p1 - p0,
                                        .a = a,
                                        .lda = paired ? ldp : p->k,
                                        .a_paired = paired,
                                        .b = packed,
                                        .c = c,
                                        .ldc = p->n,
                                        .start = p0 > 0 ? GEMM_ADD : GEMM_ZERO,
                                        .bias = bias});
        }
        for (int64_t i = 0; i < p->m * p->n; i++)
            if (!same(c[i], p->expected[i]))
                fail_msg("m %d n %d k %d packing %d way %d: element %d is %.9g, not %.9g", (int)p->m, (int)p->n,
                         (int)p->k, packing, way, (int)i, (double)c[i], (double)p->expected[i]);
    }
    free(packed), free(pairs), free(c);
}

static void rows_f32(const product *p, int64_t p0, int64_t p1, uint32_t *packed)
{
    gemm_bf16_pack_rows(p->b + p0 * p->n, VT_F32, p->n, p1 - p0, p->n, packed);
}

static void rows_bf16(const product *p, int64_t p0, int64_t p1, uint32_t *packed)
{
    gemm_bf16_pack_rows(p->b16 + p0 * p->n, VT_BF16, p->n, p1 - p0, p->n, packed);
}

static void cols_f32(const product *p, int64_t p0, int64_t p1, uint32_t *packed)
{
    gemm_bf16_pack_cols(p->bt + p0, VT_F32, p->k, p1 - p0, p->n, packed);
}

static void cols_bf16(const product *p, int64_t p0, int64_t p1, uint32_t *packed)
{
    gemm_bf16_pack_cols(p->bt16 + p0, VT_BF16, p->k, p1 - p0, p->n, packed);
}

/* Breaks when a tile, a packed form or an interrupted chain changes a bit, or something beyond an operand is read
 * (under a sanitizer). */
static void test_gemm(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1},    {3, 5, 2},    {7, 17, 3},   {16, 64, 33}, {25, 70, 31},
                                       {13, 48, 64}, {40, 130, 5}, {17, 33, 97}, {6, 16, 128}, {5, 8, 130}};
    for (size_t i = 0; i < VT_COUNT_OF(sizes); i++) {
        float *bias = vt_xcalloc((size_t)sizes[i][1], sizeof *bias);
        for (int64_t j = 0; j < sizes[i][1]; j++)
            bias[j] = (float)vt_rng_normal(&rng);
        for (int with_bias = 0; with_bias < 2; with_bias++) {
            product p = make_product(sizes[i][0], sizes[i][1], sizes[i][2], with_bias ? bias : NULL);
            check_product(&p, with_bias ? bias : NULL, 0, rows_f32);
            check_product(&p, with_bias ? bias : NULL, 1, rows_bf16);
            check_product(&p, with_bias ? bias : NULL, 2, cols_f32);
            check_product(&p, with_bias ? bias : NULL, 3, cols_bf16);
            free_product(&p);
        }
        free(bias);
    }
}

/* A chain over n terms of a and b, which are a_step and b_step apart. */
static float chain(const uint16_t *a, int64_t a_step, const uint16_t *b, int64_t b_step, int64_t n)
{
    float acc = 0;
    for (int64_t p = 0; p < n; p += 2) {
        const int odd = p + 1 < n;
        const uint32_t x = a[p * a_step] | (odd ? (uint32_t)a[(p + 1) * a_step] << 16 : 0);
        const uint32_t y = b[p * b_step] | (odd ? (uint32_t)b[(p + 1) * b_step] << 16 : 0);
        acc = dot(acc, x, y);
    }
    return acc;
}

/* Breaks when a layer cuts its inner dimension, or the rows of a gradient, between the terms of a pair: both are longer
 * here than what is taken at a time. */
static void test_order(void **state)
{
    (void)state;
    enum { ROWS = 7, LONG = 6275, OUT = 3 };
    const vt_isa *isa = NULL;
    vt_err err = {0};
    assert_int_equal(vt_isa_pick(TEXT(VT_ISA), &isa, &err), VT_OK);
    vt_ops ops;
    isa->fill(&ops);
    vt_exec ex = {0};
    assert_int_equal(vt_pool_new(&ex.pool, 1, &err), VT_OK);
    ex.scratch_bytes = (isa->scratch_bytes(&(vt_limits){1, 1, LONG, 1}) + 63) / 64 * 64;
    ex.scratch = aligned_alloc(64, ex.scratch_bytes);

    uint16_t *x = vt_xcalloc(ROWS * LONG, sizeof *x), *w = vt_xcalloc(OUT * LONG, sizeof *w);
    float *w_f32 = vt_xcalloc(OUT * LONG, sizeof *w_f32), y[ROWS * OUT], residual[ROWS * OUT] = {0};
    for (int64_t i = 0; i < ROWS * LONG; i++)
        x[i] = vt_bf16_from_f32((float)vt_rng_normal(&rng));
    for (int64_t i = 0; i < OUT * LONG; i++) {
        w[i] = vt_bf16_from_f32((float)vt_rng_normal(&rng));
        w_f32[i] = vt_bf16_to_f32(w[i]);
    }
    vt_linear_fwd_args f = {.rows = ROWS, .in = LONG, .out = OUT, .type = VT_BF16, .x = x, .w = w_f32, .y = y};
    f.residual = residual, f.residual_rows = ROWS; /* so that y is float32 */
    ops.linear_fwd(&ex, &f);
    for (int r = 0; r < ROWS; r++)
        for (int o = 0; o < OUT; o++)
            assert_int_equal(bits_of(y[r * OUT + o]), bits_of(chain(x + r * LONG, 1, w + o * LONG, 1, LONG)));
    /* The same numbers as LONG rows of ROWS and OUT columns. */
    ops.linear_dw(&ex, &(vt_linear_dw_args){.samples = 1,
                                            .tokens = LONG,
                                            .in = OUT,
                                            .out = ROWS,
                                            .type = VT_BF16,
                                            .dy = x,
                                            .x = w,
                                            .slices = 1,
                                            .dw = y});
    for (int o = 0; o < ROWS; o++)
        for (int i = 0; i < OUT; i++)
            assert_int_equal(bits_of(y[o * OUT + i]), bits_of(chain(x + o, ROWS, w + i, OUT, LONG)));
    vt_pool_free(ex.pool);
    free(ex.scratch), free(x), free(w), free(w_f32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions), cmocka_unit_test(test_dot),   cmocka_unit_test(test_rounding),
        cmocka_unit_test(test_gemm),      cmocka_unit_test(test_order),
    };
    const vt_isa *isa;
    vt_err err = {0};
    if (vt_isa_pick(TEXT(VT_ISA), &isa, &err) != VT_OK) {
        printf("skipped: %s\n", err.msg);
        return 77;
    }
    vt_flush_denormals();
    rng = vt_rng_at(7, VT_STREAM_TEST, 0, 0);
    return cmocka_run_group_tests_name("kernels/vec " TEXT(VT_ISA), tests, NULL, NULL);
}
