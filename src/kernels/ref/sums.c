/* Reference kernels: means over tokens, sums over samples and squares; and the order of all sums over samples. */
#include <assert.h>

#include "kernels/ref/ref.h"

/* tree(lo, n): the sum of the partials of slices lo .. lo+n-1. */
static double tree(int64_t samples, int slices, int lo, int n, vt_ref_term *term, const void *context)
{
    if (n > 1)
        return tree(samples, slices, lo, n / 2, term, context) +
               tree(samples, slices, lo + n / 2, n / 2, term, context);
    double sum = 0;
    for (int64_t b = lo * samples / slices; b < (lo + 1) * samples / slices; b++)
        sum += term(context, b);
    return sum;
}

double vt_ref_sum_over_samples(int64_t samples, int slices, vt_ref_term *term, const void *context)
{
    assert(slices >= 1 && slices <= VT_MAX_SLICES && (slices & (slices - 1)) == 0);
    return tree(samples, slices, 0, slices, term, context);
}

float vt_ref_stored(float old, double sum, int accumulate)
{
    return (float)(accumulate ? old + sum : sum);
}

void vt_ref_mean_tokens_fwd(const vt_exec *ex, const vt_mean_tokens_fwd_args *a)
{
    (void)ex;
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t c = 0; c < a->cols; c++) {
            double sum = 0;
            for (int64_t t = 0; t < a->tokens; t++)
                sum += a->x[(b * a->tokens + t) * a->cols + c];
            a->y[b * a->cols + c] = (float)(sum / (double)a->tokens);
        }
}

void vt_ref_mean_tokens_bwd(const vt_exec *ex, const vt_mean_tokens_bwd_args *a)
{
    (void)ex;
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t t = 0; t < a->tokens; t++)
            for (int64_t c = 0; c < a->cols; c++)
                a->dx[(b * a->tokens + t) * a->cols + c] = (float)(a->dy[b * a->cols + c] / (double)a->tokens);
}

typedef struct {
    const vt_sum_samples_args *a;
    int64_t c;
} sum_column;

static double sample_term(const void *context, int64_t b)
{
    const sum_column *e = context;
    return e->a->x[b * e->a->cols + e->c];
}

void vt_ref_sum_samples(const vt_exec *ex, const vt_sum_samples_args *a)
{
    (void)ex;
    for (int64_t c = 0; c < a->cols; c++) {
        const sum_column e = {a, c};
        const double sum = vt_ref_sum_over_samples(a->samples, a->slices, sample_term, &e);
        a->y[c] = vt_ref_stored(a->y[c], sum, a->accumulate);
    }
}

void vt_ref_sum_squares(const vt_exec *ex, const vt_sum_squares_args *a)
{
    (void)ex;
    double sum = 0;
    for (int64_t i = 0; i < a->count; i++)
        sum += (double)a->x[i] * a->x[i];
    *a->sum = sum;
}
