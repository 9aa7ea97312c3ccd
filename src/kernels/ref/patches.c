/* Reference kernel: cutting images into patches, mixed with the image before where mixup asks for it. */
#include "kernels/ref/ref.h"

void vt_ref_patchify(const vt_exec *ex, const vt_patchify_args *a)
{
    (void)ex;
    const int64_t P = a->patch, rows = a->image_height / P, cols = a->image_width / P;
    const int64_t image = a->image_height * a->image_width * 3;
    int64_t at = 0; /* in the order of memory: sample, grid row and column, channel, row, column */
    for (int64_t b = 0; b < a->samples; b++)
        for (int64_t gy = 0; gy < rows; gy++)
            for (int64_t gx = 0; gx < cols; gx++)
                for (int64_t c = 0; c < 3; c++)
                    for (int64_t py = 0; py < P; py++)
                        for (int64_t px = 0; px < P; px++) {
                            const int64_t y = gy * P + py, x = gx * P + px;
                            const uint8_t *own = a->images + b * image + (y * a->image_width + x) * 3 + c;
                            double pixel = *own;
                            if (a->partner_share > 0)
                                pixel = (1 - (double)a->partner_share) * pixel + (double)a->partner_share * own[-image];
                            vt_ref_put(a->patches, a->type, at++, a->scale[c] * pixel + a->offset[c]);
                        }
}
