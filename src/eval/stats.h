/* The small statistics of evaluation: every accuracy comes with its interval. */
#ifndef VT_EVAL_STATS_H
#define VT_EVAL_STATS_H

#include <stdint.h>

typedef struct {
    double value, low, high; /* fractions */
} vt_estimate;

/* right of count, with Wilson's 95 % score interval. count >= 1. */
vt_estimate vt_accuracy(int64_t right, int64_t count);

/* The same for the mean p of n fractions between 0 and 1: their variance is at most p (1 - p), so the interval is as
 * wide as is needed, or wider. */
vt_estimate vt_proportion(double p, int64_t count);

/* Mean and sample standard deviation (0 for n = 1) of n >= 1 values. */
void vt_mean_deviation(const double *x, int64_t n, double *mean, double *deviation);

#endif
