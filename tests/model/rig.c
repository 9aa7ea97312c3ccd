/* See rig.h. */
#include "rig.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "kernels/bf16.h"

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
                             .norm_eps = 1e-6,
                             .head_bias = 0.0};
}

vt_model_config rig_family(int family)
{
    vt_model_config c = rig_tiny_config(VT_HEAD_TOK);
    switch (family) {
    case 0: /* ViT, DeiT */
        c.class_token = VT_TOKEN_POSITION;
        c.gelu = VT_GELU_ERF;
        break;
    case 1: /* DINOv2 with registers */
        c.class_token = VT_TOKEN_POSITION;
        c.registers = 3;
        c.layer_scale = 0.5;
        break;
    case 2: /* CLIP */
        c.class_token = VT_TOKEN_POSITION;
        c.norm_pre = true;
        c.gelu = VT_GELU_QUICK;
        c.norm_eps = 1e-5;
        break;
    case 3: /* DINOv2's giant, mean of patches */
        c.head = VT_HEAD_GAP;
        c.class_token = VT_TOKEN_PLAIN;
        c.layer_scale = 0.1;
        c.mlp_kind = VT_MLP_SWIGLU;
        break;
    case 4: /* registers alone, norms of heads, norm behind the mean */
        c.head = VT_HEAD_GAP;
        c.registers = 2;
        c.qk_norm = true;
        c.norm_pooled = true;
        break;
    default: /* all at once, with attention pooling */
        c.head = VT_HEAD_MAP;
        c.class_token = VT_TOKEN_POSITION;
        c.registers = 1;
        c.layer_scale = 1;
        c.norm_pre = c.qk_norm = c.norm_pooled = true;
        c.mlp_kind = VT_MLP_SWIGLU;
        c.gelu = VT_GELU_QUICK;
        break;
    }
    return c;
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

static void write_floats(rig *r, float *tensor, const float *values, int64_t count)
{
    vt_device_write(&r->device, tensor, values, (size_t)count * sizeof *values);
}

/* sincos2d positions are not drawn: they are the model's own. */
static void draw_values(rig *r)
{
    vt_model_init_values(&r->model, &r->device, SEED);
    for (int i = 0; i < r->model.n_params; i++) {
        vt_tensor *t = &r->model.params[i];
        if (r->options.config.positions == VT_POSITIONS_SINCOS2D && strcmp(t->name, "pos_embed") == 0)
            continue;
        float *values = malloc((size_t)t->count * sizeof *values);
        rig_draw(t->name, r->options.scale > 0.0F ? r->options.scale : 0.2F, values, t->count);
        for (int64_t j = 0; is_norm_weight(t->name) && j < t->count; j++)
            values[j] += 1.0F;
        write_floats(r, t->value, values, t->count);
        free(values);
    }
    int64_t classes = r->model.config.classes;
    float *weights = malloc((size_t)(classes + 1) * sizeof *weights);
    rig_draw("class_weights", 0.9F, weights, classes);
    for (int64_t c = 0; c < classes; c++)
        weights[c] += 1.0F;
    write_floats(r, r->class_weights, weights, classes);
    free(weights);
}

static void place(rig *r, const rig_options *o, vt_arena *arena)
{
    vt_limits limits = vt_model_limits(&r->model, o->slices);
    vt_model_place_values(&r->model, arena);
    if (o->train)
        vt_model_place_grads(&r->model, arena, o->grad_type);
    vt_model_use use = {.samples = o->samples,
                        .label_width = o->label_width > 0 ? o->label_width : 1,
                        .train = o->train,
                        .recompute = o->recompute,
                        .type = o->type,
                        .grad_type = o->grad_type,
                        .dropout = o->dropout,
                        .drop_path = o->drop_path,
                        .mix = o->mix};
    vt_model_place_activations(&r->model, arena, &use);
    vt_backend_place_scratch(&r->backend, arena, &limits);
    r->class_weights = vt_arena_take(arena, o->config.classes, sizeof(float));
}

void rig_open(rig *r, const rig_options *o)
{
    vt_err err = {0};
    r->options = *o;
    vt_status status = vt_model_init(&r->model, &o->config, &err);
    assert(status == VT_OK);
    for (int i = 0; o->frozen != NULL && i < r->model.n_params; i++)
        r->model.params[i].frozen = r->model.params[i].frozen || o->frozen(&r->model.params[i]);
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

    r->pass = (vt_pass){
        .backend = &r->backend,
        .samples = o->samples,
        .pixels = vt_pixel_range_gray(2.0F / 255.0F, -1.0F),
        .slices = o->slices > 0 ? o->slices : 1,
        .accumulate = false,
        .weight = 1.0F / (float)o->samples,
        .loss = {.kind = o->loss, .smoothing = o->smoothing, .class_weights = o->weighted ? r->class_weights : NULL},
        .partner_share = o->mix ? 0.3F : 0.0F,
        .drop = o->dropout > 0.0F || o->drop_path > 0.0F,
        .seed = SEED};
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

/* Sample i's pixels and row of labels. */
static void draw_sample(const rig *r, int64_t i, unsigned char *pixels, int32_t *labels)
{
    const vt_model_config *c = &r->model.config;
    int64_t image = c->image_height * c->image_width * 3, width = r->model.use.label_width;
    uint32_t use = vt_fnv1a("images");
    for (int64_t j = 0; j < image; j++) {
        uint64_t at = (uint64_t)(i * image + j);
        pixels[j] = (unsigned char)(vt_philox(SEED, VT_STREAM_TEST, at / 4, use, 0).v[at % 4] >> 24);
    }
    for (int64_t k = 0; k < width; k++)
        labels[k] = r->options.labels != NULL ? r->options.labels[i * width + k] : k == 0 ? rig_label(r, i) : -1;
}

void rig_input(rig *r, int64_t first, int64_t count)
{
    const vt_model_config *c = &r->model.config;
    int64_t image = c->image_height * c->image_width * 3, width = r->model.use.label_width;
    int64_t front = r->model.use.mix ? 1 : 0;
    unsigned char *pixels = malloc((size_t)(image * count));
    int32_t *labels = malloc((size_t)(width * count) * sizeof *labels);
    if (front) {
        draw_sample(r, (first + r->options.samples - 1) % r->options.samples, pixels, labels);
        vt_device_write(&r->device, r->model.images - image, pixels, (size_t)image);
        vt_device_write(&r->device, r->model.labels - width, labels, (size_t)width * sizeof *labels);
    }
    for (int64_t i = 0; i < count; i++)
        draw_sample(r, first + i, pixels + i * image, labels + i * width);
    vt_device_write(&r->device, r->model.images, pixels, (size_t)(image * count));
    vt_device_write(&r->device, r->model.labels, labels, (size_t)(width * count) * sizeof *labels);
    r->pass.samples = count;
    r->pass.position = first;
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

float *rig_gradient(rig *r, const vt_tensor *t)
{
    if (t->grad_type == VT_F32)
        return rig_read(r, t->grad, t->count);
    uint16_t *packed = malloc((size_t)t->count * sizeof *packed);
    float *copy = malloc((size_t)t->count * sizeof *copy);
    vt_device_read(&r->device, packed, t->grad, (size_t)t->count * sizeof *packed);
    for (int64_t j = 0; j < t->count; j++)
        copy[j] = vt_bf16_to_f32(packed[j]);
    free(packed);
    return copy;
}

float *rig_gradients(rig *r)
{
    float *all = calloc((size_t)r->model.param_count, sizeof *all), *at = all;
    for (int i = 0; i < r->model.n_params; i++) {
        const vt_tensor *t = &r->model.params[i];
        float *g = t->frozen ? NULL : rig_gradient(r, t);
        if (g != NULL)
            memcpy(at, g, (size_t)t->count * sizeof *g);
        free(g);
        at += t->count;
    }
    return all;
}

float *rig_step(rig *r, int64_t count)
{
    for (int64_t first = 0; first < r->options.samples; first += count) {
        int64_t left = r->options.samples - first;
        r->pass.accumulate = first > 0;
        rig_loss(r, first, left < count ? left : count);
        vt_model_backward(&r->model, &r->pass);
    }
    r->pass.accumulate = false;
    return rig_gradients(r);
}
