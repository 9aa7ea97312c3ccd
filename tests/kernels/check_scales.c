/* Rows of the checker for what stands between the products of a block: a scale of columns, a gate, norms of heads. */
#include <math.h>
#include <stdlib.h>

#include "base/text.h"
#include "check.h"
#include "kernels/ref/ref.h"

static const int slices_of[] = {8, 1, 2, 4, 64};

static double work_3(const int64_t *d)
{
    return (double)d[0] * (double)d[1] * (double)d[2];
}

static double work_2(const int64_t *d)
{
    return (double)d[0] * (double)d[1];
}

static double work_4(const int64_t *d)
{
    return (double)d[0] * (double)d[1] * (double)d[2] * (double)d[3];
}

/* A vector of sums that a case writes or adds to. */
static void *make_sum(check_case *c, const char *name, vt_real type, int accumulate, int64_t count)
{
    return accumulate ? check_inout(c, name, count, 0, 3) : check_out_real(c, name, type, count);
}

CHECK_CALL(scale_bwd)

static void make_scale_bwd(check_case *c)
{
    const int64_t samples = c->dims[0], tokens = c->dims[1], cols = c->dims[2], count = samples * tokens * cols;
    vt_scale_bwd_args *a = &c->args.scale_bwd;
    *a = (vt_scale_bwd_args){.samples = samples, .tokens = tokens, .cols = cols, .type = check_choose_type(c, "bf16")};
    a->grad_type = check_choose_type(c, "grad_bf16");
    a->slices = slices_of[check_choose(c, "slices_of", 5)];
    a->accumulate = a->grad_type == VT_F32 && check_choose(c, "accumulate", 2);
    c->limits.slices = a->slices, c->limits.norm_width = cols;
    a->z = check_in_real(c, "z", a->type, count, 0, 1);
    a->scale = check_in(c, "scale", cols, 0, 1);
    if (check_choose(c, "in_place", 2)) {
        a->dz = check_inout_real(c, "dz", a->type, count, 0, 1);
        a->dy = a->dz;
    } else {
        a->dy = check_in_real(c, "dy", a->type, count, 0, 1);
        a->dz = check_out_real(c, "dz", a->type, count);
    }
    a->dscale = make_sum(c, "dscale", a->grad_type, a->accumulate, cols);
}

static void bound_scale_bwd(check_case *c)
{
    const vt_scale_bwd_args *a = &c->args.scale_bwd;
    const int64_t rows = a->samples * a->tokens;
    double *bound = check_bound(c, "dz"), *sum_bound = check_bound(c, "dscale");
    for (int64_t i = 0; i < rows * a->cols; i++) {
        const double dz = vt_ref_at(a->dy, a->type, i) * a->scale[i % a->cols];
        bound[i] = check_rounded(a->type, dz, 2 * CHECK_U * fabs(dz));
    }
    for (int64_t i = 0; i < a->cols; i++) {
        double sum = a->accumulate ? (double)((const float *)a->dscale)[i] : 0, magnitude = fabs(sum);
        for (int64_t r = 0; r < rows; r++) {
            const double term = vt_ref_at(a->dy, a->type, r * a->cols + i) * vt_ref_at(a->z, a->type, r * a->cols + i);
            sum += term, magnitude += fabs(term);
        }
        sum_bound[i] = check_rounded(a->grad_type, sum, check_sum_error(rows + a->slices) * magnitude);
    }
}

CHECK_CALL(swiglu_fwd)

static void make_swiglu_fwd(check_case *c)
{
    const int64_t rows = c->dims[0], cols = c->dims[1];
    vt_swiglu_fwd_args *a = &c->args.swiglu_fwd;
    *a = (vt_swiglu_fwd_args){.rows = rows, .cols = cols, .type = check_choose_type(c, "bf16")};
    a->x = check_in_real(c, "x", a->type, rows * 2 * cols, 0, check_choose(c, "large", 2) ? 60 : 2);
    a->y = check_out_real(c, "y", a->type, rows * cols);
}

/* A relative error of the gate, and an absolute one far out in its tail. */
static double gate_error(double gate, double silu)
{
    return 16 * CHECK_U * fabs(silu) + 1e-30 * fabs(gate);
}

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

static void bound_swiglu_fwd(check_case *c)
{
    const vt_swiglu_fwd_args *a = &c->args.swiglu_fwd;
    double *bound = check_bound(c, "y");
    for (int64_t i = 0; i < a->rows * a->cols; i++) {
        const int64_t at = i / a->cols * 2 * a->cols + i % a->cols;
        const double gate = vt_ref_at(a->x, a->type, at), value = vt_ref_at(a->x, a->type, at + a->cols);
        const double silu = gate * logistic(gate);
        bound[i] = check_rounded(a->type, silu * value, gate_error(gate, silu) * fabs(value));
    }
}

CHECK_CALL(swiglu_bwd)

static void make_swiglu_bwd(check_case *c)
{
    const int64_t rows = c->dims[0], cols = c->dims[1];
    vt_swiglu_bwd_args *a = &c->args.swiglu_bwd;
    *a = (vt_swiglu_bwd_args){.rows = rows, .cols = cols, .type = check_choose_type(c, "bf16")};
    const double std = check_choose(c, "large", 2) ? 60 : 2;
    a->dy = check_in_real(c, "dy", a->type, rows * cols, 0, 1);
    if (check_choose(c, "in_place", 2)) {
        a->dx = check_inout_real(c, "dx", a->type, rows * 2 * cols, 0, std);
        a->x = a->dx;
    } else {
        a->x = check_in_real(c, "x", a->type, rows * 2 * cols, 0, std);
        a->dx = check_out_real(c, "dx", a->type, rows * 2 * cols);
    }
}

static void bound_swiglu_bwd(check_case *c)
{
    const vt_swiglu_bwd_args *a = &c->args.swiglu_bwd;
    double *bound = check_bound(c, "dx");
    for (int64_t i = 0; i < a->rows * a->cols; i++) {
        const int64_t at = i / a->cols * 2 * a->cols + i % a->cols;
        const double gate = vt_ref_at(a->x, a->type, at), value = vt_ref_at(a->x, a->type, at + a->cols);
        const double dy = vt_ref_at(a->dy, a->type, i), s = logistic(gate), slope = s + gate * s * logistic(-gate);
        bound[at] = check_rounded(a->type, dy * value * slope, 12 * CHECK_U * fabs(dy * value));
        bound[at + a->cols] = check_rounded(a->type, dy * gate * s, gate_error(gate, gate * s) * fabs(dy));
    }
}

CHECK_CALL(headnorm_fwd)

/* Where head i begins. */
static int64_t head_at(int64_t i, int64_t heads, int64_t width, int64_t row_stride)
{
    return i / heads * row_stride + i % heads * width;
}

/* What lies between rows must stay. */
static void bound_gaps(double *bound, int64_t rows, int64_t used, int64_t row_stride)
{
    for (int64_t r = 0; r + 1 < rows; r++)
        for (int64_t i = used; i < row_stride; i++)
            bound[r * row_stride + i] = -1;
}

static void make_headnorm_fwd(check_case *c)
{
    const int64_t rows = c->dims[0], heads = c->dims[1], width = c->dims[2];
    vt_headnorm_fwd_args *a = &c->args.headnorm_fwd;
    *a = (vt_headnorm_fwd_args){.rows = rows, .heads = heads, .head_width = width, .eps = 1e-6f};
    a->type = check_choose_type(c, "bf16");
    a->row_stride = check_choose(c, "apart", 2) ? heads * width + (int64_t)vt_rng_below(&c->rng, 9) : 3 * heads * width;
    a->gamma = check_in(c, "gamma", width, 1, 0.5);
    a->beta = check_in(c, "beta", width, 0, 1);
    a->y = check_inout_real(c, "y", a->type, (rows - 1) * a->row_stride + heads * width, 0.3, 1);
    if (!check_choose(c, "not_saved", 2)) {
        a->saved = check_out_real(c, "saved", a->type, rows * heads * width);
        a->mean = check_out(c, "mean", rows * heads);
        a->rstd = check_out(c, "rstd", rows * heads);
    }
}

static void bound_headnorm_fwd(check_case *c)
{
    const vt_headnorm_fwd_args *a = &c->args.headnorm_fwd;
    const int64_t n = a->head_width;
    double *bound = check_bound(c, "y"), *mean_bound = a->mean ? check_bound(c, "mean") : NULL;
    double *rstd_bound = a->mean ? check_bound(c, "rstd") : NULL;
    bound_gaps(bound, a->rows, a->heads * n, a->row_stride);
    for (int64_t i = 0; i < a->rows * a->heads; i++) {
        const int64_t at = head_at(i, a->heads, n, a->row_stride);
        double mean = 0, magnitude = 0, var = 0;
        for (int64_t k = 0; k < n; k++) {
            mean += vt_ref_at(a->y, a->type, at + k) / (double)n;
            magnitude += fabs(vt_ref_at(a->y, a->type, at + k)) / (double)n;
        }
        for (int64_t k = 0; k < n; k++)
            var += pow(vt_ref_at(a->y, a->type, at + k) - mean, 2) / (double)n;
        const double rstd = 1 / sqrt(var + a->eps), mean_error = check_sum_error(n) * magnitude;
        const double var_error = check_sum_error(n) * var + mean_error * mean_error;
        const double rstd_error = 0.5 * var_error / (var + a->eps) + 4 * CHECK_U; /* relative */
        if (a->mean) {
            mean_bound[i] = mean_error + 2 * CHECK_U * fabs(mean);
            rstd_bound[i] = rstd_error * rstd;
        }
        for (int64_t k = 0; k < n; k++) {
            const double x = vt_ref_at(a->y, a->type, at + k), slope = fabs(a->gamma[k] * rstd);
            const double scaled = slope * fabs(x - mean);
            const double error = slope * (mean_error + 2 * CHECK_U * (fabs(x) + fabs(mean))) +
                                 scaled * (rstd_error + 4 * CHECK_U) +
                                 2 * CHECK_U * (scaled + fabs((double)a->beta[k]));
            bound[at + k] = check_rounded(a->type, (x - mean) * rstd * a->gamma[k] + a->beta[k], error);
        }
    }
}

CHECK_CALL(headnorm_bwd)

static void make_headnorm_bwd(check_case *c)
{
    const int64_t samples = c->dims[0], tokens = c->dims[1], heads = c->dims[2], width = c->dims[3];
    const int64_t rows = samples * tokens;
    vt_headnorm_bwd_args *a = &c->args.headnorm_bwd;
    *a = (vt_headnorm_bwd_args){.samples = samples, .tokens = tokens, .heads = heads, .head_width = width};
    a->type = check_choose_type(c, "bf16");
    a->grad_type = check_choose_type(c, "grad_bf16");
    a->slices = slices_of[check_choose(c, "slices_of", 5)];
    a->accumulate = a->grad_type == VT_F32 && check_choose(c, "accumulate", 2);
    a->row_stride = check_choose(c, "apart", 2) ? heads * width + (int64_t)vt_rng_below(&c->rng, 9) : 3 * heads * width;
    c->limits.slices = a->slices, c->limits.norm_width = width;
    a->x = check_in_real(c, "x", a->type, rows * heads * width, 0.5, 1);
    a->gamma = check_in(c, "gamma", width, 1, 0.5);
    a->mean = check_in(c, "mean", rows * heads, 0.5, 0.1);
    a->rstd = check_in(c, "rstd", rows * heads, 1, 0.1);
    a->dy = check_inout_real(c, "dy", a->type, (rows - 1) * a->row_stride + heads * width, 0, 1);
    a->dgamma = make_sum(c, "dgamma", a->grad_type, a->accumulate, width);
    a->dbeta = make_sum(c, "dbeta", a->grad_type, a->accumulate, width);
}

static void bound_headnorm_dx(check_case *c)
{
    const vt_headnorm_bwd_args *a = &c->args.headnorm_bwd;
    const int64_t n = a->head_width, rows = a->samples * a->tokens;
    double *bound = check_bound(c, "dy");
    bound_gaps(bound, rows, a->heads * n, a->row_stride);
    for (int64_t i = 0; i < rows * a->heads; i++) {
        const int64_t at = head_at(i, a->heads, n, a->row_stride);
        double means[2] = {0}, sizes[2] = {0}; /* of g and g * xhat, and of their magnitudes */
        for (int64_t k = 0; k < n; k++) {
            const double g = vt_ref_at(a->dy, a->type, at + k) * a->gamma[k];
            const double xhat = (vt_ref_at(a->x, a->type, i * n + k) - a->mean[i]) * a->rstd[i];
            means[0] += g / (double)n, means[1] += g * xhat / (double)n;
            sizes[0] += fabs(g) / (double)n, sizes[1] += fabs(g * xhat) / (double)n;
        }
        const double error = check_sum_error(n) + 8 * CHECK_U;
        for (int64_t k = 0; k < n; k++) {
            const double g = vt_ref_at(a->dy, a->type, at + k) * a->gamma[k];
            const double xhat = (vt_ref_at(a->x, a->type, i * n + k) - a->mean[i]) * a->rstd[i];
            const double dx = a->rstd[i] * (g - means[0] - xhat * means[1]);
            const double around = 8 * CHECK_U * fabs(g) + error * sizes[0] + error * fabs(xhat) * sizes[1];
            bound[at + k] = check_rounded(a->type, dx, a->rstd[i] * around + 2 * CHECK_U * fabs(dx));
        }
    }
}

static void bound_headnorm_bwd(check_case *c)
{
    const vt_headnorm_bwd_args *a = &c->args.headnorm_bwd;
    const int64_t n = a->head_width, heads = a->samples * a->tokens * a->heads;
    const double error = check_sum_error(heads + a->slices) + 4 * CHECK_U;
    double *dgamma_bound = check_bound(c, "dgamma"), *dbeta_bound = check_bound(c, "dbeta");
    bound_headnorm_dx(c);
    for (int64_t k = 0; k < n; k++) {
        double gamma[2] = {0}, beta[2] = {0}; /* sums, and of magnitudes */
        if (a->accumulate) {
            gamma[0] = ((const float *)a->dgamma)[k], gamma[1] = fabs(gamma[0]);
            beta[0] = ((const float *)a->dbeta)[k], beta[1] = fabs(beta[0]);
        }
        for (int64_t i = 0; i < heads; i++) {
            const double dy = vt_ref_at(a->dy, a->type, head_at(i, a->heads, n, a->row_stride) + k);
            const double term = dy * (vt_ref_at(a->x, a->type, i * n + k) - a->mean[i]) * a->rstd[i];
            gamma[0] += term, gamma[1] += fabs(term);
            beta[0] += dy, beta[1] += fabs(dy);
        }
        dgamma_bound[k] = check_rounded(a->grad_type, gamma[0], error * gamma[1]);
        dbeta_bound[k] = check_rounded(a->grad_type, beta[0], error * beta[1]);
    }
}

#define GATE_DIMS                                                                                                      \
    {                                                                                                                  \
        {"rows", 100, {1, 2, 3, 64, 197}}, {"cols", 1000, {1, 3, 15, 16, 17, 64, 72, 96, 768}},                        \
    }

const check_op check_scales[] = {
    {"scale_bwd",
     {{"samples", 20, {1, 2, 3, 7, 8, 9, 64}},
      {"tokens", 100, {1, 2, 16, 49, 197}},
      {"cols", 800, {1, 3, 15, 16, 17, 64, 72, 96, 768}}},
     call_scale_bwd,
     make_scale_bwd,
     bound_scale_bwd,
     work_3,
     NULL,
     {{8, 197, 768}, {256, 64, 64}}},
    {"swiglu_fwd",
     GATE_DIMS,
     call_swiglu_fwd,
     make_swiglu_fwd,
     bound_swiglu_fwd,
     work_2,
     NULL,
     {{1576, 2048}, {16384, 176}}},
    {"swiglu_bwd",
     GATE_DIMS,
     call_swiglu_bwd,
     make_swiglu_bwd,
     bound_swiglu_bwd,
     work_2,
     NULL,
     {{1576, 2048}, {16384, 176}}},
    {"headnorm_fwd",
     {{"rows", 200, {1, 2, 3, 64, 197}},
      {"heads", 16, {1, 3, 12}},
      {"head_width", 100, {1, 3, 15, 16, 17, 32, 64, 72}}},
     call_headnorm_fwd,
     make_headnorm_fwd,
     bound_headnorm_fwd,
     work_3,
     NULL,
     {{1576, 12, 64}, {16384, 3, 32}}},
    {"headnorm_bwd",
     {{"samples", 20, {1, 2, 3, 7, 8, 9, 64}},
      {"tokens", 60, {1, 2, 16, 49}},
      {"heads", 16, {1, 3, 12}},
      {"head_width", 100, {1, 3, 15, 16, 17, 32, 64, 72}}},
     call_headnorm_bwd,
     make_headnorm_bwd,
     bound_headnorm_bwd,
     work_4,
     NULL,
     {{8, 197, 12, 64}, {256, 64, 3, 32}}},
    {NULL},
};
