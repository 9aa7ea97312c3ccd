/* NumPy's archives: a zip of NAME.npy, each a small header (type, order, shape) and the numbers. The zip is libzip's
 * work; the header is read as the one form that NumPy writes, never as a Python expression. Nothing is unpacked but
 * what is asked for, in pieces, and no more than the header promised. */
#ifndef VT_TRAIN_NPZ_H
#define VT_TRAIN_NPZ_H

#include <stdint.h>

#include "base/status.h"

#define VT_NPY_DIMS 8

/* What a member's header says. */
typedef struct {
    char dtype[16]; /* as NumPy writes it: "<f4", "<f2", "|V2" */
    int n_dims;
    int64_t dims[VT_NPY_DIMS], count;
    int64_t item_bytes;
} vt_npy;

typedef struct vt_npz vt_npz;

/* Opens an archive; members are numbered 0 .. vt_npz_count - 1. */
vt_status vt_npz_open(vt_npz **z, const char *path, vt_err *err) VT_MUST_USE;
void vt_npz_close(vt_npz *z); /* NULL is fine */
int64_t vt_npz_count(const vt_npz *z);

/* The array's name (without ".npy", borrowed) and header. Its unpacked length is the header's and the numbers'. */
vt_status vt_npz_header(vt_npz *z, int64_t member, const char **name, vt_npy *header, vt_err *err) VT_MUST_USE;

/* Bytes first .. first + size - 1 of the numbers. Cheap in rising order; going back unpacks from the start. */
vt_status vt_npz_read(vt_npz *z, int64_t member, int64_t first, void *data, int64_t size, vt_err *err) VT_MUST_USE;

/* The header of one .npy text: "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }". place: for messages. */
vt_status vt_npy_parse(const char *text, size_t length, const char *place, vt_npy *header, vt_err *err) VT_MUST_USE;

#endif
