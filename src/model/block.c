/* One block, forward and backward (spec 1.3):
 *
 *   mid     = x_l + drop(MHA(LN(x_l)))         MHA(u) = attention(u Wqkv + bqkv) Wo + bo
 *   x_(l+1) = mid + drop(MLP(LN(mid)))         MLP(u) = dropout(gelu(u W1 + b1)) W2 + b2
 *
 * drop: dropout and stochastic depth of the branch. With dy the gradient of a linear layer's output,
 *
 *   dx = dy W,   dW = dy^T x,   db = column sums of dy
 *
 * and every parameter's gradient is a sum over samples in the order of ops.h (slices and a tree), added to what is
 * there with p->accumulate. layout->dx always holds the gradient of the residual stream, dx_bf16 the same rounded for
 * the products of a bf16 body; a branch's gradient goes through narrow and wide, and the LayerNorm that began the
 * branch adds it back onto dx. Where results are kept, and what shares a buffer, was decided in activations.c. */
#include "model/steps.h"

#include <assert.h>

/* y = residual + drop(x w + b) over rows of `in`: the end of a branch. narrow holds the product before it is dropped.
 */
static void add_branch(const vt_model *m, const vt_pass *p, int64_t l, vt_drop_place place, const vt_tensor *w,
                       const void *x, const float *residual, float *y)
{
    vt_real t = m->use.type;
    int64_t B = p->samples, N = m->tokens, D = m->config.width, rows = B * N;
    bool drops = vt_model_drops(m, p, l, place);
    vt_run(p->backend, linear_fwd, .rows = rows, .in = w[0].dims[1], .out = D, .type = t, .x = x, .w = w[0].value,
           .bias = w[1].value, .residual = drops ? NULL : residual, .residual_rows = rows,
           .y = drops ? m->layout->narrow : y);
    if (drops) {
        seen(p, l, place == VT_DROP_ATTN ? "attn.proj" : "mlp.fc2", t, m->layout->narrow, rows * D);
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

/* x_l -> mid */
static void attention_forward(const vt_model *m, const vt_pass *p, int64_t l)
{
    const vt_tensor *w = vt_model_block_params(m, l);
    const vt_block_acts *a = &m->layout->acts[l];
    const float *x = m->layout->x[l];
    vt_real t = m->use.type;
    int64_t B = p->samples, N = m->tokens, D = m->config.width, H = m->config.heads, rows = B * N;

    vt_run(p->backend, layernorm_fwd, .rows = rows, .cols = D, .x = x, .gamma = w[NORM1_W].value,
           .beta = w[NORM1_B].value, .eps = (float)m->config.norm_eps, .mean = a->mean1, .rstd = a->rstd1, .type = t,
           .y = a->norm1);
    seen(p, l, "norm1", t, a->norm1, rows * D);
    vt_run(p->backend, linear_fwd, .rows = rows, .in = D, .out = 3 * D, .type = t, .x = a->norm1, .w = w[QKV_W].value,
           .bias = w[QKV_B].value, .y = a->qkv);
    seen(p, l, "attn.qkv", t, a->qkv, rows * 3 * D);
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
    const vt_tensor *w = vt_model_block_params(m, l);
    const vt_block_acts *a = &m->layout->acts[l];
    vt_real t = m->use.type;
    int64_t N = m->tokens, D = m->config.width, M = m->config.mlp, rows = p->samples * N;

    vt_run(p->backend, layernorm_fwd, .rows = rows, .cols = D, .x = a->mid, .gamma = w[NORM2_W].value,
           .beta = w[NORM2_B].value, .eps = (float)m->config.norm_eps, .mean = a->mean2, .rstd = a->rstd2, .type = t,
           .y = a->norm2);
    seen(p, l, "norm2", t, a->norm2, rows * D);
    vt_run(p->backend, linear_fwd, .rows = rows, .in = D, .out = M, .type = t, .x = a->norm2, .w = w[FC1_W].value,
           .bias = w[FC1_B].value, .act = vt_model_gelu(m), .pre = a->pre, .y = a->act);
    if (a->pre != NULL)
        seen(p, l, "mlp.fc1", t, a->pre, rows * M);
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
    m->layout->held = l;
}

/* Gradient of the product that ends a branch: dx in the body's type, dropped as the product was (then in room). */
static const void *branch_gradient(const vt_model *m, const vt_pass *p, int64_t l, vt_drop_place place, void *room)
{
    const struct vt_model_layout *s = m->layout;
    vt_real t = m->use.type;
    const void *dx = t == VT_BF16 ? (const void *)s->dx_bf16 : (const void *)s->dx;
    int64_t count = m->tokens * m->config.width;
    if (!vt_model_drops(m, p, l, place))
        return dx;
    vt_model_drop(m, p, l, place, count, t, dx, NULL, room);
    seen_grad(p, l, place == VT_DROP_ATTN ? "attn.proj" : "mlp.fc2", t, room, p->samples * count);
    return room;
}

/* dx: gradient of x_(l+1) -> gradient of mid */
static void mlp_backward(const vt_model *m, const vt_pass *p, int64_t l)
{
    const vt_tensor *w = vt_model_block_params(m, l);
    const struct vt_model_layout *s = m->layout;
    const vt_block_acts *a = &s->acts[l];
    vt_real t = m->use.type;
    int64_t N = m->tokens, D = m->config.width, M = m->config.mlp, rows = p->samples * N;

    const void *dy = branch_gradient(m, p, l, VT_DROP_MLP, s->narrow);
    vt_model_linear_params(m, p, &w[FC2_W], t, N, dy, a->act);
    vt_run(p->backend, linear_dx, .rows = rows, .in = M, .out = D, .type = t, .dy = dy, .w = w[FC2_W].value,
           .act = vt_model_gelu(m), .pre = a->pre, .dx = s->wide);
    if (vt_model_drops(m, p, l, VT_DROP_ACT)) /* a factor of each element, as gelu' is */
        vt_model_drop(m, p, l, VT_DROP_ACT, N * M, t, s->wide, NULL, s->wide);
    seen_grad(p, l, "mlp.fc1", t, s->wide, rows * M);
    vt_model_linear_params(m, p, &w[FC1_W], t, N, s->wide, a->norm2);
    vt_run(p->backend, linear_dx, .rows = rows, .in = D, .out = M, .type = t, .dy = s->wide, .w = w[FC1_W].value,
           .dx = s->narrow);
    seen_grad(p, l, "norm2", t, s->narrow, rows * D);
    vt_run(p->backend, layernorm_bwd, .samples = p->samples, .tokens = N, .cols = D, .type = t,
           .grad_type = w[NORM2_W].grad_type, .x = a->mid, .gamma = w[NORM2_W].value, .mean = a->mean2,
           .rstd = a->rstd2, .dy = s->narrow, .dresidual = s->dx, .slices = p->slices, .accumulate = p->accumulate,
           .dx = s->dx, .dx_bf16 = s->dx_bf16, .dgamma = vt_model_grad_or_discard(m, &w[NORM2_W]),
           .dbeta = vt_model_grad_or_discard(m, &w[NORM2_B]));
    vt_model_seen_params(p, &w[NORM2_W], 2);
    seen_grad(p, l, "mid", VT_F32, s->dx, rows * D);
}

/* dx: gradient of mid -> gradient of x_l */
static void attention_backward(const vt_model *m, const vt_pass *p, int64_t l)
{
    const vt_tensor *w = vt_model_block_params(m, l);
    const struct vt_model_layout *s = m->layout;
    const vt_block_acts *a = &s->acts[l];
    vt_real t = m->use.type;
    int64_t N = m->tokens, D = m->config.width, rows = p->samples * N;

    const void *dy = branch_gradient(m, p, l, VT_DROP_ATTN, s->wide);
    vt_model_linear_params(m, p, &w[PROJ_W], t, N, dy, a->attn);
    vt_run(p->backend, linear_dx, .rows = rows, .in = D, .out = D, .type = t, .dy = dy, .w = w[PROJ_W].value,
           .dx = s->narrow);
    seen_grad(p, l, "attn", t, s->narrow, rows * D);
    vt_run(p->backend, attention_bwd, .samples = p->samples, .heads = m->config.heads, .head_width = m->head_width,
           .q_tokens = N, .kv_tokens = N, .type = t, .q = a->qkv, .k = vt_model_at(t, a->qkv, D),
           .v = vt_model_at(t, a->qkv, 2 * D), .q_sample_stride = N * 3 * D, .q_row_stride = 3 * D,
           .kv_sample_stride = N * 3 * D, .kv_row_stride = 3 * D, .y = a->attn, .lse = a->lse, .dy = s->narrow,
           .dq = s->wide, .dk = vt_model_at(t, s->wide, D), .dv = vt_model_at(t, s->wide, 2 * D),
           .dq_row_stride = 3 * D, .dkv_row_stride = 3 * D);
    seen_grad(p, l, "attn.qkv", t, s->wide, rows * 3 * D);
    vt_model_linear_params(m, p, &w[QKV_W], t, N, s->wide, a->norm1);
    vt_run(p->backend, linear_dx, .rows = rows, .in = D, .out = 3 * D, .type = t, .dy = s->wide, .w = w[QKV_W].value,
           .dx = s->narrow);
    seen_grad(p, l, "norm1", t, s->narrow, rows * D);
    vt_run(p->backend, layernorm_bwd, .samples = p->samples, .tokens = N, .cols = D, .type = t,
           .grad_type = w[NORM1_W].grad_type, .x = s->x[l], .gamma = w[NORM1_W].value, .mean = a->mean1,
           .rstd = a->rstd1, .dy = s->narrow, .dresidual = s->dx, .slices = p->slices, .accumulate = p->accumulate,
           .dx = s->dx, .dx_bf16 = s->dx_bf16, .dgamma = vt_model_grad_or_discard(m, &w[NORM1_W]),
           .dbeta = vt_model_grad_or_discard(m, &w[NORM1_B]));
    vt_model_seen_params(p, &w[NORM1_W], 2);
    seen_grad(p, l, "in", VT_F32, s->dx, rows * D);
}

void vt_model_block_backward(vt_model *m, const vt_pass *p, int64_t l)
{
    struct vt_model_layout *s = m->layout;
    if (!vt_model_trains_before(m, vt_model_block_params(m, l) + N_BLOCK))
        return;
    if (m->use.recompute == VT_RECOMPUTE_BLOCK && s->held != l)
        recompute(m, p, l);
    mlp_backward(m, p, l);
    attention_backward(m, p, l);
}
