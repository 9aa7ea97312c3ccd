/* The table of parameters: timm's names and layouts (weights are (out, in)), one row each, in forward order.
 *
 * Each row also says whether weight decay applies (the matrices that big_vision's ".*\/kernel" names, spec 3.7), how
 * its first values are drawn (spec 2.2) and which matrices a factored second moment sees. big_vision keeps q, k, v as
 * (D, H, K) and the output projection as (H, K, D), so there each head is a matrix of its own, and it stays one here:
 *   qkv, q, kv (jD, D):       j*H blocks of K rows x D columns, one behind another
 *   proj (D, D):              H blocks of D rows x K columns, side by side
 *   patch_embed.proj (D, 3, P, P): big_vision's (P, P, 3, D) factors over (column, D) with row and channel as batch
 * axes: 3P blocks of D rows x P columns, side by side (used from P = 32 on only) all other matrices, and the n x D
 * position embeddings: whole. */
#include "model/layout.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* A size that the configuration gives. */
typedef enum { NO_DIM, ONE, COLORS, PATCH, PATCH_DIM, PATCHES, WIDTH, WIDTH2, WIDTH3, MLP, FEATURES, CLASSES } dim;
typedef enum { NO_MATRIX, WHOLE, HEAD_ROWS, HEAD_COLS, PATCH_COLS } matrix_kind;

/* A parameter before the configuration gives it numbers. */
typedef struct {
    const char *name;
    dim dims[VT_MAX_DIMS];
    matrix_kind matrix;
    int decays;
    vt_init_kind init;
    dim fan_in, fan_out;
} param_row;

/* name, dims, matrix of the factored moment, decays, initial values, fan_in, fan_out */
static const param_row embed_rows[N_EMBED] = {
    [EMBED_W] =
        {"patch_embed.proj.weight", {WIDTH, COLORS, PATCH, PATCH}, PATCH_COLS, 1, VT_INIT_LECUN, PATCH_DIM, NO_DIM},
    [EMBED_B] = {"patch_embed.proj.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [EMBED_POS] = {"pos_embed", {ONE, PATCHES, WIDTH}, WHOLE, 0, VT_INIT_POSITION, NO_DIM, NO_DIM},
    [EMBED_TOKEN] = {"cls_token", {ONE, ONE, WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
};

static const param_row block_rows[N_BLOCK] = {
    [NORM1_W] = {"norm1.weight", {WIDTH}, NO_MATRIX, 0, VT_INIT_ONE, NO_DIM, NO_DIM},
    [NORM1_B] = {"norm1.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [QKV_W] = {"attn.qkv.weight", {WIDTH3, WIDTH}, HEAD_ROWS, 1, VT_INIT_XAVIER, WIDTH, WIDTH},
    [QKV_B] = {"attn.qkv.bias", {WIDTH3}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [PROJ_W] = {"attn.proj.weight", {WIDTH, WIDTH}, HEAD_COLS, 1, VT_INIT_XAVIER, WIDTH, WIDTH},
    [PROJ_B] = {"attn.proj.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [NORM2_W] = {"norm2.weight", {WIDTH}, NO_MATRIX, 0, VT_INIT_ONE, NO_DIM, NO_DIM},
    [NORM2_B] = {"norm2.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [FC1_W] = {"mlp.fc1.weight", {MLP, WIDTH}, WHOLE, 1, VT_INIT_XAVIER, WIDTH, MLP},
    [FC1_B] = {"mlp.fc1.bias", {MLP}, NO_MATRIX, 0, VT_INIT_TINY, NO_DIM, NO_DIM},
    [FC2_W] = {"mlp.fc2.weight", {WIDTH, MLP}, WHOLE, 1, VT_INIT_XAVIER, MLP, WIDTH},
    [FC2_B] = {"mlp.fc2.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_TINY, NO_DIM, NO_DIM},
};

static const param_row norm_rows[N_NORM] = {
    [NORM_W] = {"norm.weight", {WIDTH}, NO_MATRIX, 0, VT_INIT_ONE, NO_DIM, NO_DIM},
    [NORM_B] = {"norm.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
};

static const param_row pool_rows[N_POOL] = {
    [POOL_LATENT] = {"attn_pool.latent", {ONE, ONE, WIDTH}, NO_MATRIX, 0, VT_INIT_XAVIER, ONE, WIDTH},
    [POOL_Q_W] = {"attn_pool.q.weight", {WIDTH, WIDTH}, HEAD_ROWS, 1, VT_INIT_XAVIER, WIDTH, WIDTH},
    [POOL_Q_B] = {"attn_pool.q.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [POOL_KV_W] = {"attn_pool.kv.weight", {WIDTH2, WIDTH}, HEAD_ROWS, 1, VT_INIT_XAVIER, WIDTH, WIDTH},
    [POOL_KV_B] = {"attn_pool.kv.bias", {WIDTH2}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [POOL_PROJ_W] = {"attn_pool.proj.weight", {WIDTH, WIDTH}, HEAD_COLS, 1, VT_INIT_XAVIER, WIDTH, WIDTH},
    [POOL_PROJ_B] = {"attn_pool.proj.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [POOL_NORM_W] = {"attn_pool.norm.weight", {WIDTH}, NO_MATRIX, 0, VT_INIT_ONE, NO_DIM, NO_DIM},
    [POOL_NORM_B] = {"attn_pool.norm.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [POOL_FC1_W] = {"attn_pool.mlp.fc1.weight", {MLP, WIDTH}, WHOLE, 1, VT_INIT_XAVIER, WIDTH, MLP},
    [POOL_FC1_B] = {"attn_pool.mlp.fc1.bias", {MLP}, NO_MATRIX, 0, VT_INIT_TINY, NO_DIM, NO_DIM},
    [POOL_FC2_W] = {"attn_pool.mlp.fc2.weight", {WIDTH, MLP}, WHOLE, 1, VT_INIT_XAVIER, MLP, WIDTH},
    [POOL_FC2_B] = {"attn_pool.mlp.fc2.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_TINY, NO_DIM, NO_DIM},
};

static const param_row rep_rows[N_REP] = {
    [REP_W] = {"pre_logits.weight", {FEATURES, WIDTH}, WHOLE, 1, VT_INIT_LECUN, WIDTH, NO_DIM},
    [REP_B] = {"pre_logits.bias", {FEATURES}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
};

static const param_row head_rows[N_HEAD] = {
    [HEAD_W] = {"head.weight", {CLASSES, FEATURES}, WHOLE, 1, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [HEAD_B] = {"head.bias", {CLASSES}, NO_MATRIX, 0, VT_INIT_HEAD_BIAS, NO_DIM, NO_DIM},
};

static int64_t size_of(const vt_model *m, dim d)
{
    const vt_model_config *c = &m->config;
    switch (d) {
    case NO_DIM:
        return 0;
    case ONE:
        return 1;
    case COLORS:
        return 3;
    case PATCH:
        return c->patch;
    case PATCH_DIM:
        return m->patch_dim;
    case PATCHES:
        return m->patches;
    case WIDTH:
        return c->width;
    case WIDTH2:
        return 2 * c->width;
    case WIDTH3:
        return 3 * c->width;
    case MLP:
        return c->mlp;
    case FEATURES:
        return m->feature_width;
    case CLASSES:
        return c->classes;
    }
    return 0;
}

/* The matrices of the factored second moment (head comment). */
static void set_matrix(const vt_model *m, vt_tensor *t, matrix_kind kind)
{
    int64_t last = t->dims[t->n_dims - 1], side = kind == PATCH_COLS ? m->config.patch : m->head_width;
    switch (kind) {
    case NO_MATRIX:
        return;
    case WHOLE:
        t->blocks = 1, t->cols = last, t->rows = t->count / last;
        t->row_stride = last;
        break;
    case HEAD_ROWS:
        t->blocks = t->dims[0] / side, t->rows = side, t->cols = last;
        t->row_stride = last;
        t->block_stride = side * last;
        break;
    case HEAD_COLS:
    case PATCH_COLS:
        t->rows = t->dims[0], t->cols = side;
        t->row_stride = t->count / t->dims[0];
        t->blocks = t->row_stride / side;
        t->block_stride = side;
        break;
    }
}

static void add_param(vt_model *m, const param_row *row, const char *prefix, vt_part part)
{
    vt_tensor *t = &m->params[m->n_params];
    vt_init_rule *init = &m->layout->init[m->n_params++];
    int length = snprintf(t->name, sizeof t->name, "%s%s", prefix, row->name);
    assert(length > 0 && (size_t)length < sizeof t->name);
    t->count = 1;
    while (t->n_dims < VT_MAX_DIMS && row->dims[t->n_dims] != NO_DIM) {
        t->dims[t->n_dims] = size_of(m, row->dims[t->n_dims]);
        t->count *= t->dims[t->n_dims++];
    }
    t->part = part;
    t->decays = row->decays;
    t->lr_factor = 1;
    t->decay = -1;
    set_matrix(m, t, row->matrix);
    *init = (vt_init_rule){row->init, size_of(m, row->fan_in), size_of(m, row->fan_out)};
    m->param_count += t->count;
}

static void add_group(vt_model *m, const param_row *rows, int n, const char *prefix, vt_part part)
{
    for (int i = 0; i < n; i++)
        add_param(m, &rows[i], prefix, part);
}

void vt_model_build_params(vt_model *m)
{
    const vt_model_config *c = &m->config;
    struct vt_model_layout *a = m->layout;
    int embed = c->head == VT_HEAD_TOK ? N_EMBED : EMBED_TOKEN, pool = c->head == VT_HEAD_MAP ? N_POOL : 0;
    int rep = c->representation > 0 ? N_REP : 0, head = c->classes > 0 ? N_HEAD : 0;

    a->blocks = embed;
    a->norm = a->blocks + (int)c->depth * N_BLOCK;
    a->pool = a->norm + N_NORM;
    a->rep = a->pool + pool;
    a->head = a->rep + rep;
    size_t total = (size_t)(a->head + head);
    m->params = vt_xcalloc(total, sizeof *m->params);
    a->init = vt_xcalloc(total, sizeof *a->init);

    add_group(m, embed_rows, embed, "", VT_PART_BODY);
    if (c->positions == VT_POSITIONS_SINCOS2D) {
        m->params[EMBED_POS].frozen = true;
        a->init[EMBED_POS].kind = VT_INIT_SINCOS;
    }
    for (int64_t l = 0; l < c->depth; l++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%lld.", (long long)l);
        add_group(m, block_rows, N_BLOCK, prefix, VT_PART_BODY);
    }
    add_group(m, norm_rows, N_NORM, "", VT_PART_BODY);
    add_group(m, pool_rows, pool, "", VT_PART_BODY);
    add_group(m, rep_rows, rep, "", VT_PART_BODY);
    add_group(m, head_rows, head, "", VT_PART_HEAD);
    assert((size_t)m->n_params == total);
}

vt_tensor *vt_model_embed_params(const vt_model *m)
{
    return m->params;
}

vt_tensor *vt_model_block_params(const vt_model *m, int64_t l)
{
    assert(l >= 0 && l < m->config.depth);
    return m->params + m->layout->blocks + l * N_BLOCK;
}

vt_tensor *vt_model_norm_params(const vt_model *m)
{
    return m->params + m->layout->norm;
}

vt_tensor *vt_model_pool_params(const vt_model *m)
{
    assert(m->config.head == VT_HEAD_MAP);
    return m->params + m->layout->pool;
}

vt_tensor *vt_model_rep_params(const vt_model *m)
{
    assert(m->config.representation > 0);
    return m->params + m->layout->rep;
}

vt_tensor *vt_model_head_params(const vt_model *m)
{
    assert(m->config.classes > 0);
    return m->params + m->layout->head;
}

vt_tensor *vt_model_param(const vt_model *m, const char *name)
{
    for (int i = 0; i < m->n_params; i++)
        if (strcmp(m->params[i].name, name) == 0)
            return &m->params[i];
    return NULL;
}

void vt_model_place_values(vt_model *m, vt_arena *arena)
{
    for (int i = 0; i < m->n_params; i++)
        m->params[i].value = vt_arena_take(arena, m->params[i].count, sizeof(float));
}

void vt_model_place_grads(vt_model *m, vt_arena *arena, vt_real grad_type)
{
    m->layout->first_trained = m->n_params;
    for (int i = m->n_params - 1; i >= 0; i--)
        if (!m->params[i].frozen)
            m->layout->first_trained = i;
    for (int i = 0; i < m->n_params; i++) {
        vt_tensor *t = &m->params[i];
        t->grad_type = grad_type;
        t->grad = t->frozen ? NULL : vt_arena_take(arena, t->count, vt_model_bytes(grad_type));
    }
}

bool vt_model_trains_before(const vt_model *m, const vt_tensor *w)
{
    return m->layout->first_trained < w - m->params;
}
