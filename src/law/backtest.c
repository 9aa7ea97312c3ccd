/* Trials, factors, coverage. A trial's k would have had to be |ln actual - ln centre| / s. */
#include "law/backtest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/math.h"
#include "base/text.h"
#include "law/quantile.h"

#define FEWEST 6 /* trials in a bin from which a table's own factors are taken */

/* Of the paper's runs: vitro law backtest, docs/law.md. */
const vt_calibration vt_calibration_paper = {
    .k = {{0.819, 1.460, 1.839, 2.393}, {0.819, 1.460, 1.839, 2.393}, {0.819, 1.543, 2.283, 2.715}},
    .n = {70, 74, 64},
    .source = "the back-test of the paper's runs"};

/* --- trials
 * ----------------------------------------------------------------------------------------------------------- */

typedef struct {
    vt_trial **list;
    size_t *n;
    size_t series;
} sink;

static void add_trial(sink *out, vt_trial t)
{
    *out->list = vt_xrealloc(*out->list, (*out->n + 1) * sizeof **out->list);
    t.series = out->series;
    (*out->list)[(*out->n)++] = t;
}

/* The trials of one fit to x[0..n): the last member of the frontier in each ring beyond it. */
static void predict_rings(sink *out, const vt_law *law, const double *x, const double *y, size_t n, size_t all)
{
    static const vt_calibration none = {.source = ""};
    const double edge = x[n - 1];
    for (int b = 0; b < VT_N_BINS; b++) {
        size_t last = 0;
        for (size_t i = n; i < all && x[i] <= vt_bins[b] * edge; i++)
            if (x[i] > (b > 0 ? vt_bins[b - 1] : 1) * edge)
                last = i;
        if (last == 0)
            continue;
        const vt_prediction p = vt_law_predict(law, &none, x[last], VT_LEVEL_80);
        add_trial(out, (vt_trial){.bin = b,
                                  .cutoff = edge,
                                  .x = x[last],
                                  .actual = y[last],
                                  .centre = p.centre,
                                  .floor = p.floor,
                                  .full = p.full,
                                  .s = p.s});
    }
}

/* The least number of points that a law which levels off may be fitted to. */
static size_t fewest_points(const double *x, size_t all)
{
    for (size_t n = 8; n < all; n++)
        if (x[n - 1] >= x[0] * 31.6227766)
            return n;
    return all;
}

/* All trials of a series; how many cut-offs were used. */
static size_t run_series(sink *out, const vt_points *pts)
{
    double *x = vt_xcalloc(pts->n + 1, 2 * sizeof *x), *y = x + pts->n + 1, start[VT_N_P];
    const size_t all = vt_points_take(pts->p, pts->n, HUGE_VAL, true, x, y), least = fewest_points(x, all);
    size_t cuts = 0, before = 0;
    bool has_start = false;
    for (int c = 0; c < VT_BACKTEST_CUTS && least < all; c++) {
        const double low = vt_ln(x[least - 1]), high = vt_ln(x[all - 2]);
        const double edge = vt_exp(low + (high - low) * c / (VT_BACKTEST_CUTS - 1)) * (1 + 1e-9);
        size_t n = least;
        while (n < all - 1 && x[n] <= edge)
            n++;
        if (n == before)
            continue;
        before = n;
        vt_law law;
        const vt_law_how how = {.quick = true, .start = has_start ? start : NULL};
        if (vt_law_of(&law, x, y, n, &how, NULL) != VT_OK)
            continue;
        if (law.rows[VT_FORM_FULL].done && law.rows[VT_FORM_FLOOR].done) {
            memcpy(start, law.rows[VT_FORM_FULL].fit.p, sizeof start);
            has_start = true;
            predict_rings(out, &law, x, y, n, all);
            cuts++;
        }
        vt_law_release(&law);
    }
    free(x);
    return cuts;
}

/* --- factors
 * ---------------------------------------------------------------------------------------------------------- */

static double needed_k(const vt_trial *t)
{
    return fabs(vt_ln(t->actual / t->centre)) / t->s;
}

/* Factors from all trials but those of one series (n_series: of none). They do not fall with distance. */
static vt_calibration learn(const vt_trial *trials, size_t n, size_t without)
{
    vt_calibration cal = {.source = "the back-test of this table"};
    double *k = vt_xcalloc(n + 1, sizeof *k);
    for (int b = 0; b < VT_N_BINS; b++) {
        for (size_t i = 0; i < n; i++)
            if (trials[i].bin == b && trials[i].series != without)
                k[cal.n[b]++] = needed_k(&trials[i]);
        for (int l = 0; l < VT_N_LEVELS; l++) {
            /* The quantile that covers a further trial as often as these: (n + 1) level, not n level. */
            const double q = vt_levels[l] * (double)(cal.n[b] + 1) / (double)(cal.n[b] ? cal.n[b] : 1);
            cal.k[b][l] = cal.n[b] ? vt_sample_quantile(k, cal.n[b], q < 1 ? q : 1) : 0;
            if (b > 0 && cal.k[b][l] < cal.k[b - 1][l])
                cal.k[b][l] = cal.k[b - 1][l];
        }
    }
    free(k);
    return cal;
}

/* --- coverage
 * --------------------------------------------------------------------------------------------------------- */

typedef struct {
    double *widths;
    double raw, covered, sum, squares;
    size_t n;
} tally;

static void count(tally *y, const vt_trial *t, double k, double raw_k)
{
    const double error = vt_ln(t->actual / t->centre);
    y->raw += fabs(error) <= raw_k * t->s;
    y->covered += fabs(error) <= k * t->s;
    y->sum += error;
    y->squares += error * error;
    y->widths[y->n++] = 2 * k * t->s;
}

static vt_coverage close_tally(tally *y)
{
    const double n = (double)y->n;
    if (y->n == 0)
        return (vt_coverage){
            .raw = (double)NAN, .left_out = (double)NAN, .width = (double)NAN, .bias = (double)NAN, .rms = (double)NAN};
    return (vt_coverage){.n = y->n,
                         .raw = y->raw / n,
                         .left_out = y->covered / n,
                         .width = vt_sample_quantile(y->widths, y->n, 0.5),
                         .bias = y->sum / n,
                         .rms = sqrt(y->squares / n)};
}

static void cover(vt_backtest *b, const vt_calibration *without)
{
    double *widths = vt_xcalloc(2 * b->n + 2, sizeof *widths);
    for (int l = 0; l < VT_N_LEVELS; l++) {
        const double raw_k = vt_t_quantile((1 + vt_levels[l]) / 2, 1e6);
        tally total = {.widths = widths};
        for (int bin = 0; bin < VT_N_BINS; bin++) {
            tally one = {.widths = widths + b->n + 1};
            for (size_t i = 0; i < b->n; i++)
                if (b->trials[i].bin == bin) {
                    const double k = without[b->trials[i].series].k[bin][l];
                    count(&one, &b->trials[i], k > raw_k ? k : raw_k, raw_k);
                    count(&total, &b->trials[i], k > raw_k ? k : raw_k, raw_k);
                }
            b->by_bin[bin][l] = close_tally(&one);
        }
        b->total[l] = close_tally(&total);
    }
    for (size_t s = 0; s < b->n_series; s++) {
        tally one = {.widths = widths};
        for (size_t i = 0; i < b->n; i++)
            if (b->trials[i].series == s) {
                const double k = without[s].k[b->trials[i].bin][VT_LEVEL_80], raw_k = 1.2815515655;
                count(&one, &b->trials[i], k > raw_k ? k : raw_k, raw_k);
            }
        b->by_series[s] = close_tally(&one).left_out;
    }
    free(widths);
}

/* --- all of it
 * -------------------------------------------------------------------------------------------------------- */

vt_status vt_backtest_run(vt_backtest *b, const vt_points *const *series, size_t n, vt_err *err)
{
    *b = (vt_backtest){.n_series = n};
    if (n < 3)
        return vt_fail(
            err, VT_EINVAL,
            "%zu series; factors are learned on all but one, so at least 3 are needed (--by names the column "
            "that tells them apart)",
            n);
    b->cuts = vt_xcalloc(n, sizeof *b->cuts);
    b->by_series = vt_xcalloc(n, sizeof *b->by_series);
    for (size_t s = 0; s < n; s++)
        b->cuts[s] = run_series(&(sink){&b->trials, &b->n, s}, series[s]);
    if (b->n < 10) {
        vt_backtest_release(b);
        return vt_fail(err, VT_EINVAL,
                       "only %zu predictions could be tried; frontiers of more than 8 points over 1.5 "
                       "decades are needed",
                       b->n);
    }
    vt_calibration *without = vt_xcalloc(n, sizeof *without);
    for (size_t s = 0; s < n; s++)
        without[s] = learn(b->trials, b->n, s);
    b->all = learn(b->trials, b->n, n);
    cover(b, without);
    free(without);
    return VT_OK;
}

void vt_backtest_release(vt_backtest *b)
{
    free(b->trials);
    free(b->cuts);
    free(b->by_series);
    *b = (vt_backtest){0};
}

vt_calibration vt_calibration_for(const vt_calibration *base, const vt_points *pts)
{
    vt_trial *trials = NULL;
    size_t n = 0;
    vt_calibration cal = *base;
    (void)run_series(&(sink){&trials, &n, 0}, pts);
    const vt_calibration own = learn(trials, n, 1);
    for (int b = 0; b < VT_N_BINS; b++)
        for (int l = 0; l < VT_N_LEVELS; l++)
            if (own.n[b] >= FEWEST && own.k[b][l] > cal.k[b][l]) {
                cal.k[b][l] = own.k[b][l];
                cal.source = "this table's own back-test";
            }
    free(trials);
    return cal;
}
