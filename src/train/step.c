/* One update: the micro-batches of a batch through the model, forward and backward, then the optimizer. */
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/mixup.h"

static int64_t count_right(const vt_trainer *tr, const vt_batch *batch)
{
    const vt_model *m = &tr->engine.model;
    int64_t classes = m->config.classes, right = 0, best = 0;
    vt_device_read(tr->engine.backend.device, tr->engine.host_logits, m->logits,
                   (size_t)(batch->count * classes) * sizeof(float));
    for (int64_t b = 0; b < batch->count; b++) {
        vt_top_k(tr->engine.host_logits + b * classes, classes, 1, &best);
        for (int l = 0; l < m->use.label_width; l++)
            right += best == batch->labels[b * m->use.label_width + l];
    }
    return right;
}

vt_status vt_trainer_gradients(vt_trainer *tr, bool count, bool watch, int64_t *right, vt_err *err)
{
    vt_engine *e = &tr->engine;
    vt_model *m = &e->model;
    const size_t image = (size_t)(m->config.image_height * m->config.image_width * 3);
    const int64_t front = tr->t.use.mix ? 1 : 0; /* mixup: the partner of the first sample comes along */
    vt_pass pass = {.backend = &e->backend,
                    .samples = tr->t.micro_batch,
                    .pixels = tr->t.pixels,
                    .loss = {tr->t.loss, (float)tr->t.smoothing, e->class_weights},
                    .slices = tr->t.slices,
                    .weight = 1.0f / (float)tr->t.batch,
                    .partner_share = vt_mixup_share(tr->t.seed, tr->state.step, tr->t.mixup),
                    .drop = true,
                    .seed = tr->t.seed,
                    .visit = tr->visit,
                    .visit_context = tr->visit_context};
    for (int64_t done = 0; done < tr->t.batch; done += tr->t.micro_batch) {
        vt_batch batch;
        VT_TRY(vt_trainer_next_batch(tr, &batch, err));
        vt_watchdog_at(&tr->watchdog, VT_STAGE_STEP);
        vt_device_write(&e->device, m->images - front * (int64_t)image, batch.images - front * (int64_t)image,
                        (size_t)(batch.count + front) * image);
        vt_device_write(&e->device, m->labels - front * m->use.label_width, batch.labels - front * m->use.label_width,
                        (size_t)((batch.count + front) * m->use.label_width) * sizeof *batch.labels);
        pass.accumulate = done > 0;
        pass.position = tr->position = batch.position;
        pass.watch = watch && (tr->visit || done + tr->t.micro_batch == tr->t.batch);
        vt_model_forward(m, &pass);
        vt_model_loss(m, &pass);
        vt_run(&e->backend, sum_samples, .samples = batch.count, .cols = 1, .stride = 1, .x = m->loss,
               .slices = tr->t.slices, .accumulate = done > 0, .y = e->loss_sum);
        if (count)
            *right += count_right(tr, &batch);
        vt_model_backward(m, &pass);
        vt_loader_release_batch(tr->loader);
    }
    return VT_OK;
}

/* The run stands one update further. */
static void count_step(vt_trainer *tr)
{
    tr->state.step++;
    tr->info.step = tr->progress.step = tr->state.step;
    tr->info.images = tr->progress.images = tr->state.step * tr->t.batch;
}

vt_status vt_trainer_skip(vt_trainer *tr, vt_err *err)
{
    for (int64_t done = 0; done < tr->t.batch; done += tr->t.micro_batch) {
        vt_batch batch;
        VT_TRY(vt_trainer_next_batch(tr, &batch, err));
        vt_loader_release_batch(tr->loader);
    }
    count_step(tr);
    return VT_OK;
}

vt_status vt_trainer_step(vt_trainer *tr, bool log_step, bool watch, vt_err *err)
{
    vt_engine *e = &tr->engine;
    vt_step_report step_report;
    float loss = 0;
    int64_t right = 0;
    atomic_store(&tr->watchdog.update, tr->state.step + 1);
    VT_TRY(vt_trainer_gradients(tr, log_step, watch, &right, err));
    vt_device_read(&e->device, &loss, e->loss_sum, sizeof loss);
    if (!isfinite(loss))
        return vt_trainer_diverged(tr, "the loss", err);
    double factor = vt_schedule_at(&tr->t.schedule, tr->state.step);
    vt_optimizer_step(&e->optimizer, &e->backend, tr->state.step, factor, watch, &step_report);
    if (step_report.bad_param >= 0) {
        char what[128];
        (void)snprintf(what, sizeof what, "the gradient of %s", e->model.params[step_report.bad_param].name);
        return vt_trainer_diverged(tr, what, err);
    }
    tr->watched_steps++;
    tr->clipped_steps += step_report.clipped;
    count_step(tr);
    tr->progress.loss = tr->result->last_loss = (double)loss;
    tr->progress.lr = factor * tr->t.optimizer.lr;
    tr->progress.grad_norm = step_report.grad_norm;
    if (log_step)
        tr->progress.accuracy = (double)right / (double)tr->t.batch;
    return VT_OK;
}
