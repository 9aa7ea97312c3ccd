/* Averages of the parameters over steps (Polyak & Juditsky 1992; exponential: Tarvainen & Valpola 2017), float32 state
 * named .average. A float32 mean of n values moves by less than its rounding once n passes some 10^5. */
#include <assert.h>

#include "optim/optimizer_internal.h"

const char *const vt_average_names[] = {"none", "ema", "polyak", NULL};

double vt_average_kept(const vt_optimizer_config *c, int64_t t)
{
    if (c->average == VT_AVERAGE_POLYAK) {
        double before = t > c->average_start ? (double)(t - c->average_start) : 0.0;
        return before / (before + 1.0);
    }
    double early = t == 0 ? 0.0 : (1.0 + (double)t) / (10.0 + (double)t);
    return early < c->average_decay ? early : c->average_decay;
}

void vt_average_update(vt_optimizer *o, const vt_backend *be, int64_t t)
{
    float kept = (float)vt_average_kept(&o->config, t);
    for (int i = 0; i < o->n_params; i++) {
        const vt_tensor *p = &o->params[i];
        if (o->rows[i].average >= 0)
            vt_run(be, average, .count = p->count, .value = p->value, .kept = kept,
                   .average = o->state[o->rows[i].average].data);
    }
}

void vt_average_swap(vt_optimizer *o)
{
    for (int i = 0; i < o->n_params; i++) {
        if (o->rows[i].average < 0)
            continue;
        vt_state_tensor *average = &o->state[o->rows[i].average];
        float *value = o->params[i].value;
        o->params[i].value = average->data;
        average->data = value;
    }
    o->swapped = !o->swapped;
}
