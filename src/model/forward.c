/* The forward pass, as spec 1.3 and 2.1 state it:
 *
 *   x_0     = patches E + b + positions
 *   x'_l    = x_l  + MHA(LN(x_l))          MHA(u) = attention(u Wqkv + bqkv) Wo + bo
 *   x_(l+1) = x'_l + MLP(LN(x'_l))         MLP(u) = gelu(u W1 + b1) W2 + b2
 *   z       = LN(x_L)
 *   gap:  f = mean over tokens of z        map:  a = MHA(query = probe, keys and values = z),  f = a + MLP(LN(a))
 *   logits  = f Wh + bh
 *
 * Where a result is kept, and what shares a buffer, was decided in activations.c. */
#include "model/layout.h"

#include <assert.h>

static const float ln_eps = 1e-6F; /* of every LayerNorm, in flax as in timm's ViTs */

void vt_model_cut_patches(const vt_model *m, const vt_pass *p)
{
    vt_run(p->backend, patchify, .samples = p->samples, .image_height = m->config.image_height,
           .image_width = m->config.image_width, .patch = m->config.patch, .images = m->images,
           .scale = p->pixels.scale, .offset = p->pixels.offset, .patches = m->layout->wide);
}

void vt_model_embed_forward(vt_model *m, const vt_pass *p)
{
    const vt_tensor *w = vt_model_embed_params(m);
    struct vt_model_layout *a = m->layout;
    assert(p->samples >= 1 && p->samples <= m->samples);

    vt_model_cut_patches(m, p);
    vt_run(p->backend, linear_fwd, .rows = p->samples * m->tokens, .in = m->patch_dim, .out = m->config.width,
           .x = a->wide, .w = w[EMBED_W].value, .bias = w[EMBED_B].value, .residual = w[EMBED_POS].value,
           .residual_rows = m->tokens, .y = a->x[0]);
}

void vt_model_block_activate(const vt_model *m, const vt_pass *p, int64_t l)
{
    const vt_backend *be = p->backend;
    const vt_tensor *w = vt_model_block_params(m, l);
    const vt_block_acts *a = &m->layout->acts[l];
    const float *x = m->layout->x[l];
    int64_t N = m->tokens, D = m->config.width, M = m->config.mlp, rows = p->samples * N;

    vt_run(be, layernorm_fwd, .rows = rows, .cols = D, .x = x, .gamma = w[NORM1_W].value, .beta = w[NORM1_B].value,
           .eps = ln_eps, .mean = a->mean1, .rstd = a->rstd1, .y = a->norm1);
    vt_run(be, linear_fwd, .rows = rows, .in = D, .out = 3 * D, .x = a->norm1, .w = w[QKV_W].value,
           .bias = w[QKV_B].value, .y = a->qkv);
    vt_run(be, attention_fwd, .samples = p->samples, .heads = m->config.heads, .head_width = m->head_width,
           .q_tokens = N, .kv_tokens = N, .q = a->qkv, .k = a->qkv + D, .v = a->qkv + 2 * D,
           .q_sample_stride = N * 3 * D, .q_row_stride = 3 * D, .kv_sample_stride = N * 3 * D, .kv_row_stride = 3 * D,
           .y = a->attn, .lse = a->lse);
    vt_run(be, linear_fwd, .rows = rows, .in = D, .out = D, .x = a->attn, .w = w[PROJ_W].value, .bias = w[PROJ_B].value,
           .residual = x, .residual_rows = rows, .y = a->mid);

    vt_run(be, layernorm_fwd, .rows = rows, .cols = D, .x = a->mid, .gamma = w[NORM2_W].value, .beta = w[NORM2_B].value,
           .eps = ln_eps, .mean = a->mean2, .rstd = a->rstd2, .y = a->norm2);
    vt_run(be, linear_fwd, .rows = rows, .in = D, .out = M, .x = a->norm2, .w = w[FC1_W].value, .bias = w[FC1_B].value,
           .act = VT_ACT_GELU_TANH, .pre = a->pre, .y = a->act);
    m->layout->held = l;
}

void vt_model_block_forward(vt_model *m, const vt_pass *p, int64_t l)
{
    const vt_tensor *w = vt_model_block_params(m, l);
    const vt_block_acts *a = &m->layout->acts[l];
    int64_t rows = p->samples * m->tokens;

    vt_model_block_activate(m, p, l);
    vt_run(p->backend, linear_fwd, .rows = rows, .in = m->config.mlp, .out = m->config.width, .x = a->act,
           .w = w[FC2_W].value, .bias = w[FC2_B].value, .residual = a->mid, .residual_rows = rows,
           .y = m->layout->x[l + 1]);
}

/* z -> features by attention pooling. The probe's query is one row, shared by all samples. */
static void pool_forward(vt_model *m, const vt_pass *p)
{
    const vt_backend *be = p->backend;
    const vt_tensor *w = vt_model_pool_params(m);
    const vt_head_acts *h = &m->layout->head_acts;
    int64_t B = p->samples, N = m->tokens, D = m->config.width, M = m->config.mlp;

    vt_run(be, linear_fwd, .rows = 1, .in = D, .out = D, .x = w[POOL_LATENT].value, .w = w[POOL_Q_W].value,
           .bias = w[POOL_Q_B].value, .y = h->q);
    vt_run(be, linear_fwd, .rows = B * N, .in = D, .out = 2 * D, .x = h->norm, .w = w[POOL_KV_W].value,
           .bias = w[POOL_KV_B].value, .y = h->kv);
    vt_run(be, attention_fwd, .samples = B, .heads = m->config.heads, .head_width = m->head_width, .q_tokens = 1,
           .kv_tokens = N, .q = h->q, .k = h->kv, .v = h->kv + D, .q_sample_stride = 0, .q_row_stride = D,
           .kv_sample_stride = N * 2 * D, .kv_row_stride = 2 * D, .y = h->attn, .lse = h->lse);
    vt_run(be, linear_fwd, .rows = B, .in = D, .out = D, .x = h->attn, .w = w[POOL_PROJ_W].value,
           .bias = w[POOL_PROJ_B].value, .y = h->mid);

    vt_run(be, layernorm_fwd, .rows = B, .cols = D, .x = h->mid, .gamma = w[POOL_NORM_W].value,
           .beta = w[POOL_NORM_B].value, .eps = ln_eps, .mean = h->pool_mean, .rstd = h->pool_rstd, .y = h->pool_norm);
    vt_run(be, linear_fwd, .rows = B, .in = D, .out = M, .x = h->pool_norm, .w = w[POOL_FC1_W].value,
           .bias = w[POOL_FC1_B].value, .act = VT_ACT_GELU_TANH, .pre = h->pre, .y = h->act);
    vt_run(be, linear_fwd, .rows = B, .in = M, .out = D, .x = h->act, .w = w[POOL_FC2_W].value,
           .bias = w[POOL_FC2_B].value, .residual = h->mid, .residual_rows = B, .y = m->features);
}

void vt_model_head_forward(vt_model *m, const vt_pass *p)
{
    const vt_backend *be = p->backend;
    const vt_tensor *norm = vt_model_norm_params(m);
    const vt_head_acts *h = &m->layout->head_acts;
    int64_t B = p->samples, N = m->tokens, D = m->config.width;

    vt_run(be, layernorm_fwd, .rows = B * N, .cols = D, .x = m->layout->x[m->config.depth], .gamma = norm[NORM_W].value,
           .beta = norm[NORM_B].value, .eps = ln_eps, .mean = h->mean, .rstd = h->rstd, .y = h->norm);
    if (m->config.head == VT_HEAD_MAP)
        pool_forward(m, p);
    else
        vt_run(be, mean_tokens_fwd, .samples = B, .tokens = N, .cols = D, .x = h->norm, .y = m->features);
    if (m->config.classes > 0) {
        const vt_tensor *head = vt_model_head_params(m);
        vt_run(be, linear_fwd, .rows = B, .in = D, .out = m->config.classes, .x = m->features, .w = head[HEAD_W].value,
               .bias = head[HEAD_B].value, .y = m->logits);
    }
}

void vt_model_forward(vt_model *m, const vt_pass *p)
{
    vt_model_embed_forward(m, p);
    for (int64_t l = 0; l < m->config.depth; l++)
        vt_model_block_forward(m, p, l);
    vt_model_head_forward(m, p);
}

void vt_model_loss(vt_model *m, const vt_pass *p)
{
    assert(m->config.classes > 0);
    vt_run(p->backend, sigmoid_xent, .samples = p->samples, .classes = m->config.classes, .logits = m->logits,
           .labels = m->labels, .weight = p->weight, .loss = m->loss, .dlogits = m->layout->head_grads.logits);
}
