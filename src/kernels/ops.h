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
 * Types. Tensors that are marked (t) have the call's `type`; gradients of parameters, marked (g), have its `grad_type`;
 * all others are float32. With bf16, a product rounds its float32 weights to bf16 and takes two terms at a time into a
 * float32 sum, in the order of the inner dimension: acc = fma(a[2p], b[2p], fma(a[2p+1], b[2p+1], acc)), each fma
 * rounded to nearest even, denormals read and written as zero: what vdpbf16ps does. An odd last term is paired with
 * zeros. Sums, statistics and functions are float32; a bf16 result is rounded once, to nearest even, when it is stored.
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

/* Element types: float32, and bfloat16 as uint16_t. */
typedef enum { VT_F32, VT_BF16 } vt_real;

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
 *   patches[b*N + gy*(image_width/P) + gx, c*P*P + py*P + px] = scale[c] * images[b, gy*P+py, gx*P+px, c] + offset[c]
 * images (B, image_height, image_width, 3) uint8; patches (t) (B*N, 3*P*P): the column order is that of timm's
 * patch_embed.proj.weight (D, 3, P, P). Grid sides are floor(image side / P): right and bottom remainders are dropped.
 * Mixup (spec 3.6): partner_share s > 0 replaces a pixel x of sample b by (1-s) x + s x', x' that of sample b-1; the
 * image before images[0] then exists. */
typedef struct {
    int64_t samples, image_height, image_width, patch;
    const uint8_t *images;
    float scale[3], offset[3], partner_share;
    vt_real type;
    void *patches;
} vt_patchify_args;

/* GELU in its tanh form: 0.5 z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))); GELU as it is: 0.5 z (1 + erf(z/sqrt(2)));
 * the quick one: z s(1.702 z), s the logistic function. */
typedef enum { VT_ACT_NONE, VT_ACT_GELU_TANH, VT_ACT_GELU_ERF, VT_ACT_GELU_QUICK, VT_ACT_TANH } vt_act;

/* Linear layer with a fused epilogue:
 *   z[r,o] = sum_i x[r,i] * w[o,i] + bias[o];   y[r,o] = act(z[r,o]) * scale[o] + residual[r mod residual_rows, o]
 * x (t) (rows, in), w (out, in), bias, scale (out) or NULL. pre (t) (rows, out) or NULL receives z, for the backward
 * pass. y (rows, out) is (t) without a residual and float32 with one. residual (residual_rows, out) or NULL;
 * residual_rows = rows for a residual stream, N for position embeddings; y may be residual when residual_rows = rows.
 */
typedef struct {
    int64_t rows, in, out;
    vt_real type;
    const void *x;
    const float *w, *bias;
    vt_act act;
    void *pre;
    const float *scale, *residual;
    int64_t residual_rows;
    void *y;
} vt_linear_fwd_args;

/* Gradient of a linear layer's input:  dx[r,i] = (sum_o dy[r,o] * w[o,i]) * act'(pre[r,i])
 * dy (t) (rows, out), w (out, in), pre (t) (rows, in) or NULL (then the factor is 1): the saved z of the activation
 * that produced this layer's input; dx (t) (rows, in). */
typedef struct {
    int64_t rows, in, out;
    vt_real type;
    const void *dy;
    const float *w;
    vt_act act;
    const void *pre;
    void *dx;
} vt_linear_dx_args;

/* Gradients of a linear layer's parameters, sums over samples:
 *   dw[o,i] = sum_r dy[r,o] * x[r,i];   dbias[o] = sum_r dy[r,o],   r over samples*tokens rows
 * dy (t) (samples*tokens, out), x (t) (samples*tokens, in), dw (g) (out, in), dbias (g) (out) or NULL. The terms of a
 * bf16 product are paired from the first row of each slice. A bf16 gradient does not accumulate. */
typedef struct {
    int64_t samples, tokens, in, out;
    vt_real type, grad_type;
    const void *dy, *x;
    int slices, accumulate;
    void *dw, *dbias;
} vt_linear_dw_args;

/* Gradients of a scale of columns, y[r,c] = z[r,c] * scale[c]:
 *   dz[r,c] = dy[r,c] * scale[c];   dscale[c] = sum_r dy[r,c] * z[r,c]          (over samples, rows = samples*tokens)
 * dy, z, dz (t) (rows, cols), dz may be dy; scale (cols), dscale (g) (cols). */
typedef struct {
    int64_t samples, tokens, cols;
    vt_real type, grad_type;
    const void *dy, *z;
    const float *scale;
    int slices, accumulate;
    void *dz, *dscale;
} vt_scale_bwd_args;

/* A gate: y[r,c] = silu(x[r,c]) * x[r,cols+c], silu(g) = g s(g), s the logistic function. x (t) (rows, 2 cols): gate,
 * then value; y (t) (rows, cols). */
typedef struct {
    int64_t rows, cols;
    vt_real type;
    const void *x;
    void *y;
} vt_swiglu_fwd_args;

/* dx[r,c] = dy[r,c] * x[r,cols+c] * silu'(x[r,c]);   dx[r,cols+c] = dy[r,c] * silu(x[r,c]).  dy (t) (rows, cols); x, dx
 * (t) (rows, 2 cols), dx may be x. */
typedef struct {
    int64_t rows, cols;
    vt_real type;
    const void *dy, *x;
    void *dx;
} vt_swiglu_bwd_args;

/* Layer normalization over the last dimension:
 *   y[r,c] = (x[r,c] - mean_r) * rstd_r * gamma[c] + beta[c],   rstd_r = 1/sqrt(var_r + eps), var_r divides by cols
 * x (rows, cols), y (t) (rows, cols), may be x when float32; mean, rstd (rows), kept for the backward pass. Ba et al.
 * 2016, section 3. */
typedef struct {
    int64_t rows, cols;
    const float *x, *gamma, *beta;
    float eps;
    float *mean, *rstd;
    vt_real type;
    void *y;
} vt_layernorm_fwd_args;

/* Its backward pass, with the residual stream's gradient added:
 *   xhat = (x - mean) * rstd;   g = dy * gamma
 *   dx = rstd * (g - mean_c(g) - xhat * mean_c(g * xhat)) + dresidual
 *   dgamma[c] = sum_r dy * xhat;   dbeta[c] = sum_r dy          (sums over samples, rows = samples*tokens)
 * dy (t) (rows, cols); dresidual (rows, cols) or NULL; dx (rows, cols) may be dresidual, or dy when float32. dx_bf16
 * (rows, cols) bf16 or NULL: receives dx rounded too, as the operand of the products that follow. dgamma, dbeta (g). */
typedef struct {
    int64_t samples, tokens, cols;
    vt_real type, grad_type;
    const float *x, *gamma, *mean, *rstd;
    const void *dy;
    const float *dresidual;
    int slices, accumulate;
    float *dx;
    uint16_t *dx_bf16;
    void *dgamma, *dbeta;
} vt_layernorm_bwd_args;

/* Layer normalization of each head of queries or keys, in their place:
 *   y[r,h,k] = (x[r,h,k] - mean) * rstd * gamma[k] + beta[k],   mean and rstd over k as in layernorm_fwd
 * Element k of head h of row r lies at y[r*row_stride + h*head_width + k] (t): x before the call, y after it. saved (t)
 * (rows, heads*head_width) or NULL receives x, and mean, rstd (rows, heads) or NULL with it, for the backward pass. */
typedef struct {
    int64_t rows, heads, head_width, row_stride;
    const float *gamma, *beta;
    float eps;
    vt_real type;
    void *y, *saved;
    float *mean, *rstd;
} vt_headnorm_fwd_args;

/* Its backward pass, dy becoming dx in its place (strides as y's), with the equations of layernorm_bwd; dgamma, dbeta
 * (g) (head_width) are sums over samples and heads, rows = samples*tokens. x (t) is what was saved. */
typedef struct {
    int64_t samples, tokens, heads, head_width, row_stride;
    vt_real type, grad_type;
    const void *x;
    const float *gamma, *mean, *rstd;
    void *dy;
    int slices, accumulate;
    void *dgamma, *dbeta;
} vt_headnorm_bwd_args;

/* Multi-head attention, fused: no tokens-by-tokens matrix in memory.
 *   s[i,j] = (q_i . k_j) / sqrt(K);   p = softmax_j(s);   y_i = sum_j p[i,j] v_j;   lse_i = log sum_j exp(s[i,j])
 * for each sample and head. Element k of head h of token t of sample b lies at q[b*q_sample_stride + t*q_row_stride +
 * h*K + k] (strides in floats; q_sample_stride = 0 shares one query, the probe of a MAP head, among all samples); k and
 * v likewise with the kv strides. For fused qkv (B, N, 3, H, K): row stride 3D, v = k + D = q + 2D. q, k, v (t); y (t)
 * (samples, q_tokens, H*K); lse (samples, H, q_tokens). With bf16, exp(s - max_j s) is rounded to bf16 before it meets
 * v, and their sum is that of the values before rounding. */
typedef struct {
    int64_t samples, heads, head_width, q_tokens, kv_tokens;
    vt_real type;
    const void *q, *k, *v;
    int64_t q_sample_stride, q_row_stride, kv_sample_stride, kv_row_stride;
    void *y;
    float *lse;
} vt_attention_fwd_args;

/* Its backward pass from y, lse and dy; scores are computed again:
 *   D_i = dy_i . y_i;  ds[i,j] = p[i,j] (dy_i . v_j - D_i) / sqrt(K)
 *   dq_i = sum_j ds[i,j] k_j;   dk_j = sum_i ds[i,j] q_i;   dv_j = sum_i p[i,j] dy_i
 * q, k, v, y, dy, dq, dk, dv (t). dq, dk, dv are written with row strides of their own (elements), sample strides =
 * tokens * row stride; dq is per sample even when q is shared (sum_samples adds it up). With bf16, p and ds are rounded
 * to bf16 before they meet dy, q and k. */
typedef struct {
    int64_t samples, heads, head_width, q_tokens, kv_tokens;
    vt_real type;
    const void *q, *k, *v;
    int64_t q_sample_stride, q_row_stride, kv_sample_stride, kv_row_stride;
    const void *y;
    const float *lse;
    const void *dy;
    void *dq, *dk, *dv;
    int64_t dq_row_stride, dkv_row_stride;
} vt_attention_bwd_args;

/* What people watch of attention, for each head the mean over samples of
 *   entropy[h] = mean_i -sum_j p[i,j] log p[i,j];   largest[h] = max_ij |s[i,j]|   (over samples too)
 * from q, k and lse as in attention_fwd. entropy, largest (heads), doubles in device memory. Sums in an order fixed by
 * the shape. */
typedef struct {
    int64_t samples, heads, head_width, q_tokens, kv_tokens;
    vt_real type;
    const void *q, *k;
    int64_t q_sample_stride, q_row_stride, kv_sample_stride, kv_row_stride;
    const float *lse;
    double *entropy, *largest;
} vt_attention_stats_args;

/* Mean over `taken` tokens from `first` on: y[b,c] = (1/taken) sum_t x[b,t,c], first <= t < first + taken <= tokens;  x
 * (samples, tokens, cols). gap pooling takes all patches, tok pooling the first token. */
typedef struct {
    int64_t samples, tokens, first, taken, cols;
    const float *x;
    float *y;
} vt_mean_tokens_fwd_args;

/* dx[b,t,c] = dy[b,c] / taken for those t, else 0. */
typedef struct {
    int64_t samples, tokens, first, taken, cols;
    const float *dy;
    float *dx;
} vt_mean_tokens_bwd_args;

/* Puts tokens in front: a class token (with its position), then others:
 *   y[b,0,c] = token[c] + position[c];   y[b,T-n+i,c] = more[i,c], i < n;   y[b,T+t,c] = x[b,t,c]
 * T = n, and one more with a token. token, position (cols) or NULL, position only with a token; more (n, cols), n may
 * be 0; T >= 1; x (samples, tokens, cols); y (samples, T + tokens, cols). */
typedef struct {
    int64_t samples, tokens, cols, n;
    const float *token, *position, *more, *x;
    float *y;
} vt_join_tokens_fwd_args;

/* What lies behind the first `front` tokens: dx[b,t,c] = dy[b,front+t,c].  dy (samples, front + tokens, cols). The
 * gradients of those in front are sums over samples of dy where it lies: sum_samples. */
typedef struct {
    int64_t samples, tokens, cols, front;
    const float *dy;
    float *dx;
} vt_join_tokens_bwd_args;

/* Dropout and stochastic depth, forward on activations and backward on gradients alike:
 *   y[b,i] = residual[b,i] + x[b,i] * [u_bi >= rate] / (1 - rate) * [u_b >= path_rate] / (1 - path_rate)
 * x (t) (samples, count); y is (t) without a residual, may then be x, and float32 with one; residual (samples, count)
 * or NULL. Random numbers of their own address: u_bi is lane i mod 4 of vt_philox(seed, VT_STREAM_DROP, position + b,
 * use, i / 4), u_b lane 0 of block 0xffffffff, u = (lane >> 8) 2^-24; position: that of sample 0 in the run. */
typedef struct {
    int64_t samples, count;
    vt_real type;
    const void *x;
    float rate, path_rate;
    uint32_t seed, use;
    int64_t position;
    const float *residual;
    void *y;
} vt_drop_args;

/* y[i] = bf16(x[i]). */
typedef struct {
    int64_t count;
    const float *x;
    uint16_t *y;
} vt_to_bf16_args;

/* A sum over samples: y[c] = sum_b x[b,c];  x (samples, cols), sample b at x[b * stride], y (g). For position
 * embeddings, tokens, the probe's query, the loss. */
typedef struct {
    int64_t samples, cols, stride;
    const float *x;
    int slices, accumulate;
    vt_real grad_type;
    void *y;
} vt_sum_samples_args;

typedef enum { VT_LOSS_SIGMOID, VT_LOSS_SOFTMAX } vt_loss_kind;

/* Cross-entropy against sets of classes (spec 3.6), and its gradient. The target of sample b is
 *   y[b,c] = smoothing / (C-1) + (1 - smoothing - smoothing / (C-1)) * ((1-s) [c in labels b] + s [c in labels b-1])
 * s = partner_share (mixup; the row before labels[0] then exists), and with class weights v (1 where NULL):
 *   sigmoid:  loss[b] = weight * sum_c v_c (y softplus(-z) + (1-y) softplus(z));   dz = weight * v_c (sigmoid(z) - y)
 *   softmax:  loss[b] = weight * sum_c -v_c y_c log softmax(z)_c;   dz_c = weight * (softmax(z)_c
 *             sum_k v_k y_k - v_c y_c)
 *
 * logits (samples, classes); labels (samples, label_width) int32 in 0..C-1, or -1 for none, no class twice in a row;
 * weight = 1 / batch; loss (samples); dlogits (samples, classes) may be NULL or logits. C = 1: smoothing = 0. */
typedef struct {
    vt_loss_kind kind;
    int64_t samples, classes, label_width;
    const float *logits;
    const int32_t *labels;
    float partner_share, smoothing;
    const float *class_weights;
    float weight;
    float *loss, *dlogits;
} vt_cross_entropy_args;

/* Sum of squares: *sum = sum_i x[i]^2, x (t), in double, in an order fixed by count. *sum is not finite exactly when
 * some x[i] is not. */
typedef struct {
    int64_t count;
    vt_real type;
    const void *x;
    double *sum; /* device memory */
} vt_sum_squares_args;

/* What a tensor holds, for whoever looks for a bad number: out[0], out[1] the smallest and largest finite value (+inf
 * and -inf where there is none), out[2] the sum of squares of the finite values, out[3] how many are not finite; x (t).
 */
typedef struct {
    int64_t count;
    vt_real type;
    const void *x;
    double *out; /* 4 doubles, device memory */
} vt_inspect_args;

/* Updates of one tensor. In all of them g = grad_scale * grad, grad (g); lr and decay come with the schedule's factor
 * multiplied in; value (float32) moves by  delta = -(lr * u + decay * value),  and *square_change (device memory, or
 * NULL) receives the sum of delta^2 in double, in an order fixed by the shape. A moment of `moment_type` is used in
 * float32 and rounded when it is stored; it decays by beta1_kept, which is beta1, or bf16(beta1) as in optax (spec
 * 3.1).
 *
 * The paper's modified Adafactor (spec 3.2):  G = g^2 + 1e-30;
 *   factored (row_moment not NULL), for each block:  R = beta2 R + (1-beta2) mean_cols(G);
 *       S = beta2 S + (1-beta2) mean_rows(G);   v[r,c] = g[r,c] / sqrt(R[r] / mean(R)) / sqrt(S[c])
 *   else:  V = beta2 V + (1-beta2) G;  v = g / sqrt(V)
 *   u = (1 - beta1) v + beta1_kept m;   m = u
 * Element (b, r, c) at b*block_stride + r*row_stride + c in value, grad and m. Not factored: blocks = 1, rows = 1, cols
 * = count. row_moment (blocks, rows), col_moment (blocks, cols); full_moment (count): exactly one of the two forms. */
typedef struct {
    int64_t blocks, rows, cols, block_stride, row_stride;
    float *value;
    vt_real grad_type, moment_type;
    const void *grad;
    float *row_moment, *col_moment, *full_moment;
    void *momentum;
    float grad_scale, beta1, beta1_kept, beta2, lr, decay;
    double *square_change;
} vt_adafactor_args;

/* Adam (spec 3.1):  m' = (1 - beta1) g + beta1_kept m;  v = beta2 v + (1-beta2) g^2;
 *   u = m' * first_scale / (sqrt(v * second_scale) + eps);   m = m'
 * first_scale = 1 / (1 - beta1^k), second_scale = 1 / (1 - beta2^k) of step k. first (count) moment_type, second
 * (count). */
typedef struct {
    int64_t count;
    float *value;
    vt_real grad_type, moment_type;
    const void *grad;
    void *first;
    float *second;
    float grad_scale, beta1, beta1_kept, beta2, first_scale, second_scale, eps, lr, decay;
    double *square_change;
} vt_adam_args;

/* SGD with momentum (spec 3.3):  u = g + beta1_kept m;  m = u.  momentum (count) moment_type. */
typedef struct {
    int64_t count;
    float *value;
    vt_real grad_type, moment_type;
    const void *grad;
    void *momentum;
    float grad_scale, beta1_kept, lr, decay;
    double *square_change;
} vt_sgd_args;

/* A moving average: average = kept * average + (1 - kept) * value. */
typedef struct {
    int64_t count;
    const float *value;
    float kept;
    float *average;
} vt_average_args;

#define VT_OPS(X)                                                                                                      \
    X(patchify)                                                                                                        \
    X(linear_fwd)                                                                                                      \
    X(linear_dx)                                                                                                       \
    X(linear_dw)                                                                                                       \
    X(layernorm_fwd)                                                                                                   \
    X(layernorm_bwd)                                                                                                   \
    X(scale_bwd)                                                                                                       \
    X(swiglu_fwd)                                                                                                      \
    X(swiglu_bwd)                                                                                                      \
    X(headnorm_fwd)                                                                                                    \
    X(headnorm_bwd)                                                                                                    \
    X(attention_fwd)                                                                                                   \
    X(attention_bwd)                                                                                                   \
    X(attention_stats)                                                                                                 \
    X(mean_tokens_fwd)                                                                                                 \
    X(mean_tokens_bwd)                                                                                                 \
    X(join_tokens_fwd)                                                                                                 \
    X(join_tokens_bwd)                                                                                                 \
    X(drop)                                                                                                            \
    X(to_bf16)                                                                                                         \
    X(sum_samples)                                                                                                     \
    X(cross_entropy)                                                                                                   \
    X(sum_squares)                                                                                                     \
    X(inspect)                                                                                                         \
    X(adafactor)                                                                                                       \
    X(adam)                                                                                                            \
    X(sgd)                                                                                                             \
    X(average)

typedef struct {
#define X(op) void (*op)(const vt_exec *ex, const vt_##op##_args *a);
    VT_OPS(X)
#undef X
} vt_ops;

/* The largest shapes that operations will be called with, from which scratch memory follows. */
typedef struct {
    int64_t tokens, head_width, slices;
    int64_t width;      /* the largest last dimension of any tensor */
    int64_t norm_width; /* that of a layernorm */
} vt_limits;

#endif
