/* The pitfalls: of the points, of the optimum, of the form. A row of the table is a check that adds a sentence or none.
 */
#include "law/notes.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/math.h"
#include "base/text.h"

#define MIN_AGREE 3
#define MAX_CORR  0.95 /* with ln C centred; 0.99 and more where it is not */
#define FAR_OFF   4.0  /* residuals of so many standard deviations are named */

static void note(vt_law *law, const char *fmt, ...) VT_PRINTF(2, 3);
static void note(vt_law *law, const char *fmt, ...)
{
    char text[512];
    va_list args;
    if (law->n_notes == VT_LAW_MAX_NOTES)
        return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    law->notes[law->n_notes++] = vt_xstrdup(text);
}

static const vt_fit *main_fit(const vt_law *law)
{
    return law->rows[VT_FORM_FULL].done ? &law->rows[VT_FORM_FULL].fit : &law->rows[law->best].fit;
}

static void few_points(vt_law *law, const vt_points *pts)
{
    const double decades = vt_ln(law->x[law->n - 1] / law->x[0]) / 2.302585092994046;
    if (!law->levels_off)
        note(law,
             "%zu points over %.1f decades: too few to tell where the law levels off (8 over 1.5 needed), so only the "
             "pure "
             "power law is fitted, and it is too optimistic as a rule",
             law->n, decades);
    else if (law->n < 12)
        note(law, "only %zu points are fitted: standard errors are themselves rough", law->n);
}

static void selection(vt_law *law, const vt_points *pts)
{
    if (law->how.all_points)
        note(law, "all runs are fitted, good and poor alike: the law is that of a typical run, not of the best");
    else if (pts->n_frontier * 20 < pts->n)
        note(law, "the frontier is %zu of %zu runs: choosing the best of many makes it lower than one run would reach",
             pts->n_frontier, pts->n);
    if (pts->n_groups == 1 && pts->n > 1)
        note(law, "runs that share a trunk count as independent here; name what they share by --group");
    if (isnan(pts->seed_sd))
        note(law, "no seeds: scatter is taken from residuals, which hold the form's error too (--seed names a column)");
}

static void models(vt_law *law, const vt_points *pts)
{
    size_t first = 0;
    bool one = pts->n_models > 1;
    for (size_t i = 0; i < pts->n; i++) {
        if (!pts->p[i].frontier)
            continue;
        if (first == 0)
            first = i + 1;
        one = one && pts->p[i].model == pts->p[first - 1].model;
    }
    if (pts->n_models == 1 && pts->n > 1)
        note(law,
             "one model only (or no column names models): the law is that of longer training, not of larger models");
    else if (one)
        note(law, "one model holds the whole frontier: the law is that of longer training, not of larger models");
}

static void largest_runs(vt_law *law, const vt_points *pts)
{
    const double last = law->x[law->n - 1], most = pts->p[pts->n - 1].x;
    if (!law->how.all_points && most > 2 * last)
        note(law,
             "no run beyond x = %.4g is on the frontier, though there are some up to %.4g: they are too short, too "
             "small for their cost, or the curve has levelled off",
             last, most);
}

static void starts(vt_law *law, const vt_points *pts)
{
    const vt_fit *f = main_fit(law);
    if (f->starts >= 9 && f->agree < MIN_AGREE)
        note(law, "only %d of %d starts reach the best optimum: it may not be the best there is", f->agree, f->starts);
    if (f->info > 4)
        note(law, "the optimiser stopped early (MINPACK says %d): the optimum is flat or not there", f->info);
}

static void bounds(vt_law *law, const vt_points *pts)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    const vt_fit *f = main_fit(law);
    for (int i = 0; i < VT_N_P; i++)
        if (f->at_bound[i])
            note(law, "%s sits at its bound (%.4g): the points do not ask for it, and it has no standard error",
                 names[i], f->p[i]);
    if (f->max_corr > MAX_CORR)
        note(law,
             "two parameters move together (correlation %.3f): very different values give the same curve here; quote "
             "the curve, not the parameters",
             f->max_corr);
    if (f->free[VT_P_C] && f->se[VT_P_C] > 0.5 * f->p[VT_P_C])
        note(law, "the floor c is %.4g with standard error %.2g: these points do not say where the law levels off",
             f->p[VT_P_C], f->se[VT_P_C]);
}

static void chance(vt_law *law, const vt_points *pts)
{
    const double at_zero = vt_fit_at_zero(main_fit(law));
    if (pts->y_unit != VT_Y_LOSS && isfinite(at_zero) && at_zero > 1)
        note(law,
             "at no compute at all the curve says an error of %.2f, above 1: d only bends the fit, it is no chance "
             "level",
             at_zero);
}

static void outliers(vt_law *law, const vt_points *pts)
{
    const vt_fit *robust = law->rows[5].done ? &law->rows[5].fit : main_fit(law);
    const double sigma = sqrt(robust->sse_log / (double)law->n);
    for (size_t i = 0; i < law->n; i++) {
        const double r = vt_ln(law->y[i]) - vt_ln(vt_fit_at(robust, law->x[i]));
        const double others = sqrt((sigma * sigma * (double)law->n - r * r) / (double)(law->n > 1 ? law->n - 1 : 1));
        if (others > 0 && fabs(r) > FAR_OFF * others)
            note(law, "the point at x = %.4g is %.0f%% off the curve, %.0f times the scatter of the others: look at it",
                 law->x[i], 100 * (vt_exp(r) - 1), fabs(r) / others);
    }
}

/* Residuals of a right form change sign about every second point; long runs of one sign mean a wrong form. */
static void sign_runs(vt_law *law, const vt_points *pts)
{
    const vt_fit *f = main_fit(law);
    double plus = 0, minus = 0, runs = 1;
    bool before = false;
    for (size_t i = 0; i < law->n; i++) {
        const bool above = law->y[i] > vt_fit_at(f, law->x[i]);
        plus += above;
        minus += !above;
        runs += i > 0 && above != before;
        before = above;
    }
    if (law->n < 12 || plus == 0 || minus == 0)
        return;
    const double n = plus + minus, mean = 2 * plus * minus / n + 1;
    const double sd = sqrt((mean - 1) * (mean - 2) / (n - 1));
    if (sd > 0 && (runs - mean) / sd < -2)
        note(law,
             "residuals keep their sign for long (%.0f runs of signs, %.0f expected): the form bends otherwise than "
             "the points; trust no extrapolation of it",
             runs, mean);
}

static void disagreement(vt_law *law, const vt_points *pts)
{
    if (!law->rows[VT_FORM_FULL].done || !law->rows[VT_FORM_FLOOR].done)
        return;
    const double x = 10 * law->x[law->n - 1];
    const double gap = vt_ln(vt_fit_at(&law->rows[VT_FORM_FULL].fit, x) / vt_fit_at(&law->rows[VT_FORM_FLOOR].fit, x));
    if (fabs(gap) > 0.1)
        note(law, "ten times beyond the data the forms with and without d differ by %.0f%%: quote both",
             100 * fabs(gap));
    if (law->best == VT_FORM_PURE && law->rows[VT_FORM_PURE].n_held > 0)
        note(law,
             "the pure power law predicts the held-out points best: within this range nothing levels off yet; beyond "
             "it, it will");
}

typedef void check(vt_law *law, const vt_points *pts);
static check *const checks[] = {few_points, selection, models,   largest_runs, starts,
                                bounds,     chance,    outliers, sign_runs,    disagreement};

void vt_law_note(vt_law *law, const vt_points *pts)
{
    for (size_t i = 0; i < VT_COUNT_OF(checks); i++)
        checks[i](law, pts);
}
