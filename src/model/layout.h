/* What the files of model/ share: where each parameter stands in the table, which activations are kept, and the memory
 * that one pass works in. Nobody outside model/ includes this.
 *
 * Letters as in kernels/ops.h: B samples, N tokens, D width, H heads, K = D/H, M MLP width, L depth, C classes, P
 * patch; F width of the features. (t) marks tensors of the body's type, m->use.type; all others are float32. */
#ifndef VT_MODEL_LAYOUT_H
#define VT_MODEL_LAYOUT_H

#include "model/model.h"

/* Rows of the table of parameters, group by group: embedding, L blocks, final norm, pool (MAP head), the norm behind
 * pooling, representation layer, classifier. Which of them a model has is up to its configuration (params.c). */
enum { EMBED_W, EMBED_B, EMBED_POS, EMBED_TOKEN, EMBED_REGISTERS, NORM_PRE_W, NORM_PRE_B, N_EMBED };
enum {
    NORM1_W,
    NORM1_B,
    QKV_W,
    QKV_B,
    Q_NORM_W,
    Q_NORM_B,
    K_NORM_W,
    K_NORM_B,
    PROJ_W,
    PROJ_B,
    SCALE1,
    NORM2_W,
    NORM2_B,
    FC1_W,
    FC1_B,
    FC2_W,
    FC2_B,
    SCALE2,
    N_BLOCK
};
enum { NORM_W, NORM_B, N_NORM };
enum {
    POOL_LATENT,
    POOL_Q_W,
    POOL_Q_B,
    POOL_KV_W,
    POOL_KV_B,
    POOL_PROJ_W,
    POOL_PROJ_B,
    POOL_NORM_W,
    POOL_NORM_B,
    POOL_FC1_W,
    POOL_FC1_B,
    POOL_FC2_W,
    POOL_FC2_B,
    N_POOL
};
enum { REP_W, REP_B, N_REP };
enum { HEAD_W, HEAD_B, N_HEAD };

/* How a tensor's first values are drawn (spec 2.2). */
typedef enum {
    VT_INIT_ZERO,
    VT_INIT_ONE,
    VT_INIT_LECUN,    /* truncated normal, std 1/sqrt(fan_in) after the cut at two sigma */
    VT_INIT_XAVIER,   /* uniform, +-sqrt(6 / (fan_in + fan_out)) */
    VT_INIT_POSITION, /* normal, std 1/sqrt(D) */
    VT_INIT_SINCOS,   /* sines and cosines of the grid (spec 1.4) */
    VT_INIT_TINY,     /* normal, std 1e-6 */
    VT_INIT_SCALE,    /* model.layer_scale */
    VT_INIT_HEAD_BIAS /* model.head_bias */
} vt_init_kind;

/* One parameter's, fans in numbers. */
typedef struct {
    vt_init_kind kind;
    int64_t fan_in, fan_out;
} vt_init_rule;

/* One block's activations. In evaluation several of these are one buffer (activations.c). */
struct vt_block_acts {
    void *norm1;              /* (t) (B, N, D): LN(x) */
    float *mean1, *rstd1;     /* (B, N) */
    void *qkv;                /* (t) (B, N, 3, H, K); with qk_norm, queries and keys behind it */
    void *qk;                 /* (t) (2, B, N, H, K): with qk_norm, queries and keys before it; NULL in evaluation */
    float *qk_mean, *qk_rstd; /* (2, B, N, H) */
    void *attn;               /* (t) (B, N, D) */
    float *lse;               /* (B, H, N) */
    float *mid;               /* (B, N, D): x + attention branch */
    void *norm2;              /* (t) (B, N, D): LN(mid) */
    float *mean2, *rstd2;     /* (B, N) */
    void *pre, *act;          /* (t) (B, N, M): MLP before and after GELU (and dropout); pre NULL in evaluation, or with
                                 swiglu (B, N, 2M): gate and value, in backward their gradients */
    void *scaled[2];          /* (t) (B, N, D): with layer_scale, both branches before it; NULL in evaluation */
};

/* The activations behind the last block, all float32. */
typedef struct {
    float *norm, *mean, *rstd;                /* z = LN(x_L): (B, N, D), (B, N), (B, N); with norm_pooled z is x_L
                                                 itself, statistics are those of the pooled vector */
    float *q, *kv;                            /* the probe's query (D); (B, N, 2, H, K) */
    float *attn, *lse;                        /* (B, D), (B, H) */
    float *mid;                               /* a, (B, D) */
    float *pool_norm, *pool_mean, *pool_rstd; /* LN(a): (B, D), (B), (B) */
    float *pre, *act;                         /* (B, M) */
    float *pooled;                            /* (B, D): one vector a sample; the features without representation */
    float *raw;                               /* (B, D): the same before its norm with norm_pooled; else pooled */
    float *rep_pre;                           /* (B, F): representation layer before tanh; NULL in evaluation */
} vt_head_acts;

/* Gradients that live inside one call of backward and belong to the head, all float32. */
typedef struct {
    float *logits;         /* (B, C) */
    float *features;       /* (B, F): of the features, of the representation layer before tanh where there is one */
    float *pooled;         /* (B, D): the same memory without representation; on the way down also the gradient of a */
    float *narrow, *wide;  /* (B, D), (B, M) */
    float *q;              /* (B, D): of the probe's query, sample by sample */
    float *q_sum, *latent; /* (D) */
} vt_head_grads;

struct vt_model_layout {
    vt_init_rule *init; /* (n_params) */
    vt_tensor **rows;   /* every row that a model of this depth can have: its tensor, or NULL */
    int blocks, block_params, norm, pool, pooled_norm, rep, head; /* first of each group in params; those of a block */
    int first_trained; /* the first row that is not frozen; set with the gradients' places */

    float *unnormed, *pre_mean, *pre_rstd; /* with norm_pre, its input: (B, N, D), in evaluation x[0]; (B, N) */
    float **x;           /* (L+1) block inputs (B, N, D); x[L] is the final norm's input; one buffer in evaluation */
    vt_block_acts *acts; /* (L); the same pointers in every row where blocks share them */
    int64_t held;        /* the block whose activations the shared set holds, or -1 */
    vt_head_acts head_acts;
    vt_head_grads head_grads;

    /* Workspace. narrow (t) (B, N, D) and wide (t) (B, N, max(3D, M, 3P^2); 3M for swiglu in evaluation) hold
     * activations of the block at work in evaluation and gradients of the block at work in training; wide also holds
     * patches while they are embedded, and keys and values of a MAP head in float32. */
    void *narrow, *wide;
    float *unjoined;   /* (B, patches, D): embedded patches (then their gradient) apart from the tokens in front */
    float *dx;         /* (B, N, D): gradient of the residual stream */
    uint16_t *dx_bf16; /* (B, N, D): the same rounded, as an operand of products; NULL in float32 */
    float *discarded;  /* gradients of frozen tensors that cannot be left out: the longest row; NULL: none is frozen */
};

/* The rows of a group, at the places that the enums name; NULL for those that this model does not have. */
typedef vt_tensor *const *vt_rows;
vt_rows vt_model_embed_params(const vt_model *m);
vt_rows vt_model_block_params(const vt_model *m, int64_t l);
vt_rows vt_model_norm_params(const vt_model *m); /* the final norm, before pooling or behind it */
vt_rows vt_model_pool_params(const vt_model *m);
vt_rows vt_model_rep_params(const vt_model *m);
vt_rows vt_model_head_params(const vt_model *m);

/* Whether a tensor before that one in params is trained: the backward pass has something to do there. */
bool vt_model_trains_before(const vt_model *m, int first);

/* Bytes of an element. */
static inline size_t vt_model_bytes(vt_real type)
{
    return type == VT_BF16 ? sizeof(uint16_t) : sizeof(float);
}

/* Fills m->params and the layout's rows; the geometry is set. */
void vt_model_build_params(vt_model *m);

#endif
