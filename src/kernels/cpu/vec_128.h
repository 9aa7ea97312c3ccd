/* vec.h in the compiler's generic vectors, so plain C on any processor; vec_512.h says what an operation does. */
#ifndef VT_KERNELS_CPU_VEC_128_H
#define VT_KERNELS_CPU_VEC_128_H

#ifndef VT_KERNELS_CPU_VEC_H
#error "include kernels/cpu/vec.h"
#endif

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

#endif
