/* Sums over rows for the gradients of vectors (kernels/ops.h, Sums): gamma and beta of a norm, a scale of columns.
 *
 * Each slice of samples is cut into SLICE_PARTS runs of rows; a job works on one run and leaves its sums in scratch
 * memory that all threads share (thread 0's, which is big enough). Then runs are added in order, and slices by their
 * tree. The cut depends on the slice alone, so a process that has only some of the slices computes the same sums. */
#ifndef VT_KERNELS_CPU_ROW_SUMS_H
#define VT_KERNELS_CPU_ROW_SUMS_H

#include "kernels/cpu/kernel.h"

#define SLICE_PARTS 4
#define TREE_COLS   256 /* columns whose slices are added at a time */

/* The rows of one job. */
typedef struct {
    int64_t first, end;
} row_run;

VT_INLINE row_run run_of_job(int64_t samples, int64_t tokens, int64_t slices, int64_t job)
{
    const int64_t slice = job / SLICE_PARTS, part = job % SLICE_PARTS;
    const int64_t first = part_begin(samples, slices, slice) * tokens;
    const int64_t rows = part_begin(samples, slices, slice + 1) * tokens - first;
    return (row_run){first + part_begin(rows, SLICE_PARTS, part), first + part_begin(rows, SLICE_PARTS, part + 1)};
}

/* One or two vectors of sums, `cols` long each, that every job has left behind one another. */
typedef struct {
    const float *partials; /* (slices, SLICE_PARTS, vectors, cols) */
    int64_t vectors, cols;
    int slices, accumulate;
    vt_real type;
    void *to[2];
} row_sums;

/* Adds up TREE_COLS columns of all vectors. */
static void row_sums_job(void *context, int64_t job, int thread)
{
    const row_sums *p = context;
    (void)thread;
    const int64_t all = p->vectors * p->cols, c0 = job * TREE_COLS, cols = min_i64(TREE_COLS, all - c0);
    float buffers[(TREE_LEVELS + 1) * TREE_COLS];
    slice_tree t = tree_over(buffers, cols, p->slices);
    for (int64_t s = 0; s < p->slices; s++) {
        const float *part = p->partials + s * SLICE_PARTS * all + c0;
        memcpy(t.free, part, (size_t)cols * sizeof *part);
        for (int i = 1; i < SLICE_PARTS; i++) {
            part += all;
            for (int64_t c = 0; c < cols; c++)
                t.free[c] = t.free[c] + part[c];
        }
        tree_push(&t, p->slices);
    }
    for (int64_t c = 0; c < cols; c++)
        put_sum(p->to[(c0 + c) / p->cols], p->type, (c0 + c) % p->cols, t.free[c], p->accumulate);
}

/* Runs a job for every run of rows, then adds up what they left. */
VT_INLINE void run_row_sums(const vt_exec *ex, vt_pool_fn *job, void *context, row_sums *p)
{
    vt_pool_run(ex->pool, (int64_t)p->slices * SLICE_PARTS, job, context);
    vt_pool_run(ex->pool, ceil_div(p->vectors * p->cols, TREE_COLS), row_sums_job, p);
}

#endif
