/* Working on many samples of a source with all processors, and getting what was found in order. */
#ifndef VT_CLI_SCAN_H
#define VT_CLI_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "cli/term.h"
#include "data/source.h"

/* One sample, as `receive` gets it. */
typedef struct {
    int64_t index; /* in the source */
    vt_status status;
    char *why;  /* the sentence, where status is not VT_OK */
    void *item; /* what `work` made: item_bytes, zero before it */
} vt_scan_sample;

/* A worker's buffers. */
typedef struct {
    vt_read_buffer buffer;
    vt_image spare;
} vt_scan_tools;

typedef struct {
    const vt_source *source;
    int64_t first, end; /* positions */
    /* The sample at a position; NULL: position i is sample i. */
    int64_t (*sample)(const void *context, int64_t position);
    size_t item_bytes;
    /* In any thread: one sample, from tools to item. */
    vt_status (*work)(void *context, int64_t index, vt_scan_tools *tools, void *item, vt_err *err);
    /* In order, in the caller's thread; a failure ends the scan. */
    vt_status (*receive)(void *context, const vt_scan_sample *sample, vt_err *err);
    /* What an item holds is given back; after receive, or without it when the scan has failed. May be NULL. */
    void (*drop)(void *context, void *item);
    void *context;
    vt_term *term;
    const char *what; /* of the progress line */
} vt_scan;

vt_status vt_scan_run(const vt_scan *scan, vt_err *err) VT_MUST_USE;

/* A `work` step that most begin with: sample `index` decoded whole, upright, into tools->buffer.image. The file stays
 * in tools->buffer.bytes; *file tells whether there is one. */
vt_status vt_scan_load(const vt_source *source, int64_t index, vt_scan_tools *tools, bool *file,
                       vt_err *err) VT_MUST_USE;

#endif
