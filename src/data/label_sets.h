/* labels=FILE: the classes of every sample from a text file, none or several, instead of those that the kind knows. A
 * row for each sample of the collection, in any order:
 *
 *   NAME [TAB CLASS [TAB or comma CLASS]...]
 *
 * NAME is the path below PATH (folder), the KEY (wds) or the index, counted from 0 (idx, synthetic). CLASS is the name
 * of a class, or a number from 0 where the source's classes have no names; a name that holds a comma must stand between
 * TABs.
 *
 * A file that ends in .csv has a header with columns `path` (or `name`, `key`) and `label` (or `labels`, `class`), in
 * which several classes stand between ';' or '|'. A file that begins with '[' is JSON, a list for each sample of
 * numbers or names, as the ReaL labels of ImageNet are: numbers are places in the source's order of classes, and lists
 * belong to the samples in the order of their file names without folders (idx, synthetic: of the indices), so that
 * class folders change nothing. JSON is at most 64 bytes and 4096 a sample long (1 MiB is always allowed), since it is
 * parsed as a whole. Inside data/ only. */
#ifndef VT_DATA_LABEL_SETS_H
#define VT_DATA_LABEL_SETS_H

#include "data/collection.h"

/* Reads the file into c->labels. Where classes have no names there are then as many as its largest number needs. */
vt_status vt_label_sets_read(const vt_collection_kind *kind, vt_collection *c, const char *path,
                             vt_err *err) VT_MUST_USE;
void vt_label_sets_release(vt_label_sets *labels);

/* The classes of sample i, ascending: those of the file, or the one that the kind knows. Returns how many. */
int vt_label_sets_of(const vt_collection_kind *kind, const vt_collection *c, int64_t i, int32_t classes[VT_MAX_LABELS]);
/* The first of them, or -1. */
int64_t vt_label_sets_first(const vt_collection_kind *kind, const vt_collection *c, int64_t i);

#endif
