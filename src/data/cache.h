/* Decoded pixels that are kept (data.cache): of each sample what the list's operations before the first random one
 * leave, orientation included, so that a small model need not wait for decoders. In memory, or in a file of the cache
 * folder that processes and later runs share. Cells are filled by whoever decodes a sample first; a sample that cannot
 * be decoded, or has not the size that was measured, is simply not kept. Pixels from the cache are those that decoding
 * gives, so results do not depend on it while the images stay as they are. An image that can no longer be read is still
 * used where it is kept, and counts as bad (data.max_bad) where it is not. All functions but open, start and close are
 * thread-safe. */
#ifndef VT_DATA_CACHE_H
#define VT_DATA_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data/preprocess.h"
#include "data/source.h"

typedef enum { VT_CACHE_NONE, VT_CACHE_MEMORY, VT_CACHE_FILE } vt_cache_kind;
extern const char *const vt_cache_names[]; /* NULL-terminated */

typedef struct vt_cache vt_cache;

/* Finds out how large every sample's pixels are: from the list, from the source, from a file made earlier, or else by
 * the header of every image, with so many threads. Makes nothing. kind NONE gives NULL. */
vt_status vt_cache_open(vt_cache **cache, vt_cache_kind kind, const vt_source *source, const vt_preprocess *p,
                        int threads, vt_err *err) VT_MUST_USE;
void vt_cache_close(vt_cache *c);

/* Bytes that vt_cache_start wants (kind MEMORY, else 0), what the open cache keeps besides, and the file's size (kind
 * FILE, else 0). */
size_t vt_cache_memory(const vt_cache *c);
size_t vt_cache_resident_bytes(const vt_cache *c);
int64_t vt_cache_file_bytes(const vt_cache *c);

/* Begins: over zeroed memory, or with the file, which is made where there is none. Where that cannot be (a full disk),
 * the log says so and nothing is kept. */
void vt_cache_start(vt_cache *c, void *memory);

/* Operations that what is kept has behind it. */
int vt_cache_fixed(const vt_cache *c);
/* Whether the sample is kept; its pixels. */
bool vt_cache_get(vt_cache *c, int64_t sample, vt_image *image);
/* Keeps what was decoded. */
void vt_cache_put(vt_cache *c, int64_t sample, const vt_image *image);

#endif
