/* Images to patches (kernels/ops.h): a job is a row of patches of one image. A pixel has 256 values, so scaling is a
 * table for each colour, and the pass only moves numbers: three planes of P x P numbers for each patch. With mixup a
 * number is the sum of two of a table: what the pixel adds, and what its partner does. */
#include "kernels/cpu/kernel.h"

typedef struct {
    const vt_patchify_args *a;
    int64_t grid_height, grid_width;
    struct {
        float scaled[256], partner[256];
        uint16_t rounded[256]; /* scaled, as bf16 */
    } color[3];
} patch_plan;

/* to[i] becomes the number of value[c], a pixel's color c; the partner's lies `image` bytes before it. */
VT_INLINE void put_value(const patch_plan *p, int c, vt_real type, int mixed, void *to, int64_t i, const uint8_t *pixel,
                         int64_t image)
{
    if (mixed) {
        const float sum = p->color[c].scaled[pixel[c]] + p->color[c].partner[pixel[c - image]];
        if (type == VT_F32)
            ((float *)to)[i] = sum;
        else
            ((uint16_t *)to)[i] = vt_bf16_from_f32(sum);
    } else if (type == VT_F32) {
        ((float *)to)[i] = p->color[c].scaled[pixel[c]];
    } else {
        ((uint16_t *)to)[i] = p->color[c].rounded[pixel[c]];
    }
}

VT_INLINE void patchify_row(const patch_plan *p, vt_real type, int mixed, int64_t job)
{
    const vt_patchify_args *a = p->a;
    const int64_t side = a->patch, plane = side * side, image = a->image_height * a->image_width * 3;
    const int64_t b = job / p->grid_height, gy = job % p->grid_height;
    for (int64_t py = 0; py < side; py++) {
        const uint8_t *pixel = a->images + (b * a->image_height + gy * side + py) * a->image_width * 3;
        int64_t to = job * p->grid_width * 3 * plane + py * side;
        for (int64_t gx = 0; gx < p->grid_width; gx++, to += 3 * plane) {
            for (int64_t px = 0; px < side; px++, pixel += 3) {
                put_value(p, 0, type, mixed, a->patches, to + px, pixel, image);
                put_value(p, 1, type, mixed, a->patches, to + plane + px, pixel, image);
                put_value(p, 2, type, mixed, a->patches, to + 2 * plane + px, pixel, image);
            }
        }
    }
}

static void patchify_job(void *context, int64_t job, int thread)
{
    const patch_plan *p = context;
    const int mixed = p->a->partner_share > 0;
    (void)thread;
    if (p->a->type == VT_F32 && !mixed)
        patchify_row(p, VT_F32, 0, job);
    else if (p->a->type == VT_F32)
        patchify_row(p, VT_F32, 1, job);
    else if (!mixed)
        patchify_row(p, VT_BF16, 0, job);
    else
        patchify_row(p, VT_BF16, 1, job);
}

void VT_KERNEL(patchify)(const vt_exec *ex, const vt_patchify_args *a)
{
    patch_plan p = {.a = a, .grid_height = a->image_height / a->patch, .grid_width = a->image_width / a->patch};
    for (int c = 0; c < 3; c++) {
        const float own = a->scale[c] * (1 - a->partner_share), partner = a->scale[c] * a->partner_share;
        for (int i = 0; i < 256; i++) {
            p.color[c].scaled[i] = own * (float)i + a->offset[c];
            p.color[c].partner[i] = partner * (float)i;
            p.color[c].rounded[i] = vt_bf16_from_f32(p.color[c].scaled[i]);
        }
    }
    vt_pool_run(ex->pool, a->samples * p.grid_height, patchify_job, &p);
}
