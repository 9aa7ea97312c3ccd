/* exclude=FILE: images to leave out, a name a line, as in labels=FILE: the path below PATH (folder, csv), the KEY (wds)
 * or the index in the collection, from 0 (idx, synthetic). Inside data/ only. */
#ifndef VT_DATA_EXCLUDE_H
#define VT_DATA_EXCLUDE_H

#include "data/collection.h"

/* Takes the images of the file out of *chosen (n of them; NULL: all), which is replaced. A name that no image of the
 * collection has, or two have, is an error, as is leaving out all. */
vt_status vt_exclude(const vt_collection_kind *kind, const vt_collection *c, const char *path, uint32_t **chosen,
                     int64_t *n, vt_err *err) VT_MUST_USE;

#endif
