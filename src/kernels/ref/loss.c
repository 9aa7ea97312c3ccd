/* Reference kernel: sigmoid cross-entropy against one class a sample (Beyer et al. 2020: a sum over classes). */
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

void vt_ref_sigmoid_xent(const vt_exec *ex, const vt_sigmoid_xent_args *a)
{
    (void)ex;
    for (int64_t b = 0; b < a->samples; b++) {
        double loss = 0;
        for (int64_t c = 0; c < a->classes; c++) {
            const double z = a->logits[b * a->classes + c];
            const int target = c == a->labels[b];
            loss += softplus(target ? -z : z);
            /* sigmoid(z) - 1 = -sigmoid(-z) without cancellation. */
            if (a->dlogits)
                a->dlogits[b * a->classes + c] = (float)(a->weight * (target ? -sigmoid(-z) : sigmoid(z)));
        }
        a->loss[b] = (float)(a->weight * loss);
    }
}
