/* What a run promises besides its bytes: it stops and goes on, refuses what cannot be, keeps its plan, learns
 * something. */
#include "scene.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/text.h"

/* What the process holds besides the plan: code, libraries, stacks, small things on the heap (docs/memory.md). */
#define RESIDENT_CONSTANT ((size_t)24 << 20)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

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

static int stop_countdown;

static int stop_soon(void)
{
    return --stop_countdown <= 0 ? SIGTERM : 0;
}

/* Breaks when a stopped run is not saved, or the next start does not go on from there. */
static void stops_saves_and_goes_on(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    vt_train_observer o = {.stop = stop_soon};
    vt_recipe r = scene_recipe(&here, "train.save_every=0", NULL);
    (void)state;
    stop_countdown = 7;
    assert_int_equal(scene_train(&here, &r, "stopped", &o, &result, &err), VT_ESTOPPED);
    assert_non_null(strstr(err.msg, "stopped at step 7 of 24"));
    vt_train_result_release(&result);
    assert_int_equal(scene_train(&here, &r, "stopped", NULL, &result, &err), VT_OK);
    assert_int_equal(result.resumed_from, 7);
    assert_int_equal(result.step, 24);
    vt_train_result_release(&result);
    vt_recipe_release(&r);
}

/* Breaks when a setting that decides results can change in the middle of a run. */
static void changed_settings_are_refused(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    vt_recipe r = scene_recipe(&here, "optimizer.lr=3e-3", NULL);
    (void)state;
    assert_int_equal(scene_train(&here, &r, "stopped", NULL, &result, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "optimizer.lr (0.002 in the run, now 0.003)"));
    vt_train_result_release(&result);
    vt_recipe_release(&r);
}

/* Breaks when a checkpoint goes on under a recipe.yaml that was edited. */
static void edited_recipe_is_refused(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    vt_recipe r;
    char *path = vt_path_join(scene_path(&here, "stopped"), "recipe.yaml");
    unsigned char *text = NULL;
    size_t size = 0;
    (void)state;
    assert_int_equal(vt_file_read(path, 1 << 20, &text, &size, &err), VT_OK);
    char *seed = strstr((char *)text, "\n  seed: ");
    assert_non_null(seed);
    char was = seed[9];
    for (int edited = 1; edited >= 0; edited--) {
        seed[9] = edited ? (char)(was + 1) : was;
        assert_int_equal(vt_file_write(path, text, size, &err), VT_OK);
        assert_int_equal(vt_recipe_load(&r, path, NULL, 0, &err), VT_OK);
        assert_int_equal(scene_train(&here, &r, "stopped", NULL, &result, &err), edited ? VT_EINVAL : VT_OK);
        if (edited)
            assert_non_null(strstr(err.msg, "other settings"));
        vt_train_result_release(&result);
        vt_recipe_release(&r);
    }
    free(text);
    free(path);
}

/* Breaks when a run goes on although its images are others now. */
static void changed_data_is_refused(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    char *path = vt_path_join(scene_path(&here, "stopped"), "recipe.yaml");
    unsigned char *text = NULL;
    size_t size = 0;
    (void)state;
    assert_int_equal(vt_file_read(path, 1 << 20, &text, &size, &err), VT_OK);
    char *count = strstr((char *)text, "count=150");
    assert_non_null(count);
    memcpy(count, "count=151", 9);
    assert_int_equal(vt_file_write(path, text, size, &err), VT_OK);
    vt_recipe r;
    assert_int_equal(vt_recipe_load(&r, path, NULL, 0, &err), VT_OK);
    assert_int_equal(scene_train(&here, &r, "stopped", NULL, &result, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "data.train"));
    vt_train_result_release(&result);
    vt_recipe_release(&r);
    free(text);
    free(path);
}

/* Breaks when two trainings can write into one run folder. */
static void second_training_is_refused(void **state)
{
    vt_err err = {0};
    vt_lock lock;
    vt_train_result result;
    int ready[2], done[2];
    char byte = 0;
    (void)state;
    assert_int_equal(vt_make_dirs(scene_path(&here, "busy"), &err), VT_OK);
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(done), 0);
    pid_t child = fork();
    if (child == 0) {
        vt_status status = vt_lock_take(&lock, scene_path(&here, "busy/lock"), NULL);
        (void)!write(ready[1], &byte, 1);
        (void)!read(done[0], &byte, 1);
        _exit(status == VT_OK ? 0 : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    vt_recipe r = scene_recipe(&here, NULL);
    assert_int_equal(scene_train(&here, &r, "busy", NULL, &result, &err), VT_EBUSY);
    vt_train_result_release(&result);
    vt_recipe_release(&r);
    assert_int_equal(write(done[1], &byte, 1), 1);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* Breaks when the run takes other memory than the plan said, or memory that no line of the plan tells. */
static void plan_is_what_is_taken(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    vt_recipe r = scene_recipe(&here, "train.batch=256", "train.micro_batch=256", "schedule.length=6",
                               "schedule.cooldown=2", NULL);
    (void)state;
    assert_int_equal(scene_train(&here, &r, "plan", NULL, &result, &err), VT_OK);
    assert_int_equal(result.plan_bytes, result.high_water_bytes);
    assert_true(result.plan_bytes > 4 << 20);
    if (vt_resident_anonymous() == 0 || SANITIZED) {
        print_message("resident memory is not compared: %s\n",
                      SANITIZED ? "sanitizers take their own" : "this system does not tell it");
    } else {
        print_message("plan %zu, resident %zu\n", result.plan_bytes, result.resident_anonymous);
        assert_true(result.resident_anonymous <= result.plan_total + RESIDENT_CONSTANT);
    }
    vt_train_result_release(&result);
    vt_recipe_release(&r);
}

/* Breaks when pruning counts a broken checkpoint of a later step and removes the one that was just saved. */
static void what_was_saved_stays(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    vt_train_observer o = {.stop = stop_soon};
    char *dir = NULL;
    vt_recipe r = scene_recipe(&here, NULL);
    (void)state;
    assert_int_equal(scene_train(&here, &r, "pruned", NULL, &result, &err), VT_OK); /* leaves steps 20 and 24 */
    vt_train_result_release(&result);
    assert_int_equal(vt_file_write(scene_path(&here, "pruned/checkpoints/step-00000024/state.json"), "{}", 2, &err),
                     VT_OK);
    stop_countdown = 2;
    r.train.keep = 1;
    assert_int_equal(scene_train(&here, &r, "pruned", &o, &result, &err), VT_ESTOPPED);
    assert_int_equal(result.resumed_from, 20);
    assert_int_equal(vt_checkpoint_find(scene_path(&here, "pruned"), &dir, &err), VT_OK);
    assert_string_equal(vt_path_base(dir), "step-00000022");
    assert_false(vt_is_dir(scene_path(&here, "pruned/checkpoints/step-00000024")));
    free(dir);
    vt_train_result_release(&result);
    vt_recipe_release(&r);
}

/* Breaks when a new run that cannot be costs the old one, or starting anew removes what is not the run's own. */
static void fresh_removes_only_what_it_replaces(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    char *dir = NULL;
    vt_recipe wrong = scene_recipe(&here, "data.train=folder:absent", NULL),
              good = scene_recipe(&here, "train.seed=9", NULL);
    (void)state;
    assert_int_equal(vt_file_write(scene_path(&here, "pruned/notes.md"), "mine", 4, &err), VT_OK);
    assert_int_not_equal(vt_train(&wrong, scene_path(&here, "pruned"), true, NULL, &result, &err), VT_OK);
    vt_train_result_release(&result);
    assert_int_equal(vt_checkpoint_find(scene_path(&here, "pruned"), &dir, &err), VT_OK);
    free(dir);
    assert_int_equal(vt_train(&good, scene_path(&here, "pruned"), true, NULL, &result, &err), VT_OK);
    assert_int_equal(result.resumed_from, -1);
    assert_true(vt_is_file(scene_path(&here, "pruned/notes.md")));
    vt_train_result_release(&result);
    vt_recipe_release(&wrong);
    vt_recipe_release(&good);
}

/* Breaks when a run with numbers that are not finite goes on, or overwrites its last good checkpoint. */
static void divergence_stops_and_keeps_the_good(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    char *dir = NULL;
    vt_recipe r = scene_recipe(&here, "optimizer.lr=900", "optimizer.decay=0", "optimizer.decay_head=0",
                               "train.save_every=1 steps", "schedule.warmup=0", "schedule.length=4000 steps", NULL);
    (void)state;
    assert_int_equal(scene_train(&here, &r, "diverged", NULL, &result, &err), VT_EDIVERGED);
    assert_non_null(strstr(err.msg, "is not finite"));
    vt_train_result_release(&result);
    vt_recipe_release(&r);
    assert_int_equal(vt_checkpoint_find(scene_path(&here, "diverged"), &dir, &err), VT_OK);
    free(dir);
}

/* Breaks when the schedule does not end early enough for max_minutes. */
static void max_minutes_ends_the_run(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    vt_recipe r = scene_recipe(&here, "train.max_minutes=0.03", "schedule.length=1M steps", "schedule.warmup=3",
                               "schedule.cooldown=5", NULL);
    (void)state;
    assert_int_equal(scene_train(&here, &r, "minutes", NULL, &result, &err), VT_OK);
    assert_true(result.step > 5 && result.step < 1000000);
    vt_train_result_release(&result);
    vt_recipe_release(&r);
}

/* Breaks when training does not train: 32 images, looked at 300 times, must be known by heart (chance is 1 in 4). */
static void learns_by_heart(void **state)
{
    vt_err err = {0};
    vt_train_result result;
    const char *images = "synthetic:shapes?classes=4&size=14&count=32&seed=1";
    char *train = vt_xasprintf("data.train=%s", images), *eval = vt_xasprintf("data.eval=%s", images);
    vt_recipe r = scene_recipe(&here, train, eval, "data.preprocess=[central_crop(12)]", "train.batch=32",
                               "train.save_every=0", "schedule.length=300 steps", "schedule.warmup=20",
                               "schedule.cooldown=100", "optimizer.lr=6e-3", NULL);
    (void)state;
    assert_int_equal(scene_train(&here, &r, "by_heart", NULL, &result, &err), VT_OK);
    assert_true(result.evaluated);
    assert_int_equal(result.final_eval.count, 32);
    assert_true(result.final_eval.right1 >= 30);
    vt_train_result_release(&result);
    vt_recipe_release(&r);
    free(train);
    free(eval);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_is_what_is_taken),
        cmocka_unit_test(stops_saves_and_goes_on),
        cmocka_unit_test(changed_settings_are_refused),
        cmocka_unit_test(edited_recipe_is_refused),
        cmocka_unit_test(changed_data_is_refused),
        cmocka_unit_test(second_training_is_refused),
        cmocka_unit_test(what_was_saved_stays),
        cmocka_unit_test(fresh_removes_only_what_it_replaces),
        cmocka_unit_test(divergence_stops_and_keeps_the_good),
        cmocka_unit_test(max_minutes_ends_the_run),
        cmocka_unit_test(learns_by_heart),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
