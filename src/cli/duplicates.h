/* The same picture twice: in one source, or in two (a leak). Behind `vitro data check`. */
#ifndef VT_CLI_DUPLICATES_H
#define VT_CLI_DUPLICATES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "cli/term.h"
#include "data/similar.h"
#include "data/source.h"

/* A source that was read: a look of every image that is not bad. */
typedef struct {
    vt_source *source;
    vt_look *looks;
    bool *good;
    int64_t n, bad;
} vt_looked;

/* Room for the looks of source, which it then owns; refused where the looks do not fit into half of the memory. */
vt_status vt_looked_open(vt_looked *l, const char *spec, vt_err *err) VT_MUST_USE;
void vt_looked_close(vt_looked *l);

/* What was found: for each image of `set` at most one, in `other`. */
typedef struct {
    const vt_looked *set, *other; /* the same one: each image against those before it */
    vt_match *matches;            /* one an image of set */
    int64_t counts[VT_SAME_MIRRORED + 1], other_classes[VT_SAME_MIRRORED + 1]; /* by vt_same */
    int64_t total, cut_short;
} vt_duplicates;

/* near false: only what is the same byte for byte or pixel for pixel. */
vt_status vt_duplicates_find(vt_duplicates *d, const vt_looked *set, const vt_looked *other, bool near, vt_term *term,
                             vt_err *err) VT_MUST_USE;
void vt_duplicates_release(vt_duplicates *d);

/* To standard output: some of each kind, then the counts. */
void vt_duplicates_print(const vt_duplicates *d);
json_t *vt_duplicates_json(const vt_duplicates *d);
/* All of them as rows of CSV; the first line of the file is vt_duplicates_csv_header. */
extern const char vt_duplicates_csv_header[];
vt_status vt_duplicates_csv(const vt_duplicates *d, vt_atomic_file *out, vt_err *err) VT_MUST_USE;

#endif
