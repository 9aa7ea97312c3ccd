/* The table of parameters, and the values that a new model begins with. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/philox.h"
#include "model/cost.h"
#include "rig.h"

static vt_model model_of(const char *shape, int64_t image, int64_t classes, vt_head_kind head, int64_t representation)
{
    vt_model_config c = {.image_height = image,
                         .image_width = image,
                         .classes = classes,
                         .head = head,
                         .representation = representation,
                         .norm_eps = 1e-6};
    vt_model m;
    assert_int_equal(vt_model_shape(shape, &c, NULL), VT_OK);
    assert_int_equal(vt_model_init(&m, &c, NULL), VT_OK);
    return m;
}

/* Breaks when the table and the arithmetic of cost.c disagree: the plan would print other counts than are trained. */
static void test_counts_agree(void **state)
{
    (void)state;
    for (const vt_shape *s = vt_shapes; s->name != NULL; s++) {
        for (int head = VT_HEAD_MAP; head <= VT_HEAD_TOK; head++) {
            vt_model m = model_of(s->name, 224, 10 * head, (vt_head_kind)head, head == VT_HEAD_TOK ? 48 : 0);
            int64_t sum = 0;
            for (int i = 0; i < m.n_params; i++)
                sum += m.params[i].count;
            assert_int_equal(sum, m.param_count);
            assert_int_equal(sum, vt_model_param_counts(&m.config).total);
            vt_model_release(&m);
        }
    }
}

/* The same for the variants of published families, and when one of their vectors decays, or has no first value. */
static void test_families(void **state)
{
    (void)state;
    for (int family = 0; family < RIG_FAMILIES; family++) {
        rig_options o = {.config = rig_family(family), .samples = 1, .slices = 1};
        rig r;
        rig_open(&r, &o);
        int64_t sum = 0;
        vt_model_init_values(&r.model, &r.device, 1);
        for (int i = 0; i < r.model.n_params; i++) {
            const vt_tensor *t = &r.model.params[i];
            bool vector = t->n_dims == 1 || strstr(t->name, "token") != NULL || strstr(t->name, "pos_embed") != NULL;
            float *values = rig_read(&r, t->value, t->count);
            sum += t->count;
            if (vector)
                assert_false(t->decays);
            if (vt_has_suffix(t->name, ".gamma"))
                assert_true(values[0] == (float)o.config.layer_scale && values[t->count - 1] == values[0]);
            if (strcmp(t->name, "reg_token") == 0)
                assert_true(fabsf(values[0]) < 1e-5F && fabsf(values[0]) > 0);
            free(values);
        }
        assert_int_equal(sum, r.model.param_count);
        assert_int_equal(sum, vt_model_param_counts(&o.config).total);
        assert_int_equal(vt_model_param(&r.model, "patch_embed.proj.bias") == NULL, o.config.norm_pre);
        assert_int_equal(vt_model_param(&r.model, "fc_norm.weight") != NULL, o.config.norm_pooled);
        assert_int_equal(vt_model_param(&r.model, "norm.weight") == NULL, o.config.norm_pooled);
        rig_close(&r);
    }
}

/* Breaks when a name, a layout, a part or a decay rule of timm's table changes: checkpoints would not load. */
static void test_rows(void **state)
{
    (void)state;
    vt_model m = model_of("Ti/16", 64, 7, VT_HEAD_MAP, 0);
    static const struct {
        const char *name;
        int64_t dims[4];
        int decays;
        vt_part part;
        int64_t blocks, rows, cols, block_stride, row_stride;
    } rows[] = {
        {"patch_embed.proj.weight", {192, 3, 16, 16}, 1, VT_PART_BODY, 48, 192, 16, 16, 768},
        {"patch_embed.proj.bias", {192}, 0, VT_PART_BODY, 0, 0, 0, 0, 0},
        {"pos_embed", {1, 16, 192}, 0, VT_PART_BODY, 1, 16, 192, 0, 192},
        {"blocks.0.norm1.weight", {192}, 0, VT_PART_BODY, 0, 0, 0, 0, 0},
        {"blocks.11.attn.qkv.weight", {576, 192}, 1, VT_PART_BODY, 9, 64, 192, 64 * 192, 192},
        {"blocks.11.attn.qkv.bias", {576}, 0, VT_PART_BODY, 0, 0, 0, 0, 0},
        {"blocks.3.attn.proj.weight", {192, 192}, 1, VT_PART_BODY, 3, 192, 64, 64, 192},
        {"blocks.3.mlp.fc1.weight", {768, 192}, 1, VT_PART_BODY, 1, 768, 192, 0, 192},
        {"blocks.3.mlp.fc2.weight", {192, 768}, 1, VT_PART_BODY, 1, 192, 768, 0, 768},
        {"norm.bias", {192}, 0, VT_PART_BODY, 0, 0, 0, 0, 0},
        {"attn_pool.latent", {1, 1, 192}, 0, VT_PART_BODY, 0, 0, 0, 0, 0},
        {"attn_pool.q.weight", {192, 192}, 1, VT_PART_BODY, 3, 64, 192, 64 * 192, 192},
        {"attn_pool.kv.weight", {384, 192}, 1, VT_PART_BODY, 6, 64, 192, 64 * 192, 192},
        {"attn_pool.proj.weight", {192, 192}, 1, VT_PART_BODY, 3, 192, 64, 64, 192},
        {"attn_pool.mlp.fc2.weight", {192, 768}, 1, VT_PART_BODY, 1, 192, 768, 0, 768},
        {"head.weight", {7, 192}, 1, VT_PART_HEAD, 1, 7, 192, 0, 192},
        {"head.bias", {7}, 0, VT_PART_HEAD, 0, 0, 0, 0, 0},
    };
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        const vt_tensor *t = vt_model_param(&m, rows[i].name);
        assert_non_null(t);
        for (int d = 0; d < 4; d++)
            assert_int_equal(t->dims[d], rows[i].dims[d]);
        assert_int_equal(t->decays, rows[i].decays);
        assert_int_equal(t->part, rows[i].part);
        assert_int_equal(t->blocks, rows[i].blocks);
        assert_int_equal(t->rows, rows[i].rows);
        assert_int_equal(t->cols, rows[i].cols);
        assert_int_equal(t->block_stride, rows[i].block_stride);
        assert_int_equal(t->row_stride, rows[i].row_stride);
    }
    assert_null(vt_model_param(&m, "cls_token"));
    assert_string_equal(m.params[0].name, "patch_embed.proj.weight");
    assert_string_equal(m.params[m.n_params - 1].name, "head.bias");
    assert_int_equal(m.n_params, 3 + 12 * 12 + 2 + 13 + 2);
    vt_model_release(&m);
}

/* Breaks when the class token, the representation layer or a fixed table of positions stand in the table under another
 * name or shape, or are trained by other rules: none of them is the classifier. */
static void test_more_rows(void **state)
{
    (void)state;
    vt_model_config c = {.image_height = 64,
                         .image_width = 32,
                         .classes = 7,
                         .head = VT_HEAD_TOK,
                         .positions = VT_POSITIONS_SINCOS2D,
                         .representation = 48,
                         .norm_eps = 1e-6};
    vt_model m;
    assert_int_equal(vt_model_shape("Ti/16", &c, NULL), VT_OK);
    assert_int_equal(vt_model_init(&m, &c, NULL), VT_OK);
    assert_int_equal(m.patches, 8);
    assert_int_equal(m.tokens, 9);
    assert_int_equal(m.feature_width, 48);
    const vt_tensor *token = vt_model_param(&m, "cls_token"), *positions = vt_model_param(&m, "pos_embed");
    const vt_tensor *rep = vt_model_param(&m, "pre_logits.weight"), *head = vt_model_param(&m, "head.weight");
    assert_true(token->n_dims == 3 && token->dims[0] == 1 && token->dims[1] == 1 && token->dims[2] == 192);
    assert_true(!token->decays && token->rows == 0 && !token->frozen);
    assert_true(positions->dims[1] == 8 && positions->frozen);
    assert_true(rep->dims[0] == 48 && rep->dims[1] == 192 && rep->decays && rep->part == VT_PART_BODY);
    assert_true(rep->rows == 48 && rep->cols == 192);
    assert_true(head->dims[0] == 7 && head->dims[1] == 48 && head->part == VT_PART_HEAD);
    for (int i = 0; i < m.n_params; i++) {
        assert_true(m.params[i].frozen == (&m.params[i] == positions));
        assert_true(m.params[i].lr_factor == 1.0 && m.params[i].decay < 0.0);
    }
    vt_model_release(&m);
}

/* Breaks when the blocks of a factored matrix miss an element or name one twice: its update would be lost or doubled.
 */
static void test_matrices_cover(void **state)
{
    (void)state;
    vt_model m = model_of("w96-d1-m160-h3-p32", 96, 40, VT_HEAD_MAP, 64);
    for (int i = 0; i < m.n_params; i++) {
        const vt_tensor *t = &m.params[i];
        unsigned char *seen = calloc((size_t)t->count, 1);
        for (int64_t b = 0; b < t->blocks; b++)
            for (int64_t r = 0; r < t->rows; r++)
                for (int64_t c = 0; c < t->cols; c++) {
                    int64_t at = b * t->block_stride + r * t->row_stride + c;
                    assert_true(at < t->count);
                    seen[at]++;
                }
        for (int64_t j = 0; t->rows > 0 && j < t->count; j++)
            assert_int_equal(seen[j], 1);
        free(seen);
    }
    vt_model_release(&m);
}

typedef struct {
    double mean, std, largest;
} statistics;

static statistics statistics_of(rig *r, const char *name)
{
    const vt_tensor *t = vt_model_param(&r->model, name);
    float *v = rig_read(r, t->value, t->count);
    double sum = 0.0, squares = 0.0, largest = 0.0, n = (double)t->count;
    for (int64_t j = 0; j < t->count; j++) {
        double x = (double)v[j];
        sum += x;
        squares += x * x;
        largest = fabs(x) > largest ? fabs(x) : largest;
    }
    free(v);
    return (statistics){sum / n, sqrt(squares / n - sum / n * (sum / n)), largest};
}

/* Breaks when a tensor begins with another distribution than spec 2.2 states. Bounds are five standard errors. */
static void test_initial_values(void **state)
{
    (void)state;
    rig_options o = {.samples = 1, .slices = 1};
    o.config = (vt_model_config){.width = 192,
                                 .depth = 1,
                                 .mlp = 768,
                                 .heads = 3,
                                 .patch = 8,
                                 .image_height = 64,
                                 .image_width = 64,
                                 .classes = 10,
                                 .head = VT_HEAD_MAP,
                                 .representation = 192,
                                 .norm_eps = 1e-6,
                                 .head_bias = -6.9};
    rig r;
    rig_open(&r, &o);
    vt_model_init_values(&r.model, &r.device, 3);
    double patch_std = sqrt(1.0 / 192.0), square = sqrt(6.0 / 384.0), mlp = sqrt(6.0 / 960.0), root3 = sqrt(3.0);
    const struct {
        const char *name;
        double mean, std, bound; /* bound: largest size allowed, nearly reached; 0: any */
    } rows[] = {
        {"patch_embed.proj.weight", 0, patch_std, 2.2737 * patch_std},
        {"patch_embed.proj.bias", 0, 0, 0},
        {"pos_embed", 0, 1 / sqrt(192.0), 0},
        {"blocks.0.norm1.weight", 1, 0, 1},
        {"blocks.0.norm1.bias", 0, 0, 0},
        {"blocks.0.attn.qkv.weight", 0, square / root3, square},
        {"blocks.0.attn.qkv.bias", 0, 0, 0},
        {"blocks.0.attn.proj.weight", 0, square / root3, square},
        {"blocks.0.mlp.fc1.weight", 0, mlp / root3, mlp},
        {"blocks.0.mlp.fc1.bias", 0, 1e-6, 0},
        {"blocks.0.mlp.fc2.weight", 0, mlp / root3, mlp},
        {"blocks.0.mlp.fc2.bias", 0, 1e-6, 0},
        {"norm.weight", 1, 0, 1},
        {"attn_pool.latent", 0, sqrt(6.0 / 193.0) / root3, sqrt(6.0 / 193.0)},
        {"attn_pool.q.weight", 0, square / root3, square},
        {"attn_pool.kv.weight", 0, square / root3, square},
        {"pre_logits.weight", 0, patch_std, 2.2737 * patch_std},
        {"pre_logits.bias", 0, 0, 0},
        {"head.weight", 0, 0, 0},
        {"head.bias", (double)-6.9F, 0, (double)6.9F},
    };
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        double n = (double)vt_model_param(&r.model, rows[i].name)->count;
        statistics s = statistics_of(&r, rows[i].name);
        double slack = 5.0 * rows[i].std / sqrt(n) + 1e-12;
        assert_true(fabs(s.mean - rows[i].mean) <= slack);
        assert_true(fabs(s.std - rows[i].std) <= slack + 1e-7 * fabs(rows[i].mean));
        if (rows[i].bound > 0.0) {
            assert_true(s.largest <= rows[i].bound * (1.0 + 1e-4));
            assert_true(s.largest >= 0.95 * rows[i].bound);
        }
    }
    rig_close(&r);
}

/* Breaks when rows and columns of the grid are exchanged in the table of sincos2d positions, or the class token does
 * not begin as zero. The table as a whole is held by test_parity.c. */
static void test_fixed_values(void **state)
{
    (void)state;
    rig_options o = {.config = rig_tiny_config(VT_HEAD_TOK), .samples = 1, .slices = 1};
    o.config.positions = VT_POSITIONS_SINCOS2D;
    rig r;
    rig_open(&r, &o);
    vt_model_init_values(&r.model, &r.device, 3);
    float *table = rig_read(&r, vt_model_param(&r.model, "pos_embed")->value, 15 * 24);
    const float *row = table + (int64_t)(2 * 5 + 4) * 24; /* y = 2, x = 4 of 3 x 5 */
    assert_true(fabs((double)row[0] - sin(4.0)) < 1e-7 && fabs((double)row[6] - cos(4.0)) < 1e-7);
    assert_true(fabs((double)row[12] - sin(2.0)) < 1e-7 && fabs((double)row[18] - cos(2.0)) < 1e-7);
    assert_true(fabs((double)row[5] - sin(4e-4)) < 1e-9); /* the last frequency is 1/10000 */
    float *token = rig_read(&r, vt_model_param(&r.model, "cls_token")->value, 24);
    for (int j = 0; j < 24; j++)
        assert_true(token[j] == 0.0F);
    free(table);
    free(token);
    rig_close(&r);
}

/* Breaks when values depend on the rest of the model, on chunks, or not on the seed and the name. */
static void test_values_by_address(void **state)
{
    (void)state;
    rig_options small = {.config = rig_tiny_config(VT_HEAD_TOK), .samples = 1, .slices = 1}, large = small;
    large.config.depth = 3;
    large.config.head = VT_HEAD_MAP;
    rig a, b;
    rig_open(&a, &small);
    rig_open(&b, &large);
    vt_model_init_values(&a.model, &a.device, 11);
    vt_model_init_values(&b.model, &b.device, 11);
    const char *const names[] = {"patch_embed.proj.weight", "blocks.1.attn.qkv.weight", "blocks.1.mlp.fc1.bias"};
    for (size_t i = 0; i < VT_COUNT_OF(names); i++) {
        const vt_tensor *t = vt_model_param(&a.model, names[i]);
        size_t bytes = (size_t)t->count * sizeof(float);
        float *x = rig_read(&a, t->value, t->count);
        float *y = rig_read(&b, vt_model_param(&b.model, names[i])->value, t->count);
        assert_memory_equal(x, y, bytes);
        vt_model_init_values(&b.model, &b.device, 12);
        float *z = rig_read(&b, vt_model_param(&b.model, names[i])->value, t->count);
        assert_memory_not_equal(x, z, bytes);
        vt_model_init_values(&b.model, &b.device, 11);
        free(x);
        free(y);
        free(z);
    }

    const vt_tensor *t = vt_model_param(&a.model, "blocks.0.attn.proj.weight");
    float *x = rig_read(&a, t->value, t->count);
    uint32_t word = vt_philox(11, VT_STREAM_INIT, 7 / 4, vt_fnv1a(t->name), 0).v[7 % 4];
    double u = (double)(word >> 8) * 0x1p-24;
    assert_true(x[7] == (float)(sqrt(6.0 / 48.0) * (2.0 * u - 1.0)));
    free(x);
    rig_close(&a);
    rig_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_agree),   cmocka_unit_test(test_families),
        cmocka_unit_test(test_rows),           cmocka_unit_test(test_more_rows),
        cmocka_unit_test(test_matrices_cover), cmocka_unit_test(test_initial_values),
        cmocka_unit_test(test_fixed_values),   cmocka_unit_test(test_values_by_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
