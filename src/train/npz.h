/* NumPy's archives: a zip of NAME.npy (base/npy.h), as big_vision keeps its models. The zip is libzip's work. Nothing
 * is unpacked but what is asked for, in pieces, and no more than the header of an array promised. */
#ifndef VT_TRAIN_NPZ_H
#define VT_TRAIN_NPZ_H

#include <stdint.h>

#include "base/npy.h"
#include "base/status.h"

typedef struct vt_npz vt_npz;

/* Opens an archive; members are numbered 0 .. vt_npz_count - 1. *z is NULL after a failure. */
vt_status vt_npz_open(vt_npz **z, const char *path, vt_err *err) VT_MUST_USE;
void vt_npz_close(vt_npz *z); /* NULL is fine */
int64_t vt_npz_count(const vt_npz *z);

/* The array's name (without ".npy", borrowed) and header. Its unpacked length is the header's and the numbers'. */
vt_status vt_npz_header(vt_npz *z, int64_t member, const char **name, vt_npy *header, vt_err *err) VT_MUST_USE;

/* Bytes first .. first + size - 1 of the numbers. Cheap in rising order; going back unpacks from the start. */
vt_status vt_npz_read(vt_npz *z, int64_t member, int64_t first, void *data, int64_t size, vt_err *err) VT_MUST_USE;

#endif
