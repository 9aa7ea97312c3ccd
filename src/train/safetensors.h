/* safetensors files: an 8-byte little-endian header length, a JSON header, the data. Written in streaming order through
 * a small buffer and hashed on the way; read with every length and offset checked. Loading runs no code. */
#ifndef VT_TRAIN_SAFETENSORS_H
#define VT_TRAIN_SAFETENSORS_H

#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "device/device.h"
#include "kernels/tensor.h"

typedef enum { VT_DTYPE_F32, VT_DTYPE_BF16 } vt_dtype;
extern const char *const vt_dtype_names[]; /* "F32", "BF16" */

typedef struct {
    char name[96];
    vt_dtype dtype;
    int n_dims;
    int64_t dims[VT_MAX_DIMS], count;
    void *data; /* device memory to save from or load into; host memory where no device is given */
} vt_stored_tensor;

size_t vt_stored_bytes(const vt_stored_tensor *t);

/* Writes path (not atomically: checkpoints are whole folders that are renamed) and syncs it; hex receives the file's
 * hash, bytes its size. device NULL: the tensors lie in host memory. */
vt_status vt_safetensors_save(const char *path, vt_device *device, const vt_stored_tensor *tensors, int n,
                              char hex[VT_HASH_HEX], int64_t *bytes, vt_err *err) VT_MUST_USE;

/* Fills every listed tensor from the file: name, type and shape must agree; a tensor missing in the file, one too many,
 * or a broken file is an error that names it. Nothing is loaded unless the whole header agrees. */
vt_status vt_safetensors_load(const char *path, vt_device *device, const vt_stored_tensor *tensors, int n,
                              vt_err *err) VT_MUST_USE;

/* A file of any program: hands every tensor of the header on, its place checked against the file's length; whether its
 * bytes are as many as type and shape ask for is the receiver's to check. */
#define VT_SAFETENSORS_DIMS 8
typedef struct {
    const char *name;
    char dtype[16]; /* "F32", "F16", "BF16", "I64", ... */
    int n_dims;
    int64_t dims[VT_SAFETENSORS_DIMS], count;
    int64_t offset, bytes; /* in the file */
} vt_safetensors_entry;
typedef vt_status vt_safetensors_fn(void *context, const vt_safetensors_entry *e, vt_err *err);
vt_status vt_safetensors_scan(const char *path, vt_safetensors_fn *each, void *context, vt_err *err) VT_MUST_USE;

#endif
