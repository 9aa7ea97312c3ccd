/* Tar files and encoded images as they are written: read back by the readers of data/. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/encode.h"
#include "data/shard_write.h"
#include "data/tar.h"
#include "fixtures.h"

static const char long_name[] = "a-folder-whose-name-takes-many-bytes/another-folder-whose-name-takes-many-bytes/"
                                "and-an-image-whose-name-takes-many-bytes.jpg";

/* Names, contents or padding would not come back, or a file that ends with the process would stand under its name. */
static void test_round_trip(void **state)
{
    const struct {
        const char *name;
        size_t size;
    } members[] = {{"a.jpg", 0}, {"a.cls", 1}, {"b/c.png", 511}, {"d", 512}, {long_name, 513}};
    unsigned char data[600];
    char hex[VT_HASH_HEX], again[VT_HASH_HEX];
    vt_err err = {0};
    vt_shard s;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7 + 1);
    char *path = vt_xstrdup(fx_path("written.tar"));
    assert_int_equal(vt_shard_open(&s, path, &err), VT_OK);
    for (size_t i = 0; i < VT_COUNT_OF(members); i++)
        assert_int_equal(vt_shard_add(&s, members[i].name, data, members[i].size, &err), VT_OK);
    assert_false(vt_is_file(path));
    assert_int_equal(vt_shard_finish(&s, hex, &err), VT_OK);
    assert_int_equal(vt_hash_file(path, again, &err), VT_OK);
    assert_string_equal(hex, again);
    const int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    vt_tar t;
    vt_tar_member m;
    bool end;
    vt_tar_init(&t, fd, path, s.bytes);
    for (size_t i = 0; i < VT_COUNT_OF(members); i++) {
        unsigned char back[600];
        assert_int_equal(vt_tar_next(&t, &m, &end, &err), VT_OK);
        assert_false(end);
        assert_string_equal(m.name, members[i].name);
        assert_int_equal(m.size, members[i].size);
        assert_int_equal(vt_file_read_at(fd, path, m.offset, back, members[i].size, &err), VT_OK);
        assert_memory_equal(back, data, members[i].size);
    }
    assert_int_equal(vt_tar_next(&t, &m, &end, &err), VT_OK);
    assert_true(end);
    vt_tar_release(&t);
    close(fd);
    vt_shard_release(&s);
    free(path);
}

/* A name that a header cannot hold would be cut, and two samples become one. */
static void test_names(void **state)
{
    char name[300];
    vt_err err = {0};
    vt_shard s;
    memset(name, 'x', sizeof name);
    name[100] = '\0';
    assert_true(vt_shard_name_fits(name));
    name[100] = 'x';
    name[101] = '\0';
    assert_false(vt_shard_name_fits(name)); /* no slash to cut at */
    name[1] = '/';
    assert_true(vt_shard_name_fits(name));
    memset(name + 101, 'x', sizeof name - 101);
    name[255] = '\0';
    name[154] = '/'; /* 154 and 100 */
    assert_true(vt_shard_name_fits(name));
    name[255] = 'x';
    name[256] = '\0';
    assert_false(vt_shard_name_fits(name));
    assert_false(vt_shard_name_fits(""));
    char *path = vt_xstrdup(fx_path("names.tar"));
    assert_int_equal(vt_shard_open(&s, path, &err), VT_OK);
    assert_int_equal(vt_shard_add(&s, name, "", 0, &err), VT_EINVAL);
    vt_shard_release(&s);
    assert_false(vt_is_file(path));
    free(path);
}

/* PNG must give the pixels back; JPEG of full colour resolution must stay near them, even where colour changes from
 * pixel to pixel, and a higher quality nearer. */
static void test_encode(void **state)
{
    vt_image im = {0}, back = {0};
    vt_err err = {0};
    assert_int_equal(vt_image_resize_buffer(&im, 37, 23, &err), VT_OK);
    for (int i = 0; i < 37 * 23; i++) {
        const uint8_t colours[2][3] = {{200, 60, 60}, {60, 60, 200}};
        memcpy(im.pixels + 3 * i, colours[i % 37 / 2 % 2], 3);
    }
    int64_t apart[2] = {0};
    for (int k = 0; k < 3; k++) {
        unsigned char *data;
        size_t size;
        const int quality = k == 1 ? 30 : 95;
        assert_int_equal(vt_image_encode(&im, k == 2 ? VT_FORMAT_PNG : VT_FORMAT_JPEG, quality, &data, &size, &err),
                         VT_OK);
        assert_int_equal(vt_image_format_of(data, size), k == 2 ? VT_FORMAT_PNG : VT_FORMAT_JPEG);
        assert_int_equal(vt_image_decode(&back, data, size, "encoded", &err), VT_OK);
        assert_int_equal(back.width, 37);
        assert_int_equal(back.height, 23);
        if (k == 2)
            assert_memory_equal(back.pixels, im.pixels, 37 * 23 * 3);
        else
            for (int i = 0; i < 37 * 23 * 3; i++)
                apart[k] += abs(back.pixels[i] - im.pixels[i]);
        free(data);
    }
    assert_true(apart[0] < 37 * 23 * 3 * 6); /* 4:2:0 would be 40 apart */
    assert_true(apart[0] < apart[1]);
    im.width = 65536;
    im.height = 0;
    unsigned char *data;
    size_t size;
    assert_int_equal(vt_image_encode(&im, VT_FORMAT_JPEG, 90, &data, &size, &err), VT_EIO);
    vt_image_release(&im);
    vt_image_release(&back);
}

static int remove_dir(void **state)
{
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_encode)};
    return cmocka_run_group_tests(tests, NULL, remove_dir);
}
