/* The law E = a (C + d)^-b + c fitted to points (C, E), in any of its four forms, by Levenberg-Marquardt with analytic
 * derivatives from a grid of starts. The objective is a sum over points, never a mean; the stop is relative.
 *
 * Parameters are fitted as logarithms, so all are positive; a d or c that wants to be 0 is met by fitting the form
 * without it and comparing. C is divided by the least C first, so units do not matter. Source: Zhai et al. 2022,
 * section 2.2, for the form; Hoffmann et al. 2022 for the Huber loss of log errors. */
#ifndef VT_LAW_FIT_H
#define VT_LAW_FIT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef enum {
    VT_FORM_PURE,    /* a C^-b */
    VT_FORM_SHIFTED, /* a (C + d)^-b */
    VT_FORM_FLOOR,   /* a C^-b + c */
    VT_FORM_FULL,    /* a (C + d)^-b + c */
    VT_N_FORMS
} vt_form;

typedef enum {
    VT_LOSS_LOG,   /* sum of (ln E_fit - ln E)^2 */
    VT_LOSS_HUBER, /* the same, linear beyond delta: outliers pull less */
    VT_LOSS_LINEAR /* sum of (E_fit - E)^2 */
} vt_loss;

enum { VT_P_A, VT_P_B, VT_P_C, VT_P_D, VT_N_P };

extern const char *const vt_form_names[VT_N_FORMS]; /* "pure", "shifted", "floor", "full" */
extern const char *const vt_form_texts[VT_N_FORMS]; /* "a C^-b", ... */
extern const char *const vt_loss_names[3];
extern const bool vt_form_has[VT_N_FORMS][VT_N_P]; /* which parameters a form has */

#define VT_FIT_MAX_POINTS                                                                                              \
    20000 /* a fit to more points takes minutes and says no more: thin them, or take the frontier */

typedef struct {
    vt_form form;
    vt_loss loss;
    double delta;        /* of the Huber loss, in ln E; 0: 0.03 */
    const double *start; /* NULL: the grid of 81 starts; else a, b, c, d to begin from, with four more around it */
} vt_fit_how;

typedef struct {
    vt_form form;
    vt_loss loss;
    double delta;
    double p[VT_N_P];           /* a, b, c, d; 0 where the form has none */
    bool free[VT_N_P];          /* fitted, and not at a bound */
    bool at_bound[VT_N_P];      /* the form has it, but its best value is a bound (0 for c and d) */
    double se[VT_N_P];          /* standard errors, 0 where not free */
    double cov[VT_N_P][VT_N_P]; /* of ln a', ln b, ln c', ln d', where a' and d' are for C / unit */
    double unit;                /* the least C */
    double max_corr;            /* the largest |correlation| of two parameters, at the middle of ln C */
    size_t n, n_free;
    double objective;  /* the sum that was minimised (half the squares for none of them) */
    double sse_log;    /* sum of squares of ln E_fit - ln E */
    double sigma;      /* standard deviation of ln E about the curve, by n - n_free */
    int starts, agree; /* starts tried; those within 1e-6 of the best objective */
    int info;          /* what MINPACK said of the best: 1 to 4 converged, 5 stopped at its limit of evaluations */
} vt_fit;

/* Needs more points than parameters, not all at one C. x and y positive and finite (asserted by points.h). */
vt_status vt_fit_run(vt_fit *fit, const vt_fit_how *how, const double *x, const double *y, size_t n,
                     vt_err *err) VT_MUST_USE;

/* The curve at C, and the standard error of its logarithm there (delta method; the scatter of runs is not in it). */
double vt_fit_at(const vt_fit *fit, double x);
double vt_fit_se(const vt_fit *fit, double x);
/* The gradient of ln E at C by the parameters of cov; 0 for those not free. */
void vt_fit_gradient(const vt_fit *fit, double x, double g[VT_N_P]);
/* E as C goes to 0. */
double vt_fit_at_zero(const vt_fit *fit);

/* Akaike's criterion with the correction for few points, of the log residuals; infinity for n <= parameters + 2. */
double vt_fit_aicc(const vt_fit *fit);

#endif
