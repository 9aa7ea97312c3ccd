/* Greedy choice: at each step the candidate that lowers the variance at the target most per cost, of those that still
 * fit the budget. The covariance of a fit is updated by Sherman and Morrison's formula. */
#include "law/next.h"

#include <math.h>
#include <string.h>

#include "base/math.h"

#define CANDIDATES 61

typedef struct {
    vt_fit fit; /* its cov is updated as runs are chosen */
    double scatter;
} belief;

static double variance_at(const belief *b, double x)
{
    const double se = vt_fit_se(&b->fit, x);
    return se * se;
}

/* The belief once a run at x is made: cov - cov g g' cov / (scatter^2 + g' cov g). */
static void learn(belief *b, double x)
{
    double g[VT_N_P], v[VT_N_P] = {0}, denominator = b->scatter * b->scatter;
    vt_fit_gradient(&b->fit, x, g);
    for (int i = 0; i < VT_N_P; i++)
        for (int j = 0; j < VT_N_P; j++)
            v[i] += b->fit.cov[i][j] * g[j];
    for (int i = 0; i < VT_N_P; i++)
        denominator += g[i] * v[i];
    for (int i = 0; i < VT_N_P; i++)
        for (int j = 0; j < VT_N_P; j++)
            b->fit.cov[i][j] -= v[i] * v[j] / denominator;
}

static double mean_variance(const belief b[2], double x)
{
    return (variance_at(&b[0], x) + variance_at(&b[1], x)) / 2;
}

/* The gain of a run at x, over its cost to a power; 0 where it does not fit. */
static double worth(const belief b[2], double x, double target, double left, double power)
{
    belief after[2] = {b[0], b[1]};
    if (x > left)
        return 0;
    learn(&after[0], x);
    learn(&after[1], x);
    return (mean_variance(b, target) - mean_variance(after, target)) * vt_exp(-power * vt_ln(x));
}

/* The runs that one greedy rule chooses. */
static vt_next choose(const belief start[2], double target, double budget, double low, double high, double power)
{
    vt_next next = {.target = target, .se_now = sqrt(mean_variance(start, target))};
    belief b[2] = {start[0], start[1]};
    while (next.n < VT_NEXT_MAX) {
        double best = 0, x = 0;
        for (int i = 0; i < CANDIDATES; i++) {
            const double candidate = vt_exp(low + (high - low) * i / (CANDIDATES - 1)) * (1 - 1e-12);
            const double gain = worth(b, candidate, target, budget - next.spent, power);
            if (gain > best)
                best = gain, x = candidate;
        }
        if (best <= 0)
            break;
        learn(&b[0], x);
        learn(&b[1], x);
        next.spent += x;
        const double a = vt_fit_at(&b[0].fit, x), c = vt_fit_at(&b[1].fit, x);
        next.runs[next.n++] = (vt_next_run){x, vt_exp((vt_ln(a) + vt_ln(c)) / 2), sqrt(mean_variance(b, target))};
    }
    return next;
}

vt_status vt_next_runs(vt_next *next, const vt_law *law, double target, double budget, double x_max, vt_err *err)
{
    static const double powers[] = {0, 0.25, 0.5, 1};
    if (!law->rows[VT_FORM_FULL].done || !law->rows[VT_FORM_FLOOR].done)
        return vt_fail(err, VT_EINVAL,
                       "%zu points do not tell where the law levels off; first make runs until there are 8 "
                       "over 1.5 decades of x",
                       law->n);
    const belief start[2] = {{law->rows[VT_FORM_FLOOR].fit, law->scatter}, {law->rows[VT_FORM_FULL].fit, law->scatter}};
    const double low = vt_ln(law->x[0]), high = vt_ln(x_max < budget ? x_max : budget);
    if (high < low)
        return vt_fail(err, VT_EINVAL, "the budget of %g is below the cheapest run, %g", budget, law->x[0]);
    for (size_t i = 0; i < VT_COUNT_OF(powers); i++) {
        const vt_next one = choose(start, target, budget, low, high, powers[i]);
        if (i == 0 || (one.n > 0 && one.runs[one.n - 1].se < next->runs[next->n - 1].se))
            *next = one;
    }
    return next->n > 0 ? VT_OK
                       : vt_fail(err, VT_EINVAL, "no run within the budget would tell more about x = %g", target);
}
