/* Images to tokens and back (spec 1.3, 2.1), P tokens of patches:
 *
 *   e   = patches E + b + positions                                  (B, P, D)
 *   x_0 = dropout([class token, e]) with the head tok, else dropout(e)
 *
 * The class token has no position of its own. Patches are cut twice, forward and backward: cheaper than keeping them.
 */
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

void vt_model_embed_forward(vt_model *m, const vt_pass *p)
{
    const vt_tensor *w = vt_model_embed_params(m);
    struct vt_model_layout *s = m->layout;
    int64_t B = p->samples, P = m->patches, N = m->tokens, D = m->config.width;
    bool token = m->config.head == VT_HEAD_TOK;
    float *e = token ? s->unjoined : s->x[0], *x = s->x[0];
    assert(B >= 1 && B <= m->use.samples);

    cut_patches(m, p);
    seen(p, NO_BLOCK, "patches", m->use.type, s->wide, B * P * m->patch_dim);
    vt_run(p->backend, linear_fwd, .rows = B * P, .in = m->patch_dim, .out = D, .type = m->use.type, .x = s->wide,
           .w = w[EMBED_W].value, .bias = w[EMBED_B].value, .residual = w[EMBED_POS].value, .residual_rows = P, .y = e);
    seen(p, NO_BLOCK, "patch_embed", VT_F32, e, B * P * D);
    if (token) {
        vt_run(p->backend, join_tokens_fwd, .samples = B, .tokens = P, .cols = D, .token = w[EMBED_TOKEN].value, .x = e,
               .y = x);
        seen(p, NO_BLOCK, "tokens", VT_F32, x, B * N * D);
    }
    if (vt_model_drops(m, p, 0, VT_DROP_EMBED)) {
        vt_model_drop(m, p, 0, VT_DROP_EMBED, N * D, VT_F32, x, NULL, x);
        seen(p, NO_BLOCK, "tokens.drop", VT_F32, x, B * N * D);
    }
}

/* dx, the gradient of x_0 -> gradient of e; that of the class token on the way. */
static float *unjoin(vt_model *m, const vt_pass *p)
{
    const vt_tensor *token = &vt_model_embed_params(m)[EMBED_TOKEN];
    struct vt_model_layout *s = m->layout;
    int64_t B = p->samples, P = m->patches, D = m->config.width;

    vt_run(p->backend, join_tokens_bwd, .samples = B, .tokens = P, .cols = D, .front = 1, .dy = s->dx,
           .dx = s->unjoined);
    if (!token->frozen) {
        vt_run(p->backend, sum_samples, .samples = B, .cols = D, .stride = m->tokens * D, .x = s->dx,
               .slices = p->slices, .accumulate = p->accumulate, .grad_type = token->grad_type, .y = token->grad);
        vt_model_seen_params(p, token, 1);
    }
    seen_grad(p, NO_BLOCK, "patch_embed", VT_F32, s->unjoined, B * P * D);
    return s->unjoined;
}

void vt_model_embed_backward(vt_model *m, const vt_pass *p)
{
    const vt_tensor *w = vt_model_embed_params(m);
    struct vt_model_layout *s = m->layout;
    int64_t B = p->samples, P = m->patches, N = m->tokens, D = m->config.width;
    bool drops = vt_model_drops(m, p, 0, VT_DROP_EMBED), token = m->config.head == VT_HEAD_TOK;
    if (!vt_model_trains_before(m, vt_model_block_params(m, 0)))
        return;

    if (drops) {
        vt_model_drop(m, p, 0, VT_DROP_EMBED, N * D, VT_F32, s->dx, NULL, s->dx);
        seen_grad(p, NO_BLOCK, "tokens", VT_F32, s->dx, B * N * D);
    }
    const float *de = token ? unjoin(m, p) : s->dx;
    if (!w[EMBED_POS].frozen) {
        vt_run(p->backend, sum_samples, .samples = B, .cols = P * D, .stride = P * D, .x = de, .slices = p->slices,
               .accumulate = p->accumulate, .grad_type = w[EMBED_POS].grad_type, .y = w[EMBED_POS].grad);
        vt_model_seen_params(p, &w[EMBED_POS], 1);
    }
    if (w[EMBED_W].frozen && w[EMBED_B].frozen)
        return;
    if (m->use.type == VT_BF16 && (drops || token)) /* else the first block's norm wrote it */
        vt_run(p->backend, to_bf16, .count = B * P * D, .x = de, .y = s->dx_bf16);
    cut_patches(m, p);
    vt_model_linear_params(m, p, &w[EMBED_W], m->use.type, P,
                           m->use.type == VT_BF16 ? (const void *)s->dx_bf16 : (const void *)de, s->wide);
}
