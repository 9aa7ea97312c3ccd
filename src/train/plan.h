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

/* What the data take beside the engine's arenas, bytes. */
typedef struct {
    size_t sources; /* what open sources keep */
    size_t decode;  /* the largest decoded image of a source, for one reader */
    size_t fewshot; /* features and fit of few-shot accuracy on the way */
} vt_plan_data;

/* Plans a training run; t->micro_batch = 0 is replaced by the choice of `auto`. VT_ENOMEM, with the lines in the
 * message, where it does not fit. */
vt_status vt_plan_training(vt_training *t, const vt_isa *isa, const vt_plan_data *data, vt_plan *plan,
                           vt_err *err) VT_MUST_USE;

/* What each optimizer would keep for this model (without averages), in the order of vt_optimizer_kinds, and the
 * parameters that it would keep it for; bytes. states holds a place for every kind. */
vt_status vt_plan_optimizer_states(const vt_training *t, size_t *states, size_t *parameters, vt_err *err) VT_MUST_USE;

/* The engine that the plan was made for: t after vt_plan_training. */
vt_engine_options vt_plan_engine_options(const vt_training *t, const vt_isa *isa);

#endif
