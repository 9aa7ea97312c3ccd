/* The product of matrices in cache (gemm.h): tiles of it in registers, and the packing of its right operand.
 *
 * A tile takes one vector load for each of its columns and one broadcast for each of its rows per step of k, and does
 * rows * columns vf_fma with them. b is read along rows of the packed panel, one line behind the other; a is read where
 * it lies, along its rows or down its columns. */
#include "kernels/cpu/gemm.h"

#include <string.h>

#include "kernels/cpu/gemm_tile.h"

/* rows, vecs and a_transposed are constants wherever this is inlined, so that acc lies in registers. */
VT_INLINE void tile(int rows, int vecs, int a_transposed, const tile_args *t)
{
    vf acc[MOST_ROWS][TILE_VECS];
    tile_begin(rows, vecs, t, acc);
    const float *a = (const float *)(const void *)t->a, *b = (const float *)(const void *)t->b;
    const int64_t lda = (a_transposed ? t->a_step : t->a_row) / WORD, ldb = t->ldb;
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

#define ENTRY(r, v)   [v - 1][r - 1] = tile_##r##x##v,
#define ENTRY_T(r, v) [v - 1][r - 1] = tile_t_##r##x##v,

static tile_fn *const tiles[2][TILE_VECS][MOST_ROWS] = {{TILES(ENTRY)}, {TILES(ENTRY_T)}};

void gemm(const gemm_args *g)
{
    const int64_t stride = g->lda * WORD;
    const tile_args whole = {
        .a = (const unsigned char *)g->a,
        .b = (const unsigned char *)g->b,
        .bias = g->bias,
        .c = g->c,
        .k = g->k,
        .ldb = g->ldb,
        .ldc = g->ldc,
        .a_row = g->a_transposed ? WORD : stride,
        .a_step = g->a_transposed ? stride : WORD,
        .add = g->start == GEMM_ADD,
    };
    run_tiles(&whole, g->m, g->n, tiles[g->a_transposed]);
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
