/* Opening a training call: the data, the recipe that the run was started with, the plan, the engine in memory, and the
 * checkpoint to go on from. A wrong recipe leaves no folder behind, and nothing is removed before the new run is known
 * to be possible. */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"

static vt_status open_data(vt_trainer *tr, vt_err *err)
{
    VT_TRY(vt_source_open(&tr->source, tr->recipe->data.train, err) == VT_OK ? VT_OK : vt_prefix(err, "data.train"));
    if (tr->recipe->data.eval[0] != '\0')
        VT_TRY(vt_source_open(&tr->eval_source, tr->recipe->data.eval, err) == VT_OK ? VT_OK
                                                                                     : vt_prefix(err, "data.eval"));
    return vt_trainer_open_fewshot(tr, err);
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
    if (status == VT_OK && changes.len)
        vt_log(VT_LOG_INFO, "settings changed for the rest of this run:\n%s", changes.s);
    vt_text_release(&changes);
    vt_recipe_release(&stored);
    return status;
}

/* SHA-256 of all keys that decide results: those that may not change. */
static void hash_recipe(const vt_recipe *r, char hex[VT_HASH_HEX])
{
    vt_text text = {0};
    for (size_t i = 0; i < vt_n_recipe_keys; i++) {
        if (vt_recipe_keys[i].may_change)
            continue;
        vt_text_addf(&text, "%s=", vt_recipe_keys[i].name);
        vt_keys_print(&vt_recipe_keys[i], r, &text);
        vt_text_add(&text, "\n");
    }
    vt_hash_bytes(text.s, text.len, hex);
    vt_text_release(&text);
}

/* Rows of labels are as wide as any source here needs. */
static vt_data_facts facts_of(const vt_trainer *tr)
{
    vt_data_facts facts = vt_data_facts_of(tr->source);
    if (tr->eval_source && vt_source_most_labels(tr->eval_source) > facts.most_labels)
        facts.most_labels = vt_source_most_labels(tr->eval_source);
    return facts;
}

static vt_status make_plan(vt_trainer *tr, vt_err *err)
{
    vt_data_facts facts = facts_of(tr);
    vt_plan_data data = {.sources = vt_source_resident_bytes(tr->source), .decode = vt_source_decode_bytes(tr->source)};
    if (tr->eval_source)
        data.sources += vt_source_resident_bytes(tr->eval_source);
    VT_TRY(vt_isa_pick(getenv("VITRO_ISA"), &tr->isa, err));
    VT_TRY(vt_recipe_resolve(tr->recipe, &facts, &tr->t, err));
    int64_t representation = tr->t.model.representation;
    data.fewshot = vt_trainer_fewshot_bytes(tr, representation ? representation : tr->t.model.width);
    VT_TRY(vt_plan_training(&tr->t, tr->isa, &data, &tr->plan, err));
    tr->recipe->train.micro_batch = tr->t.micro_batch;
    tr->recipe->model.classes = tr->t.model.classes;
    tr->recipe->model.head_bias = tr->t.model.head_bias;
    return VT_OK;
}

static void describe(vt_trainer *tr)
{
    vt_text list = {0};
    int64_t classes = tr->t.model.classes, named = vt_source_classes(tr->source);
    tr->info = (vt_checkpoint_info){.model = tr->t.model,
                                    .named = vt_source_has_names(tr->source),
                                    .pixels = tr->t.pixels,
                                    .loss = (int)tr->t.loss};
    tr->info.class_names = vt_xcalloc((size_t)classes, sizeof *tr->info.class_names);
    for (int64_t c = 0; c < classes; c++)
        tr->info.class_names[c] =
            c < named ? vt_xstrdup(vt_source_class_name(tr->source, c)) : vt_xasprintf("unused %lld", (long long)c);
    vt_preprocess_print(&tr->t.eval_preprocess, &list);
    tr->info.preprocess = vt_xstrdup(list.s ? list.s : "");
    vt_text_release(&list);
    hash_recipe(tr->recipe, tr->state.recipe_hash);
    vt_source_fingerprint(tr->source, tr->state.data_hash);
    tr->state.schedule_steps = tr->t.schedule.steps;
    tr->state.cooldown_steps = tr->t.schedule.cooldown;
    (void)snprintf(tr->state.instruction_set, sizeof tr->state.instruction_set, "%s", tr->isa->bytes);
}

static vt_status match_eval_classes(vt_trainer *tr, vt_err *err)
{
    bool permuted = false;
    if (!tr->eval_source)
        return VT_OK;
    tr->eval_labels = vt_xcalloc((size_t)vt_source_classes(tr->eval_source), sizeof *tr->eval_labels);
    VT_TRY(vt_checkpoint_match_classes(&tr->info, tr->eval_source, tr->eval_labels, &permuted, err) == VT_OK
               ? VT_OK
               : vt_prefix(err, "data.eval"));
    if (permuted)
        vt_log(VT_LOG_INFO, "data.eval lists its classes in another order; they are matched by name");
    return VT_OK;
}

/* Begins with the state of another training (from): its parameters, moments and step; the schedule is this recipe's. */
static vt_status branch(vt_trainer *tr, vt_err *err)
{
    vt_train_state stored;
    char *dir = NULL;
    vt_status status = vt_checkpoint_find(tr->recipe->from, &dir, err);
    if (status == VT_OK)
        status = vt_checkpoint_load_state(dir, &tr->engine, &stored, err);
    if (status == VT_OK && stored.step >= tr->t.schedule.steps)
        status = vt_fail(err, VT_EINVAL, "%s stands at step %lld; schedule.length (%lld steps) must lie beyond it", dir,
                         (long long)stored.step, (long long)tr->t.schedule.steps);
    if (status != VT_OK) {
        free(dir);
        return vt_prefix(err, "from");
    }
    if (strcmp(stored.data_hash, tr->state.data_hash) != 0)
        vt_log(VT_LOG_WARN, "data.train is not what %s was trained on; its order goes on at image %lld", dir,
               (long long)(stored.step * tr->t.batch));
    if (strcmp(stored.instruction_set, tr->state.instruction_set) != 0)
        vt_log(VT_LOG_WARN, "%s was computed with the %s kernels, and goes on with %s", dir, stored.instruction_set,
               tr->state.instruction_set);
    tr->state.step = stored.step;
    vt_log(VT_LOG_INFO, "starting from %s (step %lld); the run ends at step %lld", dir, (long long)stored.step,
           (long long)tr->t.schedule.steps);
    free(dir);
    return VT_OK;
}

/* Initial values, the state of another training, or the newest checkpoint that holds. */
static vt_status restore(vt_trainer *tr, vt_err *err)
{
    vt_train_state stored;
    char *dir = NULL;
    tr->result->resumed_from = tr->saved_step = -1;
    VT_TRY(vt_checkpoint_newest(tr->run.dir, &dir, err));
    if (!dir && tr->recipe->from[0] != '\0')
        return branch(tr, err);
    if (!dir) {
        vt_model_init_values(&tr->engine.model, &tr->engine.device, tr->t.seed);
        return VT_OK;
    }
    vt_status status = vt_checkpoint_load_state(dir, &tr->engine, &stored, err);
    if (status == VT_OK && strcmp(stored.data_hash, tr->state.data_hash) != 0)
        status = vt_fail(err, VT_EINVAL,
                         "data.train (%s) is not what it was when %s was written: files were added, removed or "
                         "changed; restore them, or start a new run",
                         tr->recipe->data.train, dir);
    if (status == VT_OK && strcmp(stored.recipe_hash, tr->state.recipe_hash) != 0)
        status = vt_fail(err, VT_EINVAL,
                         "%s was written with other settings than this run's recipe.yaml tells; start a new run", dir);
    if (status == VT_OK) {
        if (strcmp(stored.instruction_set, tr->isa->bytes) != 0)
            vt_log(VT_LOG_WARN,
                   "the run was computed with the %s kernels so far and goes on with %s: its bytes will not be those "
                   "of a run without this change",
                   stored.instruction_set, tr->isa->bytes);
        (void)snprintf(stored.instruction_set, sizeof stored.instruction_set, "%s", tr->isa->bytes);
        tr->state = stored;
        tr->t.schedule.steps = stored.schedule_steps;
        tr->t.schedule.cooldown = stored.cooldown_steps;
        tr->saved_step = tr->result->resumed_from = stored.step;
        tr->result->checkpoint = dir;
        vt_log(VT_LOG_INFO, "going on from %s (step %lld of %lld)", dir, (long long)stored.step,
               (long long)stored.schedule_steps);
        return VT_OK;
    }
    free(dir);
    return status;
}

static vt_status set_class_weights(vt_trainer *tr, vt_err *err)
{
    vt_engine *e = &tr->engine;
    int64_t n = vt_source_classes(tr->source);
    if (!e->class_weights)
        return VT_OK;
    int64_t *counts = vt_xcalloc((size_t)n, sizeof *counts);
    float *weights = vt_xcalloc((size_t)tr->t.model.classes, sizeof *weights);
    vt_source_class_counts(tr->source, counts);
    vt_status status =
        vt_recipe_class_weights(tr->recipe, &tr->t, counts, n, vt_source_count(tr->source), weights, err);
    if (status == VT_OK)
        vt_device_write(&e->device, e->class_weights, weights, (size_t)tr->t.model.classes * sizeof *weights);
    free(counts);
    free(weights);
    return status;
}

static vt_status start_loader(vt_trainer *tr, vt_err *err)
{
    vt_loader_options o = vt_engine_loader_options(&tr->engine, tr->t.workers);
    o.source = tr->source;
    o.preprocess = &tr->t.preprocess;
    o.start = tr->state.step * tr->t.batch;
    o.end = tr->t.schedule.steps * tr->t.batch;
    o.shuffle = true;
    o.mix = tr->t.use.mix ? tr->t.batch : 0;
    o.seed = tr->t.seed;
    return vt_loader_new(&tr->loader, &o, tr->engine.loader_ring, err);
}

vt_status vt_trainer_open(vt_trainer *tr, const char *run, vt_err *err)
{
    VT_TRY(open_data(tr, err));
    vt_data_facts facts = facts_of(tr);
    VT_TRY(vt_recipe_resolve(tr->recipe, &facts, &tr->t, err));
    VT_TRY(vt_run_open(&tr->run, run, err)); /* only now: a wrong recipe leaves no folder behind */
    if (!tr->fresh)
        VT_TRY(adopt_stored_recipe(tr, err));
    VT_TRY(make_plan(tr, err));
    describe(tr);
    VT_TRY(match_eval_classes(tr, err));
    if (tr->fresh)
        VT_TRY(vt_run_clear(&tr->run, err)); /* nothing is removed before the new run is known to be possible */
    VT_TRY(vt_run_save_recipe(&tr->run, tr->recipe, err));
    vt_engine_options o = vt_plan_engine_options(&tr->t, tr->isa);
    VT_TRY(vt_engine_open(&tr->engine, &o, err));
    if (tr->observer)
        vt_pool_shuffle(tr->engine.pool, tr->observer->shuffle_chunks);
    VT_TRY(set_class_weights(tr, err));
    VT_TRY(restore(tr, err));
    VT_TRY(vt_run_open_metrics(&tr->run, tr->state.step, &tr->elapsed_before, err));
    return start_loader(tr, err);
}

void vt_trainer_close(vt_trainer *tr)
{
    vt_err late = {0};
    if (vt_trainer_finish_save(tr, &late) != VT_OK)
        vt_log(VT_LOG_WARN, "the checkpoint on its way to disk is lost: %s", late.msg);
    vt_loader_free(tr->loader);
    vt_engine_close(&tr->engine);
    vt_source_close(tr->source);
    vt_source_close(tr->eval_source);
    vt_source_close(tr->shots_pool);
    vt_source_close(tr->shots_test);
    free(tr->eval_labels);
    vt_checkpoint_info_release(&tr->info);
    vt_run_close(&tr->run);
}
