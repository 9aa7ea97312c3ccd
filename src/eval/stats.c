/* Wilson's score interval (Wilson 1927): with z the normal quantile and p = right / count,
 *   (p + z^2/2n +- z sqrt(p (1-p)/n + z^2/4n^2)) / (1 + z^2/n)
 * It stays inside [0, 1] and has a width at 0 % and 100 %, where p +- z sqrt(p (1-p)/n) claims certainty. */
#include "eval/stats.h"

#include <assert.h>
#include <math.h>

#define Z95 1.959963984540054 /* 97.5 % quantile of the standard normal */

vt_estimate vt_proportion(double p, int64_t count)
{
    assert(count >= 1 && p >= 0 && p <= 1);
    double n = (double)count, z2n = Z95 * Z95 / n;
    double centre = (p + z2n / 2) / (1 + z2n);
    double half = Z95 * sqrt((p * (1 - p) + z2n / 4) / n) / (1 + z2n);
    return (vt_estimate){
        .value = p,
        .low = p == 0 ? 0 : centre - half, /* exactly, where rounding would leave 1e-18 */
        .high = p == 1 ? 1 : centre + half,
    };
}

vt_estimate vt_accuracy(int64_t right, int64_t count)
{
    assert(count >= 1 && right >= 0 && right <= count);
    return vt_proportion((double)right / (double)count, count);
}

void vt_mean_deviation(const double *x, int64_t n, double *mean, double *deviation)
{
    assert(n >= 1);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        squares += (x[i] - *mean) * (x[i] - *mean);
    *deviation = n > 1 ? sqrt(squares / (double)(n - 1)) : 0;
}
