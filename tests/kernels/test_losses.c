/* Losses and their gradients against PyTorch in float64 (tests/golden/losses.json, whose head says how it was made), on
 * every instruction set that this processor has. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/philox.h"
#include "kernels/backend.h"

enum { BATCH = 5, CLASSES = 37, WIDTH = 3 };

static const char *golden_path; /* the test's argument */

static double number(const json_t *value)
{
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void draw(const char *name, float scale, float offset, float *x, int64_t count)
{
    for (int64_t j = 0; j < count; j++) {
        uint32_t word = vt_philox(7, VT_STREAM_TEST, (uint64_t)j / 4, vt_fnv1a(name), 0).v[j % 4];
        x[j] = offset + (2.0F * ((float)(word >> 8) * 0x1p-24F) - 1.0F) * scale;
    }
}

/* The partner's row of labels, then the sample's, from pairs of label and share; the partner's share. */
static float read_labels(const json_t *pairs, int32_t labels[2 * WIDTH])
{
    size_t i;
    const json_t *pair;
    int n[2] = {0, 0};
    float share = 0;
    for (int k = 0; k < 2 * WIDTH; k++)
        labels[k] = -1;
    json_array_foreach(pairs, i, pair)
    {
        const double of_label = number(json_array_get(pair, 1));
        const int own = of_label > 0.5;
        assert_true(n[own] < WIDTH);
        labels[own * WIDTH + n[own]++] = (int32_t)number(json_array_get(pair, 0));
        if (of_label < 1)
            share = (float)(own ? 1 - of_label : of_label);
    }
    return share;
}

/* Float32 functions are within some roundings of their terms, whose sum over classes is the loss; a slope is the
 * difference of numbers up to 1. */
static void check_sample(const vt_ops *ops, const vt_exec *ex, const json_t *c, size_t b)
{
    float logits[BATCH * CLASSES], class_weights[CLASSES], loss, slopes[CLASSES];
    int32_t labels[2 * WIDTH];
    const float share = read_labels(json_array_get(json_object_get(c, "targets"), b), labels);
    const double scale = number(json_object_get(c, "scale"));
    const bool weighted = json_is_true(json_object_get(c, "weighted"));
    draw("logits", (float)scale, 0, logits, BATCH * CLASSES);
    draw("class_weights", 0.9F, 1, class_weights, CLASSES);
    const vt_cross_entropy_args a = {
        .kind =
            strcmp(json_string_value(json_object_get(c, "kind")), "softmax") == 0 ? VT_LOSS_SOFTMAX : VT_LOSS_SIGMOID,
        .samples = 1,
        .classes = CLASSES,
        /* one label alone takes a path of its own */
        .label_width = share > 0 || labels[WIDTH + 1] >= 0 || labels[WIDTH] < 0 ? WIDTH : 1,
        .logits = logits + b * CLASSES,
        .labels = labels + WIDTH,
        .partner_share = share,
        .smoothing = (float)number(json_object_get(c, "smoothing")),
        .class_weights = weighted ? class_weights : NULL,
        .weight = 1.0F / BATCH,
        .loss = &loss,
        .dlogits = slopes};
    ops->cross_entropy(ex, &a);
    const double expected = number(json_array_get(json_object_get(c, "losses"), b));
    if (!(fabs((double)loss * BATCH - expected) <= 1e-6 * fabs(expected)))
        fail_msg("loss %zu is %.9g, expected %.9g", b, (double)loss * BATCH, expected);
    for (size_t k = 0; k < CLASSES; k++) {
        const double slope = number(json_array_get(json_object_get(c, "gradient"), b * CLASSES + k));
        if (!(fabs((double)slopes[k] - slope) <= 1e-6 / BATCH))
            fail_msg("slope %zu of sample %zu is %.9g, expected %.9g", k, b, (double)slopes[k], slope);
    }
}

/* Breaks when a loss is no longer what people know by its name, for any kind of target. */
static void test_golden(void **state)
{
    (void)state;
    static uint64_t scratch[1 << 14];
    json_error_t problem;
    json_t *golden = json_load_file(golden_path, 0, &problem);
    assert_non_null(golden);
    for (int i = 0; i < vt_n_isas; i++) {
        vt_pool *pool;
        vt_ops ops;
        size_t k;
        const json_t *c;
        if (!vt_isas[i].usable())
            continue;
        assert_int_equal(vt_pool_new(&pool, 1, NULL), VT_OK);
        vt_isas[i].fill(&ops);
        const vt_exec ex = {pool, (unsigned char *)scratch, sizeof scratch};
        assert_true(json_array_size(json_object_get(golden, "cases")) >= 16);
        json_array_foreach(json_object_get(golden, "cases"), k, c) for (size_t b = 0; b < BATCH; b++)
            check_sample(&ops, &ex, c, b);
        vt_pool_free(pool);
    }
    json_decref(golden);
}

/* Breaks when a logit that is not finite gives a loss that is: a run would not notice that it diverges. */
static void test_not_finite(void **state)
{
    (void)state;
    static uint64_t scratch[1 << 14];
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < vt_n_isas * 2 * 3; i++) {
        const vt_isa *isa = &vt_isas[i / 6];
        const int32_t label = 3;
        float logits[CLASSES] = {0}, loss = 0;
        vt_pool *pool;
        vt_ops ops;
        if (!isa->usable())
            continue;
        const vt_loss_kind kind = i % 2 ? VT_LOSS_SOFTMAX : VT_LOSS_SIGMOID;
        const float x = bad[i / 2 % 3];
        if (kind == VT_LOSS_SOFTMAX && x < 0)
            continue; /* a class that is never chosen */
        assert_int_equal(vt_pool_new(&pool, 1, NULL), VT_OK);
        isa->fill(&ops);
        const vt_exec ex = {pool, (unsigned char *)scratch, sizeof scratch};
        for (int at = 0; at < CLASSES; at++) {
            if (x < 0 && at != label)
                continue; /* right, for sure */
            if (x > 0 && at == label)
                continue;
            memset(logits, 0, sizeof logits);
            logits[at] = x;
            ops.cross_entropy(&ex, &(vt_cross_entropy_args){.kind = kind,
                                                            .samples = 1,
                                                            .classes = CLASSES,
                                                            .label_width = 1,
                                                            .logits = logits,
                                                            .labels = &label,
                                                            .weight = 1,
                                                            .loss = &loss});
            assert_false(isfinite(loss));
        }
        vt_pool_free(pool);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    golden_path = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_not_finite)};
    return cmocka_run_group_tests_name("kernels/losses", tests, NULL, NULL);
}
