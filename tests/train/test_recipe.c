/* The recipe: what is written is what was read, wrong values end in a sentence with the key, and a resumed run takes
 * only what may change. */
#include "scene.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "train/run_data.h"
#include "train/plan.h"

/* What the recipes here are held to. */
static const vt_data_facts data = {.images = 150, .classes = 4, .most_labels = 1};

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

/* Breaks when a key is not dumped, or not as it is parsed. */
static void dump_reads_back(void **state)
{
    vt_text first = {0}, second = {0};
    vt_err err = {0};
    vt_recipe again;
    vt_recipe r = scene_recipe(&here, "train.max_minutes=12.7", "schedule.warmup=3.3%",
                               "data.eval=", "optimizer.lr=0.00123456789", "train.seed=4294967295", NULL);
    (void)state;
    vt_recipe_dump(&r, &first);
    assert_int_equal(vt_file_write(scene_path(&here, "dump.yaml"), first.s, first.len, &err), VT_OK);
    if (vt_recipe_load(&again, scene_path(&here, "dump.yaml"), NULL, 0, &err) != VT_OK)
        fail_msg("%s\n%s", err.msg, first.s);
    vt_recipe_dump(&again, &second);
    assert_string_equal(first.s, second.s);
    vt_text_release(&first);
    vt_text_release(&second);
    vt_recipe_release(&r);
    vt_recipe_release(&again);
}

static void expect_wrong(const char *override, const char *words)
{
    vt_err err = {0};
    vt_training t;
    vt_recipe r;
    const char *path = scene_path(&here, "recipe.yaml");
    vt_status status = vt_recipe_load(&r, path, &override, 1, &err);
    if (status == VT_OK) {
        status = vt_recipe_resolve(&r, &data, &t, &err);
        vt_recipe_release(&r);
    }
    assert_int_not_equal(status, VT_OK);
    if (!strstr(err.msg, words))
        fail_msg("%s: expected \"%s\" in: %s", override, words, err.msg);
}

/* Breaks when a value that makes no model, schedule or list gets through, or its message does not name the key. */
static void wrong_values(void **state)
{
    (void)state;
    vt_recipe r = scene_recipe(&here, NULL); /* writes the file */
    vt_recipe_release(&r);
    expect_wrong("optimizer.Ir=1", "optimizer.lr");
    expect_wrong("optimizer.lr=fast", "optimizer.lr");
    expect_wrong("optimizer.lr=-1", "optimizer.lr");
    expect_wrong("model.head=cls", "map");
    expect_wrong("model.shape=Q/16", "model.shape");
    expect_wrong("model.image=13", "data.preprocess");
    expect_wrong("model.image=0", "model.image");
    expect_wrong("model.classes=3", "data.train has 4");
    expect_wrong("train.micro_batch=5", "divide train.batch");
    expect_wrong("train.slices=3", "power of two");
    expect_wrong("train.batch=-8", "train.batch");
    expect_wrong("schedule.length=50%", "schedule.length");
    expect_wrong("schedule.cooldown=25", "schedule.cooldown");
    expect_wrong("schedule.length=3 fortnights", "schedule.length");
    expect_wrong("data.eval_preprocess=[random_crop(12)]", "data.eval_preprocess");
    expect_wrong("data.preprocess=[inception_corp(12)]", "inception_crop");
    expect_wrong("data.value_max=-1", "data.value_max");
    expect_wrong("data.mean=[0.5, 0.5, 0.5]", "data.std");
    expect_wrong("data.std=[0.5, 0.5]", "data.mean");
    expect_wrong("train.seed=4294967296", "train.seed");
    expect_wrong("nonsense", "key=value");
}

/* Breaks when mean and deviation by color do not become the scale and offset of (pixel/255 - mean) / std. */
static void pixels_by_color(void **state)
{
    (void)state;
    vt_recipe r = scene_recipe(&here, "data.mean=[0.5, 0.25, 0]", "data.std=[0.5, 0.25, 1]", NULL);
    vt_pixel_range pixels;
    vt_err err = {0};
    assert_int_equal(vt_recipe_pixels(&r, &pixels, &err), VT_OK);
    const vt_pixel_range expected = {{2.0F / 255, 4.0F / 255, 1.0F / 255}, {-1, -1, -0.0F}};
    assert_memory_equal(&pixels, &expected, sizeof expected);
    vt_recipe_release(&r);
}

/* Breaks when auto is not taken from the run, or a fixed key is allowed to change, or a free one refused. */
static void reconcile(void **state)
{
    vt_text changes = {0};
    vt_err err = {0};
    (void)state;
    vt_recipe stored = scene_recipe(&here, NULL);
    vt_recipe free_keys = scene_recipe(&here, "train.micro_batch=auto", "train.threads=7", "train.keep=9", NULL);
    assert_int_equal(vt_recipe_reconcile(&free_keys, &stored, &changes, &err), VT_OK);
    assert_int_equal(free_keys.train.micro_batch, 8);
    assert_string_equal(changes.s, "train.threads: auto -> 7\ntrain.keep: 2 -> 9");
    vt_recipe fixed = scene_recipe(&here, "train.seed=6", "train.slices=8", NULL);
    assert_int_equal(vt_recipe_reconcile(&fixed, &stored, &changes, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "train.slices (4 in the run, now 8), train.seed (5 in the run, now 6)"));
    vt_text_release(&changes);
    vt_recipe_release(&stored);
    vt_recipe_release(&free_keys);
    vt_recipe_release(&fixed);
}

static void plan_of(const char *recompute, int64_t micro_batch, vt_plan *plan)
{
    const vt_isa *isa;
    vt_training t;
    vt_err err = {0};
    const vt_plan_data beside = {.sources = 100, .decode = 1000};
    vt_recipe r = scene_recipe(&here, recompute, NULL);
    assert_int_equal(vt_recipe_resolve(&r, &data, &t, &err), VT_OK);
    assert_int_equal(vt_isa_pick("ref", &isa, &err), VT_OK);
    t.micro_batch = micro_batch;
    if (vt_plan_training(&t, isa, &beside, plan, &err) != VT_OK)
        fail_msg("%s", err.msg);
    vt_recipe_release(&r);
}

/* Breaks when the plan does not add up, auto picks no divisor, or recomputation saves nothing. */
static void plan_adds_up(void **state)
{
    vt_plan none, block, automatic;
    (void)state;
    plan_of("train.recompute=none", 16, &none);
    plan_of("train.recompute=block", 16, &block);
    plan_of("train.recompute=none", 0, &automatic);
    size_t sum = 0;
    for (int i = 0; i < none.n_lines; i++)
        sum += none.lines[i].bytes;
    assert_int_equal(sum, none.total);
    assert_true(block.lines[VT_ARENA_ACTIVATIONS].bytes < none.lines[VT_ARENA_ACTIVATIONS].bytes);
    assert_int_equal(16 % automatic.micro_batch, 0);
}

/* Breaks when data.sampling does not reach the order, or an epoch of images without end has a length. */
static void sampling(void **state)
{
    static const char *const endless[] = {"data.train=synthetic:shapes?count=endless", "data.sampling=balanced"};
    vt_recipe r;
    vt_err err = {0};
    vt_source *source;
    (void)state;
    const char *path = scene_path(&here, "recipe.yaml");
    assert_int_equal(vt_recipe_load(&r, path, endless, 1, &err), VT_OK);
    assert_int_equal(vt_recipe_open_source(&r, &source, &err), VT_OK);
    assert_int_equal(vt_run_data_facts(&(vt_run_data){.train = source}).images, 0);
    vt_source_close(source);
    vt_recipe_release(&r);
    assert_int_equal(vt_recipe_load(&r, path, endless, 2, &err), VT_OK);
    assert_int_equal(vt_recipe_open_source(&r, &source, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "data.sampling"));
    vt_recipe_release(&r);
    static const char *const uneven[] = {"data.train=synthetic:shapes?count=9&classes=8", "data.sampling=balanced"};
    assert_int_equal(vt_recipe_load(&r, path, uneven, 2, &err), VT_OK);
    assert_int_equal(vt_recipe_open_source(&r, &source, &err), VT_OK);
    int64_t first = 0; /* class 0 has two of the nine images, and an eighth of the draws */
    for (int64_t p = 0; p < 800; p++)
        first += vt_source_label(source, vt_source_order(source, 1, p)) == 0;
    assert_int_equal(first, 100);
    vt_source_close(source);
    vt_recipe_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(dump_reads_back), cmocka_unit_test(pixels_by_color),
                                       cmocka_unit_test(wrong_values),    cmocka_unit_test(reconcile),
                                       cmocka_unit_test(plan_adds_up),    cmocka_unit_test(sampling)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
