/* What products of float32 (gemm.c) and of bf16 (gemm_bf16.c) share: where a tile's sums begin and go to, the sizes of
 * tiles, and how a product is cut into them. Operands are 32-bit words to this file: floats, or pairs of bf16. */
#ifndef VT_KERNELS_CPU_GEMM_TILE_H
#define VT_KERNELS_CPU_GEMM_TILE_H

#include "kernels/cpu/gemm.h"

#define MOST_ROWS 16 /* of any tile */
#define WORD      4  /* bytes */

typedef struct {
    const unsigned char *a, *b; /* words */
    const float *bias;
    float *c;
    int64_t k, ldb, ldc; /* in words */
    int64_t a_row;       /* bytes from one row of a to the next */
    int64_t a_step;      /* and from one step of k to the next */
    int64_t a_next;      /* bytes from a row of a to one that is wanted soon, or 0 */
    int tail;            /* a last step has half a word of a */
    int add;             /* 1: go on from c */
    int last_lanes;      /* of the last vector of a row, 1 .. VW */
} tile_args;

/* The last vector of a row, which may be narrower. */
VT_INLINE vf load_last(const float *p, int lanes)
{
    return lanes == VW ? vf_load(p) : vf_load_n(p, lanes);
}

VT_INLINE void store_last(float *p, int lanes, vf v)
{
    if (lanes == VW)
        vf_store(p, v);
    else
        vf_store_n(p, lanes, v);
}

VT_INLINE void tile_begin(int rows, int vecs, const tile_args *t, vf acc[MOST_ROWS][TILE_VECS])
{
    const int last = vecs - 1;
    VT_UNROLL
    for (int i = 0; i < rows; i++) { /* these lines will be stored to */
        VT_UNROLL
        for (int j = 0; j < vecs; j += CACHE_LINE / VW)
            vf_prefetch(t->c + i * t->ldc + j * VW);
    }
    if (t->add) {
        VT_UNROLL
        for (int i = 0; i < rows; i++) {
            VT_UNROLL
            for (int j = 0; j < last; j++)
                acc[i][j] = vf_load(t->c + i * t->ldc + j * VW);
            acc[i][last] = load_last(t->c + i * t->ldc + last * VW, t->last_lanes);
        }
    } else if (t->bias) {
        VT_UNROLL
        for (int i = 0; i < rows; i++) {
            VT_UNROLL
            for (int j = 0; j < last; j++)
                acc[i][j] = vf_load(t->bias + j * VW);
            acc[i][last] = load_last(t->bias + last * VW, t->last_lanes);
        }
    } else {
        VT_UNROLL
        for (int i = 0; i < rows; i++) {
            VT_UNROLL
            for (int j = 0; j < vecs; j++)
                acc[i][j] = vf_zero();
        }
    }
}

VT_INLINE void tile_end(int rows, int vecs, const tile_args *t, vf acc[MOST_ROWS][TILE_VECS])
{
    const int last = vecs - 1;
    VT_UNROLL
    for (int i = 0; i < rows; i++) {
        VT_UNROLL
        for (int j = 0; j < last; j++)
            vf_store(t->c + i * t->ldc + j * VW, acc[i][j]);
        store_last(t->c + i * t->ldc + last * VW, t->last_lanes, acc[i][last]);
    }
}

/* The sizes of tiles: X(rows, vectors), all numbers of rows up to the most for 1, 2, ... vectors. */
#define ROWS_4(X, v)  X(1, v) X(2, v) X(3, v) X(4, v)
#define ROWS_6(X, v)  ROWS_4(X, v) X(5, v) X(6, v)
#define ROWS_8(X, v)  ROWS_6(X, v) X(7, v) X(8, v)
#define ROWS_12(X, v) ROWS_8(X, v) X(9, v) X(10, v) X(11, v) X(12, v)
#define ROWS_16(X, v) ROWS_12(X, v) X(13, v) X(14, v) X(15, v) X(16, v)
#if VT_VEC_BITS == 512
#define TILES(X) ROWS_16(X, 1) ROWS_8(X, 2) ROWS_8(X, 3) ROWS_6(X, 4)
static const int most_rows[TILE_VECS] = {16, 8, 8, 6};
#elif VT_VEC_BITS == 256
#define TILES(X) ROWS_12(X, 1) ROWS_6(X, 2)
static const int most_rows[TILE_VECS] = {12, 6};
#else
#define TILES(X) ROWS_8(X, 1) ROWS_4(X, 2)
static const int most_rows[TILE_VECS] = {8, 4};
#endif

typedef void tile_fn(const tile_args *t);

/* Runs the tiles of a product of which `whole` has all but last_lanes, and ldb = 0 when b is packed. */
VT_INLINE void run_tiles(const tile_args *whole, int64_t m, int64_t n, tile_fn *const tiles[TILE_VECS][MOST_ROWS])
{
    const int64_t vecs = ceil_div(n, VW), n_tiles = ceil_div(vecs, TILE_VECS), steps = whole->k + whole->tail;
    const int64_t groups = ceil_div(m, most_rows[ceil_div(vecs, n_tiles) - 1]);
    const int tail = (int)(n - (vecs - 1) * VW);
    for (int64_t group = 0; group < groups; group++) {
        const int64_t i = part_begin(m, groups, group), rows = part_begin(m, groups, group + 1) - i;
        for (int64_t t = 0; t < n_tiles; t++) {
            const int64_t v0 = part_begin(vecs, n_tiles, t), v1 = part_begin(vecs, n_tiles, t + 1);
            tile_args args = *whole;
            args.a += i * whole->a_row;
            args.b += v0 * VW * (whole->ldb ? 1 : steps) * WORD;
            args.bias = whole->bias ? whole->bias + v0 * VW : NULL;
            args.c += i * whole->ldc + v0 * VW;
            args.ldb = whole->ldb ? whole->ldb : (v1 - v0) * VW;
            args.last_lanes = v1 == vecs ? tail : VW;
            tiles[v1 - v0 - 1][rows - 1](&args);
        }
    }
}

#endif
