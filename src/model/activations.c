/* Where a pass keeps its tensors. One function counts and places (base/arena.h), so the plan is what is taken.
 *
 * Training, floats per token and block: x D, LN1 D, qkv 3D, attention D, mid D, LN2 D, fc1 before and after GELU 2M,
 * and statistics; that is 8D + 2M, 16D at M = 4D. Gradients inside a block take one shared set: dx and narrow D, wide
 * max(3D, M, 3P^2). recompute: block keeps only x of every block and one set of the rest, which backward fills again.
 * Evaluation keeps one x, one narrow (LN1, attention, LN2 in turn), one wide (qkv, MLP in turn): the same code of
 * forward.c runs in place, because no operation reads what a shared buffer held before it was written over.
 *
 * Patches are cut twice, forward and backward, into the wide workspace: cheaper than keeping them. */
#include "model/layout.h"

#include <assert.h>

static float *take(vt_arena *arena, int64_t count)
{
    return vt_arena_take(arena, count, sizeof(float));
}

/* A block's own set, for training. x + attention (mid) is in it, the block's input is not. */
static vt_block_acts place_block(const vt_model *m, vt_arena *arena, int64_t samples)
{
    const vt_model_config *c = &m->config;
    int64_t rows = samples * m->tokens;
    vt_block_acts b;
    b.norm1 = take(arena, rows * c->width);
    b.mean1 = take(arena, rows);
    b.rstd1 = take(arena, rows);
    b.qkv = take(arena, rows * 3 * c->width);
    b.attn = take(arena, rows * c->width);
    b.lse = take(arena, rows * c->heads);
    b.mid = take(arena, rows * c->width);
    b.norm2 = take(arena, rows * c->width);
    b.mean2 = take(arena, rows);
    b.rstd2 = take(arena, rows);
    b.pre = take(arena, rows * c->mlp);
    b.act = take(arena, rows * c->mlp);
    return b;
}

static void place_blocks_train(vt_model *m, vt_arena *arena, int64_t samples)
{
    struct vt_model_layout *a = m->layout;
    int64_t depth = m->config.depth, rows = samples * m->tokens;
    for (int64_t l = 0; l < depth; l++) {
        a->x[l] = take(arena, rows * m->config.width);
        bool own = l == 0 || a->recompute == VT_RECOMPUTE_NONE;
        a->acts[l] = own ? place_block(m, arena, samples) : a->acts[0];
    }
    a->x[depth] = take(arena, rows * m->config.width);
    a->dx = take(arena, rows * m->config.width);
}

static void place_blocks_eval(vt_model *m, vt_arena *arena, int64_t samples)
{
    struct vt_model_layout *a = m->layout;
    int64_t rows = samples * m->tokens;
    float *x = take(arena, rows * m->config.width), *mean = take(arena, rows), *rstd = take(arena, rows);
    float *lse = take(arena, rows * m->config.heads);
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
                                     .pre = NULL,
                                     .act = a->wide};
    }
    a->x[m->config.depth] = x;
    a->dx = NULL;
}

static void place_head(vt_model *m, vt_arena *arena, int64_t samples)
{
    const vt_model_config *c = &m->config;
    struct vt_model_layout *a = m->layout;
    int64_t rows = samples * m->tokens;
    vt_head_acts h = {0};
    h.norm = a->train ? take(arena, rows * c->width) : a->narrow;
    h.mean = take(arena, rows);
    h.rstd = take(arena, rows);
    if (c->head == VT_HEAD_MAP) {
        h.q = take(arena, c->width);
        h.kv = a->train ? take(arena, rows * 2 * c->width) : a->wide;
        h.attn = take(arena, samples * c->width);
        h.lse = take(arena, samples * c->heads);
        h.mid = take(arena, samples * c->width);
        h.pool_norm = take(arena, samples * c->width);
        h.pool_mean = take(arena, samples);
        h.pool_rstd = take(arena, samples);
        h.pre = a->train ? take(arena, samples * c->mlp) : NULL;
        h.act = take(arena, samples * c->mlp);
    }
    a->head_acts = h;
}

static void place_head_grads(vt_model *m, vt_arena *arena, int64_t samples)
{
    const vt_model_config *c = &m->config;
    vt_head_grads g = {0};
    g.logits = take(arena, samples * c->classes);
    g.features = take(arena, samples * c->width);
    if (c->head == VT_HEAD_MAP) {
        g.narrow = take(arena, samples * c->width);
        g.wide = take(arena, samples * c->mlp);
        g.q = take(arena, samples * c->width);
        g.q_sum = take(arena, c->width);
        g.latent = take(arena, c->width);
    }
    m->layout->head_grads = g;
}

void vt_model_place_activations(vt_model *m, vt_arena *arena, int64_t samples, bool train, vt_recompute recompute)
{
    assert(samples >= 1);
    const vt_model_config *c = &m->config;
    struct vt_model_layout *a = m->layout;
    int64_t rows = samples * m->tokens, wide = 3 * c->width;
    wide = c->mlp > wide ? c->mlp : wide;
    wide = m->patch_dim > wide ? m->patch_dim : wide;

    m->samples = samples;
    a->train = train;
    a->recompute = recompute;
    a->held = -1;
    m->images = vt_arena_take(arena, samples * c->image_height * c->image_width * 3, 1);
    m->labels = vt_arena_take(arena, samples, sizeof(int32_t));
    m->features = take(arena, samples * c->width);
    m->logits = take(arena, samples * c->classes);
    m->loss = take(arena, samples);
    a->narrow = take(arena, rows * c->width);
    a->wide = take(arena, rows * wide);
    if (train)
        place_blocks_train(m, arena, samples);
    else
        place_blocks_eval(m, arena, samples);
    place_head(m, arena, samples);
    if (train)
        place_head_grads(m, arena, samples);
    else
        a->head_grads = (vt_head_grads){0};
}
