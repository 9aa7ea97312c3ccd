/* A reader of tar files that finds members and their places; contents are read by whoever asked. Inside data/ only.
 * ustar (with prefix), GNU long names ('L') and base-256 sizes, pax path and size (IEEE 1003.1, pax interchange
 * format); links and devices are passed over; sparse files are refused. Checksums are verified, and every size
 * is checked against the file's before it is used. A file that ends without a block of zeros was cut off: an error. */
#ifndef VT_DATA_TAR_H
#define VT_DATA_TAR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

typedef struct {
    int fd; /* borrowed */
    const char *path;
    int64_t size, at;  /* of the file; of the next header */
    vt_text name;      /* of the member just read */
    vt_text long_name; /* from a header before the member, else empty */
    int64_t long_size; /* likewise, else -1 */
} vt_tar;

typedef struct {
    const char *name;     /* valid until the next call */
    int64_t offset, size; /* of its contents in the file */
    bool folder, link;    /* neither: a regular file */
} vt_tar_member;

/* fd is open for reading, its file size bytes long; path (for messages) must outlive t. */
void vt_tar_init(vt_tar *t, int fd, const char *path, int64_t size);
void vt_tar_release(vt_tar *t);

/* The next regular file, folder or link; *end is set at the end of the archive. */
vt_status vt_tar_next(vt_tar *t, vt_tar_member *member, bool *end, vt_err *err) VT_MUST_USE;

#endif
