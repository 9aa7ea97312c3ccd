/* The law of a table of runs: all forms fitted to the frontier, compared by held-out error, checked for what commonly
 * goes wrong, and a prediction with an interval that a back-test supports.
 *
 * A prediction stands between the two forms that level off (floor: a C^-b + c, and full: a (C + d)^-b + c), which
 * bracket the truth more often than either meets it. Its scale s, in ln E, is s^2 = mean of the two curves' squared
 * standard errors + scatter of runs^2 + (half the gap between the forms)^2 and the interval is centre x exp(+- k s), k
 * the quantile of |ln actual - ln predicted| / s met in back-tests at that distance beyond the largest fitted C
 * (vt_calibration), never less than Student's t. */
#ifndef VT_LAW_LAW_H
#define VT_LAW_LAW_H

#include "law/fit.h"
#include "law/points.h"

enum { VT_LEVEL_50, VT_LEVEL_80, VT_LEVEL_90, VT_LEVEL_95, VT_N_LEVELS };
extern const double vt_levels[VT_N_LEVELS]; /* 0.5, 0.8, 0.9, 0.95 */

/* Distances beyond the largest fitted C: up to 3x, 10x, 30x. Farther is not supported by any back-test. */
enum { VT_BIN_3, VT_BIN_10, VT_BIN_30, VT_N_BINS };
extern const double vt_bins[VT_N_BINS]; /* 3, 10, 30 */

typedef struct {
    double k[VT_N_BINS][VT_N_LEVELS];
    size_t n[VT_N_BINS]; /* predictions they were learned from */
    const char *source;  /* for people */
} vt_calibration;

/* Learned by `vitro law backtest` on the 12 series of the paper's runs; docs/law.md shows it. */
extern const vt_calibration vt_calibration_paper;

/* The rows of the comparison. */
typedef struct {
    vt_form form;
    vt_loss loss;
    bool done; /* false: refused or not enough points */
    vt_fit fit;
    double aicc;
    double held_out; /* rms of ln E on frontier points beyond C_max / 3 and C_max / 10, fitted below; NaN where none */
    size_t n_held;
} vt_law_row;

#define VT_LAW_ROWS      6
#define VT_LAW_MAX_NOTES 24

typedef struct {
    vt_loss loss;        /* of the first four rows; the last two are Huber's */
    double delta;        /* of Huber's loss; 0: its default */
    bool all_points;     /* fit all runs instead of their frontier */
    const double *start; /* begin from this optimum of the full form instead of the grid */
    bool quick;          /* only what predictions need: rows floor and full, no held-out, no notes */
} vt_law_how;

typedef struct {
    vt_law_how how;
    double *x, *y; /* the points fitted, sorted by x */
    size_t n;
    vt_law_row rows[VT_LAW_ROWS]; /* pure, shifted, floor, full; floor and full by Huber's loss */
    bool levels_off;              /* c and d were allowed: at least 8 points over 1.5 decades */
    int best;       /* the row with the least held-out error (or least AICc where nothing can be held out) */
    double scatter; /* of runs about the curve, in ln E; not below that of seeds */
    char *notes[VT_LAW_MAX_NOTES]; /* what goes wrong here, a sentence each */
    size_t n_notes;
} vt_law;

vt_status vt_law_make(vt_law *law, const vt_points *pts, const vt_law_how *how, vt_err *err) VT_MUST_USE;
/* The same from bare points sorted by x, which are taken as they are; no notes about runs. */
vt_status vt_law_of(vt_law *law, const double *x, const double *y, size_t n, const vt_law_how *how,
                    vt_err *err) VT_MUST_USE;
void vt_law_release(vt_law *law);

typedef struct {
    double x;
    double floor, full, pure; /* what the forms say; pure is NaN in a quick law */
    double centre, low, high;
    double s, k;     /* as above */
    double distance; /* x / largest fitted C */
    bool supported;  /* distance at most 30, and both forms that level off were fitted */
} vt_prediction;

/* What one new best run at x would show, at a level of vt_levels. */
vt_prediction vt_law_predict(const vt_law *law, const vt_calibration *cal, double x, int level);

/* The bin of a distance; the last one for all beyond. */
int vt_bin_of(double distance);

#endif
