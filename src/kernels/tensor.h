/* A named parameter tensor as the optimizer and the checkpoint see it: name, shape, value, gradient. They see a list of
 * these, never the model. Memory belongs to the arenas of the run. */
#ifndef VT_KERNELS_TENSOR_H
#define VT_KERNELS_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/ops.h"

#define VT_MAX_DIMS 4

/* Which part of the network a tensor belongs to, for rules (weight decay differs between head and body). */
typedef enum { VT_PART_BODY, VT_PART_HEAD } vt_part;

typedef struct {
    char name[64]; /* timm's name, "blocks.3.attn.qkv.weight" */
    int n_dims;
    int64_t dims[VT_MAX_DIMS]; /* row-major, timm's layout */
    int64_t count;             /* product of dims */
    vt_part part;
    int decays; /* 1: a matrix that weight decay applies to (patch_embed.proj, qkv, proj, fc1, fc2, q, kv, head) */
    /* The matrix that a factored second moment sees (spec 3.7): `blocks` independent rows x cols matrices; element (b,
     * r, c) lies at b * block_stride + r * row_stride + c. rows = 0: not a matrix, never factored. The optimizer
     * factors it when min(rows, cols) >= 32. */
    int64_t blocks, rows, cols, block_stride, row_stride;
    /* What rules say (optim/rules.h). A frozen tensor is never updated: it has neither gradient nor optimizer state. */
    bool frozen;
    double lr_factor; /* of the learning rate; 1 without a rule */
    double decay;     /* weight decay of this tensor, times lr; negative: that of its part */
    /* Device memory, count elements; NULL until placed. grad stays NULL where only inference is planned, or frozen. */
    float *value;
    void *grad;
    vt_real grad_type;
} vt_tensor;

#endif
