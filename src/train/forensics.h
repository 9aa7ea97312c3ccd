/* A bad number is evidence: one update looked at tensor by tensor, and what was bad first, in the order of work.
 *
 * Updates count as metrics.jsonl does: update 1 is the first, and after update N the run stands at step N. An update is
 * a function of the parameters before it and of its images, so it can be done again at any time. */
#ifndef VT_TRAIN_FORENSICS_H
#define VT_TRAIN_FORENSICS_H

#include "train/train.h"

#define VT_MAX_NAMED 1024 /* samples that are kept by name */

/* What a tensor holds; smallest, largest and rms over its finite numbers. count 0: it was not looked at. */
typedef struct {
    double smallest, largest, rms;
    int64_t count, not_finite;
} vt_range;

/* A tensor that a pass wrote, over all micro-batches. */
typedef struct {
    char name[96]; /* "blocks.3.attn.qkv"; a gradient is the one of the tensor that is named */
    int64_t part;  /* -1: embedding; 0 .. depth-1: block; depth: head */
    bool backward;
    vt_range range;
    double squares; /* sum, finite numbers */
} vt_seen_tensor;

typedef struct {
    char name[64];
    int64_t part;
    bool frozen;
    vt_range before, gradient, after; /* after: where the update was applied */
    double change_rms;                /* of what it added */
} vt_seen_param;

/* A block's attention, over all micro-batches, samples and heads. */
typedef struct {
    double largest_score, least_entropy;
} vt_seen_attention;

/* The first tensor, in the order of work, that holds a number which is not finite. */
typedef struct {
    bool found;
    char name[112]; /* as above, but "grad NAME" for a gradient; "NAME after the update" */
    int64_t part;
    int64_t micro_batch; /* 0, 1, ...; -1: a parameter, which belongs to none */
    int64_t count, not_finite;
    char before[112];         /* the tensor written just before it, "" for none, */
    double before_largest;    /* and its largest magnitude */
    int64_t parts, parts_bad; /* samples of the micro-batch, and those whose part is not finite; all where a tensor
                               * cannot be told apart by samples */
    bool told_apart;
    char **samples; /* names of the latter, at most VT_MAX_NAMED */
    int n_samples;
} vt_first_bad;

typedef struct {
    int64_t update, batch, micro_batch, depth;
    double loss, grad_norm, lr;
    bool applied;            /* the update was done in memory */
    vt_seen_tensor *tensors; /* forward, then backward, in the order of work */
    int n_tensors;
    vt_seen_param *params;
    int n_params;
    vt_seen_attention *attention; /* depth of them */
    vt_first_bad bad;

    /* of vt_replay: */
    char *checkpoint;                    /* that it began with; NULL: the first values */
    int64_t from_step;                   /* of it */
    double recorded_loss, recorded_norm; /* what metrics.jsonl tells of this update; NaN where it tells nothing */
} vt_evidence;
void vt_evidence_release(vt_evidence *ev);

/* Does update number `update` of a run again, from the newest checkpoint before it, and looks at it. The run is only
 * read, and may be in training at the same time. VT_ESTOPPED when the observer's stop says so. */
vt_status vt_replay(vt_recipe *recipe, const char *run, int64_t update, const vt_train_observer *observer,
                    vt_evidence *ev, vt_err *err) VT_MUST_USE;

#endif
