/* Reference kernel: cutting images into patches. */
#include "kernels/ref/ref.h"

void vt_ref_patchify(const vt_exec *ex, const vt_patchify_args *a)
{
    (void)ex;
    const int64_t P = a->patch, rows = a->image_height / P, cols = a->image_width / P;
    float *out = a->patches; /* written in the order of memory: sample, grid row and column, channel, row, column */
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t gy = 0; gy < rows; gy++)
            for (int64_t gx = 0; gx < cols; gx++)
                for (int64_t c = 0; c < 3; c++)
                    for (int64_t py = 0; py < P; py++)
                        for (int64_t px = 0; px < P; px++) {
                            const int64_t y = gy * P + py, x = gx * P + px;
                            const double pixel = a->images[((b * a->image_height + y) * a->image_width + x) * 3 + c];
                            *out++ = (float)(a->scale * pixel + a->offset);
                        }
}
