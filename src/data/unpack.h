/* gzip-compressed files, unpacked once; inside data/ only. */
#ifndef VT_DATA_UNPACK_H
#define VT_DATA_UNPACK_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/status.h"

/* Whether a file starts as gzip does. */
vt_status vt_is_gzip(const char *path, bool *gzip, vt_err *err) VT_MUST_USE;

/* "CACHE/FOLDER/BASE-HASH" and the suffix, a name that changes with a file's path, size and time of change; the folder
 * is made. Malloc'ed. */
vt_status vt_cache_name(const char *path, const struct stat *st, const char *folder, const char *suffix, char **name,
                        vt_err *err) VT_MUST_USE;

/* The unpacked copy of a gzip file in vitro's cache, made if it is not there yet: written beside, renamed when
 * complete, and found again by the file's path, size and time of change. *copy is malloc'ed. */
vt_status vt_unpack_gzip(const char *path, char **copy, vt_err *err) VT_MUST_USE;

#endif
