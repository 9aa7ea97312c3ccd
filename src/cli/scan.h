/* Reading many samples of a source with all processors, and getting what was found in order. */
#ifndef VT_CLI_SCAN_H
#define VT_CLI_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/term.h"
#include "data/source.h"

/* One sample. Sums are over its pixels, by channel. */
typedef struct {
    int64_t index; /* in the source */
    vt_status status;
    char *why; /* the sentence, where status is not VT_OK */
    int64_t width, height;
    uint64_t sum[3], squares[3];
} vt_scan_sample;

typedef struct {
    const vt_source *source;
    int64_t n;   /* samples read, evenly spread over the source; at most its count */
    bool pixels; /* compute the sums */
    vt_term *term;
    const char *what;                                             /* of the progress line */
    void (*receive)(void *context, const vt_scan_sample *sample); /* in order of index, from one thread */
    void *context;
} vt_scan;

vt_status vt_scan_run(const vt_scan *scan, vt_err *err) VT_MUST_USE;

#endif
