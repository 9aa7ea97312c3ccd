/* Arenas: one pointer that moves up. A counting arena has no memory and can therefore never be too small; one over
 * memory must suffice, since the same placing code was counted before. */
#include "base/arena.h"

#include <assert.h>

vt_arena vt_arena_counting(void)
{
    return (vt_arena){0};
}

vt_arena vt_arena_over(void *base, size_t size)
{
    assert(base != NULL && (uintptr_t)base % VT_ARENA_ALIGN == 0);
    return (vt_arena){.base = base, .size = size};
}

void *vt_arena_take(vt_arena *a, int64_t count, size_t elem_bytes)
{
    assert(count >= 0);
    assert(elem_bytes == 0 || (uint64_t)count <= SIZE_MAX / elem_bytes);
    size_t bytes = (size_t)count * elem_bytes;
    assert(bytes <= SIZE_MAX - (VT_ARENA_ALIGN - 1) - a->used);
    size_t rounded = (bytes + VT_ARENA_ALIGN - 1) / VT_ARENA_ALIGN * VT_ARENA_ALIGN;
    size_t start = a->used;
    assert(a->base == NULL || rounded <= a->size - start);

    a->used = start + rounded;
    if (a->high < a->used)
        a->high = a->used;
    return a->base == NULL ? NULL : a->base + start;
}

void vt_arena_rewind(vt_arena *a, size_t mark)
{
    assert(mark <= a->used && mark % VT_ARENA_ALIGN == 0);
    a->used = mark;
}
