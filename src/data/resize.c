/* The two resizes of the paper's pipeline, as TensorFlow computes them, in float32 with the result truncated to uint8.
 *
 * bilinear (half-pixel centres, no antialias, also when it shrinks):  s = in / out,  f = (i + 0.5) s - 0.5,
 *   lo = max(0, floor f), hi = min(in - 1, ceil f), t = f - floor f;  along x, then along y:  a + (b - a) t
 * area: the mean over the box [i s, (i+1) s), pixels at its edges weighted by the length covered, divided by s_y s_x.
 * Source: TensorFlow kernels/image/resize_bilinear_op.cc and resize_area_op.cc (the order of the sums is theirs). */
#include <math.h>
#include <string.h>

#include "data/geometry.h"
#include "data/preprocess.h"

#define BLOCK 64 /* output columns whose weights are kept on the stack at a time */

typedef struct {
    int64_t lo, hi; /* source indices */
    float t;        /* weight of hi */
} tap;

static tap bilinear_tap(int64_t i, float scale, int64_t in)
{
    float f = ((float)i + 0.5f) * scale - 0.5f;
    float below = floorf(f);
    tap t = {.lo = (int64_t)below, .hi = (int64_t)ceilf(f), .t = f - below};
    if (t.lo < 0)
        t.lo = 0;
    if (t.hi > in - 1)
        t.hi = in - 1;
    return t;
}

/* A value in [0, 255] by construction, rounding included up to a few units in the last place. */
static uint8_t truncate_to_byte(float v)
{
    if (v < 0.0f)
        return 0;
    return v > 255.0f ? 255 : (uint8_t)v;
}

/* n pixels of an output row, between the source rows top and bottom. */
static void bilinear_row(const uint8_t *top, const uint8_t *bottom, float ty, const tap *taps, int64_t n, uint8_t *out)
{
    for (int64_t x = 0; x < n; x++) {
        int64_t left = taps[x].lo * 3, right = taps[x].hi * 3;
        float tx = taps[x].t;
        for (int c = 0; c < 3; c++) {
            float tl = top[left + c], tr = top[right + c], bl = bottom[left + c], br = bottom[right + c];
            float above = tl + (tr - tl) * tx, below = bl + (br - bl) * tx;
            *out++ = truncate_to_byte(above + (below - above) * ty);
        }
    }
}

vt_status vt_resize_bilinear_rect(const vt_image *in, vt_rect r, int64_t height, int64_t width, vt_image *out,
                                  vt_err *err)
{
    if (r.width == width && r.height == height)
        return vt_crop_rect(in, r, out, err);
    VT_TRY(vt_image_resize_buffer(out, width, height, err));
    float scale_x = (float)r.width / (float)width, scale_y = (float)r.height / (float)height;
    const uint8_t *corner = in->pixels + (r.y * in->width + r.x) * 3;
    tap taps[BLOCK];
    for (int64_t x0 = 0; x0 < width; x0 += BLOCK) {
        int64_t n = width - x0 < BLOCK ? width - x0 : BLOCK;
        for (int64_t x = 0; x < n; x++)
            taps[x] = bilinear_tap(x0 + x, scale_x, r.width);
        for (int64_t y = 0; y < height; y++) {
            tap v = bilinear_tap(y, scale_y, r.height);
            bilinear_row(corner + v.lo * in->width * 3, corner + v.hi * in->width * 3, v.t, taps, n,
                         out->pixels + (y * width + x0) * 3);
        }
    }
    return VT_OK;
}

vt_status vt_resize_bilinear(const vt_image *in, int64_t height, int64_t width, vt_image *out, vt_err *err)
{
    return vt_resize_bilinear_rect(in, (vt_rect){0, 0, in->width, in->height}, height, width, out, err);
}

/* One output index of the area resize: source indices first .. last - 1 cover [from, to). */
typedef struct {
    float from, to, scale;
    int64_t first, last;
} span;

static span area_span(int64_t i, float scale)
{
    span s = {.from = (float)i * scale, .to = (float)(i + 1) * scale, .scale = scale};
    s.first = (int64_t)floorf(s.from);
    s.last = (int64_t)ceilf(s.to);
    return s;
}

/* The length of [from, to) that source pixel i covers. */
static float area_weight(const span *s, int64_t i)
{
    float at = (float)i, next = (float)(i + 1);
    if (at < s->from)
        return next > s->to ? s->scale : next - s->from;
    return next > s->to ? s->to - at : 1.0f;
}

static int64_t bound(int64_t i, int64_t n)
{
    return i < n ? i : n - 1;
}

static void area_pixel(const vt_image *in, const span *ys, const span *xs, float factor, uint8_t *out)
{
    float sum[3] = {0.0f, 0.0f, 0.0f};
    float first = area_weight(xs, xs->first), last = area_weight(xs, xs->last - 1);
    for (int64_t y = ys->first; y < ys->last; y++) {
        const uint8_t *row = in->pixels + bound(y, in->height) * in->width * 3;
        float wy = area_weight(ys, y);
        for (int c = 0; c < 3; c++) {
            float line = (float)row[bound(xs->first, in->width) * 3 + c] * first;
            for (int64_t x = xs->first + 1; x < xs->last - 1; x++)
                line += (float)row[bound(x, in->width) * 3 + c];
            if (xs->first + 1 != xs->last)
                line += (float)row[bound(xs->last - 1, in->width) * 3 + c] * last;
            sum[c] += line * wy;
        }
    }
    for (int c = 0; c < 3; c++)
        out[c] = truncate_to_byte(sum[c] * factor);
}

vt_status vt_resize_area(const vt_image *in, int64_t height, int64_t width, vt_image *out, vt_err *err)
{
    VT_TRY(vt_image_resize_buffer(out, width, height, err));
    float scale_x = (float)in->width / (float)width, scale_y = (float)in->height / (float)height;
    float factor = (float)(1.0 / (double)(scale_y * scale_x));
    for (int64_t y = 0; y < height; y++) {
        span ys = area_span(y, scale_y);
        for (int64_t x = 0; x < width; x++) {
            span xs = area_span(x, scale_x);
            area_pixel(in, &ys, &xs, factor, out->pixels + (y * width + x) * 3);
        }
    }
    return VT_OK;
}
