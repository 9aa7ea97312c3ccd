/* The two resizes of the paper's pipeline, as TensorFlow computes them, in float32 with the result truncated to uint8.
 *
 * bilinear (half-pixel centres, no antialias, also when it shrinks):  s = in / out,  f = (i + 0.5) s - 0.5,
 *   lo = max(0, floor f), hi = min(in - 1, ceil f), t = f - floor f;  along x, then along y:  a + (b - a) t
 * area: the mean over the box [i s, (i+1) s), pixels at its edges weighted by the length covered, divided by s_y s_x.
 * Source: TensorFlow kernels/image/resize_bilinear_op.cc and resize_area_op.cc (the order of the sums is theirs). */
#include <math.h>
#include <string.h>

#include "image/geometry.h"

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

/* Truncates n values, in [0, 255] but for rounding, to bytes. */
static void truncate_to_bytes(const float *values, int64_t n, uint8_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        float v = values[i] < 0.0f ? 0.0f : values[i];
        out[i] = (uint8_t)(int)(v > 255.0f ? 255.0f : v);
    }
}

/* A source row interpolated along x at the columns of a block, kept while output rows need it. */
typedef struct {
    int64_t row; /* -1: none */
    float values[BLOCK * 3];
} line;

static void fill_line(line *l, const uint8_t *pixels, int64_t row, const tap *taps, int64_t n)
{
    l->row = row;
    for (int64_t x = 0; x < n; x++) {
        const uint8_t *left = pixels + taps[x].lo * 3, *right = pixels + taps[x].hi * 3;
        for (int c = 0; c < 3; c++) {
            float a = left[c], b = right[c];
            l->values[x * 3 + c] = a + (b - a) * taps[x].t;
        }
    }
}

static void bilinear_block(const uint8_t *corner, int64_t stride, int64_t in_height, const tap *taps, int64_t n,
                           vt_image *out, int64_t x0)
{
    line lines[2] = {{.row = -1}, {.row = -1}}, *above = &lines[0], *below = &lines[1];
    float mixed[BLOCK * 3], scale = (float)in_height / (float)out->height;
    for (int64_t y = 0; y < out->height; y++) {
        tap v = bilinear_tap(y, scale, in_height);
        if (above->row != v.lo) {
            line *t = above;
            above = below;
            below = t;
        }
        if (above->row != v.lo)
            fill_line(above, corner + v.lo * stride, v.lo, taps, n);
        if (below->row != v.hi)
            fill_line(below, corner + v.hi * stride, v.hi, taps, n);
        for (int64_t i = 0; i < n * 3; i++)
            mixed[i] = above->values[i] + (below->values[i] - above->values[i]) * v.t;
        truncate_to_bytes(mixed, n * 3, out->pixels + (y * out->width + x0) * 3);
    }
}

vt_status vt_resize_tf_bilinear(const vt_image *in, vt_rect r, int64_t height, int64_t width, vt_image *out,
                                vt_err *err)
{
    if (r.width == width && r.height == height)
        return vt_crop_rect(in, r, out, err);
    VT_TRY(vt_image_resize_buffer(out, width, height, err));
    float scale = (float)r.width / (float)width;
    tap taps[BLOCK];
    for (int64_t x0 = 0; x0 < width; x0 += BLOCK) {
        int64_t n = width - x0 < BLOCK ? width - x0 : BLOCK;
        for (int64_t x = 0; x < n; x++)
            taps[x] = bilinear_tap(x0 + x, scale, r.width);
        bilinear_block(in->pixels + (r.y * in->width + r.x) * 3, in->width * 3, r.height, taps, n, out, x0);
    }
    return VT_OK;
}

/* One output index of the area resize: source indices first .. last - 1 cover [from, to), with these weights at the
 * ends and 1 between them. */
typedef struct {
    int64_t first, last;
    float first_weight, last_weight;
} span;

/* The length of [from, to) that source pixel i covers. */
static float area_weight(float from, float to, float scale, int64_t i)
{
    float at = (float)i, next = (float)(i + 1);
    if (at < from)
        return next > to ? scale : next - from;
    return next > to ? to - at : 1.0f;
}

static span area_span(int64_t i, float scale)
{
    float from = (float)i * scale, to = (float)(i + 1) * scale;
    span s = {.first = (int64_t)floorf(from), .last = (int64_t)ceilf(to)};
    s.first_weight = area_weight(from, to, scale, s.first);
    s.last_weight = area_weight(from, to, scale, s.last - 1);
    return s;
}

static int64_t bound(int64_t i, int64_t n)
{
    return i < n ? i : n - 1;
}

/* Adds one source row to the three sums of an output pixel. */
static void area_add(const uint8_t *row, int64_t width, const span *xs, float weight, float *sums)
{
    const uint8_t *first = row + bound(xs->first, width) * 3, *last = row + bound(xs->last - 1, width) * 3;
    for (int c = 0; c < 3; c++) {
        float along = (float)first[c] * xs->first_weight;
        for (int64_t x = xs->first + 1; x < xs->last - 1; x++)
            along += (float)row[bound(x, width) * 3 + c];
        if (xs->first + 1 != xs->last)
            along += (float)last[c] * xs->last_weight;
        sums[c] += along * weight;
    }
}

static void area_block(const vt_image *in, vt_rect r, const span *xs, int64_t n, float factor, vt_image *out,
                       int64_t x0)
{
    const uint8_t *corner = in->pixels + (r.y * in->width + r.x) * 3;
    float sums[BLOCK * 3], scale = (float)r.height / (float)out->height;
    for (int64_t y = 0; y < out->height; y++) {
        span ys = area_span(y, scale);
        memset(sums, 0, sizeof sums);
        for (int64_t i = ys.first; i < ys.last; i++) {
            float weight = i == ys.first ? ys.first_weight : i == ys.last - 1 ? ys.last_weight : 1.0f;
            const uint8_t *row = corner + bound(i, r.height) * in->width * 3;
            for (int64_t x = 0; x < n; x++)
                area_add(row, r.width, &xs[x], weight, sums + x * 3);
        }
        for (int64_t i = 0; i < n * 3; i++)
            sums[i] *= factor;
        truncate_to_bytes(sums, n * 3, out->pixels + (y * out->width + x0) * 3);
    }
}

vt_status vt_resize_tf_area(const vt_image *in, vt_rect r, int64_t height, int64_t width, vt_image *out, vt_err *err)
{
    VT_TRY(vt_image_resize_buffer(out, width, height, err));
    float scale_x = (float)r.width / (float)width, scale_y = (float)r.height / (float)height;
    float factor = (float)(1.0 / (double)(scale_y * scale_x));
    span xs[BLOCK];
    for (int64_t x0 = 0; x0 < width; x0 += BLOCK) {
        int64_t n = width - x0 < BLOCK ? width - x0 : BLOCK;
        for (int64_t x = 0; x < n; x++)
            xs[x] = area_span(x0 + x, scale_x);
        area_block(in, r, xs, n, factor, out, x0);
    }
    return VT_OK;
}
