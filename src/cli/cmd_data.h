/* What `vitro data -h` adds to the list of commands: the forms of DATA. */
#ifndef VT_CLI_CMD_DATA_H
#define VT_CLI_CMD_DATA_H

#include <stdio.h>

void vt_data_help(FILE *out);

#endif
