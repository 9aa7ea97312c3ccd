/* What the tests of eval/ run on: a tiny model with drawn weights, a synthetic source, and the arena of a pass. */
#ifndef TESTS_EVAL_STAGE_H
#define TESTS_EVAL_STAGE_H

#include "eval/pass.h"
#include "rig.h"

#define STAGE_WIDTH 16

typedef struct {
    rig rig;
    vt_source *source;
    vt_preprocess preprocess;
    vt_arena memory;
    vt_eval_pass pass;
} stage;

/* A model for micro-batches of `samples` images of 8 x 8 pixels in `classes` classes, and the source of that SPEC. */
void stage_open(stage *s, const char *spec, int64_t classes, int64_t samples, int threads);
void stage_close(stage *s);

/* Features (count, width) and logits (count, classes) of all samples, one by one, without loader and pass; malloc'ed.
 */
void stage_direct(stage *s, float **features, float **logits);

/* Makes one weight of the model not a number. */
void stage_spoil(stage *s);

#endif
