/* Tar files that are the same bytes whenever and wherever they are written: USTAR headers with mode 0644, time 0 and no
 * owner. A file appears under its name only when it is complete. */
#ifndef VT_DATA_SHARD_WRITE_H
#define VT_DATA_SHARD_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"

typedef struct {
    vt_atomic_file file;
    vt_hasher *hasher;
    int64_t bytes; /* written so far */
} vt_shard;

/* Whether a member may have this name: 100 bytes, or up to 155 in folders before them. */
bool vt_shard_name_fits(const char *name);
/* What a member of size bytes takes in the file. */
int64_t vt_shard_member_bytes(int64_t size);

vt_status vt_shard_open(vt_shard *s, const char *path, vt_err *err) VT_MUST_USE;
vt_status vt_shard_add(vt_shard *s, const char *name, const void *data, size_t size, vt_err *err) VT_MUST_USE;
/* Ends the file, moves it to its name and tells its SHA-256. */
vt_status vt_shard_finish(vt_shard *s, char hex[VT_HASH_HEX], vt_err *err) VT_MUST_USE;
/* Of a shard that is not finished nothing stays. {0} may be released. */
void vt_shard_release(vt_shard *s);

#endif
