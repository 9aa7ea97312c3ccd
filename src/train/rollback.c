/* train.on_divergence=skip: after a number that is not finite the run goes back to its newest checkpoint before the
 * update that made it, and does the same updates again, but for that one: it takes its place in the schedule and in the
 * order of images, and changes nothing. The list of such updates is part of the state, so that whoever resumes,
 * branches or replays leaves out the same ones. */
#include "train/trainer.h"

#include "base/log.h"
#include "base/machine.h"
#include "train/forensics.h"

bool vt_trainer_skips(const vt_trainer *tr, int64_t update)
{
    const json_t *entry;
    size_t i;
    json_array_foreach(tr->state.skipped, i, entry)
    {
        if (json_integer_value(json_object_get(entry, "update")) == update)
            return true;
    }
    return false;
}

/* The entry of state.json and manifest.json. */
static json_t *describe_skip(const vt_trainer *tr, int64_t update, int64_t back_to)
{
    json_t *samples = json_array();
    for (int64_t i = 0; i < tr->t.batch && i < VT_MAX_NAMED; i++) {
        char name[256];
        int64_t sample = vt_loader_sample_without(tr->data.train, tr->t.seed, (update - 1) * tr->t.batch + i, &tr->bad);
        (void)json_array_append_new(samples,
                                    vt_json_text(vt_source_sample_name(tr->data.train, sample, name, sizeof name)));
    }
    return json_pack("{s:I, s:I, s:s, s:o}", "update", (json_int_t)update, "back_to", (json_int_t)back_to, "first_bad",
                     tr->suspect.tensor, "samples", samples);
}

/* Time goes on, but speed and what remains are measured anew. */
static void restart_clock(vt_trainer *tr)
{
    tr->elapsed_before = vt_trainer_elapsed(tr);
    tr->start_ns = vt_now_ns();
    tr->first_step = tr->state.step;
    tr->step_seconds = 0;
    tr->watched_steps = tr->clipped_steps = 0;
    if (tr->result->resumed_from > tr->state.step)
        tr->result->resumed_from = tr->state.step;
    vt_trainer_open_window(tr);
}

vt_status vt_trainer_go_back(vt_trainer *tr, vt_err *err)
{
    int64_t update = tr->suspect.update;
    double elapsed;
    while (vt_trainer_skips(tr, update)) /* leaving that out did not help: the one before it */
        update--;
    if (json_array_size(tr->state.skipped) >= VT_MAX_SKIPPED)
        return vt_fail(err, VT_EDIVERGED,
                       "update %lld: %s is not finite, and %d updates were skipped before; this is no matter of single "
                       "images: start anew (--fresh) with a lower optimizer.lr, a longer schedule.warmup or "
                       "optimizer.clip; `vitro train %s replay=%lld` shows every tensor",
                       (long long)tr->state.step + 1, tr->suspect.tensor, VT_MAX_SKIPPED, tr->run.dir,
                       (long long)tr->state.step + 1);
    if (update <= 1)
        return VT_EDIVERGED; /* the values that a run begins with, and its first images: nothing to go back to */
    vt_log(VT_LOG_WARN, "%s", err->msg);
    json_t *skipped = tr->state.skipped ? json_copy(tr->state.skipped) : json_array();
    json_decref(tr->state.skipped);
    tr->state.skipped = NULL;
    vt_status status = vt_trainer_restore(tr, update - 1, err);
    if (status == VT_OK && tr->state.step >= update)
        status = vt_fail(err, VT_EDIVERGED, "update %lld, which made %s, lies before the beginning of this run",
                         (long long)update, tr->suspect.tensor);
    (void)json_array_append_new(skipped, describe_skip(tr, update, tr->state.step));
    json_decref(tr->state.skipped);
    tr->state.skipped = skipped;
    VT_TRY(status);
    vt_log(VT_LOG_WARN, "train.on_divergence is skip: back to step %lld; update %lld and its %lld images are left out",
           (long long)tr->state.step, (long long)update, (long long)tr->t.batch);
    VT_TRY(vt_run_open_metrics(&tr->run, tr->state.step, &elapsed, err));
    VT_TRY(vt_trainer_restart_loader(tr, err));
    restart_clock(tr);
    return VT_OK;
}
