/* Mixup's share (spec 3.6): one number for every update, a function of seed and step alone. */
#ifndef VT_TRAIN_MIXUP_H
#define VT_TRAIN_MIXUP_H

#include <stdint.h>

/* The share of the partner, 1 - max(a, 1-a) with a drawn from Beta(p, p): 0 <= share <= 0.5; 0 for p = 0. p <= 100. */
float vt_mixup_share(uint32_t seed, int64_t step, double p);

#endif
