/* What the files of this folder share: names that carry the instruction set, slices of samples, and sums over them.
 *
 * Every file is compiled once for each instruction set, with VT_ISA=avx512bf16, avx512, avx2 or portable; a function
 * that crosses files gets that as a suffix, so the libraries can be linked together. */
#ifndef VT_KERNELS_CPU_KERNEL_H
#define VT_KERNELS_CPU_KERNEL_H

#include <stdint.h>

#include "base/attr.h"
#include "kernels/bf16.h"
#include "kernels/cpu/vec.h"
#include "kernels/ops.h"

#define VT_JOIN_(a, b)   a##_##b
#define VT_JOIN(a, b)    VT_JOIN_(a, b)
#define VT_FOR_ISA(name) VT_JOIN(name, VT_ISA)

/* vt_cpu_linear_fwd_avx512, ... */
#define VT_KERNEL(op) VT_FOR_ISA(vt_cpu_##op)

#define X(op) void VT_KERNEL(op)(const vt_exec *ex, const vt_##op##_args *a);
VT_OPS(X)
#undef X

/* Floats of scratch memory that one thread needs, by file. */
int64_t VT_FOR_ISA(vt_cpu_linear_scratch)(const vt_limits *limits);
int64_t VT_FOR_ISA(vt_cpu_linear_dw_scratch)(const vt_limits *limits);
int64_t VT_FOR_ISA(vt_cpu_attention_scratch)(const vt_limits *limits);
int64_t VT_FOR_ISA(vt_cpu_norm_scratch)(const vt_limits *limits);
int64_t VT_FOR_ISA(vt_cpu_sums_scratch)(const vt_limits *limits);
int64_t VT_FOR_ISA(vt_cpu_loss_scratch)(const vt_limits *limits);
int64_t VT_FOR_ISA(vt_cpu_update_scratch)(const vt_limits *limits);

VT_INLINE float *scratch_of(const vt_exec *ex, int thread)
{
    return (float *)(void *)(ex->scratch + (size_t)thread * ex->scratch_bytes);
}

#define CACHE_LINE 16 /* floats */
#define PREFETCH_ROWS                                                                                                  \
    8 /* how far ahead rows of a wide matrix are asked for: processors foresee no jumps between pages */

/* Asks for a row's columns. */
VT_INLINE void prefetch_row(const float *row, int64_t cols)
{
    for (int64_t c = 0; c < cols; c += CACHE_LINE)
        vf_prefetch(row + c);
}

/* Elements i .. i+n-1 (n <= VW) of a tensor of that type, zero in the other lanes; and back. With constant arguments,
 * as in a loop over whole vectors, this is one instruction or two. */
VT_INLINE vf load_real(const void *p, vt_real type, int64_t i, int n)
{
    if (type == VT_F32)
        return n == VW ? vf_load((const float *)p + i) : vf_load_n((const float *)p + i, n);
    return n == VW ? vf_load_bf16((const uint16_t *)p + i) : vf_load_bf16_n((const uint16_t *)p + i, n);
}

VT_INLINE void store_real(void *p, vt_real type, int64_t i, int n, vf v)
{
    if (type == VT_F32 && n == VW)
        vf_store((float *)p + i, v);
    else if (type == VT_F32)
        vf_store_n((float *)p + i, n, v);
    else if (n == VW)
        vf_store_bf16((uint16_t *)p + i, v);
    else
        vf_store_bf16_n((uint16_t *)p + i, n, v);
}

/* The sum of what vd_add_squares has gathered, lane by lane. */
VT_INLINE double sum_lanes(const vd sum[2])
{
    double lanes[VW], total = 0;
    memcpy(lanes, sum, sizeof lanes);
    for (int l = 0; l < VW; l++)
        total += lanes[l];
    return total;
}

/* Element i of a sum over samples becomes old + sum if accumulate, else sum. */
VT_INLINE void put_sum(void *to, vt_real type, int64_t i, float sum, int accumulate)
{
    if (type == VT_F32) {
        float *x = (float *)to + i;
        *x = accumulate ? *x + sum : sum;
    } else {
        uint16_t *x = (uint16_t *)to + i;
        *x = vt_bf16_from_f32(accumulate ? vt_bf16_to_f32(*x) + sum : sum);
    }
}

/* sum[j] = sum over rows of x[r*ld + j] for each of the columns, row after row. */
VT_INLINE void sum_rows(const float *x, int64_t ld, int64_t rows, int64_t cols, float *sum)
{
    for (int64_t j = 0; j < cols; j += VW) {
        const int lanes = (int)(cols - j < VW ? cols - j : VW);
        vf total = vf_zero();
        if (lanes == VW) {
            for (int64_t r = 0; r < rows; r++)
                total = vf_add(total, vf_load(x + r * ld + j));
        } else {
            for (int64_t r = 0; r < rows; r++)
                total = vf_add(total, vf_load_n(x + r * ld + j, lanes));
        }
        vf_store_n(sum + j, lanes, total);
    }
}

/* The first n lanes, zero in the others. */
VT_INLINE vf first_lanes(vf v, int n)
{
    if (n == VW)
        return v;
    float lanes[VW] = {0};
    vf_store_n(lanes, n, v);
    return vf_load(lanes);
}

VT_INLINE int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

VT_INLINE int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

VT_INLINE int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* Part i of n when `total` things are cut into n nearly equal parts begins here; part n begins at the end. */
VT_INLINE int64_t part_begin(int64_t total, int64_t n, int64_t i)
{
    return i * total / n;
}

/* Partial sums of slices on their way through the balanced binary tree, in the manner of a binary counter: level l
 * holds the sum of 2^l slices while bit l of the number of slices done is set. Buffers are `width` floats each. */
#define TREE_LEVELS 6 /* log2(VT_MAX_SLICES) */
typedef struct {
    float *level[TREE_LEVELS];
    float *free; /* where the next slice's sum goes; after the last slice, the total */
    int64_t width;
    int done;
} slice_tree;

/* Buffers that a tree over this many slices needs. */
VT_INLINE int tree_buffers(int64_t slices)
{
    int n = 1;
    while (slices > 1) {
        slices /= 2;
        n++;
    }
    return n;
}

/* An empty tree over buffers that lie behind one another, `width` floats each. */
VT_INLINE slice_tree tree_over(float *buffers, int64_t width, int64_t slices)
{
    slice_tree t = {.free = buffers, .width = width};
    int n = tree_buffers(slices);
    for (int l = 0; l + 1 < n; l++)
        t.level[l] = buffers + (l + 1) * width;
    return t;
}

/* Takes in the sum of one slice, which lies in t->free; `width` may be any part of the buffer that is in use. */
VT_INLINE void tree_push(slice_tree *t, int slices)
{
    float *sum = t->free;
    int l = 0;
    for (; t->done >> l & 1; l++) {
        for (int64_t i = 0; i < t->width; i++)
            sum[i] = t->level[l][i] + sum[i];
    }
    t->done++;
    if (t->done == slices)
        return;
    t->free = t->level[l];
    t->level[l] = sum;
}

#endif
