/* Gradients of a linear layer's weights and bias (kernels/ops.h): sums over all rows of a batch, cut into slices.
 *
 * A slice's sum is a chain over its rows, element by element, so the work can be cut in two ways with the same result:
 *
 *   large dw: a job is a tile of dw. It takes one slice after the other and adds them up by the tree while the tile is
 * in cache; dw in memory is touched once. small dw: a job is a slice, with all of dw. Then dy and x are read once only,
 * which is what takes time there. The slices' sums lie in scratch memory that all threads share (thread 0's) and are
 * added up in a second pass.
 *
 * dy and x are read in place; copying them into line first came to the same speed. */
#include <assert.h>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernel.h"

#define PIECE_ROWS  256 /* rows of dy and x that a product takes at a time: they pass through the second-level cache */
#define MOST_OUT    192 /* the largest tile, in rows and columns of dw */
#define MOST_IN     256
#define LEAST_OUT   12
#define LEAST_IN    64
#define LEAST_JOBS  8
#define BIAS_CHAINS 4    /* row r of a slice goes into chain r mod 4 of a bias sum */
#define TREE_FLOATS 256  /* elements of dw whose slices are added up at a time */
#define TREE_JOB    4096 /* in a job: a multiple of that */

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

/* sum(o1-o0, i1-i0) = a tile's product over the rows of one slice. piece: PIECE_ROWS * MOST_IN floats. */
static void sum_products(const vt_linear_dw_args *a, const dw_tile *t, int64_t r0, int64_t r1, float *piece, float *sum)
{
    const int64_t pieces = max_i64(1, ceil_div(r1 - r0, PIECE_ROWS));
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t first = r0 + part_begin(r1 - r0, pieces, p);
        gemm_args g = {.m = t->o1 - t->o0,
                       .n = t->i1 - t->i0,
                       .k = r0 + part_begin(r1 - r0, pieces, p + 1) - first,
                       .a = (const float *)a->dy + first * a->out + t->o0,
                       .lda = a->out,
                       .a_transposed = 1,
                       .b = (const float *)a->x + first * a->in + t->i0,
                       .ldb = a->in,
                       .c = sum,
                       .ldc = t->i1 - t->i0,
                       .start = p > 0 ? GEMM_ADD : GEMM_ZERO};
        if (a->in % VW != 0) { /* a row's last vector must not be read beyond it */
            gemm_pack_rows(g.b, g.ldb, g.k, g.n, piece);
            g.b = piece;
            g.ldb = 0;
        }
        gemm(&g);
    }
}

/* sum(o1-o0) = columns of dy added up over the rows of one slice. */
static void sum_columns(const vt_linear_dw_args *a, const dw_tile *t, int64_t r0, int64_t r1, float *sum)
{
    for (int64_t o = t->o0; o < t->o1; o += VW) {
        const float *dy = (const float *)a->dy + r0 * a->out + o;
        const int lanes = (int)min_i64(VW, t->o1 - o);
        vf chain[BIAS_CHAINS] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
        int64_t r = 0;
        for (; lanes == VW && r + BIAS_CHAINS <= r1 - r0; r += BIAS_CHAINS) {
            for (int c = 0; c < BIAS_CHAINS; c++)
                chain[c] = vf_add(chain[c], vf_load(dy + (r + c) * a->out));
        }
        for (; r < r1 - r0; r++)
            chain[r % BIAS_CHAINS] = vf_add(chain[r % BIAS_CHAINS], vf_load_n(dy + r * a->out, lanes));
        vf total = vf_add(vf_add(chain[0], chain[2]), vf_add(chain[1], chain[3]));
        vf_store_n(sum + (o - t->o0), lanes, total);
    }
}

static int64_t slice_row(const vt_linear_dw_args *a, int64_t slice)
{
    return part_begin(a->samples, a->slices, slice) * a->tokens;
}

static void write_result(float *to, int64_t ld, const float *from, int64_t rows, int64_t cols, int accumulate)
{
    for (int64_t r = 0; r < rows; r++, to += ld, from += cols) {
        for (int64_t j = 0; j < cols; j++)
            to[j] = accumulate ? to[j] + from[j] : from[j];
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
    float *piece = scratch_of(p->ex, thread), *bias_buffers = piece + PIECE_ROWS * MOST_IN;
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
    write_result((float *)a->dw + t.o0 * a->in + t.i0, a->in, sums.free, outs, ins, a->accumulate);
    if (has_bias)
        write_result((float *)a->dbias + t.o0, outs, bias_sums.free, 1, outs, a->accumulate);
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

/* to[0 .. n) = the tree over slices of what lies at `offset` in each slice's sums; n <= TREE_FLOATS. */
static void add_slices(const dw_plan *p, int64_t offset, int64_t n, float *to)
{
    float buffers[(TREE_LEVELS + 1) * TREE_FLOATS];
    slice_tree t = tree_over(buffers, n, p->a->slices);
    for (int s = 0; s < p->a->slices; s++) {
        memcpy(t.free, p->slice_sums + s * p->slice_floats + offset, (size_t)n * sizeof *to);
        tree_push(&t, p->a->slices);
    }
    write_result(to, n, t.free, 1, n, p->a->accumulate);
}

static void tree_job(void *context, int64_t job, int thread)
{
    const dw_plan *p = context;
    (void)thread;
    const int64_t dw_floats = p->a->out * p->a->in, end = min_i64(dw_floats, (job + 1) * TREE_JOB);
    for (int64_t i = job * TREE_JOB; i < end; i += TREE_FLOATS)
        add_slices(p, i, min_i64(TREE_FLOATS, end - i), (float *)p->a->dw + i);
    if (job > 0 || p->a->dbias == NULL)
        return;
    for (int64_t o = 0; o < p->a->out; o += TREE_FLOATS)
        add_slices(p, dw_floats + o, min_i64(TREE_FLOATS, p->a->out - o), (float *)p->a->dbias + o);
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

void VT_KERNEL(linear_dw)(const vt_exec *ex, const vt_linear_dw_args *a)
{
    assert(a->type == VT_F32 && a->grad_type == VT_F32);
    dw_plan p = {.ex = ex, .a = a, .slice_floats = a->out * a->in + a->out};
    const int64_t spare = (int64_t)(ex->scratch_bytes / sizeof(float)) - PIECE_ROWS * MOST_IN;
    if (a->slices >= LEAST_JOBS && a->slices * p.slice_floats <= spare && (a->in <= MOST_IN || a->in % VW == 0)) {
        p.slice_sums = scratch_of(ex, 0) + PIECE_ROWS * MOST_IN;
        vt_pool_run(ex->pool, a->slices, slice_job, &p);
        vt_pool_run(ex->pool, ceil_div(a->out * a->in, TREE_JOB), tree_job, &p);
        return;
    }
    choose_tile(a, &p);
    vt_pool_run(ex->pool, p.out_blocks * p.in_blocks, tile_job, &p);
}

int64_t VT_FOR_ISA(vt_cpu_linear_dw_scratch)(const vt_limits *limits)
{
    return PIECE_ROWS * MOST_IN + (TREE_LEVELS + 1) * MOST_OUT + tree_buffers(limits->slices) * MOST_OUT * MOST_IN;
}
