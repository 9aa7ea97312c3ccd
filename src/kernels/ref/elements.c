/* Reference kernels: what is done to each element alone: dropout, and rounding to bf16. */
#include <assert.h>

#include "base/philox.h"
#include "kernels/ref/ref.h"

/* Uniform in [0, 1): a lane of sample b's random numbers. */
static double uniform(const vt_drop_args *a, int64_t b, uint32_t block, int64_t lane)
{
    const vt_philox4 words = vt_philox(a->seed, VT_STREAM_DROP, (uint64_t)(a->position + b), a->use, block);
    return (double)(words.v[lane] >> 8) * 0x1p-24;
}

/* What a kept element is multiplied by: its share of the elements' mean goes to those that stay. */
static double factor(double u, double rate)
{
    return u >= rate ? 1 / (1 - rate) : 0;
}

void vt_ref_drop(const vt_exec *ex, const vt_drop_args *a)
{
    (void)ex;
    assert(a->rate >= 0 && a->rate < 1 && a->path_rate >= 0 && a->path_rate < 1);
    for (int64_t b = 0; b < a->samples; b++) {
        const double path = factor(uniform(a, b, 0xffffffff, 0), a->path_rate);
        for (int64_t i = 0; i < a->count; i++) {
            const int64_t at = b * a->count + i;
            const double kept = factor(uniform(a, b, (uint32_t)(i / 4), i % 4), a->rate);
            const double x = vt_ref_at(a->x, a->type, at) * kept * path;
            if (a->residual)
                vt_ref_put(a->y, VT_F32, at, a->residual[at] + x);
            else
                vt_ref_put(a->y, a->type, at, x);
        }
    }
}

void vt_ref_to_bf16(const vt_exec *ex, const vt_to_bf16_args *a)
{
    (void)ex;
    for (int64_t i = 0; i < a->count; i++)
        a->y[i] = vt_bf16_from_f32(a->x[i]);
}
