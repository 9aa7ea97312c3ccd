/* What is known of a foreign model, written into the keys of a recipe.
 *
 * Shapes tell most of a model. What they cannot tell (heads, the form of GELU, the norms' epsilon, which vector is the
 * feature, mean and std of pixels) is taken, in this order, from the recipe, from config.json, or from what the program
 * that wrote the names always does. Nothing is guessed: a fact that nobody tells is an error with the key to set. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "train/foreign_internal.h"

enum { MAX_FACTS = 24, VALUE_BYTES = 160 };

/* Keys and their values as a person would type them. */
typedef struct {
    struct {
        const char *key;
        char value[VALUE_BYTES];
    } list[MAX_FACTS];
    int n;
} facts;

static void tell(facts *s, const char *key, const char *fmt, ...) VT_PRINTF(3, 4);
static void tell(facts *s, const char *key, const char *fmt, ...)
{
    va_list arguments;
    va_start(arguments, fmt);
    s->list[s->n].key = key;
    (void)vsnprintf(s->list[s->n++].value, VALUE_BYTES, fmt, arguments);
    va_end(arguments);
}

/* --- what shapes tell -----------------------------------------------------------------------------------------------
 */

static int64_t side(const vt_foreign *f, const char *name, int d)
{
    const vt_foreign_tensor *t = vt_foreign_tensor_of(f, name);
    return t && d < t->n_dims ? t->dims[d] : 0;
}

static bool has(const vt_foreign *f, const char *name)
{
    return vt_foreign_tensor_of(f, name) != NULL;
}

/* Rows of a tensor whose last side is the width: a single row may have lost its side of 1. */
static int64_t row_count(const vt_foreign *f, const char *name)
{
    const vt_foreign_tensor *t = vt_foreign_tensor_of(f, name);
    if (!t)
        return 0;
    return t->n_dims == 2 ? t->dims[0] : t->n_dims == 1 ? 1 : 0;
}

static int64_t depth_of(const vt_foreign *f)
{
    int64_t depth = 0;
    for (char name[64];; depth++) {
        (void)snprintf(name, sizeof name, "blocks.%lld.attn.qkv.weight", (long long)depth);
        if (!has(f, name))
            return depth;
    }
}

vt_status vt_foreign_shape_of(const vt_foreign *f, vt_foreign_shape *s, vt_err *err)
{
    const vt_foreign_tensor *patch = vt_foreign_tensor_of(f, "patch_embed.proj.weight");
    char shape[128];
    if (!patch || patch->n_dims != 4 || patch->dims[1] != 3 || patch->dims[2] != patch->dims[3])
        return vt_fail(err, VT_EUNSUPPORTED,
                       "%s: its patch embedding is %s; expected width x 3 colours x P x P, as of an image model",
                       f->path, vt_weight_shape(shape, patch ? patch->n_dims : 0, patch ? patch->dims : NULL));
    *s = (vt_foreign_shape){.width = patch->dims[0],
                            .patch = patch->dims[2],
                            .depth = depth_of(f),
                            .mlp = side(f, "blocks.0.mlp.fc2.weight", 1),
                            .representation = side(f, "pre_logits.weight", 0),
                            .positions = row_count(f, "pos_embed"),
                            .class_token = has(f, "cls_token"),
                            .registers = row_count(f, "reg_token"),
                            .map = has(f, "attn_pool.latent"),
                            .layer_scale = has(f, "blocks.0.ls1.gamma"),
                            .norm_pre = has(f, "norm_pre.weight"),
                            .qk_norm = has(f, "blocks.0.attn.q_norm.weight"),
                            .norm_pooled = has(f, "fc_norm.weight"),
                            .head_width = side(f, "blocks.0.attn.q_norm.weight", 0)};
    s->swiglu = s->mlp > 0 && side(f, "blocks.0.mlp.fc1.weight", 0) == 2 * s->mlp;
    if (s->depth == 0 || s->mlp == 0)
        return vt_fail(err, VT_EFORMAT, "%s has no first block: timm's blocks.0.%s is missing", f->path,
                       s->depth == 0 ? "attn.qkv.weight" : "mlp.fc2.weight");
    return VT_OK;
}

static bool covers(const vt_foreign_shape *s, int64_t h, int64_t w, bool *class_row)
{
    *class_row = s->class_token && h * w + 1 == s->positions;
    return h > 0 && w > 0 && (h * w == s->positions || *class_row);
}

vt_status vt_foreign_grid(const vt_foreign *f, const vt_foreign_shape *s, vt_size image, int64_t *rows, int64_t *cols,
                          bool *class_row, vt_err *err)
{
    vt_size own = vt_foreign_image(f, s->patch);
    *rows = own.height / s->patch, *cols = own.width / s->patch;
    if (covers(s, *rows, *cols, class_row))
        return VT_OK;
    for (int64_t g = 1; g * g <= s->positions; g++) {
        *rows = *cols = g;
        if ((g * g == s->positions || (s->class_token && g * g + 1 == s->positions)) && covers(s, g, g, class_row))
            return VT_OK;
    }
    *rows = image.height / s->patch, *cols = image.width / s->patch;
    if (covers(s, *rows, *cols, class_row))
        return VT_OK;
    return vt_fail(err, VT_EINVAL,
                   "%s has %lld positions, which are no square of patches%s, and no config.json tells the images; set "
                   "model.image to those that it was made for (HEIGHTxWIDTH)",
                   f->path, (long long)s->positions, s->class_token ? " (and a class token)" : "");
}

/* --- what config.json tells -----------------------------------------------------------------------------------------
 */

/* transformers leaves out what has its default; these are the defaults of its configuration classes. */
static const struct {
    const char *type, *section; /* section: where a model of images and text keeps it */
    int64_t heads, image;
    const char *gelu;
    double eps;
    const char *head; /* of its features */
} families[] = {
    {"vit", NULL, 12, 224, "gelu", 1e-12, "tok"},
    {"dinov2", NULL, 12, 224, "gelu", 1e-6, "tok"},
    {"dinov2_with_registers", NULL, 12, 224, "gelu", 1e-6, "tok"},
    {"siglip_vision_model", NULL, 12, 224, "gelu_pytorch_tanh", 1e-6, "map"},
    {"siglip", "vision_config", 12, 224, "gelu_pytorch_tanh", 1e-6, "map"},
    {"clip_vision_model", NULL, 12, 224, "quick_gelu", 1e-5, "tok"},
    {"clip", "vision_config", 12, 224, "quick_gelu", 1e-5, "tok"},
};

/* Other programs' words for GELU. */
static const struct {
    const char *word, *gelu;
} gelus[] = {{"gelu", "erf"},       {"gelu_pytorch_tanh", "tanh"}, {"gelu_new", "tanh"},
             {"gelu_tanh", "tanh"}, {"quick_gelu", "quick"},       {"quickgelu", "quick"}};

static const char *gelu_of(const char *word)
{
    for (size_t i = 0; word && i < VT_COUNT_OF(gelus); i++)
        if (strcmp(gelus[i].word, word) == 0)
            return gelus[i].gelu;
    return NULL;
}

/* The row of families that config.json is of, or -1. */
static int family_of(const vt_foreign *f)
{
    const char *type = json_string_value(json_object_get(f->config, "model_type"));
    for (size_t i = 0; type && i < VT_COUNT_OF(families); i++)
        if (strcmp(families[i].type, type) == 0)
            return (int)i;
    return -1;
}

static const json_t *family_section(const vt_foreign *f, int family)
{
    const char *name = families[family].section;
    return name ? json_object_get(f->config, name) : f->config;
}

static int64_t whole(const json_t *object, const char *key, int64_t fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

/* A side, or a pair of them, or timm's (3, height, width). */
static vt_size size_of(const json_t *value)
{
    size_t n = json_array_size(value);
    if (json_is_integer(value))
        return (vt_size){json_integer_value(value), json_integer_value(value)};
    if (n != 2 && n != 3)
        return (vt_size){0};
    return (vt_size){json_integer_value(json_array_get(value, n - 2)),
                     json_integer_value(json_array_get(value, n - 1))};
}

static vt_size sane(vt_size s)
{
    bool fine = s.height > 0 && s.width > 0 && s.height <= 65536 && s.width <= 65536;
    return fine ? s : (vt_size){0};
}

vt_size vt_foreign_image(const vt_foreign *f, int64_t patch)
{
    int family = family_of(f);
    (void)patch;
    if (f->own)
        return (vt_size){f->info.model.image_height, f->info.model.image_width};
    if (family >= 0) {
        const json_t *size = json_object_get(family_section(f, family), "image_size");
        return sane(size ? size_of(size) : (vt_size){families[family].image, families[family].image});
    }
    const json_t *size = json_object_get(json_object_get(f->config, "model_args"), "img_size");
    if (!size)
        size = json_object_get(json_object_get(f->config, "pretrained_cfg"), "input_size");
    return sane(size_of(size));
}

static void tell_colours(facts *s, const char *key, const json_t *list)
{
    if (json_array_size(list) == 3)
        tell(s, key, "[%.9g, %.9g, %.9g]", json_number_value(json_array_get(list, 0)),
             json_number_value(json_array_get(list, 1)), json_number_value(json_array_get(list, 2)));
}

/* transformers: config.json and preprocessor_config.json. */
static void tell_family(const vt_foreign *f, int family, facts *s)
{
    const json_t *c = family_section(f, family), *eps = json_object_get(c, "layer_norm_eps");
    const char *act = json_string_value(json_object_get(c, "hidden_act"));
    tell(s, "model.heads", "%lld", (long long)whole(c, "num_attention_heads", families[family].heads));
    if (gelu_of(act ? act : families[family].gelu))
        tell(s, "model.gelu", "%s", gelu_of(act ? act : families[family].gelu));
    tell(s, "model.norm_eps", "%.17g", json_is_number(eps) ? json_number_value(eps) : families[family].eps);
    tell(s, "model.head", "%s", families[family].head);
    tell_colours(s, "data.mean", json_object_get(f->preprocessor, "image_mean"));
    tell_colours(s, "data.std", json_object_get(f->preprocessor, "image_std"));
}

static bool is_digits(const char *s)
{
    return *s && s[strspn(s, "0123456789")] == '\0';
}

/* timm's plain architectures (vit_small_patch16_224, deit_..., deit3_...) and its DINOv2: exact GELU, epsilon 1e-6,
 * heads of 64, at most 16 where the model is plain. Other names (clip, siglip, ...) have each their own habits. */
static bool is_plain_timm(const char *architecture, bool *dinov2)
{
    const char *patch = strstr(architecture, "_patch"), *last = strrchr(architecture, '_');
    *dinov2 = vt_has_suffix(architecture, "_dinov2");
    bool vit = vt_has_prefix(architecture, "vit_") || vt_has_prefix(architecture, "deit_") ||
               vt_has_prefix(architecture, "deit3_");
    if (!vit || !patch || !last)
        return false;
    return *dinov2 ||
           (patch + strlen("_patch") + strspn(patch + strlen("_patch"), "0123456789") == last && is_digits(last + 1));
}

/* timm: architecture, model_args and pretrained_cfg of config.json. */
static void tell_timm(const vt_foreign *f, const vt_foreign_shape *shape, facts *s)
{
    const json_t *args = json_object_get(f->config, "model_args"), *cfg = json_object_get(f->config, "pretrained_cfg");
    const char *architecture = json_string_value(json_object_get(f->config, "architecture"));
    const char *pool = json_string_value(json_object_get(f->config, "global_pool"));
    const char *act = json_string_value(json_object_get(args, "act_layer"));
    bool dinov2 = false, plain = architecture && is_plain_timm(architecture, &dinov2);
    int64_t heads = plain ? (shape->width <= 1024 || dinov2 ? shape->width / 64 : 16) : 0;
    if (json_string_value(json_object_get(args, "global_pool")))
        pool = json_string_value(json_object_get(args, "global_pool"));
    heads = whole(args, "num_heads", heads);
    if (heads > 0)
        tell(s, "model.heads", "%lld", (long long)heads);
    if (gelu_of(act) || plain)
        tell(s, "model.gelu", "%s", gelu_of(act) ? gelu_of(act) : "erf");
    if (plain)
        tell(s, "model.norm_eps", "1e-6");
    if (pool && (strcmp(pool, "token") == 0 || strcmp(pool, "avg") == 0 || strcmp(pool, "map") == 0))
        tell(s, "model.head", "%s", strcmp(pool, "token") == 0 ? "tok" : strcmp(pool, "avg") == 0 ? "gap" : "map");
    tell_colours(s, "data.mean", json_object_get(cfg, "mean"));
    tell_colours(s, "data.std", json_object_get(cfg, "std"));
}

/* vitro's own config.json says everything. */
static void tell_own(const vt_foreign *f, facts *s)
{
    const vt_model_config *c = &f->info.model;
    tell(s, "model.heads", "%lld", (long long)c->heads);
    tell(s, "model.gelu", "%s", vt_gelu_names[c->gelu]);
    tell(s, "model.norm_eps", "%.17g", c->norm_eps);
    tell(s, "model.head", "%s", vt_head_names[c->head]);
    tell(s, "model.positions", "%s", vt_positions_names[c->positions]);
    double mean[3], std[3];
    for (int i = 0; i < 3; i++) {
        std[i] = 1.0 / (255.0 * (double)f->info.pixels.scale[i]);
        mean[i] = -(double)f->info.pixels.offset[i] * std[i];
    }
    tell(s, "data.mean", "[%.12g, %.12g, %.12g]", mean[0], mean[1], mean[2]);
    tell(s, "data.std", "[%.12g, %.12g, %.12g]", std[0], std[1], std[2]);
    tell(s, "data.orient", "%s", f->info.orient ? "exif" : "none");
}

/* big_vision has one form of everything, and all its configurations scale pixels to -1 .. 1. */
static void tell_flax(const vt_foreign *f, const vt_foreign_shape *shape, facts *s)
{
    if (f->heads_seen > 0)
        tell(s, "model.heads", "%lld", (long long)f->heads_seen);
    tell(s, "model.gelu", "tanh");
    tell(s, "model.norm_eps", "1e-6");
    tell(s, "model.head", "%s", shape->map ? "map" : shape->class_token ? "tok" : "gap");
    if (shape->positions == 0)
        tell(s, "model.positions", "sincos2d");
    tell(s, "data.mean", "[0.5, 0.5, 0.5]");
    tell(s, "data.std", "[0.5, 0.5, 0.5]");
}

/* --- into the recipe ------------------------------------------------------------------------------------------------
 */

static bool key_exists(const char *name, size_t *i)
{
    for (*i = 0; *i < vt_n_recipe_keys; ++*i)
        if (strcmp(vt_recipe_keys[*i].name, name) == 0)
            return true;
    return false;
}

static bool is_given(const vt_recipe *r, const char *key)
{
    size_t i;
    return key_exists(key, &i) && r->given[i];
}

static const char *told(const facts *s, const char *key)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->list[i].key, key) == 0)
            return s->list[i].value;
    return NULL;
}

static vt_status set(vt_recipe *r, const char *key, const char *value, vt_err *err)
{
    return is_given(r, key) ? VT_OK : vt_keys_set(vt_recipe_keys, vt_n_recipe_keys, r, key, value, err);
}

/* What nobody told: one sentence with every key and what it may be. */
static void missing(const vt_recipe *r, const facts *s, const char *key, const char *candidates, vt_text *list)
{
    if (!is_given(r, key) && !told(s, key))
        vt_text_addf(list, "%s%s (%s)", list->len ? ", " : "", key, candidates);
}

static vt_status check_told(const vt_foreign *f, const vt_recipe *r, const vt_foreign_shape *shape, const facts *s,
                            vt_err *err)
{
    vt_text list = {0};
    char heads[96];
    (void)snprintf(heads, sizeof heads, "%lld if each is 64 wide",
                   (long long)(shape->width % 64 == 0 ? shape->width / 64 : 1));
    if (!is_given(r, "model.shape"))
        missing(r, s, "model.heads", shape->width % 64 == 0 ? heads : "they must divide the width", &list);
    missing(r, s, "model.head", "tok: the class token; gap: the mean", &list);
    missing(r, s, "model.gelu", "erf: timm's, DeiT's, DINOv2's; quick: CLIP's; tanh: big_vision's, SigLIP's", &list);
    missing(r, s, "model.norm_eps", "1e-6: timm's; 1e-12: transformers' ViT; 1e-5: CLIP's", &list);
    if (!is_given(r, "data.value_min") && !is_given(r, "data.value_max")) {
        missing(r, s, "data.mean", "[0.485,0.456,0.406] or [0.5,0.5,0.5]", &list);
        missing(r, s, "data.std", "[0.229,0.224,0.225] or [0.5,0.5,0.5]", &list);
    }
    vt_status status = list.len == 0 ? VT_OK
                                     : vt_fail(err, VT_EINVAL,
                                               "%s: neither its tensors nor a config.json tell these "
                                               "keys; set them: %s",
                                               f->path, list.s);
    vt_text_release(&list);
    return status;
}

/* model.shape from the tensors; one that was given may differ in heads and patch alone. */
static vt_status adopt_shape(const vt_foreign *f, const vt_foreign_shape *s, const facts *told_facts, vt_recipe *r,
                             vt_err *err)
{
    vt_model_config c = {.patch = s->patch};
    if (is_given(r, "model.shape")) {
        VT_TRY(vt_model_shape(r->model.shape, &c, err));
        if (c.width == s->width && c.depth == s->depth && c.mlp == s->mlp)
            return VT_OK;
        return vt_fail(err, VT_EINVAL,
                       "model.shape is %.60s, but %s has width %lld, depth %lld and MLP width %lld; leave the key out",
                       r->model.shape, f->path, (long long)s->width, (long long)s->depth, (long long)s->mlp);
    }
    int64_t heads = r->model.heads;
    const char *value = told(told_facts, "model.heads");
    if (heads == 0 && value)
        VT_TRY(vt_parse_i64(value, &heads, err));
    char shape[VALUE_BYTES];
    (void)snprintf(shape, sizeof shape, "w%lld-d%lld-m%lld-h%lld-p%lld", (long long)s->width, (long long)s->depth,
                   (long long)s->mlp, (long long)heads, (long long)s->patch);
    return vt_keys_set(vt_recipe_keys, vt_n_recipe_keys, r, "model.shape", shape, err);
}

/* Parts of the model that a shape showed. */
static void tell_shape(const vt_foreign_shape *s, bool class_row, facts *list)
{
    tell(list, "model.class_token", "%s", !s->class_token ? "none" : class_row ? "position" : "plain");
    tell(list, "model.registers", "%lld", (long long)s->registers);
    tell(list, "model.mlp_kind", "%s", s->swiglu ? "swiglu" : "gelu");
    tell(list, "model.layer_scale", "%s", s->layer_scale ? "1e-5" : "0");
    tell(list, "model.norm_pre", "%s", s->norm_pre ? "true" : "false");
    tell(list, "model.qk_norm", "%s", s->qk_norm ? "true" : "false");
    tell(list, "model.norm_pooled", "%s", s->norm_pooled ? "true" : "false");
    tell(list, "model.representation", "%lld", (long long)s->representation);
}

static vt_status adopt_image(const vt_foreign *f, const vt_foreign_shape *s, facts *list, vt_recipe *r, vt_err *err)
{
    int64_t rows = 0, cols = 0;
    bool class_row = false, given = is_given(r, "model.image");
    if (s->positions > 0)
        VT_TRY(vt_foreign_grid(f, s, given ? r->model.image : (vt_size){0}, &rows, &cols, &class_row, err));
    tell_shape(s, class_row && !f->flax, list); /* big_vision adds an old class position to the token */
    vt_size image = vt_foreign_image(f, s->patch);
    if (rows > 0 && (image.height / s->patch != rows || image.width / s->patch != cols))
        image = (vt_size){rows * s->patch, cols * s->patch};
    if (given)
        return VT_OK;
    if (image.height == 0)
        return vt_fail(err, VT_EINVAL, "%s has no positions to tell the size of its images; set model.image", f->path);
    r->model.image = image;
    return VT_OK;
}

/* ", bicubic": how the file's own program resizes (timm's word, Pillow's number in transformers); "" is TensorFlow's
 * way. */
static const char *resize_method(const vt_foreign *f)
{
    const char *word =
        json_string_value(json_object_get(json_object_get(f->config, "pretrained_cfg"), "interpolation"));
    int64_t number = whole(f->preprocessor, "resample", 0);
    if (number == 3 || (word && strcmp(word, "bicubic") == 0))
        return ", bicubic";
    return number == 2 || (word && strcmp(word, "bilinear") == 0) ? ", bilinear" : "";
}

/* What evaluation does to an image, where nobody said: as the file's own program does, by shares of the side. */
static vt_status adopt_preprocess(const vt_foreign *f, vt_recipe *r, vt_err *err)
{
    int64_t h = r->model.image.height, w = r->model.image.width;
    const json_t *crop = json_object_get(json_object_get(f->config, "pretrained_cfg"), "crop_pct");
    int64_t shortest = whole(json_object_get(f->preprocessor, "size"), "shortest_edge", 0),
            cropped = whole(json_object_get(f->preprocessor, "crop_size"), "height", shortest);
    double share = json_is_number(crop) ? json_number_value(crop) : 0;
    char list[VALUE_BYTES];
    if (shortest > 0 && cropped > 0)
        share = (double)cropped / (double)shortest;
    if (f->own && h == f->info.model.image_height && w == f->info.model.image_width)
        return set(r, "data.eval_preprocess", f->info.preprocess, err);
    if (h == w && share >= 0.1 && share <= 1.0)
        (void)snprintf(list, sizeof list, "[resize_small(%lld%s), center_crop(%lld)]",
                       (long long)floor((double)h / share), resize_method(f), (long long)h);
    else if (h == w)
        (void)snprintf(list, sizeof list, "[resize(%lld%s)]", (long long)h, resize_method(f));
    else
        (void)snprintf(list, sizeof list, "[resize(%lld, %lld%s)]", (long long)h, (long long)w, resize_method(f));
    return set(r, "data.eval_preprocess", list, err);
}

vt_status vt_foreign_adopt(const vt_foreign *f, vt_recipe *r, vt_err *err)
{
    facts list = {0};
    vt_foreign_shape shape;
    VT_TRY(vt_foreign_shape_of(f, &shape, err));
    int family = family_of(f);
    if (f->own)
        tell_own(f, &list);
    else if (f->flax)
        tell_flax(f, &shape, &list);
    else if (family >= 0)
        tell_family(f, family, &list);
    else
        tell_timm(f, &shape, &list);
    if (shape.head_width > 0 && !told(&list, "model.heads"))
        tell(&list, "model.heads", "%lld", (long long)(shape.width / shape.head_width));
    if (!told(&list, "model.head") && (shape.map || !shape.class_token))
        tell(&list, "model.head", "%s", shape.map ? "map" : "gap");
    VT_TRY(check_told(f, r, &shape, &list, err));
    VT_TRY(adopt_shape(f, &shape, &list, r, err));
    VT_TRY(adopt_image(f, &shape, &list, r, err));
    bool range = is_given(r, "data.value_min") || is_given(r, "data.value_max");
    for (int i = 0; i < list.n; i++) {
        const char *key = list.list[i].key;
        bool pixels = strcmp(key, "data.mean") == 0 || strcmp(key, "data.std") == 0;
        if (strcmp(key, "model.heads") == 0 || (range && pixels))
            continue;
        if (set(r, key, list.list[i].value, err) != VT_OK)
            return vt_prefix(err, "%s", f->path);
    }
    return is_given(r, "data.eval_preprocess") || r->data.eval_preprocess ? VT_OK : adopt_preprocess(f, r, err);
}

vt_status vt_init_adopt(vt_recipe *r, vt_err *err)
{
    vt_foreign *f = NULL;
    if (!r->init[0])
        return VT_OK;
    if (r->from[0])
        return vt_fail(err, VT_EINVAL,
                       "from and init are both set: from goes on with a training, init begins one with "
                       "a model's values; leave one of them empty");
    vt_status status = vt_foreign_open(&f, r->init, err);
    if (status == VT_OK)
        status = vt_foreign_adopt(f, r, err);
    vt_foreign_close(f);
    return status == VT_OK ? VT_OK : vt_prefix(err, "init");
}
