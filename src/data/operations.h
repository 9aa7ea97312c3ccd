/* The table of preprocessing operations that preprocess.c parses, prints and runs; inside data/ only. To add one: a row
 * in operations.c, its help beside it, and its line in preprocess.h. */
#ifndef VT_DATA_OPERATIONS_H
#define VT_DATA_OPERATIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/philox.h"
#include "base/status.h"
#include "image/image.h"
#include "data/preprocess.h"

/* What is known of an image's size before any image was seen: the exact size, or only lower bounds. */
typedef struct {
    bool known;
    int64_t height, width; /* exact where known, else least */
} vt_extent;

typedef struct {
    const char *name;
    int min_args, max_args;
    struct {
        int least, most;
    } args[2];
    bool random;
    bool share;  /* an argument in per cent may follow the numbers */
    bool method; /* and a method of resizing may follow these */
    bool crop;   /* args are a size that must fit into the image */
    /* Chooses the rectangle of an image that is all this operation looks at; NULL: the whole image. */
    vt_status (*cut)(const vt_preprocess_op *op, vt_rng *rng, int64_t width, int64_t height, vt_rect *r, vt_err *err);
    /* Of rectangle r of in into out; in may be overwritten. rng is where cut left it. */
    vt_status (*run)(const vt_preprocess_op *op, vt_rng *rng, vt_image *in, vt_rect r, vt_image *out, vt_err *err);
    void (*size)(const vt_preprocess_op *op, vt_extent *e);
} vt_operation;

extern const vt_operation vt_operations[];
extern const int vt_n_operations;

/* Names of vt_resize_method, the first "" (not given); NULL-terminated. */
extern const char *const vt_resize_methods[];

/* H and W of an operation with one or two sizes. */
static inline int64_t vt_op_height(const vt_preprocess_op *op)
{
    return (int64_t)op->args[0];
}

static inline int64_t vt_op_width(const vt_preprocess_op *op)
{
    return (int64_t)op->args[op->n_args > 1 ? 1 : 0];
}

#endif
