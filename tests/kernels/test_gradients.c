/* Every backward kernel of ref against central differences of its forward kernel.
 *
 * The reference loops are compiled here once more, the same text with `float` meaning double: differences of float
 * results would drown in rounding, those of doubles agree to eight digits. The headers that must keep their floats come
 * before that line. A loss is the sum of outputs times fixed random weights, which are then the outputs' gradients. */
#include <assert.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/math.h"
#include "base/philox.h"
#include "device/device.h"
#include "kernels/bf16.h"

#define float double

#include "kernels/ops.h"
#include "kernels/ref/attention.c"
#include "kernels/ref/linear.c"
#include "kernels/ref/loss.c"
#include "kernels/ref/norm.c"
#include "kernels/ref/sums.c"
#include "kernels/ref/tokens.c"

#define MOST 400 /* elements of any tensor here */

typedef double loss_fn(const void *args);

static vt_rng rng;

static void fill(double *x, int64_t n, double mean, double std)
{
    assert(n <= MOST);
    for (int64_t i = 0; i < n; i++)
        x[i] = mean + std * vt_rng_normal(&rng);
}

static double weighted(const double *y, const double *dy, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += y[i] * dy[i];
    return sum;
}

/* dx, the gradient that a kernel found for the n elements of x, against differences of the loss. The step leaves an
 * error of about step^2 from the third derivative and 1e-16/step from rounding. */
static void compare(const char *what, double *x, const double *dx, int64_t n, loss_fn *loss, const void *args)
{
    const double step = 1e-5;
    for (int64_t i = 0; i < n; i++) {
        const double old = x[i];
        x[i] = old + step;
        const double up = loss(args);
        x[i] = old - step;
        const double down = loss(args);
        x[i] = old;
        const double slope = (up - down) / (2 * step);
        if (!(fabs(slope - dx[i]) <= 2e-8 * (1 + fabs(slope))))
            fail_msg("%s[%d]: the kernel has %.12g, differences have %.12g", what, (int)i, dx[i], slope);
    }
    (void)loss(args); /* what the loss computes in between belongs to the old x again */
}

/* A linear layer with its GELU in front, as fc2 after fc1: x = gelu(pre), z = x w' + bias. */
enum { ROWS = 6, TOKENS = 2, IN = 5, OUT = 4 };
static double pre[MOST], x[MOST], w[MOST], bias[MOST], y[MOST], dy[MOST];
static double dx[MOST], dw[MOST], dbias[MOST];

static double linear_loss(const void *args)
{
    const vt_linear_fwd_args *a = args;
    for (int64_t i = 0; i < ROWS * IN; i++)
        x[i] = gelu(pre[i]);
    vt_ref_linear_fwd(NULL, a);
    return weighted(y, dy, ROWS * OUT);
}

/* Breaks when a product is transposed wrongly, GELU's slope is wrong, or slices leave samples out or take them twice.
 */
static void test_linear(void **state)
{
    (void)state;
    fill(pre, ROWS * IN, 0, 1.5), fill(w, OUT * IN, 0, 1), fill(bias, OUT, 0, 1), fill(dy, ROWS * OUT, 0, 1);
    const vt_linear_fwd_args fwd = {.rows = ROWS, .in = IN, .out = OUT, .x = x, .w = w, .bias = bias, .y = y};
    linear_loss(&fwd);
    vt_ref_linear_dx(
        NULL, &(vt_linear_dx_args){
                  .rows = ROWS, .in = IN, .out = OUT, .dy = dy, .w = w, .act = VT_ACT_GELU_TANH, .pre = pre, .dx = dx});
    compare("pre", pre, dx, ROWS * IN, linear_loss, &fwd);
    for (int slices = 1; slices <= 8; slices *= 2) {
        vt_ref_linear_dw(NULL, &(vt_linear_dw_args){.samples = ROWS / TOKENS,
                                                    .tokens = TOKENS,
                                                    .in = IN,
                                                    .out = OUT,
                                                    .dy = dy,
                                                    .x = x,
                                                    .slices = slices,
                                                    .dw = dw,
                                                    .dbias = dbias});
        compare("w", w, dw, OUT * IN, linear_loss, &fwd);
        compare("bias", bias, dbias, OUT, linear_loss, &fwd);
    }
}

/* The same layer with an activation as its own epilogue, the saved z, and a residual over a period of rows. */
static double epilogue_loss(const void *args)
{
    vt_ref_linear_fwd(NULL, args);
    return weighted(y, dy, ROWS * OUT);
}

static void epilogue_of(vt_act act)
{
    double residual[2 * OUT], z[MOST], dz[MOST], dresidual[2 * OUT] = {0}, identity[OUT * OUT] = {0};
    fill(x, ROWS * IN, 0, 1), fill(w, OUT * IN, 0, 1), fill(bias, OUT, 0, 1), fill(dy, ROWS * OUT, 0, 1);
    fill(residual, 2 * OUT, 0, 1);
    const vt_linear_fwd_args fwd = {.rows = ROWS,
                                    .in = IN,
                                    .out = OUT,
                                    .x = x,
                                    .w = w,
                                    .bias = bias,
                                    .pre = z,
                                    .act = act,
                                    .residual = residual,
                                    .residual_rows = 2,
                                    .y = y};
    epilogue_loss(&fwd);
    for (int i = 0; i < OUT; i++)
        identity[i * OUT + i] = 1;
    vt_ref_linear_dx(NULL,
                     &(vt_linear_dx_args){
                         .rows = ROWS, .in = OUT, .out = OUT, .dy = dy, .w = identity, .act = act, .pre = z, .dx = dz});
    vt_ref_linear_dx(NULL, &(vt_linear_dx_args){.rows = ROWS, .in = IN, .out = OUT, .dy = dz, .w = w, .dx = dx});
    compare("x", x, dx, ROWS * IN, epilogue_loss, &fwd);
    for (int i = 0; i < ROWS * OUT; i++)
        dresidual[i % (2 * OUT)] += dy[i];
    compare("residual", residual, dresidual, 2 * OUT, epilogue_loss, &fwd);
}

/* Breaks when pre is not what the activation was applied to, a slope is not that of its activation, or the residual is
 * added before it or at the wrong rows. */
static void test_epilogue(void **state)
{
    (void)state;
    for (int act = VT_ACT_NONE; act <= VT_ACT_TANH; act++)
        epilogue_of((vt_act)act);
}

static double layernorm_loss(const void *args)
{
    vt_ref_layernorm_fwd(NULL, args);
    return weighted(y, dy, ROWS * IN);
}

/* Breaks when a mean is left out of dx, a sum over samples is wrong, or the residual's gradient is not added (also when
 * dx lies over dy). */
static void test_layernorm(void **state)
{
    (void)state;
    double gamma[IN], beta[IN], mean[ROWS], rstd[ROWS], dgamma[IN], dbeta[IN], dresidual[ROWS * IN];
    fill(x, ROWS * IN, 1, 1), fill(gamma, IN, 1, 0.5), fill(beta, IN, 0, 1), fill(dy, ROWS * IN, 0, 1);
    fill(dresidual, ROWS * IN, 0, 1);
    const vt_layernorm_fwd_args fwd = {.rows = ROWS,
                                       .cols = IN,
                                       .x = x,
                                       .gamma = gamma,
                                       .beta = beta,
                                       .eps = 1e-2,
                                       .mean = mean,
                                       .rstd = rstd,
                                       .y = y};
    layernorm_loss(&fwd);
    vt_layernorm_bwd_args bwd = {.samples = ROWS / TOKENS,
                                 .tokens = TOKENS,
                                 .cols = IN,
                                 .x = x,
                                 .gamma = gamma,
                                 .mean = mean,
                                 .rstd = rstd,
                                 .dy = dy,
                                 .slices = 2,
                                 .dx = dx,
                                 .dgamma = dgamma,
                                 .dbeta = dbeta};
    vt_ref_layernorm_bwd(NULL, &bwd);
    compare("x", x, dx, ROWS * IN, layernorm_loss, &fwd);
    compare("gamma", gamma, dgamma, IN, layernorm_loss, &fwd);
    compare("beta", beta, dbeta, IN, layernorm_loss, &fwd);

    double over[ROWS * IN];
    for (int i = 0; i < ROWS * IN; i++)
        over[i] = dy[i];
    layernorm_loss(&fwd);
    bwd.dy = over, bwd.dx = over, bwd.dresidual = dresidual;
    vt_ref_layernorm_bwd(NULL, &bwd);
    for (int i = 0; i < ROWS * IN; i++)
        assert_true(fabs(over[i] - (dx[i] + dresidual[i])) < 1e-12);
}

/* Two samples, three heads of width two; kv of five tokens. */
enum { B = 2, H = 3, K = 2, D = H * K, N = 5, Q = 4 };
static double kv[MOST], q[MOST], qkv[MOST], dq[MOST], dkv[MOST], dqkv[MOST], lse[MOST];

static double attention_loss(const void *args)
{
    const vt_attention_fwd_args *a = args;
    vt_ref_attention_fwd(NULL, a);
    return weighted(y, dy, a->samples * a->q_tokens * D);
}

/* Breaks when a stride of the fused layout is wrong, or a term of ds is missing. */
static void test_self_attention(void **state)
{
    (void)state;
    fill(qkv, B * N * 3 * D, 0, 1), fill(dy, B * N * D, 0, 1);
    const vt_attention_fwd_args fwd = {.samples = B,
                                       .heads = H,
                                       .head_width = K,
                                       .q_tokens = N,
                                       .kv_tokens = N,
                                       .q = qkv,
                                       .k = qkv + D,
                                       .v = qkv + 2 * D,
                                       .q_sample_stride = N * 3 * D,
                                       .q_row_stride = 3 * D,
                                       .kv_sample_stride = N * 3 * D,
                                       .kv_row_stride = 3 * D,
                                       .y = y,
                                       .lse = lse};
    attention_loss(&fwd);
    vt_ref_attention_bwd(NULL, &(vt_attention_bwd_args){.samples = B,
                                                        .heads = H,
                                                        .head_width = K,
                                                        .q_tokens = N,
                                                        .kv_tokens = N,
                                                        .q = qkv,
                                                        .k = qkv + D,
                                                        .v = qkv + 2 * D,
                                                        .q_sample_stride = N * 3 * D,
                                                        .q_row_stride = 3 * D,
                                                        .kv_sample_stride = N * 3 * D,
                                                        .kv_row_stride = 3 * D,
                                                        .y = y,
                                                        .lse = lse,
                                                        .dy = dy,
                                                        .dq = dqkv,
                                                        .dk = dqkv + D,
                                                        .dv = dqkv + 2 * D,
                                                        .dq_row_stride = 3 * D,
                                                        .dkv_row_stride = 3 * D});
    compare("qkv", qkv, dqkv, B * N * 3 * D, attention_loss, &fwd);
}

/* Breaks when a query shared by all samples (the probe of a MAP head) is read or summed up wrongly. */
static void test_shared_query(void **state)
{
    (void)state;
    double dprobe[Q * D];
    fill(q, Q * D, 0, 1), fill(kv, B * N * 2 * D, 0, 1), fill(dy, B * Q * D, 0, 1);
    const vt_attention_fwd_args fwd = {.samples = B,
                                       .heads = H,
                                       .head_width = K,
                                       .q_tokens = Q,
                                       .kv_tokens = N,
                                       .q = q,
                                       .k = kv,
                                       .v = kv + D,
                                       .q_sample_stride = 0,
                                       .q_row_stride = D,
                                       .kv_sample_stride = N * 2 * D,
                                       .kv_row_stride = 2 * D,
                                       .y = y,
                                       .lse = lse};
    attention_loss(&fwd);
    vt_ref_attention_bwd(NULL, &(vt_attention_bwd_args){.samples = B,
                                                        .heads = H,
                                                        .head_width = K,
                                                        .q_tokens = Q,
                                                        .kv_tokens = N,
                                                        .q = q,
                                                        .k = kv,
                                                        .v = kv + D,
                                                        .q_sample_stride = 0,
                                                        .q_row_stride = D,
                                                        .kv_sample_stride = N * 2 * D,
                                                        .kv_row_stride = 2 * D,
                                                        .y = y,
                                                        .lse = lse,
                                                        .dy = dy,
                                                        .dq = dq,
                                                        .dk = dkv,
                                                        .dv = dkv + D,
                                                        .dq_row_stride = D,
                                                        .dkv_row_stride = 2 * D});
    compare("kv", kv, dkv, B * N * 2 * D, attention_loss, &fwd);
    vt_ref_sum_samples(
        NULL, &(vt_sum_samples_args){.samples = B, .cols = Q * D, .stride = Q * D, .x = dq, .slices = 8, .y = dprobe});
    compare("probe", q, dprobe, Q * D, attention_loss, &fwd);
}

static double mean_loss(const void *args)
{
    vt_ref_mean_tokens_fwd(NULL, args);
    return weighted(y, dy, B * D);
}

/* Breaks when the mean's gradient is not divided by the number of tokens taken, or reaches the others. */
static void test_mean_tokens(void **state)
{
    (void)state;
    fill(x, B * N * D, 0, 1), fill(dy, B * D, 0, 1);
    for (int64_t taken = 1; taken <= N; taken += 2)
        for (int64_t first = 0; first + taken <= N; first++) {
            const vt_mean_tokens_fwd_args fwd = {
                .samples = B, .tokens = N, .first = first, .taken = taken, .cols = D, .x = x, .y = y};
            vt_ref_mean_tokens_bwd(
                NULL, &(vt_mean_tokens_bwd_args){
                          .samples = B, .tokens = N, .first = first, .taken = taken, .cols = D, .dy = dy, .dx = dx});
            compare("x", x, dx, B * N * D, mean_loss, &fwd);
        }
}

static double join_loss(const void *args)
{
    const vt_join_tokens_fwd_args *a = args;
    vt_ref_join_tokens_fwd(NULL, a);
    return weighted(y, dy, B * ((a->token != NULL) + a->n + N) * D);
}

/* Breaks when the tokens in front, or the order of the others, differ between the two directions, or sums over samples
 * do not find them there. */
static void test_join_tokens(void **state)
{
    (void)state;
    enum { MORE = 2 };
    double position[D], more[MORE * D], dfront[(1 + MORE) * D];
    for (int variant = 0; variant < 4; variant++) {
        const int token = variant != 1, front = token + (variant != 0 ? MORE : 0);
        fill(x, B * N * D, 0, 1), fill(w, D, 0, 1), fill(dy, B * (front + N) * D, 0, 1);
        fill(position, D, 0, 1), fill(more, MORE * D, 0, 1);
        const vt_join_tokens_fwd_args fwd = {.samples = B,
                                             .tokens = N,
                                             .cols = D,
                                             .n = front - token,
                                             .token = token ? w : NULL,
                                             .position = variant == 3 ? position : NULL,
                                             .more = more,
                                             .x = x,
                                             .y = y};
        vt_ref_join_tokens_bwd(
            NULL, &(vt_join_tokens_bwd_args){.samples = B, .tokens = N, .cols = D, .front = front, .dy = dy, .dx = dx});
        vt_ref_sum_samples(
            NULL, &(vt_sum_samples_args){
                      .samples = B, .cols = front * D, .stride = (front + N) * D, .x = dy, .slices = 1, .y = dfront});
        compare("x", x, dx, B * N * D, join_loss, &fwd);
        if (token)
            compare("token", w, dfront, D, join_loss, &fwd);
        if (variant == 3)
            compare("position", position, dfront, D, join_loss, &fwd);
        if (variant != 0)
            compare("more", more, dfront + token * D, MORE * D, join_loss, &fwd);
    }
}

/* Breaks when a scale does not reach both gradients, or its own is not summed over all rows. */
static void test_scale(void **state)
{
    (void)state;
    double scale[OUT], z[ROWS * OUT], dz[ROWS * OUT], dscale[OUT];
    fill(x, ROWS * IN, 0, 1), fill(w, OUT * IN, 0, 1), fill(bias, OUT, 0, 1), fill(dy, ROWS * OUT, 0, 1);
    fill(scale, OUT, 0, 1);
    const vt_linear_fwd_args fwd = {
        .rows = ROWS, .in = IN, .out = OUT, .x = x, .w = w, .bias = bias, .pre = z, .scale = scale, .y = y};
    epilogue_loss(&fwd);
    vt_scale_bwd_args bwd = {.samples = ROWS / TOKENS,
                             .tokens = TOKENS,
                             .cols = OUT,
                             .dy = dy,
                             .z = z,
                             .scale = scale,
                             .slices = 2,
                             .dz = dz,
                             .dscale = dscale};
    vt_ref_scale_bwd(NULL, &bwd);
    vt_ref_linear_dx(NULL, &(vt_linear_dx_args){.rows = ROWS, .in = IN, .out = OUT, .dy = dz, .w = w, .dx = dx});
    compare("x", x, dx, ROWS * IN, epilogue_loss, &fwd);
    compare("scale", scale, dscale, OUT, epilogue_loss, &fwd);
}

static double gate_loss(const void *args)
{
    vt_ref_swiglu_fwd(NULL, args);
    return weighted(y, dy, ROWS * IN);
}

/* Breaks when gate and value change places, or silu's slope is wrong; also when the gradient takes their place. */
static void test_swiglu(void **state)
{
    (void)state;
    fill(x, ROWS * 2 * IN, 0, 2), fill(dy, ROWS * IN, 0, 1);
    const vt_swiglu_fwd_args fwd = {.rows = ROWS, .cols = IN, .x = x, .y = y};
    for (int over = 0; over < 2; over++) {
        for (int i = 0; i < ROWS * 2 * IN; i++)
            dx[i] = x[i];
        vt_ref_swiglu_bwd(NULL,
                          &(vt_swiglu_bwd_args){.rows = ROWS, .cols = IN, .dy = dy, .x = over ? dx : x, .dx = dx});
        compare("x", x, dx, ROWS * 2 * IN, gate_loss, &fwd);
    }
}

enum { STRIDE = 3 * D + 1 };
static double raw[MOST];

static double headnorm_loss(const void *args)
{
    const vt_headnorm_fwd_args *a = args;
    for (int i = 0; i < ROWS * STRIDE; i++)
        y[i] = raw[i];
    vt_ref_headnorm_fwd(NULL, a);
    return weighted(y, dy, ROWS * STRIDE);
}

/* Breaks when a head's norm takes another head's numbers, touches what lies between rows, or a sum leaves heads out. */
static void test_headnorm(void **state)
{
    (void)state;
    double gamma[3], beta[3], mean[ROWS * 2], rstd[ROWS * 2], saved[ROWS * D], dgamma[3], dbeta[3];
    fill(raw, ROWS * STRIDE, 1, 1), fill(gamma, 3, 1, 0.5), fill(beta, 3, 0, 1), fill(dy, ROWS * STRIDE, 0, 1);
    const vt_headnorm_fwd_args fwd = {.rows = ROWS,
                                      .heads = 2,
                                      .head_width = 3,
                                      .row_stride = STRIDE,
                                      .gamma = gamma,
                                      .beta = beta,
                                      .eps = 1e-2,
                                      .y = y,
                                      .saved = saved,
                                      .mean = mean,
                                      .rstd = rstd};
    headnorm_loss(&fwd);
    for (int i = 0; i < ROWS * STRIDE; i++)
        dx[i] = dy[i];
    vt_ref_headnorm_bwd(NULL, &(vt_headnorm_bwd_args){.samples = ROWS / TOKENS,
                                                      .tokens = TOKENS,
                                                      .heads = 2,
                                                      .head_width = 3,
                                                      .row_stride = STRIDE,
                                                      .x = saved,
                                                      .gamma = gamma,
                                                      .mean = mean,
                                                      .rstd = rstd,
                                                      .dy = dx,
                                                      .slices = 2,
                                                      .dgamma = dgamma,
                                                      .dbeta = dbeta});
    compare("x", raw, dx, ROWS * STRIDE, headnorm_loss, &fwd);
    compare("gamma", gamma, dgamma, 3, headnorm_loss, &fwd);
    compare("beta", beta, dbeta, 3, headnorm_loss, &fwd);
}

static double summed_loss(const void *args)
{
    const vt_cross_entropy_args *a = args;
    vt_ref_cross_entropy(NULL, a);
    double sum = 0;
    for (int64_t b = 0; b < a->samples; b++)
        sum += a->loss[b];
    return sum;
}

/* Breaks when the label's class has the wrong sign, or the batch's weight, a class weight, smoothing or the partner's
 * share does not reach both results. */
static void test_cross_entropy(void **state)
{
    (void)state;
    static const int32_t labels[] = {2, -1, 3, 5, 0, -1, 6, 1};
    float weights[7];
    fill(weights, 7, 1, 0.2);
    for (int variant = 0; variant < 16; variant++) {
        fill(x, 3 * 7, -1, 3);
        vt_cross_entropy_args a = {.kind = variant & 1 ? VT_LOSS_SOFTMAX : VT_LOSS_SIGMOID,
                                   .samples = 3,
                                   .classes = 7,
                                   .label_width = 2,
                                   .logits = x,
                                   .labels = labels + 2,
                                   .partner_share = variant & 2 ? 0.3f : 0,
                                   .smoothing = variant & 4 ? 0.1f : 0,
                                   .class_weights = variant & 8 ? weights : NULL,
                                   .weight = 0.25,
                                   .loss = y,
                                   .dlogits = dx};
        vt_ref_cross_entropy(NULL, &a);
        a.dlogits = NULL;
        compare("logits", x, dx, 3 * 7, summed_loss, &a);
    }
}

int main(void)
{
    rng = vt_rng_at(1, VT_STREAM_TEST, 0, vt_fnv1a("gradients"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),         cmocka_unit_test(test_epilogue),      cmocka_unit_test(test_layernorm),
        cmocka_unit_test(test_self_attention), cmocka_unit_test(test_shared_query),  cmocka_unit_test(test_mean_tokens),
        cmocka_unit_test(test_join_tokens),    cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_scale),
        cmocka_unit_test(test_swiglu),         cmocka_unit_test(test_headnorm),
    };
    return cmocka_run_group_tests_name("kernels/gradients", tests, NULL, NULL);
}
