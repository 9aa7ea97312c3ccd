/* Pillow's resize of 8-bit images, bit for bit (version 13): antialiased, in two passes of integers, each rounded to
 * bytes. Output i gathers the inputs below a filter centred at (i + 0.5) s, s = in / out, as wide as the filter's
 * support times max(s, 1); the weights are computed in double, made to add up to 1, and rounded to multiples of 2^-22.
 *
 * The pass along x comes first, but where the height shrinks, and by more than twice what the width does (a change of
 * Pillow 13; the other order differs by one here and there). What lies between the passes stays small: 64 columns of
 * the input's height, or one row of its width. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "image/geometry.h"

#define BLOCK 64
#define BITS  22 /* behind the point of a weight: 8 for the value and 2 for sums beyond 1 are left of 32 */

static double box(double x)
{
    return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
}

static double triangle(double x)
{
    x = x < 0.0 ? -x : x;
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double cubic(double x)
{
    const double a = -0.5;
    x = x < 0.0 ? -x : x;
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * a : 0.0;
}

static const struct {
    double (*at)(double x);
    double support;
} filters[] = {
    [VT_PILLOW_BOX] = {box, 0.5}, [VT_PILLOW_BILINEAR] = {triangle, 1.0}, [VT_PILLOW_BICUBIC] = {cubic, 2.0}};

/* What outputs first .. first + n - 1 of one axis gather: `count` inputs from `from` on, `taps` weights apart. */
typedef struct {
    int64_t taps, *from, *count;
    double *exact; /* of one output */
    int32_t *weights;
} gather;

static void gather_release(gather *g)
{
    free(g->from);
    free(g->count);
    free(g->exact);
    free(g->weights);
}

static vt_status gather_new(gather *g, int64_t in, int64_t out, int64_t n, vt_pillow_filter filter, vt_err *err)
{
    const double scale = (double)in / (double)out;
    g->taps = (int64_t)ceil(filters[filter].support * (scale < 1.0 ? 1.0 : scale)) * 2 + 1;
    g->from = malloc((size_t)n * sizeof *g->from);
    g->count = malloc((size_t)n * sizeof *g->count);
    g->exact = malloc((size_t)g->taps * sizeof *g->exact);
    g->weights = malloc((size_t)(n * g->taps) * sizeof *g->weights);
    if (g->from && g->count && g->exact && g->weights)
        return VT_OK;
    return vt_fail(err, VT_ENOMEM, "no memory to resize %lld to %lld pixels", (long long)in, (long long)out);
}

/* The order of operations is Pillow's: the last bits of the weights depend on it. */
static void gather_fill(gather *g, int64_t in, int64_t out, int64_t first, int64_t n, vt_pillow_filter filter)
{
    const double scale = (double)in / (double)out, wide = scale < 1.0 ? 1.0 : scale;
    const double support = filters[filter].support * wide, narrow = 1.0 / wide;
    for (int64_t i = 0; i < n; i++) {
        const double centre = ((double)(first + i) + 0.5) * scale;
        int64_t from = (int64_t)(centre - support + 0.5), to = (int64_t)(centre + support + 0.5);
        from = from < 0 ? 0 : from;
        to = to > in ? in : to;
        double sum = 0.0;
        for (int64_t k = 0; k < to - from; k++) {
            g->exact[k] = filters[filter].at(((double)(k + from) - centre + 0.5) * narrow);
            sum += g->exact[k];
        }
        int32_t *weights = g->weights + i * g->taps;
        for (int64_t k = 0; k < to - from; k++) {
            const double w = (sum != 0.0 ? g->exact[k] / sum : g->exact[k]) * (1 << BITS);
            weights[k] = (int32_t)(w < 0.0 ? w - 0.5 : w + 0.5);
        }
        g->from[i] = from;
        g->count[i] = to - from;
    }
}

static uint8_t to_byte(int32_t sum)
{
    const int32_t v = sum < 0 ? -1 : sum >> BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* One row of a block: n pixels. */
static void along_x(const uint8_t *row, const gather *g, int64_t n, uint8_t *out)
{
    for (int64_t i = 0; i < n; i++) {
        const int32_t *w = g->weights + i * g->taps;
        const uint8_t *p = row + g->from[i] * 3;
        int32_t r = 1 << (BITS - 1), green = r, b = r;
        for (int64_t k = 0; k < g->count[i]; k++, p += 3) {
            r += p[0] * w[k];
            green += p[1] * w[k];
            b += p[2] * w[k];
        }
        out[i * 3] = to_byte(r);
        out[i * 3 + 1] = to_byte(green);
        out[i * 3 + 2] = to_byte(b);
    }
}

/* Rows of `stride` bytes, of which n are used, become one. */
static void along_y(const uint8_t *rows, int64_t stride, const int32_t *w, int64_t count, int64_t n, uint8_t *out)
{
    int32_t sums[BLOCK * 3];
    for (int64_t x = 0; x < n; x++)
        sums[x] = 1 << (BITS - 1);
    for (int64_t k = 0; k < count; k++, rows += stride) {
        for (int64_t x = 0; x < n; x++)
            sums[x] += rows[x] * w[k];
    }
    for (int64_t x = 0; x < n; x++)
        out[x] = to_byte(sums[x]);
}

/* What a resize works with; between: r.height rows of a block, or one row of r.width. */
typedef struct {
    const vt_image *in;
    vt_rect r;
    vt_pillow_filter filter;
    gather xs, ys;
    uint8_t *between;
} resample;

static const uint8_t *row_of(const resample *s, int64_t y)
{
    return s->in->pixels + ((s->r.y + y) * s->in->width + s->r.x) * 3;
}

static void x_first(resample *s, vt_image *out)
{
    const int64_t width = s->r.width, height = s->r.height;
    for (int64_t x0 = 0; x0 < out->width; x0 += BLOCK) {
        const int64_t n = out->width - x0 < BLOCK ? out->width - x0 : BLOCK;
        const uint8_t *rows = row_of(s, 0) + x0 * 3;
        int64_t stride = s->in->width * 3;
        if (out->width != width) {
            gather_fill(&s->xs, width, out->width, x0, n, s->filter);
            for (int64_t y = 0; y < height; y++)
                along_x(row_of(s, y), &s->xs, n, s->between + y * BLOCK * 3);
            rows = s->between;
            stride = (int64_t)BLOCK * 3;
        }
        for (int64_t y = 0; y < out->height; y++) {
            uint8_t *to = out->pixels + (y * out->width + x0) * 3;
            if (out->height == height)
                memcpy(to, rows + y * stride, (size_t)n * 3);
            else
                along_y(rows + s->ys.from[y] * stride, stride, s->ys.weights + y * s->ys.taps, s->ys.count[y], n * 3,
                        to);
        }
    }
}

static void y_first(resample *s, vt_image *out)
{
    const int64_t stride = s->in->width * 3, bytes = s->r.width * 3;
    gather_fill(&s->xs, s->r.width, out->width, 0, out->width, s->filter);
    for (int64_t y = 0; y < out->height; y++) {
        const uint8_t *rows = row_of(s, s->ys.from[y]);
        for (int64_t at = 0; at < bytes; at += BLOCK * 3)
            along_y(rows + at, stride, s->ys.weights + y * s->ys.taps, s->ys.count[y],
                    bytes - at < BLOCK * 3 ? bytes - at : BLOCK * 3, s->between + at);
        along_x(s->between, &s->xs, out->width, out->pixels + y * out->width * 3);
    }
}

vt_status vt_resize_pillow(const vt_image *in, vt_rect r, int64_t height, int64_t width, vt_pillow_filter filter,
                           vt_image *out, vt_err *err)
{
    if (r.width == width && r.height == height)
        return vt_crop_rect(in, r, out, err);
    resample s = {.in = in, .r = r, .filter = filter};
    const bool down_first = width != r.width && height < r.height && r.height - height > 2 * (r.width - width);
    const int64_t pixels = down_first ? r.width : r.height * BLOCK;
    vt_status status = vt_image_resize_buffer(out, width, height, err);
    if (status == VT_OK)
        status = gather_new(&s.xs, r.width, width, down_first ? width : BLOCK, filter, err);
    if (status == VT_OK)
        status = gather_new(&s.ys, r.height, height, height, filter, err);
    if (status == VT_OK && !(s.between = malloc((size_t)pixels * 3)))
        status = vt_fail(err, VT_ENOMEM, "no memory to resize an image of %lld x %lld pixels", (long long)r.width,
                         (long long)r.height);
    if (status == VT_OK) {
        gather_fill(&s.ys, r.height, height, 0, height, filter);
        (down_first ? y_first : x_first)(&s, out);
    }
    gather_release(&s.xs);
    gather_release(&s.ys);
    free(s.between);
    return status;
}
