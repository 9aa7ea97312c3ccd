/* wds:SHARDS, WebDataset: tar files in which the members of one sample stand together and share their name up to the
 * first dot of its last part: KEY.jpg (or .jpeg, .png, .webp) and its label (wds_label.h), which labels=FILE makes
 * unnecessary. Other members are passed over: KEY.mask.png is no image of KEY, since its extension is mask.png. The
 * members of all shards are listed once at the start; samples are then read by offset. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/text.h"
#include "data/collection.h"
#include "data/label_build.h"
#include "data/label_sets.h"
#include "data/tar_index.h"
#include "data/wds_label.h"

typedef struct {
    char *given;
    vt_tar_index tar; /* its list only while the shard is indexed */
} shard;

typedef struct {
    int64_t offset;
    size_t name; /* offset in names */
    uint32_t size;
    int32_t shard;
} sample;

typedef struct {
    shard *shards;
    int64_t n_shards;
    sample *samples;
    int64_t n, capacity;
    vt_text names;
    vt_label_build labels;
    const char *json_key; /* of the SPEC; NULL once open */
    bool labelled;        /* by labels=FILE: the shards' own labels are not looked at */
} wds;

/* The sample that is being put together from its members: their places in the shard's list, or -1. */
typedef struct {
    vt_text key;
    int64_t image, labels[VT_WDS_LABELS];
} group;

/* The last part's first dot splits KEY from the extension; NULL where there is none or the name is hidden. */
static const char *extension_of(const char *name)
{
    const char *base = vt_path_base(name);
    const char *dot = strchr(base, '.');
    return dot && dot > base ? dot : NULL;
}

static vt_status add_sample(wds *w, int32_t index, const group *g, vt_err *err)
{
    const vt_tar_index *tar = &w->shards[index].tar;
    const vt_tar_entry *image = &tar->entries[g->image];
    if (image->size > VT_MAX_FILE_BYTES)
        return vt_fail(err, VT_EFORMAT, "%lld bytes are more than the limit of %u for one image",
                       (long long)image->size, VT_MAX_FILE_BYTES);
    if (w->n == w->capacity) {
        w->capacity = w->capacity ? w->capacity * 2 : 1024;
        w->samples = vt_xrealloc(w->samples, (size_t)w->capacity * sizeof *w->samples);
    }
    w->samples[w->n++] = (sample){image->offset, w->names.len, (uint32_t)image->size, index};
    const char *name = vt_tar_index_name(tar, g->image);
    vt_text_addn(&w->names, name, strlen(name) + 1);
    return VT_OK;
}

static vt_status add_labelled(wds *w, int32_t index, const group *g, vt_err *err)
{
    bool found = w->labelled;
    if (!w->labelled)
        VT_TRY(vt_wds_label_read(&w->labels, &w->shards[index].tar, g->labels, w->json_key, &found, err));
    if (!found && g->labels[VT_WDS_JSON] >= 0 && w->json_key)
        return vt_fail(err, VT_EFORMAT, "the .json has no \"%s\"", w->json_key);
    if (!found && g->labels[VT_WDS_JSON] >= 0)
        return vt_fail(err, VT_EFORMAT,
                       "the .json has neither \"label\" nor \"cls\"; say what holds the class, with "
                       "json_key=KEY");
    if (!found)
        return vt_fail(err, VT_EFORMAT,
                       "no %s.cls%s stands beside the image (members of a sample must follow one another)", g->key.s,
                       w->json_key ? ", but json_key is given: no .json" : ", .json or .txt");
    if (!w->labelled)
        VT_TRY(vt_label_build_end(&w->labels, err));
    return add_sample(w, index, g, err);
}

/* Ends a sample: image and label, or neither (a key of other members only). */
static vt_status finish_group(wds *w, int32_t index, group *g, vt_err *err)
{
    vt_status status = VT_OK;
    if (g->image >= 0)
        status = add_labelled(w, index, g, err);
    else if (g->labels[VT_WDS_CLS] >= 0)
        status = vt_fail(
            err, VT_EFORMAT,
            "no %s.jpg, .png or .webp stands beside the .cls (members of a sample must follow one another)", g->key.s);
    if (status != VT_OK)
        return vt_prefix(err, "%s: sample %s", w->shards[index].given, g->key.s);
    g->image = -1;
    for (int k = 0; k < VT_WDS_LABELS; k++)
        g->labels[k] = -1;
    return VT_OK;
}

static vt_status add_member(wds *w, int32_t index, group *g, int64_t member, vt_err *err)
{
    const char *name = vt_tar_index_name(&w->shards[index].tar, member), *extension = extension_of(name);
    if (!extension)
        return VT_OK;
    size_t n = (size_t)(extension - name);
    if (g->key.len != n || memcmp(g->key.s, name, n) != 0) {
        VT_TRY(finish_group(w, index, g, err));
        vt_text_clear(&g->key);
        vt_text_addn(&g->key, name, n);
    }
    bool image = strrchr(extension, '.') == extension && vt_image_has_suffix(extension);
    int64_t *place = image ? &g->image : NULL;
    for (int k = 0; k < VT_WDS_LABELS; k++) {
        if (strcasecmp(extension, vt_wds_label_extensions[k]) == 0)
            place = &g->labels[k];
    }
    if (!place)
        return VT_OK;
    if (*place >= 0)
        return vt_fail(err, VT_EFORMAT, "%s: sample %s has two %s", w->shards[index].given, g->key.s,
                       place == &g->image ? "images" : extension);
    *place = member;
    return VT_OK;
}

static vt_status index_members(wds *w, int32_t index, vt_err *err)
{
    const vt_tar_index *tar = &w->shards[index].tar;
    group g = {.image = -1, .labels = {-1, -1, -1}};
    vt_status status = VT_OK;
    for (int64_t i = 0; i < tar->n && status == VT_OK; i++) {
        if (tar->entries[i].kind == VT_TAR_FILE)
            status = add_member(w, index, &g, i, err);
    }
    if (status == VT_OK)
        status = finish_group(w, index, &g, err);
    vt_text_release(&g.key);
    return status;
}

static vt_status index_shard(wds *w, int32_t index, vt_err *err)
{
    shard *s = &w->shards[index];
    int64_t before = w->n;
    VT_TRY(vt_tar_index_open(&s->tar, s->given, err));
    VT_TRY(index_members(w, index, err));
    vt_tar_index_drop_list(&s->tar);
    if (w->n == before)
        return vt_fail(err, VT_EFORMAT,
                       "%s: holds no samples; they are pairs KEY.jpg (or .png, .webp) and KEY.cls; a tar of "
                       "class folders is named folder:%s",
                       s->given, s->given);
    return VT_OK;
}

static vt_status name_classes(vt_collection *c, const vt_spec *spec, vt_err *err)
{
    wds *w = c->state;
    return w->labelled ? vt_collection_name_classes(c, spec, 0, err)
                       : vt_label_build_finish(&w->labels, &vt_wds_kind, c, spec, err);
}

static vt_status wds_open(vt_collection *c, const vt_spec *spec, vt_err *err)
{
    wds *w = c->state = vt_xcalloc(1, sizeof *w);
    char **paths;
    int64_t n;
    if (vt_spec_expand(spec->place, &paths, &n, err) != VT_OK)
        return vt_prefix(err, "data '%.300s'", spec->text);
    w->shards = vt_xcalloc((size_t)n, sizeof *w->shards);
    w->n_shards = n;
    w->labelled = vt_spec_get(spec, "labels") != NULL;
    w->json_key = vt_spec_get(spec, "json_key");
    for (int64_t i = 0; i < n; i++)
        w->shards[i].given = vt_xstrdup(paths[i]);
    vt_free_names(paths, (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        VT_TRY(index_shard(w, (int32_t)i, err));
        c->changed = c->changed * 31 + w->shards[i].tar.changed;
    }
    c->count = w->n;
    c->resident = (size_t)w->capacity * sizeof *w->samples + w->names.cap + (size_t)n * sizeof *w->shards;
    vt_status status = name_classes(c, spec, err);
    vt_label_build_release(&w->labels);
    w->json_key = NULL;
    return status;
}

static void wds_close(vt_collection *c)
{
    wds *w = c->state;
    if (!w)
        return;
    for (int64_t i = 0; i < w->n_shards; i++) {
        vt_tar_index_release(&w->shards[i].tar);
        free(w->shards[i].given);
    }
    free(w->shards);
    free(w->samples);
    vt_text_release(&w->names);
    vt_label_build_release(&w->labels);
    free(w);
}

static void wds_name(const vt_collection *c, int64_t i, char *buf, size_t size)
{
    const wds *w = c->state;
    const sample *s = &w->samples[i];
    snprintf(buf, size, "%s:%s", vt_path_base(w->shards[s->shard].given), w->names.s + s->name);
}

static const char *wds_key(const vt_collection *c, int64_t i, size_t *n)
{
    const wds *w = c->state;
    const char *name = w->names.s + w->samples[i].name;
    *n = (size_t)(extension_of(name) - name);
    return name;
}

static void wds_identify_sample(const vt_collection *c, int64_t i, vt_hasher *h)
{
    const wds *w = c->state;
    const sample *s = &w->samples[i];
    char numbers[48];
    int label = w->labelled ? 0 : (int)vt_label_sets_first(&vt_wds_kind, c, i);
    int n = snprintf(numbers, sizeof numbers, "%u %d", s->size, label);
    vt_hasher_add(h, w->names.s + s->name, strlen(w->names.s + s->name) + 1);
    vt_hasher_add(h, numbers, (size_t)n + 1);
}

static int64_t wds_stored_bytes(const vt_collection *c, int64_t i)
{
    const wds *w = c->state;
    return w->samples[i].size;
}

static vt_status wds_fetch(const vt_collection *c, int64_t i, vt_read_buffer *b, vt_err *err)
{
    const wds *w = c->state;
    const sample *s = &w->samples[i];
    const shard *sh = &w->shards[s->shard];
    vt_status status = vt_read_buffer_reserve(b, s->size, err);
    if (status == VT_OK)
        status = vt_tar_index_read_at(&sh->tar, s->offset, b->bytes, b->size, err);
    return status == VT_OK ? VT_OK : vt_prefix(err, "%s:%s", vt_path_base(sh->given), w->names.s + s->name);
}

static vt_status wds_fetch_end(const vt_collection *c, int64_t i, unsigned char *end, size_t n, vt_err *err)
{
    const wds *w = c->state;
    const sample *s = &w->samples[i];
    return vt_tar_index_read_at(&w->shards[s->shard].tar, s->offset + (int64_t)(s->size - n), end, n, err);
}

static void wds_announce(const vt_collection *c, int64_t i)
{
    const wds *w = c->state;
    const sample *s = &w->samples[i];
    vt_tar_index_announce(&w->shards[s->shard].tar, s->offset, s->size);
}

const vt_collection_kind vt_wds_kind = {
    .name = "wds",
    .options = {"classes", "json_key"},
    .open = wds_open,
    .close = wds_close,
    .sample_name = wds_name,
    .key = wds_key,
    .identify_sample = wds_identify_sample,
    .stored_bytes = wds_stored_bytes,
    .fetch = wds_fetch,
    .fetch_end = wds_fetch_end,
    .announce = wds_announce,
};
