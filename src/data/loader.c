/* The loader. Positions are claimed in order, a chunk of a slot at a time, by whichever worker is free; a slot is
 * handed out when its last chunk is done, and claimed anew when it was released:
 *
 *   slot k of the run holds positions [start + k batch, start + (k+1) batch) and lies at ring place k % slots
 *   released <= taken <= released + 1: slots given back and handed out;  claimed chunks belong to slots < released +
 * slots
 *
 * With mix a slot begins with the partner of its first sample, which belongs to the chunk of that sample; an error of
 * the partner counts as that sample's.
 *
 * A worker notes each bad sample at the ring place; whoever takes the slot goes through the notes by row, so that the
 * list of bad samples grows in the order of positions.
 *
 * All of this state is under one mutex; pixels are written without it, since every chunk has one owner. An error is
 * kept for the lowest position; claims are in order and a slot is looked at only when complete, so time does not
 * matter. */
#include "data/loader.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/philox.h"
#include "base/pool.h"
#include "base/text.h"

#define MAX_CHUNK 16 /* samples claimed at a time: few enough that the first slot is soon complete */

/* A sample that could not be used. */
typedef struct {
    int64_t row, sample; /* row: of the slot, -1 for the partner in front */
    int substitute;
    vt_status code;
    char *why;
} bad_note;

/* Notes of a ring place's present slot. */
typedef struct {
    bad_note *notes;
    int64_t n, capacity;
} bad_notes;

struct vt_loader {
    vt_loader_options o;
    unsigned char *ring;
    size_t image_bytes, slot_bytes; /* of one image; of a slot's images, labels and padding */
    int64_t chunk;                  /* samples */
    int64_t *done;                  /* per ring place: samples of its present slot that are finished */
    bad_notes *bad;                 /* per ring place */
    int64_t *missing, n_missing;    /* rows of the slot that is handed out */
    pthread_mutex_t mutex;
    pthread_cond_t work, ready; /* a slot became free; a slot became complete */
    int64_t claimed;            /* the next position to claim */
    int64_t taken, released;    /* slots */
    int64_t failed_at;          /* lowest position with an error, or INT64_MAX */
    vt_err failure;
    int64_t wait_ns;
    atomic_bool stop;
    atomic_int seats; /* of the board that are taken */
    pthread_t *threads;
    int n_threads;
};

static size_t round_up(size_t bytes)
{
    return (bytes + VT_ARENA_ALIGN - 1) / VT_ARENA_ALIGN * VT_ARENA_ALIGN;
}

/* Samples that lie in a slot, the partner in front of them included. */
static int64_t slot_samples(const vt_loader_options *o)
{
    return o->batch + (o->mix > 0);
}

static size_t images_bytes(const vt_loader_options *o)
{
    return round_up((size_t)(slot_samples(o) * o->height * o->width * 3));
}

static size_t slot_bytes(const vt_loader_options *o)
{
    return images_bytes(o) + round_up((size_t)(slot_samples(o) * o->labels) * sizeof(int32_t));
}

void *vt_loader_place(vt_arena *arena, const vt_loader_options *o)
{
    return vt_arena_take(arena, o->slots, slot_bytes(o));
}

static vt_batch slot_at(const vt_loader *l, int64_t slot)
{
    unsigned char *at = l->ring + (size_t)(slot % l->o.slots) * l->slot_bytes;
    vt_batch b = {.images = at, .labels = (int32_t *)(void *)(at + images_bytes(&l->o))};
    if (l->o.mix > 0) {
        b.images += l->image_bytes;
        b.labels += l->o.labels;
    }
    b.position = l->o.start + slot * l->o.batch;
    b.count = l->o.end - b.position;
    if (b.count > l->o.batch)
        b.count = l->o.batch;
    return b;
}

int64_t vt_loader_substitute(const vt_source *source, uint32_t seed, int64_t position, int k)
{
    if (k > 0)
        seed = vt_philox(seed, VT_STREAM_SUBSTITUTE, 0, (uint32_t)k, 0).v[0];
    return vt_source_order(source, seed, position);
}

int64_t vt_loader_sample_without(const vt_source *source, uint32_t seed, int64_t position, const vt_bad_list *bad)
{
    int64_t sample = vt_source_order(source, seed, position);
    for (int k = 1; k <= VT_SUBSTITUTES && bad->count > 0 && vt_bad_has(bad, sample); k++)
        sample = vt_loader_substitute(source, seed, position, k);
    return sample;
}

static int64_t sample_at(const vt_loader *l, int64_t position, int substitute)
{
    if (l->o.shuffle)
        return vt_loader_substitute(l->o.source, l->o.seed, position, substitute);
    return l->o.picks ? l->o.picks[position] : position;
}

/* The position whose sample is blended into that of `position`. */
static int64_t partner_of(const vt_loader *l, int64_t position)
{
    return position % l->o.mix == 0 ? position + l->o.mix - 1 : position - 1;
}

/* What one worker keeps. */
typedef struct {
    vt_read_buffer buffer;
    vt_image spare;
    int seat; /* its place on the board, or -1 */
} tools;

/* A note on the board; a sample below 0 leaves the one that is there. */
static void note(const vt_loader *l, const tools *w, vt_work work, int64_t sample)
{
    vt_loader_board *board = l->o.board;
    if (w->seat < 0)
        return;
    if (sample >= 0)
        atomic_store_explicit(&board->workers[w->seat].sample, sample, memory_order_relaxed);
    atomic_store_explicit(&board->workers[w->seat].work, (int)work, memory_order_relaxed);
}

/* What the cache keeps of a sample becomes w->buffer.image: from there, or by decoding it, which fills its cell. */
static vt_status load_kept(const vt_loader *l, int64_t position, int64_t sample, tools *w, vt_err *err)
{
    const vt_loader_options *o = &l->o;
    char name[256];
    if (vt_cache_get(o->cache, sample, &w->buffer.image))
        return VT_OK;
    vt_source_sample_name(o->source, sample, name, sizeof name);
    VT_TRY(vt_source_fetch(o->source, sample, &w->buffer, err));
    VT_TRY(vt_preprocess_load_part(o->preprocess, vt_cache_fixed(o->cache), o->seed, (uint64_t)position, &w->buffer,
                                   &w->spare, name, err));
    vt_cache_put(o->cache, sample, &w->buffer.image);
    return VT_OK;
}

static vt_status load_through_cache(const vt_loader *l, int64_t position, int64_t sample, tools *w, vt_err *err)
{
    const vt_preprocess *p = l->o.preprocess;
    char name[256];
    VT_TRY(load_kept(l, position, sample, w, err));
    note(l, w, VT_WORK_PREPROCESS, -1);
    vt_status status = vt_preprocess_run_part(p, vt_cache_fixed(l->o.cache), p->n_ops, l->o.seed, (uint64_t)position,
                                              &w->buffer.image, &w->spare, err);
    return status == VT_OK ? VT_OK
                           : vt_prefix(err, "%s", vt_source_sample_name(l->o.source, sample, name, sizeof name));
}

static vt_status load_directly(const vt_loader *l, int64_t position, int64_t sample, tools *w, vt_err *err)
{
    const vt_loader_options *o = &l->o;
    char name[256];
    vt_source_sample_name(o->source, sample, name, sizeof name);
    VT_TRY(vt_source_fetch(o->source, sample, &w->buffer, err));
    return vt_preprocess_load(o->preprocess, o->seed, (uint64_t)position, &w->buffer, &w->spare, name, err);
}

/* The sample, as it is at `position`, becomes w->buffer.image. */
static vt_status load_pixels(const vt_loader *l, int64_t position, int64_t sample, tools *w, vt_err *err)
{
    const vt_loader_options *o = &l->o;
    const vt_image *image = &w->buffer.image;
    char name[256];
    note(l, w, VT_WORK_READ, sample);
    VT_TRY(o->cache ? load_through_cache(l, position, sample, w, err) : load_directly(l, position, sample, w, err));
    if (image->height == o->height && image->width == o->width)
        return VT_OK;
    return vt_fail(err, VT_EINVAL,
                   "%s: %lld x %lld pixels (height x width) after preprocessing, but %lld x %lld are wanted; add "
                   "resize(%lld,%lld)",
                   vt_source_sample_name(o->source, sample, name, sizeof name), (long long)image->height,
                   (long long)image->width, (long long)o->height, (long long)o->width, (long long)o->height,
                   (long long)o->width);
}

/* Keeps, for vt_loader_next, that a sample of a slot is bad. */
static void keep_note(vt_loader *l, const vt_batch *slot, int64_t row, int substitute, int64_t sample,
                      const vt_err *why)
{
    pthread_mutex_lock(&l->mutex);
    bad_notes *b = &l->bad[(slot->position - l->o.start) / l->o.batch % l->o.slots];
    if (b->n == b->capacity) {
        b->capacity = b->capacity ? 2 * b->capacity : 16;
        b->notes = vt_xrealloc(b->notes, (size_t)b->capacity * sizeof *b->notes);
    }
    b->notes[b->n++] = (bad_note){row, sample, substitute, why->code, vt_xstrdup(why->msg)};
    pthread_mutex_unlock(&l->mutex);
}

static void fill_row(const vt_loader *l, const vt_batch *slot, int64_t row, int64_t sample, const tools *w)
{
    const vt_loader_options *o = &l->o;
    memcpy(slot->images + row * (int64_t)l->image_bytes, w->buffer.image.pixels, l->image_bytes);
    vt_source_labels(o->source, sample, slot->labels + row * o->labels, o->labels);
}

static void leave_row(const vt_loader *l, const vt_batch *slot, int64_t row)
{
    memset(slot->images + row * (int64_t)l->image_bytes, 0, l->image_bytes);
    for (int k = 0; k < l->o.labels; k++)
        slot->labels[row * l->o.labels + k] = -1;
}

/* A row of the slot becomes the sample at `position`, or what stands for it where that is bad; row -1 is a partner in
 * front. */
static vt_status load_row(vt_loader *l, int64_t position, const vt_batch *slot, int64_t row, tools *w, vt_err *err)
{
    int64_t sample = sample_at(l, position, 0);
    vt_status status = load_pixels(l, position, sample, w, err);
    bool spares = l->o.bad && l->o.bad->limit > 0;
    if (status != VT_OK && status != VT_ENOMEM && spares) {
        int last = l->o.shuffle ? VT_SUBSTITUTES : 0;
        keep_note(l, slot, row, 0, sample, err);
        for (int k = 1; k <= last && status != VT_OK && status != VT_ENOMEM && !atomic_load(&l->stop); k++) {
            sample = sample_at(l, position, k);
            status = load_pixels(l, position, sample, w, err);
            if (status != VT_OK && status != VT_ENOMEM)
                keep_note(l, slot, row, k, sample, err);
        }
        if (last == 0)
            leave_row(l, slot, row);
    }
    if (status == VT_OK)
        fill_row(l, slot, row, sample, w);
    else if (status == VT_ENOMEM || !spares)
        return status;
    else if (l->o.shuffle)
        return vt_prefix(err, "%d samples drawn one after the other cannot be used, the last of them",
                         VT_SUBSTITUTES + 1);
    if (l->o.board)
        atomic_fetch_add_explicit(&l->o.board->done, 1, memory_order_relaxed);
    return VT_OK;
}

/* With the mutex held: waits for a chunk to claim; false when there is none left or the loader stops. */
static bool claim(vt_loader *l, int64_t *position, int64_t *count)
{
    for (;;) {
        if (atomic_load(&l->stop) || l->claimed >= l->o.end)
            return false;
        int64_t slot = (l->claimed - l->o.start) / l->o.batch;
        if (slot < l->released + l->o.slots) {
            vt_batch b = slot_at(l, slot);
            int64_t left = b.position + b.count - l->claimed;
            *position = l->claimed;
            *count = left < l->chunk ? left : l->chunk;
            l->claimed += *count;
            return true;
        }
        pthread_cond_wait(&l->work, &l->mutex);
    }
}

/* Without the mutex: loads a chunk up to its first error, whose position is returned (else INT64_MAX). */
static int64_t load_chunk(vt_loader *l, int64_t position, int64_t count, tools *w, vt_err *err)
{
    vt_batch slot = slot_at(l, (position - l->o.start) / l->o.batch);
    for (int64_t p = position; l->o.shuffle && !l->o.cache && p < position + count; p++)
        vt_source_announce(l->o.source, sample_at(l, p, 0)); /* in file order the system reads ahead by itself */
    for (int64_t p = position; p < position + count && !atomic_load(&l->stop); p++) {
        if (l->o.mix > 0 && p == slot.position && load_row(l, partner_of(l, p), &slot, -1, w, err) != VT_OK)
            return p;
        if (load_row(l, p, &slot, p - slot.position, w, err) != VT_OK)
            return p;
    }
    return INT64_MAX;
}

static void take_seat(vt_loader *l, tools *w)
{
    int seat = atomic_fetch_add(&l->seats, 1);
    if (seat >= VT_BOARD_WORKERS)
        return;
    w->seat = seat;
    w->buffer.work = &l->o.board->workers[seat].work;
}

static void *worker(void *context)
{
    vt_loader *l = context;
    tools w = {.seat = -1};
    int64_t position, count;
    vt_flush_denormals();
    if (l->o.board)
        take_seat(l, &w);
    pthread_mutex_lock(&l->mutex);
    while (claim(l, &position, &count)) {
        vt_err err = {0};
        pthread_mutex_unlock(&l->mutex);
        int64_t failed_at = load_chunk(l, position, count, &w, &err);
        note(l, &w, VT_WORK_NONE, -1);
        pthread_mutex_lock(&l->mutex);
        if (failed_at < l->failed_at) {
            l->failed_at = failed_at;
            l->failure = err;
        }
        int64_t slot = (position - l->o.start) / l->o.batch;
        int64_t *done = &l->done[slot % l->o.slots];
        *done += count;
        if (*done == slot_at(l, slot).count)
            pthread_cond_signal(&l->ready);
    }
    pthread_mutex_unlock(&l->mutex);
    vt_read_buffer_release(&w.buffer);
    vt_image_release(&w.spare);
    return NULL;
}

/* Workers take no signals: those go to the thread that runs the training. */
static vt_status start_workers(vt_loader *l, vt_err *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    vt_status status = VT_OK;
    while (l->n_threads < l->o.workers && status == VT_OK) {
        if (pthread_create(&l->threads[l->n_threads], NULL, worker, l) == 0)
            l->n_threads++;
        else if (l->n_threads == 0)
            status = vt_fail(err, VT_ENOMEM, "the system gives no thread to load data");
        else
            break; /* fewer workers do the same work */
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

vt_status vt_loader_new(vt_loader **loader, const vt_loader_options *o, void *ring, vt_err *err)
{
    assert(ring && o->batch >= 1 && o->height >= 1 && o->width >= 1 && o->workers >= 1 && o->slots >= 2);
    assert(o->labels >= vt_source_most_labels(o->source));
    assert(o->mix == 0 || (o->shuffle && o->mix % o->batch == 0 && o->start % o->batch == 0));
    assert(o->start >= 0 && o->end >= o->start && !(o->shuffle && o->picks));
    assert(o->shuffle || o->picks || o->end <= vt_source_count(o->source));
    vt_loader *l = vt_xcalloc(1, sizeof *l);
    l->o = *o;
    l->ring = ring;
    l->image_bytes = (size_t)(o->height * o->width * 3);
    l->slot_bytes = slot_bytes(o);
    l->chunk = o->batch / (2 * o->workers);
    l->chunk = l->chunk < 1 ? 1 : l->chunk > MAX_CHUNK ? MAX_CHUNK : l->chunk;
    l->done = vt_xcalloc((size_t)o->slots, sizeof *l->done);
    l->bad = vt_xcalloc((size_t)o->slots, sizeof *l->bad);
    l->threads = vt_xcalloc((size_t)o->workers, sizeof *l->threads);
    l->claimed = o->start;
    l->failed_at = INT64_MAX;
    atomic_init(&l->stop, false);
    atomic_init(&l->seats, 0);
    if (o->board)
        atomic_store(&o->board->source, o->source);
    pthread_mutex_init(&l->mutex, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    vt_status status = start_workers(l, err);
    if (status != VT_OK) {
        vt_loader_free(l);
        l = NULL;
    }
    *loader = l;
    return status;
}

static int by_row(const void *a, const void *b)
{
    const bad_note *x = a, *y = b;
    return x->row != y->row ? (x->row > y->row) - (x->row < y->row) : x->substitute - y->substitute;
}

/* With the mutex held and the slot complete: its bad samples come to be known, up to row `end`. */
static vt_status settle_notes(vt_loader *l, bad_notes *b, int64_t end, vt_err *err)
{
    if (b->n > 1)
        qsort(b->notes, (size_t)b->n, sizeof *b->notes, by_row);
    l->n_missing = 0;
    if (b->n > 0 && !l->o.shuffle && !l->missing)
        l->missing = vt_xcalloc((size_t)l->o.batch, sizeof *l->missing);
    for (int64_t i = 0; i < b->n && b->notes[i].row < end; i++) {
        vt_err why = {0};
        (void)vt_fail(&why, b->notes[i].code, "%s", b->notes[i].why);
        VT_TRY(vt_bad_note(l->o.bad, b->notes[i].sample, &why, err));
        if (!l->o.shuffle)
            l->missing[l->n_missing++] = b->notes[i].row;
    }
    return VT_OK;
}

static void forget_notes(bad_notes *b)
{
    for (int64_t i = 0; i < b->n; i++)
        free(b->notes[i].why);
    b->n = 0;
}

vt_status vt_loader_next(vt_loader *l, vt_batch *batch, vt_err *err)
{
    assert(l->taken == l->released);
    *batch = slot_at(l, l->taken);
    if (batch->count <= 0) {
        *batch = (vt_batch){0};
        return VT_OK;
    }
    pthread_mutex_lock(&l->mutex);
    int64_t before = 0, *done = &l->done[l->taken % l->o.slots];
    if (*done < batch->count)
        before = vt_now_ns();
    while (*done < batch->count)
        pthread_cond_wait(&l->ready, &l->mutex);
    if (before)
        l->wait_ns += vt_now_ns() - before;
    int64_t good = l->failed_at - batch->position; /* rows before the first error */
    vt_status status = settle_notes(l, &l->bad[l->taken % l->o.slots], good < 0 ? 0 : good, err);
    if (status == VT_OK && good < batch->count)
        status = vt_fail(err, l->failure.code, "%s", l->failure.msg);
    if (status == VT_OK)
        l->taken++;
    batch->missing = l->missing;
    batch->n_missing = l->n_missing;
    pthread_mutex_unlock(&l->mutex);
    return status;
}

void vt_loader_release_batch(vt_loader *l)
{
    pthread_mutex_lock(&l->mutex);
    assert(l->taken == l->released + 1);
    l->done[l->released % l->o.slots] = 0;
    forget_notes(&l->bad[l->released % l->o.slots]);
    l->released++;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->mutex);
}

int64_t vt_loader_wait_ns(const vt_loader *l)
{
    return l->wait_ns;
}

void vt_loader_free(vt_loader *l)
{
    if (!l)
        return;
    atomic_store(&l->stop, true);
    pthread_mutex_lock(&l->mutex);
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->mutex);
    for (int i = 0; i < l->n_threads; i++)
        pthread_join(l->threads[i], NULL);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ready);
    pthread_mutex_destroy(&l->mutex);
    for (int i = 0; i < l->o.slots; i++) {
        forget_notes(&l->bad[i]);
        free(l->bad[i].notes);
    }
    free(l->bad);
    free(l->missing);
    free(l->threads);
    free(l->done);
    free(l);
}
