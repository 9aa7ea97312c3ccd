/* How results look: the lines and JSON members that several commands print alike. */
#ifndef VT_CLI_REPORT_H
#define VT_CLI_REPORT_H

#include <jansson.h>

#include "eval/calibrate.h"
#include "eval/classify.h"

/* Lines "top-1 ...", "top-5 ..." (where there are more than five classes), "error ...", "precision ..." (where images
 * have several classes) and "loss ..." on standard output. */
void vt_report_classification(const vt_classification *c);

/* Members count, without_class, top1, top5 (value, low, high, right), error and loss; precision where images have
 * several classes. */
void vt_report_classification_json(json_t *root, const vt_classification *c);

/* A table of temperatures with errors before and after; and the same with the bins. */
void vt_report_calibration(const vt_calibration *c);
json_t *vt_report_calibration_json(const vt_calibration *c);

/* {"value", "low", "high"} */
json_t *vt_report_estimate_json(vt_estimate e);

#endif
