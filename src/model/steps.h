/* The small steps that embed.c, block.c and head.c are made of, where vt_run alone does not say it. */
#ifndef VT_MODEL_STEPS_H
#define VT_MODEL_STEPS_H

#include "model/layout.h"

/* Element i of a tensor. */
static inline void *vt_model_at(vt_real type, void *x, int64_t i)
{
    return (char *)x + i * (int64_t)vt_model_bytes(type);
}

/* The MLPs' activation. */
static inline vt_act vt_model_gelu(const vt_model *m)
{
    static const vt_act acts[] = {
        [VT_GELU_TANH] = VT_ACT_GELU_TANH, [VT_GELU_ERF] = VT_ACT_GELU_ERF, [VT_GELU_QUICK] = VT_ACT_GELU_QUICK};
    return acts[m->config.gelu];
}

/* Tells the visitor of a tensor that was just written, as "WHAT", or "blocks.L.WHAT" where l >= 0; of a gradient with
 * "grad " in front. */
enum { NO_BLOCK = -1 };
void vt_model_tell(const vt_pass *p, const char *prefix, int64_t l, const char *what, vt_real type, const void *x,
                   int64_t count);

static inline void seen(const vt_pass *p, int64_t l, const char *what, vt_real type, const void *x, int64_t count)
{
    if (p->visit != NULL)
        vt_model_tell(p, "", l, what, type, x, count);
}

static inline void seen_grad(const vt_pass *p, int64_t l, const char *what, vt_real type, const void *x, int64_t count)
{
    if (p->visit != NULL)
        vt_model_tell(p, "grad ", l, what, type, x, count);
}

/* The gradient of a parameter, where there is one and it is trained. */
void vt_model_seen_param(const vt_pass *p, const vt_tensor *w);

/* Where a norm's gradient of a parameter goes: nobody reads that of a frozen one. */
void *vt_model_grad_or_discard(const vt_model *m, const vt_tensor *t);

/* Gradients of weight w[0] (out, in) and bias w[1] (or NULL) of a linear layer, each where it is trained; dy and x of
 * `type`. */
void vt_model_linear_params(const vt_model *m, const vt_pass *p, vt_rows w, vt_real type, int64_t tokens,
                            const void *dy, const void *x);

/* The places where dropout and stochastic depth act (spec 1.3), from which the address of their random numbers follows:
 * use = 4 * block + place. The embedding's stands with block 0. */
typedef enum { VT_DROP_ATTN, VT_DROP_ACT, VT_DROP_MLP, VT_DROP_EMBED } vt_drop_place;

/* Whether anything is dropped there in this pass. */
bool vt_model_drops(const vt_model *m, const vt_pass *p, int64_t l, vt_drop_place place);
/* y = x after dropout and stochastic depth of that place, (B, count); residual and types as in ops.h. */
void vt_model_drop(const vt_model *m, const vt_pass *p, int64_t l, vt_drop_place place, int64_t count, vt_real type,
                   const void *x, const float *residual, void *y);

#endif
