/* Elementary functions in plain double arithmetic: range reduction, then Taylor series (or a fit, for erfc) short
 * enough that the terms left out are below a quarter of the last place. Every operation is one IEEE addition,
 * multiplication or division, never fused, so all compilers and processors give the same bits.
 *
 * Nothing here depends on whether the calling thread flushes denormals: arguments below 2^-1022 count as zero of their
 * sign, and results below it are zero.
 *
 * Sources: Cody and Waite, Software Manual for the Elementary Functions (1980), for the reductions; Dekker 1971 for
 * arithmetic on pairs (pow); the coefficients are 1/n! and its kin rounded to double. */
#include "base/math.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* ln 2 and pi/2 in parts: all but the last have so few bits that their products with a reduction's k are exact. */
#define LN2_HI      0x1.62e42fee00000p-1
#define LN2_LO      0x1.a39ef35793c76p-33
#define LOG2_E      0x1.71547652b82fep+0
#define PIO2_HI     0x1.921fb54400000p+0
#define PIO2_MID    0x1.0b4611a600000p-34
#define PIO2_LO     0x1.3198a2e037073p-69
#define TWO_OVER_PI 0x1.45f306dc9c883p-1
#define SQRT_HALF   0x1.6a09e667f3bcdp-1

#define EXP_MAX  0x1.62e42fefa39efp+9  /* ln of the largest double */
#define EXP_MIN  -0x1.6232bdd7abcd2p+9 /* ln 2^-1022, the smallest normal one */
#define TRIG_MAX 1e5

static uint64_t bits_of(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof(u));
    return u;
}

static double of_bits(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof(x));
    return x;
}

static int exponent_field(double x)
{
    return (int)(bits_of(x) >> 52 & 0x7ff);
}

/* x, or zero of its sign when it is denormal. */
static double flushed(double x)
{
    return exponent_field(x) == 0 ? of_bits(bits_of(x) & UINT64_C(1) << 63) : x;
}

/* The nearest integer, for |x| < 2^51: adding 1.5 * 2^52 leaves no bits for a fraction. */
static double nearest_integer(double x)
{
    return (x + 0x1.8p52) - 0x1.8p52;
}

/* c[0] + x c[1] + ... + x^(n-1) c[n-1] */
static double polynomial(double x, const double *c, int n)
{
    double sum = c[n - 1];
    for (int i = n - 2; i >= 0; i--)
        sum = sum * x + c[i];
    return sum;
}

/* x * 2^k for a normal result; x in [0.5, 2], so two steps reach 2^1024 - and both ends of the normal range. */
static double scaled(double x, int k)
{
    int half = k / 2;
    return x * of_bits((uint64_t)(1023 + half) << 52) * of_bits((uint64_t)(1023 + k - half) << 52);
}

/* exp(r + tail) - 1 for |r| <= 0.35, tail a correction below r's last place. */
static double expm1_reduced(double r, double tail)
{
    static const double c[] = {/* 1/2!, 1/3!, ..., 1/14! */
                               0x1.0000000000000p-1,  0x1.5555555555555p-3,  0x1.5555555555555p-5,
                               0x1.1111111111111p-7,  0x1.6c16c16c16c17p-10, 0x1.a01a01a01a01ap-13,
                               0x1.a01a01a01a01ap-16, 0x1.71de3a556c734p-19, 0x1.27e4fb7789f5cp-22,
                               0x1.ae64567f544e4p-26, 0x1.1eed8eff8d898p-29, 0x1.6124613a86d09p-33,
                               0x1.93974a8c07c9dp-37};
    return r + (r * r * polynomial(r, c, 13) + (tail + tail * r));
}

/* x = k ln 2 + (r + tail), |r| <= ln(2)/2 */
static int reduce_ln2(double x, double *r, double *tail)
{
    double k = nearest_integer(x * LOG2_E);
    double high = x - k * LN2_HI, low = k * LN2_LO;
    *r = high - low;
    *tail = (high - *r) - low;
    return (int)k;
}

/* exp(x + tail), tail below x's last place. */
static double exp_pair(double x, double x_tail)
{
    if (x > EXP_MAX)
        return HUGE_VAL;
    if (x < EXP_MIN)
        return 0;
    double r, tail;
    int k = reduce_ln2(x, &r, &tail);
    tail += x_tail; /* up to 2^-44, where x is near 700 */
    double sum = r + tail;
    tail = (r - sum) + tail;
    return flushed(scaled(1 + expm1_reduced(sum, tail), k));
}

double vt_exp(double x)
{
    return isnan(x) ? x : exp_pair(x, 0);
}

/* log(1 + f) - f for 1 + f in [sqrt(1/2), sqrt(2)]. With s = f / (2 + f), log(1 + f) = 2 atanh(s) = 2 (s + s^3/3 +
 * ...), and 2 s = f - s f; the large part of s f is f^2/2, which is taken off exactly enough: s f = f^2/2 - s f^2/2. */
static double log_tail(double f)
{
    static const double c[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11, 2.0 / 13,
                               2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23};
    double s = f / (2 + f), s2 = s * s, half = 0.5 * f * f;
    return s * (half + s2 * polynomial(s2, c, 11)) - half;
}

/* x = 2^k m, m in [sqrt(1/2), sqrt(2)); x positive, normal, finite. */
static int split_binary(double x, double *m)
{
    int k = exponent_field(x) - 1022;
    *m = of_bits((bits_of(x) & UINT64_C(0xfffffffffffff)) | UINT64_C(1022) << 52); /* [0.5, 1) */
    if (*m < SQRT_HALF) {
        *m *= 2;
        k--;
    }
    return k;
}

/* log(x) + extra for a small extra. */
static double log_plus(double x, double extra)
{
    double m;
    int k = split_binary(x, &m);
    double f = m - 1;
    return k * LN2_HI + (f + (log_tail(f) + (k * LN2_LO + extra)));
}

double vt_ln(double x)
{
    x = flushed(x);
    if (isnan(x) || x < 0)
        return (double)NAN;
    if (x == 0)
        return -HUGE_VAL;
    return isinf(x) ? x : log_plus(x, 0);
}

double vt_log1p(double x)
{
    x = flushed(x);
    if (isnan(x) || x < -1)
        return (double)NAN;
    if (x == -1)
        return -HUGE_VAL;
    if (isinf(x) || fabs(x) < 0x1p-54)
        return x;
    if (x > -0.29 && x < 0.41)
        return x + log_tail(x);
    double u = 1 + x;
    double lost = fabs(x) < 1 ? x - (u - 1) : 1 - (u - x);
    return log_plus(u, lost / u);
}

/* With sinh a = a (1 + p) and cosh a = 1 + q: tanh a = a + a (p - q) / (1 + q), where p - q has terms of one sign. */
static double tanh_small(double a)
{
    static const double p_minus_q[] = {/* 1/(2n+1)! - 1/(2n)! */
                                       -0x1.5555555555555p-2,  -0x1.1111111111111p-5,  -0x1.3813813813814p-10,
                                       -0x1.71de3a556c734p-16, -0x1.0cfeb60f94b0ep-22, -0x1.08db48ebe51c7p-29,
                                       -0x1.78af56a4d411bp-37, -0x1.952c77030ad4ap-45, -0x1.5532eaf516982p-53};
    static const double q[] = {/* 1/(2n)! */
                               0x1.0000000000000p-1,  0x1.5555555555555p-5,  0x1.6c16c16c16c17p-10,
                               0x1.a01a01a01a01ap-16, 0x1.27e4fb7789f5cp-22, 0x1.1eed8eff8d898p-29,
                               0x1.93974a8c07c9dp-37, 0x1.ae7f3e733b81fp-45, 0x1.6827863b97d97p-53};
    double a2 = a * a;
    return a + a * (a2 * polynomial(a2, p_minus_q, 9) / (1 + a2 * polynomial(a2, q, 9)));
}

double vt_tanh(double x)
{
    x = flushed(x);
    if (isnan(x) || fabs(x) < 0x1p-28)
        return x;
    double a = fabs(x);
    double y = a < 0.7 ? tanh_small(a) : a < 22 ? 1 - 2 / (exp_pair(2 * a, 0) + 1) : 1;
    return x < 0 ? -y : y;
}

/* erfc(x) for 1 <= x <= 6: exp(-x^2) / (1 + 2x) times a polynomial in t = (x - 3) / (x + 3), Chebyshev's fit of degree
 * 15 to (1 + 2x) exp(x^2) erfc(x), off by 2.5e-17 at most. */
static double erfc_middle(double x)
{
    static const double c[] = {
        /* highest power first */
        0x1.32af670bbdb95p-19, -0x1.192982fbf6129p-20, -0x1.4aeb5d3c995fcp-16, 0x1.56fea76f8e4dbp-18,
        0x1.06405c01b1a34p-13, -0x1.b9305c3ca50ecp-14, -0x1.98daefef091c2p-11, 0x1.ef1c0567e5b75p-10,
        0x1.4b884db29eaeap-9,  -0x1.8574c4279d471p-6,  0x1.17ca2877f10ebp-4,   -0x1.e88b803a23eedp-4,
        0x1.098366a5b48dep-3,  -0x1.85a15c58aaf57p-5,  -0x1.15c084bb9e8f6p-3,  0x1.40c522d7e4987p+0};
    double t = (x - 3) / (x + 3), sum = 0;
    for (int i = 0; i < 16; i++)
        sum = sum * t + c[i];
    return exp_pair(-x * x, 0) * sum / (1 + 2 * x);
}

double vt_erf(double x)
{
    static const double c[] = {
        /* 2/sqrt(pi) (-1)^n / (n! (2n+1)) */
        0x1.20dd750429b6dp+0,  -0x1.812746b0379e7p-2,  0x1.ce2f21a042be2p-4,  -0x1.b82ce31288b51p-6,
        0x1.565bcd0e6a53fp-8,  -0x1.c02db40040b86p-11, 0x1.f9a326f9b89b7p-14, -0x1.f4d25c3e0c2ebp-17,
        0x1.b9e6c9dc651a3p-20, -0x1.5f742ec43e71ap-23, 0x1.fcc5720624c1cp-27, -0x1.51d7181c5d36dp-30,
        0x1.9e6ad5e55a730p-34, -0x1.d8453cb0c46eap-38, 0x1.f683ae4a97007p-42, -0x1.f56f071a885cfp-46,
        0x1.d70b3537f4765p-50, -0x1.a2007af3447f6p-54, 0x1.5f7919bc67b8cp-58};
    static const double two_over_sqrt_pi_minus_1 = 0x1.06eba8214db69p-3;
    x = flushed(x);
    double a = fabs(x);
    if (isnan(x))
        return x;
    if (a < 1) {
        /* The first term as x + x (c[0] - 1): its rounding is the largest. */
        double x2 = x * x;
        return x + (x * two_over_sqrt_pi_minus_1 + x * (x2 * polynomial(x2, c + 1, 18)));
    }
    double y = a >= 6 ? 1 : 1 - erfc_middle(a);
    return x < 0 ? -y : y;
}

/* x = k pi/2 + (r + tail), |r| <= pi/4; returns k mod 4. The first two products are exact for |k| < 2^20, so what is
 * lost is pi/2's bits beyond 2^-121: enough for the doubles nearest to a multiple of pi/2. */
static int reduce_pio2(double x, double *r, double *tail)
{
    double k = nearest_integer(x * TWO_OVER_PI);
    double a = x - k * PIO2_HI, b = k * PIO2_MID, c = k * PIO2_LO;
    double d = a - b, d_a = d + b; /* d + e = a - b exactly */
    double e = (a - d_a) - (b - (d_a - d));
    double f = d - c, f_d = f + c;
    double g = (d - f_d) - (c - (f_d - f)) + e;
    *r = f + g;
    *tail = (f - *r) + g;
    return (int)((int64_t)k & 3);
}

static double sin_reduced(double r, double tail)
{
    static const double c[] = {/* -1/3!, 1/5!, ..., 1/17! */
                               -0x1.5555555555555p-3,  0x1.1111111111111p-7,   -0x1.a01a01a01a01ap-13,
                               0x1.71de3a556c734p-19,  -0x1.ae64567f544e4p-26, 0x1.6124613a86d09p-33,
                               -0x1.ae7f3e733b81fp-41, 0x1.952c77030ad4ap-49};
    double r2 = r * r;
    return r + (r * (r2 * polynomial(r2, c, 8)) + tail * (1 - 0.5 * r2));
}

static double cos_reduced(double r, double tail)
{
    static const double c[] = {/* 1/4!, -1/6!, ..., 1/16! */
                               0x1.5555555555555p-5,   -0x1.6c16c16c16c17p-10, 0x1.a01a01a01a01ap-16,
                               -0x1.27e4fb7789f5cp-22, 0x1.1eed8eff8d898p-29,  -0x1.93974a8c07c9dp-37,
                               0x1.ae7f3e733b81fp-45};
    double r2 = r * r, half = 0.5 * r2, w = 1 - half;
    return w + (((1 - w) - half) + (r2 * (r2 * polynomial(r2, c, 7)) - r * tail));
}

/* sin(x + quarter turns * pi/2) */
static double sin_quarters(double x, int quarters)
{
    if (!(fabs(x) <= TRIG_MAX))
        return (double)NAN;
    double r, tail;
    int q = (reduce_pio2(x, &r, &tail) + quarters) & 3;
    double y = q % 2 == 0 ? sin_reduced(r, tail) : cos_reduced(r, tail);
    return q < 2 ? y : -y;
}

double vt_sin(double x)
{
    x = flushed(x);
    return fabs(x) < 0x1p-28 ? x : sin_quarters(x, 0);
}

double vt_cos(double x)
{
    return fabs(x) < 0x1p-28 ? 1 : sin_quarters(x, 1);
}

/* Pairs: a number hi + lo with |lo| below hi's last place, about 104 bits. */
typedef struct {
    double hi, lo;
} pair;

static pair fast_sum(double a, double b) /* |a| >= |b| */
{
    double s = a + b;
    return (pair){s, b - (s - a)};
}

static pair product(double a, double b)
{
    double ta = 134217729.0 * a, tb = 134217729.0 * b; /* 2^27 + 1 splits 53 bits into two halves */
    double a1 = ta - (ta - a), b1 = tb - (tb - b), a2 = a - a1, b2 = b - b1;
    double p = a * b;
    return (pair){p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2};
}

static pair pair_product(pair a, pair b)
{
    pair p = product(a.hi, b.hi);
    return fast_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}

static pair pair_sum(pair a, pair b) /* |a| >= |b| */
{
    pair s = fast_sum(a.hi, b.hi);
    return fast_sum(s.hi, s.lo + (a.lo + b.lo));
}

/* log(x) to about 2^-66 of its size: as log_tail, with s, s^2 and the first two terms of the series as pairs. */
static pair log_pair(double x)
{
    static const pair c1 = {0x1.5555555555555p-1, 0x1.5555555555555p-55};  /* 2/3 */
    static const pair c2 = {0x1.999999999999ap-2, -0x1.999999999999ap-56}; /* 2/5 */
    static const double c[] = {2.0 / 7,  2.0 / 9,  2.0 / 11, 2.0 / 13, 2.0 / 15,
                               2.0 / 17, 2.0 / 19, 2.0 / 21, 2.0 / 23, 2.0 / 25};
    double m;
    int k = split_binary(x, &m);
    double f = m - 1;
    pair d = fast_sum(2, f);
    double q = f / d.hi;
    pair back = product(q, d.hi);
    pair s = fast_sum(q, (((f - back.hi) - back.lo) - q * d.lo) / d.hi);
    pair s2 = pair_product(s, s);
    pair rest = product(s2.hi, polynomial(s2.hi, c, 10));
    pair series = pair_sum(c1, pair_product(s2, pair_sum(c2, rest)));
    pair tail = pair_product(pair_product(s, s2), series);
    pair mantissa = pair_sum((pair){2 * s.hi, 2 * s.lo}, tail);
    if (k == 0)
        return mantissa;
    pair whole = fast_sum(k * LN2_HI, k * LN2_LO);
    return pair_sum(whole, mantissa);
}

double vt_pow(double x, double y)
{
    x = flushed(x);
    y = flushed(y);
    if (x == 1 || y == 0)
        return 1;
    if (isnan(x) || isnan(y) || x < 0)
        return (double)NAN;
    if (x == 0 || isinf(x))
        return (x == 0) == (y > 0) ? 0 : HUGE_VAL;
    double rough = y * log_plus(x, 0); /* also where y is infinite */
    if (rough > 710)
        return HUGE_VAL;
    if (rough < -710)
        return 0;
    if (fabs(rough) < 0x1p-60)
        return 1;
    pair l = log_pair(x), p = product(y, l.hi);
    p = fast_sum(p.hi, p.lo + y * l.lo);
    return exp_pair(p.hi, p.lo);
}
