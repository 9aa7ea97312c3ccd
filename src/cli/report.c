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
    if (c->classes > 5)
        print_accuracy("top-5", c->right5, c->count);
    printf("loss        %.5g\n", c->loss);
    if (c->unlabelled > 0)
        printf("left out    %s images without a class\n", vt_cli_number(a, c->unlabelled));
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
    (void)json_object_set_new(root, "without_class", json_integer(c->unlabelled));
    (void)json_object_set_new(root, "top1", accuracy_json(c->right1, c->count));
    (void)json_object_set_new(root, "top5", accuracy_json(c->right5, c->count));
    (void)json_object_set_new(root, "loss", vt_json_number(c->loss));
}
