/* Rectangles of an image and the operations on them that operations.c puts together; inside data/ only. */
#ifndef VT_IMAGE_GEOMETRY_H
#define VT_IMAGE_GEOMETRY_H

#include <stdint.h>

#include "base/philox.h"
#include "base/status.h"
#include "image/image.h"

/* Resizes of a rectangle of in, outside of which nothing is read; out must not be in. TensorFlow's, without antialias
 * (resize.c), and Pillow's, with it (resample.c). */
vt_status vt_resize_tf_bilinear(const vt_image *in, vt_rect r, int64_t height, int64_t width, vt_image *out,
                                vt_err *err) VT_MUST_USE;
vt_status vt_resize_tf_area(const vt_image *in, vt_rect r, int64_t height, int64_t width, vt_image *out,
                            vt_err *err) VT_MUST_USE;
typedef enum { VT_PILLOW_BOX, VT_PILLOW_BILINEAR, VT_PILLOW_BICUBIC } vt_pillow_filter;
vt_status vt_resize_pillow(const vt_image *in, vt_rect r, int64_t height, int64_t width, vt_pillow_filter filter,
                           vt_image *out, vt_err *err) VT_MUST_USE;

/* Copies a rectangle of in. */
vt_status vt_crop_rect(const vt_image *in, vt_rect r, vt_image *out, vt_err *err) VT_MUST_USE;

/* in with n zero pixels on each side. */
vt_status vt_pad_image(const vt_image *in, int64_t n, vt_image *out, vt_err *err) VT_MUST_USE;

void vt_flip_image(vt_image *im);

/* The rectangle of TF's sample_distorted_bounding_box for a whole image: aspect 0.75 to 1.33, area min_area (0 to 1) to
 * 1 of the image, at most 100 attempts, then the whole image. */
vt_rect vt_inception_rect(int64_t width, int64_t height, float min_area, vt_rng *rng);

#endif
