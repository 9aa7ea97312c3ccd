/* What is done to each element alone (kernels/ops.h): dropout, and rounding to bf16.
 *
 * Random numbers are those of base/philox.c, BLOCKS counters side by side: plain loops of more rounds than a
 * compiler unrolls, so that it turns them into vectors. Whether u >= rate is asked of integers: u is a multiple of
 * 2^-24. A job is one or more pieces of a sample. */
#include <assert.h>

#include "base/philox.h"
#include "kernels/cpu/kernel.h"

#define BLOCKS    32
#define NUMBERS   (4 * BLOCKS)
#define PIECE     8192  /* elements, a multiple of NUMBERS */
#define JOB_COUNT 32768 /* elements that are worth a job of their own */

/* The words of elements 4*block .. 4*block + NUMBERS-1 of a sample. */
static void draw(const vt_drop_args *a, uint64_t index, uint32_t block, uint32_t words[NUMBERS])
{
    uint32_t c0[BLOCKS], c1[BLOCKS], c2[BLOCKS], c3[BLOCKS], k0 = a->seed, k1 = VT_STREAM_DROP;
    for (uint32_t i = 0; i < BLOCKS; i++) {
        c0[i] = (uint32_t)index;
        c1[i] = (uint32_t)(index >> 32);
        c2[i] = a->use;
        c3[i] = block + i;
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            const uint64_t p0 = (uint64_t)UINT32_C(0xD2511F53) * c0[i], p1 = (uint64_t)UINT32_C(0xCD9E8D57) * c2[i];
            c0[i] = (uint32_t)(p1 >> 32) ^ c1[i] ^ k0;
            c1[i] = (uint32_t)p1;
            c2[i] = (uint32_t)(p0 >> 32) ^ c3[i] ^ k1;
            c3[i] = (uint32_t)p0;
        }
        k0 += UINT32_C(0x9E3779B9);
        k1 += UINT32_C(0xBB67AE85);
    }
    for (int i = 0; i < BLOCKS; i++) {
        words[4 * i] = c0[i];
        words[4 * i + 1] = c1[i];
        words[4 * i + 2] = c2[i];
        words[4 * i + 3] = c3[i];
    }
}

typedef struct {
    const vt_drop_args *a;
    uint32_t least;       /* of word >> 8 for an element that is kept */
    double kept;          /* 1 / (1 - rate) */
    int64_t pieces;       /* of a sample */
    int64_t n, n_per_job; /* pieces in all */
} drop_plan;

/* The smallest k with k * 2^-24 >= rate. */
static uint32_t least_kept(float rate)
{
    const double scaled = (double)rate * 0x1p24;
    const uint32_t below = (uint32_t)scaled;
    return below + ((double)below < scaled);
}

static double path_factor(const vt_drop_args *a, uint64_t index)
{
    if (a->path_rate <= 0)
        return 1;
    const uint32_t word = vt_philox(a->seed, VT_STREAM_DROP, index, a->use, 0xffffffff).v[0];
    return word >> 8 >= least_kept(a->path_rate) ? 1 / (1 - (double)a->path_rate) : 0;
}

/* y = residual + x * factor for n <= VW elements. */
VT_INLINE void drop_vec(const vt_drop_args *a, vt_real type, int64_t at, int n, vf factor)
{
    vf x = load_real(a->x, type, at, n);
    if (a->residual)
        store_real(a->y, VT_F32, at, n, vf_fma(x, factor, load_real(a->residual, VT_F32, at, n)));
    else
        store_real(a->y, type, at, n, vf_mul(x, factor));
}

VT_INLINE void drop_same(const vt_drop_args *a, vt_real type, int64_t at, int64_t count, float factor)
{
    int64_t i = 0;
    for (; i + VW <= count; i += VW)
        drop_vec(a, type, at + i, VW, vf_set1(factor));
    if (i < count)
        drop_vec(a, type, at + i, (int)(count - i), vf_set1(factor));
}

/* Elements first .. first+count-1 of sample b. */
VT_INLINE void drop_piece(const drop_plan *p, vt_real type, int64_t b, int64_t first, int64_t count)
{
    const vt_drop_args *a = p->a;
    const uint64_t index = (uint64_t)(a->position + b);
    const int64_t at = b * a->count + first;
    const float factor = (float)(p->kept * path_factor(a, index));
    if (a->rate <= 0 || factor <= 0) {
        drop_same(a, type, at, count, factor);
        return;
    }
    uint32_t words[NUMBERS];
    float factors[NUMBERS];
    for (int64_t done = 0; done < count; done += NUMBERS) {
        draw(a, index, (uint32_t)((first + done) / 4), words);
        for (int i = 0; i < NUMBERS; i++)
            factors[i] = words[i] >> 8 >= p->least ? factor : 0;
        const int n = (int)min_i64(NUMBERS, count - done);
        int i = 0;
        for (; i + VW <= n; i += VW)
            drop_vec(a, type, at + done + i, VW, vf_load(factors + i));
        if (i < n)
            drop_vec(a, type, at + done + i, n - i, vf_load(factors + i));
    }
}

static void drop_job(void *context, int64_t job, int thread)
{
    const drop_plan *p = context;
    (void)thread;
    const int64_t end = min_i64(p->n, (job + 1) * p->n_per_job);
    for (int64_t piece = job * p->n_per_job; piece < end; piece++) {
        const int64_t b = piece / p->pieces, first = piece % p->pieces * PIECE;
        const int64_t count = min_i64(PIECE, p->a->count - first);
        if (p->a->type == VT_F32)
            drop_piece(p, VT_F32, b, first, count);
        else
            drop_piece(p, VT_BF16, b, first, count);
    }
}

void VT_KERNEL(drop)(const vt_exec *ex, const vt_drop_args *a)
{
    assert(a->rate >= 0 && a->rate < 1 && a->path_rate >= 0 && a->path_rate < 1);
    assert(a->count / 4 < 0xffffffff);
    drop_plan p = {.a = a, .least = least_kept(a->rate), .kept = 1 / (1 - (double)a->rate)};
    p.pieces = ceil_div(a->count, PIECE);
    p.n = a->samples * p.pieces;
    p.n_per_job = max_i64(1, JOB_COUNT / min_i64(a->count, PIECE));
    vt_pool_run(ex->pool, ceil_div(p.n, p.n_per_job), drop_job, &p);
}

static void to_bf16_job(void *context, int64_t job, int thread)
{
    const vt_to_bf16_args *a = context;
    (void)thread;
    const int64_t end = min_i64(a->count, (job + 1) * JOB_COUNT);
    int64_t i = job * JOB_COUNT;
    for (; i + VW <= end; i += VW)
        store_real(a->y, VT_BF16, i, VW, vf_load(a->x + i));
    if (i < end)
        store_real(a->y, VT_BF16, i, (int)(end - i), vf_load_n(a->x + i, (int)(end - i)));
}

void VT_KERNEL(to_bf16)(const vt_exec *ex, const vt_to_bf16_args *a)
{
    vt_to_bf16_args copy = *a;
    vt_pool_run(ex->pool, ceil_div(a->count, JOB_COUNT), to_bf16_job, &copy);
}
