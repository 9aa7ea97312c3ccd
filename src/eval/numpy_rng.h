/* numpy.random.default_rng(seed), as far as few-shot evaluation needs it: SeedSequence, PCG64 and Generator.permutation
 * (the same numbers as NumPy 1.24 and 2.4). The few-shot subsets that the field compares on are drawn with it, so its
 * numbers are part of the evaluation's definition. */
#ifndef VT_EVAL_NUMPY_RNG_H
#define VT_EVAL_NUMPY_RNG_H

#include <stdint.h>

typedef struct {
    uint64_t high, low;
} vt_u128;

typedef struct {
    vt_u128 state, increment;
    uint32_t spare; /* the upper half of the last 64 bits drawn, not used yet */
    int has_spare;
} vt_numpy_rng;

void vt_numpy_rng_init(vt_numpy_rng *r, uint64_t seed);

/* x[0..n) becomes default_rng.permutation(x); n < 2^32. The generator moves on. */
void vt_numpy_permute(vt_numpy_rng *r, int64_t *x, int64_t n);

#endif
