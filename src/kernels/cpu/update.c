/* One step of the modified Adafactor (kernels/ops.h). A factored tensor takes two passes: row means and column means of
 * the squared gradient, then the update. All of it is bound by memory, so nothing is precomputed that a division can
 * give. Sums have an order fixed by the shape: along a row over lanes, down a column in runs of COLUMN_RUN rows. */
#include <math.h>

#include "kernels/cpu/kernel.h"

#define JOB_FLOATS 16384
#define COL_BLOCK  256 /* columns whose sums a job keeps */
#define COLUMN_RUN 64  /* rows added up before they join the column's sum: long columns lose less */
#define SQUARE_EPS 1e-30F

typedef struct {
    const vt_adafactor_args *a;
    int64_t rows_per_job, row_jobs; /* of one block */
    int64_t col_jobs;               /* of one block */
    int64_t floats_per_job;         /* where nothing is factored */
} update_plan;

/* G of the first n lanes, zero in the others. */
VT_INLINE vf squared_gradient(const float *grad, int n, vf scale)
{
    if (n == VW) {
        vf g = vf_mul(scale, vf_load(grad));
        return vf_fma(g, g, vf_set1(SQUARE_EPS));
    }
    vf g = vf_mul(scale, vf_load_n(grad, n));
    float lanes[VW] = {0};
    vf_store_n(lanes, n, vf_fma(g, g, vf_set1(SQUARE_EPS)));
    return vf_load(lanes);
}

/* A moment moved towards the mean of n values with this sum. */
VT_INLINE float moved(float moment, float beta2, float sum, int64_t n)
{
    return beta2 * moment + (1.0F - beta2) * (sum / (float)n);
}

static void update_row_moments(const vt_adafactor_args *a, int64_t block, int64_t r0, int64_t r1)
{
    const vf scale = vf_set1(a->grad_scale);
    for (int64_t r = r0; r < r1; r++) {
        const float *grad = a->grad + block * a->block_stride + r * a->row_stride;
        vf even = vf_zero(), odd = vf_zero();
        int64_t c = 0;
        for (; c + 2 * VW <= a->cols; c += 2 * VW) {
            even = vf_add(even, squared_gradient(grad + c, VW, scale));
            odd = vf_add(odd, squared_gradient(grad + c + VW, VW, scale));
        }
        for (; c < a->cols; c += VW)
            even = vf_add(even, squared_gradient(grad + c, (int)min_i64(VW, a->cols - c), scale));
        float *moment = a->row_moment + block * a->rows + r;
        *moment = moved(*moment, a->beta2, vf_sum(vf_add(even, odd)), a->cols);
    }
}

static void update_col_moments(const vt_adafactor_args *a, int64_t block, int64_t c0, int64_t c1)
{
    const vf scale = vf_set1(a->grad_scale);
    float sums[COL_BLOCK] = {0};
    for (int64_t r0 = 0; r0 < a->rows; r0 += COLUMN_RUN) {
        const int64_t r1 = min_i64(a->rows, r0 + COLUMN_RUN);
        for (int64_t c = c0; c < c1; c += VW) {
            const int lanes = (int)min_i64(VW, c1 - c);
            const float *grad = a->grad + block * a->block_stride + c;
            vf run = vf_zero();
            for (int64_t r = r0; r < r1; r++)
                run = vf_add(run, squared_gradient(grad + r * a->row_stride, lanes, scale));
            float *sum = sums + (c - c0);
            vf_store(sum, vf_add(vf_load(sum), run));
        }
    }
    for (int64_t c = c0; c < c1; c++) {
        float *moment = a->col_moment + block * a->cols + c;
        *moment = moved(*moment, a->beta2, sums[c - c0], a->rows);
    }
}

static void moments_job(void *context, int64_t job, int thread)
{
    const update_plan *p = context;
    const vt_adafactor_args *a = p->a;
    (void)thread;
    const int64_t block = job / (p->row_jobs + p->col_jobs), part = job % (p->row_jobs + p->col_jobs);
    if (part < p->row_jobs) {
        update_row_moments(a, block, part * p->rows_per_job, min_i64(a->rows, (part + 1) * p->rows_per_job));
    } else {
        const int64_t c0 = (part - p->row_jobs) * COL_BLOCK;
        update_col_moments(a, block, c0, min_i64(a->cols, c0 + COL_BLOCK));
    }
}

/* What happens to VW elements once their u is known. */
VT_INLINE void step_vec(const vt_adafactor_args *a, vf u, float *value, uint16_t *momentum)
{
    vf m = vf_fma(vf_set1(a->beta1), vf_load_bf16(momentum), vf_mul(vf_set1(1.0F - a->beta1), u));
    vf_store_bf16(momentum, m);
    vf v = vf_load(value);
    vf_store(value, vf_sub(v, vf_fma(vf_set1(a->lr), m, vf_mul(vf_set1(a->decay), v))));
}

/* The same for n < VW elements. */
static void step_few(const vt_adafactor_args *a, vf u, float *value, uint16_t *momentum, int n)
{
    float values[VW] = {0};
    uint16_t moments[VW] = {0};
    memcpy(values, value, (size_t)n * sizeof *value);
    memcpy(moments, momentum, (size_t)n * sizeof *momentum);
    step_vec(a, u, values, moments);
    memcpy(value, values, (size_t)n * sizeof *value);
    memcpy(momentum, moments, (size_t)n * sizeof *momentum);
}

/* mean(R) of a block, its rows added over lanes. */
static float mean_row_moment(const vt_adafactor_args *a, int64_t block)
{
    const float *moment = a->row_moment + block * a->rows;
    vf sum = vf_zero();
    for (int64_t r = 0; r < a->rows; r += VW)
        sum = vf_add(sum, vf_load_n(moment + r, (int)min_i64(VW, a->rows - r)));
    return vf_sum(sum) / (float)a->rows;
}

static void factored_job(void *context, int64_t job, int thread)
{
    const update_plan *p = context;
    const vt_adafactor_args *a = p->a;
    (void)thread;
    const int64_t block = job / p->row_jobs, part = job % p->row_jobs;
    const float mean = mean_row_moment(a, block);
    const float *col_moment = a->col_moment + block * a->cols;
    const vf scale = vf_set1(a->grad_scale);
    const int64_t end = min_i64(a->rows, (part + 1) * p->rows_per_job);
    for (int64_t r = part * p->rows_per_job; r < end; r++) {
        const int64_t at = block * a->block_stride + r * a->row_stride;
        const vf row = vf_set1(sqrtf(a->row_moment[block * a->rows + r] / mean));
        int64_t c = 0;
        for (; c + VW <= a->cols; c += VW) {
            vf g = vf_mul(scale, vf_load(a->grad + at + c));
            vf u = vf_div(g, vf_mul(row, vf_sqrt(vf_load(col_moment + c))));
            step_vec(a, u, a->value + at + c, a->momentum + at + c);
        }
        if (c < a->cols) {
            const int n = (int)(a->cols - c);
            vf g = vf_mul(scale, vf_load_n(a->grad + at + c, n));
            vf u = vf_div(g, vf_mul(row, vf_sqrt(vf_load_n(col_moment + c, n))));
            step_few(a, u, a->value + at + c, a->momentum + at + c, n);
        }
    }
}

/* u = g / sqrt(V) of VW elements or fewer, V moved. */
VT_INLINE vf full_vec(const vt_adafactor_args *a, vf grad, vf moment, vf *moved_moment)
{
    vf g = vf_mul(vf_set1(a->grad_scale), grad);
    vf square = vf_fma(g, g, vf_set1(SQUARE_EPS));
    vf v = vf_fma(vf_set1(a->beta2), moment, vf_mul(vf_set1(1.0F - a->beta2), square));
    *moved_moment = v;
    return vf_div(g, vf_sqrt(v));
}

static void full_job(void *context, int64_t job, int thread)
{
    const update_plan *p = context;
    const vt_adafactor_args *a = p->a;
    (void)thread;
    const int64_t end = min_i64(a->cols, (job + 1) * p->floats_per_job);
    int64_t c = job * p->floats_per_job;
    vf v;
    for (; c + VW <= end; c += VW) {
        vf u = full_vec(a, vf_load(a->grad + c), vf_load(a->full_moment + c), &v);
        vf_store(a->full_moment + c, v);
        step_vec(a, u, a->value + c, a->momentum + c);
    }
    if (c < end) {
        const int n = (int)(end - c);
        vf u = full_vec(a, vf_load_n(a->grad + c, n), vf_load_n(a->full_moment + c, n), &v);
        vf_store_n(a->full_moment + c, n, v);
        step_few(a, u, a->value + c, a->momentum + c, n);
    }
}

void VT_KERNEL(adafactor)(const vt_exec *ex, const vt_adafactor_args *a)
{
    update_plan p = {.a = a, .floats_per_job = JOB_FLOATS};
    if (a->row_moment == NULL) {
        vt_pool_run(ex->pool, ceil_div(a->cols, p.floats_per_job), full_job, &p);
        return;
    }
    p.rows_per_job = max_i64(1, JOB_FLOATS / a->cols);
    p.row_jobs = ceil_div(a->rows, p.rows_per_job);
    p.col_jobs = ceil_div(a->cols, COL_BLOCK);
    vt_pool_run(ex->pool, a->blocks * (p.row_jobs + p.col_jobs), moments_job, &p);
    vt_pool_run(ex->pool, a->blocks * p.row_jobs, factored_job, &p);
}
