/* See steps.h. */
#include "model/steps.h"

#include <assert.h>
#include <stdio.h>

void vt_model_tell(const vt_pass *p, const char *prefix, int64_t l, const char *what, vt_real type, const void *x,
                   int64_t count)
{
    char name[96];
    if (l >= 0)
        (void)snprintf(name, sizeof name, "%sblocks.%lld.%s", prefix, (long long)l, what);
    else
        (void)snprintf(name, sizeof name, "%s%s", prefix, what);
    p->visit(p->visit_context, name, type, x, count);
}

void vt_model_seen_param(const vt_pass *p, const vt_tensor *w)
{
    if (w != NULL && !w->frozen)
        seen_grad(p, NO_BLOCK, w->name, w->grad_type, w->grad, w->count);
}

void *vt_model_grad_or_discard(const vt_model *m, const vt_tensor *t)
{
    return t->frozen ? m->layout->discarded : t->grad;
}

void vt_model_linear_params(const vt_model *m, const vt_pass *p, vt_rows w, vt_real type, int64_t tokens,
                            const void *dy, const void *x)
{
    const vt_tensor *weight = w[0], *bias = w[1];
    int64_t out = weight->dims[0];
    if (weight->frozen && (bias == NULL || bias->frozen))
        return;
    /* A frozen weight with a trained bias: a product of one column, thrown away, beside the bias's sums. Both go
     * through `discarded` where the weight's gradient would, so it is of that type too. */
    vt_run(p->backend, linear_dw, .samples = p->samples, .tokens = tokens,
           .in = weight->frozen ? 1 : weight->count / out, .out = out, .type = type,
           .grad_type = weight->frozen ? bias->grad_type : weight->grad_type, .dy = dy, .x = x, .slices = p->slices,
           .accumulate = p->accumulate, .dw = vt_model_grad_or_discard(m, weight),
           .dbias = bias != NULL ? bias->grad : NULL);
    vt_model_seen_param(p, weight);
    vt_model_seen_param(p, bias);
}

/* The chance that a sample's branch is left out: 0 in the first block, use.drop_path in the last. */
static float path_rate(const vt_model *m, int64_t l, vt_drop_place place)
{
    int64_t last = m->config.depth - 1;
    bool branch = place == VT_DROP_ATTN || place == VT_DROP_MLP;
    return branch && last > 0 ? (float)((double)m->use.drop_path * (double)l / (double)last) : 0.0F;
}

bool vt_model_drops(const vt_model *m, const vt_pass *p, int64_t l, vt_drop_place place)
{
    assert(!p->drop || m->use.train);
    return p->drop && (m->use.dropout > 0.0F || path_rate(m, l, place) > 0.0F);
}

void vt_model_drop(const vt_model *m, const vt_pass *p, int64_t l, vt_drop_place place, int64_t count, vt_real type,
                   const void *x, const float *residual, void *y)
{
    vt_run(p->backend, drop, .samples = p->samples, .count = count, .type = type, .x = x, .rate = m->use.dropout,
           .path_rate = path_rate(m, l, place), .seed = p->seed, .use = (uint32_t)(4 * l + (int64_t)place),
           .position = p->position, .residual = residual, .y = y);
}
