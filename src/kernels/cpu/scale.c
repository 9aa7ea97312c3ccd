/* The gradients of a scale of columns, and a gate forward and backward (kernels/ops.h). All are bound by memory. The
 * sums over rows are those of row_sums.h; several rows share a pass over them. */
#include "kernels/cpu/row_sums.h"
#include "kernels/cpu/vmath.h"

#define ROW_GROUP   4
#define JOB_NUMBERS 32768

typedef struct {
    const vt_scale_bwd_args *a;
    float *partials; /* (slices, SLICE_PARTS, cols) */
} scale_plan;

/* `rows` rows, vector by vector. */
VT_INLINE void scale_rows(const vt_scale_bwd_args *a, vt_real type, int rows, int64_t r, float *dscale)
{
    for (int64_t c = 0; c < a->cols; c += VW) {
        const int lanes = (int)min_i64(VW, a->cols - c);
        const vf scale = load_real(a->scale, VT_F32, c, lanes);
        vf sum = load_real(dscale, VT_F32, c, lanes);
        VT_UNROLL
        for (int i = 0; i < rows; i++) {
            const int64_t at = (r + i) * a->cols + c;
            const vf dy = load_real(a->dy, type, at, lanes);
            sum = vf_fma(dy, load_real(a->z, type, at, lanes), sum);
            store_real(a->dz, type, at, lanes, vf_mul(dy, scale));
        }
        store_real(dscale, VT_F32, c, lanes, sum);
    }
}

VT_INLINE void scale_run(const scale_plan *p, vt_real type, int64_t job)
{
    const vt_scale_bwd_args *a = p->a;
    const row_run run = run_of_job(a->samples, a->tokens, a->slices, job);
    float *dscale = p->partials + job * a->cols;
    memset(dscale, 0, (size_t)a->cols * sizeof *dscale);
    int64_t r = run.first;
    for (; r + ROW_GROUP <= run.end; r += ROW_GROUP)
        scale_rows(a, type, ROW_GROUP, r, dscale);
    for (; r < run.end; r++)
        scale_rows(a, type, 1, r, dscale);
}

static void scale_job(void *context, int64_t job, int thread)
{
    const scale_plan *p = context;
    (void)thread;
    if (p->a->type == VT_F32)
        scale_run(p, VT_F32, job);
    else
        scale_run(p, VT_BF16, job);
}

void VT_KERNEL(scale_bwd)(const vt_exec *ex, const vt_scale_bwd_args *a)
{
    scale_plan p = {.a = a, .partials = scratch_of(ex, 0)};
    row_sums sums = {.partials = p.partials,
                     .vectors = 1,
                     .cols = a->cols,
                     .slices = a->slices,
                     .accumulate = a->accumulate,
                     .type = a->grad_type,
                     .to = {a->dscale}};
    run_row_sums(ex, scale_job, &p, &sums);
}

typedef struct {
    const vt_swiglu_fwd_args *fwd;
    const vt_swiglu_bwd_args *bwd;
    int64_t rows, cols, rows_per_job;
} gate_plan;

VT_INLINE void gate_row_fwd(const vt_swiglu_fwd_args *a, vt_real type, int64_t r)
{
    for (int64_t c = 0; c < a->cols; c += VW) {
        const int lanes = (int)min_i64(VW, a->cols - c);
        const vf gate = load_real(a->x, type, 2 * r * a->cols + c, lanes);
        const vf value = load_real(a->x, type, (2 * r + 1) * a->cols + c, lanes);
        store_real(a->y, type, r * a->cols + c, lanes, vf_mul(vf_mul(gate, vf_logistic(gate)), value));
    }
}

VT_INLINE void gate_row_bwd(const vt_swiglu_bwd_args *a, vt_real type, int64_t r)
{
    for (int64_t c = 0; c < a->cols; c += VW) {
        const int lanes = (int)min_i64(VW, a->cols - c);
        const int64_t at = 2 * r * a->cols + c;
        const vf gate = load_real(a->x, type, at, lanes), value = load_real(a->x, type, at + a->cols, lanes);
        const vf dy = load_real(a->dy, type, r * a->cols + c, lanes);
        store_real(a->dx, type, at, lanes, vf_mul(vf_mul(dy, value), vf_gate_derivative(gate, 1.0F)));
        store_real(a->dx, type, at + a->cols, lanes, vf_mul(dy, vf_mul(gate, vf_logistic(gate))));
    }
}

static void gate_job(void *context, int64_t job, int thread)
{
    const gate_plan *p = context;
    (void)thread;
    const int64_t end = min_i64(p->rows, (job + 1) * p->rows_per_job);
    for (int64_t r = job * p->rows_per_job; r < end; r++) {
        if (p->fwd && p->fwd->type == VT_F32)
            gate_row_fwd(p->fwd, VT_F32, r);
        else if (p->fwd)
            gate_row_fwd(p->fwd, VT_BF16, r);
        else if (p->bwd->type == VT_F32)
            gate_row_bwd(p->bwd, VT_F32, r);
        else
            gate_row_bwd(p->bwd, VT_BF16, r);
    }
}

static void gate_run(const vt_exec *ex, gate_plan p)
{
    p.rows_per_job = max_i64(1, JOB_NUMBERS / p.cols);
    vt_pool_run(ex->pool, ceil_div(p.rows, p.rows_per_job), gate_job, &p);
}

void VT_KERNEL(swiglu_fwd)(const vt_exec *ex, const vt_swiglu_fwd_args *a)
{
    gate_run(ex, (gate_plan){.fwd = a, .rows = a->rows, .cols = a->cols});
}

void VT_KERNEL(swiglu_bwd)(const vt_exec *ex, const vt_swiglu_bwd_args *a)
{
    gate_run(ex, (gate_plan){.bwd = a, .rows = a->rows, .cols = a->cols});
}
