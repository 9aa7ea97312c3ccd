/* Samples whose stored bytes are the same; inside data/ only. */
#ifndef VT_DATA_TWINS_H
#define VT_DATA_TWINS_H

#include "data/collection.h"

/* For each sample the first one with the same bytes (itself where there is none before it), malloc'ed; NULL where no
 * two are alike. Only samples of equal size are read, by all processors; what was found is kept in the cache as long as
 * no file changes. A sample that cannot be read is like no other; then nothing is kept, and the log says so. */
vt_status vt_twins_find(const vt_collection_kind *kind, const vt_collection *c, uint32_t **first,
                        vt_err *err) VT_MUST_USE;

#endif
