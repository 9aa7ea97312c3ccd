/* Looking at one update: every tensor that its passes write (vt_pass.visit), parameters before and after, gradients.
 * In training this happens at once when a number is not finite, since nothing was updated by then; vt_replay does it
 * for any update. */
#include "train/forensics.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"
#include "train/trainer.h"

#define NAMED_IN_SENTENCE 3
#define NAMED_IN_LOG      32

void vt_evidence_release(vt_evidence *ev)
{
    for (int i = 0; i < ev->bad.n_samples; i++)
        free(ev->bad.samples[i]);
    free(ev->bad.samples);
    free(ev->tensors);
    free(ev->params);
    free(ev->attention);
    free(ev->checkpoint);
    *ev = (vt_evidence){0};
}

/* --- ranges ---------------------------------------------------------------------------------------------------------
 */

/* The optimizer's sums serve as room for the four numbers: nobody needs them between two updates. */
static vt_range inspect(vt_trainer *tr, vt_real type, const void *x, int64_t count, double *squares)
{
    vt_engine *e = &tr->engine;
    double out[4], *room = e->optimizer.square_sums;
    assert(e->optimizer.n_params >= 2);
    vt_run(&e->backend, inspect, .count = count, .type = type, .x = x, .out = room);
    vt_device_read(&e->device, out, room, sizeof out);
    vt_range r = {.smallest = out[0], .largest = out[1], .count = count, .not_finite = (int64_t)out[3]};
    int64_t finite = count - r.not_finite;
    r.rms = finite > 0 ? sqrt(out[2] / (double)finite) : (double)NAN;
    if (squares)
        *squares = out[2];
    return r;
}

static double largest_magnitude(const vt_range *r)
{
    return fmax(fabs(r->smallest), fabs(r->largest));
}

/* Adds what another micro-batch wrote into the same tensor. */
static void merge(vt_seen_tensor *t, const vt_range *r, double squares)
{
    vt_range *all = &t->range;
    all->smallest = fmin(all->smallest, r->smallest);
    all->largest = fmax(all->largest, r->largest);
    all->count += r->count;
    all->not_finite += r->not_finite;
    t->squares += squares;
    int64_t finite = all->count - all->not_finite;
    all->rms = finite > 0 ? sqrt(t->squares / (double)finite) : (double)NAN;
}

/* --- the first bad tensor -------------------------------------------------------------------------------------------
 */

/* What the visitor keeps while passes run. */
typedef struct {
    vt_trainer *tr;
    vt_evidence *ev;
    int64_t part;  /* of the tensor before */
    bool in_block; /* a block was met in this pass */
    bool backward;
    int64_t micro_batch, position;
    int next;         /* row of the next tensor, from the second micro-batch on */
    char before[112]; /* the last tensor that was finite */
    double before_largest;
} looker;

static void name_sample(const vt_trainer *tr, vt_first_bad *bad, int64_t position)
{
    char name[256];
    if (bad->n_samples == VT_MAX_NAMED)
        return;
    int64_t sample = vt_loader_sample_without(tr->data.train, tr->t.seed, position, &tr->bad);
    bad->samples = vt_xrealloc(bad->samples, (size_t)(bad->n_samples + 1) * sizeof *bad->samples);
    bad->samples[bad->n_samples++] = vt_xstrdup(vt_source_sample_name(tr->data.train, sample, name, sizeof name));
}

/* Whether a tensor consists of one part a sample: all that a pass writes but the gradients of parameters and the
 * query of a MAP head, which samples share. */
static bool by_sample(const vt_trainer *tr, const char *name, int64_t count)
{
    const char *what = vt_has_prefix(name, "grad ") ? name + strlen("grad ") : name;
    return strcmp(what, "attn_pool.q") != 0 && (what == name || !vt_model_param(&tr->engine.model, what)) &&
           count % tr->t.micro_batch == 0;
}

/* Names the samples of the micro-batch that begins at `position`: those whose part of the tensor is bad, or all. */
static void find_samples(vt_trainer *tr, vt_first_bad *bad, int64_t position, vt_real type, const void *x)
{
    int64_t n = bad->parts = tr->t.micro_batch, width = bad->count / n;
    size_t bytes = type == VT_BF16 ? 2 : 4;
    bad->told_apart = by_sample(tr, bad->name, bad->count);
    for (int64_t b = 0; b < n; b++) {
        const char *part = (const char *)x + (size_t)(b * width) * bytes;
        if (bad->told_apart && inspect(tr, type, part, width, NULL).not_finite == 0)
            continue;
        bad->parts_bad++;
        name_sample(tr, bad, position + b);
    }
}

/* --- the visitor ----------------------------------------------------------------------------------------------------
 */

/* Which part of the model a tensor belongs to: what has no block comes before or behind all of them. */
static int64_t part_of(looker *l, const char *what)
{
    long long block = 0;
    int64_t depth = l->ev->depth;
    if (sscanf(what, "blocks.%lld.", &block) == 1) {
        l->in_block = true;
        return block;
    }
    return l->in_block == l->backward ? -1 : depth;
}

/* The row of this tensor: a new one in the first micro-batch, the same one again in later ones. */
static void keep_row(looker *l, const char *what, const vt_range *r, double squares)
{
    vt_evidence *ev = l->ev;
    if (l->micro_batch > 0) {
        assert(l->next < ev->n_tensors && strcmp(ev->tensors[l->next].name, what) == 0);
        merge(&ev->tensors[l->next++], r, squares);
        return;
    }
    ev->tensors = vt_xrealloc(ev->tensors, (size_t)(ev->n_tensors + 1) * sizeof *ev->tensors);
    vt_seen_tensor *t = &ev->tensors[ev->n_tensors++];
    *t = (vt_seen_tensor){.part = l->part, .backward = l->backward, .range = *r, .squares = squares};
    (void)snprintf(t->name, sizeof t->name, "%s", what);
}

/* A forward pass has filled the numbers of attention of every block. */
static void keep_attention(looker *l)
{
    vt_model *m = &l->tr->engine.model;
    int64_t heads = m->config.heads, depth = m->config.depth;
    size_t bytes = (size_t)(heads * depth) * sizeof(double);
    double *entropy = vt_xmalloc(bytes), *largest = vt_xmalloc(bytes);
    vt_device_read(&l->tr->engine.device, entropy, m->entropy, bytes);
    vt_device_read(&l->tr->engine.device, largest, m->largest_score, bytes);
    for (int64_t i = 0; i < heads * depth; i++) {
        vt_seen_attention *a = &l->ev->attention[i / heads];
        bool first = l->micro_batch == 0 && i % heads == 0;
        /* a number that is not finite stays */
        a->largest_score = first || !(largest[i] <= a->largest_score) ? largest[i] : a->largest_score;
        a->least_entropy = first || !(entropy[i] >= a->least_entropy) ? entropy[i] : a->least_entropy;
    }
    free(entropy);
    free(largest);
}

static void begin_pass(looker *l, bool backward)
{
    l->backward = backward;
    l->in_block = false;
}

static void accuse(looker *l, const char *name, const vt_range *r, vt_real type, const void *x)
{
    vt_first_bad *bad = &l->ev->bad;
    bad->found = true;
    bad->part = l->part;
    bad->micro_batch = l->micro_batch;
    bad->count = r->count;
    bad->not_finite = r->not_finite;
    bad->before_largest = l->before_largest;
    (void)snprintf(bad->name, sizeof bad->name, "%s", name);
    (void)snprintf(bad->before, sizeof bad->before, "%s", l->before);
    find_samples(l->tr, bad, l->position, type, x);
}

static void visit(void *context, const char *name, vt_real type, const void *x, int64_t count)
{
    looker *l = context;
    double squares;
    bool backward = vt_has_prefix(name, "grad ");
    const char *what = backward ? name + strlen("grad ") : name;
    if (l->position != l->tr->position) { /* the next micro-batch */
        l->micro_batch += l->position >= 0;
        l->position = l->tr->position;
        l->next = 0;
        begin_pass(l, false);
    }
    if (backward && !l->backward)
        begin_pass(l, true);
    l->part = part_of(l, what);
    vt_range r = inspect(l->tr, type, x, count, &squares);
    if (!backward || !vt_model_param(&l->tr->engine.model, what)) /* those have rows of their own */
        keep_row(l, what, &r, squares);
    if (strcmp(name, "loss") == 0)
        keep_attention(l);
    if (l->ev->bad.found)
        return;
    if (r.not_finite > 0)
        accuse(l, name, &r, type, x);
    (void)snprintf(l->before, sizeof l->before, "%s", name);
    l->before_largest = largest_magnitude(&r);
}

/* --- one update -----------------------------------------------------------------------------------------------------
 */

/* A parameter that is bad before or after the update; it belongs to no micro-batch. */
static void accuse_param(vt_evidence *ev, const vt_seen_param *p, const vt_range *r, const char *when)
{
    if (ev->bad.found || r->not_finite == 0)
        return;
    ev->bad = (vt_first_bad){
        .found = true, .part = p->part, .micro_batch = -1, .count = r->count, .not_finite = r->not_finite};
    (void)snprintf(ev->bad.name, sizeof ev->bad.name, "%s%s", p->name, when);
}

static void look_at_values(vt_trainer *tr, vt_evidence *ev)
{
    const vt_model *m = &tr->engine.model;
    looker l = {.tr = tr, .ev = ev};
    ev->n_params = m->n_params;
    ev->params = vt_xcalloc((size_t)m->n_params, sizeof *ev->params);
    for (int i = 0; i < m->n_params; i++) {
        vt_seen_param *p = &ev->params[i];
        (void)snprintf(p->name, sizeof p->name, "%s", m->params[i].name);
        p->part = part_of(&l, p->name);
        p->frozen = m->params[i].frozen;
        p->before = inspect(tr, VT_F32, m->params[i].value, m->params[i].count, NULL);
        accuse_param(ev, p, &p->before, "");
    }
}

static void look_at_gradients(vt_trainer *tr, vt_evidence *ev)
{
    const vt_model *m = &tr->engine.model;
    for (int i = 0; i < m->n_params; i++)
        if (!m->params[i].frozen)
            ev->params[i].gradient = inspect(tr, m->params[i].grad_type, m->params[i].grad, m->params[i].count, NULL);
}

static void look_at_update(vt_trainer *tr, vt_evidence *ev)
{
    const vt_model *m = &tr->engine.model;
    vt_step_report report;
    vt_optimizer_step(&tr->engine.optimizer, &tr->engine.backend, tr->state.step,
                      vt_schedule_at(&tr->t.schedule, tr->state.step), true, &report);
    ev->grad_norm = report.grad_norm;
    ev->applied = report.bad_param < 0;
    for (int i = 0; i < m->n_params && ev->applied; i++) {
        vt_seen_param *p = &ev->params[i];
        p->after = inspect(tr, VT_F32, m->params[i].value, m->params[i].count, NULL);
        p->change_rms = tr->engine.optimizer.watched[i].change_norm / sqrt((double)m->params[i].count);
        accuse_param(ev, p, &p->after, " after the update");
    }
}

/* Names the images of a whole update: of one that left a parameter bad. */
static void name_update(const vt_trainer *tr, vt_first_bad *bad, int64_t update)
{
    bad->parts = bad->parts_bad = tr->t.batch;
    for (int64_t i = 0; i < tr->t.batch; i++)
        name_sample(tr, bad, (update - 1) * tr->t.batch + i);
}

/* Does the update that follows tr->state.step again, with its images read again, and fills ev; apply: the optimizer too
 * (in memory), where all is finite. */
static vt_status look(vt_trainer *tr, bool apply, vt_evidence *ev, vt_err *err)
{
    looker l = {.tr = tr, .ev = ev, .position = -1};
    float loss = 0;
    int64_t right = 0;
    *ev = (vt_evidence){.update = tr->state.step + 1,
                        .batch = tr->t.batch,
                        .micro_batch = tr->t.micro_batch,
                        .depth = tr->t.model.depth,
                        .grad_norm = (double)NAN,
                        .lr = vt_schedule_at(&tr->t.schedule, tr->state.step) * tr->t.optimizer.lr,
                        .recorded_loss = (double)NAN,
                        .recorded_norm = (double)NAN};
    ev->attention = vt_xcalloc((size_t)ev->depth, sizeof *ev->attention);
    VT_TRY(vt_trainer_restart_loader(tr, err));
    look_at_values(tr, ev);
    if (ev->bad.found && tr->state.step > 0)
        name_update(tr, &ev->bad, tr->state.step);
    tr->visit = visit;
    tr->visit_context = &l;
    vt_status status = vt_trainer_gradients(tr, false, true, &right, err);
    tr->visit = NULL;
    VT_TRY(status);
    vt_device_read(&tr->engine.device, &loss, tr->engine.loss_sum, sizeof loss);
    ev->loss = (double)loss;
    look_at_gradients(tr, ev);
    if (apply && isfinite(loss)) {
        bool before = ev->bad.found;
        look_at_update(tr, ev);
        if (ev->bad.found && !before)
            name_update(tr, &ev->bad, ev->update);
    }
    return VT_OK;
}

/* --- divergence in training -----------------------------------------------------------------------------------------
 */

/* "images a, b, c and 5 more" */
static void add_samples(vt_text *t, const vt_first_bad *bad, int most)
{
    int n = bad->n_samples < most ? bad->n_samples : most;
    for (int i = 0; i < n; i++)
        vt_text_addf(t, "%s%.60s", i ? ", " : "", bad->samples[i]);
    if (bad->parts_bad > n)
        vt_text_addf(t, " and %lld more", (long long)(bad->parts_bad - n));
}

/* Where it was, and in which images. */
static void add_place(vt_text *t, const vt_evidence *ev, int most_samples)
{
    const vt_first_bad *b = &ev->bad;
    vt_text_addf(t, "first bad: %s (", b->name);
    if (b->part >= 0 && b->part < ev->depth)
        vt_text_addf(t, "block %lld", (long long)b->part);
    else
        vt_text_add(t, b->part < 0 ? "embedding" : "head");
    if (b->micro_batch < 0) {
        vt_text_addf(t, "), a parameter that update %lld left so; the images of that: ", (long long)ev->update - 1);
    } else {
        vt_text_addf(t, ", micro-batch %lld of %lld)", (long long)b->micro_batch + 1,
                     (long long)(ev->batch / ev->micro_batch));
        if (b->before[0])
            vt_text_addf(t, " after %s of up to %.3g", b->before, b->before_largest);
        vt_text_addf(t, b->told_apart ? ", in %lld of %lld images: " : ", shared by all its %lld images: ",
                     (long long)b->parts_bad, (long long)b->parts);
    }
    add_samples(t, b, most_samples);
}

static void log_place(const vt_evidence *ev)
{
    vt_text line = {0};
    add_place(&line, ev, NAMED_IN_LOG);
    vt_log(VT_LOG_WARN, "update %lld: %s", (long long)ev->update, line.s);
    vt_text_release(&line);
}

/* What was wrong, where, and what to do, in one sentence. */
static vt_status tell(const vt_trainer *tr, const char *what, const vt_evidence *ev, vt_err *err)
{
    vt_text place = {0};
    if (ev->bad.found)
        add_place(&place, ev, NAMED_IN_SENTENCE);
    else
        vt_text_add(&place, "done again, all its tensors are finite: suspect this machine's memory, or images that "
                            "changed");
    vt_text_addf(&place, "; nothing was updated; %s%s",
                 tr->result->checkpoint ? "the last good checkpoint is " : "no checkpoint had been written yet",
                 tr->result->checkpoint ? tr->result->checkpoint : "");
    (void)vt_fail(err, VT_EDIVERGED,
                  "update %lld: %s is not finite; %s; `vitro train %s replay=%lld` shows every tensor; then start anew "
                  "(--fresh) with a lower optimizer.lr, a longer schedule.warmup or optimizer.clip, or go on with "
                  "train.on_divergence=skip",
                  (long long)ev->update, what, place.s, tr->run.dir, (long long)tr->suspect.update);
    vt_text_release(&place);
    return VT_EDIVERGED;
}

vt_status vt_trainer_diverged(vt_trainer *tr, const char *what, vt_err *err)
{
    vt_evidence ev = {0};
    vt_err why = {0};
    int64_t update = tr->state.step + 1;
    if (tr->replay)
        return vt_fail(err, VT_EDIVERGED,
                       "update %lld, on the way, has %s that is not finite; look at it by replay=%lld",
                       (long long)update, what, (long long)update);
    if (vt_trainer_finish_save(tr, &why) != VT_OK) /* the last good checkpoint is to be named, and gone back to */
        vt_log(VT_LOG_WARN, "the checkpoint on its way to disk is lost: %s", why.msg);
    vt_status status = look(tr, false, &ev, &why);
    tr->suspect.update = status == VT_OK && ev.bad.found && ev.bad.micro_batch < 0 ? update - 1 : update;
    (void)snprintf(tr->suspect.tensor, sizeof tr->suspect.tensor, "%s", ev.bad.found ? ev.bad.name : what);
    if (status != VT_OK) {
        (void)vt_fail(err, VT_EDIVERGED, "update %lld: %s is not finite; it could not be done again to see more: %s",
                      (long long)update, what, why.msg);
    } else {
        if (ev.bad.parts_bad > NAMED_IN_SENTENCE)
            log_place(&ev);
        (void)tell(tr, what, &ev, err);
    }
    vt_evidence_release(&ev);
    return VT_EDIVERGED;
}

/* --- replay ---------------------------------------------------------------------------------------------------------
 */

/* What the run itself wrote down about this update. */
static void read_recorded(const vt_trainer *tr, vt_evidence *ev)
{
    json_t *line = vt_run_find_metrics(&tr->run, ev->update, "loss");
    const json_t *loss = json_object_get(line, "loss"), *norm = json_object_get(line, "grad_norm");
    ev->recorded_loss = json_is_number(loss) ? json_number_value(loss) : (double)NAN;
    ev->recorded_norm = json_is_number(norm) ? json_number_value(norm) : (double)NAN;
    json_decref(line);
}

/* Up to the update before the one that is looked at. */
static vt_status walk(vt_trainer *tr, vt_err *err)
{
    while (tr->state.step < tr->replay - 1) {
        vt_trainer_report(tr, "replay");
        if (tr->observer && tr->observer->stop && tr->observer->stop() != 0)
            return vt_fail(err, VT_ESTOPPED, "stopped at update %lld on the way to %lld; the run is as it was",
                           (long long)tr->state.step, (long long)tr->replay);
        VT_TRY(vt_trainer_skips(tr, tr->state.step + 1) ? vt_trainer_skip(tr, err)
                                                        : vt_trainer_step(tr, false, false, err));
        vt_trainer_heed_story(tr);
    }
    return VT_OK;
}

vt_status vt_replay(vt_recipe *recipe, const char *run, int64_t update, const vt_train_observer *observer,
                    vt_evidence *ev, vt_err *err)
{
    assert(update >= 1);
    vt_train_result result = {.resumed_from = -1};
    vt_trainer tr = {.recipe = recipe, .replay = update, .observer = observer, .result = &result};
    char *checkpoint = NULL;
    int64_t from = 0;
    *ev = (vt_evidence){0};
    vt_watchdog_start(&tr.watchdog, recipe->train.stall_minutes, &tr.train_board, &tr.eval_board);
    vt_status status = vt_trainer_open(&tr, run, err);
    if (status == VT_OK) {
        checkpoint = result.checkpoint ? vt_xstrdup(result.checkpoint) : NULL;
        from = tr.state.step;
        tr.progress.steps = update;
        status = walk(&tr, err);
    }
    if (status == VT_OK)
        status = look(&tr, true, ev, err);
    if (status == VT_OK) {
        ev->checkpoint = checkpoint;
        ev->from_step = from;
        checkpoint = NULL;
        read_recorded(&tr, ev);
    } else {
        vt_evidence_release(ev);
    }
    free(checkpoint);
    vt_train_result_release(&result);
    vt_trainer_close(&tr);
    return status;
}
