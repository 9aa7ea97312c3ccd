/* Rows of the checker for everything that is no matrix product: pixels, norms, means, sums, the loss, the update. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/math.h"
#include "base/text.h"
#include "check.h"
#include "kernels/bf16.h"
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

static double work_1(const int64_t *d)
{
    return (double)d[0];
}

CHECK_CALL(patchify)

static void make_patchify(check_case *c)
{
    const int64_t B = c->dims[0], height = c->dims[1], width = c->dims[2], shorter = height < width ? height : width;
    if (c->dims[3] > shorter)
        c->dims[3] = shorter;
    const int64_t P = c->dims[3], count = B * height * width * 3;
    vt_patchify_args *a = &c->args.patchify;
    *a = (vt_patchify_args){.samples = B, .image_height = height, .image_width = width, .patch = P};
    a->scale = 2 / 255.0f, a->offset = -1;
    c->limits.width = 3 * P * P;
    uint8_t *images = check_typed(c, "images", CHECK_U8, count, false);
    for (int64_t i = 0; i < count; i++)
        images[i] = (uint8_t)vt_rng_below(&c->rng, 256);
    check_keep(c, "images");
    a->images = images;
    a->patches = check_out(c, "patches", B * (height / P) * (width / P) * 3 * P * P);
}

static void bound_patchify(check_case *c)
{
    const vt_patchify_args *a = &c->args.patchify;
    const float *y = check_expected(c, "patches");
    double *bound = check_bound(c, "patches");
    const int64_t P = a->patch, count = a->samples * (a->image_height / P) * (a->image_width / P) * 3 * P * P;
    for (int64_t i = 0; i < count; i++)
        bound[i] = CHECK_U * (fabs((double)y[i] - a->offset) + 2 * fabs((double)y[i]));
}

CHECK_CALL(layernorm_fwd)

static void make_layernorm_fwd(check_case *c)
{
    const int64_t rows = c->dims[0], cols = c->dims[1];
    static const double means[] = {0, 1, 30};
    vt_layernorm_fwd_args *a = &c->args.layernorm_fwd;
    *a = (vt_layernorm_fwd_args){.rows = rows, .cols = cols, .eps = 1e-6f};
    c->limits.width = cols;
    a->gamma = check_in(c, "gamma", cols, 1, 0.5);
    a->beta = check_in(c, "beta", cols, 0, 1);
    const int which = check_choose(c, "mean_of", 4);
    const double mean = which < 3 ? means[which] : 0, std = which < 3 ? 1 : 2e-3; /* the last: a variance near eps */
    if (check_choose(c, "in_place", 2)) {
        a->y = check_inout(c, "y", rows * cols, mean, std);
        a->x = a->y;
    } else {
        a->x = check_in(c, "x", rows * cols, mean, std);
        a->y = check_out(c, "y", rows * cols);
    }
    a->mean = check_out(c, "mean", rows);
    a->rstd = check_out(c, "rstd", rows);
}

/* The variance's terms are squares of differences from the mean, so an error of the mean enters it squared only. */
static void bound_layernorm_fwd(check_case *c)
{
    const vt_layernorm_fwd_args *a = &c->args.layernorm_fwd;
    double *y_bound = check_bound(c, "y"), *mean_bound = check_bound(c, "mean"), *rstd_bound = check_bound(c, "rstd");
    for (int64_t r = 0; r < a->rows; r++) {
        const double n = (double)a->cols, mean = check_expected(c, "mean")[r], rstd = check_expected(c, "rstd")[r];
        const float *x = a->x + r * a->cols;
        double magnitude = 0, var = 0;
        for (int64_t i = 0; i < a->cols; i++) {
            magnitude += fabs((double)x[i]) / n;
            var += (x[i] - mean) * (x[i] - mean) / n;
        }
        const double mean_error = check_sum_error(a->cols) * magnitude;
        const double var_error = check_sum_error(a->cols) * var + mean_error * mean_error;
        const double rstd_error = 0.5 * var_error / (var + a->eps) + 4 * CHECK_U; /* relative */
        mean_bound[r] = mean_error + 2 * CHECK_U * fabs(mean);
        rstd_bound[r] = rstd_error * rstd;
        for (int64_t i = 0; i < a->cols; i++) {
            const double slope = fabs(a->gamma[i] * rstd), scaled = slope * fabs(x[i] - mean);
            y_bound[r * a->cols + i] = slope * (mean_error + 2 * CHECK_U * (fabs((double)x[i]) + fabs(mean))) +
                                       scaled * (rstd_error + 4 * CHECK_U) +
                                       2 * CHECK_U * (scaled + fabs((double)a->beta[i]));
        }
    }
}

CHECK_CALL(layernorm_bwd)

static void make_layernorm_bwd(check_case *c)
{
    const int64_t samples = c->dims[0], tokens = c->dims[1], cols = c->dims[2], rows = samples * tokens;
    vt_layernorm_bwd_args *a = &c->args.layernorm_bwd;
    *a = (vt_layernorm_bwd_args){.samples = samples, .tokens = tokens, .cols = cols};
    a->slices = slices_of[check_choose(c, "slices_of", 5)];
    a->accumulate = check_choose(c, "accumulate", 2);
    c->limits = (vt_limits){.tokens = tokens, .head_width = 1, .width = cols, .slices = a->slices};
    a->x = check_in(c, "x", rows * cols, 0.5, 1);
    a->gamma = check_in(c, "gamma", cols, 1, 0.5);
    a->mean = check_in(c, "mean", rows, 0.5, 0.1);
    a->rstd = check_in(c, "rstd", rows, 1, 0.1);
    const int residual = check_choose(c, "residual", 4); /* given, none, under dx, dy under dx */
    if (residual == 3) {
        a->dx = check_inout(c, "dx", rows * cols, 0, 1);
        a->dy = a->dx;
    } else {
        a->dy = check_in(c, "dy", rows * cols, 0, 1);
        a->dx = residual == 2 ? check_inout(c, "dx", rows * cols, 0, 1) : check_out(c, "dx", rows * cols);
    }
    a->dresidual = residual == 2 ? a->dx : residual == 1 ? NULL : check_in(c, "dresidual", rows * cols, 0, 1);
    a->dgamma = a->accumulate ? check_inout(c, "dgamma", cols, 0, 3) : check_out(c, "dgamma", cols);
    a->dbeta = a->accumulate ? check_inout(c, "dbeta", cols, 0, 3) : check_out(c, "dbeta", cols);
}

static void bound_layernorm_dx(check_case *c)
{
    const vt_layernorm_bwd_args *a = &c->args.layernorm_bwd;
    const int64_t n = a->cols;
    const float *dx = check_expected(c, "dx");
    double *bound = check_bound(c, "dx");
    for (int64_t r = 0; r < a->samples * a->tokens; r++) {
        double mean_g = 0, mean_gx = 0; /* of magnitudes */
        for (int64_t i = r * n; i < (r + 1) * n; i++) {
            const double g = fabs((double)a->dy[i] * a->gamma[i % n]);
            mean_g += g / (double)n;
            mean_gx += g * fabs((a->x[i] - (double)a->mean[r]) * a->rstd[r]) / (double)n;
        }
        const double error = check_sum_error(n) + 8 * CHECK_U;
        for (int64_t i = r * n; i < (r + 1) * n; i++) {
            const double g = fabs((double)a->dy[i] * a->gamma[i % n]);
            const double xhat = fabs((a->x[i] - (double)a->mean[r]) * a->rstd[r]);
            bound[i] = a->rstd[r] * (8 * CHECK_U * g + error * mean_g + error * xhat * mean_gx);
            bound[i] += 2 * CHECK_U * fabs((double)dx[i]);
        }
    }
}

static void bound_layernorm_bwd(check_case *c)
{
    const vt_layernorm_bwd_args *a = &c->args.layernorm_bwd;
    const int64_t n = a->cols, rows = a->samples * a->tokens;
    const double error = check_sum_error(rows + a->slices) + 4 * CHECK_U;
    double *dgamma_bound = check_bound(c, "dgamma"), *dbeta_bound = check_bound(c, "dbeta");
    bound_layernorm_dx(c);
    for (int64_t i = 0; i < n; i++) {
        double dgamma = a->accumulate ? fabs((double)a->dgamma[i]) : 0,
               dbeta = a->accumulate ? fabs((double)a->dbeta[i]) : 0;
        for (int64_t r = 0; r < rows; r++) {
            const double dy = fabs((double)a->dy[r * n + i]);
            dgamma += dy * fabs((a->x[r * n + i] - (double)a->mean[r]) * a->rstd[r]);
            dbeta += dy;
        }
        dgamma_bound[i] = error * dgamma;
        dbeta_bound[i] = error * dbeta;
    }
}

CHECK_CALL(mean_tokens_fwd)

static void make_mean_tokens_fwd(check_case *c)
{
    const int64_t samples = c->dims[0], tokens = c->dims[1], cols = c->dims[2];
    c->limits = (vt_limits){.tokens = tokens, .head_width = 1, .width = cols, .slices = 1};
    const float *x = check_in(c, "x", samples * tokens * cols, 0.1, 1);
    c->args.mean_tokens_fwd = (vt_mean_tokens_fwd_args){
        .samples = samples, .tokens = tokens, .cols = cols, .x = x, .y = check_out(c, "y", samples * cols)};
}

static void bound_mean_tokens_fwd(check_case *c)
{
    const vt_mean_tokens_fwd_args *a = &c->args.mean_tokens_fwd;
    double *bound = check_bound(c, "y");
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t i = 0; i < a->cols; i++) {
            double magnitude = 0;
            for (int64_t t = 0; t < a->tokens; t++)
                magnitude += fabs((double)a->x[(b * a->tokens + t) * a->cols + i]);
            bound[b * a->cols + i] = check_sum_error(a->tokens) * magnitude / (double)a->tokens;
        }
}

CHECK_CALL(mean_tokens_bwd)

static void make_mean_tokens_bwd(check_case *c)
{
    const int64_t samples = c->dims[0], tokens = c->dims[1], cols = c->dims[2];
    c->limits = (vt_limits){.tokens = tokens, .head_width = 1, .width = cols, .slices = 1};
    const float *dy = check_in(c, "dy", samples * cols, 0, 1);
    c->args.mean_tokens_bwd = (vt_mean_tokens_bwd_args){.samples = samples,
                                                        .tokens = tokens,
                                                        .cols = cols,
                                                        .dy = dy,
                                                        .dx = check_out(c, "dx", samples * tokens * cols)};
}

static void bound_mean_tokens_bwd(check_case *c)
{
    const vt_mean_tokens_bwd_args *a = &c->args.mean_tokens_bwd;
    const float *dx = check_expected(c, "dx");
    double *bound = check_bound(c, "dx");
    for (int64_t i = 0; i < a->samples * a->tokens * a->cols; i++)
        bound[i] = 4 * CHECK_U * fabs((double)dx[i]);
}

CHECK_CALL(sum_samples)

static void make_sum_samples(check_case *c)
{
    const int64_t samples = c->dims[0], cols = c->dims[1];
    vt_sum_samples_args *a = &c->args.sum_samples;
    *a = (vt_sum_samples_args){.samples = samples, .cols = cols};
    a->slices = slices_of[check_choose(c, "slices_of", 5)];
    a->accumulate = check_choose(c, "accumulate", 2);
    c->limits = (vt_limits){.tokens = 1, .head_width = 1, .width = cols, .slices = a->slices};
    a->x = check_in(c, "x", samples * cols, 0, 1);
    a->y = a->accumulate ? check_inout(c, "y", cols, 0, 3) : check_out(c, "y", cols);
}

static void bound_sum_samples(check_case *c)
{
    const vt_sum_samples_args *a = &c->args.sum_samples;
    double *bound = check_bound(c, "y");
    for (int64_t i = 0; i < a->cols; i++) {
        double magnitude = a->accumulate ? fabs((double)a->y[i]) : 0;
        for (int64_t b = 0; b < a->samples; b++)
            magnitude += fabs((double)a->x[b * a->cols + i]);
        bound[i] = check_sum_error(a->samples + a->slices) * magnitude;
    }
}

CHECK_CALL(sigmoid_xent)

static void make_sigmoid_xent(check_case *c)
{
    const int64_t B = c->dims[0], C = c->dims[1];
    static const double means[] = {0, -10, 20, -90, 300};
    vt_sigmoid_xent_args *a = &c->args.sigmoid_xent;
    *a = (vt_sigmoid_xent_args){.samples = B, .classes = C, .weight = 1.0f / 24};
    c->limits.width = C;
    const double mean = means[check_choose(c, "mean_of", 5)];
    int32_t *labels = check_typed(c, "labels", CHECK_I32, B, false);
    for (int64_t b = 0; b < B; b++)
        labels[b] = (int32_t)vt_rng_below(&c->rng, (uint32_t)C);
    check_keep(c, "labels");
    a->labels = labels;
    a->loss = check_out(c, "loss", B);
    const int gradient = check_choose(c, "gradient", 3); /* its own, over the logits, none */
    if (gradient == 1) {
        a->dlogits = check_inout(c, "dlogits", B * C, mean, 4);
        a->logits = a->dlogits;
        return;
    }
    a->logits = check_in(c, "logits", B * C, mean, 4);
    a->dlogits = gradient == 0 ? check_out(c, "dlogits", B * C) : NULL;
}

/* Every softplus keeps its relative accuracy, however small (thousands of classes at a bias of -10 add up); so does the
 * sigmoid of the wrong classes, while the label's is 1 - sigmoid and may be off by roundings of 1. */
static void bound_sigmoid_xent(check_case *c)
{
    const vt_sigmoid_xent_args *a = &c->args.sigmoid_xent;
    const float *loss = check_expected(c, "loss"), *dlogits = a->dlogits ? check_expected(c, "dlogits") : NULL;
    double *loss_bound = check_bound(c, "loss"), *bound = a->dlogits ? check_bound(c, "dlogits") : NULL;
    for (int64_t b = 0; b < a->samples; b++) {
        loss_bound[b] = (8 * CHECK_U + check_sum_error(a->classes)) * fabs((double)loss[b]);
        for (int64_t i = b * a->classes; bound && i < (b + 1) * a->classes; i++)
            bound[i] = 8 * CHECK_U * (i % a->classes == a->labels[b] ? a->weight : fabs((double)dlogits[i]));
    }
}

CHECK_CALL(sum_squares)

static void make_sum_squares(check_case *c)
{
    const int64_t count = c->dims[0];
    static const float unusual[] = {0, INFINITY, -INFINITY, NAN, 3e38f};
    vt_sum_squares_args *a = &c->args.sum_squares;
    float *x = check_in(c, "x", count, 0, 1);
    const int choice = check_choose(c, "unusual", 10);
    if (choice > 0 && choice < (int)VT_COUNT_OF(unusual))
        x[vt_rng_below(&c->rng, (uint32_t)count)] = unusual[choice];
    check_keep(c, "x");
    c->limits.width = count;
    *a = (vt_sum_squares_args){.count = count, .x = x, .sum = check_typed(c, "sum", CHECK_F64, 1, true)};
}

static void bound_sum_squares(check_case *c)
{
    const vt_sum_squares_args *a = &c->args.sum_squares;
    double sum = 0; /* all terms are exact in double; ref's chain of so many rounds up to n times */
    for (int64_t i = 0; i < a->count; i++)
        sum += (double)a->x[i] * a->x[i];
    check_bound(c, "sum")[0] = (double)(a->count + 4) * 0x1p-53 * sum;
}

CHECK_CALL(adafactor)

static void make_adafactor(check_case *c)
{
    const int64_t blocks = c->dims[0], rows = c->dims[1], cols = c->dims[2], count = blocks * rows * cols;
    vt_adafactor_args *a = &c->args.adafactor;
    a->lr = 1e-3f, a->decay = 1e-5f, a->beta1 = 0.9f;
    a->beta2 = check_choose(c, "first_step", 4) == 3 ? 0 : 0.99f;
    a->grad_scale = check_choose(c, "clipped", 2) ? 0.37f : 1;
    c->limits.width = count;
    a->value = check_inout(c, "value", count, 0, 1);
    a->grad = check_in(c, "grad", count, 0, 1e-3);
    const int kind = check_choose(c, "kind", 3); /* blocks of rows, blocks of columns, not factored */
    a->blocks = blocks, a->rows = rows, a->cols = cols;
    a->block_stride = kind == 0 ? rows * cols : cols;
    a->row_stride = kind == 0 ? cols : blocks * cols;
    float *moment[2] = {NULL, NULL};
    const int64_t moment_count[2] = {kind == 2 ? count : blocks * rows, blocks * cols};
    for (int k = 0; k < (kind == 2 ? 1 : 2); k++) {
        moment[k] = check_inout(c, k ? "col_moment" : "first_moment", moment_count[k], 0, 1);
        for (int64_t i = 0; i < moment_count[k]; i++)
            moment[k][i] = 1e-6f * (0.5f + fabsf(moment[k][i]));
        check_keep(c, k ? "col_moment" : "first_moment");
    }
    if (kind == 2) {
        a->blocks = 1, a->rows = 1, a->cols = count;
        a->block_stride = a->row_stride = count;
        a->full_moment = moment[0];
    } else {
        a->row_moment = moment[0], a->col_moment = moment[1];
    }
    a->momentum = check_typed(c, "momentum", CHECK_BF16, count, true);
    for (int64_t i = 0; i < count; i++)
        a->momentum[i] = vt_bf16_from_f32((float)vt_rng_below(&c->rng, 2000) / 1000 - 1);
    check_keep(c, "momentum");
}

/* Element `at` with step u, whose relative error is u_error: the moving average, its bf16 form, the value. */
static void bound_update(check_case *c, int64_t at, double u, double u_error)
{
    const vt_adafactor_args *a = &c->args.adafactor;
    const double now = (1 - (double)a->beta1) * u, old = (double)a->beta1 * vt_bf16_to_f32(a->momentum[at]),
                 m = now + old;
    const double error = fabs(now) * u_error + 4 * CHECK_U * (fabs(now) + fabs(old));
    /* Within the error of a boundary, m may round to either neighbour. */
    const double rounded = vt_bf16_to_f32(vt_bf16_from_f32((float)m));
    const double up = vt_bf16_to_f32(vt_bf16_from_f32((float)(m + error)));
    const double down = vt_bf16_to_f32(vt_bf16_from_f32((float)(m - error)));
    check_bound(c, "momentum")[at] = fmax(up - rounded, rounded - down);
    check_bound(c, "value")[at] = a->lr * error +
                                  4 * CHECK_U * (fabs(a->lr * m) + fabs((double)a->decay * a->value[at])) +
                                  2 * CHECK_U * fabs((double)a->value[at]);
}

static void bound_adafactor(check_case *c)
{
    const vt_adafactor_args *a = &c->args.adafactor;
    const float *first = check_expected(c, "first_moment"),
                *col = a->row_moment ? check_expected(c, "col_moment") : NULL;
    /* Moments are sums of positive terms. */
    const double row_error = check_sum_error(a->cols) + 6 * CHECK_U, col_error = check_sum_error(a->rows) + 6 * CHECK_U;
    for (int64_t i = 0; i < a->blocks * (a->row_moment ? a->rows : a->cols); i++)
        check_bound(c, "first_moment")[i] = (a->row_moment ? row_error : 6 * CHECK_U) * first[i];
    for (int64_t i = 0; col && i < a->blocks * a->cols; i++)
        check_bound(c, "col_moment")[i] = col_error * col[i];

    for (int64_t b = 0; b < a->blocks; b++) {
        double mean_row_moment = 0;
        for (int64_t r = 0; col && r < a->rows; r++)
            mean_row_moment += first[b * a->rows + r] / (double)a->rows;
        for (int64_t r = 0; r < a->rows; r++)
            for (int64_t k = 0; k < a->cols; k++) {
                const int64_t at = b * a->block_stride + r * a->row_stride + k;
                const double g = (double)a->grad_scale * a->grad[at];
                const double v = col ? first[b * a->rows + r] / mean_row_moment * col[b * a->cols + k] : first[at];
                const double v_error = col ? 2 * row_error + col_error + check_sum_error(a->rows) : 6 * CHECK_U;
                bound_update(c, at, g / sqrt(v), 0.5 * v_error + 8 * CHECK_U);
            }
    }
}

#define ROWS_DIMS                                                                                                      \
    {                                                                                                                  \
        {"rows", 100, {1, 2, 3, 64, 197}}, {"cols", 1000, {1, 3, 15, 16, 17, 64, 72, 96, 768}},                        \
    }
#define TOKENS_DIMS                                                                                                    \
    {                                                                                                                  \
        {"samples", 20, {1, 2, 3, 7, 8, 9, 64}}, {"tokens", 100, {1, 2, 16, 49, 197}},                                 \
            {"cols", 800, {1, 3, 15, 16, 17, 64, 72, 96, 768}},                                                        \
    }

const check_op check_rows[] = {
    {"patchify",
     {{"samples", 5, {1, 2, 3}},
      {"image_height", 60, {1, 7, 16, 28, 32}},
      {"image_width", 60, {1, 7, 16, 28, 37}},
      {"patch", 20, {1, 2, 4, 7, 14, 16}}},
     call_patchify,
     make_patchify,
     bound_patchify,
     work_3,
     NULL,
     {{256, 28, 28, 7}, {32, 224, 224, 16}}},
    {"layernorm_fwd",
     ROWS_DIMS,
     call_layernorm_fwd,
     make_layernorm_fwd,
     bound_layernorm_fwd,
     work_2,
     NULL,
     {{1576, 768}, {16384, 64}}},
    {"layernorm_bwd",
     TOKENS_DIMS,
     call_layernorm_bwd,
     make_layernorm_bwd,
     bound_layernorm_bwd,
     work_3,
     NULL,
     {{8, 197, 768}, {256, 64, 64}}},
    {"mean_tokens_fwd",
     TOKENS_DIMS,
     call_mean_tokens_fwd,
     make_mean_tokens_fwd,
     bound_mean_tokens_fwd,
     work_3,
     NULL,
     {{8, 197, 768}, {256, 64, 64}}},
    {"mean_tokens_bwd",
     TOKENS_DIMS,
     call_mean_tokens_bwd,
     make_mean_tokens_bwd,
     bound_mean_tokens_bwd,
     work_3,
     NULL,
     {{8, 197, 768}, {256, 64, 64}}},
    {"sum_samples",
     {{"samples", 40, {1, 2, 3, 7, 8, 9, 64}}, {"cols", 5000, {1, 3, 15, 16, 17, 64, 197, 768, 3072}}},
     call_sum_samples,
     make_sum_samples,
     bound_sum_samples,
     work_2,
     NULL,
     {{256, 4096}, {8, 151296}}},
    {"sigmoid_xent",
     {{"samples", 20, {1, 2, 8, 64}}, {"classes", 300, {1, 2, 10, 15, 16, 17, 1000, 21843}}},
     call_sigmoid_xent,
     make_sigmoid_xent,
     bound_sigmoid_xent,
     work_2,
     NULL,
     {{256, 10}, {32, 21843}}},
    {"sum_squares",
     {{"count", 5000, {1, 2, 15, 17, 64, 1000, 65536, 65537, 200001}}},
     call_sum_squares,
     make_sum_squares,
     bound_sum_squares,
     work_1,
     NULL,
     {{2359296}, {12288}}},
    {"adafactor",
     {{"blocks", 5, {1, 2, 3, 12}}, {"rows", 100, {1, 2, 3, 32, 64}}, {"cols", 200, {1, 3, 15, 17, 64, 96, 768}}},
     call_adafactor,
     make_adafactor,
     bound_adafactor,
     work_3,
     NULL,
     {{1, 3072, 768}, {12, 64, 768}, {1, 256, 64}}},
    {NULL},
};
