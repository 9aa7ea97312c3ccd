/* One training call in the making: what the files of the loop share. Nobody outside train/ includes this.
 *
 *   open.c     data, stored recipe, plan, engine, checkpoint to go on from, loader
 *   step.c     one update: micro-batches, loss, optimizer
 *   mixup.c    the share that an update mixes by
 *   watch.c    the line of norms and attention
 *   forensics.c one update looked at tensor by tensor, when a number is not finite and for replay
 *   rollback.c the way back after such a number, where the recipe wants it
 *   bad_images.c images that cannot be used (data.max_bad)
 *   watchdog.c the thread that says what waits
 *   evaluate.c accuracy on the way and at the end
 *   background.c  checkpoints without a pause
 *   between.c  what happens between updates: log lines, evaluation, checkpoints, the clock
 *   train.c    the loop around them */
#ifndef VT_TRAIN_TRAINER_H
#define VT_TRAIN_TRAINER_H

#include "data/loader.h"
#include "train/run.h"
#include "train/run_data.h"
#include "train/train.h"
#include "train/watchdog.h"

typedef struct {
    vt_recipe *recipe;
    bool fresh;
    vt_training t;
    vt_plan plan;
    const vt_isa *isa;
    vt_run run;
    vt_run_data data;     /* a replay has the first alone */
    int32_t *eval_labels; /* class of data.eval -> class of the model */
    vt_engine engine;
    vt_cache *cache; /* of data.train; NULL: none */
    vt_loader *loader;
    vt_checkpoint_info info;
    vt_train_state state;
    struct vt_background *background; /* a checkpoint on its way to disk, or NULL */
    vt_schedule planned;              /* the recipe's schedule, before max_minutes */
    int64_t first_step;               /* where this call began */
    int64_t saved_step;               /* of the newest checkpoint, -1 before the first */

    const vt_train_observer *observer;
    vt_train_result *result;
    vt_progress progress;
    int64_t start_ns, window_ns, window_wait_ns, window_step; /* of the call; since the last logged step */
    double elapsed_before;                                    /* seconds of earlier calls */
    double eval_seconds;                                      /* of the last evaluation */
    int64_t watched_steps, clipped_steps;                     /* updates since the last watched one, clipped ones */
    double step_seconds;                                      /* of all steps of this call */

    int64_t replay;       /* not 0: this update is looked at, and the run is only read */
    vt_train_state story; /* of a replay: what the run's newest checkpoint tells of skipped updates and its length */
    vt_visit_fn *visit;   /* told of the tensors of an update; NULL in training */
    void *visit_context;
    int64_t position; /* of the micro-batch in work */
    struct {
        int64_t update;
        char tensor[112];
    } suspect; /* of the last VT_EDIVERGED: the update that made the number, and where it was seen first */
    vt_watchdog watchdog;
    vt_loader_board train_board, eval_board;
    vt_bad_list bad, eval_bad; /* samples of data.train and data.eval that cannot be used */
    bool data_failed;          /* the error is one of the data: what was trained so far is whole */
} vt_trainer;

/* Opens everything for a call; close_all after success and failure alike. */
vt_status vt_trainer_open(vt_trainer *tr, const char *run, vt_err *err) VT_MUST_USE;
void vt_trainer_close(vt_trainer *tr);

/* One update. log_step: with the accuracy of its batch; watch: with what train.watch_every logs. VT_EDIVERGED: nothing
 * was updated, and tr->suspect is filled. */
vt_status vt_trainer_step(vt_trainer *tr, bool log_step, bool watch, vt_err *err) VT_MUST_USE;
/* Its first half: passes over the micro-batches of the update that is due. *right stays 0 unless count. */
vt_status vt_trainer_gradients(vt_trainer *tr, bool count, bool watch, int64_t *right, vt_err *err) VT_MUST_USE;
/* The same update, looked at: what was bad first, in the log and in err. Returns VT_EDIVERGED. */
vt_status vt_trainer_diverged(vt_trainer *tr, const char *what, vt_err *err) VT_MUST_USE;

/* train.on_divergence=skip: whether an update (1, 2, ...) is left out; an update that leaves its images out, and all
 * else as it was; and the way back, after VT_EDIVERGED, to the newest checkpoint before tr->suspect.update, which is
 * left out from now on. */
bool vt_trainer_skips(const vt_trainer *tr, int64_t update);
vt_status vt_trainer_skip(vt_trainer *tr, vt_err *err) VT_MUST_USE;
vt_status vt_trainer_go_back(vt_trainer *tr, vt_err *err) VT_MUST_USE;
/* A replay follows what the run did: the cooldown that max_minutes began. */
void vt_trainer_heed_story(vt_trainer *tr);

/* The newest checkpoint that holds, of step `most` at the most; where there is none, the beginning. */
vt_status vt_trainer_restore(vt_trainer *tr, int64_t most, vt_err *err) VT_MUST_USE;
/* A loader that begins with the update that is due. */
vt_status vt_trainer_restart_loader(vt_trainer *tr, vt_err *err) VT_MUST_USE;

/* data.max_bad: sets the limits; the list of data.train from tr->state and, before a save, into it; and the next
 * micro-batch's images. */
void vt_trainer_open_bad(vt_trainer *tr);
vt_status vt_trainer_take_bad(vt_trainer *tr, vt_err *err) VT_MUST_USE;
void vt_trainer_keep_bad(vt_trainer *tr);
vt_status vt_trainer_next_batch(vt_trainer *tr, vt_batch *batch, vt_err *err) VT_MUST_USE;
/* After an error of the data: saves what was trained so far, and says so behind the error's sentence. */
void vt_trainer_save_after_bad(vt_trainer *tr, vt_err *err);

/* The line of train.watch_every, after a watched step. */
void vt_trainer_log_watch(vt_trainer *tr);

/* Begins a new stretch of steps whose speed is measured. */
void vt_trainer_open_window(vt_trainer *tr);
/* What is due after an update: progress, log line, evaluation, checkpoint, the clock's say. */
vt_status vt_trainer_after_step(vt_trainer *tr, bool log_step, bool watch, vt_err *err) VT_MUST_USE;
/* Writes a checkpoint of the step that was reached, unless there is one; unless `wait`, in the background where the
 * plan has room. finish_save waits for one that is under way. */
vt_status vt_trainer_save(vt_trainer *tr, bool wait, vt_err *err) VT_MUST_USE;
/* The same for one of train.save_every: a write that the system refuses is only logged. */
vt_status vt_trainer_save_on_the_way(vt_trainer *tr, vt_err *err) VT_MUST_USE;
vt_status vt_trainer_finish_save(vt_trainer *tr, vt_err *err) VT_MUST_USE;
/* Saves and returns VT_ESTOPPED. */
vt_status vt_trainer_stop(vt_trainer *tr, vt_err *err) VT_MUST_USE;
vt_status vt_trainer_evaluate(vt_trainer *tr, vt_err *err) VT_MUST_USE;

/* Few-shot accuracy on the way. */
vt_status vt_trainer_fewshot(vt_trainer *tr, vt_err *err) VT_MUST_USE;

/* Shows the observer where training stands. */
void vt_trainer_report(vt_trainer *tr, const char *phase);
/* Seconds of training in all calls of this run. */
double vt_trainer_elapsed(const vt_trainer *tr);

/* Seconds since a time of vt_now_ns. */
double vt_trainer_seconds_since(int64_t ns);
/* Whether something that happens every `every` steps (0: never) is due after this one. */
bool vt_trainer_due(int64_t step, int64_t every);

#endif
