/* The backward pass, the mirror of forward.c from the gradient of the logits to that of the patches' matrix. With dy
 * the gradient of a linear layer's output:  dx = dy W,  dW = dy^T x,  db = column sums of dy.
 *
 * dx always holds the gradient of the residual stream; a branch's gradient goes through narrow (B, N, D) and wide
 * (B, N, max(3D, M)), and the LayerNorm that began the branch adds it back onto dx. Every parameter's gradient is a sum
 * over samples in the order of ops.h (slices and a tree); with p->accumulate it is added to what is there. */
#include "model/layout.h"

#include <assert.h>

/* Gradients of weight and bias (w[0], w[1]) of a linear layer. */
static void linear_params(const vt_pass *p, const vt_tensor *w, int64_t tokens, const float *dy, const float *x)
{
    int64_t out = w[0].dims[0];
    vt_run(p->backend, linear_dw, .samples = p->samples, .tokens = tokens, .in = w[0].count / out, .out = out, .dy = dy,
           .x = x, .slices = p->slices, .accumulate = p->accumulate, .dw = w[0].grad, .dbias = w[1].grad);
}

/* Gradient of a linear layer's input; pre: that input is gelu(pre), and the gradient wanted is that of pre. */
static void linear_input(const vt_pass *p, const vt_tensor *w, int64_t rows, const float *dy, const float *pre,
                         float *dx)
{
    int64_t out = w[0].dims[0];
    vt_run(p->backend, linear_dx, .rows = rows, .in = w[0].count / out, .out = out, .dy = dy, .w = w[0].value,
           .pre = pre, .dx = dx);
}

/* LayerNorm with weight and bias w[0], w[1]: dx = its input's gradient + dresidual. */
static void norm_backward(const vt_pass *p, const vt_tensor *w, int64_t tokens, const float *x, const float *mean,
                          const float *rstd, const float *dy, const float *dresidual, float *dx)
{
    vt_run(p->backend, layernorm_bwd, .samples = p->samples, .tokens = tokens, .cols = w[0].count, .x = x,
           .gamma = w[0].value, .mean = mean, .rstd = rstd, .dy = dy, .dresidual = dresidual, .slices = p->slices,
           .accumulate = p->accumulate, .dx = dx, .dgamma = w[0].grad, .dbeta = w[1].grad);
}

/* The probe's query is one row q = probe Wq + bq for all samples: its gradient is summed over them first. */
static void probe_backward(vt_model *m, const vt_pass *p)
{
    const vt_backend *be = p->backend;
    const vt_tensor *w = vt_model_pool_params(m);
    const vt_head_grads *g = &m->layout->head_grads;
    int64_t D = m->config.width;

    vt_run(be, sum_samples, .samples = p->samples, .cols = D, .x = g->q, .slices = p->slices, .accumulate = 0,
           .y = g->q_sum);
    vt_run(be, linear_dw, .samples = 1, .tokens = 1, .in = D, .out = D, .dy = g->q_sum, .x = w[POOL_LATENT].value,
           .slices = 1, .accumulate = p->accumulate, .dw = w[POOL_Q_W].grad, .dbias = w[POOL_Q_B].grad);
    linear_input(p, &w[POOL_Q_W], 1, g->q_sum, NULL, g->latent);
    vt_run(be, sum_samples, .samples = 1, .cols = D, .x = g->latent, .slices = 1, .accumulate = p->accumulate,
           .y = w[POOL_LATENT].grad);
}

/* Gradient of the features -> gradient of z in narrow. */
static void pool_backward(vt_model *m, const vt_pass *p)
{
    const vt_tensor *w = vt_model_pool_params(m);
    struct vt_model_layout *a = m->layout;
    const vt_head_acts *h = &a->head_acts;
    const vt_head_grads *g = &a->head_grads;
    int64_t B = p->samples, N = m->tokens, D = m->config.width;

    linear_params(p, &w[POOL_FC2_W], 1, g->features, h->act);
    linear_input(p, &w[POOL_FC2_W], B, g->features, h->pre, g->wide);
    linear_params(p, &w[POOL_FC1_W], 1, g->wide, h->pool_norm);
    linear_input(p, &w[POOL_FC1_W], B, g->wide, NULL, g->narrow);
    norm_backward(p, &w[POOL_NORM_W], 1, h->mid, h->pool_mean, h->pool_rstd, g->narrow, g->features, g->features);

    linear_params(p, &w[POOL_PROJ_W], 1, g->features, h->attn);
    linear_input(p, &w[POOL_PROJ_W], B, g->features, NULL, g->narrow);
    vt_run(p->backend, attention_bwd, .samples = B, .heads = m->config.heads, .head_width = m->head_width,
           .q_tokens = 1, .kv_tokens = N, .q = h->q, .k = h->kv, .v = h->kv + D, .q_sample_stride = 0,
           .q_row_stride = D, .kv_sample_stride = N * 2 * D, .kv_row_stride = 2 * D, .y = h->attn, .lse = h->lse,
           .dy = g->narrow, .dq = g->q, .dk = a->wide, .dv = a->wide + D, .dq_row_stride = D, .dkv_row_stride = 2 * D);
    probe_backward(m, p);
    linear_params(p, &w[POOL_KV_W], N, a->wide, h->norm);
    linear_input(p, &w[POOL_KV_W], B * N, a->wide, NULL, a->narrow);
}

void vt_model_head_backward(vt_model *m, const vt_pass *p)
{
    const vt_tensor *head = vt_model_head_params(m);
    struct vt_model_layout *a = m->layout;
    const vt_head_grads *g = &a->head_grads;
    assert(a->train && p->samples >= 1 && p->samples <= m->samples);

    linear_params(p, &head[HEAD_W], 1, g->logits, m->features);
    linear_input(p, &head[HEAD_W], p->samples, g->logits, NULL, g->features);
    if (m->config.head == VT_HEAD_MAP)
        pool_backward(m, p);
    else
        vt_run(p->backend, mean_tokens_bwd, .samples = p->samples, .tokens = m->tokens, .cols = m->config.width,
               .dy = g->features, .dx = a->narrow);
    norm_backward(p, vt_model_norm_params(m), m->tokens, a->x[m->config.depth], a->head_acts.mean, a->head_acts.rstd,
                  a->narrow, NULL, a->dx);
}

/* dx: gradient of x_(l+1) -> gradient of x_l. */
void vt_model_block_backward(vt_model *m, const vt_pass *p, int64_t l)
{
    const vt_tensor *w = vt_model_block_params(m, l);
    struct vt_model_layout *s = m->layout;
    const vt_block_acts *a = &s->acts[l];
    int64_t N = m->tokens, D = m->config.width, rows = p->samples * N;

    if (s->recompute == VT_RECOMPUTE_BLOCK && s->held != l)
        vt_model_block_activate(m, p, l);

    linear_params(p, &w[FC2_W], N, s->dx, a->act);
    linear_input(p, &w[FC2_W], rows, s->dx, a->pre, s->wide);
    linear_params(p, &w[FC1_W], N, s->wide, a->norm2);
    linear_input(p, &w[FC1_W], rows, s->wide, NULL, s->narrow);
    norm_backward(p, &w[NORM2_W], N, a->mid, a->mean2, a->rstd2, s->narrow, s->dx, s->dx);

    linear_params(p, &w[PROJ_W], N, s->dx, a->attn);
    linear_input(p, &w[PROJ_W], rows, s->dx, NULL, s->narrow);
    vt_run(p->backend, attention_bwd, .samples = p->samples, .heads = m->config.heads, .head_width = m->head_width,
           .q_tokens = N, .kv_tokens = N, .q = a->qkv, .k = a->qkv + D, .v = a->qkv + 2 * D,
           .q_sample_stride = N * 3 * D, .q_row_stride = 3 * D, .kv_sample_stride = N * 3 * D, .kv_row_stride = 3 * D,
           .y = a->attn, .lse = a->lse, .dy = s->narrow, .dq = s->wide, .dk = s->wide + D, .dv = s->wide + 2 * D,
           .dq_row_stride = 3 * D, .dkv_row_stride = 3 * D);
    linear_params(p, &w[QKV_W], N, s->wide, a->norm1);
    linear_input(p, &w[QKV_W], rows, s->wide, NULL, s->narrow);
    norm_backward(p, &w[NORM1_W], N, s->x[l], a->mean1, a->rstd1, s->narrow, s->dx, s->dx);
}

void vt_model_embed_backward(vt_model *m, const vt_pass *p)
{
    const vt_tensor *w = vt_model_embed_params(m);
    struct vt_model_layout *s = m->layout;
    vt_run(p->backend, sum_samples, .samples = p->samples, .cols = m->tokens * m->config.width, .x = s->dx,
           .slices = p->slices, .accumulate = p->accumulate, .y = w[EMBED_POS].grad);
    vt_model_cut_patches(m, p);
    linear_params(p, &w[EMBED_W], m->tokens, s->dx, s->wide);
}

void vt_model_backward(vt_model *m, const vt_pass *p)
{
    vt_model_head_backward(m, p);
    for (int64_t l = m->config.depth - 1; l >= 0; l--)
        vt_model_block_backward(m, p, l);
    vt_model_embed_backward(m, p);
}
