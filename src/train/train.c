/* The training loop: open the run, go on where it stood, step, log, evaluate, save.
 *
 * What decides the bytes of the result is the recipe's fixed keys, the data, the seed and the instruction set. */
#include "train/trainer.h"

#include <stdlib.h>

#include "base/machine.h"

static bool stop_asked(const vt_trainer *tr)
{
    return tr->observer && tr->observer->stop && tr->observer->stop() != 0;
}

/* The update that is due and what comes after it; or, where it diverged and the recipe says so, the way back. */
static vt_status one_update(vt_trainer *tr, vt_err *err)
{
    int64_t next = tr->state.step + 1, step_ns = vt_now_ns();
    bool skips = vt_trainer_skips(tr, next);
    bool log_step =
        !skips && (vt_trainer_due(next, tr->recipe->train.log_every) || next == 1 || next == tr->t.schedule.steps);
    bool watch = !skips && vt_trainer_due(next, tr->recipe->train.watch_every);
    vt_status status = skips ? vt_trainer_skip(tr, err) : vt_trainer_step(tr, log_step, watch, err);
    if (status == VT_EDIVERGED && tr->recipe->train.on_divergence == VT_DIVERGED_SKIP)
        return vt_trainer_go_back(tr, err);
    VT_TRY(status);
    tr->step_seconds += vt_trainer_seconds_since(step_ns);
    if (skips)
        vt_run_log_metrics(&tr->run, json_pack("{s:I, s:I, s:b}", "step", (json_int_t)next, "images",
                                               (json_int_t)tr->progress.images, "skipped", 1));
    return vt_trainer_after_step(tr, log_step, watch, err);
}

static vt_status loop(vt_trainer *tr, vt_err *err)
{
    vt_trainer_open_window(tr);
    while (tr->state.step < tr->t.schedule.steps) {
        VT_TRY(one_update(tr, err));
        if (stop_asked(tr) && tr->state.step < tr->t.schedule.steps)
            return vt_trainer_stop(tr, err);
    }
    return VT_OK;
}

static vt_status train_and_evaluate(vt_trainer *tr, vt_err *err)
{
    tr->first_step = tr->state.step;
    tr->start_ns = vt_now_ns();
    tr->progress.step = tr->info.step = tr->state.step;
    tr->progress.images = tr->info.images = tr->state.step * tr->t.batch;
    tr->progress.steps = tr->t.schedule.steps;
    vt_status status = loop(tr, err);
    tr->result->images_per_second =
        tr->step_seconds > 0 ? (double)((tr->state.step - tr->first_step) * tr->t.batch) / tr->step_seconds : 0;
    if (status != VT_OK && tr->data_failed)
        vt_trainer_save_after_bad(tr, err);
    VT_TRY(status);
    VT_TRY(vt_trainer_save(tr, true, err));
    if (tr->data.shots)
        VT_TRY(vt_trainer_fewshot(tr, err));
    return tr->data.eval ? vt_trainer_evaluate(tr, err) : VT_OK;
}

vt_status vt_train(vt_recipe *recipe, const char *run, bool fresh, const vt_train_observer *observer,
                   vt_train_result *result, vt_err *err)
{
    vt_trainer tr = {.recipe = recipe, .fresh = fresh, .observer = observer, .result = result};
    int64_t started = vt_now_ns();
    *result = (vt_train_result){.resumed_from = -1};
    vt_watchdog_start(&tr.watchdog, recipe->train.stall_minutes, &tr.train_board, &tr.eval_board);
    vt_status status = vt_trainer_open(&tr, run, err);
    if (status == VT_OK)
        status = train_and_evaluate(&tr, err);
    result->step = tr.state.step;
    result->images = tr.state.step * tr.t.batch;
    result->bad = tr.bad.count;
    result->data_images = tr.data.train ? vt_source_count(tr.data.train) : 0;
    result->skipped = (int)json_array_size(tr.state.skipped);
    result->seconds = vt_trainer_seconds_since(started);
    result->plan_total = tr.plan.total;
    for (int i = 0; i < tr.plan.n_lines; i++)
        result->plan_bytes += tr.plan.lines[i].exact ? tr.plan.lines[i].bytes : 0;
    result->high_water_bytes = vt_engine_high_water(&tr.engine);
    result->resident_anonymous = vt_resident_anonymous();
    vt_trainer_close(&tr);
    return status;
}

void vt_train_result_release(vt_train_result *r)
{
    vt_classification_release(&r->final_eval);
    free(r->checkpoint);
    *r = (vt_train_result){0};
}
