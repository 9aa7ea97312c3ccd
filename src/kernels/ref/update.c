/* Reference kernel: one step of the modified Adafactor of Zhai et al. 2022, section 3.4, on one tensor. */
#include <math.h>

#include "kernels/bf16.h"
#include "kernels/ref/ref.h"

static const double tiny = 1e-30; /* added to squared gradients, so that nothing is divided by zero */

static double gradient(const vt_adafactor_args *a, int64_t at)
{
    return (double)a->grad_scale * a->grad[at];
}

static double squared(const vt_adafactor_args *a, int64_t at)
{
    const double g = gradient(a, at);
    return g * g + tiny;
}

static float moving_average(float old, double now, double beta)
{
    return (float)(beta * old + (1 - beta) * now);
}

/* The moving average of u, kept in bf16 but applied before it is rounded; then the step. */
static void apply(const vt_adafactor_args *a, int64_t at, double u)
{
    const double m = (1 - (double)a->beta1) * u + (double)a->beta1 * vt_bf16_to_f32(a->momentum[at]);
    a->momentum[at] = vt_bf16_from_f32((float)m);
    a->value[at] = (float)(a->value[at] - (a->lr * m + (double)a->decay * a->value[at]));
}

static void factored_block(const vt_adafactor_args *a, int64_t b)
{
    float *row_moment = a->row_moment + b * a->rows, *col_moment = a->col_moment + b * a->cols;
    const int64_t first = b * a->block_stride;
    double mean_row_moment = 0;
    for (int64_t r = 0; r < a->rows; r++) {
        double sum = 0;
        for (int64_t c = 0; c < a->cols; c++)
            sum += squared(a, first + r * a->row_stride + c);
        row_moment[r] = moving_average(row_moment[r], sum / (double)a->cols, a->beta2);
        mean_row_moment += row_moment[r];
    }
    mean_row_moment /= (double)a->rows;
    for (int64_t c = 0; c < a->cols; c++) {
        double sum = 0;
        for (int64_t r = 0; r < a->rows; r++)
            sum += squared(a, first + r * a->row_stride + c);
        col_moment[c] = moving_average(col_moment[c], sum / (double)a->rows, a->beta2);
    }
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t c = 0; c < a->cols; c++) {
            const int64_t at = first + r * a->row_stride + c;
            apply(a, at, gradient(a, at) / sqrt(row_moment[r] / mean_row_moment) / sqrt(col_moment[c]));
        }
}

void vt_ref_adafactor(const vt_exec *ex, const vt_adafactor_args *a)
{
    (void)ex;
    if (a->row_moment) {
        for (int64_t b = 0; b < a->blocks; b++)
            factored_block(a, b);
        return;
    }
    for (int64_t i = 0; i < a->cols; i++) {
        a->full_moment[i] = moving_average(a->full_moment[i], squared(a, i), a->beta2);
        apply(a, i, gradient(a, i) / sqrt(a->full_moment[i]));
    }
}
