/* Resizes bit for bit as TensorFlow's and Pillow's, the inception crop's distribution as TensorFlow's, RandAugment's
 * operations: against tests/golden/preprocess.json. */
#include "fixtures.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/philox.h"
#include "image/augment.h"
#include "image/geometry.h"
#include "data/operations.h"

static json_t *golden;

static int64_t integer_at(const json_t *list, size_t i)
{
    return (int64_t)json_integer_value(json_array_get(list, i));
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));
    assert_non_null(s);
    return s;
}

/* The golden file's rule: bytes of Philox at the image's name. */
static void draw_image(vt_image *im, const json_t *size, uint32_t low, uint32_t span)
{
    char name[32];
    const int64_t height = integer_at(size, 0), width = integer_at(size, 1);
    snprintf(name, sizeof name, "%lldx%lld", (long long)height, (long long)width);
    assert_int_equal(vt_image_resize_buffer(im, width, height, NULL), VT_OK);
    vt_philox4 lanes = {{0}};
    for (int64_t j = 0; j < width * height * 3; j++) {
        if (j % 4 == 0)
            lanes = vt_philox(7, VT_STREAM_TEST, (uint64_t)j / 4, vt_fnv1a(name), 0);
        im->pixels[j] = (uint8_t)(low + lanes.v[j % 4] % span);
    }
}

static void expect_hash(const vt_image *im, const json_t *row)
{
    char hex[VT_HASH_HEX];
    vt_hash_bytes(im->pixels, (size_t)(im->width * im->height * 3), hex);
    if (strcmp(hex, text_of(row, "sha256")) != 0) {
        char *said = json_dumps(row, JSON_COMPACT);
        fail_msg("%s: %s", said, hex);
    }
}

/* Breaks when one bit of any resize differs from TensorFlow's or Pillow's. */
static void test_resizes(void **state)
{
    vt_image in = {0}, spare = {0};
    const json_t *rows = json_object_get(golden, "resizes");
    assert_true(json_array_size(rows) == 65);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i), *to = json_object_get(row, "to");
        char list[80];
        vt_preprocess p;
        snprintf(list, sizeof list, "[resize(%d, %d, %s)]", (int)integer_at(to, 0), (int)integer_at(to, 1),
                 text_of(row, "method"));
        assert_int_equal(vt_preprocess_parse(&p, list, NULL), VT_OK);
        draw_image(&in, json_object_get(row, "from"), 0, 256);
        assert_int_equal(vt_preprocess_run(&p, 0, 0, &in, &spare, NULL), VT_OK);
        assert_true(in.height == integer_at(to, 0) && in.width == integer_at(to, 1));
        expect_hash(&in, row);
    }
    vt_image_release(&in);
    vt_image_release(&spare);
}

/* Breaks when a resize reads outside its rectangle, or places it wrongly. */
static void test_resized_rectangles(void **state)
{
    const vt_rect r = {11, 5, 90, 71};
    vt_image in = {0}, cut = {0}, direct = {0}, twice = {0};
    fx_image(&in, 131, 97, 3);
    assert_int_equal(vt_crop_rect(&in, r, &cut, NULL), VT_OK);
    for (int filter = VT_PILLOW_BOX; filter <= VT_PILLOW_BICUBIC; filter++) {
        const vt_pillow_filter f = (vt_pillow_filter)filter;
        for (int64_t width = 89; width <= 91; width++) { /* 90: one pass only */
            assert_int_equal(vt_resize_pillow(&in, r, 40, width, f, &direct, NULL), VT_OK);
            assert_int_equal(vt_resize_pillow(&cut, (vt_rect){0, 0, 90, 71}, 40, width, f, &twice, NULL), VT_OK);
            assert_memory_equal(direct.pixels, twice.pixels, (size_t)(40 * width * 3));
        }
    }
    vt_image_release(&in);
    vt_image_release(&cut);
    vt_image_release(&direct);
    vt_image_release(&twice);
}

/* --- the crop --- */

#define BINS  20
#define DRAWS 100000

typedef struct {
    int64_t area[BINS], aspect[BINS], height[BINS], x[BINS], y[BINS];
} histograms;

static void count(int64_t *bins, double value, double low, double high)
{
    const double place = floor((value - low) / (high - low) * BINS);
    bins[place < 0 ? 0 : place > BINS - 1 ? BINS - 1 : (int)place]++;
}

static void count_rect(histograms *h, vt_rect r, int64_t width, int64_t height)
{
    const double free_x = (double)(width > r.width ? width - r.width : 1);
    const double free_y = (double)(height > r.height ? height - r.height : 1);
    count(h->area, (double)(r.width * r.height) / (double)(width * height), 0, 1);
    count(h->aspect, (double)r.width / (double)r.height, 0.7, 1.4);
    count(h->height, (double)r.height / (double)height, 0, 1);
    count(h->x, ((double)r.x + 0.5) / free_x, 0, 1);
    count(h->y, ((double)r.y + 0.5) / free_y, 0, 1);
}

/* Of two samples of the same size; about BINS - 1 when they are of one distribution, above 60 once in 100,000 times. */
static double chi_square(const int64_t *bins, const json_t *row, const char *key)
{
    double sum = 0;
    for (int i = 0; i < BINS; i++) {
        const double a = (double)bins[i], b = (double)integer_at(json_object_get(row, key), (size_t)i);
        sum += a + b > 0 ? (a - b) * (a - b) / (a + b) : 0;
    }
    return sum;
}

static double largest_chi_square(const histograms *h, const json_t *row)
{
    const double all[] = {chi_square(h->area, row, "area"), chi_square(h->aspect, row, "aspect"),
                          chi_square(h->height, row, "height"), chi_square(h->x, row, "x"), chi_square(h->y, row, "y")};
    double most = 0;
    for (size_t i = 0; i < VT_COUNT_OF(all); i++)
        most = all[i] > most ? all[i] : most;
    return most;
}

/* A crop as others make it: the area uniform, the aspect uniform in the logarithm, every offset possible. */
static vt_rect other_rect(int64_t width, int64_t height, double least, vt_rng *rng)
{
    for (;;) {
        const double area = (least + (1 - least) * (double)vt_rng_uniform(rng)) * (double)(width * height);
        const double aspect = 0.75 * pow(1.33 / 0.75, (double)vt_rng_uniform(rng));
        const int64_t w = (int64_t)rint(sqrt(area * aspect)), h = (int64_t)rint(sqrt(area / aspect));
        if (w < 1 || h < 1 || w > width || h > height)
            continue;
        const int64_t y = vt_rng_below(rng, (uint32_t)(height - h + 1));
        return (vt_rect){vt_rng_below(rng, (uint32_t)(width - w + 1)), y, w, h};
    }
}

/* Breaks when the crop's area, aspect, height or place is distributed otherwise than TensorFlow's over 100,000 draws;
 * the test itself is tested on a crop of uniform area. */
static void test_crop_distribution(void **state)
{
    const json_t *rows = json_object_get(golden, "crops");
    assert_true(json_array_size(rows) == 3);
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *row = json_array_get(rows, k), *size = json_object_get(row, "size");
        const int64_t height = integer_at(size, 0), width = integer_at(size, 1);
        const double least = json_real_value(json_object_get(row, "least"));
        static histograms ours, others;
        memset(&ours, 0, sizeof ours);
        memset(&others, 0, sizeof others);
        for (uint64_t i = 0; i < DRAWS; i++) {
            vt_rng rng = vt_rng_at(3, VT_STREAM_AUGMENT, i, (uint32_t)k);
            count_rect(&ours, vt_inception_rect(width, height, (float)least, &rng), width, height);
            count_rect(&others, other_rect(width, height, least, &rng), width, height);
        }
        const double same = largest_chi_square(&ours, row), different = largest_chi_square(&others, row);
        if (!(same < 60))
            fail_msg("%lld x %lld: chi-square %.1f against TensorFlow's draws", (long long)height, (long long)width,
                     same);
        assert_true(different > 1000);
    }
}

/* --- operations on pixels --- */

static const struct {
    const char *name;
    vt_augmentation what;
} names[] = {
    {"auto_contrast", VT_AUG_AUTO_CONTRAST},
    {"equalize", VT_AUG_EQUALIZE},
    {"invert", VT_AUG_INVERT},
    {"rotate", VT_AUG_ROTATE},
    {"posterize", VT_AUG_POSTERIZE},
    {"solarize", VT_AUG_SOLARIZE},
    {"solarize_add", VT_AUG_SOLARIZE_ADD},
    {"color", VT_AUG_COLOR},
    {"contrast", VT_AUG_CONTRAST},
    {"brightness", VT_AUG_BRIGHTNESS},
    {"sharpness", VT_AUG_SHARPNESS},
    {"shear_x", VT_AUG_SHEAR_X},
    {"shear_y", VT_AUG_SHEAR_Y},
    {"translate_x", VT_AUG_TRANSLATE_X},
    {"translate_y", VT_AUG_TRANSLATE_Y},
};

/* Breaks when one bit of an operation differs from TensorFlow's. */
static void test_augmentations(void **state)
{
    vt_image in = {0}, out = {0};
    const json_t *rows = json_object_get(golden, "augmentations");
    assert_true(json_array_size(rows) > 100);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        size_t k = 0;
        while (k < VT_COUNT_OF(names) && strcmp(names[k].name, text_of(row, "name")) != 0)
            k++;
        assert_true(k < VT_COUNT_OF(names));
        draw_image(&in, json_object_get(row, "size"), 20, 190);
        const double amount = json_number_value(json_object_get(row, "amount"));
        assert_int_equal(vt_augment(&in, names[k].what, amount, 128, &out, NULL), VT_OK);
        expect_hash(&out, row);
    }
    vt_image_release(&in);
    vt_image_release(&out);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resizes),
        cmocka_unit_test(test_resized_rectangles),
        cmocka_unit_test(test_crop_distribution),
        cmocka_unit_test(test_augmentations),
    };
    if (argc != 2 || vt_json_load(argv[1], &golden, NULL) != VT_OK) {
        fprintf(stderr, "usage: test_pixels_golden GOLDEN.json\n");
        return 2;
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return failed;
}
