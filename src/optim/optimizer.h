/* Optimizers over a list of named tensors: where their state lies and one step of the paper's order (spec 3):
 * gradients -> global-norm clip -> moments -> lr -> decoupled weight decay -> schedule -> parameters. */
#ifndef VT_OPTIM_OPTIMIZER_H
#define VT_OPTIM_OPTIMIZER_H

#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "kernels/backend.h"
#include "kernels/tensor.h"

typedef struct {
    double lr;
    double decay_body, decay_head; /* multiplied by lr, as the paper states them (0.03 and 3.0): per step a weight
                                      shrinks by s(t) * lr * decay */
    double beta1;                  /* first moment, 0.9 */
    double beta2_cap;              /* second moment's decay is min(cap, 1 - k^-0.8), 0.999 */
    double clip;                   /* global norm of the gradient; 0: none */
} vt_optimizer_config;

/* One piece of a tensor's state, named for checkpoints: "blocks.0.mlp.fc1.weight.momentum". */
typedef struct {
    char name[96];
    int is_bf16; /* momentum; else float32 */
    int n_dims;
    int64_t dims[VT_MAX_DIMS], count;
    void *data; /* device memory */
} vt_state_tensor;

typedef struct {
    vt_optimizer_config config;
    vt_tensor *params; /* borrowed */
    int n_params;
    vt_state_tensor *state; /* owned table; memory from the arena */
    int n_state;
    struct vt_optimizer_row *rows; /* per parameter: its state pieces, its decay; owned */
    double *square_sums;           /* device memory, one a parameter */
    double *host_sums;             /* the same on the host; owned */
} vt_optimizer;

/* The table of state. params must outlive the optimizer; values and gradients may be placed later. Messages name
 * optimizer.* keys. */
vt_status vt_optimizer_init(vt_optimizer *o, const vt_optimizer_config *c, vt_tensor *params, int n_params,
                            vt_err *err) VT_MUST_USE;
/* The state's memory, 0.5 to 0.6 of the parameters' for real models. It begins as zeros, as vt_device_arena gives them;
 * the step relies on it. */
void vt_optimizer_place(vt_optimizer *o, vt_arena *arena);
void vt_optimizer_release(vt_optimizer *o);

typedef struct {
    double grad_norm;  /* before clipping */
    double clip_scale; /* 1 when not clipped */
    int bad_param;     /* index of the first parameter whose gradient is not finite, or -1; then nothing was updated */
} vt_step_report;

/* Update number t (0, 1, ...), with schedule factor s = s(t). */
void vt_optimizer_step(vt_optimizer *o, const vt_backend *be, int64_t t, double s, vt_step_report *report);

#endif
