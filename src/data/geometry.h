/* Rectangles of an image and the operations on them that preprocess.c puts together; inside data/ only. */
#ifndef VT_DATA_GEOMETRY_H
#define VT_DATA_GEOMETRY_H

#include <stdint.h>

#include "base/philox.h"
#include "base/status.h"
#include "data/image.h"

/* x, y: the upper left corner; the rectangle lies inside its image. */
typedef struct {
    int64_t x, y, width, height;
} vt_rect;

/* TF bilinear resize of a rectangle of in; outside of it nothing is read. out must not be in. */
vt_status vt_resize_bilinear_rect(const vt_image *in, vt_rect r, int64_t height, int64_t width, vt_image *out,
                                  vt_err *err) VT_MUST_USE;

/* Copies a rectangle of in. */
vt_status vt_crop_rect(const vt_image *in, vt_rect r, vt_image *out, vt_err *err) VT_MUST_USE;

/* in with n zero pixels on each side. */
vt_status vt_pad_image(const vt_image *in, int64_t n, vt_image *out, vt_err *err) VT_MUST_USE;

void vt_flip_image(vt_image *im);

/* The rectangle of TF's sample_distorted_bounding_box for a whole image: aspect 0.75 to 1.33, area min_area (0 to 1) to
 * 1 of the image, at most 100 attempts, then the whole image. */
vt_rect vt_inception_rect(int64_t width, int64_t height, float min_area, vt_rng *rng);

#endif
