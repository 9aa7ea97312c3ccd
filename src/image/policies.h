/* What to do to an image, drawn at random: the policies over the operations of augment.h. Inside data/ only. Each
 * draws from rng in the order that policies.c states. in is overwritten; the result is in out. */
#ifndef VT_IMAGE_POLICIES_H
#define VT_IMAGE_POLICIES_H

#include "base/philox.h"
#include "base/status.h"
#include "image/image.h"

#define VT_MAX_RANDAUGMENT_LEVEL 30

/* n times one of 16 operations at `level`, 0 to VT_MAX_RANDAUGMENT_LEVEL; 10 is full strength (spec 5.3). */
vt_status vt_randaugment(vt_image *in, int n, int level, vt_rng *rng, vt_image *out, vt_err *err) VT_MUST_USE;

/* One of 14 operations at one of 31 strengths: the wide space of TrivialAugment (arXiv 2103.10158), with torchvision's
 * ranges: shear to 0.99, shift to 32 pixels, turn to 135 degrees, factors 0.01 to 1.99, 8 to 2 bits, threshold 255 to
 * 0. Pixels from outside are black. */
vt_status vt_trivial_augment(vt_image *in, vt_rng *rng, vt_image *out, vt_err *err) VT_MUST_USE;

/* With that probability, a rectangle of random bytes (arXiv 1708.04896): 2 % to a third of the area, height / width
 * from 0.3 to 3.3, uniform in the logarithm; at most 10 attempts to fit one into the image. In place. */
void vt_random_erasing(vt_image *im, double probability, vt_rng *rng);

#endif
