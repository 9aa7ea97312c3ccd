/* Writing and reading config.json. timm builds `architecture` with model_args over it, so that a checkpoint's folder
 * loads with timm.create_model("local-dir:FOLDER", pretrained=True); the names are those of timm's VisionTransformer.
 */
#include "train/hub_config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/text.h"

#define MAX_CLASSES   (1 << 24)
#define TIMM_NORM_EPS 1e-6 /* of most of its ViTs */

/* Architectures of timm that say what config.json cannot: the MLP's kind and the norms' epsilon. All else is given. */
static const struct {
    const char *name;
    int mlp_kind;
    double norm_eps;
} architectures[] = {
    {"vit_base_patch16_224", VT_MLP_GELU, TIMM_NORM_EPS},
    {"vit_base_patch32_clip_224", VT_MLP_GELU, 1e-5},
    {"vit_giant_patch14_dinov2", VT_MLP_SWIGLU, TIMM_NORM_EPS},
};

/* The one that fits best: at least in the MLP's kind. */
static size_t architecture_of(const vt_model_config *c)
{
    size_t best = 0;
    for (size_t i = VT_COUNT_OF(architectures); i-- > 0;)
        if (architectures[i].mlp_kind == c->mlp_kind) {
            best = i;
            if (architectures[i].norm_eps == c->norm_eps)
                return i;
        }
    return best;
}

/* timm computes int(width * mlp_ratio): a ratio whose product is rounded below the whole number would lose one. */
static double mlp_ratio(const vt_model_config *c)
{
    int64_t rows = c->mlp_kind == VT_MLP_SWIGLU ? 2 * c->mlp : c->mlp;
    double ratio = (double)rows / (double)c->width;
    return (int64_t)((double)c->width * ratio) == rows ? ratio : nextafter(ratio, 1e9);
}

/* timm's word for each head and each GELU, in the order of vt_head_names and vt_gelu_names. */
static const char *const timm_pools[] = {"map", "avg", "token", NULL};
static const char *const timm_gelus[] = {"gelu_tanh", "gelu", "quick_gelu", NULL};

/* What an architecture may set is given even where it is off. sincos2d positions are a tensor of the checkpoint, which
 * timm takes for learned ones. */
static json_t *model_args(const vt_model_config *c)
{
    vt_token_kind token = vt_model_class_token(c);
    bool front = token != VT_TOKEN_NONE || c->registers > 0, plain = architecture_of(c) == 0;
    json_t *args =
        json_pack("{s:[I,I], s:I, s:I, s:I, s:I, s:f, s:b, s:b, s:s, s:b, s:s}", "img_size",
                  (json_int_t)c->image_height, (json_int_t)c->image_width, "patch_size", (json_int_t)c->patch,
                  "embed_dim", (json_int_t)c->width, "depth", (json_int_t)c->depth, "num_heads", (json_int_t)c->heads,
                  "mlp_ratio", mlp_ratio(c), "class_token", token != VT_TOKEN_NONE, "no_embed_class",
                  front && token != VT_TOKEN_POSITION, "global_pool", timm_pools[c->head], "fc_norm", c->norm_pooled,
                  "act_layer", c->mlp_kind == VT_MLP_SWIGLU ? "silu" : timm_gelus[c->gelu]);
    if (c->registers > 0)
        (void)json_object_set_new(args, "reg_tokens", json_integer(c->registers));
    if (c->layer_scale > 0 || !plain)
        (void)json_object_set_new(args, "init_values", c->layer_scale > 0 ? json_real(c->layer_scale) : json_null());
    if (c->norm_pre || !plain)
        (void)json_object_set_new(args, "pre_norm", json_boolean(c->norm_pre));
    if (c->qk_norm)
        (void)json_object_set_new(args, "qk_norm", json_true());
    if (c->head == VT_HEAD_MAP && front)
        (void)json_object_set_new(args, "pool_include_prefix", json_true());
    return args;
}

/* What timm cannot be told, and so computes otherwise. */
static void warn_of_differences(const vt_model_config *c)
{
    double norm_eps = architectures[architecture_of(c)].norm_eps;
    if (c->representation == c->width)
        vt_log(VT_LOG_WARN,
               "timm has no representation layer: there the checkpoint loads without pre_logits, and gives "
               "other logits");
    else if (c->representation > 0)
        vt_log(
            VT_LOG_WARN,
            "timm has no representation layer, and its classifier takes %lld features, not %lld: the checkpoint will "
            "not load there",
            (long long)c->width, (long long)c->representation);
    if (c->norm_eps != norm_eps)
        vt_log(VT_LOG_WARN,
               "timm's norms add %g to the variance, not model.norm_eps=%g: the checkpoint gives other "
               "logits there",
               norm_eps, c->norm_eps);
    if (vt_model_class_token(c) == VT_TOKEN_POSITION && c->registers > 0)
        vt_log(VT_LOG_WARN, "timm gives registers a position where the class token has one: the checkpoint will not "
                            "load there (with model.class_token=plain it would)");
    if (c->head == VT_HEAD_MAP && c->mlp_kind == VT_MLP_SWIGLU)
        vt_log(VT_LOG_WARN, "timm makes the MLP of its attention pooling as wide as both halves of SwiGLU: the "
                            "checkpoint will not load there");
}

/* Seven digits, so that 2/255 in float32 reads as the 0.5 that it stands for. */
static double rounded(double x)
{
    char text[32];
    double value = x;
    (void)snprintf(text, sizeof text, "%.7g", x);
    return vt_parse_f64(text, &value, NULL) == VT_OK ? value : x;
}

/* timm normalises (pixel/255 - mean) / std, vitro scale * pixel + offset: mean and std that say the same. */
static json_t *pretrained_cfg(const vt_checkpoint_info *info)
{
    const vt_model_config *c = &info->model;
    double mean[3], std[3];
    for (int i = 0; i < 3; i++) {
        double exact = 1.0 / (255.0 * (double)info->pixels.scale[i]);
        std[i] = rounded(exact);
        mean[i] = rounded(-(double)info->pixels.offset[i] * exact);
    }
    return json_pack("{s:[i,I,I], s:[f,f,f], s:[f,f,f], s:I, s:s, s:s, s:f, s:b}", "input_size", 3,
                     (json_int_t)c->image_height, (json_int_t)c->image_width, "mean", mean[0], mean[1], mean[2], "std",
                     std[0], std[1], std[2], "num_classes", (json_int_t)c->classes, "first_conv", "patch_embed.proj",
                     "classifier", "head", "crop_pct", 1.0, "fixed_input_size", 1);
}

static json_t *label_names(const vt_checkpoint_info *info)
{
    json_t *names = json_array();
    for (int64_t i = 0; i < info->model.classes; i++)
        json_array_append_new(names, json_string(info->class_names[i]));
    return names;
}

/* A number for each color; one where they are the same. */
static json_t *by_color(const float x[3])
{
    if (x[0] == x[1] && x[0] == x[2])
        return json_real((double)x[0]);
    return json_pack("[f,f,f]", (double)x[0], (double)x[1], (double)x[2]);
}

static json_t *own_section(const vt_checkpoint_info *info)
{
    const vt_model_config *c = &info->model;
    json_t *own = json_pack(
        "{s:I, s:s, s:I, s:f, s:f, s:s, s:s, s:b, s:o, s:o, s:b, s:I, s:I}", "mlp", (json_int_t)c->mlp, "positions",
        vt_positions_names[c->positions], "representation", (json_int_t)c->representation, "norm_eps", c->norm_eps,
        "head_bias", c->head_bias, "loss", vt_xent_names[info->loss], "preprocess", info->preprocess, "orient",
        info->orient, "pixel_scale", by_color(info->pixels.scale), "pixel_offset", by_color(info->pixels.offset),
        "classes_named", info->named, "step", (json_int_t)info->step, "images", (json_int_t)info->images);
    if (c->class_token != VT_TOKEN_AUTO)
        (void)json_object_set_new(own, "class_token", json_string(vt_token_names[c->class_token]));
    if (c->mlp_kind != VT_MLP_GELU) {
        (void)json_object_set_new(own, "mlp_kind", json_string(vt_mlp_names[c->mlp_kind]));
        (void)json_object_set_new(own, "gelu", json_string(vt_gelu_names[c->gelu]));
    }
    return own;
}

vt_status vt_hub_config_save(const char *path, const vt_checkpoint_info *info, vt_err *err)
{
    json_t *root = json_pack(
        "{s:s, s:I, s:I, s:s, s:o, s:o, s:o, s:o}", "architecture", architectures[architecture_of(&info->model)].name,
        "num_classes", (json_int_t)info->model.classes, "num_features", (json_int_t)info->model.width, "global_pool",
        timm_pools[info->model.head], "model_args", model_args(&info->model), "pretrained_cfg", pretrained_cfg(info),
        "label_names", label_names(info), "vitro", own_section(info));
    if (!root)
        return vt_fail(err, VT_EFORMAT, "%s: a class name is not valid UTF-8; rename the class", path);
    vt_status status = vt_json_save(path, root, err);
    if (status == VT_OK)
        warn_of_differences(&info->model);
    json_decref(root);
    return status;
}

/* The place of a word in a table; `missing` where the file is older than the key. */
static vt_status get_name(const json_t *object, const char *key, const char *const *names, int missing,
                          const char *path, int *value, vt_err *err)
{
    const char *word = NULL;
    *value = missing;
    if (missing >= 0 && !json_object_get(object, key))
        return VT_OK;
    VT_TRY(vt_json_get_string(object, key, path, &word, err));
    vt_text list = {0};
    for (int i = 0; names[i]; i++) {
        if (strcmp(names[i], word) == 0) {
            *value = i;
            vt_text_release(&list);
            return VT_OK;
        }
        vt_text_addf(&list, "%s\"%s\"", i ? " or " : "", names[i]);
    }
    vt_status status = vt_fail(err, VT_EUNSUPPORTED, "%s: %s is \"%.40s\"; expected %s", path, key, word, list.s);
    vt_text_release(&list);
    return status;
}

/* A number that is there and not null; else 0. */
static vt_status get_number(const json_t *object, const char *key, const char *path, double *value, vt_err *err)
{
    const json_t *v = json_object_get(object, key);
    *value = 0;
    return v == NULL || json_is_null(v) ? VT_OK : vt_json_get_f64(object, key, path, value, err);
}

static bool is_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

/* How the model differs from the plainest; a file without these keys is of one that differs in nothing. */
static vt_status load_variants(const json_t *args, const json_t *own, const char *path, vt_model_config *c, vt_err *err)
{
    VT_TRY(get_name(args, "global_pool", timm_pools, -1, path, &c->head, err));
    VT_TRY(get_name(own, "mlp_kind", vt_mlp_names, VT_MLP_GELU, path, &c->mlp_kind, err));
    if (c->mlp_kind == VT_MLP_GELU)
        VT_TRY(get_name(args, "act_layer", timm_gelus, VT_GELU_TANH, path, &c->gelu, err));
    else
        VT_TRY(get_name(own, "gelu", vt_gelu_names, VT_GELU_TANH, path, &c->gelu, err));
    VT_TRY(get_name(own, "positions", vt_positions_names, VT_POSITIONS_LEARNED, path, &c->positions, err));
    VT_TRY(get_name(own, "class_token", vt_token_names, VT_TOKEN_AUTO, path, &c->class_token, err));
    double registers = 0;
    VT_TRY(get_number(args, "reg_tokens", path, &registers, err));
    c->registers = registers >= 0 && registers <= VT_MAX_TOKENS ? (int64_t)registers : -1;
    VT_TRY(get_number(args, "init_values", path, &c->layer_scale, err));
    c->norm_pre = is_true(args, "pre_norm");
    c->qk_norm = is_true(args, "qk_norm");
    c->norm_pooled = is_true(args, "fc_norm");
    c->norm_eps = TIMM_NORM_EPS;
    if (json_object_get(own, "norm_eps"))
        VT_TRY(vt_json_get_f64(own, "norm_eps", path, &c->norm_eps, err));
    if (json_object_get(own, "representation"))
        VT_TRY(vt_json_get_i64(own, "representation", path, &c->representation, err));
    return VT_OK;
}

static vt_status load_model(const json_t *root, const char *path, vt_checkpoint_info *info, vt_err *err)
{
    const json_t *args = json_object_get(root, "model_args"), *own = json_object_get(root, "vitro");
    vt_model_config *c = &info->model;
    if (!json_is_object(own))
        return vt_fail(err, VT_EUNSUPPORTED,
                       "%s has no section \"vitro\": it was written by another program, and only vitro's own "
                       "checkpoints can be read",
                       path);
    const json_t *size = json_object_get(args, "img_size");
    c->image_height = json_integer_value(json_array_get(size, 0));
    c->image_width = json_integer_value(json_array_get(size, 1));
    VT_TRY(vt_json_get_i64(args, "patch_size", path, &c->patch, err));
    VT_TRY(vt_json_get_i64(args, "embed_dim", path, &c->width, err));
    VT_TRY(vt_json_get_i64(args, "depth", path, &c->depth, err));
    VT_TRY(vt_json_get_i64(args, "num_heads", path, &c->heads, err));
    VT_TRY(vt_json_get_i64(own, "mlp", path, &c->mlp, err));
    VT_TRY(vt_json_get_f64(own, "head_bias", path, &c->head_bias, err));
    VT_TRY(vt_json_get_i64(root, "num_classes", path, &c->classes, err));
    VT_TRY(load_variants(args, own, path, c, err));
    if (c->classes < 1 || c->classes > MAX_CLASSES)
        return vt_fail(err, VT_EFORMAT, "%s: num_classes is %lld; expected 1 to %d", path, (long long)c->classes,
                       MAX_CLASSES);
    return vt_model_check(c, err) == VT_OK ? VT_OK : vt_prefix(err, "%s", path);
}

static vt_status load_labels(const json_t *root, const char *path, vt_checkpoint_info *info, vt_err *err)
{
    const json_t *names = json_object_get(root, "label_names");
    int64_t classes = info->model.classes;
    if (!json_is_array(names) || (int64_t)json_array_size(names) != classes)
        return vt_fail(err, VT_EFORMAT, "%s: label_names holds %zu names; the model has %lld classes", path,
                       json_array_size(names), (long long)classes);
    info->class_names = vt_xcalloc((size_t)classes, sizeof *info->class_names);
    for (int64_t i = 0; i < classes; i++) {
        const char *name = json_string_value(json_array_get(names, (size_t)i));
        if (!name)
            return vt_fail(err, VT_EFORMAT, "%s: label_names[%lld] is not a string", path, (long long)i);
        info->class_names[i] = vt_xstrdup(name);
    }
    return VT_OK;
}

/* A number for each color, or one for all. */
static vt_status get_by_color(const json_t *own, const char *key, const char *path, float x[3], vt_err *err)
{
    const json_t *list = json_object_get(own, key);
    double all = 0;
    if (!json_is_array(list)) {
        VT_TRY(vt_json_get_f64(own, key, path, &all, err));
        x[0] = x[1] = x[2] = (float)all;
        return VT_OK;
    }
    for (size_t i = 0; i < 3; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_number(v) || json_array_size(list) != 3)
            return vt_fail(err, VT_EFORMAT, "%s: %s must be a number, or a list of three for red, green and blue", path,
                           key);
        x[i] = (float)json_number_value(v);
    }
    return VT_OK;
}

static vt_status load_own(const json_t *own, const char *path, vt_checkpoint_info *info, vt_err *err)
{
    const char *preprocess = NULL;
    vt_preprocess parsed;
    VT_TRY(vt_json_get_string(own, "preprocess", path, &preprocess, err));
    VT_TRY(get_by_color(own, "pixel_scale", path, info->pixels.scale, err));
    VT_TRY(get_by_color(own, "pixel_offset", path, info->pixels.offset, err));
    VT_TRY(vt_json_get_i64(own, "step", path, &info->step, err));
    VT_TRY(vt_json_get_i64(own, "images", path, &info->images, err));
    if (vt_preprocess_parse(&parsed, preprocess, err) != VT_OK)
        return vt_prefix(err, "%s: preprocess", path);
    info->preprocess = vt_xstrdup(preprocess);
    info->orient = json_is_true(json_object_get(own, "orient")); /* absent: written before there was a choice */
    VT_TRY(get_name(own, "loss", vt_xent_names, VT_LOSS_SIGMOID, path, &info->loss, err));
    info->named = json_is_true(json_object_get(own, "classes_named"));
    return VT_OK;
}

vt_status vt_hub_config_load(const char *path, vt_checkpoint_info *info, vt_err *err)
{
    json_t *root = NULL;
    *info = (vt_checkpoint_info){0};
    vt_status status = vt_json_load(path, &root, err);
    if (status == VT_OK)
        status = load_model(root, path, info, err);
    if (status == VT_OK)
        status = load_labels(root, path, info, err);
    if (status == VT_OK)
        status = load_own(json_object_get(root, "vitro"), path, info, err);
    json_decref(root);
    return status;
}

void vt_checkpoint_info_release(vt_checkpoint_info *info)
{
    for (int64_t i = 0; info->class_names && i < info->model.classes; i++)
        free(info->class_names[i]);
    free(info->class_names);
    free(info->preprocess);
    *info = (vt_checkpoint_info){0};
}
