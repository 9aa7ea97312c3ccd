/* Checkpoints: RUN/checkpoints/step-00001200/ with model.safetensors (timm's names and layout), config.json (the form
 * that timm and the Hub use; class names, preprocessing and value range ride along), optimizer.safetensors, state.json
 * and manifest.json (hashes of the others, of recipe, data and program). A folder appears under its name only when
 * complete. */
#ifndef VT_TRAIN_CHECKPOINT_H
#define VT_TRAIN_CHECKPOINT_H

#include <jansson.h>

#include "train/engine.h"
#include "train/safetensors.h"

/* What a checkpoint says about its model, enough to evaluate and predict. Strings owned. */
typedef struct {
    vt_model_config model;
    char **class_names; /* model.classes of them */
    bool named;         /* false: classes are bare numbers */
    char *preprocess;   /* the evaluation list */
    bool orient;        /* images are turned upright before it (data.orient) */
    vt_pixel_range pixels;
    int loss; /* vt_loss_kind that it was trained with */
    int64_t step, images;
} vt_checkpoint_info;

void vt_checkpoint_info_release(vt_checkpoint_info *i);

/* RUN or CHECKPOINT -> the checkpoint's folder (malloc'ed): a folder with config.json as it is; of a run the newest
 * whose hashes hold (a broken one is skipped with a warning in the log). VT_EINVAL when there is none. */
vt_status vt_checkpoint_find(const char *path, char **dir, vt_err *err) VT_MUST_USE;

/* As find for a run, of step `most` at the most, but *dir is NULL where there is none yet. */
vt_status vt_checkpoint_newest(const char *run, int64_t most, char **dir, vt_err *err) VT_MUST_USE;

vt_status vt_checkpoint_read_info(const char *dir, vt_checkpoint_info *info, vt_err *err) VT_MUST_USE;
/* Loads model.safetensors into the engine's model. */
vt_status vt_checkpoint_load_model(const char *dir, vt_engine *e, vt_err *err) VT_MUST_USE;

/* Where training stands; deterministic: no times, no machine. */
typedef struct {
    int64_t step;                           /* updates done */
    int64_t schedule_steps, cooldown_steps; /* shorter than the recipe's where max_minutes ended the run early */
    char instruction_set[16];
    char recipe_hash[VT_HASH_HEX], data_hash[VT_HASH_HEX];
    json_t *skipped; /* owned; NULL: none. Updates that are left out (train.on_divergence), one object each: update (1,
                      * 2, ...), back_to, first_bad, samples */
    json_t *bad;     /* owned; NULL: none. Samples of data.train that could not be used so far, ascending */
} vt_train_state;
void vt_train_state_release(vt_train_state *s);

#define VT_MAX_SKIPPED 10 /* updates of a run */

/* Checks every file against manifest.json. */
vt_status vt_checkpoint_verify(const char *dir, vt_err *err) VT_MUST_USE;
/* state.json alone. */
vt_status vt_checkpoint_read_state(const char *dir, vt_train_state *state, vt_err *err) VT_MUST_USE;
/* After success and failure alike, *state may be released. */
vt_status vt_checkpoint_load_state(const char *dir, vt_engine *e, vt_train_state *state, vt_err *err) VT_MUST_USE;

/* Writes RUN/checkpoints/step-... (*dir receives the path, malloc'ed), then removes old ones beyond `keep`. */
vt_status vt_checkpoint_save(const char *run, vt_engine *e, const vt_checkpoint_info *info, const vt_train_state *state,
                             int64_t keep, char **dir, vt_err *err) VT_MUST_USE;

/* The same in two parts, for a thread of its own: what the engine holds now is copied into e->snapshot, and written
 * from there while training goes on. The copy's table is malloc'ed; the writer frees it. One at a time. */
typedef struct {
    vt_stored_tensor *model, *optimizer; /* host memory */
    int n_model, n_optimizer;
    const char *instruction_set;
} vt_checkpoint_copy;
size_t vt_checkpoint_bytes(vt_engine *e); /* of a snapshot */
vt_checkpoint_copy vt_checkpoint_take(vt_engine *e);
vt_status vt_checkpoint_write(const char *run, vt_checkpoint_copy *copy, const vt_checkpoint_info *info,
                              const vt_train_state *state, int64_t keep, char **dir, vt_err *err) VT_MUST_USE;

/* The label contract: the classes of a source must be the checkpoint's by name (a number's name is its digits). map
 * (one for each class of the source) receives the index in the checkpoint; *permuted tells whether any differs. A name
 * that the checkpoint does not know is VT_EINVAL that shows both sides. */
vt_status vt_checkpoint_match_classes(const vt_checkpoint_info *info, const vt_source *source, int32_t *map,
                                      bool *permuted, vt_err *err) VT_MUST_USE;

#endif
