/* The product of bf16 matrices in cache (gemm_bf16.h): tiles of it in registers, and the packing of operands.
 *
 * A step of a tile takes one pair of terms: a vector load of pairs for each of its columns, a broadcast of a pair for
 * each of its rows. Where the instruction is missing, a step goes over its odd terms, then over its even ones, so that
 * as many sums fit the registers as in float32. */
#include "kernels/cpu/gemm_bf16.h"

#include <string.h>

#include "kernels/cpu/gemm_tile.h"

/* One word of a, or the half that an odd k leaves. */
VT_INLINE uint32_t load_word(const unsigned char *p, int bytes)
{
    uint32_t word;
    uint16_t half;
    if (bytes == WORD) {
        memcpy(&word, p, sizeof word);
        return word;
    }
    memcpy(&half, p, sizeof half);
    return half;
}

/* Everything but a, a_row, b and acc is constant where this is inlined. */
VT_INLINE void tile_step(int rows, int vecs, int bytes, const unsigned char *a, int64_t a_row, const uint32_t *b,
                         vf acc[MOST_ROWS][TILE_VECS])
{
#if VT_DOT_BF16
    vb row[TILE_VECS];
    VT_UNROLL
    for (int j = 0; j < vecs; j++)
        row[j] = vb_load(b + j * VW);
    VT_UNROLL
    for (int i = 0; i < rows; i++) {
        const vb x = vb_set1(load_word(a + i * a_row, bytes));
        VT_UNROLL
        for (int j = 0; j < vecs; j++)
            acc[i][j] = vf_dot_bf16(acc[i][j], x, row[j]);
    }
#else
    VT_UNROLL
    for (int half = 0; half < 2; half++) {
        vf row[TILE_VECS];
        VT_UNROLL
        for (int j = 0; j < vecs; j++)
            row[j] = half == 0 ? vb_odd(vb_load(b + j * VW)) : vb_even(vb_load(b + j * VW));
        VT_UNROLL
        for (int i = 0; i < rows; i++) {
            const vb pair = vb_set1(load_word(a + i * a_row, bytes));
            const vf x = half == 0 ? vb_odd(pair) : vb_even(pair);
            VT_UNROLL
            for (int j = 0; j < vecs; j++)
                acc[i][j] = vf_fma(x, row[j], acc[i][j]);
        }
    }
#endif
}

/* rows, vecs and a_paired are constants wherever this is inlined, so that acc lies in registers. */
VT_INLINE void tile(int rows, int vecs, int a_paired, const tile_args *t)
{
    vf acc[MOST_ROWS][TILE_VECS];
    tile_begin(rows, vecs, t, acc);
    const unsigned char *a = t->a;
    const uint32_t *b = (const uint32_t *)(const void *)t->b;
    const int64_t a_row = a_paired ? WORD : t->a_row, a_step = a_paired ? t->a_step : WORD, ldb = t->ldb;
    for (int64_t p = t->k; p > 0; p--) {
        if (!a_paired && p % CACHE_LINE == 0 && t->a_next) {
            VT_UNROLL
            for (int i = 0; i < rows; i++)
                vb_prefetch_l2(a + i * a_row + t->a_next);
        }
        tile_step(rows, vecs, WORD, a, a_row, b, acc);
        a += a_step;
        b += ldb;
    }
    if (t->tail)
        tile_step(rows, vecs, WORD / 2, a, a_row, b, acc);
    tile_end(rows, vecs, t, acc);
}

/* One function for each: tile_RxV (a along rows) and tile_p_RxV (a in pairs of rows). */
#define TILE(r, v)                                                                                                     \
    static void tile_##r##x##v(const tile_args *t)                                                                     \
    {                                                                                                                  \
        tile(r, v, 0, t);                                                                                              \
    }                                                                                                                  \
    static void tile_p_##r##x##v(const tile_args *t)                                                                   \
    {                                                                                                                  \
        tile(r, v, 1, t);                                                                                              \
    }
TILES(TILE)

#define ENTRY(r, v)   [v - 1][r - 1] = tile_##r##x##v,
#define ENTRY_P(r, v) [v - 1][r - 1] = tile_p_##r##x##v,

static tile_fn *const tiles[2][TILE_VECS][MOST_ROWS] = {{TILES(ENTRY)}, {TILES(ENTRY_P)}};

void gemm_bf16(const gemm_bf16_args *g)
{
    const tile_args whole = {
        .a = g->a,
        .b = (const unsigned char *)g->b,
        .bias = g->bias,
        .c = g->c,
        .k = g->a_paired ? ceil_div(g->k, 2) : g->k / 2,
        .ldb = g->ldb,
        .ldc = g->ldc,
        .a_row = g->a_paired ? WORD : g->lda * 2,
        .a_step = g->a_paired ? g->lda * WORD : WORD,
        .a_next = g->next_rows ? g->m * g->lda * 2 : 0,
        .tail = !g->a_paired && g->k % 2,
        .add = g->start == GEMM_ADD,
    };
    run_tiles(&whole, g->m, g->n, tiles[g->a_paired]);
}

/* Pairs of elements i .. i+lanes-1 of two rows; without a second one its numbers are zero. */
VT_INLINE vb pair_of(const void *even, const void *odd, vt_real type, int64_t i, int lanes)
{
    return vb_pair(load_real(even, type, i, lanes), odd ? load_real(odd, type, i, lanes) : vf_zero());
}

/* Row p of a matrix of that type, NULL beyond the last. */
VT_INLINE const void *row_of(const void *b, vt_real type, int64_t ldb, int64_t k, int64_t p)
{
    const size_t bytes = type == VT_BF16 ? sizeof(uint16_t) : sizeof(float);
    return p < k ? (const unsigned char *)b + (size_t)(p * ldb) * bytes : NULL;
}

/* Pairs of columns c0 .. c1 of two rows, the last vector filled up with zeros. */
VT_INLINE void pair_rows(const void *even, const void *odd, vt_real type, int64_t c0, int64_t c1, uint32_t *pairs)
{
    int64_t c = c0;
    for (; type == VT_BF16 && odd && c + 2 * VW <= c1; c += 2 * VW, pairs += 2 * VW) {
        vb lo, hi;
        vb_zip((const uint16_t *)even + c, (const uint16_t *)odd + c, &lo, &hi);
        vb_store(pairs, lo);
        vb_store(pairs + VW, hi);
    }
    for (; c + VW <= c1; c += VW, pairs += VW)
        vb_store(pairs, pair_of(even, odd, type, c, VW));
    if (c < c1)
        vb_store(pairs, pair_of(even, odd, type, c, (int)(c1 - c)));
}

VT_INLINE void pack_rows(const void *b, vt_real type, int64_t ldb, int64_t k, int64_t n, uint32_t *packed)
{
    const int64_t vecs = ceil_div(n, VW), n_tiles = ceil_div(vecs, TILE_VECS);
    for (int64_t t = 0; t < n_tiles; t++) {
        const int64_t v0 = part_begin(vecs, n_tiles, t), v1 = part_begin(vecs, n_tiles, t + 1);
        for (int64_t p = 0; p < k; p += 2, packed += (v1 - v0) * VW)
            pair_rows(row_of(b, type, ldb, k, p), row_of(b, type, ldb, k, p + 1), type, v0 * VW, min_i64(n, v1 * VW),
                      packed);
    }
}

void gemm_bf16_pack_rows(const void *b, vt_real type, int64_t ldb, int64_t k, int64_t n, uint32_t *packed)
{
    if (type == VT_BF16)
        pack_rows(b, VT_BF16, ldb, k, n, packed);
    else
        pack_rows(b, VT_F32, ldb, k, n, packed);
}

void gemm_bf16_pair_rows(const void *a, vt_real type, int64_t lda, int64_t k, int64_t m, uint32_t *pairs, int64_t ldp)
{
    for (int64_t p = 0; p < k; p += 2, pairs += ldp) {
        const void *even = row_of(a, type, lda, k, p), *odd = row_of(a, type, lda, k, p + 1);
        if (type == VT_BF16)
            pair_rows(even, odd, VT_BF16, 0, m, pairs);
        else
            pair_rows(even, odd, VT_F32, 0, m, pairs);
    }
}

/* Numbers i .. i+2VW-1 in line. */
VT_INLINE vb line_of(const void *b, vt_real type, int64_t i)
{
    if (type == VT_BF16)
        return vb_load((const uint16_t *)b + i);
    return vb_line(vf_load((const float *)b + i), vf_load((const float *)b + i + VW));
}

/* The same of `depth` numbers, the others zero. */
VT_INLINE vb short_line_of(const void *b, vt_real type, int64_t i, int depth)
{
    if (type == VT_BF16)
        return vb_load_n((const uint16_t *)b + i, depth);
    uint16_t line[2 * VW] = {0};
    for (int half = 0; half * VW < depth; half++) {
        const int lanes = depth - half * VW < VW ? depth - half * VW : VW;
        vf_store_bf16_n(line + half * VW, lanes, load_real(b, type, i + half * VW, lanes));
    }
    return vb_load(line);
}

/* Packs `cols` <= VW columns (rows of b) times k terms into a tile whose rows are ld words apart. */
VT_INLINE void pack_col_block(const void *b, vt_real type, int64_t ldb, int64_t j0, int cols, int64_t k,
                              uint32_t *packed, int64_t ld)
{
    vb r[VW];
    int64_t p = 0;
    for (; cols == VW && p + 2 * VW <= k; p += 2 * VW) {
        VT_UNROLL
        for (int j = 0; j < VW; j++)
            r[j] = line_of(b, type, (j0 + j) * ldb + p);
        vb_transpose(r);
        VT_UNROLL
        for (int q = 0; q < VW; q++)
            vb_store(packed + (p / 2 + q) * ld, r[q]);
    }
    for (; p < k; p += 2 * VW) {
        const int depth = (int)min_i64(2 * VW, k - p);
        for (int j = 0; j < VW; j++)
            r[j] = j < cols ? short_line_of(b, type, (j0 + j) * ldb + p, depth) : vb_set1(0);
        vb_transpose(r);
        for (int q = 0; 2 * q < depth; q++)
            vb_store(packed + (p / 2 + q) * ld, r[q]);
    }
}

void gemm_bf16_pack_cols(const void *b, vt_real type, int64_t ldb, int64_t k, int64_t n, uint32_t *packed)
{
    const int64_t vecs = ceil_div(n, VW), n_tiles = ceil_div(vecs, TILE_VECS);
    for (int64_t t = 0; t < n_tiles; t++) {
        const int64_t v0 = part_begin(vecs, n_tiles, t), v1 = part_begin(vecs, n_tiles, t + 1), ld = (v1 - v0) * VW;
        for (int64_t v = v0; v < v1; v++) {
            const int cols = (int)min_i64(VW, n - v * VW);
            uint32_t *to = packed + (v - v0) * VW;
            if (type == VT_BF16)
                pack_col_block(b, VT_BF16, ldb, v * VW, cols, k, to, ld);
            else
                pack_col_block(b, VT_F32, ldb, v * VW, cols, k, to, ld);
        }
        packed += ceil_div(k, 2) * ld;
    }
}
