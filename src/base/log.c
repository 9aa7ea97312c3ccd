/* Log lines: formatted here, handed to the one receiver under a lock, so that lines of different threads never mix.
 * Control characters (names of files may hold any) become blanks, so that nothing from outside steers a terminal. */
#include "base/log.h"

#include <assert.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static struct {
    vt_log_fn *fn;
    void *context;
    vt_log_level max_level;
    pthread_mutex_t lock;
} receiver = {.lock = PTHREAD_MUTEX_INITIALIZER};

void vt_log_set(vt_log_fn *fn, void *context, vt_log_level max_level)
{
    pthread_mutex_lock(&receiver.lock);
    receiver.fn = fn;
    receiver.context = context;
    receiver.max_level = max_level;
    pthread_mutex_unlock(&receiver.lock);
}

/* Hands over the lines of text, which it cuts apart; empty ones are left out. */
static void deliver(vt_log_level level, char *text)
{
    pthread_mutex_lock(&receiver.lock);
    for (char *line = text, *next; line != NULL; line = next) {
        next = strchr(line, '\n');
        if (next != NULL)
            *next++ = '\0';
        for (char *p = line; *p != '\0'; p++) {
            if ((unsigned char)*p < 0x20 || *p == 0x7f)
                *p = ' ';
        }
        if (line[0] != '\0')
            receiver.fn(receiver.context, level, line);
    }
    pthread_mutex_unlock(&receiver.lock);
}

void vt_log(vt_log_level level, const char *fmt, ...)
{
    if (receiver.fn == NULL || level > receiver.max_level)
        return;
    assert(fmt != NULL);
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    if (n > 0) {
        char *text = vt_xmalloc((size_t)n + 1);
        vsnprintf(text, (size_t)n + 1, fmt, again);
        deliver(level, text);
        free(text);
    }
    va_end(again);
    va_end(args);
}
