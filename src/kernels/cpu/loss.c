/* Sigmoid cross-entropy and its gradient (kernels/ops.h), a sample at a time.
 *
 * With e = exp(-|z|): softplus(z) = max(z, 0) + log1p(e), and the logistic function is 1 / (1 + e) for z >= 0 and
 * e / (1 + e) below, so neither overflows nor cancels. The sum over classes runs over lanes, then over their total. */
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

typedef struct {
    const vt_sigmoid_xent_args *a;
    int64_t samples_per_job;
} xent_plan;

/* The signs t of VW classes from c on. */
VT_INLINE vf signs(int64_t c, int64_t label)
{
    int64_t lane = label - c;
    return lane >= 0 && lane < VW ? vf_load(sign_of_label + VW - lane) : vf_set1(1.0F);
}

/* The losses softplus(t z) of a vector; *slope receives their derivatives with respect to z, t sigmoid(t z). For the
 * label's class that is -sigmoid(-z) = sigmoid(z) - 1, without the cancellation. */
VT_INLINE vf xent_vec(vf z, vf t, vf *slope)
{
    vf tz = vf_mul(t, z), one = vf_set1(1.0F);
    vf e = vf_exp(vf_sub(vf_zero(), vf_abs(tz)));
    vf logistic = vf_div(vf_if_negative(tz, e, one), vf_add(one, e));
    *slope = vf_mul(t, logistic);
    return vf_add(vf_max(vf_zero(), tz), vf_log1p(e));
}

static void xent_sample(const vt_sigmoid_xent_args *a, int64_t b)
{
    const float *z = a->logits + b * a->classes;
    float *dz = a->dlogits ? a->dlogits + b * a->classes : NULL;
    const vf weight = vf_set1(a->weight);
    vf sum = vf_zero(), slope;
    int64_t c = 0;
    for (; c + VW <= a->classes; c += VW) {
        sum = vf_add(sum, xent_vec(vf_load(z + c), signs(c, a->labels[b]), &slope));
        if (dz)
            vf_store(dz + c, vf_mul(weight, slope));
    }
    if (c < a->classes) {
        const int lanes = (int)(a->classes - c);
        float loss[VW] = {0};
        vf_store_n(loss, lanes, xent_vec(vf_load_n(z + c, lanes), signs(c, a->labels[b]), &slope));
        sum = vf_add(sum, vf_load(loss));
        if (dz)
            vf_store_n(dz + c, lanes, vf_mul(weight, slope));
    }
    a->loss[b] = a->weight * vf_sum(sum);
}

static void xent_job(void *context, int64_t job, int thread)
{
    const xent_plan *p = context;
    (void)thread;
    const int64_t end = min_i64(p->a->samples, (job + 1) * p->samples_per_job);
    for (int64_t b = job * p->samples_per_job; b < end; b++)
        xent_sample(p->a, b);
}

void VT_KERNEL(sigmoid_xent)(const vt_exec *ex, const vt_sigmoid_xent_args *a)
{
    xent_plan p = {.a = a, .samples_per_job = max_i64(1, JOB_FLOATS / a->classes)};
    vt_pool_run(ex->pool, ceil_div(a->samples, p.samples_per_job), xent_job, &p);
}
