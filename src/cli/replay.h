/* How one update that was looked at is shown: tables on standard output, or JSON. */
#ifndef VT_CLI_REPLAY_H
#define VT_CLI_REPLAY_H

#include <stdbool.h>

#include "train/forensics.h"

/* all: every tensor instead of the worst one of each block. */
void vt_replay_print(const char *run, const vt_evidence *ev, bool all);
void vt_replay_print_json(const char *run, const vt_evidence *ev);

#endif
