/* Calibration and mean average precision against SciPy's and NumPy's (tests/golden/calibration.json, whose head says
 * how it was made), and what must hold at the ends of the range. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/philox.h"
#include "eval/calibrate.h"

static json_t *golden;

static int64_t integer(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* Lane j of tensor "CASE.what". */
static uint32_t lane(const json_t *g, const char *what, int64_t j)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", json_string_value(json_object_get(g, "name")), what);
    return vt_philox((uint32_t)integer(golden, "philox_seed"), VT_STREAM_TEST, (uint64_t)j / 4, vt_fnv1a(name), 0)
        .v[j % 4];
}

/* The images of a golden case, by its rule. */
static vt_scores draw(const json_t *g)
{
    const int64_t count = integer(g, "count"), classes = integer(golden, "classes");
    const float sharpness = (float)number(g, "sharpness"), lift = (float)number(g, "lift");
    vt_scores s;
    assert_int_equal(vt_scores_new(&s, count, classes, (int)integer(golden, "width"), NULL), VT_OK);
    for (int64_t i = 0; i < count; i++, s.count++) {
        int n = json_is_true(json_object_get(g, "sets")) ? 1 + (int)(lane(g, "more", i) % 3) : 1;
        int32_t first = (int32_t)(lane(g, "labels", i) % (uint32_t)classes), *row = s.labels + i * s.width;
        for (int k = 0; k < s.width; k++)
            row[k] = -1;
        for (int32_t c = 0, met = 0; c < classes; c++) {
            float u = (float)(lane(g, "logits", i * classes + c) >> 8) * 0x1p-24F, z = sharpness * (2 * u - 1);
            bool own = (c - first + classes) % classes < n;
            s.logits[i * classes + c] = own ? z + lift : z + 0;
            if (own)
                row[met++] = c;
        }
    }
    return s;
}

static void check_close(double x, double known, double tolerance)
{
    if (!(fabs(x - known) <= tolerance * fmax(1e-3, fabs(known))))
        fail_msg("%.17g, expected %.17g", x, known);
}

static void check_figures(const vt_calibration_figures *f, const json_t *g)
{
    check_close(f->ece, number(g, "ece"), 1e-7);
    check_close(f->nll, number(g, "nll"), 1e-7);
    check_close(f->brier, number(g, "brier"), 1e-7);
    for (size_t m = 0; m < VT_CALIBRATION_BINS; m++) {
        const json_t *bin = json_array_get(json_object_get(g, "bins"), m);
        assert_int_equal(f->bins[m].count, json_integer_value(json_array_get(bin, 0)));
        assert_int_equal(f->bins[m].right, json_integer_value(json_array_get(bin, 1)));
        check_close(f->bins[m].confidence, json_number_value(json_array_get(bin, 2)), 1e-7);
    }
}

static vt_confidence kind_of(const json_t *g)
{
    bool softmax = strcmp(json_string_value(json_object_get(g, "kind")), "softmax") == 0;
    return softmax ? VT_CONFIDENCE_SOFTMAX : VT_CONFIDENCE_SIGMOID;
}

/* Breaks when a figure or a temperature is not SciPy's, when halves are others than said, or a half is measured with
 * its own temperature. */
static void test_golden(void **state)
{
    const json_t *cases = json_object_get(golden, "cases");
    assert_true(json_array_size(cases) >= 5);
    for (size_t k = 0; k < json_array_size(cases); k++) {
        const json_t *g = json_array_get(cases, k);
        vt_scores s = draw(g);
        vt_pool *pool;
        vt_calibration c;
        assert_int_equal(vt_pool_new(&pool, 1, NULL), VT_OK);
        assert_int_equal(vt_calibrate(&s, kind_of(g), pool, &c, NULL), VT_OK);
        for (size_t h = 0; h < 2; h++) {
            assert_false(c.fitted[h].at_limit);
            check_close(c.fitted[h].temperature,
                        json_number_value(json_array_get(json_object_get(g, "temperatures"), h)), 1e-7);
            check_close(c.halves[h][0].ece, json_number_value(json_array_get(json_object_get(g, "halves_before"), h)),
                        1e-7);
            check_close(c.halves[h][1].ece, json_number_value(json_array_get(json_object_get(g, "halves_after"), h)),
                        1e-7);
        }
        check_figures(&c.before, json_object_get(g, "before"));
        check_figures(&c.after, json_object_get(g, "after"));
        vt_pool_free(pool);
        vt_scores_release(&s);
    }
}

/* Breaks when average precision counts ties, ranks or classes in another way. */
static void test_average_precision(void **state)
{
    const json_t *cases = json_object_get(golden, "cases");
    for (size_t k = 0; k < json_array_size(cases); k++) {
        const json_t *g = json_array_get(cases, k);
        vt_scores s = draw(g);
        int64_t met;
        check_close(vt_mean_average_precision(&s, &met), number(g, "mean_average_precision"), 1e-12);
        assert_int_equal(met, s.classes);
        vt_scores_release(&s);
    }
    /* class 0: images 1 and 2 of equal logits, 2 is its own: 1/2; class 1: image 0 leads; class 2 has no image */
    float logits[9] = {1, 5, 0, 3, 4, 0, 3, 0, 0};
    int32_t labels[3] = {1, 1, 0};
    vt_scores s = {.count = 3, .classes = 3, .width = 1, .logits = logits, .labels = labels};
    int64_t met;
    assert_true(vt_mean_average_precision(&s, &met) == (0.5 + 1) / 2);
    assert_int_equal(met, 2);
}

/* Breaks when figures depend on the number of threads or on who computes what. */
static void test_threads(void **state)
{
    const json_t *g = json_array_get(json_object_get(golden, "cases"), 0);
    vt_scores s = draw(g);
    vt_calibration c[2];
    memset(c, 0, sizeof c);
    for (int k = 0; k < 2; k++) {
        vt_pool *pool;
        assert_int_equal(vt_pool_new(&pool, 1 + 2 * k, NULL), VT_OK);
        vt_pool_shuffle(pool, 5 * (uint32_t)k);
        assert_int_equal(vt_calibrate(&s, VT_CONFIDENCE_SOFTMAX, pool, &c[k], NULL), VT_OK);
        vt_pool_free(pool);
    }
    assert_true(c[0].fitted[0].temperature == c[1].fitted[0].temperature && c[0].after.nll == c[1].after.nll &&
                c[0].after.ece == c[1].after.ece && c[0].before.brier == c[1].before.brier);
    vt_scores_release(&s);
}

/* Breaks when the search does not end, or claims a temperature, where all images are right or all are wrong; when huge
 * logits give something that is not a number; or when one image or a broken logit is measured. */
static void test_ends(void **state)
{
    float logits[8] = {3e30F, -3e30F, 3, 1, 1, 2, 5, 3e30F};
    int32_t right[4] = {0, 0, 1, 1}, wrong[4] = {1, 1, 0, 0};
    vt_pool *pool;
    vt_err err = {0};
    vt_calibration c;
    assert_int_equal(vt_pool_new(&pool, 1, NULL), VT_OK);
    for (vt_confidence kind = VT_CONFIDENCE_SIGMOID; kind <= VT_CONFIDENCE_SOFTMAX; kind++)
        for (int k = 0; k < 2; k++) {
            vt_scores s = {.count = 4, .classes = 2, .width = 1, .logits = logits, .labels = k ? wrong : right};
            assert_int_equal(vt_calibrate(&s, kind, pool, &c, NULL), VT_OK);
            for (int h = 0; h < 2; h++) {
                assert_true(c.fitted[h].temperature >= 0x1p-10 && c.fitted[h].temperature <= 0x1p10);
                if (kind == VT_CONFIDENCE_SOFTMAX) {
                    assert_true(c.fitted[h].at_limit);
                    assert_true(c.fitted[h].temperature == (k ? 0x1p10 : 0x1p-10));
                }
            }
            assert_true(isfinite(c.before.ece) && isfinite(c.after.brier) && isfinite(c.after.nll));
        }
    vt_scores s = {.count = 1, .classes = 2, .width = 1, .logits = logits, .labels = right};
    assert_int_equal(vt_calibrate(&s, VT_CONFIDENCE_SOFTMAX, pool, &c, &err), VT_EINVAL);
    s.count = 4;
    logits[5] = -INFINITY;
    assert_int_equal(vt_calibrate(&s, VT_CONFIDENCE_SOFTMAX, pool, &c, &err), VT_EDIVERGED);
    vt_pool_free(pool);
    assert_int_equal(vt_scores_new(&s, INT64_C(1) << 40, 1 << 15, 1, &err), VT_ENOMEM);
    assert_non_null(strstr(err.msg, "limit=N"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_average_precision),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_ends),
    };
    assert_int_equal(argc, 2);
    golden = json_load_file(argv[1], 0, NULL);
    assert_non_null(golden);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return failed;
}
