/* One block, forward and backward (spec 1.3):
 *
 *   mid     = x_l + drop(s1 * MHA(LN(x_l)))         MHA(u) = attention(u Wqkv + bqkv) Wo + bo
 *   x_(l+1) = mid + drop(s2 * MLP(LN(mid)))         MLP(u) = dropout(gelu(u W1 + b1)) W2 + b2
 *
 * drop: dropout and stochastic depth of the branch. Families differ: s1 and s2, factors of the columns, are 1 but with
 * layer_scale; with qk_norm each head's queries and keys pass a norm on their way to attention; with swiglu [g, v] =
 * u W1 + b1, and silu(g) * v takes gelu's place. With dy the gradient of a linear layer's output,
 *
 *   dx = dy W,   dW = dy^T x,   db = column sums of dy
 *
 * and every parameter's gradient is a sum over samples in the order of ops.h (slices and a tree), added to what is
 * there with p->accumulate. layout->dx always holds the gradient of the residual stream, dx_bf16 the same rounded for
 * the products of a bf16 body; a branch's gradient goes through narrow and wide, and the LayerNorm that began the
 * branch adds it back onto dx. Where results are kept, and what shares a buffer, was decided in activations.c. */
#include "model/steps.h"

#include <assert.h>

/* The attention branch is the first, the MLP's the second. */
static int branch_of(vt_drop_place place)
{
    return place == VT_DROP_ATTN ? 0 : 1;
}

static const char *product_name(vt_drop_place place)
{
    return place == VT_DROP_ATTN ? "attn.proj" : "mlp.fc2";
}

static const char *scale_name(vt_drop_place place)
{
    return place == VT_DROP_ATTN ? "ls1" : "ls2";
}

static const vt_tensor *branch_scale(const vt_model *m, int64_t l, vt_drop_place place)
{
    return vt_model_block_params(m, l)[place == VT_DROP_ATTN ? SCALE1 : SCALE2];
}

/* y = residual + drop(scale * (x w + b)) over rows of `in`: the end of a branch. narrow holds what is dropped. */
static void add_branch(const vt_model *m, const vt_pass *p, int64_t l, vt_drop_place place, vt_rows w, const void *x,
                       const float *residual, float *y)
{
    vt_real t = m->use.type;
    int64_t B = p->samples, N = m->tokens, D = m->config.width, rows = B * N;
    bool drops = vt_model_drops(m, p, l, place);
    const vt_tensor *scale = branch_scale(m, l, place);
    void *product = m->layout->acts[l].scaled[branch_of(place)];
    vt_run(p->backend, linear_fwd, .rows = rows, .in = w[0]->dims[1], .out = D, .type = t, .x = x, .w = w[0]->value,
           .bias = w[1]->value, .pre = product, .scale = scale != NULL ? scale->value : NULL,
           .residual = drops ? NULL : residual, .residual_rows = rows, .y = drops ? m->layout->narrow : y);
    if (product != NULL)
        seen(p, l, product_name(place), t, product, rows * D);
    if (drops) {
        seen(p, l, scale != NULL ? scale_name(place) : product_name(place), t, m->layout->narrow, rows * D);
        vt_model_drop(m, p, l, place, N * D, t, m->layout->narrow, residual, y);
    }
    seen(p, l, place == VT_DROP_ATTN ? "mid" : "out", VT_F32, y, rows * D);
}

/* Entropy and largest score of each head, from queries, keys and lse. */
static void watch_attention(const vt_model *m, const vt_pass *p, int64_t l)
{
    const vt_block_acts *a = &m->layout->acts[l];
    int64_t N = m->tokens, D = m->config.width, H = m->config.heads;
    assert(m->entropy != NULL);
    vt_run(p->backend, attention_stats, .samples = p->samples, .heads = H, .head_width = m->head_width, .q_tokens = N,
           .kv_tokens = N, .type = m->use.type, .q = a->qkv, .k = vt_model_at(m->use.type, a->qkv, D),
           .q_sample_stride = N * 3 * D, .q_row_stride = 3 * D, .kv_sample_stride = N * 3 * D, .kv_row_stride = 3 * D,
           .lse = a->lse, .entropy = m->entropy + l * H, .largest = m->largest_score + l * H);
}

/* The norms of queries and keys, in their place. */
static void normalize_heads(const vt_model *m, const vt_pass *p, int64_t l)
{
    vt_rows w = vt_model_block_params(m, l);
    const vt_block_acts *a = &m->layout->acts[l];
    vt_real t = m->use.type;
    int64_t rows = p->samples * m->tokens, D = m->config.width, H = m->config.heads, all = m->use.samples * m->tokens;
    for (int i = 0; i < 2; i++)
        vt_run(p->backend, headnorm_fwd, .rows = rows, .heads = H, .head_width = m->head_width, .row_stride = 3 * D,
               .gamma = w[i == 0 ? Q_NORM_W : K_NORM_W]->value, .beta = w[i == 0 ? Q_NORM_B : K_NORM_B]->value,
               .eps = (float)m->config.norm_eps, .type = t, .y = vt_model_at(t, a->qkv, i * D),
               .saved = a->qk != NULL ? vt_model_at(t, a->qk, i * all * D) : NULL,
               .mean = a->qk != NULL ? a->qk_mean + i * all * H : NULL,
               .rstd = a->qk != NULL ? a->qk_rstd + i * all * H : NULL);
    seen(p, l, "attn.qk_norm", t, a->qkv, rows * 3 * D);
}

/* x_l -> mid */
static void attention_forward(const vt_model *m, const vt_pass *p, int64_t l)
{
    vt_rows w = vt_model_block_params(m, l);
    const vt_block_acts *a = &m->layout->acts[l];
    const float *x = m->layout->x[l];
    vt_real t = m->use.type;
    int64_t B = p->samples, N = m->tokens, D = m->config.width, H = m->config.heads, rows = B * N;

    vt_run(p->backend, layernorm_fwd, .rows = rows, .cols = D, .x = x, .gamma = w[NORM1_W]->value,
           .beta = w[NORM1_B]->value, .eps = (float)m->config.norm_eps, .mean = a->mean1, .rstd = a->rstd1, .type = t,
           .y = a->norm1);
    seen(p, l, "norm1", t, a->norm1, rows * D);
    vt_run(p->backend, linear_fwd, .rows = rows, .in = D, .out = 3 * D, .type = t, .x = a->norm1, .w = w[QKV_W]->value,
           .bias = w[QKV_B]->value, .y = a->qkv);
    seen(p, l, "attn.qkv", t, a->qkv, rows * 3 * D);
    if (m->config.qk_norm)
        normalize_heads(m, p, l);
    vt_run(p->backend, attention_fwd, .samples = B, .heads = H, .head_width = m->head_width, .q_tokens = N,
           .kv_tokens = N, .type = t, .q = a->qkv, .k = vt_model_at(t, a->qkv, D), .v = vt_model_at(t, a->qkv, 2 * D),
           .q_sample_stride = N * 3 * D, .q_row_stride = 3 * D, .kv_sample_stride = N * 3 * D, .kv_row_stride = 3 * D,
           .y = a->attn, .lse = a->lse);
    seen(p, l, "attn.lse", VT_F32, a->lse, B * H * N);
    seen(p, l, "attn", t, a->attn, rows * D);
    if (p->watch)
        watch_attention(m, p, l);
    add_branch(m, p, l, VT_DROP_ATTN, &w[PROJ_W], a->attn, x, a->mid);
}

/* mid -> act */
static void mlp_activate(const vt_model *m, const vt_pass *p, int64_t l)
{
    vt_rows w = vt_model_block_params(m, l);
    const vt_block_acts *a = &m->layout->acts[l];
    vt_real t = m->use.type;
    int64_t N = m->tokens, D = m->config.width, M = m->config.mlp, rows = p->samples * N, fc1 = m->fc1_width;
    bool gate = m->config.mlp_kind == VT_MLP_SWIGLU;

    vt_run(p->backend, layernorm_fwd, .rows = rows, .cols = D, .x = a->mid, .gamma = w[NORM2_W]->value,
           .beta = w[NORM2_B]->value, .eps = (float)m->config.norm_eps, .mean = a->mean2, .rstd = a->rstd2, .type = t,
           .y = a->norm2);
    seen(p, l, "norm2", t, a->norm2, rows * D);
    vt_run(p->backend, linear_fwd, .rows = rows, .in = D, .out = fc1, .type = t, .x = a->norm2, .w = w[FC1_W]->value,
           .bias = w[FC1_B]->value, .act = gate ? VT_ACT_NONE : vt_model_gelu(m), .pre = gate ? NULL : a->pre,
           .y = gate ? a->pre : a->act);
    if (a->pre != NULL)
        seen(p, l, "mlp.fc1", t, a->pre, rows * fc1);
    if (gate)
        vt_run(p->backend, swiglu_fwd, .rows = rows, .cols = M, .type = t, .x = a->pre, .y = a->act);
    seen(p, l, "mlp.act", t, a->act, rows * M);
    if (vt_model_drops(m, p, l, VT_DROP_ACT)) {
        vt_model_drop(m, p, l, VT_DROP_ACT, N * M, t, a->act, NULL, a->act);
        seen(p, l, "mlp.drop", t, a->act, rows * M);
    }
}

void vt_model_block_forward(vt_model *m, const vt_pass *p, int64_t l)
{
    const vt_block_acts *a = &m->layout->acts[l];
    attention_forward(m, p, l);
    mlp_activate(m, p, l);
    m->layout->held = l;
    add_branch(m, p, l, VT_DROP_MLP, &vt_model_block_params(m, l)[FC2_W], a->act, a->mid, m->layout->x[l + 1]);
}

/* Fills the shared set of activations again, to the bit; who watches or visits saw it before. */
static void recompute(const vt_model *m, const vt_pass *p, int64_t l)
{
    vt_pass quiet = *p;
    quiet.watch = false;
    quiet.visit = NULL;
    attention_forward(m, &quiet, l);
    mlp_activate(m, &quiet, l);
    const vt_block_acts *a = &m->layout->acts[l];
    const vt_tensor *weight = vt_model_block_params(m, l)[FC2_W], *bias = vt_model_block_params(m, l)[FC2_B];
    if (a->scaled[1] != NULL) /* that of the other branch was computed on the way to mid */
        vt_run(p->backend, linear_fwd, .rows = p->samples * m->tokens, .in = m->config.mlp, .out = m->config.width,
               .type = m->use.type, .x = a->act, .w = weight->value, .bias = bias->value, .y = a->scaled[1]);
    m->layout->held = l;
}

/* Gradient of the product that ends a branch: dx in the body's type, dropped and scaled as the product was (then in
 * room). */
static const void *branch_gradient(const vt_model *m, const vt_pass *p, int64_t l, vt_drop_place place, void *room)
{
    const struct vt_model_layout *s = m->layout;
    vt_real t = m->use.type;
    const void *dx = t == VT_BF16 ? (const void *)s->dx_bf16 : (const void *)s->dx;
    int64_t count = m->tokens * m->config.width;
    const vt_tensor *scale = branch_scale(m, l, place);
    if (vt_model_drops(m, p, l, place)) {
        vt_model_drop(m, p, l, place, count, t, dx, NULL, room);
        seen_grad(p, l, scale != NULL ? scale_name(place) : product_name(place), t, room, p->samples * count);
        dx = room;
    }
    if (scale != NULL) {
        vt_run(p->backend, scale_bwd, .samples = p->samples, .tokens = m->tokens, .cols = m->config.width, .type = t,
               .grad_type = scale->grad_type, .dy = dx, .z = s->acts[l].scaled[branch_of(place)], .scale = scale->value,
               .slices = p->slices, .accumulate = p->accumulate, .dz = room,
               .dscale = vt_model_grad_or_discard(m, scale));
        vt_model_seen_param(p, scale);
        seen_grad(p, l, product_name(place), t, room, p->samples * count);
        dx = room;
    }
    return dx;
}

/* dx: gradient of x_(l+1) -> gradient of mid */
static void mlp_backward(const vt_model *m, const vt_pass *p, int64_t l)
{
    vt_rows w = vt_model_block_params(m, l);
    const struct vt_model_layout *s = m->layout;
    const vt_block_acts *a = &s->acts[l];
    vt_real t = m->use.type;
    int64_t N = m->tokens, D = m->config.width, M = m->config.mlp, rows = p->samples * N, fc1 = m->fc1_width;
    bool gate = m->config.mlp_kind == VT_MLP_SWIGLU;
    void *dz = gate ? a->pre : s->wide; /* of the first product */

    const void *dy = branch_gradient(m, p, l, VT_DROP_MLP, s->narrow);
    vt_model_linear_params(m, p, &w[FC2_W], t, N, dy, a->act);
    vt_run(p->backend, linear_dx, .rows = rows, .in = M, .out = D, .type = t, .dy = dy, .w = w[FC2_W]->value,
           .act = vt_model_gelu(m), .pre = gate ? NULL : a->pre, .dx = s->wide);
    if (vt_model_drops(m, p, l, VT_DROP_ACT)) /* a factor of each element, as gelu' is */
        vt_model_drop(m, p, l, VT_DROP_ACT, N * M, t, s->wide, NULL, s->wide);
    if (gate) {
        seen_grad(p, l, "mlp.act", t, s->wide, rows * M);
        vt_run(p->backend, swiglu_bwd, .rows = rows, .cols = M, .type = t, .dy = s->wide, .x = a->pre, .dx = dz);
    }
    seen_grad(p, l, "mlp.fc1", t, dz, rows * fc1);
    vt_model_linear_params(m, p, &w[FC1_W], t, N, dz, a->norm2);
    vt_run(p->backend, linear_dx, .rows = rows, .in = D, .out = fc1, .type = t, .dy = dz, .w = w[FC1_W]->value,
           .dx = s->narrow);
    seen_grad(p, l, "norm2", t, s->narrow, rows * D);
    vt_run(p->backend, layernorm_bwd, .samples = p->samples, .tokens = N, .cols = D, .type = t,
           .grad_type = w[NORM2_W]->grad_type, .x = a->mid, .gamma = w[NORM2_W]->value, .mean = a->mean2,
           .rstd = a->rstd2, .dy = s->narrow, .dresidual = s->dx, .slices = p->slices, .accumulate = p->accumulate,
           .dx = s->dx, .dx_bf16 = s->dx_bf16, .dgamma = vt_model_grad_or_discard(m, w[NORM2_W]),
           .dbeta = vt_model_grad_or_discard(m, w[NORM2_B]));
    vt_model_seen_param(p, w[NORM2_W]);
    vt_model_seen_param(p, w[NORM2_B]);
    seen_grad(p, l, "mid", VT_F32, s->dx, rows * D);
}

/* Gradients of queries and keys in wide: behind their norms -> before them. */
static void normalize_heads_backward(const vt_model *m, const vt_pass *p, int64_t l)
{
    vt_rows w = vt_model_block_params(m, l);
    const vt_block_acts *a = &m->layout->acts[l];
    vt_real t = m->use.type;
    int64_t D = m->config.width, H = m->config.heads, all = m->use.samples * m->tokens;
    for (int i = 0; i < 2; i++) {
        const vt_tensor *gamma = w[i == 0 ? Q_NORM_W : K_NORM_W], *beta = w[i == 0 ? Q_NORM_B : K_NORM_B];
        vt_run(p->backend, headnorm_bwd, .samples = p->samples, .tokens = m->tokens, .heads = H,
               .head_width = m->head_width, .row_stride = 3 * D, .type = t, .grad_type = gamma->grad_type,
               .x = vt_model_at(t, a->qk, i * all * D), .gamma = gamma->value, .mean = a->qk_mean + i * all * H,
               .rstd = a->qk_rstd + i * all * H, .dy = vt_model_at(t, m->layout->wide, i * D), .slices = p->slices,
               .accumulate = p->accumulate, .dgamma = vt_model_grad_or_discard(m, gamma),
               .dbeta = vt_model_grad_or_discard(m, beta));
        vt_model_seen_param(p, gamma);
        vt_model_seen_param(p, beta);
    }
}

/* dx: gradient of mid -> gradient of x_l */
static void attention_backward(const vt_model *m, const vt_pass *p, int64_t l)
{
    vt_rows w = vt_model_block_params(m, l);
    const struct vt_model_layout *s = m->layout;
    const vt_block_acts *a = &s->acts[l];
    vt_real t = m->use.type;
    int64_t N = m->tokens, D = m->config.width, rows = p->samples * N;

    const void *dy = branch_gradient(m, p, l, VT_DROP_ATTN, s->wide);
    vt_model_linear_params(m, p, &w[PROJ_W], t, N, dy, a->attn);
    vt_run(p->backend, linear_dx, .rows = rows, .in = D, .out = D, .type = t, .dy = dy, .w = w[PROJ_W]->value,
           .dx = s->narrow);
    seen_grad(p, l, "attn", t, s->narrow, rows * D);
    vt_run(p->backend, attention_bwd, .samples = p->samples, .heads = m->config.heads, .head_width = m->head_width,
           .q_tokens = N, .kv_tokens = N, .type = t, .q = a->qkv, .k = vt_model_at(t, a->qkv, D),
           .v = vt_model_at(t, a->qkv, 2 * D), .q_sample_stride = N * 3 * D, .q_row_stride = 3 * D,
           .kv_sample_stride = N * 3 * D, .kv_row_stride = 3 * D, .y = a->attn, .lse = a->lse, .dy = s->narrow,
           .dq = s->wide, .dk = vt_model_at(t, s->wide, D), .dv = vt_model_at(t, s->wide, 2 * D),
           .dq_row_stride = 3 * D, .dkv_row_stride = 3 * D);
    if (m->config.qk_norm) {
        seen_grad(p, l, "attn.qk_norm", t, s->wide, rows * 3 * D);
        normalize_heads_backward(m, p, l);
    }
    seen_grad(p, l, "attn.qkv", t, s->wide, rows * 3 * D);
    vt_model_linear_params(m, p, &w[QKV_W], t, N, s->wide, a->norm1);
    vt_run(p->backend, linear_dx, .rows = rows, .in = D, .out = 3 * D, .type = t, .dy = s->wide, .w = w[QKV_W]->value,
           .dx = s->narrow);
    seen_grad(p, l, "norm1", t, s->narrow, rows * D);
    vt_run(p->backend, layernorm_bwd, .samples = p->samples, .tokens = N, .cols = D, .type = t,
           .grad_type = w[NORM1_W]->grad_type, .x = s->x[l], .gamma = w[NORM1_W]->value, .mean = a->mean1,
           .rstd = a->rstd1, .dy = s->narrow, .dresidual = s->dx, .slices = p->slices, .accumulate = p->accumulate,
           .dx = s->dx, .dx_bf16 = s->dx_bf16, .dgamma = vt_model_grad_or_discard(m, w[NORM1_W]),
           .dbeta = vt_model_grad_or_discard(m, w[NORM1_B]));
    vt_model_seen_param(p, w[NORM1_W]);
    vt_model_seen_param(p, w[NORM1_B]);
    seen_grad(p, l, "in", VT_F32, s->dx, rows * D);
}

void vt_model_block_backward(vt_model *m, const vt_pass *p, int64_t l)
{
    struct vt_model_layout *s = m->layout;
    if (!vt_model_trains_before(m, s->blocks + (int)(l + 1) * s->block_params))
        return;
    if (m->use.recompute == VT_RECOMPUTE_BLOCK && s->held != l)
        recompute(m, p, l);
    mlp_backward(m, p, l);
    attention_backward(m, p, l);
    if (m->config.mlp_kind == VT_MLP_SWIGLU)
        s->held = -1; /* pre holds gradients now */
}
