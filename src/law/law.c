/* Fits, comparison and prediction; notes.c holds what is checked for. */
#include "law/law.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/math.h"
#include "base/text.h"
#include "law/notes.h"
#include "law/quantile.h"

#define MIN_POINTS  8
#define MIN_DECADES 1.5

const double vt_levels[VT_N_LEVELS] = {0.5, 0.8, 0.9, 0.95};
const double vt_bins[VT_N_BINS] = {3, 10, 30};

static const struct {
    vt_form form;
    bool huber;
} row_kinds[VT_LAW_ROWS] = {{VT_FORM_PURE, false}, {VT_FORM_SHIFTED, false}, {VT_FORM_FLOOR, false},
                            {VT_FORM_FULL, false}, {VT_FORM_FLOOR, true},    {VT_FORM_FULL, true}};

static bool allows_levelling(const double *x, size_t n)
{
    return n >= MIN_POINTS && vt_ln(x[n - 1] / x[0]) >= MIN_DECADES * 2.302585092994046;
}

static bool is_wanted(const vt_law *law, int row)
{
    const vt_form form = row_kinds[row].form;
    const bool levels = vt_form_has[form][VT_P_C] || vt_form_has[form][VT_P_D];
    if (levels && !law->levels_off)
        return false;
    if (row_kinds[row].huber && law->how.loss == VT_LOSS_HUBER)
        return false;
    return !law->how.quick || row == VT_FORM_FLOOR || row == VT_FORM_FULL || (!law->levels_off && row == VT_FORM_PURE);
}

static vt_status fit_rows(vt_law *law, vt_err *err)
{
    bool any = false;
    for (int i = 0; i < VT_LAW_ROWS; i++) {
        vt_law_row *r = &law->rows[i];
        r->form = row_kinds[i].form;
        r->loss = row_kinds[i].huber ? VT_LOSS_HUBER : law->how.loss;
        r->held_out = (double)NAN;
        if (!is_wanted(law, i))
            continue;
        const vt_fit_how how = {.form = r->form, .loss = r->loss, .delta = law->how.delta, .start = law->how.start};
        vt_status status = vt_fit_run(&r->fit, &how, law->x, law->y, law->n, err);
        if (status != VT_OK && !any && i + 1 == VT_LAW_ROWS)
            return status;
        r->done = status == VT_OK;
        if (r->done) {
            r->aicc = vt_fit_aicc(&r->fit);
            any = true;
        }
    }
    return any ? VT_OK : err ? err->code : VT_EINVAL;
}

/* --- held-out error
 * --------------------------------------------------------------------------------------------------- */

/* Squares of ln E behind the cut-off x[n_train - 1], fitted to what lies before it. */
static bool held_out(const vt_law *law, const vt_law_row *r, size_t n_train, double *squares)
{
    vt_fit fit;
    const vt_fit_how how = {.form = r->form, .loss = r->loss, .delta = law->how.delta, .start = r->fit.p};
    if (vt_fit_run(&fit, &how, law->x, law->y, n_train, NULL) != VT_OK)
        return false;
    for (size_t i = n_train; i < law->n; i++) {
        const double d = vt_ln(vt_fit_at(&fit, law->x[i])) - vt_ln(law->y[i]);
        *squares += d * d;
    }
    return true;
}

static void hold_out(vt_law *law)
{
    static const double cuts[] = {3, 10};
    for (size_t c = 0; c < VT_COUNT_OF(cuts); c++) {
        size_t n_train = 0;
        while (n_train < law->n && law->x[n_train] <= law->x[law->n - 1] / cuts[c])
            n_train++;
        if (n_train == law->n || !allows_levelling(law->x, n_train))
            continue;
        for (int i = 0; i < VT_LAW_ROWS; i++) {
            vt_law_row *r = &law->rows[i];
            double squares = 0;
            if (!r->done || !held_out(law, r, n_train, &squares))
                continue;
            r->held_out = (isnan(r->held_out) ? 0 : r->held_out) + squares; /* a mean below */
            r->n_held += law->n - n_train;
        }
    }
    for (int i = 0; i < VT_LAW_ROWS; i++)
        if (law->rows[i].n_held > 0)
            law->rows[i].held_out = sqrt(law->rows[i].held_out / (double)law->rows[i].n_held);
}

static int pick_best(const vt_law *law)
{
    int best = -1;
    bool by_held_out = false;
    for (int i = 0; i < VT_LAW_ROWS; i++)
        by_held_out = by_held_out || law->rows[i].n_held > 0;
    for (int i = 0; i < VT_LAW_ROWS; i++) {
        const vt_law_row *r = &law->rows[i];
        if (!r->done || (by_held_out ? r->n_held == 0 : r->loss != law->how.loss))
            continue;
        if (best < 0 || (by_held_out ? r->held_out < law->rows[best].held_out : r->aicc < law->rows[best].aicc))
            best = i;
    }
    return best;
}

/* --- all of it
 * -------------------------------------------------------------------------------------------------------- */

static double scatter_of(const vt_law *law, double seed_sd)
{
    const vt_law_row *r = law->rows[VT_FORM_FULL].done    ? &law->rows[VT_FORM_FULL]
                          : law->rows[VT_FORM_FLOOR].done ? &law->rows[VT_FORM_FLOOR]
                                                          : &law->rows[VT_FORM_PURE];
    return seed_sd > r->fit.sigma ? seed_sd : r->fit.sigma;
}

/* law->x, y, n and how are set. */
static vt_status make(vt_law *law, double seed_sd, vt_err *err)
{
    if (law->n < 3)
        return vt_fail(err, VT_EINVAL, "%zu point%s to fit; a law needs at least 3, and 8 to tell where it levels off",
                       law->n, law->n == 1 ? "" : "s");
    if (law->x[law->n - 1] <= law->x[0] * (1 + VT_SNAP))
        return vt_fail(err, VT_EINVAL, "all %zu points lie at one x (%g); a law needs a range of it", law->n,
                       law->x[0]);
    law->levels_off = allows_levelling(law->x, law->n);
    VT_TRY(fit_rows(law, err));
    if (!law->how.quick)
        hold_out(law);
    law->best = pick_best(law);
    law->scatter = scatter_of(law, seed_sd);
    return VT_OK;
}

vt_status vt_law_of(vt_law *law, const double *x, const double *y, size_t n, const vt_law_how *how, vt_err *err)
{
    *law = (vt_law){.how = *how, .n = n};
    law->x = vt_xcalloc(n + 1, sizeof *law->x);
    law->y = vt_xcalloc(n + 1, sizeof *law->y);
    if (n > 0) {
        memcpy(law->x, x, n * sizeof *x);
        memcpy(law->y, y, n * sizeof *y);
    }
    vt_status status = make(law, 0, err);
    if (status != VT_OK)
        vt_law_release(law);
    return status;
}

vt_status vt_law_make(vt_law *law, const vt_points *pts, const vt_law_how *how, vt_err *err)
{
    *law = (vt_law){.how = *how};
    if (pts->n == 0)
        return vt_fail(err, VT_EINVAL, "no row is left to fit; all %zu were left out", pts->rows);
    law->x = vt_xcalloc(pts->n, sizeof *law->x);
    law->y = vt_xcalloc(pts->n, sizeof *law->y);
    law->n = vt_points_take(pts->p, pts->n, HUGE_VAL, !how->all_points, law->x, law->y);
    vt_status status = make(law, isnan(pts->seed_sd) ? 0 : pts->seed_sd, err);
    if (status != VT_OK) {
        if (pts->n_frontier < 3 && pts->n >= 3 && !how->all_points)
            (void)vt_prefix(err, "the frontier of %zu runs has %zu member%s (no cheaper run is better than the rest)",
                            pts->n, pts->n_frontier, pts->n_frontier == 1 ? "" : "s");
        vt_law_release(law);
        return status;
    }
    if (!how->quick)
        vt_law_note(law, pts);
    return VT_OK;
}

void vt_law_release(vt_law *law)
{
    for (size_t i = 0; i < law->n_notes; i++)
        free(law->notes[i]);
    free(law->x);
    free(law->y);
    *law = (vt_law){0};
}

/* --- predictions
 * ------------------------------------------------------------------------------------------------------ */

int vt_bin_of(double distance)
{
    for (int b = 0; b < VT_N_BINS; b++)
        if (distance <= vt_bins[b])
            return b;
    return VT_N_BINS - 1;
}

vt_prediction vt_law_predict(const vt_law *law, const vt_calibration *cal, double x, int level)
{
    const vt_law_row *pure = &law->rows[VT_FORM_PURE], *floor = &law->rows[VT_FORM_FLOOR],
                     *full = &law->rows[VT_FORM_FULL];
    vt_prediction p = {
        .x = x, .floor = (double)NAN, .full = (double)NAN, .pure = (double)NAN, .distance = x / law->x[law->n - 1]};
    double variance = law->scatter * law->scatter;
    size_t n_free = 2;
    if (pure->done)
        p.pure = vt_fit_at(&pure->fit, x);
    if (floor->done && full->done) {
        p.floor = vt_fit_at(&floor->fit, x);
        p.full = vt_fit_at(&full->fit, x);
        const double a = vt_ln(p.floor), b = vt_ln(p.full), gap = (a - b) / 2;
        const double se_floor = vt_fit_se(&floor->fit, x), se_full = vt_fit_se(&full->fit, x);
        p.centre = vt_exp((a + b) / 2);
        variance += gap * gap + (se_floor * se_floor + se_full * se_full) / 2;
        n_free = full->fit.n_free;
    } else {
        const vt_fit *fit = pure->done ? &pure->fit : &law->rows[law->best].fit;
        const double se = vt_fit_se(fit, x);
        p.centre = vt_fit_at(fit, x);
        variance += se * se;
    }
    const double t = vt_t_quantile((1 + vt_levels[level]) / 2, (double)(law->n > n_free ? law->n - n_free : 1));
    const double learned = p.distance > 1 ? cal->k[vt_bin_of(p.distance)][level] : 0;
    p.s = sqrt(variance);
    p.k = learned > t ? learned : t;
    p.low = p.centre * vt_exp(-p.k * p.s);
    p.high = p.centre * vt_exp(p.k * p.s);
    p.supported = floor->done && full->done && p.distance <= vt_bins[VT_N_BINS - 1];
    return p;
}
