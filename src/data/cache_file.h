/* The file of a cache of pixels; inside data/ only. Its cells are read and written by offset and never mapped: a file
 * that somebody cuts short must not end the program, and the system shares the pages all the same.
 *
 *   header (4096 bytes): magic, key, count, size of a cell (0: see index), size of the file, sums of header and index
 *   index: count + 1 offsets, where cells differ in size
 *   cells, from a multiple of 4096: {sum, height, width} and pixels, each a multiple of 16 bytes; all zeros: not filled
 *
 * A cell is written pixels first, and what is written depends on its key alone, so that any number of processes may
 * fill one file. Its sum covers sample, size and pixels: what does not match counts as not filled. */
#ifndef VT_DATA_CACHE_FILE_H
#define VT_DATA_CACHE_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "image/image.h"

#define VT_CELL_HEAD 16 /* bytes before the pixels of a cell */

/* Where cells lie, from 0: sample i at i * cell, or from offsets[i] to offsets[i + 1]. */
typedef struct {
    int64_t count;
    uint64_t cell;
    uint64_t *offsets; /* malloc'ed; NULL where all have one size */
} vt_cells;

uint64_t vt_cells_at(const vt_cells *c, int64_t i);
/* Pixels (3 bytes each) that cell i has room for. */
uint64_t vt_cells_room(const vt_cells *c, int64_t i);
uint64_t vt_cells_total(const vt_cells *c);

typedef struct {
    char *path;
    int fd;                       /* -1: none */
    uint64_t data;                /* where cells begin */
    atomic_bool damaged, refused; /* said already; nothing can be written any more */
} vt_cache_file;

/* Looks for CACHE/pixels/KEY.pixels: true, with its cells, where it is there and whole. One that is damaged is removed,
 * and the log says so. */
bool vt_cache_file_find(vt_cache_file *f, const char key[VT_HASH_HEX], int64_t count, vt_cells *cells);
/* Makes it, at its full size; another process's that is there first is taken, and its cells replace *cells. */
vt_status vt_cache_file_make(vt_cache_file *f, const char key[VT_HASH_HEX], vt_cells *cells, vt_err *err) VT_MUST_USE;
uint64_t vt_cache_file_size(const vt_cells *cells);
void vt_cache_file_close(vt_cache_file *f);

bool vt_cache_file_get(vt_cache_file *f, const vt_cells *cells, int64_t i, vt_image *image);
void vt_cache_file_put(vt_cache_file *f, const vt_cells *cells, int64_t i, const vt_image *image);

#endif
