/* Accuracies are printed in per cent with two digits and their interval in brackets; JSON keeps fractions. */
#include "cli/report.h"

#include <stdio.h>

#include "base/json.h"
#include "cli/cli.h"

static void print_accuracy(const char *name, int64_t right, int64_t count)
{
    char a[32], b[32];
    vt_estimate e = vt_accuracy(right, count);
    printf("%-11s %.2f %%  [%.2f, %.2f]  %s of %s\n", name, 100 * e.value, 100 * e.low, 100 * e.high,
           vt_cli_number(a, right), vt_cli_number(b, count));
}

void vt_report_classification(const vt_classification *c)
{
    char a[32];
    print_accuracy("top-1", c->right1, c->count);
    if (c->among > 5)
        print_accuracy("top-5", c->right5, c->count);
    print_accuracy("error", c->count - c->right1, c->count);
    if (c->sets) {
        vt_estimate e = vt_proportion(c->precision, c->count);
        printf("precision   %.2f %%  [%.2f, %.2f]  of the k best classes, k as many as the image has\n", 100 * e.value,
               100 * e.low, 100 * e.high);
    }
    printf("loss        %.5g\n", c->loss);
    if (c->bad > 0)
        printf("left out    %s images that could not be used\n", vt_cli_number(a, c->bad));
    if (c->unlabelled > 0)
        printf("left out    %s images without a class\n", vt_cli_number(a, c->unlabelled));
    if (c->outside > 0)
        printf("left out    %s images of other classes\n", vt_cli_number(a, c->outside));
}

json_t *vt_report_estimate_json(vt_estimate e)
{
    json_t *o = json_object();
    (void)json_object_set_new(o, "value", vt_json_number(e.value));
    (void)json_object_set_new(o, "low", vt_json_number(e.low));
    (void)json_object_set_new(o, "high", vt_json_number(e.high));
    return o;
}

static json_t *accuracy_json(int64_t right, int64_t count)
{
    json_t *o = vt_report_estimate_json(vt_accuracy(right, count));
    (void)json_object_set_new(o, "right", json_integer(right));
    return o;
}

void vt_report_classification_json(json_t *root, const vt_classification *c)
{
    (void)json_object_set_new(root, "count", json_integer(c->count));
    (void)json_object_set_new(root, "bad_images", json_integer(c->bad));
    (void)json_object_set_new(root, "without_class", json_integer(c->unlabelled));
    (void)json_object_set_new(root, "top1", accuracy_json(c->right1, c->count));
    (void)json_object_set_new(root, "top5", accuracy_json(c->right5, c->count));
    (void)json_object_set_new(root, "error", vt_report_estimate_json(vt_accuracy(c->count - c->right1, c->count)));
    if (c->sets)
        (void)json_object_set_new(root, "precision", vt_report_estimate_json(vt_proportion(c->precision, c->count)));
    if (c->outside > 0)
        (void)json_object_set_new(root, "of_other_classes", json_integer(c->outside));
    (void)json_object_set_new(root, "loss", vt_json_number(c->loss));
}

static const char *limit_note(const vt_temperature *t)
{
    if (!t->at_limit)
        return "";
    return t->temperature < 1 ? "  (the least allowed: every image is right)"
                              : "  (the most allowed: no better than chance)";
}

static void print_row(const char *name, const vt_calibration_figures f[2], const vt_temperature *t)
{
    char count[32], temperature[32] = "-";
    if (t)
        (void)snprintf(temperature, sizeof temperature, "%.4g", t->temperature);
    printf("  %-22s %9s  %11s   %6.2f %%  %6.2f %%   %7.4g  %7.4g   %6.4f  %6.4f%s\n", name,
           vt_cli_number(count, f[0].count), temperature, 100 * f[0].ece, 100 * f[1].ece, f[0].nll, f[1].nll,
           f[0].brier, f[1].brier, t ? limit_note(t) : "");
}

void vt_report_calibration(const vt_calibration *c)
{
    const vt_calibration_figures all[2] = {c->before, c->after};
    printf("\ncalibration: is the largest %s probability how often it is right? ECE in %d bins\n",
           vt_confidence_names[c->kind], VT_CALIBRATION_BINS);
    printf("  %-22s %9s  %11s   %8s  %8s   %7s  %7s   %6s  %6s\n", "", "images", "temperature", "ECE", "after", "NLL",
           "after", "Brier", "after");
    print_row("fitted on 1st half, 2nd", c->halves[1], &c->fitted[0]);
    print_row("fitted on 2nd half, 1st", c->halves[0], &c->fitted[1]);
    print_row("both", all, NULL);
}

static json_t *figures_json(const vt_calibration_figures *f, bool with_bins)
{
    json_t *o = json_object();
    (void)json_object_set_new(o, "count", json_integer(f->count));
    (void)json_object_set_new(o, "expected_error", vt_json_number(f->ece));
    (void)json_object_set_new(o, "nll", vt_json_number(f->nll));
    (void)json_object_set_new(o, "brier", vt_json_number(f->brier));
    if (!with_bins)
        return o;
    json_t *bins = json_array();
    for (int m = 0; m < VT_CALIBRATION_BINS; m++) {
        const vt_reliability_bin *b = &f->bins[m];
        json_t *row = json_object();
        (void)json_object_set_new(row, "above", vt_json_number((double)m / VT_CALIBRATION_BINS));
        (void)json_object_set_new(row, "count", json_integer(b->count));
        (void)json_object_set_new(row, "confidence", b->count > 0 ? vt_json_number(b->confidence) : json_null());
        if (b->count > 0)
            (void)json_object_set_new(row, "right", accuracy_json(b->right, b->count));
        (void)json_array_append_new(bins, row);
    }
    (void)json_object_set_new(o, "bins", bins);
    return o;
}

json_t *vt_report_calibration_json(const vt_calibration *c)
{
    json_t *root = json_object(), *halves = json_array();
    (void)json_object_set_new(root, "confidence", json_string(vt_confidence_names[c->kind]));
    for (int h = 0; h < 2; h++) {
        json_t *row = json_object();
        (void)json_object_set_new(row, "fitted_on", json_integer(h + 1));
        (void)json_object_set_new(row, "measured_on", json_integer(2 - h));
        (void)json_object_set_new(row, "temperature", vt_json_number(c->fitted[h].temperature));
        (void)json_object_set_new(row, "at_limit", json_boolean(c->fitted[h].at_limit));
        (void)json_object_set_new(row, "before", figures_json(&c->halves[1 - h][0], false));
        (void)json_object_set_new(row, "after", figures_json(&c->halves[1 - h][1], false));
        (void)json_array_append_new(halves, row);
    }
    (void)json_object_set_new(root, "halves", halves);
    (void)json_object_set_new(root, "before", figures_json(&c->before, true));
    (void)json_object_set_new(root, "after", figures_json(&c->after, true));
    return root;
}
