/* Cross-entropy and its gradient (kernels/ops.h), a sample at a time.
 *
 * With e = exp(-|z|): softplus(z) = max(z, 0) + log1p(e), and the logistic function is 1 / (1 + e) for z >= 0 and
 * e / (1 + e) below, so neither overflows nor cancels. Sums over classes run over lanes, then over their total. The
 * common case, sigmoid with one class a sample, needs no targets in memory; all others write a row of them first. */
#include "kernels/cpu/kernel.h"
#include "kernels/cpu/vmath.h"

#define JOB_FLOATS 4096

/* One -1 among ones: a vector loaded at sign_of_label + VW - l has it in lane l. */
static const float sign_of_label[2 * VW + 1] = {
#define ONES 1, 1, 1, 1
    ONES,
#if VW >= 8
    ONES,
#endif
#if VW >= 16
    ONES, ONES,
#endif
    -1,   ONES,
#if VW >= 8
    ONES,
#endif
#if VW >= 16
    ONES, ONES,
#endif
};

/* The signs t of VW classes from c on. */
VT_INLINE vf signs(int64_t c, int64_t label)
{
    int64_t lane = label - c;
    return lane >= 0 && lane < VW ? vf_load(sign_of_label + VW - lane) : vf_set1(1.0F);
}

/* The losses softplus(t z) of a vector; *slope receives their derivatives with respect to z, t sigmoid(t z). For the
 * label's class that is -sigmoid(-z) = sigmoid(z) - 1, without the cancellation. */
VT_INLINE vf one_label_vec(vf z, vf t, vf *slope)
{
    vf tz = vf_mul(t, z), one = vf_set1(1.0F);
    vf e = vf_exp(vf_sub(vf_zero(), vf_abs(tz)));
    vf logistic = vf_div(vf_if_negative(tz, e, one), vf_add(one, e));
    *slope = vf_mul(t, logistic);
    return vf_add(vf_max(vf_zero(), tz), vf_log1p(e));
}

/* sigmoid, one class a sample, no more. */
static void one_label_sample(const vt_cross_entropy_args *a, int64_t b)
{
    const float *z = a->logits + b * a->classes;
    float *dz = a->dlogits ? a->dlogits + b * a->classes : NULL;
    const vf weight = vf_set1(a->weight);
    vf sum = vf_zero(), slope;
    int64_t c = 0;
    for (; c + VW <= a->classes; c += VW) {
        sum = vf_add(sum, one_label_vec(vf_load(z + c), signs(c, a->labels[b]), &slope));
        if (dz)
            vf_store(dz + c, vf_mul(weight, slope));
    }
    if (c < a->classes) {
        const int lanes = (int)(a->classes - c);
        float loss[VW] = {0};
        vf_store_n(loss, lanes, one_label_vec(vf_load_n(z + c, lanes), signs(c, a->labels[b]), &slope));
        sum = vf_add(sum, vf_load(loss));
        if (dz)
            vf_store_n(dz + c, lanes, vf_mul(weight, slope));
    }
    a->loss[b] = a->weight * vf_sum(sum);
}

static void add_labels(const vt_cross_entropy_args *a, int64_t b, float share, float *target)
{
    const int32_t *labels = a->labels + b * a->label_width;
    for (int64_t i = 0; i < a->label_width; i++)
        if (labels[i] >= 0)
            target[labels[i]] += share;
}

/* The targets y of a sample. */
static void fill_target(const vt_cross_entropy_args *a, int64_t b, float *target)
{
    const float off = a->smoothing > 0 ? a->smoothing / (float)(a->classes - 1) : 0;
    const float on = 1.0F - a->smoothing - off;
    for (int64_t c = 0; c < a->classes; c++)
        target[c] = off;
    add_labels(a, b, on * (1.0F - a->partner_share), target);
    if (a->partner_share > 0)
        add_labels(a, b - 1, on * a->partner_share, target);
}

/* Class weights of n classes from c on, zero in the other lanes. */
VT_INLINE vf class_weights(const vt_cross_entropy_args *a, int64_t c, int n)
{
    return a->class_weights ? load_real(a->class_weights, VT_F32, c, n) : vf_set1(1.0F);
}

/* The loss of n classes with targets y, y softplus(-z) + (1-y) softplus(z) = |z| (z < 0 ? y : 1-y) + log1p(e); *slope
 * receives (1-y) sigmoid(z) - y sigmoid(-z), which is sigmoid(z) - y without cancellation. */
VT_INLINE vf sigmoid_vec(vf z, vf y, vf *slope)
{
    const vf one = vf_set1(1.0F), no = vf_sub(one, y), size = vf_abs(z);
    const vf e = vf_exp(vf_sub(vf_zero(), size));
    const vf rising = vf_if_negative(z, e, one), falling = vf_if_negative(z, one, e);
    *slope = vf_div(vf_sub(vf_mul(no, rising), vf_mul(y, falling)), vf_add(one, e));
    return vf_fma(size, vf_if_negative(z, y, no), vf_log1p(e));
}

static void sigmoid_sample(const vt_cross_entropy_args *a, int64_t b, float *target)
{
    const float *z = a->logits + b * a->classes;
    float *dz = a->dlogits ? a->dlogits + b * a->classes : NULL;
    const vf weight = vf_set1(a->weight);
    vf sum = vf_zero(), slope;
    fill_target(a, b, target);
    for (int64_t c = 0; c < a->classes; c += VW) {
        const int n = (int)min_i64(VW, a->classes - c);
        const vf v = class_weights(a, c, n);
        const vf loss = sigmoid_vec(load_real(z, VT_F32, c, n), load_real(target, VT_F32, c, n), &slope);
        sum = vf_add(sum, first_lanes(vf_mul(v, loss), n));
        if (dz)
            store_real(dz, VT_F32, c, n, vf_mul(weight, vf_mul(v, slope)));
    }
    a->loss[b] = a->weight * vf_sum(sum);
}

/* The largest of n numbers; a NaN need not show. */
static float largest(const float *x, int64_t n)
{
    vf max = vf_set1(x[0]);
    float lanes[VW];
    int64_t i = 0;
    for (; i + VW <= n; i += VW)
        max = vf_max(max, vf_load(x + i));
    vf_store(lanes, max);
    for (int l = 1; l < VW; l++)
        lanes[0] = lanes[l] > lanes[0] ? lanes[l] : lanes[0];
    for (; i < n; i++)
        lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    return lanes[0];
}

/* Exponentials wait in dlogits, and targets with their weights in their place, for the sums over classes. */
static void softmax_sample(const vt_cross_entropy_args *a, int64_t b, float *target)
{
    const float *z = a->logits + b * a->classes;
    float *dz = a->dlogits ? a->dlogits + b * a->classes : NULL;
    const vf max = vf_set1(largest(z, a->classes));
    vf exps = vf_zero(), targets = vf_zero(), below = vf_zero();
    fill_target(a, b, target);
    for (int64_t c = 0; c < a->classes; c += VW) {
        const int n = (int)min_i64(VW, a->classes - c);
        const vf gap = vf_sub(max, load_real(z, VT_F32, c, n));
        const vf t = vf_mul(class_weights(a, c, n), load_real(target, VT_F32, c, n));
        const vf e = vf_exp(vf_sub(vf_zero(), gap));
        exps = vf_add(exps, first_lanes(e, n));
        targets = vf_add(targets, t); /* lanes behind the last class are zero */
        below = vf_add(below, vf_mul(t, gap));
        store_real(target, VT_F32, c, n, t);
        if (dz)
            store_real(dz, VT_F32, c, n, e);
    }
    const float exp_sum = vf_sum(exps), target_sum = vf_sum(targets);
    float log_sum[VW];
    vf_store(log_sum, vf_log(vf_set1(exp_sum)));
    a->loss[b] = a->weight * (vf_sum(below) + target_sum * log_sum[0]);
    const vf weight = vf_set1(a->weight), share = vf_set1(target_sum / exp_sum);
    for (int64_t c = 0; dz && c < a->classes; c += VW) {
        const int n = (int)min_i64(VW, a->classes - c);
        const vf t = load_real(target, VT_F32, c, n);
        store_real(dz, VT_F32, c, n, vf_mul(weight, vf_sub(vf_mul(share, load_real(dz, VT_F32, c, n)), t)));
    }
}

typedef struct {
    const vt_cross_entropy_args *a;
    const vt_exec *ex;
    int64_t samples_per_job;
    int one_label;
} loss_plan;

static void loss_job(void *context, int64_t job, int thread)
{
    const loss_plan *p = context;
    const int64_t end = min_i64(p->a->samples, (job + 1) * p->samples_per_job);
    for (int64_t b = job * p->samples_per_job; b < end; b++) {
        if (p->one_label)
            one_label_sample(p->a, b);
        else if (p->a->kind == VT_LOSS_SIGMOID)
            sigmoid_sample(p->a, b, scratch_of(p->ex, thread));
        else
            softmax_sample(p->a, b, scratch_of(p->ex, thread));
    }
}

void VT_KERNEL(cross_entropy)(const vt_exec *ex, const vt_cross_entropy_args *a)
{
    loss_plan p = {.a = a, .ex = ex, .samples_per_job = max_i64(1, JOB_FLOATS / a->classes)};
    p.one_label = a->kind == VT_LOSS_SIGMOID && a->label_width == 1 && !(a->partner_share > 0) && !(a->smoothing > 0) &&
                  !a->class_weights;
    vt_pool_run(ex->pool, ceil_div(a->samples, p.samples_per_job), loss_job, &p);
}

/* A row of targets. */
int64_t VT_FOR_ISA(vt_cpu_loss_scratch)(const vt_limits *limits)
{
    return limits->width;
}
