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
typedef void attention_forward_fn(const attention_plan *p, int64_t sample, int64_t head, int64_t q0, float *scratch);
typedef void attention_backward_fn(const attention_plan *p, int64_t sample, int64_t head, float *scratch);
#define attention_forward_f32   VT_FOR_ISA(vt_cpu_attention_forward_f32)
#define attention_forward_bf16  VT_FOR_ISA(vt_cpu_attention_forward_bf16)
#define attention_backward_f32  VT_FOR_ISA(vt_cpu_attention_backward_f32)
#define attention_backward_bf16 VT_FOR_ISA(vt_cpu_attention_backward_bf16)
attention_forward_fn attention_forward_f32, attention_forward_bf16;
attention_backward_fn attention_backward_f32, attention_backward_bf16;

/* Floats of scratch memory of one thread for blocks whose scores take at most `scores` floats; keys: most of any call.
 */
#define attention_scratch_f32  VT_FOR_ISA(vt_cpu_attention_scratch_f32)
#define attention_scratch_bf16 VT_FOR_ISA(vt_cpu_attention_scratch_bf16)
int64_t attention_scratch_f32(int64_t keys, int64_t head_width, int64_t scores);
int64_t attention_scratch_bf16(int64_t keys, int64_t head_width, int64_t scores);

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

/* The largest score of each of VW queries. */
VT_INLINE vf attention_max(const float *st, int64_t ld, int64_t keys)
{
    vf top[CHAINS];
    for (int c = 0; c < CHAINS; c++)
        top[c] = vf_load(st);
    int64_t j = 0;
    for (; j + CHAINS <= keys; j += CHAINS) {
        for (int c = 0; c < CHAINS; c++)
            top[c] = vf_max(top[c], vf_load(st + (j + c) * ld));
    }
    for (; j < keys; j++)
        top[0] = vf_max(top[0], vf_load(st + j * ld));
    return vf_max(vf_max(top[0], top[2]), vf_max(top[1], top[3]));
}

/* The sums D_i = dy_i . y_i of VW queries, `count` of which exist; rows lie at element `at`, ld elements apart. */
VT_INLINE vf attention_row_dots(const void *dy, const void *y, vt_real type, int64_t at, int64_t ld, int64_t count,
                                int64_t width)
{
    vf r[VW];
    for (int64_t i = 0; i < VW; i++, at += ld) {
        vf sum = vf_zero();
        int64_t k = 0;
        for (; i < count && k + VW <= width; k += VW)
            sum = vf_fma(load_real(dy, type, at + k, VW), load_real(y, type, at + k, VW), sum);
        if (i < count && k < width) {
            const int lanes = (int)(width - k);
            sum = vf_fma(load_real(dy, type, at + k, lanes), load_real(y, type, at + k, lanes), sum);
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

#endif
