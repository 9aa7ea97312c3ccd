/* What augmentation does to pixels, one operation at a time; inside data/ only. uint8 in and out, as spec 5.3 writes
 * them down (RandAugment in its TensorFlow form): sums in float32, results cut off, not rounded. */
#ifndef VT_IMAGE_AUGMENT_H
#define VT_IMAGE_AUGMENT_H

#include "base/status.h"
#include "image/image.h"

typedef enum {
    VT_AUG_IDENTITY,
    VT_AUG_AUTO_CONTRAST, /* each channel stretched from its least..largest to 0..255 */
    VT_AUG_EQUALIZE,      /* each channel's histogram evened */
    VT_AUG_INVERT,
    VT_AUG_ROTATE,        /* by amount degrees about the middle, nearest pixel */
    VT_AUG_POSTERIZE,     /* amount high bits are kept, 0 to 8 */
    VT_AUG_SOLARIZE,      /* values from amount on are inverted */
    VT_AUG_SOLARIZE_ADD,  /* amount is added to values below 128 */
    VT_AUG_COLOR,         /* amount 0: grey, 1: as it was, above: stronger; the next three likewise */
    VT_AUG_CONTRAST,      /* from the constant (number of pixels) / 256, a habit of the original */
    VT_AUG_MEAN_CONTRAST, /* from the mean grey value */
    VT_AUG_BRIGHTNESS,    /* from black */
    VT_AUG_SHARPNESS,     /* from the image smoothed by [1 1 1; 1 5 1; 1 1 1] / 13 */
    VT_AUG_SHEAR_X,       /* out(x, y) = in(x + amount y, y), nearest pixel */
    VT_AUG_SHEAR_Y,
    VT_AUG_TRANSLATE_X, /* out(x, y) = in(x + amount, y) */
    VT_AUG_TRANSLATE_Y,
} vt_augmentation;

/* fill: the value of pixels that come from outside the image. out must not be in. */
vt_status vt_augment(const vt_image *in, vt_augmentation what, double amount, uint8_t fill, vt_image *out,
                     vt_err *err) VT_MUST_USE;

/* Fills rows y .. y + height - 1 of columns x .. x + width - 1, as far as they lie inside. */
void vt_fill_rect(vt_image *im, vt_rect r, uint8_t value);

#endif
