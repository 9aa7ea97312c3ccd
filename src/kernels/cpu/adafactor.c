/* One step of the modified Adafactor (kernels/ops.h). A factored tensor takes two passes: row means and column means of
 * the squared gradient, then the update. The roots of column moments serve all rows of a job. Roots are divided,
 * not quotients rooted, since R / mean(R) may fall below the smallest number. Sums have an order fixed by the shape:
 * along a row over lanes, down a column in runs of COLUMN_RUN rows. */
#include <math.h>

#include "kernels/cpu/update.h"

#define COL_BLOCK  256 /* columns whose sums a job keeps */
#define COLUMN_RUN 64  /* rows added up before they join the column's sum: long columns lose less */
#define SQUARE_EPS 1e-30F

typedef struct {
    const vt_exec *ex;
    const vt_adafactor_args *a;
    int64_t rows_per_job, row_jobs; /* of the moments of one block */
    int64_t col_jobs;               /* of one block */
    int64_t per_job;                /* rows of all blocks, or elements, of the update */
    double *sums;                   /* of squared changes, by job */
} update_plan;

/* G of n elements from `at` on, zero in the other lanes. */
VT_INLINE vf squared_gradient(const vt_adafactor_args *a, int64_t at, int n, vf scale)
{
    const vf g = vf_mul(scale, load_real(a->grad, a->grad_type, at, n));
    return first_lanes(vf_fma(g, g, vf_set1(SQUARE_EPS)), n);
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
        const int64_t at = block * a->block_stride + r * a->row_stride;
        vf even = vf_zero(), odd = vf_zero();
        int64_t c = 0;
        for (; c + 2 * VW <= a->cols; c += 2 * VW) {
            even = vf_add(even, squared_gradient(a, at + c, VW, scale));
            odd = vf_add(odd, squared_gradient(a, at + c + VW, VW, scale));
        }
        for (; c < a->cols; c += VW)
            even = vf_add(even, squared_gradient(a, at + c, (int)min_i64(VW, a->cols - c), scale));
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
            const int64_t at = block * a->block_stride + c;
            vf run = vf_zero();
            for (int64_t r = r0; r < r1; r++)
                run = vf_add(run, squared_gradient(a, at + r * a->row_stride, lanes, scale));
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

/* What happens to n elements from `at` on once their v is known. */
VT_INLINE void step_vec(const vt_adafactor_args *a, int64_t at, int n, vf v, change_sum *change)
{
    const vf m = load_real(a->momentum, a->moment_type, at, n);
    const vf u = vf_fma(vf_set1(a->beta1_kept), m, vf_mul(vf_set1(1.0F - a->beta1), v));
    store_real(a->momentum, a->moment_type, at, n, u);
    move_value(a->value + at, n, vf_set1(a->lr), vf_set1(a->decay), u, change);
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

static void take_roots(const float *x, int64_t n, float *roots)
{
    int64_t i = 0;
    for (; i + VW <= n; i += VW)
        vf_store(roots + i, vf_sqrt(vf_load(x + i)));
    if (i < n)
        vf_store_n(roots + i, (int)(n - i), vf_sqrt(vf_load_n(x + i, (int)(n - i))));
}

/* n elements of a row whose factor is given, like the roots of their columns' moments. */
VT_INLINE void factored_vec(const vt_adafactor_args *a, int64_t at, int n, vf row, const float *roots,
                            change_sum *change)
{
    const vf g = vf_mul(vf_set1(a->grad_scale), load_real(a->grad, a->grad_type, at, n));
    step_vec(a, at, n, vf_div(g, vf_mul(row, load_real(roots, VT_F32, 0, n))), change);
}

/* Rows are counted through all blocks. */
static void factored_job(void *context, int64_t job, int thread)
{
    const update_plan *p = context;
    const vt_adafactor_args *a = p->a;
    change_sum change = {.on = a->square_change != NULL};
    const int64_t begin = job * p->per_job, end = min_i64(a->blocks * a->rows, begin + p->per_job);
    float mean_root = 0, *roots = own_scratch(p->ex, thread);
    for (int64_t i = begin; i < end; i++) {
        const int64_t block = i / a->rows, r = i % a->rows, at = block * a->block_stride + r * a->row_stride;
        if (i == begin || r == 0) {
            mean_root = sqrtf(mean_row_moment(a, block));
            take_roots(a->col_moment + block * a->cols, a->cols, roots);
        }
        const vf row = vf_set1(sqrtf(a->row_moment[i]) / mean_root);
        int64_t c = 0;
        for (; c + VW <= a->cols; c += VW)
            factored_vec(a, at + c, VW, row, roots + c, &change);
        if (c < a->cols)
            factored_vec(a, at + c, (int)(a->cols - c), row, roots + c, &change);
    }
    if (change.on)
        p->sums[job] = sum_lanes(change.sum);
}

/* v = g / sqrt(V) of n elements, V moved. */
VT_INLINE void full_vec(const vt_adafactor_args *a, int64_t at, int n, change_sum *change)
{
    const vf g = vf_mul(vf_set1(a->grad_scale), load_real(a->grad, a->grad_type, at, n));
    const vf square = vf_fma(g, g, vf_set1(SQUARE_EPS)), old = load_real(a->full_moment, VT_F32, at, n);
    const vf moment = vf_fma(vf_set1(a->beta2), old, vf_mul(vf_set1(1.0F - a->beta2), square));
    store_real(a->full_moment, VT_F32, at, n, moment);
    step_vec(a, at, n, vf_div(g, vf_sqrt(moment)), change);
}

static void full_job(void *context, int64_t job, int thread)
{
    const update_plan *p = context;
    const vt_adafactor_args *a = p->a;
    (void)thread;
    change_sum change = {.on = a->square_change != NULL};
    const int64_t end = min_i64(a->cols, (job + 1) * p->per_job);
    int64_t c = job * p->per_job;
    for (; c + VW <= end; c += VW)
        full_vec(a, c, VW, &change);
    if (c < end)
        full_vec(a, c, (int)(end - c), &change);
    if (change.on)
        p->sums[job] = sum_lanes(change.sum);
}

void VT_KERNEL(adafactor)(const vt_exec *ex, const vt_adafactor_args *a)
{
    update_plan p = {.ex = ex, .a = a, .sums = change_sums(ex)};
    int64_t jobs;
    if (a->row_moment == NULL) {
        p.per_job = per_job(a->cols, UPDATE_FLOATS);
        jobs = ceil_div(a->cols, p.per_job);
        vt_pool_run(ex->pool, jobs, full_job, &p);
    } else {
        p.rows_per_job = max_i64(1, UPDATE_FLOATS / a->cols);
        p.row_jobs = ceil_div(a->rows, p.rows_per_job);
        p.col_jobs = ceil_div(a->cols, COL_BLOCK);
        vt_pool_run(ex->pool, a->blocks * (p.row_jobs + p.col_jobs), moments_job, &p);
        p.per_job = per_job(a->blocks * a->rows, p.rows_per_job);
        jobs = ceil_div(a->blocks * a->rows, p.per_job);
        vt_pool_run(ex->pool, jobs, factored_job, &p);
    }
    add_change_sums(ex, jobs, a->square_change);
}
