/* A fit as a file: everything that it rests on (points, rule, loss, starts, what was left out, versions, the table's
 * hash), so that it can be checked, quoted, and used again by `vitro law plan`. Reading one fits the points anew: the
 * parameters in the file are for people. */
#ifndef VT_LAW_RECORD_H
#define VT_LAW_RECORD_H

#include <jansson.h>

#include "law/law.h"

/* What a record needs beside the law; texts are borrowed on writing, owned by the record on reading. */
typedef struct {
    char *table, *x, *y, *where, *x_unit;
    vt_y_unit y_unit;
    vt_calibration cal;
    double seed_sd; /* NaN: none */
} vt_record;

/* The whole fit as JSON; a new reference. t may be NULL (a fit that was read from a file). */
json_t *vt_record_json(const vt_record *r, const vt_law *law, const vt_points *pts, const vt_table *t);

/* Calibrations alone, as `law backtest --out` writes them. */
json_t *vt_calibration_json(const vt_calibration *cal);
vt_status vt_calibration_load(vt_calibration *cal, const char *path, vt_err *err) VT_MUST_USE;

vt_status vt_record_load(vt_record *r, vt_law *law, const char *path, vt_err *err) VT_MUST_USE;
void vt_record_release(vt_record *r);

#endif
