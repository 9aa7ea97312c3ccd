/* Reference kernel: cross-entropy against sets of classes, sigmoid (a sum over classes: Beyer et al. 2020) or softmax,
 * with label smoothing, mixup and class weights. */
#include <math.h>

#include "base/math.h"
#include "kernels/ref/ref.h"

/* log(1 + exp(x)), without overflow and accurate where it is small. */
static double softplus(double x)
{
    return fmax(x, 0) + vt_log1p(vt_exp(-fabs(x)));
}

static double sigmoid(double x)
{
    const double e = vt_exp(-fabs(x));
    return x >= 0 ? 1 / (1 + e) : e / (1 + e);
}

static int holds(const vt_cross_entropy_args *a, int64_t b, int64_t c)
{
    for (int64_t i = 0; i < a->label_width; i++)
        if (a->labels[b * a->label_width + i] == c)
            return 1;
    return 0;
}

static double target(const vt_cross_entropy_args *a, int64_t b, int64_t c)
{
    const double off = a->smoothing > 0 ? a->smoothing / (double)(a->classes - 1) : 0, share = a->partner_share;
    const double label = share > 0 ? (1 - share) * holds(a, b, c) + share * holds(a, b - 1, c) : holds(a, b, c);
    return off + (1 - a->smoothing - off) * label;
}

static double class_weight(const vt_cross_entropy_args *a, int64_t c)
{
    return a->class_weights ? a->class_weights[c] : 1;
}

/* (1-y) sigmoid(z) - y sigmoid(-z) is sigmoid(z) - y without cancellation. */
static void sigmoid_sample(const vt_cross_entropy_args *a, int64_t b)
{
    double loss = 0;
    for (int64_t c = 0; c < a->classes; c++) {
        const double z = a->logits[b * a->classes + c], y = target(a, b, c), v = class_weight(a, c);
        loss += v * (y * softplus(-z) + (1 - y) * softplus(z));
        if (a->dlogits)
            a->dlogits[b * a->classes + c] = (float)(a->weight * v * ((1 - y) * sigmoid(z) - y * sigmoid(-z)));
    }
    a->loss[b] = (float)(a->weight * loss);
}

static void softmax_sample(const vt_cross_entropy_args *a, int64_t b)
{
    const float *z = a->logits + b * a->classes;
    double max = z[0], exps = 0, targets = 0, loss = 0;
    for (int64_t c = 1; c < a->classes; c++)
        max = fmax(max, z[c]);
    for (int64_t c = 0; c < a->classes; c++) {
        const double t = class_weight(a, c) * target(a, b, c);
        exps += vt_exp(z[c] - max);
        targets += t;
        loss += t * (max - z[c]);
    }
    for (int64_t c = 0; a->dlogits && c < a->classes; c++)
        a->dlogits[b * a->classes + c] =
            (float)(a->weight * (vt_exp(z[c] - max) / exps * targets - class_weight(a, c) * target(a, b, c)));
    a->loss[b] = (float)(a->weight * (loss + targets * vt_ln(exps)));
}

void vt_ref_cross_entropy(const vt_exec *ex, const vt_cross_entropy_args *a)
{
    (void)ex;
    for (int64_t b = 0; b < a->samples; b++)
        (a->kind == VT_LOSS_SIGMOID ? sigmoid_sample : softmax_sample)(a, b);
}
