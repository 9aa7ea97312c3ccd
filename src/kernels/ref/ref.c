/* The table of reference kernels. */
#include "kernels/ref/ref.h"

void vt_ops_fill_ref(vt_ops *ops)
{
#define X(op) ops->op = vt_ref_##op;
    VT_OPS(X)
#undef X
}
