/* A backend is an implementation of the contract with the memory and threads it works on. */
#ifndef VT_KERNELS_BACKEND_H
#define VT_KERNELS_BACKEND_H

#include "kernels/ops.h"

/* One row for each implementation that this program was built with, best first; `ref` is the last. */
typedef struct {
    const char *name;    /* "avx512bf16", "avx512", "avx2", "portable", "ref": what VITRO_ISA takes */
    const char *bytes;   /* the name under which its results are known: those of one name are the same bytes */
    const char *what;    /* one line for doctor */
    int (*usable)(void); /* whether this processor has it */
    void (*fill)(vt_ops *ops);
    size_t (*scratch_bytes)(const vt_limits *limits); /* for one thread */
} vt_isa;

extern const vt_isa vt_isas[];
extern const int vt_n_isas;

/* The one that VITRO_ISA names, or the best usable. VT_EINVAL lists the names; VT_EUNSUPPORTED when this processor
 * lacks it. */
vt_status vt_isa_pick(const char *forced, const vt_isa **isa, vt_err *err) VT_MUST_USE;

typedef struct {
    const vt_isa *isa;
    vt_ops ops;
    vt_exec exec;
    vt_device *device;
} vt_backend;

/* Fills in the table; the pool and device are borrowed. Scratch comes from vt_backend_place_scratch. */
void vt_backend_init(vt_backend *be, const vt_isa *isa, vt_pool *pool, vt_device *device);

/* Takes scratch for all threads from an arena (which may only count). */
void vt_backend_place_scratch(vt_backend *be, vt_arena *arena, const vt_limits *limits);

/* Runs one operation: vt_run(be, layernorm_fwd, .rows = B * N, .cols = D, .x = h, ...). */
#define vt_run(be, op, ...)                                                                                            \
    do {                                                                                                               \
        vt_device_enter((be)->device);                                                                                 \
        (be)->ops.op(&(be)->exec, &(const vt_##op##_args){__VA_ARGS__});                                               \
        vt_device_leave((be)->device);                                                                                 \
    } while (0)

#endif
