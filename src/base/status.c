/* Messages of failures. Text is formatted beside err first, since its arguments may point into err's own message. */
#include "base/status.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MSG_BYTES sizeof(((vt_err){0}).msg)

static void store(vt_err *err, vt_status code, const char *text)
{
    if (err == NULL)
        return;
    err->code = code;
    size_t n = strlen(text);
    if (n >= MSG_BYTES)
        n = MSG_BYTES - 1;
    memcpy(err->msg, text, n);
    err->msg[n] = '\0';
}

/* Adds what fits of more behind text. */
static void append(char *text, size_t size, const char *more)
{
    size_t used = strlen(text), n = strlen(more);
    if (n > size - 1 - used)
        n = size - 1 - used;
    memcpy(text + used, more, n);
    text[used + n] = '\0';
}

vt_status vt_fail(vt_err *err, vt_status code, const char *fmt, ...)
{
    assert(code != VT_OK);
    char text[MSG_BYTES];
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        text[0] = '\0';
    va_end(args);
    store(err, code, text);
    return code;
}

vt_status vt_fail_errno(vt_err *err, const char *fmt, ...)
{
    int number = errno;
    char text[MSG_BYTES], reason[128];
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        text[0] = '\0';
    va_end(args);
    if (strerror_r(number, reason, sizeof(reason)) != 0)
        snprintf(reason, sizeof(reason), "error %d", number);
    append(text, sizeof(text), ": ");
    append(text, sizeof(text), reason);
    store(err, VT_EIO, text);
    return VT_EIO;
}

vt_status vt_prefix(vt_err *err, const char *fmt, ...)
{
    if (err == NULL)
        return VT_EINVAL;
    char text[MSG_BYTES];
    va_list args;
    va_start(args, fmt);
    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        text[0] = '\0';
    va_end(args);
    append(text, sizeof(text), ": ");
    append(text, sizeof(text), err->msg);
    store(err, err->code, text);
    return err->code;
}
