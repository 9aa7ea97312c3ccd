/* The table. In a pattern, # is a number, a final * is "weight" or "bias", a final % is anything; in a target, # and *
 * are what they stood for. "_#" may be missing altogether: big_vision's scan over blocks keeps all of them in one
 * tensor. */
#include "train/names.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

typedef enum { WHOLE, Q_OF_3, K_OF_3, V_OF_3, K_OF_2, V_OF_2, FIRST_THIRD, OTHER_THIRDS } split;
static const vt_name_rows splits[] = {
    [WHOLE] = {0, 1, 1, 0, 1},       [Q_OF_3] = {0, 1, 1, 0, 3},       [K_OF_3] = {0, 1, 1, 1, 3},
    [V_OF_3] = {0, 1, 1, 2, 3},      [K_OF_2] = {0, 1, 1, 0, 2},       [V_OF_2] = {0, 1, 1, 1, 2},
    [FIRST_THIRD] = {0, 1, 3, 0, 1}, [OTHER_THIRDS] = {1, 2, 3, 0, 1},
};

typedef struct {
    const char *pattern, *target;
    vt_name_how how;
    split rows;
    bool outside; /* may stand beside the model's prefix */
} row;

#define AS_IS    VT_NAME_AS_IS
#define INPUT1   VT_NAME_INPUT1
#define OUTPUT1  VT_NAME_OUTPUT1
#define HWIO     VT_NAME_HWIO
#define LEFT_OUT VT_NAME_LEFT_OUT
#define REFUSED  VT_NAME_REFUSED

/* Patch embeddings, by which a model is found. */
static const char *const beginnings[] = {"patch_embed.proj.weight", "embeddings.patch_embeddings.projection.weight",
                                         "embeddings.patch_embedding.weight", "conv1.weight", "embedding/kernel"};

static const row rows[] = {
    /* timm, and programs that took its names */
    {"patch_embed.proj.*", "patch_embed.proj.*", AS_IS, WHOLE, false},
    {"pos_embed", "pos_embed", AS_IS, WHOLE, false},
    {"cls_token", "cls_token", AS_IS, WHOLE, false},
    {"reg_token", "reg_token", AS_IS, WHOLE, false},
    {"norm_pre.*", "norm_pre.*", AS_IS, WHOLE, false},
    {"blocks.#.norm1.*", "blocks.#.norm1.*", AS_IS, WHOLE, false},
    {"blocks.#.attn.qkv.*", "blocks.#.attn.qkv.*", AS_IS, WHOLE, false},
    {"blocks.#.attn.q_norm.*", "blocks.#.attn.q_norm.*", AS_IS, WHOLE, false},
    {"blocks.#.attn.k_norm.*", "blocks.#.attn.k_norm.*", AS_IS, WHOLE, false},
    {"blocks.#.attn.proj.*", "blocks.#.attn.proj.*", AS_IS, WHOLE, false},
    {"blocks.#.ls1.gamma", "blocks.#.ls1.gamma", AS_IS, WHOLE, false},
    {"blocks.#.norm2.*", "blocks.#.norm2.*", AS_IS, WHOLE, false},
    {"blocks.#.mlp.fc1.*", "blocks.#.mlp.fc1.*", AS_IS, WHOLE, false},
    {"blocks.#.mlp.fc2.*", "blocks.#.mlp.fc2.*", AS_IS, WHOLE, false},
    {"blocks.#.ls2.gamma", "blocks.#.ls2.gamma", AS_IS, WHOLE, false},
    {"norm.*", "norm.*", AS_IS, WHOLE, false},
    {"fc_norm.*", "fc_norm.*", AS_IS, WHOLE, false},
    {"attn_pool.latent", "attn_pool.latent", AS_IS, WHOLE, false},
    {"attn_pool.q.*", "attn_pool.q.*", AS_IS, WHOLE, false},
    {"attn_pool.kv.*", "attn_pool.kv.*", AS_IS, WHOLE, false},
    {"attn_pool.proj.*", "attn_pool.proj.*", AS_IS, WHOLE, false},
    {"attn_pool.norm.*", "attn_pool.norm.*", AS_IS, WHOLE, false},
    {"attn_pool.mlp.fc1.*", "attn_pool.mlp.fc1.*", AS_IS, WHOLE, false},
    {"attn_pool.mlp.fc2.*", "attn_pool.mlp.fc2.*", AS_IS, WHOLE, false},
    {"pre_logits.*", "pre_logits.*", AS_IS, WHOLE, false},
    {"head.*", "head.*", AS_IS, WHOLE, true},
    {"dist_token", NULL, REFUSED, WHOLE, false}, /* a second class token, of distilled DeiT */
    {"head_dist.*", NULL, REFUSED, WHOLE, false},
    {"mask_token", NULL, LEFT_OUT, WHOLE, false}, /* of masked pre-training */
    {"decoder%", NULL, LEFT_OUT, WHOLE, true},

    /* DINOv2's own */
    {"register_tokens", "reg_token", AS_IS, WHOLE, false},
    {"blocks.#.mlp.w12.*", "blocks.#.mlp.fc1.*", AS_IS, WHOLE, false},
    {"blocks.#.mlp.w3.*", "blocks.#.mlp.fc2.*", AS_IS, WHOLE, false},

    /* transformers: ViT and DINOv2 */
    {"embeddings.patch_embeddings.projection.*", "patch_embed.proj.*", AS_IS, WHOLE, false},
    {"embeddings.position_embeddings", "pos_embed", AS_IS, WHOLE, false},
    {"embeddings.cls_token", "cls_token", AS_IS, WHOLE, false},
    {"embeddings.register_tokens", "reg_token", AS_IS, WHOLE, false},
    {"embeddings.mask_token", NULL, LEFT_OUT, WHOLE, false},
    {"encoder.layer.#.layernorm_before.*", "blocks.#.norm1.*", AS_IS, WHOLE, false},
    {"encoder.layer.#.norm1.*", "blocks.#.norm1.*", AS_IS, WHOLE, false},
    {"encoder.layer.#.attention.attention.query.*", "blocks.#.attn.qkv.*", AS_IS, Q_OF_3, false},
    {"encoder.layer.#.attention.attention.key.*", "blocks.#.attn.qkv.*", AS_IS, K_OF_3, false},
    {"encoder.layer.#.attention.attention.value.*", "blocks.#.attn.qkv.*", AS_IS, V_OF_3, false},
    {"encoder.layer.#.attention.output.dense.*", "blocks.#.attn.proj.*", AS_IS, WHOLE, false},
    {"encoder.layer.#.layer_scale1.lambda1", "blocks.#.ls1.gamma", AS_IS, WHOLE, false},
    {"encoder.layer.#.layernorm_after.*", "blocks.#.norm2.*", AS_IS, WHOLE, false},
    {"encoder.layer.#.norm2.*", "blocks.#.norm2.*", AS_IS, WHOLE, false},
    {"encoder.layer.#.intermediate.dense.*", "blocks.#.mlp.fc1.*", AS_IS, WHOLE, false},
    {"encoder.layer.#.output.dense.*", "blocks.#.mlp.fc2.*", AS_IS, WHOLE, false},
    {"encoder.layer.#.mlp.fc1.*", "blocks.#.mlp.fc1.*", AS_IS, WHOLE, false},
    {"encoder.layer.#.mlp.fc2.*", "blocks.#.mlp.fc2.*", AS_IS, WHOLE, false},
    {"encoder.layer.#.mlp.weights_in.*", "blocks.#.mlp.fc1.*", AS_IS, WHOLE, false},
    {"encoder.layer.#.mlp.weights_out.*", "blocks.#.mlp.fc2.*", AS_IS, WHOLE, false},
    {"encoder.layer.#.layer_scale2.lambda1", "blocks.#.ls2.gamma", AS_IS, WHOLE, false},
    {"layernorm.*", "norm.*", AS_IS, WHOLE, false},
    {"classifier.*", "head.*", AS_IS, WHOLE, true},
    {"pooler.dense.*", NULL, LEFT_OUT, WHOLE, false}, /* behind the features */

    /* transformers: SigLIP and CLIP, the vision tower */
    {"embeddings.patch_embedding.*", "patch_embed.proj.*", AS_IS, WHOLE, false},
    {"embeddings.position_embedding.weight", "pos_embed", AS_IS, WHOLE, false},
    {"embeddings.class_embedding", "cls_token", AS_IS, WHOLE, false},
    {"embeddings.position_ids", NULL, LEFT_OUT, WHOLE, false}, /* 0, 1, 2, ... */
    {"pre_layrnorm.*", "norm_pre.*", AS_IS, WHOLE, false},
    {"encoder.layers.#.layer_norm1.*", "blocks.#.norm1.*", AS_IS, WHOLE, false},
    {"encoder.layers.#.self_attn.q_proj.*", "blocks.#.attn.qkv.*", AS_IS, Q_OF_3, false},
    {"encoder.layers.#.self_attn.k_proj.*", "blocks.#.attn.qkv.*", AS_IS, K_OF_3, false},
    {"encoder.layers.#.self_attn.v_proj.*", "blocks.#.attn.qkv.*", AS_IS, V_OF_3, false},
    {"encoder.layers.#.self_attn.out_proj.*", "blocks.#.attn.proj.*", AS_IS, WHOLE, false},
    {"encoder.layers.#.layer_norm2.*", "blocks.#.norm2.*", AS_IS, WHOLE, false},
    {"encoder.layers.#.mlp.fc1.*", "blocks.#.mlp.fc1.*", AS_IS, WHOLE, false},
    {"encoder.layers.#.mlp.fc2.*", "blocks.#.mlp.fc2.*", AS_IS, WHOLE, false},
    {"post_layernorm.*", "norm.*", AS_IS, WHOLE, false},
    {"head.probe", "attn_pool.latent", AS_IS, WHOLE, false},
    {"head.attention.in_proj_weight", "attn_pool.q.weight", AS_IS, FIRST_THIRD, false},
    {"head.attention.in_proj_weight", "attn_pool.kv.weight", AS_IS, OTHER_THIRDS, false},
    {"head.attention.in_proj_bias", "attn_pool.q.bias", AS_IS, FIRST_THIRD, false},
    {"head.attention.in_proj_bias", "attn_pool.kv.bias", AS_IS, OTHER_THIRDS, false},
    {"head.attention.out_proj.*", "attn_pool.proj.*", AS_IS, WHOLE, false},
    {"head.layernorm.*", "attn_pool.norm.*", AS_IS, WHOLE, false},
    {"head.mlp.fc1.*", "attn_pool.mlp.fc1.*", AS_IS, WHOLE, false},
    {"head.mlp.fc2.*", "attn_pool.mlp.fc2.*", AS_IS, WHOLE, false},

    /* OpenCLIP, the vision tower */
    {"conv1.weight", "patch_embed.proj.weight", AS_IS, WHOLE, false},
    {"positional_embedding", "pos_embed", AS_IS, WHOLE, false},
    {"class_embedding", "cls_token", AS_IS, WHOLE, false},
    {"ln_pre.*", "norm_pre.*", AS_IS, WHOLE, false},
    {"transformer.resblocks.#.ln_1.*", "blocks.#.norm1.*", AS_IS, WHOLE, false},
    {"transformer.resblocks.#.attn.in_proj_weight", "blocks.#.attn.qkv.weight", AS_IS, WHOLE, false},
    {"transformer.resblocks.#.attn.in_proj_bias", "blocks.#.attn.qkv.bias", AS_IS, WHOLE, false},
    {"transformer.resblocks.#.attn.out_proj.*", "blocks.#.attn.proj.*", AS_IS, WHOLE, false},
    {"transformer.resblocks.#.ln_2.*", "blocks.#.norm2.*", AS_IS, WHOLE, false},
    {"transformer.resblocks.#.mlp.c_fc.*", "blocks.#.mlp.fc1.*", AS_IS, WHOLE, false},
    {"transformer.resblocks.#.mlp.c_proj.*", "blocks.#.mlp.fc2.*", AS_IS, WHOLE, false},
    {"ln_post.*", "norm.*", AS_IS, WHOLE, false},
    {"proj", NULL, LEFT_OUT, WHOLE, false}, /* into the space shared with text */

    /* big_vision, and the older vision_transformer (LayerNorm_2, MlpBlock_3, ..._1, posembed_input) */
    {"embedding/kernel", "patch_embed.proj.weight", HWIO, WHOLE, false},
    {"embedding/bias", "patch_embed.proj.bias", AS_IS, WHOLE, false},
    {"pos_embedding", "pos_embed", AS_IS, WHOLE, false},
    {"Transformer/posembed_input/pos_embedding", "pos_embed", AS_IS, WHOLE, false},
    {"cls", "cls_token", AS_IS, WHOLE, false},
    {"Transformer/encoderblock_#/LayerNorm_0/scale", "blocks.#.norm1.weight", AS_IS, WHOLE, false},
    {"Transformer/encoderblock_#/LayerNorm_0/bias", "blocks.#.norm1.bias", AS_IS, WHOLE, false},
    {"Transformer/encoderblock_#/LayerNorm_1/scale", "blocks.#.norm2.weight", AS_IS, WHOLE, false},
    {"Transformer/encoderblock_#/LayerNorm_1/bias", "blocks.#.norm2.bias", AS_IS, WHOLE, false},
    {"Transformer/encoderblock_#/LayerNorm_2/scale", "blocks.#.norm2.weight", AS_IS, WHOLE, false},
    {"Transformer/encoderblock_#/LayerNorm_2/bias", "blocks.#.norm2.bias", AS_IS, WHOLE, false},
#define BIG_VISION_ATTENTION(number)                                                                                   \
    {"Transformer/encoderblock_#/MultiHeadDotProductAttention_" number "/query/kernel", "blocks.#.attn.qkv.weight",    \
     INPUT1, Q_OF_3, false},                                                                                           \
        {"Transformer/encoderblock_#/MultiHeadDotProductAttention_" number "/query/bias", "blocks.#.attn.qkv.bias",    \
         AS_IS, Q_OF_3, false},                                                                                        \
        {"Transformer/encoderblock_#/MultiHeadDotProductAttention_" number "/key/kernel", "blocks.#.attn.qkv.weight",  \
         INPUT1, K_OF_3, false},                                                                                       \
        {"Transformer/encoderblock_#/MultiHeadDotProductAttention_" number "/key/bias", "blocks.#.attn.qkv.bias",      \
         AS_IS, K_OF_3, false},                                                                                        \
        {"Transformer/encoderblock_#/MultiHeadDotProductAttention_" number "/value/kernel",                            \
         "blocks.#.attn.qkv.weight", INPUT1, V_OF_3, false},                                                           \
        {"Transformer/encoderblock_#/MultiHeadDotProductAttention_" number "/value/bias", "blocks.#.attn.qkv.bias",    \
         AS_IS, V_OF_3, false},                                                                                        \
        {"Transformer/encoderblock_#/MultiHeadDotProductAttention_" number "/out/kernel", "blocks.#.attn.proj.weight", \
         OUTPUT1, WHOLE, false},                                                                                       \
    {                                                                                                                  \
        "Transformer/encoderblock_#/MultiHeadDotProductAttention_" number "/out/bias", "blocks.#.attn.proj.bias",      \
            AS_IS, WHOLE, false                                                                                        \
    }
#define BIG_VISION_MLP(number)                                                                                         \
    {"Transformer/encoderblock_#/MlpBlock_" number "/Dense_0/kernel", "blocks.#.mlp.fc1.weight", INPUT1, WHOLE,        \
     false},                                                                                                           \
        {"Transformer/encoderblock_#/MlpBlock_" number "/Dense_0/bias", "blocks.#.mlp.fc1.bias", AS_IS, WHOLE, false}, \
        {"Transformer/encoderblock_#/MlpBlock_" number "/Dense_1/kernel", "blocks.#.mlp.fc2.weight", INPUT1, WHOLE,    \
         false},                                                                                                       \
    {                                                                                                                  \
        "Transformer/encoderblock_#/MlpBlock_" number "/Dense_1/bias", "blocks.#.mlp.fc2.bias", AS_IS, WHOLE, false    \
    }
    BIG_VISION_ATTENTION("0"),
    BIG_VISION_ATTENTION("1"),
    BIG_VISION_MLP("0"),
    BIG_VISION_MLP("3"),
    {"Transformer/encoder_norm/scale", "norm.weight", AS_IS, WHOLE, false},
    {"Transformer/encoder_norm/bias", "norm.bias", AS_IS, WHOLE, false},
    {"MAPHead_0/probe", "attn_pool.latent", AS_IS, WHOLE, false},
    {"MAPHead_0/MultiHeadDotProductAttention_0/query/kernel", "attn_pool.q.weight", INPUT1, WHOLE, false},
    {"MAPHead_0/MultiHeadDotProductAttention_0/query/bias", "attn_pool.q.bias", AS_IS, WHOLE, false},
    {"MAPHead_0/MultiHeadDotProductAttention_0/key/kernel", "attn_pool.kv.weight", INPUT1, K_OF_2, false},
    {"MAPHead_0/MultiHeadDotProductAttention_0/key/bias", "attn_pool.kv.bias", AS_IS, K_OF_2, false},
    {"MAPHead_0/MultiHeadDotProductAttention_0/value/kernel", "attn_pool.kv.weight", INPUT1, V_OF_2, false},
    {"MAPHead_0/MultiHeadDotProductAttention_0/value/bias", "attn_pool.kv.bias", AS_IS, V_OF_2, false},
    {"MAPHead_0/MultiHeadDotProductAttention_0/out/kernel", "attn_pool.proj.weight", OUTPUT1, WHOLE, false},
    {"MAPHead_0/MultiHeadDotProductAttention_0/out/bias", "attn_pool.proj.bias", AS_IS, WHOLE, false},
    {"MAPHead_0/LayerNorm_0/scale", "attn_pool.norm.weight", AS_IS, WHOLE, false},
    {"MAPHead_0/LayerNorm_0/bias", "attn_pool.norm.bias", AS_IS, WHOLE, false},
    {"MAPHead_0/MlpBlock_0/Dense_0/kernel", "attn_pool.mlp.fc1.weight", INPUT1, WHOLE, false},
    {"MAPHead_0/MlpBlock_0/Dense_0/bias", "attn_pool.mlp.fc1.bias", AS_IS, WHOLE, false},
    {"MAPHead_0/MlpBlock_0/Dense_1/kernel", "attn_pool.mlp.fc2.weight", INPUT1, WHOLE, false},
    {"MAPHead_0/MlpBlock_0/Dense_1/bias", "attn_pool.mlp.fc2.bias", AS_IS, WHOLE, false},
    {"pre_logits/kernel", "pre_logits.weight", INPUT1, WHOLE, false},
    {"pre_logits/bias", "pre_logits.bias", AS_IS, WHOLE, false},
    {"head/kernel", "head.weight", INPUT1, WHOLE, false},
    {"head/bias", "head.bias", AS_IS, WHOLE, false},
};

int vt_names_prefix(const char *name)
{
    for (size_t i = 0; i < VT_COUNT_OF(beginnings); i++) {
        if (!vt_has_suffix(name, beginnings[i]))
            continue;
        size_t n = strlen(name) - strlen(beginnings[i]);
        if (n == 0 || name[n - 1] == '.' || name[n - 1] == '/')
            return (int)n;
    }
    return -1;
}

typedef struct {
    char number[8];
    const char *ending; /* "weight" or "bias" */
    bool stacked;
} found;

/* Digits at *s, at most three and without a leading zero; their number. */
static size_t digits(const char *s)
{
    size_t n = strspn(s, "0123456789");
    return n > 3 || (n > 1 && s[0] == '0') ? 0 : n;
}

static bool matches(const char *pattern, const char *name, found *f)
{
    *f = (found){.ending = ""};
    for (; *pattern; pattern++) {
        if (*pattern == '%')
            return true;
        if (*pattern == '*') {
            f->ending = strcmp(name, "weight") == 0 ? "weight" : "bias";
            return strcmp(name, f->ending) == 0;
        }
        if (pattern[0] == '_' && pattern[1] == '#' && *name == '/') {
            f->stacked = true;
            pattern++;
        } else if (*pattern == '#') {
            size_t n = digits(name);
            if (n == 0)
                return false;
            (void)snprintf(f->number, sizeof f->number, "%.*s", (int)n, name);
            name += n;
        } else if (*pattern != *name++) {
            return false;
        }
    }
    return *name == '\0';
}

static void fill(const row *r, const found *f, vt_name_match *m)
{
    size_t at = 0;
    *m = (vt_name_match){.how = r->how, .rows = splits[r->rows], .stacked = f->stacked};
    m->is_q_or_k = r->how == VT_NAME_INPUT1 && strstr(r->pattern, "query/kernel") != NULL;
    for (const char *p = r->target ? r->target : ""; *p; p++) {
        char one[2] = {*p, '\0'};
        const char *part = *p == '*' ? f->ending : *p == '#' && !f->stacked ? f->number : one;
        at += (size_t)snprintf(m->target + at, sizeof m->target - at, "%s", part);
        assert(at < sizeof m->target);
    }
}

int vt_names_match(const char *name, bool outside, vt_name_match *list, int most)
{
    int n = 0;
    for (size_t i = 0; i < VT_COUNT_OF(rows) && n < most; i++) {
        found f;
        if ((!outside || rows[i].outside) && matches(rows[i].pattern, name, &f))
            fill(&rows[i], &f, &list[n++]);
    }
    return n;
}
