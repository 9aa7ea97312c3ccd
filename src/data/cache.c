/* The cache of decoded pixels: measuring, cells in memory, and the choice between memory and file (cache_file.c).
 *
 * In memory a cell is the same 16 bytes and pixels as in the file, its first word a state instead of a sum. */
#include "data/cache.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/pool.h"
#include "base/text.h"
#include "data/cache_file.h"

#define CHUNK   256 /* samples that are measured at a time */
#define WITNESS 64  /* samples whose stored bytes are part of the key */

const char *const vt_cache_names[] = {"none", "memory", "file", NULL};

enum { EMPTY, FILLING, FILLED };
typedef struct {
    atomic_int state;
    uint32_t height, width, pad;
} memory_head;

struct vt_cache {
    vt_cache_kind kind;
    const vt_source *source;
    vt_preprocess preprocess;
    int fixed;
    vt_cells cells;
    unsigned char *memory;
    char key[VT_HASH_HEX];
    vt_cache_file file;
};

/* --- what a file's key says: the data, the operations, and this program's way to decode --- */

/* The bytes of a few samples stand for all, beyond names and sizes, which the fingerprint has. */
static void hash_witnesses(const vt_source *s, vt_hasher *h)
{
    vt_read_buffer b = {0};
    int64_t n = vt_source_count(s), step = n > WITNESS ? n / WITNESS : 1;
    for (int64_t i = 0; i < n; i += step) {
        if (vt_source_fetch(s, i, &b, NULL) != VT_OK)
            continue;
        if (b.encoded)
            vt_hasher_add(h, b.bytes, b.size);
        else
            vt_hasher_add(h, b.image.pixels, (size_t)(b.image.height * b.image.width * 3));
    }
    vt_read_buffer_release(&b);
}

static void make_key(vt_cache *c)
{
    vt_preprocess list = c->preprocess;
    vt_text text = {0};
    char data[VT_HASH_HEX];
    vt_hasher *h = vt_hasher_new();
    list.n_ops = c->fixed;
    vt_source_fingerprint(c->source, data);
    vt_text_addf(&text, "vitro pixels 1\n%s\norient %d\n", data, list.orient);
    vt_preprocess_print(&list, &text);
    vt_hasher_add(h, text.s, text.len);
    hash_witnesses(c->source, h);
    vt_hasher_finish(h, c->key);
    vt_text_release(&text);
}

/* --- measuring --- */

static uint64_t cell_bytes(int64_t height, int64_t width)
{
    return (VT_CELL_HEAD + (uint64_t)height * (uint64_t)width * 3 + 15) / 16 * 16;
}

/* Of sample i, whose file may have any size; just the head where it cannot be used. */
static uint64_t measure_sample(const vt_cache *c, int64_t i, vt_read_buffer *b)
{
    vt_image_header h = {0};
    if (vt_source_fetch(c->source, i, b, NULL) != VT_OK)
        return VT_CELL_HEAD;
    if (!b->encoded)
        h = (vt_image_header){.height = b->image.height, .width = b->image.width};
    else if (vt_image_look(b->bytes, b->size, c->preprocess.orient, "", &h, NULL) != VT_OK)
        return VT_CELL_HEAD;
    if (!vt_preprocess_extent(&c->preprocess, c->fixed, &h.height, &h.width))
        return VT_CELL_HEAD;
    return cell_bytes(h.height, h.width);
}

typedef struct {
    vt_cache *cache;
    vt_read_buffer *buffers; /* one a thread */
} survey;

static void measure_chunk(void *context, int64_t chunk, int thread)
{
    const survey *s = context;
    vt_cells *cells = &s->cache->cells;
    for (int64_t i = chunk * CHUNK; i < cells->count && i < (chunk + 1) * CHUNK; i++)
        cells->offsets[i + 1] = measure_sample(s->cache, i, &s->buffers[thread]);
}

/* Sizes become offsets; where all are one, the table is not needed. */
static void add_up(vt_cells *cells)
{
    uint64_t first = cells->offsets[1];
    bool same = true;
    for (int64_t i = 0; i < cells->count; i++) {
        same = same && cells->offsets[i + 1] == first;
        cells->offsets[i + 1] += cells->offsets[i];
    }
    if (!same)
        return;
    cells->cell = first;
    free(cells->offsets);
    cells->offsets = NULL;
}

static vt_status measure_each(vt_cache *c, int threads, vt_err *err)
{
    vt_pool *pool = NULL;
    vt_cells *cells = &c->cells;
    VT_TRY(vt_pool_new(&pool, threads, err));
    survey s = {.cache = c, .buffers = vt_xcalloc((size_t)threads, sizeof *s.buffers)};
    cells->offsets = vt_xcalloc((size_t)cells->count + 1, sizeof *cells->offsets);
    vt_log(VT_LOG_INFO, "data.cache: looking how large the %lld images of %s are", (long long)cells->count,
           vt_source_spec(c->source));
    vt_pool_run(pool, (cells->count + CHUNK - 1) / CHUNK, measure_chunk, &s);
    for (int i = 0; i < threads; i++)
        vt_read_buffer_release(&s.buffers[i]);
    free(s.buffers);
    vt_pool_free(pool);
    add_up(cells);
    return VT_OK;
}

static vt_status measure(vt_cache *c, int threads, vt_err *err)
{
    int64_t height = 0, width = 0;
    c->cells = (vt_cells){.count = vt_source_count(c->source)};
    if (vt_preprocess_extent(&c->preprocess, c->fixed, &height, &width)) {
        c->cells.cell = cell_bytes(height, width);
    } else if (vt_source_image_bytes(c->source) > 0) {
        vt_read_buffer b = {0};
        c->cells.cell = measure_sample(c, 0, &b);
        vt_read_buffer_release(&b);
    } else {
        return measure_each(c, threads, err);
    }
    return VT_OK;
}

vt_status vt_cache_open(vt_cache **cache, vt_cache_kind kind, const vt_source *source, const vt_preprocess *p,
                        int threads, vt_err *err)
{
    *cache = NULL;
    if (kind == VT_CACHE_NONE)
        return VT_OK;
    if (vt_source_is_endless(source))
        return vt_fail(err, VT_EINVAL, "data.cache is %s, but %s makes fresh images without end; write none",
                       vt_cache_names[kind], vt_source_spec(source));
    vt_cache *c = *cache = vt_xcalloc(1, sizeof *c);
    *c = (vt_cache){.kind = kind, .source = source, .preprocess = *p, .file.fd = -1};
    c->fixed = vt_preprocess_fixed(p);
    if (kind == VT_CACHE_FILE) {
        make_key(c);
        if (vt_cache_file_find(&c->file, c->key, vt_source_count(source), &c->cells))
            return VT_OK;
    }
    vt_status status = measure(c, threads, err);
    if (status != VT_OK) {
        vt_cache_close(c);
        *cache = NULL;
    }
    return status;
}

void vt_cache_close(vt_cache *c)
{
    if (!c)
        return;
    vt_cache_file_close(&c->file);
    free(c->cells.offsets);
    free(c);
}

size_t vt_cache_memory(const vt_cache *c)
{
    return c && c->kind == VT_CACHE_MEMORY ? (size_t)vt_cells_total(&c->cells) : 0;
}

size_t vt_cache_resident_bytes(const vt_cache *c)
{
    if (!c)
        return 0;
    return sizeof *c + (c->cells.offsets ? ((size_t)c->cells.count + 1) * sizeof *c->cells.offsets : 0);
}

int64_t vt_cache_file_bytes(const vt_cache *c)
{
    return c && c->kind == VT_CACHE_FILE ? (int64_t)vt_cache_file_size(&c->cells) : 0;
}

void vt_cache_start(vt_cache *c, void *memory)
{
    vt_err err = {0};
    char size[32];
    if (!c)
        return;
    c->memory = memory;
    if (c->kind != VT_CACHE_FILE || c->file.fd >= 0)
        return;
    if (vt_cache_file_make(&c->file, c->key, &c->cells, &err) == VT_OK)
        vt_log(VT_LOG_INFO, "data.cache: %s takes %s", c->file.path,
               vt_format_bytes(size, (double)vt_cache_file_bytes(c)));
    else
        vt_log(VT_LOG_WARN, "data.cache: the file for %s of pixels cannot be made, and the run goes on without it: %s",
               vt_format_bytes(size, (double)vt_cache_file_bytes(c)), err.msg);
}

int vt_cache_fixed(const vt_cache *c)
{
    return c->fixed;
}

/* --- cells in memory --- */

static memory_head *memory_cell(const vt_cache *c, int64_t i)
{
    return (memory_head *)(void *)(c->memory + vt_cells_at(&c->cells, i));
}

static bool memory_get(const vt_cache *c, int64_t i, vt_image *image)
{
    const memory_head *h = memory_cell(c, i);
    if (atomic_load_explicit(&h->state, memory_order_acquire) != FILLED ||
        vt_image_resize_buffer(image, h->width, h->height, NULL) != VT_OK)
        return false;
    memcpy(image->pixels, (const unsigned char *)h + VT_CELL_HEAD, (size_t)h->height * h->width * 3);
    return true;
}

static void memory_put(const vt_cache *c, int64_t i, const vt_image *image)
{
    int state = EMPTY;
    memory_head *h = memory_cell(c, i);
    if ((uint64_t)(image->height * image->width) > vt_cells_room(&c->cells, i) ||
        !atomic_compare_exchange_strong(&h->state, &state, FILLING))
        return;
    h->height = (uint32_t)image->height;
    h->width = (uint32_t)image->width;
    memcpy((unsigned char *)h + VT_CELL_HEAD, image->pixels, (size_t)(image->height * image->width * 3));
    atomic_store_explicit(&h->state, FILLED, memory_order_release);
}

bool vt_cache_get(vt_cache *c, int64_t sample, vt_image *image)
{
    assert(sample >= 0 && sample < c->cells.count);
    return c->kind == VT_CACHE_MEMORY ? memory_get(c, sample, image)
                                      : vt_cache_file_get(&c->file, &c->cells, sample, image);
}

void vt_cache_put(vt_cache *c, int64_t sample, const vt_image *image)
{
    if (c->kind == VT_CACHE_MEMORY)
        memory_put(c, sample, image);
    else
        vt_cache_file_put(&c->file, &c->cells, sample, image);
}
