/* Looks at the model on the way and at the end: classification of data.eval, and few-shot accuracy (eval.fewshot) by
 * ridge regression on its features. Where parameters are averaged, it is the averages that are looked at. */
#include "train/trainer.h"

#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/text.h"
#include "eval/fewshot.h"
#include "eval/stats.h"

#define FEWSHOT_L2 1024.0 /* 2^10, for every data set (spec 6.1) */

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
                          .bad = source == tr->eval_source ? &tr->eval_bad : NULL,
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
    vt_eval_pass pass = pass_over(tr, tr->eval_source, tr->eval_labels);
    vt_trainer_report(tr, "eval");
    vt_classification c = {0};
    /* the training data's hierarchy; vt_classify sees to the evaluation data's */
    uint8_t *leaves = vt_leaf_mask(tr->source, NULL, tr->engine.model.config.classes, NULL);
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

/* The source of SPEC; of more than `most` samples (0: any number) the first in the keyed order. */
static vt_status open_shots(const char *key, const char *spec, int64_t most, vt_source **source, vt_err *err)
{
    if (vt_source_open(source, spec, err) != VT_OK)
        return vt_prefix(err, "%s", key);
    if (most == 0 || vt_source_count(*source) <= most)
        return VT_OK;
    vt_source_close(*source);
    *source = NULL;
    char *limited = vt_xasprintf("%s%climit=%lld", spec, strchr(spec, '?') ? '&' : '?', (long long)most);
    vt_status status = vt_source_open(source, limited, err);
    free(limited);
    return status == VT_OK ? VT_OK : vt_prefix(err, "%s", key);
}

static vt_fewshot_options shots_options(const vt_trainer *tr)
{
    return (vt_fewshot_options){
        .shots = {(int)tr->recipe->eval.fewshot_shots}, .n_shots = 1, .n_seeds = 1, .l2 = {FEWSHOT_L2}, .n_l2 = 1};
}

vt_status vt_trainer_open_fewshot(vt_trainer *tr, vt_err *err)
{
    const vt_recipe *r = tr->recipe;
    const char *test = r->eval.fewshot_test[0] != '\0' ? r->eval.fewshot_test : r->data.eval;
    if (r->eval.fewshot[0] == '\0')
        return VT_OK;
    if (test[0] == '\0')
        return vt_fail(err, VT_EINVAL, "eval.fewshot needs images to be measured on; name them by eval.fewshot_test");
    VT_TRY(open_shots("eval.fewshot", r->eval.fewshot, 0, &tr->shots_pool, err));
    VT_TRY(open_shots("eval.fewshot_test", test, r->eval.fewshot_images, &tr->shots_test, err));
    return vt_fewshot_check_classes(tr->shots_pool, tr->shots_test, err);
}

size_t vt_trainer_fewshot_bytes(const vt_trainer *tr, int64_t feature_width)
{
    if (!tr->shots_pool)
        return 0;
    vt_fewshot_options o = shots_options(tr);
    return vt_fewshot_bytes(&o, feature_width, vt_source_classes(tr->shots_pool), vt_source_count(tr->shots_pool),
                            vt_source_count(tr->shots_test), tr->t.threads) +
           vt_source_resident_bytes(tr->shots_pool) + vt_source_resident_bytes(tr->shots_test);
}

vt_status vt_trainer_fewshot(vt_trainer *tr, vt_err *err)
{
    int64_t started = vt_now_ns();
    vt_fewshot_options o = shots_options(tr);
    vt_fewshot_result r;
    vt_eval_pass pool = pass_over(tr, tr->shots_pool, NULL), test = pass_over(tr, tr->shots_test, NULL);
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
