/* NumPy's default generator. Three parts, each by its published definition:
 *
 * - SeedSequence (NumPy documentation, after O'Neill's seed_seq_fe): the seed's 32-bit words are hashed into a pool of
 *   four words, and the pool into the generator's 256 bits of state
 * - PCG64 (O'Neill 2014, XSL-RR): state = state * M + increment mod 2^128, then the halves' xor, rotated
 * - permutation: Fisher-Yates from the end; an index up to a bound is the first 32-bit draw, cut to the bound's bits,
 *   that is small enough; 32-bit draws are the low and then the high half of a 64-bit draw
 *
 * 128-bit numbers are two 64-bit words: C17 has no wider type. */
#include "eval/numpy_rng.h"

#include <assert.h>

#define POOL 4

static const vt_u128 multiplier = {2549297995355413924u, 4865540595714422341u};

static vt_u128 add128(vt_u128 a, vt_u128 b)
{
    vt_u128 sum = {a.high + b.high, a.low + b.low};
    sum.high += sum.low < a.low;
    return sum;
}

/* a * b mod 2^64 in low, the upper 64 bits in high: schoolbook on 32-bit halves. */
static vt_u128 multiply64(uint64_t a, uint64_t b)
{
    uint64_t a0 = a & 0xffffffffu, a1 = a >> 32, b0 = b & 0xffffffffu, b1 = b >> 32;
    uint64_t p00 = a0 * b0, p01 = a0 * b1, p10 = a1 * b0, p11 = a1 * b1;
    uint64_t middle = (p00 >> 32) + (p01 & 0xffffffffu) + (p10 & 0xffffffffu);
    return (vt_u128){p11 + (p01 >> 32) + (p10 >> 32) + (middle >> 32), middle << 32 | (p00 & 0xffffffffu)};
}

static vt_u128 multiply128(vt_u128 a, vt_u128 b)
{
    vt_u128 product = multiply64(a.low, b.low);
    product.high += a.high * b.low + a.low * b.high;
    return product;
}

static void advance(vt_numpy_rng *r)
{
    r->state = add128(multiply128(r->state, multiplier), r->increment);
}

static uint64_t next64(vt_numpy_rng *r)
{
    advance(r);
    uint64_t x = r->state.high ^ r->state.low;
    unsigned turn = (unsigned)(r->state.high >> 58);
    return x >> turn | x << ((64 - turn) & 63);
}

static uint32_t next32(vt_numpy_rng *r)
{
    if (r->has_spare) {
        r->has_spare = 0;
        return r->spare;
    }
    uint64_t x = next64(r);
    r->spare = (uint32_t)(x >> 32);
    r->has_spare = 1;
    return (uint32_t)x;
}

static uint32_t hash_mix(uint32_t value, uint32_t *constant, uint32_t multiplier32)
{
    value ^= *constant;
    *constant *= multiplier32;
    value *= *constant;
    return value ^ value >> 16;
}

static uint32_t pool_mix(uint32_t x, uint32_t y)
{
    uint32_t mixed = 0xca01f9ddu * x - 0x4973f715u * y;
    return mixed ^ mixed >> 16;
}

/* SeedSequence(seed).generate_state(4, uint64) */
static void seed_sequence(uint64_t seed, uint64_t out[4])
{
    uint32_t pool[POOL] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, constant = 0x43b0d7e5u;
    for (int i = 0; i < POOL; i++)
        pool[i] = hash_mix(pool[i], &constant, 0x931e8875u);
    for (int from = 0; from < POOL; from++)
        for (int to = 0; to < POOL; to++)
            if (from != to)
                pool[to] = pool_mix(pool[to], hash_mix(pool[from], &constant, 0x931e8875u));
    constant = 0x8b51f9ddu;
    for (int i = 0; i < 4; i++) {
        uint64_t low = hash_mix(pool[2 * i % POOL], &constant, 0x58f38dedu);
        uint64_t high = hash_mix(pool[(2 * i + 1) % POOL], &constant, 0x58f38dedu);
        out[i] = high << 32 | low;
    }
}

void vt_numpy_rng_init(vt_numpy_rng *r, uint64_t seed)
{
    uint64_t words[4];
    seed_sequence(seed, words);
    vt_u128 initial = {words[0], words[1]};
    *r = (vt_numpy_rng){.increment = {words[2] << 1 | words[3] >> 63, words[3] << 1 | 1}};
    advance(r);
    r->state = add128(r->state, initial);
    advance(r);
}

/* Uniform in 0 .. max, max < 2^32: draws cut to max's bits until one is small enough. */
static uint32_t up_to(vt_numpy_rng *r, uint32_t max)
{
    uint32_t mask = max, x;
    for (int shift = 1; shift < 32; shift *= 2)
        mask |= mask >> shift;
    do
        x = next32(r) & mask;
    while (x > max);
    return x;
}

void vt_numpy_permute(vt_numpy_rng *r, int64_t *x, int64_t n)
{
    assert(n >= 0 && n < INT64_C(0x100000000));
    for (int64_t i = n - 1; i >= 1; i--) {
        uint32_t j = up_to(r, (uint32_t)i);
        int64_t t = x[i];
        x[i] = x[j];
        x[j] = t;
    }
}
