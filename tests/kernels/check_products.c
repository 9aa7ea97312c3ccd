/* Rows of the checker for matrix products and attention: shapes, contents, and bounds from rounding analysis.
 *
 * For a product the bound is check_sum_error(n) * sum |a||b|, the magnitudes being ref's own result on absolute values;
 * an activation multiplies it by its largest slope and adds its own error. */
#include <math.h>
#include <stdlib.h>

#include "base/math.h"
#include "base/text.h"
#include "check.h"
#include "kernels/ref/ref.h"

static const double gelu_largest_slope = 1.13;

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* How far a float32 evaluation of gelu'(z) may lie from the true one: a few roundings of tanh, times what multiplies
 * it. */
static double gelu_slope_error(double z)
{
    return 8 * CHECK_U * (1 + 0.4 * fabs(z) * (1 + 0.134145 * z * z));
}

CHECK_CALL(linear_fwd)

static void make_linear_fwd(check_case *c)
{
    const int64_t rows = c->dims[0], in = c->dims[1], out = c->dims[2];
    vt_linear_fwd_args *a = &c->args.linear_fwd;
    *a = (vt_linear_fwd_args){.rows = rows, .in = in, .out = out};
    c->limits.width = larger(in, out);
    a->x = check_in(c, "x", rows * in, 0, 1);
    a->w = check_in(c, "w", out * in, 0, 2 / sqrt((double)in));
    a->act = check_choose(c, "gelu", 2) ? VT_ACT_GELU_TANH : VT_ACT_NONE;
    /* Now and then so large that GELU is all or nothing. */
    const int bias = check_choose(c, "bias_of", 5);
    if (bias != 1)
        a->bias = check_in(c, "bias", out, 0, bias == 2 ? 50 : 1);
    if (check_choose(c, "pre", 2))
        a->pre = check_out(c, "pre", rows * out);
    const int residual = check_choose(c, "residual", 4); /* none, over y, of all rows, of a period of rows */
    if (residual == 1) {
        a->y = check_inout(c, "y", rows * out, 0, 1);
        a->residual = a->y;
        a->residual_rows = rows;
        return;
    }
    if (residual > 1) {
        a->residual_rows = residual == 2 ? rows : 1 + (int64_t)vt_rng_below(&c->rng, (uint32_t)rows);
        a->residual = check_in(c, "residual", a->residual_rows * out, 0, 1);
    }
    a->y = check_out(c, "y", rows * out);
}

static void bound_linear_fwd(check_case *c)
{
    const vt_linear_fwd_args *a = &c->args.linear_fwd;
    const int64_t count = a->rows * a->out;
    float *x = check_abs(a->x, a->rows * a->in), *w = check_abs(a->w, a->out * a->in);
    float *bias = a->bias ? check_abs(a->bias, a->out) : NULL;
    float *sum = vt_xmalloc((size_t)count * sizeof *sum), *z = vt_xmalloc((size_t)count * sizeof *z);
    vt_linear_fwd_args plain = {
        .rows = a->rows, .in = a->in, .out = a->out, .x = a->x, .w = a->w, .bias = a->bias, .y = z};
    vt_ref_linear_fwd(NULL, &plain);
    plain.x = x, plain.w = w, plain.bias = bias, plain.y = sum;
    vt_ref_linear_fwd(NULL, &plain);

    const float *y = check_expected(c, "y");
    double *bound = check_bound(c, "y"), *pre_bound = a->pre ? check_bound(c, "pre") : NULL;
    for (int64_t i = 0; i < count; i++) {
        const double z_error = check_sum_error(a->in) * sum[i];
        if (pre_bound)
            pre_bound[i] = z_error + 2 * CHECK_U * fabs((double)z[i]);
        bound[i] = a->act == VT_ACT_NONE ? z_error : gelu_largest_slope * z_error + 8 * CHECK_U * fabs((double)z[i]);
        bound[i] += 2 * CHECK_U * fabs((double)y[i]);
    }
    free(x), free(w), free(bias), free(sum), free(z);
}

CHECK_CALL(linear_dx)

static void make_linear_dx(check_case *c)
{
    const int64_t rows = c->dims[0], in = c->dims[1], out = c->dims[2];
    vt_linear_dx_args *a = &c->args.linear_dx;
    *a = (vt_linear_dx_args){.rows = rows, .in = in, .out = out};
    c->limits.width = larger(in, out);
    a->dy = check_in(c, "dy", rows * out, 0, 1);
    a->w = check_in(c, "w", out * in, 0, 1);
    const int pre = check_choose(c, "pre", 4);
    a->act = VT_ACT_GELU_TANH;
    if (pre > 1)
        a->pre = check_in(c, "pre", rows * in, 0, pre == 2 ? 3 : 50);
    a->dx = check_out(c, "dx", rows * in);
}

static void bound_linear_dx(check_case *c)
{
    const vt_linear_dx_args *a = &c->args.linear_dx;
    const int64_t count = a->rows * a->in;
    float *dy = check_abs(a->dy, a->rows * a->out), *w = check_abs(a->w, a->out * a->in);
    float *magnitude = vt_xmalloc((size_t)count * sizeof *magnitude), *sum = vt_xmalloc((size_t)count * sizeof *sum);
    vt_linear_dx_args plain = {.rows = a->rows, .in = a->in, .out = a->out, .dy = a->dy, .w = a->w, .dx = sum};
    vt_ref_linear_dx(NULL, &plain);
    plain.dy = dy, plain.w = w, plain.dx = magnitude;
    vt_ref_linear_dx(NULL, &plain);

    const float *dx = check_expected(c, "dx");
    double *bound = check_bound(c, "dx");
    for (int64_t i = 0; i < count; i++) {
        const double sum_error = check_sum_error(a->out) * magnitude[i];
        bound[i] = a->pre ? gelu_largest_slope * sum_error +
                                fabs((double)sum[i]) * gelu_slope_error(((const float *)a->pre)[i])
                          : sum_error;
        bound[i] += 2 * CHECK_U * fabs((double)dx[i]);
    }
    free(dy), free(w), free(magnitude), free(sum);
}

static double work_linear(const int64_t *d)
{
    return 2.0 * (double)d[0] * (double)d[1] * (double)d[2];
}

CHECK_CALL(linear_dw)

static void make_linear_dw(check_case *c)
{
    const int64_t samples = c->dims[0], tokens = c->dims[1], in = c->dims[2], out = c->dims[3];
    static const int slices[] = {8, 1, 2, 4, 64};
    vt_linear_dw_args *a = &c->args.linear_dw;
    *a = (vt_linear_dw_args){.samples = samples, .tokens = tokens, .in = in, .out = out};
    a->slices = slices[check_choose(c, "slices_of", 5)];
    a->accumulate = check_choose(c, "accumulate", 2);
    c->limits = (vt_limits){.tokens = tokens, .head_width = 1, .width = larger(in, out), .slices = a->slices};
    a->dy = check_in(c, "dy", samples * tokens * out, 0, 1);
    a->x = check_in(c, "x", samples * tokens * in, 0, 1);
    a->dw = a->accumulate ? check_inout(c, "dw", out * in, 0, 3) : check_out(c, "dw", out * in);
    if (!check_choose(c, "no_dbias", 2))
        a->dbias = a->accumulate ? check_inout(c, "dbias", out, 0, 3) : check_out(c, "dbias", out);
}

static void bound_linear_dw(check_case *c)
{
    const vt_linear_dw_args *a = &c->args.linear_dw;
    const int64_t rows = a->samples * a->tokens, count = a->out * a->in;
    float *dy = check_abs(a->dy, rows * a->out), *x = check_abs(a->x, rows * a->in);
    float *dw = check_abs(a->dw, count), *dbias = a->dbias ? check_abs(a->dbias, a->out) : NULL;
    vt_linear_dw_args magnitude = *a;
    magnitude.dy = dy, magnitude.x = x, magnitude.dw = dw, magnitude.dbias = dbias;
    vt_ref_linear_dw(NULL, &magnitude);

    const double error = check_sum_error(rows + a->slices);
    double *bound = check_bound(c, "dw"), *bias_bound = dbias ? check_bound(c, "dbias") : NULL;
    for (int64_t i = 0; i < count; i++)
        bound[i] = error * dw[i];
    for (int64_t o = 0; dbias && o < a->out; o++)
        bias_bound[o] = error * dbias[o];
    free(dy), free(x), free(dw), free(dbias);
}

static double work_linear_dw(const int64_t *d)
{
    return 2.0 * (double)d[0] * (double)d[1] * (double)d[2] * (double)d[3];
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
#define LINEAR_DIMS                                                                                                    \
    {                                                                                                                  \
        {"rows", 300, {1, 2, 3, 15, 17, 64, 197, 400, 800}}, {"in", 300, {1, 3, 15, 17, 64, 72, 96, 768, 3072}},       \
            {"out", 300, {1, 3, 15, 17, 64, 72, 96, 768, 3072}},                                                       \
    }

const check_op check_products[] = {
    {"linear_fwd",
     LINEAR_DIMS,
     call_linear_fwd,
     make_linear_fwd,
     bound_linear_fwd,
     work_linear,
     "FLOP",
     {{1576, 768, 3072}, {1576, 3072, 768}, {16384, 64, 256}}},
    {"linear_dx",
     LINEAR_DIMS,
     call_linear_dx,
     make_linear_dx,
     bound_linear_dx,
     work_linear,
     "FLOP",
     {{1576, 768, 3072}, {1576, 3072, 768}, {16384, 64, 256}}},
    {"linear_dw",
     {{"samples", 20, {1, 2, 3, 5, 8, 9, 64}},
      {"tokens", 100, {1, 3, 16, 49, 197, 577}},
      {"in", 200, {1, 3, 15, 17, 64, 72, 96, 192, 768}},
      {"out", 200, {1, 3, 10, 15, 17, 64, 72, 192, 400}}},
     call_linear_dw,
     make_linear_dw,
     bound_linear_dw,
     work_linear_dw,
     "FLOP",
     {{8, 197, 768, 3072}, {8, 197, 3072, 768}, {256, 64, 64, 256}}},
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
