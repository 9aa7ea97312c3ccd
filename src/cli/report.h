/* How results look: the lines and JSON members that several commands print alike. */
#ifndef VT_CLI_REPORT_H
#define VT_CLI_REPORT_H

#include <jansson.h>

#include "eval/classify.h"

/* Lines "top-1 ...", "top-5 ..." (where there are more than five classes) and "loss ..." on standard output. */
void vt_report_classification(const vt_classification *c);

/* Members count, top1, top5 (value, low, high, right) and loss. */
void vt_report_classification_json(json_t *root, const vt_classification *c);

/* {"value", "low", "high"} */
json_t *vt_report_estimate_json(vt_estimate e);

#endif
