/* The samples of a source that could not be used (gone, broken, too small for a crop): each is counted once and named
 * once, and a limit says how many a run goes on without (data.max_bad). The list belongs to whoever reads batches and
 * is written by that thread alone, in the order of positions, so what it says never depends on workers. */
#ifndef VT_DATA_BAD_H
#define VT_DATA_BAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#define VT_MAX_BAD   (1 << 20) /* samples that a limit may allow: 8 MiB of list */
#define VT_BAD_NAMED 100       /* samples that are named; further ones are only counted */

/* A sample became known as bad; why: the message that names it, NULL behind the first VT_BAD_NAMED. */
typedef void vt_bad_fn(void *context, int64_t sample, const char *why);

typedef struct {
    int64_t limit;    /* 0: the first one is an error */
    const char *name; /* of the limit, in messages: "data.max_bad" */
    vt_bad_fn *tell;  /* or NULL */
    void *context;
    int64_t count, capacity;
    int64_t *samples; /* (count), ascending; malloc'ed */
} vt_bad_list;

void vt_bad_release(vt_bad_list *b);
bool vt_bad_has(const vt_bad_list *b, int64_t sample);
/* Takes a sample as known, without a word: of a run that goes on. */
void vt_bad_add(vt_bad_list *b, int64_t sample);
/* A sample cannot be used for the reason in why. One that is known changes nothing; a new one is added and told; one
 * beyond the limit is not added, and is the error. */
vt_status vt_bad_note(vt_bad_list *b, int64_t sample, const vt_err *why, vt_err *err) VT_MUST_USE;

#endif
