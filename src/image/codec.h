/* The decoders behind vt_image_decode, one file each; only image.c and these files include this header. Data is one
 * whole encoded file whose first bytes were recognised. Messages do not name the file: image.c puts its name in front.
 */
#ifndef VT_IMAGE_CODEC_H
#define VT_IMAGE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "image/image.h"

#define VT_DECODER_BYTES                                                                                               \
    ((size_t)640                                                                                                       \
     << 20) /* of a library's own: the coefficients of a progressive 4:2:0 image at VT_MAX_PIXELS take 537 MB */

/* Decodes at least *part (a rectangle of the stored image); *part becomes its place in im. Its pixels, and whether the
 * file is accepted, are those of a full decode. */
vt_status vt_jpeg_decode(vt_image *im, const void *data, size_t size, vt_rect *part, vt_err *err) VT_MUST_USE;
vt_status vt_jpeg_probe(const void *data, size_t size, int64_t *width, int64_t *height, vt_err *err) VT_MUST_USE;

vt_status vt_png_decode(vt_image *im, const void *data, size_t size, vt_err *err) VT_MUST_USE;
vt_status vt_png_probe(const void *data, size_t size, int64_t *width, int64_t *height, vt_err *err) VT_MUST_USE;
/* *data is malloc'ed, the caller's. */
vt_status vt_png_encode(const vt_image *im, unsigned char **data, size_t *size, vt_err *err) VT_MUST_USE;

vt_status vt_webp_decode(vt_image *im, const void *data, size_t size, vt_err *err) VT_MUST_USE;
vt_status vt_webp_probe(const void *data, size_t size, int64_t *width, int64_t *height, vt_err *err) VT_MUST_USE;

/* 1 to 8, as EXIF counts them; 1 where there is none. data is one file, whatever its format. */
int vt_image_orientation(const void *data, size_t size);
/* The rectangle of the stored image (width x height as stored) that r of the upright one is. */
vt_rect vt_orient_rect(int orientation, int64_t width, int64_t height, vt_rect r);
vt_status vt_orient_image(const vt_image *in, int orientation, vt_image *out, vt_err *err) VT_MUST_USE;

/* Sides and pixel count of a header against the limits of image.h. */
vt_status vt_image_check_size(int64_t width, int64_t height, vt_err *err) VT_MUST_USE;

#endif
