/* What updates of parameters share: the move of a value, the sum of squared changes, and jobs over elements.
 *
 * A job sums the squares of its changes in double and leaves the sum in scratch; the jobs' sums are then added in their
 * order. The cut into jobs follows from the shape alone, so the total does too. */
#ifndef VT_KERNELS_CPU_UPDATE_H
#define VT_KERNELS_CPU_UPDATE_H

#include "kernels/cpu/kernel.h"

#define UPDATE_FLOATS   16384 /* elements of a job, unless that makes too many */
#define MAX_UPDATE_JOBS 1024

/* Elements or rows of a job, at least `wanted` and few enough jobs. */
VT_INLINE int64_t per_job(int64_t count, int64_t wanted)
{
    return max_i64(max_i64(1, wanted), ceil_div(count, MAX_UPDATE_JOBS));
}

/* The sum of squared changes of one job; `on` where somebody wants it. */
typedef struct {
    vd sum[2];
    int on;
} change_sum;

/* n values move by -(lr * u + decay * value). */
VT_INLINE void move_value(float *value, int n, vf lr, vf decay, vf u, change_sum *change)
{
    const vf old = load_real(value, VT_F32, 0, n);
    const vf delta = vf_fma(lr, u, vf_mul(decay, old));
    store_real(value, VT_F32, 0, n, vf_sub(old, delta));
    if (change->on)
        vd_add_squares(change->sum, first_lanes(delta, n));
}

/* Where jobs leave their sums; and a row of floats for each thread behind that. */
VT_INLINE double *change_sums(const vt_exec *ex)
{
    return (double *)(void *)ex->scratch;
}

VT_INLINE float *own_scratch(const vt_exec *ex, int thread)
{
    return scratch_of(ex, thread) + 2 * MAX_UPDATE_JOBS;
}

VT_INLINE void add_change_sums(const vt_exec *ex, int64_t jobs, double *square_change)
{
    if (!square_change)
        return;
    double total = 0;
    for (int64_t j = 0; j < jobs; j++)
        total += change_sums(ex)[j];
    *square_change = total;
}

#endif
