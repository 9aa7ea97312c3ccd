/* Student's t by the incomplete beta function (continued fraction, modified Lentz; Numerical Recipes 6.4), its inverse
 * by bisection: fifty halvings cost nothing here and cannot fail. ln gamma by Stirling's series behind a recurrence. */
#include "law/quantile.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/math.h"

#define LN_SQRT_2PI 0.91893853320467274178

double vt_ln_gamma(double x)
{
    assert(x > 0);
    double product = 1;
    for (; x < 12; x++)
        product *= x;
    const double i = 1 / x, i2 = i * i;
    const double series = i * (1.0 / 12 - i2 * (1.0 / 360 - i2 * (1.0 / 1260 - i2 * (1.0 / 1680 - i2 / 1188))));
    return (x - 0.5) * vt_ln(x) - x + LN_SQRT_2PI + series - vt_ln(product);
}

static double beta_fraction(double a, double b, double x)
{
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double h = d;
    for (int m = 1; m <= 500; m++) {
        double step = 1;
        for (int half = 0; half < 2; half++) {
            const double k = half == 0 ? m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
                                       : -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
            d = 1 + k * d;
            c = 1 + k / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            step = d * c;
            h *= step;
        }
        if (fabs(step - 1) < 1e-15)
            break;
    }
    return h;
}

double vt_incomplete_beta(double a, double b, double x)
{
    if (x <= 0)
        return 0;
    if (x >= 1)
        return 1;
    const double front = vt_exp(vt_ln_gamma(a + b) - vt_ln_gamma(a) - vt_ln_gamma(b) + a * vt_ln(x) + b * vt_log1p(-x));
    if (x < (a + 1) / (a + b + 2))
        return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double vt_t_cdf(double t, double df)
{
    const double tail = 0.5 * vt_incomplete_beta(df / 2, 0.5, df / (df + t * t));
    return t > 0 ? 1 - tail : tail;
}

double vt_t_quantile(double p, double df)
{
    assert(p > 0 && p < 1 && df > 0);
    const double upper = p < 0.5 ? 1 - p : p;
    double low = 0, high = 1;
    while (vt_t_cdf(high, df) < upper && high < 1e12)
        high *= 2;
    for (int i = 0; i < 80; i++) {
        const double middle = (low + high) / 2;
        if (vt_t_cdf(middle, df) < upper)
            low = middle;
        else
            high = middle;
    }
    const double t = (low + high) / 2;
    return p < 0.5 ? -t : t;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double vt_sample_quantile(double *v, size_t n, double q)
{
    assert(n >= 1 && q >= 0 && q <= 1);
    qsort(v, n, sizeof *v, by_value);
    const double at = q * (double)(n - 1);
    const size_t i = (size_t)at;
    return i + 1 < n ? v[i] + (at - (double)i) * (v[i + 1] - v[i]) : v[n - 1];
}
