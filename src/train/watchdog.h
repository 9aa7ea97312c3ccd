/* The watchdog: a thread that notices when nothing has moved for long, and says which stage waits, and for which
 * sample. It only reads notes that others write without a lock, so it changes neither results nor speed. */
#ifndef VT_TRAIN_WATCHDOG_H
#define VT_TRAIN_WATCHDOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "data/loader.h"

/* What the thread that trains is at. */
typedef enum { VT_STAGE_OPEN, VT_STAGE_LOADER, VT_STAGE_STEP, VT_STAGE_EVALUATE, VT_STAGE_SAVE } vt_stage;

typedef struct {
    atomic_int stage;              /* vt_stage */
    atomic_llong update;           /* the one in work, 1, 2, ... */
    atomic_ullong beats;           /* grows with every bit of progress */
    vt_loader_board *train, *eval; /* notes of the loaders' workers */

    int64_t stall_ns;
    bool running;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t end;
    bool ending; /* under the mutex */
} vt_watchdog;

/* Begins to watch; stall_minutes 0 never does. Without a thread from the system the run goes on unwatched. */
void vt_watchdog_start(vt_watchdog *w, double stall_minutes, vt_loader_board *train, vt_loader_board *eval);
/* Ends the thread; one that was never started ({0}) may be stopped. */
void vt_watchdog_stop(vt_watchdog *w);

/* Notes of the thread that trains: it is now at this stage; it has moved on inside one. */
void vt_watchdog_at(vt_watchdog *w, vt_stage stage);
void vt_watchdog_beat(vt_watchdog *w);

#endif
