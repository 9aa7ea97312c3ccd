/* Opening a training call: the data, the recipe that the run was started with, the plan, the engine in memory, and the
 * checkpoint to go on from. A wrong recipe leaves no folder behind, and
 * nothing is removed before the new run is known to be possible. A replay opens the run as it is, and only reads. */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"
#include "train/foreign.h"

/* A replay looks at nothing but an update. */
static vt_status open_data(vt_trainer *tr, vt_err *err)
{
    return tr->replay ? vt_recipe_open_source(tr->recipe, &tr->data.train, err)
                      : vt_run_data_open(&tr->data, tr->recipe, err);
}

/* Takes over the settings of a run that was started before. */
static vt_status adopt_stored_recipe(vt_trainer *tr, vt_err *err)
{
    bool found = false;
    vt_recipe stored;
    vt_text changes = {0};
    VT_TRY(vt_run_load_recipe(&tr->run, &stored, &found, err));
    if (!found)
        return VT_OK;
    vt_status status = vt_recipe_reconcile(tr->recipe, &stored, &changes, err);
    if (tr->replay && status == VT_OK)
        status = vt_keys_set(vt_recipe_keys, vt_n_recipe_keys, tr->recipe, "from", stored.from, err);
    else if (status == VT_OK && changes.len)
        vt_log(VT_LOG_INFO, "settings changed for the rest of this run:\n%s", changes.s);
    vt_text_release(&changes);
    vt_recipe_release(&stored);
    return status;
}

/* SHA-256 of all keys that decide results (those that may not change) and differ from their defaults: a run outlives a
 * program that knows more keys. */
static void hash_recipe(const vt_recipe *r, char hex[VT_HASH_HEX])
{
    vt_text text = {0}, value = {0}, usual = {0};
    vt_recipe defaults;
    vt_keys_default(vt_recipe_keys, vt_n_recipe_keys, &defaults);
    for (size_t i = 0; i < vt_n_recipe_keys; i++) {
        if (vt_recipe_keys[i].may_change)
            continue;
        vt_text_clear(&value);
        vt_text_clear(&usual);
        vt_keys_print(&vt_recipe_keys[i], r, &value);
        vt_keys_print(&vt_recipe_keys[i], &defaults, &usual);
        if (value.len != usual.len || (value.len > 0 && memcmp(value.s, usual.s, value.len) != 0))
            vt_text_addf(&text, "%s=%s\n", vt_recipe_keys[i].name, value.len ? value.s : "");
    }
    vt_hash_bytes(text.s, text.len, hex);
    vt_recipe_release(&defaults);
    vt_text_release(&text);
    vt_text_release(&value);
    vt_text_release(&usual);
}

/* A replay decodes its few images. */
static vt_status open_cache(vt_trainer *tr, vt_plan_data *data, vt_err *err)
{
    const vt_cache_kind kind = tr->replay ? VT_CACHE_NONE : (vt_cache_kind)tr->recipe->data.cache;
    VT_TRY(vt_cache_open(&tr->cache, kind, tr->data.train, &tr->t.preprocess, tr->t.workers, err));
    tr->t.cache = vt_cache_memory(tr->cache);
    data->sources += vt_cache_resident_bytes(tr->cache);
    return VT_OK;
}

static vt_status make_plan(vt_trainer *tr, vt_err *err)
{
    vt_data_facts facts = vt_run_data_facts(&tr->data);
    VT_TRY(vt_isa_pick(getenv("VITRO_ISA"), &tr->isa, err));
    VT_TRY(vt_recipe_resolve(tr->recipe, &facts, &tr->t, err));
    vt_plan_data data = vt_run_data_memory(&tr->data, tr->recipe, &tr->t);
    VT_TRY(open_cache(tr, &data, err));
    VT_TRY(vt_plan_training(&tr->t, tr->isa, &data, &tr->plan, err));
    tr->recipe->train.micro_batch = tr->t.micro_batch;
    tr->recipe->model.classes = tr->t.model.classes;
    tr->recipe->model.head_bias = tr->t.model.head_bias;
    return VT_OK;
}

static void describe(vt_trainer *tr)
{
    vt_text list = {0};
    int64_t classes = tr->t.model.classes, named = vt_source_classes(tr->data.train);
    tr->info = (vt_checkpoint_info){.model = tr->t.model,
                                    .named = vt_source_has_names(tr->data.train),
                                    .pixels = tr->t.pixels,
                                    .loss = (int)tr->t.loss};
    tr->info.class_names = vt_xcalloc((size_t)classes, sizeof *tr->info.class_names);
    for (int64_t c = 0; c < classes; c++)
        tr->info.class_names[c] =
            c < named ? vt_xstrdup(vt_source_class_name(tr->data.train, c)) : vt_xasprintf("unused %lld", (long long)c);
    vt_preprocess_print(&tr->t.eval_preprocess, &list);
    tr->info.orient = tr->t.eval_preprocess.orient;
    tr->info.preprocess = vt_xstrdup(list.s ? list.s : "");
    vt_text_release(&list);
    hash_recipe(tr->recipe, tr->state.recipe_hash);
    vt_source_fingerprint(tr->data.train, tr->state.data_hash);
    tr->state.schedule_steps = tr->t.schedule.steps;
    tr->state.cooldown_steps = tr->t.schedule.cooldown;
    (void)snprintf(tr->state.instruction_set, sizeof tr->state.instruction_set, "%s", tr->isa->bytes);
}

static vt_status match_eval_classes(vt_trainer *tr, vt_err *err)
{
    bool permuted = false;
    if (!tr->data.eval)
        return VT_OK;
    tr->eval_labels = vt_xcalloc((size_t)vt_source_classes(tr->data.eval), sizeof *tr->eval_labels);
    VT_TRY(vt_checkpoint_match_classes(&tr->info, tr->data.eval, tr->eval_labels, &permuted, err) == VT_OK
               ? VT_OK
               : vt_prefix(err, "data.eval"));
    if (permuted)
        vt_log(VT_LOG_INFO, "data.eval lists its classes in another order; they are matched by name");
    return VT_OK;
}

/* Begins with the state of another training (from): its parameters, moments and step; the schedule is this recipe's. */
static vt_status branch(vt_trainer *tr, vt_err *err)
{
    vt_train_state stored = {0};
    char *dir = NULL;
    vt_status status = vt_checkpoint_find(tr->recipe->from, &dir, err);
    if (status == VT_OK)
        status = vt_checkpoint_load_state(dir, &tr->engine, &stored, err);
    if (status == VT_OK && stored.step >= tr->t.schedule.steps)
        status = vt_fail(err, VT_EINVAL, "%s stands at step %lld; schedule.length (%lld steps) must lie beyond it", dir,
                         (long long)stored.step, (long long)tr->t.schedule.steps);
    if (status != VT_OK) {
        vt_train_state_release(&stored);
        free(dir);
        return vt_prefix(err, "from");
    }
    if (strcmp(stored.data_hash, tr->state.data_hash) != 0)
        vt_log(VT_LOG_WARN, "data.train is not what %s was trained on; its order goes on at image %lld", dir,
               (long long)(stored.step * tr->t.batch));
    else if (!tr->state.skipped) /* the same images are left out */
        tr->state.skipped = json_incref(stored.skipped);
    if (strcmp(stored.instruction_set, tr->state.instruction_set) != 0)
        vt_log(VT_LOG_WARN, "%s was computed with the %s kernels, and goes on with %s", dir, stored.instruction_set,
               tr->state.instruction_set);
    tr->state.step = stored.step;
    vt_log(VT_LOG_INFO, "starting from %s (step %lld); the run ends at step %lld", dir, (long long)stored.step,
           (long long)tr->t.schedule.steps);
    vt_train_state_release(&stored);
    free(dir);
    return VT_OK;
}

/* As a new engine's: all zeros. */
static void clear_optimizer(vt_trainer *tr)
{
    static const unsigned char zeros[1 << 16];
    const vt_optimizer *o = &tr->engine.optimizer;
    for (int i = 0; i < o->n_state; i++) {
        size_t bytes = (size_t)o->state[i].count * (o->state[i].type == VT_BF16 ? 2 : 4);
        for (size_t at = 0; at < bytes; at += sizeof zeros)
            vt_device_write(&tr->engine.device, (char *)o->state[i].data + at, zeros,
                            bytes - at < sizeof zeros ? bytes - at : sizeof zeros);
    }
}

/* The key init: the values of a model that somebody has trained. */
static vt_status load_start(vt_trainer *tr, vt_err *err)
{
    vt_foreign *f = NULL;
    const vt_foreign_use use = {.class_names = tr->info.named ? tr->info.class_names : NULL,
                                .positions = (vt_resample)tr->recipe->init_positions};
    vt_status status = vt_foreign_open(&f, tr->recipe->init, err);
    if (status == VT_OK)
        status = vt_foreign_name_classes(f, tr->recipe->model.class_names, err);
    if (status == VT_OK)
        status = vt_foreign_load(f, &tr->engine.model, &tr->engine.device, &use, err);
    vt_foreign_close(f);
    return status == VT_OK ? VT_OK : vt_prefix(err, "init");
}

/* Initial values, or the state of another training. */
static vt_status begin(vt_trainer *tr, vt_err *err)
{
    tr->state.step = 0;
    json_decref(tr->state.bad);
    tr->state.bad = NULL;
    VT_TRY(vt_trainer_take_bad(tr, err));
    tr->t.schedule = tr->planned;
    tr->state.schedule_steps = tr->planned.steps;
    tr->state.cooldown_steps = tr->planned.cooldown;
    clear_optimizer(tr);
    if (tr->recipe->from[0] != '\0')
        return branch(tr, err);
    vt_model_init_values(&tr->engine.model, &tr->engine.device, tr->t.seed);
    return tr->recipe->init[0] != '\0' ? load_start(tr, err) : VT_OK;
}

static vt_status check_stored(vt_trainer *tr, vt_train_state *stored, const char *dir, vt_err *err)
{
    if (strcmp(stored->data_hash, tr->state.data_hash) != 0)
        return vt_fail(err, VT_EINVAL,
                       "data.train (%s) is not what it was when %s was written: files were added, removed or "
                       "changed; restore them, or start a new run",
                       tr->recipe->data.train, dir);
    if (strcmp(stored->recipe_hash, tr->state.recipe_hash) != 0)
        return vt_fail(err, VT_EINVAL,
                       "%s was written with other settings than this run's recipe.yaml tells; start a new run", dir);
    if (strcmp(stored->instruction_set, tr->isa->bytes) != 0)
        vt_log(VT_LOG_WARN,
               "the run was computed with the %s kernels so far and goes on with %s: its bytes will not be those "
               "of a run without this change",
               stored->instruction_set, tr->isa->bytes);
    (void)snprintf(stored->instruction_set, sizeof stored->instruction_set, "%s", tr->isa->bytes);
    return VT_OK;
}

vt_status vt_trainer_restore(vt_trainer *tr, int64_t most, vt_err *err)
{
    vt_train_state stored = {0};
    char *dir = NULL;
    tr->saved_step = -1;
    free(tr->result->checkpoint);
    tr->result->checkpoint = NULL;
    VT_TRY(vt_checkpoint_newest(tr->run.dir, most, &dir, err));
    if (!dir)
        return begin(tr, err);
    vt_status status = vt_checkpoint_load_state(dir, &tr->engine, &stored, err);
    if (status == VT_OK)
        status = check_stored(tr, &stored, dir, err);
    if (status != VT_OK) {
        vt_train_state_release(&stored);
        free(dir);
        return status;
    }
    vt_train_state_release(&tr->state);
    tr->state = stored;
    tr->t.schedule = tr->planned;
    tr->t.schedule.steps = stored.schedule_steps;
    tr->t.schedule.cooldown = stored.cooldown_steps;
    tr->saved_step = stored.step;
    tr->result->checkpoint = dir;
    VT_TRY(vt_trainer_take_bad(tr, err));
    vt_log(VT_LOG_INFO, "%s from %s (step %lld of %lld)", tr->replay ? "replaying" : "going on", dir,
           (long long)stored.step, (long long)stored.schedule_steps);
    return VT_OK;
}

static vt_status resume(vt_trainer *tr, vt_err *err)
{
    tr->result->resumed_from = -1;
    VT_TRY(vt_trainer_restore(tr, INT64_MAX, err));
    if (tr->result->checkpoint)
        tr->result->resumed_from = tr->state.step;
    return VT_OK;
}

/* --- replay: an update of a run that is only read -------------------------------------------------------------------
 */

/* What came to be known later than the checkpoint that a replay begins with stands in the newest one. */
static vt_status read_story(vt_trainer *tr, vt_err *err)
{
    char *dir = NULL;
    VT_TRY(vt_checkpoint_newest(tr->run.dir, INT64_MAX, &dir, err));
    vt_status status = dir ? vt_checkpoint_read_state(dir, &tr->story, err) : VT_OK;
    free(dir);
    VT_TRY(status);
    if (tr->story.schedule_steps == 0) { /* no checkpoint */
        tr->story.schedule_steps = tr->planned.steps;
        tr->story.cooldown_steps = tr->planned.cooldown;
    }
    if (tr->replay > tr->story.schedule_steps)
        return vt_fail(err, VT_EINVAL, "replay=%lld lies behind the end of %s, which has %lld updates",
                       (long long)tr->replay, tr->run.dir, (long long)tr->story.schedule_steps);
    return VT_OK;
}

void vt_trainer_heed_story(vt_trainer *tr)
{
    const vt_train_state *story = &tr->story;
    if (tr->state.step < story->schedule_steps - story->cooldown_steps)
        return;
    tr->t.schedule.steps = story->schedule_steps;
    tr->t.schedule.cooldown = story->cooldown_steps;
}

static vt_status restore_for_replay(vt_trainer *tr, vt_err *err)
{
    VT_TRY(read_story(tr, err));
    VT_TRY(vt_trainer_restore(tr, tr->replay - 1, err));
    if (tr->state.step >= tr->replay)
        return vt_fail(err, VT_EINVAL, "replay=%lld: %s began at step %lld, from %s", (long long)tr->replay,
                       tr->run.dir, (long long)tr->state.step, tr->recipe->from);
    if (tr->story.skipped) {
        json_decref(tr->state.skipped);
        tr->state.skipped = json_incref(tr->story.skipped);
    }
    vt_trainer_heed_story(tr);
    return VT_OK;
}

static vt_status set_class_weights(vt_trainer *tr, vt_err *err)
{
    vt_engine *e = &tr->engine;
    int64_t n = vt_source_classes(tr->data.train);
    if (!e->class_weights)
        return VT_OK;
    int64_t *counts = vt_xcalloc((size_t)n, sizeof *counts);
    float *weights = vt_xcalloc((size_t)tr->t.model.classes, sizeof *weights);
    vt_source_class_counts(tr->data.train, counts);
    vt_status status =
        vt_recipe_class_weights(tr->recipe, &tr->t, counts, n, vt_source_count(tr->data.train), weights, err);
    if (status == VT_OK)
        vt_device_write(&e->device, e->class_weights, weights, (size_t)tr->t.model.classes * sizeof *weights);
    free(counts);
    free(weights);
    return status;
}

vt_status vt_trainer_restart_loader(vt_trainer *tr, vt_err *err)
{
    vt_loader_free(tr->loader);
    tr->loader = NULL;
    vt_loader_options o = vt_engine_loader_options(&tr->engine, tr->t.workers);
    o.source = tr->data.train;
    o.preprocess = &tr->t.preprocess;
    o.start = tr->state.step * tr->t.batch;
    o.end = (tr->replay ? tr->replay : tr->t.schedule.steps) * tr->t.batch;
    o.shuffle = true;
    o.mix = tr->t.use.mix ? tr->t.batch : 0;
    o.seed = tr->t.seed;
    o.board = &tr->train_board;
    o.bad = &tr->bad;
    o.cache = tr->cache;
    return vt_loader_new(&tr->loader, &o, tr->engine.loader_ring, err);
}

/* What init's file tells of the model; a run that was started has it in its recipe, and needs the file no more. */
static vt_status adopt_start(vt_trainer *tr, const char *run, vt_err *err)
{
    vt_recipe stored;
    char *path = vt_path_join(run, "recipe.yaml");
    bool started = !tr->fresh && vt_is_file(path);
    free(path);
    if (tr->recipe->init[0] == '\0')
        return VT_OK;
    if (!started)
        return vt_init_adopt(tr->recipe, err);
    VT_TRY(vt_recipe_load(&stored, run, NULL, 0, err));
    vt_status status = VT_OK;
    vt_text value = {0};
    for (size_t i = 0; i < vt_n_recipe_keys && status == VT_OK; i++) {
        const vt_key *key = &vt_recipe_keys[i];
        bool told = vt_has_prefix(key->name, "model.") || strcmp(key->name, "data.mean") == 0 ||
                    strcmp(key->name, "data.std") == 0;
        if (!told || tr->recipe->given[i])
            continue;
        vt_text_clear(&value);
        vt_keys_print(key, &stored, &value);
        status = vt_keys_set(vt_recipe_keys, vt_n_recipe_keys, tr->recipe, key->name, value.s ? value.s : "", err);
    }
    vt_text_release(&value);
    vt_recipe_release(&stored);
    return status;
}

vt_status vt_trainer_open(vt_trainer *tr, const char *run, vt_err *err)
{
    VT_TRY(open_data(tr, err));
    VT_TRY(adopt_start(tr, run, err));
    vt_data_facts facts = vt_run_data_facts(&tr->data);
    VT_TRY(vt_recipe_resolve(tr->recipe, &facts, &tr->t, err));
    /* Only now: a wrong recipe leaves no folder behind. */
    VT_TRY(tr->replay ? vt_run_read(&tr->run, run, err) : vt_run_open(&tr->run, run, err));
    if (!tr->fresh)
        VT_TRY(adopt_stored_recipe(tr, err));
    VT_TRY(make_plan(tr, err));
    describe(tr);
    vt_trainer_open_bad(tr);
    VT_TRY(match_eval_classes(tr, err));
    if (tr->fresh)
        VT_TRY(vt_run_clear(&tr->run, err)); /* nothing is removed before the new run is known to be possible */
    if (!tr->replay)
        VT_TRY(vt_run_save_recipe(&tr->run, tr->recipe, err));
    vt_engine_options o = vt_plan_engine_options(&tr->t, tr->isa);
    VT_TRY(vt_engine_open(&tr->engine, &o, err));
    vt_cache_start(tr->cache, tr->engine.cache);
    if (tr->observer)
        vt_pool_shuffle(tr->engine.pool, tr->observer->shuffle_chunks);
    VT_TRY(set_class_weights(tr, err));
    tr->planned = tr->t.schedule;
    VT_TRY(tr->replay ? restore_for_replay(tr, err) : resume(tr, err));
    if (!tr->replay)
        VT_TRY(vt_run_open_metrics(&tr->run, tr->state.step, &tr->elapsed_before, err));
    return vt_trainer_restart_loader(tr, err);
}

void vt_trainer_close(vt_trainer *tr)
{
    vt_err late = {0};
    if (vt_trainer_finish_save(tr, &late) != VT_OK)
        vt_log(VT_LOG_WARN, "the checkpoint on its way to disk is lost: %s", late.msg);
    vt_watchdog_stop(&tr->watchdog);
    vt_loader_free(tr->loader);
    vt_cache_close(tr->cache);
    vt_bad_release(&tr->bad);
    vt_bad_release(&tr->eval_bad);
    vt_engine_close(&tr->engine);
    vt_run_data_close(&tr->data);
    free(tr->eval_labels);
    vt_checkpoint_info_release(&tr->info);
    vt_train_state_release(&tr->state);
    vt_train_state_release(&tr->story);
    vt_run_close(&tr->run);
}
