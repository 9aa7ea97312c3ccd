/* Vector operations: all that the kernels know of an instruction set. VT_VEC_BITS, set by the build for each library,
 * picks one of three implementations: 512 (AVX-512 F, BW, DQ, VL), 256 (AVX2 with FMA), 128 (the compiler's generic
 * vectors, so plain C on any processor), in files of their own.
 *
 * vf is a vector of VW floats. Each operation rounds as IEEE 754 says, so the only differences between instruction sets
 * are VW (the order of sums over lanes) and vf_fma, which rounds once where there is hardware for it and twice
 * (product, then sum) in the generic version: that one gives the same bits on every architecture. These and
 * base/attr.h are the only files with compiler extensions.
 *
 * vb is a vector of VW pairs of bf16, the even one in the low half of each 32-bit lane. vf_dot_bf16 multiplies and adds
 * pairs as kernels/ops.h says under Types. AVX-512 BF16 has an instruction for it (then VT_DOT_BF16 is 1); elsewhere it
 * is two steps of vf_fma, the same bits in threads that flush denormals. In the generic version too, since a product of
 * two bf16 is exact in float32, except where one overflows, or falls below the normal numbers, on its way. */
#ifndef VT_KERNELS_CPU_VEC_H
#define VT_KERNELS_CPU_VEC_H

#include <stdint.h>
#include <string.h>

#include "base/attr.h"

/* Before a loop of constant length over an array of vectors: gcc then unrolls it early enough to keep the array in
 * registers; clang does so by itself. */
#if defined(__clang__)
#define VT_UNROLL
#else
#define VT_UNROLL _Pragma("GCC unroll 16")
#endif

/* Brings a cache line near; any address is allowed. */
VT_INLINE void vf_prefetch(const float *p)
{
    __builtin_prefetch(p);
}

/* The same, not nearer than the second-level cache. */
VT_INLINE void vb_prefetch_l2(const void *p)
{
    __builtin_prefetch(p, 0, 2);
}

#if VT_VEC_BITS == 512
#include "kernels/cpu/vec_512.h"
#elif VT_VEC_BITS == 256
#include "kernels/cpu/vec_256.h"
#elif VT_VEC_BITS == 128
#include "kernels/cpu/vec_128.h"
#else
#error "VT_VEC_BITS must be 512, 256 or 128"
#endif

#if VT_VEC_BITS != 512

VT_INLINE vf vf_dot_bf16(vf acc, vb a, vb b)
{
    return vf_fma(vb_even(a), vb_even(b), vf_fma(vb_odd(a), vb_odd(b), acc));
}

/* The first n lanes (1 <= n <= VW) from memory, zero in the others; and back. */
VT_INLINE vf vf_load_bf16_n(const uint16_t *p, int n)
{
    uint16_t few[VW] = {0};
    memcpy(few, p, (size_t)n * sizeof *p);
    return vf_load_bf16(few);
}

VT_INLINE vb vb_load_n(const uint16_t *p, int n)
{
    uint16_t few[2 * VW] = {0};
    memcpy(few, p, (size_t)n * sizeof *p);
    return vb_load(few);
}

VT_INLINE void vf_store_bf16_n(uint16_t *p, int n, vf v)
{
    uint16_t few[VW];
    vf_store_bf16(few, v);
    memcpy(p, few, (size_t)n * sizeof *p);
}

#endif

VT_INLINE void vb_transpose(vb r[VW])
{
    vf t[VW];
    VT_UNROLL
    for (int i = 0; i < VW; i++)
        t[i] = vb_as_vf(r[i]);
    vf_transpose(t);
    VT_UNROLL
    for (int i = 0; i < VW; i++)
        r[i] = vf_as_vb(t[i]);
}

#endif
