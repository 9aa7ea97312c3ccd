/* What a run tells on the way: the line of norms and attention, few-shot accuracy, mixup's shares; and losses over
 * several classes from a recipe. */
#include "scene.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "train/mixup.h"

static scene here;

static int set_up(void **state)
{
    (void)state;
    scene_make(&here);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scene_remove(&here);
    return 0;
}

static void train(const char *run, vt_recipe r)
{
    vt_err err = {0};
    vt_train_result result;
    if (scene_train(&here, &r, run, NULL, &result, &err) != VT_OK)
        fail_msg("%s: %s", run, err.msg);
    vt_train_result_release(&result);
    vt_recipe_release(&r);
}

/* The first line of RUN/metrics.jsonl at that step which has the key; the caller's to release. */
static json_t *line_with(const char *run, int64_t step, const char *key)
{
    unsigned char *data = NULL;
    size_t size = 0;
    json_t *found = NULL;
    char *path = vt_path_join(scene_path(&here, run), "metrics.jsonl");
    assert_int_equal(vt_file_read(path, (size_t)1 << 24, &data, &size, NULL), VT_OK);
    char *text = vt_xasprintf("%.*s", (int)size, (const char *)data);
    for (char *line = text, *end; !found && (end = strchr(line, '\n')) != NULL; line = end + 1) {
        json_t *root = NULL;
        assert_int_equal(vt_json_parse(line, (size_t)(end - line), path, &root, NULL), VT_OK);
        if (json_object_get(root, key) && json_integer_value(json_object_get(root, "step")) == step)
            found = json_incref(root);
        json_decref(root);
    }
    free(text);
    free(data);
    free(path);
    if (!found)
        fail_msg("%s: no line of step %lld has \"%s\"", run, (long long)step, key);
    return found;
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* Breaks when a tensor is left out of its group, or norms are taken after clipping: the groups' norms are those of the
 * whole gradient, which the step's own line tells. */
static void norms_add_up(void **state)
{
    double gradient = 0, least_update = 1e9;
    const char *name;
    json_t *group;
    (void)state;
    train("norms", scene_recipe(&here, "train.watch_every=4", "optimizer.clip=0.5", NULL));
    json_t *watched = line_with("norms", 8, "norms"), *step = line_with("norms", 8, "grad_norm");
    json_object_foreach(json_object_get(watched, "norms"), name, group)
    {
        gradient += pow(number(group, "gradient"), 2);
        least_update = fmin(least_update, number(group, "update"));
        assert_true(number(group, "parameter") > 0);
    }
    assert_true(fabs(sqrt(gradient) / number(step, "grad_norm") - 1) < 1e-6);
    assert_true(least_update > 0);
    assert_non_null(json_object_get(json_object_get(watched, "norms"), "blocks.1"));
    assert_true(number(watched, "clipped_share") > 0); /* the loss of this scene begins steep */
    json_decref(watched);
    json_decref(step);
}

/* Breaks when entropies are not those of probabilities over the tokens: between 0 and ln(9). */
static void attention_is_watched(void **state)
{
    (void)state;
    train("attention",
          scene_recipe(&here, "train.watch_every=4", "train.recompute=block", "train.precision=bf16", NULL));
    json_t *watched = line_with("attention", 24, "attention"), *blocks = json_object_get(watched, "attention");
    assert_int_equal(json_array_size(blocks), 2);
    for (size_t l = 0; l < 2; l++) {
        const json_t *block = json_array_get(blocks, l);
        assert_true(number(block, "entropy") > 0 && number(block, "entropy") <= 2.1973);
        assert_true(number(block, "least_entropy") <= number(block, "entropy"));
        assert_true(number(block, "largest_score") > 0);
    }
    json_decref(watched);
}

/* Breaks when few-shot accuracy on the way is not measured when it is due, or changes the training. */
static void fewshot_on_the_way(void **state)
{
    char plain[VT_HASH_HEX], measured[VT_HASH_HEX];
    (void)state;
    scene_train_and_hash(&here, "plain", NULL, scene_recipe(&here, NULL), plain);
    scene_train_and_hash(&here, "fewshot", NULL,
                         scene_recipe(&here, "eval.fewshot=synthetic:shapes?classes=4&size=14&count=60&seed=3",
                                      "eval.fewshot_every=10 steps", "eval.fewshot_images=40", NULL),
                         measured);
    assert_string_equal(plain, measured);
    static const int64_t steps[] = {10, 20, 24};
    for (size_t i = 0; i < VT_COUNT_OF(steps); i++) {
        json_t *line = line_with("fewshot", steps[i], "fewshot"), *interval = json_object_get(line, "fewshot_interval");
        assert_true(json_number_value(json_array_get(interval, 0)) <= number(line, "fewshot"));
        assert_true(json_number_value(json_array_get(interval, 1)) >= number(line, "fewshot"));
        assert_int_equal(json_integer_value(json_object_get(line, "shots")), 5);
        json_decref(line);
    }
}

/* Breaks when rows of labels lose a class on their way to the loss, or what eval tells is another loss. */
static void several_classes(void **state)
{
    vt_text rows = {0};
    const char *labels = scene_path(&here, "labels.txt");
    (void)state;
    vt_source *shapes = NULL;
    assert_int_equal(vt_source_open(&shapes, "synthetic:shapes?classes=4&size=14&count=150", NULL), VT_OK);
    const char *names[4];
    for (int c = 0; c < 4; c++)
        names[c] = vt_source_class_name(shapes, c);
    for (int i = 0; i < 150; i++) {
        vt_text_addf(&rows, "%d", i);
        if (i % 5 != 0)
            vt_text_addf(&rows, "\t%s\t%s", names[2], i % 2 ? names[0] : names[3]);
        vt_text_add(&rows, "\n");
    }
    vt_source_close(shapes);
    assert_int_equal(vt_file_write(labels, rows.s, rows.len, NULL), VT_OK);
    vt_text_release(&rows);
    char *data = vt_xasprintf("synthetic:shapes?classes=4&size=14&count=150&seed=1&labels=%s", labels);
    char *train_on = vt_xasprintf("data.train=%s", data), *eval_on = vt_xasprintf("data.eval=%s", data);
    train("sets", scene_recipe(&here, train_on, eval_on, "loss.class_weights=balanced", "loss.mixup=0.2",
                               "optimizer.lr=5e-3", NULL));
    json_t *line = line_with("sets", 24, "eval_top1");
    /* 2 is a class of every labelled image: a model that learned only this is always right. */
    assert_true(number(line, "eval_top1") > 0.95);
    assert_true(number(line, "eval_loss") < 4 * 0.7);
    json_decref(line);
    free(train_on);
    free(eval_on);
    free(data);
}

/* Breaks when shares leave 0 .. 1/2, follow another distribution, or depend on anything but seed and step. */
static void mixup_shares(void **state)
{
    enum { N = 4000 };
    static const struct {
        double p, mean; /* of min(a, 1-a), a from Beta(p, p) */
    } known[] = {{1, 0.25}, {0.2, 0.1010}, {2, 0.3125}, {50, 0.4603}};
    (void)state;
    assert_true(vt_mixup_share(1, 1, 0) == 0);
    assert_true(vt_mixup_share(3, 5, 0.2) == vt_mixup_share(3, 5, 0.2));
    assert_true(vt_mixup_share(3, 5, 0.2) != vt_mixup_share(3, 6, 0.2));
    for (size_t k = 0; k < VT_COUNT_OF(known); k++) {
        double sum = 0;
        for (int64_t step = 0; step < N; step++) {
            double share = (double)vt_mixup_share(7, step, known[k].p);
            assert_true(share >= 0 && share <= 0.5);
            sum += share;
        }
        if (fabs(sum / N - known[k].mean) > 0.012) /* five standard errors of the widest */
            fail_msg("p = %g: mean %g, expected %g", known[k].p, sum / N, known[k].mean);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_add_up),    cmocka_unit_test(attention_is_watched), cmocka_unit_test(fewshot_on_the_way),
        cmocka_unit_test(several_classes), cmocka_unit_test(mixup_shares),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
