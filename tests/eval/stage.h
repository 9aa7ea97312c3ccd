/* What the tests of eval/ run on: a tiny model with drawn weights, a synthetic source, and the arena of a pass. */
#ifndef TESTS_EVAL_STAGE_H
#define TESTS_EVAL_STAGE_H

#include "eval/pass.h"
#include "rig.h"

#define STAGE_WIDTH 16 /* of the model */

typedef struct {
    rig rig;
    vt_source *source;
    vt_preprocess preprocess;
    vt_arena memory;
    vt_eval_pass pass;
} stage;

/* A model for micro-batches of `samples` images of 8 x 12 pixels (height x width) in `classes` classes, and the source
 * of that SPEC. */
void stage_open(stage *s, const char *spec, int64_t classes, int64_t samples, int threads);
void stage_close(stage *s);

/* Features (count, width) and logits (count, classes) of all samples, one by one, without loader and pass; malloc'ed.
 */
void stage_direct(stage *s, float **features, float **logits);

/* Writes a file for labels=FILE of `count` shapes: sample i gets lists[i % n]. The caller unlinks it. */
void stage_write_labels(char file[256], int64_t count, const char *const *lists, int n);

/* Makes one weight of the model not a number. */
void stage_spoil(stage *s);

#endif
