/* The list of bad samples: a sorted array, since it is short and asked rarely. */
#include "data/bad.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

void vt_bad_release(vt_bad_list *b)
{
    free(b->samples);
    b->samples = NULL;
    b->count = b->capacity = 0;
}

/* How many of the list lie below sample. */
static int64_t place_of(const vt_bad_list *b, int64_t sample)
{
    int64_t low = 0, high = b->count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (b->samples[middle] < sample)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool vt_bad_has(const vt_bad_list *b, int64_t sample)
{
    int64_t at = place_of(b, sample);
    return at < b->count && b->samples[at] == sample;
}

void vt_bad_add(vt_bad_list *b, int64_t sample)
{
    int64_t at = place_of(b, sample);
    if (at < b->count && b->samples[at] == sample)
        return;
    if (b->count == b->capacity) {
        b->capacity = b->capacity ? 2 * b->capacity : 64;
        b->samples = vt_xrealloc(b->samples, (size_t)b->capacity * sizeof *b->samples);
    }
    memmove(b->samples + at + 1, b->samples + at, (size_t)(b->count - at) * sizeof *b->samples);
    b->samples[at] = sample;
    b->count++;
}

vt_status vt_bad_note(vt_bad_list *b, int64_t sample, const vt_err *why, vt_err *err)
{
    assert(b->limit >= 0 && b->limit <= VT_MAX_BAD);
    if (vt_bad_has(b, sample))
        return VT_OK;
    if (b->limit == 0)
        return vt_fail(err, why->code, "%s", why->msg);
    if (b->count >= b->limit)
        return vt_fail(err, why->code,
                       "%lld images could not be used, which is all that %s allows, and here is another: %s; `vitro "
                       "data check` names all of them; repair or remove them, or raise %s",
                       (long long)b->count, b->name, why->msg, b->name);
    vt_bad_add(b, sample);
    if (b->tell)
        b->tell(b->context, sample, b->count <= VT_BAD_NAMED ? why->msg : NULL);
    return VT_OK;
}
