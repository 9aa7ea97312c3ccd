/* Images to tokens and back (spec 1.3, 2.1), P patches, T tokens in front of them:
 *
 *   e   = patches E + b + positions                                  (B, P, D)
 *   x   = dropout([class token, registers, e]), or dropout(e) with T = 0
 *   x_0 = x, or with norm_pre LN(x) (then there is no b)
 *
 * Of the tokens in front at most the class token has a position: then the first row of pos_embed is its. Patches are
 * cut twice, forward and backward: cheaper than keeping them. */
#include "model/steps.h"

#include <assert.h>

/* Pixels of the micro-batch -> layout->wide (t) (B*P, 3P^2). */
static void cut_patches(const vt_model *m, const vt_pass *p)
{
    assert(p->partner_share == 0.0F || m->use.mix);
    const float *scale = p->pixels.scale, *offset = p->pixels.offset;
    vt_run(p->backend, patchify, .samples = p->samples, .image_height = m->config.image_height,
           .image_width = m->config.image_width, .patch = m->config.patch, .images = m->images,
           .scale = {scale[0], scale[1], scale[2]}, .offset = {offset[0], offset[1], offset[2]},
           .partner_share = p->partner_share, .type = m->use.type, .patches = m->layout->wide);
}

/* Embedded patches -> tokens x. */
static void join(const vt_model *m, const vt_pass *p, const float *e, float *x)
{
    vt_rows w = vt_model_embed_params(m);
    int64_t B = p->samples, D = m->config.width;
    vt_run(p->backend, join_tokens_fwd, .samples = B, .tokens = m->patches, .cols = D, .n = m->config.registers,
           .token = m->token ? w[EMBED_TOKEN]->value : NULL, .position = m->token_position ? w[EMBED_POS]->value : NULL,
           .more = m->config.registers > 0 ? w[EMBED_REGISTERS]->value : NULL, .x = e, .y = x);
    seen(p, NO_BLOCK, "tokens", VT_F32, x, B * m->tokens * D);
}

void vt_model_embed_forward(vt_model *m, const vt_pass *p)
{
    vt_rows w = vt_model_embed_params(m);
    struct vt_model_layout *s = m->layout;
    int64_t B = p->samples, P = m->patches, N = m->tokens, D = m->config.width;
    float *x = m->config.norm_pre ? s->unnormed : s->x[0], *e = m->front > 0 ? s->unjoined : x;
    assert(B >= 1 && B <= m->use.samples);

    cut_patches(m, p);
    seen(p, NO_BLOCK, "patches", m->use.type, s->wide, B * P * m->patch_dim);
    vt_run(p->backend, linear_fwd, .rows = B * P, .in = m->patch_dim, .out = D, .type = m->use.type, .x = s->wide,
           .w = w[EMBED_W]->value, .bias = w[EMBED_B] != NULL ? w[EMBED_B]->value : NULL,
           .residual = w[EMBED_POS]->value + (m->token_position ? D : 0), .residual_rows = P, .y = e);
    seen(p, NO_BLOCK, "patch_embed", VT_F32, e, B * P * D);
    if (m->front > 0)
        join(m, p, e, x);
    if (vt_model_drops(m, p, 0, VT_DROP_EMBED)) {
        vt_model_drop(m, p, 0, VT_DROP_EMBED, N * D, VT_F32, x, NULL, x);
        seen(p, NO_BLOCK, "tokens.drop", VT_F32, x, B * N * D);
    }
    if (m->config.norm_pre) {
        vt_run(p->backend, layernorm_fwd, .rows = B * N, .cols = D, .x = x, .gamma = w[NORM_PRE_W]->value,
               .beta = w[NORM_PRE_B]->value, .eps = (float)m->config.norm_eps, .mean = s->pre_mean, .rstd = s->pre_rstd,
               .y = s->x[0]);
        seen(p, NO_BLOCK, "norm_pre", VT_F32, s->x[0], B * N * D);
    }
}

/* dx, the gradient of x_0 -> that of x. */
static void norm_backward(const vt_model *m, const vt_pass *p)
{
    vt_rows w = vt_model_embed_params(m);
    const struct vt_model_layout *s = m->layout;
    int64_t D = m->config.width;
    vt_run(p->backend, layernorm_bwd, .samples = p->samples, .tokens = m->tokens, .cols = D,
           .grad_type = w[NORM_PRE_W]->grad_type, .x = s->unnormed, .gamma = w[NORM_PRE_W]->value, .mean = s->pre_mean,
           .rstd = s->pre_rstd, .dy = s->dx, .slices = p->slices, .accumulate = p->accumulate, .dx = s->dx,
           .dx_bf16 = s->dx_bf16, .dgamma = vt_model_grad_or_discard(m, w[NORM_PRE_W]),
           .dbeta = vt_model_grad_or_discard(m, w[NORM_PRE_B]));
    vt_model_seen_param(p, w[NORM_PRE_W]);
    vt_model_seen_param(p, w[NORM_PRE_B]);
    seen_grad(p, NO_BLOCK, "norm_pre.in", VT_F32, s->dx, p->samples * m->tokens * D);
}

/* The gradient of `count` numbers of a parameter from number `at` on: sums over samples of dx, a sample's numbers
 * beginning at x. */
static void sum_gradient(const vt_pass *p, const vt_tensor *w, int64_t at, const float *x, int64_t stride,
                         int64_t count)
{
    if (!w->frozen)
        vt_run(p->backend, sum_samples, .samples = p->samples, .cols = count, .stride = stride, .x = x,
               .slices = p->slices, .accumulate = p->accumulate, .grad_type = w->grad_type,
               .y = vt_model_at(w->grad_type, w->grad, at));
}

/* dx, the gradient of x -> gradient of e; those of the tokens in front on the way. */
static const float *unjoin(vt_model *m, const vt_pass *p)
{
    vt_rows w = vt_model_embed_params(m);
    struct vt_model_layout *s = m->layout;
    int64_t P = m->patches, D = m->config.width, stride = m->tokens * D, registers = m->config.registers;
    if (m->token)
        sum_gradient(p, w[EMBED_TOKEN], 0, s->dx, stride, D);
    if (registers > 0)
        sum_gradient(p, w[EMBED_REGISTERS], 0, s->dx + (m->front - registers) * D, stride, registers * D);
    if (m->token_position)
        sum_gradient(p, w[EMBED_POS], 0, s->dx, stride, D);
    vt_model_seen_param(p, w[EMBED_TOKEN]);
    vt_model_seen_param(p, w[EMBED_REGISTERS]);
    vt_run(p->backend, join_tokens_bwd, .samples = p->samples, .tokens = P, .cols = D, .front = m->front, .dy = s->dx,
           .dx = s->unjoined);
    seen_grad(p, NO_BLOCK, "patch_embed", VT_F32, s->unjoined, p->samples * P * D);
    return s->unjoined;
}

void vt_model_embed_backward(vt_model *m, const vt_pass *p)
{
    vt_rows w = vt_model_embed_params(m);
    struct vt_model_layout *s = m->layout;
    int64_t B = p->samples, P = m->patches, N = m->tokens, D = m->config.width;
    bool drops = vt_model_drops(m, p, 0, VT_DROP_EMBED);
    if (!vt_model_trains_before(m, s->blocks))
        return;

    if (m->config.norm_pre)
        norm_backward(m, p);
    if (drops) {
        vt_model_drop(m, p, 0, VT_DROP_EMBED, N * D, VT_F32, s->dx, NULL, s->dx);
        seen_grad(p, NO_BLOCK, "tokens", VT_F32, s->dx, B * N * D);
    }
    const float *de = m->front > 0 ? unjoin(m, p) : s->dx;
    sum_gradient(p, w[EMBED_POS], m->token_position ? D : 0, de, P * D, P * D);
    vt_model_seen_param(p, w[EMBED_POS]);
    if (w[EMBED_W]->frozen && (w[EMBED_B] == NULL || w[EMBED_B]->frozen))
        return;
    if (m->use.type == VT_BF16 && (drops || m->front > 0)) /* else the norm behind it wrote it */
        vt_run(p->backend, to_bf16, .count = B * P * D, .x = de, .y = s->dx_bf16);
    cut_patches(m, p);
    vt_model_linear_params(m, p, &w[EMBED_W], m->use.type, P,
                           m->use.type == VT_BF16 ? (const void *)s->dx_bf16 : (const void *)de, s->wide);
}
