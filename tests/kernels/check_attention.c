/* Rows of the checker for attention: shapes, layouts, and bounds from rounding analysis.
 *
 * An error e of a score changes its probability by the factor 1 + e; the bounds follow what that does to every sum. */
#include <math.h>
#include <stdlib.h>

#include "base/math.h"
#include "base/text.h"
#include "check.h"
#include "kernels/ref/ref.h"

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* What is between the rows of a strided input must not matter, and of an output must stay: the elements from `width` up
 * to `stride` of every row. */
static void poison_gaps(float *x, int64_t rows, int64_t width, int64_t stride)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = width; i < stride; i++)
            x[r * stride + i] = NAN;
}

static void protect_gaps(double *bound, int64_t rows, int64_t width, int64_t stride)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = width; i < stride; i++)
            bound[r * stride + i] = -1;
}

/* Where q, k and v lie: fused as a block's qkv, or a query of its own (shared by all samples, or not) beside fused kv.
 */
typedef struct {
    bool fused, shared;
    const float *q, *k, *v;
    int64_t q_tokens, q_sample_stride, q_row_stride, kv_sample_stride, kv_row_stride;
} layout;

static layout place_qkv(check_case *c)
{
    const int64_t B = c->dims[0], H = c->dims[1], K = c->dims[2], N = c->dims[4], D = H * K;
    const int kind = check_choose(c, "layout", 3); /* fused, own query, shared query */
    const int64_t pad = check_choose(c, "pad", 2) ? 1 + (int64_t)vt_rng_below(&c->rng, 20) : 0;
    const double std = check_choose(c, "sharp", 4) == 3 ? 4 : 1; /* sharp: scores so far apart that a few decide */
    layout l = {.fused = kind == 0, .shared = kind == 2, .q_tokens = kind == 0 ? N : c->dims[3]};
    c->limits = (vt_limits){.tokens = larger(l.q_tokens, N), .head_width = K, .width = 3 * D + pad, .slices = 1};
    if (l.fused) {
        l.q_row_stride = l.kv_row_stride = 3 * D + pad;
        l.q_sample_stride = l.kv_sample_stride = N * l.kv_row_stride;
        float *qkv = check_in(c, "qkv", B * l.kv_sample_stride, 0, std);
        poison_gaps(qkv, B * N, 3 * D, l.kv_row_stride);
        check_keep(c, "qkv");
        l.q = qkv, l.k = qkv + D, l.v = qkv + 2 * D;
        return l;
    }
    l.q_row_stride = D + pad;
    l.q_sample_stride = l.shared ? 0 : l.q_tokens * l.q_row_stride;
    float *q = check_in(c, "q", (l.shared ? 1 : B) * l.q_tokens * l.q_row_stride, 0, std);
    poison_gaps(q, (l.shared ? 1 : B) * l.q_tokens, D, l.q_row_stride);
    check_keep(c, "q");
    l.kv_row_stride = 2 * D + pad;
    l.kv_sample_stride = N * l.kv_row_stride;
    float *kv = check_in(c, "kv", B * l.kv_sample_stride, 0, std);
    poison_gaps(kv, B * N, 2 * D, l.kv_row_stride);
    check_keep(c, "kv");
    l.q = q, l.k = kv, l.v = kv + D;
    return l;
}

CHECK_CALL(attention_fwd)

static void make_attention_fwd(check_case *c)
{
    const layout l = place_qkv(c);
    vt_attention_fwd_args *a = &c->args.attention_fwd;
    *a = (vt_attention_fwd_args){
        .samples = c->dims[0],
        .heads = c->dims[1],
        .head_width = c->dims[2],
        .q_tokens = l.q_tokens,
        .kv_tokens = c->dims[4],
        .q = l.q,
        .k = l.k,
        .v = l.v,
        .q_sample_stride = l.q_sample_stride,
        .q_row_stride = l.q_row_stride,
        .kv_sample_stride = l.kv_sample_stride,
        .kv_row_stride = l.kv_row_stride,
    };
    a->y = check_out(c, "y", a->samples * a->q_tokens * a->heads * a->head_width);
    a->lse = check_out(c, "lse", a->samples * a->heads * a->q_tokens);
}

static double dot(const float *x, const float *y, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += (double)x[k] * y[k];
    return sum;
}

static double dot_abs(const float *x, const float *y, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += fabs((double)x[k] * y[k]);
    return sum;
}

/* A score with error e changes p by the factor 1 + e: y moves by sum_j p_j e_j |v_j|, and through the denominator by
 * (sum_j p_j e_j) (sum_j p_j |v_j|). */
static void bound_attention_row(check_case *c, int64_t b, int64_t h, int64_t i)
{
    const vt_attention_fwd_args *a = &c->args.attention_fwd;
    const int64_t K = a->head_width, lse_at = (b * a->heads + h) * a->q_tokens + i;
    const int64_t y_at = ((b * a->q_tokens + i) * a->heads + h) * K;
    const double lse = check_expected(c, "lse")[lse_at], scale = 1 / sqrt((double)K);
    const float *q = a->q + b * a->q_sample_stride + i * a->q_row_stride + h * K;
    double weighted_error = 0, sum_pv[VT_MAX_HEAD_WIDTH] = {0}, sum_epv[VT_MAX_HEAD_WIDTH] = {0};
    for (int64_t j = 0; j < a->kv_tokens; j++) {
        const int64_t row = b * a->kv_sample_stride + j * a->kv_row_stride + h * K;
        const double s = scale * dot(q, a->k + row, K), p = vt_exp(s - lse);
        const double e = check_sum_error(K) * scale * dot_abs(q, a->k + row, K) + 4 * CHECK_U * (1 + fabs(s - lse));
        weighted_error += p * e;
        for (int64_t k = 0; k < K; k++) {
            sum_pv[k] += p * fabs((double)a->v[row + k]);
            sum_epv[k] += p * e * fabs((double)a->v[row + k]);
        }
    }
    for (int64_t k = 0; k < K; k++)
        check_bound(c, "y")[y_at + k] = sum_epv[k] + (weighted_error + 2 * check_sum_error(a->kv_tokens)) * sum_pv[k];
    check_bound(c, "lse")[lse_at] = weighted_error + check_sum_error(a->kv_tokens) + 4 * CHECK_U * fabs(lse);
}

static void bound_attention_fwd(check_case *c)
{
    const vt_attention_fwd_args *a = &c->args.attention_fwd;
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t i = 0; i < a->q_tokens; i++)
                bound_attention_row(c, b, h, i);
}

static double work_attention_fwd(const int64_t *d)
{
    return 4.0 * (double)d[0] * (double)d[1] * (double)d[2] * (double)larger(d[3], d[4]) * (double)d[4];
}

CHECK_CALL(attention_bwd)

static void make_attention_bwd(check_case *c)
{
    const layout l = place_qkv(c);
    vt_attention_bwd_args *a = &c->args.attention_bwd;
    const int64_t B = c->dims[0], H = c->dims[1], K = c->dims[2], N = c->dims[4], D = H * K;
    *a = (vt_attention_bwd_args){
        .samples = B,
        .heads = H,
        .head_width = K,
        .q_tokens = l.q_tokens,
        .kv_tokens = N,
        .q = l.q,
        .k = l.k,
        .v = l.v,
        .q_sample_stride = l.q_sample_stride,
        .q_row_stride = l.q_row_stride,
        .kv_sample_stride = l.kv_sample_stride,
        .kv_row_stride = l.kv_row_stride,
    };
    float *y = check_in(c, "y", B * l.q_tokens * D, 0, 1), *lse = check_in(c, "lse", B * H * l.q_tokens, 0, 1);
    vt_attention_fwd_args forward = {
        .samples = B,
        .heads = H,
        .head_width = K,
        .q_tokens = l.q_tokens,
        .kv_tokens = N,
        .q = l.q,
        .k = l.k,
        .v = l.v,
        .q_sample_stride = l.q_sample_stride,
        .q_row_stride = l.q_row_stride,
        .kv_sample_stride = l.kv_sample_stride,
        .kv_row_stride = l.kv_row_stride,
        .y = y,
        .lse = lse,
    };
    vt_ref_attention_fwd(NULL, &forward);
    check_keep(c, "y");
    check_keep(c, "lse");
    a->y = y, a->lse = lse;
    a->dy = check_in(c, "dy", B * l.q_tokens * D, 0, 1);
    const int64_t pad = check_choose(c, "dpad", 2) ? 1 + (int64_t)vt_rng_below(&c->rng, 20) : 0;
    a->dq_row_stride = (l.fused ? 3 * D : D) + pad;
    a->dkv_row_stride = (l.fused ? 3 * D : 2 * D) + pad;
    if (l.fused) {
        a->dq = check_out(c, "dqkv", B * N * a->dq_row_stride);
        a->dk = a->dq + D;
        a->dv = a->dq + 2 * D;
    } else {
        a->dq = check_out(c, "dq", B * l.q_tokens * a->dq_row_stride);
        a->dk = check_out(c, "dkv", B * N * a->dkv_row_stride);
        a->dv = a->dk + D;
    }
}

/* What score (i, j) of one head adds to the bounds of dq_i, dk_j and dv_j; dq_bound and so on point to those rows. */
static void bound_attention_score(const vt_attention_bwd_args *a, int64_t b, int64_t h, int64_t i, int64_t j,
                                  double *dq_bound, double *dk_bound, double *dv_bound)
{
    const int64_t K = a->head_width, y_row = ((b * a->q_tokens + i) * a->heads + h) * K;
    const float *q = a->q + b * a->q_sample_stride + i * a->q_row_stride + h * K;
    const int64_t kv_row = b * a->kv_sample_stride + j * a->kv_row_stride + h * K;
    const float *k = a->k + kv_row, *v = a->v + kv_row, *y = a->y + y_row, *dy = a->dy + y_row;

    const double scale = 1 / sqrt((double)K), s = scale * dot(q, k, K);
    const double off = s - a->lse[(b * a->heads + h) * a->q_tokens + i], p = vt_exp(off);
    const double p_error = p * (check_sum_error(K) * scale * dot_abs(q, k, K) + 4 * CHECK_U * (1 + fabs(off)));
    const double slope = scale * (dot(dy, v, K) - dot(dy, y, K));
    const double slope_error = scale * (check_sum_error(K) + 4 * CHECK_U) * (dot_abs(dy, v, K) + dot_abs(dy, y, K));
    const double ds = p * fabs(slope), ds_error = p_error * fabs(slope) + p * slope_error;

    const double over_kv = check_sum_error(a->kv_tokens), over_q = check_sum_error(a->q_tokens);
    for (int64_t e = 0; e < K; e++) {
        dq_bound[e] += (ds_error + over_kv * ds) * fabs((double)k[e]);
        dk_bound[e] += (ds_error + over_q * ds) * fabs((double)q[e]);
        dv_bound[e] += (p_error + over_q * p) * fabs((double)dy[e]);
    }
}

static void bound_attention_bwd(check_case *c)
{
    const vt_attention_bwd_args *a = &c->args.attention_bwd;
    const int64_t K = a->head_width, D = a->heads * K, B = a->samples;
    const bool fused = a->dk == a->dq + D;
    double *dq = check_bound(c, fused ? "dqkv" : "dq"), *dk = fused ? dq + D : check_bound(c, "dkv"), *dv = dk + D;
    for (int64_t b = 0; b < B; b++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t i = 0; i < a->q_tokens; i++)
                for (int64_t j = 0; j < a->kv_tokens; j++) {
                    const int64_t q_row = (b * a->q_tokens + i) * a->dq_row_stride + h * K;
                    const int64_t kv_row = (b * a->kv_tokens + j) * a->dkv_row_stride + h * K;
                    bound_attention_score(a, b, h, i, j, dq + q_row, dk + kv_row, dv + kv_row);
                }
    protect_gaps(dq, B * a->q_tokens, fused ? 3 * D : D, a->dq_row_stride);
    if (!fused)
        protect_gaps(dk, B * a->kv_tokens, 2 * D, a->dkv_row_stride);
}

static double work_attention_bwd(const int64_t *d)
{
    return 2.5 * work_attention_fwd(d);
}

#define ATTENTION_DIMS                                                                                                 \
    {                                                                                                                  \
        {"samples", 3, {1, 2}}, {"heads", 4, {1, 2, 3}}, {"head_width", 130, {1, 8, 24, 32, 64, 72, 88, 128}},         \
            {"q_tokens", 200, {1, 3, 16, 17, 49, 64, 65, 197, 577}},                                                   \
            {"kv_tokens", 200, {1, 15, 16, 49, 64, 65, 129, 197, 577}},                                                \
    }

const check_op check_attention[] = {
    {"attention_fwd",
     ATTENTION_DIMS,
     call_attention_fwd,
     make_attention_fwd,
     bound_attention_fwd,
     work_attention_fwd,
     "FLOP",
     {{8, 12, 64, 197, 197}, {256, 2, 32, 16, 16}, {8, 16, 88, 257, 257}}},
    {"attention_bwd",
     ATTENTION_DIMS,
     call_attention_bwd,
     make_attention_bwd,
     bound_attention_bwd,
     work_attention_bwd,
     "FLOP",
     {{8, 12, 64, 197, 197}, {256, 2, 32, 16, 16}, {8, 16, 88, 257, 257}}},
    {NULL},
};
