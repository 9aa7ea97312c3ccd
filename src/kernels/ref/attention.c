/* Reference kernels: multi-head attention, forward and backward (Vaswani et al. 2017, section 3.2).
 *
 * Scores are computed anew wherever they are needed, so that no tokens-by-tokens matrix and no scratch is needed: a row
 * of at most VT_MAX_HEAD_WIDTH doubles is all that is kept. */
#include <assert.h>
#include <math.h>

#include "base/math.h"
#include "kernels/ref/ref.h"

static double dot(const float *x, const float *y, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++)
        sum += (double)x[k] * y[k];
    return sum;
}

void vt_ref_attention_fwd(const vt_exec *ex, const vt_attention_fwd_args *a)
{
    (void)ex;
    assert(a->head_width <= VT_MAX_HEAD_WIDTH);
    const int64_t K = a->head_width, H = a->heads, N = a->q_tokens;
    const double scale = 1 / sqrt((double)K);
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t i = 0; i < N; i++) {
                const float *q = a->q + b * a->q_sample_stride + i * a->q_row_stride + h * K;
                const float *k = a->k + b * a->kv_sample_stride + h * K;
                const float *v = a->v + b * a->kv_sample_stride + h * K;
                double largest = -INFINITY, total = 0, y[VT_MAX_HEAD_WIDTH] = {0};
                for (int64_t j = 0; j < a->kv_tokens; j++)
                    largest = fmax(largest, scale * dot(q, k + j * a->kv_row_stride, K));
                for (int64_t j = 0; j < a->kv_tokens; j++) {
                    const double e = vt_exp(scale * dot(q, k + j * a->kv_row_stride, K) - largest);
                    total += e;
                    for (int64_t c = 0; c < K; c++)
                        y[c] += e * v[j * a->kv_row_stride + c];
                }
                for (int64_t c = 0; c < K; c++)
                    a->y[((b * N + i) * H + h) * K + c] = (float)(y[c] / total);
                a->lse[(b * H + h) * N + i] = (float)(largest + vt_ln(total));
            }
}

/* What the backward pass reads for one sample and head: row i of x is x + i * (its row stride). */
typedef struct {
    const vt_attention_bwd_args *a;
    const float *q, *k, *v, *y, *dy, *lse;
} head;

static head head_of(const vt_attention_bwd_args *a, int64_t b, int64_t h)
{
    const int64_t K = a->head_width, D = a->heads * K, N = a->q_tokens;
    return (head){
        .a = a,
        .q = a->q + b * a->q_sample_stride + h * K,
        .k = a->k + b * a->kv_sample_stride + h * K,
        .v = a->v + b * a->kv_sample_stride + h * K,
        .y = a->y + b * N * D + h * K,
        .dy = a->dy + b * N * D + h * K,
        .lse = a->lse + (b * a->heads + h) * N,
    };
}

/* p[i,j], and ds[i,j] = p[i,j] (dy_i . v_j - dy_i . y_i) / sqrt(K) */
static double probability(const head *t, int64_t i, int64_t j, double *ds)
{
    const int64_t K = t->a->head_width, D = t->a->heads * K;
    const double scale = 1 / sqrt((double)K);
    const float *dy = t->dy + i * D;
    const double s = scale * dot(t->q + i * t->a->q_row_stride, t->k + j * t->a->kv_row_stride, K);
    const double p = vt_exp(s - t->lse[i]);
    *ds = p * (dot(dy, t->v + j * t->a->kv_row_stride, K) - dot(dy, t->y + i * D, K)) * scale;
    return p;
}

/* dq_i = sum_j ds[i,j] k_j */
static void write_dq(const head *t, int64_t i, float *dq)
{
    const int64_t K = t->a->head_width;
    double sum[VT_MAX_HEAD_WIDTH] = {0}, ds;
    for (int64_t j = 0; j < t->a->kv_tokens; j++) {
        (void)probability(t, i, j, &ds);
        for (int64_t c = 0; c < K; c++)
            sum[c] += ds * t->k[j * t->a->kv_row_stride + c];
    }
    for (int64_t c = 0; c < K; c++)
        dq[c] = (float)sum[c];
}

/* dk_j = sum_i ds[i,j] q_i;   dv_j = sum_i p[i,j] dy_i */
static void write_dk_dv(const head *t, int64_t j, float *dk, float *dv)
{
    const int64_t K = t->a->head_width, D = t->a->heads * K;
    double sum_k[VT_MAX_HEAD_WIDTH] = {0}, sum_v[VT_MAX_HEAD_WIDTH] = {0}, ds;
    for (int64_t i = 0; i < t->a->q_tokens; i++) {
        const double p = probability(t, i, j, &ds);
        for (int64_t c = 0; c < K; c++) {
            sum_k[c] += ds * t->q[i * t->a->q_row_stride + c];
            sum_v[c] += p * t->dy[i * D + c];
        }
    }
    for (int64_t c = 0; c < K; c++) {
        dk[c] = (float)sum_k[c];
        dv[c] = (float)sum_v[c];
    }
}

void vt_ref_attention_bwd(const vt_exec *ex, const vt_attention_bwd_args *a)
{
    (void)ex;
    assert(a->head_width <= VT_MAX_HEAD_WIDTH);
    const int64_t K = a->head_width;
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t h = 0; h < a->heads; h++) {
            const head t = head_of(a, b, h);
            for (int64_t i = 0; i < a->q_tokens; i++)
                write_dq(&t, i, a->dq + (b * a->q_tokens + i) * a->dq_row_stride + h * K);
            for (int64_t j = 0; j < a->kv_tokens; j++) {
                const int64_t at = (b * a->kv_tokens + j) * a->dkv_row_stride + h * K;
                write_dk_dv(&t, j, a->dk + at, a->dv + at);
            }
        }
}
