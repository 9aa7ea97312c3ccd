/* wds:SHARDS, WebDataset: tar files in which the members of one sample stand together and share their name up to the
 * first dot of its last part: KEY.jpg (or .jpeg, .png, .webp) and KEY.cls, the class number in ASCII, which labels=FILE
 * makes unnecessary. Other members (.json, .txt) are passed over. The headers of all shards are walked once at the
 * start; samples are then read by offset. */
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "data/collection.h"
#include "data/tar.h"
#include "data/unpack.h"

#define MAX_CLS_BYTES 32
#define MAX_OPEN      256 /* shards kept open; with more, each read opens its own */

typedef struct {
    char *given, *path; /* as named; the tar that is read (the unpacked copy) */
    int fd;             /* -1: opened for each read */
} shard;

typedef struct {
    int64_t offset;
    size_t name; /* offset in names */
    uint32_t size;
    int32_t shard, label;
} sample;

typedef struct {
    shard *shards;
    int64_t n_shards;
    sample *samples;
    int64_t n, capacity;
    vt_text names;
    int64_t max_label;
    bool labelled; /* by labels=FILE: KEY.cls may be missing */
} wds;

/* The sample that is being put together from its members. */
typedef struct {
    vt_text key;
    vt_text image_name;
    int64_t offset, size, label;
    bool has_image, has_label;
} group;

/* The last part's first dot splits KEY from the extension; NULL where there is none or the name is hidden. */
static const char *extension_of(const char *name)
{
    const char *base = strrchr(name, '/');
    base = base ? base + 1 : name;
    const char *dot = strchr(base, '.');
    return dot && dot > base ? dot : NULL;
}

static vt_status add_sample(wds *w, int32_t index, const group *g, vt_err *err)
{
    if (g->size > VT_MAX_FILE_BYTES)
        return vt_fail(err, VT_EFORMAT, "%lld bytes are more than the limit of %u for one image", (long long)g->size,
                       VT_MAX_FILE_BYTES);
    if (w->n == w->capacity) {
        w->capacity = w->capacity ? w->capacity * 2 : 1024;
        w->samples = vt_xrealloc(w->samples, (size_t)w->capacity * sizeof *w->samples);
    }
    w->samples[w->n++] = (sample){g->offset, w->names.len, (uint32_t)g->size, index, (int32_t)g->label};
    vt_text_addn(&w->names, g->image_name.s, g->image_name.len + 1);
    if (g->label > w->max_label)
        w->max_label = g->label;
    return VT_OK;
}

/* Ends a sample: both parts, or neither (a key of other members only). */
static vt_status finish_group(wds *w, int32_t index, group *g, vt_err *err)
{
    vt_status status = VT_OK;
    if (g->has_image && (g->has_label || w->labelled))
        status = add_sample(w, index, g, err);
    else if (g->has_image)
        status = vt_fail(err, VT_EFORMAT,
                         "no %s.cls stands beside the image (members of a sample must follow one another)", g->key.s);
    else if (g->has_label)
        status =
            vt_fail(err, VT_EFORMAT,
                    "no %s.jpg or .png stands beside the .cls (members of a sample must follow one another)", g->key.s);
    if (status != VT_OK)
        return vt_prefix(err, "%s: sample %s", w->shards[index].given, g->key.s);
    g->has_image = g->has_label = false;
    g->label = 0;
    return VT_OK;
}

static vt_status read_label(const vt_tar *t, const vt_tar_member *m, int64_t *label, vt_err *err)
{
    char text[MAX_CLS_BYTES + 1] = "";
    if (m->size < 1 || m->size > MAX_CLS_BYTES)
        return vt_fail(err, VT_EFORMAT, "%s has %lld bytes; it must hold a class number", m->name, (long long)m->size);
    VT_TRY(vt_file_read_at(t->fd, t->path, m->offset, text, (size_t)m->size, err));
    size_t n = (size_t)m->size;
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        text[--n] = '\0';
    *label = 0;
    bool number = n > 0 && n <= 9 && strlen(text) == n;
    for (size_t i = 0; i < n && number; i++) {
        number = isdigit((unsigned char)text[i]) != 0;
        *label = *label * 10 + (text[i] - '0');
    }
    if (!number)
        return vt_fail(err, VT_EFORMAT, "%s holds '%.*s', which is no class number", m->name,
                       (int)strcspn(text, "\r\n"), text);
    if (*label >= VT_MAX_CLASSES)
        return vt_fail(err, VT_EFORMAT, "%s holds class %lld; the limit is %d classes", m->name, (long long)*label,
                       VT_MAX_CLASSES);
    return VT_OK;
}

static vt_status add_member(wds *w, int32_t index, group *g, const vt_tar *t, const vt_tar_member *m, vt_err *err)
{
    const char *extension = extension_of(m->name);
    if (!extension)
        return VT_OK;
    size_t n = (size_t)(extension - m->name);
    if (g->key.len != n || memcmp(g->key.s, m->name, n) != 0) {
        VT_TRY(finish_group(w, index, g, err));
        vt_text_clear(&g->key);
        vt_text_addn(&g->key, m->name, n);
    }
    bool image = strrchr(extension, '.') == extension && vt_image_has_suffix(extension);
    bool label = strcasecmp(extension, ".cls") == 0;
    if ((image && g->has_image) || (label && g->has_label))
        return vt_fail(err, VT_EFORMAT, "%s: sample %s has two %s", w->shards[index].given, g->key.s,
                       image ? "images" : ".cls");
    if (image) {
        g->has_image = true;
        g->offset = m->offset;
        g->size = m->size;
        vt_text_clear(&g->image_name);
        vt_text_add(&g->image_name, m->name);
    } else if (label) {
        g->has_label = true;
        if (read_label(t, m, &g->label, err) != VT_OK)
            return vt_prefix(err, "%s", w->shards[index].given);
    }
    return VT_OK;
}

static vt_status index_members(wds *w, int32_t index, vt_tar *t, group *g, vt_err *err)
{
    for (;;) {
        vt_tar_member m;
        bool end;
        VT_TRY(vt_tar_next(t, &m, &end, err));
        if (end)
            return finish_group(w, index, g, err);
        VT_TRY(add_member(w, index, g, t, &m, err));
    }
}

static vt_status index_shard(wds *w, int32_t index, vt_err *err)
{
    shard *s = &w->shards[index];
    bool gzip;
    VT_TRY(vt_is_gzip(s->given, &gzip, err));
    if (gzip)
        VT_TRY(vt_unpack_gzip(s->given, &s->path, err));
    else
        s->path = vt_xstrdup(s->given);
    s->fd = open(s->path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (s->fd < 0 || fstat(s->fd, &st) != 0)
        return vt_fail_errno(err, "%s", s->path);
    if (!S_ISREG(st.st_mode))
        return vt_fail(err, VT_EINVAL, "%s: not a regular file", s->path);
    vt_tar t;
    group g = {0};
    int64_t before = w->n;
    vt_tar_init(&t, s->fd, s->given, (int64_t)st.st_size);
    vt_status status = index_members(w, index, &t, &g, err);
    vt_tar_release(&t);
    vt_text_release(&g.key);
    vt_text_release(&g.image_name);
    VT_TRY(status);
    if (w->n == before)
        return vt_fail(err, VT_EFORMAT, "%s: holds no samples; they are pairs KEY.jpg (or .png) and KEY.cls", s->given);
    if (w->n_shards > MAX_OPEN) {
        close(s->fd);
        s->fd = -1;
    }
    return VT_OK;
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
    for (int64_t i = 0; i < n; i++)
        w->shards[i] = (shard){.given = vt_xstrdup(paths[i]), .fd = -1};
    vt_free_names(paths, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        VT_TRY(index_shard(w, (int32_t)i, err));
    c->count = w->n;
    c->resident = (size_t)w->capacity * sizeof *w->samples + w->names.cap + (size_t)n * sizeof *w->shards;
    return vt_collection_name_classes(c, spec, w->max_label, err);
}

static void wds_close(vt_collection *c)
{
    wds *w = c->state;
    if (!w)
        return;
    for (int64_t i = 0; i < w->n_shards; i++) {
        if (w->shards[i].fd >= 0)
            close(w->shards[i].fd);
        free(w->shards[i].given);
        free(w->shards[i].path);
    }
    free(w->shards);
    free(w->samples);
    vt_text_release(&w->names);
    free(w);
}

static int64_t wds_label(const vt_collection *c, int64_t i)
{
    const wds *w = c->state;
    return w->samples[i].label;
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
    int n = snprintf(numbers, sizeof numbers, "%u %d", s->size, s->label);
    vt_hasher_add(h, w->names.s + s->name, strlen(w->names.s + s->name) + 1);
    vt_hasher_add(h, numbers, (size_t)n + 1);
}

static vt_status read_bytes(const shard *sh, const sample *s, vt_read_buffer *b, vt_err *err)
{
    if (sh->fd >= 0)
        return vt_file_read_at(sh->fd, sh->path, s->offset, b->bytes, b->size, err);
    int fd = open(sh->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return vt_fail_errno(err, "%s", sh->path);
    vt_status status = vt_file_read_at(fd, sh->path, s->offset, b->bytes, b->size, err);
    close(fd);
    return status;
}

static vt_status wds_fetch(const vt_collection *c, int64_t i, vt_read_buffer *b, vt_err *err)
{
    const wds *w = c->state;
    const sample *s = &w->samples[i];
    const shard *sh = &w->shards[s->shard];
    vt_status status = vt_read_buffer_reserve(b, s->size, err);
    if (status == VT_OK)
        return read_bytes(sh, s, b, err);
    vt_prefix(err, "%s", sh->given);
    return status;
}

const vt_collection_kind vt_wds_kind = {
    .name = "wds",
    .options = {"classes"},
    .open = wds_open,
    .close = wds_close,
    .label = wds_label,
    .sample_name = wds_name,
    .key = wds_key,
    .identify_sample = wds_identify_sample,
    .fetch = wds_fetch,
};
