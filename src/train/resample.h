/* Weights that follow from the resolution, for another one: position embeddings (spec 7.2) and the patch embedding. */
#ifndef VT_TRAIN_RESAMPLE_H
#define VT_TRAIN_RESAMPLE_H

#include <stdint.h>

#include "base/status.h"

/* How a grid of positions is read between its points: big_vision's way (corners stay corners, no antialias) or timm's
 * (pixel centres, cubic with a = -0.5, antialias). auto: timm's, for all models but big_vision's and vitro's own. */
typedef enum { VT_RESAMPLE_AUTO, VT_RESAMPLE_BILINEAR, VT_RESAMPLE_BICUBIC } vt_resample;
extern const char *const vt_resample_names[]; /* "auto", "bilinear", "bicubic", NULL */

/* from (from_h, from_w, width) -> to (to_h, to_w, width). kind is not auto. */
void vt_resample_positions(const float *from, int64_t from_h, int64_t from_w, vt_resample kind, float *to, int64_t to_h,
                           int64_t to_w, int64_t width);

/* from (n, from_side, from_side) -> to (n, to_side, to_side): FlexiViT's resize (its section 3.4). With B the matrix
 * that resizes a patch of images (timm's bicubic), the new weights are pinv(B^T) times the old ones, so that a resized
 * patch gives the same token where B loses nothing. VT_EUNSUPPORTED where B cannot be inverted. */
vt_status vt_resample_patch(const float *from, int64_t from_side, float *to, int64_t to_side, int64_t n,
                            vt_err *err) VT_MUST_USE;

#endif
