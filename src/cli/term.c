/* The live line: a carriage return, the text, and an erase to the end of the line (ECMA-48, EL). Every other line first
 * erases it, so lines never mix. Colours are the three that terminals of any background show: bold, red, yellow. */
#include "cli/term.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/machine.h"
#include "base/text.h"

#define LIVE_NS  100000000  /* ten lines a second: smooth, and too few to cost anything */
#define PLAIN_NS 5000000000 /* what a log of hours can hold */

#define RED    "\033[31m"
#define YELLOW "\033[33m"
#define PLAIN  "\033[0m"
#define ERASE  "\r\033[K"

struct vt_term {
    pthread_mutex_t lock; /* log lines come from any thread */
    bool live, colour;
    bool shown; /* a live line stands on the screen */
    int64_t due_ns;
    char *log_path, *log_header;
    FILE *log;
};

/* Appends to the log, under the lock. A log that cannot be written is no reason to stop. */
static void write_log(vt_term *t, const char *line)
{
    char stamp[32] = "";
    struct tm utc;
    if (!t->log_path)
        return;
    time_t now = time(NULL);
    if (gmtime_r(&now, &utc))
        (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &utc);
    if (!t->log) {
        t->log = fopen(t->log_path, "a");
        if (!t->log)
            return;
        (void)fprintf(t->log, "%s %s\n", stamp, t->log_header);
    }
    (void)fprintf(t->log, "%s %s\n", stamp, line);
    (void)fflush(t->log);
}

static void close_log(vt_term *t)
{
    if (t->log)
        (void)fclose(t->log);
    free(t->log_path);
    free(t->log_header);
    t->log = NULL;
    t->log_path = t->log_header = NULL;
}

static void erase(vt_term *t)
{
    if (t->shown)
        (void)fputs(ERASE, stderr);
    t->shown = false;
}

static void print_line(vt_term *t, const char *colour, const char *line)
{
    (void)pthread_mutex_lock(&t->lock);
    erase(t);
    if (colour && t->colour)
        (void)fprintf(stderr, "%s%s%s\n", colour, line, PLAIN);
    else
        (void)fprintf(stderr, "%s\n", line);
    (void)fflush(stderr);
    write_log(t, line);
    (void)pthread_mutex_unlock(&t->lock);
}

static void receive_log(void *context, vt_log_level level, const char *line)
{
    const bool error = level == VT_LOG_ERROR, warning = level == VT_LOG_WARN;
    char *text = vt_xasprintf("%s%s", error ? "error: " : warning ? "warning: " : "", line);
    print_line(context, error ? RED : warning ? YELLOW : NULL, text);
    free(text);
}

vt_term *vt_term_new(void)
{
    vt_term *t = vt_xcalloc(1, sizeof *t);
    const char *terminal = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    (void)pthread_mutex_init(&t->lock, NULL);
    t->live = isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0;
    t->colour = t->live && !(no_colour && no_colour[0]);
    /* Elsewhere the first line comes after the first interval: short work stays silent. */
    t->due_ns = t->live ? 0 : vt_now_ns() + PLAIN_NS;
    vt_log_set(receive_log, t, VT_LOG_INFO);
    return t;
}

void vt_term_free(vt_term *t)
{
    vt_log_set(NULL, NULL, VT_LOG_ERROR);
    vt_term_clear(t);
    (void)pthread_mutex_destroy(&t->lock);
    close_log(t);
    free(t);
}

bool vt_term_due(vt_term *t)
{
    int64_t now = vt_now_ns();
    (void)pthread_mutex_lock(&t->lock);
    bool due = now >= t->due_ns;
    if (due)
        t->due_ns = now + (t->live ? LIVE_NS : PLAIN_NS);
    (void)pthread_mutex_unlock(&t->lock);
    return due;
}

/* Columns of the terminal: what the person says, then what the terminal says, then the usual. */
static int columns(void)
{
    const char *said = getenv("COLUMNS");
    int64_t n = 0;
    if (said && vt_parse_i64(said, &n, NULL) == VT_OK && n >= 20 && n <= 1000)
        return (int)n;
    struct winsize size = {0};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        return size.ws_col;
    return 80;
}

void vt_term_progress(vt_term *t, const char *fmt, ...)
{
    char line[1024];
    va_list list;
    va_start(list, fmt);
    (void)vsnprintf(line, sizeof line, fmt, list);
    va_end(list);
    (void)pthread_mutex_lock(&t->lock);
    if (t->live) {
        (void)fprintf(stderr, "%s%.*s", ERASE, columns() - 1, line);
        t->shown = true;
    } else {
        (void)fprintf(stderr, "%s\n", line);
    }
    (void)fflush(stderr);
    (void)pthread_mutex_unlock(&t->lock);
}

void vt_term_clear(vt_term *t)
{
    (void)pthread_mutex_lock(&t->lock);
    erase(t);
    (void)fflush(stderr);
    (void)pthread_mutex_unlock(&t->lock);
}

void vt_term_note(vt_term *t, const char *fmt, ...)
{
    char line[1024];
    va_list list;
    va_start(list, fmt);
    (void)vsnprintf(line, sizeof line, fmt, list);
    va_end(list);
    print_line(t, NULL, line);
}

void vt_term_error(vt_term *t, const char *command, const char *sentence)
{
    char *line = command ? vt_xasprintf("vitro %s: %s", command, sentence) : vt_xasprintf("vitro: %s", sentence);
    print_line(t, RED, line);
    free(line);
}

void vt_term_keep_log(vt_term *t, const char *path, const char *header)
{
    (void)pthread_mutex_lock(&t->lock);
    close_log(t);
    if (path) {
        t->log_path = vt_xstrdup(path);
        t->log_header = vt_xstrdup(header);
    }
    (void)pthread_mutex_unlock(&t->lock);
}

void vt_term_log(vt_term *t, const char *fmt, ...)
{
    char line[1024];
    va_list list;
    va_start(list, fmt);
    (void)vsnprintf(line, sizeof line, fmt, list);
    va_end(list);
    (void)pthread_mutex_lock(&t->lock);
    write_log(t, line);
    (void)pthread_mutex_unlock(&t->lock);
}

vt_term_counter vt_term_counting(vt_term *t, const char *what)
{
    return (vt_term_counter){t, what, vt_now_ns(), 0};
}

void vt_term_count(void *counter, int64_t done, int64_t total)
{
    vt_term_counter *c = counter;
    if (done < c->done)
        c->start_ns = vt_now_ns();
    c->done = done;
    if (!vt_term_due(c->term))
        return;
    double seconds = (double)(vt_now_ns() - c->start_ns) * 1e-9;
    char left[32];
    vt_format_seconds(left, done > 0 ? seconds * (double)(total - done) / (double)done : 0);
    vt_term_progress(c->term, "%s %lld of %lld (%.0f %%)  %.0f images/s  %s left", c->what, (long long)done,
                     (long long)total, 100.0 * (double)done / (double)(total > 0 ? total : 1),
                     seconds > 0 ? (double)done / seconds : 0.0, left);
}
