/* The tensors of somebody else's file, by name: a safetensors file, a folder of them with an index, or a NumPy archive.
 * Opening reads names, types and shapes; numbers are read when they are asked for, as float32, through a small buffer.
 */
#ifndef VT_TRAIN_WEIGHTS_H
#define VT_TRAIN_WEIGHTS_H

#include <stdint.h>

#include "base/status.h"
#include "train/npz.h"

#define VT_WEIGHT_DIMS 5

typedef enum { VT_WEIGHT_F32, VT_WEIGHT_F16, VT_WEIGHT_BF16, VT_WEIGHT_F64, VT_WEIGHT_OTHER } vt_weight_type;

typedef struct {
    char *name;
    char stored[16];     /* its type as the file spells it */
    vt_weight_type type; /* OTHER: no numbers that a model has; cannot be read */
    int n_dims;
    int64_t dims[VT_WEIGHT_DIMS], count;
    int file;       /* which of the files */
    int64_t offset; /* of its numbers in the file; of an archive the member */
} vt_weight;

typedef struct {
    vt_weight *list;
    int n, capacity;
    char **files;
    int n_files, fd; /* fd: of files[open_file], or -1 */
    int open_file;
    vt_npz *npz;
} vt_weights;

/* path: a file. NAME.index.json stands for the files that it lists. {0} and what failed to open may be closed. */
vt_status vt_weights_open(vt_weights *w, const char *path, vt_err *err) VT_MUST_USE;
void vt_weights_close(vt_weights *w);

/* Numbers first .. first + n - 1 of a tensor; one that is not finite is VT_EFORMAT. */
vt_status vt_weights_read(vt_weights *w, const vt_weight *t, int64_t first, int64_t n, float *out,
                          vt_err *err) VT_MUST_USE;

/* "2 x 3 x 4", or "a single number"; text of at least 128 bytes, returned. */
char *vt_weight_shape(char *text, int n_dims, const int64_t *dims);

#endif
