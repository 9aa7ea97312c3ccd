/* Logits, loss and gradients of a tiny model against timm's (tests/golden/timm_tiny.json, whose head says how it was
 * made), on every instruction set that this processor has. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden.h"
#include "rig.h"

static const char *golden_path; /* the test's argument */

static vt_model_config config_of(const json_t *golden, vt_head_kind head)
{
    const json_t *s = json_object_get(golden, "shape"), *image = json_object_get(s, "image");
    return (vt_model_config){.width = golden_integer(s, "width"),
                             .depth = golden_integer(s, "depth"),
                             .mlp = golden_integer(s, "mlp"),
                             .heads = golden_integer(s, "heads"),
                             .patch = golden_integer(s, "patch"),
                             .classes = golden_integer(s, "classes"),
                             .image_height = (int64_t)golden_number_at(image, 0),
                             .image_width = (int64_t)golden_number_at(image, 1),
                             .head = head,
                             .norm_eps = 1e-6};
}

/* Relative L2 distance of two vectors, the second given by the golden file. */
static double distance(const float *found, const json_t *expected, size_t n, double scale)
{
    double difference = 0.0, square = 0.0;
    for (size_t i = 0; i < n; i++) {
        double e = golden_number_at(expected, i), d = (double)found[i] - e;
        difference += d * d;
        square += e * e;
    }
    return sqrt(difference) / fmax(sqrt(square), scale);
}

static void check_logits(rig *r, const json_t *expected, int64_t batch)
{
    int64_t classes = r->model.config.classes;
    float *logits = rig_read(r, r->model.logits, batch * classes);
    double worst = 0.0;
    for (int64_t b = 0; b < batch; b++)
        golden_below(distance(logits + b * classes, json_array_get(expected, (size_t)b), (size_t)classes, 0.0), 1e-5,
                     &worst);
    free(logits);
    printf("  logits, relative L2: %.1e\n", worst);
}

/* Norm and first values of every gradient; nothing more in the file, nothing less. */
static void check_gradients(rig *r, const json_t *expected)
{
    double worst = 0.0;
    assert_int_equal(json_object_size(expected), r->model.n_params);
    for (int i = 0; i < r->model.n_params; i++) {
        const vt_tensor *t = &r->model.params[i];
        const json_t *e = golden_get(expected, t->name);
        golden_same_shape(e, t->dims, t->n_dims);

        float *g = rig_gradient(r, t);
        double square = 0.0, norm = json_number_value(json_object_get(e, "norm"));
        for (int64_t j = 0; j < t->count; j++)
            square += (double)g[j] * (double)g[j];
        golden_below(fabs(sqrt(square) / norm - 1.0), 1e-4, &worst);
        const json_t *first = json_object_get(e, "first");
        golden_below(distance(g, first, json_array_size(first), norm / sqrt((double)t->count)), 1e-4, &worst);
        free(g);
    }
    printf("  gradients, worst relative difference: %.1e\n", worst);
}

static void check_head(vt_head_kind head, const vt_isa *isa)
{
    json_t *golden = golden_load(golden_path);
    const json_t *expected = json_object_get(json_object_get(golden, "heads"), vt_head_names[head]);
    int64_t batch = golden_integer(golden, "batch");
    rig_options o = {.config = config_of(golden, head), .isa = isa, .samples = batch, .slices = 8, .train = true};
    rig r;
    rig_open(&r, &o);
    for (int64_t i = 0; i < batch; i++)
        assert_true(golden_number_at(json_object_get(golden, "labels"), (size_t)i) == (double)rig_label(&r, i));

    printf("%s on %s\n", vt_head_names[head], isa->name);
    double loss = rig_loss(&r, 0, batch), known = json_number_value(json_object_get(expected, "loss"));
    vt_model_backward(&r.model, &r.pass);
    check_logits(&r, json_object_get(expected, "logits"), batch);
    assert_true(fabs(loss / known - 1.0) < 1e-6);
    check_gradients(&r, json_object_get(expected, "gradients"));
    rig_close(&r);
    json_decref(golden);
}

/* Breaks when the model is no longer timm's: checkpoints would load there and give other answers. */
static void test_timm(void **state)
{
    (void)state;
    for (int i = 0; i < vt_n_isas; i++)
        for (int head = VT_HEAD_MAP; head <= VT_HEAD_GAP && vt_isas[i].usable(); head++)
            check_head((vt_head_kind)head, &vt_isas[i]);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    golden_path = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_timm)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
