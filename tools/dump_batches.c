/* Writes to standard output everything that another program needs to do the training that a recipe describes: the
 * settings, the initial values, the evaluation images, and the training images in training order, as vitro's own run
 * sees them (the loader, its shuffle and its random crops). tools/python/train_twin.py reads it from a pipe.
 *
 *   dump-batches RECIPE [key=value ...] > FILE
 *
 * One line of JSON; then the initial values, float32, in the order of its "parameters"; then the evaluation images and
 * the training images, both in batches of "batch" (the last one of the evaluation may be shorter): images (count,
 * height, width, 3) uint8, then labels (count) int32. Numbers have the machine's byte order. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "data/loader.h"
#include "train/engine.h"
#include "train/run_data.h"

typedef struct {
    vt_recipe recipe;
    vt_training t;
    vt_source *train, *eval;
    vt_engine engine;
} dump;

static vt_status put(const void *data, size_t bytes, vt_err *err)
{
    if (fwrite(data, 1, bytes, stdout) != bytes)
        return vt_fail_errno(err, "standard output took only a part of %zu bytes", bytes);
    return VT_OK;
}

/* --- settings -------------------------------------------------------------------------------------------------------
 */

static json_t *describe_parameters(const vt_model *m)
{
    json_t *list = json_array();
    for (int i = 0; i < m->n_params; i++) {
        const vt_tensor *p = &m->params[i];
        json_t *shape = json_array();
        for (int d = 0; d < p->n_dims; d++)
            json_array_append_new(shape, json_integer(p->dims[d]));
        json_array_append_new(list, json_pack("{s:s, s:o}", "name", p->name, "shape", shape));
    }
    return list;
}

static json_t *describe_model(const vt_model_config *c)
{
    return json_pack("{s:[I,I], s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "image", (json_int_t)c->image_height,
                     (json_int_t)c->image_width, "patch", (json_int_t)c->patch, "width", (json_int_t)c->width, "depth",
                     (json_int_t)c->depth, "heads", (json_int_t)c->heads, "mlp", (json_int_t)c->mlp, "classes",
                     (json_int_t)c->classes, "head", vt_head_names[c->head]);
}

static vt_status put_settings(const dump *d, vt_err *err)
{
    const vt_training *t = &d->t;
    const vt_optimizer_config *o = &t->optimizer;
    const vt_schedule *s = &t->schedule;
    const vt_pixel_range *x = &t->pixels;
    json_t *optimizer =
        json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "lr", o->lr, "decay_body", o->decay_body, "decay_head",
                  o->decay_head, "beta1", o->beta1, "beta2_cap", o->beta2, "clip", o->clip);
    json_t *schedule =
        json_pack("{s:s, s:I, s:I, s:I, s:f}", "name", vt_schedule_names[s->kind], "steps", (json_int_t)s->steps,
                  "warmup", (json_int_t)s->warmup, "cooldown", (json_int_t)s->cooldown, "timescale", s->timescale);
    json_t *root = json_pack(
        "{s:o, s:o, s:o, s:[[f,f,f],[f,f,f]], s:I, s:I, s:o}", "model", describe_model(&t->model), "optimizer",
        optimizer, "schedule", schedule, "pixels", (double)x->scale[0], (double)x->scale[1], (double)x->scale[2],
        (double)x->offset[0], (double)x->offset[1], (double)x->offset[2], "batch", (json_int_t)t->batch, "eval_images",
        (json_int_t)(d->eval ? vt_source_count(d->eval) : 0), "parameters", describe_parameters(&d->engine.model));
    vt_text line = {0};
    vt_json_line(root, &line);
    vt_text_add(&line, "\n");
    json_decref(root);
    vt_status status = put(line.s, line.len, err);
    vt_text_release(&line);
    return status;
}

/* --- values and images ----------------------------------------------------------------------------------------------
 */

static vt_status put_values(dump *d, vt_err *err)
{
    vt_engine *e = &d->engine;
    vt_status status = VT_OK;
    vt_model_init_values(&e->model, &e->device, d->t.seed);
    for (int i = 0; i < e->model.n_params && status == VT_OK; i++) {
        size_t bytes = (size_t)e->model.params[i].count * sizeof(float);
        float *host = vt_xmalloc(bytes);
        vt_device_read(&e->device, host, e->model.params[i].value, bytes);
        status = put(host, bytes, err);
        free(host);
    }
    return status;
}

static vt_status put_batches(vt_loader *loader, int64_t image_bytes, vt_err *err)
{
    for (;;) {
        vt_batch batch;
        VT_TRY(vt_loader_next(loader, &batch, err));
        if (batch.count == 0)
            return VT_OK;
        VT_TRY(put(batch.images, (size_t)(batch.count * image_bytes), err));
        VT_TRY(put(batch.labels, (size_t)batch.count * sizeof *batch.labels, err));
        vt_loader_release_batch(loader);
    }
}

/* All images of a source through a loader with memory of its own. */
static vt_status put_images(const dump *d, const vt_source *source, const vt_preprocess *preprocess, bool shuffle,
                            int64_t end, vt_err *err)
{
    const vt_training *t = &d->t;
    vt_loader_options o = {.labels = 1,
                           .source = source,
                           .preprocess = preprocess,
                           .height = t->model.image_height,
                           .width = t->model.image_width,
                           .batch = t->batch,
                           .end = end,
                           .shuffle = shuffle,
                           .seed = t->seed,
                           .workers = t->workers,
                           .slots = 4};
    vt_arena counting = vt_arena_counting();
    vt_loader *loader = NULL;
    (void)vt_loader_place(&counting, &o);
    void *memory = aligned_alloc(VT_ARENA_ALIGN, counting.used);
    if (!memory)
        return vt_fail(err, VT_ENOMEM, "%zu bytes for batches were refused", counting.used);
    vt_arena arena = vt_arena_over(memory, counting.used);
    void *ring = vt_loader_place(&arena, &o);
    vt_status status = vt_loader_new(&loader, &o, ring, err);
    if (status == VT_OK)
        status = put_batches(loader, o.height * o.width * 3, err);
    vt_loader_free(loader);
    free(memory);
    return status;
}

/* --- the program ----------------------------------------------------------------------------------------------------
 */

/* Labels are written as the sources number them, so both must number alike. */
static vt_status check_classes(const dump *d, vt_err *err)
{
    if (!d->eval)
        return VT_OK;
    int64_t classes = vt_source_classes(d->train);
    bool same = vt_source_classes(d->eval) == classes;
    for (int64_t c = 0; c < classes && same; c++)
        same = strcmp(vt_source_class_name(d->train, c), vt_source_class_name(d->eval, c)) == 0;
    return same ? VT_OK : vt_fail(err, VT_EINVAL, "data.eval has other classes than data.train, or in another order");
}

/* What the twin does not do would make it train something else. */
static vt_status check_known(const vt_training *t, vt_err *err)
{
    bool known = t->optimizer.kind == 0 && t->optimizer.exact_decay && t->optimizer.average == VT_AVERAGE_NONE &&
                 !t->rules && t->loss == VT_LOSS_SIGMOID && t->smoothing <= 0 && t->mixup <= 0 && !t->class_weights &&
                 t->use.label_width == 1 && t->use.dropout <= 0 && t->use.drop_path <= 0 && t->use.type == VT_F32 &&
                 t->schedule.shift <= 0 && t->schedule.cooldown_kind == 0 && t->model.representation == 0 &&
                 t->model.positions == VT_POSITIONS_LEARNED && t->model.gelu == VT_GELU_TANH;
    return known
               ? VT_OK
               : vt_fail(err, VT_EUNSUPPORTED,
                         "the PyTorch twin knows adafactor, the sigmoid loss of one class an image, learned positions "
                         "and a linear cooldown in float32; leave the keys of other things at their defaults");
}

static vt_status open_run(dump *d, vt_err *err)
{
    vt_training *t = &d->t;
    const vt_isa *isa = NULL;
    VT_TRY(vt_source_open(&d->train, d->recipe.data.train, err));
    if (d->recipe.data.eval[0] != '\0')
        VT_TRY(vt_source_open(&d->eval, d->recipe.data.eval, err));
    VT_TRY(check_classes(d, err));
    vt_data_facts facts = vt_run_data_facts(&(vt_run_data){.train = d->train, .eval = d->eval});
    VT_TRY(vt_recipe_resolve(&d->recipe, &facts, t, err));
    VT_TRY(check_known(t, err));
    VT_TRY(vt_isa_pick(NULL, &isa, err));
    vt_engine_options o = {
        .model = t->model, .use = {.samples = 1, .label_width = 1}, .isa = isa, .threads = 1, .slices = t->slices};
    return vt_engine_open(&d->engine, &o, err);
}

static vt_status run(dump *d, vt_err *err)
{
    VT_TRY(open_run(d, err));
    VT_TRY(put_settings(d, err));
    VT_TRY(put_values(d, err));
    if (d->eval)
        VT_TRY(put_images(d, d->eval, &d->t.eval_preprocess, false, vt_source_count(d->eval), err));
    VT_TRY(put_images(d, d->train, &d->t.preprocess, true, d->t.images, err));
    return fflush(stdout) == 0 ? VT_OK : vt_fail_errno(err, "cannot write to standard output");
}

int main(int argc, char **argv)
{
    dump d = {0};
    vt_err err = {0};
    if (argc < 2 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0) {
        (void)fputs("usage: dump-batches RECIPE [key=value ...] > FILE\n", stderr);
        return 2;
    }
    vt_status status = vt_recipe_load(&d.recipe, argv[1], (const char *const *)argv + 2, argc - 2, &err);
    if (status == VT_OK) {
        status = run(&d, &err);
        vt_engine_close(&d.engine);
        vt_source_close(d.train);
        vt_source_close(d.eval);
        vt_recipe_release(&d.recipe);
    }
    if (status != VT_OK)
        (void)fprintf(stderr, "dump-batches: %s\n", err.msg);
    return status == VT_OK ? 0 : 1;
}
