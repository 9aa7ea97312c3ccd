/* A bad number is evidence: replays tell what the run saw and leave it as it was, a divergence is narrowed down to
 * tensor and images, and a run that skips them ends in the same bytes however often it is killed. */
#include "scene.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "data/loader.h"
#include "train/forensics.h"

static scene here;

/* What was logged since forget_log. */
static vt_text logged;

static void keep_line(void *context, vt_log_level level, const char *line)
{
    (void)context, (void)level;
    vt_text_addf(&logged, "%s\n", line);
}

static void forget_log(void)
{
    vt_text_clear(&logged);
    vt_text_add(&logged, "");
}

static int set_up(void **state)
{
    (void)state;
    scene_make(&here);
    vt_log_set(keep_line, NULL, VT_LOG_INFO);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vt_log_set(NULL, NULL, VT_LOG_ERROR);
    vt_text_release(&logged);
    scene_remove(&here);
    return 0;
}

/* --- helpers --------------------------------------------------------------------------------------------------------
 */

static void hash_tree(const char *dir, vt_hasher *h)
{
    char **names = NULL, hex[VT_HASH_HEX];
    size_t n = 0;
    vt_err err = {0};
    if (vt_list_dir(dir, &names, &n, &err) != VT_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < n; i++) {
        char *path = vt_path_join(dir, names[i]);
        vt_hasher_add(h, path, strlen(path) + 1);
        if (vt_is_dir(path))
            hash_tree(path, h);
        else if (vt_hash_file(path, hex, &err) == VT_OK)
            vt_hasher_add(h, hex, sizeof hex);
        else
            fail_msg("%s", err.msg);
        free(path);
    }
    vt_free_names(names, n);
}

/* Of every file of a run. */
static void hash_run(const char *run, char hex[VT_HASH_HEX])
{
    vt_hasher *h = vt_hasher_new();
    hash_tree(scene_path(&here, run), h);
    vt_hasher_finish(h, hex);
}

static vt_evidence replay(const char *run, int64_t update, const char *threads)
{
    vt_evidence ev = {0};
    vt_err err = {0};
    char *path = vt_xstrdup(scene_path(&here, run));
    const char *const overrides[] = {threads};
    vt_recipe r;
    if (vt_recipe_load(&r, path, overrides, 1, &err) != VT_OK || vt_replay(&r, path, update, NULL, &ev, &err) != VT_OK)
        fail_msg("%s", err.msg);
    vt_recipe_release(&r);
    free(path);
    return ev;
}

static vt_status try_replay(const char *run, int64_t update, vt_err *err)
{
    vt_evidence ev = {0};
    vt_recipe r = scene_recipe(&here, NULL);
    vt_status status = vt_replay(&r, scene_path(&here, run), update, NULL, &ev, err);
    vt_evidence_release(&ev);
    vt_recipe_release(&r);
    return status;
}

static vt_status train(const char *run, vt_recipe r, const vt_train_observer *o, vt_err *err)
{
    vt_train_result result;
    *err = (vt_err){0};
    vt_status status = scene_train(&here, &r, run, o, &result, err);
    vt_train_result_release(&result);
    vt_recipe_release(&r);
    return status;
}

/* --- replay ---------------------------------------------------------------------------------------------------------
 */

static void assert_same_range(const vt_range *a, const vt_range *b)
{
    assert_true(a->smallest == b->smallest && a->largest == b->largest && a->rms == b->rms);
    assert_true(a->count == b->count && a->not_finite == b->not_finite);
}

static void assert_same_evidence(const vt_evidence *a, const vt_evidence *b)
{
    assert_int_equal(a->n_tensors, b->n_tensors);
    for (int i = 0; i < a->n_tensors; i++) {
        assert_string_equal(a->tensors[i].name, b->tensors[i].name);
        assert_same_range(&a->tensors[i].range, &b->tensors[i].range);
        assert_true(a->tensors[i].squares == b->tensors[i].squares);
    }
    assert_int_equal(a->n_params, b->n_params);
    for (int i = 0; i < a->n_params; i++) {
        assert_same_range(&a->params[i].before, &b->params[i].before);
        assert_same_range(&a->params[i].gradient, &b->params[i].gradient);
        assert_same_range(&a->params[i].after, &b->params[i].after);
        assert_true(a->params[i].change_rms == b->params[i].change_rms);
    }
}

/* Breaks when a replay is not the update that the run did, depends on threads, or touches the run. */
static void replay_tells_what_the_run_saw(void **state)
{
    vt_err err;
    char before[VT_HASH_HEX], after[VT_HASH_HEX];
    (void)state;
    assert_int_equal(
        train("good",
              scene_recipe(&here, "train.log_every=1", "train.keep=9", "model.dropout=0.1", "loss.mixup=0.3", NULL),
              NULL, &err),
        VT_OK);
    hash_run("good", before);
    static const int64_t updates[] = {1, 8, 24};
    for (size_t i = 0; i < VT_COUNT_OF(updates); i++) {
        vt_evidence a = replay("good", updates[i], "train.threads=1"),
                    b = replay("good", updates[i], "train.threads=3");
        assert_int_equal(a.update, updates[i]);
        assert_int_equal(a.from_step, (updates[i] - 1) / 5 * 5);
        assert_true(a.applied && !a.bad.found);
        assert_true(fabs(a.loss - a.recorded_loss) <= 1e-8 * a.loss);
        assert_true(fabs(a.grad_norm - a.recorded_norm) <= 1e-8 * a.grad_norm);
        assert_same_evidence(&a, &b);
        vt_evidence_release(&a);
        vt_evidence_release(&b);
    }
    hash_run("good", after);
    assert_string_equal(after, before);
}

/* Breaks when a block, a pass or a gradient is missing from the table, or stands at the wrong part of the model. */
static void every_part_is_in_the_table(void **state)
{
    vt_evidence ev = replay("good", 3, "train.threads=2");
    int forward[4] = {0}, backward[4] = {0}; /* embedding, two blocks, head */
    (void)state;
    for (int i = 0; i < ev.n_tensors; i++) {
        const vt_seen_tensor *t = &ev.tensors[i];
        assert_in_range(t->part + 1, 0, 3);
        ++*(t->backward ? &backward[t->part + 1] : &forward[t->part + 1]);
        assert_true(t->range.rms >= 0 && t->range.rms <= fmax(-t->range.smallest, t->range.largest));
        assert_int_equal(t->range.not_finite, 0);
    }
    for (int p = 0; p < 4; p++)
        assert_true(forward[p] >= 2 && backward[p] >= 1);
    assert_int_equal(forward[1], forward[2]);
    assert_string_equal(ev.tensors[0].name, "patches");
    assert_int_equal(ev.tensors[0].range.count, 16 * 9 * 48); /* both micro-batches */
    for (int i = 0; i < ev.n_params; i++)
        assert_true(ev.params[i].gradient.count > 0 && ev.params[i].change_rms > 0);
    assert_int_equal(ev.params[0].part, -1);
    assert_int_equal(ev.params[ev.n_params - 1].part, 2);
    vt_evidence_release(&ev);
}

/* Breaks when a replay that cannot be is not refused, or makes a folder. */
static void impossible_replays_are_refused(void **state)
{
    vt_err err = {0};
    (void)state;
    assert_int_equal(try_replay("nowhere", 3, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "holds no run"));
    assert_false(vt_is_dir(scene_path(&here, "nowhere")));
    vt_evidence ev = {0};
    vt_recipe r = scene_recipe(&here, "model.dropout=0.1", "loss.mixup=0.3", NULL);
    assert_int_equal(vt_replay(&r, scene_path(&here, "good"), 25, NULL, &ev, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "replay=25 lies behind the end"));
    vt_recipe_release(&r);
}

/* --- divergence -----------------------------------------------------------------------------------------------------
 */

/* Breaks when a number that is not finite is not explained, or replay= of the message does not show it. */
static void divergence_is_explained(void **state)
{
    vt_err err;
    long long update = 0;
    (void)state;
    assert_int_equal(train("wild",
                           scene_recipe(&here, "optimizer.name=sgd", "optimizer.lr=100", "optimizer.clip=0",
                                        "schedule.warmup=0", "train.save_every=1", NULL),
                           NULL, &err),
                     VT_EDIVERGED);
    assert_non_null(strstr(err.msg, "is not finite; first bad: "));
    assert_non_null(strstr(err.msg, "of up to"));
    assert_non_null(strstr(err.msg, "shapes["));
    assert_int_equal(sscanf(strstr(err.msg, "replay="), "replay=%lld", &update), 1);
    vt_evidence ev = replay("wild", update, "train.threads=1");
    char *named = vt_xasprintf("first bad: %s (", ev.bad.name);
    assert_true(ev.bad.found);
    assert_non_null(strstr(err.msg, named));
    assert_true(ev.from_step == update - 1 && !ev.applied);
    free(named);
    vt_evidence_release(&ev);
    vt_evidence before = replay("wild", update - 1, "train.threads=1");
    assert_false(before.bad.found);
    vt_evidence_release(&before);
    assert_int_equal(try_replay("wild", update + 1, &err), VT_EINVAL); /* other settings than the run's */
}

/* Breaks when a parameter that overflowed is laid at the door of the update that met it, not of the one that made it.
 * Decay multiplies one weight by -1e8 in every update: the fifth one makes it infinite. */
static void a_bad_parameter_accuses_its_update(void **state)
{
    static const char rule[] = "optimizer.rules=[blocks\\.0\\.mlp\\.fc1\\.weight: lr 1e6 decay 1e6, .*: lr 0]";
    vt_err err;
    char name[64], *named;
    (void)state;
    assert_int_equal(train("decayed",
                           scene_recipe(&here, rule, "optimizer.lr=100", "optimizer.name=sgd", "schedule.warmup=0",
                                        "train.save_every=1", "train.keep=9", NULL),
                           NULL, &err),
                     VT_EDIVERGED);
    assert_non_null(strstr(err.msg, "update 6: "));
    assert_non_null(strstr(err.msg, "first bad: blocks.0.mlp.fc1.weight (block 0), a parameter that update 5 left so"));
    assert_non_null(strstr(err.msg, "replay=5"));
    vt_evidence ev = replay("decayed", 5, "train.threads=2");
    assert_string_equal(ev.bad.name, "blocks.0.mlp.fc1.weight after the update");
    assert_true(ev.applied && ev.bad.micro_batch == -1 && ev.bad.parts_bad == 16 && ev.bad.n_samples == 16);
    named = vt_xasprintf("the images of that: %s", ev.bad.samples[0]);
    assert_non_null(strstr(err.msg, named));
    vt_source *source = NULL;
    assert_int_equal(vt_source_open(&source, "synthetic:shapes?classes=4&size=14&count=150&seed=1", &err), VT_OK);
    vt_source_sample_name(source, vt_source_order(source, 5, 64), name, sizeof name);
    assert_string_equal(ev.bad.samples[0], name);
    vt_source_close(source);
    free(named);
    vt_evidence_release(&ev);

    /* Each skipped update leaves the next one to do the same. */
    assert_int_equal(train("decayed",
                           scene_recipe(&here, rule, "optimizer.lr=100", "optimizer.name=sgd", "schedule.warmup=0",
                                        "train.save_every=1", "train.keep=9", "train.on_divergence=skip", NULL),
                           NULL, &err),
                     VT_EDIVERGED);
    assert_non_null(strstr(err.msg, "10 updates were skipped before"));
}

/* --- one image among many -------------------------------------------------------------------------------------------
 *
 * All images are black but one, and pixels become 0 .. 1. After four updates the checkpoint's patch embedding is made
 * 1e38: black images do not see it, the white one makes it overflow. So update 5, whose second micro-batch has the
 * white image, diverges, and later ones of the next epochs. */

enum { COUNT = 150, SIDE = 12, WHITE_AT = 4 * 16 + 11 };

static void write_images(int white)
{
    static unsigned char images[16 + COUNT * SIDE * SIDE] = {0, 0, 8, 3, 0, 0, 0, COUNT, 0, 0, 0, SIDE, 0, 0, 0, SIDE},
                                                    labels[8 + COUNT] = {0, 0, 8, 1, 0, 0, 0, COUNT};
    vt_err err = {0};
    if (white >= 0)
        memset(images + 16 + white * SIDE * SIDE, 255, SIDE * SIDE);
    for (int i = 0; i < COUNT; i++)
        labels[8 + i] = (unsigned char)(i % 4);
    if (vt_file_write(scene_path(&here, "images.idx"), images, sizeof images, &err) != VT_OK ||
        vt_file_write(scene_path(&here, "labels.idx"), labels, sizeof labels, &err) != VT_OK)
        fail_msg("%s", err.msg);
}

static vt_recipe white_recipe(const char *override)
{
    char *spec = vt_xasprintf("data.train=idx:%s,%s", scene_path(&here, "images.idx"), scene_path(&here, "labels.idx"));
    vt_recipe r = scene_recipe(&here, spec, "data.eval=", "data.preprocess=[resize(12), flip]", "data.value_min=0",
                               "data.value_max=1", "optimizer.average=ema", "train.threads=2", override, NULL);
    free(spec);
    return r;
}

static int updates_left;

static int stop_soon(void)
{
    return --updates_left <= 0 ? SIGTERM : 0;
}

/* Writes the hash of a changed file into its manifest. */
static void sign(const char *dir, const char *name)
{
    vt_err err = {0};
    char hex[VT_HASH_HEX];
    char *path = vt_path_join(dir, name), *manifest = vt_path_join(dir, "manifest.json");
    json_t *root = NULL;
    if (vt_hash_file(path, hex, &err) != VT_OK || vt_json_load(manifest, &root, &err) != VT_OK)
        fail_msg("%s", err.msg);
    json_object_set_new(json_object_get(json_object_get(root, "files"), name), "sha256", json_string(hex));
    if (vt_json_save(manifest, root, &err) != VT_OK)
        fail_msg("%s", err.msg);
    json_decref(root);
    free(path);
    free(manifest);
}

/* Makes every value of the patch embedding's weight 1e38 in a checkpoint's file. */
static void spoil(const char *dir, const char *name, const char *tensor)
{
    vt_err err = {0};
    unsigned char *data = NULL;
    size_t size = 0;
    json_t *header = NULL;
    char *path = vt_path_join(dir, name);
    if (vt_file_read(path, 1 << 24, &data, &size, &err) != VT_OK)
        fail_msg("%s", err.msg);
    uint64_t length = 0;
    memcpy(&length, data, sizeof length);
    if (vt_json_parse((char *)data + 8, (size_t)length, path, &header, &err) != VT_OK)
        fail_msg("%s", err.msg);
    const json_t *at = json_object_get(json_object_get(header, tensor), "data_offsets");
    size_t begin = (size_t)json_integer_value(json_array_get(at, 0)),
           end = (size_t)json_integer_value(json_array_get(at, 1));
    assert_true(end > begin);
    for (size_t i = begin; i < end; i += sizeof(float)) {
        float huge = 1e38F;
        memcpy(data + 8 + length + i, &huge, sizeof huge);
    }
    if (vt_file_write(path, data, size, &err) != VT_OK)
        fail_msg("%s", err.msg);
    sign(dir, name);
    json_decref(header);
    free(data);
    free(path);
}

/* A run that stands at step 4 and will overflow where it meets the white image. */
static void prepare_white(const char *run)
{
    vt_err err = {0};
    vt_source *source = NULL;
    vt_train_observer o = {.stop = stop_soon};
    char *dir = NULL;
    write_images(-1);
    char *spec = vt_xasprintf("idx:%s,%s", scene_path(&here, "images.idx"), scene_path(&here, "labels.idx"));
    if (vt_source_open(&source, spec, &err) != VT_OK)
        fail_msg("%s", err.msg);
    write_images((int)vt_source_order(source, 5, WHITE_AT));
    vt_source_close(source);
    free(spec);
    updates_left = 4;
    if (train(run, white_recipe("train.save_every=3"), &o, &err) != VT_ESTOPPED)
        fail_msg("%s", err.msg);
    if (vt_checkpoint_find(scene_path(&here, run), &dir, &err) != VT_OK)
        fail_msg("%s", err.msg);
    spoil(dir, "model.safetensors", "patch_embed.proj.weight"); /* the average */
    spoil(dir, "optimizer.safetensors", "patch_embed.proj.weight.value");
    free(dir);
}

/* Breaks when the image is not found among those of its micro-batch, or its tensor not among all. */
static void one_image_is_named(void **state)
{
    vt_err err;
    char name[64], *named;
    (void)state;
    prepare_white("white");
    assert_int_equal(train("white", white_recipe("train.on_divergence=stop"), NULL, &err), VT_EDIVERGED);
    assert_non_null(
        strstr(err.msg, "update 5: the loss is not finite; first bad: patch_embed (embedding, micro-batch 2 of 2)"));
    vt_evidence ev = replay("white", 5, "train.threads=1");
    assert_string_equal(ev.bad.name, "patch_embed");
    assert_string_equal(ev.bad.before, "patches");
    assert_true(ev.bad.told_apart && ev.bad.before_largest == 1.0);
    assert_int_equal(ev.bad.micro_batch, 1);
    assert_int_equal(ev.bad.parts, 8);
    assert_int_equal(ev.bad.parts_bad, 1);
    named = vt_xasprintf("in 1 of 8 images: %s;", ev.bad.samples[0]);
    assert_non_null(strstr(err.msg, named));
    vt_source *source = NULL;
    char *spec = vt_xasprintf("idx:%s,%s", scene_path(&here, "images.idx"), scene_path(&here, "labels.idx"));
    assert_int_equal(vt_source_open(&source, spec, &err), VT_OK);
    vt_source_sample_name(source, vt_source_order(source, 5, WHITE_AT), name, sizeof name);
    assert_string_equal(ev.bad.samples[0], name);
    vt_source_close(source);
    free(spec);
    free(named);
    vt_evidence_release(&ev);
}

/* --- skip -----------------------------------------------------------------------------------------------------------
 */

static json_t *load_json(const char *run, const char *step, const char *file)
{
    vt_err err = {0};
    json_t *root = NULL;
    char *path = vt_xasprintf("%s/checkpoints/%s/%s", scene_path(&here, run), step, file);
    if (vt_json_load(path, &root, &err) != VT_OK)
        fail_msg("%s", err.msg);
    free(path);
    return root;
}

/* Breaks when a run does not go on without the images of a bad update, does not say so, or a replay behind such an
 * update does not leave it out too. */
static void bad_updates_are_skipped(void **state)
{
    vt_err err;
    char hex[VT_HASH_HEX], again[VT_HASH_HEX];
    (void)state;
    prepare_white("skip");
    forget_log();
    assert_int_equal(train("skip", white_recipe("train.on_divergence=skip"), NULL, &err), VT_OK);
    assert_non_null(strstr(logged.s, "back to step 4; update 5 and its 16 images are left out"));
    json_t *manifest = load_json("skip", "step-00000024", "manifest.json"),
           *stored = load_json("skip", "step-00000024", "state.json");
    const json_t *list = json_object_get(manifest, "skipped"), *first = json_array_get(list, 0);
    assert_true(json_equal(list, json_object_get(stored, "skipped")));
    assert_true(json_array_size(list) >= 2); /* the white image comes once an epoch */
    assert_int_equal(json_integer_value(json_object_get(first, "update")), 5);
    assert_int_equal(json_integer_value(json_object_get(first, "back_to")), 4);
    assert_int_equal(json_array_size(json_object_get(first, "samples")), 16);
    assert_string_equal(json_string_value(json_object_get(first, "first_bad")), "patch_embed");
    json_decref(manifest);
    json_decref(stored);
    vt_evidence ev = replay("skip", 8, "train.threads=1"); /* logged, and behind update 5 */
    assert_true(isfinite(ev.recorded_loss) && fabs(ev.loss - ev.recorded_loss) <= 1e-8 * ev.loss);
    vt_evidence_release(&ev);
    scene_hash(&here, "skip", hex);
    assert_int_equal(train("skip", white_recipe("train.on_divergence=skip"), NULL, &err), VT_OK);
    scene_hash(&here, "skip", again);
    assert_string_equal(again, hex);
}

static void sleep_us(long us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    (void)nanosleep(&t, NULL);
}

/* Breaks when the list of skipped updates is lost with a process, or depends on when it died. */
static void skipping_survives_kills(void **state)
{
    char reference[VT_HASH_HEX], hex[VT_HASH_HEX];
    int kills = 0;
    (void)state;
    scene_hash(&here, "skip", reference);
    prepare_white("killed");
    for (long wait = 4000;; wait += 9000) {
        int status = 0;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            vt_err err;
            vt_log_set(NULL, NULL, VT_LOG_ERROR);
            _exit(train("killed", white_recipe("train.on_divergence=skip"), NULL, &err) == VT_OK ? 0 : 1);
        }
        sleep_us(wait);
        kills += kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            break;
        }
    }
    print_message("%d kills\n", kills);
    assert_true(kills > 0);
    scene_hash(&here, "killed", hex);
    assert_string_equal(hex, reference);
}

/* Breaks when a run whose every update diverges goes back for ever. */
static void skipping_has_an_end(void **state)
{
    vt_err err;
    (void)state;
    forget_log();
    assert_int_equal(train("hopeless",
                           scene_recipe(&here, "optimizer.name=sgd", "optimizer.lr=100", "optimizer.clip=0",
                                        "schedule.warmup=0", "train.on_divergence=skip", NULL),
                           NULL, &err),
                     VT_EDIVERGED);
    assert_non_null(strstr(err.msg, "10 updates were skipped before"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replay_tells_what_the_run_saw),
        cmocka_unit_test(every_part_is_in_the_table),
        cmocka_unit_test(impossible_replays_are_refused),
        cmocka_unit_test(divergence_is_explained),
        cmocka_unit_test(a_bad_parameter_accuses_its_update),
        cmocka_unit_test(one_image_is_named),
        cmocka_unit_test(bad_updates_are_skipped),
        cmocka_unit_test(skipping_survives_kills),
        cmocka_unit_test(skipping_has_an_end),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
