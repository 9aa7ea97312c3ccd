/* Means over tokens, and tokens put in front of the others (kernels/ops.h). All are bound by memory; a mean adds token
 * after token. A job is some samples. */
#include "kernels/cpu/kernel.h"

#define JOB_FLOATS 32768

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
    const float n = (float)a->taken;
    const int64_t end = min_i64(p->samples, (job + 1) * p->samples_per_job);
    for (int64_t b = job * p->samples_per_job; b < end; b++) {
        float *y = a->y + b * a->cols;
        sum_rows(a->x + (b * a->tokens + a->first) * a->cols, a->cols, a->taken, a->cols, y);
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
    const float n = (float)a->taken;
    const int64_t end = min_i64(p->samples, (job + 1) * p->samples_per_job);
    for (int64_t b = job * p->samples_per_job; b < end; b++) {
        float *sample = a->dx + b * a->tokens * a->cols, *dx = sample + a->first * a->cols;
        memset(sample, 0, (size_t)(a->first * a->cols) * sizeof *sample);
        for (int64_t c = 0; c < a->cols; c++)
            dx[c] = a->dy[b * a->cols + c] / n;
        for (int64_t t = 1; t < a->taken; t++)
            memcpy(dx + t * a->cols, dx, (size_t)a->cols * sizeof *dx);
        memset(dx + a->taken * a->cols, 0, (size_t)((a->tokens - a->first - a->taken) * a->cols) * sizeof *dx);
    }
}

void VT_KERNEL(mean_tokens_bwd)(const vt_exec *ex, const vt_mean_tokens_bwd_args *a)
{
    mean_plan p = {.bwd = a, .samples = a->samples};
    p.samples_per_job = max_i64(1, JOB_FLOATS / (a->tokens * a->cols));
    vt_pool_run(ex->pool, ceil_div(a->samples, p.samples_per_job), mean_bwd_job, &p);
}

typedef struct {
    const vt_join_tokens_fwd_args *fwd;
    const vt_join_tokens_bwd_args *bwd;
    int64_t samples, samples_per_job;
} join_plan;

static void join_fwd_job(void *context, int64_t job, int thread)
{
    const join_plan *p = context;
    const vt_join_tokens_fwd_args *a = p->fwd;
    (void)thread;
    const int64_t count = a->tokens * a->cols, front = ((a->token != NULL) + a->n) * a->cols;
    const int64_t end = min_i64(p->samples, (job + 1) * p->samples_per_job);
    for (int64_t b = job * p->samples_per_job; b < end; b++) {
        float *y = a->y + b * (front + count), *more = y + front - a->n * a->cols;
        if (a->token)
            memcpy(y, a->token, (size_t)a->cols * sizeof *y);
        for (int64_t c = 0; a->position && c < a->cols; c++)
            y[c] += a->position[c];
        if (a->n > 0)
            memcpy(more, a->more, (size_t)(a->n * a->cols) * sizeof *y);
        memcpy(y + front, a->x + b * count, (size_t)count * sizeof *y);
    }
}

static void join_bwd_job(void *context, int64_t job, int thread)
{
    const join_plan *p = context;
    const vt_join_tokens_bwd_args *a = p->bwd;
    (void)thread;
    const int64_t count = a->tokens * a->cols, front = a->front * a->cols;
    const int64_t end = min_i64(p->samples, (job + 1) * p->samples_per_job);
    for (int64_t b = job * p->samples_per_job; b < end; b++)
        memcpy(a->dx + b * count, a->dy + b * (front + count) + front, (size_t)count * sizeof *a->dx);
}

void VT_KERNEL(join_tokens_fwd)(const vt_exec *ex, const vt_join_tokens_fwd_args *a)
{
    join_plan p = {.fwd = a, .samples = a->samples};
    p.samples_per_job = max_i64(1, JOB_FLOATS / (a->tokens * a->cols));
    vt_pool_run(ex->pool, ceil_div(a->samples, p.samples_per_job), join_fwd_job, &p);
}

void VT_KERNEL(join_tokens_bwd)(const vt_exec *ex, const vt_join_tokens_bwd_args *a)
{
    join_plan p = {.bwd = a, .samples = a->samples};
    p.samples_per_job = max_i64(1, JOB_FLOATS / (a->tokens * a->cols));
    vt_pool_run(ex->pool, ceil_div(a->samples, p.samples_per_job), join_bwd_job, &p);
}
