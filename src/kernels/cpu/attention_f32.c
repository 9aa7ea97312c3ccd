/* Attention in float32: a block of queries forward, a head backward.
 *
 * Everything is computed transposed: row j of a score block belongs to key j, column i to query i, so that the softmax
 * of a query runs down a lane. Maxima and sums over keys are then ordinary vector operations, keys need no padding, and
 * one exponential serves VW queries. Products (gemm.h):
 *
 *   S^T = K Q^T           Q^T packed, scaled by 1/sqrt(head width); K broadcast where it lies
 *   Y^T = V^T P^T         then divided by the softmax sums and transposed back
 *   dP^T = V dY^T         dS^T = P^T (dP^T - D) / sqrt(head width)
 *   dV += P^T dY,  dK += dS^T Q,  dQ = dS K       chains over queries go on from block to block
 *
 * A block's scores (kv_tokens x at most MAX_QUERIES floats) stay in cache. */
#include "kernels/cpu/attention.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/vmath.h"

/* What one thread works on in a block of queries. */
typedef struct {
    int64_t queries, lanes;  /* queries of this block; rounded up to VW: the row length of scores */
    float *qt;               /* packed Q^T, then (forward) Y^T: (head_width, lanes) */
    float *dyt;              /* packed dY^T */
    float *scores, *dscores; /* (kv_tokens, lanes) */
    float *rows;             /* rows of q, dy or k, padded to VW */
} block;

static block block_over(float *scratch, int64_t kv_tokens, int64_t head_width, int64_t most)
{
    const int64_t width = round_up_vw(head_width);
    block b = {.qt = scratch};
    b.dyt = b.qt + width * most;
    b.rows = b.dyt + width * most;
    b.scores = b.rows + width * max_i64(KEY_PIECE, most);
    b.dscores = b.scores + kv_tokens * most;
    return b;
}

int64_t attention_scratch_f32(int64_t keys, int64_t head_width, int64_t scores)
{
    (void)keys;
    return round_up_vw(head_width) * (2 * MAX_QUERIES + max_i64(KEY_PIECE, MAX_QUERIES)) + 2 * scores;
}

/* Runs the softmax down the lanes at st: scores become exp(s - max). Returns their sum and the maximum. */
static vf softmax_lanes(float *st, int64_t ld, int64_t keys, vf *max)
{
    vf sum[CHAINS];
    for (int c = 0; c < CHAINS; c++)
        sum[c] = vf_zero();
    *max = attention_max(st, ld, keys);
    int64_t j = 0;
    for (; j + CHAINS <= keys; j += CHAINS) {
        for (int c = 0; c < CHAINS; c++) {
            float *s = st + (j + c) * ld;
            vf e = vf_exp(vf_sub(vf_load(s), *max));
            vf_store(s, e);
            sum[c] = vf_add(sum[c], e);
        }
    }
    for (; j < keys; j++) {
        vf e = vf_exp(vf_sub(vf_load(st + j * ld), *max));
        vf_store(st + j * ld, e);
        sum[0] = vf_add(sum[0], e);
    }
    return vf_add(vf_add(sum[0], sum[2]), vf_add(sum[1], sum[3]));
}

/* y[i*ld + k] = yt[k*lanes + i] * factor[i] for VW queries, of which `count` exist, and `depth` <= VW values of k. */
static void store_transposed(const float *yt, int64_t lanes, int64_t count, int64_t depth, vf factor, float *y,
                             int64_t ld)
{
    vf r[VW];
    if (count == VW && depth == VW) {
        VT_UNROLL
        for (int i = 0; i < VW; i++)
            r[i] = vf_mul(vf_load(yt + i * lanes), factor);
        vf_transpose(r);
        VT_UNROLL
        for (int i = 0; i < VW; i++)
            vf_store(y + i * ld, r[i]);
        return;
    }
    for (int64_t i = 0; i < VW; i++)
        r[i] = i < depth ? vf_mul(vf_load(yt + i * lanes), factor) : vf_zero();
    vf_transpose(r);
    for (int64_t i = 0; i < count; i++)
        vf_store_n(y + i * ld, (int)depth, r[i]);
}

void attention_forward_f32(const attention_plan *p, int64_t sample, int64_t head, int64_t q0, float *scratch)
{
    const vt_attention_fwd_args *a = p->fwd;
    const int64_t width = a->head_width, keys = a->kv_tokens;
    block block_memory = block_over(scratch, keys, width, p->block_queries), *b = &block_memory;
    const float *q = (const float *)a->q + sample * a->q_sample_stride + head * width + q0 * a->q_row_stride;
    const float *k = (const float *)a->k + sample * a->kv_sample_stride + head * width;
    const float *v = (const float *)a->v + sample * a->kv_sample_stride + head * width;
    const int64_t y_row = a->heads * width;
    float *y = (float *)a->y + (sample * a->q_tokens + q0) * y_row + head * width;
    float *lse = a->lse + (sample * a->heads + head) * a->q_tokens + q0;

    b->queries = min_i64(p->block_queries, a->q_tokens - q0);
    b->lanes = round_up_vw(b->queries);
    gemm_pack_cols(q, a->q_row_stride, width, b->queries, p->scale, b->qt);
    gemm(&(gemm_args){.m = keys,
                      .n = b->lanes,
                      .k = width,
                      .a = k,
                      .lda = a->kv_row_stride,
                      .b = b->qt,
                      .c = b->scores,
                      .ldc = b->lanes});
    vf factor[MAX_QUERIES / VW];
    for (int64_t i = 0; i < b->lanes; i += VW) {
        vf max, sum = softmax_lanes(b->scores + i, b->lanes, keys, &max);
        factor[i / VW] = vf_div(vf_set1(1.0F), sum);
        vf_store_n(lse + i, (int)min_i64(VW, b->queries - i), vf_add(max, vf_log(sum)));
    }
    gemm(&(gemm_args){.m = width,
                      .n = b->lanes,
                      .k = keys,
                      .a = v,
                      .lda = a->kv_row_stride,
                      .a_transposed = 1,
                      .b = b->scores,
                      .ldb = b->lanes,
                      .c = b->qt,
                      .ldc = b->lanes});
    for (int64_t i = 0; i < b->lanes; i += VW) {
        for (int64_t c = 0; c < width; c += VW)
            store_transposed(b->qt + c * b->lanes + i, b->lanes, min_i64(VW, b->queries - i), min_i64(VW, width - c),
                             factor[i / VW], y + i * y_row + c, y_row);
    }
}

/* b of a product with n = width: rows where they lie if whole vectors may be read there, else a packed copy. */
static void set_rows(gemm_args *g, const float *rows, int64_t ld, float *packed)
{
    g->b = rows;
    g->ldb = ld;
    if (g->n % VW != 0) {
        gemm_pack_rows(rows, ld, g->k, g->n, packed);
        g->b = packed;
        g->ldb = 0;
    }
}

/* st: S^T becomes P^T = exp(S^T - lse); dst: dP^T becomes dS^T. */
static void score_gradients(const attention_plan *p, const block *b, const float *lse, const float *dy, const float *y)
{
    const vt_attention_bwd_args *a = p->bwd;
    const int64_t row = a->heads * a->head_width;
    const vf scale = vf_set1(p->scale);
    for (int64_t i = 0; i < b->lanes; i += VW) {
        const int64_t count = min_i64(VW, b->queries - i);
        const vf log_sum = vf_load_n(lse + i, (int)count);
        const vf dot = attention_row_dots(dy, y, VT_F32, i * row, row, count, a->head_width);
        float *st = b->scores + i, *dst = b->dscores + i;
        for (int64_t j = 0; j < a->kv_tokens; j++, st += b->lanes, dst += b->lanes) {
            vf prob = vf_exp(vf_min(vf_set1(88.0F), vf_sub(vf_load(st), log_sum)));
            vf_store(st, prob);
            vf_store(dst, vf_mul(vf_mul(prob, scale), vf_sub(vf_load(dst), dot)));
        }
    }
}

/* dq of a block of queries: dS K, the chain over keys. */
static void query_gradient(const vt_attention_bwd_args *a, const block *b, const float *k, float *dq)
{
    const int64_t piece = a->head_width % VW == 0 ? a->kv_tokens : KEY_PIECE;
    for (int64_t j = 0; j < a->kv_tokens; j += piece) {
        gemm_args g = {.m = b->queries,
                       .n = a->head_width,
                       .k = min_i64(piece, a->kv_tokens - j),
                       .a = b->dscores + j * b->lanes,
                       .lda = b->lanes,
                       .a_transposed = 1,
                       .c = dq,
                       .ldc = a->dq_row_stride,
                       .start = j > 0 ? GEMM_ADD : GEMM_ZERO};
        set_rows(&g, k + j * a->kv_row_stride, a->kv_row_stride, b->rows);
        gemm(&g);
    }
}

static void backward_block(const attention_plan *p, int64_t sample, int64_t head, int64_t q0, block *b)
{
    const vt_attention_bwd_args *a = p->bwd;
    const int64_t width = a->head_width, keys = a->kv_tokens, y_row = a->heads * width;
    const float *q = (const float *)a->q + sample * a->q_sample_stride + head * width + q0 * a->q_row_stride;
    const float *k = (const float *)a->k + sample * a->kv_sample_stride + head * width;
    const float *v = (const float *)a->v + sample * a->kv_sample_stride + head * width;
    const int64_t y_at = (sample * a->q_tokens + q0) * y_row + head * width;
    const float *y = (const float *)a->y + y_at, *dy = (const float *)a->dy + y_at;
    const float *lse = a->lse + (sample * a->heads + head) * a->q_tokens + q0;
    float *dk = (float *)a->dk + sample * keys * a->dkv_row_stride + head * width;
    float *dv = (float *)a->dv + sample * keys * a->dkv_row_stride + head * width;
    float *dq = (float *)a->dq + (sample * a->q_tokens + q0) * a->dq_row_stride + head * width;

    b->queries = min_i64(p->block_queries, a->q_tokens - q0);
    b->lanes = round_up_vw(b->queries);
    gemm_pack_cols(q, a->q_row_stride, width, b->queries, p->scale, b->qt);
    gemm_pack_cols(dy, y_row, width, b->queries, 1.0F, b->dyt);
    gemm_args g = {.m = keys, .n = b->lanes, .k = width, .lda = a->kv_row_stride, .ldc = b->lanes};
    g.a = k;
    g.b = b->qt;
    g.c = b->scores;
    gemm(&g);
    g.a = v;
    g.b = b->dyt;
    g.c = b->dscores;
    gemm(&g);
    score_gradients(p, b, lse, dy, y);

    gemm_args rows = {.m = keys, .n = width, .k = b->queries, .lda = b->lanes, .ldc = a->dkv_row_stride};
    rows.start = q0 > 0 ? GEMM_ADD : GEMM_ZERO;
    rows.a = b->scores;
    rows.c = dv;
    set_rows(&rows, dy, y_row, b->rows);
    gemm(&rows);
    rows.a = b->dscores;
    rows.c = dk;
    set_rows(&rows, q, a->q_row_stride, b->rows);
    gemm(&rows);
    query_gradient(a, b, k, dq);
}

void attention_backward_f32(const attention_plan *p, int64_t sample, int64_t head, float *scratch)
{
    const vt_attention_bwd_args *a = p->bwd;
    block b = block_over(scratch, a->kv_tokens, a->head_width, p->block_queries);
    for (int64_t q0 = 0; q0 < a->q_tokens; q0 += p->block_queries)
        backward_block(p, sample, head, q0, &b);
}
