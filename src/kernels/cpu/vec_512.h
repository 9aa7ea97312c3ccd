/* vec.h on AVX-512 F, BW, DQ and VL, and BF16 where the build has it; what an operation does is said here. */
#ifndef VT_KERNELS_CPU_VEC_512_H
#define VT_KERNELS_CPU_VEC_512_H

#ifndef VT_KERNELS_CPU_VEC_H
#error "include kernels/cpu/vec.h"
#endif

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

#endif
