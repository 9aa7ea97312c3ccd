/* Gradients of a linear layer's weights and bias (kernels/ops.h): sums over all rows of a batch, cut into slices.
 *
 * A slice's sum is a chain over its rows, element by element, so the work can be cut in two ways with the same result:
 *
 *   large dw: a job is a tile of dw. It takes one slice after the other and adds them up by the tree while the tile is
 * in cache; dw in memory is touched once. small dw: a job is a slice, with all of dw. Then dy and x are read once only,
 * which is what takes time there. The slices' sums lie in scratch memory that all threads share (thread 0's) and are
 * added up in a second pass.
 *
 * Float32 dy and x are read in place; copying them into line first came to the same speed. For a product of bf16 the
 * rows of each piece of them are first put together in pairs, in scratch memory. */
#include <assert.h>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_bf16.h"
#include "kernels/cpu/kernel.h"

#define PIECE_ROWS   256 /* rows of dy and x that a product takes at a time: they pass through the second-level cache */
#define PIECE_FLOATS 65536
#define MOST_OUT     192 /* the largest tile, in rows and columns of dw */
#define MOST_IN      256
#define LEAST_OUT    12
#define LEAST_IN     64
#define LEAST_JOBS   8
#define BIAS_CHAINS  4    /* row r of a slice goes into chain r mod 4 of a bias sum */
#define TREE_FLOATS  256  /* elements of dw whose slices are added up at a time */
#define TREE_JOB     4096 /* in a job: a multiple of that */

typedef struct {
    const vt_exec *ex;
    const vt_linear_dw_args *a;
    int64_t out_blocks, in_blocks; /* large dw: tiles down and across */
    float *slice_sums;             /* small dw: (slices, out * in + out), dw then dbias */
    int64_t slice_floats;          /* out * in + out */
} dw_plan;

/* A tile of dw: rows o0 .. o1, columns i0 .. i1. */
typedef struct {
    int64_t o0, o1, i0, i1;
} dw_tile;

/* sum(o1-o0, i1-i0) = or += a tile's product over rows p0 .. p1. */
static void add_piece_f32(const vt_linear_dw_args *a, const dw_tile *t, int64_t p0, int64_t p1, gemm_start start,
                          float *piece, float *sum)
{
    gemm_args g = {.m = t->o1 - t->o0,
                   .n = t->i1 - t->i0,
                   .k = p1 - p0,
                   .a = (const float *)a->dy + p0 * a->out + t->o0,
                   .lda = a->out,
                   .a_transposed = 1,
                   .b = (const float *)a->x + p0 * a->in + t->i0,
                   .ldb = a->in,
                   .c = sum,
                   .ldc = t->i1 - t->i0,
                   .start = start};
    if (a->in % VW != 0) { /* a row's last vector must not be read beyond it */
        gemm_pack_rows(g.b, g.ldb, g.k, g.n, piece);
        g.b = piece;
        g.ldb = 0;
    }
    gemm(&g);
}

static void prefetch_bf16(const uint16_t *row, int64_t cols)
{
    for (int64_t c = 0; c < cols; c += 2 * CACHE_LINE)
        vb_prefetch_l2(row + c);
}

static void add_piece_bf16(const vt_linear_dw_args *a, const dw_tile *t, int64_t p0, int64_t p1, gemm_start start,
                           float *piece, float *sum)
{
    const int64_t outs = t->o1 - t->o0, ins = t->i1 - t->i0, ldp = round_up_vw(outs);
    uint32_t *dy = (uint32_t *)(void *)piece, *x = dy + ceil_div(p1 - p0, 2) * ldp;
    gemm_bf16_pair_rows((const uint16_t *)a->dy + p0 * a->out + t->o0, VT_BF16, a->out, p1 - p0, outs, dy, ldp);
    gemm_bf16_pack_rows((const uint16_t *)a->x + p0 * a->in + t->i0, VT_BF16, a->in, p1 - p0, ins, x);
    /* A few rows of the tile at a time, between which a share of the next piece is brought near. */
    const int64_t parts = ceil_div(outs, TILE_ROWS), next = min_i64(p1 - p0, a->samples * a->tokens - p1);
    for (int64_t q = 0; q < parts; q++) {
        const int64_t o = part_begin(outs, parts, q);
        for (int64_t r = p1 + part_begin(next, parts, q); r < p1 + part_begin(next, parts, q + 1); r++) {
            prefetch_bf16((const uint16_t *)a->dy + r * a->out + t->o0, outs);
            prefetch_bf16((const uint16_t *)a->x + r * a->in + t->i0, ins);
        }
        gemm_bf16(&(gemm_bf16_args){.m = part_begin(outs, parts, q + 1) - o,
                                    .n = ins,
                                    .k = p1 - p0,
                                    .a = dy + o,
                                    .lda = ldp,
                                    .a_paired = 1,
                                    .b = x,
                                    .c = sum + o * ins,
                                    .ldc = ins,
                                    .start = start});
    }
}

/* sum(o1-o0, i1-i0) = a tile's product over the rows of one slice. piece: PIECE_FLOATS. */
static void sum_products(const vt_linear_dw_args *a, const dw_tile *t, int64_t r0, int64_t r1, float *piece, float *sum)
{
    const int64_t pairs = ceil_div(r1 - r0, 2), pieces = max_i64(1, ceil_div(r1 - r0, PIECE_ROWS));
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t p0 = r0 + 2 * part_begin(pairs, pieces, p);
        const int64_t p1 = min_i64(r1, r0 + 2 * part_begin(pairs, pieces, p + 1));
        const gemm_start start = p > 0 ? GEMM_ADD : GEMM_ZERO;
        if (a->type == VT_BF16)
            add_piece_bf16(a, t, p0, p1, start, piece, sum);
        else
            add_piece_f32(a, t, p0, p1, start, piece, sum);
    }
}

/* sum(o1-o0) = columns of dy added up over the rows of one slice. */
static void sum_columns(const vt_linear_dw_args *a, const dw_tile *t, int64_t r0, int64_t r1, float *sum)
{
    for (int64_t o = t->o0; o < t->o1; o += VW) {
        const int64_t at = r0 * a->out + o;
        const int lanes = (int)min_i64(VW, t->o1 - o);
        vf chain[BIAS_CHAINS] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
        int64_t r = 0;
        for (; lanes == VW && r + BIAS_CHAINS <= r1 - r0; r += BIAS_CHAINS) {
            for (int c = 0; c < BIAS_CHAINS; c++)
                chain[c] = vf_add(chain[c], load_real(a->dy, a->type, at + (r + c) * a->out, VW));
        }
        for (; r < r1 - r0; r++) {
            const vf dy = load_real(a->dy, a->type, at + r * a->out, lanes);
            chain[r % BIAS_CHAINS] = vf_add(chain[r % BIAS_CHAINS], dy);
        }
        vf total = vf_add(vf_add(chain[0], chain[2]), vf_add(chain[1], chain[3]));
        vf_store_n(sum + (o - t->o0), lanes, total);
    }
}

static int64_t slice_row(const vt_linear_dw_args *a, int64_t slice)
{
    return part_begin(a->samples, a->slices, slice) * a->tokens;
}

/* Rows of sums into elements at, at + ld, ... of dw or dbias. */
static void write_result(const vt_linear_dw_args *a, void *to, int64_t at, int64_t ld, const float *from, int64_t rows,
                         int64_t cols)
{
    for (int64_t r = 0; r < rows; r++, at += ld, from += cols) {
        for (int64_t j = 0; j < cols; j += VW) {
            const int lanes = (int)min_i64(VW, cols - j);
            const vf sum = load_real(from, VT_F32, j, lanes);
            const int add = a->accumulate;
            store_real(to, a->grad_type, at + j, lanes,
                       add ? vf_add(load_real(to, a->grad_type, at + j, lanes), sum) : sum);
        }
    }
}

static void tile_job(void *context, int64_t job, int thread)
{
    const dw_plan *p = context;
    const vt_linear_dw_args *a = p->a;
    const int64_t out_block = job / p->in_blocks, in_block = job % p->in_blocks;
    const int64_t out_tiles = ceil_div(a->out, TILE_ROWS), in_tiles = ceil_div(a->in, TILE_COLS);
    const dw_tile t = {
        .o0 = part_begin(out_tiles, p->out_blocks, out_block) * TILE_ROWS,
        .o1 = min_i64(a->out, part_begin(out_tiles, p->out_blocks, out_block + 1) * TILE_ROWS),
        .i0 = part_begin(in_tiles, p->in_blocks, in_block) * TILE_COLS,
        .i1 = min_i64(a->in, part_begin(in_tiles, p->in_blocks, in_block + 1) * TILE_COLS),
    };
    const int64_t outs = t.o1 - t.o0, ins = t.i1 - t.i0;
    const int has_bias = t.i0 == 0 && a->dbias;
    float *piece = scratch_of(p->ex, thread), *bias_buffers = piece + PIECE_FLOATS;
    slice_tree bias_sums = tree_over(bias_buffers, outs, a->slices);
    slice_tree sums = tree_over(bias_buffers + (TREE_LEVELS + 1) * MOST_OUT, outs * ins, a->slices);
    for (int s = 0; s < a->slices; s++) {
        sum_products(a, &t, slice_row(a, s), slice_row(a, s + 1), piece, sums.free);
        tree_push(&sums, a->slices);
        if (has_bias) {
            sum_columns(a, &t, slice_row(a, s), slice_row(a, s + 1), bias_sums.free);
            tree_push(&bias_sums, a->slices);
        }
    }
    write_result(a, a->dw, t.o0 * a->in + t.i0, a->in, sums.free, outs, ins);
    if (has_bias)
        write_result(a, a->dbias, t.o0, outs, bias_sums.free, 1, outs);
}

static void slice_job(void *context, int64_t slice, int thread)
{
    const dw_plan *p = context;
    const vt_linear_dw_args *a = p->a;
    const dw_tile all = {.o1 = a->out, .i1 = a->in};
    float *sum = p->slice_sums + slice * p->slice_floats;
    sum_products(a, &all, slice_row(a, slice), slice_row(a, slice + 1), scratch_of(p->ex, thread), sum);
    if (a->dbias)
        sum_columns(a, &all, slice_row(a, slice), slice_row(a, slice + 1), sum + a->out * a->in);
}

/* Elements at .. at+n of dw or dbias: the tree over slices of what lies at `offset` in each slice's sums; n <=
 * TREE_FLOATS. */
static void add_slices(const dw_plan *p, int64_t offset, int64_t n, void *to, int64_t at)
{
    float buffers[(TREE_LEVELS + 1) * TREE_FLOATS];
    slice_tree t = tree_over(buffers, n, p->a->slices);
    for (int s = 0; s < p->a->slices; s++) {
        memcpy(t.free, p->slice_sums + s * p->slice_floats + offset, (size_t)n * sizeof *t.free);
        tree_push(&t, p->a->slices);
    }
    write_result(p->a, to, at, n, t.free, 1, n);
}

static void tree_job(void *context, int64_t job, int thread)
{
    const dw_plan *p = context;
    (void)thread;
    const int64_t dw_floats = p->a->out * p->a->in, end = min_i64(dw_floats, (job + 1) * TREE_JOB);
    for (int64_t i = job * TREE_JOB; i < end; i += TREE_FLOATS)
        add_slices(p, i, min_i64(TREE_FLOATS, end - i), p->a->dw, i);
    if (job > 0 || p->a->dbias == NULL)
        return;
    for (int64_t o = 0; o < p->a->out; o += TREE_FLOATS)
        add_slices(p, dw_floats + o, min_i64(TREE_FLOATS, p->a->out - o), p->a->dbias, o);
}

/* The largest tile that leaves jobs enough, since that reads dy and x the fewest times. */
static void choose_tile(const vt_linear_dw_args *a, dw_plan *p)
{
    int64_t least = INT64_MAX;
    for (int64_t outs = MOST_OUT; outs >= LEAST_OUT; outs /= 2) {
        for (int64_t ins = MOST_IN; ins >= LEAST_IN; ins /= 2) {
            const int64_t out_blocks = ceil_div(a->out, outs), in_blocks = ceil_div(a->in, ins);
            const int64_t traffic = a->out * in_blocks + a->in * out_blocks;
            const int smallest = outs / 2 < LEAST_OUT && ins / 2 < LEAST_IN;
            if (traffic < least && (out_blocks * in_blocks >= LEAST_JOBS || (smallest && least == INT64_MAX))) {
                least = traffic;
                p->out_blocks = out_blocks;
                p->in_blocks = in_blocks;
            }
        }
    }
}

/* Whether one piece of all of dy and x fits where pieces are put together. */
static int pieces_fit(const vt_linear_dw_args *a)
{
    if (a->type == VT_BF16)
        return PIECE_ROWS / 2 * (round_up_vw(a->out) + round_up_vw(a->in)) <= PIECE_FLOATS;
    return a->in <= MOST_IN || a->in % VW == 0;
}

void VT_KERNEL(linear_dw)(const vt_exec *ex, const vt_linear_dw_args *a)
{
    assert(!a->accumulate || a->grad_type == VT_F32);
    dw_plan p = {.ex = ex, .a = a, .slice_floats = a->out * a->in + a->out};
    const int64_t spare = (int64_t)(ex->scratch_bytes / sizeof(float)) - PIECE_FLOATS;
    if (a->slices >= LEAST_JOBS && a->slices * p.slice_floats <= spare && pieces_fit(a)) {
        p.slice_sums = scratch_of(ex, 0) + PIECE_FLOATS;
        vt_pool_run(ex->pool, a->slices, slice_job, &p);
        vt_pool_run(ex->pool, ceil_div(a->out * a->in, TREE_JOB), tree_job, &p);
        return;
    }
    choose_tile(a, &p);
    vt_pool_run(ex->pool, p.out_blocks * p.in_blocks, tile_job, &p);
}

int64_t VT_FOR_ISA(vt_cpu_linear_dw_scratch)(const vt_limits *limits)
{
    return PIECE_FLOATS + (TREE_LEVELS + 1) * MOST_OUT + tree_buffers(limits->slices) * MOST_OUT * MOST_IN;
}
