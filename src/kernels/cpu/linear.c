/* Linear layers, forward and the gradient of their input (kernels/ops.h), as blocked products of matrices.
 *
 * A job is a block of rows times a block of columns of the result. Whoever takes it packs the weights that it needs, a
 * piece of the inner dimension at a time, into scratch memory of its own: BLOCK_K x BLOCK_COLS floats, which stay in
 * the second-level cache while all rows of the block pass by. What the epilogue adds (GELU, residual, gelu') is done
 * strip by strip, while the strip is in the first-level cache. Nothing waits for another job. Jobs of the same columns
 * follow one another, so a thread often finds the weights that it packed for the job before. */
#include <assert.h>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/vmath.h"

#define BLOCK_K    384 /* 384 x 256 floats: 384 KiB of packed weights */
#define BLOCK_COLS 256 /* a multiple of TILE_COLS for every instruction set */
#define BLOCK_ROWS 384 /* at most; 384 x 256 floats of unfinished sums when the inner dimension is long */
#define LEAST_ROWS 96  /* of a block: fewer would not pay for packing */
#define LEAST_JOBS 24  /* enough for threads to share, where there are rows enough */
#define STRIP_ROWS (2 * TILE_ROWS)
#define HEADER     16 /* floats of scratch memory before the packed weights */

typedef struct product product;

/* Works on rows r .. r + rows and columns c .. c + cols of the result; z(0,0) is that corner's unfinished value. */
typedef void finish_fn(const product *p, const float *z, int64_t ldz, int64_t r, int64_t rows, int64_t c, int64_t cols);

/* z(rows, n) = a(rows, k) b(k, n) + bias, then finish. */
struct product {
    const vt_exec *ex;
    int64_t rows, n, k;
    const float *a, *w, *bias;
    int w_is_nk;       /* b(p,j) = w[j*k + p], else w[p*n + j] */
    float *z;          /* (rows, n); NULL: unfinished values are not kept */
    finish_fn *finish; /* NULL: z is the result */
    const void *args;  /* of the operation */
    int64_t row_blocks, col_blocks, block_rows;
};

static void pack_weights(const product *p, int64_t k0, int64_t k1, int64_t c0, int64_t c1, float *packed)
{
    if (p->w_is_nk)
        gemm_pack_cols(p->w + c0 * p->k + k0, p->k, k1 - k0, c1 - c0, 1.0F, packed);
    else
        gemm_pack_rows(p->w + k0 * p->n + c0, p->n, k1 - k0, c1 - c0, packed);
}

/* Which block of columns a thread's packed weights are for; none when an operation begins. */
static int64_t *packed_block(const vt_exec *ex, int thread)
{
    return (int64_t *)(void *)scratch_of(ex, thread);
}

static void product_job(void *context, int64_t job, int thread)
{
    const product *p = context;
    const int64_t row_block = job % p->row_blocks, col_block = job / p->row_blocks;
    const int64_t r0 = row_block * p->block_rows, r1 = min_i64(p->rows, r0 + p->block_rows);
    const int64_t vecs = ceil_div(p->n, VW);
    const int64_t c0 = part_begin(vecs, p->col_blocks, col_block) * VW;
    const int64_t c1 = min_i64(p->n, part_begin(vecs, p->col_blocks, col_block + 1) * VW);
    const int64_t k_blocks = ceil_div(p->k, BLOCK_K);
    float *packed = scratch_of(p->ex, thread) + HEADER, *sums = packed + BLOCK_K * BLOCK_COLS;
    int64_t *holds = packed_block(p->ex, thread);

    for (int64_t kb = 0; kb < k_blocks; kb++) {
        const int64_t k0 = part_begin(p->k, k_blocks, kb), k1 = part_begin(p->k, k_blocks, kb + 1);
        if (k_blocks > 1 || *holds != col_block)
            pack_weights(p, k0, k1, c0, c1, packed);
        *holds = col_block;
        for (int64_t r = r0; r < r1; r += STRIP_ROWS) {
            const int64_t strip = min_i64(STRIP_ROWS, r1 - r);
            /* Sums that are finished at once need one strip of memory, others the whole block. */
            float *z = p->z ? p->z + r * p->n + c0 : sums + (k_blocks > 1 ? (r - r0) * BLOCK_COLS : 0);
            const int64_t ldz = p->z ? p->n : BLOCK_COLS;
            gemm(&(gemm_args){.m = strip,
                              .n = c1 - c0,
                              .k = k1 - k0,
                              .a = p->a + r * p->k + k0,
                              .lda = p->k,
                              .b = packed,
                              .c = z,
                              .ldc = ldz,
                              .start = kb > 0 ? GEMM_ADD : GEMM_ZERO,
                              .bias = p->bias ? p->bias + c0 : NULL});
            if (p->finish && kb + 1 == k_blocks)
                p->finish(p, z, ldz, r, strip, c0, c1 - c0);
        }
    }
}

static void product_run(product *p)
{
    if (p->rows == 0)
        return;
    p->col_blocks = ceil_div(ceil_div(p->n, VW), BLOCK_COLS / VW);
    const int64_t wanted = ceil_div(LEAST_JOBS, p->col_blocks), possible = ceil_div(p->rows, LEAST_ROWS);
    const int64_t blocks = max_i64(ceil_div(p->rows, BLOCK_ROWS), min_i64(wanted, possible));
    p->block_rows = ceil_div(ceil_div(p->rows, blocks), TILE_ROWS) * TILE_ROWS;
    p->row_blocks = ceil_div(p->rows, p->block_rows);
    for (int t = 0; t < vt_pool_threads(p->ex->pool); t++)
        *packed_block(p->ex, t) = -1;
    vt_pool_run(p->ex->pool, p->row_blocks * p->col_blocks, product_job, p);
}

VT_INLINE vf finish_fwd_vec(vt_act act, vf z)
{
    return act == VT_ACT_GELU_TANH ? vf_gelu(z) : z;
}

/* y = act(z) + residual */
static void finish_fwd(const product *p, const float *z, int64_t ldz, int64_t r, int64_t rows, int64_t c, int64_t cols)
{
    const vt_linear_fwd_args *a = p->args;
    for (int64_t i = 0; i < rows; i++, z += ldz) {
        const float *residual = a->residual ? a->residual + (r + i) % a->residual_rows * a->out + c : NULL;
        float *y = (float *)a->y + (r + i) * a->out + c;
        int64_t j = 0;
        for (; j + VW <= cols; j += VW) {
            vf v = finish_fwd_vec(a->act, vf_load(z + j));
            vf_store(y + j, residual ? vf_add(v, vf_load(residual + j)) : v);
        }
        if (j < cols) {
            int lanes = (int)(cols - j);
            vf v = finish_fwd_vec(a->act, vf_load_n(z + j, lanes));
            vf_store_n(y + j, lanes, residual ? vf_add(v, vf_load_n(residual + j, lanes)) : v);
        }
    }
}

void VT_KERNEL(linear_fwd)(const vt_exec *ex, const vt_linear_fwd_args *a)
{
    assert(a->type == VT_F32 && a->act <= VT_ACT_GELU_TANH);
    /* y may be the residual, so unfinished sums go there only when there is none. */
    float *z = a->pre ? a->pre : a->residual ? NULL : a->y;
    int plain = z == a->y && a->act == VT_ACT_NONE;
    product_run(&(product){.ex = ex,
                           .rows = a->rows,
                           .n = a->out,
                           .k = a->in,
                           .a = a->x,
                           .w = a->w,
                           .bias = a->bias,
                           .w_is_nk = 1,
                           .z = z,
                           .finish = plain ? NULL : finish_fwd,
                           .args = a});
}

/* dx *= gelu'(pre) */
static void finish_dx(const product *p, const float *z, int64_t ldz, int64_t r, int64_t rows, int64_t c, int64_t cols)
{
    const vt_linear_dx_args *a = p->args;
    for (int64_t i = 0; i < rows; i++, z += ldz) {
        const float *pre = (const float *)a->pre + (r + i) * a->in + c;
        float *dx = (float *)a->dx + (r + i) * a->in + c;
        int64_t j = 0;
        for (; j + VW <= cols; j += VW)
            vf_store(dx + j, vf_mul(vf_load(z + j), vf_gelu_derivative(vf_load(pre + j))));
        if (j < cols) {
            int lanes = (int)(cols - j);
            vf slope = vf_gelu_derivative(vf_load_n(pre + j, lanes));
            vf_store_n(dx + j, lanes, vf_mul(vf_load_n(z + j, lanes), slope));
        }
    }
}

void VT_KERNEL(linear_dx)(const vt_exec *ex, const vt_linear_dx_args *a)
{
    assert(a->type == VT_F32 && (!a->pre || a->act == VT_ACT_GELU_TANH));
    product_run(&(product){.ex = ex,
                           .rows = a->rows,
                           .n = a->in,
                           .k = a->out,
                           .a = a->dy,
                           .w = a->w,
                           .z = a->dx,
                           .finish = a->pre ? finish_dx : NULL,
                           .args = a});
}

int64_t VT_FOR_ISA(vt_cpu_linear_scratch)(const vt_limits *limits)
{
    (void)limits;
    return HEADER + BLOCK_K * BLOCK_COLS + BLOCK_ROWS * BLOCK_COLS;
}
