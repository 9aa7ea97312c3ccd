/* The members of a tar file, listed once and kept in the cache for the next time; inside data/ only. A .tar.gz is
 * unpacked first (unpack.h). */
#ifndef VT_DATA_TAR_INDEX_H
#define VT_DATA_TAR_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

#define VT_TAR_KEPT_BYTES 64 /* contents up to this size are kept in the index: class numbers, short names */

typedef struct {
    int64_t name;         /* offset in names */
    int64_t offset, size; /* in the file */
    int64_t kept;         /* offset in contents, or -1 */
    int64_t kind;         /* vt_tar_kind */
} vt_tar_entry;

typedef enum { VT_TAR_FILE, VT_TAR_FOLDER, VT_TAR_LINK, VT_TAR_KINDS } vt_tar_kind;

/* Files that stay open, of all indices of the process; more are opened for each read. Processes may often have no more
 * than 1024 open. */
#define VT_TAR_FILES_KEPT 256

/* {0} may be released. */
typedef struct {
    char *path; /* of the file that is read: the one given, or its unpacked copy */
    int fd;     /* read from while `open`; else it is opened for each read */
    bool open;
    uint64_t changed; /* mixes its size and time of change */
    vt_tar_entry *entries;
    int64_t n, capacity;
    vt_text names, contents;
} vt_tar_index;

vt_status vt_tar_index_open(vt_tar_index *index, const char *path, vt_err *err) VT_MUST_USE;
/* Gives up the list; the file can still be read. */
void vt_tar_index_drop_list(vt_tar_index *index);
void vt_tar_index_release(vt_tar_index *index);

/* Reads size bytes at offset of the file; thread-safe. */
vt_status vt_tar_index_read_at(const vt_tar_index *index, int64_t offset, void *data, size_t size,
                               vt_err *err) VT_MUST_USE;
/* These bytes will be read soon. */
void vt_tar_index_announce(const vt_tar_index *index, int64_t offset, size_t size);
/* Reads the contents of a member, at most as many bytes as it has. */
vt_status vt_tar_index_read(const vt_tar_index *index, const vt_tar_entry *entry, void *data, vt_err *err) VT_MUST_USE;

static inline const char *vt_tar_index_name(const vt_tar_index *index, int64_t i)
{
    return index->names.s + index->entries[i].name;
}

#endif
