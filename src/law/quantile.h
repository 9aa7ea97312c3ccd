/* Quantiles that intervals need, by arithmetic of our own. */
#ifndef VT_LAW_QUANTILE_H
#define VT_LAW_QUANTILE_H

#include <stddef.h>

/* ln of the gamma function, x > 0; relative error below 1e-13. */
double vt_ln_gamma(double x);
/* The regularised incomplete beta function, 0 <= x <= 1, a, b > 0. */
double vt_incomplete_beta(double a, double b, double x);
/* P(T <= t) of Student's distribution, and its inverse for 0 < p < 1; df > 0, not necessarily whole. */
double vt_t_cdf(double t, double df);
double vt_t_quantile(double p, double df);
/* The q-quantile of v[0..n) (0 <= q <= 1, linear between order statistics); sorts v; n >= 1. */
double vt_sample_quantile(double *v, size_t n, double q);

#endif
