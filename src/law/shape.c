/* Variable projection: MINPACK's lmdif on (ln a, ln b, ln c); the residuals are those of the best alpha, beta, xi, eps.
 */
#include "law/shape.h"

#include <cminpack.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/math.h"
#include "base/text.h"
#include "law/linear.h"

#define SAME 1e-5

typedef struct {
    const vt_shape_point *points; /* x and t divided by their geometric means */
    size_t n;
    double *rows, *ones;
    double v[4]; /* alpha, beta, xi, eps of the last evaluation */
} problem;

static double exponent(double theta)
{
    const double e = vt_exp(theta);
    return e < 0.01 ? 0.01 : e > 4 ? 4 : e;
}

static int evaluate(void *context, int m, int k, const double *theta, double *r, int flag)
{
    problem *q = context;
    const double a = exponent(theta[0]), b = exponent(theta[1]), c = exponent(theta[2]);
    for (size_t i = 0; i < q->n; i++) {
        const vt_shape_point *p = &q->points[i];
        const double ln_x = vt_ln(p->x), power = vt_exp(-c * vt_ln(p->t));
        double *row = &q->rows[4 * i];
        row[0] = vt_exp(-a * ln_x) / p->y;
        row[1] = vt_exp(b * ln_x) * power / p->y;
        row[2] = power / p->y;
        row[3] = 1 / p->y;
        q->ones[i] = 1;
    }
    memset(q->v, 0, sizeof q->v);
    (void)vt_nonnegative(q->rows, q->ones, (long)q->n, 4, q->v);
    for (size_t i = 0; i < q->n; i++) {
        r[i] = -1;
        for (int j = 0; j < 4; j++)
            r[i] += q->rows[4 * i + (size_t)j] * q->v[j];
    }
    return 0;
}

static double minimise(problem *q, double theta[3], double *memory)
{
    double diag[3], qtf[3], wa1[3], wa2[3], wa3[3], *r = memory, *wa4 = r + q->n, *jacobian = wa4 + q->n, sum = 0;
    int pivots[3], nfev;
    const int m = (int)q->n;
    (void)lmdif(evaluate, q, m, 3, theta, r, 1e-14, 1e-11, 0, 1500, 1e-8, diag, 1, 10, 0, &nfev, jacobian, m, pivots,
                qtf, wa1, wa2, wa3, wa4);
    (void)evaluate(q, m, 3, theta, r, 1);
    for (size_t i = 0; i < q->n; i++)
        sum += r[i] * r[i];
    return isfinite(sum) ? sum : HUGE_VAL;
}

static double search(problem *q, double best[3], vt_shape_law *law)
{
    static const double as[] = {0.2, 0.5, 1}, cs[] = {0.3, 0.65, 1};
    double *memory = vt_xcalloc(5 * q->n, sizeof *memory), sums[27], least = HUGE_VAL;
    for (int i = 0; i < 27; i++) {
        double theta[3] = {vt_ln(as[i % 3]), vt_ln(as[i / 3 % 3]), vt_ln(cs[i / 9])};
        sums[i] = minimise(q, theta, memory);
        if (sums[i] < least) {
            least = sums[i];
            memcpy(best, theta, sizeof theta);
        }
    }
    law->starts = 27;
    for (int i = 0; i < 27; i++)
        law->agree += sums[i] <= least * (1 + SAME) + 1e-14 * (double)q->n;
    (void)evaluate(q, (int)q->n, 3, best, memory, 1);
    free(memory);
    return least;
}

static vt_status check(const vt_shape_point *points, size_t n, vt_err *err)
{
    size_t different_x = 1, different_t = 1;
    for (size_t i = 1; i < n; i++) {
        size_t x = 0, t = 0;
        while (x < i && points[x].x != points[i].x)
            x++;
        while (t < i && points[t].t != points[i].t)
            t++;
        different_x += x == i;
        different_t += t == i;
    }
    if (n < 8 || n > 20000 || different_x < 3 || different_t < 2)
        return vt_fail(
            err, VT_EINVAL,
            "%zu runs of %zu shapes and %zu amounts of compute; a shape law takes 8 to 20000 runs, of at least 3 "
            "shapes at 2 amounts",
            n, n ? different_x : 0, n ? different_t : 0);
    return VT_OK;
}

vt_status vt_shape_fit(vt_shape_law *law, const vt_shape_point *points, size_t n, vt_err *err)
{
    *law = (vt_shape_law){.least_x = HUGE_VAL};
    VT_TRY(check(points, n, err));
    vt_shape_point *scaled = vt_xcalloc(n, sizeof *scaled);
    double *rows = vt_xcalloc(5 * n, sizeof *rows), ln_x = 0, ln_t = 0, theta[3] = {0};
    for (size_t i = 0; i < n; i++) {
        ln_x += vt_ln(points[i].x) / (double)n;
        ln_t += vt_ln(points[i].t) / (double)n;
        law->least_x = points[i].x < law->least_x ? points[i].x : law->least_x;
        law->most_x = points[i].x > law->most_x ? points[i].x : law->most_x;
    }
    for (size_t i = 0; i < n; i++)
        scaled[i] = (vt_shape_point){points[i].x / vt_exp(ln_x), points[i].t / vt_exp(ln_t), points[i].y};
    problem q = {.points = scaled, .n = n, .rows = rows, .ones = rows + 4 * n};
    law->rms = sqrt(search(&q, theta, law) / (double)n);
    law->a = exponent(theta[0]);
    law->b = exponent(theta[1]);
    law->c = exponent(theta[2]);
    law->s = law->c / (law->a + law->b);
    law->alpha = q.v[0] * vt_exp(law->a * ln_x);
    law->beta = q.v[1] * vt_exp(law->c * ln_t - law->b * ln_x);
    law->xi = q.v[2] * vt_exp(law->c * ln_t);
    law->eps = q.v[3];
    free(scaled);
    free(rows);
    return isfinite(law->rms) ? VT_OK : vt_fail(err, VT_EINVAL, "the shape law could not be fitted to %zu runs", n);
}

double vt_shape_at(const vt_shape_law *l, double x, double t)
{
    const double ln_x = vt_ln(x);
    return l->alpha * vt_exp(-l->a * ln_x) + (l->beta * vt_exp(l->b * ln_x) + l->xi) * vt_exp(-l->c * vt_ln(t)) +
           l->eps;
}

vt_status vt_shape_best(const vt_shape_law *l, double t, double *x, vt_err *err)
{
    if (!(l->alpha > 0) || !(l->beta > 0))
        return vt_fail(err, VT_EINVAL,
                       "error does not turn up at large or at small sizes here; no best size can be told");
    *x = vt_exp((vt_ln(l->alpha * l->a / (l->beta * l->b)) + l->c * vt_ln(t)) / (l->a + l->b));
    if (*x <= l->least_x || *x >= l->most_x)
        return vt_fail(
            err, VT_EINVAL,
            "the best size at %g would be %g, at or beyond the edge of those tried (%g to %g); try sizes on both "
            "sides of it",
            t, *x, l->least_x, l->most_x);
    return VT_OK;
}
