/* vec.h on AVX2 with FMA; vec_512.h says what an operation does. */
#ifndef VT_KERNELS_CPU_VEC_256_H
#define VT_KERNELS_CPU_VEC_256_H

#ifndef VT_KERNELS_CPU_VEC_H
#error "include kernels/cpu/vec.h"
#endif

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

#endif
