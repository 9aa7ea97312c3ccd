/* Rows of the checker for everything that is no matrix product: pixels, norms, means, sums. */
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
    static const float shares[] = {0, 0.3f, 1};
    if (c->dims[3] > shorter)
        c->dims[3] = shorter;
    const int64_t P = c->dims[3], image = height * width * 3;
    vt_patchify_args *a = &c->args.patchify;
    *a = (vt_patchify_args){.samples = B, .image_height = height, .image_width = width, .patch = P};
    for (int i = 0; i < 3; i++) {
        a->scale[i] = (float)(2 + i) / 255.0f;
        a->offset[i] = -1 + 0.3f * (float)i;
    }
    a->partner_share = shares[check_choose(c, "share_of", 3)];
    a->type = check_choose_type(c, "bf16");
    const int64_t count = (B + (a->partner_share > 0)) * image; /* mixup: an image before the first */
    uint8_t *images = check_typed(c, "images", CHECK_U8, count, false);
    for (int64_t i = 0; i < count; i++)
        images[i] = (uint8_t)vt_rng_below(&c->rng, 256);
    check_keep(c, "images");
    a->images = images + (count - B * image);
    a->patches = check_out_real(c, "patches", a->type, B * (height / P) * (width / P) * 3 * P * P);
}

static void bound_patchify(check_case *c)
{
    const int64_t P = c->args.patchify.patch, height = c->args.patchify.image_height,
                  width = c->args.patchify.image_width;
    const int64_t count = c->args.patchify.samples * (height / P) * (width / P) * 3 * P * P;
    vt_patchify_args a = c->args.patchify; /* the same before rounding */
    float *y = vt_xmalloc((size_t)count * sizeof *y);
    a.type = VT_F32, a.patches = y;
    vt_ref_patchify(NULL, &a);
    double *bound = check_bound(c, "patches");
    const double roundings = a.partner_share > 0 ? 4 : 1;
    for (int64_t i = 0; i < count; i++) {
        const double added = a.offset[i / (P * P) % 3], scaled = fabs((double)y[i] - added), value = fabs((double)y[i]);
        const double offset = a.partner_share > 0 ? fabs(added) : 0;
        bound[i] = check_rounded(c->args.patchify.type, y[i], CHECK_U * (roundings * scaled + 2 * value + 2 * offset));
    }
    free(y);
}

CHECK_CALL(layernorm_fwd)

static void make_layernorm_fwd(check_case *c)
{
    const int64_t rows = c->dims[0], cols = c->dims[1];
    static const double means[] = {0, 1, 30};
    vt_layernorm_fwd_args *a = &c->args.layernorm_fwd;
    *a = (vt_layernorm_fwd_args){.rows = rows, .cols = cols, .eps = 1e-6f, .type = check_choose_type(c, "bf16")};
    a->gamma = check_in(c, "gamma", cols, 1, 0.5);
    a->beta = check_in(c, "beta", cols, 0, 1);
    const int which = check_choose(c, "mean_of", 4);
    const double mean = which < 3 ? means[which] : 0, std = which < 3 ? 1 : 2e-3; /* the last: a variance near eps */
    if (check_choose(c, "in_place", 2) && a->type == VT_F32) {
        a->y = check_inout(c, "y", rows * cols, mean, std);
        a->x = a->y;
    } else {
        a->x = check_in(c, "x", rows * cols, mean, std);
        a->y = check_out_real(c, "y", a->type, rows * cols);
    }
    a->mean = check_out(c, "mean", rows);
    a->rstd = check_out(c, "rstd", rows);
}

/* The variance's terms are squares of differences from the mean, so an error of the mean enters it squared only. */
static void bound_layernorm_fwd(check_case *c)
{
    const vt_layernorm_fwd_args *a = &c->args.layernorm_fwd;
    const double n = (double)a->cols;
    double *y_bound = check_bound(c, "y"), *mean_bound = check_bound(c, "mean"), *rstd_bound = check_bound(c, "rstd");
    for (int64_t r = 0; r < a->rows; r++) {
        const float *x = a->x + r * a->cols;
        double mean = 0, magnitude = 0, var = 0;
        for (int64_t i = 0; i < a->cols; i++) {
            mean += x[i] / n;
            magnitude += fabs((double)x[i]) / n;
        }
        for (int64_t i = 0; i < a->cols; i++)
            var += (x[i] - mean) * (x[i] - mean) / n;
        const double rstd = 1 / sqrt(var + a->eps);
        const double mean_error = check_sum_error(a->cols) * magnitude;
        const double var_error = check_sum_error(a->cols) * var + mean_error * mean_error;
        const double rstd_error = 0.5 * var_error / (var + a->eps) + 4 * CHECK_U; /* relative */
        mean_bound[r] = mean_error + 2 * CHECK_U * fabs(mean);
        rstd_bound[r] = rstd_error * rstd;
        for (int64_t i = 0; i < a->cols; i++) {
            const double slope = fabs(a->gamma[i] * rstd), scaled = slope * fabs(x[i] - mean);
            const double error = slope * (mean_error + 2 * CHECK_U * (fabs((double)x[i]) + fabs(mean))) +
                                 scaled * (rstd_error + 4 * CHECK_U) +
                                 2 * CHECK_U * (scaled + fabs((double)a->beta[i]));
            y_bound[r * a->cols + i] = check_rounded(a->type, (x[i] - mean) * rstd * a->gamma[i] + a->beta[i], error);
        }
    }
}

CHECK_CALL(layernorm_bwd)

static void make_layernorm_bwd(check_case *c)
{
    const int64_t samples = c->dims[0], tokens = c->dims[1], cols = c->dims[2], rows = samples * tokens;
    vt_layernorm_bwd_args *a = &c->args.layernorm_bwd;
    *a = (vt_layernorm_bwd_args){.samples = samples, .tokens = tokens, .cols = cols};
    a->type = check_choose_type(c, "bf16");
    a->grad_type = check_choose_type(c, "grad_bf16");
    a->slices = slices_of[check_choose(c, "slices_of", 5)];
    a->accumulate = a->grad_type == VT_F32 && check_choose(c, "accumulate", 2);
    c->limits.slices = a->slices, c->limits.norm_width = cols;
    a->x = check_in(c, "x", rows * cols, 0.5, 1);
    a->gamma = check_in(c, "gamma", cols, 1, 0.5);
    a->mean = check_in(c, "mean", rows, 0.5, 0.1);
    a->rstd = check_in(c, "rstd", rows, 1, 0.1);
    const int residual = check_choose(c, "residual", 4); /* given, none, under dx, dy under dx or given with bf16 */
    if (residual == 3 && a->type == VT_F32) {
        a->dx = check_inout(c, "dx", rows * cols, 0, 1);
        a->dy = a->dx;
    } else {
        a->dy = check_in_real(c, "dy", a->type, rows * cols, 0, 1);
        a->dx = residual == 2 ? check_inout(c, "dx", rows * cols, 0, 1) : check_out(c, "dx", rows * cols);
    }
    a->dresidual = residual == 2 ? a->dx : residual == 1 ? NULL : check_in(c, "dresidual", rows * cols, 0, 1);
    if (c->bench ? a->type == VT_BF16 : check_choose(c, "dx_bf16", 2))
        a->dx_bf16 = check_out_real(c, "dx_bf16", VT_BF16, rows * cols);
    for (int beta = 0; beta < 2; beta++) {
        const char *name = beta ? "dbeta" : "dgamma";
        void *sum = a->accumulate ? check_inout(c, name, cols, 0, 3) : check_out_real(c, name, a->grad_type, cols);
        *(beta ? &a->dbeta : &a->dgamma) = sum;
    }
}

static void bound_layernorm_dx(check_case *c)
{
    const vt_layernorm_bwd_args *a = &c->args.layernorm_bwd;
    const int64_t n = a->cols;
    const float *dx = check_expected(c, "dx");
    double *bound = check_bound(c, "dx"), *rounded = a->dx_bf16 ? check_bound(c, "dx_bf16") : NULL;
    for (int64_t r = 0; r < a->samples * a->tokens; r++) {
        double mean_g = 0, mean_gx = 0; /* of magnitudes */
        for (int64_t i = r * n; i < (r + 1) * n; i++) {
            const double g = fabs(vt_ref_at(a->dy, a->type, i) * a->gamma[i % n]);
            mean_g += g / (double)n;
            mean_gx += g * fabs((a->x[i] - (double)a->mean[r]) * a->rstd[r]) / (double)n;
        }
        const double error = check_sum_error(n) + 8 * CHECK_U;
        for (int64_t i = r * n; i < (r + 1) * n; i++) {
            const double g = fabs(vt_ref_at(a->dy, a->type, i) * a->gamma[i % n]);
            const double xhat = fabs((a->x[i] - (double)a->mean[r]) * a->rstd[r]);
            bound[i] = a->rstd[r] * (8 * CHECK_U * g + error * mean_g + error * xhat * mean_gx);
            bound[i] += 2 * CHECK_U * fabs((double)dx[i]);
            if (rounded)
                rounded[i] = check_rounded(VT_BF16, dx[i], bound[i]);
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
        double gamma[2] = {0}, beta[2] = {0}; /* sums, and of magnitudes */
        if (a->accumulate) {
            gamma[0] = ((const float *)a->dgamma)[i], gamma[1] = fabs(gamma[0]);
            beta[0] = ((const float *)a->dbeta)[i], beta[1] = fabs(beta[0]);
        }
        for (int64_t r = 0; r < rows; r++) {
            const double dy = vt_ref_at(a->dy, a->type, r * n + i);
            const double term = dy * (a->x[r * n + i] - (double)a->mean[r]) * a->rstd[r];
            gamma[0] += term, gamma[1] += fabs(term);
            beta[0] += dy, beta[1] += fabs(dy);
        }
        dgamma_bound[i] = check_rounded(a->grad_type, gamma[0], error * gamma[1]);
        dbeta_bound[i] = check_rounded(a->grad_type, beta[0], error * beta[1]);
    }
}

/* All tokens, one, or some; from the first or another on. */
static int64_t tokens_taken(check_case *c, int64_t tokens, int64_t *first)
{
    const int kind = check_choose(c, "taken_of", 3);
    const int64_t taken = kind == 0 ? tokens : kind == 1 ? 1 : 1 + (int64_t)vt_rng_below(&c->rng, (uint32_t)tokens);
    const int64_t behind = check_choose(c, "first", 2) ? 1 + (int64_t)vt_rng_below(&c->rng, (uint32_t)tokens) : 0;
    *first = behind < tokens - taken ? behind : tokens - taken;
    return taken;
}

CHECK_CALL(mean_tokens_fwd)

static void make_mean_tokens_fwd(check_case *c)
{
    const int64_t samples = c->dims[0], tokens = c->dims[1], cols = c->dims[2];
    vt_mean_tokens_fwd_args *a = &c->args.mean_tokens_fwd;
    *a = (vt_mean_tokens_fwd_args){.samples = samples, .tokens = tokens, .cols = cols};
    a->taken = tokens_taken(c, tokens, &a->first);
    a->x = check_in(c, "x", samples * tokens * cols, 0.1, 1);
    a->y = check_out(c, "y", samples * cols);
}

static void bound_mean_tokens_fwd(check_case *c)
{
    const vt_mean_tokens_fwd_args *a = &c->args.mean_tokens_fwd;
    double *bound = check_bound(c, "y");
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t i = 0; i < a->cols; i++) {
            double magnitude = 0;
            for (int64_t t = a->first; t < a->first + a->taken; t++)
                magnitude += fabs((double)a->x[(b * a->tokens + t) * a->cols + i]);
            bound[b * a->cols + i] = check_sum_error(a->taken) * magnitude / (double)a->taken;
        }
}

CHECK_CALL(mean_tokens_bwd)

static void make_mean_tokens_bwd(check_case *c)
{
    const int64_t samples = c->dims[0], tokens = c->dims[1], cols = c->dims[2];
    vt_mean_tokens_bwd_args *a = &c->args.mean_tokens_bwd;
    *a = (vt_mean_tokens_bwd_args){.samples = samples, .tokens = tokens, .cols = cols};
    a->taken = tokens_taken(c, tokens, &a->first);
    a->dy = check_in(c, "dy", samples * cols, 0, 1);
    a->dx = check_out(c, "dx", samples * tokens * cols);
}

static void bound_mean_tokens_bwd(check_case *c)
{
    const vt_mean_tokens_bwd_args *a = &c->args.mean_tokens_bwd;
    const float *dx = check_expected(c, "dx");
    double *bound = check_bound(c, "dx");
    for (int64_t i = 0; i < a->samples * a->tokens * a->cols; i++)
        bound[i] = 4 * CHECK_U * fabs((double)dx[i]);
}

/* What is only moved, or rounded once, has one right answer: bounds stay 0. */
static void bound_none(check_case *c)
{
    (void)c;
}

CHECK_CALL(join_tokens_fwd)

static void make_join_tokens_fwd(check_case *c)
{
    const int64_t samples = c->dims[0], tokens = c->dims[1], cols = c->dims[2];
    vt_join_tokens_fwd_args *a = &c->args.join_tokens_fwd;
    *a = (vt_join_tokens_fwd_args){.samples = samples, .tokens = tokens, .cols = cols};
    const int kind = check_choose(c, "kind", 4); /* a token; more; both; with a position */
    if (kind != 1)
        a->token = check_in(c, "token", cols, 0, 1);
    if (kind == 3)
        a->position = check_in(c, "position", cols, 0, 1);
    if (kind != 0) {
        a->n = 1 + (int64_t)vt_rng_below(&c->rng, 5);
        a->more = check_in(c, "more", a->n * cols, 0, 1);
    }
    a->x = check_in(c, "x", samples * tokens * cols, 0, 1);
    a->y = check_out(c, "y", samples * (tokens + (a->token != NULL) + a->n) * cols);
}

CHECK_CALL(join_tokens_bwd)

static void make_join_tokens_bwd(check_case *c)
{
    const int64_t samples = c->dims[0], tokens = c->dims[1], cols = c->dims[2];
    vt_join_tokens_bwd_args *a = &c->args.join_tokens_bwd;
    *a = (vt_join_tokens_bwd_args){.samples = samples, .tokens = tokens, .cols = cols};
    a->front = 1 + check_choose(c, "front", 5);
    a->dy = check_in(c, "dy", samples * (a->front + tokens) * cols, 0, 1);
    a->dx = check_out(c, "dx", samples * tokens * cols);
}

CHECK_CALL(drop)

static void make_drop(check_case *c)
{
    const int64_t samples = c->dims[0], count = c->dims[1];
    static const float rates[] = {0.1f, 0, 0.5f, 0.999f}, path_rates[] = {0, 0.1f, 0.6f};
    vt_drop_args *a = &c->args.drop;
    *a = (vt_drop_args){.samples = samples, .count = count, .type = check_choose_type(c, "bf16")};
    a->rate = rates[check_choose(c, "rate_of", 4)], a->path_rate = path_rates[check_choose(c, "path_of", 3)];
    a->seed = vt_rng_u32(&c->rng), a->use = vt_rng_u32(&c->rng);
    a->position = check_choose(c, "far", 2) ? (int64_t)1 << 33 : 0;
    a->position += vt_rng_u32(&c->rng);
    const int kind = check_choose(c, "kind", 3); /* with a residual, without, in place */
    if (kind == 0)
        a->residual = check_in(c, "residual", samples * count, 0, 1);
    if (kind == 2) {
        a->y = check_inout_real(c, "y", a->type, samples * count, 0, 1);
        a->x = a->y;
    } else {
        a->x = check_in_real(c, "x", a->type, samples * count, 0, 1);
        a->y = check_out_real(c, "y", kind == 0 ? VT_F32 : a->type, samples * count);
    }
}

static void bound_drop(check_case *c)
{
    const int64_t count = c->args.drop.samples * c->args.drop.count;
    vt_drop_args a = c->args.drop; /* x times its factor, before it is rounded */
    float *zeros = vt_xcalloc((size_t)count, sizeof *zeros), *scaled = vt_xmalloc((size_t)count * sizeof *scaled);
    a.residual = zeros, a.y = scaled;
    vt_ref_drop(NULL, &a);
    const float *residual = c->args.drop.residual;
    double *bound = check_bound(c, "y");
    for (int64_t i = 0; i < count; i++) {
        const double sum = scaled[i] + (residual ? (double)residual[i] : 0);
        const double error = CHECK_U * (4 * fabs((double)scaled[i]) + 2 * fabs(sum));
        bound[i] = check_rounded(residual ? VT_F32 : a.type, sum, error);
    }
    free(zeros);
    free(scaled);
}

CHECK_CALL(to_bf16)

/* What a tensor may hold besides ordinary numbers. */
static const float unusual[] = {0,       -0.0f,      INFINITY,   -INFINITY, NAN,
                                3.4e38f, 1.0078125f, 1.0234375f, -1e-40f,   1e-41f}; /* ties of bf16, denormals */

static void make_to_bf16(check_case *c)
{
    const int64_t count = c->dims[0];
    float *x = check_in(c, "x", count, 0, 1);
    for (int64_t i = 0; i < count && !c->bench; i += 1 + vt_rng_below(&c->rng, 30))
        x[i] = unusual[vt_rng_below(&c->rng, (uint32_t)VT_COUNT_OF(unusual))];
    check_keep(c, "x");
    c->args.to_bf16 = (vt_to_bf16_args){.count = count, .x = x, .y = check_out_real(c, "y", VT_BF16, count)};
}

CHECK_CALL(sum_samples)

static void make_sum_samples(check_case *c)
{
    const int64_t samples = c->dims[0], cols = c->dims[1];
    vt_sum_samples_args *a = &c->args.sum_samples;
    *a = (vt_sum_samples_args){.samples = samples, .cols = cols, .grad_type = check_choose_type(c, "grad_bf16")};
    a->slices = slices_of[check_choose(c, "slices_of", 5)];
    a->accumulate = a->grad_type == VT_F32 && check_choose(c, "accumulate", 2);
    c->limits.slices = a->slices;
    a->stride = cols + (check_choose(c, "apart", 2) ? (int64_t)vt_rng_below(&c->rng, 20) : 0);
    a->x = check_in(c, "x", (samples - 1) * a->stride + cols, 0, 1);
    a->y = a->accumulate ? check_inout(c, "y", cols, 0, 3) : check_out_real(c, "y", a->grad_type, cols);
}

static void bound_sum_samples(check_case *c)
{
    const vt_sum_samples_args *a = &c->args.sum_samples;
    double *bound = check_bound(c, "y");
    for (int64_t i = 0; i < a->cols; i++) {
        double sum = a->accumulate ? (double)((const float *)a->y)[i] : 0, magnitude = fabs(sum);
        for (int64_t b = 0; b < a->samples; b++) {
            sum += a->x[b * a->stride + i];
            magnitude += fabs((double)a->x[b * a->stride + i]);
        }
        bound[i] = check_rounded(a->grad_type, sum, check_sum_error(a->samples + a->slices) * magnitude);
    }
}

CHECK_CALL(sum_squares)

/* Contents of a tensor that is looked over: ordinary numbers, one unusual among them, many, nothing else. */
static void *in_unusual(check_case *c, vt_real type, int64_t count)
{
    void *x = check_in_real(c, "x", type, count, 0, 1);
    static const uint32_t steps[] = {0, 0, 30, 1};
    const int kind = check_choose(c, "unusual", (int)VT_COUNT_OF(steps));
    const uint32_t step = steps[kind];
    const int n = (int)VT_COUNT_OF(unusual), only = step == 1 ? (int)vt_rng_below(&c->rng, (uint32_t)n) : -1;
    for (int64_t i = 0; i < count && step > 0; i += 1 + vt_rng_below(&c->rng, step))
        vt_ref_put(x, type, i, unusual[only >= 0 ? only : (int)vt_rng_below(&c->rng, (uint32_t)n)]);
    if (kind == 1) {
        const int64_t at = vt_rng_below(&c->rng, (uint32_t)count);
        vt_ref_put(x, type, at, unusual[vt_rng_below(&c->rng, (uint32_t)n)]);
    }
    check_keep(c, "x");
    return x;
}

static void make_sum_squares(check_case *c)
{
    vt_sum_squares_args *a = &c->args.sum_squares;
    *a = (vt_sum_squares_args){.count = c->dims[0], .type = check_choose_type(c, "bf16")};
    a->x = in_unusual(c, a->type, a->count);
    a->sum = check_typed(c, "sum", CHECK_F64, 1, true);
}

/* All terms are exact in double; ref's chain of so many rounds up to n times. */
static double squares_error(int64_t count, double sum)
{
    return (double)(count + 4) * 0x1p-53 * sum;
}

static void bound_sum_squares(check_case *c)
{
    const double *sum = (const double *)(const void *)check_expected(c, "sum");
    check_bound(c, "sum")[0] = squares_error(c->args.sum_squares.count, sum[0]);
}

CHECK_CALL(inspect)

static void make_inspect(check_case *c)
{
    vt_inspect_args *a = &c->args.inspect;
    *a = (vt_inspect_args){.count = c->dims[0], .type = check_choose_type(c, "bf16")};
    a->x = in_unusual(c, a->type, a->count);
    a->out = check_typed(c, "out", CHECK_F64, 4, true);
}

static void bound_inspect(check_case *c)
{
    const double *out = (const double *)(const void *)check_expected(c, "out");
    check_bound(c, "out")[2] = squares_error(c->args.inspect.count, out[2]);
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

#define COUNT_DIM                                                                                                      \
    {                                                                                                                  \
        "count", 5000,                                                                                                 \
        {                                                                                                              \
            1, 2, 15, 17, 64, 1000, 65536, 65537, 200001                                                               \
        }                                                                                                              \
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
    {"join_tokens_fwd",
     TOKENS_DIMS,
     call_join_tokens_fwd,
     make_join_tokens_fwd,
     bound_none,
     work_3,
     NULL,
     {{8, 196, 768}, {256, 64, 64}}},
    {"join_tokens_bwd",
     TOKENS_DIMS,
     call_join_tokens_bwd,
     make_join_tokens_bwd,
     bound_none,
     work_3,
     NULL,
     {{8, 196, 768}, {256, 64, 64}}},
    {"drop",
     {{"samples", 10, {1, 2, 3, 64}}, {"count", 9000, {1, 3, 4, 63, 64, 65, 8192, 8193, 16448}}},
     call_drop,
     make_drop,
     bound_drop,
     work_2,
     NULL,
     {{8, 151296}, {256, 768}}},
    {"to_bf16", {COUNT_DIM}, call_to_bf16, make_to_bf16, bound_none, work_1, NULL, {{2359296}, {12288}}},
    {"sum_samples",
     {{"samples", 40, {1, 2, 3, 7, 8, 9, 64}}, {"cols", 5000, {1, 3, 15, 16, 17, 64, 197, 768, 3072}}},
     call_sum_samples,
     make_sum_samples,
     bound_sum_samples,
     work_2,
     NULL,
     {{256, 4096}, {8, 151296}}},
    {"sum_squares",
     {COUNT_DIM},
     call_sum_squares,
     make_sum_squares,
     bound_sum_squares,
     work_1,
     NULL,
     {{2359296}, {12288}}},
    {"inspect", {COUNT_DIM}, call_inspect, make_inspect, bound_inspect, work_1, NULL, {{2359296}, {12288}}},
    {NULL},
};
