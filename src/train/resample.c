/* Both resizes are products with one small matrix for each axis: rows of new points, columns of old ones. Sums are in
 * double and in a fixed order; nothing here calls libm but floor. */
#include "train/resample.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

const char *const vt_resample_names[] = {"auto", "bilinear", "bicubic", NULL};

/* Corner-aligned bilinear (spec 7.2): point i lies at i (from - 1) / (to - 1) of the old grid. */
static void bilinear_axis(double *m, int64_t from, int64_t to)
{
    for (int64_t i = 0; i < to; i++) {
        double at = to > 1 ? (double)i * (double)(from - 1) / (double)(to - 1) : 0.0;
        int64_t left = (int64_t)at;
        if (left > from - 2)
            left = from > 1 ? from - 2 : 0;
        double share = at - (double)left;
        m[i * from + left] = 1.0 - share;
        if (from > 1)
            m[i * from + left + 1] = share;
    }
}

/* Keys' cubic with a = -0.5. */
static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0)
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

/* Antialiased cubic around pixel centres (spec 7.2, timm's): the filter widens where the grid shrinks. */
static void bicubic_axis(double *m, int64_t from, int64_t to)
{
    double scale = (double)from / (double)to, wide = scale > 1.0 ? scale : 1.0, support = 2.0 * wide;
    for (int64_t i = 0; i < to; i++) {
        double centre = scale * ((double)i + 0.5), sum = 0.0, *row = m + i * from;
        int64_t first = (int64_t)(centre - support + 0.5), end = (int64_t)(centre + support + 0.5);
        first = first > 0 ? first : 0;
        end = end < from ? end : from;
        for (int64_t j = first; j < end; j++)
            sum += row[j] = cubic(((double)j - centre + 0.5) / wide);
        for (int64_t j = first; j < end; j++)
            row[j] /= sum;
    }
}

static double *axis(vt_resample kind, int64_t from, int64_t to)
{
    double *m = vt_xcalloc((size_t)(from * to), sizeof *m);
    if (kind == VT_RESAMPLE_BILINEAR)
        bilinear_axis(m, from, to);
    else
        bicubic_axis(m, from, to);
    return m;
}

/* y (rows, to, cols) = m (to, from) applied to x (rows, from, cols). */
static void apply(const double *m, int64_t from, int64_t to, const double *x, int64_t rows, int64_t cols, double *y)
{
    memset(y, 0, (size_t)(rows * to * cols) * sizeof *y);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < to; i++)
            for (int64_t j = 0; j < from; j++) {
                double share = m[i * from + j];
                const double *source = x + (r * from + j) * cols;
                double *target = y + (r * to + i) * cols;
                for (int64_t c = 0; share != 0.0 && c < cols; c++)
                    target[c] += share * source[c];
            }
}

void vt_resample_positions(const float *from, int64_t from_h, int64_t from_w, vt_resample kind, float *to, int64_t to_h,
                           int64_t to_w, int64_t width)
{
    double *rows = axis(kind, from_h, to_h), *cols = axis(kind, from_w, to_w);
    double *x = vt_xmalloc((size_t)(from_h * from_w * width) * sizeof *x);
    double *half = vt_xmalloc((size_t)(from_h * to_w * width) * sizeof *half);
    double *y = vt_xmalloc((size_t)(to_h * to_w * width) * sizeof *y);
    for (int64_t i = 0; i < from_h * from_w * width; i++)
        x[i] = (double)from[i];
    apply(cols, from_w, to_w, x, from_h, width, half);
    apply(rows, from_h, to_h, half, 1, to_w * width, y);
    for (int64_t i = 0; i < to_h * to_w * width; i++)
        to[i] = (float)y[i];
    free(rows);
    free(cols);
    free(x);
    free(half);
    free(y);
}

/* --- the patch embedding --------------------------------------------------------------------------------------------
 */

/* Solves the symmetric positive definite a (n, n) for the columns of b (n, cols), in place, by Cholesky's factors. */
static bool solve(double *a, int64_t n, double *b, int64_t cols)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double sum = a[i * n + j];
            for (int64_t k = 0; k < j; k++)
                sum -= a[i * n + k] * a[j * n + k];
            if (i == j && !(sum > 1e-12))
                return false;
            a[i * n + j] = i == j ? sqrt(sum) : sum / a[j * n + j];
        }
        for (int64_t c = 0; c < cols; c++) {
            double sum = b[i * cols + c];
            for (int64_t k = 0; k < i; k++)
                sum -= a[i * n + k] * b[k * cols + c];
            b[i * cols + c] = sum / a[i * n + i];
        }
    }
    for (int64_t i = n - 1; i >= 0; i--)
        for (int64_t c = 0; c < cols; c++) {
            double sum = b[i * cols + c];
            for (int64_t k = i + 1; k < n; k++)
                sum -= a[k * n + i] * b[k * cols + c];
            b[i * cols + c] = sum / a[i * n + i];
        }
    return true;
}

/* pinv(B^T) for one axis, (to, from). B (to, from) resizes from to to; the resize of a square is B for rows times B for
 * columns, and so is its pseudo-inverse. Growing, B^T has full row rank: pinv = B (B^T B)^-1. Shrinking, full column
 * rank: pinv = (B B^T)^-1 B. */
static double *inverse_axis(int64_t from, int64_t to)
{
    double *b = axis(VT_RESAMPLE_BICUBIC, from, to), *x = vt_xmalloc((size_t)(from * to) * sizeof *x);
    bool grows = to >= from;
    int64_t n = grows ? from : to, other = grows ? to : from;
    double *gram = vt_xcalloc((size_t)(n * n), sizeof *gram);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t k = 0; k < other; k++)
                gram[i * n + j] += grows ? b[k * from + i] * b[k * from + j] : b[i * from + k] * b[j * from + k];
    for (int64_t i = 0; i < n; i++) /* the right-hand side, (n, other): B^T where it grows, B where it shrinks */
        for (int64_t k = 0; k < other; k++)
            x[i * other + k] = grows ? b[k * from + i] : b[i * from + k];
    bool solved = solve(gram, n, x, other);
    for (int64_t i = 0; i < to && grows; i++) /* (B^T B)^-1 B^T, turned */
        for (int64_t j = 0; j < from; j++)
            b[i * from + j] = x[j * other + i];
    if (!grows)
        memcpy(b, x, (size_t)(from * to) * sizeof *b);
    free(gram);
    free(x);
    if (!solved) {
        free(b);
        return NULL;
    }
    return b;
}

vt_status vt_resample_patch(const float *from, int64_t from_side, float *to, int64_t to_side, int64_t n, vt_err *err)
{
    double *m = inverse_axis(from_side, to_side);
    if (!m)
        return vt_fail(err, VT_EUNSUPPORTED, "a patch embedding of side %lld cannot be resized to %lld",
                       (long long)from_side, (long long)to_side);
    double *x = vt_xmalloc((size_t)(from_side * from_side) * sizeof *x);
    double *half = vt_xmalloc((size_t)(from_side * to_side) * sizeof *half);
    double *y = vt_xmalloc((size_t)(to_side * to_side) * sizeof *y);
    for (int64_t k = 0; k < n; k++) {
        for (int64_t i = 0; i < from_side * from_side; i++)
            x[i] = (double)from[k * from_side * from_side + i];
        apply(m, from_side, to_side, x, from_side, 1, half);
        apply(m, from_side, to_side, half, 1, to_side, y);
        for (int64_t i = 0; i < to_side * to_side; i++)
            to[k * to_side * to_side + i] = (float)y[i];
    }
    free(m);
    free(x);
    free(half);
    free(y);
    return VT_OK;
}
