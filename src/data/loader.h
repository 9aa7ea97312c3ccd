/* The loader: workers of its own read, decode and preprocess samples into a bounded ring of batch slots, in the order
 * that training consumes them. What lands in a slot depends on the seed and the sample's position alone, never on the
 * number of workers. No memory is taken after the start except decode buffers, which are bounded by VT_MAX_PIXELS.
 *
 * Training order: position p of a run (0, 1, 2, ... over all epochs) is sample vt_source_order(source, seed, p).
 *
 * A sample that cannot be used ends the run, or, where a list of bad samples allows some (bad.h), is left out. In
 * training another takes its place: substitute k of position p (k = 1, 2, ...) is what the order of another seed, made
 * from seed and k, has at p, and the first usable one is taken; it is preprocessed and labelled as the sample at p. So
 * the bytes stay the same for any workers, and after a resume, as long as the same samples are bad. In evaluation its
 * row is missing.
 *
 * Mixup blends sample i of an update's batch with sample i - 1, cyclically (spec 3.6). With mix set, a slot therefore
 * holds one sample more, in front of its first: its partner, as it is at its own position, pixels and labels. Sample
 * i's partner then always lies at i - 1, however the batch is cut into slots. */
#ifndef VT_DATA_LOADER_H
#define VT_DATA_LOADER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "data/bad.h"
#include "data/cache.h"
#include "data/preprocess.h"
#include "data/source.h"

/* What the workers of a loader are at, for whoever asks why nothing moves: notes that they write without a lock, and
 * any thread may read at any time. Belongs to the caller, who may give it to one loader after the other; {0} to begin
 * with. */
#define VT_BOARD_WORKERS 256 /* further workers write no note */
typedef struct {
    const vt_source *_Atomic source; /* of the present or last loader; must outlive the board */
    atomic_llong done;               /* samples loaded so far */
    struct {
        atomic_int work;     /* vt_work */
        atomic_llong sample; /* of source */
    } workers[VT_BOARD_WORKERS];
} vt_loader_board;

typedef struct {
    const vt_source *source; /* both must outlive the loader */
    const vt_preprocess *preprocess;
    int64_t height, width; /* of the images in a slot */
    int64_t batch;         /* samples in a slot (a micro-batch) */
    int labels;            /* width of a row of labels, at least vt_source_most_labels */
    int64_t mix;           /* 0: none; else the batch of an update, a multiple of `batch`; start is one of `batch`, and
                            * shuffle must be true */
    int64_t start, end;    /* positions: the first, and one past the last (a run's images; the set's size or the number
                            * of picks for evaluation) */
    bool shuffle;          /* false: position p is sample p, p < count (evaluation); the last slot may be short */
    const int64_t *picks;  /* not NULL: position p is sample picks[p] (few-shot); borrowed, shuffle must be false */
    uint32_t seed;
    int workers;            /* at least 1 */
    int slots;              /* in the ring; at least 2 */
    vt_loader_board *board; /* or NULL */
    vt_cache *cache;        /* of the same source and list; NULL: none */
    vt_bad_list *bad;       /* written by vt_loader_next; NULL: the first bad sample is an error */
} vt_loader_options;

/* A filled slot of positions position .. position + count - 1: images (count, height, width, 3) uint8, and for each a
 * row of labels (count, labels), its classes ascending, then -1. With mix the partner of the first lies one image and
 * one row in front of them. */
typedef struct {
    uint8_t *images;
    int32_t *labels;
    int64_t count, position;
    const int64_t *missing; /* rows without their sample, ascending: black, without class (evaluation) */
    int64_t n_missing;
} vt_batch;

typedef struct vt_loader vt_loader;

/* Substitute k for the sample at a position: 1 .. VT_SUBSTITUTES; 0 is the sample itself. */
#define VT_SUBSTITUTES 32
int64_t vt_loader_substitute(const vt_source *source, uint32_t seed, int64_t position, int k);
/* The one that is taken, where these are bad. */
int64_t vt_loader_sample_without(const vt_source *source, uint32_t seed, int64_t position, const vt_bad_list *bad);

/* Host memory of the ring, from an arena that may only count; then new over an arena that places. */
void *vt_loader_place(vt_arena *arena, const vt_loader_options *o);
vt_status vt_loader_new(vt_loader **loader, const vt_loader_options *o, void *ring, vt_err *err) VT_MUST_USE;

/* Waits for the next slot in order. *batch is valid until vt_loader_release_batch, which must come before the next
 * call. At the end *count is 0. A sample that cannot be read ends in its message (position order decides which is
 * reported, not time); from then on every call fails in the same way. */
vt_status vt_loader_next(vt_loader *l, vt_batch *batch, vt_err *err) VT_MUST_USE;
void vt_loader_release_batch(vt_loader *l);
/* Nanoseconds that vt_loader_next has waited so far: the data wait of the log. */
int64_t vt_loader_wait_ns(const vt_loader *l);
/* Stops workers (after the sample that each is at) and frees; the ring belongs to its arena. */
void vt_loader_free(vt_loader *l);

#endif
