/* Layer normalization of each head of queries or keys in their place, forward and backward (kernels/ops.h).
 *
 * A head is a few vectors wide: its sums go over them one after another, then over the lanes, an order fixed by the
 * head's width. A job is some rows; backward, one run of rows of a slice (row_sums.h). */
#include <math.h>

#include "kernels/cpu/row_sums.h"

#define JOB_NUMBERS 32768

typedef struct {
    const vt_headnorm_fwd_args *a;
    int64_t rows_per_job;
} forward_plan;

/* Sum over a head of x - shift, or of its square. */
VT_INLINE float head_sum(const void *x, vt_real type, int64_t at, int64_t n, float shift, int squared)
{
    const vf s = vf_set1(shift);
    vf total = vf_zero();
    for (int64_t k = 0; k < n; k += VW) {
        const int lanes = (int)min_i64(VW, n - k);
        const vf v = first_lanes(vf_sub(load_real(x, type, at + k, lanes), s), lanes);
        total = squared ? vf_fma(v, v, total) : vf_add(total, v);
    }
    return vf_sum(total);
}

/* Head i: i / heads is its row. */
VT_INLINE void forward_head(const vt_headnorm_fwd_args *a, vt_real type, int64_t i)
{
    const int64_t n = a->head_width, at = i / a->heads * a->row_stride + i % a->heads * n;
    const float mean = head_sum(a->y, type, at, n, 0, 0) / (float)n;
    const float rstd = 1.0F / sqrtf(head_sum(a->y, type, at, n, mean, 1) / (float)n + a->eps);
    if (a->mean) {
        a->mean[i] = mean;
        a->rstd[i] = rstd;
    }
    for (int64_t k = 0; k < n; k += VW) {
        const int lanes = (int)min_i64(VW, n - k);
        const vf x = load_real(a->y, type, at + k, lanes);
        if (a->saved)
            store_real(a->saved, type, i * n + k, lanes, x);
        const vf xhat = vf_mul(vf_sub(x, vf_set1(mean)), vf_set1(rstd));
        const vf gamma = load_real(a->gamma, VT_F32, k, lanes), beta = load_real(a->beta, VT_F32, k, lanes);
        store_real(a->y, type, at + k, lanes, vf_fma(xhat, gamma, beta));
    }
}

static void forward_job(void *context, int64_t job, int thread)
{
    const forward_plan *p = context;
    const vt_headnorm_fwd_args *a = p->a;
    (void)thread;
    const int64_t end = min_i64(a->rows, (job + 1) * p->rows_per_job) * a->heads;
    for (int64_t i = job * p->rows_per_job * a->heads; i < end; i++) {
        if (a->type == VT_F32)
            forward_head(a, VT_F32, i);
        else
            forward_head(a, VT_BF16, i);
    }
}

void VT_KERNEL(headnorm_fwd)(const vt_exec *ex, const vt_headnorm_fwd_args *a)
{
    forward_plan p = {.a = a, .rows_per_job = max_i64(1, JOB_NUMBERS / (a->heads * a->head_width))};
    vt_pool_run(ex->pool, ceil_div(a->rows, p.rows_per_job), forward_job, &p);
}

typedef struct {
    const vt_headnorm_bwd_args *a;
    float *partials; /* (slices, SLICE_PARTS, 2, head_width): dgamma, dbeta */
} backward_plan;

/* xhat of the saved numbers k, ... of head i. */
VT_INLINE vf normalized(const vt_headnorm_bwd_args *a, vt_real type, int64_t i, int64_t k, int lanes)
{
    const vf x = load_real(a->x, type, i * a->head_width + k, lanes);
    return vf_mul(vf_sub(x, vf_set1(a->mean[i])), vf_set1(a->rstd[i]));
}

VT_INLINE void backward_head(const vt_headnorm_bwd_args *a, vt_real type, int64_t i, float *dgamma, float *dbeta)
{
    const int64_t n = a->head_width, at = i / a->heads * a->row_stride + i % a->heads * n;
    vf g_sum = vf_zero(), gx_sum = vf_zero();
    for (int64_t k = 0; k < n; k += VW) {
        const int lanes = (int)min_i64(VW, n - k);
        const vf d = load_real(a->dy, type, at + k, lanes), g = vf_mul(d, load_real(a->gamma, VT_F32, k, lanes));
        const vf xhat = normalized(a, type, i, k, lanes); /* beyond the head g and d are 0 */
        g_sum = vf_add(g_sum, g);
        gx_sum = vf_fma(g, xhat, gx_sum);
        store_real(dgamma, VT_F32, k, lanes, vf_fma(d, xhat, load_real(dgamma, VT_F32, k, lanes)));
        store_real(dbeta, VT_F32, k, lanes, vf_add(load_real(dbeta, VT_F32, k, lanes), d));
    }
    const vf g_mean = vf_set1(vf_sum(g_sum) / (float)n), gx_mean = vf_set1(vf_sum(gx_sum) / (float)n);
    for (int64_t k = 0; k < n; k += VW) {
        const int lanes = (int)min_i64(VW, n - k);
        const vf g = vf_mul(load_real(a->dy, type, at + k, lanes), load_real(a->gamma, VT_F32, k, lanes));
        const vf dx = vf_fnma(normalized(a, type, i, k, lanes), gx_mean, vf_sub(g, g_mean));
        store_real(a->dy, type, at + k, lanes, vf_mul(vf_set1(a->rstd[i]), dx));
    }
}

static void backward_job(void *context, int64_t job, int thread)
{
    const backward_plan *p = context;
    const vt_headnorm_bwd_args *a = p->a;
    (void)thread;
    const row_run run = run_of_job(a->samples, a->tokens, a->slices, job);
    float *dgamma = p->partials + job * 2 * a->head_width, *dbeta = dgamma + a->head_width;
    memset(dgamma, 0, (size_t)(2 * a->head_width) * sizeof *dgamma);
    for (int64_t i = run.first * a->heads; i < run.end * a->heads; i++) {
        if (a->type == VT_F32)
            backward_head(a, VT_F32, i, dgamma, dbeta);
        else
            backward_head(a, VT_BF16, i, dgamma, dbeta);
    }
}

void VT_KERNEL(headnorm_bwd)(const vt_exec *ex, const vt_headnorm_bwd_args *a)
{
    backward_plan p = {.a = a, .partials = scratch_of(ex, 0)};
    row_sums sums = {.partials = p.partials,
                     .vectors = 2,
                     .cols = a->head_width,
                     .slices = a->slices,
                     .accumulate = a->accumulate,
                     .type = a->grad_type,
                     .to = {a->dgamma, a->dbeta}};
    run_row_sums(ex, backward_job, &p, &sums);
}
