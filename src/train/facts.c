/* What is known of a foreign model, written into the keys of a recipe.
 *
 * Shapes tell most of a model. What they cannot tell (heads, the form of GELU, the norms' epsilon, which vector is the
 * feature, mean and std of pixels) is taken, in this order, from the recipe, from config.json, or from what the program
 * that wrote the names always does. Nothing is guessed: a fact that nobody tells is an error with the key to set. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/foreign_internal.h"

void vt_facts_tell(vt_facts *s, const char *key, const char *fmt, ...)
{
    va_list arguments;
    va_start(arguments, fmt);
    assert(s->n < VT_MAX_FACTS);
    s->list[s->n].key = key;
    (void)vsnprintf(s->list[s->n++].value, VT_FACT_BYTES, fmt, arguments);
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
    vt_size own = vt_foreign_image(f);
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

static const char *told(const vt_facts *s, const char *key)
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
static void missing(const vt_recipe *r, const vt_facts *s, const char *key, const char *candidates, vt_text *list)
{
    if (!is_given(r, key) && !told(s, key))
        vt_text_addf(list, "%s%s (%s)", list->len ? ", " : "", key, candidates);
}

static vt_status check_told(const vt_foreign *f, const vt_recipe *r, const vt_foreign_shape *shape, const vt_facts *s,
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
static vt_status adopt_shape(const vt_foreign *f, const vt_foreign_shape *s, const vt_facts *told_facts, vt_recipe *r,
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
    char shape[VT_FACT_BYTES];
    (void)snprintf(shape, sizeof shape, "w%lld-d%lld-m%lld-h%lld-p%lld", (long long)s->width, (long long)s->depth,
                   (long long)s->mlp, (long long)heads, (long long)s->patch);
    return vt_keys_set(vt_recipe_keys, vt_n_recipe_keys, r, "model.shape", shape, err);
}

/* Parts of the model that a shape showed. */
static void tell_shape(const vt_foreign_shape *s, bool class_row, vt_facts *list)
{
    vt_facts_tell(list, "model.class_token", "%s", !s->class_token ? "none" : class_row ? "position" : "plain");
    vt_facts_tell(list, "model.registers", "%lld", (long long)s->registers);
    vt_facts_tell(list, "model.mlp_kind", "%s", s->swiglu ? "swiglu" : "gelu");
    vt_facts_tell(list, "model.layer_scale", "%s", s->layer_scale ? "1e-5" : "0");
    vt_facts_tell(list, "model.norm_pre", "%s", s->norm_pre ? "true" : "false");
    vt_facts_tell(list, "model.qk_norm", "%s", s->qk_norm ? "true" : "false");
    vt_facts_tell(list, "model.norm_pooled", "%s", s->norm_pooled ? "true" : "false");
    vt_facts_tell(list, "model.representation", "%lld", (long long)s->representation);
}

static vt_status adopt_image(const vt_foreign *f, const vt_foreign_shape *s, vt_facts *list, vt_recipe *r, vt_err *err)
{
    int64_t rows = 0, cols = 0;
    bool class_row = false, given = is_given(r, "model.image");
    if (s->positions > 0)
        VT_TRY(vt_foreign_grid(f, s, given ? r->model.image : (vt_size){0}, &rows, &cols, &class_row, err));
    tell_shape(s, class_row && !f->flax, list); /* big_vision adds an old class position to the token */
    vt_size image = vt_foreign_image(f);
    if (rows > 0 && (image.height / s->patch != rows || image.width / s->patch != cols))
        image = (vt_size){rows * s->patch, cols * s->patch};
    if (given)
        return VT_OK;
    if (image.height == 0)
        return vt_fail(err, VT_EINVAL, "%s has no positions to tell the size of its images; set model.image", f->path);
    r->model.image = image;
    return VT_OK;
}

/* What evaluation does to an image, where nobody said: as the file's own program does. */
static vt_status adopt_preprocess(const vt_foreign *f, vt_recipe *r, vt_err *err)
{
    char list[VT_FACT_BYTES];
    vt_size image = r->model.image;
    if (f->own && image.height == f->info.model.image_height && image.width == f->info.model.image_width)
        return set(r, "data.eval_preprocess", f->info.preprocess, err);
    vt_facts_preprocess(f, image, list);
    return set(r, "data.eval_preprocess", list, err);
}

vt_status vt_foreign_adopt(const vt_foreign *f, vt_recipe *r, vt_err *err)
{
    vt_facts list = {0};
    vt_foreign_shape shape;
    VT_TRY(vt_foreign_shape_of(f, &shape, err));
    vt_facts_of_config(f, &shape, &list);
    if (shape.head_width > 0 && !told(&list, "model.heads"))
        vt_facts_tell(&list, "model.heads", "%lld", (long long)(shape.width / shape.head_width));
    if (!told(&list, "model.head") && (shape.map || !shape.class_token))
        vt_facts_tell(&list, "model.head", "%s", shape.map ? "map" : "gap");
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
