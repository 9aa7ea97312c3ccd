/* Attention in bf16: a block of queries forward, a head backward.
 *
 * As in attention_f32.c scores lie transposed, row j for key j, and lanes are queries. Products (gemm_bf16.h) take
 * pairs of terms:
 *
 *   S^T = K Q^T,  dP^T = V dY^T        pairs along the head's width: K and V as they lie, Q^T and dY^T packed
 *   Y = P V,  dQ = dS K                pairs along keys: rows j, j+1 of P^T and dS^T become words, V and K are packed
 *   dV += P^T dY,  dK += dS^T Q        pairs along queries: P^T and dS^T in rows, dY and Q packed
 *
 * Sums are float32; what goes on from block to block (dV, dK) is rounded when the head is done. */
#include "kernels/cpu/attention.h"
#include "kernels/cpu/gemm_bf16.h"
#include "kernels/cpu/vmath.h"

/* What one thread works on: a block of queries, and what it keeps from block to block of a head. */
typedef struct {
    int64_t queries, lanes;  /* queries of this block; rounded up to VW: the row length of scores */
    int64_t width;           /* of a head, rounded up to VW: the row length of what has `width` columns */
    uint32_t *qt, *dyt;      /* packed Q^T, dY^T */
    uint32_t *q, *dy;        /* packed Q, dY */
    float *rows;             /* y or dq before they are rounded: (lanes, width) */
    uint32_t *kv;            /* packed V (forward), K (backward) of the head */
    float *dk, *dv;          /* (kv_tokens, width) */
    float *scores, *dscores; /* (kv_tokens, lanes) */
    uint16_t *p, *ds;        /* the same, rounded */
    uint32_t *pairs;         /* p (forward), ds (backward) in pairs of keys: (ceil(kv_tokens / 2), lanes) */
} block;

static block block_over(float *scratch, int64_t keys, int64_t head_width, int64_t most)
{
    const int64_t width = round_up_vw(head_width), key_pairs = ceil_div(keys, 2);
    uint32_t *words = (uint32_t *)(void *)scratch;
    block b = {.width = width, .qt = words};
    b.dyt = b.qt + width / 2 * most;
    b.q = b.dyt + width / 2 * most;
    b.dy = b.q + width * most / 2;
    b.rows = (float *)(void *)(b.dy + width * most / 2);
    b.kv = (uint32_t *)(void *)(b.rows + width * most);
    b.scores = (float *)(void *)(b.kv + width * key_pairs);
    b.pairs = (uint32_t *)(void *)(b.scores + keys * most);
    b.dscores = (float *)(void *)(b.pairs + key_pairs * most);
    b.p = (uint16_t *)(void *)(b.dscores + keys * most);
    b.ds = b.p + 2 * key_pairs * most;
    b.dk = (float *)(void *)(b.ds + 2 * key_pairs * most);
    b.dv = b.dk + width * keys;
    return b;
}

int64_t attention_scratch_bf16(int64_t keys, int64_t head_width, int64_t scores)
{
    const int64_t width = round_up_vw(head_width), half_scores = scores / 2 + MAX_QUERIES;
    return 3 * width * MAX_QUERIES + width * (ceil_div(keys, 2) + 2 * keys) + 2 * scores + 3 * half_scores;
}

/* Down the lanes at st, scores (not yet scaled) become exp(s - max), rounded and in pairs of keys. Returns the sum
 * before rounding and the maximum. */
static vf softmax_lanes(const float *st, int64_t ld, int64_t keys, vf scale, uint32_t *pairs, vf *max)
{
    vf sum[CHAINS];
    for (int c = 0; c < CHAINS; c++)
        sum[c] = vf_zero();
    *max = vf_mul(attention_max(st, ld, keys), scale);
    const vf below = vf_sub(vf_zero(), *max);
    int64_t j = 0;
    for (; j + CHAINS <= keys; j += CHAINS) {
        vf e[CHAINS];
        VT_UNROLL
        for (int c = 0; c < CHAINS; c++) {
            e[c] = vf_exp(vf_fma(vf_load(st + (j + c) * ld), scale, below));
            sum[c] = vf_add(sum[c], e[c]);
        }
        VT_UNROLL
        for (int c = 0; c < CHAINS; c += 2)
            vb_store(pairs + (j + c) / 2 * ld, vb_pair(e[c], e[c + 1]));
    }
    for (; j < keys; j += 2) {
        const vf even = vf_exp(vf_fma(vf_load(st + j * ld), scale, below));
        const vf odd = j + 1 < keys ? vf_exp(vf_fma(vf_load(st + (j + 1) * ld), scale, below)) : vf_zero();
        sum[0] = vf_add(sum[0], even);
        sum[1] = vf_add(sum[1], odd);
        vb_store(pairs + j / 2 * ld, vb_pair(even, odd));
    }
    return vf_add(vf_add(sum[0], sum[2]), vf_add(sum[1], sum[3]));
}

/* y[r*ld + c] = bf16(factor[r] * x[r*width + c]) for n columns; factor NULL: 1. */
static void store_rows(const float *x, int64_t width, const float *factor, int64_t rows, int64_t n, uint16_t *y,
                       int64_t ld)
{
    for (int64_t r = 0; r < rows; r++) {
        const vf f = vf_set1(factor ? factor[r] : 1.0F);
        int64_t c = 0;
        for (; c + VW <= n; c += VW)
            vf_store_bf16(y + r * ld + c, vf_mul(vf_load(x + r * width + c), f));
        if (c < n)
            vf_store_bf16_n(y + r * ld + c, (int)(n - c), vf_mul(vf_load_n(x + r * width + c, (int)(n - c)), f));
    }
}

void attention_forward_bf16(const attention_plan *p, int64_t sample, int64_t head, int64_t q0, float *scratch)
{
    const vt_attention_fwd_args *a = p->fwd;
    const int64_t width = a->head_width, keys = a->kv_tokens, y_row = a->heads * width;
    const uint16_t *q = (const uint16_t *)a->q + sample * a->q_sample_stride + head * width + q0 * a->q_row_stride;
    const uint16_t *k = (const uint16_t *)a->k + sample * a->kv_sample_stride + head * width;
    const uint16_t *v = (const uint16_t *)a->v + sample * a->kv_sample_stride + head * width;
    uint16_t *y = (uint16_t *)a->y + (sample * a->q_tokens + q0) * y_row + head * width;
    float *lse = a->lse + (sample * a->heads + head) * a->q_tokens + q0;

    block b = block_over(scratch, keys, width, p->block_queries);
    b.queries = min_i64(p->block_queries, a->q_tokens - q0);
    b.lanes = round_up_vw(b.queries);
    gemm_bf16_pack_rows(v, VT_BF16, a->kv_row_stride, keys, width, b.kv);
    gemm_bf16_pack_cols(q, VT_BF16, a->q_row_stride, width, b.queries, b.qt);
    gemm_bf16(&(gemm_bf16_args){.m = keys,
                                .n = b.lanes,
                                .k = width,
                                .a = k,
                                .lda = a->kv_row_stride,
                                .b = b.qt,
                                .c = b.scores,
                                .ldc = b.lanes});
    float factor[MAX_QUERIES];
    for (int64_t i = 0; i < b.lanes; i += VW) {
        vf max, sum = softmax_lanes(b.scores + i, b.lanes, keys, vf_set1(p->scale), b.pairs + i, &max);
        vf_store(factor + i, vf_div(vf_set1(1.0F), sum));
        vf_store_n(lse + i, (int)min_i64(VW, b.queries - i), vf_add(max, vf_log(sum)));
    }
    gemm_bf16(&(gemm_bf16_args){.m = b.queries,
                                .n = width,
                                .k = keys,
                                .a = b.pairs,
                                .lda = b.lanes,
                                .a_paired = 1,
                                .b = b.kv,
                                .c = b.rows,
                                .ldc = b.width});
    store_rows(b.rows, b.width, factor, b.queries, width, y, y_row);
}

/* What turns scores into gradients, in VW queries. */
typedef struct {
    vf scale, minus_lse, dot;
} lane_terms;

/* P^T = exp(S^T - lse) and dS^T = P^T (dP^T - D) / sqrt(head width) at one place; returns the latter. */
VT_INLINE vf score_gradient(const block *b, int64_t at, const lane_terms *t)
{
    const vf s = vf_fma(vf_load(b->scores + at), t->scale, t->minus_lse);
    const vf prob = vf_exp(vf_min(vf_set1(88.0F), s));
    const vf ds = vf_mul(vf_mul(prob, t->scale), vf_sub(vf_load(b->dscores + at), t->dot));
    vf_store_bf16(b->p + at, prob);
    vf_store_bf16(b->ds + at, ds);
    return ds;
}

/* The gradients of all scores of a block, whose rows of dy and y lie at element y_at. */
static void score_gradients(const attention_plan *p, const block *b, const float *lse, int64_t y_at)
{
    const vt_attention_bwd_args *a = p->bwd;
    const int64_t row = a->heads * a->head_width, keys = a->kv_tokens;
    for (int64_t i = 0; i < b->lanes; i += VW) {
        const int64_t count = min_i64(VW, b->queries - i);
        const lane_terms t = {vf_set1(p->scale), vf_sub(vf_zero(), vf_load_n(lse + i, (int)count)),
                              attention_row_dots(a->dy, a->y, VT_BF16, y_at + i * row, row, count, a->head_width)};
        for (int64_t j = 0; j < keys; j += 2) {
            const vf even = score_gradient(b, j * b->lanes + i, &t);
            const vf odd = j + 1 < keys ? score_gradient(b, (j + 1) * b->lanes + i, &t) : vf_zero();
            vb_store(b->pairs + j / 2 * b->lanes + i, vb_pair(even, odd));
        }
    }
}

static void backward_block(const attention_plan *p, int64_t sample, int64_t head, int64_t q0, block *b)
{
    const vt_attention_bwd_args *a = p->bwd;
    const int64_t width = a->head_width, keys = a->kv_tokens, y_row = a->heads * width;
    const uint16_t *q = (const uint16_t *)a->q + sample * a->q_sample_stride + head * width + q0 * a->q_row_stride;
    const uint16_t *k = (const uint16_t *)a->k + sample * a->kv_sample_stride + head * width;
    const uint16_t *v = (const uint16_t *)a->v + sample * a->kv_sample_stride + head * width;
    const int64_t y_at = (sample * a->q_tokens + q0) * y_row + head * width;
    const uint16_t *dy = (const uint16_t *)a->dy + y_at;
    uint16_t *dq = (uint16_t *)a->dq + (sample * a->q_tokens + q0) * a->dq_row_stride + head * width;

    b->queries = min_i64(p->block_queries, a->q_tokens - q0);
    b->lanes = round_up_vw(b->queries);
    gemm_bf16_pack_cols(q, VT_BF16, a->q_row_stride, width, b->queries, b->qt);
    gemm_bf16_pack_cols(dy, VT_BF16, y_row, width, b->queries, b->dyt);
    gemm_bf16_pack_rows(q, VT_BF16, a->q_row_stride, b->queries, width, b->q);
    gemm_bf16_pack_rows(dy, VT_BF16, y_row, b->queries, width, b->dy);
    gemm_bf16_args g = {.m = keys, .n = b->lanes, .k = width, .lda = a->kv_row_stride, .ldc = b->lanes};
    g.a = k, g.b = b->qt, g.c = b->scores;
    gemm_bf16(&g);
    g.a = v, g.b = b->dyt, g.c = b->dscores;
    gemm_bf16(&g);
    score_gradients(p, b, a->lse + (sample * a->heads + head) * a->q_tokens + q0, y_at);

    gemm_bf16_args sums = {.m = keys, .n = width, .k = b->queries, .lda = b->lanes, .ldc = b->width};
    sums.start = q0 > 0 ? GEMM_ADD : GEMM_ZERO;
    sums.a = b->p, sums.b = b->dy, sums.c = b->dv;
    gemm_bf16(&sums);
    sums.a = b->ds, sums.b = b->q, sums.c = b->dk;
    gemm_bf16(&sums);
    gemm_bf16(&(gemm_bf16_args){.m = b->queries,
                                .n = width,
                                .k = keys,
                                .a = b->pairs,
                                .lda = b->lanes,
                                .a_paired = 1,
                                .b = b->kv,
                                .c = b->rows,
                                .ldc = b->width});
    store_rows(b->rows, b->width, NULL, b->queries, width, dq, a->dq_row_stride);
}

void attention_backward_bf16(const attention_plan *p, int64_t sample, int64_t head, float *scratch)
{
    const vt_attention_bwd_args *a = p->bwd;
    const int64_t width = a->head_width, keys = a->kv_tokens;
    const uint16_t *k = (const uint16_t *)a->k + sample * a->kv_sample_stride + head * width;
    const int64_t at = sample * keys * a->dkv_row_stride + head * width;
    block b = block_over(scratch, keys, width, p->block_queries);
    gemm_bf16_pack_rows(k, VT_BF16, a->kv_row_stride, keys, width, b.kv);
    for (int64_t q0 = 0; q0 < a->q_tokens; q0 += p->block_queries)
        backward_block(p, sample, head, q0, &b);
    store_rows(b.dk, b.width, NULL, keys, width, (uint16_t *)a->dk + at, a->dkv_row_stride);
    store_rows(b.dv, b.width, NULL, keys, width, (uint16_t *)a->dv + at, a->dkv_row_stride);
}
