/* What each kind of source provides: a plain collection of samples 0 .. count-1 with labels. part.c adds what all
 * have in common (SPEC, selection), source.c what is of the whole (labels, fingerprint). Inside data/ only.
 *
 * To add a kind: one file with a `const vt_collection_kind`, and its rows in part.c (kinds, and the help). */
#ifndef VT_DATA_COLLECTION_H
#define VT_DATA_COLLECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/status.h"
#include "data/source.h"
#include "data/spec.h"

typedef struct vt_collection vt_collection;
typedef struct vt_hierarchy vt_hierarchy; /* hierarchy.h */

/* labels=FILE (label_sets.h): sample i has classes[rows[i].first] and the n - 1 behind it. */
typedef struct {
    uint32_t first, n;
} vt_label_row;

typedef struct {
    vt_label_row *rows; /* one a sample; NULL: classes[i], or the kind's labels where that is NULL too */
    int32_t *classes;
} vt_label_sets;

typedef struct {
    const char *name;
    const char *options[6]; /* besides split, limit and labels; NULL-terminated */
    /* Fills c; on failure source.c calls close on what there is. */
    vt_status (*open)(vt_collection *c, const vt_spec *spec, vt_err *err);
    void (*close)(vt_collection *c);
    int64_t (*label)(const vt_collection *c, int64_t i); /* NULL where open fills c->labels */
    /* Where counting labels would take too long: the samples of each class, whose first classes have one more where
     * that does not make up count; 0: they must be counted. May be NULL. */
    int64_t (*each_class)(const vt_collection *c);
    void (*sample_name)(const vt_collection *c, int64_t i, char *buf, size_t size);
    /* Its name in labels=FILE, *n bytes; NULL: the index i. */
    const char *(*key)(const vt_collection *c, int64_t i, size_t *n);
    /* What identifies the collection as a whole, and one sample; either may be NULL. */
    void (*identify)(const vt_collection *c, vt_hasher *h);
    void (*identify_sample)(const vt_collection *c, int64_t i, vt_hasher *h);
    /* Bytes of what fetch reads, so that only samples of one size are compared; NULL: all are of one size, or, where
     * `distinct` is set, no two are alike. */
    int64_t (*stored_bytes)(const vt_collection *c, int64_t i);
    bool distinct;
    /* Reads sample i's encoded file into b->bytes (vt_read_buffer_reserve), or draws b->image where there is no file;
     * thread-safe. The message names the sample. */
    vt_status (*fetch)(const vt_collection *c, int64_t i, vt_read_buffer *b, vt_err *err);
    /* Reads the last n of sample i's stored bytes, which are more: enough to tell most samples apart. May be NULL. */
    vt_status (*fetch_end)(const vt_collection *c, int64_t i, unsigned char *end, size_t n, vt_err *err);
    /* Sample i will be fetched soon: the system may begin to read it. NULL where that helps nothing. */
    void (*announce)(const vt_collection *c, int64_t i);
} vt_collection_kind;

struct vt_collection {
    int64_t count, classes;
    char **class_names; /* classes of them, malloc'ed; NULL: bare numbers */
    bool endless;       /* fresh samples as long as anyone asks; count is then a bound that nobody reaches */
    uint64_t changed; /* mixes sizes and times of change of all files: what was learned from their bytes may be kept */
    size_t resident;  /* bytes that stay allocated, class names not counted */
    size_t image_bytes; /* of a decoded image where all have one size; 0: unknown before decoding */
    vt_label_sets labels;
    vt_hierarchy *hierarchy; /* or NULL */
    void *state;             /* the kind's own */
};

extern const vt_collection_kind vt_folder_kind, vt_wds_kind, vt_csv_kind, vt_idx_kind, vt_synthetic_kind;

/* A mix of a file's size, time of change and place on the disk. */
static inline uint64_t vt_changed_mix(const struct stat *st)
{
    uint64_t mix = (uint64_t)st->st_size * 0x9e3779b97f4a7c15ull ^ (uint64_t)st->st_mtim.tv_sec;
    mix = mix * 0xd1342543de82ef95ull ^ (uint64_t)st->st_mtim.tv_nsec;
    return mix * 0xd1342543de82ef95ull ^ (uint64_t)st->st_ino;
}

/* Room for size encoded bytes, which the caller then reads into b->bytes; at most VT_MAX_FILE_BYTES. */
vt_status vt_read_buffer_reserve(vt_read_buffer *b, size_t size, vt_err *err) VT_MUST_USE;

/* The last n bytes of a regular file of `size` bytes. */
vt_status vt_read_file_end(const char *path, int64_t size, unsigned char *end, size_t n, vt_err *err) VT_MUST_USE;

/* Names of classes for a kind whose files hold numbers only: those of classes=FILE, which must name all up to
 * max_label unless labels=FILE makes those numbers void; without it c->classes = max_label + 1. */
vt_status vt_collection_name_classes(vt_collection *c, const vt_spec *spec, int64_t max_label, vt_err *err) VT_MUST_USE;

#endif
