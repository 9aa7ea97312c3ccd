/* The instruction sets that this program was built for, and the choice among them.
 *
 * One row each, best first. The compiler's flags for a set reach only its own library (kernels/cpu/meson.build), which
 * also says by VT_HAVE_... that it was built; whether this processor has the set is asked here, at run time. */
#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "base/attr.h"
#include "kernels/backend.h"
#include "kernels/cpu/cpu.h"
#include "kernels/ref/ref.h"

#ifdef VT_HAVE_AVX512
static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}
#endif

#ifdef VT_HAVE_AVX512BF16
static int has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}
#endif

#ifdef VT_HAVE_AVX2
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

static int always(void)
{
    return 1;
}

static size_t no_scratch(const vt_limits *limits)
{
    (void)limits;
    return 0;
}

const vt_isa vt_isas[] = {
#ifdef VT_HAVE_AVX512BF16
    {"avx512bf16", "avx512", "AVX-512 with BF16 products, 16 floats at a time", has_avx512bf16, vt_ops_fill_avx512bf16,
     vt_cpu_scratch_bytes_avx512bf16},
#endif
#ifdef VT_HAVE_AVX512
    {"avx512", "avx512", "AVX-512 (F, BW, DQ, VL), 16 floats at a time", has_avx512, vt_ops_fill_avx512,
     vt_cpu_scratch_bytes_avx512},
#endif
#ifdef VT_HAVE_AVX2
    {"avx2", "avx2", "AVX2 and FMA, 8 floats at a time", has_avx2, vt_ops_fill_avx2, vt_cpu_scratch_bytes_avx2},
#endif
    {"portable", "portable", "C without vector instructions of a particular processor", always, vt_ops_fill_portable,
     vt_cpu_scratch_bytes_portable},
    {"ref", "ref", "reference kernels: plain loops, sums in double, one thread, slow", always, vt_ops_fill_ref,
     no_scratch},
};
const int vt_n_isas = (int)VT_COUNT_OF(vt_isas);

/* "avx512bf16, avx512, avx2, portable, ref", or only those that this processor has. buf holds at least 128 bytes. */
static const char *names(char buf[static 128], bool usable_only)
{
    size_t len = 0;
    for (int i = 0; i < vt_n_isas; i++) {
        if (usable_only && !vt_isas[i].usable())
            continue;
        const size_t n = strlen(vt_isas[i].name);
        assert(len + n + 3 <= 128);
        if (len > 0) {
            memcpy(buf + len, ", ", 2);
            len += 2;
        }
        memcpy(buf + len, vt_isas[i].name, n);
        len += n;
    }
    buf[len] = '\0';
    return buf;
}

vt_status vt_isa_pick(const char *forced, const vt_isa **isa, vt_err *err)
{
    char list[128];
    for (int i = 0; i < vt_n_isas; i++) {
        const bool usable = vt_isas[i].usable();
        if (forced && forced[0] ? strcmp(vt_isas[i].name, forced) != 0 : !usable)
            continue;
        if (!usable)
            return vt_fail(err, VT_EUNSUPPORTED,
                           "VITRO_ISA asks for %s, which this processor does not have; it has: %s", forced,
                           names(list, true));
        *isa = &vt_isas[i];
        return VT_OK;
    }
    return vt_fail(err, VT_EINVAL,
                   "VITRO_ISA is '%s'; it must be one of: %s (or unset, for the best that this processor has)", forced,
                   names(list, false));
}

void vt_backend_init(vt_backend *be, const vt_isa *isa, vt_pool *pool, vt_device *device)
{
    *be = (vt_backend){.isa = isa, .exec = {.pool = pool}, .device = device};
    isa->fill(&be->ops);
}

void vt_backend_place_scratch(vt_backend *be, vt_arena *arena, const vt_limits *limits)
{
    /* Threads write their own part only; rounding keeps the parts on cache lines of their own. */
    const size_t bytes = (be->isa->scratch_bytes(limits) + VT_ARENA_ALIGN - 1) / VT_ARENA_ALIGN * VT_ARENA_ALIGN;
    be->exec.scratch = vt_arena_take(arena, vt_pool_threads(be->exec.pool), bytes);
    be->exec.scratch_bytes = bytes;
}
