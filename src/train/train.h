/* Training: from a recipe to a run folder that holds recipe.yaml, metrics.jsonl, log.txt and checkpoints/; run again,
 * it goes on where it stopped, to the same bytes. */
#ifndef VT_TRAIN_TRAIN_H
#define VT_TRAIN_TRAIN_H

#include "eval/classify.h"
#include "train/checkpoint.h"
#include "train/recipe.h"

/* What the live line shows. */
typedef struct {
    int64_t step, steps, images;
    double loss, accuracy; /* of the last logged step's batch */
    double lr, grad_norm;
    double images_per_second; /* since the last report */
    double data_wait;         /* share of the time spent waiting for the loader */
    double seconds_left;
    bool has_eval;
    vt_estimate eval_top1; /* of the last evaluation */
    const char *phase;     /* "train", "eval", "save" */
} vt_progress;

typedef struct {
    void (*progress)(void *context, const vt_progress *p); /* called often; or NULL */
    void *context;
    int (*stop)(void);       /* nonzero (a signal's number): finish the step, save, return VT_ESTOPPED; or NULL */
    uint32_t shuffle_chunks; /* for tests: nonzero makes threads claim work in an order drawn from it; the bytes must
                                not change */
} vt_train_observer;

typedef struct {
    bool evaluated;
    vt_classification final_eval;       /* released by vt_train_result_release */
    int64_t step, images, resumed_from; /* resumed_from -1: a new run */
    int64_t bad;                        /* images of data.train that the run found bad so far (data.max_bad) */
    int64_t data_images;                /* and how many it has */
    int skipped;                        /* updates that the run left out so far (train.on_divergence) */
    double seconds;                     /* of this call */
    double images_per_second;           /* of training steps in this call */
    double last_loss;
    char *checkpoint;                    /* folder; malloc'ed */
    size_t plan_total;                   /* all lines of the plan */
    size_t plan_bytes, high_water_bytes; /* its exact lines; the arenas' mark, the same to the byte */
    size_t resident_anonymous;           /* at the end */
} vt_train_result;
void vt_train_result_release(vt_train_result *r);

/* Trains recipe in folder run; fresh: instead of going on with the run that is there, which is removed once the new one
 * is known to be possible. VT_ESTOPPED: stopped and saved. VT_EDIVERGED: the message names what was not finite. */
vt_status vt_train(vt_recipe *recipe, const char *run, bool fresh, const vt_train_observer *observer,
                   vt_train_result *result, vt_err *err) VT_MUST_USE;

#endif
