/* The compiler extensions that vitro uses, in one place; kernels/cpu/vec.h holds those for vector arithmetic. */
#ifndef VT_BASE_ATTR_H
#define VT_BASE_ATTR_H

#define VT_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define VT_MUST_USE           __attribute__((warn_unused_result))
#define VT_ALIGNED(bytes)     __attribute__((aligned(bytes)))
#define VT_INLINE             static inline __attribute__((always_inline))
#define VT_COUNT_OF(array)    (sizeof(array) / sizeof((array)[0]))

#endif
