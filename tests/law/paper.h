/* The paper's runs (paper-runs.csv), which lie beside the real data and not in the project: a test that needs them
 * skips itself, with the reason, where they are absent. */
#ifndef VT_TESTS_LAW_PAPER_H
#define VT_TESTS_LAW_PAPER_H

#include <stdbool.h>

#include "law/points.h"

/* False, with a line that says why, where the file is not there. */
bool paper_open(vt_table *t);
/* The points of one series, error against core-days. */
void paper_points(const vt_table *t, const char *where, vt_points *pts);

#endif
