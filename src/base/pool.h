/* A pool of threads that claim chunks of work from one counter: no fixed halves, so a busy neighbour costs little; each
 * chunk's arithmetic is its own, so results do not depend on who computes it. Threads spin briefly, then sleep. */
#ifndef VT_BASE_POOL_H
#define VT_BASE_POOL_H

#include <stdint.h>

#include "base/status.h"

typedef struct vt_pool vt_pool;

/* The work of one chunk: 0 <= chunk < n_chunks, 0 <= thread < vt_pool_threads. Denormals are flushed in every thread,
 * and stay flushed in the caller's (thread 0). Signals are blocked in the others. */
typedef void vt_pool_fn(void *context, int64_t chunk, int thread);

/* threads from 1 to 4096, the caller's included; 1 starts none. */
vt_status vt_pool_new(vt_pool **pool, int threads, vt_err *err) VT_MUST_USE;
void vt_pool_free(vt_pool *pool);
int vt_pool_threads(const vt_pool *pool);

/* Runs all chunks and returns when the last is done; what chunks wrote is then visible to the caller. Not reentrant: a
 * chunk must not call it, nor two threads at once. */
void vt_pool_run(vt_pool *pool, int64_t n_chunks, vt_pool_fn *fn, void *context);

/* For tests: claim chunks in an order drawn from seed instead of 0, 1, 2, ... (0 restores it). Results must not change.
 */
void vt_pool_shuffle(vt_pool *pool, uint32_t seed);

/* Sets flush-to-zero and denormals-are-zero in the calling thread (the pool's threads have it). */
void vt_flush_denormals(void);

#endif
