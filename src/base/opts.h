/* Command-line options from a table: long names with a value or without, positional arguments, `-h` from the same rows.
 */
#ifndef VT_BASE_OPTS_H
#define VT_BASE_OPTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/text.h"

typedef struct {
    const char *name; /* "json": matches --json; a one-letter name "o" matches -o and --o */
    const char
        *metavar; /* NULL: a switch, value points to bool; else value points to const char * (the last one given) */
    void *value;
    const char *help;
} vt_opt;

/* Parses argv[0..argc) (without program and command name). "--name=value", "--name value"; "--" ends options; what is
 * no option is appended to args (at least argc entries). -h and --help set *help. An unknown option names the nearest.
 */
vt_status vt_opts_parse(const vt_opt *opts, size_t n, int argc, char **argv, const char **args, int *n_args, bool *help,
                        vt_err *err) VT_MUST_USE;

/* The lines of "Options:" for -h. */
void vt_opts_help(const vt_opt *opts, size_t n, vt_text *out);

#endif
