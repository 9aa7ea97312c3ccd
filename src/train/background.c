/* Checkpoints without a pause: what a checkpoint holds is copied, and a thread writes it from the copy while training
 * goes on. One is under way at a time; the next one waits for it. A failure is met when it is waited for, and costs the
 * run nothing but that checkpoint, unless it is the last one. Where the plan has no room for the copy, training waits
 * for the disk. */
#include "train/trainer.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"

struct vt_background {
    pthread_t thread;
    const char *run;
    vt_checkpoint_copy copy;
    vt_checkpoint_info info; /* borrows the trainer's texts */
    vt_train_state state;
    int64_t keep;
    char *dir;
    vt_status status;
    vt_err err;
};

static void *write_copy(void *context)
{
    struct vt_background *b = context;
    b->status = vt_checkpoint_write(b->run, &b->copy, &b->info, &b->state, b->keep, &b->dir, &b->err);
    return NULL;
}

/* A checkpoint is on disk: it is the one to fall back to, and the log has its line. */
static void have_checkpoint(vt_trainer *tr, char *dir, int64_t step)
{
    free(tr->result->checkpoint);
    tr->result->checkpoint = dir;
    vt_run_log_metrics(&tr->run, json_pack("{s:I, s:s, s:f}", "step", (json_int_t)step, "checkpoint", vt_path_base(dir),
                                           "elapsed", vt_trainer_elapsed(tr)));
}

/* Takes over what write_copy came to, and frees it. */
static vt_status settle(vt_trainer *tr, struct vt_background *b, vt_err *err)
{
    vt_status status = b->status;
    if (status == VT_OK)
        have_checkpoint(tr, b->dir, b->state.step);
    else
        *err = b->err;
    free(b);
    return status;
}

vt_status vt_trainer_finish_save(vt_trainer *tr, vt_err *err)
{
    struct vt_background *b = tr->background;
    if (!b)
        return VT_OK;
    tr->background = NULL;
    vt_watchdog_at(&tr->watchdog, VT_STAGE_SAVE);
    (void)pthread_join(b->thread, NULL);
    return settle(tr, b, err);
}

static vt_status save_waiting(vt_trainer *tr, vt_err *err)
{
    char *dir = NULL;
    VT_TRY(vt_checkpoint_save(tr->run.dir, &tr->engine, &tr->info, &tr->state, tr->recipe->train.keep, &dir, err));
    have_checkpoint(tr, dir, tr->state.step);
    return VT_OK;
}

static vt_status save_in_background(vt_trainer *tr, vt_err *err)
{
    struct vt_background *b = vt_xcalloc(1, sizeof *b);
    b->run = tr->run.dir;
    b->copy = vt_checkpoint_take(&tr->engine);
    b->info = tr->info;
    b->state = tr->state;
    b->keep = tr->recipe->train.keep;
    if (pthread_create(&b->thread, NULL, write_copy, b) != 0) { /* no thread to be had */
        (void)write_copy(b);
        return settle(tr, b, err);
    }
    tr->background = b;
    return VT_OK;
}

/* A checkpoint on the way could not be written: a full disk, most likely, which may have room again for the next. */
static void warn_unsaved(const vt_trainer *tr, const vt_err *why)
{
    vt_log(VT_LOG_WARN, "a checkpoint is lost, and the run goes on (%s%s): %s",
           tr->result->checkpoint ? "the newest is " : "there is none yet",
           tr->result->checkpoint ? tr->result->checkpoint : "", why->msg);
}

vt_status vt_trainer_save_on_the_way(vt_trainer *tr, vt_err *err)
{
    vt_status status = vt_trainer_save(tr, false, err);
    if (status != VT_EIO)
        return status;
    warn_unsaved(tr, err);
    return VT_OK;
}

vt_status vt_trainer_save(vt_trainer *tr, bool wait, vt_err *err)
{
    vt_err late = {0};
    if (vt_trainer_finish_save(tr, &late) != VT_OK) {
        warn_unsaved(tr, &late);
        tr->saved_step = -1;
    }
    if (tr->saved_step == tr->state.step)
        return VT_OK;
    vt_trainer_report(tr, "save");
    vt_trainer_keep_bad(tr);
    VT_TRY(wait || !tr->engine.snapshot ? save_waiting(tr, err) : save_in_background(tr, err));
    tr->saved_step = tr->state.step;
    return VT_OK;
}
