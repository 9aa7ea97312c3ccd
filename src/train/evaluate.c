/* Looks at the model on the way and at the end: classification of data.eval, and few-shot accuracy (eval.fewshot) by
 * ridge regression on its features. Where parameters are averaged, it is the averages that are looked at. */
#include "train/trainer.h"

#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/text.h"
#include "eval/fewshot.h"
#include "eval/stats.h"

static void beat(void *context, int64_t done, int64_t total)
{
    (void)done, (void)total;
    vt_watchdog_beat(context);
}

static vt_eval_pass pass_over(vt_trainer *tr, const vt_source *source, const int32_t *label_map)
{
    return (vt_eval_pass){.model = &tr->engine.model,
                          .backend = &tr->engine.backend,
                          .source = source,
                          .preprocess = &tr->t.eval_preprocess,
                          .pixels = tr->t.pixels,
                          .loss = tr->t.loss,
                          .workers = tr->t.workers,
                          .slices = tr->t.slices,
                          .label_map = label_map,
                          .memory = &tr->engine.arenas[VT_ARENA_EVAL],
                          .progress = beat,
                          .progress_context = &tr->watchdog,
                          .board = &tr->eval_board,
                          .bad = source == tr->data.eval ? &tr->eval_bad : NULL,
                          .stop = tr->observer ? tr->observer->stop : NULL};
}

/* A look that came to no end: what was trained so far is whole, and is to be saved. */
static vt_status ended(vt_trainer *tr, vt_status status, vt_err *err)
{
    tr->data_failed = status != VT_ESTOPPED && status != VT_EDIVERGED;
    return status == VT_ESTOPPED ? vt_trainer_stop(tr, err) : status;
}

vt_status vt_trainer_evaluate(vt_trainer *tr, vt_err *err)
{
    int64_t started = vt_now_ns();
    vt_eval_pass pass = pass_over(tr, tr->data.eval, tr->eval_labels);
    vt_trainer_report(tr, "eval");
    vt_classification c = {0};
    /* the training data's hierarchy; vt_classify sees to the evaluation data's */
    uint8_t *leaves = vt_leaf_mask(tr->data.train, NULL, tr->engine.model.config.classes, NULL);
    pass.among = leaves;
    vt_average_swap(&tr->engine.optimizer);
    vt_status status = vt_classify(&pass, NULL, &c, err);
    vt_average_swap(&tr->engine.optimizer);
    free(leaves);
    if (status != VT_OK) {
        vt_classification_release(&c);
        return ended(tr, status, err);
    }
    vt_classification_release(&tr->result->final_eval);
    tr->result->final_eval = c;
    tr->result->evaluated = tr->progress.has_eval = true;
    tr->progress.eval_top1 = vt_accuracy(c.right1, c.count);
    tr->eval_seconds = vt_trainer_seconds_since(started);
    if (tr->state.step == tr->result->resumed_from)
        return VT_OK; /* a finished run, asked again: metrics.jsonl has this line */
    vt_estimate top5 = vt_accuracy(c.right5, c.count);
    json_t *line = json_pack("{s:I, s:I, s:f, s:[f,f], s:f, s:o, s:f}", "step", (json_int_t)tr->state.step, "images",
                             (json_int_t)tr->progress.images, "eval_top1", tr->progress.eval_top1.value,
                             "eval_top1_interval", tr->progress.eval_top1.low, tr->progress.eval_top1.high, "eval_top5",
                             top5.value, "eval_loss", vt_json_number(c.loss), "elapsed", vt_trainer_elapsed(tr));
    if (c.sets)
        (void)json_object_set_new(line, "eval_precision", vt_json_number(c.precision));
    if (c.bad > 0)
        (void)json_object_set_new(line, "eval_bad_images", json_integer((json_int_t)c.bad));
    vt_run_log_metrics(&tr->run, line);
    return VT_OK;
}

vt_status vt_trainer_fewshot(vt_trainer *tr, vt_err *err)
{
    int64_t started = vt_now_ns();
    vt_fewshot_options o = vt_run_data_shots(tr->recipe);
    vt_fewshot_result r;
    vt_eval_pass pool = pass_over(tr, tr->data.shots, NULL), test = pass_over(tr, tr->data.shots_test, NULL);
    vt_trainer_report(tr, "eval");
    vt_average_swap(&tr->engine.optimizer);
    vt_status status = vt_fewshot(&pool, &test, &o, &r, err);
    vt_average_swap(&tr->engine.optimizer);
    if (status != VT_OK)
        return ended(tr, status, err);
    vt_estimate e = vt_accuracy(r.scores[0][0].right[0], r.test_count);
    if (tr->state.step != tr->result->resumed_from)
        vt_run_log_metrics(&tr->run,
                           json_pack("{s:I, s:i, s:f, s:[f,f], s:f, s:f}", "step", (json_int_t)tr->state.step, "shots",
                                     o.shots[0], "fewshot", e.value, "fewshot_interval", e.low, e.high, "seconds",
                                     vt_trainer_seconds_since(started), "elapsed", vt_trainer_elapsed(tr)));
    return VT_OK;
}
