/* Random numbers that depend on nothing but their address: Philox4x32-10 (Salmon et al., SC 2011). The key is the seed
 * and a stream, the counter names what the number is for; so any thread, worker, process or restart draws the same. */
#ifndef VT_BASE_PHILOX_H
#define VT_BASE_PHILOX_H

#include <stdint.h>

/* What numbers are drawn for: the high half of the key. */
typedef enum {
    VT_STREAM_INIT = 1,      /* parameters: use = FNV-1a of the name, index = element / 4 */
    VT_STREAM_ORDER = 2,     /* the epoch's order: use = round, index = epoch */
    VT_STREAM_AUGMENT = 3,   /* preprocessing: index = position of the sample in the run, use counts operations */
    VT_STREAM_SYNTHETIC = 4, /* synthetic images: index = image */
    VT_STREAM_DROP = 5,      /* dropout: index = position of the sample in the run, use = the place in the model */
    VT_STREAM_MIXUP = 6,     /* mixup's share: index = step */
    VT_STREAM_SUBSTITUTE = 7, /* another seed of the order, for stand-ins of bad samples: use = which */
    VT_STREAM_TEST = 100     /* tests and golden files */
} vt_stream;

typedef struct {
    uint32_t v[4];
} vt_philox4;

/* Four random words for key (seed, stream) and counter (low and high half of index, use, block). */
vt_philox4 vt_philox(uint32_t seed, uint32_t stream, uint64_t index, uint32_t use, uint32_t block);

/* FNV-1a, 32 bits, of a name: the `use` of a tensor's numbers. */
uint32_t vt_fnv1a(const char *name);

/* A cursor over one address: successive words of blocks 0, 1, 2, ... */
typedef struct {
    uint32_t seed, stream, use, block;
    uint64_t index;
    vt_philox4 words;
    int left; /* words not yet used */
} vt_rng;

vt_rng vt_rng_at(uint32_t seed, uint32_t stream, uint64_t index, uint32_t use);
uint32_t vt_rng_u32(vt_rng *r);
float vt_rng_uniform(vt_rng *r);              /* [0, 1), multiples of 2^-24 */
uint32_t vt_rng_below(vt_rng *r, uint32_t n); /* 0 .. n-1, unbiased (rejection); n >= 1 */
double vt_rng_normal(vt_rng *r);              /* standard normal from two words, Box-Muller, |x| < 6.7 */

/* Position p of a keyed permutation of 0 .. n-1 (12-round Feistel network over the next power of four, cycle-walked):
 * the order of an epoch at any position without a shuffle buffer. n >= 1, 0 <= p < n. */
uint64_t vt_permute(uint32_t seed, uint64_t epoch, uint64_t n, uint64_t p);

#endif
