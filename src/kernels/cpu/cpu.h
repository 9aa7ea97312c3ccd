/* The fast path on the processor, one source compiled for several instruction sets (meson.build says which are in this
 * program: VT_HAVE_AVX512BF16, VT_HAVE_AVX512, VT_HAVE_AVX2; portable always is). What each needs of the processor:
 *
 *   avx512bf16  AVX-512 BF16 besides: the bits of avx512, bf16 products at several times the speed    16 lanes
 *   avx512      AVX-512 F, BW, DQ and VL, FMA                                                         16 lanes
 *   avx2        AVX2 and FMA                                                                           8 lanes
 *   portable    nothing; no fused multiply-add, so that its bits are the same on every architecture    4 lanes
 *
 * Scratch memory for one thread, in bytes, is the largest of (T tokens, K head width rounded up to lanes, D width of a
 * layernorm, S slices of the limits):
 *
 *   linear_fwd, linear_dx   786496                                      packed weights, unfinished sums
 *   linear_dw               267520 + 196608 (log2(S) + 1)               packed rows, a tile for each tree level
 *   attention               770 K + 10 K T + 14 max(T lanes, min(64 T, 65536)) + 768
 *                           packed rows, sums of a head's dk and dv, two blocks of scores and three rounded ones
 *   layernorm_bwd           32 S D                                      sums of four parts of each slice
 *   sum_squares, inspect    32768                                       results of chunks */
#ifndef VT_KERNELS_CPU_CPU_H
#define VT_KERNELS_CPU_CPU_H

#include "kernels/ops.h"

void vt_ops_fill_avx512bf16(vt_ops *ops);
void vt_ops_fill_avx512(vt_ops *ops);
void vt_ops_fill_avx2(vt_ops *ops);
void vt_ops_fill_portable(vt_ops *ops);

/* Scratch memory of one thread, in bytes, for operations within limits. */
size_t vt_cpu_scratch_bytes_avx512bf16(const vt_limits *limits);
size_t vt_cpu_scratch_bytes_avx512(const vt_limits *limits);
size_t vt_cpu_scratch_bytes_avx2(const vt_limits *limits);
size_t vt_cpu_scratch_bytes_portable(const vt_limits *limits);

#endif
