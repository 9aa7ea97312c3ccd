/* The order of a step (spec 3, 3.4, 3.5), whatever the optimizer:
 *
 *   g <- g * min(1, clip / |g|)                          |g|: over all tensors, in the order of the table
 *   u <- what the kind makes of g and its moments        optim/kinds.c
 *   value <- value - s(t) * (lr * u + lr * decay * value)    lr times the tensor's factor; decay: the tensor's own, or
 *                                                            that of its part, 0 for what is no matrix
 *   average <- kept * average + (1 - kept) * value */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "optim/optimizer_internal.h"

enum { MAX_STATE_PER_PARAM = 4 }; /* adafactor's three and an average */

const char *const vt_moment_names[] = {"auto", "bf16", "f32", NULL};

static vt_status check_between(const char *key, double value, double min, double max, vt_err *err)
{
    if (!(value >= min && value <= max))
        return vt_fail(err, VT_EINVAL, "optimizer.%s is %g; it must be between %g and %g", key, value, min, max);
    return VT_OK;
}

static vt_status check_config(const vt_optimizer_config *c, vt_err *err)
{
    const vt_optimizer_kind *kind = &vt_optimizer_kinds[c->kind];
    VT_TRY(check_between("lr", c->lr, 0.0, 1e3, err));
    VT_TRY(check_between("decay", c->decay_body, 0.0, 1e6, err));
    VT_TRY(check_between("decay_head", c->decay_head, 0.0, 1e6, err));
    VT_TRY(check_between("beta1", c->beta1, 0.0, 0.9999999, err));
    VT_TRY(check_between("beta2", c->beta2, 0.0, 0.9999999, err));
    VT_TRY(check_between("clip", c->clip, 0.0, 1e30, err));
    if (kind->uses_eps)
        VT_TRY(check_between("eps", c->eps, 1e-30, 1.0, err));
    if (c->moment != VT_MOMENT_AUTO && !kind->may_choose && (c->moment == VT_MOMENT_BF16) != (kind->moment == VT_BF16))
        return vt_fail(err, VT_EINVAL, "optimizer.moments is %s, but %s keeps its first moment in %s; leave it at auto",
                       vt_moment_names[c->moment], kind->name, kind->moment == VT_BF16 ? "bf16" : "f32");
    if (c->average == VT_AVERAGE_EMA)
        VT_TRY(check_between("average_decay", c->average_decay, 0.0, 0.9999999, err));
    if (c->average_start < 0)
        return vt_fail(err, VT_EINVAL, "optimizer.average_start is %lld steps; it must be at least 0",
                       (long long)c->average_start);
    return VT_OK;
}

int vt_optimizer_add_state(vt_optimizer *o, int param, const char *what, vt_real type, int n_dims, const int64_t *dims)
{
    vt_state_tensor *s = &o->state[o->n_state];
    int length = snprintf(s->name, sizeof s->name, "%s.%s", o->params[param].name, what);
    assert(length > 0 && (size_t)length < sizeof s->name);
    s->type = type;
    s->n_dims = n_dims;
    s->count = 1;
    for (int d = 0; d < n_dims; d++) {
        s->dims[d] = dims[d];
        s->count *= dims[d];
    }
    return o->n_state++;
}

static double decay_of(const vt_optimizer_config *c, const vt_tensor *t)
{
    if (t->decay >= 0.0)
        return t->decay;
    if (!t->decays)
        return 0.0;
    return t->part == VT_PART_HEAD ? c->decay_head : c->decay_body;
}

static void add_param(vt_optimizer *o, int i)
{
    const vt_tensor *t = &o->params[i];
    o->rows[i] = (struct vt_optimizer_row){-1, -1, -1, -1, -1, decay_of(&o->config, t)};
    if (t->frozen)
        return;
    vt_optimizer_kinds[o->config.kind].add_state(o, i);
    if (o->config.average != VT_AVERAGE_NONE)
        o->rows[i].average = vt_optimizer_add_state(o, i, "average", VT_F32, t->n_dims, t->dims);
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
    o->watched = vt_xcalloc(n, sizeof *o->watched);
    o->host_sums = vt_xcalloc(3 * n, sizeof *o->host_sums);
    for (int i = 0; i < n_params; i++)
        add_param(o, i);
    return VT_OK;
}

static size_t state_bytes(const vt_state_tensor *s)
{
    return (size_t)s->count * (s->type == VT_BF16 ? sizeof(uint16_t) : sizeof(float));
}

void vt_optimizer_place(vt_optimizer *o, vt_arena *arena)
{
    for (int i = 0; i < o->n_state; i++) {
        vt_state_tensor *s = &o->state[i];
        s->data = vt_arena_take(arena, s->count, s->type == VT_BF16 ? sizeof(uint16_t) : sizeof(float));
    }
    o->square_sums = vt_arena_take(arena, 3 * (int64_t)o->n_params, sizeof(double));
}

void vt_optimizer_release(vt_optimizer *o)
{
    free(o->rows);
    free(o->state);
    free(o->watched);
    free(o->host_sums);
    *o = (vt_optimizer){0};
}

vt_state_size vt_optimizer_state_size(const vt_optimizer *o)
{
    vt_state_size size = {0};
    for (int i = 0; i < o->n_params; i++) {
        size.parameters += (size_t)o->params[i].count * sizeof(float);
        if (o->rows[i].average >= 0)
            size.averages += state_bytes(&o->state[o->rows[i].average]);
    }
    for (int i = 0; i < o->n_state; i++)
        size.moments += state_bytes(&o->state[i]);
    size.moments -= size.averages;
    return size;
}

/* The gradient's norm and the clip factor; a gradient that is not finite is named in bad_param. */
static void measure_gradients(vt_optimizer *o, const vt_backend *be, vt_step_report *report)
{
    double total = 0.0;
    for (int i = 0; i < o->n_params; i++) {
        const vt_tensor *p = &o->params[i];
        if (!p->frozen)
            vt_run(be, sum_squares, .count = p->count, .type = p->grad_type, .x = p->grad, .sum = &o->square_sums[i]);
    }
    vt_device_read(be->device, o->host_sums, o->square_sums, (size_t)o->n_params * sizeof *o->host_sums);

    *report = (vt_step_report){.clip_scale = 1.0, .bad_param = -1};
    for (int i = 0; i < o->n_params; i++) {
        if (o->params[i].frozen)
            continue;
        if (!isfinite(o->host_sums[i]) && report->bad_param < 0)
            report->bad_param = i;
        total += o->host_sums[i];
    }
    report->grad_norm = sqrt(total);
    report->clipped = o->config.clip > 0.0 && report->grad_norm >= o->config.clip;
    if (report->clipped)
        report->clip_scale = o->config.clip / report->grad_norm;
}

/* The numbers that people watch, after the updates. */
static void watch(vt_optimizer *o, const vt_backend *be)
{
    int n = o->n_params;
    for (int i = 0; i < n; i++)
        vt_run(be, sum_squares, .count = o->params[i].count, .x = o->params[i].value,
               .sum = &o->square_sums[2 * n + i]);
    vt_device_read(be->device, o->host_sums, o->square_sums, 3 * (size_t)n * sizeof *o->host_sums);
    for (int i = 0; i < n; i++) {
        bool moves = !o->params[i].frozen;
        o->watched[i] = (vt_watched){.grad_norm = moves ? sqrt(o->host_sums[i]) : 0.0,
                                     .change_norm = moves ? sqrt(o->host_sums[n + i]) : 0.0,
                                     .value_norm = sqrt(o->host_sums[2 * n + i])};
    }
}

void vt_optimizer_step(vt_optimizer *o, const vt_backend *be, int64_t t, double s, bool watched, vt_step_report *report)
{
    assert(t >= 0 && !o->swapped);
    measure_gradients(o, be, report);
    if (report->bad_param >= 0)
        return;
    const struct vt_update u = {
        .backend = be, .t = t, .rate = s * o->config.lr, .grad_scale = (float)report->clip_scale, .watch = watched};
    for (int i = 0; i < o->n_params; i++)
        if (!o->params[i].frozen)
            vt_optimizer_kinds[o->config.kind].update(o, &u, i);
    if (o->config.average != VT_AVERAGE_NONE)
        vt_average_update(o, be, t);
    if (watched)
        watch(o, be);
}
