/* Layer normalization, forward and backward (kernels/ops.h).
 *
 * Statistics of a row are sums over lanes, CHAINS vectors at a time, then over the lanes of their total: an order fixed
 * by cols. The gradients of gamma and beta are sums over rows. Each slice of samples is cut into SLICE_PARTS runs of
 * rows; a job works on one run and leaves its two sums in scratch memory that all threads share (thread 0's, which is
 * big enough). Then runs are added in order, and slices by their tree. The cut depends on the slice alone, so a process
 * that has only some of the slices computes the same sums. */
#include <math.h>

#include "kernels/cpu/kernel.h"

#define CHAINS      4
#define SLICE_PARTS 4
#define JOB_FLOATS  32768 /* of x that are worth a job of their own */
#define ROW_GROUP   4     /* rows that share a pass over the sums for gamma and beta */
#define TREE_COLS   256   /* columns whose slices are added at a time */

typedef struct {
    const vt_exec *ex;
    const vt_layernorm_fwd_args *a;
    int64_t rows_per_job;
} forward_plan;

/* Sum over cols of x - shift, or of its square. */
VT_INLINE float row_sum(const float *x, int64_t cols, float shift, int squared)
{
    const vf s = vf_set1(shift);
    vf chain[CHAINS] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    int64_t j = 0;
    for (; j + CHAINS * VW <= cols; j += CHAINS * VW) {
        VT_UNROLL
        for (int i = 0; i < CHAINS; i++) {
            vf v = vf_sub(vf_load(x + j + i * VW), s);
            chain[i] = squared ? vf_fma(v, v, chain[i]) : vf_add(chain[i], v);
        }
    }
    vf rest = vf_zero();
    for (; j + VW <= cols; j += VW) {
        vf v = vf_sub(vf_load(x + j), s);
        rest = squared ? vf_fma(v, v, rest) : vf_add(rest, v);
    }
    float total = vf_sum(vf_add(vf_add(vf_add(chain[0], chain[2]), vf_add(chain[1], chain[3])), rest));
    for (; j < cols; j++) {
        float v = x[j] - shift;
        total += squared ? v * v : v;
    }
    return total;
}

static void forward_row(const vt_layernorm_fwd_args *a, int64_t r)
{
    const float *x = a->x + r * a->cols;
    float *y = a->y + r * a->cols;
    const float mean = row_sum(x, a->cols, 0, 0) / (float)a->cols;
    const float var = row_sum(x, a->cols, mean, 1) / (float)a->cols;
    const float rstd = 1.0F / sqrtf(var + a->eps);
    a->mean[r] = mean;
    a->rstd[r] = rstd;
    const vf m = vf_set1(mean), s = vf_set1(rstd);
    int64_t j = 0;
    for (; j + VW <= a->cols; j += VW) {
        vf xhat = vf_mul(vf_sub(vf_load(x + j), m), s);
        vf_store(y + j, vf_fma(xhat, vf_load(a->gamma + j), vf_load(a->beta + j)));
    }
    if (j < a->cols) {
        int lanes = (int)(a->cols - j);
        vf xhat = vf_mul(vf_sub(vf_load_n(x + j, lanes), m), s);
        vf_store_n(y + j, lanes, vf_fma(xhat, vf_load_n(a->gamma + j, lanes), vf_load_n(a->beta + j, lanes)));
    }
}

static void forward_job(void *context, int64_t job, int thread)
{
    const forward_plan *p = context;
    (void)thread;
    const int64_t end = min_i64(p->a->rows, (job + 1) * p->rows_per_job);
    for (int64_t r = job * p->rows_per_job; r < end; r++)
        forward_row(p->a, r);
}

void VT_KERNEL(layernorm_fwd)(const vt_exec *ex, const vt_layernorm_fwd_args *a)
{
    forward_plan p = {.ex = ex, .a = a, .rows_per_job = max_i64(1, JOB_FLOATS / a->cols)};
    vt_pool_run(ex->pool, ceil_div(a->rows, p.rows_per_job), forward_job, &p);
}

typedef struct {
    const vt_exec *ex;
    const vt_layernorm_bwd_args *a;
    float *partials; /* (slices, SLICE_PARTS, 2, cols): dgamma, dbeta */
} backward_plan;

/* One vector of columns for `rows` rows: adds to their two row sums, and to gamma's and beta's sums for these columns.
 */
VT_INLINE void backward_sums_vec(const vt_layernorm_bwd_args *a, int rows, int64_t r, int64_t j, int lanes, vf *g_sum,
                                 vf *gx_sum, float *dgamma, float *dbeta)
{
    const vf gamma = lanes == VW ? vf_load(a->gamma + j) : vf_load_n(a->gamma + j, lanes);
    vf dg = lanes == VW ? vf_load(dgamma + j) : vf_load_n(dgamma + j, lanes);
    vf db = lanes == VW ? vf_load(dbeta + j) : vf_load_n(dbeta + j, lanes);
    VT_UNROLL
    for (int i = 0; i < rows; i++) {
        const float *x = a->x + (r + i) * a->cols + j, *dy = a->dy + (r + i) * a->cols + j;
        vf d = lanes == VW ? vf_load(dy) : vf_load_n(dy, lanes);
        vf v = lanes == VW ? vf_load(x) : vf_load_n(x, lanes);
        vf xhat = vf_mul(vf_sub(v, vf_set1(a->mean[r + i])), vf_set1(a->rstd[r + i]));
        vf g = vf_mul(d, gamma);
        g_sum[i] = vf_add(g_sum[i], g);
        gx_sum[i] = vf_fma(g, xhat, gx_sum[i]);
        dg = vf_fma(d, xhat, dg);
        db = vf_add(db, d);
    }
    if (lanes == VW) {
        vf_store(dgamma + j, dg);
        vf_store(dbeta + j, db);
    } else {
        vf_store_n(dgamma + j, lanes, dg);
        vf_store_n(dbeta + j, lanes, db);
    }
}

/* dx = rstd (g - g_mean - xhat gx_mean) + dresidual for one vector of columns at `at` = r*cols + j. */
VT_INLINE vf backward_dx_vec(vf x, vf dy, vf gamma, vf mean, vf rstd, vf g_mean, vf gx_mean)
{
    vf xhat = vf_mul(vf_sub(x, mean), rstd);
    return vf_mul(rstd, vf_fnma(xhat, gx_mean, vf_sub(vf_mul(dy, gamma), g_mean)));
}

static void backward_dx(const vt_layernorm_bwd_args *a, int64_t r, float g_sum, float gx_sum)
{
    const vf mean = vf_set1(a->mean[r]), rstd = vf_set1(a->rstd[r]);
    const vf g_mean = vf_set1(g_sum / (float)a->cols), gx_mean = vf_set1(gx_sum / (float)a->cols);
    const float *x = a->x + r * a->cols, *dy = a->dy + r * a->cols;
    const float *residual = a->dresidual ? a->dresidual + r * a->cols : NULL;
    float *dx = a->dx + r * a->cols;
    int64_t j = 0;
    for (; j + VW <= a->cols; j += VW) {
        vf v = backward_dx_vec(vf_load(x + j), vf_load(dy + j), vf_load(a->gamma + j), mean, rstd, g_mean, gx_mean);
        vf_store(dx + j, residual ? vf_add(v, vf_load(residual + j)) : v);
    }
    if (j < a->cols) {
        int n = (int)(a->cols - j);
        vf v = backward_dx_vec(vf_load_n(x + j, n), vf_load_n(dy + j, n), vf_load_n(a->gamma + j, n), mean, rstd,
                               g_mean, gx_mean);
        vf_store_n(dx + j, n, residual ? vf_add(v, vf_load_n(residual + j, n)) : v);
    }
}

VT_INLINE void backward_rows(const vt_layernorm_bwd_args *a, int rows, int64_t r, float *dgamma, float *dbeta)
{
    vf g_sum[ROW_GROUP], gx_sum[ROW_GROUP];
    VT_UNROLL
    for (int i = 0; i < rows; i++)
        g_sum[i] = gx_sum[i] = vf_zero();
    int64_t j = 0;
    for (; j + VW <= a->cols; j += VW)
        backward_sums_vec(a, rows, r, j, VW, g_sum, gx_sum, dgamma, dbeta);
    if (j < a->cols)
        backward_sums_vec(a, rows, r, j, (int)(a->cols - j), g_sum, gx_sum, dgamma, dbeta);
    VT_UNROLL
    for (int i = 0; i < rows; i++)
        backward_dx(a, r + i, vf_sum(g_sum[i]), vf_sum(gx_sum[i]));
}

static void backward_job(void *context, int64_t job, int thread)
{
    const backward_plan *p = context;
    const vt_layernorm_bwd_args *a = p->a;
    (void)thread;
    const int64_t slice = job / SLICE_PARTS, part = job % SLICE_PARTS;
    const int64_t first = part_begin(a->samples, a->slices, slice) * a->tokens;
    const int64_t rows = part_begin(a->samples, a->slices, slice + 1) * a->tokens - first;
    const int64_t end = first + part_begin(rows, SLICE_PARTS, part + 1);
    float *dgamma = p->partials + job * 2 * a->cols, *dbeta = dgamma + a->cols;
    memset(dgamma, 0, (size_t)(2 * a->cols) * sizeof *dgamma);
    int64_t r = first + part_begin(rows, SLICE_PARTS, part);
    for (; r + ROW_GROUP <= end; r += ROW_GROUP)
        backward_rows(a, ROW_GROUP, r, dgamma, dbeta);
    for (; r < end; r++)
        backward_rows(a, 1, r, dgamma, dbeta);
}

/* Adds up the partial sums of TREE_COLS columns of dgamma, followed by dbeta. */
static void combine_job(void *context, int64_t job, int thread)
{
    const backward_plan *p = context;
    const vt_layernorm_bwd_args *a = p->a;
    (void)thread;
    const int64_t c0 = job * TREE_COLS, cols = min_i64(TREE_COLS, 2 * a->cols - c0);
    float buffers[(TREE_LEVELS + 1) * TREE_COLS];
    slice_tree t = tree_over(buffers, cols, a->slices);
    for (int64_t s = 0; s < a->slices; s++) {
        const float *part = p->partials + s * SLICE_PARTS * 2 * a->cols + c0;
        memcpy(t.free, part, (size_t)cols * sizeof *part);
        for (int i = 1; i < SLICE_PARTS; i++) {
            part += 2 * a->cols;
            for (int64_t c = 0; c < cols; c++)
                t.free[c] = t.free[c] + part[c];
        }
        tree_push(&t, a->slices);
    }
    for (int64_t c = 0; c < cols; c++) {
        float *to = c0 + c < a->cols ? a->dgamma + c0 + c : a->dbeta + c0 + c - a->cols;
        *to = a->accumulate ? *to + t.free[c] : t.free[c];
    }
}

void VT_KERNEL(layernorm_bwd)(const vt_exec *ex, const vt_layernorm_bwd_args *a)
{
    backward_plan p = {.ex = ex, .a = a, .partials = scratch_of(ex, 0)};
    vt_pool_run(ex->pool, (int64_t)a->slices * SLICE_PARTS, backward_job, &p);
    vt_pool_run(ex->pool, ceil_div(2 * a->cols, TREE_COLS), combine_job, &p);
}

int64_t VT_FOR_ISA(vt_cpu_norm_scratch)(const vt_limits *limits)
{
    return limits->slices * SLICE_PARTS * 2 * limits->width;
}
