/* Forward and backward: the same numbers whatever the way, and memory as planned. What must agree to the bit: recompute
 * none and block; evaluation and training; any number of threads; whole and part of a placed micro-batch. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/bf16.h"
#include "rig.h"

static rig_options options(vt_head_kind head, const vt_isa *isa)
{
    return (rig_options){.config = rig_tiny_config(head), .isa = isa, .samples = 3, .slices = 4, .train = true};
}

/* Everything that a recipe can ask for at once, in either type. */
static rig_options everything(vt_head_kind head, const vt_isa *isa, vt_real type)
{
    rig_options o = options(head, isa);
    o.samples = 5;
    o.config.depth = 3;
    o.config.representation = 16;
    o.config.gelu = VT_GELU_ERF;
    o.config.positions = head == VT_HEAD_GAP ? VT_POSITIONS_SINCOS2D : VT_POSITIONS_LEARNED;
    o.type = type;
    o.dropout = 0.2F;
    o.drop_path = 0.4F;
    o.mix = o.weighted = true;
    o.loss = head == VT_HEAD_MAP ? VT_LOSS_SOFTMAX : VT_LOSS_SIGMOID;
    o.smoothing = 0.1F;
    return o;
}

/* Gradients of one pass over all samples. */
static float *gradients_with(const rig_options *o, int64_t *count)
{
    rig r;
    rig_open(&r, o);
    float *g = rig_step(&r, o->samples);
    *count = r.model.param_count;
    rig_close(&r);
    return g;
}

static void assert_same_gradients(const rig_options *a, const rig_options *b)
{
    int64_t n = 0;
    float *x = gradients_with(a, &n), *y = gradients_with(b, &n);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    free(x);
    free(y);
}

/* Breaks when a block's activations are filled otherwise the second time, or the wrong block's are used. */
static void test_recompute(void **state)
{
    (void)state;
    for (int i = 0; i < vt_n_isas; i++)
        for (int head = VT_HEAD_MAP; head <= VT_HEAD_TOK && vt_isas[i].usable(); head++) {
            rig_options none = options((vt_head_kind)head, &vt_isas[i]);
            none.config.depth = 3;
            rig_options block = none;
            block.recompute = VT_RECOMPUTE_BLOCK;
            assert_same_gradients(&none, &block);
            for (int type = VT_F32; type <= VT_BF16; type++) {
                none = block = everything((vt_head_kind)head, &vt_isas[i], (vt_real)type);
                block.recompute = VT_RECOMPUTE_BLOCK;
                assert_same_gradients(&none, &block);
            }
        }
}

/* Breaks when a sum's order depends on the number of threads. */
static void test_threads(void **state)
{
    (void)state;
    for (int i = 0; i < vt_n_isas; i++)
        for (int threads = 2; threads <= 3 && vt_isas[i].usable(); threads++) {
            rig_options one = options(VT_HEAD_MAP, &vt_isas[i]), many = one;
            many.threads = threads;
            assert_same_gradients(&one, &many);
            for (int type = VT_F32; type <= VT_BF16; type++) {
                one = many = everything(VT_HEAD_TOK, &vt_isas[i], (vt_real)type);
                many.threads = threads;
                assert_same_gradients(&one, &many);
            }
        }
}

static const vt_isa *isa_named(const char *name)
{
    for (int i = 0; i < vt_n_isas; i++)
        if (strcmp(vt_isas[i].name, name) == 0 && vt_isas[i].usable())
            return &vt_isas[i];
    return NULL;
}

/* Breaks when the dot-product instruction and its emulation by the same vectors part: a run would depend on which
 * processor of a family it meets. */
static void test_instruction(void **state)
{
    (void)state;
    const vt_isa *with = isa_named("avx512bf16"), *without = isa_named("avx512");
    if (with == NULL || without == NULL)
        skip();
    for (int head = VT_HEAD_MAP; head <= VT_HEAD_TOK; head++) {
        rig_options a = everything((vt_head_kind)head, with, VT_BF16),
                    b = everything((vt_head_kind)head, without, VT_BF16);
        assert_same_gradients(&a, &b);
    }
}

/* Breaks when what is dropped, or mixed, depends on how a batch is cut into micro-batches: each sample's loss and
 * logits must be the same to the bit. */
static void test_cut(void **state)
{
    (void)state;
    for (int i = 0; i < vt_n_isas; i++)
        for (int type = VT_F32; type <= VT_BF16 && vt_isas[i].usable(); type++) {
            rig_options o = everything(VT_HEAD_TOK, &vt_isas[i], (vt_real)type);
            rig r;
            rig_open(&r, &o);
            rig_loss(&r, 0, 5);
            float *whole = rig_read(&r, r.model.logits, 25), *losses = rig_read(&r, r.model.loss, 5);
            for (int64_t first = 0; first < 5; first += 2) {
                int64_t count = first == 4 ? 1 : 2;
                rig_loss(&r, first, count);
                float *part = rig_read(&r, r.model.logits, count * 5), *loss = rig_read(&r, r.model.loss, count);
                assert_memory_equal(part, whole + first * 5, (size_t)count * 5 * sizeof *part);
                assert_memory_equal(loss, losses + first, (size_t)count * sizeof *loss);
                free(part);
                free(loss);
            }
            r.pass.seed++;
            rig_loss(&r, 0, 5);
            float *other = rig_read(&r, r.model.logits, 25);
            assert_memory_not_equal(other, whole, 25 * sizeof *other);
            free(other);
            free(whole);
            free(losses);
            rig_close(&r);
        }
}

/* Breaks when bf16 gradients of parameters are not those in float32, rounded once. */
static void test_gradient_type(void **state)
{
    (void)state;
    for (int i = 0; i < vt_n_isas; i++)
        for (int head = VT_HEAD_MAP; head <= VT_HEAD_TOK && vt_isas[i].usable(); head++) {
            rig_options exact = everything((vt_head_kind)head, &vt_isas[i], VT_BF16), rounded = exact;
            int64_t n = 0;
            rounded.grad_type = VT_BF16;
            float *x = gradients_with(&exact, &n), *y = gradients_with(&rounded, &n);
            for (int64_t j = 0; j < n; j++)
                assert_true(vt_bf16_to_f32(vt_bf16_from_f32(x[j])) == y[j]);
            free(x);
            free(y);
        }
}

/* Breaks when a buffer that evaluation shares is overwritten too early, or a short last micro-batch reads beyond it. */
static void check_evaluation(rig_options train)
{
    rig_options eval = train;
    int64_t n = 3 * train.config.classes;
    eval.train = false;
    eval.samples = 5;
    rig a, b;
    rig_open(&a, &train);
    rig_open(&b, &eval);
    double loss = rig_loss(&a, 0, 3);
    b.pass.weight = a.pass.weight;
    assert_true(rig_loss(&b, 0, 3) == loss);
    float *x = rig_read(&a, a.model.logits, n), *y = rig_read(&b, b.model.logits, n);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    assert_true(b.planned < a.planned);
    free(x);
    free(y);
    rig_close(&a);
    rig_close(&b);
}

static void test_evaluation(void **state)
{
    (void)state;
    for (int i = 0; i < vt_n_isas; i++)
        for (int head = VT_HEAD_MAP; head <= VT_HEAD_TOK && vt_isas[i].usable(); head++)
            for (int type = VT_F32; type <= VT_BF16; type++) {
                rig_options o = options((vt_head_kind)head, &vt_isas[i]);
                o.type = (vt_real)type;
                check_evaluation(o);
                o.config.representation = 7;
                o.config.gelu = VT_GELU_ERF;
                o.config.patch = 6; /* patches wider than all else */
                check_evaluation(o);
            }
}

/* The same as the tests above for the variants that published families need: recomputed, by threads, in evaluation, in
 * whole and half a micro-batch, placed as planned. */
static void test_families(void **state)
{
    (void)state;
    for (int i = 0; i < vt_n_isas; i++)
        for (int family = 0; family < RIG_FAMILIES && vt_isas[i].usable(); family++)
            for (int type = VT_F32; type <= VT_BF16; type++) {
                rig_options o = everything(VT_HEAD_TOK, &vt_isas[i], (vt_real)type), other;
                o.config = rig_family(family);
                other = o;
                other.recompute = VT_RECOMPUTE_BLOCK;
                other.threads = 2;
                assert_same_gradients(&o, &other);
                o.dropout = o.drop_path = 0;
                o.mix = false;
                o.samples = 3;
                check_evaluation(o);
                rig r;
                rig_open(&r, &o);
                assert_int_equal(r.planned, r.taken);
                rig_loss(&r, 0, 3);
                float *whole = rig_read(&r, r.model.logits, 15);
                rig_loss(&r, 1, 2);
                float *part = rig_read(&r, r.model.logits, 10);
                assert_memory_equal(part, whole + 5, 10 * sizeof *part);
                free(whole);
                free(part);
                rig_close(&r);
            }
}

/* Breaks when gradients of later micro-batches replace those before, or are weighted otherwise. */
static void test_accumulate(void **state)
{
    (void)state;
    for (int i = 0; i < vt_n_isas; i++)
        for (int head = VT_HEAD_MAP; head <= VT_HEAD_TOK && vt_isas[i].usable(); head++) {
            rig_options o = options((vt_head_kind)head, &vt_isas[i]);
            int64_t n = 0;
            float *whole = gradients_with(&o, &n);
            rig r;
            rig_open(&r, &o);
            rig_loss(&r, 0, 2);
            vt_model_backward(&r.model, &r.pass);
            r.pass.accumulate = true;
            rig_loss(&r, 2, 1);
            vt_model_backward(&r.model, &r.pass);
            float *parts = rig_gradients(&r);
            double difference = 0.0, square = 0.0;
            for (int64_t j = 0; j < n; j++) {
                double d = (double)parts[j] - (double)whole[j];
                difference += d * d;
                square += (double)whole[j] * (double)whole[j];
            }
            assert_true(sqrt(difference) <= 1e-6 * sqrt(square));
            free(whole);
            free(parts);
            rig_close(&r);
        }
}

static bool in_block_0(const vt_tensor *t)
{
    return strncmp(t->name, "blocks.0.", 9) == 0;
}

/* Breaks when counting and placing part: the plan's bytes would not be those that are taken. */
static void test_plan(void **state)
{
    (void)state;
    size_t bytes[3][2][2][2];
    for (int head = VT_HEAD_MAP; head <= VT_HEAD_TOK; head++)
        for (int type = VT_F32; type <= VT_BF16; type++)
            for (int train = 0; train < 2; train++)
                for (int recompute = 0; recompute < 2; recompute++) {
                    rig_options o = everything((vt_head_kind)head, NULL, (vt_real)type);
                    o.config.depth = 4;
                    o.train = train;
                    o.recompute = (vt_recompute)recompute;
                    o.frozen = recompute ? NULL : in_block_0;
                    rig r;
                    rig_open(&r, &o);
                    assert_true(r.planned > 0);
                    assert_int_equal(r.planned, r.taken);
                    bytes[head][type][train][recompute] = r.planned;
                    rig_close(&r);
                }
    for (int head = VT_HEAD_MAP; head <= VT_HEAD_TOK; head++)
        for (int type = VT_F32; type <= VT_BF16; type++) {
            assert_true(bytes[head][type][1][VT_RECOMPUTE_BLOCK] < bytes[head][type][1][VT_RECOMPUTE_NONE]);
            assert_true(bytes[head][type][0][VT_RECOMPUTE_BLOCK] == bytes[head][type][0][VT_RECOMPUTE_NONE]);
        }
}

/* Breaks when training keeps more of a block than it needs: 8D + 2M elements a token (16D at M = 4D), all but the
 * block's input and what the MLP adds to of the body's type, and statistics in float32; two doubles a head that are
 * watched. */
static void test_memory_of_a_block(void **state)
{
    (void)state;
    vt_model_config c = {.image_height = 224, .image_width = 224, .head = VT_HEAD_MAP, .norm_eps = 1e-6};
    assert_int_equal(vt_model_shape("B/16", &c, NULL), VT_OK);
    int64_t rows = 8 * 196, D = 768, M = 3072, H = 12;
    for (int type = VT_F32; type <= VT_BF16; type++) {
        size_t bytes[2][2];
        for (int half = 0; half < 2; half++) /* depth 8 and 16: whole lines of doubles */
            for (int recompute = 0; recompute < 2; recompute++) {
                vt_model m;
                vt_arena a = vt_arena_counting();
                c.depth = 8 * (half + 1);
                assert_int_equal(vt_model_init(&m, &c, NULL), VT_OK);
                vt_model_use use = {.samples = 8,
                                    .label_width = 1,
                                    .train = true,
                                    .recompute = (vt_recompute)recompute,
                                    .type = (vt_real)type};
                vt_model_place_activations(&m, &a, &use);
                bytes[half][recompute] = a.high;
                vt_model_release(&m);
            }
        int64_t element = type == VT_BF16 ? 2 : 4, watched = 2 * 8 * H;
        assert_int_equal(bytes[1][0] - bytes[0][0],
                         8 * rows * (element * (6 * D + 2 * M) + 4 * (2 * D + H + 4)) + 8 * watched);
        assert_int_equal(bytes[1][1] - bytes[0][1], 8 * 4 * rows * D + 8 * watched);
    }
}

/* Breaks when a model without classifier cannot give features. */
static void test_no_classifier(void **state)
{
    (void)state;
    rig_options with = options(VT_HEAD_MAP, NULL), without = with;
    with.train = without.train = false;
    without.config.classes = 0;
    rig a, b;
    rig_open(&a, &with);
    vt_model_forward(&a.model, &a.pass);
    float *x = rig_read(&a, a.model.features, 3 * 24);

    assert_int_equal(vt_model_init(&b.model, &without.config, NULL), VT_OK);
    assert_null(vt_model_param(&b.model, "head.weight"));
    for (int i = 0; i < b.model.n_params; i++)
        b.model.params[i].value = vt_model_param(&a.model, b.model.params[i].name)->value;
    vt_arena counting = vt_arena_counting(), memory;
    vt_model_use use = {.samples = 3, .label_width = 1};
    vt_model_place_activations(&b.model, &counting, &use);
    assert_int_equal(vt_device_arena(&a.device, counting.high, "features", &memory, NULL), VT_OK);
    vt_model_place_activations(&b.model, &memory, &use);
    uint8_t *images = malloc(3 * 12 * 20 * 3);
    vt_device_read(&a.device, images, a.model.images, 3 * 12 * 20 * 3);
    vt_device_write(&a.device, b.model.images, images, 3 * 12 * 20 * 3);
    vt_model_forward(&b.model, &a.pass);
    float *y = rig_read(&a, b.model.features, 3 * 24);
    assert_memory_equal(x, y, 3 * 24 * sizeof *x);
    free(images);
    free(x);
    free(y);
    vt_model_release(&b.model);
    rig_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recompute),     cmocka_unit_test(test_threads),
        cmocka_unit_test(test_evaluation),    cmocka_unit_test(test_accumulate),
        cmocka_unit_test(test_families),      cmocka_unit_test(test_instruction),
        cmocka_unit_test(test_cut),           cmocka_unit_test(test_gradient_type),
        cmocka_unit_test(test_plan),          cmocka_unit_test(test_memory_of_a_block),
        cmocka_unit_test(test_no_classifier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
