/* What the configuration files of a foreign model tell: config.json of transformers, timm and vitro's own,
 * preprocessor_config.json; and what big_vision, which writes none, always does. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "train/foreign_internal.h"

/* transformers leaves out what has its default; these are the defaults of its configuration classes. */
static const struct {
    const char *type, *section; /* section: where a model of images and text keeps it */
    int64_t heads, image, resample;
    const char *gelu;
    double eps;
    const char *head; /* of its features */
} families[] = {
    {"vit", NULL, 12, 224, 2, "gelu", 1e-12, "tok"},
    {"dinov2", NULL, 12, 224, 3, "gelu", 1e-6, "tok"},
    {"dinov2_with_registers", NULL, 12, 224, 3, "gelu", 1e-6, "tok"},
    {"siglip_vision_model", NULL, 12, 224, 3, "gelu_pytorch_tanh", 1e-6, "map"},
    {"siglip", "vision_config", 12, 224, 3, "gelu_pytorch_tanh", 1e-6, "map"},
    {"clip_vision_model", NULL, 12, 224, 3, "quick_gelu", 1e-5, "tok"},
    {"clip", "vision_config", 12, 224, 3, "quick_gelu", 1e-5, "tok"},
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

vt_size vt_foreign_image(const vt_foreign *f)
{
    int family = family_of(f);
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

static void tell_colours(vt_facts *s, const char *key, const json_t *list)
{
    if (json_array_size(list) == 3)
        vt_facts_tell(s, key, "[%.9g, %.9g, %.9g]", json_number_value(json_array_get(list, 0)),
                      json_number_value(json_array_get(list, 1)), json_number_value(json_array_get(list, 2)));
}

/* transformers: config.json and preprocessor_config.json. */
static void tell_family(const vt_foreign *f, int family, vt_facts *s)
{
    const json_t *c = family_section(f, family), *eps = json_object_get(c, "layer_norm_eps");
    const char *act = json_string_value(json_object_get(c, "hidden_act"));
    vt_facts_tell(s, "model.heads", "%lld", (long long)whole(c, "num_attention_heads", families[family].heads));
    if (gelu_of(act ? act : families[family].gelu))
        vt_facts_tell(s, "model.gelu", "%s", gelu_of(act ? act : families[family].gelu));
    vt_facts_tell(s, "model.norm_eps", "%.17g", json_is_number(eps) ? json_number_value(eps) : families[family].eps);
    vt_facts_tell(s, "model.head", "%s", families[family].head);
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
static void tell_timm(const vt_foreign *f, const vt_foreign_shape *shape, vt_facts *s)
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
        vt_facts_tell(s, "model.heads", "%lld", (long long)heads);
    if (gelu_of(act) || plain)
        vt_facts_tell(s, "model.gelu", "%s", gelu_of(act) ? gelu_of(act) : "erf");
    if (plain)
        vt_facts_tell(s, "model.norm_eps", "1e-6");
    if (pool && (strcmp(pool, "token") == 0 || strcmp(pool, "avg") == 0 || strcmp(pool, "map") == 0))
        vt_facts_tell(s, "model.head", "%s",
                      strcmp(pool, "token") == 0 ? "tok"
                      : strcmp(pool, "avg") == 0 ? "gap"
                                                 : "map");
    tell_colours(s, "data.mean", json_object_get(cfg, "mean"));
    tell_colours(s, "data.std", json_object_get(cfg, "std"));
}

/* vitro's own config.json says everything. */
static void tell_own(const vt_foreign *f, vt_facts *s)
{
    const vt_model_config *c = &f->info.model;
    vt_facts_tell(s, "model.heads", "%lld", (long long)c->heads);
    vt_facts_tell(s, "model.gelu", "%s", vt_gelu_names[c->gelu]);
    vt_facts_tell(s, "model.norm_eps", "%.17g", c->norm_eps);
    vt_facts_tell(s, "model.head", "%s", vt_head_names[c->head]);
    vt_facts_tell(s, "model.positions", "%s", vt_positions_names[c->positions]);
    double mean[3], std[3];
    for (int i = 0; i < 3; i++) {
        std[i] = 1.0 / (255.0 * (double)f->info.pixels.scale[i]);
        mean[i] = -(double)f->info.pixels.offset[i] * std[i];
    }
    vt_facts_tell(s, "data.mean", "[%.12g, %.12g, %.12g]", mean[0], mean[1], mean[2]);
    vt_facts_tell(s, "data.std", "[%.12g, %.12g, %.12g]", std[0], std[1], std[2]);
    vt_facts_tell(s, "data.orient", "%s", f->info.orient ? "exif" : "none");
}

/* big_vision has one form of everything, and all its configurations scale pixels to -1 .. 1. */
static void tell_flax(const vt_foreign *f, const vt_foreign_shape *shape, vt_facts *s)
{
    if (f->heads_seen > 0)
        vt_facts_tell(s, "model.heads", "%lld", (long long)f->heads_seen);
    vt_facts_tell(s, "model.gelu", "tanh");
    vt_facts_tell(s, "model.norm_eps", "1e-6");
    vt_facts_tell(s, "model.head", "%s", shape->map ? "map" : shape->class_token ? "tok" : "gap");
    if (shape->positions == 0)
        vt_facts_tell(s, "model.positions", "sincos2d");
    vt_facts_tell(s, "data.mean", "[0.5, 0.5, 0.5]");
    vt_facts_tell(s, "data.std", "[0.5, 0.5, 0.5]");
}

void vt_facts_of_config(const vt_foreign *f, const vt_foreign_shape *shape, vt_facts *list)
{
    int family = family_of(f);
    if (f->own)
        tell_own(f, list);
    else if (f->flax)
        tell_flax(f, shape, list);
    else if (family >= 0)
        tell_family(f, family, list);
    else
        tell_timm(f, shape, list);
}

/* --- what is done to an image ---------------------------------------------------------------------------------------
 */

/* Pillow's methods, by its numbers; transformers tells the number, timm the word. Those that are not computed here give
 * way to bicubic. */
static const struct {
    const char *word, *method;
} methods[] = {{"nearest", NULL},      {"lanczos", NULL}, {"bilinear", "bilinear"},
               {"bicubic", "bicubic"}, {"box", "box"},    {"hamming", NULL}};

/* Pillow's number for how the file's own program resizes; -1: it is not known which program that is. */
static int64_t resize_number(const vt_foreign *f)
{
    const json_t *cfg = json_object_get(f->config, "pretrained_cfg");
    const char *word = json_string_value(json_object_get(cfg, "interpolation"));
    int family = family_of(f);
    int64_t usual = family >= 0 ? families[family].resample : cfg ? 3 : -1; /* 3: timm's default */
    for (size_t i = 0; word && i < VT_COUNT_OF(methods); i++)
        if (strcmp(methods[i].word, word) == 0)
            return (int64_t)i;
    return whole(f->preprocessor, "resample", usual);
}

/* ", bicubic"; "" is TensorFlow's way. */
static const char *resize_method(const vt_foreign *f, char text[32])
{
    int64_t number = resize_number(f);
    bool known = number >= 0 && number < (int64_t)VT_COUNT_OF(methods);
    const char *method = known ? methods[number].method : NULL;
    if (number < 0)
        return "";
    if (!method)
        vt_log(VT_LOG_WARN,
               "%s: its images were resized by Pillow's method %lld (%s), which is not computed here; "
               "bicubic is used (data.eval_preprocess)",
               f->path, (long long)number, known ? methods[number].word : "unknown");
    (void)snprintf(text, 32, ", %s", method ? method : "bicubic");
    return text;
}

/* How an image becomes a square: its shorter side, or both (squash), are resized so that the model's side is this share
 * of them, and the middle is cut out. share 0: nobody tells. */
typedef struct {
    bool squash;
    double share;
} fit;

static int64_t side_of(const json_t *size)
{
    return json_is_integer(size) ? json_integer_value(size) : whole(size, "height", 0);
}

/* transformers: sides by name. Older files have plain numbers; where the middle is cut out (do_center_crop) the number
 * is the shorter side's, but for DeiT, else that of both. */
static fit fit_of_transformers(const vt_foreign *f)
{
    const json_t *p = f->preprocessor, *size = json_object_get(p, "size"), *crop = json_object_get(p, "crop_size"),
                 *wanted = json_object_get(p, "do_center_crop");
    const char *type = json_string_value(json_object_get(p, "feature_extractor_type"));
    bool crops = wanted ? json_is_true(wanted) : json_is_object(crop);
    int64_t shorter = whole(size, "shortest_edge", 0);
    if (json_is_integer(size) && crops && !(type && vt_has_prefix(type, "DeiT")))
        shorter = json_integer_value(size);
    int64_t side = shorter ? shorter : side_of(size), cut = crops && crop ? side_of(crop) : side;
    return side > 0 && cut > 0 ? (fit){.squash = !shorter, .share = (double)cut / (double)side} : (fit){0};
}

static fit fit_of_timm(const vt_foreign *f)
{
    const json_t *cfg = json_object_get(f->config, "pretrained_cfg");
    const char *mode = json_string_value(json_object_get(cfg, "crop_mode"));
    if (mode && strcmp(mode, "border") == 0)
        vt_log(VT_LOG_WARN,
               "%s: its images got borders (crop_mode), which is not done here; the middle is cut out "
               "(data.eval_preprocess)",
               f->path);
    return (fit){.squash = mode && strcmp(mode, "squash") == 0,
                 .share = json_number_value(json_object_get(cfg, "crop_pct"))};
}

void vt_facts_preprocess(const vt_foreign *f, vt_size image, char list[VT_FACT_BYTES])
{
    char text[32];
    const char *method = resize_method(f, text);
    long long h = (long long)image.height, w = (long long)image.width;
    fit how = f->preprocessor ? fit_of_transformers(f) : fit_of_timm(f);
    bool told = h == w && how.share >= 0.1 && how.share <= 1;
    long long side = told ? (long long)floor((double)h / how.share + 1e-6) : h;
    if (told && (!how.squash || side > h))
        (void)snprintf(list, VT_FACT_BYTES, "[%s(%lld%s), center_crop(%lld)]", how.squash ? "resize" : "resize_small",
                       side, method, h);
    else if (h == w)
        (void)snprintf(list, VT_FACT_BYTES, "[resize(%lld%s)]", h, method);
    else
        (void)snprintf(list, VT_FACT_BYTES, "[resize(%lld, %lld%s)]", h, w, method);
}
