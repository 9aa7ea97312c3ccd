/* Log lines. Below cli/ nothing writes to stdout or stderr: a line goes to the callback that the program set (cli/
 * prints it and copies it into a run's log.txt). Thread-safe; the callback gets one line at a time, without newline (a
 * text of several lines comes as several), and must not log itself. */
#ifndef VT_BASE_LOG_H
#define VT_BASE_LOG_H

#include "base/attr.h"

typedef enum { VT_LOG_ERROR, VT_LOG_WARN, VT_LOG_INFO, VT_LOG_DEBUG } vt_log_level;

typedef void vt_log_fn(void *context, vt_log_level level, const char *line);

/* Sets the receiver of lines up to and including max_level; fn NULL drops all. Call it before threads start. */
void vt_log_set(vt_log_fn *fn, void *context, vt_log_level max_level);

void vt_log(vt_log_level level, const char *fmt, ...) VT_PRINTF(2, 3);

#endif
