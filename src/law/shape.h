/* The law of one shape dimension x (width, depth, MLP width) and compute t (Alabdulmohsin et al. 2023, "Getting ViT in
 * shape", equation 3):
 *
 *   f = alpha x^-a + (beta x^b + xi) t^-c + eps,   all >= 0
 *
 * fitted by least squares of relative errors. For given exponents the rest is linear (variable projection): three
 * numbers are searched, four follow. The best x at compute t is (alpha a t^c / (beta b))^(1 / (a + b)), so x grows as
 * t^s with s = c / (a + b). */
#ifndef VT_LAW_SHAPE_H
#define VT_LAW_SHAPE_H

#include <stddef.h>

#include "base/status.h"

typedef struct {
    double x, t, y;
} vt_shape_point;

typedef struct {
    double alpha, a, beta, b, xi, c, eps;
    double s;   /* c / (a + b) */
    double rms; /* of relative errors */
    int starts, agree;
    double least_x, most_x; /* of the points */
} vt_shape_law;

/* Needs at least 8 points, 3 different x and 2 different t. */
vt_status vt_shape_fit(vt_shape_law *law, const vt_shape_point *points, size_t n, vt_err *err) VT_MUST_USE;
double vt_shape_at(const vt_shape_law *law, double x, double t);

/* The best x at t; VT_EINVAL where it lies at or beyond the edge of the x that were tried: no optimum was seen. */
vt_status vt_shape_best(const vt_shape_law *law, double t, double *x, vt_err *err) VT_MUST_USE;

#endif
