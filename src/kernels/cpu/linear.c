/* Linear layers, forward and the gradient of their input (kernels/ops.h), as blocked products of matrices.
 *
 * A job is a block of rows times a block of columns of the result. Whoever takes it packs the weights that it needs, a
 * piece of the inner dimension at a time, into scratch memory of its own, where they stay in the second-level cache
 * while all rows of the block pass by. What the epilogue adds (activation, residual, its derivative, rounding) is done
 * strip by strip, while the strip is in the first-level cache. Nothing waits for another job. Jobs of the same columns
 * follow one another, so a thread often finds the weights that it packed for the job before.
 *
 * Blocks have the same bytes in both types. A bf16 product passes by so fast that packing its weights shows, so it has
 * as few blocks of rows as give jobs enough; and it takes the inner dimension whole where it can, since its sums, not
 * being the result, would cost passes of their own. */
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/gemm_bf16.h"
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/vmath.h"

#define PACKED     98304 /* words of packed weights, 384 KiB: 384 x 256 floats, or 768 x 256 bf16 */
#define SUMS       98304 /* floats of unfinished sums: 384 rows of 256 when the inner dimension is long */
#define MOST_COLS  256   /* of a block: a multiple of TILE_COLS for every instruction set */
#define LEAST_COLS 64
#define JOBS       24 /* enough for a few threads to share, where there are rows enough */
#define HEADER     16 /* floats of scratch memory before the packed weights */

typedef struct product product;

/* Works on rows r .. r + rows and columns c .. c + cols of the result; z(0,0) is that corner's unfinished value. */
typedef void finish_fn(const product *p, const float *z, int64_t ldz, int64_t r, int64_t rows, int64_t c, int64_t cols);

/* z(rows, n) = a(rows, k) b(k, n) + bias, then finish. */
struct product {
    const vt_exec *ex;
    int64_t rows, n, k;
    vt_real type; /* of a */
    const void *a;
    const float *w, *bias;
    int w_is_nk;         /* b(p,j) = w[j*k + p], else w[p*n + j] */
    float *z;            /* (rows, n); NULL: unfinished values are not kept */
    finish_fn *finish;   /* NULL: z is the result */
    const void *args;    /* of the operation */
    const void *near[2]; /* bf16: (rows, n) tensors that finish reads or writes, or NULL */
    /* How it is cut. */
    int64_t row_blocks, col_blocks, k_blocks, block_rows, block_cols, strip_rows;
};

static void pack_weights(const product *p, int64_t k0, int64_t k1, int64_t c0, int64_t c1, float *packed)
{
    const float *w = p->w + (p->w_is_nk ? c0 * p->k + k0 : k0 * p->n + c0);
    if (p->type == VT_F32 && p->w_is_nk)
        gemm_pack_cols(w, p->k, k1 - k0, c1 - c0, 1.0F, packed);
    else if (p->type == VT_F32)
        gemm_pack_rows(w, p->n, k1 - k0, c1 - c0, packed);
    else if (p->w_is_nk)
        gemm_bf16_pack_cols(w, VT_F32, p->k, k1 - k0, c1 - c0, (uint32_t *)(void *)packed);
    else
        gemm_bf16_pack_rows(w, VT_F32, p->n, k1 - k0, c1 - c0, (uint32_t *)(void *)packed);
}

/* Which block of columns a thread's packed weights are for; none when an operation begins. */
static int64_t *packed_block(const vt_exec *ex, int thread)
{
    return (int64_t *)(void *)scratch_of(ex, thread);
}

/* z(strip, cols) = or += rows r .. r + strip of a, terms k0 .. k1, times packed weights. */
static void multiply(const product *p, int64_t r, int64_t strip, int64_t k0, int64_t k1, int64_t c0, int64_t cols,
                     const float *packed, float *z, int64_t ldz)
{
    const gemm_start start = k0 > 0 ? GEMM_ADD : GEMM_ZERO;
    const float *bias = p->bias ? p->bias + c0 : NULL;
    if (p->type == VT_F32)
        gemm(&(gemm_args){.m = strip,
                          .n = cols,
                          .k = k1 - k0,
                          .a = (const float *)p->a + r * p->k + k0,
                          .lda = p->k,
                          .b = packed,
                          .c = z,
                          .ldc = ldz,
                          .start = start,
                          .bias = bias});
    else
        gemm_bf16(&(gemm_bf16_args){.m = strip,
                                    .n = cols,
                                    .k = k1 - k0,
                                    .a = (const uint16_t *)p->a + r * p->k + k0,
                                    .lda = p->k,
                                    .next_rows = 1,
                                    .b = (const uint32_t *)(const void *)packed,
                                    .c = z,
                                    .ldc = ldz,
                                    .start = start,
                                    .bias = bias});
}

/* Asks for what finish will need. */
static void prefetch_strip(const product *p, int64_t r, int64_t strip, int64_t c0, int64_t c1)
{
    for (int t = 0; t < 2 && p->near[t]; t++)
        for (int64_t i = r; i < r + strip; i++)
            for (int64_t c = c0; c < c1; c += 2 * CACHE_LINE)
                vb_prefetch_l2((const uint16_t *)p->near[t] + i * p->n + c);
}

/* Where block kb of the inner dimension begins: at an even term, since a bf16 product takes them in pairs. */
static int64_t k_begin(const product *p, int64_t kb)
{
    return min_i64(p->k, 2 * part_begin(ceil_div(p->k, 2), p->k_blocks, kb));
}

static void product_job(void *context, int64_t job, int thread)
{
    const product *p = context;
    const int64_t row_block = job % p->row_blocks, col_block = job / p->row_blocks;
    const int64_t r0 = row_block * p->block_rows, r1 = min_i64(p->rows, r0 + p->block_rows);
    const int64_t vecs = ceil_div(p->n, VW);
    const int64_t c0 = part_begin(vecs, p->col_blocks, col_block) * VW;
    const int64_t c1 = min_i64(p->n, part_begin(vecs, p->col_blocks, col_block + 1) * VW);
    float *packed = scratch_of(p->ex, thread) + HEADER, *sums = packed + PACKED;
    int64_t *holds = packed_block(p->ex, thread);

    for (int64_t kb = 0; kb < p->k_blocks; kb++) {
        const int64_t k0 = k_begin(p, kb), k1 = k_begin(p, kb + 1);
        if (p->k_blocks > 1 || *holds != col_block)
            pack_weights(p, k0, k1, c0, c1, packed);
        *holds = col_block;
        for (int64_t r = r0; r < r1; r += p->strip_rows) {
            const int64_t strip = min_i64(p->strip_rows, r1 - r);
            /* Sums that are finished at once need one strip of memory, others the whole block. */
            float *z = p->z ? p->z + r * p->n + c0 : sums + (p->k_blocks > 1 ? (r - r0) * p->block_cols : 0);
            const int64_t ldz = p->z ? p->n : p->block_cols;
            if (kb + 1 == p->k_blocks)
                prefetch_strip(p, r, strip, c0, c1);
            multiply(p, r, strip, k0, k1, c0, c1 - c0, packed, z, ldz);
            if (p->finish && kb + 1 == p->k_blocks)
                p->finish(p, z, ldz, r, strip, c0, c1 - c0);
        }
    }
}

/* Float32: packing costs little, so that blocks of rows that fit the cache beside the weights come first. */
static void cut_f32(product *p)
{
    const int64_t most_rows = SUMS / MOST_COLS, least_rows = 96;
    p->block_cols = MOST_COLS;
    p->k_blocks = ceil_div(p->k, PACKED / MOST_COLS);
    p->col_blocks = ceil_div(ceil_div(p->n, VW), p->block_cols / VW);
    const int64_t wanted = ceil_div(JOBS, p->col_blocks), possible = ceil_div(p->rows, least_rows);
    p->row_blocks = max_i64(ceil_div(p->rows, most_rows), min_i64(wanted, possible));
    p->strip_rows = 2 * TILE_ROWS;
}

static void cut_bf16(product *p)
{
    const int64_t least_rows = 192, wanted = max_i64(JOBS, 8 * vt_pool_threads(p->ex->pool));
    const int64_t vecs = ceil_div(p->n, VW);
    p->block_cols = MOST_COLS;
    while (p->block_cols > LEAST_COLS && p->block_cols * p->k > 2 * PACKED)
        p->block_cols /= 2;
    while (p->block_cols > 128 && ceil_div(vecs, p->block_cols / VW) < wanted && p->k > 256)
        p->block_cols /= 2;
    p->k_blocks = ceil_div(p->k * p->block_cols, 2 * PACKED);
    p->col_blocks = ceil_div(vecs, p->block_cols / VW);
    const int64_t possible = ceil_div(p->rows, least_rows), most_rows = SUMS / p->block_cols;
    p->row_blocks = min_i64(ceil_div(wanted, p->col_blocks), possible);
    if (p->k_blocks > 1)
        p->row_blocks = max_i64(p->row_blocks, ceil_div(p->rows, most_rows));
    p->strip_rows = 4 * TILE_ROWS;
}

static void product_run(product *p)
{
    if (p->type == VT_F32)
        cut_f32(p);
    else
        cut_bf16(p);
    p->block_rows = ceil_div(ceil_div(p->rows, p->row_blocks), p->strip_rows) * p->strip_rows;
    if (p->k_blocks > 1)
        p->block_rows = min_i64(p->block_rows, SUMS / p->block_cols);
    p->row_blocks = ceil_div(p->rows, p->block_rows);
    for (int t = 0; t < vt_pool_threads(p->ex->pool); t++)
        *packed_block(p->ex, t) = -1;
    vt_pool_run(p->ex->pool, p->row_blocks * p->col_blocks, product_job, p);
}

VT_INLINE vf activation(vt_act act, vf z)
{
    switch (act) {
    case VT_ACT_NONE:
        break;
    case VT_ACT_GELU_TANH:
        return vf_gelu(z);
    case VT_ACT_GELU_ERF:
        return vf_gelu_erf(z);
    case VT_ACT_GELU_QUICK:
        return vf_mul(z, vf_logistic(vf_mul(vf_set1(1.702F), z)));
    case VT_ACT_TANH:
        return vf_tanh(z);
    }
    return z;
}

VT_INLINE vf activation_slope(vt_act act, vf z)
{
    switch (act) {
    case VT_ACT_NONE:
        break;
    case VT_ACT_GELU_TANH:
        return vf_gelu_derivative(z);
    case VT_ACT_GELU_ERF:
        return vf_gelu_erf_derivative(z);
    case VT_ACT_GELU_QUICK:
        return vf_gate_derivative(z, 1.702F);
    case VT_ACT_TANH:
        return vf_tanh_derivative(z);
    }
    return vf_set1(1.0F);
}

/* n elements from z[0], which are elements `at`, ... of y and pre: y = act(z) * scale + residual. */
VT_INLINE void finish_fwd_vec(const vt_linear_fwd_args *a, vt_act act, const float *z, int64_t at, const float *scale,
                              const float *residual, int n)
{
    const vf v = load_real(z, VT_F32, 0, n);
    if (a->type == VT_BF16 && a->pre)
        store_real(a->pre, VT_BF16, at, n, v);
    const vf y = activation(act, v);
    if (scale && residual)
        store_real(a->y, VT_F32, at, n, vf_fma(y, load_real(scale, VT_F32, 0, n), load_real(residual, VT_F32, 0, n)));
    else if (scale)
        store_real(a->y, a->type, at, n, vf_mul(y, load_real(scale, VT_F32, 0, n)));
    else if (residual)
        store_real(a->y, VT_F32, at, n, vf_add(y, load_real(residual, VT_F32, 0, n)));
    else
        store_real(a->y, a->type, at, n, y);
}

VT_INLINE void finish_fwd(const product *p, vt_act act, const float *z, int64_t ldz, int64_t r, int64_t rows, int64_t c,
                          int64_t cols)
{
    const vt_linear_fwd_args *a = p->args;
    for (int64_t i = 0; i < rows; i++, z += ldz) {
        const float *residual = a->residual ? a->residual + (r + i) % a->residual_rows * a->out + c : NULL;
        const float *scale = a->scale ? a->scale + c : NULL;
        const int64_t at = (r + i) * a->out + c;
        int64_t j = 0;
        for (; j + VW <= cols; j += VW)
            finish_fwd_vec(a, act, z + j, at + j, scale ? scale + j : NULL, residual ? residual + j : NULL, VW);
        if (j < cols)
            finish_fwd_vec(a, act, z + j, at + j, scale ? scale + j : NULL, residual ? residual + j : NULL,
                           (int)(cols - j));
    }
}

/* dx = z act'(pre) */
VT_INLINE void finish_dx_vec(const vt_linear_dx_args *a, vt_act act, const float *z, int64_t at, int n)
{
    vf v = load_real(z, VT_F32, 0, n);
    if (act != VT_ACT_NONE)
        v = vf_mul(v, activation_slope(act, load_real(a->pre, a->type, at, n)));
    store_real(a->dx, a->type, at, n, v);
}

VT_INLINE void finish_dx(const product *p, vt_act act, const float *z, int64_t ldz, int64_t r, int64_t rows, int64_t c,
                         int64_t cols)
{
    const vt_linear_dx_args *a = p->args;
    for (int64_t i = 0; i < rows; i++, z += ldz) {
        const int64_t at = (r + i) * a->in + c;
        int64_t j = 0;
        for (; j + VW <= cols; j += VW)
            finish_dx_vec(a, act, z + j, at + j, VW);
        if (j < cols)
            finish_dx_vec(a, act, z + j, at + j, (int)(cols - j));
    }
}

/* One function for each activation, so that its loop holds nothing else. */
#define FINISH(name, act)                                                                                              \
    static void name##_##act(const product *p, const float *z, int64_t ldz, int64_t r, int64_t rows, int64_t c,        \
                             int64_t cols)                                                                             \
    {                                                                                                                  \
        name(p, act, z, ldz, r, rows, c, cols);                                                                        \
    }
#define FINISH_ALL(name)                                                                                               \
    FINISH(name, VT_ACT_NONE)                                                                                          \
    FINISH(name, VT_ACT_GELU_TANH)                                                                                     \
    FINISH(name, VT_ACT_GELU_ERF) FINISH(name, VT_ACT_GELU_QUICK)                                                      \
        FINISH(name, VT_ACT_TANH) static finish_fn *const all_of_##name[] = {                                          \
            [VT_ACT_NONE] = name##_VT_ACT_NONE,         [VT_ACT_GELU_TANH] = name##_VT_ACT_GELU_TANH,                  \
            [VT_ACT_GELU_ERF] = name##_VT_ACT_GELU_ERF, [VT_ACT_GELU_QUICK] = name##_VT_ACT_GELU_QUICK,                \
            [VT_ACT_TANH] = name##_VT_ACT_TANH,                                                                        \
    };
FINISH_ALL(finish_fwd)
FINISH_ALL(finish_dx)

void VT_KERNEL(linear_fwd)(const vt_exec *ex, const vt_linear_fwd_args *a)
{
    /* A float32 pre is the unfinished value. y may be the residual, so that goes there only when there is none. */
    float *z = a->type != VT_F32 ? NULL : a->pre ? a->pre : a->residual ? NULL : a->y;
    const int plain = z && z == a->y && a->act == VT_ACT_NONE && !a->scale;
    product_run(&(product){.ex = ex,
                           .rows = a->rows,
                           .n = a->out,
                           .k = a->in,
                           .type = a->type,
                           .a = a->x,
                           .w = a->w,
                           .bias = a->bias,
                           .w_is_nk = 1,
                           .z = z,
                           .finish = plain ? NULL : all_of_finish_fwd[a->act],
                           .args = a,
                           .near = {a->type == VT_BF16 ? a->y : NULL, a->pre}});
}

void VT_KERNEL(linear_dx)(const vt_exec *ex, const vt_linear_dx_args *a)
{
    const vt_act act = a->pre ? a->act : VT_ACT_NONE;
    const int plain = a->type == VT_F32 && act == VT_ACT_NONE;
    product_run(&(product){.ex = ex,
                           .rows = a->rows,
                           .n = a->in,
                           .k = a->out,
                           .type = a->type,
                           .a = a->dy,
                           .w = a->w,
                           .z = a->type == VT_F32 ? a->dx : NULL,
                           .finish = plain ? NULL : all_of_finish_dx[act],
                           .args = a,
                           .near = {a->type == VT_BF16 ? a->dx : NULL, a->pre}});
}

int64_t VT_FOR_ISA(vt_cpu_linear_scratch)(const vt_limits *limits)
{
    (void)limits;
    return HEADER + PACKED + SUMS;
}
