/* The header of NumPy's .npy files, written and read. The format (numpy.lib.format): the bytes \x93NUMPY, version 1.0
 * as two bytes, the length of what follows as 2 bytes little-endian (4 from version 2.0 on), then a Python dictionary
 * in ASCII, {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }, padded with spaces and ended by a line feed so
 * that the data begin at a multiple of 64. The data follow without gaps, in C order unless fortran_order is True. */
#ifndef VT_BASE_NPY_H
#define VT_BASE_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

#define VT_NPY_RANK 8

typedef struct {
    char descr[8]; /* type of an element: "<f4" float32, "<f2" float16, "<f8", "<i8" int64, "|u1"; < little-endian */
    bool fortran;
    int rank;
    int64_t shape[VT_NPY_RANK];
} vt_npy;

/* Adds the header of a file of version 1.0 to out, which was empty: the data are to follow it. */
void vt_npy_write_header(const vt_npy *array, vt_text *out);

/* Reads the header of version 1.0, 2.0 or 3.0 at the beginning of a file's first `size` bytes; *offset is where the
 * data begin. place names the file. VT_EFORMAT: no such header, a type with fields, a rank above 8, sides below 0 or
 * whose product passes 2^62. */
vt_status vt_npy_read_header(vt_npy *array, const void *data, size_t size, const char *place, size_t *offset,
                             vt_err *err) VT_MUST_USE;

/* Elements of the array; bytes of one by descr, 0 where it is no plain number. */
int64_t vt_npy_count(const vt_npy *array);
size_t vt_npy_item_bytes(const vt_npy *array);

#endif
