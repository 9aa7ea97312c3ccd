/* What a function returns when it can fail, and the sentence that goes to the person.
 *
 * A message names the file, the key or the tensor, what was found and what was expected, and what to do; lower
 * case, no full stop. Outer layers put the place in front with vt_prefix ("recipes/s16.yaml:12: ..."). Only cli/
 * prints errors and ends the program. A programmer's mistake is an assert, which stays on in every build. */
#ifndef VT_BASE_STATUS_H
#define VT_BASE_STATUS_H

#include "base/attr.h"

typedef enum {
    VT_OK = 0,
    VT_EINVAL,       /* a value that a person gave is wrong */
    VT_ENOMEM,       /* the plan does not fit, or the system refused memory */
    VT_EIO,          /* the system refused a file operation */
    VT_EFORMAT,      /* the bytes of a file are not what its format asks for */
    VT_EUNSUPPORTED, /* well formed, but something that this program does not do */
    VT_EDIVERGED,    /* a loss or gradient is not finite */
    VT_EBUSY,        /* somebody else holds the lock */
    VT_ESTOPPED      /* a signal asked to stop; the state was saved */
} vt_status;

/* The caller's, on its stack; vt_err{0} to begin with. Functions accept NULL and then keep the message to themselves.
 */
typedef struct {
    vt_status code;
    char msg[768];
} vt_err;

/* Writes code and message into err (if any) and returns code, so that a failing function ends in one line. */
vt_status vt_fail(vt_err *err, vt_status code, const char *fmt, ...) VT_PRINTF(3, 4);

/* As vt_fail(VT_EIO), with ": " and the text of errno behind the message. */
vt_status vt_fail_errno(vt_err *err, const char *fmt, ...) VT_PRINTF(2, 3);

/* Puts "place: " in front of the message that err holds; returns err's code (VT_EINVAL when err is NULL). */
vt_status vt_prefix(vt_err *err, const char *fmt, ...) VT_PRINTF(2, 3);

/* The only macro that returns: hands a failure on to the caller. */
#define VT_TRY(expr)                                                                                                   \
    do {                                                                                                               \
        vt_status vt_try_status_ = (expr);                                                                             \
        if (vt_try_status_ != VT_OK)                                                                                   \
            return vt_try_status_;                                                                                     \
    } while (0)

#endif
