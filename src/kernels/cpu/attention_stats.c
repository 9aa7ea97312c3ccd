/* What people watch of attention: the entropy of its probabilities and the largest score (kernels/ops.h).
 *
 * One job is a head; it goes through samples and queries in order. Scores are computed transposed as in
 * attention_f32.c, in float32 from either type: a piece of keys at a time, since with lse at hand each score is looked
 * at once. */
#include "kernels/cpu/attention.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vmath.h"

/* Buffers of one thread; attention_f32.c needs no less. */
typedef struct {
    float *qt;     /* packed Q^T */
    float *rows;   /* queries or a piece of keys, converted */
    float *scores; /* (at most KEY_PIECE, lanes) */
} stats_buffers;

/* Rows of one head where they lie, or a float32 copy. */
static const float *float_rows(const void *x, vt_real type, int64_t at, int64_t *ld, int64_t rows, int64_t width,
                               float *copy)
{
    if (type == VT_F32)
        return (const float *)x + at;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < width; c += VW) {
            const int n = (int)min_i64(VW, width - c);
            vf_store_n(copy + r * width + c, n, load_real(x, type, at + r * *ld + c, n));
        }
    }
    *ld = width;
    return copy;
}

/* Entropies of a block of queries, and the largest |score| so far. */
static void block_stats(const vt_attention_stats_args *a, int64_t sample, int64_t head, int64_t q0, int64_t queries,
                        const stats_buffers *b, double *entropy, vf *largest)
{
    const int64_t width = a->head_width, lanes = round_up_vw(queries);
    const float *lse = a->lse + (sample * a->heads + head) * a->q_tokens + q0;
    int64_t ld = a->q_row_stride;
    const float *q = float_rows(a->q, a->type, sample * a->q_sample_stride + q0 * a->q_row_stride + head * width, &ld,
                                queries, width, b->rows);
    gemm_pack_cols(q, ld, width, queries, attention_scale(width), b->qt);
    vf sum[MAX_QUERIES / VW];
    for (int64_t v = 0; v < lanes / VW; v++)
        sum[v] = vf_zero();
    for (int64_t j0 = 0; j0 < a->kv_tokens; j0 += KEY_PIECE) {
        const int64_t keys = min_i64(KEY_PIECE, a->kv_tokens - j0);
        ld = a->kv_row_stride;
        const float *k = float_rows(a->k, a->type, sample * a->kv_sample_stride + j0 * a->kv_row_stride + head * width,
                                    &ld, keys, width, b->rows);
        gemm(&(gemm_args){
            .m = keys, .n = lanes, .k = width, .a = k, .lda = ld, .b = b->qt, .c = b->scores, .ldc = lanes});
        for (int64_t i = 0; i < lanes; i += VW) {
            const vf log_sum = vf_load_n(lse + i, (int)min_i64(VW, queries - i));
            for (int64_t j = 0; j < keys; j++) {
                const vf s = vf_load(b->scores + j * lanes + i), log_p = vf_sub(s, log_sum);
                sum[i / VW] = vf_fnma(vf_exp(vf_min(vf_set1(88.0F), log_p)), log_p, sum[i / VW]);
                *largest = vf_max(vf_abs(s), *largest); /* skips NaNs; lanes beyond the queries hold 0 */
            }
        }
    }
    float each[MAX_QUERIES];
    for (int64_t v = 0; v < lanes / VW; v++)
        vf_store(each + v * VW, sum[v]);
    for (int64_t i = 0; i < queries; i++)
        *entropy += (double)each[i];
}

typedef struct {
    const vt_exec *ex;
    const vt_attention_stats_args *a;
} stats_call;

static void stats_job(void *context, int64_t head, int thread)
{
    const stats_call *call = context;
    const vt_attention_stats_args *a = call->a;
    const int64_t most = attention_block_queries(a->q_tokens, a->kv_tokens), width = round_up_vw(a->head_width);
    stats_buffers b = {.qt = scratch_of(call->ex, thread)};
    b.rows = b.qt + width * most;
    b.scores = b.rows + width * KEY_PIECE;
    vf largest = vf_zero();
    double total = 0;
    for (int64_t sample = 0; sample < a->samples; sample++) {
        double of_sample = 0;
        for (int64_t q0 = 0; q0 < a->q_tokens; q0 += most)
            block_stats(a, sample, head, q0, min_i64(most, a->q_tokens - q0), &b, &of_sample, &largest);
        total += of_sample / (double)a->q_tokens;
    }
    float lanes[VW];
    vf_store(lanes, largest);
    for (int i = 1; i < VW; i++)
        lanes[0] = lanes[i] > lanes[0] ? lanes[i] : lanes[0];
    a->entropy[head] = total / (double)a->samples;
    a->largest[head] = (double)lanes[0];
}

void VT_KERNEL(attention_stats)(const vt_exec *ex, const vt_attention_stats_args *a)
{
    vt_pool_run(ex->pool, a->heads, stats_job, &(stats_call){ex, a});
}
