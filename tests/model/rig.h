/* A small model with its memory, backend and inputs, for the tests of model/. Everything is drawn by the rule of
 * tests/golden: element j of a tensor is lane j % 4 of Philox(seed 7, stream 100, index j / 4, use = hash of its name).
 */
#ifndef TESTS_MODEL_RIG_H
#define TESTS_MODEL_RIG_H

#include "model/model.h"

typedef struct {
    vt_model_config config;
    const vt_isa *isa; /* NULL: ref */
    int64_t samples;
    int threads, slices;
    bool train;
    vt_recompute recompute;
    vt_real type, grad_type;
    float dropout, drop_path;
    bool mix;      /* the pass's partner_share is then 0.3 */
    bool weighted; /* class weights, drawn around 1 */
    vt_loss_kind loss;
    float smoothing;
    int label_width;                    /* 0: 1 */
    const int32_t *labels;              /* (samples, label_width); NULL: rig_label's */
    bool (*frozen)(const vt_tensor *t); /* NULL: as the model says */
    float scale;                        /* of drawn parameters; 0: 0.2 */
} rig_options;

typedef struct {
    rig_options options;
    vt_device device;
    vt_pool *pool;
    vt_backend backend;
    vt_model model;
    size_t planned, taken; /* bytes of the model's memory: counted before, used after */
    vt_pass pass;
    float *class_weights; /* device memory for (classes) of them, drawn around 1; the test puts them into the pass */
} rig;

/* Width 24, depth 2, MLP 40, 3 heads, patch 4, images of 12 x 20 (as the golden file), 5 classes. */
vt_model_config rig_tiny_config(vt_head_kind head);

/* The same in the ways of published families, which together have every variant of the model: 0 .. RIG_FAMILIES - 1. */
enum { RIG_FAMILIES = 6 };
vt_model_config rig_family(int family);

/* Plans, takes memory, fills all of it with NaN patterns (nothing may read what was not written), then draws values. */
void rig_open(rig *r, const rig_options *o);
void rig_close(rig *r);

/* Draws (2u - 1) * scale, u in [0, 1), for the tensor of that name. */
void rig_draw(const char *name, float scale, float *values, int64_t count);

/* Images (samples first .. first+count-1 of "images") and labels into the model's input, with room in front the partner
 * of the first too: the sample before it, or the last one. The pass's position follows. */
void rig_input(rig *r, int64_t first, int64_t count);
/* The first label of sample i. */
int32_t rig_label(const rig *r, int64_t i);

/* forward and loss over samples first .. first+count-1: the sum of their losses, added in double. */
double rig_loss(rig *r, int64_t first, int64_t count);

/* A copy of a tensor in malloc'ed memory. */
float *rig_read(rig *r, const float *tensor, int64_t count);
/* A trained tensor's gradient as floats, whatever its type. */
float *rig_gradient(rig *r, const vt_tensor *t);
/* All gradients, one after another; those of frozen tensors zero. */
float *rig_gradients(rig *r);
/* forward, loss and backward over all samples in micro-batches of `count`: all gradients. */
float *rig_step(rig *r, int64_t count);

#endif
