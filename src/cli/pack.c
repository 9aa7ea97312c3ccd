/* Packing: keys first, then a scan whose samples land in the shard that is being written. */
#include "cli/pack.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/philox.h"
#include "base/text.h"
#include "cli/scan.h"
#include "image/encode.h"
#include "data/shard_write.h"

#define IN_FLIGHT ((int64_t)512 << 20) /* bytes of files that wait to be written; a larger one is made again later */
#define KEY_BYTES 4096

/* A sample ready to be written. */
typedef struct {
    unsigned char *data; /* malloc'ed */
    size_t size;
    vt_image_format format;
    bool late; /* no room: made again when its turn comes */
} item;

typedef struct {
    const vt_pack_options *options;
    const vt_source *source;
    vt_term *term;
    vt_pack_manifest manifest;
    uint64_t *sorted; /* hashes of all keys, ascending */
    bool *repeated;   /* by index: an earlier sample has this key */
    atomic_llong in_flight;
    vt_shard shard;
    bool open;
    int64_t position, images; /* of the next sample; in the open shard */
    vt_scan_tools tools;      /* of the writer */
} packing;

/* --- keys --- */

static uint64_t hash_text(const char *s) /* FNV-1a */
{
    uint64_t h = 0xcbf29ce484222325ULL;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3ULL;
    return h;
}

/* The sample's name without its extension, as WebDataset can hold it: dots would begin the extension. */
static void plain_key(const vt_source *s, int64_t i, char key[KEY_BYTES])
{
    size_t n = 0;
    const char *name = vt_source_key(s, i, &n);
    (void)snprintf(key, KEY_BYTES, "%08lld", (long long)i);
    if (!name || n + 32 > KEY_BYTES)
        return;
    char text[KEY_BYTES];
    memcpy(text, name, n);
    text[n] = '\0';
    char *base = strrchr(text, '/'), *dot;
    base = base ? base + 1 : text;
    dot = strrchr(base, '.');
    if (dot && dot > base)
        *dot = '\0';
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 32 || *p == 127 || (p >= base && *p == '.'))
            *p = '_';
    char *member = vt_xasprintf("%s.labels", text);
    if (vt_shard_name_fits(member) && base[0] && text[0] != '/')
        memcpy(key, text, strlen(text) + 1);
    free(member);
}

static int by_value(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool is_taken(const packing *p, const char *key)
{
    const uint64_t h = hash_text(key);
    return bsearch(&h, p->sorted, (size_t)vt_source_count(p->source), sizeof h, by_value) != NULL;
}

/* A key that an earlier sample has gets the index behind it. */
static void key_of(const packing *p, int64_t i, char key[KEY_BYTES])
{
    plain_key(p->source, i, key);
    if (!p->repeated[i])
        return;
    size_t n = strlen(key);
    if (n > 64) /* the number must fit, too */
        n = (size_t)snprintf(key, KEY_BYTES, "%08lld", (long long)i);
    do
        n += (size_t)snprintf(key + n, KEY_BYTES - n, "-%lld", (long long)i);
    while (n + 32 < KEY_BYTES && is_taken(p, key));
}

typedef struct {
    uint64_t hash;
    int64_t index;
} hashed;

static int by_hash(const void *a, const void *b)
{
    const hashed *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash > y->hash ? 1 : -1;
    return (x->index > y->index) - (x->index < y->index);
}

static void find_repeated_keys(packing *p)
{
    char key[KEY_BYTES];
    const int64_t n = vt_source_count(p->source);
    hashed *all = vt_xcalloc((size_t)n, sizeof *all);
    p->sorted = vt_xcalloc((size_t)n, sizeof *p->sorted);
    p->repeated = vt_xcalloc((size_t)n, sizeof *p->repeated);
    for (int64_t i = 0; i < n; i++) {
        plain_key(p->source, i, key);
        all[i] = (hashed){hash_text(key), i};
    }
    qsort(all, (size_t)n, sizeof *all, by_hash);
    for (int64_t i = 0; i < n; i++) {
        p->sorted[i] = all[i].hash;
        p->repeated[all[i].index] = i > 0 && all[i].hash == all[i - 1].hash;
    }
    free(all);
}

/* --- one sample, in any thread --- */

static int64_t sample_at(const void *context, int64_t position)
{
    const packing *p = context;
    const uint64_t n = (uint64_t)vt_source_count(p->source);
    return p->options->shuffle ? (int64_t)vt_permute(p->options->seed, 0, n, (uint64_t)position) : position;
}

static const char *const extensions[] = {"jpg", "jpg", "png", "webp"}; /* by vt_image_format */

/* The file itself, decoded to see that it can be. */
static vt_status keep(const packing *p, int64_t index, vt_scan_tools *tools, item *it, bool *kept, vt_err *err)
{
    VT_TRY(vt_scan_load(p->source, index, tools, kept, err));
    if (!*kept)
        return VT_OK;
    const vt_read_buffer *b = &tools->buffer;
    it->format = vt_image_format_of(b->bytes, b->size);
    it->size = b->size;
    it->data = malloc(b->size + 1);
    if (!it->data)
        return vt_fail(err, VT_ENOMEM, "no memory for a file of %zu bytes", b->size);
    memcpy(it->data, b->bytes, b->size);
    return VT_OK;
}

static vt_status make(const packing *p, int64_t index, vt_scan_tools *tools, item *it, vt_err *err)
{
    const vt_pack_options *o = p->options;
    bool kept = false;
    if (o->format == VT_FORMAT_UNKNOWN) {
        VT_TRY(keep(p, index, tools, it, &kept, err));
        if (kept)
            return VT_OK;
    } else {
        char name[512];
        (void)vt_source_sample_name(p->source, index, name, sizeof name);
        VT_TRY(vt_source_fetch(p->source, index, &tools->buffer, err));
        VT_TRY(vt_preprocess_load(&o->preprocess, 0, 0, &tools->buffer, &tools->spare, name, err));
    }
    it->format = o->format == VT_FORMAT_JPEG ? VT_FORMAT_JPEG : VT_FORMAT_PNG;
    return vt_image_encode(&tools->buffer.image, it->format, o->quality, &it->data, &it->size, err);
}

static vt_status work(void *context, int64_t index, vt_scan_tools *tools, void *result, vt_err *err)
{
    packing *p = context;
    item *it = result;
    VT_TRY(make(p, index, tools, it, err));
    if (atomic_fetch_add(&p->in_flight, (long long)it->size) + (int64_t)it->size > IN_FLIGHT) {
        atomic_fetch_sub(&p->in_flight, (long long)it->size);
        free(it->data);
        *it = (item){.late = true};
    }
    return VT_OK;
}

static void drop(void *context, void *result)
{
    packing *p = context;
    item *it = result;
    if (it->data && !it->late)
        atomic_fetch_sub(&p->in_flight, (long long)it->size);
    free(it->data);
}

/* --- writing, in order --- */

static vt_status finish_shard(packing *p, vt_err *err)
{
    vt_pack_shard done = {.end = p->position, .images = p->images};
    p->open = false;
    VT_TRY(vt_shard_finish(&p->shard, done.hash, err));
    done.bytes = p->shard.bytes;
    vt_pack_add_shard(&p->manifest, &done);
    return vt_pack_manifest_save(&p->manifest, err);
}

static vt_status add_sample(packing *p, int64_t index, const item *it, vt_err *err)
{
    char key[KEY_BYTES], number[32];
    const bool cls = vt_source_has_single_labels(p->source);
    const int n = snprintf(number, sizeof number, "%lld", (long long)vt_source_label(p->source, index));
    const int64_t bytes = vt_shard_member_bytes((int64_t)it->size) + (cls ? vt_shard_member_bytes(n) : 0);
    if (p->open && (p->images >= p->options->shard_images || p->shard.bytes + bytes > p->options->shard_bytes))
        VT_TRY(finish_shard(p, err));
    if (!p->open) {
        char *path = vt_pack_shard_path(&p->manifest, p->manifest.n_shards);
        vt_status status = vt_shard_open(&p->shard, path, err);
        free(path);
        VT_TRY(status);
        p->open = true;
        p->images = 0;
    }
    key_of(p, index, key);
    char *name = vt_xasprintf("%s.%s", key, extensions[it->format]), *label = vt_xasprintf("%s.cls", key);
    vt_status status = vt_shard_add(&p->shard, name, it->data, it->size, err);
    if (status == VT_OK && cls)
        status = vt_shard_add(&p->shard, label, number, (size_t)n, err);
    free(name);
    free(label);
    p->images++;
    return status;
}

static vt_status leave_out(packing *p, int64_t index, vt_status status, const char *why, vt_err *err)
{
    if (status == VT_ENOMEM)
        return vt_fail(err, status, "%s", why);
    vt_term_note(p->term, "bad: %s", why);
    vt_pack_add_bad(&p->manifest, index, p->position);
    if (p->manifest.n_bad > p->options->max_bad)
        return vt_fail(err, VT_EFORMAT,
                       "%lld of the %lld images read so far are bad; --max-bad N leaves out as many as N",
                       (long long)p->manifest.n_bad, (long long)p->position + 1);
    return VT_OK;
}

static vt_status receive(void *context, const vt_scan_sample *s, vt_err *err)
{
    packing *p = context;
    item *it = s->item;
    vt_status status = s->status;
    const char *why = s->why;
    vt_err late = {0};
    if (status == VT_OK && it->late) {
        status = make(p, s->index, &p->tools, it, &late);
        why = late.msg;
    }
    status = status == VT_OK ? add_sample(p, s->index, it, err) : leave_out(p, s->index, status, why, err);
    p->position++;
    return status;
}

/* --- the files beside --- */

static vt_status write_classes(const packing *p, const char *path, vt_err *err)
{
    vt_text text = {0};
    vt_text_add(&text, "");
    for (int64_t c = 0; c < vt_source_classes(p->source); c++)
        vt_text_addf(&text, "%lld\t%s\n", (long long)c, vt_source_class_name(p->source, c));
    vt_status status = vt_file_write(path, text.s, text.len, err);
    vt_text_release(&text);
    return status;
}

static int by_index(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* A row for each image that was written: KEY, then its classes, TABs between. */
static vt_status write_labels(const packing *p, const char *path, vt_err *err)
{
    vt_text text = {0};
    char key[KEY_BYTES];
    int32_t classes[VT_MAX_LABELS];
    vt_atomic_file file = {0};
    int64_t next = 0, *bad = vt_xcalloc((size_t)p->manifest.n_bad + 1, sizeof *bad);
    for (int64_t i = 0; i < p->manifest.n_bad; i++)
        bad[i] = p->manifest.bad[i];
    qsort(bad, (size_t)p->manifest.n_bad, sizeof *bad, by_index);
    vt_status status = vt_atomic_open(&file, path, err);
    for (int64_t i = 0; i < vt_source_count(p->source) && status == VT_OK; i++) {
        if (next < p->manifest.n_bad && bad[next] == i) {
            next++;
            continue;
        }
        key_of(p, i, key);
        vt_text_clear(&text);
        vt_text_add(&text, key);
        const int n = vt_source_labels(p->source, i, classes, VT_MAX_LABELS);
        for (int k = 0; k < n; k++)
            vt_text_addf(&text, "\t%s", vt_source_class_name(p->source, classes[k]));
        vt_text_add(&text, "\n");
        status = vt_atomic_write(&file, text.s, text.len, err);
    }
    if (status == VT_OK)
        status = vt_atomic_commit(&file, err);
    vt_atomic_release(&file);
    vt_text_release(&text);
    free(bad);
    return status;
}

static vt_status write_beside(const packing *p, vt_pack_result *r, vt_err *err)
{
    const vt_pack_options *o = p->options;
    char *classes = vt_xasprintf("%s/%s.classes.txt", o->dir, o->name);
    char *labels = vt_xasprintf("%s/%s.labels.txt", o->dir, o->name);
    vt_text spec = {0};
    r->labels = !vt_source_has_single_labels(p->source);
    vt_status status = write_classes(p, classes, err);
    if (status == VT_OK && r->labels)
        status = write_labels(p, labels, err);
    vt_text_addf(&spec, "wds:%s/%s-", o->dir, o->name);
    if (p->manifest.n_shards > 1)
        vt_text_addf(&spec, "{000000..%06lld}", (long long)p->manifest.n_shards - 1);
    else
        vt_text_add(&spec, "000000");
    vt_text_addf(&spec, ".tar?classes=%s", classes);
    if (r->labels)
        vt_text_addf(&spec, "&labels=%s", labels);
    r->read_as = spec.s;
    free(classes);
    free(labels);
    return status;
}

static vt_status check_class_names(const vt_source *s, vt_err *err)
{
    for (int64_t c = 0; c < vt_source_classes(s); c++)
        if (strpbrk(vt_source_class_name(s, c), "\t\r\n"))
            return vt_fail(err, VT_EUNSUPPORTED,
                           "the name of class %lld holds a TAB or a line break, which a file of class names cannot "
                           "hold; name the classes by classes=FILE",
                           (long long)c);
    return VT_OK;
}

static vt_status write_shards(packing *p, vt_err *err)
{
    vt_pack_manifest *m = &p->manifest;
    p->position = m->n_shards ? m->shards[m->n_shards - 1].end : 0;
    const vt_scan scan = {.source = p->source,
                          .first = p->position,
                          .end = vt_source_count(p->source),
                          .sample = sample_at,
                          .item_bytes = sizeof(item),
                          .work = work,
                          .receive = receive,
                          .drop = drop,
                          .context = p,
                          .term = p->term,
                          .what = "packing"};
    find_repeated_keys(p);
    if (m->complete)
        return VT_OK;
    VT_TRY(vt_scan_run(&scan, err));
    if (p->open)
        VT_TRY(finish_shard(p, err));
    if (m->n_shards == 0)
        return vt_fail(err, VT_EFORMAT, "every image is bad: nothing was packed");
    return VT_OK;
}

static vt_status pack(packing *p, vt_pack_result *r, vt_err *err)
{
    vt_pack_manifest *m = &p->manifest;
    VT_TRY(vt_pack_manifest_load(m, p->term, err));
    r->kept = m->n_shards;
    VT_TRY(write_shards(p, err));
    VT_TRY(write_beside(p, r, err));
    m->complete = true;
    VT_TRY(vt_pack_manifest_save(m, err));
    r->shards = m->n_shards;
    r->bad = m->n_bad;
    for (int64_t i = 0; i < m->n_shards; i++) {
        r->images += m->shards[i].images;
        r->bytes += m->shards[i].bytes;
    }
    return VT_OK;
}

vt_status vt_pack_run(const vt_pack_options *o, const vt_source *source, vt_term *term, vt_pack_result *result,
                      vt_err *err)
{
    packing p = {.options = o, .source = source, .term = term};
    vt_lock lock = {0};
    *result = (vt_pack_result){0};
    VT_TRY(check_class_names(source, err));
    VT_TRY(vt_make_dirs(o->dir, err));
    char *lock_path = vt_xasprintf("%s/.%s.lock", o->dir, o->name);
    vt_status status = vt_lock_take(&lock, lock_path, err);
    if (status == VT_OK) {
        vt_pack_manifest_init(&p.manifest, o, source);
        status = pack(&p, result, err);
        vt_pack_manifest_release(&p.manifest);
        vt_shard_release(&p.shard);
        vt_lock_release(&lock);
    }
    free(lock_path);
    vt_read_buffer_release(&p.tools.buffer);
    vt_image_release(&p.tools.spare);
    free(p.sorted);
    free(p.repeated);
    return status;
}
