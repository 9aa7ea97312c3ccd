/* Multi-head attention, forward and backward (kernels/ops.h): the jobs. What a job computes is in attention_f32.c and
 * attention_bf16.c. */
#include <stdbool.h>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/gemm.h"

#define JOB_WORK   400000 /* multiply-adds that are worth a job of their own */
#define FEW_TOKENS 64     /* up to here the next head is prefetched */

int64_t VT_FOR_ISA(vt_cpu_attention_scratch)(const vt_limits *limits)
{
    const int64_t tokens = limits->tokens, width = limits->head_width;
    const int64_t most = max_i64(VW, min_i64(MAX_QUERIES, SCORES / max_i64(1, tokens) / VW * VW));
    /* A layer with fewer keys may take larger blocks; their scores are then at most SCORES. */
    const int64_t scores = max_i64(tokens * most, min_i64(tokens * MAX_QUERIES, SCORES));
    return max_i64(attention_scratch_f32(tokens, width, scores), attention_scratch_bf16(tokens, width, scores));
}

/* Rows of one sample, all heads: element 0 is first[at]. */
typedef struct {
    const void *first;
    int64_t at, ld, rows;
} sample_rows;

/* Asks for part `head` of `heads` of the next sample's rows: heads lie side by side in long rows, a pattern that
 * processors do not foresee, and with few tokens waiting for memory would take longer than the work. */
static void prefetch_part(const sample_rows *next, int n, vt_real type, int64_t width, int64_t heads, int64_t head)
{
    const int64_t bytes = type == VT_BF16 ? 2 : 4, floats = heads * width * bytes / 4;
    for (int i = 0; i < n; i++) {
        const int64_t end = part_begin(next[i].rows, heads, head + 1);
        for (int64_t r = part_begin(next[i].rows, heads, head); r < end; r++)
            prefetch_row(real_at(next[i].first, type, next[i].at + r * next[i].ld), floats);
    }
}

static bool few_tokens(int64_t q_tokens, int64_t kv_tokens)
{
    return q_tokens <= FEW_TOKENS && kv_tokens <= FEW_TOKENS;
}

static void forward_job(void *context, int64_t job, int thread)
{
    const attention_plan *p = context;
    const vt_attention_fwd_args *a = p->fwd;
    attention_forward_fn *forward = a->type == VT_BF16 ? attention_forward_bf16 : attention_forward_f32;
    float *scratch = scratch_of(p->ex, thread);
    const int64_t end = min_i64(p->items, (job + 1) * p->items_per_job);
    for (int64_t item = job * p->items_per_job; item < end; item++) {
        const int64_t pair = item / p->blocks, sample = pair / a->heads, head = pair % a->heads, next = sample + 1;
        if (few_tokens(a->q_tokens, a->kv_tokens) && next < a->samples) {
            const sample_rows rows[] = {{a->q, next * a->q_sample_stride, a->q_row_stride, a->q_tokens},
                                        {a->k, next * a->kv_sample_stride, a->kv_row_stride, a->kv_tokens},
                                        {a->v, next * a->kv_sample_stride, a->kv_row_stride, a->kv_tokens}};
            prefetch_part(rows, 3, a->type, a->head_width, a->heads, head);
        }
        forward(p, sample, head, item % p->blocks * p->block_queries, scratch);
    }
}

void VT_KERNEL(attention_fwd)(const vt_exec *ex, const vt_attention_fwd_args *a)
{
    attention_plan p = {.ex = ex, .fwd = a, .scale = attention_scale(a->head_width)};
    p.block_queries = attention_block_queries(a->q_tokens, a->kv_tokens);
    p.blocks = ceil_div(a->q_tokens, p.block_queries);
    p.items = a->samples * a->heads * p.blocks;
    p.items_per_job = max_i64(1, JOB_WORK / (2 * p.block_queries * a->kv_tokens * a->head_width));
    vt_pool_run(ex->pool, ceil_div(p.items, p.items_per_job), forward_job, &p);
}

static void backward_job(void *context, int64_t job, int thread)
{
    const attention_plan *p = context;
    const vt_attention_bwd_args *a = p->bwd;
    attention_backward_fn *backward = a->type == VT_BF16 ? attention_backward_bf16 : attention_backward_f32;
    float *scratch = scratch_of(p->ex, thread);
    const int64_t end = min_i64(p->items, (job + 1) * p->items_per_job);
    for (int64_t pair = job * p->items_per_job; pair < end; pair++) {
        const int64_t sample = pair / a->heads, head = pair % a->heads, next = sample + 1;
        if (few_tokens(a->q_tokens, a->kv_tokens) && next < a->samples) {
            const int64_t y_row = a->heads * a->head_width, y_at = next * a->q_tokens * y_row;
            const sample_rows rows[] = {{a->q, next * a->q_sample_stride, a->q_row_stride, a->q_tokens},
                                        {a->k, next * a->kv_sample_stride, a->kv_row_stride, a->kv_tokens},
                                        {a->v, next * a->kv_sample_stride, a->kv_row_stride, a->kv_tokens},
                                        {a->y, y_at, y_row, a->q_tokens},
                                        {a->dy, y_at, y_row, a->q_tokens}};
            prefetch_part(rows, 5, a->type, a->head_width, a->heads, head);
        }
        backward(p, sample, head, scratch);
    }
}

void VT_KERNEL(attention_bwd)(const vt_exec *ex, const vt_attention_bwd_args *a)
{
    attention_plan p = {.ex = ex, .bwd = a, .scale = attention_scale(a->head_width)};
    p.block_queries = attention_block_queries(a->q_tokens, a->kv_tokens);
    p.items = a->samples * a->heads;
    p.items_per_job = max_i64(1, JOB_WORK / (5 * round_up_vw(a->q_tokens) * a->kv_tokens * a->head_width));
    vt_pool_run(ex->pool, ceil_div(p.items, p.items_per_job), backward_job, &p);
}
