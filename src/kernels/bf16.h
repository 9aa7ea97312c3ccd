/* bfloat16: the upper 16 bits of a float32, kept in a uint16_t: what is stored, and what products multiply. */
#ifndef VT_KERNELS_BF16_H
#define VT_KERNELS_BF16_H

#include <stdint.h>
#include <string.h>

/* Rounds to nearest, ties to even; a NaN stays a NaN (quiet, with the upper bits of its payload). */
static inline uint16_t vt_bf16_from_f32(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* Exact. */
static inline float vt_bf16_to_f32(uint16_t x)
{
    const uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

#endif
