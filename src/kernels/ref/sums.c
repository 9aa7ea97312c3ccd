/* Reference kernels: sums over samples and squares, what a tensor holds; and the order of all sums over samples. */
#include <assert.h>
#include <math.h>

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

typedef struct {
    const vt_sum_samples_args *a;
    int64_t c;
} sum_column;

static double sample_term(const void *context, int64_t b)
{
    const sum_column *e = context;
    return e->a->x[b * e->a->stride + e->c];
}

void vt_ref_sum_samples(const vt_exec *ex, const vt_sum_samples_args *a)
{
    (void)ex;
    for (int64_t c = 0; c < a->cols; c++) {
        const sum_column e = {a, c};
        const double sum = vt_ref_sum_over_samples(a->samples, a->slices, sample_term, &e);
        vt_ref_put_sum(a->y, a->grad_type, c, sum, a->accumulate);
    }
}

void vt_ref_sum_squares(const vt_exec *ex, const vt_sum_squares_args *a)
{
    (void)ex;
    double sum = 0;
    for (int64_t i = 0; i < a->count; i++) {
        const double x = vt_ref_at(a->x, a->type, i);
        sum += x * x;
    }
    *a->sum = sum;
}

void vt_ref_inspect(const vt_exec *ex, const vt_inspect_args *a)
{
    (void)ex;
    double least = INFINITY, most = -INFINITY, squares = 0, not_finite = 0;
    for (int64_t i = 0; i < a->count; i++) {
        const double x = vt_ref_at(a->x, a->type, i);
        if (!isfinite(x)) {
            not_finite++;
            continue;
        }
        least = x < least ? x : least;
        most = x > most ? x : most;
        squares += x * x;
    }
    a->out[0] = least;
    a->out[1] = most;
    a->out[2] = squares;
    a->out[3] = not_finite;
}
