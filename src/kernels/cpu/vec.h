/* Vector operations: all that the kernels know of an instruction set. VT_VEC_BITS, set by the build for each library,
 * picks one of three implementations: 512 (AVX-512 F, BW, DQ, VL), 256 (AVX2 with FMA), 128 (the compiler's generic
 * vectors, so plain C on any processor).
 *
 * vf is a vector of VW floats. Each operation rounds as IEEE 754 says, so the only differences between instruction sets
 * are VW (the order of sums over lanes) and vf_fma, which rounds once where there is hardware for it and twice
 * (product, then sum) in the generic version: that one gives the same bits on every architecture. This and base/attr.h
 * are the only files with compiler extensions. */
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

/* bf16 to float, exactly; and back, rounded to nearest even, a NaN staying one. */
VT_INLINE vf vf_load_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

VT_INLINE void vf_store_bf16(uint16_t *p, vf v)
{
    __m512i bits = _mm512_castps_si512(v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x00400000));
    rounded = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), quiet);
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16)));
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

VT_INLINE vf vf_load_bf16(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

VT_INLINE void vf_store_bf16(uint16_t *p, vf v)
{
    __m256i bits = _mm256_castps_si256(v);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
    __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, is_nan), 16);
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(high, high), 0x08);
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_castsi256_si128(packed));
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

VT_INLINE vf vf_load_bf16(const uint16_t *p)
{
    uint32_t bits[VW];
    for (int i = 0; i < VW; i++)
        bits[i] = (uint32_t)p[i] << 16;
    vf v;
    memcpy(&v, bits, sizeof v);
    return v;
}

VT_INLINE void vf_store_bf16(uint16_t *p, vf v)
{
    uint32_t bits[VW];
    memcpy(bits, &v, sizeof v);
    for (int i = 0; i < VW; i++) {
        uint32_t nearest_even = bits[i] + 0x7fffU + (bits[i] >> 16 & 1U);
        int is_nan = (bits[i] & 0x7fffffffU) > 0x7f800000U;
        p[i] = (uint16_t)((is_nan ? bits[i] | 0x00400000U : nearest_even) >> 16);
    }
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

#endif
