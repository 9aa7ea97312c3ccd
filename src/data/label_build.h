/* Labels as a kind finds them in its files, sample by sample, as numbers or as names, turned into classes at the end:
 *
 *   names      classes are those of classes=FILE, else the distinct names sorted by bytes
 *   numbers    classes are bare numbers, or have the names that classes=FILE lists in order
 *   either     (a text) names where classes=FILE lists all of them, or where one of them is no whole number;
 *              else numbers
 *
 * Numbers and names do not mix. Inside data/ only. */
#ifndef VT_DATA_LABEL_BUILD_H
#define VT_DATA_LABEL_BUILD_H

#include "data/collection.h"
#include "data/names.h"

#define VT_MAX_LABEL_BYTES 1000

typedef enum { VT_LABEL_EITHER, VT_LABEL_NUMBER, VT_LABEL_NAME, VT_LABEL_FORMS } vt_label_form;

/* {0} to begin with. */
typedef struct {
    vt_names texts; /* a number is its digits */
    int64_t *first; /* sample that had each text first */
    int64_t first_capacity;
    int64_t of_form[VT_LABEL_FORMS]; /* one more than the first sample that has a label of it; 0: none */
    vt_label_row *rows;              /* once a sample had another number of labels than one */
    int32_t *labels;                 /* numbers of texts */
    int64_t n_samples, samples_capacity, n_labels, labels_capacity;
    uint32_t open; /* labels of the sample that has not ended */
} vt_label_build;

/* One more label of the sample that is being read. */
vt_status vt_label_build_add(vt_label_build *b, vt_label_form form, const char *s, size_t n, vt_err *err) VT_MUST_USE;
vt_status vt_label_build_number(vt_label_build *b, int64_t number, vt_err *err) VT_MUST_USE;
/* Ends the sample. */
vt_status vt_label_build_end(vt_label_build *b, vt_err *err) VT_MUST_USE;

/* Fills c->classes, class_names and labels; the kind must be able to name its samples by now. Messages name file and
 * sample. */
vt_status vt_label_build_finish(vt_label_build *b, const vt_collection_kind *kind, vt_collection *c,
                                const vt_spec *spec, vt_err *err) VT_MUST_USE;
void vt_label_build_release(vt_label_build *b);

#endif
