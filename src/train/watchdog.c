/* Progress is one number: the beats of the thread that trains and the samples that workers have loaded. When it has
 * stood still for the time allowed, a warning says what everybody is at; again after twice that time, four times, and
 * so on; and once more when it moves. */
#include "train/watchdog.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"

#define LONGEST_NAP_NS 5000000000
#define NAPS           8 /* looks in the time allowed */
#define MOST_NAMED     4 /* workers in one line */

static const char *const work_words[] = {"resting", "reading", "decoding", "preprocessing"}; /* vt_work */

static long long relaxed(const atomic_llong *x)
{
    return atomic_load_explicit(x, memory_order_relaxed);
}

static unsigned long long progress(const vt_watchdog *w)
{
    return atomic_load_explicit(&w->beats, memory_order_relaxed) + (unsigned long long)relaxed(&w->train->done) +
           (unsigned long long)relaxed(&w->eval->done);
}

/* What the workers of a loader are at. */
static void add_workers(const vt_loader_board *b, vt_text *line)
{
    const vt_source *source = atomic_load(&b->source);
    int named = 0, busy = 0;
    for (int i = 0; i < VT_BOARD_WORKERS; i++) {
        int work = atomic_load_explicit(&b->workers[i].work, memory_order_relaxed);
        long long sample = relaxed(&b->workers[i].sample);
        char name[256];
        if (work == VT_WORK_NONE || source == NULL || sample >= vt_source_count(source))
            continue; /* the last: notes of two moments */
        busy++;
        if (named == MOST_NAMED)
            continue;
        vt_text_addf(line, "%s %s %s", named++ ? "," : "; workers are", work_words[work],
                     vt_source_sample_name(source, sample, name, sizeof name));
    }
    if (busy > named)
        vt_text_addf(line, " and %d more", busy - named);
    if (busy == 0)
        vt_text_add(line, "; no worker has anything to do");
}

static void describe(const vt_watchdog *w, vt_text *line)
{
    long long update = relaxed(&w->update);
    switch ((vt_stage)atomic_load_explicit(&w->stage, memory_order_relaxed)) {
    case VT_STAGE_OPEN:
        vt_text_add(line, "opening the data and the run");
        return;
    case VT_STAGE_LOADER:
        vt_text_addf(line, "update %lld waits for its images", update);
        add_workers(w->train, line);
        return;
    case VT_STAGE_STEP:
        vt_text_addf(line, "update %lld computes", update);
        return;
    case VT_STAGE_EVALUATE:
        vt_text_addf(line, "the evaluation after update %lld", update - 1);
        add_workers(w->eval, line);
        return;
    case VT_STAGE_SAVE:
        vt_text_addf(line, "the checkpoint after update %lld is being written", update - 1);
        return;
    }
}

static void warn(const vt_watchdog *w, double seconds)
{
    char time[32];
    vt_text line = {0};
    describe(w, &line);
    vt_log(VT_LOG_WARN, "nothing has moved for %s: %s", vt_format_seconds(time, seconds), line.s);
    vt_text_release(&line);
}

/* With the mutex held: sleeps, or less when the end is asked for. */
static void nap(vt_watchdog *w, int64_t ns)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)((until.tv_nsec + ns) / 1000000000);
    until.tv_nsec = (long)((until.tv_nsec + ns) % 1000000000);
    if (!w->ending)
        (void)pthread_cond_timedwait(&w->end, &w->mutex, &until);
}

static void *watch(void *context)
{
    vt_watchdog *w = context;
    int64_t nap_ns = w->stall_ns / NAPS < LONGEST_NAP_NS ? w->stall_ns / NAPS + 1 : LONGEST_NAP_NS;
    int64_t moved_ns = vt_now_ns(), allowed_ns = w->stall_ns;
    unsigned long long before = progress(w);
    pthread_mutex_lock(&w->mutex);
    while (!w->ending) {
        nap(w, nap_ns);
        unsigned long long now = progress(w);
        int64_t still_ns = vt_now_ns() - moved_ns;
        if (w->ending)
            break;
        if (now != before) {
            if (allowed_ns > w->stall_ns)
                vt_log(VT_LOG_INFO, "it moves again");
            before = now;
            moved_ns = vt_now_ns();
            allowed_ns = w->stall_ns;
        } else if (still_ns >= allowed_ns) {
            warn(w, (double)still_ns * 1e-9);
            allowed_ns = 2 * still_ns;
        }
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

void vt_watchdog_start(vt_watchdog *w, double stall_minutes, vt_loader_board *train, vt_loader_board *eval)
{
    sigset_t all, before;
    pthread_condattr_t clock;
    if (stall_minutes <= 0)
        return;
    w->train = train;
    w->eval = eval;
    w->stall_ns = stall_minutes < 1e7 ? (int64_t)(stall_minutes * 60e9) + 1 : (int64_t)6e17; /* longer: years */
    w->ending = false;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->end, &clock);
    pthread_condattr_destroy(&clock);
    sigfillset(&all); /* signals go to the thread that trains */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    w->running = pthread_create(&w->thread, NULL, watch, w) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!w->running)
        vt_log(VT_LOG_WARN, "the system gives no thread for train.stall_minutes; a stall will not be noticed");
}

void vt_watchdog_stop(vt_watchdog *w)
{
    if (w->stall_ns == 0)
        return;
    if (w->running) {
        pthread_mutex_lock(&w->mutex);
        w->ending = true;
        pthread_cond_signal(&w->end);
        pthread_mutex_unlock(&w->mutex);
        (void)pthread_join(w->thread, NULL);
    }
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->end);
    w->running = false;
    w->stall_ns = 0;
}

void vt_watchdog_at(vt_watchdog *w, vt_stage stage)
{
    atomic_store_explicit(&w->stage, (int)stage, memory_order_relaxed);
    vt_watchdog_beat(w);
}

void vt_watchdog_beat(vt_watchdog *w)
{
    atomic_fetch_add_explicit(&w->beats, 1, memory_order_relaxed);
}
