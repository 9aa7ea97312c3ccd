/* See rig.h. */
#include "rig.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"

enum { SEED = 7 };

vt_model_config rig_tiny_config(vt_head_kind head)
{
    return (vt_model_config){.width = 24,
                             .depth = 2,
                             .mlp = 40,
                             .heads = 3,
                             .patch = 4,
                             .image_height = 12,
                             .image_width = 20,
                             .classes = 5,
                             .head = head,
                             .head_bias = 0.0};
}

void rig_draw(const char *name, float scale, float *values, int64_t count)
{
    uint32_t use = vt_fnv1a(name);
    for (int64_t j = 0; j < count; j++) {
        uint32_t word = vt_philox(SEED, VT_STREAM_TEST, (uint64_t)j / 4, use, 0).v[j % 4];
        float u = (float)(word >> 8) * 0x1p-24F;
        values[j] = (2.0F * u - 1.0F) * scale;
    }
}

static int is_norm_weight(const char *name)
{
    return strstr(name, "norm") != NULL && vt_has_suffix(name, ".weight");
}

static void draw_values(rig *r)
{
    for (int i = 0; i < r->model.n_params; i++) {
        vt_tensor *t = &r->model.params[i];
        float *values = malloc((size_t)t->count * sizeof *values);
        rig_draw(t->name, 0.2F, values, t->count);
        for (int64_t j = 0; is_norm_weight(t->name) && j < t->count; j++)
            values[j] += 1.0F;
        vt_device_write(&r->device, t->value, values, (size_t)t->count * sizeof *values);
        free(values);
    }
}

static void place(rig *r, const rig_options *o, vt_arena *arena)
{
    vt_limits limits = vt_model_limits(&r->model, o->slices);
    vt_model_place_values(&r->model, arena);
    if (o->train)
        vt_model_place_grads(&r->model, arena);
    vt_model_place_activations(&r->model, arena, o->samples, o->train, o->recompute);
    vt_backend_place_scratch(&r->backend, arena, &limits);
}

void rig_open(rig *r, const rig_options *o)
{
    vt_err err = {0};
    vt_status status = vt_model_init(&r->model, &o->config, &err);
    assert(status == VT_OK);
    status = vt_pool_new(&r->pool, o->threads > 0 ? o->threads : 1, &err);
    assert(status == VT_OK);
    vt_device_init(&r->device);
    vt_backend_init(&r->backend, o->isa != NULL ? o->isa : &vt_isas[vt_n_isas - 1], r->pool, &r->device);

    vt_arena counting = vt_arena_counting(), memory;
    place(r, o, &counting);
    r->planned = counting.high;
    status = vt_device_arena(&r->device, r->planned, "the test's model", &memory, &err);
    assert(status == VT_OK);
    unsigned char *poison = malloc(r->planned);
    memset(poison, 0xFF, r->planned);
    vt_device_write(&r->device, memory.base, poison, r->planned);
    free(poison);
    place(r, o, &memory);
    r->taken = memory.high;

    r->pass = (vt_pass){.backend = &r->backend,
                        .samples = o->samples,
                        .pixels = {2.0F / 255.0F, -1.0F},
                        .slices = o->slices > 0 ? o->slices : 1,
                        .accumulate = false,
                        .weight = 1.0F / (float)o->samples};
    draw_values(r);
    rig_input(r, 0, o->samples);
}

void rig_close(rig *r)
{
    vt_model_release(&r->model);
    vt_device_release(&r->device);
    vt_pool_free(r->pool);
}

int32_t rig_label(const rig *r, int64_t i)
{
    static const int32_t labels[] = {1, 4, 0};
    int64_t classes = r->model.config.classes;
    return classes > 0 ? (int32_t)(labels[i % 3] % classes) : 0;
}

void rig_input(rig *r, int64_t first, int64_t count)
{
    const vt_model_config *c = &r->model.config;
    int64_t image = c->image_height * c->image_width * 3;
    uint32_t use = vt_fnv1a("images");
    unsigned char *pixels = malloc((size_t)(image * count));
    int32_t *labels = malloc((size_t)count * sizeof *labels);
    for (int64_t j = 0; j < image * count; j++) {
        uint64_t at = (uint64_t)(first * image + j);
        pixels[j] = (unsigned char)(vt_philox(SEED, VT_STREAM_TEST, at / 4, use, 0).v[at % 4] >> 24);
    }
    for (int64_t i = 0; i < count; i++)
        labels[i] = rig_label(r, first + i);
    vt_device_write(&r->device, r->model.images, pixels, (size_t)(image * count));
    vt_device_write(&r->device, r->model.labels, labels, (size_t)count * sizeof *labels);
    r->pass.samples = count;
    free(pixels);
    free(labels);
}

double rig_loss(rig *r, int64_t first, int64_t count)
{
    double sum = 0.0;
    rig_input(r, first, count);
    vt_model_forward(&r->model, &r->pass);
    vt_model_loss(&r->model, &r->pass);
    float *loss = rig_read(r, r->model.loss, count);
    for (int64_t i = 0; i < count; i++)
        sum += (double)loss[i];
    free(loss);
    return sum;
}

float *rig_read(rig *r, const float *tensor, int64_t count)
{
    float *copy = malloc((size_t)count * sizeof *copy);
    vt_device_read(&r->device, copy, tensor, (size_t)count * sizeof *copy);
    return copy;
}

float *rig_gradients(rig *r)
{
    float *all = malloc((size_t)r->model.param_count * sizeof *all), *at = all;
    for (int i = 0; i < r->model.n_params; i++) {
        const vt_tensor *t = &r->model.params[i];
        vt_device_read(&r->device, at, t->grad, (size_t)t->count * sizeof *all);
        at += t->count;
    }
    return all;
}
