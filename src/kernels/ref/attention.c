/* Reference kernels: multi-head attention, forward and backward (Vaswani et al. 2017, section 3.2), and its statistics.
 *
 * Scores are computed anew wherever they are needed, so that no tokens-by-tokens matrix and no scratch is needed: a row
 * of at most VT_MAX_HEAD_WIDTH doubles is all that is kept. Probabilities are not rounded here, whatever the type. */
#include <assert.h>
#include <math.h>

#include "base/math.h"
#include "kernels/ref/ref.h"

/* A row of one head: element i of it is x[at + i]. */
typedef struct {
    const void *x;
    vt_real type;
    int64_t at;
} vec;

static double dot(vec x, vec y, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += vt_ref_at(x.x, x.type, x.at + i) * vt_ref_at(y.x, y.type, y.at + i);
    return sum;
}

/* sum[i] += factor * x[i] */
static void add_to(double *sum, double factor, vec x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        sum[i] += factor * vt_ref_at(x.x, x.type, x.at + i);
}

static void put(void *x, vt_real type, int64_t at, const double *value, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        vt_ref_put(x, type, at + i, value[i]);
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
                const vec q = {a->q, a->type, b * a->q_sample_stride + i * a->q_row_stride + h * K};
                vec k = {a->k, a->type, b * a->kv_sample_stride + h * K}, v = k;
                v.x = a->v;
                const int64_t first = k.at;
                double largest = -INFINITY, total = 0, y[VT_MAX_HEAD_WIDTH] = {0};
                for (int64_t j = 0; j < a->kv_tokens; j++) {
                    k.at = first + j * a->kv_row_stride;
                    largest = fmax(largest, scale * dot(q, k, K));
                }
                for (int64_t j = 0; j < a->kv_tokens; j++) {
                    k.at = v.at = first + j * a->kv_row_stride;
                    const double e = vt_exp(scale * dot(q, k, K) - largest);
                    total += e;
                    add_to(y, e, v, K);
                }
                for (int64_t c = 0; c < K; c++)
                    y[c] /= total;
                put(a->y, a->type, ((b * N + i) * H + h) * K, y, K);
                a->lse[(b * H + h) * N + i] = (float)(largest + vt_ln(total));
            }
}

/* One sample and head of the backward pass. */
typedef struct {
    const vt_attention_bwd_args *a;
    int64_t b, h;
} head;

static vec query(const head *t, int64_t i)
{
    const vt_attention_bwd_args *a = t->a;
    return (vec){a->q, a->type, t->b * a->q_sample_stride + i * a->q_row_stride + t->h * a->head_width};
}

/* Row j of x, which is k or v. */
static vec key(const head *t, const void *x, int64_t j)
{
    const vt_attention_bwd_args *a = t->a;
    return (vec){x, a->type, t->b * a->kv_sample_stride + j * a->kv_row_stride + t->h * a->head_width};
}

/* Row i of x, which is y or dy. */
static vec result(const head *t, const void *x, int64_t i)
{
    const vt_attention_bwd_args *a = t->a;
    return (vec){x, a->type, ((t->b * a->q_tokens + i) * a->heads + t->h) * a->head_width};
}

/* p[i,j], and ds[i,j] = p[i,j] (dy_i . v_j - dy_i . y_i) / sqrt(K) */
static double probability(const head *t, int64_t i, int64_t j, double *ds)
{
    const vt_attention_bwd_args *a = t->a;
    const int64_t K = a->head_width;
    const double scale = 1 / sqrt((double)K);
    const vec dy = result(t, a->dy, i);
    const double p =
        vt_exp(scale * dot(query(t, i), key(t, a->k, j), K) - a->lse[(t->b * a->heads + t->h) * a->q_tokens + i]);
    *ds = p * (dot(dy, key(t, a->v, j), K) - dot(dy, result(t, a->y, i), K)) * scale;
    return p;
}

/* dq_i = sum_j ds[i,j] k_j */
static void write_dq(const head *t, int64_t i)
{
    const vt_attention_bwd_args *a = t->a;
    const int64_t K = a->head_width;
    double sum[VT_MAX_HEAD_WIDTH] = {0}, ds;
    for (int64_t j = 0; j < a->kv_tokens; j++) {
        (void)probability(t, i, j, &ds);
        add_to(sum, ds, key(t, a->k, j), K);
    }
    put(a->dq, a->type, (t->b * a->q_tokens + i) * a->dq_row_stride + t->h * K, sum, K);
}

/* dk_j = sum_i ds[i,j] q_i;   dv_j = sum_i p[i,j] dy_i */
static void write_dk_dv(const head *t, int64_t j)
{
    const vt_attention_bwd_args *a = t->a;
    const int64_t K = a->head_width, at = (t->b * a->kv_tokens + j) * a->dkv_row_stride + t->h * K;
    double sum_k[VT_MAX_HEAD_WIDTH] = {0}, sum_v[VT_MAX_HEAD_WIDTH] = {0}, ds;
    for (int64_t i = 0; i < a->q_tokens; i++) {
        const double p = probability(t, i, j, &ds);
        add_to(sum_k, ds, query(t, i), K);
        add_to(sum_v, p, result(t, a->dy, i), K);
    }
    put(a->dk, a->type, at, sum_k, K);
    put(a->dv, a->type, at, sum_v, K);
}

void vt_ref_attention_bwd(const vt_exec *ex, const vt_attention_bwd_args *a)
{
    (void)ex;
    assert(a->head_width <= VT_MAX_HEAD_WIDTH);
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t h = 0; h < a->heads; h++) {
            const head t = {a, b, h};
            for (int64_t i = 0; i < a->q_tokens; i++)
                write_dq(&t, i);
            for (int64_t j = 0; j < a->kv_tokens; j++)
                write_dk_dv(&t, j);
        }
}

void vt_ref_attention_stats(const vt_exec *ex, const vt_attention_stats_args *a)
{
    (void)ex;
    const int64_t K = a->head_width, N = a->q_tokens;
    const double scale = 1 / sqrt((double)K);
    for (int64_t h = 0; h < a->heads; h++) {
        double entropy = 0, largest = 0;
        for (int64_t b = 0; b < a->samples; b++)
            for (int64_t i = 0; i < N; i++)
                for (int64_t j = 0; j < a->kv_tokens; j++) {
                    const vec q = {a->q, a->type, b * a->q_sample_stride + i * a->q_row_stride + h * K};
                    const vec k = {a->k, a->type, b * a->kv_sample_stride + j * a->kv_row_stride + h * K};
                    const double s = scale * dot(q, k, K), log_p = s - a->lse[(b * a->heads + h) * N + i];
                    entropy -= vt_exp(log_p) * log_p;
                    largest = fmax(largest, fabs(s));
                }
        a->entropy[h] = entropy / (double)(a->samples * N);
        a->largest[h] = largest;
    }
}
