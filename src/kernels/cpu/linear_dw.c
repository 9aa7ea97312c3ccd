/* Gradients of a linear layer's weights and bias (kernels/ops.h): sums over all rows of a batch, cut into slices.
 *
 * A job is a tile of dw. It takes one slice after the other: the product dy^T x over the slice's rows (a chain per
 * element in the order of rows), then the tree over slices, while the tile stays in cache; dw in memory is touched
 * once. Tiles of the first columns also sum up the columns of dy, which is the bias's gradient. Wide rows are copied
 * into scratch memory a piece at a time, so that the product reads its operands line by line; narrow ones are read in
 * place. */
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernel.h"

#define BLOCK_K     256 /* rows of dy and x in one piece */
#define MOST_OUT    192 /* largest tile, in rows and columns of dw */
#define MOST_IN     256
#define LEAST_OUT   12
#define LEAST_IN    64
#define LEAST_JOBS  8
#define BIAS_CHAINS 4   /* row r of a slice goes into chain r mod 4 of a bias sum */

typedef struct {
    const vt_exec *ex;
    const vt_linear_dw_args *a;
    int64_t out_blocks, in_blocks; /* tiles down and across dw */
} dw_plan;

/* One tile of dw and where its work happens. */
typedef struct {
    int64_t o0, o1, i0, i1;
    slice_tree sums, bias_sums;
    float *x_piece;
} dw_tile;

/* The tile's product over rows r0 .. r1 of dy and x, into or onto the tree's free buffer. */
static void add_piece(const vt_linear_dw_args *a, dw_tile *t, int64_t r0, int64_t r1, gemm_start start)
{
    const int64_t outs = t->o1 - t->o0, ins = t->i1 - t->i0;
    gemm_args g = {.m = outs,
                   .n = ins,
                   .k = r1 - r0,
                   .a = a->dy + r0 * a->out + t->o0,
                   .lda = a->out,
                   .a_transposed = 1,
                   .b = a->x + r0 * a->in + t->i0,
                   .ldb = a->in,
                   .c = t->sums.free,
                   .ldc = ins,
                   .start = start};
    if (a->in % VW != 0) { /* its last vector would be read beyond the row */
        gemm_pack_rows(g.b, g.ldb, g.k, ins, t->x_piece);
        g.b = t->x_piece;
        g.ldb = 0;
    }
    gemm(&g);
}

/* sum[j] = sum over rows of x[r*ld + j], for cols columns. */
static void sum_columns(const float *x, int64_t ld, int64_t rows, int64_t cols, float *sum)
{
    for (int64_t j = 0; j < cols; j += VW) {
        const int lanes = (int)min_i64(VW, cols - j);
        vf chain[BIAS_CHAINS] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
        int64_t r = 0;
        for (; lanes == VW && r + BIAS_CHAINS <= rows; r += BIAS_CHAINS) {
            for (int c = 0; c < BIAS_CHAINS; c++)
                chain[c] = vf_add(chain[c], vf_load(x + (r + c) * ld + j));
        }
        for (; r < rows; r++)
            chain[r % BIAS_CHAINS] = vf_add(chain[r % BIAS_CHAINS], vf_load_n(x + r * ld + j, lanes));
        vf total = vf_add(vf_add(chain[0], chain[2]), vf_add(chain[1], chain[3]));
        vf_store_n(sum + j, lanes, total);
    }
}

static void sum_slice(const vt_linear_dw_args *a, dw_tile *t, int64_t r0, int64_t r1)
{
    const int64_t pieces = max_i64(1, ceil_div(r1 - r0, BLOCK_K));
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t p0 = r0 + part_begin(r1 - r0, pieces, p), p1 = r0 + part_begin(r1 - r0, pieces, p + 1);
        add_piece(a, t, p0, p1, p > 0 ? GEMM_ADD : GEMM_ZERO);
    }
    tree_push(&t->sums, a->slices);
    if (t->i0 == 0 && a->dbias) {
        sum_columns(a->dy + r0 * a->out + t->o0, a->out, r1 - r0, t->o1 - t->o0, t->bias_sums.free);
        tree_push(&t->bias_sums, a->slices);
    }
}

static void write_result(float *to, int64_t ld, const float *from, int64_t rows, int64_t cols, int accumulate)
{
    for (int64_t r = 0; r < rows; r++, to += ld, from += cols) {
        if (accumulate) {
            for (int64_t j = 0; j < cols; j++)
                to[j] = to[j] + from[j];
        } else {
            memcpy(to, from, (size_t)cols * sizeof *to);
        }
    }
}

static void dw_job(void *context, int64_t job, int thread)
{
    const dw_plan *p = context;
    const vt_linear_dw_args *a = p->a;
    const int64_t out_block = job / p->in_blocks, in_block = job % p->in_blocks;
    const int64_t out_tiles = ceil_div(a->out, TILE_ROWS), in_tiles = ceil_div(a->in, TILE_COLS);
    dw_tile t = {
        .o0 = part_begin(out_tiles, p->out_blocks, out_block) * TILE_ROWS,
        .o1 = min_i64(a->out, part_begin(out_tiles, p->out_blocks, out_block + 1) * TILE_ROWS),
        .i0 = part_begin(in_tiles, p->in_blocks, in_block) * TILE_COLS,
        .i1 = min_i64(a->in, part_begin(in_tiles, p->in_blocks, in_block + 1) * TILE_COLS),
    };
    float *scratch = scratch_of(p->ex, thread);
    const int64_t outs = t.o1 - t.o0, ins = t.i1 - t.i0;
    t.x_piece = scratch;
    float *bias_buffers = t.x_piece + BLOCK_K * MOST_IN;
    t.bias_sums = tree_over(bias_buffers, outs, a->slices);
    t.sums = tree_over(bias_buffers + tree_buffers(VT_MAX_SLICES) * MOST_OUT, outs * ins, a->slices);

    for (int s = 0; s < a->slices; s++)
        sum_slice(a, &t, part_begin(a->samples, a->slices, s) * a->tokens,
                  part_begin(a->samples, a->slices, s + 1) * a->tokens);
    write_result(a->dw + t.o0 * a->in + t.i0, a->in, t.sums.free, outs, ins, a->accumulate);
    if (t.i0 == 0 && a->dbias)
        write_result(a->dbias + t.o0, outs, t.bias_sums.free, 1, outs, a->accumulate);
}

void VT_KERNEL(linear_dw)(const vt_exec *ex, const vt_linear_dw_args *a)
{
    /* The largest tiles that leave jobs enough: they read dy and x the fewest times. */
    int64_t outs = MOST_OUT, ins = MOST_IN;
    while (ceil_div(a->out, outs) * ceil_div(a->in, ins) < LEAST_JOBS && (outs > LEAST_OUT || ins > LEAST_IN)) {
        if (ins > LEAST_IN && (ins > outs || outs == LEAST_OUT))
            ins /= 2;
        else
            outs /= 2;
    }
    dw_plan p = {.ex = ex, .a = a, .out_blocks = ceil_div(a->out, outs), .in_blocks = ceil_div(a->in, ins)};
    vt_pool_run(ex->pool, p.out_blocks * p.in_blocks, dw_job, &p);
}

int64_t VT_FOR_ISA(vt_cpu_linear_dw_scratch)(const vt_limits *limits)
{
    return BLOCK_K * MOST_IN + tree_buffers(VT_MAX_SLICES) * MOST_OUT +
           tree_buffers(limits->slices) * MOST_OUT * MOST_IN;
}
