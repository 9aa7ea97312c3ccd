/* The table of operations of one instruction set, and the scratch memory that its threads need. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/kernel.h"

void VT_FOR_ISA(vt_ops_fill)(vt_ops *ops)
{
#define X(op) ops->op = VT_KERNEL(op);
    VT_OPS(X)
#undef X
}

size_t VT_FOR_ISA(vt_cpu_scratch_bytes)(const vt_limits *limits)
{
    int64_t floats = VT_FOR_ISA(vt_cpu_linear_scratch)(limits);
    floats = max_i64(floats, VT_FOR_ISA(vt_cpu_linear_dw_scratch)(limits));
    floats = max_i64(floats, VT_FOR_ISA(vt_cpu_attention_scratch)(limits));
    floats = max_i64(floats, VT_FOR_ISA(vt_cpu_norm_scratch)(limits));
    floats = max_i64(floats, VT_FOR_ISA(vt_cpu_sums_scratch)(limits));
    floats = max_i64(floats, VT_FOR_ISA(vt_cpu_loss_scratch)(limits));
    floats = max_i64(floats, VT_FOR_ISA(vt_cpu_update_scratch)(limits));
    return (size_t)floats * sizeof(float);
}
