/* Reference kernels: one step of an optimizer on one tensor (the modified Adafactor of Zhai et al. 2022, section 3.4;
 * Adam; SGD with momentum), and a moving average. */
#include <math.h>

#include "kernels/ref/ref.h"

static const double tiny = 1e-30; /* added to adafactor's squared gradients, so that nothing is divided by zero */

static float moving_average(float old, double now, double beta)
{
    return (float)(beta * old + (1 - beta) * now);
}

/* value moves by lr * u and its decay; the change's square is added to *sum. */
static void move(float *value, double lr, double decay, double u, double *sum)
{
    const double delta = -(lr * u + decay * *value);
    *value = (float)(*value + delta);
    *sum += delta * delta;
}

static void report(double *square_change, double sum)
{
    if (square_change)
        *square_change = sum;
}

static double gradient(const vt_adafactor_args *a, int64_t at)
{
    return a->grad_scale * vt_ref_at(a->grad, a->grad_type, at);
}

static double squared(const vt_adafactor_args *a, int64_t at)
{
    const double g = gradient(a, at);
    return g * g + tiny;
}

/* The moving average of v, rounded when it is stored but applied as it is; then the step. */
static void apply(const vt_adafactor_args *a, int64_t at, double v, double *sum)
{
    const double u = (1 - (double)a->beta1) * v + a->beta1_kept * vt_ref_at(a->momentum, a->moment_type, at);
    vt_ref_put(a->momentum, a->moment_type, at, u);
    move(&a->value[at], a->lr, a->decay, u, sum);
}

static void factored_block(const vt_adafactor_args *a, int64_t b, double *sum_change)
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
            apply(a, at, gradient(a, at) / (sqrt(row_moment[r]) / sqrt(mean_row_moment)) / sqrt(col_moment[c]),
                  sum_change);
        }
}

void vt_ref_adafactor(const vt_exec *ex, const vt_adafactor_args *a)
{
    (void)ex;
    double sum = 0;
    for (int64_t b = 0; a->row_moment && b < a->blocks; b++)
        factored_block(a, b, &sum);
    for (int64_t i = 0; a->full_moment && i < a->cols; i++) {
        a->full_moment[i] = moving_average(a->full_moment[i], squared(a, i), a->beta2);
        apply(a, i, gradient(a, i) / sqrt(a->full_moment[i]), &sum);
    }
    report(a->square_change, sum);
}

void vt_ref_adam(const vt_exec *ex, const vt_adam_args *a)
{
    (void)ex;
    double sum = 0;
    for (int64_t i = 0; i < a->count; i++) {
        const double g = a->grad_scale * vt_ref_at(a->grad, a->grad_type, i);
        const double m = (1 - (double)a->beta1) * g + a->beta1_kept * vt_ref_at(a->first, a->moment_type, i);
        a->second[i] = moving_average(a->second[i], g * g, a->beta2);
        vt_ref_put(a->first, a->moment_type, i, m);
        move(&a->value[i], a->lr, a->decay,
             m * a->first_scale / (sqrt(a->second[i] * (double)a->second_scale) + a->eps), &sum);
    }
    report(a->square_change, sum);
}

void vt_ref_sgd(const vt_exec *ex, const vt_sgd_args *a)
{
    (void)ex;
    double sum = 0;
    for (int64_t i = 0; i < a->count; i++) {
        const double u = a->grad_scale * vt_ref_at(a->grad, a->grad_type, i) +
                         a->beta1_kept * vt_ref_at(a->momentum, a->moment_type, i);
        vt_ref_put(a->momentum, a->moment_type, i, u);
        move(&a->value[i], a->lr, a->decay, u, &sum);
    }
    report(a->square_change, sum);
}

void vt_ref_average(const vt_exec *ex, const vt_average_args *a)
{
    (void)ex;
    for (int64_t i = 0; i < a->count; i++)
        a->average[i] = moving_average(a->average[i], a->value[i], a->kept);
}
