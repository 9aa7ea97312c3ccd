/* Back-tests: stand at a cut-off, fit what lies below, predict the best run 3, 10 and 30 times beyond, and look. The
 * widening factors k of predictions are learned from many such trials; those learned on all series but one are tried on
 * the one left out, which is the coverage that a new table can hope for. */
#ifndef VT_LAW_BACKTEST_H
#define VT_LAW_BACKTEST_H

#include "law/law.h"

#define VT_BACKTEST_CUTS 8 /* cut-offs a series, evenly spread over ln C */

typedef struct {
    size_t series; /* index */
    int bin;
    double cutoff, x; /* largest C fitted to, C of the run predicted */
    double actual, centre, floor, full, s;
} vt_trial;

typedef struct {
    size_t n;         /* trials */
    double raw;       /* coverage with Student's t, nothing learned */
    double left_out;  /* coverage of the series left out */
    double width;     /* median of ln(high / low), series left out */
    double bias, rms; /* of ln(actual / predicted) */
} vt_coverage;

typedef struct {
    vt_trial *trials;
    size_t n, n_series;
    size_t *cuts;       /* cut-offs used, of each series */
    vt_calibration all; /* learned on all series */
    vt_coverage by_bin[VT_N_BINS][VT_N_LEVELS];
    vt_coverage total[VT_N_LEVELS]; /* over all bins */
    double *by_series;              /* coverage of each series at 80 %, left out; NaN where it has no trial */
} vt_backtest;

/* series: n of them, each selected from a table. */
vt_status vt_backtest_run(vt_backtest *b, const vt_points *const *series, size_t n, vt_err *err) VT_MUST_USE;
void vt_backtest_release(vt_backtest *b);

/* The calibration to use for one table: at least `base`, and wider where the table's own back-test asks for it. */
vt_calibration vt_calibration_for(const vt_calibration *base, const vt_points *pts);

#endif
