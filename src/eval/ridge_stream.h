/* What ridge.c and ridge_stream.c share. Inside eval/ only. */
#ifndef VT_EVAL_RIDGE_STREAM_H
#define VT_EVAL_RIDGE_STREAM_H

#include "eval/ridge.h"

#define VT_RIDGE_CONSTANT 100.0

/* The memory of vt_ridge_begin, add and end. */
void vt_ridge_place_stream(vt_ridge *r, vt_arena *arena);

/* r->deviation holds variances: becomes their roots and the 1e-5. */
vt_status vt_ridge_finish_deviation(vt_ridge *r, vt_err *err) VT_MUST_USE;

#endif
