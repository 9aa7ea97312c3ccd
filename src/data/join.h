/* Several SPECs joined by " + ", and their classes united by name; inside data/ only. */
#ifndef VT_DATA_JOIN_H
#define VT_DATA_JOIN_H

#include "data/part.h"

/* The classes of a source. */
typedef struct {
    char **names; /* the number where a class has no name */
    int64_t n;
    bool named;  /* false: bare numbers */
    bool *inner; /* classes that are no leaves of some hierarchy; NULL: all are leaves */
    size_t bytes;
} vt_class_list;

/* Opens every SPEC of text. *parts is malloc'ed, n of them to be closed by the caller, also after a failure. */
vt_status vt_join_open(const char *text, vt_part **parts, int *n, vt_err *err) VT_MUST_USE;

/* The first part's classes in its order, then those that each further part adds. Classes are the same where their names
 * are; bare numbers join only bare numbers. Sets each part's own map. Takes over the parts' names. */
vt_status vt_join_classes(vt_part *parts, int n, vt_class_list *list, vt_err *err) VT_MUST_USE;
void vt_class_list_release(vt_class_list *list);

#endif
