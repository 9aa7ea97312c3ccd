/* The choice of samples that split= and limit= make; inside data/ only. */
#ifndef VT_DATA_SELECT_H
#define VT_DATA_SELECT_H

#include <stdint.h>

#include "base/status.h"
#include "data/collection.h"

/* The keyed order of a collection lists every class at an even pace, so that any stretch of it holds all classes in
 * proportion (several labels: by the first; none: a class of its own): member j (in the class's keyed permutation) of a
 * class with n members stands at (2j + 1) / 2n; classes that tie take turns by a permutation keyed by j.
 *
 * A split never parts samples with the same bytes: in it all of them stand directly behind the first of them in this
 * order, and a cut that would fall between them moves behind the last. Without such samples nothing changes.
 *
 * Writes the samples at positions [count * from, count * to) of it, at most limit of them, in rising order, into
 * *chosen (malloc'ed, the caller's; *n of them). The result depends on labels, counts and, for
 * splits, equal samples alone. */
vt_status vt_select(const vt_collection_kind *kind, const vt_collection *c, int64_t from, int64_t to, int64_t limit,
                    uint32_t **chosen, int64_t *n, vt_err *err) VT_MUST_USE;

#endif
