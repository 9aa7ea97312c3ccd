/* The contract: every operation on tensors that vitro does, as a struct of named arguments and one line in VT_OPS.
 *
 * An implementation (ref/, cpu/) fills a table of these. ref/ is the judge: plain loops, sums in double. Shapes are
 * checked once, when the model is planned; an operation cannot fail and allocates nothing.
 *
 * Letters: B samples, N tokens, D width, H heads, K = D/H head width, M MLP width, C classes, P patch side. All tensors
 * are row-major, contiguous unless a stride says otherwise, float32 unless said otherwise, and do not overlap unless
 * said otherwise. A pointer is aligned to its element and no further. All sizes are at least 1. What lies between the
 * rows of a strided tensor is neither used nor written. dx is the gradient with respect to x.
 *
 * Every row (or sample) of a result is computed by itself: its bits do not depend on how many others are in the call.
 *
 * Sums. A sum inside one sample (the inner dimension of a product, statistics of a row) has an order fixed by the
 * shape. A sum over samples is cut into `slices` partial sums, slice s taking samples [floor(s*B/S), floor((s+1)*B/S)),
 * and the partials are added by the balanced binary tree over 0..S-1 (S a power of two, at most VT_MAX_SLICES):
 * tree(lo, n) = tree(lo, n/2) + tree(lo + n/2, n/2). Then, if `accumulate`, result = old + tree; else result = tree.
 * Neither depends on threads, on time, or (slices being contiguous) on the number of processes that share the slices.
 *
 * The header stays in the common part of C17 and C++17, so that CUDA sources can include it. */
#ifndef VT_KERNELS_OPS_H
#define VT_KERNELS_OPS_H

#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "device/device.h"

#define VT_MAX_SLICES     64
#define VT_MAX_HEAD_WIDTH 256
#define VT_MAX_TOKENS     16384

/* What a kernel computes with: the threads, and scratch memory of its own for each of them. */
typedef struct {
    vt_pool *pool;
    unsigned char *scratch; /* threads * scratch_bytes, 64-byte aligned */
    size_t scratch_bytes;   /* for one thread */
} vt_exec;

/* Cuts images into patches and scales pixels in one pass:
 *   patches[b*N + gy*(image_width/P) + gx, c*P*P + py*P + px] = scale * images[b, gy*P+py, gx*P+px, c] + offset
 * images (B, image_height, image_width, 3) uint8; patches (B*N, 3*P*P): the column order is that of timm's
 * patch_embed.proj.weight (D, 3, P, P). Grid sides are floor(image side / P): right and bottom remainders are dropped.
 */
typedef struct {
    int64_t samples, image_height, image_width, patch;
    const uint8_t *images;
    float scale, offset;
    float *patches;
} vt_patchify_args;

typedef enum { VT_ACT_NONE, VT_ACT_GELU_TANH } vt_act;

/* Linear layer with a fused epilogue:
 *   z[r,o] = sum_i x[r,i] * w[o,i] + bias[o];   y[r,o] = act(z[r,o]) + residual[r mod residual_rows, o]
 * x (rows, in), w (out, in), bias (out) or NULL, y (rows, out). pre (rows, out) or NULL receives z, for the backward
 * pass. residual (residual_rows, out) or NULL; residual_rows = rows for a residual stream, N for position embeddings; y
 * may be residual when residual_rows = rows. GELU is the tanh form: 0.5 z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))). */
typedef struct {
    int64_t rows, in, out;
    const float *x, *w, *bias;
    vt_act act;
    float *pre;
    const float *residual;
    int64_t residual_rows;
    float *y;
} vt_linear_fwd_args;

/* Gradient of a linear layer's input:  dx[r,i] = (sum_o dy[r,o] * w[o,i]) * gelu'(pre[r,i])
 * dy (rows, out), w (out, in), pre (rows, in) or NULL (then the factor is 1): the saved z of the GELU that produced
 * this layer's input; dx (rows, in). */
typedef struct {
    int64_t rows, in, out;
    const float *dy, *w, *pre;
    float *dx;
} vt_linear_dx_args;

/* Gradients of a linear layer's parameters, sums over samples:
 *   dw[o,i] = sum_r dy[r,o] * x[r,i];   dbias[o] = sum_r dy[r,o],   r over samples*tokens rows
 * dy (samples*tokens, out), x (samples*tokens, in), dw (out, in), dbias (out) or NULL. */
typedef struct {
    int64_t samples, tokens, in, out;
    const float *dy, *x;
    int slices, accumulate;
    float *dw, *dbias;
} vt_linear_dw_args;

/* Layer normalization over the last dimension:
 *   y[r,c] = (x[r,c] - mean_r) * rstd_r * gamma[c] + beta[c],   rstd_r = 1/sqrt(var_r + eps), var_r divides by cols
 * x, y (rows, cols), y may be x; mean, rstd (rows), kept for the backward pass. Ba et al. 2016, section 3. */
typedef struct {
    int64_t rows, cols;
    const float *x, *gamma, *beta;
    float eps;
    float *mean, *rstd, *y;
} vt_layernorm_fwd_args;

/* Its backward pass, with the residual stream's gradient added:
 *   xhat = (x - mean) * rstd;   g = dy * gamma
 *   dx = rstd * (g - mean_c(g) - xhat * mean_c(g * xhat)) + dresidual
 *   dgamma[c] = sum_r dy * xhat;   dbeta[c] = sum_r dy          (sums over samples, rows = samples*tokens)
 * dresidual (rows, cols) or NULL; dx may be dresidual or dy. */
typedef struct {
    int64_t samples, tokens, cols;
    const float *x, *gamma, *mean, *rstd, *dy, *dresidual;
    int slices, accumulate;
    float *dx, *dgamma, *dbeta;
} vt_layernorm_bwd_args;

/* Multi-head attention, fused: no tokens-by-tokens matrix in memory.
 *   s[i,j] = (q_i . k_j) / sqrt(K);   p = softmax_j(s);   y_i = sum_j p[i,j] v_j;   lse_i = log sum_j exp(s[i,j])
 * for each sample and head. Element k of head h of token t of sample b lies at q[b*q_sample_stride + t*q_row_stride +
 * h*K + k] (strides in floats; q_sample_stride = 0 shares one query, the probe of a MAP head, among all samples); k and
 * v likewise with the kv strides. For fused qkv (B, N, 3, H, K): row stride 3D, v = k + D = q + 2D. y (samples,
 * q_tokens, H*K); lse (samples, H, q_tokens). */
typedef struct {
    int64_t samples, heads, head_width, q_tokens, kv_tokens;
    const float *q, *k, *v;
    int64_t q_sample_stride, q_row_stride, kv_sample_stride, kv_row_stride;
    float *y, *lse;
} vt_attention_fwd_args;

/* Its backward pass from y, lse and dy; scores are computed again:
 *   D_i = dy_i . y_i;  ds[i,j] = p[i,j] (dy_i . v_j - D_i) / sqrt(K)
 *   dq_i = sum_j ds[i,j] k_j;   dk_j = sum_i ds[i,j] q_i;   dv_j = sum_i p[i,j] dy_i
 * dq, dk, dv are written with row strides of their own (floats), sample strides = tokens * row stride; dq is per sample
 * even when q is shared (sum_samples adds it up). */
typedef struct {
    int64_t samples, heads, head_width, q_tokens, kv_tokens;
    const float *q, *k, *v;
    int64_t q_sample_stride, q_row_stride, kv_sample_stride, kv_row_stride;
    const float *y, *lse, *dy;
    float *dq, *dk, *dv;
    int64_t dq_row_stride, dkv_row_stride;
} vt_attention_bwd_args;

/* Mean over tokens (gap pooling): y[b,c] = (1/N) sum_t x[b,t,c];  x (samples, tokens, cols). */
typedef struct {
    int64_t samples, tokens, cols;
    const float *x;
    float *y;
} vt_mean_tokens_fwd_args;

/* dx[b,t,c] = dy[b,c] / N. */
typedef struct {
    int64_t samples, tokens, cols;
    const float *dy;
    float *dx;
} vt_mean_tokens_bwd_args;

/* A sum over samples: y[c] = sum_b x[b,c];  x (samples, cols). For position embeddings, the probe's query, the loss. */
typedef struct {
    int64_t samples, cols;
    const float *x;
    int slices, accumulate;
    float *y;
} vt_sum_samples_args;

/* Sigmoid cross-entropy against one class a sample (spec 3.6), and its gradient:
 *   loss[b] = weight * sum_c softplus(t_c * z[b,c]), t_c = -1 for the label's class, +1 for all others
 *   dlogits[b,c] = weight * (sigmoid(z[b,c]) - [c = label_b])
 * logits (samples, classes); labels (samples) int32 in 0..C-1; weight = 1 / batch; dlogits may be NULL or logits. */
typedef struct {
    int64_t samples, classes;
    const float *logits;
    const int32_t *labels;
    float weight;
    float *loss, *dlogits;
} vt_sigmoid_xent_args;

/* Sum of squares: *sum = sum_i x[i]^2, in double, in an order fixed by count. *sum is not finite exactly when some x[i]
 * is not. */
typedef struct {
    int64_t count;
    const float *x;
    double *sum; /* device memory */
} vt_sum_squares_args;

/* One step of the paper's modified Adafactor (spec 3.2) on one tensor:
 *   g = grad_scale * grad;   G = g^2 + 1e-30
 *   factored (row_moment not NULL), for each block: R = beta2 R + (1-beta2) mean_cols(G);  S = beta2 S + (1-beta2)
 * mean_rows(G) u[r,c] = g[r,c] / sqrt(R[r] / mean(R)) / sqrt(S[c]) else:                                           V =
 * beta2 V + (1-beta2) G;  u = g / sqrt(V) m' = (1 - beta1) u + beta1 m, in float32;  m = bf16(m') rounded to nearest
 * even;  value -= lr * m' + decay * value Element (b, r, c) at b*block_stride + r*row_stride + c in value, grad and m.
 * Not factored: blocks = 1, rows = 1, cols = count. row_moment (blocks, rows), col_moment (blocks, cols); full_moment
 * (count), exactly one of the two forms is given. momentum (count) bf16 as uint16_t. lr and decay come with the
 * schedule's factor multiplied in. */
typedef struct {
    int64_t blocks, rows, cols, block_stride, row_stride;
    float *value;
    const float *grad;
    float *row_moment, *col_moment, *full_moment;
    uint16_t *momentum;
    float grad_scale, beta1, beta2, lr, decay;
} vt_adafactor_args;

#define VT_OPS(X)                                                                                                      \
    X(patchify)                                                                                                        \
    X(linear_fwd)                                                                                                      \
    X(linear_dx)                                                                                                       \
    X(linear_dw)                                                                                                       \
    X(layernorm_fwd)                                                                                                   \
    X(layernorm_bwd)                                                                                                   \
    X(attention_fwd)                                                                                                   \
    X(attention_bwd)                                                                                                   \
    X(mean_tokens_fwd)                                                                                                 \
    X(mean_tokens_bwd)                                                                                                 \
    X(sum_samples)                                                                                                     \
    X(sigmoid_xent)                                                                                                    \
    X(sum_squares)                                                                                                     \
    X(adafactor)

typedef struct {
#define X(op) void (*op)(const vt_exec *ex, const vt_##op##_args *a);
    VT_OPS(X)
#undef X
} vt_ops;

/* The largest shapes that operations will be called with, from which scratch memory follows. */
typedef struct {
    int64_t tokens, head_width, width, slices; /* width: the largest last dimension of any tensor */
} vt_limits;

#endif
