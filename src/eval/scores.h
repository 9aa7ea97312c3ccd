/* The logits of a whole pass, kept: what figures need that cannot be added up image by image (calibration, average
 * precision). */
#ifndef VT_EVAL_SCORES_H
#define VT_EVAL_SCORES_H

#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

/* Of the images that count, over the classes that a prediction may be. */
typedef struct {
    int64_t count, classes;
    int width;       /* of a row of labels */
    float *logits;   /* (count, classes) */
    int32_t *labels; /* (count, width): ascending, at least one, then -1 */
} vt_scores;

/* Room for `capacity` images; VT_ENOMEM where the machine has not the memory. Count begins at 0. */
vt_status vt_scores_new(vt_scores *s, int64_t capacity, int64_t classes, int width, vt_err *err) VT_MUST_USE;
void vt_scores_release(vt_scores *s);
size_t vt_scores_bytes(int64_t capacity, int64_t classes, int width);

/* Mean average precision. The average precision of a class: all images in falling order of its logit (equal ones in
 * theirs), and the mean over its own images of the share of its own among those up to there. The mean is over classes
 * that have an image; their number is *met. */
double vt_mean_average_precision(const vt_scores *s, int64_t *met);

#endif
