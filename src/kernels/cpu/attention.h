/* What the files of attention share: blocks of queries, and where the rows of a head lie.
 *
 * attention.c cuts a call into jobs; attention_f32.c and attention_bf16.c compute a block of queries of one sample and
 * head, or a whole head backward; attention_stats.c is on its own. */
#ifndef VT_KERNELS_CPU_ATTENTION_H
#define VT_KERNELS_CPU_ATTENTION_H

#include <math.h>

#include "kernels/cpu/kernel.h"

#define MAX_QUERIES 64          /* of a block */
#define SCORES      (64 * 1024) /* floats of scores in a block, unless VW queries need more */
#define KEY_PIECE   128         /* keys that are packed or converted at a time */
#define CHAINS      4           /* row j of scores goes into chain j mod 4 of a sum over keys */

typedef struct {
    const vt_exec *ex;
    const vt_attention_fwd_args *fwd;
    const vt_attention_bwd_args *bwd;
    int64_t block_queries, blocks; /* of one sample and head */
    int64_t items, items_per_job;  /* an item is a block of queries (forward) or a sample and head (backward) */
    float scale;
} attention_plan;

/* Element i of a tensor. */
VT_INLINE const void *real_at(const void *x, vt_real type, int64_t i)
{
    return (const unsigned char *)x + i * (type == VT_BF16 ? 2 : 4);
}

/* One block of queries forward, and one head backward. */
#define attention_forward_f32 VT_FOR_ISA(vt_cpu_attention_forward_f32)
void attention_forward_f32(const attention_plan *p, int64_t sample, int64_t head, int64_t q0, float *scratch);
#define attention_backward_f32 VT_FOR_ISA(vt_cpu_attention_backward_f32)
void attention_backward_f32(const attention_plan *p, int64_t sample, int64_t head, float *scratch);

/* Queries in a block, a multiple of VW. */
VT_INLINE int64_t attention_block_queries(int64_t q_tokens, int64_t kv_tokens)
{
    int64_t fit = SCORES / max_i64(1, kv_tokens) / VW * VW;
    int64_t most = min_i64(MAX_QUERIES, max_i64(VW, fit));
    int64_t vecs = ceil_div(q_tokens, VW), blocks = max_i64(1, ceil_div(vecs, most / VW));
    return max_i64(1, ceil_div(vecs, blocks)) * VW;
}

/* 1 / sqrt(head_width), rounded to float. */
VT_INLINE float attention_scale(int64_t head_width)
{
    return (float)(1.0 / sqrt((double)head_width));
}

#endif
