/* data.cache: the same bytes with none, memory and file, and memory as planned. */
#include "scene.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static scene here;

static int set_up(void **state)
{
    (void)state;
    scene_make(&here);
    setenv("XDG_CACHE_HOME", here.dir, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scene_remove(&here);
    return 0;
}

static const char list[] = "data.preprocess=[resize(14), random_crop(12), flip]";
static char none[VT_HASH_HEX];

/* Breaks when kept pixels change a checkpoint. */
static void same_bytes(void **state)
{
    char hash[VT_HASH_HEX];
    (void)state;
    scene_train_and_hash(&here, "none", NULL, scene_recipe(&here, list, NULL), none);
    scene_train_and_hash(&here, "memory", NULL, scene_recipe(&here, list, "data.cache=memory", NULL), hash);
    assert_string_equal(none, hash);
    scene_train_and_hash(&here, "file", NULL, scene_recipe(&here, list, "data.cache=file", NULL), hash);
    assert_string_equal(none, hash);
    scene_train_and_hash(&here, "full", NULL, scene_recipe(&here, list, "data.cache=file", "data.workers=1", NULL),
                         hash);
    assert_string_equal(none, hash);
}

static int countdown;

static int stop_soon(void)
{
    return --countdown <= 0 ? 15 : 0;
}

/* Breaks when a run cannot go on with another cache than it began with. */
static void may_change_on_the_way(void **state)
{
    static const char *const caches[] = {"data.cache=memory", "data.cache=none", "data.cache=file"};
    char hash[VT_HASH_HEX];
    (void)state;
    for (int call = 0; call < 3; call++) {
        vt_err err = {0};
        vt_train_result result;
        vt_train_observer o = {.stop = stop_soon};
        vt_recipe r = scene_recipe(&here, list, caches[call], NULL);
        countdown = call < 2 ? 6 : 1000;
        assert_int_equal(scene_train(&here, &r, "changing", &o, &result, &err), call < 2 ? VT_ESTOPPED : VT_OK);
        vt_train_result_release(&result);
        vt_recipe_release(&r);
    }
    scene_hash(&here, "changing", hash);
    assert_string_equal(none, hash);
}

/* Breaks when decoded images in memory are not planned to the byte, or fresh images without end are to be kept. */
static void memory_is_planned(void **state)
{
    vt_err err = {0};
    vt_train_result plain, cached;
    (void)state;
    vt_recipe r = scene_recipe(&here, list, NULL);
    assert_int_equal(scene_train(&here, &r, "none", NULL, &plain, &err), VT_OK);
    vt_recipe_release(&r);
    r = scene_recipe(&here, list, "data.cache=memory", NULL);
    assert_int_equal(scene_train(&here, &r, "memory", NULL, &cached, &err), VT_OK);
    assert_int_equal(cached.plan_bytes - plain.plan_bytes, 150 * (16 + 14 * 14 * 3 + 4));
    assert_int_equal(cached.high_water_bytes, cached.plan_bytes);
    vt_recipe_release(&r);
    vt_train_result_release(&plain);
    vt_train_result_release(&cached);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes),
        cmocka_unit_test(may_change_on_the_way),
        cmocka_unit_test(memory_is_planned),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
