/* What the commands of `vitro data` share. */
#ifndef VT_CLI_CMD_DATA_H
#define VT_CLI_CMD_DATA_H

#include <stdint.h>
#include <stdio.h>

#include "data/source.h"

/* What `vitro data -h` adds to the list of commands: the forms of DATA. */
void vt_data_help(FILE *out);

/* The names of image i's classes with `between` between them, in place of what out held; none: "". */
void vt_data_class_names(const vt_source *s, int64_t i, const char *between, vt_text *out);
/* Images of every class; malloc'ed. */
int64_t *vt_data_class_counts(const vt_source *s);

#endif
