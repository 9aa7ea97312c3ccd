/* Multi-head attention, forward and backward (kernels/ops.h), a block of queries at a time.
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
#include <math.h>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/vmath.h"

#define MAX_QUERIES 64          /* of a block */
#define SCORES      (64 * 1024) /* floats of scores in a block, unless VW queries need more */
#define JOB_WORK    400000      /* multiply-adds that are worth a job of their own */
#define KEY_PIECE   128         /* keys packed at a time when a head's width is no multiple of VW */
#define FEW_TOKENS  64          /* up to here the next head is prefetched */
#define CHAINS      4           /* row j of scores goes into chain j mod 4 of a sum over keys */

/* Queries in a block, a multiple of VW. */
static int64_t block_queries(int64_t q_tokens, int64_t kv_tokens)
{
    int64_t fit = SCORES / max_i64(1, kv_tokens) / VW * VW;
    int64_t most = min_i64(MAX_QUERIES, max_i64(VW, fit));
    int64_t vecs = ceil_div(q_tokens, VW), blocks = max_i64(1, ceil_div(vecs, most / VW));
    return max_i64(1, ceil_div(vecs, blocks)) * VW;
}

/* 1 / sqrt(head_width), rounded to float. */
static float score_scale(int64_t head_width)
{
    return (float)(1.0 / sqrt((double)head_width));
}

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

int64_t VT_FOR_ISA(vt_cpu_attention_scratch)(const vt_limits *limits)
{
    const int64_t most = max_i64(VW, min_i64(MAX_QUERIES, SCORES / max_i64(1, limits->tokens) / VW * VW));
    /* A layer with fewer keys may take larger blocks; their scores are then at most SCORES. */
    const int64_t scores = max_i64(limits->tokens * most, min_i64(limits->tokens * MAX_QUERIES, SCORES));
    return round_up_vw(limits->head_width) * (2 * MAX_QUERIES + max_i64(KEY_PIECE, MAX_QUERIES)) + 2 * scores;
}

/* Rows of one sample, all heads. */
typedef struct {
    const float *x;
    int64_t ld, rows;
} sample_rows;

/* Asks for part `head` of `heads` of the next sample's rows: heads lie side by side in long rows, a pattern that
 * processors do not foresee, and with few tokens waiting for memory would take longer than the work. */
static void prefetch_part(const sample_rows *next, int n, int64_t width, int64_t heads, int64_t head)
{
    for (int i = 0; i < n; i++) {
        const int64_t end = part_begin(next[i].rows, heads, head + 1);
        for (int64_t r = part_begin(next[i].rows, heads, head); r < end; r++)
            prefetch_row(next[i].x + r * next[i].ld, heads * width);
    }
}

typedef struct {
    const vt_exec *ex;
    const vt_attention_fwd_args *fwd;
    const vt_attention_bwd_args *bwd;
    int64_t block_queries, blocks; /* of one sample and head */
    int64_t items, items_per_job;  /* an item is a block of queries (forward) or a sample and head (backward) */
    float scale;
} attention_plan;

/* Runs the softmax down the lanes at st: scores become exp(s - max). Returns their sum and the maximum. */
static vf softmax_lanes(float *st, int64_t ld, int64_t keys, vf *max)
{
    vf top[CHAINS], sum[CHAINS];
    for (int c = 0; c < CHAINS; c++) {
        top[c] = vf_load(st);
        sum[c] = vf_zero();
    }
    int64_t j = 0;
    for (; j + CHAINS <= keys; j += CHAINS) {
        for (int c = 0; c < CHAINS; c++)
            top[c] = vf_max(top[c], vf_load(st + (j + c) * ld));
    }
    for (; j < keys; j++)
        top[0] = vf_max(top[0], vf_load(st + j * ld));
    *max = vf_max(vf_max(top[0], top[2]), vf_max(top[1], top[3]));

    for (j = 0; j + CHAINS <= keys; j += CHAINS) {
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

static void forward_block(const attention_plan *p, int64_t sample, int64_t head, int64_t q0, block *b)
{
    const vt_attention_fwd_args *a = p->fwd;
    const int64_t width = a->head_width, keys = a->kv_tokens;
    const float *q = a->q + sample * a->q_sample_stride + head * width + q0 * a->q_row_stride;
    const float *k = a->k + sample * a->kv_sample_stride + head * width;
    const float *v = a->v + sample * a->kv_sample_stride + head * width;
    const int64_t y_row = a->heads * width;
    float *y = a->y + (sample * a->q_tokens + q0) * y_row + head * width;
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

static void forward_job(void *context, int64_t job, int thread)
{
    const attention_plan *p = context;
    const vt_attention_fwd_args *a = p->fwd;
    block b = block_over(scratch_of(p->ex, thread), a->kv_tokens, a->head_width, p->block_queries);
    const int64_t end = min_i64(p->items, (job + 1) * p->items_per_job);
    for (int64_t item = job * p->items_per_job; item < end; item++) {
        const int64_t pair = item / p->blocks, sample = pair / a->heads, head = pair % a->heads;
        if (a->q_tokens <= FEW_TOKENS && a->kv_tokens <= FEW_TOKENS && sample + 1 < a->samples) {
            const int64_t n = sample + 1;
            const sample_rows next[] = {{a->q + n * a->q_sample_stride, a->q_row_stride, a->q_tokens},
                                        {a->k + n * a->kv_sample_stride, a->kv_row_stride, a->kv_tokens},
                                        {a->v + n * a->kv_sample_stride, a->kv_row_stride, a->kv_tokens}};
            prefetch_part(next, 3, a->head_width, a->heads, head);
        }
        forward_block(p, sample, head, item % p->blocks * p->block_queries, &b);
    }
}

void VT_KERNEL(attention_fwd)(const vt_exec *ex, const vt_attention_fwd_args *a)
{
    attention_plan p = {.ex = ex, .fwd = a, .scale = score_scale(a->head_width)};
    p.block_queries = block_queries(a->q_tokens, a->kv_tokens);
    p.blocks = ceil_div(a->q_tokens, p.block_queries);
    p.items = a->samples * a->heads * p.blocks;
    p.items_per_job = max_i64(1, JOB_WORK / (2 * p.block_queries * a->kv_tokens * a->head_width));
    vt_pool_run(ex->pool, ceil_div(p.items, p.items_per_job), forward_job, &p);
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

/* The sums D_i = dy_i . y_i of VW queries, `count` of which exist. */
static vf row_dots(const float *dy, const float *y, int64_t ld, int64_t count, int64_t width)
{
    vf r[VW];
    for (int64_t i = 0; i < VW; i++) {
        vf sum = vf_zero();
        int64_t k = 0;
        for (; i < count && k + VW <= width; k += VW)
            sum = vf_fma(vf_load(dy + i * ld + k), vf_load(y + i * ld + k), sum);
        if (i < count && k < width) {
            int lanes = (int)(width - k);
            sum = vf_fma(vf_load_n(dy + i * ld + k, lanes), vf_load_n(y + i * ld + k, lanes), sum);
        }
        r[i] = sum;
    }
    vf_transpose(r);
    for (int half = VW / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++)
            r[i] = vf_add(r[i], r[i + half]);
    }
    return r[0];
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
        const vf dot = row_dots(dy + i * row, y + i * row, row, count, a->head_width);
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
    const float *q = a->q + sample * a->q_sample_stride + head * width + q0 * a->q_row_stride;
    const float *k = a->k + sample * a->kv_sample_stride + head * width;
    const float *v = a->v + sample * a->kv_sample_stride + head * width;
    const int64_t y_at = (sample * a->q_tokens + q0) * y_row + head * width;
    const float *lse = a->lse + (sample * a->heads + head) * a->q_tokens + q0;
    float *dk = a->dk + sample * keys * a->dkv_row_stride + head * width;
    float *dv = a->dv + sample * keys * a->dkv_row_stride + head * width;
    float *dq = a->dq + (sample * a->q_tokens + q0) * a->dq_row_stride + head * width;

    b->queries = min_i64(p->block_queries, a->q_tokens - q0);
    b->lanes = round_up_vw(b->queries);
    gemm_pack_cols(q, a->q_row_stride, width, b->queries, p->scale, b->qt);
    gemm_pack_cols(a->dy + y_at, y_row, width, b->queries, 1.0F, b->dyt);
    gemm_args g = {.m = keys, .n = b->lanes, .k = width, .lda = a->kv_row_stride, .ldc = b->lanes};
    g.a = k;
    g.b = b->qt;
    g.c = b->scores;
    gemm(&g);
    g.a = v;
    g.b = b->dyt;
    g.c = b->dscores;
    gemm(&g);
    score_gradients(p, b, lse, a->dy + y_at, a->y + y_at);

    gemm_args rows = {.m = keys, .n = width, .k = b->queries, .lda = b->lanes, .ldc = a->dkv_row_stride};
    rows.start = q0 > 0 ? GEMM_ADD : GEMM_ZERO;
    rows.a = b->scores;
    rows.c = dv;
    set_rows(&rows, a->dy + y_at, y_row, b->rows);
    gemm(&rows);
    rows.a = b->dscores;
    rows.c = dk;
    set_rows(&rows, q, a->q_row_stride, b->rows);
    gemm(&rows);
    query_gradient(a, b, k, dq);
}

static void backward_job(void *context, int64_t job, int thread)
{
    const attention_plan *p = context;
    const vt_attention_bwd_args *a = p->bwd;
    block b = block_over(scratch_of(p->ex, thread), a->kv_tokens, a->head_width, p->block_queries);
    const int64_t end = min_i64(p->items, (job + 1) * p->items_per_job);
    for (int64_t pair = job * p->items_per_job; pair < end; pair++) {
        const int64_t sample = pair / a->heads, head = pair % a->heads;
        if (a->q_tokens <= FEW_TOKENS && a->kv_tokens <= FEW_TOKENS && sample + 1 < a->samples) {
            const int64_t n = sample + 1, y_row = a->heads * a->head_width, y_at = n * a->q_tokens * y_row;
            const sample_rows next[] = {{a->q + n * a->q_sample_stride, a->q_row_stride, a->q_tokens},
                                        {a->k + n * a->kv_sample_stride, a->kv_row_stride, a->kv_tokens},
                                        {a->v + n * a->kv_sample_stride, a->kv_row_stride, a->kv_tokens},
                                        {a->y + y_at, y_row, a->q_tokens},
                                        {a->dy + y_at, y_row, a->q_tokens}};
            prefetch_part(next, 5, a->head_width, a->heads, head);
        }
        for (int64_t q0 = 0; q0 < a->q_tokens; q0 += p->block_queries)
            backward_block(p, sample, head, q0, &b);
    }
}

void VT_KERNEL(attention_bwd)(const vt_exec *ex, const vt_attention_bwd_args *a)
{
    attention_plan p = {.ex = ex, .bwd = a, .scale = score_scale(a->head_width)};
    p.block_queries = block_queries(a->q_tokens, a->kv_tokens);
    p.items = a->samples * a->heads;
    p.items_per_job = max_i64(1, JOB_WORK / (5 * round_up_vw(a->q_tokens) * a->kv_tokens * a->head_width));
    vt_pool_run(ex->pool, ceil_div(p.items, p.items_per_job), backward_job, &p);
}
