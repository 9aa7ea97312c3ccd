/* Memory that is planned, then taken once. The code that places tensors runs twice: over an arena without memory it
 * only counts (that is `vitro plan`), over one with memory it places; so the plan and the run cannot disagree. */
#ifndef VT_BASE_ARENA_H
#define VT_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#define VT_ARENA_ALIGN 64 /* bytes: a cache line and the widest vector */

typedef struct {
    unsigned char *base; /* NULL: count only. Owned by whoever gave it (device memory, or a test's malloc) */
    size_t size;         /* bytes at base; 0 when counting */
    size_t used;         /* bytes taken so far, every take rounded up to VT_ARENA_ALIGN */
    size_t high;         /* largest used so far */
} vt_arena;

/* A counting arena, or one over memory of the given size (base aligned to VT_ARENA_ALIGN). */
vt_arena vt_arena_counting(void);
vt_arena vt_arena_over(void *base, size_t size);

/* The next count * elem_bytes bytes, aligned; NULL from a counting arena. Contents are unspecified. Asserts that the
 * memory suffices: sizes were counted by the same code before. count >= 0; the product must not overflow (asserted). */
void *vt_arena_take(vt_arena *a, int64_t count, size_t elem_bytes);

/* Gives back all that was taken after mark = a->used. */
void vt_arena_rewind(vt_arena *a, size_t mark);

#endif
