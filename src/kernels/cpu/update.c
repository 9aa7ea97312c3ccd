/* Adam, SGD with momentum and a moving average (kernels/ops.h): one pass over elements, bound by memory. */
#include "kernels/cpu/update.h"

/* One of the three and its arguments. */
typedef struct element_plan {
    const void *args;
    void (*elements)(const void *args, int64_t begin, int64_t end, change_sum *change);
    int64_t count, per_job;
    double *sums; /* of squared changes, by job; NULL where nobody asks */
} element_plan;

static void element_job(void *context, int64_t job, int thread)
{
    const element_plan *p = context;
    (void)thread;
    change_sum change = {.on = p->sums != NULL};
    p->elements(p->args, job * p->per_job, min_i64(p->count, (job + 1) * p->per_job), &change);
    if (change.on)
        p->sums[job] = sum_lanes(change.sum);
}

static void run_elements(const vt_exec *ex, element_plan p, double *square_change)
{
    p.per_job = per_job(p.count, UPDATE_FLOATS);
    p.sums = square_change ? change_sums(ex) : NULL;
    const int64_t jobs = ceil_div(p.count, p.per_job);
    vt_pool_run(ex->pool, jobs, element_job, &p);
    add_change_sums(ex, jobs, square_change);
}

VT_INLINE void adam_vec(const vt_adam_args *a, int64_t at, int n, change_sum *change)
{
    const vf g = vf_mul(vf_set1(a->grad_scale), load_real(a->grad, a->grad_type, at, n));
    const vf first = load_real(a->first, a->moment_type, at, n), second = load_real(a->second, VT_F32, at, n);
    const vf m = vf_fma(vf_set1(a->beta1_kept), first, vf_mul(vf_set1(1.0F - a->beta1), g));
    const vf v = vf_fma(vf_set1(a->beta2), second, vf_mul(vf_set1(1.0F - a->beta2), vf_mul(g, g)));
    store_real(a->first, a->moment_type, at, n, m);
    store_real(a->second, VT_F32, at, n, v);
    const vf size = vf_add(vf_sqrt(vf_mul(v, vf_set1(a->second_scale))), vf_set1(a->eps));
    const vf u = vf_div(vf_mul(m, vf_set1(a->first_scale)), size);
    move_value(a->value + at, n, vf_set1(a->lr), vf_set1(a->decay), u, change);
}

static void adam_elements(const void *args, int64_t begin, int64_t end, change_sum *change)
{
    const vt_adam_args *a = args;
    int64_t i = begin;
    for (; i + VW <= end; i += VW)
        adam_vec(a, i, VW, change);
    if (i < end)
        adam_vec(a, i, (int)(end - i), change);
}

void VT_KERNEL(adam)(const vt_exec *ex, const vt_adam_args *a)
{
    run_elements(ex, (element_plan){.args = a, .elements = adam_elements, .count = a->count}, a->square_change);
}

VT_INLINE void sgd_vec(const vt_sgd_args *a, int64_t at, int n, change_sum *change)
{
    const vf g = vf_mul(vf_set1(a->grad_scale), load_real(a->grad, a->grad_type, at, n));
    const vf u = vf_fma(vf_set1(a->beta1_kept), load_real(a->momentum, a->moment_type, at, n), g);
    store_real(a->momentum, a->moment_type, at, n, u);
    move_value(a->value + at, n, vf_set1(a->lr), vf_set1(a->decay), u, change);
}

static void sgd_elements(const void *args, int64_t begin, int64_t end, change_sum *change)
{
    const vt_sgd_args *a = args;
    int64_t i = begin;
    for (; i + VW <= end; i += VW)
        sgd_vec(a, i, VW, change);
    if (i < end)
        sgd_vec(a, i, (int)(end - i), change);
}

void VT_KERNEL(sgd)(const vt_exec *ex, const vt_sgd_args *a)
{
    run_elements(ex, (element_plan){.args = a, .elements = sgd_elements, .count = a->count}, a->square_change);
}

VT_INLINE void average_vec(const vt_average_args *a, int64_t at, int n)
{
    const vf added = vf_mul(vf_set1(1.0F - a->kept), load_real(a->value, VT_F32, at, n));
    const vf average = vf_fma(vf_set1(a->kept), load_real(a->average, VT_F32, at, n), added);
    store_real(a->average, VT_F32, at, n, average);
}

static void average_elements(const void *args, int64_t begin, int64_t end, change_sum *change)
{
    const vt_average_args *a = args;
    (void)change;
    int64_t i = begin;
    for (; i + VW <= end; i += VW)
        average_vec(a, i, VW);
    if (i < end)
        average_vec(a, i, (int)(end - i));
}

void VT_KERNEL(average)(const vt_exec *ex, const vt_average_args *a)
{
    run_elements(ex, (element_plan){.args = a, .elements = average_elements, .count = a->count}, NULL);
}

/* The sums of a step's jobs (in that of the first thread), and a row of an update. */
int64_t VT_FOR_ISA(vt_cpu_update_scratch)(const vt_limits *limits)
{
    return 2 * MAX_UPDATE_JOBS + limits->width;
}
