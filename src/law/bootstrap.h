/* The bootstrap: what would the fit say had other runs been made? Whole groups (trunks) are drawn with replacement, the
 * frontier is chosen anew, the full form is fitted again from the optimum and four starts around it. Draw i depends on
 * the seed and i alone, so neither threads nor the number of draws change it. */
#ifndef VT_LAW_BOOTSTRAP_H
#define VT_LAW_BOOTSTRAP_H

#include "base/pool.h"
#include "law/law.h"

#define VT_BOOTSTRAP_MAX 1000000

typedef struct {
    size_t draws;
    uint32_t seed;
    const double *x; /* where the curve is wanted */
    size_t n_x;
    bool by_run; /* draw runs one by one though there are groups */
} vt_bootstrap_how;

typedef struct {
    size_t draws, failed; /* failed: too few runs on the frontier of the draw */
    size_t n_x, n_units;  /* n_units: groups or runs drawn from */
    bool by_group;
    vt_form form;   /* the form that was fitted: full, or pure where the table cannot tell more */
    double *values; /* (VT_N_P + n_x) rows of draws - failed values: a, b, c, d, then E at each x */
    size_t n;       /* draws - failed */
} vt_bootstrap;

vt_status vt_bootstrap_run(vt_bootstrap *b, const vt_points *pts, const vt_law *law, const vt_bootstrap_how *how,
                           vt_pool *pool, vt_err *err) VT_MUST_USE;
void vt_bootstrap_release(vt_bootstrap *b);

/* The central interval of a level of one row; sorts the row. */
void vt_bootstrap_interval(vt_bootstrap *b, size_t row, double level, double *low, double *high);

#endif
