/* Rows of the checker for the loss, the optimizers' updates and the moving average. */
#include <math.h>

#include "base/math.h"
#include "check.h"
#include "kernels/bf16.h"
#include "kernels/ref/ref.h"

/* --- cross-entropy --------------------------------------------------------------------------------------------------
 */

enum { ONE_LABEL = 1, SIGMOID, SOFTMAX }; /* the dimension `form`: the common case alone, or all that the kind allows */

CHECK_CALL(cross_entropy)

/* Rows of up to label_width different classes, the others -1. */
static void draw_labels(check_case *c, int32_t *labels, int64_t rows, int64_t width, int64_t classes)
{
    for (int64_t i = 0; i < rows * width; i++) {
        labels[i] = (int32_t)vt_rng_below(&c->rng, (uint32_t)classes);
        bool used = width > 1 && vt_rng_below(&c->rng, 3) == 0;
        for (int64_t k = i - i % width; k < i; k++)
            used |= labels[k] == labels[i];
        if (used)
            labels[i] = -1;
    }
}

static void make_cross_entropy(check_case *c)
{
    const int64_t B = c->dims[0], C = c->dims[1], form = c->dims[2];
    static const double means[] = {0, -10, 20, -90, 300};
    vt_cross_entropy_args *a = &c->args.cross_entropy;
    *a = (vt_cross_entropy_args){.kind = form == SOFTMAX ? VT_LOSS_SOFTMAX : VT_LOSS_SIGMOID,
                                 .samples = B,
                                 .classes = C,
                                 .label_width = 1,
                                 .weight = 1.0f / 24};
    c->limits.width = C;
    const double mean = means[check_choose(c, "mean_of", 5)];
    if (form != ONE_LABEL) {
        a->label_width = check_choose(c, "one_label", 2) ? 1 : 3;
        a->partner_share = check_choose(c, "mixup", 2) ? 0.3f : 0;
        a->smoothing = check_choose(c, "smoothing", 2) && C > 1 ? 0.1f : 0;
    }
    const int64_t partner = a->partner_share > 0 ? 1 : 0;
    int32_t *labels = check_typed(c, "labels", CHECK_I32, (B + partner) * a->label_width, false);
    draw_labels(c, labels, B + partner, a->label_width, C);
    check_keep(c, "labels");
    a->labels = labels + partner * a->label_width;
    if (form != ONE_LABEL && check_choose(c, "class_weights", 2)) {
        float *weights = check_in(c, "class_weights", C, 1, 0.25);
        for (int64_t i = 0; i < C; i++)
            weights[i] = fabsf(weights[i]);
        check_keep(c, "class_weights");
        a->class_weights = weights;
    }
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

static double target_of(const vt_cross_entropy_args *a, int64_t b, int64_t class)
{
    double y[2] = {0, 0};
    const double off = a->smoothing > 0 ? (double)a->smoothing / (double)(a->classes - 1) : 0;
    for (int64_t partner = 0; partner < (a->partner_share > 0 ? 2 : 1); partner++)
        for (int64_t i = 0; i < a->label_width; i++)
            if (a->labels[(b - partner) * a->label_width + i] == class)
                y[partner] = 1;
    return off + (1 - a->smoothing - off) * ((1 - (double)a->partner_share) * y[0] + a->partner_share * y[1]);
}

/* A target between 0 and 1 is off by some roundings of 1, and so are slope and |z| times it; where it is 0 or 1, every
 * softplus keeps its relative accuracy, however small (thousands of classes at a bias of -10 add up), and so does the
 * slope. */
static void bound_sigmoid(const vt_cross_entropy_args *a, int64_t b, double *loss, double *slopes)
{
    double sum = 0, error = 0;
    for (int64_t i = 0; i < a->classes; i++) {
        const double z = a->logits[b * a->classes + i], y = target_of(a, b, i), e = vt_exp(-fabs(z));
        const double v = a->class_weights ? (double)a->class_weights[i] : 1;
        const double off = a->smoothing > 0 || a->partner_share > 0 ? 4 * CHECK_U : 0;
        const double rising = (z >= 0 ? 1 : e) / (1 + e), falling = (z >= 0 ? e : 1) / (1 + e);
        const double term = fabs(z) * (z < 0 ? y : 1 - y) + vt_log1p(e);
        sum += v * term;
        error += v * (8 * CHECK_U * term + off * fabs(z));
        if (slopes)
            slopes[i] = a->weight * v * (8 * CHECK_U * ((1 - y) * rising + y * falling) + off);
    }
    *loss = a->weight * (error + check_sum_error(a->classes) * sum);
}

/* An exponential is off by its argument's rounding, gap * U relative, which in their sum is at most U * log C more. */
static void bound_softmax(const vt_cross_entropy_args *a, int64_t b, double *loss, double *slopes)
{
    const float *z = a->logits + b * a->classes;
    double max = z[0], exps = 0, targets = 0, below = 0;
    for (int64_t i = 1; i < a->classes; i++)
        max = fmax(max, z[i]);
    for (int64_t i = 0; i < a->classes; i++) {
        const double t = (a->class_weights ? (double)a->class_weights[i] : 1) * target_of(a, b, i);
        exps += vt_exp(z[i] - max);
        targets += t;
        below += t * (max - z[i]);
    }
    const double sum_error = check_sum_error(a->classes), log_error = sum_error + CHECK_U * (16 + 4 * vt_ln(exps));
    *loss = a->weight * ((8 * CHECK_U + sum_error) * below + targets * log_error + sum_error * targets * vt_ln(exps));
    for (int64_t i = 0; slopes && i < a->classes; i++) {
        const double t = (a->class_weights ? (double)a->class_weights[i] : 1) * target_of(a, b, i);
        const double share = targets * vt_exp(z[i] - max) / exps;
        slopes[i] = a->weight * (share * (2 * log_error + (8 + max - z[i]) * CHECK_U) + 8 * CHECK_U * t);
    }
}

static void bound_cross_entropy(check_case *c)
{
    const vt_cross_entropy_args *a = &c->args.cross_entropy;
    double *loss = check_bound(c, "loss"), *slopes = a->dlogits ? check_bound(c, "dlogits") : NULL;
    for (int64_t b = 0; b < a->samples; b++)
        (a->kind == VT_LOSS_SOFTMAX ? bound_softmax : bound_sigmoid)(a, b, &loss[b],
                                                                     slopes ? slopes + b * a->classes : NULL);
}

/* --- what updates share ---------------------------------------------------------------------------------------------
 */

/* Moments that are never negative, around `size`. */
static float *positive(check_case *c, const char *name, int64_t count, float size)
{
    float *x = check_inout(c, name, count, 0, 1);
    for (int64_t i = 0; i < count; i++)
        x[i] = size * (0.5f + fabsf(x[i]));
    check_keep(c, name);
    return x;
}

static double *maybe_square_change(check_case *c)
{
    return check_choose(c, "unwatched", 2) ? NULL : check_typed(c, "square_change", CHECK_F64, 1, true);
}

static float kept_of(check_case *c, float beta1)
{
    return check_choose(c, "rounded_beta1", 2) ? vt_bf16_to_f32(vt_bf16_from_f32(beta1)) : beta1;
}

/* What bounds of a move need to know, and the running bound of the sum of squared changes. */
typedef struct {
    const float *value;
    double lr, decay, sum, error;
    double *bound;
} moves;

/* The value at `at` moves by u, which is off by u_error. */
static void bound_move(moves *m, int64_t at, double u, double u_error)
{
    const double value = m->value[at], delta = m->lr * u + m->decay * value;
    const double off = m->lr * u_error + 4 * CHECK_U * (fabs(m->lr * u) + fabs(m->decay * value));
    m->bound[at] = off + 2 * CHECK_U * fabs(value);
    m->sum += delta * delta;
    m->error += 2 * fabs(delta) * off + off * off;
}

/* Squares are added in double, in an order of their own. */
static void bound_square_change(check_case *c, const moves *m, const double *square_change, int64_t count)
{
    if (square_change)
        check_bound(c, "square_change")[0] = m->error + (double)(count + 8) * 0x1p-53 * m->sum;
}

/* --- adafactor ------------------------------------------------------------------------------------------------------
 */

CHECK_CALL(adafactor)

static void make_adafactor(check_case *c)
{
    const int64_t blocks = c->dims[0], rows = c->dims[1], cols = c->dims[2], count = blocks * rows * cols;
    vt_adafactor_args *a = &c->args.adafactor;
    a->lr = 1e-3f, a->decay = 1e-5f, a->beta1 = 0.9f;
    a->beta2 = check_choose(c, "first_step", 4) == 3 ? 0 : 0.99f;
    a->grad_scale = check_choose(c, "clipped", 2) ? 0.37f : 1;
    a->beta1_kept = kept_of(c, a->beta1);
    a->grad_type = check_choose_type(c, "grad_type");
    a->moment_type = check_choose(c, "f32_moment", 2) ? VT_F32 : VT_BF16;
    a->value = check_inout(c, "value", count, 0, 1);
    a->grad = check_in_real(c, "grad", a->grad_type, count, 0, 1e-3);
    c->limits.width = cols;
    const int kind = check_choose(c, "kind", 3); /* blocks of rows, blocks of columns, not factored */
    a->blocks = blocks, a->rows = rows, a->cols = cols;
    a->block_stride = kind == 0 ? rows * cols : cols;
    a->row_stride = kind == 0 ? cols : blocks * cols;
    if (kind == 2) {
        a->blocks = 1, a->rows = 1, a->cols = count;
        a->block_stride = a->row_stride = count;
        a->full_moment = positive(c, "first_moment", count, 1e-6f);
    } else {
        a->row_moment = positive(c, "first_moment", blocks * rows, 1e-6f);
        a->col_moment = positive(c, "col_moment", blocks * cols, 1e-6f);
    }
    a->momentum = check_inout_real(c, "momentum", a->moment_type, count, 0, 0.5);
    a->square_change = maybe_square_change(c);
}

/* Element `at` whose v is off by v_error, relative: the moving average as it is stored, and the value. */
static void bound_moving_average(check_case *c, moves *m, int64_t at, double v, double v_error)
{
    const vt_adafactor_args *a = &c->args.adafactor;
    const double now = (1 - (double)a->beta1) * v, old = a->beta1_kept * vt_ref_at(a->momentum, a->moment_type, at);
    const double error = fabs(now) * v_error + 4 * CHECK_U * (fabs(now) + fabs(old));
    check_bound(c, "momentum")[at] = check_rounded(a->moment_type, now + old, error);
    bound_move(m, at, now + old, error);
}

static void bound_adafactor(check_case *c)
{
    const vt_adafactor_args *a = &c->args.adafactor;
    const float *first = check_expected(c, "first_moment"),
                *col = a->row_moment ? check_expected(c, "col_moment") : NULL;
    moves m = {.value = a->value, .lr = a->lr, .decay = a->decay, .bound = check_bound(c, "value")};
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
                const double g = a->grad_scale * vt_ref_at(a->grad, a->grad_type, at);
                const double square = col ? first[b * a->rows + r] / mean_row_moment * col[b * a->cols + k] : first[at];
                const double square_error = col ? 2 * row_error + col_error + check_sum_error(a->rows) : 6 * CHECK_U;
                bound_moving_average(c, &m, at, g / sqrt(square), 0.5 * square_error + 8 * CHECK_U);
            }
    }
    bound_square_change(c, &m, a->square_change, a->blocks * a->rows * a->cols);
}

/* --- adam, sgd, average ---------------------------------------------------------------------------------------------
 */

CHECK_CALL(adam)

static void make_adam(check_case *c)
{
    const int64_t count = c->dims[0];
    vt_adam_args *a = &c->args.adam;
    *a = (vt_adam_args){.count = count, .beta1 = 0.9f, .beta2 = 0.999f, .lr = 1e-3f, .decay = 1e-5f, .eps = 1e-8f};
    const bool late = check_choose(c, "early", 2) == 0; /* steps 1000 and 3 */
    a->first_scale = late ? 1 : 1 / (1 - 0.9f * 0.9f * 0.9f), a->second_scale = late ? 1.582f : 333.7f;
    a->grad_scale = check_choose(c, "clipped", 2) ? 0.37f : 1;
    a->beta1_kept = kept_of(c, a->beta1);
    a->grad_type = check_choose_type(c, "grad_type");
    a->moment_type = check_choose(c, "f32_moment", 2) ? VT_F32 : VT_BF16;
    a->value = check_inout(c, "value", count, 0, 1);
    a->grad = check_in_real(c, "grad", a->grad_type, count, 0, 1e-3);
    a->first = check_inout_real(c, "first", a->moment_type, count, 0, 1e-3);
    a->second = positive(c, "second", count, 1e-6f);
    a->square_change = maybe_square_change(c);
}

static void bound_adam(check_case *c)
{
    const vt_adam_args *a = &c->args.adam;
    const float *second = check_expected(c, "second");
    moves moved = {.value = a->value, .lr = a->lr, .decay = a->decay, .bound = check_bound(c, "value")};
    for (int64_t i = 0; i < a->count; i++) {
        const double now = (1 - (double)a->beta1) * a->grad_scale * vt_ref_at(a->grad, a->grad_type, i);
        const double old = a->beta1_kept * vt_ref_at(a->first, a->moment_type, i), m = now + old;
        const double error = 4 * CHECK_U * (fabs(now) + fabs(old));
        const double scale = a->first_scale / (sqrt(second[i] * (double)a->second_scale) + a->eps);
        check_bound(c, "first")[i] = check_rounded(a->moment_type, m, error);
        check_bound(c, "second")[i] = 6 * CHECK_U * second[i];
        bound_move(&moved, i, m * scale, error * scale + 12 * CHECK_U * fabs(m * scale));
    }
    bound_square_change(c, &moved, a->square_change, a->count);
}

CHECK_CALL(sgd)

static void make_sgd(check_case *c)
{
    const int64_t count = c->dims[0];
    vt_sgd_args *a = &c->args.sgd;
    *a = (vt_sgd_args){.count = count, .lr = 1e-3f, .decay = 1e-5f};
    a->grad_scale = check_choose(c, "clipped", 2) ? 0.37f : 1;
    a->beta1_kept = kept_of(c, 0.9f);
    a->grad_type = check_choose_type(c, "grad_type");
    a->moment_type = check_choose(c, "f32_moment", 2) ? VT_F32 : VT_BF16;
    a->value = check_inout(c, "value", count, 0, 1);
    a->grad = check_in_real(c, "grad", a->grad_type, count, 0, 1e-3);
    a->momentum = check_inout_real(c, "momentum", a->moment_type, count, 0, 1e-2);
    a->square_change = maybe_square_change(c);
}

static void bound_sgd(check_case *c)
{
    const vt_sgd_args *a = &c->args.sgd;
    moves m = {.value = a->value, .lr = a->lr, .decay = a->decay, .bound = check_bound(c, "value")};
    for (int64_t i = 0; i < a->count; i++) {
        const double g = a->grad_scale * vt_ref_at(a->grad, a->grad_type, i);
        const double old = a->beta1_kept * vt_ref_at(a->momentum, a->moment_type, i);
        const double error = 4 * CHECK_U * (fabs(g) + fabs(old));
        check_bound(c, "momentum")[i] = check_rounded(a->moment_type, g + old, error);
        bound_move(&m, i, g + old, error);
    }
    bound_square_change(c, &m, a->square_change, a->count);
}

CHECK_CALL(average)

static void make_average(check_case *c)
{
    static const float kept[] = {0.9999f, 0, 0.5f};
    vt_average_args *a = &c->args.average;
    *a = (vt_average_args){.count = c->dims[0], .kept = kept[check_choose(c, "kept_of", 3)]};
    a->value = check_in(c, "value", a->count, 0, 1);
    a->average = check_inout(c, "average", a->count, 0, 1);
}

static void bound_average(check_case *c)
{
    const vt_average_args *a = &c->args.average;
    for (int64_t i = 0; i < a->count; i++)
        check_bound(c, "average")[i] =
            4 * CHECK_U * (fabs((double)a->kept * a->average[i]) + fabs((1 - (double)a->kept) * a->value[i]));
}

/* --- the table ------------------------------------------------------------------------------------------------------
 */

static double loss_work(const int64_t *d)
{
    return (double)d[0] * (double)d[1];
}

static double matrix_work(const int64_t *d)
{
    return (double)d[0] * (double)d[1] * (double)d[2];
}

static double vector_work(const int64_t *d)
{
    return (double)d[0];
}

#define COUNT_DIM                                                                                                      \
    {                                                                                                                  \
        {                                                                                                              \
            "count", 5000,                                                                                             \
            {                                                                                                          \
                1, 3, 15, 17, 64, 1000, 16385, 40000, 200001                                                           \
            }                                                                                                          \
        }                                                                                                              \
    }

const check_op check_updates[] = {
    {"cross_entropy",
     {{"samples", 20, {1, 2, 8, 64}},
      {"classes", 300, {1, 2, 10, 15, 16, 17, 1000, 21843}},
      {"form", 3, {ONE_LABEL, SIGMOID, SOFTMAX}}},
     call_cross_entropy,
     make_cross_entropy,
     bound_cross_entropy,
     loss_work,
     NULL,
     {{256, 1000, ONE_LABEL}, {256, 1000, SIGMOID}, {256, 1000, SOFTMAX}}},
    {"adafactor",
     {{"blocks", 5, {1, 2, 3, 12}}, {"rows", 100, {1, 2, 3, 32, 64}}, {"cols", 200, {1, 3, 15, 17, 64, 96, 768}}},
     call_adafactor,
     make_adafactor,
     bound_adafactor,
     matrix_work,
     NULL,
     {{1, 3072, 768}, {12, 64, 768}, {1, 256, 64}}},
    {"adam", COUNT_DIM, call_adam, make_adam, bound_adam, vector_work, NULL, {{2359296}, {16384}}},
    {"sgd", COUNT_DIM, call_sgd, make_sgd, bound_sgd, vector_work, NULL, {{2359296}, {16384}}},
    {"average", COUNT_DIM, call_average, make_average, bound_average, vector_work, NULL, {{2359296}, {16384}}},
    {NULL},
};
