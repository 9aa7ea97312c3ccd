/* Beta(p, p) from two Gamma(p) variables: a = x / (x + y).
 *
 * Gamma(p) by Marsaglia and Tsang (2000): for p >= 1, d v with d = p - 1/3, v = (1 + z / sqrt(9 d))^3 for a normal z,
 * is accepted when ln u < z^2/2 + d (1 - v + ln v); for p < 1, Gamma(p) = Gamma(p+1) u^(1/p). Small p make x and y
 * underflow, so their logarithms are kept. */
#include "train/mixup.h"

#include <math.h>

#include "base/math.h"
#include "base/philox.h"

/* A uniform number that is not 0. */
static double uniform_above_zero(vt_rng *rng)
{
    return ((double)vt_rng_uniform(rng) + 0x1p-25) / (1 + 0x1p-24);
}

static double log_gamma_variable(vt_rng *rng, double p)
{
    double boost = p < 1 ? vt_ln(uniform_above_zero(rng)) / p : 0, d = (p < 1 ? p + 1 : p) - 1.0 / 3.0;
    for (;;) {
        double z = vt_rng_normal(rng), root = 1 + z / sqrt(9 * d), v = root * root * root;
        if (root > 0 && vt_ln(uniform_above_zero(rng)) < z * z / 2 + d * (1 - v + vt_ln(v)))
            return vt_ln(d * v) + boost;
    }
}

float vt_mixup_share(uint32_t seed, int64_t step, double p)
{
    if (p <= 0)
        return 0;
    vt_rng rng = vt_rng_at(seed, VT_STREAM_MIXUP, (uint64_t)step, 0);
    double x = log_gamma_variable(&rng, p), y = log_gamma_variable(&rng, p);
    return (float)(1 / (1 + vt_exp(fabs(x - y)))); /* the smaller of x / (x+y) and y / (x+y) */
}
