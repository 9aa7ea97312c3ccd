/* Equal error, and error from loss. */
#include "law/equal.h"

#include <math.h>
#include <stdlib.h>

#include "base/math.h"
#include "base/text.h"

double vt_equal_x(const vt_point *p, size_t n, size_t model, double y)
{
    double before_x = 0, before_y = 0; /* of the best so far */
    for (size_t i = 0; i < n; i++) {
        if (p[i].model != model || (before_x > 0 && p[i].y >= before_y))
            continue;
        if (p[i].y <= y) {
            if (before_x <= 0)
                return p[i].y == y ? p[i].x : (double)NAN;
            const double share = vt_ln(before_y / y) / vt_ln(before_y / p[i].y);
            return vt_exp(vt_ln(before_x) + share * vt_ln(p[i].x / before_x));
        }
        before_x = p[i].x;
        before_y = p[i].y;
    }
    return (double)NAN;
}

static void range_of(const vt_point *p, size_t n, size_t model, double *least, double *first)
{
    *least = HUGE_VAL;
    *first = 0;
    for (size_t i = 0; i < n; i++)
        if (p[i].model == model) {
            *first = *first > 0 ? *first : p[i].y;
            *least = p[i].y < *least ? p[i].y : *least;
        }
}

bool vt_equal_ratio(const vt_point *p, size_t n, size_t model_a, size_t model_b, size_t steps, vt_equal *list,
                    double *ratio)
{
    double least[2], first[2], sum = 0;
    range_of(p, n, model_a, &least[0], &first[0]);
    range_of(p, n, model_b, &least[1], &first[1]);
    const double low = least[0] > least[1] ? least[0] : least[1], high = first[0] < first[1] ? first[0] : first[1];
    if (!(low < high) || !isfinite(low) || steps < 2)
        return false;
    for (size_t i = 0; i < steps; i++) {
        /* Inside the ends by a hair: rounding must not leave the curves. */
        const double share = 1e-9 + (1 - 2e-9) * (double)i / (double)(steps - 1);
        list[i].y = vt_exp(vt_ln(high) + share * vt_ln(low / high));
        list[i].x[0] = vt_equal_x(p, n, model_a, list[i].y);
        list[i].x[1] = vt_equal_x(p, n, model_b, list[i].y);
        sum += vt_ln(list[i].x[0] / list[i].x[1]) / (double)steps;
    }
    *ratio = vt_exp(sum);
    return isfinite(sum);
}

vt_status vt_error_from_loss(vt_fit *fit, const double *loss, const double *error, size_t n, vt_err *err)
{
    double *inverse = vt_xcalloc(n + 1, sizeof *inverse);
    for (size_t i = 0; i < n; i++)
        inverse[i] = 1 / loss[i];
    const vt_fit_how how = {.form = n >= 8 ? VT_FORM_FLOOR : VT_FORM_PURE};
    vt_status status = vt_fit_run(fit, &how, inverse, error, n, err);
    free(inverse);
    return status;
}

double vt_error_at_loss(const vt_fit *fit, double loss)
{
    return vt_fit_at(fit, 1 / loss);
}
