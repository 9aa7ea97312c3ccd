/* Reference kernels: linear layers, forward and backward, with GELU in its three forms
 * (Hendrycks & Gimpel 2016, section 2) and tanh in their epilogues; the scale of columns (Touvron et al. 2021, section
 * 2) and the gate (Shazeer 2020, section 2) behind them. */
#include <math.h>

#include "base/math.h"
#include "kernels/ref/ref.h"

static const double sqrt_2_over_pi = 0.79788456080286535588;
static const double cubic = 0.044715;
static const double sqrt_half = 0.70710678118654752440;
static const double quick = 1.702;
static const double one_over_sqrt_2_pi = 0.39894228040143267794;

/* gelu(z) = 0.5 z (1 + tanh(t)),  t = sqrt(2/pi) (z + 0.044715 z^3) */
static double gelu(double z)
{
    return 0.5 * z * (1 + vt_tanh(sqrt_2_over_pi * (z + cubic * z * z * z)));
}

/* gelu'(z) = 0.5 (1 + tanh(t)) + 0.5 z (1 - tanh(t)^2) dt/dz */
static double gelu_slope(double z)
{
    const double th = vt_tanh(sqrt_2_over_pi * (z + cubic * z * z * z));
    return 0.5 * (1 + th) + 0.5 * z * (1 - th * th) * sqrt_2_over_pi * (1 + 3 * cubic * z * z);
}

static double logistic(double z)
{
    const double e = vt_exp(-fabs(z));
    return z >= 0 ? 1 / (1 + e) : e / (1 + e);
}

/* d/dz of z s(factor z), which is silu for factor 1. */
static double gate_slope(double z, double factor)
{
    const double s = logistic(factor * z);
    return s + factor * z * s * logistic(-factor * z);
}

/* The standard normal distribution of z, so that gelu itself is z times it, and gelu' adds z times its density. */
static double normal_cdf(double z)
{
    return 0.5 * (1 + vt_erf(sqrt_half * z));
}

static double activation(vt_act act, double z)
{
    switch (act) {
    case VT_ACT_NONE:
        break;
    case VT_ACT_GELU_TANH:
        return gelu(z);
    case VT_ACT_GELU_ERF:
        return z * normal_cdf(z);
    case VT_ACT_GELU_QUICK:
        return z * logistic(quick * z);
    case VT_ACT_TANH:
        return vt_tanh(z);
    }
    return z;
}

static double activation_slope(vt_act act, double z)
{
    switch (act) {
    case VT_ACT_NONE:
        break;
    case VT_ACT_GELU_TANH:
        return gelu_slope(z);
    case VT_ACT_GELU_ERF:
        return normal_cdf(z) + z * one_over_sqrt_2_pi * vt_exp(-0.5 * z * z);
    case VT_ACT_GELU_QUICK:
        return gate_slope(z, quick);
    case VT_ACT_TANH:
        return 1 - vt_tanh(z) * vt_tanh(z);
    }
    return 1;
}

/* A weight as a product of that type takes it. */
static double weight(const float *w, vt_real type, int64_t i)
{
    return type == VT_BF16 ? (double)vt_bf16_to_f32(vt_bf16_from_f32(w[i])) : (double)w[i];
}

void vt_ref_linear_fwd(const vt_exec *ex, const vt_linear_fwd_args *a)
{
    (void)ex;
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t o = 0; o < a->out; o++) {
            double z = 0;
            for (int64_t i = 0; i < a->in; i++)
                z += vt_ref_at(a->x, a->type, r * a->in + i) * weight(a->w, a->type, o * a->in + i);
            if (a->bias)
                z += a->bias[o];
            if (a->pre)
                vt_ref_put(a->pre, a->type, r * a->out + o, z);
            double y = activation(a->act, z);
            if (a->scale)
                y *= a->scale[o];
            if (a->residual)
                y += a->residual[r % a->residual_rows * a->out + o];
            vt_ref_put(a->y, a->residual ? VT_F32 : a->type, r * a->out + o, y);
        }
}

void vt_ref_linear_dx(const vt_exec *ex, const vt_linear_dx_args *a)
{
    (void)ex;
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t i = 0; i < a->in; i++) {
            double sum = 0;
            for (int64_t o = 0; o < a->out; o++)
                sum += vt_ref_at(a->dy, a->type, r * a->out + o) * weight(a->w, a->type, o * a->in + i);
            if (a->pre)
                sum *= activation_slope(a->act, vt_ref_at(a->pre, a->type, r * a->in + i));
            vt_ref_put(a->dx, a->type, r * a->in + i, sum);
        }
}

/* One element of a gradient: the products of dy's column o with x's column i, or dy's column alone. */
typedef struct {
    const vt_linear_dw_args *a;
    int64_t o, i;
} dw_element;

static double dw_term(const void *context, int64_t b)
{
    const dw_element *e = context;
    const vt_linear_dw_args *a = e->a;
    double sum = 0;
    for (int64_t r = b * a->tokens; r < (b + 1) * a->tokens; r++)
        sum += vt_ref_at(a->dy, a->type, r * a->out + e->o) * vt_ref_at(a->x, a->type, r * a->in + e->i);
    return sum;
}

static double dbias_term(const void *context, int64_t b)
{
    const dw_element *e = context;
    const vt_linear_dw_args *a = e->a;
    double sum = 0;
    for (int64_t r = b * a->tokens; r < (b + 1) * a->tokens; r++)
        sum += vt_ref_at(a->dy, a->type, r * a->out + e->o);
    return sum;
}

void vt_ref_linear_dw(const vt_exec *ex, const vt_linear_dw_args *a)
{
    (void)ex;
    for (int64_t o = 0; o < a->out; o++) {
        for (int64_t i = 0; i < a->in; i++) {
            const dw_element e = {a, o, i};
            const double sum = vt_ref_sum_over_samples(a->samples, a->slices, dw_term, &e);
            vt_ref_put_sum(a->dw, a->grad_type, o * a->in + i, sum, a->accumulate);
        }
        if (a->dbias) {
            const dw_element e = {a, o, 0};
            const double sum = vt_ref_sum_over_samples(a->samples, a->slices, dbias_term, &e);
            vt_ref_put_sum(a->dbias, a->grad_type, o, sum, a->accumulate);
        }
    }
}

typedef struct {
    const vt_scale_bwd_args *a;
    int64_t c;
} scale_column;

static double dscale_term(const void *context, int64_t b)
{
    const scale_column *e = context;
    const vt_scale_bwd_args *a = e->a;
    double sum = 0;
    for (int64_t r = b * a->tokens; r < (b + 1) * a->tokens; r++)
        sum += vt_ref_at(a->dy, a->type, r * a->cols + e->c) * vt_ref_at(a->z, a->type, r * a->cols + e->c);
    return sum;
}

void vt_ref_scale_bwd(const vt_exec *ex, const vt_scale_bwd_args *a)
{
    (void)ex;
    for (int64_t c = 0; c < a->cols; c++) { /* the sums come first: dz may lie over dy */
        const scale_column e = {a, c};
        const double sum = vt_ref_sum_over_samples(a->samples, a->slices, dscale_term, &e);
        vt_ref_put_sum(a->dscale, a->grad_type, c, sum, a->accumulate);
    }
    for (int64_t i = 0; i < a->samples * a->tokens * a->cols; i++)
        vt_ref_put(a->dz, a->type, i, vt_ref_at(a->dy, a->type, i) * a->scale[i % a->cols]);
}

void vt_ref_swiglu_fwd(const vt_exec *ex, const vt_swiglu_fwd_args *a)
{
    (void)ex;
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t c = 0; c < a->cols; c++) {
            const double gate = vt_ref_at(a->x, a->type, 2 * r * a->cols + c);
            const double value = vt_ref_at(a->x, a->type, (2 * r + 1) * a->cols + c);
            vt_ref_put(a->y, a->type, r * a->cols + c, gate * logistic(gate) * value);
        }
}

void vt_ref_swiglu_bwd(const vt_exec *ex, const vt_swiglu_bwd_args *a)
{
    (void)ex;
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t c = 0; c < a->cols; c++) {
            const int64_t at = 2 * r * a->cols + c;
            const double gate = vt_ref_at(a->x, a->type, at), value = vt_ref_at(a->x, a->type, at + a->cols);
            const double dy = vt_ref_at(a->dy, a->type, r * a->cols + c);
            vt_ref_put(a->dx, a->type, at, dy * value * gate_slope(gate, 1));
            vt_ref_put(a->dx, a->type, at + a->cols, dy * gate * logistic(gate));
        }
}
