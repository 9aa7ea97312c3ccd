/* Twins are found by SHA-256, cut to 128 bits, of what fetch reads; of large files that of the end comes first, and
 * only those whose sizes and ends are equal are read whole. The cached file is a mark, the pairs (sample, first with
 * the same bytes), and the SHA-256 of both; its name is a hash of everything that identifies the collection and of the
 * times of change of its files. */
#include "data/twins.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/pool.h"
#include "base/text.h"

#define MAX_THREADS   16
#define BLOCK         (1 << 14) /* samples between two looks at the clock */
#define CHUNK         32        /* samples that a thread takes at a time */
#define WORTH_CACHING 1000      /* samples to read */
#define REPORT_NS     (20LL * 1000000000)
#define END_BYTES     4096
#define MAX_CACHED    (1u << 31)

static const char mark[16] = "vitro twins 1";

typedef struct {
    uint64_t hash[2];
    uint32_t sample;
    uint32_t read; /* 0: it could not be */
} candidate;

typedef struct {
    int64_t size;
    uint32_t sample;
} sized;

typedef struct {
    uint32_t sample, first;
} pair;

typedef struct {
    const vt_collection_kind *kind;
    const vt_collection *c;
    candidate *list;
    bool ends;        /* look at ends */
    int64_t from, to; /* the present block */
    atomic_llong unread;
    vt_read_buffer *buffers;
} search;

static int compare_sizes(const void *a, const void *b)
{
    const sized *x = a, *y = b;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return x->sample < y->sample ? -1 : x->sample > y->sample;
}

static int compare_hashes(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->read != y->read)
        return x->read < y->read ? -1 : 1;
    for (int k = 0; k < 2; k++) {
        if (x->hash[k] != y->hash[k])
            return x->hash[k] < y->hash[k] ? -1 : 1;
    }
    return x->sample < y->sample ? -1 : x->sample > y->sample;
}

/* Samples that share their size with another, into *list. */
static vt_status list_candidates(const vt_collection_kind *kind, const vt_collection *c, candidate **list, int64_t *n,
                                 vt_err *err)
{
    sized *all = malloc((size_t)c->count * sizeof *all);
    *n = 0;
    *list = NULL;
    if (!all)
        return vt_fail(err, VT_ENOMEM, "no memory to compare %lld samples", (long long)c->count);
    for (int64_t i = 0; i < c->count; i++)
        all[i] = (sized){kind->stored_bytes ? kind->stored_bytes(c, i) : 0, (uint32_t)i};
    qsort(all, (size_t)c->count, sizeof *all, compare_sizes);
    int64_t kept = 0;
    for (int64_t i = 0; i < c->count; i++) {
        if ((i > 0 && all[i - 1].size == all[i].size) || (i + 1 < c->count && all[i + 1].size == all[i].size))
            kept++;
    }
    *list = malloc(((size_t)kept + 1) * sizeof **list);
    for (int64_t i = 0; *list && i < c->count; i++) {
        if ((i > 0 && all[i - 1].size == all[i].size) || (i + 1 < c->count && all[i + 1].size == all[i].size))
            (*list)[(*n)++] = (candidate){.sample = all[i].sample};
    }
    free(all);
    return *list ? VT_OK : vt_fail(err, VT_ENOMEM, "no memory to compare %lld samples", (long long)kept);
}

/* The hash of a whole sample in hex; false where it cannot be read. */
static bool hash_whole(const search *s, int64_t i, vt_read_buffer *b, char hex[VT_HASH_HEX])
{
    b->encoded = false;
    if (s->kind->fetch(s->c, i, b, NULL) != VT_OK)
        return false;
    if (b->encoded)
        vt_hash_bytes(b->bytes, b->size, hex);
    else
        vt_hash_bytes(b->image.pixels, (size_t)(b->image.width * b->image.height * 3), hex);
    return true;
}

/* The hash of its size and its end; a small one has the same as all of its size. */
static bool hash_end(const search *s, int64_t i, char hex[VT_HASH_HEX])
{
    unsigned char end[END_BYTES] = {0};
    int64_t size = s->kind->stored_bytes(s->c, i);
    if (size >= 2 * END_BYTES && s->kind->fetch_end(s->c, i, end, sizeof end, NULL) != VT_OK)
        return false;
    vt_hasher *h = vt_hasher_new();
    vt_hasher_add(h, &size, sizeof size);
    vt_hasher_add(h, end, sizeof end);
    vt_hasher_finish(h, hex);
    return true;
}

static void hash_one(search *s, candidate *k, vt_read_buffer *b)
{
    char hex[VT_HASH_HEX], half[17] = "";
    k->read = s->ends ? hash_end(s, k->sample, hex) : hash_whole(s, k->sample, b, hex);
    if (!k->read) {
        atomic_fetch_add(&s->unread, 1);
        return;
    }
    for (int part = 0; part < 2; part++) {
        memcpy(half, hex + 16 * part, 16);
        k->hash[part] = strtoull(half, NULL, 16);
    }
}

static void hash_chunk(void *context, int64_t chunk, int thread)
{
    search *s = context;
    int64_t from = s->from + chunk * CHUNK, to = from + CHUNK < s->to ? from + CHUNK : s->to;
    for (int64_t i = from; i < to; i++)
        hash_one(s, &s->list[i], &s->buffers[thread]);
}

static int compare_samples(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    return x->sample < y->sample ? -1 : x->sample > y->sample;
}

/* In the order of samples, in which they lie on the disk more or less. */
static vt_status hash_all(search *s, int64_t n, vt_err *err)
{
    qsort(s->list, (size_t)n, sizeof *s->list, compare_samples);
    int cpus = vt_machine_cpus(), threads = cpus < MAX_THREADS ? cpus : MAX_THREADS;
    vt_pool *pool = NULL;
    VT_TRY(vt_pool_new(&pool, threads, err));
    s->buffers = vt_xcalloc((size_t)threads, sizeof *s->buffers);
    int64_t reported = vt_now_ns();
    for (s->from = 0; s->from < n; s->from = s->to) {
        s->to = s->from + BLOCK < n ? s->from + BLOCK : n;
        vt_pool_run(pool, (s->to - s->from + CHUNK - 1) / CHUNK, hash_chunk, s);
        if (vt_now_ns() - reported > REPORT_NS) {
            reported = vt_now_ns();
            vt_log(VT_LOG_INFO, "comparing images for the split: %lld of %lld", (long long)s->to, (long long)n);
        }
    }
    for (int k = 0; k < threads; k++)
        vt_read_buffer_release(&s->buffers[k]);
    free(s->buffers);
    vt_pool_free(pool);
    return VT_OK;
}

static bool alike(const candidate *a, const candidate *b)
{
    return a->read && b->read && a->hash[0] == b->hash[0] && a->hash[1] == b->hash[1];
}

/* Keeps the candidates that are like another so far. */
static int64_t keep_alike(candidate *list, int64_t n)
{
    int64_t kept = 0;
    bool before = false;
    qsort(list, (size_t)n, sizeof *list, compare_hashes);
    for (int64_t i = 0; i < n; i++) {
        bool behind = i + 1 < n && alike(&list[i], &list[i + 1]);
        if (before || behind)
            list[kept++] = list[i];
        before = behind;
    }
    return kept;
}

/* Pairs of later samples with the first of their kind; sorts the list. */
static int64_t pair_up(candidate *list, int64_t n, pair *pairs)
{
    int64_t n_pairs = 0, first = 0;
    qsort(list, (size_t)n, sizeof *list, compare_hashes);
    for (int64_t i = 1; i < n; i++) {
        if (alike(&list[first], &list[i]))
            pairs[n_pairs++] = (pair){list[i].sample, list[first].sample};
        else
            first = i;
    }
    return n_pairs;
}

/* --- the cache --- */

static vt_status cache_name(const vt_collection_kind *kind, const vt_collection *c, char **name, vt_err *err)
{
    char *cache = NULL, line[96], hex[VT_HASH_HEX];
    VT_TRY(vt_cache_dir(&cache, err));
    char *folder = vt_path_join(cache, "twins");
    free(cache);
    vt_status status = vt_make_dirs(folder, err);
    if (status == VT_OK) {
        vt_hasher *h = vt_hasher_new();
        int n = snprintf(line, sizeof line, "%s %lld %llu", kind->name, (long long)c->count,
                         (unsigned long long)c->changed);
        vt_hasher_add(h, line, (size_t)n + 1);
        for (int64_t i = 0; kind->identify_sample && i < c->count; i++)
            kind->identify_sample(c, i, h);
        vt_hasher_finish(h, hex);
        *name = vt_xasprintf("%s/%.32s", folder, hex);
    }
    free(folder);
    return status;
}

static bool load(const char *name, int64_t count, pair **pairs, int64_t *n)
{
    unsigned char *data = NULL;
    size_t size = 0;
    char hex[VT_HASH_HEX];
    if (!vt_is_file(name) || vt_file_read(name, MAX_CACHED, &data, &size, NULL) != VT_OK)
        return false;
    bool good = size >= sizeof mark + VT_HASH_HEX && (size - sizeof mark - VT_HASH_HEX) % sizeof **pairs == 0;
    if (good) {
        vt_hash_bytes(data, size - VT_HASH_HEX, hex);
        good = memcmp(data, mark, sizeof mark) == 0 && memcmp(data + size - VT_HASH_HEX, hex, VT_HASH_HEX) == 0;
    }
    if (good) {
        *n = (int64_t)((size - sizeof mark - VT_HASH_HEX) / sizeof **pairs);
        *pairs = vt_xmalloc(((size_t)*n + 1) * sizeof **pairs);
        memcpy(*pairs, data + sizeof mark, (size_t)*n * sizeof **pairs);
        for (int64_t i = 0; i < *n && good; i++)
            good = (*pairs)[i].sample < count && (*pairs)[i].first < (*pairs)[i].sample;
    }
    free(data);
    if (!good) {
        free(*pairs);
        *pairs = NULL;
    }
    return good;
}

/* A failure to read may pass, and those images are then compared the next time. */
static void save(search *s, const char *name, const pair *pairs, int64_t n)
{
    vt_text out = {0};
    char hex[VT_HASH_HEX];
    vt_err err = {0};
    const long long unread = atomic_load(&s->unread);
    if (unread > 0) {
        vt_log(
            VT_LOG_WARN,
            "%lld images could not be read to be compared, so a split takes each of them for like no other; what was "
            "found out about equal images is not kept",
            unread);
        return;
    }
    vt_text_addn(&out, mark, sizeof mark);
    vt_text_addn(&out, (const char *)pairs, (size_t)n * sizeof *pairs);
    vt_hash_bytes(out.s, out.len, hex);
    vt_text_addn(&out, hex, VT_HASH_HEX);
    if (vt_file_write(name, out.s, out.len, &err) != VT_OK)
        vt_log(VT_LOG_WARN, "what was found out about equal images cannot be kept: %s", err.msg);
    vt_text_release(&out);
}

/* --- both --- */

static vt_status find_pairs(const vt_collection_kind *kind, const vt_collection *c, candidate *list, int64_t n,
                            pair **pairs, int64_t *n_pairs, vt_err *err)
{
    char *name = NULL;
    bool cache = n >= WORTH_CACHING && kind->stored_bytes && cache_name(kind, c, &name, NULL) == VT_OK;
    vt_status status = VT_OK;
    if (!cache || !load(name, c->count, pairs, n_pairs)) {
        search s = {.kind = kind, .c = c, .list = list, .ends = kind->fetch_end != NULL};
        if (cache)
            vt_log(VT_LOG_INFO, "comparing %lld images once, so that no split parts equal ones", (long long)n);
        if (s.ends) {
            status = hash_all(&s, n, err);
            n = keep_alike(list, n);
            s.ends = false;
        }
        if (status == VT_OK)
            status = hash_all(&s, n, err);
        *pairs = malloc(((size_t)n + 1) * sizeof **pairs);
        if (status == VT_OK && !*pairs)
            status = vt_fail(err, VT_ENOMEM, "no memory to compare %lld samples", (long long)n);
        if (status == VT_OK)
            *n_pairs = pair_up(list, n, *pairs);
        if (status == VT_OK && cache)
            save(&s, name, *pairs, *n_pairs);
    }
    free(name);
    return status;
}

vt_status vt_twins_find(const vt_collection_kind *kind, const vt_collection *c, uint32_t **first, vt_err *err)
{
    candidate *list = NULL;
    pair *pairs = NULL;
    int64_t n = 0, n_pairs = 0;
    *first = NULL;
    if (kind->distinct)
        return VT_OK;
    VT_TRY(list_candidates(kind, c, &list, &n, err));
    vt_status status = n > 0 ? find_pairs(kind, c, list, n, &pairs, &n_pairs, err) : VT_OK;
    if (status == VT_OK && n_pairs > 0) {
        *first = malloc((size_t)c->count * sizeof **first);
        if (!*first)
            status = vt_fail(err, VT_ENOMEM, "no memory to compare %lld samples", (long long)c->count);
        for (int64_t i = 0; *first && i < c->count; i++)
            (*first)[i] = (uint32_t)i;
        for (int64_t k = 0; *first && k < n_pairs; k++)
            (*first)[pairs[k].sample] = pairs[k].first;
    }
    free(list);
    free(pairs);
    return status;
}
