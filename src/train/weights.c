/* Listing and reading the tensors of other programs' files. Every length was checked against the file by
 * safetensors.c and npz.c; here types become float32. The processor is little-endian, as every target of vitro is. */
#include "train/weights.h"

#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "kernels/bf16.h"
#include "train/safetensors.h"

#define MAX_TENSORS 20000
#define MAX_FILES   1000
#define CHUNK       ((int64_t)1 << 16) /* numbers converted at a time */

static const struct {
    const char *spelled;
    vt_weight_type type;
} types[] = {
    {"F32", VT_WEIGHT_F32}, {"F16", VT_WEIGHT_F16}, {"BF16", VT_WEIGHT_BF16},
    {"F64", VT_WEIGHT_F64}, {"<f4", VT_WEIGHT_F32}, {"<f2", VT_WEIGHT_F16},
    {"<f8", VT_WEIGHT_F64}, {"|V2", VT_WEIGHT_BF16}}; /* what NumPy writes for bfloat16, which it does not know */
static const int64_t type_bytes[] = {4, 2, 2, 8, 0};

static vt_weight_type type_of(const char *spelled)
{
    for (size_t i = 0; i < VT_COUNT_OF(types); i++)
        if (strcmp(types[i].spelled, spelled) == 0)
            return types[i].type;
    return VT_WEIGHT_OTHER;
}

/* A new row of the list. Sides beyond VT_WEIGHT_DIMS belong to no model's tensor. */
static vt_status add(vt_weights *w, const char *name, const char *spelled, int n_dims, const int64_t *dims,
                     int64_t count, int64_t offset, vt_weight **row, vt_err *err)
{
    if (w->n == MAX_TENSORS)
        return vt_fail(err, VT_EUNSUPPORTED, "%s holds more than %d tensors", w->files[w->n_files - 1], MAX_TENSORS);
    if (w->n == w->capacity) {
        w->capacity = w->capacity ? 2 * w->capacity : 256;
        w->list = vt_xrealloc(w->list, (size_t)w->capacity * sizeof *w->list);
    }
    vt_weight *t = &w->list[w->n++];
    *t = (vt_weight){.name = vt_xstrdup(name),
                     .type = n_dims <= VT_WEIGHT_DIMS ? type_of(spelled) : VT_WEIGHT_OTHER,
                     .n_dims = n_dims < VT_WEIGHT_DIMS ? n_dims : VT_WEIGHT_DIMS,
                     .count = count,
                     .file = w->n_files - 1,
                     .offset = offset};
    (void)snprintf(t->stored, sizeof t->stored, "%s", spelled);
    memcpy(t->dims, dims, (size_t)t->n_dims * sizeof *dims);
    *row = t;
    return VT_OK;
}

/* --- opening --------------------------------------------------------------------------------------------------------
 */

static vt_status add_entry(void *context, const vt_safetensors_entry *e, vt_err *err)
{
    vt_weights *w = context;
    vt_weight *t = NULL;
    VT_TRY(add(w, e->name, e->dtype, e->n_dims, e->dims, e->count, e->offset, &t, err));
    if (t->type != VT_WEIGHT_OTHER && e->bytes != e->count * type_bytes[t->type])
        return vt_fail(err, VT_EFORMAT, "%s: tensor %.80s has %lld bytes; its %lld numbers of type %s take %lld",
                       w->files[t->file], e->name, (long long)e->bytes, (long long)e->count, e->dtype,
                       (long long)(e->count * type_bytes[t->type]));
    return VT_OK;
}

static void add_file(vt_weights *w, char *path)
{
    w->files = vt_xrealloc(w->files, (size_t)(w->n_files + 1) * sizeof *w->files);
    w->files[w->n_files++] = path;
}

static vt_status add_safetensors(vt_weights *w, char *path, vt_err *err)
{
    add_file(w, path);
    if (!vt_is_file(path))
        return vt_fail(err, VT_EINVAL, "%s: no such file", path);
    return vt_safetensors_scan(path, add_entry, w, err);
}

static vt_status add_archive(vt_weights *w, const char *path, vt_err *err)
{
    add_file(w, vt_xstrdup(path));
    VT_TRY(vt_npz_open(&w->npz, path, err));
    for (int64_t i = 0; i < vt_npz_count(w->npz); i++) {
        const char *name;
        vt_npy h;
        vt_weight *t = NULL;
        VT_TRY(vt_npz_header(w->npz, i, &name, &h, err));
        VT_TRY(add(w, name, h.descr, h.rank, h.shape, vt_npy_count(&h), i, &t, err));
    }
    return VT_OK;
}

/* The folder of path, with a name in it. */
static char *beside(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    return slash ? vt_xasprintf("%.*s/%s", (int)(slash - path), path, name) : vt_xstrdup(name);
}

/* {"weight_map": {TENSOR: FILE}}: every file once, and each tensor in the file that the index names. */
static vt_status add_shards(vt_weights *w, const char *index, vt_err *err)
{
    json_t *root = NULL, *file;
    const char *name;
    VT_TRY(vt_json_load(index, &root, err));
    json_t *map = json_object_get(root, "weight_map"), *files = json_object();
    vt_status status = json_is_object(map) ? VT_OK
                                           : vt_fail(err, VT_EFORMAT,
                                                     "%s has no \"weight_map\": it is no index of "
                                                     "safetensors files",
                                                     index);
    if (status == VT_OK) {
        json_object_foreach(map, name, file)
        {
            const char *base = json_string_value(file);
            if (!base || strchr(base, '/') || !vt_has_suffix(base, ".safetensors")) {
                status = vt_fail(err, VT_EFORMAT,
                                 "%s: tensor %.80s lies in \"%.80s\", which is no safetensors file "
                                 "of this folder",
                                 index, name, base ? base : "");
                break;
            }
            if (json_object_get(files, base))
                continue;
            if (w->n_files == MAX_FILES) {
                status = vt_fail(err, VT_EUNSUPPORTED, "%s lists more than %d files", index, MAX_FILES);
                break;
            }
            (void)json_object_set_new(files, base, json_integer(w->n_files));
            status = add_safetensors(w, beside(index, base), err);
            if (status != VT_OK)
                break;
        }
    }
    size_t found = 0;
    for (int i = 0; i < w->n && status == VT_OK; i++) {
        const char *listed = json_string_value(json_object_get(map, w->list[i].name));
        if (!listed || json_integer_value(json_object_get(files, listed)) != w->list[i].file)
            status = vt_fail(err, VT_EFORMAT, "%s holds tensor %.80s, which %s does not place there",
                             w->files[w->list[i].file], w->list[i].name, index);
        found++;
    }
    if (status == VT_OK && found != json_object_size(map))
        status = vt_fail(err, VT_EFORMAT, "%s lists %zu tensors; its files hold %zu of them", index,
                         json_object_size(map), found);
    json_decref(files);
    json_decref(root);
    return status;
}

vt_status vt_weights_open(vt_weights *w, const char *path, vt_err *err)
{
    *w = (vt_weights){.fd = -1, .open_file = -1};
    if (!vt_is_file(path))
        return vt_fail(err, VT_EINVAL, "%s: no such file", path);
    if (vt_has_suffix(path, ".index.json"))
        return add_shards(w, path, err);
    if (vt_has_suffix(path, ".npz"))
        return add_archive(w, path, err);
    return add_safetensors(w, vt_xstrdup(path), err);
}

void vt_weights_close(vt_weights *w)
{
    for (int i = 0; i < w->n; i++)
        free(w->list[i].name);
    for (int i = 0; i < w->n_files; i++)
        free(w->files[i]);
    free(w->list);
    free(w->files);
    vt_npz_close(w->npz);
    if (w->files && w->fd >= 0)
        (void)close(w->fd);
    *w = (vt_weights){.fd = -1, .open_file = -1};
}

/* --- numbers --------------------------------------------------------------------------------------------------------
 */

static float from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 0x1fu, fraction = h & 0x3ffu, bits;
    float f;
    if (exponent == 0) { /* zero or subnormal: fraction * 2^-24, exact */
        f = (float)fraction * 0x1p-24F;
        return sign ? -f : f;
    }
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float convert(vt_weight_type type, const unsigned char *raw, int64_t i)
{
    uint16_t half;
    float single;
    double twofold;
    switch (type) {
    case VT_WEIGHT_F16:
    case VT_WEIGHT_BF16:
        memcpy(&half, raw + 2 * i, sizeof half);
        return type == VT_WEIGHT_F16 ? from_f16(half) : vt_bf16_to_f32(half);
    case VT_WEIGHT_F64:
        memcpy(&twofold, raw + 8 * i, sizeof twofold);
        return (float)twofold;
    case VT_WEIGHT_F32:
    case VT_WEIGHT_OTHER:
        break;
    }
    memcpy(&single, raw + 4 * i, sizeof single);
    return single;
}

/* Bytes of the tensor's numbers, wherever they lie. */
static vt_status read_raw(vt_weights *w, const vt_weight *t, int64_t first, void *raw, int64_t bytes, vt_err *err)
{
    const char *path = w->files[t->file];
    if (w->npz)
        return vt_npz_read(w->npz, t->offset, first, raw, bytes, err);
    if (w->open_file != t->file) {
        if (w->fd >= 0)
            (void)close(w->fd);
        w->open_file = t->file;
        w->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (w->fd < 0)
            return vt_fail_errno(err, "cannot open %s", path);
    }
    return vt_file_read_at(w->fd, path, t->offset + first, raw, (size_t)bytes, err);
}

vt_status vt_weights_read(vt_weights *w, const vt_weight *t, int64_t first, int64_t n, float *out, vt_err *err)
{
    int64_t size = type_bytes[t->type];
    if (t->type == VT_WEIGHT_OTHER)
        return vt_fail(err, VT_EUNSUPPORTED, "%s: tensor %.80s is of type %s; F32, F16, BF16 and F64 are read",
                       w->files[t->file], t->name, t->stored);
    unsigned char *raw = vt_xmalloc((size_t)(CHUNK * size));
    vt_status status = VT_OK;
    for (int64_t done = 0; done < n && status == VT_OK; done += CHUNK) {
        int64_t part = n - done < CHUNK ? n - done : CHUNK;
        status = read_raw(w, t, (first + done) * size, raw, part * size, err);
        for (int64_t i = 0; i < part && status == VT_OK; i++) {
            out[done + i] = convert(t->type, raw, i);
            if (!isfinite(out[done + i]))
                status = vt_fail(err, VT_EFORMAT, "%s: number %lld of tensor %.80s is not finite", w->files[t->file],
                                 (long long)(first + done + i), t->name);
        }
    }
    free(raw);
    return status;
}

char *vt_weight_shape(char *text, int n_dims, const int64_t *dims)
{
    size_t at = 0;
    (void)snprintf(text, 128, "a single number");
    for (int d = 0; d < n_dims && at < 100; d++)
        at += (size_t)snprintf(text + at, 128 - at, "%s%lld", d ? " x " : "", (long long)dims[d]);
    return text;
}
