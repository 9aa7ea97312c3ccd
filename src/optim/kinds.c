/* The optimizers, a row each: what state a parameter has, and the operation that moves it (kernels/ops.h, spec 3.1 to
 * 3.3).
 *
 * State is named after the parameter: .momentum and .row_moment, .col_moment or .full_moment (adafactor), .first and
 * .second (adam, adamw), .momentum (sgd). A matrix's second moment is factored when its smaller side is at least 32;
 * which matrices a fused tensor holds is the tensor's to say (kernels/tensor.h). */
#include "base/math.h"
#include "kernels/bf16.h"
#include "optim/optimizer_internal.h"

enum { MIN_FACTORED_SIDE = 32 };

/* Exponent of adafactor's second moment, whose decay is 1 - k^-0.8. */
static const double beta2_exponent = -0.8;

vt_real vt_optimizer_moment_type(const vt_optimizer *o)
{
    if (o->config.moment == VT_MOMENT_AUTO)
        return vt_optimizer_kinds[o->config.kind].moment;
    return o->config.moment == VT_MOMENT_BF16 ? VT_BF16 : VT_F32;
}

/* What is left of a stored moment in a step. */
static float beta1_kept(const vt_optimizer *o)
{
    float beta1 = (float)o->config.beta1;
    bool exact = o->config.exact_decay || vt_optimizer_moment_type(o) == VT_F32;
    return exact ? beta1 : vt_bf16_to_f32(vt_bf16_from_f32(beta1));
}

static void *data_of(const vt_optimizer *o, int piece)
{
    return piece < 0 ? NULL : o->state[piece].data;
}

/* Where the sum of a tensor's squared changes goes. */
static double *square_change(const vt_optimizer *o, const struct vt_update *u, int i)
{
    return u->watch ? &o->square_sums[o->n_params + i] : NULL;
}

static float rate_of(const vt_optimizer *o, const struct vt_update *u, int i)
{
    return (float)(u->rate * o->params[i].lr_factor);
}

static float decay_of(const vt_optimizer *o, const struct vt_update *u, int i)
{
    return (float)(u->rate * o->rows[i].decay);
}

static int add_whole(vt_optimizer *o, int i, const char *what, vt_real type)
{
    return vt_optimizer_add_state(o, i, what, type, o->params[i].n_dims, o->params[i].dims);
}

/* --- adafactor ------------------------------------------------------------------------------------------------------
 */

static void adafactor_add(vt_optimizer *o, int i)
{
    const vt_tensor *t = &o->params[i];
    struct vt_optimizer_row *r = &o->rows[i];
    r->first = add_whole(o, i, "momentum", vt_optimizer_moment_type(o));
    if (t->rows >= MIN_FACTORED_SIDE && t->cols >= MIN_FACTORED_SIDE) {
        r->row_moment = vt_optimizer_add_state(o, i, "row_moment", VT_F32, 2, (int64_t[]){t->blocks, t->rows});
        r->col_moment = vt_optimizer_add_state(o, i, "col_moment", VT_F32, 2, (int64_t[]){t->blocks, t->cols});
    } else {
        r->second = add_whole(o, i, "full_moment", VT_F32);
    }
}

static void adafactor_update(const vt_optimizer *o, const struct vt_update *u, int i)
{
    const vt_tensor *p = &o->params[i];
    const struct vt_optimizer_row *r = &o->rows[i];
    const bool factored = r->row_moment >= 0;
    double beta2 = 1.0 - vt_pow((double)(u->t + 1), beta2_exponent);
    if (beta2 > o->config.beta2)
        beta2 = o->config.beta2;
    vt_run(u->backend, adafactor, .blocks = factored ? p->blocks : 1, .rows = factored ? p->rows : 1,
           .cols = factored ? p->cols : p->count, .block_stride = factored ? p->block_stride : 0,
           .row_stride = factored ? p->row_stride : 0, .value = p->value, .grad_type = p->grad_type,
           .moment_type = vt_optimizer_moment_type(o), .grad = p->grad, .row_moment = data_of(o, r->row_moment),
           .col_moment = data_of(o, r->col_moment), .full_moment = data_of(o, r->second),
           .momentum = data_of(o, r->first), .grad_scale = u->grad_scale, .beta1 = (float)o->config.beta1,
           .beta1_kept = beta1_kept(o), .beta2 = (float)beta2, .lr = rate_of(o, u, i), .decay = decay_of(o, u, i),
           .square_change = square_change(o, u, i));
}

/* --- adam -----------------------------------------------------------------------------------------------------------
 */

static void adam_add(vt_optimizer *o, int i)
{
    o->rows[i].first = add_whole(o, i, "first", vt_optimizer_moment_type(o));
    o->rows[i].second = add_whole(o, i, "second", VT_F32);
}

/* 1 / (1 - beta^k), with beta as the kernel has it: after one step the moments are then those of one gradient. */
static float bias_correction(double beta, int64_t k)
{
    return (float)(1.0 / (1.0 - vt_pow((double)(float)beta, (double)k)));
}

static void adam_update(const vt_optimizer *o, const struct vt_update *u, int i)
{
    const vt_tensor *p = &o->params[i];
    const vt_optimizer_config *c = &o->config;
    vt_run(u->backend, adam, .count = p->count, .value = p->value, .grad_type = p->grad_type,
           .moment_type = vt_optimizer_moment_type(o), .grad = p->grad, .first = data_of(o, o->rows[i].first),
           .second = data_of(o, o->rows[i].second), .grad_scale = u->grad_scale, .beta1 = (float)c->beta1,
           .beta1_kept = beta1_kept(o), .beta2 = (float)c->beta2, .first_scale = bias_correction(c->beta1, u->t + 1),
           .second_scale = bias_correction(c->beta2, u->t + 1), .eps = (float)c->eps, .lr = rate_of(o, u, i),
           .decay = decay_of(o, u, i), .square_change = square_change(o, u, i));
}

/* --- sgd ------------------------------------------------------------------------------------------------------------
 */

static void sgd_add(vt_optimizer *o, int i)
{
    o->rows[i].first = add_whole(o, i, "momentum", vt_optimizer_moment_type(o));
}

static void sgd_update(const vt_optimizer *o, const struct vt_update *u, int i)
{
    const vt_tensor *p = &o->params[i];
    vt_run(u->backend, sgd, .count = p->count, .value = p->value, .grad_type = p->grad_type,
           .moment_type = vt_optimizer_moment_type(o), .grad = p->grad, .momentum = data_of(o, o->rows[i].first),
           .grad_scale = u->grad_scale, .beta1_kept = beta1_kept(o), .lr = rate_of(o, u, i), .decay = decay_of(o, u, i),
           .square_change = square_change(o, u, i));
}

const vt_optimizer_kind vt_optimizer_kinds[] = {
    {"adafactor",
     "the paper's: second moment of a matrix from its row and column means, first moment in bf16, no bias "
     "correction",
     "first moment in bf16; second moment of matrices as row and column means, of the rest in float32", VT_BF16, false,
     false, adafactor_add, adafactor_update},
    {"adam", "Adam with its first moment in bf16 and decoupled weight decay", "first moment in bf16, second in float32",
     VT_BF16, false, true, adam_add, adam_update},
    {"adamw", "Adam in float32 with decoupled weight decay", "both moments in float32", VT_F32, false, true, adam_add,
     adam_update},
    {"sgd", "a sum of gradients that keeps beta1 of itself in every step, as for fine-tuning",
     "one moment, in bf16 or float32", VT_BF16, true, false, sgd_add, sgd_update},
};
const char *const vt_optimizer_names[] = {"adafactor", "adam", "adamw", "sgd", NULL};
