/* Looks of images, and finding the same picture among many. */
#include "data/similar.h"

#include <stdlib.h>
#include <string.h>

#include "fixtures.h"

/* Adds share / 256 of a random grid of n x n cells, interpolated. */
static void add_grid(vt_image *im, int n, int share, uint32_t *state)
{
    int64_t knots[18][18][3];
    for (int i = 0; i < 18 * 18 * 3; i++) {
        *state = *state * 1664525u + 1013904223u;
        knots[i / 54][i / 3 % 18][i % 3] = *state >> 24;
    }
    for (int64_t y = 0; y < im->height; y++) {
        for (int64_t x = 0; x < im->width; x++) {
            const int64_t u = (2 * x + 1) * n * 128 / im->width, v = (2 * y + 1) * n * 128 / im->height;
            const int64_t i = u / 256, k = v / 256, a = u % 256, b = v % 256;
            for (int c = 0; c < 3; c++) {
                const int64_t top = knots[k][i][c] * (256 - a) + knots[k][i + 1][c] * a;
                const int64_t low = knots[k + 1][i][c] * (256 - a) + knots[k + 1][i + 1][c] * a;
                const int64_t value = (top * (256 - b) + low * b) / 65536;
                im->pixels[3 * (y * im->width + x) + c] += (uint8_t)(value * share / 256);
            }
        }
    }
}

/* Random pictures with coarse forms and fine ones, as photographs have. */
static void picture(vt_image *im, int64_t width, int64_t height, uint32_t seed)
{
    vt_err err = {0};
    uint32_t state = seed * 2654435761u + 12345;
    assert_int_equal(vt_image_resize_buffer(im, width, height, &err), VT_OK);
    memset(im->pixels, 0, (size_t)(3 * width * height));
    add_grid(im, 2, 96, &state);
    add_grid(im, 4, 72, &state);
    add_grid(im, 8, 56, &state);
    add_grid(im, 16, 28, &state);
}

static vt_look look_at(const vt_image *im, const char *file)
{
    vt_look look;
    vt_image spare = {0};
    vt_err err = {0};
    assert_int_equal(vt_look_at(im, file, file ? strlen(file) : 0, &spare, &look, &err), VT_OK);
    vt_image_release(&spare);
    return look;
}

static vt_look look_of(int64_t width, int64_t height, uint32_t seed, const char *file)
{
    vt_image im = {0};
    picture(&im, width, height, seed);
    const vt_look look = look_at(&im, file);
    vt_image_release(&im);
    return look;
}

enum { N = 500 };

typedef struct {
    vt_look looks[N];
    vt_similar *index;
} many;

static many *make_many(void)
{
    vt_err err = {0};
    many *m = calloc(1, sizeof *m);
    assert_non_null(m);
    for (uint32_t i = 0; i < N; i++)
        m->looks[i] = look_of(40, 30, i, NULL);
    assert_int_equal(vt_similar_new(&m->index, m->looks, NULL, N, &err), VT_OK);
    return m;
}

static void free_many(many *m)
{
    vt_similar_free(m->index);
    free(m);
}

/* Unrelated pictures would be reported, or the search would find itself. */
static void test_unrelated(void **state)
{
    many *m = make_many();
    for (int64_t i = 0; i < N; i++)
        assert_int_equal(vt_similar_find(m->index, &m->looks[i], i, true).same, VT_SAME_NONE);
    free_many(m);
}

/* Another size, brightness, contrast, or a mirrored copy would be missed, or the wrong one named. */
static void test_altered(void **state)
{
    many *m = make_many();
    for (uint32_t i = 0; i < N; i++) {
        vt_image im = {0};
        const vt_look larger = look_of(100, 75, i, NULL);
        vt_match found = vt_similar_find(m->index, &larger, N, true);
        assert_int_equal(found.same, VT_SAME_NEARLY);
        assert_int_equal(found.other, i);
        picture(&im, 40, 30, i);
        for (int64_t k = 0; k < 40 * 30 * 3; k++)
            im.pixels[k] = (uint8_t)(im.pixels[k] * 19 / 20 + 6);
        const vt_look paler = look_at(&im, NULL);
        found = vt_similar_find(m->index, &paler, N, true);
        assert_int_equal(found.same, VT_SAME_NEARLY);
        assert_int_equal(found.other, i);
        picture(&im, 40, 30, i);
        for (int64_t y = 0; y < 30; y++)
            for (int64_t x = 0; x < 20; x++)
                for (int c = 0; c < 3; c++) {
                    uint8_t *left = &im.pixels[3 * (y * 40 + x) + c], *right = &im.pixels[3 * (y * 40 + 39 - x) + c];
                    const uint8_t t = *left;
                    *left = *right;
                    *right = t;
                }
        const vt_look mirrored = look_at(&im, NULL);
        found = vt_similar_find(m->index, &mirrored, N, true);
        assert_int_equal(found.same, VT_SAME_MIRRORED);
        assert_int_equal(found.other, i);
        vt_image_release(&im);
    }
    free_many(m);
}

/* A part of the picture, 95 % of each side, would be missed. */
static void test_cut(void **state)
{
    many *m = make_many();
    int found = 0;
    for (uint32_t i = 0; i < N; i++) {
        vt_image whole = {0}, part = {0};
        vt_err err = {0};
        picture(&whole, 200, 200, i);
        assert_int_equal(vt_image_resize_buffer(&part, 190, 190, &err), VT_OK);
        for (int64_t y = 0; y < 190; y++)
            memcpy(part.pixels + y * 190 * 3, whole.pixels + ((y + 10) * 200 + 10) * 3, 190 * 3);
        const vt_look look = look_at(&part, NULL);
        found += vt_similar_find(m->index, &look, N, true).other == i;
        vt_image_release(&whole);
        vt_image_release(&part);
    }
    assert_true(found >= N * 90 / 100);
    free_many(m);
}

/* What is the same to the byte or the pixel would be called near, or a later one be named instead of the first. */
static void test_exact(void **state)
{
    vt_err err = {0};
    vt_similar *index;
    const vt_look looks[] = {look_of(40, 30, 1, "one"), look_of(40, 30, 2, "two"), look_of(40, 30, 2, "another"),
                             look_of(40, 30, 2, "two"), look_of(40, 30, 1, NULL),  look_of(30, 40, 1, "one")};
    assert_int_equal(vt_similar_new(&index, looks, NULL, 6, &err), VT_OK);
    const vt_match nothing = vt_similar_find(index, &looks[1], 1, false);
    assert_int_equal(nothing.same, VT_SAME_NONE);
    const vt_match pixels = vt_similar_find(index, &looks[2], 2, true);
    assert_int_equal(pixels.same, VT_SAME_PIXELS);
    assert_int_equal(pixels.other, 1);
    const vt_match file = vt_similar_find(index, &looks[3], 3, true);
    assert_int_equal(file.same, VT_SAME_FILE);
    assert_int_equal(file.other, 1);
    const vt_match no_file = vt_similar_find(index, &looks[4], 4, true);
    assert_int_equal(no_file.same, VT_SAME_PIXELS);
    assert_int_equal(no_file.other, 0);
    assert_int_equal(vt_similar_find(index, &looks[5], 5, false).same, VT_SAME_NONE); /* other sides, other pixels */
    vt_similar_free(index);
    /* what is left out is never found */
    const bool used[] = {true, false, true, true, true, true};
    assert_int_equal(vt_similar_new(&index, looks, used, 6, &err), VT_OK);
    const vt_match left = vt_similar_find(index, &looks[3], 3, true);
    assert_int_equal(left.same, VT_SAME_PIXELS);
    assert_int_equal(left.other, 2);
    vt_similar_free(index);
}

/* Many images that are alike but not the same would take quadratic time. */
static void test_bounded(void **state)
{
    enum { ALIKE = 70000 };
    vt_err err = {0};
    vt_similar *index;
    vt_look *looks = calloc(ALIKE, sizeof *looks);
    assert_non_null(looks);
    for (int i = 0; i < ALIKE; i++) {
        looks[i].pixels[0] = (uint64_t)i + 1;
        memset(looks[i].grey, i % 2 ? 255 : 0, sizeof looks[i].grey / 2); /* half of them far from the other half */
    }
    assert_int_equal(vt_similar_new(&index, looks, NULL, ALIKE, &err), VT_OK);
    const vt_match found = vt_similar_find(index, &looks[ALIKE - 1], ALIKE - 1, true);
    assert_int_equal(found.same, VT_SAME_NEARLY);
    assert_int_equal(found.other, 1);
    assert_true(found.cut_short);
    vt_similar_free(index);
    free(looks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_unrelated), cmocka_unit_test(test_altered),
                                       cmocka_unit_test(test_cut), cmocka_unit_test(test_exact),
                                       cmocka_unit_test(test_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
