/* The product of matrices in cache (gemm.h): tiles of it in registers, and the packing of its right operand.
 *
 * A tile takes one vector load for each of its columns and one broadcast for each of its rows per step of k, and does
 * rows * columns vf_fma with them. b is read along rows of the packed panel, one line behind the other; a is read where
 * it lies, along its rows or down its columns. */
#include "kernels/cpu/gemm.h"

#include <string.h>

#define MOST_ROWS 16 /* of any tile */

typedef struct {
    const float *a, *b, *bias;
    float *c;
    int64_t k, lda, ldb, ldc;
    int add;        /* 1: go on from c */
    int last_lanes; /* of the last vector of a row, 1 .. VW */
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

/* rows, vecs and a_transposed are constants wherever this is inlined, so that acc lies in registers. */
VT_INLINE void tile(int rows, int vecs, int a_transposed, const tile_args *t)
{
    vf acc[MOST_ROWS][TILE_VECS];
    tile_begin(rows, vecs, t, acc);
    const float *a = t->a, *b = t->b;
    const int64_t lda = t->lda, ldb = t->ldb;
    for (int64_t p = t->k; p > 0; p--) {
        vf row[TILE_VECS];
        VT_UNROLL
        for (int j = 0; j < vecs; j++)
            row[j] = vf_load(b + j * VW);
        VT_UNROLL
        for (int i = 0; i < rows; i++) {
            vf x = vf_set1(a_transposed ? a[i] : a[i * lda]);
            VT_UNROLL
            for (int j = 0; j < vecs; j++)
                acc[i][j] = vf_fma(x, row[j], acc[i][j]);
        }
        if (a_transposed) { /* then both operands go down long rows, which processors do not foresee */
            vf_prefetch(a + PREFETCH_ROWS * lda);
            VT_UNROLL
            for (int j = 0; j < vecs; j += CACHE_LINE / VW)
                vf_prefetch(b + PREFETCH_ROWS * ldb + j * VW);
        }
        a += a_transposed ? lda : 1;
        b += ldb;
    }
    tile_end(rows, vecs, t, acc);
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

/* One function for each: tile_RxV (a along rows) and tile_t_RxV (a transposed). */
#define TILE(r, v)                                                                                                     \
    static void tile_##r##x##v(const tile_args *t)                                                                     \
    {                                                                                                                  \
        tile(r, v, 0, t);                                                                                              \
    }                                                                                                                  \
    static void tile_t_##r##x##v(const tile_args *t)                                                                   \
    {                                                                                                                  \
        tile(r, v, 1, t);                                                                                              \
    }
TILES(TILE)

typedef void tile_fn(const tile_args *t);

#define ENTRY(r, v)   [v - 1][r - 1] = tile_##r##x##v,
#define ENTRY_T(r, v) [v - 1][r - 1] = tile_t_##r##x##v,

static tile_fn *const tiles[2][TILE_VECS][MOST_ROWS] = {{TILES(ENTRY)}, {TILES(ENTRY_T)}};

void gemm(const gemm_args *g)
{
    const int64_t vecs = ceil_div(g->n, VW), n_tiles = ceil_div(vecs, TILE_VECS);
    const int64_t groups = ceil_div(g->m, most_rows[ceil_div(vecs, n_tiles) - 1]);
    const int tail = (int)(g->n - (vecs - 1) * VW);
    for (int64_t group = 0; group < groups; group++) {
        const int64_t i = part_begin(g->m, groups, group), rows = part_begin(g->m, groups, group + 1) - i;
        for (int64_t t = 0; t < n_tiles; t++) {
            const int64_t v0 = part_begin(vecs, n_tiles, t), v1 = part_begin(vecs, n_tiles, t + 1);
            const tile_args args = {
                .a = g->a + (g->a_transposed ? i : i * g->lda),
                .b = g->b + v0 * VW * (g->ldb ? 1 : g->k),
                .bias = g->bias ? g->bias + v0 * VW : NULL,
                .c = g->c + i * g->ldc + v0 * VW,
                .k = g->k,
                .lda = g->lda,
                .ldb = g->ldb ? g->ldb : (v1 - v0) * VW,
                .ldc = g->ldc,
                .add = g->start == GEMM_ADD,
                .last_lanes = v1 == vecs ? tail : VW,
            };
            tiles[g->a_transposed][v1 - v0 - 1][rows - 1](&args);
        }
    }
}

void gemm_pack_rows(const float *b, int64_t ldb, int64_t k, int64_t n, float *packed)
{
    const int64_t vecs = ceil_div(n, VW), n_tiles = ceil_div(vecs, TILE_VECS);
    for (int64_t t = 0; t < n_tiles; t++) {
        int64_t v0 = part_begin(vecs, n_tiles, t), v1 = part_begin(vecs, n_tiles, t + 1);
        for (int64_t p = 0; p < k; p++) {
            const float *from = b + p * ldb;
            if (p + PREFETCH_ROWS < k)
                prefetch_row(from + PREFETCH_ROWS * ldb + v0 * VW, (v1 - v0) * VW);
            for (int64_t v = v0; v < v1; v++, packed += VW) {
                int64_t left = n - v * VW;
                vf_store(packed, left >= VW ? vf_load(from + v * VW) : vf_load_n(from + v * VW, (int)left));
            }
        }
    }
}

/* VW rows of b, VW floats of each, transposed and scaled, to VW rows that lie ld floats apart. */
VT_INLINE void transpose_block(const float *b, int64_t ldb, vf scale, float *packed, int64_t ld)
{
    vf r[VW];
    VT_UNROLL
    for (int j = 0; j < VW; j++)
        r[j] = vf_mul(vf_load(b + j * ldb), scale);
    vf_transpose(r);
    VT_UNROLL
    for (int q = 0; q < VW; q++)
        vf_store(packed + q * ld, r[q]);
}

/* Packs `cols` <= VW columns (rows of b) times k steps into a tile whose rows are ld floats apart. */
static void pack_col_block(const float *b, int64_t ldb, int cols, int64_t k, vf scale, float *packed, int64_t ld)
{
    int64_t p = 0;
    for (; cols == VW && p + VW <= k; p += VW)
        transpose_block(b + p, ldb, scale, packed + p * ld, ld);
    for (; p < k; p += VW) {
        const int depth = (int)min_i64(VW, k - p);
        float square[VW * VW] = {0};
        for (int j = 0; j < cols; j++)
            vf_store(square + j * VW, vf_load_n(b + j * ldb + p, depth));
        float transposed[VW * VW];
        transpose_block(square, VW, scale, transposed, VW);
        for (int q = 0; q < depth; q++)
            vf_store(packed + (p + q) * ld, vf_load(transposed + q * VW));
    }
}

void gemm_pack_cols(const float *b, int64_t ldb, int64_t k, int64_t n, float scale, float *packed)
{
    const int64_t vecs = ceil_div(n, VW), n_tiles = ceil_div(vecs, TILE_VECS);
    for (int64_t t = 0; t < n_tiles; t++) {
        int64_t v0 = part_begin(vecs, n_tiles, t), v1 = part_begin(vecs, n_tiles, t + 1), ld = (v1 - v0) * VW;
        for (int64_t v = v0; v < v1; v++) {
            int cols = (int)min_i64(VW, n - v * VW);
            pack_col_block(b + v * VW * ldb, ldb, cols, k, vf_set1(scale), packed + (v - v0) * VW, ld);
        }
        packed += k * ld;
    }
}
