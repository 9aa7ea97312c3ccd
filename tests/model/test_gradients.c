/* The gradient of the whole model against central differences of its loss, on the reference kernels.
 *
 * For each tensor, along unit directions v (its own gradient's, and one of random signs):
 *   D(h) = (L(w + h v) - L(w - h v)) / 2h,   (4 D(h) - D(2h)) / 3 = g.v + O(h^4)
 * The loss is made of float32 results between operations, so L carries noise of some units of its last place, and the
 * bound is  noise / h + curvature h^4  (sound kernels stay below half of it). Two micro-batches, so that
 * accumulation is part of what is checked. A backend with one operation made wrong on purpose must fail the check. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/philox.h"
#include "rig.h"

enum { SAMPLES = 3, FIRST = 2 }; /* micro-batches of 2 and 1 */

static double total_loss(rig *r)
{
    double first = rig_loss(r, 0, FIRST);
    return first + rig_loss(r, FIRST, SAMPLES - FIRST);
}

static double loss_at(rig *r, const vt_tensor *t, const float *value, const double *v, double h)
{
    float *moved = malloc((size_t)t->count * sizeof *moved);
    for (int64_t j = 0; j < t->count; j++)
        moved[j] = (float)((double)value[j] + h * v[j]);
    vt_device_write(&r->device, t->value, moved, (size_t)t->count * sizeof *moved);
    free(moved);
    return total_loss(r);
}

/* g.v by differences; leaves the tensor as it was. */
static double slope(rig *r, const vt_tensor *t, const double *v, double h)
{
    float *value = rig_read(r, t->value, t->count);
    double one = (loss_at(r, t, value, v, h) - loss_at(r, t, value, v, -h)) / (2.0 * h);
    double two = (loss_at(r, t, value, v, 2.0 * h) - loss_at(r, t, value, v, -2.0 * h)) / (4.0 * h);
    vt_device_write(&r->device, t->value, value, (size_t)t->count * sizeof *value);
    free(value);
    return (4.0 * one - two) / 3.0;
}

static double norm_of(const float *g, int64_t n)
{
    double square = 0.0;
    for (int64_t j = 0; j < n; j++)
        square += (double)g[j] * (double)g[j];
    return sqrt(square);
}

/* direction 0: along g; 1: random signs. Unit length. */
static void direction(double *v, const float *g, int64_t n, int which, const char *name)
{
    vt_rng rng = vt_rng_at(1, VT_STREAM_TEST, (uint64_t)which, vt_fnv1a(name));
    double size = norm_of(g, n);
    for (int64_t j = 0; j < n; j++)
        v[j] = which == 0 && size > 0.0 ? (double)g[j] / size : (vt_rng_u32(&rng) & 1 ? 1.0 : -1.0) / sqrt((double)n);
}

/* Number of projections that are off. */
static int check_tensor(rig *r, const vt_tensor *t, const float *g)
{
    const double h = 0.01, noise = 4e-7, curvature = 100.0;
    int wrong = 0;
    double *v = malloc((size_t)t->count * sizeof *v);
    for (int which = 0; which < 2; which++) {
        direction(v, g, t->count, which, t->name);
        double expected = slope(r, t, v, h), found = 0.0;
        for (int64_t j = 0; j < t->count; j++)
            found += (double)g[j] * v[j];
        double bound = noise / h + curvature * h * h * h * h;
        wrong += !(fabs(found - expected) <= bound);
        if (getenv("VERBOSE") != NULL) /* for a person who looks for the tensor */
            printf("%-28s %d  %12.7f  difference %.2e of bound %.2e\n", t->name, which, found, fabs(found - expected),
                   bound);
    }
    free(v);
    return wrong;
}

/* Gradients of both micro-batches, then tensor by tensor by differences, until enough are wrong. */
static int wrong_projections(const rig_options *o, void (*spoil)(vt_ops *ops), int enough)
{
    rig r;
    rig_open(&r, o);
    vt_ops sound = r.backend.ops;
    if (spoil != NULL)
        spoil(&r.backend.ops);
    for (int part = 0; part < 2; part++) {
        r.pass.accumulate = part > 0;
        rig_loss(&r, part * FIRST, part == 0 ? FIRST : SAMPLES - FIRST);
        vt_model_backward(&r.model, &r.pass);
    }
    r.backend.ops = sound;

    float *all = rig_gradients(&r), *g = all;
    int wrong = 0;
    for (int i = 0; i < r.model.n_params && wrong < enough; i++) {
        if (!r.model.params[i].frozen)
            wrong += check_tensor(&r, &r.model.params[i], g);
        g += r.model.params[i].count;
    }
    free(all);
    rig_close(&r);
    return wrong;
}

static rig_options options(vt_head_kind head, vt_recompute recompute)
{
    vt_model_config config = rig_tiny_config(head);
    config.image_height = 8;
    config.image_width = 12;
    return (rig_options){.config = config, .samples = SAMPLES, .slices = 2, .train = true, .recompute = recompute};
}

/* Break when any part of the backward pass is not the derivative of the forward pass. */
static void test_map(void **state)
{
    (void)state;
    rig_options o = options(VT_HEAD_MAP, VT_RECOMPUTE_NONE);
    assert_int_equal(wrong_projections(&o, NULL, 1), 0);
}

static void test_gap(void **state)
{
    (void)state;
    rig_options o = options(VT_HEAD_GAP, VT_RECOMPUTE_BLOCK);
    assert_int_equal(wrong_projections(&o, NULL, 1), 0);
}

/* Dropout in every place and stochastic depth, whose masks stay while weights move; the class token under them. */
static void test_dropped(void **state)
{
    (void)state;
    rig_options o = options(VT_HEAD_TOK, VT_RECOMPUTE_BLOCK);
    o.dropout = 0.3F;
    o.drop_path = 0.4F;
    assert_int_equal(wrong_projections(&o, NULL, 1), 0);
}

/* The other forms: tanh layer, erf, sincos2d, another epsilon; a loss of everything. */
static void test_variants(void **state)
{
    (void)state;
    rig_options o = options(VT_HEAD_TOK, VT_RECOMPUTE_NONE);
    o.config.representation = 16;
    o.config.gelu = VT_GELU_ERF;
    o.config.norm_eps = 1e-3;
    assert_int_equal(wrong_projections(&o, NULL, 1), 0);

    o = options(VT_HEAD_MAP, VT_RECOMPUTE_NONE);
    o.config.representation = 30;
    o.config.positions = VT_POSITIONS_SINCOS2D;
    o.loss = VT_LOSS_SOFTMAX;
    o.smoothing = 0.1F;
    o.mix = true;
    o.weighted = true;
    assert_int_equal(wrong_projections(&o, NULL, 1), 0);
}

/* Breaks when a variant that a published family needs has another derivative; every other one with dropout in every
 * place, or with fixed positions where they may be. */
static void test_families(void **state)
{
    (void)state;
    for (int family = 0; family < RIG_FAMILIES; family++) {
        rig_options o = options(VT_HEAD_TOK, family % 2 ? VT_RECOMPUTE_BLOCK : VT_RECOMPUTE_NONE);
        o.config = rig_family(family);
        o.config.image_height = 8;
        o.config.image_width = 12;
        if (family % 2 == 1) {
            o.dropout = 0.2F;
            o.drop_path = 0.4F;
            o.mix = true;
        } else if (o.config.class_token != VT_TOKEN_POSITION)
            o.config.positions = VT_POSITIONS_SINCOS2D;
        assert_int_equal(wrong_projections(&o, NULL, 1), 0);
    }
}

static bool is_frozen(const vt_tensor *t)
{
    return strstr(t->name, "patch_embed") != NULL || strcmp(t->name, "blocks.0.attn.proj.weight") == 0 ||
           strcmp(t->name, "blocks.1.mlp.fc1.bias") == 0 || strcmp(t->name, "blocks.1.norm1.weight") == 0 ||
           strcmp(t->name, "attn_pool.latent") == 0 || strcmp(t->name, "attn_pool.kv.weight") == 0 ||
           strcmp(t->name, "blocks.0.ls1.gamma") == 0 || strcmp(t->name, "blocks.0.attn.q_norm.weight") == 0 ||
           strcmp(t->name, "cls_token") == 0 || strcmp(t->name, "norm_pre.bias") == 0;
}

/* All below the last block: there, blocks share their activations. */
static bool is_low(const vt_tensor *t)
{
    return strncmp(t->name, "blocks.1.", 9) != 0 && strncmp(t->name, "norm.", 5) != 0 &&
           strncmp(t->name, "attn_pool.", 10) != 0 && strncmp(t->name, "head.", 5) != 0;
}

/* Breaks: the input of the lowest trained block is written over by what comes behind it. */
static void test_idle_blocks(void **state)
{
    (void)state;
    for (int recompute = VT_RECOMPUTE_NONE; recompute <= VT_RECOMPUTE_BLOCK; recompute++) {
        rig_options o = options(VT_HEAD_MAP, (vt_recompute)recompute);
        o.frozen = is_low;
        assert_int_equal(wrong_projections(&o, NULL, 1), 0);
        o = options(VT_HEAD_TOK, (vt_recompute)recompute);
        o.frozen = is_low;
        assert_int_equal(wrong_projections(&o, NULL, 1), 0);
    }
}

/* Whole and half frozen pairs of weight and bias. */
static void test_frozen(void **state)
{
    (void)state;
    rig_options o = options(VT_HEAD_MAP, VT_RECOMPUTE_NONE);
    o.frozen = is_frozen;
    assert_int_equal(wrong_projections(&o, NULL, 1), 0);
    o.config = rig_family(RIG_FAMILIES - 1);
    assert_int_equal(wrong_projections(&o, NULL, 1), 0);
}

/* One operation each, wrong by little: GELU's derivative left out; the residual's gradient left out; keys and values
 * exchanged; micro-batches after the first not added. */
static vt_ops original;

static void spoiled_linear_dx(const vt_exec *ex, const vt_linear_dx_args *a)
{
    vt_linear_dx_args b = *a;
    b.pre = NULL;
    original.linear_dx(ex, &b);
}

static void spoiled_layernorm_bwd(const vt_exec *ex, const vt_layernorm_bwd_args *a)
{
    vt_layernorm_bwd_args b = *a;
    b.dresidual = NULL;
    original.layernorm_bwd(ex, &b);
}

static void spoiled_attention_bwd(const vt_exec *ex, const vt_attention_bwd_args *a)
{
    vt_attention_bwd_args b = *a;
    b.dk = a->dv;
    b.dv = a->dk;
    original.attention_bwd(ex, &b);
}

static void spoiled_linear_dw(const vt_exec *ex, const vt_linear_dw_args *a)
{
    vt_linear_dw_args b = *a;
    b.accumulate = 0;
    original.linear_dw(ex, &b);
}

static void spoil_linear_dx(vt_ops *ops)
{
    original = *ops;
    ops->linear_dx = spoiled_linear_dx;
}

static void spoil_layernorm_bwd(vt_ops *ops)
{
    original = *ops;
    ops->layernorm_bwd = spoiled_layernorm_bwd;
}

static void spoil_attention_bwd(vt_ops *ops)
{
    original = *ops;
    ops->attention_bwd = spoiled_attention_bwd;
}

static void spoil_linear_dw(vt_ops *ops)
{
    original = *ops;
    ops->linear_dw = spoiled_linear_dw;
}

/* Breaks when the check above lets a wrong kernel pass. */
static void test_spoiled_kernels_fail(void **state)
{
    (void)state;
    rig_options o = options(VT_HEAD_MAP, VT_RECOMPUTE_NONE);
    o.config.depth = 1;
    assert_true(wrong_projections(&o, spoil_linear_dx, 3) >= 3);
    assert_true(wrong_projections(&o, spoil_layernorm_bwd, 3) >= 3);
    assert_true(wrong_projections(&o, spoil_attention_bwd, 3) >= 3);
    assert_true(wrong_projections(&o, spoil_linear_dw, 3) >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),         cmocka_unit_test(test_gap),
        cmocka_unit_test(test_dropped),     cmocka_unit_test(test_variants),
        cmocka_unit_test(test_families),    cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_idle_blocks), cmocka_unit_test(test_spoiled_kernels_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
