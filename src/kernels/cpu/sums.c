/* Means over tokens, sums over samples, and the sum of squares (kernels/ops.h). All are bound by memory; their order is
 * fixed by the shape: tokens one after the other, samples by slices and their tree, squares by chunks of the tensor. */
#include "kernels/cpu/kernel.h"

#define JOB_FLOATS  32768
#define SUM_COLS    256 /* columns of sum_samples in a job: their partial sums of all tree levels fit the first cache */
#define MAX_CHUNKS  1024 /* of sum_squares */
#define CHUNK_ALIGN 4096

/* sum[j] = sum over rows of x[r*ld + j] for cols <= SUM_COLS columns, row after row. */
static void sum_rows(const float *x, int64_t ld, int64_t rows, int64_t cols, float *sum)
{
    for (int64_t j = 0; j < cols; j += VW) {
        const int lanes = (int)min_i64(VW, cols - j);
        vf total = vf_zero();
        if (lanes == VW) {
            for (int64_t r = 0; r < rows; r++)
                total = vf_add(total, vf_load(x + r * ld + j));
        } else {
            for (int64_t r = 0; r < rows; r++)
                total = vf_add(total, vf_load_n(x + r * ld + j, lanes));
        }
        vf_store_n(sum + j, lanes, total);
    }
}

typedef struct {
    const vt_mean_tokens_fwd_args *fwd;
    const vt_mean_tokens_bwd_args *bwd;
    int64_t samples, samples_per_job;
} mean_plan;

static void mean_fwd_job(void *context, int64_t job, int thread)
{
    const mean_plan *p = context;
    const vt_mean_tokens_fwd_args *a = p->fwd;
    (void)thread;
    const float n = (float)a->tokens;
    const int64_t end = min_i64(p->samples, (job + 1) * p->samples_per_job);
    for (int64_t b = job * p->samples_per_job; b < end; b++) {
        float *y = a->y + b * a->cols;
        sum_rows(a->x + b * a->tokens * a->cols, a->cols, a->tokens, a->cols, y);
        for (int64_t c = 0; c < a->cols; c++)
            y[c] /= n;
    }
}

void VT_KERNEL(mean_tokens_fwd)(const vt_exec *ex, const vt_mean_tokens_fwd_args *a)
{
    mean_plan p = {.fwd = a, .samples = a->samples};
    p.samples_per_job = max_i64(1, JOB_FLOATS / (a->tokens * a->cols));
    vt_pool_run(ex->pool, ceil_div(a->samples, p.samples_per_job), mean_fwd_job, &p);
}

static void mean_bwd_job(void *context, int64_t job, int thread)
{
    const mean_plan *p = context;
    const vt_mean_tokens_bwd_args *a = p->bwd;
    (void)thread;
    const float n = (float)a->tokens;
    const int64_t end = min_i64(p->samples, (job + 1) * p->samples_per_job);
    for (int64_t b = job * p->samples_per_job; b < end; b++) {
        float *dx = a->dx + b * a->tokens * a->cols;
        for (int64_t c = 0; c < a->cols; c++)
            dx[c] = a->dy[b * a->cols + c] / n;
        for (int64_t t = 1; t < a->tokens; t++)
            memcpy(dx + t * a->cols, dx, (size_t)a->cols * sizeof *dx);
    }
}

void VT_KERNEL(mean_tokens_bwd)(const vt_exec *ex, const vt_mean_tokens_bwd_args *a)
{
    mean_plan p = {.bwd = a, .samples = a->samples};
    p.samples_per_job = max_i64(1, JOB_FLOATS / (a->tokens * a->cols));
    vt_pool_run(ex->pool, ceil_div(a->samples, p.samples_per_job), mean_bwd_job, &p);
}

static void sum_samples_job(void *context, int64_t job, int thread)
{
    const vt_sum_samples_args *a = context;
    (void)thread;
    const int64_t c0 = job * SUM_COLS, cols = min_i64(SUM_COLS, a->cols - c0);
    float buffers[(TREE_LEVELS + 1) * SUM_COLS];
    slice_tree t = tree_over(buffers, cols, a->slices);
    for (int s = 0; s < a->slices; s++) {
        const int64_t b0 = part_begin(a->samples, a->slices, s), b1 = part_begin(a->samples, a->slices, s + 1);
        sum_rows(a->x + b0 * a->cols + c0, a->cols, b1 - b0, cols, t.free);
        tree_push(&t, a->slices);
    }
    for (int64_t c = 0; c < cols; c++)
        a->y[c0 + c] = a->accumulate ? a->y[c0 + c] + t.free[c] : t.free[c];
}

void VT_KERNEL(sum_samples)(const vt_exec *ex, const vt_sum_samples_args *a)
{
    vt_sum_samples_args copy = *a;
    vt_pool_run(ex->pool, ceil_div(a->cols, SUM_COLS), sum_samples_job, &copy);
}

typedef struct {
    const vt_sum_squares_args *a;
    int64_t chunk;    /* floats */
    double *partials; /* one for each chunk */
} squares_plan;

static void sum_squares_job(void *context, int64_t job, int thread)
{
    const squares_plan *p = context;
    (void)thread;
    const int64_t end = min_i64(p->a->count, (job + 1) * p->chunk);
    vd sum[2] = {{0}, {0}};
    int64_t i = job * p->chunk;
    for (; i + VW <= end; i += VW)
        vd_add_squares(sum, vf_load(p->a->x + i));
    if (i < end)
        vd_add_squares(sum, vf_load_n(p->a->x + i, (int)(end - i)));
    double lanes[VW], total = 0;
    memcpy(lanes, sum, sizeof lanes);
    for (int l = 0; l < VW; l++)
        total += lanes[l];
    p->partials[job] = total;
}

void VT_KERNEL(sum_squares)(const vt_exec *ex, const vt_sum_squares_args *a)
{
    squares_plan p = {.a = a, .partials = (double *)(void *)ex->scratch};
    p.chunk = ceil_div(max_i64(1, ceil_div(a->count, MAX_CHUNKS)), CHUNK_ALIGN) * CHUNK_ALIGN;
    const int64_t chunks = ceil_div(a->count, p.chunk);
    vt_pool_run(ex->pool, chunks, sum_squares_job, &p);
    double total = 0;
    for (int64_t c = 0; c < chunks; c++)
        total += p.partials[c];
    *a->sum = total;
}

int64_t VT_FOR_ISA(vt_cpu_sums_scratch)(const vt_limits *limits)
{
    (void)limits;
    return MAX_CHUNKS * (int64_t)(sizeof(double) / sizeof(float));
}
