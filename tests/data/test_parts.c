/* Images decoded in part, and turned upright: the pixels and the verdict are those of the whole. */
#include "fixtures.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/philox.h"
#include "data/preprocess.h"
#include "data/tar.h"

typedef struct {
    vt_image whole, part, spare;
} images;

static void images_release(images *m)
{
    vt_image_release(&m->whole);
    vt_image_release(&m->part);
    vt_image_release(&m->spare);
}

static void random_rect(vt_rng *rng, int64_t width, int64_t height, vt_rect *r)
{
    r->width = 1 + vt_rng_below(rng, (uint32_t)width);
    r->height = 1 + vt_rng_below(rng, (uint32_t)height);
    r->x = vt_rng_below(rng, (uint32_t)(width - r->width + 1));
    r->y = vt_rng_below(rng, (uint32_t)(height - r->height + 1));
}

/* Decodes rectangles of one file and compares each with the whole image. */
static void compare_parts(images *m, const unsigned char *data, size_t size, const char *name, bool orient, int rounds,
                          vt_rng *rng)
{
    vt_err err = {0};
    vt_image_header header;
    vt_rect all, r;
    if (vt_image_look(data, size, orient, name, &header, &err) != VT_OK)
        return;
    all = (vt_rect){0, 0, header.width, header.height};
    const vt_status expected = vt_image_decode_part(&m->whole, &m->spare, data, size, name, &header, &all, &err);
    if (expected == VT_OK)
        assert_true(m->whole.width == header.width && m->whole.height == header.height);
    for (int i = 0; i < rounds; i++) {
        random_rect(rng, header.width, header.height, &r);
        vt_rect at = r;
        const vt_status status = vt_image_decode_part(&m->part, &m->spare, data, size, name, &header, &at, &err);
        if (status != expected)
            fail_msg("%s, %lld x %lld at %lld, %lld: %s, but the whole %s", name, (long long)r.width,
                     (long long)r.height, (long long)r.x, (long long)r.y, status == VT_OK ? "decodes" : err.msg,
                     expected == VT_OK ? "decodes" : "does not");
        if (status != VT_OK)
            break;
        assert_true(at.width == r.width && at.height == r.height && at.x >= 0 && at.y >= 0);
        assert_true(at.x + at.width <= m->part.width && at.y + at.height <= m->part.height);
        for (int64_t y = 0; y < r.height; y++) {
            const uint8_t *a = m->whole.pixels + ((r.y + y) * m->whole.width + r.x) * 3;
            const uint8_t *b = m->part.pixels + ((at.y + y) * m->part.width + at.x) * 3;
            if (memcmp(a, b, (size_t)r.width * 3) != 0)
                fail_msg("%s: row %lld of %lld x %lld at %lld, %lld differs", name, (long long)y, (long long)r.width,
                         (long long)r.height, (long long)r.x, (long long)r.y);
        }
    }
}

/* Breaks when a part of any of the hard images has other pixels, or another verdict, than the whole. */
static void test_parts_of_hard_images(void **state)
{
    const char *path = fx_real("hard-images.tar");
    if (!path)
        skip();
    images m = {0};
    vt_rng rng = vt_rng_at(11, VT_STREAM_TEST, 2, 0);
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    vt_tar tar;
    vt_tar_init(&tar, fd, path, (int64_t)st.st_size);
    for (;;) {
        vt_tar_member member;
        bool end;
        assert_int_equal(vt_tar_next(&tar, &member, &end, NULL), VT_OK);
        if (end)
            break;
        if (strstr(member.name, "bomb_10000")) /* 100 megapixels: seconds under sanitizers */
            continue;
        unsigned char *data = malloc((size_t)member.size + 1);
        assert_int_equal(vt_file_read_at(fd, path, member.offset, data, (size_t)member.size, NULL), VT_OK);
        compare_parts(&m, data, (size_t)member.size, member.name, true, 12, &rng);
        free(data);
    }
    vt_tar_release(&tar);
    close(fd);
    images_release(&m);
}

/* Breaks when chroma at a part's border lacks its neighbours, for any sampling, or when a cut file passes because its
 * end is not looked at. */
static void test_parts_of_samplings(void **state)
{
    images m = {0};
    vt_rng rng = vt_rng_at(12, VT_STREAM_TEST, 2, 0);
    for (int sampling = 0; sampling < 8; sampling++) {
        size_t size;
        const bool progressive = sampling >= 4;
        unsigned char *data =
            fx_jpeg_sampled(131, 97, (uint32_t)sampling, progressive, 1 + sampling % 2, 1 + sampling / 2 % 2, &size);
        compare_parts(&m, data, size, "whole", false, 60, &rng);
        for (size_t cut = size - 2; cut > size / 2; cut -= 61)
            compare_parts(&m, data, cut, "cut", false, 6, &rng);
        free(data);
    }
    images_release(&m);
}

/* Breaks when a small part of a large JPEG is not decoded alone. */
static void test_parts_are_partial(void **state)
{
    images m = {0};
    for (int progressive = 0; progressive < 2; progressive++) {
        size_t size;
        vt_image_header h;
        vt_rect r = {300, 200, 20, 10};
        unsigned char *data = fx_jpeg(600, 400, 1, progressive, &size);
        assert_int_equal(vt_image_look(data, size, false, "x", &h, NULL), VT_OK);
        assert_int_equal(vt_image_decode_part(&m.part, &m.spare, data, size, "x", &h, &r, NULL), VT_OK);
        assert_true(m.part.width < 100 && m.part.height < 50);
        free(data);
    }
    images_release(&m);
}

/* An EXIF block with one entry. */
static size_t exif_block(unsigned char out[64], bool big, bool prefix, int orientation)
{
    static const unsigned char little[] = "II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\0\0\0\0\0\0\0\0";
    static const unsigned char large[] = "MM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\0\0\0\0\0\0\0";
    size_t n = 0;
    if (prefix) {
        memcpy(out, "Exif\0\0", 6);
        n = 6;
    }
    memcpy(out + n, big ? large : little, 26);
    out[n + (big ? 19 : 18)] = (unsigned char)orientation;
    return n + 26;
}

/* A JPEG with an APP1 segment behind its first marker. */
static unsigned char *with_exif(const unsigned char *jpeg, size_t size, const unsigned char *exif, size_t n,
                                size_t *new_size)
{
    unsigned char *out = malloc(size + n + 4);
    memcpy(out, jpeg, 2);
    memcpy(out + 2, (unsigned char[]){0xff, 0xe1, (unsigned char)((n + 2) >> 8), (unsigned char)(n + 2)}, 4);
    memcpy(out + 6, exif, n);
    memcpy(out + 6 + n, jpeg + 2, size - 2);
    *new_size = size + n + 4;
    return out;
}

/* Where the upright image's (0, 0) and (width - 1, 0) lie in a stored image of 3 x 2, by the EXIF standard's words:
 * "the 0th row is at the visual top, the 0th column at the visual left" and so on. */
static void test_eight_orientations(void **state)
{
    static const int corners[9][4] = {{0},          {0, 0, 2, 0}, {2, 0, 0, 0}, {2, 1, 0, 1}, {0, 1, 2, 1},
                                      {0, 0, 0, 1}, {0, 1, 0, 0}, {2, 1, 2, 0}, {2, 0, 2, 1}};
    size_t size, n;
    images m = {0};
    vt_image stored = {0};
    unsigned char *jpeg = fx_jpeg(24, 16, 9, false, &size); /* 3 x 2 blocks of 8 */
    assert_int_equal(vt_image_decode(&stored, jpeg, size, "x", NULL), VT_OK);
    for (int o = 1; o <= 8; o++) {
        unsigned char exif[64];
        vt_image_header h;
        unsigned char *file = with_exif(jpeg, size, exif, exif_block(exif, o % 2, true, o), &n);
        assert_int_equal(vt_image_look(file, n, true, "x", &h, NULL), VT_OK);
        assert_int_equal(h.orientation, o);
        assert_true(h.width == (o < 5 ? 24 : 16) && h.height == (o < 5 ? 16 : 24));
        vt_rect all = {0, 0, h.width, h.height};
        assert_int_equal(vt_image_decode_part(&m.whole, &m.spare, file, n, "x", &h, &all, NULL), VT_OK);
        const int *c = corners[o];
        for (int k = 0; k < 2; k++) {
            const uint8_t *upright = m.whole.pixels + (k ? h.width - 1 : 0) * 3;
            const int64_t x = c[2 * k] ? 23 : 0, y = c[2 * k + 1] ? 15 : 0;
            assert_memory_equal(upright, stored.pixels + (y * 24 + x) * 3, 3);
        }
        vt_rng rng = vt_rng_at(13, VT_STREAM_TEST, (uint64_t)o, 0);
        compare_parts(&m, file, n, "turned", true, 20, &rng);
        assert_int_equal(vt_image_look(file, n, false, "x", &h, NULL), VT_OK); /* not asked for */
        assert_true(h.orientation == 1 && h.width == 24);
        free(file);
    }
    vt_image_release(&stored);
    images_release(&m);
    free(jpeg);
}

/* Breaks when malformed EXIF turns an image, fails it, or is read out of bounds (under sanitizers). */
static void test_malformed_exif(void **state)
{
    size_t size, n;
    vt_image_header h;
    unsigned char exif[64], *jpeg = fx_jpeg(24, 16, 9, false, &size);
    vt_rng rng = vt_rng_at(14, VT_STREAM_TEST, 0, 0);
    size_t length = exif_block(exif, false, true, 6);
    for (size_t cut = 0; cut < length; cut++) {
        unsigned char *file = with_exif(jpeg, size, exif, cut, &n);
        assert_int_equal(vt_image_look(file, n, true, "x", &h, NULL), VT_OK);
        assert_int_equal(h.orientation, cut < length - 4 ? 1 : 6); /* the offset of the next directory may lack */
        free(file);
    }
    for (int round = 0; round < 2000; round++) {
        length = exif_block(exif, round % 2, true, 6);
        for (int k = 0; k < 3; k++)
            exif[vt_rng_below(&rng, (uint32_t)length)] = (unsigned char)vt_rng_u32(&rng);
        unsigned char *file = with_exif(jpeg, size, exif, length, &n);
        assert_int_equal(vt_image_look(file, n, true, "x", &h, NULL), VT_OK);
        assert_true(h.orientation >= 1 && h.orientation <= 8);
        free(file);
    }
    for (int value = 0; value <= 255; value += value == 0 ? 9 : 41) {
        length = exif_block(exif, true, true, value);
        unsigned char *file = with_exif(jpeg, size, exif, length, &n);
        assert_int_equal(vt_image_look(file, n, true, "x", &h, NULL), VT_OK);
        assert_int_equal(h.orientation, 1);
        free(file);
    }
    free(jpeg);
}

/* Breaks when a list whose first operation crops gives other pixels than decoding all and then cropping. */
static void test_loading_equals_running(void **state)
{
    static const char *const lists[] = {"[inception_crop(32), flip]", "[random_crop(40), flip]",
                                        "[central_crop(32,48)]",
                                        "[inception_crop(24, 30%, bicubic), randaugment(2, 10)]", "[resize(32)]"};
    size_t size, n;
    unsigned char exif[64], *jpeg = fx_jpeg(90, 70, 4, false, &size);
    unsigned char *file = with_exif(jpeg, size, exif, exif_block(exif, false, true, 6), &n);
    vt_image image = {0}, spare = {0};
    for (size_t i = 0; i < VT_COUNT_OF(lists); i++) {
        for (uint64_t position = 0; position < 12; position++) {
            vt_preprocess p;
            vt_image_header h;
            assert_int_equal(vt_preprocess_parse(&p, lists[i], NULL), VT_OK);
            p.orient = position % 2;
            vt_read_buffer b = {.size = n, .capacity = n, .encoded = true};
            b.bytes = malloc(n);
            memcpy(b.bytes, file, n);
            assert_int_equal(vt_preprocess_load(&p, 5, position, &b, &spare, "x", NULL), VT_OK);
            assert_int_equal(vt_image_look(file, n, p.orient, "x", &h, NULL), VT_OK);
            vt_rect all = {0, 0, h.width, h.height};
            assert_int_equal(vt_image_decode_part(&image, &spare, file, n, "x", &h, &all, NULL), VT_OK);
            assert_int_equal(vt_preprocess_run(&p, 5, position, &image, &spare, NULL), VT_OK);
            assert_true(image.width == b.image.width && image.height == b.image.height);
            assert_memory_equal(image.pixels, b.image.pixels, (size_t)(image.width * image.height * 3));
            vt_read_buffer_release(&b);
        }
    }
    vt_image_release(&image);
    vt_image_release(&spare);
    free(file);
    free(jpeg);
}

/* Breaks when something that is no regular file blocks the reader. */
static void test_pipes_do_not_block(void **state)
{
    vt_read_buffer b = {0};
    vt_err err = {0};
    fx_write("q/cat/a.txt", "x", 1);
    const char *path = fx_path("q/cat/b.png");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(vt_read_buffer_file(&b, path, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "a pipe or device"));
    assert_int_equal(vt_read_buffer_file(&b, "/dev/zero", &err), VT_EINVAL);
    assert_int_equal(vt_read_buffer_file(&b, fx_path("q"), &err), VT_EINVAL);
    vt_read_buffer_release(&b);
}

static int clean(void **state)
{
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_of_hard_images), cmocka_unit_test(test_parts_of_samplings),
        cmocka_unit_test(test_parts_are_partial),    cmocka_unit_test(test_eight_orientations),
        cmocka_unit_test(test_malformed_exif),       cmocka_unit_test(test_loading_equals_running),
        cmocka_unit_test(test_pipes_do_not_block),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
