/* One pass of a source through a model: read, preprocess, forward, and hand each micro-batch's results to a receiver.
 * Classification, few-shot and embeddings are receivers. */
#ifndef VT_EVAL_PASS_H
#define VT_EVAL_PASS_H

#include "data/loader.h"
#include "model/model.h"

typedef struct {
    vt_model *model; /* placed with activations for model->samples images */
    const vt_backend *backend;
    const vt_source *source;
    const vt_preprocess *preprocess; /* without randomness */
    vt_pixel_range pixels;
    vt_loss_kind loss; /* that a classification tells, without smoothing or weights */
    int workers, slices;
    const int32_t
        *label_map; /* class of the source -> class that receivers see (the model's), or NULL where they are the same */
    const uint8_t *among; /* (classes of the model) 1: a classification predicts and counts it (say, those of a data
                           * set); or NULL: every class */
    const int64_t *picks; /* sample indices to run, in order, or NULL for all */
    int64_t n_picks;
    vt_arena *memory; /* ring and host copies are taken from here (see vt_eval_place) and given back */
    void (*progress)(void *context, int64_t done, int64_t total); /* or NULL */
    void *progress_context;
    int (*stop)(void);      /* asked between micro-batches; nonzero ends the pass with VT_ESTOPPED; or NULL */
    vt_bad_list *bad;       /* samples that cannot be used and are left out; NULL: the first one is an error */
    vt_loader_board *board; /* notes of the pass's workers; or NULL */
} vt_eval_pass;

/* Results of samples (a bad one is never among them) position .. position + count - 1 of the pass, host memory, valid
 * during the call. */
typedef struct {
    int64_t position, count;
    int64_t row;           /* of the model's micro-batch, at which these begin: not 0 behind a bad sample */
    const float *features; /* (count, width) */
    const float *logits;   /* (count, classes); NULL where the model has no classifier */
    const int32_t *labels; /* (count, width_labels): the classes of each, ascending, then -1; through label_map */
    int width_labels;
} vt_eval_rows;

/* pass->model still holds this micro-batch; its m->images may be overwritten once the receiver returns. */
typedef vt_status vt_eval_fn(void *context, const vt_eval_rows *rows, vt_err *err);

/* Counts (or takes) what a pass needs from an arena, for the plan: bytes grow with the micro-batch, not with the set.
 */
void vt_eval_place(vt_arena *arena, const vt_model *model, int64_t samples);

/* Runs samples in order, in micro-batches of model->samples, the last one shorter. A receiver that fails ends the pass.
 */
vt_status vt_eval_run(const vt_eval_pass *pass, vt_eval_fn *receive, void *context, vt_err *err) VT_MUST_USE;

/* The name of the sample at a position of the pass, into buf. */
const char *vt_eval_name(const vt_eval_pass *pass, int64_t position, char *buf, size_t size);

/* VT_EDIVERGED names the first image of the rows with a feature that is not finite. */
vt_status vt_eval_check_features(const vt_eval_pass *pass, const vt_eval_rows *rows, vt_err *err) VT_MUST_USE;

#endif
