/* Distinct texts, numbered from 0 in the order of their first coming; inside data/ only. */
#ifndef VT_DATA_NAMES_H
#define VT_DATA_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

/* {0} is empty. */
typedef struct {
    vt_text text; /* one behind the other, each terminated */
    size_t *at;
    int32_t n, capacity;
    int32_t *table; /* open addressing, -1: free; a power of two of places */
    uint32_t places;
    uint64_t salt; /* differs from process to process, so that no file can be made to collide; no number shows it */
} vt_names;

/* The number of a text of n bytes without a zero byte; a new one where it is new. */
int32_t vt_names_add(vt_names *names, const char *s, size_t n);
const char *vt_names_get(const vt_names *names, int32_t i);
/* The numbers sorted by the bytes of their texts; malloc'ed. */
int32_t *vt_names_sorted(const vt_names *names);
void vt_names_release(vt_names *names);

#endif
