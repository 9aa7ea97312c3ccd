/* Ridge regression on features, in double precision (spec 6.1): with X (n, width + 1) the standardised features and a
 * constant feature of 100, Y (n, classes) +1 for an image's class and -1 for the others,
 *   W = (X'X + l2 I)^-1 X'Y        when n >= width + 1
 *   W = X' (XX' + l2 I)^-1 Y       when n <  width + 1, the same W from the smaller matrix
 * A prediction is the class of the largest score x W, the first one on ties.
 * Standardised: (x - mean) / (deviation + 1e-5) with the training set's mean and population deviation.
 * Sums have an order fixed by shapes: threads change nothing.
 *
 * The system comes from a set in memory (vt_ridge_build), or from any number of images as they come (vt_ridge_begin,
 * add, end; the form for n >= width + 1, in memory that does not grow with n). It is solved for one l2 by Cholesky
 * decomposition (vt_ridge_fit: build, then solve), or, placed for a sweep, decomposed once (tridiagonal.h) and solved
 * for any number of them. */
#ifndef VT_EVAL_RIDGE_H
#define VT_EVAL_RIDGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/pool.h"
#include "base/status.h"
#include "eval/tridiagonal.h"

/* Host memory, borrowed. */
typedef struct {
    int64_t count;         /* n */
    const float *features; /* (n, width) */
    const int32_t *labels; /* (n), 0 .. classes - 1 */
} vt_feature_set;

typedef struct {
    /* set before vt_ridge_place */
    int64_t width, classes;
    bool sweep;    /* for several l2 */
    bool streamed; /* images come by vt_ridge_add */
    double l2;     /* lambda, > 0: 1024 in the paper's code base; on the constant feature too */
    /* placed; ridge.c says what is in them */
    double *mean, *deviation; /* (width); deviation with the 1e-5 */
    double *weights;          /* (width + 1, classes) in panels: read it through vt_ridge_weight */
    double *x, *dual, *scratch, *rotated;
    vt_tridiagonal system; /* its a is the Gram matrix, with sweep or without */
    double *shift, *sums, *block;
    int64_t *counts;
    float *pending;
    int32_t *pending_labels;
    int n_pending;
    int64_t n;
    bool wide; /* n < width + 1 */
} vt_ridge;

/* Bytes that fitting up to n_max images with a pool of that many threads takes at most. */
size_t vt_ridge_bytes(const vt_ridge *r, int64_t n_max, int threads);

/* Takes memory for fitting n >= 1 images; streamed, for any number. */
void vt_ridge_place(vt_ridge *r, vt_arena *arena, int64_t n, int threads);

/* The system of a set in memory; train->count is the n of vt_ridge_place. VT_EDIVERGED: a feature is not finite. */
vt_status vt_ridge_build(vt_ridge *r, const vt_feature_set *train, vt_pool *pool, vt_err *err) VT_MUST_USE;

/* The same from images in any number of parts: the result does not depend on how they are cut. VT_EINVAL: fewer than
 * width + 1 of them. */
void vt_ridge_begin(vt_ridge *r);
void vt_ridge_add(vt_ridge *r, const vt_feature_set *part, vt_pool *pool);
vt_status vt_ridge_end(vt_ridge *r, vt_pool *pool, vt_err *err) VT_MUST_USE;

/* W for r->l2, once for a system, or, of one placed for a sweep, as often as wanted after vt_ridge_decompose.
 * VT_EINVAL: l2 is too small for the features. */
void vt_ridge_decompose(vt_ridge *r, vt_pool *pool);
vt_status vt_ridge_solve(vt_ridge *r, vt_pool *pool, vt_err *err) VT_MUST_USE;

/* vt_ridge_build, then vt_ridge_solve. */
vt_status vt_ridge_fit(vt_ridge *r, const vt_feature_set *train, vt_pool *pool, vt_err *err) VT_MUST_USE;

/* Element of W; feature `width` is the constant. */
double vt_ridge_weight(const vt_ridge *r, int64_t feature, int64_t class);

/* The class of each of n rows of features (n, width). */
void vt_ridge_predict(const vt_ridge *r, const float *features, int64_t n, vt_pool *pool, int32_t *classes);

#endif
