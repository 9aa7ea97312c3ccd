/* The reference kernels: the definition of every operation of kernels/ops.h, and the judge of the fast ones.
 *
 * Plain loops over the equations of the contract; every sum and every function in double, one rounding to float where
 * a result is stored. One thread, no scratch, never tuned. */
#ifndef VT_KERNELS_REF_REF_H
#define VT_KERNELS_REF_REF_H

#include "kernels/bf16.h"
#include "kernels/ops.h"

#define X(op) void vt_ref_##op(const vt_exec *ex, const vt_##op##_args *a);
VT_OPS(X)
#undef X

void vt_ops_fill_ref(vt_ops *ops);

/* The contract's sum over samples of term(context, b): a partial for each slice, then the balanced tree. */
typedef double vt_ref_term(const void *context, int64_t b);
double vt_ref_sum_over_samples(int64_t samples, int slices, vt_ref_term *term, const void *context);

/* Element i of a tensor of that type; and its new value, rounded once. */
static inline double vt_ref_at(const void *x, vt_real type, int64_t i)
{
    return type == VT_BF16 ? (double)vt_bf16_to_f32(((const uint16_t *)x)[i]) : (double)((const float *)x)[i];
}

static inline void vt_ref_put(void *x, vt_real type, int64_t i, double value)
{
    if (type == VT_BF16)
        ((uint16_t *)x)[i] = vt_bf16_from_f32((float)value);
    else
        ((float *)x)[i] = (float)value;
}

/* Element i becomes a sum: old + sum if accumulate, else sum. */
static inline void vt_ref_put_sum(void *x, vt_real type, int64_t i, double sum, int accumulate)
{
    vt_ref_put(x, type, i, accumulate ? vt_ref_at(x, type, i) + sum : sum);
}

#endif
