/* Vector operations: all that the kernels know of an instruction set. VT_VEC_BITS, set by the build for each library,
 * picks one of three implementations: 512 (AVX-512 F, BW, DQ, VL), 256 (AVX2 with FMA), 128 (the compiler's generic
 * vectors, so plain C on any processor).
 *
 * vf is a vector of VW floats. Each operation rounds as IEEE 754 says, so the only differences between instruction sets
 * are VW (the order of sums over lanes) and vf_fma, which rounds once where there is hardware for it and twice
 * (product, then sum) in the generic version: that one gives the same bits on every architecture. This and base/attr.h
 * are the only files with compiler extensions.
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

#include <immintrin.h>

#define VW 16
typedef __m512 vf;
typedef __m512d vd; /* VW / 2 doubles */

VT_INLINE vf vf_zero(void)
{
    return _mm512_setzero_ps();
}

VT_INLINE vf vf_set1(float x)
{
    return _mm512_set1_ps(x);
}

VT_INLINE vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

VT_INLINE void vf_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}

/* The first n lanes (1 <= n <= VW) from memory, zero in the others; nothing else is read. */
VT_INLINE vf vf_load_n(const float *p, int n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1U << n) - 1U), p);
}

/* Stores the first n lanes (1 <= n <= VW); nothing else is written. */
VT_INLINE void vf_store_n(float *p, int n, vf v)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1U << n) - 1U), v);
}

VT_INLINE vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

VT_INLINE vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

VT_INLINE vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

VT_INLINE vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

VT_INLINE vf vf_sqrt(vf a)
{
    return _mm512_sqrt_ps(a);
}

/* a * b + c */
VT_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* c - a * b */
VT_INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

/* a < b ? a : b; a NaN in b stays. */
VT_INLINE vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

/* a > b ? a : b; a NaN in b stays. */
VT_INLINE vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

VT_INLINE vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}

/* x < 0 ? a : b in each lane */
VT_INLINE vf vf_if_negative(vf x, vf a, vf b)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), b, a);
}

/* x * 2^n where the low bits of shifted hold n (see vf_exp); the result must be a normal number. */
VT_INLINE vf vf_scale_by_low_bits(vf x, vf shifted)
{
    __m512i n = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), n));
}

/* Splits a positive normal x into 2^e * m with m in [sqrt(1/2), sqrt(2)): returns m, e as floats in *exponent. */
VT_INLINE vf vf_split_exponent(vf x, vf *exponent)
{
    __m512i bits = _mm512_sub_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x3f3504f3));
    *exponent = _mm512_cvtepi32_ps(_mm512_srai_epi32(bits, 23));
    __m512i mantissa = _mm512_and_si512(bits, _mm512_set1_epi32(0x007fffff));
    return _mm512_castsi512_ps(_mm512_add_epi32(mantissa, _mm512_set1_epi32(0x3f3504f3)));
}

/* The sum of all lanes, halves first: lane i + lane i + VW/2, and so on. */
VT_INLINE float vf_sum(vf v)
{
    __m256 y = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

/* Transposes VW vectors of VW lanes in place. */
VT_INLINE void vf_transpose(vf r[VW])
{
    vf t[VW];
    VT_UNROLL
    for (int i = 0; i < VW; i += 4) {
        __m512 a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
        __m512 c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
        t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c)));
        t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
        t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d)));
    }
    VT_UNROLL
    for (int i = 0; i < 4; i++) {
        __m512 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
        __m512 c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88), d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
        r[i] = _mm512_shuffle_f32x4(a, c, 0x88);
        r[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
        r[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
}

#ifdef __AVX512BF16__
#define VT_DOT_BF16 1
#else
#define VT_DOT_BF16 0
#endif

typedef __m512i vb;

/* VW pairs, or 2 VW numbers in line; the address need not be aligned. */
VT_INLINE vb vb_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

/* The first n numbers in line (1 <= n <= 2 VW), zero behind them; nothing else is read. */
VT_INLINE vb vb_load_n(const uint16_t *p, int n)
{
    return _mm512_maskz_loadu_epi16((__mmask32)(0xffffffffU >> (32 - n)), p);
}

VT_INLINE void vb_store(uint32_t *p, vb v)
{
    _mm512_storeu_si512(p, v);
}

VT_INLINE vb vb_set1(uint32_t pair)
{
    return _mm512_set1_epi32((int)pair);
}

/* The even and the odd numbers of the pairs, exactly. */
VT_INLINE vf vb_even(vb v)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(v, 16));
}

VT_INLINE vf vb_odd(vb v)
{
    return _mm512_castsi512_ps(_mm512_and_si512(v, _mm512_set1_epi32((int)0xffff0000U)));
}

/* Pairs of 2 VW columns of two rows: (even[i], odd[i]) is lane i of lo, then hi. */
VT_INLINE void vb_zip(const uint16_t *even, const uint16_t *odd, vb *lo, vb *hi)
{
    const __m512i first =
        _mm512_set_epi32(0x2f000f, 0x2e000e, 0x2d000d, 0x2c000c, 0x2b000b, 0x2a000a, 0x290009, 0x280008, 0x270007,
                         0x260006, 0x250005, 0x240004, 0x230003, 0x220002, 0x210001, 0x200000);
    const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    const __m512i e = _mm512_loadu_si512(even), o = _mm512_loadu_si512(odd);
    *lo = _mm512_permutex2var_epi16(e, first, o);
    *hi = _mm512_permutex2var_epi16(e, second, o);
}

VT_INLINE vf vb_as_vf(vb v)
{
    return _mm512_castsi512_ps(v);
}

VT_INLINE vb vf_as_vb(vf v)
{
    return _mm512_castps_si512(v);
}

/* bf16 to float, exactly; and back, rounded to nearest even, a NaN staying one, a denormal becoming zero. */
VT_INLINE vf vf_load_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

VT_INLINE vf vf_load_bf16_n(const uint16_t *p, int n)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16((__mmask16)((1U << n) - 1U), p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

#if VT_DOT_BF16

VT_INLINE vf vf_dot_bf16(vf acc, vb a, vb b)
{
    return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
}

VT_INLINE __m256i vf_to_bf16(vf v)
{
    return (__m256i)_mm512_cvtneps_pbh(v);
}

/* 2 VW numbers in line: pair i holds numbers 2 i and 2 i + 1 of lo, hi. */
VT_INLINE vb vb_line(vf lo, vf hi)
{
    return (__m512i)_mm512_cvtne2ps_pbh(hi, lo);
}

#else

VT_INLINE vf vf_dot_bf16(vf acc, vb a, vb b)
{
    return vf_fma(vb_even(a), vb_even(b), vf_fma(vb_odd(a), vb_odd(b), acc));
}

VT_INLINE __m256i vf_to_bf16(vf v)
{
    __m512i bits = _mm512_castps_si512(v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x00400000));
    __mmask16 denormal = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7f800000));
    rounded = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet);
    rounded = _mm512_mask_and_epi32(rounded, denormal, bits, _mm512_set1_epi32((int)0x80000000U));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

VT_INLINE vb vb_line(vf lo, vf hi)
{
    return _mm512_inserti64x4(_mm512_castsi256_si512(vf_to_bf16(lo)), vf_to_bf16(hi), 1);
}

#endif

/* Pairs of which lane i is (even[i], odd[i]), rounded. */
VT_INLINE vb vb_pair(vf even, vf odd)
{
    __m512i hi = _mm512_slli_epi32(_mm512_cvtepu16_epi32(vf_to_bf16(odd)), 16);
    return _mm512_or_si512(_mm512_cvtepu16_epi32(vf_to_bf16(even)), hi);
}

VT_INLINE void vf_store_bf16(uint16_t *p, vf v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, vf_to_bf16(v));
}

VT_INLINE void vf_store_bf16_n(uint16_t *p, int n, vf v)
{
    _mm256_mask_storeu_epi16(p, (__mmask16)((1U << n) - 1U), vf_to_bf16(v));
}

/* Adds the squares of VW floats, exact in double, to two vectors of sums. */
VT_INLINE void vd_add_squares(vd sum[2], vf x)
{
    __m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(x)), hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    sum[0] = _mm512_fmadd_pd(lo, lo, sum[0]);
    sum[1] = _mm512_fmadd_pd(hi, hi, sum[1]);
}

#elif VT_VEC_BITS == 256

#include <immintrin.h>

#define VW 8
typedef __m256 vf;
typedef __m256d vd;

VT_INLINE vf vf_zero(void)
{
    return _mm256_setzero_ps();
}

VT_INLINE vf vf_set1(float x)
{
    return _mm256_set1_ps(x);
}

VT_INLINE vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

VT_INLINE void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v);
}

VT_INLINE __m256i vf_lanes_below(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

VT_INLINE vf vf_load_n(const float *p, int n)
{
    return _mm256_maskload_ps(p, vf_lanes_below(n));
}

VT_INLINE void vf_store_n(float *p, int n, vf v)
{
    _mm256_maskstore_ps(p, vf_lanes_below(n), v);
}

VT_INLINE vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}

VT_INLINE vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}

VT_INLINE vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}

VT_INLINE vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}

VT_INLINE vf vf_sqrt(vf a)
{
    return _mm256_sqrt_ps(a);
}

VT_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

VT_INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

VT_INLINE vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}

VT_INLINE vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}

VT_INLINE vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a);
}

VT_INLINE vf vf_if_negative(vf x, vf a, vf b)
{
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
}

VT_INLINE vf vf_scale_by_low_bits(vf x, vf shifted)
{
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), n));
}

VT_INLINE vf vf_split_exponent(vf x, vf *exponent)
{
    __m256i bits = _mm256_sub_epi32(_mm256_castps_si256(x), _mm256_set1_epi32(0x3f3504f3));
    *exponent = _mm256_cvtepi32_ps(_mm256_srai_epi32(bits, 23));
    __m256i mantissa = _mm256_and_si256(bits, _mm256_set1_epi32(0x007fffff));
    return _mm256_castsi256_ps(_mm256_add_epi32(mantissa, _mm256_set1_epi32(0x3f3504f3)));
}

VT_INLINE float vf_sum(vf v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

VT_INLINE void vf_transpose(vf r[VW])
{
    vf t[VW];
    VT_UNROLL
    for (int i = 0; i < VW; i += 4) {
        __m256 a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
        __m256 c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44);
        t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    VT_UNROLL
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

#define VT_DOT_BF16 0
typedef __m256i vb;

VT_INLINE vb vb_load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

VT_INLINE void vb_store(uint32_t *p, vb v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, v);
}

VT_INLINE vb vb_set1(uint32_t pair)
{
    return _mm256_set1_epi32((int)pair);
}

VT_INLINE vf vb_even(vb v)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}

VT_INLINE vf vb_odd(vb v)
{
    return _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32((int)0xffff0000U)));
}

VT_INLINE void vb_zip(const uint16_t *even, const uint16_t *odd, vb *lo, vb *hi)
{
    const __m256i e = _mm256_loadu_si256((const __m256i *)(const void *)even);
    const __m256i o = _mm256_loadu_si256((const __m256i *)(const void *)odd);
    const __m256i x = _mm256_unpacklo_epi16(e, o), y = _mm256_unpackhi_epi16(e, o);
    *lo = _mm256_permute2x128_si256(x, y, 0x20);
    *hi = _mm256_permute2x128_si256(x, y, 0x31);
}

VT_INLINE vf vb_as_vf(vb v)
{
    return _mm256_castsi256_ps(v);
}

VT_INLINE vb vf_as_vb(vf v)
{
    return _mm256_castps_si256(v);
}

VT_INLINE vf vf_load_bf16(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

/* Rounded, in the high half of each lane; the low half is of no meaning. */
VT_INLINE __m256i vf_round_bf16(vf v)
{
    __m256i bits = _mm256_castps_si256(v), exponent = _mm256_set1_epi32(0x7f800000);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
    __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    __m256i denormal = _mm256_cmpeq_epi32(_mm256_and_si256(bits, exponent), _mm256_setzero_si256());
    __m256i zero = _mm256_and_si256(bits, _mm256_set1_epi32((int)0x80000000U));
    return _mm256_blendv_epi8(_mm256_blendv_epi8(rounded, quiet, is_nan), zero, denormal);
}

/* 16 numbers of 16 bits in line, from the low halves of lo and hi. */
VT_INLINE __m256i vb_narrow(__m256i lo, __m256i hi)
{
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(lo, hi), 0xd8);
}

VT_INLINE vb vb_line(vf lo, vf hi)
{
    return vb_narrow(_mm256_srli_epi32(vf_round_bf16(lo), 16), _mm256_srli_epi32(vf_round_bf16(hi), 16));
}

VT_INLINE vb vb_pair(vf even, vf odd)
{
    return _mm256_blend_epi16(_mm256_srli_epi32(vf_round_bf16(even), 16), vf_round_bf16(odd), 0xaa);
}

VT_INLINE void vf_store_bf16(uint16_t *p, vf v)
{
    __m256i high = _mm256_srli_epi32(vf_round_bf16(v), 16);
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_castsi256_si128(vb_narrow(high, high)));
}

VT_INLINE void vd_add_squares(vd sum[2], vf x)
{
    __m256d lo = _mm256_cvtps_pd(_mm256_castps256_ps128(x)), hi = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    sum[0] = _mm256_fmadd_pd(lo, lo, sum[0]);
    sum[1] = _mm256_fmadd_pd(hi, hi, sum[1]);
}

#elif VT_VEC_BITS == 128

#define VW 4
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(16)));
typedef double vd __attribute__((vector_size(16)));

VT_INLINE vf vf_zero(void)
{
    return (vf){0, 0, 0, 0};
}

VT_INLINE vf vf_set1(float x)
{
    return (vf){x, x, x, x};
}

VT_INLINE vf vf_load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

VT_INLINE void vf_store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

VT_INLINE vf vf_load_n(const float *p, int n)
{
    return (vf){p[0], n > 1 ? p[1] : 0, n > 2 ? p[2] : 0, n > 3 ? p[3] : 0};
}

VT_INLINE void vf_store_n(float *p, int n, vf v)
{
    for (int i = 0; i < n; i++)
        p[i] = v[i];
}

VT_INLINE vf vf_add(vf a, vf b)
{
    return a + b;
}

VT_INLINE vf vf_sub(vf a, vf b)
{
    return a - b;
}

VT_INLINE vf vf_mul(vf a, vf b)
{
    return a * b;
}

VT_INLINE vf vf_div(vf a, vf b)
{
    return a / b;
}

VT_INLINE vf vf_sqrt(vf a)
{
    return (vf){__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]), __builtin_sqrtf(a[3])};
}

VT_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return a * b + c;
}

VT_INLINE vf vf_fnma(vf a, vf b, vf c)
{
    return c - a * b;
}

/* a where the bits of mask are set, else b */
VT_INLINE vf vf_select(vi mask, vf a, vf b)
{
    return (vf)(((vi)a & mask) | ((vi)b & ~mask));
}

VT_INLINE vf vf_min(vf a, vf b)
{
    return vf_select(a < b, a, b);
}

VT_INLINE vf vf_max(vf a, vf b)
{
    return vf_select(a > b, a, b);
}

VT_INLINE vf vf_abs(vf a)
{
    return (vf)((vi)a & (vi){0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff});
}

VT_INLINE vf vf_if_negative(vf x, vf a, vf b)
{
    return vf_select(x < vf_zero(), a, b);
}

VT_INLINE vf vf_scale_by_low_bits(vf x, vf shifted)
{
    return (vf)((vu)x + ((vu)shifted << 23));
}

VT_INLINE vf vf_split_exponent(vf x, vf *exponent)
{
    vu bits = (vu)x - 0x3f3504f3U;
    *exponent = __builtin_convertvector((vi)bits >> 23, vf);
    return (vf)((bits & 0x007fffffU) + 0x3f3504f3U);
}

VT_INLINE float vf_sum(vf v)
{
    return (v[0] + v[2]) + (v[1] + v[3]);
}

VT_INLINE void vf_transpose(vf r[VW])
{
    vf a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5), b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    vf c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5), d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

#define VT_DOT_BF16 0
typedef vu vb;

VT_INLINE vb vb_load(const void *p)
{
    vb v;
    memcpy(&v, p, sizeof v);
    return v;
}

VT_INLINE void vb_store(uint32_t *p, vb v)
{
    memcpy(p, &v, sizeof v);
}

VT_INLINE vb vb_set1(uint32_t pair)
{
    return (vb){pair, pair, pair, pair};
}

VT_INLINE vf vb_even(vb v)
{
    return (vf)(v << 16);
}

VT_INLINE vf vb_odd(vb v)
{
    return (vf)(v & 0xffff0000U);
}

VT_INLINE void vb_zip(const uint16_t *even, const uint16_t *odd, vb *lo, vb *hi)
{
    *lo = (vb){even[0], even[1], even[2], even[3]} | (vb){odd[0], odd[1], odd[2], odd[3]} << 16;
    *hi = (vb){even[4], even[5], even[6], even[7]} | (vb){odd[4], odd[5], odd[6], odd[7]} << 16;
}

VT_INLINE vf vb_as_vf(vb v)
{
    return (vf)v;
}

VT_INLINE vb vf_as_vb(vf v)
{
    return (vb)v;
}

VT_INLINE vf vf_load_bf16(const uint16_t *p)
{
    return (vf)((vb){p[0], p[1], p[2], p[3]} << 16);
}

VT_INLINE vb vf_round_bf16(vf v)
{
    vb bits = (vb)v, magnitude = bits & 0x7fffffffU;
    vb rounded = bits + 0x7fffU + (bits >> 16 & 1U);
    vb is_nan = (vb)(magnitude > 0x7f800000U), denormal = (vb)(magnitude < 0x00800000U);
    rounded = (rounded & ~is_nan) | ((bits | 0x00400000U) & is_nan);
    return (rounded & ~denormal) | (bits & 0x80000000U & denormal);
}

VT_INLINE vb vb_line(vf lo, vf hi)
{
    vb x = vf_round_bf16(lo) >> 16, y = vf_round_bf16(hi) >> 16;
    return __builtin_shufflevector(x, y, 0, 2, 4, 6) | __builtin_shufflevector(x, y, 1, 3, 5, 7) << 16;
}

VT_INLINE vb vb_pair(vf even, vf odd)
{
    return vf_round_bf16(even) >> 16 | (vf_round_bf16(odd) & 0xffff0000U);
}

VT_INLINE void vf_store_bf16(uint16_t *p, vf v)
{
    vb high = vf_round_bf16(v) >> 16;
    for (int i = 0; i < VW; i++)
        p[i] = (uint16_t)high[i];
}

VT_INLINE void vd_add_squares(vd sum[2], vf x)
{
    vd lo = {(double)x[0], (double)x[1]}, hi = {(double)x[2], (double)x[3]};
    sum[0] += lo * lo;
    sum[1] += hi * hi;
}

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
