/* Images to patches (kernels/ops.h): a job is a row of patches of one image. A pixel has 256 values, so scaling is a
 * table, and the pass only moves numbers: three colour planes of P x P floats for each patch. */
#include "kernels/cpu/kernel.h"

typedef struct {
    const vt_patchify_args *a;
    int64_t grid_height, grid_width;
    float scaled[256];
} patch_plan;

static void patchify_job(void *context, int64_t job, int thread)
{
    const patch_plan *p = context;
    const vt_patchify_args *a = p->a;
    (void)thread;
    const int64_t side = a->patch, plane = side * side;
    const int64_t b = job / p->grid_height, gy = job % p->grid_height;
    for (int64_t py = 0; py < side; py++) {
        const uint8_t *pixel = a->images + (b * a->image_height + gy * side + py) * a->image_width * 3;
        float *to = a->patches + job * p->grid_width * 3 * plane + py * side;
        for (int64_t gx = 0; gx < p->grid_width; gx++, to += 3 * plane) {
            for (int64_t px = 0; px < side; px++, pixel += 3) {
                to[px] = p->scaled[pixel[0]];
                to[plane + px] = p->scaled[pixel[1]];
                to[2 * plane + px] = p->scaled[pixel[2]];
            }
        }
    }
}

void VT_KERNEL(patchify)(const vt_exec *ex, const vt_patchify_args *a)
{
    patch_plan p = {.a = a, .grid_height = a->image_height / a->patch, .grid_width = a->image_width / a->patch};
    for (int i = 0; i < 256; i++)
        p.scaled[i] = a->scale * (float)i + a->offset;
    vt_pool_run(ex->pool, a->samples * p.grid_height, patchify_job, &p);
}
