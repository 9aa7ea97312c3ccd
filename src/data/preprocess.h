/* Preprocessing as a short readable list, "[inception_crop(28), flip]": each image goes through the operations in
 * order. One table (operations.c) holds the operations; `vitro recipe keys` and docs list them from it. Equations:
 * spec 5.3.
 *
 *   resize(S) (H,W)           to that size, aspect not kept
 *   resize_small(S)           shorter side to S, aspect kept
 *   central_crop(S) (H,W)     offset floor((side - S)/2)
 *   center_crop(S) (H,W)      offset (side - S)/2, half to even (torchvision)
 *   random_crop(S) (H,W)      offset uniform; random
 *   pad(N)                    N zero pixels on each side (before random_crop)
 *   inception_crop(S) (H,W)   the paper's crop: area 5-100 %, aspect 0.75-1.33, then resize; random
 *   inception_crop(.., MIN)   the same with area MIN% (e.g. 60%) to 100 %
 *   flip                      left-right with probability 1/2; random
 *   randaugment(N,M)          N of 16 operations at level M (policies.h); random
 *   trivial_augment           one of 14 operations at a random strength (policies.h); random
 *   random_erasing(P%)        noise in a rectangle, probability P % (25 %; policies.h); random
 *
 * A method of resizing may stand behind the sizes of resize, resize_small and inception_crop: tf_bilinear (half-pixel,
 * no antialias, truncating cast; the default of resize and inception_crop), tf_area (the default of resize_small), and
 * Pillow's bilinear, bicubic and box, bit for bit.
 *
 * A random operation draws from Philox at (seed, VT_STREAM_AUGMENT, sample position in the run, index of the
 * operation). */
#ifndef VT_DATA_PREPROCESS_H
#define VT_DATA_PREPROCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"
#include "image/image.h"
#include "data/source.h"

#define VT_MAX_PREPROCESS 8

typedef struct {
    int kind; /* row of the table */
    double args[2];
    int n_args;
    double share; /* the argument in per cent behind them; 0: not given */
    int method;   /* of resizing, behind these: row of vt_resize_methods; 0: not given */
} vt_preprocess_op;

typedef struct {
    vt_preprocess_op ops[VT_MAX_PREPROCESS];
    int n_ops;
    bool orient; /* files are turned upright as their EXIF orientation says, before the list */
} vt_preprocess;

/* Parses the list (the brackets may be left out), orient false; messages point at the item and the column in text. */
vt_status vt_preprocess_parse(vt_preprocess *p, const char *text, vt_err *err) VT_MUST_USE;
/* The list as text that parses to the same. */
void vt_preprocess_print(const vt_preprocess *p, vt_text *out);
bool vt_preprocess_is_random(const vt_preprocess *p);
/* Whether every image, whatever its size, ends as height x width (or is refused by a crop larger than it); else
 * VT_EINVAL says what to add. */
vt_status vt_preprocess_check(const vt_preprocess *p, int64_t height, int64_t width, vt_err *err) VT_MUST_USE;

/* Operations before the first random one: what may be computed once and kept. */
int vt_preprocess_fixed(const vt_preprocess *p);
/* The size that operations 0 .. end - 1 make of an image of that height and width; of 0 x 0, an image of any size.
 * False where there is no such size, or one cannot be told. */
bool vt_preprocess_extent(const vt_preprocess *p, int end, int64_t *height, int64_t *width);

/* Runs the list: *image is replaced by the result (spare is a second buffer, reused). Fails only where an operation
 * cannot apply (a crop larger than its image), naming both sizes. */
vt_status vt_preprocess_run(const vt_preprocess *p, uint32_t seed, uint64_t position, vt_image *image, vt_image *spare,
                            vt_err *err) VT_MUST_USE;
/* Runs operations first .. end - 1, each as in the whole list: [0, k) and then [k, n_ops) is the whole. */
vt_status vt_preprocess_run_part(const vt_preprocess *p, int first, int end, uint32_t seed, uint64_t position,
                                 vt_image *image, vt_image *spare, vt_err *err) VT_MUST_USE;

/* What vt_source_fetch left in b becomes b->image behind the whole list. A file is decoded only as far as the list's
 * first operation needs it; the pixels are those of a full decode. name (of the sample) stands before a message. */
vt_status vt_preprocess_load(const vt_preprocess *p, uint32_t seed, uint64_t position, vt_read_buffer *b,
                             vt_image *spare, const char *name, vt_err *err) VT_MUST_USE;
/* The same, behind operations 0 .. end - 1. */
vt_status vt_preprocess_load_part(const vt_preprocess *p, int end, uint32_t seed, uint64_t position, vt_read_buffer *b,
                                  vt_image *spare, const char *name, vt_err *err) VT_MUST_USE;

typedef struct {
    const char *form, *help;
} vt_preprocess_help_row;
extern const vt_preprocess_help_row vt_preprocess_help[]; /* NULL-terminated, in table order */

#endif
