/* hierarchy=FILE: which class lies above which. A line is "CHILD TAB PARENT", names of classes; a class may have
 * several parents, on several lines, but never lie above itself. Inside data/ only.
 *
 * Names that are neither classes of the data nor lie above one are left out, so that one file serves many data sets. A
 * class is a leaf when FILE names it as nobody's parent, whatever the data hold. */
#ifndef VT_DATA_HIERARCHY_H
#define VT_DATA_HIERARCHY_H

#include "data/collection.h"

struct vt_hierarchy {
    bool *inner;     /* of each class: not a leaf */
    int64_t own;     /* classes before those that ancestors=on added */
    uint32_t *first; /* ancestors=on: class c has ancestors[first[c] .. first[c + 1] - 1], ascending; else NULL */
    int32_t *ancestors;
    size_t bytes;
};

/* ancestors: those of the data's classes become classes too (behind the others, sorted by bytes), and labels. */
vt_status vt_hierarchy_read(vt_collection *c, const char *path, bool ancestors, vt_err *err) VT_MUST_USE;
void vt_hierarchy_release(vt_hierarchy *h);

/* Adds the ancestors of n classes, ascending without repeats; room for room of them. Returns how many there are, which
 * may be more than there is room for. */
int vt_hierarchy_expand(const vt_hierarchy *h, int32_t *classes, int n, int room);
/* Ancestors of the class that has most. */
int vt_hierarchy_most(const vt_hierarchy *h, int64_t classes);

#endif
