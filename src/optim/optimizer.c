/* The paper's modified Adafactor (spec 3.2) and the order of its step (spec 3, 3.4, 3.5):
 *
 *   g <- g * min(1, clip / |g|)                       |g|: over all tensors, in the order of the table
 *   u <- momentum of g / sqrt(second moment)          the adafactor operation; second moment factored for matrices
 *   value <- value - s(t) * (lr * u + lr * decay * value)    decay: 0 for what is no matrix; the head has its own
 *
 * A matrix is factored when its smaller side is at least 32; which matrices a fused tensor holds is the tensor's to say
 * (kernels/tensor.h). State is named after the parameter: .momentum (bf16), then .row_moment and .col_moment, or
 * .full_moment. */
#include "optim/optimizer.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/math.h"
#include "base/text.h"

enum { MIN_FACTORED_SIDE = 32, MAX_STATE_PER_PARAM = 3 };

/* Exponent of the second moment's decay, 1 - k^-0.8. */
static const double beta2_exponent = -0.8;

/* A parameter's pieces in o->state: momentum, then full, or row and col (-1: has none). */
struct vt_optimizer_row {
    int momentum, row, col, full;
    double decay; /* times lr and schedule */
};

static vt_status check_between(const char *key, double value, double min, double max, vt_err *err)
{
    if (!(value >= min && value <= max))
        return vt_fail(err, VT_EINVAL, "%s is %g; it must be between %g and %g", key, value, min, max);
    return VT_OK;
}

static vt_status check_config(const vt_optimizer_config *c, vt_err *err)
{
    VT_TRY(check_between("optimizer.lr", c->lr, 0.0, 1e3, err));
    VT_TRY(check_between("optimizer.decay", c->decay_body, 0.0, 1e6, err));
    VT_TRY(check_between("optimizer.decay_head", c->decay_head, 0.0, 1e6, err));
    VT_TRY(check_between("optimizer.beta1", c->beta1, 0.0, 1.0, err));
    VT_TRY(check_between("optimizer.beta2_cap", c->beta2_cap, 0.0, 1.0, err));
    VT_TRY(check_between("optimizer.clip", c->clip, 0.0, 1e30, err));
    return VT_OK;
}

static int is_factored(const vt_tensor *t)
{
    return t->rows >= MIN_FACTORED_SIDE && t->cols >= MIN_FACTORED_SIDE;
}

static int add_state(vt_optimizer *o, const vt_tensor *t, const char *what, int is_bf16, int n_dims,
                     const int64_t *dims)
{
    vt_state_tensor *s = &o->state[o->n_state];
    int length = snprintf(s->name, sizeof s->name, "%s.%s", t->name, what);
    assert(length > 0 && (size_t)length < sizeof s->name);
    s->is_bf16 = is_bf16;
    s->n_dims = n_dims;
    s->count = 1;
    for (int d = 0; d < n_dims; d++) {
        s->dims[d] = dims[d];
        s->count *= dims[d];
    }
    return o->n_state++;
}

static void add_param(vt_optimizer *o, int i)
{
    const vt_tensor *t = &o->params[i];
    struct vt_optimizer_row *r = &o->rows[i];
    double decay = t->part == VT_PART_HEAD ? o->config.decay_head : o->config.decay_body;
    *r = (struct vt_optimizer_row){-1, -1, -1, -1, t->decays ? decay : 0.0};
    r->momentum = add_state(o, t, "momentum", 1, t->n_dims, t->dims);
    if (is_factored(t)) {
        r->row = add_state(o, t, "row_moment", 0, 2, (int64_t[]){t->blocks, t->rows});
        r->col = add_state(o, t, "col_moment", 0, 2, (int64_t[]){t->blocks, t->cols});
    } else {
        r->full = add_state(o, t, "full_moment", 0, t->n_dims, t->dims);
    }
}

vt_status vt_optimizer_init(vt_optimizer *o, const vt_optimizer_config *c, vt_tensor *params, int n_params, vt_err *err)
{
    *o = (vt_optimizer){0};
    VT_TRY(check_config(c, err));
    o->config = *c;
    o->params = params;
    o->n_params = n_params;
    size_t n = (size_t)n_params;
    o->rows = vt_xcalloc(n, sizeof *o->rows);
    o->state = vt_xcalloc(n * MAX_STATE_PER_PARAM, sizeof *o->state);
    o->host_sums = vt_xcalloc(n, sizeof *o->host_sums);
    for (int i = 0; i < n_params; i++)
        add_param(o, i);
    return VT_OK;
}

void vt_optimizer_place(vt_optimizer *o, vt_arena *arena)
{
    for (int i = 0; i < o->n_state; i++) {
        vt_state_tensor *s = &o->state[i];
        s->data = vt_arena_take(arena, s->count, s->is_bf16 ? sizeof(uint16_t) : sizeof(float));
    }
    o->square_sums = vt_arena_take(arena, o->n_params, sizeof(double));
}

void vt_optimizer_release(vt_optimizer *o)
{
    free(o->rows);
    free(o->state);
    free(o->host_sums);
    *o = (vt_optimizer){0};
}

/* The gradient's norm and the clip factor; a gradient that is not finite is named in bad_param. */
static void measure_gradients(vt_optimizer *o, const vt_backend *be, vt_step_report *report)
{
    double total = 0.0;
    for (int i = 0; i < o->n_params; i++)
        vt_run(be, sum_squares, .count = o->params[i].count, .x = o->params[i].grad, .sum = &o->square_sums[i]);
    vt_device_read(be->device, o->host_sums, o->square_sums, (size_t)o->n_params * sizeof *o->host_sums);

    *report = (vt_step_report){.clip_scale = 1.0, .bad_param = -1};
    for (int i = 0; i < o->n_params; i++) {
        if (!isfinite(o->host_sums[i]) && report->bad_param < 0)
            report->bad_param = i;
        total += o->host_sums[i];
    }
    report->grad_norm = sqrt(total);
    if (o->config.clip > 0.0 && report->grad_norm >= o->config.clip)
        report->clip_scale = o->config.clip / report->grad_norm;
}

static double beta2_at(const vt_optimizer *o, int64_t t)
{
    double beta2 = 1.0 - vt_pow((double)(t + 1), beta2_exponent);
    return beta2 < o->config.beta2_cap ? beta2 : o->config.beta2_cap;
}

static void *state_data(const vt_optimizer *o, int index)
{
    return index < 0 ? NULL : o->state[index].data;
}

void vt_optimizer_step(vt_optimizer *o, const vt_backend *be, int64_t t, double s, vt_step_report *report)
{
    assert(t >= 0);
    measure_gradients(o, be, report);
    if (report->bad_param >= 0)
        return;

    double beta2 = beta2_at(o, t), rate = s * o->config.lr;
    for (int i = 0; i < o->n_params; i++) {
        const vt_tensor *p = &o->params[i];
        const struct vt_optimizer_row *r = &o->rows[i];
        int factored = r->row >= 0;
        vt_run(be, adafactor, .blocks = factored ? p->blocks : 1, .rows = factored ? p->rows : 1,
               .cols = factored ? p->cols : p->count, .block_stride = factored ? p->block_stride : 0,
               .row_stride = factored ? p->row_stride : 0, .value = p->value, .grad = p->grad,
               .row_moment = state_data(o, r->row), .col_moment = state_data(o, r->col),
               .full_moment = state_data(o, r->full), .momentum = state_data(o, r->momentum),
               .grad_scale = (float)report->clip_scale, .beta1 = (float)o->config.beta1, .beta2 = (float)beta2,
               .lr = (float)rate, .decay = (float)(rate * r->decay));
    }
}
