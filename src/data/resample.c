/* Pillow's resize of 8-bit images, bit for bit (ImagingResample): antialiased, in two passes of integers, along x, then
 * along y, each rounded to bytes. Output i gathers the inputs below a filter centred at (i + 0.5) s, s = in / out, as
 * wide as the filter's support times max(s, 1); the weights are computed in double, made to add up to 1, and rounded to
 * multiples of 2^-22.
 *
 * Output columns are computed in blocks of 64, so that what lies between the passes stays small: input height x 192
 * bytes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/geometry.h"

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

/* between: r.height rows of a block. */
static void resize_blocks(const vt_image *in, vt_rect r, gather *xs, const gather *ys, vt_pillow_filter filter,
                          uint8_t *between, vt_image *out)
{
    const uint8_t *corner = in->pixels + (r.y * in->width + r.x) * 3;
    const int64_t stride = BLOCK * 3;
    for (int64_t x0 = 0; x0 < out->width; x0 += BLOCK) {
        const int64_t n = out->width - x0 < BLOCK ? out->width - x0 : BLOCK;
        const uint8_t *rows = corner + x0 * 3;
        int64_t rows_stride = in->width * 3;
        if (out->width != r.width) {
            gather_fill(xs, r.width, out->width, x0, n, filter);
            for (int64_t y = 0; y < r.height; y++)
                along_x(corner + y * in->width * 3, xs, n, between + y * stride);
            rows = between;
            rows_stride = stride;
        }
        for (int64_t y = 0; y < out->height; y++) {
            uint8_t *to = out->pixels + (y * out->width + x0) * 3;
            if (out->height == r.height)
                memcpy(to, rows + y * rows_stride, (size_t)n * 3);
            else
                along_y(rows + ys->from[y] * rows_stride, rows_stride, ys->weights + y * ys->taps, ys->count[y], n * 3,
                        to);
        }
    }
}

vt_status vt_resize_pillow(const vt_image *in, vt_rect r, int64_t height, int64_t width, vt_pillow_filter filter,
                           vt_image *out, vt_err *err)
{
    if (r.width == width && r.height == height)
        return vt_crop_rect(in, r, out, err);
    gather xs = {0}, ys = {0};
    uint8_t *between = NULL;
    vt_status status = vt_image_resize_buffer(out, width, height, err);
    if (status == VT_OK)
        status = gather_new(&xs, r.width, width, BLOCK, filter, err);
    if (status == VT_OK)
        status = gather_new(&ys, r.height, height, height, filter, err);
    if (status == VT_OK && !(between = malloc((size_t)r.height * BLOCK * 3)))
        status = vt_fail(err, VT_ENOMEM, "no memory to resize an image of %lld rows", (long long)r.height);
    if (status == VT_OK) {
        gather_fill(&ys, r.height, height, 0, height, filter);
        resize_blocks(in, r, &xs, &ys, filter, between, out);
    }
    gather_release(&xs);
    gather_release(&ys);
    free(between);
    return status;
}
