/* Optimizers over a list of named tensors: where their state lies and one step of the paper's order (spec 3):
 * gradients -> global-norm clip -> moments -> lr -> decoupled weight decay -> schedule -> parameters -> their average.
 */
#ifndef VT_OPTIM_OPTIMIZER_H
#define VT_OPTIM_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "kernels/backend.h"
#include "kernels/tensor.h"

/* How the first moment is stored: as the kind says, or (sgd) as asked for. */
typedef enum { VT_MOMENT_AUTO, VT_MOMENT_BF16, VT_MOMENT_F32 } vt_moment;
extern const char *const vt_moment_names[]; /* "auto", "bf16", "f32", NULL */

/* Averages of the parameters over steps, for evaluation and for use. Both hold the values after each update:
 *   ema:    average = kept * average + (1 - kept) * value,   kept = min(decay, (1+t)/(10+t)), so that the first
 *           thousands of steps do not carry the initial values; 0 at t = 0
 *   polyak: the arithmetic mean of the values after updates start, start+1, ...; before that, the value itself */
typedef enum { VT_AVERAGE_NONE, VT_AVERAGE_EMA, VT_AVERAGE_POLYAK } vt_average_kind;
extern const char *const vt_average_names[]; /* "none", "ema", "polyak", NULL */

typedef struct {
    int kind; /* row of vt_optimizer_kinds */
    double lr;
    double layer_decay; /* vt_layer_decay_apply, by who sets up the parameters; 0 and 1: none */
    double decay_body, decay_head; /* multiplied by lr, as the paper states them (0.03 and 3.0): per step a weight
                                      shrinks by s(t) * lr * decay; a tensor's own decay goes before them */
    double beta1;                  /* first moment, 0.9; of sgd: what the sum keeps */
    double beta2;                  /* second moment: of adam and adamw, 0.999; of adafactor the cap of 1 - k^-0.8 */
    double eps;                    /* of adam and adamw, 1e-8 */
    double clip;                   /* global norm of the gradient; 0: none */
    int moment;                    /* vt_moment */
    bool exact_decay;              /* a bf16 moment decays by beta1 itself; else by bf16(beta1), as in optax (spec 3.1)
                                    */
    int average;                   /* vt_average_kind */
    double average_decay;          /* of ema, 0.9999 */
    int64_t average_start;         /* of polyak: the first update that counts */
} vt_optimizer_config;

struct vt_optimizer;
struct vt_update;

typedef struct {
    const char *name;  /* "adafactor", "adam", "adamw", "sgd" */
    const char *help;  /* one sentence */
    const char *keeps; /* what state, for plan: "first moment in bf16, second factored, in float32" */
    vt_real moment;    /* how the first moment is stored */
    bool may_choose;   /* ... unless config.moment says otherwise */
    bool uses_eps;
    void (*add_state)(struct vt_optimizer *o, int param);
    void (*update)(const struct vt_optimizer *o, const struct vt_update *u, int param);
} vt_optimizer_kind;

extern const vt_optimizer_kind vt_optimizer_kinds[];
extern const char *const vt_optimizer_names[]; /* for the recipe's table, NULL-terminated */

/* One piece of a tensor's state, named for checkpoints: "blocks.0.mlp.fc1.weight.momentum". */
typedef struct {
    char name[96];
    vt_real type;
    int n_dims;
    int64_t dims[VT_MAX_DIMS], count;
    void *data; /* device memory */
} vt_state_tensor;

/* What was asked for by `watch`: Euclidean norms of one tensor in this step. */
typedef struct {
    double grad_norm;   /* before clipping; 0 of a frozen tensor */
    double change_norm; /* of what was added to the value */
    double value_norm;  /* after that */
} vt_watched;

typedef struct vt_optimizer {
    vt_optimizer_config config;
    vt_tensor *params; /* borrowed */
    int n_params;
    vt_state_tensor *state; /* owned table; memory from the arena */
    int n_state;
    struct vt_optimizer_row *rows; /* per parameter: its state pieces, its decay; owned */
    vt_watched *watched;           /* per parameter: of the last step that was watched; owned */
    double *square_sums;           /* device memory: of gradients, changes and values, one each a parameter */
    double *host_sums;             /* the same on the host; owned */
    bool swapped;                  /* params hold the averages */
} vt_optimizer;

/* The table of state; frozen tensors have none. params must outlive the optimizer and be frozen or not by now; values
 * and gradients may be placed later. Messages name optimizer.* keys. */
vt_status vt_optimizer_init(vt_optimizer *o, const vt_optimizer_config *c, vt_tensor *params, int n_params,
                            vt_err *err) VT_MUST_USE;
/* The state's memory. It begins as zeros, as vt_device_arena gives them; the step relies on it. */
void vt_optimizer_place(vt_optimizer *o, vt_arena *arena);
void vt_optimizer_release(vt_optimizer *o);

/* For plan: bytes of the moments and of the averages; moments / bytes of all parameters is 2.0 (adamw), 1.5 (adam),
 * 0.5 (adafactor, real shapes), or 0.5 and 1.0 (sgd). */
typedef struct {
    size_t parameters, moments, averages;
} vt_state_size;
vt_state_size vt_optimizer_state_size(const vt_optimizer *o);

typedef struct {
    double grad_norm;  /* over all tensors, before clipping */
    double clip_scale; /* 1 when not clipped */
    bool clipped;
    int bad_param; /* index of the first parameter whose gradient is not finite, or -1; then nothing was updated */
} vt_step_report;

/* Update number t (0, 1, ...), with schedule factor s = s(t). watch: o->watched is filled, for one more pass over the
 * parameters. */
void vt_optimizer_step(vt_optimizer *o, const vt_backend *be, int64_t t, double s, bool watch, vt_step_report *report);

/* Exchanges the values of all tensors with their averages, by pointer: to evaluate or export these; the same call
 * exchanges them back. Nothing happens without averages. They are zero before the first update. */
void vt_average_swap(vt_optimizer *o);

#endif
