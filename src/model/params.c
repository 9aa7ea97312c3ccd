/* The table of parameters: timm's names and layouts (weights are (out, in)), one row each, in forward order.
 *
 * Each row also says whether weight decay applies (the matrices that big_vision's ".*\/kernel" names, spec 3.7), how
 * its first values are drawn (spec 2.2) and which matrices a factored second moment sees. big_vision keeps q, k, v as
 * (D, H, K) and the output projection as (H, K, D), so there each head is a matrix of its own, and it stays one here:
 *   qkv, q, kv (jD, D):       j*H blocks of K rows x D columns, one behind another
 *   fc1 (2M, D) of swiglu:    two blocks of M rows x D columns
 *   proj (D, D):              H blocks of D rows x K columns, side by side
 *   patch_embed.proj (D, 3, P, P): big_vision's (P, P, 3, D) factors over (column, D) with row and channel as batch
 * axes: 3P blocks of D rows x P columns, side by side (used from P = 32 on only) all other matrices, and the n x D
 * position embeddings: whole. */
#include "model/layout.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* A size that the configuration gives. */
typedef enum {
    NO_DIM,
    ONE,
    COLORS,
    PATCH,
    PATCH_DIM,
    POSITIONS,
    REGISTERS,
    WIDTH,
    WIDTH2,
    WIDTH3,
    HEAD_WIDTH,
    MLP,
    FC1,
    FEATURES,
    CLASSES
} dim;
typedef enum { NO_MATRIX, WHOLE, HEAD_ROWS, HEAD_COLS, PATCH_COLS, MLP_ROWS } matrix_kind;

/* Which models have a row. */
typedef enum {
    ALWAYS,
    PATCH_BIAS,
    TOKEN,
    WITH_REGISTERS,
    NORM_PRE,
    QK_NORM,
    LAYER_SCALE,
    NORM_BEFORE,
    MAP_HEAD,
    NORM_POOLED,
    REPRESENTATION,
    CLASSIFIER
} condition;

/* A parameter before the configuration gives it numbers. */
typedef struct {
    const char *name;
    dim dims[VT_MAX_DIMS];
    matrix_kind matrix;
    int decays;
    vt_init_kind init;
    dim fan_in, fan_out;
    condition when;
} param_row;

/* name, dims, matrix of the factored moment, decays, initial values, fan_in, fan_out, which models */
static const param_row embed_rows[N_EMBED] = {
    [EMBED_W] =
        {"patch_embed.proj.weight", {WIDTH, COLORS, PATCH, PATCH}, PATCH_COLS, 1, VT_INIT_LECUN, PATCH_DIM, NO_DIM},
    [EMBED_B] = {"patch_embed.proj.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM, PATCH_BIAS},
    [EMBED_POS] = {"pos_embed", {ONE, POSITIONS, WIDTH}, WHOLE, 0, VT_INIT_POSITION, NO_DIM, NO_DIM},
    [EMBED_TOKEN] = {"cls_token", {ONE, ONE, WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM, TOKEN},
    [EMBED_REGISTERS] =
        {"reg_token", {ONE, REGISTERS, WIDTH}, NO_MATRIX, 0, VT_INIT_TINY, NO_DIM, NO_DIM, WITH_REGISTERS},
    [NORM_PRE_W] = {"norm_pre.weight", {WIDTH}, NO_MATRIX, 0, VT_INIT_ONE, NO_DIM, NO_DIM, NORM_PRE},
    [NORM_PRE_B] = {"norm_pre.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM, NORM_PRE},
};

static const param_row block_rows[N_BLOCK] = {
    [NORM1_W] = {"norm1.weight", {WIDTH}, NO_MATRIX, 0, VT_INIT_ONE, NO_DIM, NO_DIM},
    [NORM1_B] = {"norm1.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [QKV_W] = {"attn.qkv.weight", {WIDTH3, WIDTH}, HEAD_ROWS, 1, VT_INIT_XAVIER, WIDTH, WIDTH},
    [QKV_B] = {"attn.qkv.bias", {WIDTH3}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [Q_NORM_W] = {"attn.q_norm.weight", {HEAD_WIDTH}, NO_MATRIX, 0, VT_INIT_ONE, NO_DIM, NO_DIM, QK_NORM},
    [Q_NORM_B] = {"attn.q_norm.bias", {HEAD_WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM, QK_NORM},
    [K_NORM_W] = {"attn.k_norm.weight", {HEAD_WIDTH}, NO_MATRIX, 0, VT_INIT_ONE, NO_DIM, NO_DIM, QK_NORM},
    [K_NORM_B] = {"attn.k_norm.bias", {HEAD_WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM, QK_NORM},
    [PROJ_W] = {"attn.proj.weight", {WIDTH, WIDTH}, HEAD_COLS, 1, VT_INIT_XAVIER, WIDTH, WIDTH},
    [PROJ_B] = {"attn.proj.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [SCALE1] = {"ls1.gamma", {WIDTH}, NO_MATRIX, 0, VT_INIT_SCALE, NO_DIM, NO_DIM, LAYER_SCALE},
    [NORM2_W] = {"norm2.weight", {WIDTH}, NO_MATRIX, 0, VT_INIT_ONE, NO_DIM, NO_DIM},
    [NORM2_B] = {"norm2.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM},
    [FC1_W] = {"mlp.fc1.weight", {FC1, WIDTH}, MLP_ROWS, 1, VT_INIT_XAVIER, WIDTH, MLP},
    [FC1_B] = {"mlp.fc1.bias", {FC1}, NO_MATRIX, 0, VT_INIT_TINY, NO_DIM, NO_DIM},
    [FC2_W] = {"mlp.fc2.weight", {WIDTH, MLP}, WHOLE, 1, VT_INIT_XAVIER, MLP, WIDTH},
    [FC2_B] = {"mlp.fc2.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_TINY, NO_DIM, NO_DIM},
    [SCALE2] = {"ls2.gamma", {WIDTH}, NO_MATRIX, 0, VT_INIT_SCALE, NO_DIM, NO_DIM, LAYER_SCALE},
};

static const param_row norm_rows[N_NORM] = {
    [NORM_W] = {"norm.weight", {WIDTH}, NO_MATRIX, 0, VT_INIT_ONE, NO_DIM, NO_DIM, NORM_BEFORE},
    [NORM_B] = {"norm.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM, NORM_BEFORE},
};

static const param_row pooled_norm_rows[N_NORM] = {
    [NORM_W] = {"fc_norm.weight", {WIDTH}, NO_MATRIX, 0, VT_INIT_ONE, NO_DIM, NO_DIM, NORM_POOLED},
    [NORM_B] = {"fc_norm.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM, NORM_POOLED},
};

static const param_row pool_rows[N_POOL] = {
    [POOL_LATENT] = {"attn_pool.latent", {ONE, ONE, WIDTH}, NO_MATRIX, 0, VT_INIT_XAVIER, ONE, WIDTH, MAP_HEAD},
    [POOL_Q_W] = {"attn_pool.q.weight", {WIDTH, WIDTH}, HEAD_ROWS, 1, VT_INIT_XAVIER, WIDTH, WIDTH, MAP_HEAD},
    [POOL_Q_B] = {"attn_pool.q.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM, MAP_HEAD},
    [POOL_KV_W] = {"attn_pool.kv.weight", {WIDTH2, WIDTH}, HEAD_ROWS, 1, VT_INIT_XAVIER, WIDTH, WIDTH, MAP_HEAD},
    [POOL_KV_B] = {"attn_pool.kv.bias", {WIDTH2}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM, MAP_HEAD},
    [POOL_PROJ_W] = {"attn_pool.proj.weight", {WIDTH, WIDTH}, HEAD_COLS, 1, VT_INIT_XAVIER, WIDTH, WIDTH, MAP_HEAD},
    [POOL_PROJ_B] = {"attn_pool.proj.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM, MAP_HEAD},
    [POOL_NORM_W] = {"attn_pool.norm.weight", {WIDTH}, NO_MATRIX, 0, VT_INIT_ONE, NO_DIM, NO_DIM, MAP_HEAD},
    [POOL_NORM_B] = {"attn_pool.norm.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM, MAP_HEAD},
    [POOL_FC1_W] = {"attn_pool.mlp.fc1.weight", {MLP, WIDTH}, WHOLE, 1, VT_INIT_XAVIER, WIDTH, MLP, MAP_HEAD},
    [POOL_FC1_B] = {"attn_pool.mlp.fc1.bias", {MLP}, NO_MATRIX, 0, VT_INIT_TINY, NO_DIM, NO_DIM, MAP_HEAD},
    [POOL_FC2_W] = {"attn_pool.mlp.fc2.weight", {WIDTH, MLP}, WHOLE, 1, VT_INIT_XAVIER, MLP, WIDTH, MAP_HEAD},
    [POOL_FC2_B] = {"attn_pool.mlp.fc2.bias", {WIDTH}, NO_MATRIX, 0, VT_INIT_TINY, NO_DIM, NO_DIM, MAP_HEAD},
};

static const param_row rep_rows[N_REP] = {
    [REP_W] = {"pre_logits.weight", {FEATURES, WIDTH}, WHOLE, 1, VT_INIT_LECUN, WIDTH, NO_DIM, REPRESENTATION},
    [REP_B] = {"pre_logits.bias", {FEATURES}, NO_MATRIX, 0, VT_INIT_ZERO, NO_DIM, NO_DIM, REPRESENTATION},
};

static const param_row head_rows[N_HEAD] = {
    [HEAD_W] = {"head.weight", {CLASSES, FEATURES}, WHOLE, 1, VT_INIT_ZERO, NO_DIM, NO_DIM, CLASSIFIER},
    [HEAD_B] = {"head.bias", {CLASSES}, NO_MATRIX, 0, VT_INIT_HEAD_BIAS, NO_DIM, NO_DIM, CLASSIFIER},
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
    case POSITIONS:
        return m->patches + (m->token_position ? 1 : 0);
    case REGISTERS:
        return c->registers;
    case WIDTH:
        return c->width;
    case WIDTH2:
        return 2 * c->width;
    case WIDTH3:
        return 3 * c->width;
    case HEAD_WIDTH:
        return m->head_width;
    case MLP:
        return c->mlp;
    case FC1:
        return m->fc1_width;
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
    int64_t last = t->dims[t->n_dims - 1], side = m->head_width;
    if (kind == PATCH_COLS)
        side = m->config.patch;
    else if (kind == MLP_ROWS)
        side = m->config.mlp;
    if (kind == MLP_ROWS && side == t->dims[0])
        kind = WHOLE;
    switch (kind) {
    case NO_MATRIX:
        return;
    case WHOLE:
        t->blocks = 1, t->cols = last, t->rows = t->count / last;
        t->row_stride = last;
        break;
    case HEAD_ROWS:
    case MLP_ROWS:
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

/* Whether a model has the rows of a condition. */
static bool applies(const vt_model *m, condition when)
{
    const vt_model_config *c = &m->config;
    switch (when) {
    case ALWAYS:
        return true;
    case PATCH_BIAS:
        return !c->norm_pre;
    case TOKEN:
        return m->token;
    case WITH_REGISTERS:
        return c->registers > 0;
    case NORM_PRE:
        return c->norm_pre;
    case QK_NORM:
        return c->qk_norm;
    case LAYER_SCALE:
        return c->layer_scale > 0;
    case NORM_BEFORE:
        return !c->norm_pooled;
    case MAP_HEAD:
        return c->head == VT_HEAD_MAP;
    case NORM_POOLED:
        return c->norm_pooled;
    case REPRESENTATION:
        return c->representation > 0;
    case CLASSIFIER:
        return c->classes > 0;
    }
    return false;
}

static vt_tensor *add_param(vt_model *m, const param_row *row, const char *prefix, vt_part part)
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
    return t;
}

/* The rows of a group that this model has; `rows` of the layout gets all. Returns the first's place in params. */
static int add_group(vt_model *m, vt_tensor **rows, const param_row *row, int n, const char *prefix, vt_part part)
{
    int first = m->n_params;
    for (int i = 0; i < n; i++)
        if (applies(m, row[i].when))
            rows[i] = add_param(m, &row[i], prefix, part);
    return first;
}

/* Places of the groups in `rows`; both final norms have one, since a model has one of them. */
static vt_tensor **embed_of(const vt_model *m)
{
    return m->layout->rows;
}

static vt_tensor **block_of(const vt_model *m, int64_t l)
{
    return embed_of(m) + N_EMBED + l * N_BLOCK;
}

static vt_tensor **norm_of(const vt_model *m)
{
    return block_of(m, m->config.depth);
}

static vt_tensor **pool_of(const vt_model *m)
{
    return norm_of(m) + N_NORM;
}

static vt_tensor **rep_of(const vt_model *m)
{
    return pool_of(m) + N_POOL;
}

static vt_tensor **head_of(const vt_model *m)
{
    return rep_of(m) + N_REP;
}

void vt_model_build_params(vt_model *m)
{
    struct vt_model_layout *a = m->layout;
    size_t most = (size_t)(N_EMBED + m->config.depth * N_BLOCK + N_NORM + N_POOL + N_REP + N_HEAD);
    m->params = vt_xcalloc(most, sizeof *m->params);
    a->init = vt_xcalloc(most, sizeof *a->init);
    a->rows = vt_xcalloc(most, sizeof *a->rows);

    (void)add_group(m, embed_of(m), embed_rows, N_EMBED, "", VT_PART_BODY);
    if (m->config.positions == VT_POSITIONS_SINCOS2D) {
        vt_tensor *positions = embed_of(m)[EMBED_POS];
        positions->frozen = true;
        a->init[positions - m->params].kind = VT_INIT_SINCOS;
    }
    a->blocks = m->n_params;
    for (int64_t l = 0; l < m->config.depth; l++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%lld.", (long long)l);
        (void)add_group(m, block_of(m, l), block_rows, N_BLOCK, prefix, VT_PART_BODY);
    }
    a->block_params = (m->n_params - a->blocks) / (int)m->config.depth;
    a->norm = add_group(m, norm_of(m), norm_rows, N_NORM, "", VT_PART_BODY);
    a->pool = add_group(m, pool_of(m), pool_rows, N_POOL, "", VT_PART_BODY);
    a->pooled_norm = add_group(m, norm_of(m), pooled_norm_rows, N_NORM, "", VT_PART_BODY);
    a->rep = add_group(m, rep_of(m), rep_rows, N_REP, "", VT_PART_BODY);
    a->head = add_group(m, head_of(m), head_rows, N_HEAD, "", VT_PART_HEAD);
}

vt_rows vt_model_embed_params(const vt_model *m)
{
    return embed_of(m);
}

vt_rows vt_model_block_params(const vt_model *m, int64_t l)
{
    assert(l >= 0 && l < m->config.depth);
    return block_of(m, l);
}

vt_rows vt_model_norm_params(const vt_model *m)
{
    return norm_of(m);
}

vt_rows vt_model_pool_params(const vt_model *m)
{
    return pool_of(m);
}

vt_rows vt_model_rep_params(const vt_model *m)
{
    return rep_of(m);
}

vt_rows vt_model_head_params(const vt_model *m)
{
    return head_of(m);
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

bool vt_model_trains_before(const vt_model *m, int first)
{
    return m->layout->first_trained < first;
}
