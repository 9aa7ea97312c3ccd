/* Names of shapes, the costs that they come to (spec 1.1, 1.2, 1.4), and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "model/cost.h"

static vt_model_config shape_of(const char *name, int64_t image, vt_head_kind head)
{
    vt_model_config c = {.image_height = image, .image_width = image, .head = head, .norm_eps = 1e-6};
    vt_err err = {0};
    assert_int_equal(vt_model_shape(name, &c, &err), VT_OK);
    assert_int_equal(vt_model_check(&c, &err), VT_OK);
    return c;
}

/* The eleven shapes of the paper: parameters to the unit, operations at both resolutions. */
static const struct {
    const char *name;
    int64_t params;
    double gflop_224, gflop_384;
} paper[] = {
    {"s/28", 5357824, 0.728, 2.010},         {"s/16", 4986112, 2.203, 7.832},
    {"S/32", 22493184, 2.277, 6.905},        {"Ti/16", 5524032, 2.536, 9.480},
    {"B/32", 87453696, 8.717, 26.041},       {"S/16", 21664896, 9.234, 31.191},
    {"B/28", 86912256, 11.336, 30.525},      {"B/16", 85797120, 35.116, 111.304},
    {"L/16", 303299584, 122.866, 382.811},   {"g/14", 1011199616, 533.064, 1596.393},
    {"G/14", 1842772352, 965.307, 2859.906},
};

/* Breaks when a count or the paper's convention for operations changes: the first promise of `vitro plan`. */
static void test_paper_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < VT_COUNT_OF(paper); i++) {
        vt_model_config at_224 = shape_of(paper[i].name, 224, VT_HEAD_MAP);
        vt_model_config at_384 = shape_of(paper[i].name, 384, VT_HEAD_MAP);
        assert_int_equal(vt_model_param_counts(&at_224).body, paper[i].params);
        assert_true(fabs(vt_model_flops(&at_224).paper / (paper[i].gflop_224 * 1e9) - 1.0) < 1e-3);
        assert_true(fabs(vt_model_flops(&at_384).paper / (paper[i].gflop_384 * 1e9) - 1.0) < 1e-3);
    }
}

/* Every named variant with its default patch, without and with MAP head (spec 1.4). */
static const struct {
    const char *name;
    int64_t body, with_map;
} variants[] = {
    {"mu", 43648, 56320},
    {"Ti", 5524032, 5968704},
    {"S", 21664896, 23438976},
    {"M", 38323712, 41475584},
    {"B", 85797120, 92884224},
    {"L", 303299584, 315894784},
    {"So400m", 412442352, 427680704},
    {"H", 630762240, 650438400},
    {"g", 1011199616, 1036448384},
    {"g-opt", 1134561792, 1162891776},
    {"G", 1842772352, 1881132416},
    {"G-opt", 1663302144, 1697925632},
    {"e", 3805417728, 3873342720},
};

/* Breaks when a row of the table of shapes or the MAP head's count is wrong. */
static void test_variants(void **state)
{
    (void)state;
    for (size_t i = 0; i < VT_COUNT_OF(variants); i++) {
        vt_model_config map = shape_of(variants[i].name, 224, VT_HEAD_MAP);
        vt_model_config gap = shape_of(variants[i].name, 224, VT_HEAD_GAP);
        vt_param_counts counts = vt_model_param_counts(&map);
        assert_int_equal(counts.body, variants[i].body);
        assert_int_equal(counts.total, variants[i].with_map);
        assert_int_equal(counts.embed + counts.positions + counts.blocks + counts.final_norm, counts.body);
        assert_int_equal(vt_model_param_counts(&gap).total, variants[i].body);
    }
}

/* Breaks when the work that speed is measured by miscounts the MAP head or the classifier. "Getting ViT in Shape"
 * prints the paper's convention without a classifier, plus the MAP head's products (spec 1.1). */
static void test_products(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t image;
        double gflop;
    } rows[] = {{"g/14", 518, 3208.3},
                {"G/14", 518, 5668.3},
                {"So400m/14", 224, 220.9},
                {"So400m/14", 384, 672.5},
                {"So400m/14", 518, 1373.5}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_model_config map = shape_of(rows[i].name, rows[i].image, VT_HEAD_MAP);
        vt_model_config gap = shape_of(rows[i].name, rows[i].image, VT_HEAD_GAP);
        double pool = vt_model_flops(&map).products - vt_model_flops(&gap).products;
        double classifier = 29593.0 * (2.0 * (double)map.width + 1.0);
        assert_true(fabs((vt_model_flops(&map).paper - classifier + pool) / 1e9 - rows[i].gflop) < 0.06);

        double without = vt_model_flops(&map).products;
        map.classes = 1000;
        assert_true(vt_model_flops(&map).products - without == 2.0 * 1000.0 * (double)map.width);
        assert_int_equal(vt_model_param_counts(&map).classifier, 1000 * (map.width + 1));
    }
    vt_model_config b16 = shape_of("B/16", 224, VT_HEAD_GAP), g14 = shape_of("G/14", 224, VT_HEAD_GAP);
    assert_true(fabs(vt_model_flops(&b16).products / 1e9 - 34.94) < 0.005);
    assert_true(fabs(vt_model_flops(&g14).products / 1e9 - 963.65) < 0.005);
}

/* Breaks when a class token or a representation layer is not counted: the token is one more row in every block, none of
 * it in the paper's convention. */
static void test_token_and_representation(void **state)
{
    (void)state;
    vt_model_config gap = shape_of("B/16", 224, VT_HEAD_GAP), tok = shape_of("B/16", 224, VT_HEAD_TOK);
    double D = 768, L = 12, M = 3072, n = 196;
    vt_param_counts counts = vt_model_param_counts(&tok);
    assert_int_equal(counts.body, 85797120);
    assert_int_equal(counts.front, 768);
    assert_int_equal(counts.total, 85797120 + 768);
    assert_true(vt_model_flops(&tok).paper == vt_model_flops(&gap).paper);
    assert_true(vt_model_flops(&tok).products - vt_model_flops(&gap).products ==
                2 * L * (4 * D * D + 2 * D * M + 2 * D * ((n + 1) * (n + 1) - n * n)));

    tok.representation = 500;
    tok.classes = 10;
    assert_int_equal(vt_model_param_counts(&tok).representation, 500 * 769);
    assert_int_equal(vt_model_param_counts(&tok).classifier, 10 * 501);
    double without = vt_model_flops(&tok).products;
    tok.representation = 0;
    assert_true(without - vt_model_flops(&tok).products == 2 * (500 * D + 10 * 500 - 10 * D));
}

/* Breaks when the grammar of names changes: case, default patches, free shapes. */
static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t width, depth, mlp, heads, patch;
    } rows[] = {
        {"ti/28", 192, 12, 768, 3, 28},
        {"b", 768, 12, 3072, 12, 16},
        {"s", 256, 6, 1024, 8, 16},
        {"S/8", 384, 12, 1536, 6, 8},
        {"g", 1408, 40, 6144, 16, 14},
        {"G-opt/28", 1536, 48, 8192, 16, 28},
        {"so400M", 1152, 27, 4304, 16, 14},
        {"w64-d4-m256-h4-p7", 64, 4, 256, 4, 7},
        {"h4-p7-m256-W64-d4", 64, 4, 256, 4, 7},
        {"w64-d4-m256-h4", 64, 4, 256, 4, 16},
        {"w64-d4-m256-h4/5", 64, 4, 256, 4, 5},
    };
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_model_config c = {.classes = 3, .patch = 99};
        assert_int_equal(vt_model_shape(rows[i].name, &c, NULL), VT_OK);
        assert_int_equal(c.width, rows[i].width);
        assert_int_equal(c.depth, rows[i].depth);
        assert_int_equal(c.mlp, rows[i].mlp);
        assert_int_equal(c.heads, rows[i].heads);
        assert_int_equal(c.patch, rows[i].patch);
        assert_int_equal(c.classes, 3);
    }
}

/* Breaks when a wrong name is taken for a shape, changes the configuration, or is refused without help. */
static void test_bad_names(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "/16",
                                      "X/16",
                                      "B/",
                                      "B/0",
                                      "B/16x",
                                      "B/-3",
                                      "B/16/16",
                                      "B 16",
                                      "G-OPT",
                                      "w64",
                                      "w64-d4-m256",
                                      "w64-d4-m256-h4-",
                                      "w64-d4-m256-h4-p",
                                      "w64-d4-m256-h4-p0",
                                      "w64-w64-d4-m256-h4",
                                      "w64d4m256h4",
                                      "w64-d4-m256-h4-q3",
                                      "w64-d4-m256-h4-p7/7",
                                      "w99999999999999999999-d4-m256-h4",
                                      "w64-d4-m256-h4-p77777777777777777777777777777777777777777777777777777777777"};
    for (size_t i = 0; i < VT_COUNT_OF(bad); i++) {
        vt_model_config c = {.width = 5};
        vt_err err = {0};
        assert_int_equal(vt_model_shape(bad[i], &c, &err), VT_EINVAL);
        assert_int_equal(c.width, 5);
        assert_non_null(strstr(err.msg, "model.shape"));
    }
    vt_model_config c = {0};
    vt_err err = {0};
    assert_int_equal(vt_model_shape("So400/14", &c, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "did you mean \"So400m\""));
    assert_non_null(strstr(err.msg, "g-opt"));
}

/* Breaks when a configuration that no kernel can run is let through, or a sound one is refused. */
static void test_check(void **state)
{
    (void)state;
    vt_model_config good = shape_of("w64-d4-m256-h4-p7", 28, VT_HEAD_GAP);
    static const struct {
        const char *word;
        vt_model_config change; /* nonzero fields replace those of good */
    } rows[] = {
        {"divide", {.heads = 5}},
        {"head", {.width = 64 * 257}},
        {"width", {.width = -1}},
        {"depth", {.depth = 5000}},
        {"MLP", {.mlp = -4}},
        {"height", {.image_height = -28}},
        {"patch", {.image_height = 6}},
        {"tokens", {.image_width = 30000}},
        {"classes", {.classes = -1}},
        {"finite", {.head_bias = (double)NAN}},
        {"model.head", {.head = 3}},
        {"model.positions", {.positions = 2}},
        {"4 divides", {.width = 66, .heads = 3, .positions = VT_POSITIONS_SINCOS2D}},
        {"model.gelu", {.gelu = -1}},
        {"model.representation", {.representation = -3}},
        {"model.norm_eps", {.norm_eps = -1e-6}},
        {"model.norm_eps", {.norm_eps = (double)NAN}},
    };
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        const vt_model_config *x = &rows[i].change;
        vt_model_config c = good;
        c.heads = x->heads != 0 ? x->heads : c.heads;
        c.width = x->width != 0 ? x->width : c.width;
        c.depth = x->depth != 0 ? x->depth : c.depth;
        c.mlp = x->mlp != 0 ? x->mlp : c.mlp;
        c.image_height = x->image_height != 0 ? x->image_height : c.image_height;
        c.image_width = x->image_width != 0 ? x->image_width : c.image_width;
        c.classes = x->classes;
        c.head_bias = x->head_bias;
        c.head = x->head != 0 ? x->head : c.head;
        c.positions = x->positions;
        c.gelu = x->gelu;
        c.representation = x->representation;
        c.norm_eps = x->norm_eps != 0.0 ? x->norm_eps : c.norm_eps;
        vt_err err = {0};
        assert_int_equal(vt_model_check(&c, &err), VT_EINVAL);
        assert_non_null(strstr(err.msg, rows[i].word));
        vt_model m;
        assert_int_equal(vt_model_init(&m, &c, &err), VT_EINVAL);
        vt_model_release(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paper_shapes), cmocka_unit_test(test_variants),
        cmocka_unit_test(test_products),     cmocka_unit_test(test_token_and_representation),
        cmocka_unit_test(test_names),        cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
