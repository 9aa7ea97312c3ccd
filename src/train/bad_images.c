/* Images that cannot be used, within data.max_bad: a line of the log and of metrics.jsonl for each of the first
 * hundred, and the list of data.train's in the state of the run, so that a resumed run counts on instead of anew and
 * everybody can see which images others stood for. */
#include "train/trainer.h"

#include "base/log.h"
#include "base/text.h"

/* The line of the log and of metrics.jsonl for one image; why is NULL where enough were named. */
static void tell(vt_trainer *tr, const char *key, const vt_source *source, const vt_bad_list *list, int64_t sample,
                 int64_t step, const char *why)
{
    char name[256];
    if (list->count == VT_BAD_NAMED + 1)
        vt_log(VT_LOG_WARN, "%s: %d images cannot be used; further ones are only counted", key, VT_BAD_NAMED);
    if (!why)
        return;
    vt_log(VT_LOG_WARN, "%s: bad image %lld of %lld allowed (data.max_bad): %s", key, (long long)list->count,
           (long long)list->limit, why);
    vt_source_sample_name(source, sample, name, sizeof name);
    vt_run_log_metrics(&tr->run, json_pack("{s:I, s:s, s:o, s:o}", "step", (json_int_t)step, "data", key, "bad_image",
                                           vt_json_text(name), "why", vt_json_text(why)));
}

static void tell_train(void *context, int64_t sample, const char *why)
{
    vt_trainer *tr = context;
    if (!tr->replay)
        tell(tr, "data.train", tr->data.train, &tr->bad, sample, tr->state.step + 1, why);
}

static void tell_eval(void *context, int64_t sample, const char *why)
{
    vt_trainer *tr = context;
    tell(tr, "data.eval", tr->data.eval, &tr->eval_bad, sample, tr->state.step, why);
}

void vt_trainer_open_bad(vt_trainer *tr)
{
    static const char key[] = "data.max_bad";
    tr->bad = (vt_bad_list){.name = key, .tell = tell_train, .context = tr};
    tr->bad.limit = vt_recipe_max_bad(tr->recipe, vt_source_count(tr->data.train));
    tr->eval_bad = (vt_bad_list){.name = key, .tell = tell_eval, .context = tr};
    if (tr->data.eval)
        tr->eval_bad.limit = vt_recipe_max_bad(tr->recipe, vt_source_count(tr->data.eval));
}

vt_status vt_trainer_take_bad(vt_trainer *tr, vt_err *err)
{
    const json_t *entry;
    size_t i;
    vt_bad_release(&tr->bad);
    json_array_foreach(tr->state.bad, i, entry)
    {
        int64_t sample = (int64_t)json_integer_value(entry);
        if (sample >= vt_source_count(tr->data.train))
            return vt_fail(err, VT_EFORMAT, "%s: state.json lists bad sample %lld, and data.train has %lld",
                           tr->result->checkpoint, (long long)sample, (long long)vt_source_count(tr->data.train));
        vt_bad_add(&tr->bad, sample);
    }
    if (tr->bad.count > 0)
        vt_log(VT_LOG_INFO, "%lld of %lld images of data.train were found bad before (data.max_bad)",
               (long long)tr->bad.count, (long long)vt_source_count(tr->data.train));
    return VT_OK;
}

/* A list once made is only replaced: a checkpoint may be on its way to disk with it. */
void vt_trainer_keep_bad(vt_trainer *tr)
{
    if ((int64_t)json_array_size(tr->state.bad) == tr->bad.count)
        return;
    json_decref(tr->state.bad);
    tr->state.bad = json_array();
    for (int64_t i = 0; i < tr->bad.count; i++)
        (void)json_array_append_new(tr->state.bad, json_integer((json_int_t)tr->bad.samples[i]));
}

vt_status vt_trainer_next_batch(vt_trainer *tr, vt_batch *batch, vt_err *err)
{
    vt_watchdog_at(&tr->watchdog, VT_STAGE_LOADER);
    vt_status status = vt_loader_next(tr->loader, batch, err);
    tr->data_failed = status != VT_OK;
    return status;
}

void vt_trainer_save_after_bad(vt_trainer *tr, vt_err *err)
{
    vt_err why = *err, late = {0};
    if (tr->state.step == 0)
        return;
    if (vt_trainer_save(tr, true, &late) == VT_OK)
        (void)vt_fail(err, why.code, "%.560s; step %lld is saved in %s", why.msg, (long long)tr->state.step,
                      tr->result->checkpoint);
    else
        vt_log(VT_LOG_WARN, "what was trained so far cannot be saved: %s", late.msg);
}
