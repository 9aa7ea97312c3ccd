/* One pass: the loader fills slots in position order, each slot goes through the model, and its features and logits
 * come back to host copies for the receiver. Positions follow one another, so what a receiver adds up does not depend
 * on the size of a micro-batch. */
#include "eval/pass.h"

#include <assert.h>
#include <math.h>

#include "device/device.h"

#define SLOTS 4 /* of the ring: one in work, the others ahead of it */

/* What a pass takes from its arena. */
typedef struct {
    void *ring;
    float *features, *logits;
    int32_t *labels;
} buffers;

static vt_loader_options loader_options(const vt_model *model, int64_t samples)
{
    return (vt_loader_options){
        .height = model->config.image_height,
        .width = model->config.image_width,
        .batch = samples,
        .labels = VT_MAX_LABELS, /* planned for whatever source comes */
        .slots = SLOTS,
    };
}

static buffers take_buffers(vt_arena *arena, const vt_model *model, int64_t samples)
{
    vt_loader_options o = loader_options(model, samples);
    buffers b;
    b.ring = vt_loader_place(arena, &o);
    b.features = vt_arena_take(arena, samples * model->feature_width, sizeof(float));
    b.logits = vt_arena_take(arena, samples * model->config.classes, sizeof(float));
    b.labels = vt_arena_take(arena, samples * VT_MAX_LABELS, sizeof(int32_t));
    return b;
}

void vt_eval_place(vt_arena *arena, const vt_model *model, int64_t samples)
{
    take_buffers(arena, model, samples);
}

/* A row's classes through the map, in ascending order again. */
static void map_row(const int32_t *map, const int32_t *from, int width, int32_t *to)
{
    for (int n = 0; n < width; n++) {
        int32_t class = map && from[n] >= 0 ? map[from[n]] : from[n];
        int at = n;
        for (; class >= 0 && at > 0 && to[at - 1] > class; at--)
            to[at] = to[at - 1];
        to[at] = class;
    }
}

static void forward(const vt_eval_pass *pass, const vt_batch *batch, const buffers *b)
{
    vt_model *m = pass->model;
    vt_device *device = pass->backend->device;
    size_t image = (size_t)(m->config.image_height * m->config.image_width * 3), n = (size_t)batch->count;
    vt_pass p = {.backend = pass->backend, .samples = batch->count, .pixels = pass->pixels, .slices = pass->slices};
    vt_device_write(device, m->images, batch->images, n * image);
    vt_model_forward(m, &p);
    vt_device_read(device, b->features, m->features, n * (size_t)m->feature_width * sizeof(float));
    if (m->config.classes > 0)
        vt_device_read(device, b->logits, m->logits, n * (size_t)m->config.classes * sizeof(float));
    int width = vt_source_most_labels(pass->source);
    for (size_t i = 0; i < n; i++)
        map_row(pass->label_map, batch->labels + i * (size_t)width, width, b->labels + i * (size_t)width);
}

/* Rows first .. first + count - 1 of the micro-batch. */
static vt_status hand_out_rows(const vt_eval_pass *pass, const vt_batch *batch, int64_t first, int64_t count,
                               const buffers *b, vt_eval_fn *receive, void *context, vt_err *err)
{
    const vt_model *m = pass->model;
    int width = vt_source_most_labels(pass->source);
    vt_eval_rows rows = {.position = batch->position + first,
                         .count = count,
                         .row = first,
                         .features = b->features + first * m->feature_width,
                         .logits = m->config.classes > 0 ? b->logits + first * m->config.classes : NULL,
                         .labels = b->labels + first * width,
                         .width_labels = width};
    return count > 0 ? receive(context, &rows, err) : VT_OK;
}

/* The rows between the missing ones, so that a receiver sees good samples only. */
static vt_status hand_out(const vt_eval_pass *pass, const vt_batch *batch, const buffers *b, vt_eval_fn *receive,
                          void *context, vt_err *err)
{
    int64_t first = 0;
    for (int64_t i = 0; i < batch->n_missing; i++) {
        VT_TRY(hand_out_rows(pass, batch, first, batch->missing[i] - first, b, receive, context, err));
        first = batch->missing[i] + 1;
    }
    return hand_out_rows(pass, batch, first, batch->count - first, b, receive, context, err);
}

static vt_status pump(const vt_eval_pass *pass, vt_loader *loader, int64_t total, const buffers *b, vt_eval_fn *receive,
                      void *context, vt_err *err)
{
    for (int64_t done = 0; done < total;) {
        vt_batch batch;
        if (pass->stop && pass->stop())
            return vt_fail(err, VT_ESTOPPED, "stopped after %lld of %lld images of %s", (long long)done,
                           (long long)total, vt_source_spec(pass->source));
        VT_TRY(vt_loader_next(loader, &batch, err));
        assert(batch.position == done && batch.count >= 1);
        forward(pass, &batch, b);
        vt_status status = hand_out(pass, &batch, b, receive, context, err);
        done += batch.count;
        vt_loader_release_batch(loader);
        VT_TRY(status);
        if (pass->progress)
            pass->progress(pass->progress_context, done, total);
    }
    return VT_OK;
}

vt_status vt_eval_run(const vt_eval_pass *pass, vt_eval_fn *receive, void *context, vt_err *err)
{
    size_t mark = pass->memory->used;
    int64_t total = pass->picks ? pass->n_picks : vt_source_count(pass->source);
    vt_loader *loader = NULL;
    vt_loader_options o = loader_options(pass->model, pass->model->use.samples);
    o.source = pass->source;
    o.labels = vt_source_most_labels(pass->source);
    o.preprocess = pass->preprocess;
    o.end = total;
    o.picks = pass->picks;
    o.workers = pass->workers;
    o.board = pass->board;
    o.bad = pass->bad;
    if (vt_preprocess_is_random(pass->preprocess))
        return vt_fail(err, VT_EINVAL,
                       "the preprocessing of an evaluation must not be random: leave out random_crop, "
                       "inception_crop and flip");
    if (!pass->picks && vt_source_is_endless(pass->source))
        return vt_fail(err, VT_EINVAL, "%s has no end; say how many images to evaluate, with count=N",
                       vt_source_spec(pass->source));
    VT_TRY(vt_preprocess_check(pass->preprocess, o.height, o.width, err));
    buffers b = take_buffers(pass->memory, pass->model, pass->model->use.samples);
    vt_status status = vt_loader_new(&loader, &o, b.ring, err);
    if (status == VT_OK)
        status = pump(pass, loader, total, &b, receive, context, err);
    vt_loader_free(loader);
    vt_arena_rewind(pass->memory, mark);
    return status;
}

const char *vt_eval_name(const vt_eval_pass *pass, int64_t position, char *buf, size_t size)
{
    return vt_source_sample_name(pass->source, pass->picks ? pass->picks[position] : position, buf, size);
}

vt_status vt_eval_check_features(const vt_eval_pass *pass, const vt_eval_rows *rows, vt_err *err)
{
    const int64_t width = pass->model->feature_width;
    char name[256];
    for (int64_t i = 0; i < rows->count * width; i++)
        if (!isfinite(rows->features[i]))
            return vt_fail(err, VT_EDIVERGED, "the features of %s are not finite: the model's weights have diverged",
                           vt_eval_name(pass, rows->position + i / width, name, sizeof name));
    return VT_OK;
}
