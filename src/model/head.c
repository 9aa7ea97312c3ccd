/* Tokens to logits and back (spec 2.1), all in float32:
 *
 *   z       = LN(x_L), or with norm_pooled x_L
 *   f       = z_0 (tok),  mean over patches of z (gap),  or by attention pooling (map):
 *             a = MHA(query = probe, keys and values = z),  f = a + MLP(LN(a))
 *   f       = LN(f)                                        with norm_pooled
 *   f       = tanh(f Wr + br)                              where there is a representation layer
 *   logits  = f Wh + bh */
#include "model/steps.h"

#include <assert.h>

/* z -> the pooled vector by attention pooling. The probe's query is one row, shared by all samples. */
static void pool_forward(vt_model *m, const vt_pass *p)
{
    const vt_backend *be = p->backend;
    vt_rows w = vt_model_pool_params(m);
    const vt_head_acts *h = &m->layout->head_acts;
    int64_t B = p->samples, N = m->tokens, D = m->config.width, M = m->config.mlp, H = m->config.heads;

    vt_run(be, linear_fwd, .rows = 1, .in = D, .out = D, .x = w[POOL_LATENT]->value, .w = w[POOL_Q_W]->value,
           .bias = w[POOL_Q_B]->value, .y = h->q);
    seen(p, NO_BLOCK, "attn_pool.q", VT_F32, h->q, D);
    vt_run(be, linear_fwd, .rows = B * N, .in = D, .out = 2 * D, .x = h->norm, .w = w[POOL_KV_W]->value,
           .bias = w[POOL_KV_B]->value, .y = h->kv);
    seen(p, NO_BLOCK, "attn_pool.kv", VT_F32, h->kv, B * N * 2 * D);
    vt_run(be, attention_fwd, .samples = B, .heads = H, .head_width = m->head_width, .q_tokens = 1, .kv_tokens = N,
           .q = h->q, .k = h->kv, .v = h->kv + D, .q_sample_stride = 0, .q_row_stride = D,
           .kv_sample_stride = N * 2 * D, .kv_row_stride = 2 * D, .y = h->attn, .lse = h->lse);
    seen(p, NO_BLOCK, "attn_pool.lse", VT_F32, h->lse, B * H);
    seen(p, NO_BLOCK, "attn_pool.attn", VT_F32, h->attn, B * D);
    vt_run(be, linear_fwd, .rows = B, .in = D, .out = D, .x = h->attn, .w = w[POOL_PROJ_W]->value,
           .bias = w[POOL_PROJ_B]->value, .y = h->mid);
    seen(p, NO_BLOCK, "attn_pool.mid", VT_F32, h->mid, B * D);

    vt_run(be, layernorm_fwd, .rows = B, .cols = D, .x = h->mid, .gamma = w[POOL_NORM_W]->value,
           .beta = w[POOL_NORM_B]->value, .eps = (float)m->config.norm_eps, .mean = h->pool_mean, .rstd = h->pool_rstd,
           .y = h->pool_norm);
    seen(p, NO_BLOCK, "attn_pool.norm", VT_F32, h->pool_norm, B * D);
    vt_run(be, linear_fwd, .rows = B, .in = D, .out = M, .x = h->pool_norm, .w = w[POOL_FC1_W]->value,
           .bias = w[POOL_FC1_B]->value, .act = vt_model_gelu(m), .pre = h->pre, .y = h->act);
    if (h->pre != NULL)
        seen(p, NO_BLOCK, "attn_pool.mlp.fc1", VT_F32, h->pre, B * M);
    seen(p, NO_BLOCK, "attn_pool.mlp.act", VT_F32, h->act, B * M);
    vt_run(be, linear_fwd, .rows = B, .in = M, .out = D, .x = h->act, .w = w[POOL_FC2_W]->value,
           .bias = w[POOL_FC2_B]->value, .residual = h->mid, .residual_rows = B, .y = h->raw);
}

/* What is pooled without attention: the class token, or all patches. */
static int64_t first_taken(const vt_model *m)
{
    return m->config.head == VT_HEAD_TOK ? 0 : m->front;
}

static int64_t taken(const vt_model *m)
{
    return m->config.head == VT_HEAD_TOK ? 1 : m->patches;
}

/* The final norm, of tokens or of pooled vectors; y may be x. */
static void final_norm(const vt_model *m, const vt_pass *p, int64_t rows, const float *x, float *y, const char *name)
{
    vt_rows w = vt_model_norm_params(m);
    const vt_head_acts *h = &m->layout->head_acts;
    int64_t D = m->config.width;
    vt_run(p->backend, layernorm_fwd, .rows = rows, .cols = D, .x = x, .gamma = w[NORM_W]->value,
           .beta = w[NORM_B]->value, .eps = (float)m->config.norm_eps, .mean = h->mean, .rstd = h->rstd, .y = y);
    seen(p, NO_BLOCK, name, VT_F32, y, rows * D);
}

void vt_model_head_forward(vt_model *m, const vt_pass *p)
{
    const vt_backend *be = p->backend;
    const vt_head_acts *h = &m->layout->head_acts;
    int64_t B = p->samples, N = m->tokens, D = m->config.width, F = m->feature_width, C = m->config.classes;

    if (!m->config.norm_pooled)
        final_norm(m, p, B * N, m->layout->x[m->config.depth], h->norm, "norm");
    if (m->config.head == VT_HEAD_MAP)
        pool_forward(m, p);
    else
        vt_run(be, mean_tokens_fwd, .samples = B, .tokens = N, .first = first_taken(m), .taken = taken(m), .cols = D,
               .x = h->norm, .y = h->raw);
    seen(p, NO_BLOCK, "pooled", VT_F32, h->raw, B * D);
    if (m->config.norm_pooled)
        final_norm(m, p, B, h->raw, h->pooled, "fc_norm");
    if (m->config.representation > 0) {
        vt_rows rep = vt_model_rep_params(m);
        vt_run(be, linear_fwd, .rows = B, .in = D, .out = F, .x = h->pooled, .w = rep[REP_W]->value,
               .bias = rep[REP_B]->value, .act = VT_ACT_TANH, .pre = h->rep_pre, .y = m->features);
        if (h->rep_pre != NULL)
            seen(p, NO_BLOCK, "pre_logits", VT_F32, h->rep_pre, B * F);
        seen(p, NO_BLOCK, "features", VT_F32, m->features, B * F);
    }
    if (C > 0) {
        vt_rows head = vt_model_head_params(m);
        vt_run(be, linear_fwd, .rows = B, .in = F, .out = C, .x = m->features, .w = head[HEAD_W]->value,
               .bias = head[HEAD_B]->value, .y = m->logits);
        seen(p, NO_BLOCK, "logits", VT_F32, m->logits, B * C);
    }
}

/* The probe's query is one row q = probe Wq + bq for all samples: its gradient is summed over them first. */
static void probe_backward(vt_model *m, const vt_pass *p)
{
    const vt_backend *be = p->backend;
    vt_rows w = vt_model_pool_params(m);
    const vt_head_grads *g = &m->layout->head_grads;
    int64_t D = m->config.width;
    vt_pass one = *p;
    one.samples = one.slices = 1;

    vt_run(be, sum_samples, .samples = p->samples, .cols = D, .stride = D, .x = g->q, .slices = p->slices,
           .y = g->q_sum);
    seen_grad(p, NO_BLOCK, "attn_pool.q", VT_F32, g->q_sum, D);
    vt_model_linear_params(m, &one, &w[POOL_Q_W], VT_F32, 1, g->q_sum, w[POOL_LATENT]->value);
    if (w[POOL_LATENT]->frozen)
        return;
    vt_run(be, linear_dx, .rows = 1, .in = D, .out = D, .dy = g->q_sum, .w = w[POOL_Q_W]->value, .dx = g->latent);
    vt_run(be, sum_samples, .samples = 1, .cols = D, .stride = D, .x = g->latent, .slices = 1,
           .accumulate = p->accumulate, .grad_type = w[POOL_LATENT]->grad_type, .y = w[POOL_LATENT]->grad);
    vt_model_seen_param(p, w[POOL_LATENT]);
}

/* Gradient of the pooled vector -> gradient of a, in its place. */
static void pool_mlp_backward(vt_model *m, const vt_pass *p)
{
    const vt_backend *be = p->backend;
    vt_rows w = vt_model_pool_params(m);
    const vt_head_acts *h = &m->layout->head_acts;
    const vt_head_grads *g = &m->layout->head_grads;
    int64_t B = p->samples, D = m->config.width, M = m->config.mlp;

    vt_model_linear_params(m, p, &w[POOL_FC2_W], VT_F32, 1, g->pooled, h->act);
    vt_run(be, linear_dx, .rows = B, .in = M, .out = D, .dy = g->pooled, .w = w[POOL_FC2_W]->value,
           .act = vt_model_gelu(m), .pre = h->pre, .dx = g->wide);
    seen_grad(p, NO_BLOCK, "attn_pool.mlp.fc1", VT_F32, g->wide, B * M);
    vt_model_linear_params(m, p, &w[POOL_FC1_W], VT_F32, 1, g->wide, h->pool_norm);
    vt_run(be, linear_dx, .rows = B, .in = D, .out = M, .dy = g->wide, .w = w[POOL_FC1_W]->value, .dx = g->narrow);
    seen_grad(p, NO_BLOCK, "attn_pool.norm", VT_F32, g->narrow, B * D);
    vt_run(be, layernorm_bwd, .samples = B, .tokens = 1, .cols = D, .grad_type = w[POOL_NORM_W]->grad_type, .x = h->mid,
           .gamma = w[POOL_NORM_W]->value, .mean = h->pool_mean, .rstd = h->pool_rstd, .dy = g->narrow,
           .dresidual = g->pooled, .slices = p->slices, .accumulate = p->accumulate, .dx = g->pooled,
           .dgamma = vt_model_grad_or_discard(m, w[POOL_NORM_W]), .dbeta = vt_model_grad_or_discard(m, w[POOL_NORM_B]));
    vt_model_seen_param(p, w[POOL_NORM_W]);
    vt_model_seen_param(p, w[POOL_NORM_B]);
    seen_grad(p, NO_BLOCK, "attn_pool.mid", VT_F32, g->pooled, B * D);
}

/* Gradient of the pooled vector -> gradient of z in dx. */
static void pool_backward(vt_model *m, const vt_pass *p)
{
    const vt_backend *be = p->backend;
    vt_rows w = vt_model_pool_params(m);
    struct vt_model_layout *s = m->layout;
    const vt_head_acts *h = &s->head_acts;
    const vt_head_grads *g = &s->head_grads;
    int64_t B = p->samples, N = m->tokens, D = m->config.width;
    float *dkv = s->wide; /* (B, N, 2, H, K) */

    pool_mlp_backward(m, p);
    vt_model_linear_params(m, p, &w[POOL_PROJ_W], VT_F32, 1, g->pooled, h->attn);
    vt_run(be, linear_dx, .rows = B, .in = D, .out = D, .dy = g->pooled, .w = w[POOL_PROJ_W]->value, .dx = g->narrow);
    seen_grad(p, NO_BLOCK, "attn_pool.attn", VT_F32, g->narrow, B * D);
    vt_run(be, attention_bwd, .samples = B, .heads = m->config.heads, .head_width = m->head_width, .q_tokens = 1,
           .kv_tokens = N, .q = h->q, .k = h->kv, .v = h->kv + D, .q_sample_stride = 0, .q_row_stride = D,
           .kv_sample_stride = N * 2 * D, .kv_row_stride = 2 * D, .y = h->attn, .lse = h->lse, .dy = g->narrow,
           .dq = g->q, .dk = dkv, .dv = dkv + D, .dq_row_stride = D, .dkv_row_stride = 2 * D);
    seen_grad(p, NO_BLOCK, "attn_pool.kv", VT_F32, dkv, B * N * 2 * D);
    probe_backward(m, p);
    vt_model_linear_params(m, p, &w[POOL_KV_W], VT_F32, N, dkv, h->norm);
    if (vt_model_trains_before(m, s->pool))
        vt_run(be, linear_dx, .rows = B * N, .in = D, .out = 2 * D, .dy = dkv, .w = w[POOL_KV_W]->value, .dx = s->dx);
}

/* Gradient of the logits -> gradient of the pooled vector. */
static void classifier_backward(vt_model *m, const vt_pass *p)
{
    vt_rows head = vt_model_head_params(m);
    const vt_head_acts *h = &m->layout->head_acts;
    const vt_head_grads *g = &m->layout->head_grads;
    int64_t B = p->samples, D = m->config.width, F = m->feature_width;

    vt_model_linear_params(m, p, &head[HEAD_W], VT_F32, 1, g->logits, m->features);
    if (!vt_model_trains_before(m, m->layout->head))
        return;
    vt_run(p->backend, linear_dx, .rows = B, .in = F, .out = m->config.classes, .dy = g->logits,
           .w = head[HEAD_W]->value, .act = m->config.representation > 0 ? VT_ACT_TANH : VT_ACT_NONE, .pre = h->rep_pre,
           .dx = g->features);
    seen_grad(p, NO_BLOCK, m->config.representation > 0 ? "pre_logits" : "pooled", VT_F32, g->features, B * F);
    if (m->config.representation > 0) {
        vt_rows rep = vt_model_rep_params(m);
        vt_model_linear_params(m, p, rep, VT_F32, 1, g->features, h->pooled);
        if (!vt_model_trains_before(m, m->layout->rep))
            return;
        vt_run(p->backend, linear_dx, .rows = B, .in = D, .out = F, .dy = g->features, .w = rep[REP_W]->value,
               .dx = g->pooled);
        seen_grad(p, NO_BLOCK, "pooled", VT_F32, g->pooled, B * D);
    }
}

/* Gradient of what the final norm gave, in dx -> of what it took, there too. */
static void final_norm_backward(const vt_model *m, const vt_pass *p, int64_t tokens, const float *x, float *dx,
                                uint16_t *dx_bf16)
{
    vt_rows w = vt_model_norm_params(m);
    const vt_head_acts *h = &m->layout->head_acts;
    vt_run(p->backend, layernorm_bwd, .samples = p->samples, .tokens = tokens, .cols = m->config.width,
           .grad_type = w[NORM_W]->grad_type, .x = x, .gamma = w[NORM_W]->value, .mean = h->mean, .rstd = h->rstd,
           .dy = dx, .slices = p->slices, .accumulate = p->accumulate, .dx = dx, .dx_bf16 = dx_bf16,
           .dgamma = vt_model_grad_or_discard(m, w[NORM_W]), .dbeta = vt_model_grad_or_discard(m, w[NORM_B]));
    vt_model_seen_param(p, w[NORM_W]);
    vt_model_seen_param(p, w[NORM_B]);
}

void vt_model_head_backward(vt_model *m, const vt_pass *p)
{
    struct vt_model_layout *s = m->layout;
    float *pooled = s->head_grads.pooled;
    int64_t B = p->samples, N = m->tokens, D = m->config.width;
    assert(m->use.train && B >= 1 && B <= m->use.samples);

    classifier_backward(m, p);
    if (m->config.norm_pooled && vt_model_trains_before(m, s->rep)) {
        final_norm_backward(m, p, 1, s->head_acts.raw, pooled, NULL);
        seen_grad(p, NO_BLOCK, "fc_norm.in", VT_F32, pooled, B * D);
    }
    if (m->config.head == VT_HEAD_MAP && vt_model_trains_before(m, s->pooled_norm))
        pool_backward(m, p);
    if (!vt_model_trains_before(m, s->pool))
        return;
    if (m->config.head != VT_HEAD_MAP)
        vt_run(p->backend, mean_tokens_bwd, .samples = B, .tokens = N, .first = first_taken(m), .taken = taken(m),
               .cols = D, .dy = pooled, .dx = s->dx);
    if (!m->config.norm_pooled) {
        seen_grad(p, NO_BLOCK, "norm", VT_F32, s->dx, B * N * D);
        final_norm_backward(m, p, N, s->x[m->config.depth], s->dx, s->dx_bf16);
    } else if (m->use.type == VT_BF16) {
        vt_run(p->backend, to_bf16, .count = B * N * D, .x = s->dx, .y = s->dx_bf16);
    }
    seen_grad(p, m->config.depth - 1, "out", VT_F32, s->dx, B * N * D);
}
