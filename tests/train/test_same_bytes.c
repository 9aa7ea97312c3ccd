/* One recipe, one seed, one instruction set: one final checkpoint, to the byte, whatever the threads, workers, order of
 * work, recomputation, evaluation, or the moments at which the run was killed. The tests run twice: with the recipe as
 * it is, and with everything on that could make a difference. */
#include "scene.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/philox.h"
#include "base/text.h"

static scene here;
static char reference[VT_HASH_HEX];

static const char *const everything[] = {"train.precision=bf16",
                                         "loss.mixup=0.3",
                                         "model.dropout=0.1",
                                         "model.drop_path=0.2",
                                         "model.head=tok",
                                         "model.representation=16",
                                         "optimizer.average=ema",
                                         "optimizer.average_decay=0.9",
                                         "optimizer.rules=[pos_embed: freeze, blocks\\.0\\..*: lr 0.5]",
                                         "train.watch_every=3",
                                         NULL};

static const char *const *mode; /* settings of the recipes: NULL, or everything */

static int set_up(void **state)
{
    (void)state;
    here = (scene){.settings = mode};
    scene_make(&here);
    scene_train_and_hash(&here, "reference", NULL, scene_recipe(&here, "train.threads=1", "data.workers=1", NULL),
                         reference);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scene_remove(&here);
    return 0;
}

static void expect_reference(const char *run, const vt_train_observer *o, vt_recipe r)
{
    char hex[VT_HASH_HEX];
    scene_train_and_hash(&here, run, o, r, hex);
    assert_string_equal(hex, reference);
}

/* Breaks when a sum depends on which thread, or how many, worked on it. */
static void threads_do_not_matter(void **state)
{
    (void)state;
    expect_reference("two", NULL, scene_recipe(&here, "train.threads=2", NULL));
    expect_reference("three", NULL, scene_recipe(&here, "train.threads=3", NULL));
}

/* Breaks when a chunk of work reads what another chunk of the same operation wrote. */
static void order_of_work_does_not_matter(void **state)
{
    (void)state;
    vt_train_observer shuffled = {.shuffle_chunks = 77};
    expect_reference("shuffled", &shuffled, scene_recipe(&here, "train.threads=2", NULL));
}

/* Breaks when a sample's augmentation depends on the worker that made it. */
static void workers_do_not_matter(void **state)
{
    (void)state;
    expect_reference("workers", NULL, scene_recipe(&here, "data.workers=3", NULL));
}

/* Breaks when the second computation of a block differs from the first. */
static void recomputation_does_not_matter(void **state)
{
    (void)state;
    expect_reference("recompute", NULL, scene_recipe(&here, "train.recompute=block", NULL));
}

/* Breaks when a checkpoint that is written while training goes on holds anything of a later step. */
static void background_saves_do_not_matter(void **state)
{
    (void)state;
    expect_reference("waiting", NULL, scene_recipe(&here, "train.background_save=false", NULL));
    expect_reference("often", NULL, scene_recipe(&here, "train.save_every=1 steps", NULL));
}

/* Breaks when an evaluation in between touches the state of training. */
static void evaluation_does_not_matter(void **state)
{
    (void)state;
    expect_reference("eval", NULL, scene_recipe(&here, "eval.every=3 steps", NULL));
}

/* Breaks when the dot product of bf16 pairs and its emulation round differently. */
static void instruction_and_emulation_agree(void **state)
{
    char hex[VT_HASH_HEX], emulated[VT_HASH_HEX];
    const vt_isa *isa;
    (void)state;
    if (vt_isa_pick("avx512bf16", &isa, NULL) != VT_OK) {
        print_message("skipped: this processor has no AVX-512 BF16\n");
        skip();
    }
    assert_int_equal(setenv("VITRO_ISA", "avx512bf16", 1), 0);
    scene_train_and_hash(&here, "instruction", NULL, scene_recipe(&here, NULL), hex);
    assert_int_equal(setenv("VITRO_ISA", "avx512", 1), 0);
    scene_train_and_hash(&here, "emulation", NULL, scene_recipe(&here, NULL), emulated);
    assert_int_equal(unsetenv("VITRO_ISA"), 0);
    assert_string_equal(hex, emulated);
    assert_string_equal(hex, reference);
}

/* Breaks when a branch of a long run loses a moment, an average, or its place in the data or the schedule. */
static void branch_equals_uninterrupted_run(void **state)
{
    char hex[VT_HASH_HEX], twin[VT_HASH_HEX];
    char *from = vt_xasprintf("from=%s", scene_path(&here, "trunk/checkpoints/step-00000010"));
    (void)state;
    scene_train_and_hash(&here, "trunk", NULL,
                         scene_recipe(&here, "schedule.cooldown=0", "train.keep=9", "schedule.length=20", NULL), hex);
    scene_train_and_hash(
        &here, "branch", NULL,
        scene_recipe(&here, from, "schedule.cooldown=4", "schedule.cooldown_shape=1-sqrt", "schedule.length=15", NULL),
        hex);
    scene_train_and_hash(
        &here, "twin", NULL,
        scene_recipe(&here, "schedule.cooldown=4", "schedule.cooldown_shape=1-sqrt", "schedule.length=15", NULL), twin);
    free(from);
    assert_string_equal(hex, twin);
}

/* Must differ: a comparison that always holds would prove nothing. */
static void another_seed_gives_other_bytes(void **state)
{
    char hex[VT_HASH_HEX];
    (void)state;
    scene_train_and_hash(&here, "seed", NULL, scene_recipe(&here, "train.seed=6", NULL), hex);
    assert_string_not_equal(hex, reference);
}

/* --- killed ----------------------------------------------------------------------------------------------------------
 */

static pid_t start_training(const char *run)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        vt_err err = {0};
        vt_train_result result;
        vt_recipe r = scene_recipe(&here, "train.threads=2", "train.save_every=1 steps", NULL);
        vt_status status = scene_train(&here, &r, run, NULL, &result, &err);
        if (status != VT_OK)
            (void)dprintf(2, "%s\n", err.msg);
        _exit(status == VT_OK ? 0 : 1);
    }
    return child;
}

static void sleep_us(long us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    (void)nanosleep(&t, NULL);
}

/* Waits until a checkpoint is being written (its temporary folder is there) or the child ends. */
static bool save_under_way(const char *run, pid_t child, int *status)
{
    char *checkpoints = vt_path_join(scene_path(&here, run), "checkpoints");
    bool seen = false;
    while (!seen && waitpid(child, status, WNOHANG) == 0) {
        char **names = NULL;
        size_t n = 0;
        if (vt_is_dir(checkpoints) && vt_list_dir(checkpoints, &names, &n, NULL) == VT_OK)
            for (size_t i = 0; i < n; i++)
                seen = seen || vt_has_prefix(names[i], ".tmp-");
        vt_free_names(names, n);
    }
    free(checkpoints);
    return seen;
}

/* Runs and kills until the run is through; *kills counts. during_save: kill while a checkpoint is written. */
static void train_under_fire(const char *run, bool during_save, int most_kills, int *kills)
{
    vt_rng rng = vt_rng_at(9, VT_STREAM_TEST, 0, 0);
    for (*kills = 0;;) {
        int status = 0;
        pid_t child = start_training(run);
        if (*kills < most_kills) {
            long wait = (long)vt_rng_below(&rng, 60000) + 3000;
            if (!during_save)
                sleep_us(wait);
            else if (!save_under_way(run, child, &status))
                break;
            if (waitpid(child, &status, WNOHANG) == child) {
                assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
                break;
            }
            assert_int_equal(kill(child, SIGKILL), 0);
            assert_int_equal(waitpid(child, &status, 0), child);
            if (WIFEXITED(status))
                break;
            print_message("killed after %ld us%s\n", wait, during_save ? " (while saving)" : "");
            ++*kills;
            continue;
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        break;
    }
}

/* Breaks when a resumed run forgets a random number, a moment or a position in the data. */
static void killed_at_random_times(void **state)
{
    char hex[VT_HASH_HEX];
    int kills = 0;
    (void)state;
    train_under_fire("killed", false, 8, &kills);
    assert_true(kills > 0);
    scene_hash(&here, "killed", hex);
    assert_string_equal(hex, reference);
}

/* Breaks when half a checkpoint can be seen under its final name. */
static void killed_while_saving(void **state)
{
    char hex[VT_HASH_HEX];
    int kills = 0;
    (void)state;
    train_under_fire("saving", true, 5, &kills);
    assert_true(kills > 0);
    scene_hash(&here, "saving", hex);
    assert_string_equal(hex, reference);
}

/* Breaks when a checkpoint whose bytes changed on disk is believed. */
static void broken_checkpoint_falls_back(void **state)
{
    char hex[VT_HASH_HEX], byte = 'x';
    (void)state;
    scene_train_and_hash(&here, "fallback", NULL, scene_recipe(&here, NULL), hex);
    const char *model = scene_path(&here, "fallback/checkpoints/step-00000024/model.safetensors");
    int fd = open(model, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &byte, 1, 4000), 1);
    assert_int_equal(close(fd), 0);
    expect_reference("fallback", NULL, scene_recipe(&here, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(order_of_work_does_not_matter),
        cmocka_unit_test(workers_do_not_matter),
        cmocka_unit_test(recomputation_does_not_matter),
        cmocka_unit_test(evaluation_does_not_matter),
        cmocka_unit_test(background_saves_do_not_matter),
        cmocka_unit_test(another_seed_gives_other_bytes),
        cmocka_unit_test(killed_at_random_times),
        cmocka_unit_test(killed_while_saving),
        cmocka_unit_test(broken_checkpoint_falls_back),
        cmocka_unit_test(instruction_and_emulation_agree),
        cmocka_unit_test(branch_equals_uninterrupted_run),
    };
    const char *const *const initial[] = {NULL, everything};
    int failed = 0;
    for (size_t i = 0; i < VT_COUNT_OF(initial); i++) {
        mode = initial[i];
        failed += cmocka_run_group_tests_name(i == 0 ? "as it is" : "everything on", tests, set_up, tear_down);
    }
    return failed;
}
