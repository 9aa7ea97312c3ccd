/* The engine: device memory, threads, kernels, model and optimizer of one process, placed as planned. Training uses all
 * of it; evaluation, few-shot and prediction use an engine without gradients and optimizer. */
#ifndef VT_TRAIN_ENGINE_H
#define VT_TRAIN_ENGINE_H

#include "base/pool.h"
#include "data/loader.h"
#include "model/model.h"
#include "optim/optimizer.h"

/* The arenas of an engine, in the order of the plan's lines. */
typedef enum {
    VT_ARENA_PARAMETERS,
    VT_ARENA_GRADIENTS,
    VT_ARENA_OPTIMIZER,
    VT_ARENA_ACTIVATIONS,
    VT_ARENA_WORKSPACE, /* scratch memory of kernels */
    VT_ARENA_LOADER,    /* host: the ring of training batches */
    VT_ARENA_EVAL,      /* host: ring and result copies of evaluation */
    VT_ARENA_SNAPSHOT,  /* host: a copy of what a checkpoint holds, written while training goes on */
    VT_ARENA_CACHE,     /* host: decoded images (data.cache: memory) */
    VT_N_ARENAS
} vt_arena_kind;

typedef struct {
    vt_device device;
    vt_pool *pool;
    vt_backend backend;
    vt_model model;
    vt_optimizer optimizer;
    float *loss_sum;      /* device: the loss of a step, one float */
    float *class_weights; /* device: (classes), where the loss has them; else NULL */
    void *loader_ring;    /* host: memory of the training loader */
    float *host_logits;   /* host: (samples, classes), for the accuracy of a logged step */
    vt_arena arenas[VT_N_ARENAS];
    bool training;
    void *cache;             /* host: room for decoded images, or NULL */
    unsigned char *snapshot; /* host: room for a checkpoint, or NULL */
} vt_engine;

/* What an engine is made for. */
typedef struct {
    vt_model_config model;
    vt_model_use use; /* samples: the micro-batch; train: gradients, optimizer, training loader */
    const vt_isa *isa;
    int threads, slices;
    vt_optimizer_config optimizer;
    const char *rules; /* by parameter name (optim/rules.h); NULL: none */
    bool class_weights;
    bool snapshot; /* room for a checkpoint that is written in the background */
    size_t cache;  /* bytes of room for decoded images */
    int64_t batch; /* of an update, for mixup's partners */
    int workers;
} vt_engine_options;

/* Bytes of every arena, without allocating. */
vt_status vt_engine_measure(const vt_engine_options *o, size_t bytes[VT_N_ARENAS], vt_err *err) VT_MUST_USE;
/* Allocates and places. Parameters are zero: initialise or load them. */
vt_status vt_engine_open(vt_engine *e, const vt_engine_options *o, vt_err *err) VT_MUST_USE;
/* Stops the threads and frees everything; a zeroed engine may be closed. */
void vt_engine_close(vt_engine *e);

/* Sum of the arenas' high-water marks: what the plan said, to the byte. */
size_t vt_engine_high_water(const vt_engine *e);

/* Options of a loader that fills the engine's batches: sizes and slots; source, preprocessing and range are the
 * caller's to add. */
vt_loader_options vt_engine_loader_options(const vt_engine *e, int workers);

extern const char *const vt_arena_names[VT_N_ARENAS];

#endif
