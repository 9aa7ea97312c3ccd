/* Rows of the checker for attention: shapes, layouts, and bounds from rounding analysis.
 *
 * An error e of a score changes its probability by the factor 1 + e; the bounds follow what that does to every sum.
 * With bf16, probabilities and the gradients of scores are rounded before they are multiplied, and so are results:
 * 2^-8 each. */
#include <math.h>
#include <stdlib.h>

#include "base/math.h"
#include "base/text.h"
#include "check.h"
#include "kernels/ref/ref.h"

#define BF16_U 0x1p-8 /* unit roundoff: eight significant bits */

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* What rounding to the type may change, relative. */
static double type_error(vt_real type)
{
    return type == VT_BF16 ? BF16_U : 0;
}

/* The bound of a result that ref stored as `value`, rounded by both. */
static double stored_bound(vt_real type, double value, double error)
{
    return error + type_error(type) * (2 * fabs(value) + error);
}

/* What is between the rows of a strided input must not matter, and of an output must stay: the elements from `width` up
 * to `stride` of every row. */
static void poison_gaps(void *x, vt_real type, int64_t rows, int64_t width, int64_t stride)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = width; i < stride; i++)
            vt_ref_put(x, type, r * stride + i, NAN);
}

static void protect_gaps(double *bound, int64_t rows, int64_t width, int64_t stride)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = width; i < stride; i++)
            bound[r * stride + i] = -1;
}

/* Element i of a tensor. */
static void *at(void *x, vt_real type, int64_t i)
{
    return (unsigned char *)x + i * (type == VT_BF16 ? 2 : 4);
}

/* Where q, k and v lie: fused as a block's qkv, or a query of its own (shared by all samples, or not) beside fused kv.
 */
typedef struct {
    bool fused;
    vt_real type;
    const void *q, *k, *v;
    int64_t q_tokens, q_sample_stride, q_row_stride, kv_sample_stride, kv_row_stride;
} layout;

static void *place_rows(check_case *c, const char *name, vt_real type, int64_t rows, int64_t width, int64_t stride,
                        double std)
{
    void *x = check_in_real(c, name, type, rows * stride, 0, std);
    poison_gaps(x, type, rows, width, stride);
    check_keep(c, name);
    return x;
}

static layout place_qkv(check_case *c)
{
    const vt_real type = check_choose_type(c, "bf16");
    const int64_t B = c->dims[0], H = c->dims[1], K = c->dims[2], N = c->dims[4], D = H * K;
    const int kind = check_choose(c, "layout", 3); /* fused, own query, shared query */
    const int64_t pad = check_choose(c, "pad", 2) ? 1 + (int64_t)vt_rng_below(&c->rng, 20) : 0;
    const double std = check_choose(c, "sharp", 4) == 3 ? 4 : 1; /* sharp: scores so far apart that a few decide */
    layout l = {.fused = kind == 0, .type = type, .q_tokens = kind == 0 ? N : c->dims[3]};
    c->limits = (vt_limits){.tokens = larger(l.q_tokens, N), .head_width = K, .width = 3 * D + pad, .slices = 1};
    if (l.fused) {
        l.q_row_stride = l.kv_row_stride = 3 * D + pad;
        l.q_sample_stride = l.kv_sample_stride = N * l.kv_row_stride;
        void *qkv = place_rows(c, "qkv", type, B * N, 3 * D, l.kv_row_stride, std);
        l.q = qkv, l.k = at(qkv, type, D), l.v = at(qkv, type, 2 * D);
        return l;
    }
    const bool shared = kind == 2;
    l.q_row_stride = D + pad;
    l.q_sample_stride = shared ? 0 : l.q_tokens * l.q_row_stride;
    l.q = place_rows(c, "q", type, (shared ? 1 : B) * l.q_tokens, D, l.q_row_stride, std);
    l.kv_row_stride = 2 * D + pad;
    l.kv_sample_stride = N * l.kv_row_stride;
    void *kv = place_rows(c, "kv", type, B * N, 2 * D, l.kv_row_stride, std);
    l.k = kv, l.v = at(kv, type, D);
    return l;
}

static vt_attention_fwd_args forward_args(const check_case *c, const layout *l)
{
    return (vt_attention_fwd_args){
        .samples = c->dims[0],
        .heads = c->dims[1],
        .head_width = c->dims[2],
        .q_tokens = l->q_tokens,
        .kv_tokens = c->dims[4],
        .type = l->type,
        .q = l->q,
        .k = l->k,
        .v = l->v,
        .q_sample_stride = l->q_sample_stride,
        .q_row_stride = l->q_row_stride,
        .kv_sample_stride = l->kv_sample_stride,
        .kv_row_stride = l->kv_row_stride,
    };
}

CHECK_CALL(attention_fwd)

static void make_attention_fwd(check_case *c)
{
    const layout l = place_qkv(c);
    vt_attention_fwd_args *a = &c->args.attention_fwd;
    *a = forward_args(c, &l);
    a->y = check_out_real(c, "y", l.type, a->samples * a->q_tokens * a->heads * a->head_width);
    a->lse = check_out(c, "lse", a->samples * a->heads * a->q_tokens);
}

/* A row of one head, in doubles. */
typedef struct {
    double x[VT_MAX_HEAD_WIDTH];
} row;

static void take_row(row *r, const void *x, vt_real type, int64_t from, int64_t width)
{
    for (int64_t k = 0; k < width; k++)
        r->x[k] = vt_ref_at(x, type, from + k);
}

static double dot(const row *x, const row *y, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += x->x[k] * y->x[k];
    return sum;
}

static double dot_abs(const row *x, const row *y, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += fabs(x->x[k] * y->x[k]);
    return sum;
}

/* A score, and how far one computed in float32 may lie from it. */
static double score(const row *q, const row *k, int64_t width, double *error)
{
    const double scale = 1 / sqrt((double)width), s = scale * dot(q, k, width);
    *error = (check_sum_error(width) + 2 * CHECK_U) * scale * dot_abs(q, k, width);
    return s;
}

/* A score with error e changes p by the factor 1 + e: y moves by sum_j p_j e_j |v_j|, and through the denominator by
 * (sum_j p_j e_j) (sum_j p_j |v_j|). */
static void bound_attention_row(check_case *c, int64_t b, int64_t h, int64_t i)
{
    const vt_attention_fwd_args *a = &c->args.attention_fwd;
    const int64_t K = a->head_width, lse_at = (b * a->heads + h) * a->q_tokens + i;
    const int64_t y_at = ((b * a->q_tokens + i) * a->heads + h) * K;
    const double lse = check_expected(c, "lse")[lse_at];
    row q, y;
    take_row(&q, a->q, a->type, b * a->q_sample_stride + i * a->q_row_stride + h * K, K);
    double weighted_error = 0, sum_pv[VT_MAX_HEAD_WIDTH] = {0}, sum_epv[VT_MAX_HEAD_WIDTH] = {0};
    for (int64_t j = 0; j < a->kv_tokens; j++) {
        const int64_t kv_at = b * a->kv_sample_stride + j * a->kv_row_stride + h * K;
        row k, v;
        take_row(&k, a->k, a->type, kv_at, K);
        take_row(&v, a->v, a->type, kv_at, K);
        double e;
        const double s = score(&q, &k, K, &e), p = vt_exp(s - lse);
        e += 4 * CHECK_U * (1 + fabs(s - lse));
        weighted_error += p * e;
        for (int64_t d = 0; d < K; d++) {
            sum_pv[d] += p * fabs(v.x[d]);
            sum_epv[d] += p * (e + type_error(a->type)) * fabs(v.x[d]);
        }
    }
    take_row(&y, check_expected(c, "y"), a->type, y_at, K);
    for (int64_t d = 0; d < K; d++) {
        const double error = sum_epv[d] + (weighted_error + 2 * check_sum_error(a->kv_tokens)) * sum_pv[d];
        check_bound(c, "y")[y_at + d] = stored_bound(a->type, y.x[d], error);
    }
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
    const vt_real type = l.type;
    const int64_t B = c->dims[0], H = c->dims[1], K = c->dims[2], N = c->dims[4], D = H * K;
    vt_attention_fwd_args forward = forward_args(c, &l);
    forward.y = check_in_real(c, "y", type, B * l.q_tokens * D, 0, 1);
    forward.lse = check_in(c, "lse", B * H * l.q_tokens, 0, 1);
    vt_ref_attention_fwd(NULL, &forward);
    check_keep(c, "y");
    check_keep(c, "lse");
    vt_attention_bwd_args *a = &c->args.attention_bwd;
    *a = (vt_attention_bwd_args){
        .samples = B,
        .heads = H,
        .head_width = K,
        .q_tokens = l.q_tokens,
        .kv_tokens = N,
        .type = type,
        .q = l.q,
        .k = l.k,
        .v = l.v,
        .q_sample_stride = l.q_sample_stride,
        .q_row_stride = l.q_row_stride,
        .kv_sample_stride = l.kv_sample_stride,
        .kv_row_stride = l.kv_row_stride,
        .y = forward.y,
        .lse = forward.lse,
    };
    a->dy = check_in_real(c, "dy", type, B * l.q_tokens * D, 0, 1);
    const int64_t pad = check_choose(c, "dpad", 2) ? 1 + (int64_t)vt_rng_below(&c->rng, 20) : 0;
    a->dq_row_stride = (l.fused ? 3 * D : D) + pad;
    a->dkv_row_stride = (l.fused ? 3 * D : 2 * D) + pad;
    if (l.fused) {
        a->dq = check_out_real(c, "dqkv", type, B * N * a->dq_row_stride);
        a->dk = at(a->dq, type, D);
        a->dv = at(a->dq, type, 2 * D);
    } else {
        a->dq = check_out_real(c, "dq", type, B * l.q_tokens * a->dq_row_stride);
        a->dk = check_out_real(c, "dkv", type, B * N * a->dkv_row_stride);
        a->dv = at(a->dk, type, D);
    }
}

/* What the bounds of one head are computed from. */
typedef struct {
    const vt_attention_bwd_args *a;
    double *dq, *dk, *dv; /* bounds of whole tensors */
    int64_t b, h;
} bound_head;

/* What score (i, j) adds to the bounds of dq_i, dk_j and dv_j. */
static void bound_attention_score(const bound_head *t, int64_t i, int64_t j, const row *q, const row *y, const row *dy)
{
    const vt_attention_bwd_args *a = t->a;
    const int64_t K = a->head_width, kv_at = t->b * a->kv_sample_stride + j * a->kv_row_stride + t->h * K;
    row k, v;
    take_row(&k, a->k, a->type, kv_at, K);
    take_row(&v, a->v, a->type, kv_at, K);
    const double scale = 1 / sqrt((double)K), rounding = type_error(a->type);
    double e;
    const double off = score(q, &k, K, &e) - a->lse[(t->b * a->heads + t->h) * a->q_tokens + i], p = vt_exp(off);
    const double p_error = p * (e + 4 * CHECK_U * (1 + fabs(off)));
    const double slope = scale * (dot(dy, &v, K) - dot(dy, y, K));
    const double slope_error = scale * (check_sum_error(K) + 4 * CHECK_U) * (dot_abs(dy, &v, K) + dot_abs(dy, y, K));
    const double ds = p * fabs(slope), ds_error = p_error * fabs(slope) + p * slope_error + rounding * ds;

    const double over_kv = check_sum_error(a->kv_tokens), over_q = check_sum_error(a->q_tokens);
    double *dq = t->dq + (t->b * a->q_tokens + i) * a->dq_row_stride + t->h * K;
    double *dk = t->dk + (t->b * a->kv_tokens + j) * a->dkv_row_stride + t->h * K;
    double *dv = t->dv + (t->b * a->kv_tokens + j) * a->dkv_row_stride + t->h * K;
    for (int64_t d = 0; d < K; d++) {
        dq[d] += (ds_error + over_kv * ds) * fabs(k.x[d]);
        dk[d] += (ds_error + over_q * ds) * fabs(q->x[d]);
        dv[d] += (p_error + rounding * p + over_q * p) * fabs(dy->x[d]);
    }
}

static void add_storing(check_case *c, const char *name, vt_real type, int64_t count)
{
    double *bound = check_bound(c, name);
    for (int64_t i = 0; i < count; i++)
        bound[i] = stored_bound(type, vt_ref_at(check_expected(c, name), type, i), bound[i]);
}

static void bound_attention_bwd(check_case *c)
{
    const vt_attention_bwd_args *a = &c->args.attention_bwd;
    const int64_t K = a->head_width, D = a->heads * K, B = a->samples;
    const bool fused = a->dk == at(a->dq, a->type, D);
    double *dq = check_bound(c, fused ? "dqkv" : "dq"), *dk = fused ? dq + D : check_bound(c, "dkv"), *dv = dk + D;
    for (int64_t b = 0; b < B; b++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t i = 0; i < a->q_tokens; i++) {
                const bound_head t = {a, dq, dk, dv, b, h};
                const int64_t y_at = ((b * a->q_tokens + i) * a->heads + h) * K;
                row q, y, dy;
                take_row(&q, a->q, a->type, b * a->q_sample_stride + i * a->q_row_stride + h * K, K);
                take_row(&y, a->y, a->type, y_at, K);
                take_row(&dy, a->dy, a->type, y_at, K);
                for (int64_t j = 0; j < a->kv_tokens; j++)
                    bound_attention_score(&t, i, j, &q, &y, &dy);
            }
    add_storing(c, fused ? "dqkv" : "dq", a->type, B * a->q_tokens * a->dq_row_stride);
    protect_gaps(dq, B * a->q_tokens, fused ? 3 * D : D, a->dq_row_stride);
    if (!fused) {
        add_storing(c, "dkv", a->type, B * a->kv_tokens * a->dkv_row_stride);
        protect_gaps(dk, B * a->kv_tokens, 2 * D, a->dkv_row_stride);
    }
}

static double work_attention_bwd(const int64_t *d)
{
    return 2.5 * work_attention_fwd(d);
}

CHECK_CALL(attention_stats)

static void make_attention_stats(check_case *c)
{
    const layout l = place_qkv(c);
    vt_attention_fwd_args forward = forward_args(c, &l);
    const int64_t count = forward.samples * forward.q_tokens * forward.heads;
    forward.y = vt_xmalloc((size_t)(count * forward.head_width) * sizeof(float));
    forward.lse = check_in(c, "lse", count, 0, 1);
    vt_ref_attention_fwd(NULL, &forward);
    check_keep(c, "lse");
    free(forward.y);
    c->args.attention_stats = (vt_attention_stats_args){
        .samples = forward.samples,
        .heads = forward.heads,
        .head_width = forward.head_width,
        .q_tokens = l.q_tokens,
        .kv_tokens = forward.kv_tokens,
        .type = l.type,
        .q = l.q,
        .k = l.k,
        .q_sample_stride = l.q_sample_stride,
        .q_row_stride = l.q_row_stride,
        .kv_sample_stride = l.kv_sample_stride,
        .kv_row_stride = l.kv_row_stride,
        .lse = forward.lse,
        .entropy = check_typed(c, "entropy", CHECK_F64, forward.heads, true),
        .largest = check_typed(c, "largest", CHECK_F64, forward.heads, true),
    };
}

/* An error e of a score moves p log p by p e |1 + log p|. */
static void bound_attention_stats(check_case *c)
{
    const vt_attention_stats_args *a = &c->args.attention_stats;
    const int64_t K = a->head_width;
    double *entropy = check_bound(c, "entropy"), *largest = check_bound(c, "largest");
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t i = 0; i < a->q_tokens; i++)
                for (int64_t j = 0; j < a->kv_tokens; j++) {
                    row q, k;
                    take_row(&q, a->q, a->type, b * a->q_sample_stride + i * a->q_row_stride + h * K, K);
                    take_row(&k, a->k, a->type, b * a->kv_sample_stride + j * a->kv_row_stride + h * K, K);
                    double e;
                    const double log_p = score(&q, &k, K, &e) - a->lse[(b * a->heads + h) * a->q_tokens + i];
                    largest[h] = fmax(largest[h], e);
                    e += 4 * CHECK_U * (1 + fabs(log_p));
                    entropy[h] += vt_exp(log_p) * (e * (1 + fabs(log_p)) + check_sum_error(a->kv_tokens) * fabs(log_p));
                }
    for (int64_t h = 0; h < a->heads; h++)
        entropy[h] /= (double)(a->samples * a->q_tokens);
}

static double work_attention_stats(const int64_t *d)
{
    return 0.5 * work_attention_fwd(d);
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
     {{8, 12, 64, 197, 197}, {64, 3, 64, 64, 64}, {256, 4, 16, 16, 16}}},
    {"attention_bwd",
     ATTENTION_DIMS,
     call_attention_bwd,
     make_attention_bwd,
     bound_attention_bwd,
     work_attention_bwd,
     "FLOP",
     {{8, 12, 64, 197, 197}, {64, 3, 64, 64, 64}, {256, 4, 16, 16, 16}}},
    {"attention_stats",
     ATTENTION_DIMS,
     call_attention_stats,
     make_attention_stats,
     bound_attention_stats,
     work_attention_stats,
     "FLOP",
     {{8, 12, 64, 197, 197}, {64, 3, 64, 64, 64}, {256, 4, 16, 16, 16}}},
    {NULL},
};
