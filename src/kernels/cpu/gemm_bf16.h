/* Products of bf16 matrices that lie in cache, with float32 sums; gemm.h has the float32 kind.
 *
 *   c[i,j] = c0[i,j] + sum_p a(i,p) b(p,j),   i < m, j < n, p < k
 *
 * Each output is one chain of vf_dot_bf16 over the pairs p = (0,1), (2,3), ..., an odd last term paired with zero, so
 * its bits depend on k alone. A chain may be interrupted at an even p and go on from c in memory. */
#ifndef VT_KERNELS_CPU_GEMM_BF16_H
#define VT_KERNELS_CPU_GEMM_BF16_H

#include "kernels/cpu/gemm.h"

typedef struct {
    int64_t m, n, k; /* k in single terms */
    /* a_paired = 0: uint16_t, a(i,p) at a[i*lda + p]; nothing else is read, k being odd or not. a_paired = 1: uint32_t,
     * the pair of p = 2q and 2q+1 at a[q*lda + i], its odd half zero where there is no such p. */
    const void *a;
    int64_t lda;
    int a_paired;
    int next_rows; /* 1, not paired: the m rows behind these will be wanted next, and are brought near meanwhile */
    /* Pairs likewise at b[q*ldb + j], columns up to the next multiple of VW may be read; or packed (ldb = 0). */
    const uint32_t *b;
    int64_t ldb;
    float *c; /* c[i*ldc + j]; only columns below n are touched */
    int64_t ldc;
    gemm_start start;
    const float *bias; /* n floats or NULL */
} gemm_bf16_args;

#define gemm_bf16 VT_FOR_ISA(vt_cpu_gemm_bf16)
void gemm_bf16(const gemm_bf16_args *g);

/* The packed form has the tiles of gemm.h, each ceil(k/2) rows of pairs; all that is beyond k or n is zero. It takes
 * ceil(k/2) * ceil(n/VW)*VW words. Float32 numbers are rounded on the way. */

/* From b(p,j) = b[p*ldb + j]. */
#define gemm_bf16_pack_rows VT_FOR_ISA(vt_cpu_gemm_bf16_pack_rows)
void gemm_bf16_pack_rows(const void *b, vt_real type, int64_t ldb, int64_t k, int64_t n, uint32_t *packed);

/* From b(p,j) = b[j*ldb + p]. */
#define gemm_bf16_pack_cols VT_FOR_ISA(vt_cpu_gemm_bf16_pack_cols)
void gemm_bf16_pack_cols(const void *b, vt_real type, int64_t ldb, int64_t k, int64_t n, uint32_t *packed);

/* Pairs of rows of a(p,i) = a[p*lda + i], i < m, for the paired form of a: pairs[q*ldp + i]. Whole vectors are written,
 * so ldp is at least m rounded up to VW. */
#define gemm_bf16_pair_rows VT_FOR_ISA(vt_cpu_gemm_bf16_pair_rows)
void gemm_bf16_pair_rows(const void *a, vt_real type, int64_t lda, int64_t k, int64_t m, uint32_t *pairs, int64_t ldp);

#endif
