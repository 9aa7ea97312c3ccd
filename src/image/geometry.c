/* Crops, padding, flips, and the inception crop of the paper (spec 5.3): TensorFlow's sample_distorted_bounding_box
 * with the whole image as its box, in float32 with lrintf (half to even). The height is drawn uniformly, not the area.
 */
#include "image/geometry.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define MIN_ASPECT 0.75f /* width / height */
#define MAX_ASPECT 1.33f
#define ATTEMPTS   100

vt_status vt_crop_rect(const vt_image *in, vt_rect r, vt_image *out, vt_err *err)
{
    VT_TRY(vt_image_resize_buffer(out, r.width, r.height, err));
    for (int64_t y = 0; y < r.height; y++)
        memcpy(out->pixels + y * r.width * 3, in->pixels + ((r.y + y) * in->width + r.x) * 3, (size_t)r.width * 3);
    return VT_OK;
}

vt_status vt_pad_image(const vt_image *in, int64_t n, vt_image *out, vt_err *err)
{
    VT_TRY(vt_image_resize_buffer(out, in->width + 2 * n, in->height + 2 * n, err));
    memset(out->pixels, 0, (size_t)out->width * (size_t)out->height * 3);
    for (int64_t y = 0; y < in->height; y++)
        memcpy(out->pixels + ((y + n) * out->width + n) * 3, in->pixels + y * in->width * 3, (size_t)in->width * 3);
    return VT_OK;
}

void vt_flip_image(vt_image *im)
{
    for (int64_t y = 0; y < im->height; y++) {
        uint8_t *row = im->pixels + y * im->width * 3;
        for (int64_t l = 0, r = im->width - 1; l < r; l++, r--) {
            for (int c = 0; c < 3; c++) {
                uint8_t t = row[l * 3 + c];
                row[l * 3 + c] = row[r * 3 + c];
                row[r * 3 + c] = t;
            }
        }
    }
}

/* The largest height whose width, rounded, still fits into the image. */
static long largest_height(long width, long height, float max_area, float aspect)
{
    long h = lrintf(sqrtf(max_area / aspect));
    if (lrintf((float)h * aspect) > width) {
        h = (long)(((double)width + 0.5 - 1e-7) / (double)aspect);
        if (lrintf((float)h * aspect) > width)
            h -= 1;
    }
    return h < height ? h : height;
}

static bool attempt(long width, long height, float min_area, vt_rng *rng, long *w_out, long *h_out)
{
    float aspect = vt_rng_uniform(rng) * (MAX_ASPECT - MIN_ASPECT) + MIN_ASPECT;
    float least = min_area * (float)width * (float)height, most = (float)width * (float)height;
    long h_max = largest_height(width, height, most, aspect);
    long h = lrintf(sqrtf(least / aspect));
    if (h >= h_max)
        h = h_max;
    else
        h += (long)vt_rng_below(rng, (uint32_t)(h_max - h + 1));
    long w = lrintf((float)h * aspect);
    if ((float)(w * h) < least) {
        h += 1;
        w = lrintf((float)h * aspect);
    }
    if ((float)(w * h) > most) {
        h -= 1;
        w = lrintf((float)h * aspect);
    }
    *w_out = w;
    *h_out = h;
    float area = (float)(w * h);
    return area >= least && area <= most && w <= width && h <= height && w > 0 && h > 0;
}

vt_rect vt_inception_rect(int64_t width, int64_t height, float min_area, vt_rng *rng)
{
    for (int i = 0; i < ATTEMPTS; i++) {
        long w, h;
        if (!attempt((long)width, (long)height, min_area, rng, &w, &h))
            continue;
        /* TensorFlow draws below side - size, so that the last offset does not occur; kept. */
        int64_t y = h < height ? vt_rng_below(rng, (uint32_t)(height - h)) : 0;
        int64_t x = w < width ? vt_rng_below(rng, (uint32_t)(width - w)) : 0;
        return (vt_rect){x, y, w, h};
    }
    return (vt_rect){0, 0, width, height};
}
