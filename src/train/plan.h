/* The plan of a run: every byte of memory by line, before anything is allocated. The same functions place the tensors
 * (engine.c), first over counting arenas and then over memory, so plan and run cannot disagree. */
#ifndef VT_TRAIN_PLAN_H
#define VT_TRAIN_PLAN_H

#include "train/engine.h"
#include "train/recipe.h"

#define VT_MAX_PLAN_LINES 16

typedef struct {
    const char *name; /* "parameters", "gradients", ... */
    size_t bytes;
    bool exact; /* an arena: the run's high-water mark equals it to the byte; else what open sources keep */
} vt_plan_line;

typedef struct {
    vt_plan_line lines[VT_MAX_PLAN_LINES];
    int n_lines;
    size_t total;        /* all lines */
    size_t machine;      /* memory that this machine allows */
    size_t decoders;     /* beyond the total, for the moment: what decoding the largest images allowed would take */
    int64_t micro_batch; /* chosen or given */
} vt_plan;

/* Plans a training run; t->micro_batch = 0 is replaced by the choice of `auto`. VT_ENOMEM, with the lines in the
 * message, where it does not fit. source_bytes: what open sources keep; decode_bytes: the largest decoded image of a
 * source. */
vt_status vt_plan_training(vt_training *t, const vt_isa *isa, size_t source_bytes, size_t decode_bytes, vt_plan *plan,
                           vt_err *err) VT_MUST_USE;

/* The engine that the plan was made for: t after vt_plan_training. */
vt_engine_options vt_plan_engine_options(const vt_training *t, const vt_isa *isa);

#endif
