/* Known answers for the reference kernels, from the paper's own code and from equations worked by hand; and bf16. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "kernels/backend.h"
#include "kernels/bf16.h"
#include "kernels/ref/ref.h"

static void near(const char *what, const float *x, const double *expected, int n, double tolerance)
{
    for (int i = 0; i < n; i++)
        if (!(fabs((double)x[i] - expected[i]) <= tolerance))
            fail_msg("%s[%d] is %.9g, expected %.9g", what, i, (double)x[i], expected[i]);
}

/* Breaks when channels, rows or columns of a patch are in another order than timm's patch_embed.proj.weight, or a color
 * is scaled as another. */
static void test_patch_order(void **state)
{
    (void)state;
    enum { HEIGHT = 5, WIDTH = 4, P = 2 };
    uint8_t image[HEIGHT * WIDTH * 3];
    float patches[4 * 3 * P * P];
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int c = 0; c < 3; c++)
                image[(y * WIDTH + x) * 3 + c] = (uint8_t)(100 * c + 10 * y + x);
    vt_ref_patchify(NULL, &(vt_patchify_args){.samples = 1,
                                              .image_height = HEIGHT,
                                              .image_width = WIDTH,
                                              .patch = P,
                                              .images = image,
                                              .scale = {0.5f, 0.25f, 2},
                                              .offset = {3, -1, 0.5f},
                                              .patches = patches});
    const int last = 3; /* the patch at rows 2, 3 and columns 2, 3; row 4 is dropped */
    static const double expected[] = {22, 23, 32, 33, 122, 123, 132, 133, 222, 223, 232, 233};
    static const double scale[] = {0.5, 0.25, 2}, offset[] = {3, -1, 0.5};
    for (int i = 0; i < 12; i++)
        assert_true((double)patches[last * 12 + i] == scale[i / 4] * expected[i] + offset[i / 4]);
}

/* Breaks when two forms of GELU are exchanged, or an activation is another function. */
static void test_activations(void **state)
{
    (void)state;
    static const double expected[][3] = {
        [VT_ACT_NONE] = {1, -1, 3},
        [VT_ACT_GELU_TANH] = {0.841191990608, -0.158808009392, 2.996362607918},
        [VT_ACT_GELU_ERF] = {0.841344746069, -0.158655253931, 2.995950305906},
        [VT_ACT_GELU_QUICK] = {0.845795765933, -0.154204234067, 2.981928690292},
        [VT_ACT_TANH] = {0.761594155956, -0.761594155956, 0.995054753687},
    };
    const float x[] = {1, -1, 3}, one = 1;
    for (int act = VT_ACT_NONE; act <= VT_ACT_TANH; act++) {
        float y[3];
        vt_ref_linear_fwd(
            NULL, &(vt_linear_fwd_args){.rows = 3, .in = 1, .out = 1, .x = x, .w = &one, .act = (vt_act)act, .y = y});
        near("activation", y, expected[act], 3, 2e-7);
    }
}

/* Breaks when a weight meets a bf16 operand unrounded, or a bf16 result is not rounded to nearest even: 1 + 2^-8 is a
 * tie between 1 and 1 + 2^-7. */
static void test_bf16_product(void **state)
{
    (void)state;
    const uint16_t x[] = {vt_bf16_from_f32(1), vt_bf16_from_f32(-1)};
    const float w[] = {1 + 0x1p-8f, 0x1p-8f}, bias = 0x1p-7f;
    uint16_t y;
    vt_ref_linear_fwd(NULL, &(vt_linear_fwd_args){
                                .rows = 1, .in = 2, .out = 1, .type = VT_BF16, .x = x, .w = w, .bias = &bias, .y = &y});
    assert_int_equal(y, vt_bf16_from_f32(1)); /* 1 - 2^-8 + 2^-7 is that tie again */
}

/* Breaks when the variance divides by cols - 1. */
static void test_layernorm(void **state)
{
    (void)state;
    const float x[] = {1, 2, 4}, gamma[] = {1, 1, 1}, beta[] = {0, 0, 0};
    float y[3], mean, rstd;
    vt_ref_layernorm_fwd(NULL, &(vt_layernorm_fwd_args){.rows = 1,
                                                        .cols = 3,
                                                        .x = x,
                                                        .gamma = gamma,
                                                        .beta = beta,
                                                        .eps = 1e-6f,
                                                        .mean = &mean,
                                                        .rstd = &rstd,
                                                        .y = y});
    near("y", y, (const double[]){-1.0690451, -0.26726136, 1.336306}, 3, 1e-6);
}

/* Breaks when scores are not divided by sqrt(K), or lse is not the logarithm of the sum of the scaled scores. */
static void test_attention(void **state)
{
    (void)state;
    const float q[] = {2, 0, 0, 0}, k[] = {1, 5, 5, 5, -1, 5, 5, 5}, v[] = {1, 0, 0, 4, 3, 0, 0, 8};
    float y[4], lse;
    vt_ref_attention_fwd(NULL, &(vt_attention_fwd_args){.samples = 1,
                                                        .heads = 1,
                                                        .head_width = 4,
                                                        .q_tokens = 1,
                                                        .kv_tokens = 2,
                                                        .q = q,
                                                        .k = k,
                                                        .v = v,
                                                        .q_sample_stride = 4,
                                                        .q_row_stride = 4,
                                                        .kv_sample_stride = 8,
                                                        .kv_row_stride = 4,
                                                        .y = y,
                                                        .lse = &lse});
    const double p = exp(1) / (exp(1) + exp(-1)); /* scores 1 and -1 */
    near("y", y, (const double[]){p + 3 * (1 - p), 0, 0, 4 * p + 8 * (1 - p)}, 4, 1e-6);
    near("lse", &lse, (const double[]){log(exp(1) + exp(-1))}, 1, 1e-6);
}

/* Breaks when an entropy is a sum instead of a mean over queries and samples, heads are mixed up, or the largest score
 * loses the sign that was taken from it. Two samples, two heads of width 1, two queries, two keys. */
static void test_attention_stats(void **state)
{
    (void)state;
    const float q[] = {1, 0, 1, 0, 1, 2, 1, 2}, k[] = {1, 1, -3, 1, 1, -1, -3, 1};
    float y[8], lse[8];
    double entropy[2], largest[2];
    vt_attention_fwd_args fwd = {.samples = 2,
                                 .heads = 2,
                                 .head_width = 1,
                                 .q_tokens = 2,
                                 .kv_tokens = 2,
                                 .q = q,
                                 .k = k,
                                 .v = k,
                                 .q_sample_stride = 4,
                                 .q_row_stride = 2,
                                 .kv_sample_stride = 4,
                                 .kv_row_stride = 2,
                                 .y = y,
                                 .lse = lse};
    vt_ref_attention_fwd(NULL, &fwd);
    vt_ref_attention_stats(NULL, &(vt_attention_stats_args){.samples = 2,
                                                            .heads = 2,
                                                            .head_width = 1,
                                                            .q_tokens = 2,
                                                            .kv_tokens = 2,
                                                            .q = q,
                                                            .k = k,
                                                            .q_sample_stride = 4,
                                                            .q_row_stride = 2,
                                                            .kv_sample_stride = 4,
                                                            .kv_row_stride = 2,
                                                            .lse = lse,
                                                            .entropy = entropy,
                                                            .largest = largest});
    /* scores 1 and -3 of head 0; of head 1 two zeros in sample 0, -2 and 2 in sample 1 */
    const double four = 1 / (1 + exp(-4)), other = 1 - four, apart = -four * log(four) - other * log(other);
    assert_true(fabs(entropy[0] - apart) < 1e-6);
    assert_true(fabs(entropy[1] - (log(2) + apart) / 2) < 1e-6);
    assert_true(largest[0] == 3 && largest[1] == 2);
}

/* Breaks when logits far from zero lose their loss, or give NaN. */
static void test_cross_entropy(void **state)
{
    (void)state;
    const float logits[] = {0, -20, 200, 0, 20, -200};
    const int32_t labels[] = {0, 2};
    float loss[2], dlogits[6];
    vt_cross_entropy_args a = {.samples = 2,
                               .classes = 3,
                               .label_width = 1,
                               .logits = logits,
                               .labels = labels,
                               .weight = 0.5f,
                               .loss = loss,
                               .dlogits = dlogits};
    vt_ref_cross_entropy(NULL, &a);
    near("loss", loss, (const double[]){0.5 * (log(2) + 2.0611536e-9 + 200), 0.5 * (log(2) + 20 + 200)}, 2, 2e-5);
    near("dlogits", dlogits, (const double[]){-0.25, 0.5 * 2.0611536e-9, 0.5, 0.25, 0.5, -0.5}, 6, 2e-9);
    a.kind = VT_LOSS_SOFTMAX;
    vt_ref_cross_entropy(NULL, &a);
    near("loss", loss, (const double[]){0.5 * 200, 0.5 * 220}, 2, 1e-5);
    near("dlogits", dlogits, (const double[]){-0.5, 0, 0.5, 0, 0.5, -0.5}, 6, 2e-9);
}

/* A weight of 2 x 3 and a bias of 2 for two steps: the worked example of the paper's own code run with minimum
 * dimension 2 and beta1 = 0.9 exactly. value starts at 0 with lr = -1, and so holds the sum of the outputs. */
static const float w_grad[2][6] = {{.1f, -.2f, .3f, .4f, .5f, -.6f}, {-.3f, .1f, .2f, .05f, -.4f, .25f}};
static const float b_grad[2][2] = {{.5f, -2}, {1, 1}};
static const float beta2[2] = {0, 0.4256508225f};

/* Breaks when a moment is a sum instead of a mean, beta2 is on the wrong side, or the momentum is rounded before use.
 */
static void test_adafactor_factored(void **state)
{
    (void)state;
    float value[6] = {0}, row[2] = {7, 7}, col[3] = {7, 7, 7}; /* beta2 = 0 must forget what was there */
    uint16_t momentum[6] = {0};
    vt_adafactor_args a = {.blocks = 1,
                           .rows = 2,
                           .cols = 3,
                           .block_stride = 6,
                           .row_stride = 3,
                           .value = value,
                           .row_moment = row,
                           .col_moment = col,
                           .moment_type = VT_BF16,
                           .momentum = momentum,
                           .grad_scale = 1,
                           .beta1 = 0.9f,
                           .beta1_kept = 0.9f,
                           .lr = -1};
    static const double out0[] = {0.06183469, -0.09468642, 0.11401755, 0.10546561, 0.10093607, -0.09723449};
    static const double stored0[] = {0.06176758, -0.09472656, 0.11425781, 0.10546875, 0.10107422, -0.09716797};
    static const double out1[] = {-0.11928752, -0.04133587, 0.18536296, 0.11105433, -0.00626727, -0.03035036};
    a.grad = w_grad[0], a.beta2 = beta2[0];
    vt_ref_adafactor(NULL, &a);
    near("R of step 0", row, (const double[]){0.04666667, 0.25666669}, 2, 2e-8);
    near("S of step 0", col, (const double[]){0.08500001, 0.14500000, 0.22500001}, 3, 2e-8);
    near("output of step 0", value, out0, 6, 1e-7);
    for (int i = 0; i < 6; i++)
        assert_true(fabs((double)vt_bf16_to_f32(momentum[i]) - stored0[i]) < 1e-8);

    memset(value, 0, sizeof value);
    a.grad = w_grad[1], a.beta2 = beta2[1];
    vt_ref_adafactor(NULL, &a);
    near("R of step 1", row, (const double[]){0.04666667, 0.15232658}, 2, 2e-8);
    near("S of step 1", col, (const double[]){0.06274398, 0.11053905, 0.12520683}, 3, 2e-8);
    near("output of step 1", value, out1, 6, 1e-7);
}

/* Breaks as above, for tensors that are not factored. The second output follows from the first's bf16: 0.9 * bf16(0.1)
 * + 0.1 / sqrt(V). */
static void test_adafactor_full(void **state)
{
    (void)state;
    float value[2] = {0}, full[2] = {7, 7};
    uint16_t momentum[2] = {0};
    vt_adafactor_args a = {.blocks = 1,
                           .rows = 1,
                           .cols = 2,
                           .block_stride = 2,
                           .row_stride = 2,
                           .value = value,
                           .full_moment = full,
                           .moment_type = VT_BF16,
                           .momentum = momentum,
                           .grad_scale = 1,
                           .beta1 = 0.9f,
                           .beta1_kept = 0.9f,
                           .lr = -1};
    a.grad = b_grad[0], a.beta2 = beta2[0];
    vt_ref_adafactor(NULL, &a);
    near("V of step 0", full, (const double[]){0.25, 4}, 2, 1e-8);
    near("output of step 0", value, (const double[]){0.1, -0.1}, 2, 1e-7);
    memset(value, 0, sizeof value);
    a.grad = b_grad[1], a.beta2 = beta2[1];
    vt_ref_adafactor(NULL, &a);
    near("V of step 1", full, (const double[]){0.68076187, 2.27695251}, 2, 1e-7);
    const double m = 0.10009765625; /* bf16(0.1) */
    near("output of step 1", value,
         (const double[]){0.9 * m + 0.1 / sqrt(0.68076187), -0.9 * m + 0.1 / sqrt(2.27695251)}, 2, 1e-7);
}

/* Breaks when a block takes its neighbour's moments, or strides of column blocks (the heads of proj) are mixed up:
 * blocks of columns must equal the same blocks updated each alone. */
static void test_adafactor_blocks(void **state)
{
    (void)state;
    enum { ROWS = 3, COLS = 2, BLOCKS = 2, COUNT = ROWS * COLS * BLOCKS };
    float grad[COUNT], value[COUNT] = {0}, row[BLOCKS * ROWS] = {0}, col[BLOCKS * COLS] = {0};
    uint16_t momentum[COUNT] = {0};
    for (int i = 0; i < COUNT; i++)
        grad[i] = (float)((i * 7) % 11) - 4.5f;
    vt_adafactor_args a = {.blocks = BLOCKS,
                           .rows = ROWS,
                           .cols = COLS,
                           .block_stride = COLS,
                           .row_stride = BLOCKS * COLS,
                           .value = value,
                           .grad = grad,
                           .row_moment = row,
                           .col_moment = col,
                           .moment_type = VT_BF16,
                           .momentum = momentum,
                           .grad_scale = 0.5f,
                           .beta1 = 0.9f,
                           .beta1_kept = 0.9f,
                           .lr = 1,
                           .decay = 0.25f};
    vt_ref_adafactor(NULL, &a);
    for (int b = 0; b < BLOCKS; b++) {
        float g[ROWS * COLS], alone[ROWS * COLS] = {0}, r[ROWS] = {0}, c[COLS] = {0};
        uint16_t m[ROWS * COLS] = {0};
        for (int i = 0; i < ROWS * COLS; i++)
            g[i] = grad[b * COLS + i / COLS * BLOCKS * COLS + i % COLS];
        vt_adafactor_args one = a;
        one.blocks = 1, one.block_stride = ROWS * COLS, one.row_stride = COLS;
        one.value = alone, one.grad = g, one.row_moment = r, one.col_moment = c, one.momentum = m;
        vt_ref_adafactor(NULL, &one);
        for (int i = 0; i < ROWS * COLS; i++)
            assert_true(alone[i] == value[b * COLS + i / COLS * BLOCKS * COLS + i % COLS]);
        assert_memory_equal(r, row + b * ROWS, sizeof r);
        assert_memory_equal(c, col + b * COLS, sizeof c);
    }
}

/* Breaks when decay is multiplied by lr, or the step has the wrong sign: zero gradient, theta = 0.5, wd 2.4e-5, s =
 * 0.1. */
static void test_decay(void **state)
{
    (void)state;
    float value = 0.5f, full = 1, grad = 0;
    uint16_t momentum = 0;
    vt_ref_adafactor(NULL, &(vt_adafactor_args){.blocks = 1,
                                                .rows = 1,
                                                .cols = 1,
                                                .block_stride = 1,
                                                .row_stride = 1,
                                                .value = &value,
                                                .grad = &grad,
                                                .full_moment = &full,
                                                .moment_type = VT_BF16,
                                                .momentum = &momentum,
                                                .grad_scale = 1,
                                                .beta1 = 0.9f,
                                                .beta1_kept = 0.9f,
                                                .beta2 = 0.5f,
                                                .lr = 8e-5f,
                                                .decay = 2.4e-6f});
    near("value", &value, (const double[]){0.5 - 1.2e-6}, 1, 3e-8);
}

/* Breaks when the first moment is used after its rounding, or decays by another constant than asked for: the figures
 * are optax's, compiled, and those of an exact 0.9. */
static void test_beta1_kept(void **state)
{
    (void)state;
    static const struct {
        float kept;
        double m;
    } rows[] = {{0.9f, 0.15559082}, {0.8984375f, 0.15549430}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        const float grad = 1;
        float value = 0, second = 0;
        uint16_t first = vt_bf16_from_f32(0.061767578125f);
        vt_ref_adam(NULL, &(vt_adam_args){.count = 1,
                                          .value = &value,
                                          .moment_type = VT_BF16,
                                          .grad = &grad,
                                          .first = &first,
                                          .second = &second,
                                          .grad_scale = 1,
                                          .beta1 = 0.9f,
                                          .beta1_kept = rows[i].kept,
                                          .first_scale = 1,
                                          .second_scale = 1,
                                          .lr = -1});
        near("output", &value, &rows[i].m, 1, 1e-7); /* second moment: beta2 = 0 leaves g^2 = 1 */
        assert_int_equal(first, vt_bf16_from_f32((float)rows[i].m));
    }
}

/* Breaks when a correction multiplies the wrong moment, or eps stands under the root: step 2 worked by hand. */
static void test_adam(void **state)
{
    (void)state;
    const float grads[] = {2, -1};
    float value = 1, first = 0, second = 0;
    double square_change;
    for (int k = 1; k <= 2; k++)
        vt_ref_adam(NULL, &(vt_adam_args){.count = 1,
                                          .value = &value,
                                          .grad = &grads[k - 1],
                                          .first = &first,
                                          .second = &second,
                                          .grad_scale = 0.5f,
                                          .beta1 = 0.5f,
                                          .beta1_kept = 0.5f,
                                          .beta2 = 0.75f,
                                          .first_scale = (float)(1 / (1 - pow(0.5, k))),
                                          .second_scale = (float)(1 / (1 - pow(0.75, k))),
                                          .eps = 0.25f,
                                          .lr = 0.1f,
                                          .square_change = &square_change});
    /* g = 1, -0.5; m = 0.5, 0; v = 0.25, 0.25; step 1: u = 1 / (1 + 0.25); step 2: u = 0. */
    near("first", &first, (const double[]){0}, 1, 1e-8);
    near("second", &second, (const double[]){0.25}, 1, 1e-8);
    near("value", &value, (const double[]){1 - 0.1 * 0.8}, 1, 1e-7);
    assert_true(square_change < 1e-16);
}

/* Breaks when sgd's momentum is an average (a factor of 1 - beta1 too small), or decay leaves the value's sign. */
static void test_sgd(void **state)
{
    (void)state;
    const float grad = 2;
    float value = -1, momentum = 10;
    double square_change;
    vt_ref_sgd(NULL, &(vt_sgd_args){.count = 1,
                                    .value = &value,
                                    .grad = &grad,
                                    .momentum = &momentum,
                                    .grad_scale = 0.5f,
                                    .beta1_kept = 0.75f,
                                    .lr = 0.5f,
                                    .decay = 0.125f,
                                    .square_change = &square_change});
    near("momentum", &momentum, (const double[]){8.5}, 1, 0);
    near("value", &value, (const double[]){-1 - 0.5 * 8.5 + 0.125}, 1, 0);
    assert_true(square_change == 4.125 * 4.125);
}

/* Breaks when R / mean(R) underflows, as it does for a row of no gradient beside others: its elements must not become
 * infinite. */
static void test_adafactor_idle_row(void **state)
{
    (void)state;
    for (int i = 0; i < vt_n_isas; i++) {
        float grad[4] = {0, 0, 1e10f, 1e10f}, value[4] = {1, 1, 1, 1}, row[2] = {0}, col[2] = {0}, momentum[4] = {0};
        uint64_t scratch[1 << 12] = {0};
        vt_pool *pool;
        vt_ops ops;
        if (!vt_isas[i].usable())
            continue;
        assert_int_equal(vt_pool_new(&pool, 1, NULL), VT_OK);
        vt_isas[i].fill(&ops);
        ops.adafactor(&(vt_exec){pool, (unsigned char *)scratch, sizeof scratch},
                      &(vt_adafactor_args){.blocks = 1,
                                           .rows = 2,
                                           .cols = 2,
                                           .block_stride = 4,
                                           .row_stride = 2,
                                           .value = value,
                                           .grad = grad,
                                           .row_moment = row,
                                           .col_moment = col,
                                           .momentum = momentum,
                                           .grad_scale = 1,
                                           .beta1 = 0.9f,
                                           .beta1_kept = 0.9f,
                                           .lr = 1});
        assert_true(value[0] == 1 && value[1] == 1);
        assert_true(isfinite(value[2]) && value[2] < 1);
        vt_pool_free(pool);
    }
}

/* Breaks when ties do not go to even, overflow does not go to infinity, or a NaN becomes an infinity. */
static void test_bf16(void **state)
{
    (void)state;
    static const struct {
        uint32_t from;
        uint16_t to;
    } rows[] = {
        {0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81},
        {0x3f807fff, 0x3f80}, {0x80000000, 0x8000}, {0x7f7fffff, 0x7f80}, {0x7f800000, 0x7f80},
        {0xff800000, 0xff80}, {0x7f800001, 0x7fc0}, {0xffffffff, 0xffff}, {0x00000001, 0x0000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float f;
        memcpy(&f, &rows[i].from, sizeof f);
        assert_int_equal(vt_bf16_from_f32(f), rows[i].to);
    }
    for (uint32_t i = 0; i < 0x10000; i++) {
        const float f = vt_bf16_to_f32((uint16_t)i);
        if (!isnan(f))
            assert_int_equal(vt_bf16_from_f32(f), i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patch_order),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_bf16_product),
        cmocka_unit_test(test_layernorm),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_stats),
        cmocka_unit_test(test_cross_entropy),
        cmocka_unit_test(test_adafactor_factored),
        cmocka_unit_test(test_adafactor_full),
        cmocka_unit_test(test_adafactor_blocks),
        cmocka_unit_test(test_decay),
        cmocka_unit_test(test_beta1_kept),
        cmocka_unit_test(test_adam),
        cmocka_unit_test(test_sgd),
        cmocka_unit_test(test_adafactor_idle_row),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests_name("kernels/ref", tests, NULL, NULL);
}
