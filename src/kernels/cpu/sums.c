/* Sums over samples and of squares, and what a tensor holds (kernels/ops.h). All are bound by memory; their order is
 * fixed by the shape: samples by slices and their tree, squares by chunks of the tensor. */
#include <math.h>

#include "kernels/cpu/kernel.h"

#define SUM_COLS    256 /* columns of sum_samples in a job: their partial sums of all tree levels fit the first cache */
#define MAX_CHUNKS  1024 /* of a tensor */
#define CHUNK_ALIGN 4096

static void sum_samples_job(void *context, int64_t job, int thread)
{
    const vt_sum_samples_args *a = context;
    (void)thread;
    const int64_t c0 = job * SUM_COLS, cols = min_i64(SUM_COLS, a->cols - c0);
    float buffers[(TREE_LEVELS + 1) * SUM_COLS];
    slice_tree t = tree_over(buffers, cols, a->slices);
    for (int s = 0; s < a->slices; s++) {
        const int64_t b0 = part_begin(a->samples, a->slices, s), b1 = part_begin(a->samples, a->slices, s + 1);
        sum_rows(a->x + b0 * a->stride + c0, a->stride, b1 - b0, cols, t.free);
        tree_push(&t, a->slices);
    }
    for (int64_t c = 0; c < cols; c++)
        put_sum(a->y, a->grad_type, c0 + c, t.free[c], a->accumulate);
}

void VT_KERNEL(sum_samples)(const vt_exec *ex, const vt_sum_samples_args *a)
{
    vt_sum_samples_args copy = *a;
    vt_pool_run(ex->pool, ceil_div(a->cols, SUM_COLS), sum_samples_job, &copy);
}

/* A tensor cut into chunks, whose results wait in scratch memory (thread 0's) to be put together in order. */
typedef struct {
    const void *x;
    vt_real type;
    int64_t count, chunk, chunks;
    double *partials; /* one for each chunk, or four */
} chunk_plan;

static chunk_plan plan_chunks(const vt_exec *ex, const void *x, vt_real type, int64_t count)
{
    chunk_plan p = {.x = x, .type = type, .count = count, .partials = (double *)(void *)ex->scratch};
    p.chunk = ceil_div(max_i64(1, ceil_div(count, MAX_CHUNKS)), CHUNK_ALIGN) * CHUNK_ALIGN;
    p.chunks = ceil_div(count, p.chunk);
    return p;
}

VT_INLINE void sum_squares_chunk(const chunk_plan *p, vt_real type, int64_t job)
{
    const int64_t end = min_i64(p->count, (job + 1) * p->chunk);
    vd sum[2] = {{0}, {0}};
    int64_t i = job * p->chunk;
    for (; i + VW <= end; i += VW)
        vd_add_squares(sum, load_real(p->x, type, i, VW));
    if (i < end)
        vd_add_squares(sum, load_real(p->x, type, i, (int)(end - i)));
    p->partials[job] = sum_lanes(sum);
}

static void sum_squares_job(void *context, int64_t job, int thread)
{
    const chunk_plan *p = context;
    (void)thread;
    if (p->type == VT_F32)
        sum_squares_chunk(p, VT_F32, job);
    else
        sum_squares_chunk(p, VT_BF16, job);
}

void VT_KERNEL(sum_squares)(const vt_exec *ex, const vt_sum_squares_args *a)
{
    chunk_plan p = plan_chunks(ex, a->x, a->type, a->count);
    vt_pool_run(ex->pool, p.chunks, sum_squares_job, &p);
    double total = 0;
    for (int64_t c = 0; c < p.chunks; c++)
        total += p.partials[c];
    *a->sum = total;
}

/* A chunk's smallest and largest finite value, sum of their squares, and how many are not finite. */
VT_INLINE void inspect_chunk(const chunk_plan *p, vt_real type, int64_t job)
{
    const int64_t end = min_i64(p->count, (job + 1) * p->chunk);
    const vf infinity = vf_set1(INFINITY), none = vf_set1(-INFINITY), zero = vf_zero(), one = vf_set1(1);
    vf least = infinity, most = none, others = zero; /* a lane counts no further than 2^24 */
    vd squares[2] = {{0}, {0}};
    for (int64_t i = job * p->chunk; i < end; i += VW) {
        const int lanes = (int)min_i64(VW, end - i);
        vf x = lanes == VW ? load_real(p->x, type, i, VW) : load_real(p->x, type, i, lanes);
        vf finite = vf_sub(vf_abs(x), infinity); /* negative when x is, else NaN */
        others = vf_add(others, vf_if_negative(finite, zero, one));
        vd_add_squares(squares, vf_if_negative(finite, x, zero));
        vf high = vf_if_negative(finite, x, none), low = vf_if_negative(finite, x, infinity);
        if (lanes < VW) { /* the other lanes hold nothing */
            float few[2][VW];
            for (int l = 0; l < VW; l++)
                few[0][l] = INFINITY, few[1][l] = -INFINITY;
            vf_store_n(few[0], lanes, low);
            vf_store_n(few[1], lanes, high);
            low = vf_load(few[0]), high = vf_load(few[1]);
        }
        least = vf_min(low, least);
        most = vf_max(high, most);
    }
    float lanes[3][VW];
    vf_store(lanes[0], least), vf_store(lanes[1], most), vf_store(lanes[2], others);
    double *out = p->partials + 4 * job;
    out[0] = (double)lanes[0][0], out[1] = (double)lanes[1][0], out[2] = sum_lanes(squares), out[3] = 0;
    for (int l = 0; l < VW; l++) {
        out[0] = (double)lanes[0][l] < out[0] ? (double)lanes[0][l] : out[0];
        out[1] = (double)lanes[1][l] > out[1] ? (double)lanes[1][l] : out[1];
        out[3] += (double)lanes[2][l];
    }
}

static void inspect_job(void *context, int64_t job, int thread)
{
    const chunk_plan *p = context;
    (void)thread;
    if (p->type == VT_F32)
        inspect_chunk(p, VT_F32, job);
    else
        inspect_chunk(p, VT_BF16, job);
}

void VT_KERNEL(inspect)(const vt_exec *ex, const vt_inspect_args *a)
{
    chunk_plan p = plan_chunks(ex, a->x, a->type, a->count);
    vt_pool_run(ex->pool, p.chunks, inspect_job, &p);
    double all[4] = {(double)INFINITY, -(double)INFINITY, 0, 0};
    for (int64_t c = 0; c < p.chunks; c++) {
        const double *part = p.partials + 4 * c;
        all[0] = part[0] < all[0] ? part[0] : all[0];
        all[1] = part[1] > all[1] ? part[1] : all[1];
        all[2] += part[2];
        all[3] += part[3];
    }
    memcpy(a->out, all, sizeof all);
}

int64_t VT_FOR_ISA(vt_cpu_sums_scratch)(const vt_limits *limits)
{
    (void)limits;
    return 4 * MAX_CHUNKS * (int64_t)(sizeof(double) / sizeof(float));
}
