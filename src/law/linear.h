/* Small dense linear algebra: what covariances and variable projection need. */
#ifndef VT_LAW_LINEAR_H
#define VT_LAW_LINEAR_H

#include <stdbool.h>

#define VT_LINEAR_MAX 8

/* Inverts a symmetric positive definite k x k matrix in place (scaled to unit diagonal, then Cholesky); false where it
 * is singular to 1e-13. k <= VT_LINEAR_MAX. */
bool vt_invert_spd(double *m, int k);

/* Least squares with coefficients >= 0 of n rows: minimises |A v - t|^2 over v, A (n x k) row-major, k <= 4, by trying
 * every set of coefficients held at 0. The sum of squares. */
double vt_nonnegative(const double *a, const double *t, long n, int k, double v[]);

#endif
