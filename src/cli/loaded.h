/* A checkpoint made ready to compute with: found, read, its model in memory. What eval, fewshot and predict begin with.
 */
#ifndef VT_CLI_LOADED_H
#define VT_CLI_LOADED_H

#include "cli/cli.h"
#include "eval/pass.h"
#include "train/checkpoint.h"

/* The options that these commands share, as typed; rows for their tables. */
typedef struct {
    const char *threads, *batch;
} vt_load_options;

#define VT_LOAD_OPTS(o)                                                                                                \
    {"threads", "N", &(o).threads, "threads that compute; default: the processors of this machine"},                   \
    {                                                                                                                  \
        "batch", "N", &(o).batch, "images in one pass; default: 64, or what memory allows"                             \
    }

/* What MODEL is, for the help of these commands. */
#define VT_MODEL_HELP                                                                                                  \
    "MODEL is a run, a checkpoint, or another program's weights: a file or folder of safetensors, big_vision's .npz. " \
    "What\nits files do not say is given by keys (model.heads=3; docs/transfer.md); keys that are missing are "        \
    "named.\n\n"

typedef struct {
    char *dir; /* of the checkpoint; of another program's model the path that was given */
    vt_checkpoint_info info;
    vt_preprocess preprocess;
    vt_engine engine;
    int slices, workers;
} vt_loaded;

/* Whether the options are whole numbers in range: wrong use, not failure. */
vt_status vt_load_options_check(const vt_load_options *o, vt_err *err) VT_MUST_USE;

/* args->list[0]: a run, a checkpoint, or another program's model (train/foreign.h); args->keys: what its files do not
 * say, or shall say otherwise. {0} and a failed open may be closed. */
vt_status vt_loaded_open(vt_loaded *l, const vt_args *args, const vt_load_options *o, vt_err *err) VT_MUST_USE;
void vt_loaded_close(vt_loaded *l);

/* The first line of a result: the checkpoint and its step, or the model of another program, which tells none. */
void vt_loaded_print(const vt_loaded *l);

/* For what needs classes: VT_EINVAL says that the model has none. */
vt_status vt_loaded_need_classifier(const vt_loaded *l, vt_err *err) VT_MUST_USE;

/* A pass over a source with this model. */
vt_eval_pass vt_loaded_pass(vt_loaded *l, const vt_source *source);

/* The folder of the run that the checkpoint lies in (malloc'ed), or NULL when it stands alone. */
char *vt_loaded_run(const vt_loaded *l, const char *path);

#endif
