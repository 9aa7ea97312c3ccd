/* What makes results independent of how a batch is cut up, for every implementation that this processor runs:
 *
 * - a row or sample of a result has the same bits alone and among others (so evaluation may use any batch, and a
 * process may hold any part of a micro-batch);
 * - a sum over samples is the balanced tree over its slices' partials, each of which is what a call on that slice's
 *   samples alone gives (so processes may own slices), and accumulating is one addition to what was there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/philox.h"
#include "base/text.h"
#include "kernels/backend.h"
#include "kernels/ref/ref.h"

/* B samples of N tokens; widths IN and OUT = HEADS * K. */
typedef struct {
    int64_t B, N, in, out, heads, K;
} shape;

static const shape shapes[] = {
    {1, 1, 1, 1, 1, 1},      {3, 5, 37, 19, 1, 19},  {11, 17, 100, 72, 3, 24},
    {16, 9, 64, 192, 3, 64}, {9, 30, 65, 32, 2, 16},
};

enum { A, W, V, U, Y, Z, DY, DX, R1, R2, N_TENSORS };

static vt_pool *pool;
static vt_ops ops;
static vt_exec ex;
static const vt_isa *isa;
static float *whole[N_TENSORS], *part[N_TENSORS];

static void *setup_exec(const vt_isa *of, const shape *s)
{
    const vt_limits limits = {
        .tokens = s->N, .head_width = s->K, .slices = 8, .width = 3 * (s->in + s->out), .norm_width = s->in};
    isa = of;
    isa->fill(&ops);
    ex = (vt_exec){.pool = pool, .scratch_bytes = (isa->scratch_bytes(&limits) + 63) / 64 * 64};
    const size_t bytes = 3 * ex.scratch_bytes + 64;
    ex.scratch = aligned_alloc(64, bytes);
    memset(ex.scratch, 0xff, bytes);
    return ex.scratch;
}

static void fill(float *x, int64_t n, uint32_t use)
{
    vt_rng rng = vt_rng_at(5, VT_STREAM_TEST, 0, use);
    for (int64_t i = 0; i < n; i++)
        x[i] = 2 * vt_rng_uniform(&rng) - 1;
}

static void same(const char *what, const float *x, const float *y, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (memcmp(&x[i], &y[i], sizeof *x) != 0)
            fail_msg("%s, %s: element %lld of %lld is %.9g in one call and %.9g in several", isa->name, what,
                     (long long)i, (long long)n, (double)x[i], (double)y[i]);
}

/* Calls test for every implementation and shape. */
static void for_all(void (*test)(const shape *s), int with_ref)
{
    for (int k = 0; k < vt_n_isas; k++) {
        if (!vt_isas[k].usable() || (!with_ref && strcmp(vt_isas[k].name, "ref") == 0))
            continue;
        for (size_t i = 0; i < VT_COUNT_OF(shapes); i++) {
            const shape *s = &shapes[i];
            void *scratch = setup_exec(&vt_isas[k], s);
            for (int t = 0; t < N_TENSORS; t++) {
                const int64_t n = s->B * s->N * 3 * (s->in + s->out) + s->in * s->out;
                whole[t] = vt_xcalloc((size_t)n, sizeof(float));
                part[t] = vt_xcalloc((size_t)n, sizeof(float));
                fill(whole[t], n, (uint32_t)t);
            }
            test(s);
            for (int t = 0; t < N_TENSORS; t++) {
                free(whole[t]);
                free(part[t]);
            }
            free(scratch);
        }
    }
}

static void linear_by_row(const shape *s)
{
    const int64_t rows = s->B * s->N;
    vt_linear_fwd_args f = {.rows = rows,
                            .in = s->in,
                            .out = s->out,
                            .x = whole[A],
                            .w = whole[W],
                            .bias = whole[V],
                            .act = VT_ACT_GELU_TANH,
                            .pre = whole[Z],
                            .residual = whole[U],
                            .residual_rows = rows,
                            .y = whole[Y]};
    vt_linear_dx_args d = {.rows = rows,
                           .in = s->in,
                           .out = s->out,
                           .dy = whole[DY],
                           .w = whole[W],
                           .act = VT_ACT_GELU_TANH,
                           .pre = whole[A],
                           .dx = whole[DX]};
    ops.linear_fwd(&ex, &f);
    ops.linear_dx(&ex, &d);
    f.rows = d.rows = f.residual_rows = 1;
    for (int64_t r = 0; r < rows; r++) {
        d.pre = whole[A] + r * s->in;
        f.x = d.pre;
        f.residual = whole[U] + r * s->out, f.pre = part[Z] + r * s->out, f.y = part[Y] + r * s->out;
        d.dy = whole[DY] + r * s->out, d.dx = part[DX] + r * s->in;
        ops.linear_fwd(&ex, &f);
        ops.linear_dx(&ex, &d);
    }
    same("linear_fwd pre", whole[Z], part[Z], rows * s->out);
    same("linear_fwd y", whole[Y], part[Y], rows * s->out);
    same("linear_dx dx", whole[DX], part[DX], rows * s->in);
}

/* The same in bf16, whose results are compared as bytes. */
static void bf16_linear_by_row(const shape *s)
{
    const int64_t rows = s->B * s->N, in = s->in, out = s->out, of_results = rows * (in + 2 * out);
    uint16_t *x = vt_xcalloc((size_t)(rows * (in + out) + 2 * of_results), sizeof *x), *dy = x + rows * in, *results[2];
    results[0] = dy + rows * out, results[1] = results[0] + of_results;
    ops.to_bf16(&ex, &(vt_to_bf16_args){.count = rows * in, .x = whole[A], .y = x});
    ops.to_bf16(&ex, &(vt_to_bf16_args){.count = rows * out, .x = whole[DY], .y = dy});
    for (int64_t r = -1; r < rows; r++) { /* -1: all rows in one call */
        const int64_t n = r < 0 ? rows : 1, first = r < 0 ? 0 : r;
        uint16_t *pre = results[r >= 0], *y = pre + rows * out, *dx = y + rows * out;
        ops.linear_fwd(&ex, &(vt_linear_fwd_args){.rows = n,
                                                  .in = in,
                                                  .out = out,
                                                  .type = VT_BF16,
                                                  .x = x + first * in,
                                                  .w = whole[W],
                                                  .bias = whole[V],
                                                  .act = VT_ACT_GELU_ERF,
                                                  .pre = pre + first * out,
                                                  .y = y + first * out});
        ops.linear_dx(&ex, &(vt_linear_dx_args){.rows = n,
                                                .in = in,
                                                .out = out,
                                                .type = VT_BF16,
                                                .dy = dy + first * out,
                                                .w = whole[W],
                                                .act = VT_ACT_GELU_ERF,
                                                .pre = x + first * in,
                                                .dx = dx + first * in});
    }
    assert_memory_equal(results[0], results[1], (size_t)of_results * sizeof *x);
    free(x);
}

/* Breaks when rows at the end of a matrix are summed in another order than the others. */
static void test_linear(void **state)
{
    (void)state;
    for_all(linear_by_row, 1);
    for_all(bf16_linear_by_row, 1);
}

static void attention_in(const shape *s, vt_real type, const void *qkv, const void *dy)
{
    const int64_t D = s->heads * s->K, stride = 3 * D, N = s->N, bytes = type == VT_BF16 ? 2 : 4;
    const unsigned char *q = qkv, *g = dy;
    unsigned char *y = (void *)part[Y], *dq = (void *)part[DX], *all_dq = (void *)whole[DX];
    vt_attention_fwd_args f = {.samples = s->B,
                               .heads = s->heads,
                               .head_width = s->K,
                               .q_tokens = N,
                               .kv_tokens = N,
                               .type = type,
                               .q = q,
                               .k = q + D * bytes,
                               .v = q + 2 * D * bytes,
                               .q_sample_stride = N * stride,
                               .q_row_stride = stride,
                               .kv_sample_stride = N * stride,
                               .kv_row_stride = stride,
                               .y = whole[Y],
                               .lse = whole[R1]};
    ops.attention_fwd(&ex, &f);
    vt_attention_bwd_args d = {.samples = s->B,
                               .heads = s->heads,
                               .head_width = s->K,
                               .q_tokens = N,
                               .kv_tokens = N,
                               .type = type,
                               .q = f.q,
                               .k = f.k,
                               .v = f.v,
                               .q_sample_stride = N * stride,
                               .q_row_stride = stride,
                               .kv_sample_stride = N * stride,
                               .kv_row_stride = stride,
                               .y = whole[Y],
                               .lse = whole[R1],
                               .dy = g,
                               .dq = all_dq,
                               .dk = all_dq + D * bytes,
                               .dv = all_dq + 2 * D * bytes,
                               .dq_row_stride = stride,
                               .dkv_row_stride = stride};
    ops.attention_bwd(&ex, &d);
    f.samples = d.samples = 1;
    for (int64_t b = 0; b < s->B; b++) {
        const unsigned char *qb = q + b * N * stride * bytes;
        unsigned char *dqb = dq + b * N * stride * bytes;
        f.q = d.q = qb, f.k = d.k = qb + D * bytes, f.v = d.v = qb + 2 * D * bytes;
        f.y = y + b * N * D * bytes, f.lse = part[R1] + b * s->heads * N;
        d.y = f.y, d.lse = f.lse, d.dy = g + b * N * D * bytes;
        d.dq = dqb, d.dk = dqb + D * bytes, d.dv = dqb + 2 * D * bytes;
        ops.attention_fwd(&ex, &f);
        ops.attention_bwd(&ex, &d);
    }
    same("attention_fwd y", whole[Y], part[Y], s->B * N * D * bytes / 4);
    same("attention_fwd lse", whole[R1], part[R1], s->B * s->heads * N);
    same("attention_bwd dqkv", whole[DX], part[DX], s->B * N * stride * bytes / 4);
}

static void attention_by_sample(const shape *s)
{
    attention_in(s, VT_F32, whole[A], whole[DY]);
    const int64_t rows = s->B * s->N, D = s->heads * s->K;
    for (int64_t i = 0; i < rows * 3 * D; i++)
        vt_ref_put(whole[U], VT_BF16, i, (double)whole[A][i]);
    for (int64_t i = 0; i < rows * D; i++)
        vt_ref_put(whole[V], VT_BF16, i, (double)whole[DY][i]);
    attention_in(s, VT_BF16, whole[U], whole[V]);
}

/* Breaks when a head's sums depend on its neighbours in the call. */
static void test_attention(void **state)
{
    (void)state;
    for_all(attention_by_sample, 1);
}

static void rows_by_sample(const shape *s)
{
    const int64_t rows = s->B * s->N, C = s->in;
    vt_layernorm_fwd_args f = {.rows = rows,
                               .cols = C,
                               .x = whole[A],
                               .gamma = whole[W],
                               .beta = whole[V],
                               .eps = 1e-6f,
                               .mean = whole[R1],
                               .rstd = whole[R2],
                               .y = whole[Y]};
    ops.layernorm_fwd(&ex, &f);
    vt_layernorm_bwd_args d = {.samples = s->B,
                               .tokens = s->N,
                               .cols = C,
                               .x = whole[A],
                               .gamma = whole[W],
                               .mean = whole[R1],
                               .rstd = whole[R2],
                               .dy = whole[DY],
                               .dresidual = whole[U],
                               .slices = 8,
                               .dx = whole[DX],
                               .dgamma = part[V],
                               .dbeta = part[U]};
    ops.layernorm_bwd(&ex, &d);
    vt_mean_tokens_fwd_args m = {.samples = s->B,
                                 .tokens = s->N,
                                 .first = s->N / 3,
                                 .taken = (s->N + 1) / 2,
                                 .cols = C,
                                 .x = whole[A],
                                 .y = whole[Z]};
    ops.mean_tokens_fwd(&ex, &m);
    f.rows = s->N, d.samples = m.samples = 1;
    for (int64_t b = 0; b < s->B; b++) {
        const int64_t at = b * s->N * C;
        f.x = d.x = m.x = whole[A] + at;
        f.y = part[Y] + at, f.mean = part[R1] + b * s->N, f.rstd = part[R2] + b * s->N;
        d.dy = whole[DY] + at, d.dresidual = whole[U] + at, d.dx = part[DX] + at, d.mean = f.mean, d.rstd = f.rstd;
        m.y = part[Z] + b * C;
        ops.layernorm_fwd(&ex, &f);
        ops.layernorm_bwd(&ex, &d);
        ops.mean_tokens_fwd(&ex, &m);
    }
    same("layernorm_fwd y", whole[Y], part[Y], rows * C);
    same("layernorm_fwd rstd", whole[R2], part[R2], rows);
    same("layernorm_bwd dx", whole[DX], part[DX], rows * C);
    same("mean_tokens_fwd y", whole[Z], part[Z], s->B * C);
}

/* The same with bf16 where the operations take it, and random numbers, which go by the sample's position. */
static void bf16_rows_by_sample(const shape *s)
{
    const int64_t N = s->N, C = s->in, count = s->B * N * C;
    uint16_t *dy = vt_xcalloc((size_t)count, sizeof *dy), *results = vt_xcalloc((size_t)(6 * count), sizeof *results);
    uint16_t *all[3], *each[3]; /* y of the norm, its dx, y of drop */
    for (int i = 0; i < 3; i++)
        all[i] = results + 2 * i * count, each[i] = all[i] + count;
    ops.to_bf16(&ex, &(vt_to_bf16_args){.count = count, .x = whole[DY], .y = dy});
    for (int64_t b = -1; b < s->B; b++) { /* -1: all samples in one call */
        const int64_t first = b < 0 ? 0 : b, samples = b < 0 ? s->B : 1, at = first * N * C;
        uint16_t *const *to = b < 0 ? all : each;
        ops.layernorm_fwd(&ex, &(vt_layernorm_fwd_args){.rows = samples * N,
                                                        .cols = C,
                                                        .x = whole[A] + at,
                                                        .gamma = whole[W],
                                                        .beta = whole[V],
                                                        .eps = 1e-6f,
                                                        .mean = part[R1] + first * N,
                                                        .rstd = part[R2] + first * N,
                                                        .type = VT_BF16,
                                                        .y = to[0] + at});
        ops.layernorm_bwd(&ex, &(vt_layernorm_bwd_args){.samples = samples,
                                                        .tokens = N,
                                                        .cols = C,
                                                        .type = VT_BF16,
                                                        .x = whole[A] + at,
                                                        .gamma = whole[W],
                                                        .mean = part[R1] + first * N,
                                                        .rstd = part[R2] + first * N,
                                                        .dy = dy + at,
                                                        .slices = 8,
                                                        .dx = part[DX],
                                                        .dx_bf16 = to[1] + at,
                                                        .dgamma = part[V],
                                                        .dbeta = part[U]});
        ops.drop(&ex, &(vt_drop_args){.samples = samples,
                                      .count = N * C,
                                      .type = VT_BF16,
                                      .x = dy + at,
                                      .rate = 0.3f,
                                      .path_rate = 0.2f,
                                      .seed = 3,
                                      .use = 4,
                                      .position = 1000 + first,
                                      .y = to[2] + at});
    }
    for (int i = 0; i < 3; i++)
        assert_memory_equal(all[i], each[i], (size_t)count * sizeof *results);
    free(results);
    free(dy);
}

/* Breaks when statistics or random numbers of a row depend on where the row stands in the call. */
static void test_rows(void **state)
{
    (void)state;
    for_all(rows_by_sample, 1);
    for_all(bf16_rows_by_sample, 1);
}

static void loss_by_sample(const shape *s)
{
    int32_t *labels = vt_xcalloc((size_t)s->B + 1, sizeof *labels);
    for (int64_t b = 0; b <= s->B; b++)
        labels[b] = (int32_t)(b % s->in);
    vt_cross_entropy_args x = {
        .classes = s->in, .label_width = 1, .partner_share = 0.25f, .weight = 0.125f, .logits = whole[A]};
    for (int kind = VT_LOSS_SIGMOID; kind <= VT_LOSS_SOFTMAX; kind++) {
        x.kind = (vt_loss_kind)kind, x.samples = s->B;
        x.logits = whole[A], x.labels = labels + 1;
        x.loss = whole[Y], x.dlogits = whole[DX];
        ops.cross_entropy(&ex, &x);
        x.samples = 1;
        for (int64_t b = 0; b < s->B; b++) {
            x.logits = whole[A] + b * s->in, x.labels = labels + 1 + b;
            x.loss = part[Y] + b, x.dlogits = part[DX] + b * s->in;
            ops.cross_entropy(&ex, &x);
        }
        same("cross_entropy loss", whole[Y], part[Y], s->B);
        same("cross_entropy dlogits", whole[DX], part[DX], s->B * s->in);
    }
    free(labels);
}

/* Breaks when a sample's loss depends on others than its partner. */
static void test_loss(void **state)
{
    (void)state;
    for_all(loss_by_sample, 1);
}

/* Operands of a bf16 product, or NULL. */
static uint16_t *dy_bf16, *x_bf16;

/* Sums of scale_bwd (to[A]) and headnorm_bwd (to[W] dgamma, to[U] dbeta) over samples [first, first + samples). */
static void branch_sums(const shape *s, int64_t first, int64_t samples, int slices, int accumulate, float *const *to)
{
    const int64_t row = first * s->N;
    ops.scale_bwd(&ex, &(vt_scale_bwd_args){.samples = samples,
                                            .tokens = s->N,
                                            .cols = s->in,
                                            .dy = whole[DY] + row * s->in,
                                            .z = whole[A] + row * s->in,
                                            .scale = whole[W],
                                            .slices = slices,
                                            .accumulate = accumulate,
                                            .dz = part[DX] + row * s->in,
                                            .dscale = to[A]});
    float *dy = part[DX] + row * s->out;
    memcpy(dy, whole[DY] + row * s->out, (size_t)(samples * s->N * s->out) * sizeof *dy);
    ops.headnorm_bwd(&ex, &(vt_headnorm_bwd_args){.samples = samples,
                                                  .tokens = s->N,
                                                  .heads = s->heads,
                                                  .head_width = s->K,
                                                  .row_stride = s->out,
                                                  .x = whole[A] + row * s->out,
                                                  .gamma = whole[W],
                                                  .mean = whole[U] + row * s->heads,
                                                  .rstd = whole[DX] + row * s->heads,
                                                  .dy = dy,
                                                  .slices = slices,
                                                  .accumulate = accumulate,
                                                  .dgamma = to[W],
                                                  .dbeta = to[U]});
}

/* All sums over samples [first, first + samples) with `slices` slices, into to[Y] (dw), to[Z] (dbias), to[R1] (dgamma),
 * to[R2] (dbeta), to[V] (sum_samples), and those above. */
static void sums(const shape *s, int64_t first, int64_t samples, int slices, int accumulate, float *const *to)
{
    const int64_t row = first * s->N;
    ops.linear_dw(&ex, &(vt_linear_dw_args){.samples = samples,
                                            .tokens = s->N,
                                            .in = s->in,
                                            .out = s->out,
                                            .type = dy_bf16 ? VT_BF16 : VT_F32,
                                            .dy = dy_bf16 ? (void *)(dy_bf16 + row * s->out) : whole[DY] + row * s->out,
                                            .x = dy_bf16 ? (void *)(x_bf16 + row * s->in) : whole[A] + row * s->in,
                                            .slices = slices,
                                            .accumulate = accumulate,
                                            .dw = to[Y],
                                            .dbias = to[Z]});
    ops.layernorm_bwd(&ex, &(vt_layernorm_bwd_args){.samples = samples,
                                                    .tokens = s->N,
                                                    .cols = s->in,
                                                    .x = whole[A] + row * s->in,
                                                    .gamma = whole[W],
                                                    .mean = whole[U] + row,
                                                    .rstd = whole[DX] + row,
                                                    .dy = whole[DY] + row * s->in,
                                                    .slices = slices,
                                                    .accumulate = accumulate,
                                                    .dx = part[DX] + row * s->in,
                                                    .dgamma = to[R1],
                                                    .dbeta = to[R2]});
    ops.sum_samples(&ex, &(vt_sum_samples_args){.samples = samples,
                                                .cols = s->N * s->in,
                                                .stride = s->N * s->in,
                                                .x = whole[A] + row * s->in,
                                                .slices = slices,
                                                .accumulate = accumulate,
                                                .y = to[V]});
    branch_sums(s, first, samples, slices, accumulate, to);
}

static const struct {
    int tensor;
    const char *name;
} results[] = {{Y, "linear_dw dw"},  {Z, "linear_dw dbias"},  {R1, "layernorm_bwd dgamma"}, {R2, "layernorm_bwd dbeta"},
               {V, "sum_samples y"}, {A, "scale_bwd dscale"}, {W, "headnorm_bwd dgamma"},   {U, "headnorm_bwd dbeta"}};

static int64_t result_count(const shape *s, int tensor)
{
    if (tensor == W || tensor == U)
        return s->K;
    return tensor == Y ? s->out * s->in : tensor == Z ? s->out : tensor == V ? s->N * s->in : s->in;
}

/* The same sums from slices lo .. lo+n-1 of S, each by a call of its own, added up by the tree. Freed by the caller. */
static float **tree(const shape *s, int S, int lo, int n)
{
    float **sum = vt_xcalloc(N_TENSORS, sizeof *sum);
    for (int t = 0; t < N_TENSORS; t++)
        sum[t] = vt_xcalloc((size_t)(s->out * s->in + s->N * s->in + s->in + s->out), sizeof(float));
    if (n == 1) {
        const int64_t first = lo * s->B / S, end = (lo + 1) * s->B / S;
        if (end > first)
            sums(s, first, end - first, 1, 0, sum);
        return sum;
    }
    float **left = tree(s, S, lo, n / 2), **right = tree(s, S, lo + n / 2, n / 2);
    for (int t = 0; t < N_TENSORS; t++) {
        for (int64_t i = 0; i < result_count(s, t); i++)
            sum[t][i] = left[t][i] + right[t][i];
        free(left[t]);
        free(right[t]);
    }
    free(left);
    free(right);
    return sum;
}

static void sums_by_slice(const shape *s)
{
    for (int S = 1; S <= 8; S *= 2) {
        float **expected = tree(s, S, 0, S);
        sums(s, 0, s->B, S, 0, part);
        for (size_t i = 0; i < VT_COUNT_OF(results); i++)
            same(results[i].name, part[results[i].tensor], expected[results[i].tensor],
                 result_count(s, results[i].tensor));
        sums(s, 0, s->B, S, 1, part);
        for (int t = 0; t < N_TENSORS; t++) {
            for (int64_t i = 0; i < result_count(s, t); i++)
                expected[t][i] += expected[t][i];
        }
        for (size_t i = 0; i < VT_COUNT_OF(results); i++)
            same(results[i].name, part[results[i].tensor], expected[results[i].tensor],
                 result_count(s, results[i].tensor));
        for (int t = 0; t < N_TENSORS; t++)
            free(expected[t]);
        free(expected);
    }
}

static void bf16_sums_by_slice(const shape *s)
{
    const int64_t rows = s->B * s->N;
    dy_bf16 = vt_xcalloc((size_t)(rows * s->out), sizeof *dy_bf16);
    x_bf16 = vt_xcalloc((size_t)(rows * s->in), sizeof *x_bf16);
    ops.to_bf16(&ex, &(vt_to_bf16_args){.count = rows * s->out, .x = whole[DY], .y = dy_bf16});
    ops.to_bf16(&ex, &(vt_to_bf16_args){.count = rows * s->in, .x = whole[A], .y = x_bf16});
    sums_by_slice(s);
    free(dy_bf16), free(x_bf16);
    dy_bf16 = x_bf16 = NULL;
}

/* Breaks when partials are not cut at the contract's samples, are added in another order, or depend on the whole call.
 */
static void test_sums(void **state)
{
    (void)state;
    for_all(sums_by_slice, 0); /* ref keeps its partials in double */
    for_all(bf16_sums_by_slice, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear), cmocka_unit_test(test_attention), cmocka_unit_test(test_rows),
        cmocka_unit_test(test_loss),   cmocka_unit_test(test_sums),
    };
    vt_err err = {0};
    vt_flush_denormals();
    if (vt_pool_new(&pool, 3, &err) != VT_OK)
        return EXIT_FAILURE;
    const int failed = cmocka_run_group_tests_name("kernels/slices", tests, NULL, NULL);
    vt_pool_free(pool);
    return failed;
}
