/* Levenberg-Marquardt (MINPACK's lmder) on the logarithms of A, b, c, D in E = A (u + D)^-b + c, u = C / least C.
 *
 *   r = ln E - ln y;  dr/dlnA = w,  dr/dlnb = -b ln(u + D) w,  dr/dlnc = c / E,  dr/dlnD = -b D / (u + D) w,
 *   w = A (u + D)^-b / E.  Linear loss: r = E - y, all times E.
 *   Huber: r is replaced by sign(r) sqrt(2 delta |r| - delta^2) beyond delta, whose square is twice Huber's loss.
 *
 * Bounds (b in [0.001, 5], c <= 1e6, D in [1e-7, 4000]) are flat walls: outside, the value is that of the wall and the
 * derivative 0. Elementary functions are base/math's, so every machine gives the same bytes. */
#include "law/fit.h"

#include <assert.h>
#include <cminpack.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/math.h"
#include "base/text.h"
#include "law/linear.h"

const char *const vt_form_names[VT_N_FORMS] = {"pure", "shifted", "floor", "full"};
const char *const vt_form_texts[VT_N_FORMS] = {"a C^-b", "a (C + d)^-b", "a C^-b + c", "a (C + d)^-b + c"};
const char *const vt_loss_names[3] = {"log", "huber", "linear"};
const bool vt_form_has[VT_N_FORMS][VT_N_P] = {
    {true, true, false, false}, {true, true, false, true}, {true, true, true, false}, {true, true, true, true}};

#define DEFAULT_DELTA 0.03 /* the scatter of error rates between runs, in ln E */
#define TOLERANCE     1e-12
#define SAME          1e-6 /* relative difference of objectives that are the same minimum */
#define MAX_GRID      81
#define START_EVALS   150 /* evaluations a start may take; the best goes on for FINAL_EVALS */
#define FINAL_EVALS   2000

static const double lower[VT_N_P] = {1e-30, 1e-3, 1e-30, 1e-7}, upper[VT_N_P] = {1e30, 5, 1e6, 4000};

typedef struct {
    const double *u, *y, *ln_y;
    size_t n;
    vt_loss loss;
    double delta;
    int index[VT_N_P]; /* the parameters that are fitted */
    int k;
} problem;

/* --- the curve and its derivatives
 * ------------------------------------------------------------------------------------ */

/* E at u; g: derivatives of ln E by ln A, ln b, ln c, ln D. */
static double curve(const double p[VT_N_P], double u, double g[VT_N_P])
{
    const double s = u + p[VT_P_D], ln_s = vt_ln(s);
    const double power = p[VT_P_A] * vt_exp(-p[VT_P_B] * ln_s), e = power + p[VT_P_C];
    if (g) {
        const double w = power / e;
        g[VT_P_A] = w;
        g[VT_P_B] = -p[VT_P_B] * ln_s * w;
        g[VT_P_C] = p[VT_P_C] / e;
        g[VT_P_D] = -p[VT_P_B] * p[VT_P_D] / s * w;
    }
    return e;
}

/* A residual and the factor of its derivative. */
static double residual(const problem *q, double e, size_t i, double *factor)
{
    if (q->loss == VT_LOSS_LINEAR) {
        *factor = e;
        return e - q->y[i];
    }
    const double r = vt_ln(e) - q->ln_y[i], size = fabs(r);
    *factor = 1;
    if (q->loss == VT_LOSS_LOG || size <= q->delta)
        return r;
    const double root = sqrt(2 * q->delta * size - q->delta * q->delta);
    *factor = q->delta / root;
    return r < 0 ? -root : root;
}

/* Parameters of theta, held between the walls; at_wall: which of theta lie outside. */
static void unpack(const problem *q, const double *theta, double p[VT_N_P], bool at_wall[VT_N_P])
{
    memset(p, 0, VT_N_P * sizeof *p);
    for (int j = 0; j < q->k; j++) {
        const int i = q->index[j];
        p[i] = vt_exp(theta[j]);
        at_wall[i] = !(p[i] >= lower[i] && p[i] <= upper[i]);
        p[i] = p[i] < lower[i] ? lower[i] : p[i] > upper[i] ? upper[i] : p[i];
    }
}

static int evaluate(void *context, int m, int k, const double *theta, double *r, double *jacobian, int ld, int flag)
{
    const problem *q = context;
    double p[VT_N_P], g[VT_N_P], factor;
    bool at_wall[VT_N_P];
    unpack(q, theta, p, at_wall);
    for (int i = 0; i < m; i++) {
        const double e = curve(p, q->u[i], flag == 2 ? g : NULL);
        const double value = residual(q, e, (size_t)i, &factor);
        if (flag != 2)
            r[i] = value;
        for (int j = 0; j < k && flag == 2; j++)
            jacobian[i + j * ld] = at_wall[q->index[j]] ? 0 : factor * g[q->index[j]];
    }
    return 0;
}

/* --- one minimisation
 * ------------------------------------------------------------------------------------------------- */

typedef struct {
    double *r, *jacobian, *wa4;
} workspace;

/* From theta to a minimum nearby; the objective there. */
static double minimise(problem *q, workspace *w, double theta[VT_N_P], int max_evals, int *info)
{
    double diag[VT_N_P], qtf[VT_N_P], wa1[VT_N_P], wa2[VT_N_P], wa3[VT_N_P], sum = 0;
    int pivots[VT_N_P], nfev = 0, njev = 0;
    const int m = (int)q->n;
    *info = lmder(evaluate, q, m, q->k, theta, w->r, w->jacobian, m, TOLERANCE, TOLERANCE, 0, max_evals, diag, 1, 10, 0,
                  &nfev, &njev, pivots, qtf, wa1, wa2, wa3, w->wa4);
    (void)evaluate(q, m, q->k, theta, w->r, NULL, m, 1);
    for (size_t i = 0; i < q->n; i++)
        sum += w->r[i] * w->r[i];
    return isfinite(sum) ? sum : HUGE_VAL;
}

/* --- starts
 * ----------------------------------------------------------------------------------------------------------- */

typedef struct {
    double p[MAX_GRID][VT_N_P];
    int n;
} grid;

/* a in {.3, .7, 1.5} times the error above the floor at the least C, b in {.15, .3, .6}, c in {.1, .5, .9} of the least
 * error, D in {.01, .5, 3}. */
static grid make_grid(vt_form form, const double *y, size_t n)
{
    static const double as[] = {0.3, 0.7, 1.5}, bs[] = {0.15, 0.3, 0.6}, cs[] = {0.1, 0.5, 0.9}, ds[] = {0.01, 0.5, 3};
    grid g = {.n = 0};
    double least = y[0], most = y[0];
    for (size_t i = 1; i < n; i++) {
        least = y[i] < least ? y[i] : least;
        most = y[i] > most ? y[i] : most;
    }
    for (int i = 0; i < 81; i++) {
        const int a = i % 3, b = i / 3 % 3, c = i / 9 % 3, d = i / 27;
        if ((c > 0 && !vt_form_has[form][VT_P_C]) || (d > 0 && !vt_form_has[form][VT_P_D]))
            continue;
        double *p = g.p[g.n++];
        p[VT_P_A] = as[a] * most;
        p[VT_P_B] = bs[b];
        p[VT_P_C] = cs[c] * least;
        p[VT_P_D] = ds[d];
    }
    return g;
}

/* A known optimum in the units of this fit, and four points around it. */
static grid around(const double start[VT_N_P], double unit, double least)
{
    static const double factors[5][VT_N_P] = {
        {1, 1, 1, 1}, {0.8, 0.8, 0.5, 0.3}, {1.3, 1.25, 1.2, 3}, {1, 1.2, 0.3, 1.5}, {1, 0.7, 1.3, 0.1}};
    grid g = {.n = 5};
    for (int i = 0; i < 5; i++) {
        g.p[i][VT_P_A] = start[VT_P_A] * vt_exp(-start[VT_P_B] * vt_ln(unit)) * factors[i][VT_P_A];
        g.p[i][VT_P_B] = start[VT_P_B] * factors[i][VT_P_B];
        g.p[i][VT_P_C] = (start[VT_P_C] > 0 ? start[VT_P_C] : 0.3 * least) * factors[i][VT_P_C];
        g.p[i][VT_P_D] = (start[VT_P_D] > 0 ? start[VT_P_D] / unit : 0.1) * factors[i][VT_P_D];
    }
    return g;
}

static void pack(const problem *q, const double p[VT_N_P], double theta[VT_N_P])
{
    for (int j = 0; j < q->k; j++) {
        const int i = q->index[j];
        const double inside = p[i] < lower[i] ? lower[i] : p[i] > upper[i] ? upper[i] : p[i];
        theta[j] = vt_ln(inside);
    }
}

/* The best of all starts, polished; p in the units of the fit. */
static double search(problem *q, workspace *w, const grid *g, double p[VT_N_P], bool at_wall[VT_N_P], vt_fit *fit)
{
    double theta[VT_N_P], best[VT_N_P] = {0}, objectives[MAX_GRID], least = HUGE_VAL;
    int info;
    for (int i = 0; i < g->n; i++) {
        pack(q, g->p[i], theta);
        objectives[i] = minimise(q, w, theta, START_EVALS, &info);
        if (i == 0 || objectives[i] < least) {
            least = objectives[i];
            memcpy(best, theta, sizeof best);
        }
    }
    const double objective = minimise(q, w, best, FINAL_EVALS, &fit->info);
    fit->starts = g->n;
    fit->agree = 0;
    for (int i = 0; i < g->n; i++)
        fit->agree += objectives[i] <= objective * (1 + SAME) + 1e-18 * (double)q->n;
    unpack(q, best, p, at_wall);
    return objective;
}

static void set_form(problem *q, vt_form form)
{
    q->k = 0;
    for (int i = 0; i < VT_N_P; i++)
        if (vt_form_has[form][i])
            q->index[q->k++] = i;
}

/* --- what is known of the parameters
 * ---------------------------------------------------------------------------------- */

/* Variance of the residuals per degree of freedom; for Huber's loss that of an M-estimator. */
static double residual_variance(const problem *q, const vt_fit *fit, const double p[VT_N_P])
{
    double sum = 0, inside = 0;
    for (size_t i = 0; i < q->n; i++) {
        const double e = curve(p, q->u[i], NULL);
        double r = q->loss == VT_LOSS_LINEAR ? e - q->y[i] : vt_ln(e) - q->ln_y[i];
        inside += fabs(r) <= q->delta;
        if (q->loss == VT_LOSS_HUBER && fabs(r) > q->delta)
            r = r < 0 ? -q->delta : q->delta;
        sum += r * r;
    }
    const double df = (double)(q->n - fit->n_free);
    const double share = q->loss == VT_LOSS_HUBER ? (inside > 0 ? inside : 1) / (double)q->n : 1;
    return sum / df / (share * share);
}

/* Covariance of the logarithms of the free parameters, from J'J in the fit's units. */
static void covariance(const problem *q, vt_fit *fit, const double p[VT_N_P])
{
    double jj[VT_N_P * VT_N_P] = {0}, g[VT_N_P];
    int index[VT_N_P], k = 0;
    for (int i = 0; i < VT_N_P; i++)
        if (fit->free[i])
            index[k++] = i;
    for (size_t i = 0; i < q->n; i++) {
        const double e = curve(p, q->u[i], g);
        const double r = vt_ln(e) - q->ln_y[i];
        const double scale = q->loss == VT_LOSS_LINEAR ? e : q->loss == VT_LOSS_HUBER && fabs(r) > q->delta ? 0 : 1;
        for (int a = 0; a < k; a++)
            for (int b = 0; b < k; b++)
                jj[a * k + b] += scale * scale * g[index[a]] * g[index[b]];
    }
    const double variance = residual_variance(q, fit, p);
    const bool known = vt_invert_spd(jj, k);
    for (int a = 0; a < k; a++)
        for (int b = 0; b < k; b++)
            fit->cov[index[a]][index[b]] = known ? variance * jj[a * k + b] : HUGE_VAL;
}

/* Standard errors of a, b, c, d as printed: ln a = ln A + b ln unit. */
static void standard_errors(vt_fit *fit)
{
    const double ln_unit = vt_ln(fit->unit), slope = fit->p[VT_P_B] * ln_unit;
    for (int i = 0; i < VT_N_P; i++) {
        double variance = fit->cov[i][i];
        if (i == VT_P_A)
            variance += slope * (2 * fit->cov[VT_P_A][VT_P_B] + slope * fit->cov[VT_P_B][VT_P_B]);
        fit->se[i] = fit->free[i] ? fit->p[i] * sqrt(variance > 0 ? variance : 0) : 0;
    }
}

/* Correlations do depend on where ln C has its origin: taken at its middle, where a means the height of the curve. */
static void correlations(const problem *q, vt_fit *fit)
{
    double middle = 0, v[VT_N_P][VT_N_P];
    for (size_t i = 0; i < q->n; i++)
        middle += vt_ln(q->u[i]) / (double)q->n;
    memcpy(v, fit->cov, sizeof v);
    const double slope = -fit->p[VT_P_B] * middle;
    for (int j = 0; j < VT_N_P; j++)
        v[VT_P_A][j] += slope * fit->cov[VT_P_B][j];
    for (int i = 0; i < VT_N_P; i++)
        v[i][VT_P_A] = i == VT_P_A ? v[VT_P_A][VT_P_A] + slope * v[VT_P_A][VT_P_B] : v[VT_P_A][i];
    fit->max_corr = 0;
    for (int i = 0; i < VT_N_P; i++)
        for (int j = 0; j < i; j++)
            if (fit->free[i] && fit->free[j] && v[i][i] > 0 && v[j][j] > 0) {
                const double c = fabs(v[i][j]) / sqrt(v[i][i] * v[j][j]);
                fit->max_corr = c > fit->max_corr || isnan(c) ? c : fit->max_corr;
            }
    if (isnan(fit->max_corr))
        fit->max_corr = 1;
}

static void finish(const problem *q, vt_fit *fit, const double p[VT_N_P])
{
    fit->n_free = 0;
    for (int i = 0; i < VT_N_P; i++)
        fit->n_free += fit->free[i];
    fit->p[VT_P_A] = p[VT_P_A] * vt_exp(p[VT_P_B] * vt_ln(fit->unit));
    fit->p[VT_P_B] = p[VT_P_B];
    fit->p[VT_P_C] = p[VT_P_C];
    fit->p[VT_P_D] = p[VT_P_D] * fit->unit;
    for (size_t i = 0; i < q->n; i++) {
        const double r = vt_ln(curve(p, q->u[i], NULL)) - q->ln_y[i];
        fit->sse_log += r * r;
    }
    fit->sigma = sqrt(fit->sse_log / (double)(q->n - fit->n_free));
    covariance(q, fit, p);
    standard_errors(fit);
    correlations(q, fit);
}

/* --- the fit
 * ---------------------------------------------------------------------------------------------------------- */

static vt_status check(const vt_fit_how *how, const double *x, size_t n, vt_err *err)
{
    size_t k = 0, distinct = 1;
    for (int i = 0; i < VT_N_P; i++)
        k += vt_form_has[how->form][i];
    if (n > VT_FIT_MAX_POINTS)
        return vt_fail(err, VT_EINVAL, "%zu points; a fit takes at most %d: fit the frontier, or thin them out", n,
                       VT_FIT_MAX_POINTS);
    if (n <= k)
        return vt_fail(err, VT_EINVAL, "%zu point%s cannot tell %zu parameters; %s needs at least %zu", n,
                       n == 1 ? "" : "s", k, vt_form_texts[how->form], k + 1);
    for (size_t i = 1; i < n; i++)
        distinct += x[i] != x[i - 1];
    if (distinct < k)
        return vt_fail(err, VT_EINVAL, "the %zu points lie at only %zu different x; %s needs at least %zu", n, distinct,
                       vt_form_texts[how->form], k);
    return VT_OK;
}

/* Whether p looks like the smaller form: what that lacks is small here. Saves the smaller fits of a warm start. */
static bool is_near_bound(vt_form smaller, vt_form form, const double p[VT_N_P], double least)
{
    const bool no_c = vt_form_has[form][VT_P_C] && !vt_form_has[smaller][VT_P_C];
    const bool no_d = vt_form_has[form][VT_P_D] && !vt_form_has[smaller][VT_P_D];
    return (!no_c || p[VT_P_C] < 1e-2 * least) && (!no_d || p[VT_P_D] < 1e-2);
}

/* Fits the forms that lack c or d too and takes the smallest of them that is as good: a parameter at its bound. */
static void settle(problem *q, workspace *w, const vt_fit_how *how, double least, vt_fit *fit)
{
    const double scale = least;
    double p[VT_N_P], best[VT_N_P];
    bool at_wall[VT_N_P] = {false}, best_wall[VT_N_P] = {false};
    vt_form best_form = how->form;
    set_form(q, how->form);
    grid g = how->start ? around(how->start, fit->unit, scale) : make_grid(how->form, q->y, q->n);
    fit->objective = search(q, w, &g, best, best_wall, fit);
    for (int f = (int)VT_N_FORMS - 1; f >= 0; f--) {
        if (f == (int)how->form || (vt_form_has[f][VT_P_C] && !vt_form_has[how->form][VT_P_C]) ||
            (vt_form_has[f][VT_P_D] && !vt_form_has[how->form][VT_P_D]))
            continue;
        if (how->start && !is_near_bound((vt_form)f, how->form, best, scale))
            continue;
        vt_fit sub = *fit;
        set_form(q, (vt_form)f);
        g = how->start ? around(how->start, fit->unit, scale) : make_grid((vt_form)f, q->y, q->n);
        const double objective = search(q, w, &g, p, at_wall, &sub);
        if (objective > fit->objective * (1 + SAME) + 1e-30)
            continue;
        best_form = (vt_form)f;
        fit->objective = objective < fit->objective ? objective : fit->objective;
        fit->info = sub.info;
        memcpy(best, p, sizeof best);
        memcpy(best_wall, at_wall, sizeof best_wall);
    }
    for (int i = 0; i < VT_N_P; i++) {
        fit->at_bound[i] = vt_form_has[how->form][i] && (!vt_form_has[best_form][i] || best_wall[i]);
        fit->free[i] = vt_form_has[how->form][i] && !fit->at_bound[i];
    }
    finish(q, fit, best);
}

vt_status vt_fit_run(vt_fit *fit, const vt_fit_how *how, const double *x, const double *y, size_t n, vt_err *err)
{
    *fit = (vt_fit){.form = how->form, .loss = how->loss, .delta = how->delta > 0 ? how->delta : DEFAULT_DELTA, .n = n};
    VT_TRY(check(how, x, n, err));
    double *memory = vt_xcalloc(n * (4 + VT_N_P), sizeof *memory), *u = memory, *ln_y = u + n, least = y[0];
    workspace w = {.r = ln_y + n, .wa4 = ln_y + 2 * n, .jacobian = ln_y + 3 * n};
    fit->unit = x[0];
    for (size_t i = 0; i < n; i++) {
        fit->unit = x[i] < fit->unit ? x[i] : fit->unit;
        least = y[i] < least ? y[i] : least;
    }
    for (size_t i = 0; i < n; i++) {
        assert(x[i] > 0 && isfinite(x[i]) && y[i] > 0 && isfinite(y[i]));
        u[i] = x[i] / fit->unit;
        ln_y[i] = vt_ln(y[i]);
    }
    problem q = {.u = u, .y = y, .ln_y = ln_y, .n = n, .loss = how->loss, .delta = fit->delta};
    settle(&q, &w, how, least, fit);
    free(memory);
    if (!isfinite(fit->objective))
        return vt_fail(err, VT_EINVAL, "%s could not be fitted to these %zu points", vt_form_texts[how->form], n);
    return VT_OK;
}

/* --- using it
 * --------------------------------------------------------------------------------------------------------- */

static void in_units(const vt_fit *fit, double p[VT_N_P])
{
    p[VT_P_A] = fit->p[VT_P_A] * vt_exp(-fit->p[VT_P_B] * vt_ln(fit->unit));
    p[VT_P_B] = fit->p[VT_P_B];
    p[VT_P_C] = fit->p[VT_P_C];
    p[VT_P_D] = fit->p[VT_P_D] / fit->unit;
}

double vt_fit_at(const vt_fit *fit, double x)
{
    double p[VT_N_P];
    in_units(fit, p);
    return curve(p, x / fit->unit, NULL);
}

void vt_fit_gradient(const vt_fit *fit, double x, double g[VT_N_P])
{
    double p[VT_N_P];
    in_units(fit, p);
    (void)curve(p, x / fit->unit, g);
    for (int i = 0; i < VT_N_P; i++)
        g[i] = fit->free[i] ? g[i] : 0;
}

double vt_fit_se(const vt_fit *fit, double x)
{
    double g[VT_N_P], variance = 0;
    vt_fit_gradient(fit, x, g);
    for (int i = 0; i < VT_N_P; i++)
        for (int j = 0; j < VT_N_P; j++)
            if (fit->free[i] && fit->free[j])
                variance += g[i] * fit->cov[i][j] * g[j];
    return sqrt(variance > 0 ? variance : 0);
}

double vt_fit_at_zero(const vt_fit *fit)
{
    if (fit->p[VT_P_D] <= 0)
        return HUGE_VAL;
    return fit->p[VT_P_A] * vt_exp(-fit->p[VT_P_B] * vt_ln(fit->p[VT_P_D])) + fit->p[VT_P_C];
}

double vt_fit_aicc(const vt_fit *fit)
{
    double k = 1, n = (double)fit->n; /* the scatter is a parameter too */
    for (int i = 0; i < VT_N_P; i++)
        k += vt_form_has[fit->form][i];
    if (n <= k + 1 || fit->sse_log <= 0)
        return fit->sse_log <= 0 ? -HUGE_VAL : HUGE_VAL;
    return n * vt_ln(fit->sse_log / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1);
}
