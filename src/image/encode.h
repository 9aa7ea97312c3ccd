/* Pixels to files in memory. */
#ifndef VT_IMAGE_ENCODE_H
#define VT_IMAGE_ENCODE_H

#include <stddef.h>

#include "base/status.h"
#include "image/image.h"

/* PNG, or JPEG of a quality from 1 to 100: baseline, 4:4:4 (colour at full resolution), optimised Huffman tables, the
 * accurate integer DCT; PNG takes no quality. The same pixels give the same bytes with the same libraries. *data is
 * malloc'ed, the caller's. */
vt_status vt_image_encode(const vt_image *im, vt_image_format format, int quality, unsigned char **data, size_t *size,
                          vt_err *err) VT_MUST_USE;

#endif
