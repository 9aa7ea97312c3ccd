/* The numbers of a foreign model into a model of vitro's: piece by piece, turned where the program kept them otherwise,
 * resized where the resolution differs, and at the end a look at every tensor of the model. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "train/foreign_internal.h"

typedef struct {
    vt_foreign *f;
    vt_model *m;
    vt_device *device;
    const vt_foreign_use *use;
    vt_foreign_shape shape;
    bool keep_head;
    int64_t *class_rows;   /* class of the model -> class of the file, where their order differs; or NULL */
    unsigned *covered;     /* a bit for each part of each parameter */
    float *class_position; /* of a class token that has none in this model: to be added to it; or NULL */
    vt_text notes;
} load;

static void note(load *l, const char *fmt, ...) VT_PRINTF(2, 3);
static void note(load *l, const char *fmt, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, fmt);
    (void)vsnprintf(text, sizeof text, fmt, arguments);
    va_end(arguments);
    vt_text_addf(&l->notes, "%s%s", l->notes.len ? "; " : "", text);
}

/* --- the classifier -------------------------------------------------------------------------------------------------
 */

static int64_t class_of(const vt_foreign *f, const char *name)
{
    for (int64_t i = 0; i < f->n_class_names; i++)
        if (strcmp(f->class_names[i], name) == 0)
            return i;
    return -1;
}

/* Whether the classes of both are the same by name, never by number; fills class_rows where the order differs. */
static bool same_classes(load *l)
{
    const vt_foreign *f = l->f;
    int64_t n = l->m->config.classes;
    if (vt_foreign_classes(f) != n || !f->class_names || !l->use->class_names)
        return false;
    bool ordered = true;
    l->class_rows = vt_xcalloc((size_t)n, sizeof *l->class_rows);
    for (int64_t i = 0; i < n; i++) {
        bool here = strcmp(f->class_names[i], l->use->class_names[i]) == 0;
        l->class_rows[i] = here ? i : class_of(f, l->use->class_names[i]);
        ordered = ordered && here;
        if (l->class_rows[i] < 0)
            return false;
    }
    if (ordered) {
        free(l->class_rows);
        l->class_rows = NULL;
    }
    return true;
}

/* Why the model's classifier begins anew. */
static void note_new_head(load *l, int64_t file, int64_t model)
{
    if (file == 0)
        note(l, "new classifier: the file has none%s",
             vt_foreign_tensor_of(l->f, "head.weight") ? " that takes the features" : "");
    else if (!l->f->class_names || !l->use->class_names)
        note(l,
             "new classifier: classes are matched by name, and %s no names (model.class_names=FILE, classes=FILE in "
             "DATA)",
             l->f->class_names     ? "the data have"
             : l->use->class_names ? "the file has"
                                   : "both sides have");
    else
        note(l, "new classifier: its %lld classes are not the data's %lld by name", (long long)file, (long long)model);
}

static vt_status decide_head(load *l, vt_err *err)
{
    int64_t file = vt_foreign_classes(l->f), model = l->m->config.classes;
    const vt_foreign_tensor *head = vt_foreign_tensor_of(l->f, "head.weight");
    if (l->use->any_classes && file != model && model > 0)
        return vt_fail(err, VT_EINVAL, "%s has a classifier of %lld classes; the model has %lld", l->f->path,
                       (long long)file, (long long)model);
    l->keep_head = model > 0 && (l->use->any_classes || same_classes(l));
    if (file == 0 && head && head->n_dims == 2)
        note(l, "its classifier is left out: it takes %lld numbers, not the features (DINOv2's: the patches' mean too)",
             (long long)head->dims[1]);
    if (model > 0 && !l->keep_head)
        note_new_head(l, file, model);
    else if (model > 0 && !l->use->any_classes)
        note(l, "classifier kept, its classes matched by name");
    return VT_OK;
}

/* --- numbers --------------------------------------------------------------------------------------------------------
 */

/* (in, out) -> (out, in). */
static void turn(const float *from, int64_t in, int64_t out, float *to)
{
    for (int64_t i = 0; i < in; i++)
        for (int64_t o = 0; o < out; o++)
            to[o * in + i] = from[i * out + o];
}

/* (P, P, 3, D) -> (D, 3, P, P). */
static void turn_patch(const float *from, int64_t side, int64_t width, float *to)
{
    for (int64_t y = 0; y < side; y++)
        for (int64_t x = 0; x < side; x++)
            for (int64_t c = 0; c < 3; c++)
                for (int64_t d = 0; d < width; d++)
                    to[((d * 3 + c) * side + y) * side + x] = from[((y * side + x) * 3 + c) * width + d];
}

/* The piece's numbers in timm's order, malloc'ed; *n of them. */
static vt_status read_piece(load *l, const vt_foreign_piece *p, float **out, int64_t *n, vt_err *err)
{
    const vt_weight *w = &l->f->weights.list[p->weight];
    const vt_name_rows *r = &p->match.rows;
    int64_t count = w->count / p->layers, part = count / r->of;
    *n = part * r->taken;
    float *numbers = vt_xmalloc((size_t)*n * sizeof *numbers);
    *out = numbers;
    vt_status status = vt_weights_read(&l->f->weights, w, p->layer * count + part * r->first, *n, numbers, err);
    if (status != VT_OK || p->match.how == VT_NAME_AS_IS)
        return status;
    float *turned = vt_xmalloc((size_t)*n * sizeof *turned);
    if (p->match.how == VT_NAME_HWIO) {
        turn_patch(numbers, p->src_dims[0], p->src_dims[3], turned);
    } else {
        int64_t in = p->match.how == VT_NAME_INPUT1 ? p->src_dims[0] : *n / p->src_dims[p->n_src_dims - 1];
        turn(numbers, in, *n / in, turned);
    }
    free(numbers);
    *out = turned;
    return VT_OK;
}

static void put(load *l, const vt_tensor *t, int64_t at, const float *numbers, int64_t n)
{
    vt_device_write(l->device, t->value + at, numbers, (size_t)n * sizeof *numbers);
}

/* The classifier's rows in the model's order. */
static void put_by_class(load *l, const vt_tensor *t, const float *numbers)
{
    int64_t cols = t->count / t->dims[0];
    for (int64_t i = 0; i < t->dims[0]; i++)
        put(l, t, i * cols, numbers + l->class_rows[i] * cols, cols);
}

static vt_resample kind_of(const load *l)
{
    if (l->use->positions != VT_RESAMPLE_AUTO)
        return l->use->positions;
    return l->f->own || l->f->flax ? VT_RESAMPLE_BILINEAR : VT_RESAMPLE_BICUBIC;
}

/* pos_embed: the grid resized, a class token's row kept, given to the token, or begun at 0. */
static vt_status put_positions(load *l, const vt_tensor *t, const float *numbers, vt_err *err)
{
    const vt_model *m = l->m;
    int64_t rows = 0, cols = 0, width = m->config.width;
    bool class_row = false, wants_row = t->count > m->patches * width;
    VT_TRY(vt_foreign_grid(l->f, &l->shape, (vt_size){m->config.image_height, m->config.image_width}, &rows, &cols,
                           &class_row, err));
    const float *grid = numbers + (class_row ? width : 0);
    if (class_row && wants_row) {
        put(l, t, 0, numbers, width);
    } else if (class_row) {
        l->class_position = vt_xmalloc((size_t)width * sizeof *l->class_position);
        memcpy(l->class_position, numbers, (size_t)width * sizeof *numbers);
    } else if (wants_row) {
        float *zero = vt_xcalloc((size_t)width, sizeof *zero);
        put(l, t, 0, zero, width);
        free(zero);
    }
    int64_t at = wants_row ? width : 0;
    if (rows == m->grid_h && cols == m->grid_w) {
        put(l, t, at, grid, rows * cols * width);
        return VT_OK;
    }
    float *resized = vt_xmalloc((size_t)(m->patches * width) * sizeof *resized);
    vt_resample_positions(grid, rows, cols, kind_of(l), resized, m->grid_h, m->grid_w, width);
    put(l, t, at, resized, m->patches * width);
    free(resized);
    note(l, "positions resized from %lldx%lld to %lldx%lld (%s)", (long long)rows, (long long)cols,
         (long long)m->grid_h, (long long)m->grid_w, vt_resample_names[kind_of(l)]);
    return VT_OK;
}

static vt_status put_patch(load *l, const vt_tensor *t, int64_t side, const float *numbers, vt_err *err)
{
    int64_t wanted = t->dims[2];
    float *resized = vt_xmalloc((size_t)t->count * sizeof *resized);
    vt_status status = vt_resample_patch(numbers, side, resized, wanted, t->dims[0] * t->dims[1], err);
    if (status == VT_OK)
        put(l, t, 0, resized, t->count);
    free(resized);
    note(l, "patch embedding resized from %lldx%lld to %lldx%lld", (long long)side, (long long)side, (long long)wanted,
         (long long)wanted);
    return status;
}

static vt_status refuse_shape(const load *l, const vt_foreign_tensor *from, const vt_tensor *t, vt_err *err)
{
    char found[128], wanted[128];
    return vt_fail(err, VT_EFORMAT, "%s: timm's %s is %s there; this model has it as %s", l->f->path, t->name,
                   vt_weight_shape(found, from->n_dims, from->dims), vt_weight_shape(wanted, t->n_dims, t->dims));
}

/* Numbers of one piece to their place in t. */
static vt_status put_piece(load *l, const vt_foreign_piece *p, const vt_tensor *t, const float *numbers, int64_t n,
                           vt_err *err)
{
    const vt_foreign_tensor *from = &l->f->tensors[p->tensor];
    int64_t dims[VT_MAX_DIMS];
    int n_dims = t->n_dims;
    memcpy(dims, t->dims, sizeof dims);
    vt_foreign_strip(t->name, dims, &n_dims);
    bool same = n_dims == from->n_dims && memcmp(dims, from->dims, (size_t)n_dims * sizeof *dims) == 0;
    if (strcmp(t->name, "pos_embed") == 0)
        return from->dims[from->n_dims - 1] == t->dims[t->n_dims - 1] ? put_positions(l, t, numbers, err)
                                                                      : refuse_shape(l, from, t, err);
    if (strcmp(t->name, "patch_embed.proj.weight") == 0 && !same)
        return from->dims[0] == t->dims[0] ? put_patch(l, t, from->dims[2], numbers, err)
                                           : refuse_shape(l, from, t, err);
    if (!same)
        return refuse_shape(l, from, t, err);
    if (l->class_rows && vt_has_prefix(t->name, "head."))
        put_by_class(l, t, numbers);
    else
        put(l, t, p->match.rows.part * n, numbers, n);
    return VT_OK;
}

/* Whether this model has no use for a tensor that others have. */
static bool is_unwanted(const load *l, const char *name)
{
    const vt_model_config *c = &l->m->config;
    if (vt_has_prefix(name, "head."))
        return !l->keep_head;
    if (vt_has_prefix(name, "attn_pool."))
        return c->head != VT_HEAD_MAP;
    return strcmp(name, "pos_embed") == 0 && c->positions == VT_POSITIONS_SINCOS2D;
}

static vt_status load_piece(load *l, const vt_foreign_piece *p, vt_err *err)
{
    const char *name = l->f->tensors[p->tensor].name;
    if (is_unwanted(l, name))
        return VT_OK;
    const vt_tensor *t = vt_model_param(l->m, name);
    if (!t)
        return vt_fail(err, VT_EINVAL, "%s: tensor %.80s (timm's %s) has no place in a model with these model.* keys",
                       l->f->path, l->f->weights.list[p->weight].name, name);
    float *numbers = NULL;
    int64_t n = 0;
    vt_status status = read_piece(l, p, &numbers, &n, err);
    if (status == VT_OK)
        status = put_piece(l, p, t, numbers, n, err);
    free(numbers);
    l->covered[t - l->m->params] |= 1U << p->match.rows.part;
    return status;
}

/* --- afterwards -----------------------------------------------------------------------------------------------------
 */

/* A bias that the file has in no block: its layers compute without one. */
static bool is_without_bias(const load *l, const char *name)
{
    char first[80];
    const char *rest = vt_has_prefix(name, "blocks.") ? strchr(name + strlen("blocks."), '.') : NULL;
    (void)snprintf(first, sizeof first, "%s%s", rest ? "blocks.0" : "", rest ? rest : name);
    return vt_has_suffix(name, ".bias") && !vt_foreign_tensor_of(l->f, first);
}

static vt_status check_param(load *l, int i, int *zeroed, vt_err *err)
{
    const vt_tensor *t = &l->m->params[i];
    bool in_head = vt_has_prefix(t->name, "head.");
    if (l->covered[i] || (in_head && !l->keep_head) ||
        (strcmp(t->name, "pos_embed") == 0 && l->m->config.positions == VT_POSITIONS_SINCOS2D))
        return VT_OK;
    if (vt_has_prefix(t->name, "attn_pool.") && !vt_foreign_tensor_of(l->f, "attn_pool.latent")) {
        if (vt_has_suffix(t->name, ".latent"))
            note(l, "new attention pooling: the file has none");
        return VT_OK;
    }
    if (!is_without_bias(l, t->name))
        return vt_fail(err, VT_EFORMAT, "%s has no tensor for timm's %s, which a model with these model.* keys needs",
                       l->f->path, t->name);
    float *zero = vt_xcalloc((size_t)t->count, sizeof *zero);
    put(l, t, 0, zero, t->count);
    free(zero);
    if ((*zeroed)++ == 0)
        note(l, "biases that the file has not are 0 (%s ...)", t->name);
    return VT_OK;
}

/* An older checkpoint's position of the class token (spec 7.2): belongs to the token. */
static vt_status add_class_position(load *l, vt_err *err)
{
    vt_tensor *token = vt_model_param(l->m, "cls_token");
    if (!l->class_position)
        return VT_OK;
    if (!token)
        return vt_fail(err, VT_EINVAL, "%s has a class token with a position; this model has no class token",
                       l->f->path);
    size_t bytes = (size_t)token->count * sizeof(float);
    float *value = vt_xmalloc(bytes);
    vt_device_read(l->device, value, token->value, bytes);
    for (int64_t i = 0; i < token->count; i++)
        value[i] += l->class_position[i];
    vt_device_write(l->device, token->value, value, bytes);
    free(value);
    return VT_OK;
}

static vt_status load_all(load *l, vt_err *err)
{
    int zeroed = 0;
    VT_TRY(vt_foreign_shape_of(l->f, &l->shape, err)); /* the file may be another one than was adopted */
    VT_TRY(decide_head(l, err));
    for (int i = 0; i < l->f->n_pieces; i++)
        VT_TRY(load_piece(l, &l->f->pieces[i], err));
    VT_TRY(add_class_position(l, err));
    for (int i = 0; i < l->m->n_params; i++)
        VT_TRY(check_param(l, i, &zeroed, err));
    if (l->f->left_out.len)
        note(l, "left out: %.300s", l->f->left_out.s);
    return VT_OK;
}

vt_status vt_foreign_load(vt_foreign *f, vt_model *m, vt_device *device, const vt_foreign_use *use, vt_err *err)
{
    load l = {.f = f, .m = m, .device = device, .use = use};
    l.covered = vt_xcalloc((size_t)m->n_params, sizeof *l.covered);
    vt_status status = load_all(&l, err);
    if (status == VT_OK)
        vt_log(VT_LOG_INFO, "%s: %d tensors%s%s", f->path, f->weights.n, l.notes.len ? "; " : "",
               l.notes.len ? l.notes.s : "");
    free(l.covered);
    free(l.class_rows);
    free(l.class_position);
    vt_text_release(&l.notes);
    return status;
}
