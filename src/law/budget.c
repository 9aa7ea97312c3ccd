/* Budgets, what is kept back, break-even, shapes. */
#include "law/budget.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/math.h"
#include "base/text.h"

const vt_device_peak vt_device_peaks[] = {{"H200", 989e12},    {"H100", 989e12},   {"A100", 312e12},  {"A10", 125e12},
                                          {"L40S", 362e12},    {"L4", 121e12},     {"V100", 125e12},  {"T4", 65e12},
                                          {"MI300X", 1307e12}, {"MI250X", 383e12}, {"TPUv3", 123e12}, {"TPUv4", 275e12},
                                          {"TPUv5e", 197e12},  {"TPUv5p", 459e12}};
const size_t vt_n_device_peaks = VT_COUNT_OF(vt_device_peaks);

const char *const vt_keep_names[VT_N_KEEP] = {"pilot", "tuning", "evaluation", "cooldown", "checkpoints", "restarts"};
const char *const vt_keep_texts[VT_N_KEEP] = {"small runs that fit the law and try the recipe",
                                              "learning rate, decay and the like, at small size",
                                              "few-shot and validation during the run",
                                              "further cooldowns off the same trunk, to look at on the way",
                                              "writing and reading them",
                                              "work lost when machines fail"};
const double vt_keep_defaults[VT_N_KEEP] = {5, 10, 1, 5, 1, 3};

double vt_flops_of_unit(const char *unit)
{
    static const struct {
        const char *name;
        double flops;
    } rows[] = {{"flops", 1},     {"flop", 1},      {"kflops", 1e3},  {"mflops", 1e6}, {"gflops", 1e9},
                {"tflops", 1e12}, {"pflops", 1e15}, {"eflops", 1e18}, {"zflops", 1e21}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++)
        if (strcasecmp(unit, rows[i].name) == 0)
            return rows[i].flops;
    return 0;
}

/* "xH100h": the device, or NULL. */
static const vt_device_peak *device_of(const char *unit)
{
    const size_t n = strlen(unit);
    if (n < 3 || unit[0] != 'x' || unit[n - 1] != 'h')
        return NULL;
    for (size_t i = 0; i < vt_n_device_peaks; i++)
        if (strlen(vt_device_peaks[i].name) == n - 2 && strncasecmp(vt_device_peaks[i].name, unit + 1, n - 2) == 0)
            return &vt_device_peaks[i];
    return NULL;
}

/* Splits "1e19flops" into its number and unit; a lone e behind digits belongs to the number only if digits follow. */
static vt_status split(const char *text, double *amount, const char **unit, vt_err *err)
{
    char number[64];
    size_t n = 0;
    while (text[n] && n < sizeof number - 1 &&
           (isdigit((unsigned char)text[n]) || strchr("._", text[n]) ||
            ((text[n] == 'e' || text[n] == 'E') && n > 0 &&
             (isdigit((unsigned char)text[n + 1]) ||
              (strchr("+-", text[n + 1]) && text[n + 1] && isdigit((unsigned char)text[n + 2])))) ||
            (strchr("+-", text[n]) && n > 0 && (text[n - 1] == 'e' || text[n - 1] == 'E'))))
        n++;
    memcpy(number, text, n);
    number[n] = '\0';
    *unit = text + n;
    while (**unit == ' ')
        ++*unit;
    if (vt_parse_f64(number, amount, NULL) != VT_OK || !(*amount > 0) || !**unit)
        return vt_fail(err, VT_EINVAL,
                       "\"%.60s\" is no budget; expected a number and its unit: 1e19flops, 2e4core_days, "
                       "50000xH100h",
                       text);
    return VT_OK;
}

vt_status vt_budget_parse(vt_budget *b, const char *text, const char *x_unit, double mfu, vt_err *err)
{
    const char *unit;
    const double per_unit = vt_flops_of_unit(x_unit);
    *b = (vt_budget){.flops = (double)NAN, .device_hours = (double)NAN};
    VT_TRY(split(text, &b->amount, &unit, err));
    b->device = device_of(unit);
    if (b->device) {
        b->device_hours = b->amount;
        b->flops = b->amount * 3600 * b->device->flops * mfu;
    } else if (vt_flops_of_unit(unit) > 0) {
        b->flops = b->amount * vt_flops_of_unit(unit);
    } else if (strcasecmp(unit, x_unit) == 0) {
        return VT_OK;
    } else {
        return vt_fail(err, VT_EINVAL,
                       "unit \"%.30s\" of the budget is neither the fit's (%s), nor flops, nor a known "
                       "device (xH100h, xA100h, xTPUv4h, ...)",
                       unit, x_unit);
    }
    if (per_unit <= 0)
        return vt_fail(err, VT_EINVAL, "the fit counts %s, which does not follow from %s; give the budget in %s",
                       x_unit, b->device ? "device hours" : "flops", x_unit);
    b->amount = b->flops / per_unit;
    return VT_OK;
}

vt_status vt_keep_parse(double percent[VT_N_KEEP], const char *text, vt_err *err)
{
    double sum = 0;
    vt_status status = VT_OK;
    char *copy = vt_xstrdup(text ? text : "");
    memcpy(percent, vt_keep_defaults, VT_N_KEEP * sizeof *percent);
    for (char *p = copy, *next; *p && status == VT_OK; p = next) {
        next = p + strcspn(p, ",");
        if (*next)
            *next++ = '\0';
        char *equals = strchr(p, '=');
        int i = 0;
        if (equals)
            *equals = '\0';
        while (i < VT_N_KEEP && strcmp(p, vt_keep_names[i]) != 0)
            i++;
        if (!equals || i == VT_N_KEEP)
            status = vt_fail(err, VT_EINVAL,
                             "--keep: \"%.40s\" is none of pilot, tuning, evaluation, cooldown, "
                             "checkpoints, restarts, with =PERCENT",
                             p);
        else if (vt_parse_f64(equals + 1, &percent[i], NULL) != VT_OK || !(percent[i] >= 0 && percent[i] < 100))
            status =
                vt_fail(err, VT_EINVAL, "--keep: %s is \"%.20s\"; a percentage of 0 to 100 is expected", p, equals + 1);
    }
    free(copy);
    for (int i = 0; i < VT_N_KEEP; i++)
        sum += percent[i];
    if (status == VT_OK && sum >= 95)
        status =
            vt_fail(err, VT_EINVAL, "--keep: %.0f%% of the budget would be kept back; nothing is left to train", sum);
    return status;
}

/* --- break-even
 * ------------------------------------------------------------------------------------------------------- */

static double least_x(const vt_law *law, const vt_calibration *cal, int level, double y, bool upper)
{
    double low = vt_ln(law->x[0]), high = vt_ln(law->x[law->n - 1] * 30);
    vt_prediction p = vt_law_predict(law, cal, law->x[0], level);
    if ((upper ? p.high : p.centre) < y)
        return 0;
    /* The interval widens in steps, so its upper end may rise again: the first crossing is looked for. */
    const int steps = 2000;
    for (int i = 1; i <= steps; i++) {
        const double x = vt_exp(low + (high - low) * i / steps);
        p = vt_law_predict(law, cal, x, level);
        if ((upper ? p.high : p.centre) < y)
            return x;
    }
    return HUGE_VAL;
}

void vt_break_even(const vt_law *law, const vt_calibration *cal, int level, double y, double *centre, double *upper)
{
    *centre = least_x(law, cal, level, y, false);
    *upper = least_x(law, cal, level, y, true);
}

/* --- shapes
 * ----------------------------------------------------------------------------------------------------------- */

static int rounded(double x, int to)
{
    const int n = (int)(x / to + 0.5) * to;
    return n < to ? to : n;
}

/* Exponents .22, .45, .6 of a third of the growth each, from (608, 10, 928). Where that start belongs is not printed;
 * the growth of SoViT-400m's three dimensions over it says 2,000 times less than its 8.53e21. */
void vt_shape_for(double forward_flops, int *width, int *depth, int *mlp)
{
    const double ln_growth = vt_ln(forward_flops / (8.53e21 / 2000)) / 3;
    *width = rounded(608 * vt_exp(0.22 * ln_growth), 64);
    *depth = rounded(10 * vt_exp(0.45 * ln_growth), 1);
    *mlp = rounded(928 * vt_exp(0.6 * ln_growth), 64);
}
