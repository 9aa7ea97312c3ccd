/* The training loop: open the run, go on where it stood, step, log, evaluate, save.
 *
 * What decides the bytes of the result is the recipe's fixed keys, the data, the seed and the instruction set. Times
 * are measured for the person who waits; the one that may steer the run (train.max_minutes) does so by shortening the
 * schedule, and the shortened length is part of the saved state. */
#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"
#include "data/loader.h"
#include "train/plan.h"
#include "train/run.h"

/* Share of the remaining time that max_minutes keeps in reserve for the last evaluation, the save, and slower steps. */
#define TIME_RESERVE 0.05

/* Steps that are timed before max_minutes decides anything: the first ones are slower. */
#define MIN_TIMED_STEPS 5

/* Seconds of steps before a new figure of speed replaces the last one. */
#define MIN_WINDOW 0.5
#define MAX_WINDOW 5.0

typedef struct {
    vt_recipe *recipe;
    bool fresh;
    vt_training t;
    vt_plan plan;
    const vt_isa *isa;
    vt_run run;
    vt_source *source, *eval_source;
    int32_t *eval_labels; /* class of eval_source -> class of the model */
    vt_engine engine;
    vt_loader *loader;
    vt_checkpoint_info info;
    vt_train_state state;
    int64_t saved_step; /* of the newest checkpoint, -1 before the first */

    const vt_train_observer *observer;
    vt_train_result *result;
    vt_progress progress;
    int64_t start_ns, window_ns, window_wait_ns, window_step; /* of the call; since the last logged step */
    double elapsed_before;                                    /* seconds of earlier calls */
    double eval_seconds;                                      /* of the last evaluation */
    double step_seconds;                                      /* of all steps of this call */
} trainer;

/* --- opening --------------------------------------------------------------------------------------------------------
 */

static vt_status open_data(trainer *tr, vt_err *err)
{
    VT_TRY(vt_source_open(&tr->source, tr->recipe->data.train, err) == VT_OK ? VT_OK : vt_prefix(err, "data.train"));
    if (!vt_source_has_single_labels(tr->source))
        return vt_fail(
            err, VT_EUNSUPPORTED,
            "data.train: training needs exactly one class for every image; labels=FILE gives some image none "
            "or several");
    if (tr->recipe->data.eval[0] != '\0')
        VT_TRY(vt_source_open(&tr->eval_source, tr->recipe->data.eval, err) == VT_OK ? VT_OK
                                                                                     : vt_prefix(err, "data.eval"));
    return VT_OK;
}

/* Takes over the settings of a run that was started before. */
static vt_status adopt_stored_recipe(trainer *tr, vt_err *err)
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

static vt_status make_plan(trainer *tr, vt_err *err)
{
    int64_t classes = vt_source_classes(tr->source);
    size_t source_bytes = vt_source_resident_bytes(tr->source), decode_bytes = vt_source_decode_bytes(tr->source);
    if (tr->eval_source)
        source_bytes += vt_source_resident_bytes(tr->eval_source);
    VT_TRY(vt_isa_pick(getenv("VITRO_ISA"), &tr->isa, err));
    VT_TRY(vt_recipe_resolve(tr->recipe, vt_source_count(tr->source), classes, &tr->t, err));
    VT_TRY(vt_plan_training(&tr->t, tr->isa, source_bytes, decode_bytes, &tr->plan, err));
    tr->recipe->train.micro_batch = tr->t.micro_batch;
    tr->recipe->model.classes = tr->t.model.classes;
    tr->recipe->model.head_bias = tr->t.model.head_bias;
    return VT_OK;
}

static void describe(trainer *tr)
{
    vt_text list = {0};
    int64_t classes = tr->t.model.classes, named = vt_source_classes(tr->source);
    tr->info =
        (vt_checkpoint_info){.model = tr->t.model, .named = vt_source_has_names(tr->source), .pixels = tr->t.pixels};
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
    (void)snprintf(tr->state.instruction_set, sizeof tr->state.instruction_set, "%s", tr->isa->name);
}

static vt_status match_eval_classes(trainer *tr, vt_err *err)
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

/* Initial values, or the newest checkpoint that holds. */
static vt_status restore(trainer *tr, vt_err *err)
{
    vt_train_state stored;
    char *dir = NULL;
    tr->result->resumed_from = tr->saved_step = -1;
    VT_TRY(vt_checkpoint_newest(tr->run.dir, &dir, err));
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
        if (strcmp(stored.instruction_set, tr->isa->name) != 0)
            vt_log(VT_LOG_WARN,
                   "the run was computed with the %s kernels so far and goes on with %s: its bytes will not be those "
                   "of a run without this change",
                   stored.instruction_set, tr->isa->name);
        (void)snprintf(stored.instruction_set, sizeof stored.instruction_set, "%s", tr->isa->name);
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

static vt_status start_loader(trainer *tr, vt_err *err)
{
    vt_loader_options o = vt_engine_loader_options(&tr->engine, tr->t.workers);
    o.source = tr->source;
    o.preprocess = &tr->t.preprocess;
    o.start = tr->state.step * tr->t.batch;
    o.end = tr->t.schedule.steps * tr->t.batch;
    o.shuffle = true;
    o.seed = tr->t.seed;
    return vt_loader_new(&tr->loader, &o, tr->engine.loader_ring, err);
}

static vt_status open_all(trainer *tr, const char *run, vt_err *err)
{
    VT_TRY(open_data(tr, err));
    VT_TRY(vt_recipe_resolve(tr->recipe, vt_source_count(tr->source), vt_source_classes(tr->source), &tr->t, err));
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
    VT_TRY(restore(tr, err));
    VT_TRY(vt_run_open_metrics(&tr->run, tr->state.step, &tr->elapsed_before, err));
    return start_loader(tr, err);
}

static void close_all(trainer *tr)
{
    vt_loader_free(tr->loader);
    vt_engine_close(&tr->engine);
    vt_source_close(tr->source);
    vt_source_close(tr->eval_source);
    free(tr->eval_labels);
    vt_checkpoint_info_release(&tr->info);
    vt_run_close(&tr->run);
}

/* --- one step -------------------------------------------------------------------------------------------------------
 */

static double seconds_since(int64_t ns)
{
    return (double)(vt_now_ns() - ns) * 1e-9;
}

static void report(trainer *tr, const char *phase)
{
    tr->progress.phase = phase;
    if (tr->observer && tr->observer->progress)
        tr->observer->progress(tr->observer->context, &tr->progress);
}

static bool stop_asked(const trainer *tr)
{
    return tr->observer && tr->observer->stop && tr->observer->stop() != 0;
}

static int64_t count_right(const trainer *tr, const vt_batch *batch)
{
    const vt_model *m = &tr->engine.model;
    int64_t classes = m->config.classes, right = 0, best = 0;
    vt_device_read(tr->engine.backend.device, tr->engine.host_logits, m->logits,
                   (size_t)(batch->count * classes) * sizeof(float));
    for (int64_t b = 0; b < batch->count; b++) {
        vt_top_k(tr->engine.host_logits + b * classes, classes, 1, &best);
        right += best == batch->labels[b];
    }
    return right;
}

/* Forward and backward passes of one update's micro-batches, in order. *right stays 0 unless count. */
static vt_status accumulate_gradients(trainer *tr, bool count, int64_t *right, vt_err *err)
{
    vt_engine *e = &tr->engine;
    vt_model *m = &e->model;
    vt_pass pass = {.backend = &e->backend,
                    .samples = tr->t.micro_batch,
                    .pixels = tr->t.pixels,
                    .slices = tr->t.slices,
                    .weight = 1.0f / (float)tr->t.batch};
    for (int64_t done = 0; done < tr->t.batch; done += tr->t.micro_batch) {
        vt_batch batch;
        VT_TRY(vt_loader_next(tr->loader, &batch, err));
        vt_device_write(&e->device, m->images, batch.images,
                        (size_t)(batch.count * m->config.image_height * m->config.image_width * 3));
        vt_device_write(&e->device, m->labels, batch.labels, (size_t)batch.count * sizeof *batch.labels);
        pass.accumulate = done > 0;
        vt_model_forward(m, &pass);
        vt_model_loss(m, &pass);
        vt_run(&e->backend, sum_samples, .samples = batch.count, .cols = 1, .x = m->loss, .slices = tr->t.slices,
               .accumulate = done > 0, .y = e->loss_sum);
        if (count)
            *right += count_right(tr, &batch);
        vt_model_backward(m, &pass);
        vt_loader_release_batch(tr->loader);
    }
    return VT_OK;
}

static vt_status diverged(const trainer *tr, const char *what, vt_err *err)
{
    return vt_fail(err, VT_EDIVERGED,
                   "step %lld: %s is not finite; the parameters were not updated; the last good checkpoint is %s; "
                   "start anew (--fresh, or another "
                   "--run) with a lower optimizer.lr, a longer schedule.warmup or optimizer.clip",
                   (long long)tr->state.step, what,
                   tr->result->checkpoint ? tr->result->checkpoint : "none, since none had been written yet");
}

/* The first parameter that is not finite, or NULL: what a loss that is not finite most often comes from. */
static const char *bad_parameter(trainer *tr)
{
    vt_engine *e = &tr->engine;
    for (int i = 0; i < e->model.n_params; i++) {
        double sum = 0;
        vt_run(&e->backend, sum_squares, .count = e->model.params[i].count, .x = e->model.params[i].value,
               .sum = e->optimizer.square_sums);
        vt_device_read(&e->device, &sum, e->optimizer.square_sums, sizeof sum);
        if (!isfinite(sum))
            return e->model.params[i].name;
    }
    return NULL;
}

/* Names what made the loss bad. */
static vt_status loss_diverged(trainer *tr, vt_err *err)
{
    char what[160];
    const char *name = bad_parameter(tr);
    if (name)
        (void)snprintf(what, sizeof what, "the loss, and before it the parameter %s,", name);
    else
        (void)snprintf(what, sizeof what, "the loss (all parameters are finite: an activation grew beyond float32)");
    return diverged(tr, what, err);
}

static vt_status train_step(trainer *tr, bool log_step, vt_err *err)
{
    vt_engine *e = &tr->engine;
    vt_step_report step_report;
    float loss = 0;
    int64_t right = 0;
    VT_TRY(accumulate_gradients(tr, log_step, &right, err));
    vt_device_read(&e->device, &loss, e->loss_sum, sizeof loss);
    if (!isfinite(loss))
        return loss_diverged(tr, err);
    double factor = vt_schedule_at(&tr->t.schedule, tr->state.step);
    vt_optimizer_step(&e->optimizer, &e->backend, tr->state.step, factor, &step_report);
    if (step_report.bad_param >= 0) {
        char what[128];
        (void)snprintf(what, sizeof what, "the gradient of %s", e->model.params[step_report.bad_param].name);
        return diverged(tr, what, err);
    }
    tr->state.step++;
    tr->info.step = tr->progress.step = tr->state.step;
    tr->info.images = tr->progress.images = tr->state.step * tr->t.batch;
    tr->progress.loss = tr->result->last_loss = (double)loss;
    tr->progress.lr = factor * tr->t.optimizer.lr;
    tr->progress.grad_norm = step_report.grad_norm;
    if (log_step)
        tr->progress.accuracy = (double)right / (double)tr->t.batch;
    return VT_OK;
}

/* --- between steps --------------------------------------------------------------------------------------------------
 */

static double elapsed(const trainer *tr)
{
    return tr->elapsed_before + seconds_since(tr->start_ns);
}

static void open_window(trainer *tr)
{
    tr->window_ns = vt_now_ns();
    tr->window_wait_ns = vt_loader_wait_ns(tr->loader);
    tr->window_step = tr->state.step;
}

/* Speed and data wait since the window was opened; a longer window gives way to a new one. */
static void measure_window(trainer *tr)
{
    double seconds = seconds_since(tr->window_ns);
    int64_t steps = tr->state.step - tr->window_step;
    tr->progress.steps = tr->t.schedule.steps;
    if (seconds < MIN_WINDOW && tr->progress.images_per_second > 0)
        return;
    tr->progress.images_per_second = (double)(steps * tr->t.batch) / seconds;
    tr->progress.data_wait = (double)(vt_loader_wait_ns(tr->loader) - tr->window_wait_ns) * 1e-9 / seconds;
    tr->progress.seconds_left = seconds / (double)steps * (double)(tr->t.schedule.steps - tr->state.step);
    if (seconds >= MAX_WINDOW)
        open_window(tr);
}

static void log_step_metrics(trainer *tr)
{
    const vt_progress *p = &tr->progress;
    vt_run_log_metrics(&tr->run, json_pack("{s:I, s:I, s:f, s:o, s:f, s:f, s:o, s:f, s:f, s:f}", "step",
                                           (json_int_t)p->step, "images", (json_int_t)p->images, "epoch",
                                           (double)p->images / (double)vt_source_count(tr->source), "loss",
                                           vt_json_number(p->loss), "accuracy", p->accuracy, "lr", p->lr, "grad_norm",
                                           vt_json_number(p->grad_norm), "images_per_s", p->images_per_second,
                                           "data_wait", p->data_wait, "elapsed", elapsed(tr)));
}

static vt_status save(trainer *tr, vt_err *err)
{
    if (tr->saved_step == tr->state.step)
        return VT_OK;
    char *dir = NULL;
    report(tr, "save");
    VT_TRY(vt_checkpoint_save(tr->run.dir, &tr->engine, &tr->info, &tr->state, tr->recipe->train.keep, &dir, err));
    tr->saved_step = tr->state.step;
    free(tr->result->checkpoint);
    tr->result->checkpoint = dir;
    vt_run_log_metrics(&tr->run, json_pack("{s:I, s:s, s:f}", "step", (json_int_t)tr->state.step, "checkpoint",
                                           vt_path_base(tr->result->checkpoint), "elapsed", elapsed(tr)));
    return VT_OK;
}

/* A signal asked to stop: what is done is saved. */
static vt_status stop_saved(trainer *tr, vt_err *err)
{
    VT_TRY(save(tr, err));
    return vt_fail(err, VT_ESTOPPED,
                   "stopped at step %lld of %lld and saved in %s; the same command goes on from there",
                   (long long)tr->state.step, (long long)tr->t.schedule.steps, tr->result->checkpoint);
}

static vt_status evaluate(trainer *tr, vt_err *err)
{
    int64_t started = vt_now_ns();
    vt_eval_pass pass = {.model = &tr->engine.model,
                         .backend = &tr->engine.backend,
                         .source = tr->eval_source,
                         .preprocess = &tr->t.eval_preprocess,
                         .pixels = tr->t.pixels,
                         .workers = tr->t.workers,
                         .slices = tr->t.slices,
                         .label_map = tr->eval_labels,
                         .memory = &tr->engine.arenas[VT_ARENA_EVAL],
                         .stop = tr->observer ? tr->observer->stop : NULL};
    report(tr, "eval");
    vt_classification c = {0};
    vt_status status = vt_classify(&pass, &c, err);
    if (status != VT_OK) {
        vt_classification_release(&c);
        return status == VT_ESTOPPED ? stop_saved(tr, err) : status;
    }
    vt_classification_release(&tr->result->final_eval);
    tr->result->final_eval = c;
    tr->result->evaluated = tr->progress.has_eval = true;
    tr->progress.eval_top1 = vt_accuracy(c.right1, c.count);
    tr->eval_seconds = seconds_since(started);
    if (tr->state.step == tr->result->resumed_from)
        return VT_OK; /* a finished run, asked again: metrics.jsonl has this line */
    vt_estimate top5 = vt_accuracy(c.right5, c.count);
    vt_run_log_metrics(&tr->run,
                       json_pack("{s:I, s:I, s:f, s:[f,f], s:f, s:o, s:f}", "step", (json_int_t)tr->state.step,
                                 "images", (json_int_t)tr->progress.images, "eval_top1", tr->progress.eval_top1.value,
                                 "eval_top1_interval", tr->progress.eval_top1.low, tr->progress.eval_top1.high,
                                 "eval_top5", top5.value, "eval_loss", vt_json_number(c.loss), "elapsed", elapsed(tr)));
    return VT_OK;
}

/* How long the last evaluation will take: as long as the one before, or as a forward pass over its images at the speed
 * of training steps, of which it is a third. */
static double final_eval_seconds(const trainer *tr)
{
    if (!tr->eval_source || tr->eval_seconds > 0)
        return tr->eval_seconds;
    int64_t trained = tr->state.step - (tr->result->resumed_from > 0 ? tr->result->resumed_from : 0);
    return tr->step_seconds / (double)(trained * tr->t.batch) / 3 * (double)vt_source_count(tr->eval_source);
}

/* Ends the run in time: when what is left of max_minutes is just enough for the cooldown, it starts. The cooldown keeps
 * its share of the run, so a much shorter run gets a shorter one. The last evaluation is counted as long as the one
 * before. */
static void heed_time(trainer *tr)
{
    vt_schedule *s = &tr->t.schedule;
    double limit = tr->recipe->train.max_minutes * 60, spent = seconds_since(tr->start_ns);
    int64_t done = tr->state.step - (tr->result->resumed_from > 0 ? tr->result->resumed_from : 0);
    if (limit <= 0 || done < MIN_TIMED_STEPS || tr->state.step + s->cooldown >= s->steps)
        return;
    /* Wall time, so that saves and evaluations on the way count as often as they came. */
    double left = (limit - elapsed(tr) - final_eval_seconds(tr)) * (1 - TIME_RESERVE);
    double steps_in_time = left > 0 ? left * (double)done / spent : 0;
    if (steps_in_time >= (double)(s->steps - tr->state.step))
        return;
    int64_t affordable = (int64_t)steps_in_time;
    int64_t cooldown = (int64_t)((double)s->cooldown / (double)s->steps * (double)(tr->state.step + affordable));
    if (affordable > cooldown + 1)
        return;
    s->cooldown = tr->state.cooldown_steps = affordable > 0 ? affordable : 1;
    s->steps = tr->state.schedule_steps = tr->state.step + s->cooldown;
    vt_log(VT_LOG_INFO, "train.max_minutes is %g: the cooldown starts at step %lld, the run ends at %lld",
           tr->recipe->train.max_minutes, (long long)tr->state.step, (long long)s->steps);
}

static bool due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

static vt_status after_step(trainer *tr, bool log_step, vt_err *err)
{
    bool last = tr->state.step == tr->t.schedule.steps;
    measure_window(tr);
    report(tr, "train");
    if (log_step)
        log_step_metrics(tr);
    heed_time(tr);
    bool save_now = due(tr->state.step, tr->t.save_every) && !last,
         eval_now = tr->eval_source && due(tr->state.step, tr->t.eval_every) && !last;
    if (eval_now)
        VT_TRY(evaluate(tr, err));
    if (save_now)
        VT_TRY(save(tr, err));
    if (save_now || eval_now)
        open_window(tr); /* their time is not that of steps */
    return VT_OK;
}

static vt_status loop(trainer *tr, vt_err *err)
{
    open_window(tr);
    while (tr->state.step < tr->t.schedule.steps) {
        int64_t next = tr->state.step + 1;
        bool log_step = due(next, tr->recipe->train.log_every) || next == 1 || next == tr->t.schedule.steps;
        int64_t step_ns = vt_now_ns();
        VT_TRY(train_step(tr, log_step, err));
        tr->step_seconds += seconds_since(step_ns);
        VT_TRY(after_step(tr, log_step, err));
        if (stop_asked(tr) && tr->state.step < tr->t.schedule.steps)
            return stop_saved(tr, err);
    }
    return VT_OK;
}

static vt_status train_and_evaluate(trainer *tr, vt_err *err)
{
    int64_t first = tr->state.step;
    tr->start_ns = vt_now_ns();
    tr->progress.step = tr->info.step = tr->state.step;
    tr->progress.images = tr->info.images = tr->state.step * tr->t.batch;
    tr->progress.steps = tr->t.schedule.steps;
    vt_status status = loop(tr, err);
    tr->result->images_per_second =
        tr->step_seconds > 0 ? (double)((tr->state.step - first) * tr->t.batch) / tr->step_seconds : 0;
    VT_TRY(status);
    VT_TRY(save(tr, err));
    return tr->eval_source ? evaluate(tr, err) : VT_OK;
}

vt_status vt_train(vt_recipe *recipe, const char *run, bool fresh, const vt_train_observer *observer,
                   vt_train_result *result, vt_err *err)
{
    trainer tr = {.recipe = recipe, .fresh = fresh, .observer = observer, .result = result};
    int64_t started = vt_now_ns();
    *result = (vt_train_result){.resumed_from = -1};
    vt_status status = open_all(&tr, run, err);
    if (status == VT_OK)
        status = train_and_evaluate(&tr, err);
    result->step = tr.state.step;
    result->images = tr.state.step * tr.t.batch;
    result->seconds = seconds_since(started);
    result->plan_total = tr.plan.total;
    for (int i = 0; i < tr.plan.n_lines; i++)
        result->plan_bytes += tr.plan.lines[i].exact ? tr.plan.lines[i].bytes : 0;
    result->high_water_bytes = vt_engine_high_water(&tr.engine);
    result->resident_anonymous = vt_resident_anonymous();
    close_all(&tr);
    return status;
}

void vt_train_result_release(vt_train_result *r)
{
    vt_classification_release(&r->final_eval);
    free(r->checkpoint);
    *r = (vt_train_result){0};
}
