/* Reference kernels: linear layers, forward and backward, with the tanh form of GELU
 * (Hendrycks & Gimpel 2016, section 2) in their epilogues. */
#include "base/math.h"
#include "kernels/ref/ref.h"

static const double sqrt_2_over_pi = 0.79788456080286535588;
static const double cubic = 0.044715;

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

void vt_ref_linear_fwd(const vt_exec *ex, const vt_linear_fwd_args *a)
{
    (void)ex;
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t o = 0; o < a->out; o++) {
            double z = 0;
            for (int64_t i = 0; i < a->in; i++)
                z += (double)a->x[r * a->in + i] * a->w[o * a->in + i];
            if (a->bias)
                z += a->bias[o];
            if (a->pre)
                a->pre[r * a->out + o] = (float)z;
            double y = a->act == VT_ACT_GELU_TANH ? gelu(z) : z;
            if (a->residual)
                y += a->residual[r % a->residual_rows * a->out + o];
            a->y[r * a->out + o] = (float)y;
        }
}

void vt_ref_linear_dx(const vt_exec *ex, const vt_linear_dx_args *a)
{
    (void)ex;
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t i = 0; i < a->in; i++) {
            double sum = 0;
            for (int64_t o = 0; o < a->out; o++)
                sum += (double)a->dy[r * a->out + o] * a->w[o * a->in + i];
            if (a->pre)
                sum *= gelu_slope(a->pre[r * a->in + i]);
            a->dx[r * a->in + i] = (float)sum;
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
        sum += (double)a->dy[r * a->out + e->o] * a->x[r * a->in + e->i];
    return sum;
}

static double dbias_term(const void *context, int64_t b)
{
    const dw_element *e = context;
    const vt_linear_dw_args *a = e->a;
    double sum = 0;
    for (int64_t r = b * a->tokens; r < (b + 1) * a->tokens; r++)
        sum += a->dy[r * a->out + e->o];
    return sum;
}

void vt_ref_linear_dw(const vt_exec *ex, const vt_linear_dw_args *a)
{
    (void)ex;
    for (int64_t o = 0; o < a->out; o++) {
        for (int64_t i = 0; i < a->in; i++) {
            const dw_element e = {a, o, i};
            const double sum = vt_ref_sum_over_samples(a->samples, a->slices, dw_term, &e);
            float *dw = &a->dw[o * a->in + i];
            *dw = vt_ref_stored(*dw, sum, a->accumulate);
        }
        if (a->dbias) {
            const dw_element e = {a, o, 0};
            const double sum = vt_ref_sum_over_samples(a->samples, a->slices, dbias_term, &e);
            a->dbias[o] = vt_ref_stored(a->dbias[o], sum, a->accumulate);
        }
    }
}
