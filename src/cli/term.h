/* Standard error as a person sees it: one live line on a terminal, plain lines every few seconds elsewhere, and the
 * sentences of errors and logs between them. NO_COLOR, COLUMNS and TERM=dumb are obeyed. Thread-safe. */
#ifndef VT_CLI_TERM_H
#define VT_CLI_TERM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/attr.h"

typedef struct vt_term vt_term;

/* Looks at standard error and the environment, and becomes the receiver of log lines. */
vt_term *vt_term_new(void);
void vt_term_free(vt_term *t);

/* Whether a line of progress is due now: ten a second on a terminal, one in five seconds elsewhere. */
bool vt_term_due(vt_term *t);
/* Shows a line of progress: over the one before it on a terminal, cut to its width. */
void vt_term_progress(vt_term *t, const char *fmt, ...) VT_PRINTF(2, 3);
/* Removes the live line, so that something else can be printed. */
void vt_term_clear(vt_term *t);

/* A line that stays. */
void vt_term_note(vt_term *t, const char *fmt, ...) VT_PRINTF(2, 3);
/* "vitro COMMAND: sentence"; command may be NULL. */
void vt_term_error(vt_term *t, const char *command, const char *sentence);

/* From now on lines that stay are also appended to a file, with the time in UTC before them; header is the first. The
 * file is opened when its first line comes: its folder may not exist yet. path NULL ends it. */
void vt_term_keep_log(vt_term *t, const char *path, const char *header);
/* A line for that file alone. */
void vt_term_log(vt_term *t, const char *fmt, ...) VT_PRINTF(2, 3);

/* The progress of counted work; vt_term_count fits the `progress` of eval passes, with a vt_term_counter as context. */
typedef struct {
    vt_term *term;
    const char *what; /* "evaluating" */
    int64_t start_ns;
    int64_t done; /* at the last call; fewer than that begin a new count */
} vt_term_counter;

vt_term_counter vt_term_counting(vt_term *t, const char *what);
void vt_term_count(void *counter, int64_t done, int64_t total);

#endif
