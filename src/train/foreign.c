/* Opening a foreign model: which file is meant, which program wrote it, and how its tensors become timm's. */
#include "train/foreign.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/machine.h"
#include "data/spec.h"
#include "train/foreign_internal.h"
#include "train/hub_config.h"

#define MAX_BLOCKS 1000 /* a name has three digits at most */

/* --- which file -----------------------------------------------------------------------------------------------------
 */

static const char *const usual_names[] = {"model.safetensors", "model.safetensors.index.json",
                                          "open_clip_model.safetensors"};

static bool has_section_vitro(const char *config)
{
    json_t *root = NULL;
    bool own = vt_json_load(config, &root, NULL) == VT_OK && json_object_get(root, "vitro") != NULL;
    json_decref(root);
    return own;
}

bool vt_foreign_is_own(const char *path)
{
    char *config = vt_path_join(path, "config.json"), *checkpoints = vt_path_join(path, "checkpoints");
    bool own = vt_is_file(config) ? has_section_vitro(config) : vt_is_dir(checkpoints);
    free(config);
    free(checkpoints);
    return own;
}

/* The one file of tensors in a folder: a usual name, or the only one there. *file is malloc'ed. */
static vt_status find_in_folder(const char *folder, char **file, vt_err *err)
{
    char **names = NULL;
    size_t n = 0;
    vt_text all = {0};
    const char *only = NULL;
    int count = 0;
    *file = NULL;
    for (size_t i = 0; i < VT_COUNT_OF(usual_names); i++) {
        char *path = vt_path_join(folder, usual_names[i]);
        if (vt_is_file(path)) {
            *file = path;
            return VT_OK;
        }
        free(path);
    }
    VT_TRY(vt_list_dir(folder, &names, &n, err));
    for (size_t i = 0; i < n; i++)
        if (vt_has_suffix(names[i], ".safetensors") || vt_has_suffix(names[i], ".npz")) {
            only = names[i];
            if (count++ < 8)
                vt_text_addf(&all, "%s%.60s", count > 1 ? ", " : "", names[i]);
        }
    vt_status status = VT_OK;
    if (count == 1)
        *file = vt_path_join(folder, only);
    else if (count == 0)
        status = vt_fail(err, VT_EINVAL,
                         "%s holds no model: neither %s nor another .safetensors or .npz, nor a run's "
                         "checkpoints/",
                         folder, usual_names[0]);
    else
        status = vt_fail(err, VT_EINVAL, "%s holds %d files of tensors; name one: %s", folder, count, all.s);
    vt_text_release(&all);
    vt_free_names(names, n);
    return status;
}

static vt_status find_file(vt_foreign *f, char **file, vt_err *err)
{
    if (f->own) {
        VT_TRY(vt_checkpoint_find(f->path, &f->folder, err));
        *file = vt_path_join(f->folder, usual_names[0]);
        return VT_OK;
    }
    if (vt_is_dir(f->path)) {
        f->folder = vt_xstrdup(f->path);
        return find_in_folder(f->path, file, err);
    }
    const char *base = vt_path_base(f->path);
    for (size_t i = 0; i < VT_COUNT_OF(usual_names); i++)
        if (strcmp(base, usual_names[i]) == 0) /* the folder is this model's alone */
            f->folder = base == f->path ? vt_xstrdup(".") : vt_xasprintf("%.*s", (int)(base - f->path), f->path);
    *file = vt_xstrdup(f->path);
    return VT_OK;
}

/* A JSON file of the folder, or NULL where it is absent. */
static vt_status load_beside(const vt_foreign *f, const char *name, json_t **root, vt_err *err)
{
    *root = NULL;
    if (!f->folder)
        return VT_OK;
    char *path = vt_path_join(f->folder, name);
    vt_status status = vt_is_file(path) ? vt_json_load(path, root, err) : VT_OK;
    free(path);
    return status;
}

/* --- from the file's names to timm's --------------------------------------------------------------------------------
 */

/* The prefix under which the patch embedding lies. */
static vt_status find_prefix(vt_foreign *f, vt_err *err)
{
    const char *found = NULL;
    for (int i = 0; i < f->weights.n; i++) {
        const char *name = f->weights.list[i].name;
        int n = vt_names_prefix(name);
        if (n < 0 || n >= (int)sizeof f->prefix)
            continue;
        if (found)
            return vt_fail(err, VT_EUNSUPPORTED,
                           "%s holds two models, with %.80s and %.80s; keep one of them in a file", f->path, found,
                           name);
        found = name;
        (void)snprintf(f->prefix, sizeof f->prefix, "%.*s", n, name);
        f->flax = strchr(name, '/') != NULL || strcmp(name + n, "embedding/kernel") == 0;
    }
    if (found)
        return VT_OK;
    return vt_fail(err, VT_EUNSUPPORTED,
                   "%s holds %d tensors, but no patch embedding under a name that is known (timm, transformers' ViT, "
                   "DINOv2, SigLIP and CLIP, OpenCLIP, big_vision); its first is %.80s",
                   f->path, f->weights.n, f->weights.n > 0 ? f->weights.list[0].name : "none");
}

const vt_foreign_tensor *vt_foreign_tensor_of(const vt_foreign *f, const char *name)
{
    const json_t *number = json_object_get(f->index, name);
    return number ? &f->tensors[json_integer_value(number)] : NULL;
}

void vt_foreign_strip(const char *name, int64_t *dims, int *n_dims)
{
    int front = 0;
    if (strchr(name, '.') && strcmp(name, "attn_pool.latent") != 0)
        return;
    while (front < *n_dims - 1 && dims[front] == 1)
        front++;
    *n_dims -= front;
    memmove(dims, dims + front, (size_t)*n_dims * sizeof *dims);
}

/* The sides of the whole target as timm has them, sides of 1 in front left out; false: the source has not the sides
 * that its name promises. */
static bool target_dims(const vt_foreign_piece *p, const char *target, int64_t *dims, int *n_dims)
{
    const int64_t *s = p->src_dims;
    int n = p->n_src_dims;
    int64_t count = 1;
    for (int d = 0; d < n; d++)
        count *= s[d];
    if (count == 0)
        return false;
    switch (p->match.how) {
    case VT_NAME_INPUT1:
    case VT_NAME_OUTPUT1:
        if (n < 2)
            return false;
        *n_dims = 2;
        dims[0] = p->match.how == VT_NAME_INPUT1 ? count / s[0] : s[n - 1];
        dims[1] = count / dims[0];
        break;
    case VT_NAME_HWIO:
        if (n != 4)
            return false;
        *n_dims = 4;
        dims[0] = s[3], dims[1] = s[2], dims[2] = s[0], dims[3] = s[1];
        break;
    case VT_NAME_AS_IS:
    case VT_NAME_LEFT_OUT:
    case VT_NAME_REFUSED:
        *n_dims = n;
        memcpy(dims, s, (size_t)n * sizeof *dims);
        if (vt_has_suffix(target, ".bias")) /* big_vision keeps some as (heads, head width) */
            *n_dims = 1, dims[0] = count;
        break;
    }
    const vt_name_rows *r = &p->match.rows;
    if (*n_dims == 0 || dims[0] % r->of != 0)
        return false;
    dims[0] = dims[0] / r->of * r->taken * r->parts;
    vt_foreign_strip(target, dims, n_dims);
    return true;
}

/* The tensor of that name, made if need be. */
static int tensor_number(vt_foreign *f, const char *name)
{
    const json_t *known = json_object_get(f->index, name);
    if (known)
        return (int)json_integer_value(known);
    if ((f->n_tensors & (f->n_tensors - 1)) == 0)
        f->tensors = vt_xrealloc(f->tensors, (size_t)(f->n_tensors ? 2 * f->n_tensors : 1) * sizeof *f->tensors);
    f->tensors[f->n_tensors] = (vt_foreign_tensor){.n_dims = -1};
    assert(strlen(name) < sizeof f->tensors->name);
    memcpy(f->tensors[f->n_tensors].name, name, strlen(name) + 1);
    (void)json_object_set_new(f->index, name, json_integer(f->n_tensors));
    return f->n_tensors++;
}

static vt_status add_piece(vt_foreign *f, const vt_foreign_piece *piece, const char *target, vt_err *err)
{
    const vt_weight *w = &f->weights.list[piece->weight];
    int64_t dims[VT_WEIGHT_DIMS];
    int n_dims = 0;
    char found[128], wanted[128];
    if (w->type == VT_WEIGHT_OTHER || !target_dims(piece, target, dims, &n_dims))
        return vt_fail(err, VT_EFORMAT, "%s: tensor %.80s (%s, %s) cannot be timm's %s", f->path, w->name, w->stored,
                       vt_weight_shape(found, w->n_dims, w->dims), target);
    int number = tensor_number(f, target);
    vt_foreign_tensor *t = &f->tensors[number];
    unsigned bit = 1U << piece->match.rows.part;
    if (t->n_dims < 0) {
        t->n_dims = n_dims;
        t->parts = piece->match.rows.parts;
        memcpy(t->dims, dims, sizeof t->dims);
    }
    if ((t->covered & bit) || t->parts != piece->match.rows.parts)
        return vt_fail(err, VT_EFORMAT, "%s: tensor %.80s is timm's %s, which another one is already", f->path, w->name,
                       target);
    if (t->n_dims != n_dims || memcmp(t->dims, dims, (size_t)n_dims * sizeof *dims) != 0)
        return vt_fail(err, VT_EFORMAT, "%s: tensor %.80s makes timm's %s %s; another part of it makes it %s", f->path,
                       w->name, target, vt_weight_shape(found, n_dims, dims),
                       vt_weight_shape(wanted, t->n_dims, t->dims));
    t->covered |= bit;
    if ((f->n_pieces & (f->n_pieces - 1)) == 0)
        f->pieces = vt_xrealloc(f->pieces, (size_t)(f->n_pieces ? 2 * f->n_pieces : 1) * sizeof *f->pieces);
    f->pieces[f->n_pieces] = *piece;
    f->pieces[f->n_pieces++].tensor = number;
    return VT_OK;
}

/* A match becomes one piece, or one for each block of a stacked tensor. */
static vt_status add_match(vt_foreign *f, int weight, const vt_name_match *match, vt_err *err)
{
    const vt_weight *w = &f->weights.list[weight];
    vt_foreign_piece p = {.weight = weight, .match = *match, .layers = 1, .n_src_dims = w->n_dims};
    memcpy(p.src_dims, w->dims, sizeof p.src_dims);
    if (match->stacked) {
        if (w->n_dims < 2 || w->dims[0] < 1 || w->dims[0] >= MAX_BLOCKS)
            return vt_fail(err, VT_EFORMAT, "%s: tensor %.80s does not begin with a side for the blocks", f->path,
                           w->name);
        p.layers = w->dims[0];
        p.n_src_dims--;
        memmove(p.src_dims, p.src_dims + 1, (size_t)p.n_src_dims * sizeof *p.src_dims);
    }
    if (match->is_q_or_k && p.n_src_dims == 3)
        f->heads_seen = p.src_dims[1];
    for (p.layer = 0; p.layer < p.layers; p.layer++) {
        const char *number = strchr(match->target, '#');
        char *target = number ? vt_xasprintf("%.*s%lld%s", (int)(number - match->target), match->target,
                                             (long long)p.layer, number + 1)
                              : vt_xstrdup(match->target);
        vt_status status = add_piece(f, &p, target, err);
        free(target);
        VT_TRY(status);
    }
    return VT_OK;
}

/* Names in the log: the first few in full. */
static void leave_out(vt_foreign *f, const char *name, int *count)
{
    if ((*count)++ < 6)
        vt_text_addf(&f->left_out, "%s%.80s", *count > 1 ? ", " : "", name);
}

static vt_status map_names(vt_foreign *f, vt_err *err)
{
    size_t length = strlen(f->prefix);
    int left_out = 0;
    for (int i = 0; i < f->weights.n; i++) {
        vt_name_match matches[2];
        const char *name = f->weights.list[i].name;
        bool outside = strncmp(name, f->prefix, length) != 0;
        int n = vt_names_match(outside ? name : name + length, outside, matches, 2);
        if (n == 0 && !outside)
            return vt_fail(err, VT_EUNSUPPORTED, "%s: tensor %.80s has no place in a model of vitro's", f->path, name);
        if (n > 0 && matches[0].how == VT_NAME_REFUSED)
            return vt_fail(err, VT_EUNSUPPORTED,
                           "%s: tensor %.80s belongs to a model with two class tokens (distilled "
                           "DeiT), which vitro does not build",
                           f->path, name);
        if (n == 0 || matches[0].how == VT_NAME_LEFT_OUT) {
            leave_out(f, name, &left_out);
            continue;
        }
        for (int k = 0; k < n; k++)
            VT_TRY(add_match(f, i, &matches[k], err));
    }
    if (left_out > 6)
        vt_text_addf(&f->left_out, " and %d more", left_out - 6);
    return VT_OK;
}

/* All that the model would take, before any of it is read. */
static vt_status check_size(const vt_foreign *f, vt_err *err)
{
    double bytes = 0;
    for (int i = 0; i < f->n_tensors; i++) {
        double count = 1;
        for (int d = 0; d < f->tensors[i].n_dims; d++)
            count *= (double)f->tensors[i].dims[d];
        bytes += 4 * count;
    }
    char a[32], b[32];
    if (bytes > (double)vt_machine_memory())
        return vt_fail(err, VT_ENOMEM, "%s: its parameters take %s; this machine has %s", f->path,
                       vt_format_bytes(a, bytes), vt_format_bytes(b, (double)vt_machine_memory()));
    return VT_OK;
}

/* --- opening --------------------------------------------------------------------------------------------------------
 */

static vt_status take_names(vt_foreign *f, const json_t *names, bool is_object, vt_err *err)
{
    size_t n = is_object ? json_object_size(names) : json_array_size(names);
    if (n == 0)
        return VT_OK;
    f->class_names = vt_xcalloc(n, sizeof *f->class_names);
    f->n_class_names = (int64_t)n;
    bool numbered = true;
    for (size_t i = 0; i < n; i++) {
        char key[32], plain[40];
        (void)snprintf(key, sizeof key, "%zu", i);
        (void)snprintf(plain, sizeof plain, "LABEL_%zu", i);
        const char *name = json_string_value(is_object ? json_object_get(names, key) : json_array_get(names, i));
        if (!name)
            return vt_fail(err, VT_EFORMAT, "%s/config.json: class %zu has no name", f->folder, i);
        numbered = numbered && (strcmp(name, plain) == 0 || strcmp(name, key) == 0);
        f->class_names[i] = vt_xstrdup(name);
    }
    if (numbered) { /* transformers' LABEL_0 names nothing */
        vt_free_names(f->class_names, n);
        f->class_names = NULL;
        f->n_class_names = 0;
    }
    return VT_OK;
}

static vt_status read_config(vt_foreign *f, vt_err *err)
{
    if (f->own) {
        VT_TRY(vt_checkpoint_read_info(f->folder, &f->info, err));
        for (int64_t i = 0; f->info.named && i < f->info.model.classes; i++) {
            if (i == 0)
                f->class_names = vt_xcalloc((size_t)f->info.model.classes, sizeof *f->class_names);
            f->class_names[f->n_class_names++] = vt_xstrdup(f->info.class_names[i]);
        }
        return VT_OK;
    }
    VT_TRY(load_beside(f, "config.json", &f->config, err));
    VT_TRY(load_beside(f, "preprocessor_config.json", &f->preprocessor, err));
    const json_t *labels = json_object_get(f->config, "label_names");
    if (json_is_array(labels))
        return take_names(f, labels, false, err);
    labels = json_object_get(f->config, "id2label");
    return json_is_object(labels) ? take_names(f, labels, true, err) : VT_OK;
}

static vt_status open_all(vt_foreign *f, vt_err *err)
{
    char *file = NULL;
    f->own = vt_foreign_is_own(f->path);
    vt_status status = find_file(f, &file, err);
    if (status == VT_OK)
        status = vt_weights_open(&f->weights, file, err);
    free(file);
    VT_TRY(status);
    VT_TRY(read_config(f, err));
    VT_TRY(find_prefix(f, err));
    VT_TRY(map_names(f, err));
    VT_TRY(check_size(f, err));
    for (int i = 0; i < f->n_tensors; i++)
        if (f->tensors[i].covered != (1U << f->tensors[i].parts) - 1)
            return vt_fail(err, VT_EFORMAT, "%s has only a part of what makes timm's %s (query, key, value)", f->path,
                           f->tensors[i].name);
    int64_t classes = vt_foreign_classes(f);
    if (f->class_names && classes > 0 && f->n_class_names != classes)
        return vt_fail(err, VT_EFORMAT, "%s: its config.json names %lld classes; its classifier has %lld", f->path,
                       (long long)f->n_class_names, (long long)classes);
    return VT_OK;
}

vt_status vt_foreign_open(vt_foreign **out, const char *path, vt_err *err)
{
    vt_foreign *f = vt_xcalloc(1, sizeof *f);
    f->path = vt_xstrdup(path);
    f->weights.fd = -1;
    f->index = json_object();
    vt_status status = open_all(f, err);
    if (status != VT_OK) {
        vt_foreign_close(f);
        f = NULL;
    }
    *out = f;
    return status;
}

void vt_foreign_close(vt_foreign *f)
{
    if (!f)
        return;
    vt_weights_close(&f->weights);
    vt_checkpoint_info_release(&f->info);
    vt_free_names(f->class_names, (size_t)f->n_class_names);
    vt_text_release(&f->left_out);
    json_decref(f->config);
    json_decref(f->preprocessor);
    json_decref(f->index);
    free(f->tensors);
    free(f->pieces);
    free(f->folder);
    free(f->path);
    free(f);
}

vt_status vt_foreign_name_classes(vt_foreign *f, const char *path, vt_err *err)
{
    char **names = NULL;
    int64_t n = 0, classes = vt_foreign_classes(f);
    if (path[0] == '\0')
        return VT_OK;
    VT_TRY(vt_class_file_read(path, &names, &n, err) == VT_OK ? VT_OK : vt_prefix(err, "model.class_names"));
    if (n != classes) {
        vt_free_names(names, (size_t)n);
        return vt_fail(err, VT_EINVAL, "model.class_names: %s names %lld classes; the classifier of %s has %lld", path,
                       (long long)n, f->path, (long long)classes);
    }
    vt_free_names(f->class_names, (size_t)f->n_class_names);
    f->class_names = names;
    f->n_class_names = n;
    return VT_OK;
}

int64_t vt_foreign_classes(const vt_foreign *f)
{
    const vt_foreign_tensor *head = vt_foreign_tensor_of(f, "head.weight"),
                            *before = vt_foreign_tensor_of(f, "pre_logits.weight");
    if (!before)
        before = vt_foreign_tensor_of(f, "patch_embed.proj.weight");
    if (!head || head->n_dims != 2 || !before || head->dims[1] != before->dims[0])
        return 0; /* or it takes more than the features: transformers' DINOv2, also the mean of the patches */
    return head->dims[0];
}

char *const *vt_foreign_class_names(const vt_foreign *f)
{
    return f->class_names;
}

int vt_foreign_loss(const vt_foreign *f)
{
    return f->own ? f->info.loss : VT_LOSS_SOFTMAX;
}
