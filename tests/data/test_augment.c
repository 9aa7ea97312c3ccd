/* RandAugment, TrivialAugment and random erasing: what is drawn, how often, and from what alone. What the operations do
 * to pixels: test_pixels_golden.c. */
#include "fixtures.h"

#include <string.h>

#include "base/hash.h"
#include "data/preprocess.h"

static void run_list(const char *list, uint64_t position, int64_t width, int64_t height, vt_image *im)
{
    vt_preprocess p;
    vt_image spare = {0};
    fx_image(im, width, height, 5);
    assert_int_equal(vt_preprocess_parse(&p, list, NULL), VT_OK);
    assert_int_equal(vt_preprocess_run(&p, 21, position, im, &spare, NULL), VT_OK);
    assert_true(im->width == width && im->height == height);
    vt_image_release(&spare);
}

/* Different results of a list over many positions. */
static int count_results(const char *list, int positions)
{
    static char seen[512][VT_HASH_HEX];
    vt_image im = {0};
    int n = 0;
    for (int position = 0; position < positions; position++) {
        char hex[VT_HASH_HEX];
        int k = 0;
        run_list(list, (uint64_t)position, 48, 40, &im);
        vt_hash_bytes(im.pixels, (size_t)48 * 40 * 3, hex);
        while (k < n && strcmp(seen[k], hex) != 0)
            k++;
        if (k == n)
            memcpy(seen[n++], hex, VT_HASH_HEX);
    }
    vt_image_release(&im);
    return n;
}

/* Breaks when a policy leaves operations out, ignores its level, or draws from anything but the position. */
static void test_policies(void **state)
{
    /* 10 operations without sign, 5 with two results each, cutout with one for each pixel; a few give the same */
    const int one = count_results("[randaugment(1, 2)]", 400);
    assert_true(one >= 20 + 10 && one < 80);
    assert_true(count_results("[randaugment(2, 2)]", 400) > 2 * one);
    assert_true(count_results("[trivial_augment]", 500) > 200);
    assert_int_equal(count_results("[trivial_augment]", 1), 1);
    static const char *const lists[] = {"[randaugment(3, 17)]", "[trivial_augment]", "[random_erasing(100%)]"};
    for (size_t i = 0; i < VT_COUNT_OF(lists); i++) {
        vt_image a = {0}, b = {0};
        for (uint64_t position = 0; position < 200; position++) {
            run_list(lists[i], position, 30, 22, &a);
            run_list(lists[i], position, 30, 22, &b);
            assert_memory_equal(a.pixels, b.pixels, 30 * 22 * 3);
            run_list(lists[i], position, 1 + (int64_t)position % 4, 1 + (int64_t)position / 4 % 3, &a); /* tiny */
        }
        vt_image_release(&a);
        vt_image_release(&b);
    }
}

/* Breaks when levels 0 and 30, at the ends of the table's ranges, do what no operation means. */
static void test_extreme_levels(void **state)
{
    vt_image im = {0};
    for (uint64_t position = 0; position < 200; position++) {
        run_list("[randaugment(16, 0)]", position, 20, 20, &im);
        run_list("[randaugment(16, 30)]", position, 20, 20, &im);
    }
    vt_image_release(&im);
}

/* The bounding box of what differs from the original image. */
static vt_rect changed(const vt_image *im, const vt_image *original)
{
    int64_t left = im->width, top = im->height, right = -1, bottom = -1;
    for (int64_t y = 0; y < im->height; y++) {
        for (int64_t x = 0; x < im->width; x++) {
            const int64_t at = (y * im->width + x) * 3;
            if (memcmp(im->pixels + at, original->pixels + at, 3) == 0)
                continue;
            left = x < left ? x : left;
            right = x > right ? x : right;
            top = y < top ? y : top;
            bottom = y;
        }
    }
    return (vt_rect){left, top, right - left + 1, bottom - top + 1};
}

/* Breaks when erasing happens more or less often than it is asked to, or takes another share of the image. */
static void test_random_erasing(void **state)
{
    vt_image im = {0}, original = {0};
    int erased = 0;
    fx_image(&original, 100, 80, 5);
    for (uint64_t position = 0; position < 1000; position++) {
        run_list("[random_erasing(40%)]", position, 100, 80, &im);
        const vt_rect r = changed(&im, &original);
        if (r.width <= 0)
            continue;
        erased++;
        const double area = (double)(r.width * r.height) / 8000.0, aspect = (double)r.height / (double)r.width;
        assert_true(area > 0.015 && area < 0.345 && aspect > 0.25 && aspect < 3.9);
    }
    assert_true(erased > 340 && erased < 460);
    vt_image_release(&im);
    vt_image_release(&original);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_policies),
        cmocka_unit_test(test_extreme_levels),
        cmocka_unit_test(test_random_erasing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
