/* Sources: folders, IDX, synthetic images, good ones and broken ones. */
#include "fixtures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/philox.h"
#include "data/source.h"

static void check_read(const vt_source *s, int64_t i, int64_t width, int64_t height)
{
    vt_read_buffer b = {0};
    vt_err err = {0};
    if (vt_source_read(s, i, &b, &err) != VT_OK)
        fail_msg("sample %lld: %s", (long long)i, err.msg);
    assert_true(b.image.width == width && b.image.height == height);
    vt_read_buffer_release(&b);
}

/* --- folders --- */

static void write_png(const char *name, int64_t width, int64_t height)
{
    size_t size;
    unsigned char *png = fx_png(width, height, 1, &size);
    fx_write(name, png, size);
    free(png);
}

/* Breaks when classes or files are missed, taken in another order, or named otherwise. */
static void test_folder(void **state)
{
    char name[128];
    write_png("f/dog/b.png", 5, 4);
    write_png("f/dog/a.PNG", 6, 4);
    write_png("f/cat/images/x.png", 7, 4);
    fx_write("f/cat/notes.txt", "hello", 5);
    fx_write("f/cat/.hidden.png", "no", 2);
    fx_write("f/README", "hello", 5);
    vt_source *s = fx_open("folder:%s", fx_path("f/"));
    assert_int_equal(vt_source_count(s), 3);
    assert_int_equal(vt_source_classes(s), 2);
    assert_true(vt_source_has_names(s));
    assert_string_equal(vt_source_class_name(s, 0), "cat");
    assert_string_equal(vt_source_class_name(s, 1), "dog");
    assert_string_equal(vt_source_sample_name(s, 0, name, sizeof name), "cat/images/x.png");
    assert_string_equal(vt_source_sample_name(s, 1, name, sizeof name), "dog/a.PNG");
    assert_int_equal(vt_source_label(s, 0), 0);
    assert_int_equal(vt_source_label(s, 2), 1);
    check_read(s, 0, 7, 4);
    check_read(s, 1, 6, 4);
    check_read(s, 2, 5, 4);
    assert_true(vt_source_resident_bytes(s) > 0);
    vt_source_close(s);
    fx_write("f.txt", "dog\nbird\ncat\n", 13);
    s = fx_open("%s?classes=%s", fx_path("f"), fx_path("f.txt")); /* a bare path; another order; an empty class */
    assert_int_equal(vt_source_classes(s), 3);
    assert_int_equal(vt_source_label(s, 0), 0);
    assert_string_equal(vt_source_sample_name(s, 0, name, sizeof name), "dog/a.PNG");
    assert_int_equal(vt_source_label(s, 2), 2);
    vt_source_close(s);
}

/* Breaks when a folder that is no collection of classes is accepted, or the message does not help. */
static void test_bad_folders(void **state)
{
    fx_open_fails("folder:/nonexistent/here", VT_EIO, "/nonexistent/here", NULL);
    fx_open_fails("/nonexistent/here", VT_EINVAL, "no such folder", "idx:IMAGES,LABELS", NULL);
    assert_int_equal(mkdir(fx_path("empty"), 0755), 0);
    fx_open_fails(fx_path("empty"), VT_EINVAL, "empty", "no class folders", NULL);
    assert_int_equal(mkdir(fx_path("half"), 0755), 0);
    write_png("half/cat/a.png", 3, 3);
    assert_int_equal(mkdir(fx_path("half/dog"), 0755), 0);
    fx_open_fails(fx_path("half"), VT_EINVAL, "half/dog", "holds no .jpg", NULL);
    write_png("flat/a.png", 3, 3);
    fx_open_fails(fx_path("flat"), VT_EINVAL, "holds images but no class folders", "CLASS", NULL);
    fx_write("tars/a.tar", "", 0);
    fx_open_fails(fx_path("tars"), VT_EINVAL, "wds:", "a.tar", NULL);
    fx_write("one.txt", "cat\n", 4);
    write_png("two/cat/a.png", 3, 3);
    write_png("two/dog/a.png", 3, 3);
    char spec[1024];
    snprintf(spec, sizeof spec, "folder:%s?classes=%s", fx_path("two"), fx_path("one.txt"));
    fx_open_fails(spec, VT_EINVAL, "'dog' is no class of", "one.txt", NULL);
}

/* Breaks when an image that cannot be read is not named. */
static void test_unreadable_files(void **state)
{
    vt_read_buffer b = {0};
    vt_err err = {0};
    write_png("u/cat/a.png", 3, 3);
    fx_write("u/cat/b.png", "this is text", 12);
    fx_write("u/cat/c.png", "", 0);
    vt_source *s = fx_open("folder:%s", fx_path("u"));
    assert_int_equal(vt_source_read(s, 1, &b, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "cat/b.png: neither"));
    assert_int_equal(vt_source_read(s, 2, &b, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "cat/c.png: the file is empty"));
    assert_int_equal(unlink(fx_path("u/cat/a.png")), 0);
    assert_int_equal(vt_source_read(s, 0, &b, &err), VT_EIO);
    assert_non_null(strstr(err.msg, "u/cat/a.png: No such file"));
    if (geteuid() != 0) { /* root reads everything */
        assert_int_equal(chmod(fx_path("u/cat/b.png"), 0), 0);
        assert_int_equal(vt_source_read(s, 1, &b, &err), VT_EIO);
        assert_non_null(strstr(err.msg, "Permission denied"));
    }
    vt_read_buffer_release(&b);
    vt_source_close(s);
}

/* --- IDX --- */

static void write_idx(const char *name, int rank, const uint32_t *dims, size_t data_bytes, bool gzip)
{
    unsigned char file[4096] = {0, 0, 8, (unsigned char)rank};
    size_t n = 4;
    for (int i = 0; i < rank; i++) {
        for (int shift = 24; shift >= 0; shift -= 8)
            file[n++] = (unsigned char)(dims[i] >> shift);
    }
    for (size_t i = 0; i < data_bytes; i++)
        file[n++] = (unsigned char)(rank == 1 ? i % 3 : i);
    if (!gzip) {
        fx_write(name, file, n);
        return;
    }
    gzFile out = gzopen(fx_path("%s", name), "wb");
    assert_int_equal(gzwrite(out, file, (unsigned)n), (int)n);
    assert_int_equal(gzclose(out), Z_OK);
}

#define DIMS(...)                                                                                                      \
    (sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)), (uint32_t[])                                               \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

/* Breaks when IDX files, plain or gzip, grey or RGB, are read wrongly. */
static void test_idx(void **state)
{
    char name[64];
    vt_read_buffer b = {0};
    write_idx("i/grey.idx3", DIMS(7, 4, 5), 140, false);
    write_idx("i/grey.gz", DIMS(7, 4, 5), 140, true);
    write_idx("i/rgb", DIMS(7, 2, 3, 3), 126, false);
    write_idx("i/labels", DIMS(7), 7, false);
    write_idx("i/labels.gz", DIMS(7), 7, true);
    vt_source *s = fx_open("idx:%s,%s", fx_path("i/grey.idx3"), fx_path("i/labels.gz"));
    assert_int_equal(vt_source_count(s), 7);
    assert_int_equal(vt_source_classes(s), 3);
    assert_false(vt_source_has_names(s));
    assert_string_equal(vt_source_class_name(s, 2), "2");
    assert_string_equal(vt_source_sample_name(s, 6, name, sizeof name), "grey[6]");
    assert_int_equal(vt_source_label(s, 4), 1);
    assert_int_equal(vt_source_read(s, 2, &b, NULL), VT_OK);
    assert_true(b.image.width == 5 && b.image.height == 4);
    for (int p = 0; p < 20; p++)
        assert_true(b.image.pixels[p * 3] == 40 + p && b.image.pixels[p * 3 + 2] == 40 + p);
    char plain[VT_HASH_HEX], packed[VT_HASH_HEX];
    vt_source_fingerprint(s, plain);
    vt_source_close(s);
    s = fx_open("idx:%s,%s", fx_path("i/grey.gz"), fx_path("i/labels"));
    vt_source_fingerprint(s, packed);
    assert_string_equal(plain, packed);
    vt_source_close(s);
    s = fx_open("idx:%s,%s", fx_path("i/rgb"), fx_path("i/labels"));
    assert_int_equal(vt_source_read(s, 1, &b, NULL), VT_OK);
    assert_true(b.image.width == 3 && b.image.height == 2 && b.image.pixels[17] == 35);
    vt_read_buffer_release(&b);
    vt_source_close(s);
}

/* Breaks when a broken IDX file is accepted, takes memory that it declares but does not hold, or is not named. */
static void test_bad_idx(void **state)
{
    static const struct {
        const char *images, *labels;
        vt_status code;
        const char *word;
    } cases[] = {
        {"j/short", "j/labels", VT_EFORMAT, "truncated: 10 bytes"},
        {"j/long", "j/labels", VT_EFORMAT, "more than the 140 bytes"},
        {"j/six", "j/labels", VT_EFORMAT, "holds 6 images, but"},
        {"j/text", "j/labels", VT_EFORMAT, "not an IDX file"},
        {"j/float", "j/labels", VT_EUNSUPPORTED, "type 0x0d"},
        {"j/rank9", "j/labels", VT_EFORMAT, "rank 9"},
        {"j/huge", "j/labels", VT_EFORMAT, "declares more data"},
        {"j/overflow", "j/labels", VT_EFORMAT, "declares more data"},
        {"j/zero", "j/labels", VT_EFORMAT, "dimension 1 is 0"},
        {"j/four", "j/labels", VT_EUNSUPPORTED, "4 values a pixel"},
        {"j/good", "j/good", VT_EFORMAT, "labels have rank 1"},
        {"j/labels", "j/good", VT_EINVAL, "the order is idx:IMAGES,LABELS"},
        {"j/nothing", "j/labels", VT_EIO, "No such file"},
        {"j/cut.gz", "j/labels", VT_EFORMAT, "truncated"},
        {"j/bad.gz", "j/labels", VT_EFORMAT, "broken gzip"},
        {"j", "j/labels", VT_EINVAL, "this is a folder"},
        {"j/tiny", "j/labels", VT_EFORMAT, "truncated"},
    };
    write_idx("j/good", DIMS(7, 4, 5), 140, false);
    write_idx("j/labels", DIMS(7), 7, false);
    write_idx("j/short", DIMS(7, 4, 5), 130, false);
    write_idx("j/long", DIMS(7, 4, 5), 141, false);
    write_idx("j/six", DIMS(6, 4, 5), 120, false);
    write_idx("j/huge", DIMS(2000000000, 60000, 60000), 100, false);
    write_idx("j/overflow", DIMS(0xffffffff, 0xffffffff, 0xffffffff), 100, false);
    write_idx("j/zero", DIMS(7, 0, 5), 140, false);
    write_idx("j/four", DIMS(7, 2, 2, 4), 112, false);
    fx_write("j/text", "hello, this is no IDX", 21);
    fx_write("j/float", "\0\0\x0d\3\0\0\0\1\0\0\0\1\0\0\0\1....", 20);
    fx_write("j/rank9", "\0\0\x08\x09\0\0\0\1\0\0\0\1\0\0\0\1....", 20);
    fx_write("j/tiny", "\0\0\x08", 3);
    write_idx("j/cut.gz", DIMS(7, 4, 5), 140, true);
    struct stat st;
    assert_int_equal(stat(fx_path("j/cut.gz"), &st), 0);
    assert_int_equal(truncate(fx_path("j/cut.gz"), st.st_size - 20), 0);
    write_idx("j/bad.gz", DIMS(7, 4, 5), 140, true);
    FILE *f = fopen(fx_path("j/bad.gz"), "r+b");
    fseek(f, -6, SEEK_END);
    fputc(0x5a, f); /* in the checksum */
    fclose(f);
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        char spec[1024];
        snprintf(spec, sizeof spec, "idx:%s,%s", fx_path("%s", cases[i].images), fx_path("%s", cases[i].labels));
        fx_open_fails(spec, cases[i].code, cases[i].word, NULL);
    }
    fx_open_fails("idx:one_file_only", VT_EINVAL, "idx:IMAGES,LABELS", NULL);
    fx_open_fails("idx:a,b,c", VT_EINVAL, "idx:IMAGES,LABELS", NULL);
}

/* Breaks (under sanitizers) when a damaged header makes the reader take or touch memory that is not there. */
static void test_damaged_idx(void **state)
{
    vt_rng r = vt_rng_at(2, VT_STREAM_TEST, 0, 0);
    char spec[1024];
    write_idx("k/labels", DIMS(7), 7, false);
    snprintf(spec, sizeof spec, "idx:%s,%s", fx_path("k/images"), fx_path("k/labels"));
    for (int round = 0; round < 300; round++) {
        unsigned char file[156] = {0, 0, 8, 3, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, 5};
        for (int k = 0; k < 1 + round % 4; k++)
            file[vt_rng_below(&r, 16)] = (unsigned char)vt_rng_u32(&r);
        fx_write("k/images", file, round % 5 ? sizeof file : vt_rng_below(&r, sizeof file));
        vt_source *s;
        vt_err err = {0};
        if (vt_source_open(&s, spec, &err) == VT_OK)
            check_read(s, vt_source_count(s) - 1, 5, 4);
        else
            assert_true(strlen(err.msg) > 10);
        vt_source_close(s);
    }
}

/* Breaks when Fashion-MNIST's bytes or labels are read wrongly (the first label of the training set is 9, ankle boot).
 */
static void test_fashion_mnist(void **state)
{
    static const char folder[] = "/usr/share/datasets/fashion-mnist";
    if (access(folder, R_OK) != 0) {
        print_message("skipped: Debian's dataset-fashion-mnist is not installed\n");
        skip();
    }
    vt_source *s = fx_open("idx:%s/t10k-images-idx3-ubyte.gz,%s/t10k-labels-idx1-ubyte.gz", folder, folder);
    assert_int_equal(vt_source_count(s), 10000);
    assert_int_equal(vt_source_classes(s), 10);
    int members[10] = {0};
    for (int64_t i = 0; i < 10000; i++)
        members[vt_source_label(s, i)]++;
    for (int c = 0; c < 10; c++)
        assert_int_equal(members[c], 1000);
    assert_int_equal(vt_source_label(s, 0), 9);
    check_read(s, 9999, 28, 28);
    vt_source_close(s);
}

/* --- synthetic --- */

/* Breaks when an image is not a function of seed and index, or labels are not even or noisy as asked. */
static void test_synthetic(void **state)
{
    vt_read_buffer a = {0}, b = {0};
    vt_source *s = fx_open("synthetic:shapes?classes=10&size=24&count=20000&seed=3&noise=0.2");
    vt_source *same = fx_open("synthetic:shapes?classes=10&size=24&count=50000&seed=3");
    vt_source *other = fx_open("synthetic:shapes?classes=10&size=24&count=1000&seed=4");
    int members[10] = {0}, wrong = 0;
    for (int64_t i = 0; i < 20000; i++) {
        int64_t label = vt_source_label(s, i), clean = vt_source_label(same, i);
        assert_in_range(label, 0, 9);
        members[clean]++;
        wrong += label != clean;
    }
    for (int c = 0; c < 10; c++)
        assert_int_equal(members[c], 2000);
    assert_in_range(wrong, 3800, 4200);
    assert_int_equal(vt_source_read(s, 17, &a, NULL), VT_OK);
    assert_int_equal(vt_source_read(same, 17, &b, NULL), VT_OK);
    assert_true(a.image.width == 24 && a.image.height == 24);
    assert_memory_equal(a.image.pixels, b.image.pixels, 24 * 24 * 3);
    assert_int_equal(vt_source_read(other, 17, &b, NULL), VT_OK);
    assert_memory_not_equal(a.image.pixels, b.image.pixels, 24 * 24 * 3);
    assert_int_equal(vt_source_read(s, 27, &b, NULL), VT_OK); /* the same class, another image */
    assert_memory_not_equal(a.image.pixels, b.image.pixels, 24 * 24 * 3);
    assert_string_equal(vt_source_class_name(s, 9), "striped square");
    vt_source_close(s);
    vt_source_close(same);
    vt_source_close(other);
    s = fx_open("synthetic:shapes?classes=128&count=1000000000000"); /* no memory by the count */
    assert_int_equal(vt_source_count(s), 1000000000000);
    assert_true(vt_source_resident_bytes(s) < 100000);
    assert_string_equal(vt_source_class_name(s, 127), "yellow hollow ell");
    check_read(s, 999999999999, 32, 32);
    vt_source_close(s);
    vt_read_buffer_release(&a);
    vt_read_buffer_release(&b);
}

/* Breaks when the images of a SPEC change: results that name it could not be compared any more. */
static void test_synthetic_is_for_ever(void **state)
{
    vt_source *s = fx_open("synthetic:shapes?classes=128&size=24&count=128");
    vt_hasher *h = vt_hasher_new();
    vt_read_buffer b = {0};
    char hex[VT_HASH_HEX];
    for (int64_t i = 0; i < 128; i++) {
        assert_int_equal(vt_source_read(s, i, &b, NULL), VT_OK);
        vt_hasher_add(h, b.image.pixels, 24 * 24 * 3);
    }
    vt_hasher_finish(h, hex);
    assert_string_equal(hex, "c2504f864aaa86dd12c5007a0b3822d8ae500184247faeb148146ed2e94c4d28");
    vt_read_buffer_release(&b);
    vt_source_close(s);
}

/* Breaks when classes cannot be told apart from pixels at all, or a mean image tells them (too easy). */
static void test_synthetic_is_a_task(void **state)
{
    enum { CLASSES = 8, SIDE = 16, TRAIN = 1600, TEST = 400, N = SIDE * SIDE * 3 };
    vt_source *s = fx_open("synthetic:shapes?classes=%d&size=%d&count=%d", CLASSES, SIDE, TRAIN + TEST);
    static double mean[CLASSES][N];
    vt_read_buffer b = {0};
    int hits = 0;
    memset(mean, 0, sizeof mean);
    for (int64_t i = 0; i < TRAIN + TEST; i++) {
        assert_int_equal(vt_source_read(s, i, &b, NULL), VT_OK);
        int64_t label = vt_source_label(s, i), best = 0;
        double least = 1e300;
        for (int c = 0; c < CLASSES && i >= TRAIN; c++) {
            double d = 0.0;
            for (int k = 0; k < N; k++) {
                double e = (double)b.image.pixels[k] - mean[c][k] / (TRAIN / CLASSES);
                d += e * e;
            }
            if (d < least) {
                least = d;
                best = c;
            }
        }
        for (int k = 0; k < N && i < TRAIN; k++)
            mean[label][k] += (double)b.image.pixels[k];
        hits += i >= TRAIN && best == label;
    }
    assert_in_range(hits, 0, TEST / 3); /* chance is 1/8; a nearest mean must not solve it */
    vt_read_buffer_release(&b);
    vt_source_close(s);
}

static int clean(void **state)
{
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_bad_folders),
        cmocka_unit_test(test_unreadable_files),
        cmocka_unit_test(test_idx),
        cmocka_unit_test(test_bad_idx),
        cmocka_unit_test(test_damaged_idx),
        cmocka_unit_test(test_fashion_mnist),
        cmocka_unit_test(test_synthetic),
        cmocka_unit_test(test_synthetic_is_for_ever),
        cmocka_unit_test(test_synthetic_is_a_task),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
