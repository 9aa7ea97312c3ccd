/* A collection of labelled images named by a SPEC, the same everywhere in vitro:
 *   folder:PATH             class folders (PATH/CLASS/IMAGE, also deeper), classes in byte order of their names; or a
 *                           tar of them
 *   wds:PATH/{000..012}.tar WebDataset shards: KEY.jpg|.jpeg|.png|.webp with KEY.cls, .json or .txt; .tar.gz is
 *                           unpacked once into the cache
 *   csv:FILE                a list of paths and labels
 *   idx:IMAGES,LABELS       the format of MNIST, plain or gzip
 *   synthetic:shapes?classes=16&noise=0.1&size=32&count=10000&seed=0   drawn on the fly
 * A bare path is recognised by what it is (a folder, *.tar[.gz] or *.csv files). Options follow `?`, joined by `&`:
 * split=[A%:B%] (of the source's keyed order, every class in proportion, never parting images with the same bytes),
 * limit=N (the first N of the keyed order: nested, every class in proportion), classes=FILE (one name a line in order;
 * a line "number TAB name [TAB words]" is accepted too), labels=FILE (each sample's classes, none or several:
 * label_sets.h), hierarchy=FILE (hierarchy.h). "SPEC + SPEC" joins sources, with weight=W in each or in none; classes
 * are then united by name. Access is random: sample i is the same image for ever. Reading is thread-safe. */
#ifndef VT_DATA_SOURCE_H
#define VT_DATA_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/text.h"
#include "image/image.h"

#define VT_MAX_LABELS 64 /* classes of one sample */

typedef struct vt_source vt_source;

vt_status vt_source_open(vt_source **source, const char *spec, vt_err *err) VT_MUST_USE;
void vt_source_close(vt_source *source);

const char *vt_source_spec(const vt_source *s); /* as it was given */
int64_t vt_source_count(const vt_source *s);    /* samples, after split and limit; at least 1 */
/* Whether there are fresh samples as long as anyone asks; the count is then a bound that nobody reaches. */
bool vt_source_is_endless(const vt_source *s);
int64_t vt_source_classes(const vt_source *s);
/* The folder's name, or that of classes=FILE; the number where a format has no names. */
const char *vt_source_class_name(const vt_source *s, int64_t c);
/* Whether hierarchy=FILE names the class as nobody's parent; without one every class is a leaf. Top-1, top-5 and error
 * are over leaves. */
bool vt_source_is_leaf(const vt_source *s, int64_t c);
bool vt_source_has_names(const vt_source *s); /* false: classes are bare numbers */
/* Sample i's class where it has one, 0 .. classes-1; of several the one that its SPEC numbers lowest (ancestors not
 * counted), whatever the order in which the data name them; -1 where it has none. */
int64_t vt_source_label(const vt_source *s, int64_t i);
/* Whether every sample has exactly one class. */
bool vt_source_has_single_labels(const vt_source *s);
/* Most classes that any sample has, at least 1. */
int vt_source_most_labels(const vt_source *s);
/* All classes of sample i, ascending, into classes (width of them, at least vt_source_most_labels); -1 fills the rest.
 * Returns how many there are. */
int vt_source_labels(const vt_source *s, int64_t i, int32_t *classes, int width);
/* Samples that have each class, into counts (one a class): for class weights and reports. */
void vt_source_class_counts(const vt_source *s, int64_t *counts);
/* The sample at a position of a run (0, 1, 2, ... over all epochs), in training order: a function of seed and position
 * alone. Of one source, or several that are joined without weights, position p is sample vt_permute(seed, p / n, n,
 * p % n). With weights, every so many positions hold exactly as many draws from each as its weight says, and each goes
 * through all of its samples before it repeats one. */
int64_t vt_source_order(const vt_source *s, uint32_t seed, int64_t position);
/* From now on the order takes all classes that have samples in turns (of several labels the first, samples without any
 * being one class more), and each class goes through its samples before it repeats one. Once, before the order is used.
 */
vt_status vt_source_balance(vt_source *s, vt_err *err) VT_MUST_USE;
/* The name of sample i for messages ("cat/0042.jpg", "shard-03.tar:n0144_12.jpg", "train-images[17]"), written into
 * buf. */
const char *vt_source_sample_name(const vt_source *s, int64_t i, char *buf, size_t size);
/* The name by which its collection knows sample i, *n bytes: the path below PATH (folder), the KEY (wds); NULL where it
 * has only its index in the collection, *n. Not unique where sources are joined. */
const char *vt_source_key(const vt_source *s, int64_t i, size_t *n);
/* SHA-256 over counts, labels, class names and what identifies each sample's bytes without decoding (names and sizes;
 * the pixels of IDX, which lie in memory; the parameters of synthetic): tells a run that its data changed. Where the
 * data lie does not enter, so data may be moved, or unpacked from .tar.gz. */
void vt_source_fingerprint(const vt_source *s, char hex[VT_HASH_HEX]);
/* Host memory that the open source keeps (index, IDX pixels), in bytes: a line of the plan. */
size_t vt_source_resident_bytes(const vt_source *s);
/* Bytes that one reader takes at most while it reads the largest image: two images (before and after preprocessing),
 * and where the format does not tell the size (folder, wds) what VT_MAX_PIXELS allows, the encoded file and the
 * decoder's own. */
size_t vt_source_decode_bytes(const vt_source *s);

/* Bytes of a decoded image, where all have the same; else 0. */
size_t vt_source_image_bytes(const vt_source *s);

/* What a worker is at. */
typedef enum { VT_WORK_NONE, VT_WORK_READ, VT_WORK_DECODE, VT_WORK_PREPROCESS } vt_work;

/* A worker's buffers, reused from sample to sample; {0} to begin with. */
typedef struct {
    unsigned char *bytes; /* of a file as it was fetched */
    size_t size, capacity;
    bool encoded; /* fetched into bytes, and not decoded yet; else into image */
    vt_image image;
    atomic_int *work; /* the worker's own note, a vt_work: told when reading becomes decoding; or NULL */
} vt_read_buffer;
void vt_read_buffer_release(vt_read_buffer *b);
/* Reads a regular file of one image, as vt_source_fetch does; a pipe or device is refused and never blocks. */
vt_status vt_read_buffer_file(vt_read_buffer *b, const char *path, vt_err *err) VT_MUST_USE;
/* Tells whoever watches what begins. */
void vt_read_buffer_note(const vt_read_buffer *b, vt_work work);

/* Reads sample i as it is stored: its encoded file into b->bytes (b->encoded true), or, where the kind has pixels and
 * no files, its pixels into b->image (false). The message names the sample. */
vt_status vt_source_fetch(const vt_source *s, int64_t i, vt_read_buffer *b, vt_err *err) VT_MUST_USE;
/* Sample i will be fetched soon: where it lies in a shard on disk, the system begins to read it. */
void vt_source_announce(const vt_source *s, int64_t i);
/* Fetches, then decodes the whole image into b->image, upright as the file stores it. */
vt_status vt_source_read(const vt_source *s, int64_t i, vt_read_buffer *b, vt_err *err) VT_MUST_USE;

/* The kinds of source for `-h` and docs: name, form, sentence; NULL-terminated. */
typedef struct {
    const char *name, *form, *help;
} vt_source_help;
extern const vt_source_help vt_source_kinds_help[];
/* What may follow '?' whatever the kind, and classes=FILE: name, form, sentence; NULL-terminated. */
extern const vt_source_help vt_source_options_help[];

#endif
