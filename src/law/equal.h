/* Sample efficiency: what two models need for equal error. A model's curve is its frontier (the best error for what was
 * spent), straight between points in ln x and ln y; nothing is extrapolated. And the step from loss to error. */
#ifndef VT_LAW_EQUAL_H
#define VT_LAW_EQUAL_H

#include "law/law.h"

/* x at which the runs of one model reach y; NaN where they do not, or begin below it. p is sorted by (x, y). */
double vt_equal_x(const vt_point *p, size_t n, size_t model, double y);

typedef struct {
    double y, x[2]; /* what each model needs */
} vt_equal;

/* The geometric mean of x[0] / x[1] over the errors that both models reach, `steps` of them evenly in ln y; list holds
 * each (steps long). False where their errors do not overlap. */
bool vt_equal_ratio(const vt_point *p, size_t n, size_t model_a, size_t model_b, size_t steps, vt_equal *list,
                    double *ratio);

/* Error from loss, E = a L^b + c (c = 0 where the points do not ask for it), by the fit of law/fit.h in 1 / L. Runs
 * with both are rarer and noisier in error than in loss, so a law of loss carried through this one reaches farther. */
vt_status vt_error_from_loss(vt_fit *fit, const double *loss, const double *error, size_t n, vt_err *err) VT_MUST_USE;
double vt_error_at_loss(const vt_fit *fit, double loss);

#endif
