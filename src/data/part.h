/* One SPEC of a source, opened: its kind's collection, the samples that split= and limit= choose of it, and where they
 * lie in the source. A source has one part, or several that are joined by " + ". Inside data/ only. */
#ifndef VT_DATA_PART_H
#define VT_DATA_PART_H

#include "data/collection.h"

#define VT_MAX_PARTS 64
/* Weights are whole numbers of millionths. */
#define VT_WEIGHT_ONE 1000000

typedef struct {
    const vt_collection_kind *kind;
    vt_collection all;
    vt_spec spec;
    uint32_t *chosen; /* of all, or NULL: every sample */
    int64_t count;
    int64_t first;    /* the source's index of sample 0 */
    int32_t *classes; /* the source's class for each of the part's; NULL: the same */
    int64_t weight;   /* its share of the draws, in VT_WEIGHT_ONE; 0 where none is given */
} vt_part;

/* Opens one SPEC (of the first n bytes of text). Whatever happens, vt_part_close must follow. */
vt_status vt_part_open(vt_part *p, const char *text, size_t n, vt_err *err) VT_MUST_USE;
void vt_part_close(vt_part *p);

/* Sample i of the part, 0 .. count-1, as the collection counts. */
int64_t vt_part_sample(const vt_part *p, int64_t i);
/* The source's classes of its sample i, ascending. Returns how many. */
int vt_part_labels(const vt_part *p, int64_t i, int32_t classes[VT_MAX_LABELS]);
/* The one with the lowest number among the collection's own classes (no ancestors), or -1. */
int64_t vt_part_label(const vt_part *p, int64_t i);

#endif
