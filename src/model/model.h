/* The Vision Transformer: its configuration, its table of parameters (timm's names and layouts), where its tensors lie,
 * and its forward and backward passes written out block by block (spec 1.3, 2.1). The order of work:
 *
 *   vt_model_init            configuration -> table of parameters
 *   vt_model_place_*         over counting arenas (the plan), then over memory
 *   vt_model_init_values     spec 2.2, by Philox, each tensor from its own name
 *   vt_model_forward         images -> features -> logits;    vt_model_loss -> loss, dlogits;    vt_model_backward ->
 * gradients
 *
 * train/ may drive vt_model_forward's and vt_model_backward's parts itself. */
#ifndef VT_MODEL_MODEL_H
#define VT_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/text.h"
#include "kernels/backend.h"
#include "kernels/tensor.h"

/* How tokens become one vector (spec 2.1): attention pooling, mean, class token. */
typedef enum { VT_HEAD_MAP, VT_HEAD_GAP, VT_HEAD_TOK } vt_head_kind;
extern const char *const vt_head_names[]; /* "map", "gap", "tok", NULL */

/* Position embeddings (spec 1.4): a parameter, or sines and cosines of the grid, which are never trained. */
typedef enum { VT_POSITIONS_LEARNED, VT_POSITIONS_SINCOS2D } vt_positions_kind;
extern const char *const vt_positions_names[]; /* "learned", "sincos2d", NULL */

/* The MLP's activation: GELU's tanh form, GELU as it is, CLIP's z sigmoid(1.702 z). */
typedef enum { VT_GELU_TANH, VT_GELU_ERF, VT_GELU_QUICK } vt_gelu_kind;
extern const char *const vt_gelu_names[]; /* "tanh", "erf", "quick", NULL */

/* The class token: auto is plain with the head tok, else none; plain has no position of its own, position has one, the
 * first row of pos_embed. gap pooling takes the mean without it, attention pooling looks at it too. */
typedef enum { VT_TOKEN_AUTO, VT_TOKEN_NONE, VT_TOKEN_PLAIN, VT_TOKEN_POSITION } vt_token_kind;
extern const char *const vt_token_names[]; /* "auto", "none", "plain", "position", NULL */

/* gelu(u W1 + b1) W2 + b2, or with u W1 + b1 = [gate, value]: (silu(gate) * value) W2 + b2. */
typedef enum { VT_MLP_GELU, VT_MLP_SWIGLU } vt_mlp_kind;
extern const char *const vt_mlp_names[]; /* "gelu", "swiglu", NULL */

typedef enum { VT_RECOMPUTE_NONE, VT_RECOMPUTE_BLOCK } vt_recompute;

/* What the model computes: all that its logits follow from, beside the parameters. */
typedef struct {
    int64_t width, depth, mlp, heads, patch, image_height, image_width;
    int64_t classes; /* 0: no classifier, as the paper counts parameters */
    int head, positions, gelu;
    int class_token;        /* vt_token_kind */
    int64_t registers;      /* tokens behind the class token that belong to no patch and have no position */
    int mlp_kind;           /* vt_mlp_kind; swiglu: mlp is the width behind the product, W1 has twice as many rows */
    double layer_scale;     /* first value of the factors by which each column of a branch is multiplied; 0: none */
    bool norm_pre;          /* LayerNorm before the blocks, and then no bias of the patches, as in CLIP */
    bool qk_norm;           /* LayerNorm of each head's queries and keys */
    bool norm_pooled;       /* the final norm comes after pooling instead of before ("fc_norm") */
    int64_t representation; /* width of the tanh layer before the classifier, "pre_logits" (spec 2.1); 0: none */
    double norm_eps;        /* of every LayerNorm: 1e-6 in flax as in timm's ViTs */
    double head_bias;       /* initial value of the classifier's bias (spec 2.2) */
} vt_model_config;

/* How it is run: what memory is placed for. */
typedef struct {
    int64_t samples; /* at most this many in one pass */
    int label_width; /* classes in a row of labels: the most that any sample has */
    bool train;      /* with what the backward pass needs */
    vt_recompute recompute;
    vt_real type;             /* of activations and products inside the body (spec 1.3, 9); the head stays float32 */
    vt_real grad_type;        /* of the gradients of parameters: what vt_model_place_grads is given */
    float dropout, drop_path; /* rates; drop_path is the last block's, falling linearly to 0 at the first */
    bool mix;                 /* mixup: room for one image and row of labels in front of the first */
} vt_model_use;

/* Fills width, depth, mlp, heads and patch from a name "S/16", "ti/28", "G/14", or "B" with its default patch
 * (spec 1.1, 1.4), or a free shape "w64-d4-m256-h4-p7", letters in any order, 16 where p is left out. Case matters only
 * where two names differ in nothing else: s (the paper's) and S, g and G, g-opt and G-opt. VT_EINVAL names the nearest
 * and lists all. */
vt_status vt_model_shape(const char *name, vt_model_config *config, vt_err *err) VT_MUST_USE;
/* The named shapes, ended by a NULL name, for help and tests. */
typedef struct {
    const char *name;
    int64_t width, depth, mlp, heads, default_patch;
} vt_shape;
extern const vt_shape vt_shapes[];

/* The kind of class token that auto means. */
vt_token_kind vt_model_class_token(const vt_model_config *c);

/* Whether the configuration makes a model: sides >= patch, heads divide width, limits of ops.h; messages name model.*
 * keys. */
vt_status vt_model_check(const vt_model_config *c, vt_err *err) VT_MUST_USE;

/* One block's saved activations (activations.c says which). */
typedef struct vt_block_acts vt_block_acts;

typedef struct {
    vt_model_config config;
    int64_t grid_h, grid_w, patches;
    int64_t front, tokens;         /* tokens before the patches: class token, registers; all */
    bool token, token_position;    /* whether there is a class token, and in pos_embed a row for it before the others */
    int64_t head_width, patch_dim; /* D/H; 3 P^2 */
    int64_t fc1_width;             /* of the first product in an MLP: M, or 2M (swiglu) */
    int64_t feature_width;         /* representation, or width without that layer */

    vt_tensor *params; /* the table: embedding, blocks, final norm, head, classifier, in forward order; owned */
    int n_params;
    int64_t param_count;

    struct vt_model_layout *layout; /* indices into params, and the activations; owned */

    /* after vt_model_place_activations, device memory: */
    vt_model_use use;
    uint8_t *images; /* (samples, image_height, image_width, 3); with use.mix the partner of sample 0 lies before it */
    int32_t *labels; /* (samples, label_width), -1 for none; with use.mix the partner's row lies before it */
    float *features; /* (samples, feature_width): the vector before the classifier, after the tanh layer */
    float *logits;   /* (samples, classes) */
    float *loss;     /* (samples) */
    double *entropy, *largest_score; /* (depth, heads) of a watched pass: see attention_stats; NULL in evaluation */
} vt_model;

vt_status vt_model_init(vt_model *m, const vt_model_config *config, vt_err *err) VT_MUST_USE;
void vt_model_release(vt_model *m);

/* Sets value (then grad) of every tensor in m->params; frozen tensors get no gradient. sincos2d positions are a frozen
 * tensor. Rules (optim/rules.h) may freeze others between init and placing. */
void vt_model_place_values(vt_model *m, vt_arena *arena);
void vt_model_place_grads(vt_model *m, vt_arena *arena, vt_real grad_type);
void vt_model_place_activations(vt_model *m, vt_arena *arena, const vt_model_use *use);
/* The shapes that scratch memory follows from. */
vt_limits vt_model_limits(const vt_model *m, int slices);

/* Initial values of spec 2.2. */
void vt_model_init_values(vt_model *m, vt_device *device, uint32_t seed);

/* Pixels of color c become scale[c] * pixel + offset[c] in the patch operation: values from -1 to 1 are 2/255, -1. */
typedef struct {
    float scale[3], offset[3];
} vt_pixel_range;
/* The same for all three colors. */
static inline vt_pixel_range vt_pixel_range_gray(float scale, float offset)
{
    return (vt_pixel_range){{scale, scale, scale}, {offset, offset, offset}};
}

/* What the logits are held to (kernels/ops.h, cross_entropy). */
typedef struct {
    vt_loss_kind kind;
    float smoothing;
    const float *class_weights; /* (classes), device memory; or NULL */
} vt_loss_options;

extern const char *const vt_xent_names[]; /* "sigmoid", "softmax", NULL */

/* Told of every tensor that a pass writes (but the statistics of norms), once, in the order of work and before it is
 * overwritten: "blocks.3.attn.qkv", "blocks.3.mlp.fc1", "blocks.3.out", "logits"; gradients, of parameters too, as
 * "grad blocks.3.mlp.fc1", "grad blocks.3.mlp.fc1.weight". A gradient is told under the name of what it is the gradient
 * of; "grad blocks.3.in" is that of the block's input. For forensics; it may read, with kernels too. */
typedef void vt_visit_fn(void *context, const char *name, vt_real type, const void *x, int64_t count);

/* Everything that a pass over one micro-batch needs to know. */
typedef struct {
    const vt_backend *backend;
    int64_t samples; /* in this micro-batch, 1 .. m->use.samples */
    vt_pixel_range pixels;
    vt_loss_options loss;
    int slices;          /* of sums over samples */
    bool accumulate;     /* gradients are added to what is there (micro-batches after the first) */
    float weight;        /* of one sample in the loss: 1 / batch */
    float partner_share; /* mixup's share of the sample before each one; 0: none */
    bool drop;           /* a training pass: dropout and stochastic depth act, with numbers that follow from */
    uint32_t seed;       /* the seed and */
    int64_t position;    /* the position of sample 0 in the run */
    bool watch;          /* fill m->entropy and m->largest_score */
    vt_visit_fn *visit;  /* or NULL */
    void *visit_context;
} vt_pass;

/* m->images -> m->features, m->logits. Keeps what backward needs when placed for training. */
void vt_model_forward(vt_model *m, const vt_pass *p);
/* m->logits, m->labels -> m->loss; and the gradient of the logits when placed for training. */
void vt_model_loss(vt_model *m, const vt_pass *p);
/* -> every params[i].grad. */
void vt_model_backward(vt_model *m, const vt_pass *p);

/* The parts, which the three above call in order; train/ uses them where it must act between blocks. */
void vt_model_embed_forward(vt_model *m, const vt_pass *p);
void vt_model_block_forward(vt_model *m, const vt_pass *p, int64_t l);
void vt_model_head_forward(vt_model *m, const vt_pass *p);
void vt_model_head_backward(vt_model *m, const vt_pass *p);
void vt_model_block_backward(vt_model *m, const vt_pass *p, int64_t l);
void vt_model_embed_backward(vt_model *m, const vt_pass *p);

/* The tensor of that name, or NULL. */
vt_tensor *vt_model_param(const vt_model *m, const char *name);

#endif
