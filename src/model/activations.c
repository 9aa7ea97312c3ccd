/* Where a pass keeps its tensors. One function counts and places (base/arena.h), so the plan is what is taken.
 *
 * Training, elements per token and block: x D, LN1 D, qkv 3D, attention D, mid D, LN2 D, fc1 before and after GELU 2M,
 * and statistics; that is 8D + 2M, 16D at M = 4D; 2D more with qk_norm, 2D with layer_scale, M with swiglu. All but x
 * and mid are of the body's type: 4 bytes each, or 2 with bf16. Gradients inside a block take one shared set: dx and
 * narrow D, wide max(3D, M, 3P^2); with bf16 dx has a rounded copy. recompute: block keeps only x of every block and
 * one set of the rest, which backward fills again. Evaluation keeps one x, one narrow (LN1, attention, LN2 in turn),
 * one wide (qkv, MLP in turn): the same code of block.c runs in place, because no operation reads what a shared buffer
 * held before it was written over. Blocks of a training that compute nothing backwards, because neither they nor
 * anything below is trained, share one set and one x too. */
#include "model/layout.h"

#include <assert.h>

static float *take(vt_arena *arena, int64_t count)
{
    return vt_arena_take(arena, count, sizeof(float));
}

static int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* A block's own set, for training. x + attention (mid) is in it, the block's input is not. */
static vt_block_acts place_block(const vt_model *m, vt_arena *arena)
{
    const vt_model_config *c = &m->config;
    int64_t rows = m->use.samples * m->tokens;
    size_t bytes = vt_model_bytes(m->use.type);
    vt_block_acts b = {0};
    b.norm1 = vt_arena_take(arena, rows * c->width, bytes);
    b.mean1 = take(arena, rows);
    b.rstd1 = take(arena, rows);
    b.qkv = vt_arena_take(arena, rows * 3 * c->width, bytes);
    if (c->qk_norm) {
        b.qk = vt_arena_take(arena, 2 * rows * c->width, bytes);
        b.qk_mean = take(arena, 2 * rows * c->heads);
        b.qk_rstd = take(arena, 2 * rows * c->heads);
    }
    b.attn = vt_arena_take(arena, rows * c->width, bytes);
    b.lse = take(arena, rows * c->heads);
    b.mid = take(arena, rows * c->width);
    b.norm2 = vt_arena_take(arena, rows * c->width, bytes);
    b.mean2 = take(arena, rows);
    b.rstd2 = take(arena, rows);
    b.pre = vt_arena_take(arena, rows * m->fc1_width, bytes);
    b.act = vt_arena_take(arena, rows * c->mlp, bytes);
    for (int i = 0; i < 2 && c->layer_scale > 0; i++)
        b.scaled[i] = vt_arena_take(arena, rows * c->width, bytes);
    return b;
}

/* Whether neither block l nor anything below it is trained: nothing there is computed backwards. */
static bool is_idle(const vt_model *m, int64_t l)
{
    int end = m->layout->blocks + (int)(l + 1) * m->layout->block_params;
    for (int i = 0; i < end; i++)
        if (!m->params[i].frozen)
            return false;
    return true;
}

/* Idle blocks work in one set of activations and one x, which ends as the input of the first block that is trained. */
static void place_blocks_train(vt_model *m, vt_arena *arena)
{
    struct vt_model_layout *a = m->layout;
    int64_t depth = m->config.depth, count = m->use.samples * m->tokens * m->config.width;
    if (m->config.norm_pre)
        a->unnormed = take(arena, count);
    a->x[0] = take(arena, count);
    for (int64_t l = 0; l < depth; l++) {
        bool idle = is_idle(m, l), own = l == 0 || (m->use.recompute == VT_RECOMPUTE_NONE && !idle);
        a->acts[l] = own ? place_block(m, arena) : a->acts[0];
        a->x[l + 1] = idle ? a->x[l] : take(arena, count);
    }
    a->dx = take(arena, count);
    a->dx_bf16 = m->use.type == VT_BF16 ? vt_arena_take(arena, count, sizeof(uint16_t)) : NULL;
    /* Forward, x[1] is written after patches and class token were joined; backward, it was read before they part. */
    a->unjoined = a->x[1] != a->x[0] ? a->x[1] : a->dx; /* idle blocks: dx has no other use in front of them */
}

/* Where in wide the product of gate and value lies: behind them. */
static void *gated(const vt_model *m)
{
    int64_t rows = m->use.samples * m->tokens, bytes = (int64_t)vt_model_bytes(m->use.type);
    return m->layout->wide == NULL ? NULL : (char *)m->layout->wide + rows * m->fc1_width * bytes;
}

static void place_blocks_eval(vt_model *m, vt_arena *arena)
{
    struct vt_model_layout *a = m->layout;
    int64_t rows = m->use.samples * m->tokens;
    float *x = take(arena, rows * m->config.width), *mean = take(arena, rows), *rstd = take(arena, rows);
    float *lse = take(arena, rows * m->config.heads);
    bool gate = m->config.mlp_kind == VT_MLP_SWIGLU;
    a->unnormed = x;
    for (int64_t l = 0; l < m->config.depth; l++) {
        a->x[l] = x;
        a->acts[l] = (vt_block_acts){.norm1 = a->narrow,
                                     .mean1 = mean,
                                     .rstd1 = rstd,
                                     .qkv = a->wide,
                                     .attn = a->narrow,
                                     .lse = lse,
                                     .mid = x,
                                     .norm2 = a->narrow,
                                     .mean2 = mean,
                                     .rstd2 = rstd,
                                     .pre = gate ? a->wide : NULL,
                                     .act = gate ? gated(m) : a->wide};
    }
    a->x[m->config.depth] = x;
    a->dx = NULL;
    a->dx_bf16 = NULL;
    a->unjoined = a->narrow;
}

static void place_head(vt_model *m, vt_arena *arena)
{
    const vt_model_config *c = &m->config;
    struct vt_model_layout *a = m->layout;
    int64_t samples = m->use.samples, rows = samples * m->tokens;
    bool train = m->use.train;
    vt_head_acts h = {0};
    h.norm = train && !c->norm_pooled ? take(arena, rows * c->width) : a->x[c->depth];
    h.mean = take(arena, c->norm_pooled ? samples : rows);
    h.rstd = take(arena, c->norm_pooled ? samples : rows);
    if (c->head == VT_HEAD_MAP) {
        h.q = take(arena, c->width);
        h.kv = train ? take(arena, rows * 2 * c->width) : a->wide;
        h.attn = take(arena, samples * c->width);
        h.lse = take(arena, samples * c->heads);
        h.mid = take(arena, samples * c->width);
        h.pool_norm = take(arena, samples * c->width);
        h.pool_mean = take(arena, samples);
        h.pool_rstd = take(arena, samples);
        h.pre = train ? take(arena, samples * c->mlp) : NULL;
        h.act = take(arena, samples * c->mlp);
    }
    h.pooled = m->features;
    if (c->representation > 0) {
        h.pooled = take(arena, samples * c->width);
        h.rep_pre = train ? take(arena, samples * m->feature_width) : NULL;
    }
    h.raw = train && c->norm_pooled ? take(arena, samples * c->width) : h.pooled;
    a->head_acts = h;
}

static void place_head_grads(vt_model *m, vt_arena *arena)
{
    const vt_model_config *c = &m->config;
    int64_t samples = m->use.samples;
    vt_head_grads g = {0};
    g.logits = take(arena, samples * c->classes);
    g.features = take(arena, samples * m->feature_width);
    g.pooled = c->representation > 0 ? take(arena, samples * c->width) : g.features;
    if (c->head == VT_HEAD_MAP) {
        g.narrow = take(arena, samples * c->width);
        g.wide = take(arena, samples * c->mlp);
        g.q = take(arena, samples * c->width);
        g.q_sum = take(arena, c->width);
        g.latent = take(arena, c->width);
    }
    m->layout->head_grads = g;
}

/* Images and labels come with room in front for the partner of the first sample. */
static void place_input(vt_model *m, vt_arena *arena)
{
    const vt_model_use *u = &m->use;
    int64_t image = m->config.image_height * m->config.image_width * 3, front = u->mix ? 1 : 0;
    m->images = vt_arena_take(arena, (u->samples + front) * image, 1);
    m->labels = vt_arena_take(arena, (u->samples + front) * u->label_width, sizeof(int32_t));
    if (m->images != NULL) {
        m->images += front * image;
        m->labels += front * u->label_width;
    }
}

/* narrow and wide in bytes: what else than the body's own tensors they hold (layout.h) is float32. */
static void place_workspace(vt_model *m, vt_arena *arena)
{
    const vt_model_config *c = &m->config;
    int64_t rows = m->use.samples * m->tokens, bytes = (int64_t)vt_model_bytes(m->use.type);
    int64_t narrow = bytes * c->width, wide = bytes * max_i64(max_i64(3 * c->width, c->mlp), m->patch_dim);
    if (c->mlp_kind == VT_MLP_SWIGLU && !m->use.train)
        wide = max_i64(wide, bytes * (m->fc1_width + c->mlp));
    if (m->front > 0 && !m->use.train)
        narrow = (int64_t)sizeof(float) * c->width;
    if (c->head == VT_HEAD_MAP)
        wide = max_i64(wide, (int64_t)sizeof(float) * 2 * c->width);
    m->layout->narrow = vt_arena_take(arena, rows * narrow, 1);
    m->layout->wide = vt_arena_take(arena, rows * wide, 1);
}

/* One row for gradients that nobody wants, where a tensor is frozen. */
static float *place_discarded(const vt_model *m, vt_arena *arena)
{
    int64_t longest = 0;
    bool frozen = false;
    for (int i = 0; i < m->n_params; i++) {
        frozen = frozen || m->params[i].frozen;
        longest = max_i64(longest, m->params[i].dims[0]);
    }
    return frozen ? take(arena, longest) : NULL;
}

void vt_model_place_activations(vt_model *m, vt_arena *arena, const vt_model_use *use)
{
    const vt_model_config *c = &m->config;
    struct vt_model_layout *a = m->layout;
    assert(use->samples >= 1 && use->label_width >= 1);

    m->use = *use;
    a->held = -1;
    place_input(m, arena);
    m->features = take(arena, use->samples * m->feature_width);
    m->logits = take(arena, use->samples * c->classes);
    m->loss = take(arena, use->samples);
    place_workspace(m, arena);
    a->unnormed = a->pre_mean = a->pre_rstd = NULL;
    if (c->norm_pre) {
        a->pre_mean = take(arena, use->samples * m->tokens);
        a->pre_rstd = take(arena, use->samples * m->tokens);
    }
    if (use->train)
        place_blocks_train(m, arena);
    else
        place_blocks_eval(m, arena);
    place_head(m, arena);
    a->head_grads = (vt_head_grads){0};
    a->discarded = NULL;
    m->entropy = m->largest_score = NULL;
    if (use->train) {
        place_head_grads(m, arena);
        a->discarded = place_discarded(m, arena);
        m->entropy = vt_arena_take(arena, c->depth * c->heads, sizeof(double));
        m->largest_score = vt_arena_take(arena, c->depth * c->heads, sizeof(double));
    }
}
