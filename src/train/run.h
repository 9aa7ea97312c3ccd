/* A run's folder: its lock, its recipe, log.txt and metrics.jsonl (one JSON object a line; lines of steps that a resume
 * repeats are dropped, so that the file tells one story). */
#ifndef VT_TRAIN_RUN_H
#define VT_TRAIN_RUN_H

#include <stdio.h>

#include "base/file.h"
#include "base/json.h"
#include "train/recipe.h"

typedef struct {
    char *dir;
    vt_lock lock;
    FILE *metrics;
} vt_run;

/* Makes the folder, takes its lock (VT_EBUSY names the holder), removes what an interrupted save left. {0} may be
 * closed. */
vt_status vt_run_open(vt_run *run, const char *dir, vt_err *err) VT_MUST_USE;
void vt_run_close(vt_run *run);
/* A run that is only read: no lock, and nothing is made or removed. VT_EINVAL where there is none. */
vt_status vt_run_read(vt_run *run, const char *dir, vt_err *err) VT_MUST_USE;

/* Removes what an earlier run left: its recipe, metrics and checkpoints, and nothing else that lies in the folder. */
vt_status vt_run_clear(const vt_run *run, vt_err *err) VT_MUST_USE;

/* The stored recipe: *found tells whether there is one; then *r is filled and the caller's to release. */
vt_status vt_run_load_recipe(const vt_run *run, vt_recipe *r, bool *found, vt_err *err) VT_MUST_USE;
vt_status vt_run_save_recipe(const vt_run *run, const vt_recipe *r, vt_err *err) VT_MUST_USE;

/* Opens metrics.jsonl (again, where it is open) for lines after `step`: later ones are dropped. *elapsed: seconds of
 * training that the kept lines tell. */
vt_status vt_run_open_metrics(vt_run *run, int64_t step, double *elapsed, vt_err *err) VT_MUST_USE;
/* The last line of metrics.jsonl for a step that has this key: a new reference, or NULL. */
json_t *vt_run_find_metrics(const vt_run *run, int64_t step, const char *key);
/* Appends one line and takes the reference; a failed write is only logged: training does not die of a full log. */
void vt_run_log_metrics(vt_run *run, json_t *line);

#endif
