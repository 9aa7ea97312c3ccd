/* Layer normalization, forward and backward (kernels/ops.h).
 *
 * Statistics of a row are sums over lanes, CHAINS vectors at a time, then over the lanes of their total: an order fixed
 * by cols. The gradients of gamma and beta are sums over rows (row_sums.h). */
#include <math.h>

#include "kernels/cpu/row_sums.h"

#define CHAINS     4
#define JOB_FLOATS 32768 /* of x that are worth a job of their own */
#define ROW_GROUP  4     /* rows that share a pass over the sums for gamma and beta */

typedef struct {
    const vt_exec *ex;
    const vt_layernorm_fwd_args *a;
    int64_t rows_per_job;
} forward_plan;

/* Where element i of a tensor lies. */
VT_INLINE const void *real_at(const void *x, vt_real type, int64_t i)
{
    return type == VT_BF16 ? (const void *)((const uint16_t *)x + i) : (const void *)((const float *)x + i);
}

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

VT_INLINE void forward_row(const vt_layernorm_fwd_args *a, vt_real type, int64_t r)
{
    const int64_t at = r * a->cols;
    const float *x = a->x + at;
    const float mean = row_sum(x, a->cols, 0, 0) / (float)a->cols;
    const float var = row_sum(x, a->cols, mean, 1) / (float)a->cols;
    const float rstd = 1.0F / sqrtf(var + a->eps);
    a->mean[r] = mean;
    a->rstd[r] = rstd;
    const vf m = vf_set1(mean), s = vf_set1(rstd);
    int64_t j = 0;
    for (; j + VW <= a->cols; j += VW) {
        vf xhat = vf_mul(vf_sub(vf_load(x + j), m), s);
        store_real(a->y, type, at + j, VW, vf_fma(xhat, vf_load(a->gamma + j), vf_load(a->beta + j)));
    }
    if (j < a->cols) {
        int lanes = (int)(a->cols - j);
        vf xhat = vf_mul(vf_sub(vf_load_n(x + j, lanes), m), s);
        vf y = vf_fma(xhat, vf_load_n(a->gamma + j, lanes), vf_load_n(a->beta + j, lanes));
        store_real(a->y, type, at + j, lanes, y);
    }
}

VT_INLINE void forward_rows(const forward_plan *p, vt_real type, int64_t job)
{
    const vt_layernorm_fwd_args a = *p->a; /* in registers: what is stored may not be in it */
    const int64_t end = min_i64(a.rows, (job + 1) * p->rows_per_job);
    for (int64_t r = job * p->rows_per_job; r < end; r++)
        forward_row(&a, type, r);
}

static void forward_job_f32(void *context, int64_t job, int thread)
{
    (void)thread;
    forward_rows(context, VT_F32, job);
}

static void forward_job_bf16(void *context, int64_t job, int thread)
{
    (void)thread;
    forward_rows(context, VT_BF16, job);
}

void VT_KERNEL(layernorm_fwd)(const vt_exec *ex, const vt_layernorm_fwd_args *a)
{
    forward_plan p = {.ex = ex, .a = a, .rows_per_job = max_i64(1, JOB_FLOATS / a->cols)};
    vt_pool_fn *job = a->type == VT_BF16 ? forward_job_bf16 : forward_job_f32;
    vt_pool_run(ex->pool, ceil_div(a->rows, p.rows_per_job), job, &p);
}

typedef struct {
    const vt_layernorm_bwd_args *a;
    float *partials; /* (slices, SLICE_PARTS, 2, cols): dgamma, dbeta */
} backward_plan;

/* One vector of columns for `rows` rows: adds to their two row sums, and to gamma's and beta's sums for these columns.
 */
VT_INLINE void backward_sums_vec(const vt_layernorm_bwd_args *a, vt_real type, int rows, int64_t r, int64_t j,
                                 int lanes, vf *g_sum, vf *gx_sum, float *dgamma, float *dbeta)
{
    const vf gamma = lanes == VW ? vf_load(a->gamma + j) : vf_load_n(a->gamma + j, lanes);
    vf dg = lanes == VW ? vf_load(dgamma + j) : vf_load_n(dgamma + j, lanes);
    vf db = lanes == VW ? vf_load(dbeta + j) : vf_load_n(dbeta + j, lanes);
    VT_UNROLL
    for (int i = 0; i < rows; i++) {
        const int64_t at = (r + i) * a->cols + j;
        vf d = load_real(a->dy, type, at, lanes);
        vf v = load_real(a->x, VT_F32, at, lanes);
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

/* What dx of one row is made from. */
typedef struct {
    vf mean, rstd, g_mean, gx_mean;
    const float *x, *gamma, *residual;
    const void *dy;
    float *dx;
    uint16_t *rounded;
} row_plan;

/* dx = rstd (g - g_mean - xhat gx_mean) + dresidual for one vector of columns. */
VT_INLINE void backward_dx_vec(const row_plan *p, vt_real type, int64_t j, int lanes)
{
    vf xhat = vf_mul(vf_sub(load_real(p->x, VT_F32, j, lanes), p->mean), p->rstd);
    vf g = vf_mul(load_real(p->dy, type, j, lanes), load_real(p->gamma, VT_F32, j, lanes));
    vf dx = vf_mul(p->rstd, vf_fnma(xhat, p->gx_mean, vf_sub(g, p->g_mean)));
    if (p->residual)
        dx = vf_add(dx, load_real(p->residual, VT_F32, j, lanes));
    store_real(p->dx, VT_F32, j, lanes, dx);
    if (p->rounded)
        store_real(p->rounded, VT_BF16, j, lanes, dx);
}

VT_INLINE void backward_dx(const vt_layernorm_bwd_args *a, vt_real type, int64_t r, float g_sum, float gx_sum)
{
    const int64_t at = r * a->cols, cols = a->cols;
    const row_plan p = {.mean = vf_set1(a->mean[r]),
                        .rstd = vf_set1(a->rstd[r]),
                        .g_mean = vf_set1(g_sum / (float)cols),
                        .gx_mean = vf_set1(gx_sum / (float)cols),
                        .x = a->x + at,
                        .gamma = a->gamma,
                        .residual = a->dresidual ? a->dresidual + at : NULL,
                        .dy = real_at(a->dy, type, at),
                        .dx = a->dx + at,
                        .rounded = a->dx_bf16 ? a->dx_bf16 + at : NULL};
    int64_t j = 0;
    for (; j + VW <= cols; j += VW)
        backward_dx_vec(&p, type, j, VW);
    if (j < cols)
        backward_dx_vec(&p, type, j, (int)(cols - j));
}

VT_INLINE void backward_rows(const vt_layernorm_bwd_args *a, vt_real type, int rows, int64_t r, float *dgamma,
                             float *dbeta)
{
    vf g_sum[ROW_GROUP], gx_sum[ROW_GROUP];
    VT_UNROLL
    for (int i = 0; i < rows; i++)
        g_sum[i] = gx_sum[i] = vf_zero();
    int64_t j = 0;
    for (; j + VW <= a->cols; j += VW)
        backward_sums_vec(a, type, rows, r, j, VW, g_sum, gx_sum, dgamma, dbeta);
    if (j < a->cols)
        backward_sums_vec(a, type, rows, r, j, (int)(a->cols - j), g_sum, gx_sum, dgamma, dbeta);
    VT_UNROLL
    for (int i = 0; i < rows; i++)
        backward_dx(a, type, r + i, vf_sum(g_sum[i]), vf_sum(gx_sum[i]));
}

VT_INLINE void backward_run(const backward_plan *p, vt_real type, int64_t job)
{
    const vt_layernorm_bwd_args *a = p->a;
    const row_run run = run_of_job(a->samples, a->tokens, a->slices, job);
    float *dgamma = p->partials + job * 2 * a->cols, *dbeta = dgamma + a->cols;
    memset(dgamma, 0, (size_t)(2 * a->cols) * sizeof *dgamma);
    int64_t r = run.first;
    for (; r + ROW_GROUP <= run.end; r += ROW_GROUP)
        backward_rows(a, type, ROW_GROUP, r, dgamma, dbeta);
    for (; r < run.end; r++)
        backward_rows(a, type, 1, r, dgamma, dbeta);
}

static void backward_job_f32(void *context, int64_t job, int thread)
{
    (void)thread;
    backward_run(context, VT_F32, job);
}

static void backward_job_bf16(void *context, int64_t job, int thread)
{
    (void)thread;
    backward_run(context, VT_BF16, job);
}

void VT_KERNEL(layernorm_bwd)(const vt_exec *ex, const vt_layernorm_bwd_args *a)
{
    backward_plan p = {.a = a, .partials = scratch_of(ex, 0)};
    row_sums sums = {.partials = p.partials,
                     .vectors = 2,
                     .cols = a->cols,
                     .slices = a->slices,
                     .accumulate = a->accumulate,
                     .type = a->grad_type,
                     .to = {a->dgamma, a->dbeta}};
    run_row_sums(ex, a->type == VT_BF16 ? backward_job_bf16 : backward_job_f32, &p, &sums);
}

int64_t VT_FOR_ISA(vt_cpu_norm_scratch)(const vt_limits *limits)
{
    return limits->slices * SLICE_PARTS * 2 * limits->norm_width;
}
