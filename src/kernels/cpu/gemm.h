/* Products of matrices that lie in cache: the core under linear layers and attention.
 *
 *   c[i,j] = c0[i,j] + sum_p a(i,p) b(p,j),   i < m, j < n, p < k
 *
 * Each output is one chain of vf_fma over p = 0, 1, 2, ..., so its bits depend on k alone: neither on how rows and
 * columns are cut into tiles, nor on whether the chain was interrupted and went on from c in memory. */
#ifndef VT_KERNELS_CPU_GEMM_H
#define VT_KERNELS_CPU_GEMM_H

#include <stdint.h>

#include "kernels/cpu/kernel.h"

/* A tile of the product in registers: at most TILE_ROWS rows of TILE_VECS vectors, or more rows of fewer vectors
 * (gemm.c): so many that additions of latency 4 keep the multipliers busy, and operands still find a register. */
#if VT_VEC_BITS == 512
#define TILE_ROWS 6
#define TILE_VECS 4
#elif VT_VEC_BITS == 256
#define TILE_ROWS 6
#define TILE_VECS 2
#else
#define TILE_ROWS 4
#define TILE_VECS 2
#endif
#define TILE_COLS (TILE_VECS * VW)

/* Where the chains start. */
typedef enum {
    GEMM_ZERO, /* from 0, or from bias[j] when bias is given */
    GEMM_ADD   /* from what c holds */
} gemm_start;

typedef struct {
    int64_t m, n, k;
    /* a(i,p) lies at a[i*lda + p], or at a[p*lda + i] when a_transposed. */
    const float *a;
    int64_t lda;
    int a_transposed;
    /* b(p,j) lies at b[p*ldb + j], and columns up to the next multiple of VW may be read; or b was packed (ldb = 0). */
    const float *b;
    int64_t ldb;
    float *c; /* c[i*ldc + j]; only columns below n are touched */
    int64_t ldc;
    gemm_start start;
    const float *bias; /* n floats or NULL */
} gemm_args;

#define gemm VT_FOR_ISA(vt_cpu_gemm)
void gemm(const gemm_args *g);

/* Packing cuts n columns into tiles of at most TILE_VECS vectors, each k rows one behind the other; columns beyond n
 * are zero. The packed form takes k * ceil(n/VW)*VW floats. */
VT_INLINE int64_t round_up_vw(int64_t n)
{
    return ceil_div(n, VW) * VW;
}

/* From b(p,j) = b[p*ldb + j]. */
#define gemm_pack_rows VT_FOR_ISA(vt_cpu_gemm_pack_rows)
void gemm_pack_rows(const float *b, int64_t ldb, int64_t k, int64_t n, float *packed);

/* From b(p,j) = scale * b[j*ldb + p]. */
#define gemm_pack_cols VT_FOR_ISA(vt_cpu_gemm_pack_cols)
void gemm_pack_cols(const float *b, int64_t ldb, int64_t k, int64_t n, float scale, float *packed);

#endif
