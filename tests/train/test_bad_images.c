/* Runs whose images are partly broken: within data.max_bad they go on to the same bytes and say what was bad, beyond it
 * they end with a sentence and a checkpoint. */
#include "scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/philox.h"
#include "base/text.h"

enum { COUNT = 40 };
static const int broken[] = {2, 7, 21, 33};

static scene here;

/* 40 images of 14 x 14 in two classes; the broken ones are cut short. */
static void write_images(const char *dir)
{
    uint8_t pixels[14 * 14 * 3];
    vt_image image = {.width = 14, .height = 14, .pixels = pixels, .capacity = sizeof pixels};
    for (int i = 0; i < COUNT; i++) {
        char name[64];
        vt_rng rng = vt_rng_at(1, VT_STREAM_TEST, (uint64_t)i, 0);
        for (size_t k = 0; k < sizeof pixels; k++)
            pixels[k] = (uint8_t)vt_rng_below(&rng, 256);
        (void)snprintf(name, sizeof name, "%s/%s", dir, i % 2 ? "odd" : "even");
        assert_int_equal(vt_make_dirs(scene_path(&here, name), NULL), VT_OK);
        (void)snprintf(name, sizeof name, "%s/%s/%02d.png", dir, i % 2 ? "odd" : "even", i);
        assert_int_equal(vt_image_write_png(&image, scene_path(&here, name), NULL), VT_OK);
        for (size_t k = 0; k < VT_COUNT_OF(broken); k++)
            if (broken[k] == i)
                assert_int_equal(vt_file_write(scene_path(&here, name), "no image", 8, NULL), VT_OK);
    }
}

static char train_key[300], eval_key[300];

static int set_up(void **state)
{
    (void)state;
    scene_make(&here);
    write_images("images");
    (void)snprintf(train_key, sizeof train_key, "data.train=%s", scene_path(&here, "images"));
    (void)snprintf(eval_key, sizeof eval_key, "data.eval=%s", scene_path(&here, "images"));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scene_remove(&here);
    return 0;
}

static int countdown;

static int stop_soon(void)
{
    return --countdown <= 0 ? 15 : 0;
}

/* Lines of metrics.jsonl that have key. */
static int count_lines(const char *run, const char *key)
{
    unsigned char *text = NULL;
    size_t size;
    int n = 0;
    char *path = vt_path_join(scene_path(&here, run), "metrics.jsonl");
    assert_int_equal(vt_file_read(path, 1 << 20, &text, &size, NULL), VT_OK);
    for (const char *p = (const char *)text; (p = strstr(p, key)) != NULL; p++)
        n++;
    free(text);
    free(path);
    return n;
}

/* Breaks when workers or an interruption change the bytes of a run with bad images, an image is named twice or never,
 * or the evaluation counts what it could not read. */
static void goes_on_to_the_same_bytes(void **state)
{
    char whole[VT_HASH_HEX], parts[VT_HASH_HEX];
    vt_train_result result;
    vt_err err = {0};
    vt_train_observer o = {.stop = stop_soon};
    (void)state;
    scene_train_and_hash(&here, "whole", NULL,
                         scene_recipe(&here, train_key, eval_key, "data.max_bad=4", "data.workers=1", NULL), whole);
    vt_recipe r = scene_recipe(&here, train_key, eval_key, "data.max_bad=10%", "data.workers=3", NULL);
    for (int call = 0;; call++) {
        countdown = call < 4 ? 2 + call : 1000;
        vt_status status = scene_train(&here, &r, "parts", &o, &result, &err);
        if (status == VT_OK)
            break;
        assert_int_equal(status, VT_ESTOPPED);
        vt_train_result_release(&result);
    }
    assert_int_equal(result.bad, 4);
    assert_int_equal(result.data_images, COUNT);
    assert_int_equal(result.final_eval.bad, 4);
    assert_int_equal(result.final_eval.count, COUNT - 4);
    vt_train_result_release(&result);
    vt_recipe_release(&r);
    scene_hash(&here, "parts", parts);
    assert_string_equal(whole, parts);
    static const char *const runs[] = {"whole", "parts"};
    for (int k = 0; k < 2; k++) {
        assert_int_equal(count_lines(runs[k], "\"data\":\"data.train\",\"bad_image\""), 4);
        assert_int_equal(count_lines(runs[k], "eval_bad_images\":4"), 1);
    }
    assert_int_equal(count_lines("whole", "\"data\":\"data.eval\",\"bad_image\""), 4);
}

/* Breaks when the state forgets which images were bad. */
static void the_state_lists_them(void **state)
{
    char *dir = NULL;
    vt_train_state s = {0};
    (void)state;
    assert_int_equal(vt_checkpoint_find(scene_path(&here, "whole"), &dir, NULL), VT_OK);
    assert_int_equal(vt_checkpoint_read_state(dir, &s, NULL), VT_OK);
    assert_int_equal(json_array_size(s.bad), 4);
    /* the even class comes first */
    const int expected[4] = {broken[0] / 2, 20 + broken[1] / 2, 20 + broken[2] / 2, 20 + broken[3] / 2};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(json_integer_value(json_array_get(s.bad, i)), expected[i]);
    vt_train_state_release(&s);
    free(dir);
}

/* Breaks when a run passes its limit in silence, loses what it has trained, or does not go on once the limit is raised.
 */
static void ends_beyond_the_limit(void **state)
{
    char whole[VT_HASH_HEX], raised[VT_HASH_HEX];
    vt_err err = {0};
    vt_train_result result;
    (void)state;
    vt_recipe r =
        scene_recipe(&here, train_key, "data.eval=", "data.max_bad=3", "train.batch=4", "train.micro_batch=4", NULL);
    assert_int_equal(scene_train(&here, &r, "limit", NULL, &result, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "3 images could not be used, which is all that data.max_bad allows"));
    assert_non_null(strstr(err.msg, " is saved in "));
    assert_true(result.step > 0 && result.step < 24);
    assert_int_equal(result.bad, 3);
    vt_train_result_release(&result);
    vt_recipe_release(&r);
    scene_train_and_hash(
        &here, "limit", NULL,
        scene_recipe(&here, train_key, "data.eval=", "data.max_bad=4", "train.batch=4", "train.micro_batch=4", NULL),
        raised);
    scene_train_and_hash(
        &here, "never", NULL,
        scene_recipe(&here, train_key, "data.eval=", "data.max_bad=4", "train.batch=4", "train.micro_batch=4", NULL),
        whole);
    assert_string_equal(whole, raised);
}

/* Breaks when a run without a limit goes on. */
static void stops_at_the_first_without_a_limit(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    (void)state;
    vt_recipe r = scene_recipe(&here, train_key, "data.eval=", NULL);
    assert_int_equal(scene_train(&here, &r, "none", NULL, &result, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, ".png"));
    vt_train_result_release(&result);
    vt_recipe_release(&r);
}

/* Breaks when a bad image of eval.fewshot, met on the way, costs what was trained before it. */
static void few_shots_end_it_saved(void **state)
{
    char shots_key[320];
    vt_err err = {0};
    vt_train_result result;
    (void)state;
    (void)snprintf(shots_key, sizeof shots_key, "eval.fewshot=%s", scene_path(&here, "images"));
    vt_recipe r = scene_recipe(&here, train_key, eval_key, shots_key, "eval.fewshot_every=3", "eval.fewshot_shots=20",
                               "data.max_bad=4", "train.save_every=3", NULL);
    assert_int_equal(scene_train(&here, &r, "shots", NULL, &result, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, ".png"));
    assert_non_null(strstr(err.msg, "step 3 is saved in "));
    assert_non_null(result.checkpoint);
    vt_train_result_release(&result);
    vt_recipe_release(&r);
}

/* Breaks when a limit that means nothing is taken. */
static void refuses_other_units(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    (void)state;
    static const char *const wrong[] = {"data.max_bad=3 epochs", "data.max_bad=10 steps", "data.max_bad=2M images"};
    for (size_t i = 0; i < VT_COUNT_OF(wrong); i++) {
        vt_recipe r = scene_recipe(&here, wrong[i], NULL);
        assert_int_equal(scene_train(&here, &r, "unit", NULL, &result, &err), VT_EINVAL);
        assert_non_null(strstr(err.msg, "data.max_bad"));
        vt_train_result_release(&result);
        vt_recipe_release(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_to_the_same_bytes), cmocka_unit_test(the_state_lists_them),
        cmocka_unit_test(ends_beyond_the_limit),     cmocka_unit_test(stops_at_the_first_without_a_limit),
        cmocka_unit_test(few_shots_end_it_saved),    cmocka_unit_test(refuses_other_units),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
