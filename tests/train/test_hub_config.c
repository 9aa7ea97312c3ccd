/* config.json: every model that can be trained is rebuilt from it as it was, and timm is told what it can be told. */
#include "scene.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "train/hub_config.h"

static scene here;
static int warnings;
static char warning[512];

static void receive(void *context, vt_log_level level, const char *line)
{
    (void)context;
    if (level == VT_LOG_WARN) {
        warnings++;
        (void)snprintf(warning, sizeof warning, "%s", line);
    }
}

static int set_up(void **state)
{
    (void)state;
    scene_make(&here);
    vt_log_set(receive, NULL, VT_LOG_WARN);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vt_log_set(NULL, NULL, VT_LOG_ERROR);
    scene_remove(&here);
    return 0;
}

static vt_model_config plain(vt_head_kind head)
{
    return (vt_model_config){.width = 72,
                             .depth = 2,
                             .mlp = 200,
                             .heads = 3,
                             .patch = 8,
                             .image_height = 40,
                             .image_width = 24,
                             .classes = 2,
                             .head = head,
                             .norm_eps = 1e-6,
                             .head_bias = -6.9};
}

static vt_pixel_range pixels = {{2.0F / 255.0F, 2.0F / 255.0F, 2.0F / 255.0F}, {-1.0F, -1.0F, -1.0F}};

static bool upright; /* what save notes */

static const char *save(const vt_model_config *model)
{
    char names[2][2] = {"a", "b"}, *class_names[] = {names[0], names[1]}, preprocess[] = "[]";
    vt_checkpoint_info info = {.model = *model,
                               .class_names = class_names,
                               .named = true,
                               .preprocess = preprocess,
                               .orient = upright,
                               .pixels = pixels,
                               .step = 3,
                               .images = 12};
    const char *path = scene_path(&here, "config.json");
    vt_err err = {0};
    warnings = 0;
    assert_int_equal(vt_hub_config_save(path, &info, &err), VT_OK);
    return path;
}

static void assert_same_model(const vt_model_config *a, const vt_model_config *b)
{
    assert_true(a->width == b->width && a->depth == b->depth && a->mlp == b->mlp && a->heads == b->heads);
    assert_true(a->patch == b->patch && a->image_height == b->image_height && a->image_width == b->image_width);
    assert_true(a->classes == b->classes && a->representation == b->representation);
    assert_int_equal(a->head, b->head);
    assert_int_equal(a->positions, b->positions);
    assert_int_equal(a->gelu, b->gelu);
    assert_int_equal(a->class_token, b->class_token);
    assert_int_equal(a->mlp_kind, b->mlp_kind);
    assert_true(a->registers == b->registers && a->layer_scale == b->layer_scale && a->norm_pre == b->norm_pre);
    assert_true(a->qk_norm == b->qk_norm && a->norm_pooled == b->norm_pooled);
    assert_true(a->norm_eps == b->norm_eps && a->head_bias == b->head_bias);
}

/* Breaks when a key is not written, or not read: an evaluation would compute another model. */
static void round_trip(void **state)
{
    (void)state;
    for (int head = VT_HEAD_MAP; head <= VT_HEAD_TOK; head++)
        for (int bits = 0; bits < 16; bits++) {
            vt_model_config c = plain((vt_head_kind)head);
            c.positions = bits & 1 ? VT_POSITIONS_SINCOS2D : VT_POSITIONS_LEARNED;
            c.gelu = bits & 2 ? VT_GELU_ERF : VT_GELU_TANH;
            c.representation = bits & 4 ? 72 : 0;
            c.norm_eps = bits & 8 ? 1e-4 : 1e-6;
            upright = bits & 1;
            vt_checkpoint_info info;
            vt_err err = {0};
            assert_int_equal(vt_hub_config_load(save(&c), &info, &err), VT_OK);
            assert_same_model(&info.model, &c);
            assert_int_equal(info.orient, upright);
            assert_int_equal(warnings, (c.representation > 0) + (c.norm_eps != 1e-6));
            vt_checkpoint_info_release(&info);
        }
}

/* The same for the variants of published families, one by one, with the words that timm knows them by. */
static void families(void **state)
{
    (void)state;
    static const struct {
        int token;
        int64_t registers;
        int mlp_kind, gelu;
        double layer_scale, norm_eps;
        bool norm_pre, qk_norm, norm_pooled;
        const char *architecture, *key, *value;
        int warnings;
    } rows[] = {
        {VT_TOKEN_POSITION, 0, 0, 0, 0, 1e-6, 0, 0, 0, "vit_base_patch16_224", "no_embed_class", "false", 0},
        {VT_TOKEN_PLAIN, 4, 0, 0, 0, 1e-6, 0, 0, 0, "vit_base_patch16_224", "reg_tokens", "4", 0},
        {VT_TOKEN_POSITION, 4, 0, 0, 0, 1e-6, 0, 0, 0, "vit_base_patch16_224", "reg_tokens", "4", 1},
        {0, 0, VT_MLP_SWIGLU, VT_GELU_ERF, 0, 1e-6, 0, 0, 0, "vit_giant_patch14_dinov2", "init_values", "null", 0},
        {0, 0, 0, VT_GELU_QUICK, 0, 1e-5, 1, 0, 0, "vit_base_patch32_clip_224", "act_layer", "\"quick_gelu\"", 0},
        {0, 0, 0, 0, 0.25, 1e-6, 0, 0, 0, "vit_base_patch16_224", "init_values", "0.25", 0},
        {0, 0, 0, 0, 0, 1e-6, 0, 1, 0, "vit_base_patch16_224", "qk_norm", "true", 0},
        {0, 0, 0, 0, 0, 1e-6, 0, 0, 1, "vit_base_patch16_224", "fc_norm", "true", 0},
    };
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_model_config c = plain(VT_HEAD_TOK);
        c.class_token = rows[i].token, c.registers = rows[i].registers, c.mlp_kind = rows[i].mlp_kind;
        c.gelu = rows[i].gelu, c.layer_scale = rows[i].layer_scale, c.norm_eps = rows[i].norm_eps;
        c.norm_pre = rows[i].norm_pre, c.qk_norm = rows[i].qk_norm, c.norm_pooled = rows[i].norm_pooled;
        vt_checkpoint_info info;
        json_t *root = NULL;
        const char *path = save(&c);
        assert_int_equal(warnings, rows[i].warnings);
        assert_int_equal(vt_hub_config_load(path, &info, NULL), VT_OK);
        assert_same_model(&info.model, &c);
        vt_checkpoint_info_release(&info);
        assert_int_equal(vt_json_load(path, &root, NULL), VT_OK);
        assert_string_equal(json_string_value(json_object_get(root, "architecture")), rows[i].architecture);
        char *word = json_dumps(json_object_get(json_object_get(root, "model_args"), rows[i].key), JSON_ENCODE_ANY);
        assert_string_equal(word, rows[i].value);
        free(word);
        json_decref(root);
    }
}

/* Breaks when timm would build another model: the words are those of its VisionTransformer. */
static void words_for_timm(void **state)
{
    (void)state;
    static const struct {
        vt_head_kind head;
        const char *pool;
        int token;
    } rows[] = {{VT_HEAD_MAP, "map", 0}, {VT_HEAD_GAP, "avg", 0}, {VT_HEAD_TOK, "token", 1}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_model_config c = plain(rows[i].head);
        c.gelu = i == 1 ? VT_GELU_ERF : VT_GELU_TANH;
        json_t *root = NULL;
        assert_int_equal(vt_json_load(save(&c), &root, NULL), VT_OK);
        const json_t *args = json_object_get(root, "model_args");
        assert_string_equal(json_string_value(json_object_get(args, "global_pool")), rows[i].pool);
        assert_string_equal(json_string_value(json_object_get(root, "global_pool")), rows[i].pool);
        assert_int_equal(json_is_true(json_object_get(args, "class_token")), rows[i].token);
        assert_int_equal(json_is_true(json_object_get(args, "no_embed_class")), rows[i].token);
        assert_false(json_is_true(json_object_get(args, "fc_norm")));
        assert_string_equal(json_string_value(json_object_get(args, "act_layer")), i == 1 ? "gelu" : "gelu_tanh");
        json_decref(root);
    }
    vt_model_config c = plain(VT_HEAD_GAP);
    c.representation = 50;
    (void)save(&c);
    assert_int_equal(warnings, 1);
    assert_non_null(strstr(warning, "not load"));
}

/* Breaks when a color's scale or offset is lost, timm is told another mean or deviation, or one number for all colors,
 * as in older files, is no longer read. */
static void pixel_ranges(void **state)
{
    (void)state;
    const vt_model_config c = plain(VT_HEAD_MAP);
    const vt_pixel_range one = pixels, three = {{0.017F, 0.0175F, 0.0174F}, {-2.1F, -2.0F, -1.8F}};
    vt_checkpoint_info info;
    vt_err err = {0};
    json_t *root = NULL;
    assert_int_equal(vt_json_load(save(&c), &root, NULL), VT_OK);
    assert_true(json_is_number(json_object_get(json_object_get(root, "vitro"), "pixel_scale")));
    json_decref(root);
    pixels = three;
    const char *path = save(&c);
    pixels = one;
    assert_int_equal(vt_hub_config_load(path, &info, &err), VT_OK);
    assert_memory_equal(&info.pixels, &three, sizeof three);
    vt_checkpoint_info_release(&info);
    assert_int_equal(vt_json_load(path, &root, NULL), VT_OK);
    const json_t *hub = json_object_get(root, "pretrained_cfg");
    for (size_t i = 0; i < 3; i++) {
        double mean = json_number_value(json_array_get(json_object_get(hub, "mean"), i));
        double std = json_number_value(json_array_get(json_object_get(hub, "std"), i));
        assert_true(fabs((1.0 - mean) / std - (255.0 * (double)three.scale[i] + (double)three.offset[i])) < 1e-5);
        assert_true(fabs(-mean / std - (double)three.offset[i]) < 1e-5);
    }
    json_decref(root);
    assert_int_equal(vt_hub_config_load(save(&c), &info, &err), VT_OK);
    assert_memory_equal(&info.pixels, &one, sizeof one);
    vt_checkpoint_info_release(&info);
}

/* Breaks when a checkpoint from before these keys is refused or becomes another model. */
static void older_files(void **state)
{
    (void)state;
    vt_model_config c = plain(VT_HEAD_MAP);
    const char *path = save(&c);
    json_t *root = NULL;
    assert_int_equal(vt_json_load(path, &root, NULL), VT_OK);
    json_t *args = json_object_get(root, "model_args"), *own = json_object_get(root, "vitro");
    json_object_del(args, "no_embed_class");
    static const char *const newer[] = {"positions", "representation", "norm_eps"};
    for (size_t i = 0; i < VT_COUNT_OF(newer); i++)
        assert_int_equal(json_object_del(own, newer[i]), 0);
    assert_int_equal(vt_json_save(path, root, NULL), VT_OK);
    vt_checkpoint_info info;
    vt_err err = {0};
    assert_int_equal(vt_hub_config_load(path, &info, &err), VT_OK);
    assert_same_model(&info.model, &c);
    vt_checkpoint_info_release(&info);
    json_decref(root);
}

/* Breaks when a word or number that names no model is believed. */
static void bad_words(void **state)
{
    (void)state;
    const struct {
        const char *section, *key;
        json_t *value;
    } rows[] = {{"model_args", "global_pool", json_string("max")}, {"model_args", "act_layer", json_string("relu")},
                {"model_args", "global_pool", json_integer(3)},    {"vitro", "positions", json_string("rope")},
                {"vitro", "representation", json_integer(-4)},     {"vitro", "norm_eps", json_real(0.0)},
                {"vitro", "representation", json_integer(1 << 30)}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_model_config c = plain(VT_HEAD_GAP);
        const char *path = save(&c);
        json_t *root = NULL;
        assert_int_equal(vt_json_load(path, &root, NULL), VT_OK);
        json_object_set_new(json_object_get(root, rows[i].section), rows[i].key, rows[i].value);
        assert_int_equal(vt_json_save(path, root, NULL), VT_OK);
        vt_checkpoint_info info;
        vt_err err = {0};
        assert_int_not_equal(vt_hub_config_load(path, &info, &err), VT_OK);
        assert_non_null(strstr(err.msg, "config.json"));
        assert_non_null(strstr(err.msg, rows[i].key));
        vt_checkpoint_info_release(&info);
        json_decref(root);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),   cmocka_unit_test(families),    cmocka_unit_test(words_for_timm),
        cmocka_unit_test(pixel_ranges), cmocka_unit_test(older_files), cmocka_unit_test(bad_words),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
