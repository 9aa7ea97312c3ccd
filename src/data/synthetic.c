/* synthetic:shapes, images that are drawn when they are read, for tests and for machines without data. A class is one
 * of 8 shapes in one of 4 textures and, above 32 classes, one of 4 colour families: class = shape + 8 * texture + 32 *
 * colour What varies within a class: place, size, tilt, brightness, the background's colour and gradient, noise on
 * every pixel, and below 33 classes the hue. Everything is drawn from Philox at (seed, VT_STREAM_SYNTHETIC, index of
 * the image), so an image is a pure function of the SPEC and its index. noise=P makes the share P of all labels one of
 * the other classes at random: no model can then exceed 1 - P. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/math.h"
#include "base/philox.h"
#include "base/text.h"
#include "data/collection.h"

#define MAX_CLASSES 128
#define MIN_SIZE    8
#define MAX_SIZE    1024
#define MAX_COUNT   1000000000000LL
#define ENDLESS     (1LL << 50) /* samples: at a million a second, 35 years */
#define MAX_COUNTED (1LL << 24) /* samples whose wrong labels are counted one by one */
#define USE_PIXELS  0           /* of the Philox address */
#define USE_LABEL   1
#define PIXEL_NOISE 0.06 /* standard deviation, of a range of 1 */
#define SUBPIXELS   2    /* a side, against jagged edges */

static const char *const shape_names[8] = {"disc", "square", "triangle", "plus", "ring", "diamond", "bar", "ell"};
static const char *const texture_names[4] = {"solid", "striped", "checked", "hollow"};
static const char *const colour_names[4] = {"red", "green", "blue", "yellow"};
static const double colour_hues[4] = {0.0, 120.0, 240.0, 60.0}; /* degrees */

typedef struct {
    int64_t count, classes, size;
    uint32_t seed;
    bool endless;
    double noise;
} synthetic;

/* One image's choices, all in units of the image's side. */
typedef struct {
    int shape, texture;
    double x, y, radius, cosine, sine;
    double ink[3], paper[3], slope_x, slope_y;
} scene;

static double between(vt_rng *r, double least, double most)
{
    return least + (most - least) * (double)vt_rng_uniform(r);
}

/* Whether (u, v), in the shape's own frame with radius 1, lies inside. */
static bool inside(int shape, double u, double v)
{
    double a = fabs(u), b = fabs(v);
    switch (shape) {
    case 0:
        return u * u + v * v < 1.0;
    case 1:
        return a < 0.85 && b < 0.85;
    case 2:
        return v > -0.9 && v < 0.9 && a < (v + 0.9) * 0.55;
    case 3:
        return (a < 0.3 && b < 1.0) || (b < 0.3 && a < 1.0);
    case 4:
        return u * u + v * v < 1.0 && u * u + v * v > 0.3;
    case 5:
        return a + b < 1.1;
    case 6:
        return a < 1.0 && b < 0.35;
    default:
        return (a < 0.9 && v > 0.3 && v < 0.9) || (u > -0.9 && u < -0.3 && b < 0.9);
    }
}

/* Whether the texture lets the ink show at (u, v) of a shape that covers it. */
static bool inked(int shape, int texture, double u, double v)
{
    switch (texture) {
    case 1:
        return floor(u * 3.0) - 2.0 * floor(floor(u * 3.0) * 0.5) < 0.5;
    case 2: {
        double cell = floor(u * 2.5) + floor(v * 2.5);
        return cell - 2.0 * floor(cell * 0.5) < 0.5;
    }
    case 3:
        return !inside(shape, u * 1.45, v * 1.45);
    default:
        return true;
    }
}

/* Fully saturated hue (degrees) at the given brightness, mixed with white. */
static void colour_of(double hue, double brightness, double white, double rgb[3])
{
    for (int c = 0; c < 3; c++) {
        double distance = fabs(hue - 120.0 * c);
        if (distance > 180.0)
            distance = 360.0 - distance;
        double level = distance <= 60.0 ? 1.0 : distance >= 120.0 ? 0.0 : (120.0 - distance) / 60.0;
        rgb[c] = brightness * (white + (1.0 - white) * level);
    }
}

/* A statement for each number: C leaves the order of a call's arguments to the compiler, and the order is the picture.
 */
static void draw_colour(vt_rng *r, double hue, double dark, double bright, double least_white, double most_white,
                        double rgb[3])
{
    double brightness = between(r, dark, bright);
    double white = between(r, least_white, most_white);
    colour_of(hue, brightness, white, rgb);
}

static scene draw_scene(const synthetic *s, int64_t class, vt_rng *r)
{
    scene d = {.shape = (int)(class % 8), .texture = (int)(class / 8 % 4)};
    d.radius = between(r, 0.2, 0.36);
    d.x = between(r, d.radius * 0.8, 1.0 - d.radius * 0.8);
    d.y = between(r, d.radius * 0.8, 1.0 - d.radius * 0.8);
    double tilt = between(r, -0.3, 0.3); /* radians: a square never becomes a diamond */
    d.cosine = vt_cos(tilt);
    d.sine = vt_sin(tilt);
    double hue = between(r, 0.0, 360.0);
    double spread = between(r, -25.0, 25.0);
    if (s->classes > 32)
        hue = colour_hues[class / 32] + spread;
    if (hue < 0.0)
        hue += 360.0;
    draw_colour(r, hue, 0.6, 1.0, 0.0, 0.3, d.ink);
    hue = between(r, 0.0, 360.0);
    draw_colour(r, hue, 0.1, 0.5, 0.3, 1.0, d.paper);
    d.slope_x = between(r, -0.15, 0.15);
    d.slope_y = between(r, -0.15, 0.15);
    return d;
}

/* The share of a pixel at column x, row y (of size) that ink covers. */
static double coverage(const scene *d, int64_t x, int64_t y, double size)
{
    int hits = 0;
    for (int k = 0; k < SUBPIXELS * SUBPIXELS; k++) {
        double px = ((double)x + ((double)(k % SUBPIXELS) + 0.5) / SUBPIXELS) / size - d->x;
        double py = ((double)y + ((double)(k / SUBPIXELS) + 0.5) / SUBPIXELS) / size - d->y;
        double u = (px * d->cosine + py * d->sine) / d->radius, v = (py * d->cosine - px * d->sine) / d->radius;
        hits += inside(d->shape, u, v) && inked(d->shape, d->texture, u, v);
    }
    return (double)hits / (SUBPIXELS * SUBPIXELS);
}

/* A sum of four uniform numbers, centred, with standard deviation 1: normal enough for a camera's noise. */
static double grain(vt_rng *r)
{
    double sum = 0.0;
    for (int i = 0; i < 4; i++)
        sum += (double)vt_rng_uniform(r);
    return (sum - 2.0) * 1.7320508075688772;
}

static vt_status synthetic_fetch(const vt_collection *c, int64_t i, vt_read_buffer *b, vt_err *err)
{
    const synthetic *s = c->state;
    VT_TRY(vt_image_resize_buffer(&b->image, s->size, s->size, err));
    vt_rng r = vt_rng_at(s->seed, VT_STREAM_SYNTHETIC, (uint64_t)i, USE_PIXELS);
    scene d = draw_scene(s, i % s->classes, &r);
    uint8_t *out = b->image.pixels;
    for (int64_t y = 0; y < s->size; y++) {
        for (int64_t x = 0; x < s->size; x++) {
            double share = coverage(&d, x, y, (double)s->size);
            double light = d.slope_x * ((double)x / (double)s->size - 0.5) +
                           d.slope_y * ((double)y / (double)s->size - 0.5) + PIXEL_NOISE * grain(&r);
            for (int k = 0; k < 3; k++) {
                double v = 255.0 * (d.paper[k] + (d.ink[k] - d.paper[k]) * share + light) + 0.5;
                *out++ = v < 0.0 ? 0 : v > 255.0 ? 255 : (uint8_t)v;
            }
        }
    }
    return VT_OK;
}

static int64_t synthetic_label(const vt_collection *c, int64_t i)
{
    const synthetic *s = c->state;
    int64_t class = i % s->classes;
    if (s->noise == 0.0)
        return class;
    vt_rng r = vt_rng_at(s->seed, VT_STREAM_SYNTHETIC, (uint64_t)i, USE_LABEL);
    if ((double)vt_rng_uniform(&r) >= s->noise)
        return class;
    return (class + 1 + (int64_t)vt_rng_below(&r, (uint32_t)s->classes - 1)) % s->classes;
}

/* Wrong labels go to all other classes alike, so that counts are expected to stay even. */
static int64_t synthetic_each_class(const vt_collection *c)
{
    const synthetic *s = c->state;
    return s->noise == 0.0 || s->count > MAX_COUNTED ? s->count / s->classes : 0;
}

static vt_status read_options(synthetic *s, const vt_spec *spec, vt_err *err)
{
    int64_t seed;
    VT_TRY(vt_spec_get_i64(spec, "classes", 16, 2, MAX_CLASSES, &s->classes, err));
    VT_TRY(vt_spec_get_i64(spec, "size", 32, MIN_SIZE, MAX_SIZE, &s->size, err));
    const char *count = vt_spec_get(spec, "count");
    s->endless = count && strcmp(count, "endless") == 0;
    s->count = ENDLESS;
    if (!s->endless)
        VT_TRY(vt_spec_get_i64(spec, "count", 10000, 1, MAX_COUNT, &s->count, err));
    VT_TRY(vt_spec_get_i64(spec, "seed", 0, 0, UINT32_MAX, &seed, err));
    s->seed = (uint32_t)seed;
    const char *noise = vt_spec_get(spec, "noise");
    if (noise && vt_parse_f64(noise, &s->noise, err) != VT_OK)
        return vt_prefix(err, "option noise");
    if (!(s->noise >= 0.0 && s->noise <= 1.0))
        return vt_fail(err, VT_EINVAL, "option noise is %s; it is the share of wrong labels, from 0 to 1", noise);
    return VT_OK;
}

static vt_status synthetic_open(vt_collection *c, const vt_spec *spec, vt_err *err)
{
    synthetic *s = c->state = vt_xcalloc(1, sizeof *s);
    vt_status status = VT_OK;
    if (strcmp(spec->place, "shapes") != 0)
        status = vt_fail(err, VT_EINVAL, "unknown synthetic images '%.100s'; there is synthetic:shapes", spec->place);
    else
        status = read_options(s, spec, err);
    if (status != VT_OK)
        return vt_prefix(err, "data '%.300s'", spec->text);
    c->count = s->count;
    c->endless = s->endless;
    c->classes = s->classes;
    c->image_bytes = (size_t)(s->size * s->size * 3);
    c->class_names = vt_xcalloc((size_t)s->classes, sizeof *c->class_names);
    for (int64_t k = 0; k < s->classes; k++)
        c->class_names[k] = vt_xasprintf("%s%s%s %s", s->classes > 32 ? colour_names[k / 32] : "",
                                         s->classes > 32 ? " " : "", texture_names[k / 8 % 4], shape_names[k % 8]);
    return VT_OK;
}

static void synthetic_close(vt_collection *c)
{
    free(c->state);
}

static void synthetic_name(const vt_collection *c, int64_t i, char *buf, size_t size)
{
    snprintf(buf, size, "shapes[%lld]", (long long)i);
}

static void synthetic_identify(const vt_collection *c, vt_hasher *h)
{
    const synthetic *s = c->state;
    char line[128];
    int n =
        snprintf(line, sizeof line, "shapes 1 size %lld seed %u noise %.17g", (long long)s->size, s->seed, s->noise);
    vt_hasher_add(h, line, (size_t)n + 1);
}

const vt_collection_kind vt_synthetic_kind = {
    .name = "synthetic",
    .options = {"classes", "noise", "size", "count", "seed"},
    .open = synthetic_open,
    .close = synthetic_close,
    .label = synthetic_label,
    .each_class = synthetic_each_class,
    .sample_name = synthetic_name,
    .identify = synthetic_identify,
    .distinct = true,
    .fetch = synthetic_fetch,
};
