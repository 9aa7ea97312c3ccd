/* Calibration: whether a confidence of 80 % is right 80 times in 100 (Guo et al. 2017, arXiv:1706.04599), and the
 * temperature that makes it more so. Logits z become beta z with beta = 1 / temperature; what follows from them:
 *
 *                 softmax                                      sigmoid
 *   p_c           exp(beta z_c) / sum exp(beta z)              1 / (1 + exp(-beta z_c)), each class by itself
 *   NLL           -ln p_c, mean over the image's classes       sum over classes of -ln p_c or -ln(1 - p_c)
 *   Brier         sum_c (p_c - y_c)^2, y_c 1/k for k classes   sum_c (p_c - y_c)^2, y_c 1
 *
 * The confidence of an image is its largest p_c (with sigmoid: that the best class is there, not that it is alone); it
 * is right when that class (the first of equal logits) is one of the image's. The expected calibration error is over 15
 * bins of equal width, the m-th holding confidences in ((m-1)/15, m/15]: sum over bins of its share of the images times
 * |mean confidence - share of right ones|. A temperature is judged on images that it was not fitted on: images are cut
 * in two halves by a keyed permutation, and each is measured with the temperature of the other. */
#ifndef VT_EVAL_CALIBRATE_H
#define VT_EVAL_CALIBRATE_H

#include <stdbool.h>

#include "base/pool.h"
#include "eval/scores.h"

#define VT_CALIBRATION_BINS 15
#define VT_CALIBRATION_SEED 0 /* of the halves */

typedef enum { VT_CONFIDENCE_SIGMOID, VT_CONFIDENCE_SOFTMAX } vt_confidence;
extern const char *const vt_confidence_names[]; /* "sigmoid", "softmax", NULL */

typedef struct {
    int64_t count, right;
    double confidence; /* mean; 0 for an empty bin */
} vt_reliability_bin;

/* Of the images of one set; means over them. */
typedef struct {
    int64_t count;
    double ece, nll, brier;
    vt_reliability_bin bins[VT_CALIBRATION_BINS];
} vt_calibration_figures;

typedef struct {
    double temperature;
    bool at_limit; /* NLL still falls at the end of the range, 2^-10 or 2^10: all right, or no better than chance */
} vt_temperature;

typedef struct {
    vt_confidence kind;
    vt_temperature fitted[2];             /* on each half */
    vt_calibration_figures before, after; /* all images; after: each with the other half's temperature */
    vt_calibration_figures halves[2][2];  /* [h]: half h, before and after */
} vt_calibration;

/* VT_EINVAL: fewer than 2 images; VT_EDIVERGED: a logit is not finite. */
vt_status vt_calibrate(const vt_scores *s, vt_confidence kind, vt_pool *pool, vt_calibration *c,
                       vt_err *err) VT_MUST_USE;

/* The parts, for tests: images (n of them, indices into s) at a temperature each, and the temperature of least NLL. */
void vt_calibration_measure(const vt_scores *s, vt_confidence kind, const int64_t *images, const double *temperatures,
                            int64_t n, vt_pool *pool, vt_calibration_figures *f);
vt_temperature vt_calibration_fit(const vt_scores *s, vt_confidence kind, const int64_t *images, int64_t n,
                                  vt_pool *pool);

#endif
