/* Elementary functions on vectors, from polynomials of our own (minimax fits by Remez exchange, made once): no libm, so
 * the bits follow from vec.h alone. Errors are stated for vf_fma with one rounding, and hold within 1 ulp more where it
 * rounds twice. NaN in gives NaN out. */
#ifndef VT_KERNELS_CPU_VMATH_H
#define VT_KERNELS_CPU_VMATH_H

#include "kernels/cpu/vec.h"

/* x = n ln 2 + r with |r| <= ln(2)/2: returns exp(r) - 1 = r + r^2 q(r) (relative error of the polynomial 3e-9), and n
 * in the low bits of *shifted. Adding 1.5 * 2^23 rounds to an integer and leaves it there; ln 2 is split so that n *
 * its high part is exact. */
VT_INLINE vf vf_exp_parts(vf x, vf *shifted)
{
    const vf round = vf_set1(12582912.0F);
    *shifted = vf_fma(x, vf_set1(1.44269504F), round);
    vf n = vf_sub(*shifted, round);
    vf r = vf_fnma(n, vf_set1(0.693359375F), x);
    r = vf_fnma(n, vf_set1(-2.12194440e-4F), r);
    vf q = vf_fma(vf_set1(0.001381459878757596F), r, vf_set1(0.008368716575205326F));
    q = vf_fma(q, r, vf_set1(0.04166838899254799F));
    q = vf_fma(q, r, vf_set1(0.1666652113199234F));
    q = vf_fma(q, r, vf_set1(0.4999999403953552F));
    return vf_fma(q, vf_mul(r, r), r);
}

/* exp(x) for -87.33 <= x <= 88.37, within 1.1 ulp; outside that range the result is meaningless. */
VT_INLINE vf vf_exp_in_range(vf x)
{
    vf shifted, less_one = vf_exp_parts(x, &shifted);
    return vf_scale_by_low_bits(vf_add(less_one, vf_set1(1.0F)), shifted);
}

/* exp(x) for x <= 88: below -87 it is exp(-87), 1.6e-38, which no sum with a normal number in it notices. */
VT_INLINE vf vf_exp(vf x)
{
    return vf_exp_in_range(vf_max(vf_set1(-87.0F), x));
}

/* log((1 + s) / (1 - s)) for |s| <= 1/3 (2 atanh s), relative error 1e-10 before rounding: 2 s + s^3 p(s^2). */
VT_INLINE vf vf_log_ratio(vf s)
{
    vf z = vf_mul(s, s);
    vf p = vf_fma(vf_set1(0.24295446276664734F), z, vf_set1(0.21429303288459778F));
    p = vf_fma(p, z, vf_set1(0.286167174577713F));
    p = vf_fma(p, z, vf_set1(0.3999888598918915F));
    p = vf_fma(p, z, vf_set1(0.6666667461395264F));
    return vf_fma(vf_mul(s, z), p, vf_add(s, s));
}

/* log(x) for normal x >= 1, within 2 ulp (absolute error below 1.2e-7 near 1). */
VT_INLINE vf vf_log(vf x)
{
    vf e, m = vf_split_exponent(x, &e);
    vf one = vf_set1(1.0F);
    vf log_m = vf_log_ratio(vf_div(vf_sub(m, one), vf_add(m, one)));
    vf nan_stays = vf_sub(x, x);
    return vf_fma(e, vf_set1(0.693359375F), vf_fma(e, vf_set1(-2.12194440e-4F), vf_add(log_m, nan_stays)));
}

/* log(1 + x) for 0 <= x <= 1, within 2 ulp. */
VT_INLINE vf vf_log1p(vf x)
{
    return vf_log_ratio(vf_div(x, vf_add(x, vf_set1(2.0F))));
}

/* tanh(x), within 2.5 ulp: t / (t + 2) with t = exp(2|x|) - 1, which is put together without cancellation. */
VT_INLINE vf vf_tanh(vf x)
{
    vf one = vf_set1(1.0F), limited = vf_min(vf_set1(10.0F), vf_abs(x)); /* beyond that it is 1 */
    vf shifted, less_one = vf_exp_parts(vf_add(limited, limited), &shifted);
    vf power = vf_scale_by_low_bits(one, shifted);
    vf t = vf_fma(power, less_one, vf_sub(power, one));
    vf y = vf_div(t, vf_add(t, vf_set1(2.0F)));
    return vf_if_negative(x, vf_sub(vf_zero(), y), y);
}

/* Its derivative 1 - tanh(x)^2 = 4 e / (1 + e)^2 with e = exp(-2|x|), within 4 ulp. */
VT_INLINE vf vf_tanh_derivative(vf x)
{
    vf e = vf_exp_in_range(vf_mul(vf_set1(-2.0F), vf_min(vf_set1(43.0F), vf_abs(x))));
    vf sum = vf_add(vf_set1(1.0F), e);
    return vf_div(vf_mul(vf_set1(4.0F), e), vf_mul(sum, sum));
}

/* The logistic function 1 / (1 + exp(-x)), within 4 ulp where it is above 1e-30. */
VT_INLINE vf vf_logistic(vf x)
{
    vf e = vf_exp_in_range(vf_max(vf_set1(-80.0F), vf_min(vf_set1(80.0F), vf_sub(vf_zero(), x))));
    return vf_div(vf_set1(1.0F), vf_add(vf_set1(1.0F), e));
}

/* The derivative of z s(factor z), s the logistic function: s + factor z s (1 - s); absolute error below 4e-7. */
VT_INLINE vf vf_gate_derivative(vf z, float factor)
{
    vf x = vf_max(vf_set1(-80.0F), vf_min(vf_set1(80.0F), vf_mul(vf_set1(factor), z)));
    vf e = vf_exp_in_range(vf_sub(vf_zero(), x)), s = vf_div(vf_set1(1.0F), vf_add(vf_set1(1.0F), e));
    return vf_fma(vf_mul(x, s), vf_mul(e, s), s);
}

/* What GELU in its tanh form and its derivative share. gelu(z) = z s(z) with the logistic function s of 2 sqrt(2/pi) (z
 * + 0.044715 z^3): the tanh form in other words, but without cancellation for negative z. *e = exp(-that), so s = 1 /
 * (1 + e). z is limited to [-10, 10], beyond which s is 0 or 1 in float32; the limited z comes back. */
VT_INLINE vf vf_gelu_exp(vf z, vf *slope, vf *e)
{
    const float c0 = -1.5957691216F, c1 = -0.0713548163F; /* -2 sqrt(2/pi), and that times 0.044715 */
    vf limited = vf_min(vf_set1(10.0F), vf_max(vf_set1(-10.0F), z));
    vf z2 = vf_mul(limited, limited);
    *e = vf_exp_in_range(vf_mul(limited, vf_fma(vf_set1(c1), z2, vf_set1(c0))));
    *slope = vf_fma(vf_set1(-3.0F * c1), z2, vf_set1(-c0)); /* derivative of the logistic function's argument */
    return limited;
}

/* 0.5 z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))): absolute error below 2e-7 |z|; relative error grows to 2e-5 where
 * the value itself is below 1e-30. */
VT_INLINE vf vf_gelu(vf z)
{
    vf slope, e;
    vf_gelu_exp(z, &slope, &e);
    return vf_div(z, vf_add(vf_set1(1.0F), e));
}

/* Its derivative, s + z s (1 - s) * slope, where 1 - s = e s; absolute error below 3e-7. */
VT_INLINE vf vf_gelu_derivative(vf z)
{
    vf slope, e, limited = vf_gelu_exp(z, &slope, &e);
    vf s = vf_div(vf_set1(1.0F), vf_add(vf_set1(1.0F), e));
    vf curve = vf_mul(vf_mul(limited, slope), vf_mul(e, s));
    return vf_fma(curve, s, s);
}

/* The standard normal distribution F(z) = 0.5 (1 + erf(z / sqrt(2))) and *e = exp(-z^2/2). F(-|z|) is e times a
 * polynomial in 1 / (1 + 0.275 |z|), of relative error 4e-8 up to |z| = 13, where z is limited; so the lower tail has
 * no cancellation. Absolute error below 1e-7; relative error of F(z) for negative z, and of e, below 2e-7 + 1e-7 z^2.
 */
VT_INLINE vf vf_normal_cdf(vf z, vf *e)
{
    vf one = vf_set1(1.0F), limited = vf_min(vf_set1(13.0F), vf_abs(z));
    *e = vf_exp_in_range(vf_mul(vf_mul(limited, vf_set1(-0.5F)), limited));
    vf t = vf_div(one, vf_fma(limited, vf_set1(0.2750000059604645F), one));
    vf q = vf_fma(vf_set1(0.0259071738F), t, vf_set1(-0.104316652F));
    q = vf_fma(q, t, vf_set1(0.116567925F));
    q = vf_fma(q, t, vf_set1(-0.0190880932F));
    q = vf_fma(q, t, vf_set1(0.0765675083F));
    q = vf_fma(q, t, vf_set1(0.0839409307F));
    q = vf_fma(q, t, vf_set1(0.100880206F));
    q = vf_fma(q, t, vf_set1(0.109841466F));
    q = vf_fma(q, t, vf_set1(0.109699555F));
    vf tail = vf_mul(*e, vf_mul(q, t));
    return vf_if_negative(z, tail, vf_sub(one, tail));
}

/* z F(z), GELU as it is. */
VT_INLINE vf vf_gelu_erf(vf z)
{
    vf e;
    return vf_mul(z, vf_normal_cdf(z, &e));
}

/* Its derivative, F(z) + z exp(-z^2/2) / sqrt(2 pi); absolute error below 3e-7. */
VT_INLINE vf vf_gelu_erf_derivative(vf z)
{
    vf e, cdf = vf_normal_cdf(z, &e);
    vf density = vf_mul(e, vf_set1(0.3989422804F));
    return vf_fma(vf_min(vf_set1(13.0F), vf_max(vf_set1(-13.0F), z)), density, cdf);
}

#endif
