/* Between two updates: speed, log lines, checkpoints, evaluation, and the clock.
 *
 * Times are measured for the person who waits; the one that may steer the run (train.max_minutes) does so by shortening
 * the schedule, and the shortened length is part of the saved state. */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"

/* Share of the remaining time that max_minutes keeps in reserve for the last evaluation, the save, and slower steps. */
#define TIME_RESERVE 0.05

/* Steps that are timed before max_minutes decides anything: the first ones are slower. */
#define MIN_TIMED_STEPS 5

/* Seconds of steps before a new figure of speed replaces the last one. */
#define MIN_WINDOW 0.5
#define MAX_WINDOW 5.0

double vt_trainer_seconds_since(int64_t ns)
{
    return (double)(vt_now_ns() - ns) * 1e-9;
}

void vt_trainer_report(vt_trainer *tr, const char *phase)
{
    tr->progress.phase = phase;
    vt_watchdog_at(&tr->watchdog, strcmp(phase, "eval") == 0   ? VT_STAGE_EVALUATE
                                  : strcmp(phase, "save") == 0 ? VT_STAGE_SAVE
                                                               : VT_STAGE_STEP);
    if (tr->observer && tr->observer->progress)
        tr->observer->progress(tr->observer->context, &tr->progress);
}

double vt_trainer_elapsed(const vt_trainer *tr)
{
    return tr->elapsed_before + vt_trainer_seconds_since(tr->start_ns);
}

void vt_trainer_open_window(vt_trainer *tr)
{
    tr->window_ns = vt_now_ns();
    tr->window_wait_ns = vt_loader_wait_ns(tr->loader);
    tr->window_step = tr->state.step;
}

/* Speed and data wait since the window was opened; a longer window gives way to a new one. */
static void measure_window(vt_trainer *tr)
{
    double seconds = vt_trainer_seconds_since(tr->window_ns);
    int64_t steps = tr->state.step - tr->window_step;
    tr->progress.steps = tr->t.schedule.steps;
    if (seconds < MIN_WINDOW && tr->progress.images_per_second > 0)
        return;
    tr->progress.images_per_second = (double)(steps * tr->t.batch) / seconds;
    tr->progress.data_wait = (double)(vt_loader_wait_ns(tr->loader) - tr->window_wait_ns) * 1e-9 / seconds;
    tr->progress.seconds_left = seconds / (double)steps * (double)(tr->t.schedule.steps - tr->state.step);
    if (seconds >= MAX_WINDOW)
        vt_trainer_open_window(tr);
}

static void log_step_metrics(vt_trainer *tr)
{
    const vt_progress *p = &tr->progress;
    vt_run_log_metrics(&tr->run, json_pack("{s:I, s:I, s:f, s:o, s:f, s:f, s:o, s:f, s:f, s:f}", "step",
                                           (json_int_t)p->step, "images", (json_int_t)p->images, "epoch",
                                           (double)p->images / (double)vt_source_count(tr->data.train), "loss",
                                           vt_json_number(p->loss), "accuracy", p->accuracy, "lr", p->lr, "grad_norm",
                                           vt_json_number(p->grad_norm), "images_per_s", p->images_per_second,
                                           "data_wait", p->data_wait, "elapsed", vt_trainer_elapsed(tr)));
}

/* A signal asked to stop: what is done is saved. */
vt_status vt_trainer_stop(vt_trainer *tr, vt_err *err)
{
    VT_TRY(vt_trainer_save(tr, true, err));
    return vt_fail(err, VT_ESTOPPED,
                   "stopped at step %lld of %lld and saved in %s; the same command goes on from there",
                   (long long)tr->state.step, (long long)tr->t.schedule.steps, tr->result->checkpoint);
}

/* How long the last evaluation will take: as long as the one before, or as a forward pass over its images at the speed
 * of training steps, of which it is a third. */
static double final_eval_seconds(const vt_trainer *tr)
{
    if (!tr->data.eval || tr->eval_seconds > 0)
        return tr->eval_seconds;
    int64_t trained = tr->state.step - tr->first_step;
    return tr->step_seconds / (double)(trained * tr->t.batch) / 3 * (double)vt_source_count(tr->data.eval);
}

/* Ends the run in time: when what is left of max_minutes is just enough for the cooldown, it starts. The cooldown keeps
 * its share of the run, so a much shorter run gets a shorter one. The last evaluation is counted as long as the one
 * before. */
static void heed_time(vt_trainer *tr)
{
    vt_schedule *s = &tr->t.schedule;
    double limit = tr->recipe->train.max_minutes * 60, spent = vt_trainer_seconds_since(tr->start_ns);
    int64_t done = tr->state.step - tr->first_step;
    if (limit <= 0 || done < MIN_TIMED_STEPS || tr->state.step + s->cooldown >= s->steps)
        return;
    /* Wall time, so that saves and evaluations on the way count as often as they came. */
    double left = (limit - vt_trainer_elapsed(tr) - final_eval_seconds(tr)) * (1 - TIME_RESERVE);
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

bool vt_trainer_due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

vt_status vt_trainer_after_step(vt_trainer *tr, bool log_step, bool watch, vt_err *err)
{
    bool last = tr->state.step == tr->t.schedule.steps;
    measure_window(tr);
    vt_trainer_report(tr, "train");
    if (log_step)
        log_step_metrics(tr);
    if (watch)
        vt_trainer_log_watch(tr);
    heed_time(tr);
    bool save_now = vt_trainer_due(tr->state.step, tr->t.save_every) && !last,
         eval_now = tr->data.eval && vt_trainer_due(tr->state.step, tr->t.eval_every) && !last,
         shots_now = tr->data.shots && vt_trainer_due(tr->state.step, tr->t.fewshot_every) && !last;
    if (eval_now)
        VT_TRY(vt_trainer_evaluate(tr, err));
    if (shots_now)
        VT_TRY(vt_trainer_fewshot(tr, err));
    if (save_now)
        VT_TRY(vt_trainer_save_on_the_way(tr, err));
    if (save_now || eval_now || shots_now)
        vt_trainer_open_window(tr); /* their time is not that of steps */
    return VT_OK;
}
