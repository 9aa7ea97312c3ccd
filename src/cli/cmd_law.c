/* Shared parts of the commands of the law: options to values, and the table of what was read. */
#include "cli/cmd_law.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "law/record.h"

vt_status vt_law_check_select(const vt_select *s, vt_err *err)
{
    if (!s->x || !s->y)
        return vt_fail(err, VT_EINVAL, "--%s is missing: the column of %s", s->x ? "y" : "x",
                       s->x ? "what came of it (error, accuracy, loss)" : "what was spent (compute, images, ...)");
    return VT_OK;
}

vt_status vt_law_loss(const char *text, vt_loss *loss, vt_err *err)
{
    *loss = VT_LOSS_LOG;
    for (int i = 0; i < 3 && text; i++)
        if (strcmp(text, vt_loss_names[i]) == 0) {
            *loss = (vt_loss)i;
            return VT_OK;
        }
    return text ? vt_fail(err, VT_EINVAL, "--loss is \"%.40s\"; expected log, huber or linear", text) : VT_OK;
}

vt_status vt_law_number(const char *option, const char *text, double min, double max, double fallback, double *value,
                        vt_err *err)
{
    *value = fallback;
    if (!text)
        return VT_OK;
    if (vt_parse_f64(text, value, err) != VT_OK)
        return vt_prefix(err, "--%s", option);
    if (!(*value >= min && *value <= max))
        return vt_fail(err, VT_EINVAL, "--%s is %g; it must be %g to %g", option, *value, min, max);
    return VT_OK;
}

vt_status vt_law_level(const char *text, int *level, vt_err *err)
{
    double value;
    char digits[16] = "80";
    if (text)
        (void)snprintf(digits, sizeof digits, "%s", text);
    if (vt_has_suffix(digits, "%"))
        digits[strlen(digits) - 1] = '\0';
    if (vt_parse_f64(digits, &value, NULL) == VT_OK)
        for (*level = 0; *level < VT_N_LEVELS; (*level)++)
            if (fabs(value / 100 - vt_levels[*level]) < 1e-9)
                return VT_OK;
    return vt_fail(err, VT_EINVAL, "--level is \"%.20s\"; back-tests calibrate 50, 80, 90 and 95", text);
}

vt_status vt_law_numbers(const char *option, const char *text, double *list, size_t max, size_t *n, vt_err *err)
{
    char *copy = vt_xstrdup(text ? text : "");
    vt_status status = VT_OK;
    *n = 0;
    for (char *p = copy, *next; *p && status == VT_OK; p = next) {
        next = p + strcspn(p, ",");
        if (*next)
            *next++ = '\0';
        if (*n == max)
            status = vt_fail(err, VT_EINVAL, "--%s: more than %zu numbers", option, max);
        else
            status = vt_law_number(option, p, 1e-60, 1e60, 0, &list[(*n)++], err);
    }
    free(copy);
    return status;
}

vt_status vt_law_calibration(const char *path, vt_calibration *cal, vt_err *err)
{
    *cal = vt_calibration_paper;
    return path ? vt_calibration_load(cal, path, err) : VT_OK;
}

const char *vt_law_y_word(vt_y_unit unit)
{
    return unit == VT_Y_LOSS ? "loss" : "error";
}

void vt_law_print_points(const vt_table *t, const vt_points *pts, bool frontier)
{
    char a[32];
    printf("read        %s (%s, sha256 %.12s)\n\n", t->path, t->format, t->hash);
    printf("  %10s  rows\n", vt_cli_number(a, (int64_t)pts->rows));
    for (int i = 0; i < VT_N_LEFT; i++) {
        if (pts->left[i] == 0)
            continue;
        printf("  %10s  left out: %s", vt_cli_number(a, -(int64_t)pts->left[i]), vt_left_reasons[i]);
        if (i == VT_LEFT_TORN)
            printf(" (%s; the first is line %zu)", t->torn_why, t->torn_line);
        else if (i != VT_LEFT_WHERE)
            printf(" (the first is row %zu)", pts->first[i]);
        printf("\n");
    }
    printf("  %10s  runs\n", vt_cli_number(a, (int64_t)pts->n));
    if (!frontier)
        return;
    printf("  %10s  not on the frontier: a cheaper run was as good, or one of equal cost better\n",
           vt_cli_number(a, -(int64_t)(pts->n - pts->n_frontier)));
    printf("  %10s  on the frontier\n", vt_cli_number(a, (int64_t)pts->n_frontier));
}

json_t *vt_law_points_json(const vt_table *t, const vt_points *pts)
{
    json_t *o = json_object(), *left = json_object();
    (void)json_object_set_new(o, "file", vt_cli_json_text(t->path));
    (void)json_object_set_new(o, "format", json_string(t->format));
    (void)json_object_set_new(o, "sha256", json_string(t->hash));
    (void)json_object_set_new(o, "rows", json_integer((json_int_t)pts->rows));
    for (int i = 0; i < VT_N_LEFT; i++)
        if (pts->left[i])
            (void)json_object_set_new(left, vt_left_reasons[i], json_integer((json_int_t)pts->left[i]));
    (void)json_object_set_new(o, "left_out", left);
    (void)json_object_set_new(o, "runs", json_integer((json_int_t)pts->n));
    (void)json_object_set_new(o, "frontier", json_integer((json_int_t)pts->n_frontier));
    return o;
}
