/* Preprocessing: the list as text, the resizes against independent formulas, the crops' bounds and distributions. */
#include "fixtures.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/philox.h"
#include "image/geometry.h"
#include "data/operations.h"
#include "data/preprocess.h"

#define FX_WHOLE(im) ((vt_rect){0, 0, (im).width, (im).height})

/* --- the list --- */

/* Breaks when a list that is printed does not parse to the same list. */
static void test_round_trip(void **state)
{
    static const struct {
        const char *text, *canonical;
    } cases[] = {
        {"[inception_crop(28), flip]", "[inception_crop(28), flip]"},
        {" resize( 224 ) ,flip ", "[resize(224), flip]"},
        {"[resize(32,48), pad(4), random_crop(32, 48)]", "[resize(32, 48), pad(4), random_crop(32, 48)]"},
        {"[inception_crop(28, 33.3%)]", "[inception_crop(28, 33.3%)]"},
        {"[resize(100), central_crop(20,8000)]", "[resize(100), central_crop(20, 8000)]"},
        {"[inception_crop(28, 0.00000123%)]", "[inception_crop(28, 0.00000123%)]"},
        {"[inception_crop(40,24)]", "[inception_crop(40, 24)]"},
        {"[inception_crop(40,24,60%)]", "[inception_crop(40, 24, 60%)]"},
        {"[resize_small(256), central_crop(224)]", "[resize_small(256), central_crop(224)]"},
        {"[resize_small(256,bicubic), center_crop(224)]", "[resize_small(256, bicubic), center_crop(224)]"},
        {"[inception_crop(40,24,8%,box),resize(32 , tf_area)]",
         "[inception_crop(40, 24, 8%, box), resize(32, tf_area)]"},
        {"[randaugment(2,15), trivial_augment, random_erasing( 12.5% )]",
         "[randaugment(2, 15), trivial_augment, random_erasing(12.5%)]"},
        {"[random_erasing]", "[random_erasing]"},
        {"[]", "[]"},
        {"", "[]"},
    };
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        vt_preprocess p, again;
        vt_err err = {0};
        vt_text out = {0};
        if (vt_preprocess_parse(&p, cases[i].text, &err) != VT_OK)
            fail_msg("%s: %s", cases[i].text, err.msg);
        vt_preprocess_print(&p, &out);
        assert_string_equal(out.s, cases[i].canonical);
        assert_int_equal(vt_preprocess_parse(&again, out.s, NULL), VT_OK);
        assert_memory_equal(&p, &again, sizeof p);
        vt_text_release(&out);
    }
}

/* Breaks when a wrong list is accepted, or its message does not say where and what. */
static void test_wrong_lists(void **state)
{
    static const struct {
        const char *text, *word, *column;
    } cases[] = {
        {"[resise(28)]", "did you mean 'resize'", "column 2"},
        {"[flip, wobble]", "unknown operation 'wobble'", "column 8"},
        {"[resize]", "needs an argument", "column 2"},
        {"[resize()]", "expected a number", "column 9"},
        {"[resize(0)]", "from 1 to", "column 9"},
        {"[resize(1e9)]", "expected ')'", "column 10"},
        {"[resize(99999)]", "from 1 to 8192", "column 9"},
        {"[resize(28.5)]", "whole number", "column 9"},
        {"[resize(28,28,28)]", "at most 2 arguments", "column 15"},
        {"[resize(28%)]", "without %", "column 9"},
        {"[inception_crop(28%)]", "without %", "column 17"},
        {"[inception_crop(28, 28, 60)]", "60%", "column 25"},
        {"[inception_crop(28, 60%, 28)]", "nothing may follow the share", "column 26"},
        {"[resize(28, 28%)]", "without %", "column 13"},
        {"[inception_crop(28, 0%)]", "above 0%", "column 21"},
        {"[inception_crop(28, 101%)]", "at most 100%", "column 21"},
        {"[resize(28, cubic)]", "unknown method 'cubic'", "column 13"},
        {"[resize(28, box, 28)]", "nothing may follow the method", "column 18"},
        {"[resize(box)]", "expected a number", "column 9"},
        {"[central_crop(28, box)]", "expected a number", "column 19"},
        {"[randaugment(2)]", "needs an argument", "column 2"},
        {"[randaugment(2,31)]", "from 0 to 30", "column 16"},
        {"[random_erasing(3)]", "at most 0 arguments", "column 17"},
        {"[flip", "expected ',' or ']'", "column 6"},
        {"[flip] x", "nothing after ']'", "column 8"},
        {"flip flip", "expected ','", "column 6"},
        {"[flip(]", "expected a number", "column 7"},
        {"[flip,]", "expected the name", "column 7"},
        {"[pad(1),pad(1),pad(1),pad(1),pad(1),pad(1),pad(1),pad(1),pad(1)]", "more than 8", "column 58"},
    };
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        vt_preprocess p;
        vt_err err = {0};
        assert_int_equal(vt_preprocess_parse(&p, cases[i].text, &err), VT_EINVAL);
        if (!strstr(err.msg, cases[i].word) || strncmp(err.msg, cases[i].column, strlen(cases[i].column)) != 0)
            fail_msg("%s: %s", cases[i].text, err.msg);
    }
}

/* Breaks when a list that does not fit the model is accepted, or one that fits is refused. */
static void test_check(void **state)
{
    static const struct {
        const char *text;
        int64_t height, width;
        const char *word; /* NULL: fits */
    } cases[] = {
        {"[resize(28), flip]", 28, 28, NULL},
        {"[resize_small(256), central_crop(224)]", 224, 224, NULL},
        {"[resize(32), pad(4), random_crop(32)]", 32, 32, NULL},
        {"[resize(20,30), resize_small(40)]", 40, 60, NULL},
        {"[inception_crop(32)]", 32, 32, NULL},
        {"[inception_crop(32)]", 28, 28, "ends with images of 32 x 32"},
        {"[inception_crop(40,24)]", 40, 24, NULL},
        {"[inception_crop(40,24,60%), flip]", 40, 24, NULL},
        {"[inception_crop(40,24)]", 24, 40, "ends with images of 40 x 24"},
        {"[resize_small(64), random_crop(40,24)]", 40, 24, NULL},
        {"[resize(40), pad(2), central_crop(40,24)]", 40, 24, NULL},
        {"[resize(30), central_crop(40,24)]", 40, 24, "cannot be cut from the 30 x 30"},
        {"[flip]", 40, 24, "resize(40,24)"},
        {"[flip]", 28, 28, "resize(28)"},
        {"[]", 28, 28, "resize(28)"},
        {"[resize_small(256)]", 224, 224, "different sizes"},
        {"[resize(28), random_crop(32)]", 32, 32, "cannot be cut from the 28 x 28"},
    };
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        vt_preprocess p;
        vt_err err = {0};
        assert_int_equal(vt_preprocess_parse(&p, cases[i].text, NULL), VT_OK);
        vt_status status = vt_preprocess_check(&p, cases[i].height, cases[i].width, &err);
        if (cases[i].word ? status != VT_EINVAL || !strstr(err.msg, cases[i].word) : status != VT_OK)
            fail_msg("%s: %s", cases[i].text, status == VT_OK ? "accepted" : err.msg);
    }
}

/* --- resizes --- */

/* Bilinear in doubles, straight from its equation. */
static double bilinear_at(const vt_image *in, int64_t height, int64_t width, int64_t y, int64_t x, int c)
{
    double fy = ((double)y + 0.5) * (double)in->height / (double)height - 0.5;
    double fx = ((double)x + 0.5) * (double)in->width / (double)width - 0.5;
    double sum = 0.0;
    for (int dy = 0; dy < 2; dy++) {
        for (int dx = 0; dx < 2; dx++) {
            double iy = floor(fy) + dy, ix = floor(fx) + dx, wy = 1.0 - fabs(fy - iy), wx = 1.0 - fabs(fx - ix);
            int64_t cy = iy < 0 ? 0 : iy > (double)in->height - 1 ? in->height - 1 : (int64_t)iy;
            int64_t cx = ix < 0 ? 0 : ix > (double)in->width - 1 ? in->width - 1 : (int64_t)ix;
            sum += wy * wx * in->pixels[(cy * in->width + cx) * 3 + c];
        }
    }
    return sum;
}

static double overlap(double from, double to, double a, double b)
{
    double low = from > a ? from : a, high = to < b ? to : b;
    return high > low ? high - low : 0.0;
}

/* The mean over a box, in doubles, over all pixels of the image. */
static double area_at(const vt_image *in, int64_t height, int64_t width, int64_t y, int64_t x, int c)
{
    double sy = (double)in->height / (double)height, sx = (double)in->width / (double)width, sum = 0.0;
    for (int64_t i = 0; i < in->height; i++) {
        for (int64_t j = 0; j < in->width; j++) {
            double w = overlap((double)y * sy, (double)(y + 1) * sy, (double)i, (double)i + 1) *
                       overlap((double)x * sx, (double)(x + 1) * sx, (double)j, (double)j + 1);
            sum += w * in->pixels[(i * in->width + j) * 3 + c];
        }
    }
    return sum / (sy * sx);
}

typedef vt_status resize_fn(const vt_image *in, vt_rect r, int64_t height, int64_t width, vt_image *out, vt_err *err);
typedef double formula_fn(const vt_image *in, int64_t height, int64_t width, int64_t y, int64_t x, int c);

/* The result is the formula's, truncated; where the formula is within 1e-3 of a whole number, either neighbour. */
static void compare_resize(resize_fn *resize, formula_fn *formula)
{
    static const int64_t sizes[][4] = {{7, 5, 3, 4}, {5, 7, 11, 9},    {64, 48, 28, 28}, {1, 1, 5, 3},
                                       {1, 9, 4, 4}, {31, 33, 32, 32}, {100, 3, 7, 70}};
    vt_image in = {0}, out = {0};
    for (uint32_t k = 0; k < VT_COUNT_OF(sizes); k++) {
        int64_t height = sizes[k][2], width = sizes[k][3];
        fx_image(&in, sizes[k][1], sizes[k][0], k);
        assert_int_equal(resize(&in, FX_WHOLE(in), height, width, &out, NULL), VT_OK);
        assert_true(out.height == height && out.width == width);
        for (int64_t i = 0; i < height * width * 3; i++) {
            double want = formula(&in, height, width, i / 3 / width, i / 3 % width, (int)(i % 3));
            double have = (double)out.pixels[i];
            if (have > want + 1e-3 || have <= want - 1.0 - 1e-3)
                fail_msg("size %u, value %lld: %g, formula %g", k, (long long)i, have, want);
        }
    }
    vt_image_release(&in);
    vt_image_release(&out);
}

/* Breaks when bilinear sampling is shifted, antialiased or rounded instead of truncated. */
static void test_bilinear_formula(void **state)
{
    compare_resize(vt_resize_tf_bilinear, bilinear_at);
}

/* Breaks when the area average weighs edges wrongly. */
static void test_area_formula(void **state)
{
    compare_resize(vt_resize_tf_area, area_at);
}

static void grey_row(vt_image *im, const uint8_t *values, int64_t n)
{
    assert_int_equal(vt_image_resize_buffer(im, n, 1, NULL), VT_OK);
    for (int64_t i = 0; i < n; i++)
        memset(im->pixels + i * 3, values[i], 3);
}

static void check_row(resize_fn *resize, const uint8_t *from, int64_t n, const uint8_t *to, int64_t m)
{
    vt_image in = {0}, out = {0};
    grey_row(&in, from, n);
    assert_int_equal(resize(&in, FX_WHOLE(in), 1, m, &out, NULL), VT_OK);
    for (int64_t i = 0; i < m; i++) {
        if (out.pixels[i * 3] != to[i])
            fail_msg("value %lld is %d, not %d", (long long)i, out.pixels[i * 3], to[i]);
    }
    vt_image_release(&in);
    vt_image_release(&out);
}

/* Breaks when the conventions differ from TensorFlow's; values worked out by hand. */
static void test_resize_by_hand(void **state)
{
    /* 4 to 2: f = 0.5, 2.5, so the means of pixels 0, 1 and 2, 3; no antialias at 8 to 2: f = 1.5, 5.5 */
    check_row(vt_resize_tf_bilinear, (uint8_t[]){10, 21, 30, 41}, 4, (uint8_t[]){15, 35}, 2);
    check_row(vt_resize_tf_bilinear, (uint8_t[]){0, 100, 200, 0, 0, 50, 70, 255}, 8, (uint8_t[]){150, 60}, 2);
    /* 2 to 4: f = -0.25, 0.25, 0.75, 1.25. The first one's weight is 0.75 between pixels 0 and 0 */
    check_row(vt_resize_tf_bilinear, (uint8_t[]){10, 21}, 2, (uint8_t[]){10, 12, 18, 21}, 4);
    /* 4 to 3: out[0] = (in[0] + in[1] / 3) * 3/4, the example in TensorFlow's source */
    check_row(vt_resize_tf_area, (uint8_t[]){92, 31, 62, 120}, 4, (uint8_t[]){76, 46, 105}, 3);
    check_row(vt_resize_tf_area, (uint8_t[]){1, 2, 4, 9}, 4, (uint8_t[]){1, 6}, 2);
    /* equal sizes: a copy */
    check_row(vt_resize_tf_bilinear, (uint8_t[]){3, 1, 4, 1, 5}, 5, (uint8_t[]){3, 1, 4, 1, 5}, 5);
}

/* Breaks when one bit of a resize differs from TensorFlow's order of float32 operations; hashes from a separate float32
 * program in NumPy that follows TensorFlow's formulas. */
static void test_resize_golden(void **state)
{
    static const struct {
        int64_t from[2], to[2]; /* height, width */
        const char *bilinear, *area;
    } cases[] = {
        {{37, 53},
         {64, 80},
         "895a4ab3439fb1eb6b6d0a976110d6fa9e3458383bd5ce60e3afd6aaa7a5c87c",
         "966203b971b31afc43179ac24ed589ed0203bd19f30a2a5cebfdf71a58f6d1ed"},
        {{97, 131},
         {28, 33},
         "c7b82f1b2b0b8af8cf4072197104534451e79914bf362be99681e6c0da6e28fc",
         "9ecfecafb3262bca3467f3f73311af0b0ab80ff2fff9c62985cadd8795e89ad8"},
    };
    for (size_t k = 0; k < VT_COUNT_OF(cases); k++) {
        vt_image in = {0}, out = {0};
        char hex[VT_HASH_HEX];
        int64_t height = cases[k].to[0], width = cases[k].to[1];
        assert_int_equal(vt_image_resize_buffer(&in, cases[k].from[1], cases[k].from[0], NULL), VT_OK);
        for (int64_t i = 0; i < in.width * in.height * 3; i++) {
            int64_t x = i / 3 % in.width, y = i / 3 / in.width;
            in.pixels[i] = (uint8_t)(x * 7 + y * 13 + i % 3 * 29 + x * y % 11 * 3);
        }
        assert_int_equal(vt_resize_tf_bilinear(&in, FX_WHOLE(in), height, width, &out, NULL), VT_OK);
        vt_hash_bytes(out.pixels, (size_t)(height * width * 3), hex);
        assert_string_equal(hex, cases[k].bilinear);
        assert_int_equal(vt_resize_tf_area(&in, FX_WHOLE(in), height, width, &out, NULL), VT_OK);
        vt_hash_bytes(out.pixels, (size_t)(height * width * 3), hex);
        assert_string_equal(hex, cases[k].area);
        vt_image_release(&in);
        vt_image_release(&out);
    }
}

/* Breaks when a rectangle is read outside of itself. */
static void test_bilinear_rect(void **state)
{
    vt_image in = {0}, cut = {0}, direct = {0}, twice = {0};
    fx_image(&in, 40, 30, 5);
    vt_rect r = {7, 4, 21, 13};
    assert_int_equal(vt_resize_tf_bilinear(&in, r, 70, 66, &direct, NULL), VT_OK);
    assert_int_equal(vt_crop_rect(&in, r, &cut, NULL), VT_OK);
    assert_int_equal(vt_resize_tf_bilinear(&cut, FX_WHOLE(cut), 70, 66, &twice, NULL), VT_OK);
    assert_memory_equal(direct.pixels, twice.pixels, 70 * 66 * 3);
    vt_image_release(&in);
    vt_image_release(&cut);
    vt_image_release(&direct);
    vt_image_release(&twice);
}

/* --- random operations --- */

/* Breaks when the inception crop leaves the image, its area or its aspect, or is distributed otherwise than by height.
 */
static void test_inception_rect(void **state)
{
    static const int64_t sizes[][2] = {{28, 28}, {500, 333}, {32, 200}, {3, 3}, {224, 300}};
    for (size_t k = 0; k < VT_COUNT_OF(sizes); k++) {
        int64_t width = sizes[k][0], height = sizes[k][1];
        double total = (double)(width * height), area_sum = 0.0, x_sum = 0.0;
        for (uint64_t i = 0; i < 4000; i++) {
            vt_rng rng = vt_rng_at(3, VT_STREAM_TEST, i, (uint32_t)k);
            vt_rect r = vt_inception_rect(width, height, 0.05f, &rng);
            assert_true(r.x >= 0 && r.y >= 0 && r.width >= 1 && r.height >= 1);
            assert_true(r.x + r.width <= width && r.y + r.height <= height);
            double area = (double)(r.width * r.height);
            assert_true(area >= 0.05 * total - 1e-3 && area <= total);
            bool whole = r.width == width && r.height == height; /* also the answer when no attempt succeeds */
            assert_true(whole || (double)r.width <= (double)r.height * 1.33 + 0.5);
            assert_true(whole || (double)r.width >= (double)r.height * 0.75 - 0.5);
            area_sum += area / total;
            x_sum += width > r.width ? (double)r.x / (double)(width - r.width) : 0.5;
        }
        if (k == 1 ||
            k == 4) { /* uniform height: the mean area is near (h0^2 + h0 h1 + h1^2) / 3 of heights, not 0.525 */
            assert_true(area_sum / 4000 > 0.25 && area_sum / 4000 < 0.45);
            assert_true(x_sum / 4000 > 0.45 && x_sum / 4000 < 0.52);
        }
    }
}

/* Breaks when the least area of inception_crop(S, MIN%) is not obeyed. */
static void test_inception_minimum(void **state)
{
    for (uint64_t i = 0; i < 1000; i++) {
        vt_rng rng = vt_rng_at(4, VT_STREAM_TEST, i, 0);
        vt_rect r = vt_inception_rect(200, 180, 0.6f, &rng);
        assert_true(r.width * r.height >= (int64_t)(0.6 * 200 * 180) - 1);
    }
}

static void run_list(const char *list, uint32_t seed, uint64_t position, vt_image *im)
{
    vt_preprocess p;
    vt_image spare = {0};
    vt_err err = {0};
    assert_int_equal(vt_preprocess_parse(&p, list, NULL), VT_OK);
    if (vt_preprocess_run(&p, seed, position, im, &spare, &err) != VT_OK)
        fail_msg("%s: %s", list, err.msg);
    vt_image_release(&spare);
}

/* Breaks when random operations do not depend on seed and position alone, or flips and crops are not even. */
static void test_random_operations(void **state)
{
    vt_image im = {0}, first = {0}, plain = {0};
    fx_image(&plain, 12, 10, 9);
    int flipped = 0, corners[9] = {0};
    for (uint64_t i = 0; i < 900; i++) {
        fx_image(&im, 12, 10, 9);
        run_list("[flip]", 1, i, &im);
        bool mirrored = memcmp(im.pixels, plain.pixels + 11 * 3, 3) == 0;
        assert_true(mirrored || memcmp(im.pixels, plain.pixels, 12 * 10 * 3) == 0);
        assert_true(!mirrored || memcmp(im.pixels + (9 * 12 + 11) * 3, plain.pixels + 9 * 12 * 3, 3) == 0);
        flipped += mirrored;
        fx_image(&im, 12, 10, 9);
        run_list("[random_crop(8, 10)]", 1, i, &im);
        for (int at = 0; at < 9; at++) {
            bool here = true;
            for (int y = 0; y < 8 && here; y++)
                here = memcmp(im.pixels + y * 30, plain.pixels + ((at / 3 + y) * 12 + at % 3) * 3, 30) == 0;
            corners[at] += here;
        }
    }
    assert_in_range(flipped, 390, 510);
    for (int at = 0; at < 9; at++)
        assert_in_range(corners[at], 60, 145);
    for (uint32_t seed = 1; seed <= 2; seed++) {
        fx_image(&first, 50, 40, 2);
        fx_image(&im, 50, 40, 2);
        run_list("[inception_crop(16), flip]", 1, 77, &first);
        run_list("[inception_crop(16), flip]", seed, 77, &im);
        assert_int_equal(memcmp(first.pixels, im.pixels, 16 * 16 * 3) == 0, seed == 1);
    }
    vt_image_release(&im);
    vt_image_release(&first);
    vt_image_release(&plain);
}

/* Breaks when central_crop, pad or resize_small place or size wrongly. */
static void test_fixed_operations(void **state)
{
    vt_image im = {0}, plain = {0};
    fx_image(&plain, 11, 8, 1);
    fx_image(&im, 11, 8, 1);
    run_list("[central_crop(5, 6)]", 0, 0, &im); /* offset floor((8-5)/2) = 1, floor((11-6)/2) = 2 */
    assert_memory_equal(im.pixels, plain.pixels + (1 * 11 + 2) * 3, 6 * 3);
    run_list("[pad(2)]", 0, 0, &im);
    assert_true(im.width == 10 && im.height == 9 && im.pixels[0] == 0 && im.pixels[(9 * 10 - 1) * 3] == 0);
    assert_memory_equal(im.pixels + (2 * 10 + 2) * 3, plain.pixels + (1 * 11 + 2) * 3, 6 * 3);
    fx_image(&im, 500, 333, 1);
    run_list("[resize_small(256)]", 0, 0, &im);
    assert_true(im.height == 256 && im.width == 384); /* 500 * 256/333 = 384.38 */
    fx_image(&im, 3, 5, 1);
    run_list("[resize_small(7)]", 0, 0, &im);
    assert_true(im.height == 12 && im.width == 7); /* 5 * 7/3 = 11.67 */
    vt_image_release(&im);
    vt_image_release(&plain);
}

/* Breaks when a crop beyond its image is not refused with both sizes. */
static void test_crop_too_large(void **state)
{
    vt_preprocess p;
    vt_image im = {0}, spare = {0};
    vt_err err = {0};
    fx_image(&im, 20, 30, 1);
    assert_int_equal(vt_preprocess_parse(&p, "[random_crop(24)]", NULL), VT_OK);
    assert_int_equal(vt_preprocess_run(&p, 0, 0, &im, &spare, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "24 x 24"));
    assert_non_null(strstr(err.msg, "30 x 20"));
    vt_image_release(&im);
    vt_image_release(&spare);
}

/* Breaks (under sanitizers) when a mangled list makes the parser read out of bounds. */
static void test_mangled_lists(void **state)
{
    static const char letters[] = "[](),% .0123456789resize_flipcropinception";
    vt_rng r = vt_rng_at(1, VT_STREAM_TEST, 0, 0);
    for (int round = 0; round < 2000; round++) {
        vt_preprocess p;
        char text[64] = "[inception_crop(28, 60%), resize_small(256), flip]";
        for (int k = 0; k < 4; k++)
            text[vt_rng_below(&r, 50)] = letters[vt_rng_below(&r, sizeof letters - 1)];
        text[vt_rng_below(&r, 50) + 1] = '\0';
        vt_err err = {0};
        if (vt_preprocess_parse(&p, text, &err) == VT_OK) {
            vt_text out = {0};
            vt_preprocess_print(&p, &out);
            assert_int_equal(vt_preprocess_parse(&p, out.s, NULL), VT_OK);
            vt_text_release(&out);
        } else {
            assert_true(strlen(err.msg) > 10);
        }
    }
}

/* Breaks when the table of help does not match the table of operations. */
static void test_help(void **state)
{
    int n = 0;
    for (; vt_preprocess_help[n].form; n++) {
        static const char *const arguments[] = {"", "(8)", "(8, 8)"};
        const char *form = vt_preprocess_help[n].form;
        const vt_operation *row = &vt_operations[n];
        char list[80];
        vt_preprocess p;
        assert_true(strlen(vt_preprocess_help[n].help) > 10);
        snprintf(list, sizeof list, "[%.*s%s]", (int)strcspn(form, "( "), form, arguments[row->min_args]);
        assert_int_equal(vt_preprocess_parse(&p, list, NULL), VT_OK);
        assert_int_equal(p.ops[0].kind, n);
        assert_int_equal(vt_preprocess_is_random(&p), row->random);
    }
    assert_int_equal(n, vt_n_operations);
}

/* Breaks when a list run in two parts differs from the whole, which a cache of its fixed part relies on. */
static void test_parts_make_the_whole(void **state)
{
    vt_preprocess p;
    vt_image whole = {0}, spare = {0};
    vt_read_buffer b = {0};
    assert_int_equal(vt_preprocess_parse(&p, "[resize_small(40), pad(2), random_crop(32), flip]", NULL), VT_OK);
    assert_int_equal(vt_preprocess_fixed(&p), 2);
    for (uint64_t position = 0; position < 8; position++) {
        fx_image(&whole, 61, 47, 5);
        fx_image(&b.image, 61, 47, 5);
        assert_int_equal(vt_preprocess_run(&p, 3, position, &whole, &spare, NULL), VT_OK);
        assert_int_equal(vt_preprocess_load_part(&p, 2, 3, position, &b, &spare, "x", NULL), VT_OK);
        assert_int_equal(vt_preprocess_run_part(&p, 2, p.n_ops, 3, position, &b.image, &spare, NULL), VT_OK);
        assert_true(whole.width == b.image.width && whole.height == b.image.height);
        assert_memory_equal(whole.pixels, b.image.pixels, (size_t)(whole.width * whole.height * 3));
    }
    vt_image_release(&whole);
    vt_image_release(&spare);
    vt_read_buffer_release(&b);
}

/* Breaks when the sides of a resize, or the offset of a crop, are not those of the program whose method was named. */
static void test_sides_and_offsets(void **state)
{
    static const struct {
        const char *list;
        int64_t from[2], to[2]; /* height, width */
    } cases[] = {
        {"[resize_small(256)]", {375, 500}, {256, 341}}, /* 341.33 */
        {"[resize_small(256, bicubic)]", {375, 500}, {256, 341}},
        {"[resize_small(256)]", {375, 499}, {256, 341}}, /* 340.65 */
        {"[resize_small(256, bilinear)]", {375, 499}, {256, 340}},
        {"[resize_small(100, tf_bilinear)]", {303, 200}, {152, 100}}, /* 151.5, half to even */
        {"[resize_small(100, box)]", {303, 200}, {151, 100}},
    };
    vt_image im = {0}, spare = {0}, out = {0};
    vt_preprocess p;
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        fx_image(&im, cases[i].from[1], cases[i].from[0], 1);
        assert_int_equal(vt_preprocess_parse(&p, cases[i].list, NULL), VT_OK);
        assert_int_equal(vt_preprocess_run(&p, 0, 0, &im, &spare, NULL), VT_OK);
        if (im.height != cases[i].to[0] || im.width != cases[i].to[1])
            fail_msg("%s: %lld x %lld", cases[i].list, (long long)im.height, (long long)im.width);
    }
    for (int64_t side = 20; side < 28; side++) { /* Python's round((side - 20) / 2), and its floor */
        static const int64_t even[] = {0, 0, 1, 2, 2, 2, 3, 4};
        for (int k = 0; k < 2; k++) {
            const int64_t offset = k ? even[side - 20] : (side - 20) / 2;
            fx_image(&im, side, side, 1);
            assert_int_equal(vt_crop_rect(&im, (vt_rect){offset, offset, 20, 20}, &out, NULL), VT_OK);
            assert_int_equal(vt_preprocess_parse(&p, k ? "[center_crop(20)]" : "[central_crop(20)]", NULL), VT_OK);
            assert_int_equal(vt_preprocess_run(&p, 0, 0, &im, &spare, NULL), VT_OK);
            assert_memory_equal(im.pixels, out.pixels, 20 * 20 * 3);
        }
    }
    vt_image_release(&im);
    vt_image_release(&spare);
    vt_image_release(&out);
}

static int clean(void **state)
{
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_make_the_whole), cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_wrong_lists),          cmocka_unit_test(test_check),
        cmocka_unit_test(test_bilinear_formula),     cmocka_unit_test(test_area_formula),
        cmocka_unit_test(test_resize_by_hand),       cmocka_unit_test(test_resize_golden),
        cmocka_unit_test(test_bilinear_rect),        cmocka_unit_test(test_inception_rect),
        cmocka_unit_test(test_inception_minimum),    cmocka_unit_test(test_random_operations),
        cmocka_unit_test(test_fixed_operations),     cmocka_unit_test(test_crop_too_large),
        cmocka_unit_test(test_mangled_lists),        cmocka_unit_test(test_help),
        cmocka_unit_test(test_sides_and_offsets),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
