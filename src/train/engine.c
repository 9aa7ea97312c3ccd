/* One process's memory, threads, kernels, model and optimizer: measured over counting arenas, then placed by the same
 * function over memory. Tensors lie in device memory; the loader's ring and evaluation's copies in host memory. */
#include "train/engine.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "data/loader.h"
#include "eval/pass.h"
#include "optim/rules.h"
#include "train/checkpoint.h"

/* Slots in the training ring: enough that a worker decodes while two wait, few enough to stay small. */
#define LOADER_SLOTS 4

const char *const vt_arena_names[VT_N_ARENAS] = {"parameters",         "gradients",           "optimizer state",
                                                 "activations",        "kernel workspace",    "training batches",
                                                 "evaluation batches", "checkpoint snapshot", "decoded images"};

static bool is_host_arena(int kind)
{
    return kind == VT_ARENA_LOADER || kind == VT_ARENA_EVAL || kind == VT_ARENA_SNAPSHOT || kind == VT_ARENA_CACHE;
}

vt_loader_options vt_engine_loader_options(const vt_engine *e, int workers)
{
    const vt_model_config *c = &e->model.config;
    return (vt_loader_options){.height = c->image_height,
                               .width = c->image_width,
                               .batch = e->model.use.samples,
                               .labels = e->model.use.label_width,
                               .workers = workers,
                               .slots = LOADER_SLOTS};
}

/* Takes everything from e->arenas, in the order of the plan. */
static void place(vt_engine *e, const vt_engine_options *o)
{
    vt_arena *a = e->arenas;
    vt_limits limits = vt_model_limits(&e->model, o->slices);

    vt_model_place_values(&e->model, &a[VT_ARENA_PARAMETERS]);
    vt_model_place_activations(&e->model, &a[VT_ARENA_ACTIVATIONS], &o->use);
    vt_backend_place_scratch(&e->backend, &a[VT_ARENA_WORKSPACE], &limits);
    if (o->class_weights)
        e->class_weights = vt_arena_take(&a[VT_ARENA_PARAMETERS], o->model.classes, sizeof(float));
    if (o->use.train) {
        vt_model_place_grads(&e->model, &a[VT_ARENA_GRADIENTS], o->use.grad_type);
        vt_optimizer_place(&e->optimizer, &a[VT_ARENA_OPTIMIZER]);
        e->loss_sum = vt_arena_take(&a[VT_ARENA_WORKSPACE], 1, sizeof(float));
        vt_loader_options lo = vt_engine_loader_options(e, o->workers);
        lo.mix = o->use.mix ? o->batch : 0;
        e->loader_ring = vt_loader_place(&a[VT_ARENA_LOADER], &lo);
        e->host_logits = vt_arena_take(&a[VT_ARENA_LOADER], o->use.samples * o->model.classes, sizeof(float));
    }
    if (o->snapshot)
        e->snapshot = vt_arena_take(&a[VT_ARENA_SNAPSHOT], (int64_t)vt_checkpoint_bytes(e), 1);
    if (o->cache)
        e->cache = vt_arena_take(&a[VT_ARENA_CACHE], (int64_t)o->cache, 1);
    vt_arena *eval = &a[VT_ARENA_EVAL];
    size_t mark = eval->used;
    vt_eval_place(eval, &e->model, o->use.samples);
    vt_arena_rewind(eval, mark);
}

/* Everything that owns no tensor memory. */
static vt_status prepare(vt_engine *e, const vt_engine_options *o, vt_err *err)
{
    *e = (vt_engine){.training = o->use.train};
    vt_device_init(&e->device);
    VT_TRY(vt_model_init(&e->model, &o->model, err));
    if (o->rules && vt_rules_apply(o->rules, e->model.params, e->model.n_params, err) != VT_OK)
        return vt_prefix(err, "optimizer.rules");
    if (o->optimizer.layer_decay > 0)
        vt_layer_decay_apply(o->optimizer.layer_decay, e->model.params, e->model.n_params);
    VT_TRY(vt_pool_new(&e->pool, o->threads, err));
    vt_backend_init(&e->backend, o->isa, e->pool, &e->device);
    if (o->use.train)
        VT_TRY(vt_optimizer_init(&e->optimizer, &o->optimizer, e->model.params, e->model.n_params, err));
    for (int i = 0; i < VT_N_ARENAS; i++)
        e->arenas[i] = vt_arena_counting();
    return VT_OK;
}

vt_status vt_engine_measure(const vt_engine_options *o, size_t bytes[VT_N_ARENAS], vt_err *err)
{
    vt_engine e;
    vt_status status = prepare(&e, o, err);
    if (status == VT_OK) {
        place(&e, o);
        for (int i = 0; i < VT_N_ARENAS; i++)
            bytes[i] = e.arenas[i].high;
    }
    vt_engine_close(&e);
    return status;
}

static vt_status host_arena(size_t bytes, const char *what, vt_arena *arena, vt_err *err)
{
    /* An empty arena has a line of its own, since a base of NULL would count. */
    size_t rounded = (bytes + VT_ARENA_ALIGN - (bytes > 0)) / VT_ARENA_ALIGN * VT_ARENA_ALIGN;
    void *base = aligned_alloc(VT_ARENA_ALIGN, rounded);
    if (!base)
        return vt_fail(err, VT_ENOMEM, "%s need %zu bytes of memory, and the system refused them", what, bytes);
    memset(base, 0, rounded);
    *arena = vt_arena_over(base, bytes);
    return VT_OK;
}

static vt_status allocate(vt_engine *e, const size_t bytes[VT_N_ARENAS], vt_err *err)
{
    for (int i = 0; i < VT_N_ARENAS; i++) {
        if (is_host_arena(i))
            VT_TRY(host_arena(bytes[i], vt_arena_names[i], &e->arenas[i], err));
        else
            VT_TRY(vt_device_arena(&e->device, bytes[i], vt_arena_names[i], &e->arenas[i], err));
    }
    return VT_OK;
}

vt_status vt_engine_open(vt_engine *e, const vt_engine_options *o, vt_err *err)
{
    size_t bytes[VT_N_ARENAS];
    vt_status status = prepare(e, o, err);
    if (status == VT_OK) {
        place(e, o);
        for (int i = 0; i < VT_N_ARENAS; i++)
            bytes[i] = e->arenas[i].high;
        status = allocate(e, bytes, err);
    }
    if (status == VT_OK)
        place(e, o);
    else
        vt_engine_close(e);
    return status;
}

void vt_engine_close(vt_engine *e)
{
    for (int i = 0; i < VT_N_ARENAS; i++)
        if (is_host_arena(i))
            free(e->arenas[i].base);
    if (e->training)
        vt_optimizer_release(&e->optimizer);
    vt_model_release(&e->model);
    vt_pool_free(e->pool);
    vt_device_release(&e->device);
    *e = (vt_engine){0};
}

size_t vt_engine_high_water(const vt_engine *e)
{
    size_t sum = 0;
    for (int i = 0; i < VT_N_ARENAS; i++)
        sum += e->arenas[i].high;
    return sum;
}
