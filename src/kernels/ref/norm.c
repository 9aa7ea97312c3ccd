/* Reference kernels: layer normalization, forward and backward (Ba et al. 2016, section 3), of rows and of heads. */
#include <math.h>

#include "kernels/ref/ref.h"

void vt_ref_layernorm_fwd(const vt_exec *ex, const vt_layernorm_fwd_args *a)
{
    (void)ex;
    const int64_t n = a->cols;
    for (int64_t r = 0; r < a->rows; r++) {
        const float *x = a->x + r * n;
        double mean = 0, var = 0;
        for (int64_t c = 0; c < n; c++)
            mean += x[c];
        mean /= (double)n;
        for (int64_t c = 0; c < n; c++)
            var += (x[c] - mean) * (x[c] - mean);
        var /= (double)n;

        const double rstd = 1 / sqrt(var + a->eps);
        for (int64_t c = 0; c < n; c++)
            vt_ref_put(a->y, a->type, r * n + c, (x[c] - mean) * rstd * a->gamma[c] + a->beta[c]);
        a->mean[r] = (float)mean;
        a->rstd[r] = (float)rstd;
    }
}

/* One column of the sums over samples. */
typedef struct {
    const vt_layernorm_bwd_args *a;
    int64_t c;
} norm_column;

static double dy_at(const vt_layernorm_bwd_args *a, int64_t r, int64_t c)
{
    return vt_ref_at(a->dy, a->type, r * a->cols + c);
}

static double xhat(const vt_layernorm_bwd_args *a, int64_t r, int64_t c)
{
    return ((double)a->x[r * a->cols + c] - a->mean[r]) * a->rstd[r];
}

static double dgamma_term(const void *context, int64_t b)
{
    const norm_column *e = context;
    const vt_layernorm_bwd_args *a = e->a;
    double sum = 0;
    for (int64_t r = b * a->tokens; r < (b + 1) * a->tokens; r++)
        sum += dy_at(a, r, e->c) * xhat(a, r, e->c);
    return sum;
}

static double dbeta_term(const void *context, int64_t b)
{
    const norm_column *e = context;
    const vt_layernorm_bwd_args *a = e->a;
    double sum = 0;
    for (int64_t r = b * a->tokens; r < (b + 1) * a->tokens; r++)
        sum += dy_at(a, r, e->c);
    return sum;
}

void vt_ref_layernorm_bwd(const vt_exec *ex, const vt_layernorm_bwd_args *a)
{
    (void)ex;
    const int64_t n = a->cols;
    /* The sums come first: dx may lie over dy. */
    for (int64_t c = 0; c < n; c++) {
        const norm_column e = {a, c};
        const double dgamma = vt_ref_sum_over_samples(a->samples, a->slices, dgamma_term, &e);
        const double dbeta = vt_ref_sum_over_samples(a->samples, a->slices, dbeta_term, &e);
        vt_ref_put_sum(a->dgamma, a->grad_type, c, dgamma, a->accumulate);
        vt_ref_put_sum(a->dbeta, a->grad_type, c, dbeta, a->accumulate);
    }
    for (int64_t r = 0; r < a->samples * a->tokens; r++) {
        double mean_g = 0, mean_gx = 0;
        for (int64_t c = 0; c < n; c++) {
            const double g = dy_at(a, r, c) * a->gamma[c];
            mean_g += g;
            mean_gx += g * xhat(a, r, c);
        }
        mean_g /= (double)n;
        mean_gx /= (double)n;
        for (int64_t c = 0; c < n; c++) {
            const double g = dy_at(a, r, c) * a->gamma[c];
            double dx = a->rstd[r] * (g - mean_g - xhat(a, r, c) * mean_gx);
            if (a->dresidual)
                dx += a->dresidual[r * n + c];
            a->dx[r * n + c] = (float)dx;
            if (a->dx_bf16)
                a->dx_bf16[r * n + c] = vt_bf16_from_f32((float)dx);
        }
    }
}

void vt_ref_headnorm_fwd(const vt_exec *ex, const vt_headnorm_fwd_args *a)
{
    (void)ex;
    const int64_t K = a->head_width;
    for (int64_t i = 0; i < a->rows * a->heads; i++) {
        const int64_t at = i / a->heads * a->row_stride + i % a->heads * K;
        double mean = 0, var = 0;
        for (int64_t k = 0; k < K; k++)
            mean += vt_ref_at(a->y, a->type, at + k) / (double)K;
        for (int64_t k = 0; k < K; k++) {
            const double difference = vt_ref_at(a->y, a->type, at + k) - mean;
            var += difference * difference / (double)K;
        }
        const double rstd = 1 / sqrt(var + a->eps);
        for (int64_t k = 0; k < K; k++) {
            const double x = vt_ref_at(a->y, a->type, at + k);
            if (a->saved)
                vt_ref_put(a->saved, a->type, i * K + k, x);
            vt_ref_put(a->y, a->type, at + k, (x - mean) * rstd * a->gamma[k] + a->beta[k]);
        }
        if (a->mean) {
            a->mean[i] = (float)mean;
            a->rstd[i] = (float)rstd;
        }
    }
}

/* One element of a head in the sums over samples and heads. */
typedef struct {
    const vt_headnorm_bwd_args *a;
    int64_t k;
    int times_xhat;
} head_column;

static double head_dy(const vt_headnorm_bwd_args *a, int64_t i, int64_t k)
{
    return vt_ref_at(a->dy, a->type, i / a->heads * a->row_stride + i % a->heads * a->head_width + k);
}

static double head_xhat(const vt_headnorm_bwd_args *a, int64_t i, int64_t k)
{
    return (vt_ref_at(a->x, a->type, i * a->head_width + k) - a->mean[i]) * a->rstd[i];
}

static double head_term(const void *context, int64_t b)
{
    const head_column *e = context;
    const vt_headnorm_bwd_args *a = e->a;
    const int64_t n = a->tokens * a->heads;
    double sum = 0;
    for (int64_t i = b * n; i < (b + 1) * n; i++)
        sum += head_dy(a, i, e->k) * (e->times_xhat ? head_xhat(a, i, e->k) : 1);
    return sum;
}

void vt_ref_headnorm_bwd(const vt_exec *ex, const vt_headnorm_bwd_args *a)
{
    (void)ex;
    const int64_t K = a->head_width;
    for (int64_t k = 0; k < K; k++) { /* the sums come first: dx lies over dy */
        const head_column gamma = {a, k, 1}, beta = {a, k, 0};
        const double dgamma = vt_ref_sum_over_samples(a->samples, a->slices, head_term, &gamma);
        const double dbeta = vt_ref_sum_over_samples(a->samples, a->slices, head_term, &beta);
        vt_ref_put_sum(a->dgamma, a->grad_type, k, dgamma, a->accumulate);
        vt_ref_put_sum(a->dbeta, a->grad_type, k, dbeta, a->accumulate);
    }
    for (int64_t i = 0; i < a->samples * a->tokens * a->heads; i++) {
        double mean_g = 0, mean_gx = 0;
        for (int64_t k = 0; k < K; k++) {
            const double g = head_dy(a, i, k) * a->gamma[k];
            mean_g += g / (double)K;
            mean_gx += g * head_xhat(a, i, k) / (double)K;
        }
        const int64_t at = i / a->heads * a->row_stride + i % a->heads * K;
        for (int64_t k = 0; k < K; k++) {
            const double g = head_dy(a, i, k) * a->gamma[k];
            vt_ref_put(a->dy, a->type, at + k, a->rstd[i] * (g - mean_g - head_xhat(a, i, k) * mean_gx));
        }
    }
}
