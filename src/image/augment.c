/* The operations of RandAugment and its kin. Three families: tables (each value maps to another, per channel), blends
 * with a degenerate image, and maps of places (affine, nearest pixel).
 *
 * blend(d, x, f) = d + f (x - d): in float32, cut to 0..255, fraction dropped.
 * grey: 0.2989 R + 0.5870 G + 0.1140 B of values / 255, times 255.5, fraction dropped. */
#include "image/augment.h"

#include <math.h>
#include <string.h>

#include "base/math.h"

#define PI 3.14159265358979323846

static uint8_t cut(float v)
{
    return (uint8_t)(int)(v < 0.0f ? 0.0f : v > 255.0f ? 255.0f : v);
}

static int64_t values_of(const vt_image *im)
{
    return im->width * im->height * 3;
}

/* --- tables --- */

typedef struct {
    uint8_t to[3][256];
} tables;

static void histogram(const vt_image *im, int64_t counts[3][256])
{
    memset(counts, 0, 3 * sizeof counts[0]);
    for (int64_t i = 0; i < values_of(im); i += 3) {
        for (int c = 0; c < 3; c++)
            counts[c][im->pixels[i + c]]++;
    }
}

static void stretch(const int64_t counts[256], uint8_t to[256])
{
    int low = 0, high = 255;
    while (low < 255 && counts[low] == 0)
        low++;
    while (high > 0 && counts[high] == 0)
        high--;
    const float scale = high > low ? 255.0f / (float)(high - low) : 1.0f, offset = high > low ? -(float)low * scale : 0;
    for (int v = 0; v < 256; v++)
        to[v] = cut((float)v * scale + offset);
}

/* step: what one grey level should hold, the last level in use left out. */
static void equalize(const int64_t counts[256], uint8_t to[256])
{
    int64_t total = 0, last = 0;
    for (int v = 0; v < 256; v++) {
        total += counts[v];
        last = counts[v] ? counts[v] : last;
    }
    const int64_t step = (total - last) / 255;
    int64_t below = 0;
    for (int v = 0; v < 256; v++) {
        const int64_t level = step ? (below + step / 2) / step : v;
        to[v] = (uint8_t)(level > 255 ? 255 : level);
        below += counts[v];
    }
    if (step)
        to[0] = 0;
}

static uint8_t mapped(vt_augmentation what, double amount, int v)
{
    switch ((int)what) {
    case VT_AUG_INVERT:
        return (uint8_t)(255 - v);
    case VT_AUG_POSTERIZE: {
        const int bits = amount < 0 ? 0 : amount > 8 ? 8 : (int)amount;
        return (uint8_t)(v >> (8 - bits) << (8 - bits));
    }
    case VT_AUG_SOLARIZE:
        return (uint8_t)(v < amount ? v : 255 - v);
    default: { /* VT_AUG_SOLARIZE_ADD */
        const int sum = v + (int)amount;
        return (uint8_t)(v >= 128 ? v : sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
    }
}

static void fill_tables(const vt_image *in, vt_augmentation what, double amount, tables *t)
{
    int64_t counts[3][256];
    const bool counted = what == VT_AUG_AUTO_CONTRAST || what == VT_AUG_EQUALIZE;
    if (counted)
        histogram(in, counts);
    for (int c = 0; c < 3; c++) {
        if (what == VT_AUG_AUTO_CONTRAST)
            stretch(counts[c], t->to[c]);
        else if (what == VT_AUG_EQUALIZE)
            equalize(counts[c], t->to[c]);
        for (int v = 0; v < 256 && !counted; v++)
            t->to[c][v] = mapped(what, amount, v);
    }
}

static void run_tables(const vt_image *in, vt_augmentation what, double amount, vt_image *out)
{
    tables t;
    fill_tables(in, what, amount, &t);
    for (int64_t i = 0; i < values_of(in); i += 3) {
        for (int c = 0; c < 3; c++)
            out->pixels[i + c] = t.to[c][in->pixels[i + c]];
    }
}

/* --- blends --- */

static uint8_t grey(const uint8_t *p)
{
    const float to_one = 1.0f / 255.0f;
    const float sum = (float)p[0] * to_one * 0.2989f + (float)p[1] * to_one * 0.5870f + (float)p[2] * to_one * 0.1140f;
    return cut(sum * 255.5f);
}

static uint8_t blend(int degenerate, int v, float factor)
{
    return cut((float)degenerate + factor * (float)(v - degenerate));
}

static int mean_grey(const vt_image *im)
{
    const int64_t n = im->width * im->height;
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += grey(im->pixels + i * 3);
    return (int)((2 * sum + n) / (2 * n)); /* rounded */
}

static void blend_constant(const vt_image *in, int constant, float factor, vt_image *out)
{
    for (int64_t i = 0; i < values_of(in); i++)
        out->pixels[i] = blend(constant, in->pixels[i], factor);
}

static void blend_grey(const vt_image *in, float factor, vt_image *out)
{
    for (int64_t i = 0; i < values_of(in); i += 3) {
        const int g = grey(in->pixels + i);
        for (int c = 0; c < 3; c++)
            out->pixels[i + c] = blend(g, in->pixels[i + c], factor);
    }
}

/* At the border the smoothed image is the image itself. */
static void blend_smooth(const vt_image *in, float factor, vt_image *out)
{
    const int64_t stride = in->width * 3;
    memcpy(out->pixels, in->pixels, (size_t)values_of(in));
    for (int64_t y = 1; y + 1 < in->height; y++) {
        for (int64_t i = y * stride + 3; i < (y + 1) * stride - 3; i++) {
            const uint8_t *p = in->pixels + i;
            int sum = 4 * p[0];
            for (int64_t row = -stride; row <= stride; row += stride)
                sum += p[row - 3] + p[row] + p[row + 3];
            out->pixels[i] = blend(sum / 13, p[0], factor);
        }
    }
}

/* --- maps of places --- */

/* out(x, y) = in(round(a x + b y + c), round(d x + e y + f)), half away from zero. */
typedef struct {
    float a, b, c, d, e, f;
} affine;

static affine affine_of(vt_augmentation what, double amount, const vt_image *in)
{
    affine m = {1, 0, 0, 0, 1, 0};
    const float v = (float)amount, right = (float)(in->width - 1), bottom = (float)(in->height - 1);
    switch ((int)what) {
    case VT_AUG_SHEAR_X:
        m.b = v;
        break;
    case VT_AUG_SHEAR_Y:
        m.d = v;
        break;
    case VT_AUG_TRANSLATE_X:
        m.c = v;
        break;
    case VT_AUG_TRANSLATE_Y:
        m.f = v;
        break;
    default: { /* VT_AUG_ROTATE */
        const float angle = (float)(amount * (PI / 180.0));
        const float cosine = (float)vt_cos((double)angle), sine = (float)vt_sin((double)angle);
        m = (affine){cosine, -sine,  (right - (cosine * right - sine * bottom)) / 2.0f,
                     sine,   cosine, (bottom - (sine * right + cosine * bottom)) / 2.0f};
    }
    }
    return m;
}

static void run_map(const vt_image *in, affine m, uint8_t fill, vt_image *out)
{
    for (int64_t y = 0; y < out->height; y++) {
        for (int64_t x = 0; x < out->width; x++) {
            const float fx = roundf(m.a * (float)x + m.b * (float)y + m.c);
            const float fy = roundf(m.d * (float)x + m.e * (float)y + m.f);
            uint8_t *to = out->pixels + (y * out->width + x) * 3;
            if (fx >= 0 && fy >= 0 && fx < (float)in->width && fy < (float)in->height)
                memcpy(to, in->pixels + ((int64_t)fy * in->width + (int64_t)fx) * 3, 3);
            else
                memset(to, fill, 3);
        }
    }
}

vt_status vt_augment(const vt_image *in, vt_augmentation what, double amount, uint8_t fill, vt_image *out, vt_err *err)
{
    const int64_t pixels = in->width * in->height;
    VT_TRY(vt_image_resize_buffer(out, in->width, in->height, err));
    switch (what) {
    case VT_AUG_IDENTITY:
        memcpy(out->pixels, in->pixels, (size_t)values_of(in));
        break;
    case VT_AUG_AUTO_CONTRAST:
    case VT_AUG_EQUALIZE:
    case VT_AUG_INVERT:
    case VT_AUG_POSTERIZE:
    case VT_AUG_SOLARIZE:
    case VT_AUG_SOLARIZE_ADD:
        run_tables(in, what, amount, out);
        break;
    case VT_AUG_COLOR:
        blend_grey(in, (float)amount, out);
        break;
    case VT_AUG_CONTRAST:
        blend_constant(in, pixels > 256 * 255 ? 255 : (int)(pixels / 256), (float)amount, out);
        break;
    case VT_AUG_MEAN_CONTRAST:
        blend_constant(in, mean_grey(in), (float)amount, out);
        break;
    case VT_AUG_BRIGHTNESS:
        blend_constant(in, 0, (float)amount, out);
        break;
    case VT_AUG_SHARPNESS:
        blend_smooth(in, (float)amount, out);
        break;
    case VT_AUG_ROTATE:
    case VT_AUG_SHEAR_X:
    case VT_AUG_SHEAR_Y:
    case VT_AUG_TRANSLATE_X:
    case VT_AUG_TRANSLATE_Y:
        run_map(in, affine_of(what, amount, in), fill, out);
        break;
    }
    return VT_OK;
}

void vt_fill_rect(vt_image *im, vt_rect r, uint8_t value)
{
    const int64_t left = r.x < 0 ? 0 : r.x, top = r.y < 0 ? 0 : r.y;
    const int64_t right = r.x + r.width < im->width ? r.x + r.width : im->width;
    const int64_t bottom = r.y + r.height < im->height ? r.y + r.height : im->height;
    for (int64_t y = top; y < bottom && left < right; y++)
        memset(im->pixels + (y * im->width + left) * 3, value, (size_t)(right - left) * 3);
}
