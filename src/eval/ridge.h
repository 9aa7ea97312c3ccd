/* Ridge regression on features, in double precision (spec 6.1): with X (n, width + 1) the standardised features and a
 * constant feature of 100, Y (n, classes) +1 for an image's class and -1 for the others,
 *   W = (X'X + l2 I)^-1 X'Y        when n >= width + 1
 *   W = X' (XX' + l2 I)^-1 Y       when n <  width + 1, the same W from the smaller matrix
 * by Cholesky decomposition. A prediction is the class of the largest score x W, the first one on ties.
 * Standardised: (x - mean) / (deviation + 1e-5) with the training set's mean and population deviation.
 * Sums have an order fixed by shapes: threads change nothing. */
#ifndef VT_EVAL_RIDGE_H
#define VT_EVAL_RIDGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/pool.h"
#include "base/status.h"

/* Host memory, borrowed. */
typedef struct {
    int64_t count;         /* n */
    const float *features; /* (n, width) */
    const int32_t *labels; /* (n), 0 .. classes - 1 */
} vt_feature_set;

typedef struct {
    /* set before vt_ridge_place */
    int64_t width, classes;
    double l2; /* lambda, > 0: 1024 in the paper's code base; on the constant feature too */
    /* placed */
    double *mean, *deviation; /* (width); deviation with the 1e-5 */
    double *weights;          /* (width + 1, classes) as ridge.c lays it out: read it through vt_ridge_weight */
    double *x, *gram, *dual, *scratch;
} vt_ridge;

/* Bytes that fitting up to n_max images with a pool of that many threads takes at most. */
size_t vt_ridge_bytes(const vt_ridge *r, int64_t n_max, int threads);

/* Takes memory for fitting n >= 1 images. */
void vt_ridge_place(vt_ridge *r, vt_arena *arena, int64_t n, int threads);

/* train->count is the n of vt_ridge_place. VT_EDIVERGED: a feature is not finite; VT_EINVAL: l2 is too small for them.
 */
vt_status vt_ridge_fit(vt_ridge *r, const vt_feature_set *train, vt_pool *pool, vt_err *err) VT_MUST_USE;

/* Element of W; feature `width` is the constant. */
double vt_ridge_weight(const vt_ridge *r, int64_t feature, int64_t class);

/* The class of each of n rows of features (n, width). */
void vt_ridge_predict(const vt_ridge *r, const float *features, int64_t n, vt_pool *pool, int32_t *classes);

#endif
