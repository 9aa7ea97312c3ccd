/* WebDataset shards: the dialects of tar, hostile and cut archives, samples that are incomplete, gzip shards. */
#include "fixtures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/philox.h"
#include "data/source.h"
#include "data/tar_index.h"

static void add_image(vt_text *tar, const char *name, int64_t width)
{
    size_t size;
    unsigned char *png = fx_png(width, 3, 1, &size);
    fx_tar_member(tar, name, '0', png, size);
    free(png);
}

/* KEY.png of the given width, and KEY.cls. */
static void add_sample(vt_text *tar, const char *key, int64_t width, const char *label)
{
    char name[200];
    snprintf(name, sizeof name, "%s.png", key);
    add_image(tar, name, width);
    snprintf(name, sizeof name, "%s.cls", key);
    fx_tar_member(tar, name, '0', label, strlen(label));
}

static const char *write_tar(const char *name, vt_text *tar)
{
    fx_write(name, tar->s, tar->len);
    vt_text_release(tar);
    return fx_path("%s", name);
}

static void check_sample(const vt_source *s, int64_t i, const char *name, int64_t label, int64_t width)
{
    vt_read_buffer b = {0};
    vt_err err = {0};
    char have[512];
    assert_string_equal(vt_source_sample_name(s, i, have, sizeof have), name);
    assert_int_equal(vt_source_label(s, i), label);
    if (vt_source_read(s, i, &b, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(b.image.width, width);
    vt_read_buffer_release(&b);
}

/* Breaks when samples are grouped, labelled or found wrongly. */
static void test_samples(void **state)
{
    vt_text tar = {0};
    fx_tar_member(&tar, "set/", '5', "", 0);
    add_sample(&tar, "set/a", 5, "2");
    fx_tar_member(&tar, "set/b.cls", '0', "0\n", 2); /* the label first, another member between */
    fx_tar_member(&tar, "set/b.json", '0', "{}", 2);
    add_image(&tar, "set/b.PNG", 6);
    fx_tar_member(&tar, "set/only.txt", '0', "x", 1);
    fx_tar_member(&tar, "set/._a.cls", '0', "junk", 4);
    fx_tar_member(&tar, "set/link", '2', "", 0);
    add_sample(&tar, "set.v1/c", 7, "1"); /* the first dot of the last part splits */
    fx_tar_end(&tar);
    vt_source *s = fx_open("%s", write_tar("s0.tar", &tar));
    assert_int_equal(vt_source_count(s), 3);
    assert_int_equal(vt_source_classes(s), 3);
    assert_false(vt_source_has_names(s));
    check_sample(s, 0, "s0.tar:set/a.png", 2, 5);
    check_sample(s, 1, "s0.tar:set/b.PNG", 0, 6);
    check_sample(s, 2, "s0.tar:set.v1/c.png", 1, 7);
    vt_source_close(s);
}

static void add_pax(vt_text *tar, const char *record)
{
    fx_tar_member(tar, "PaxHeaders/x", 'x', record, strlen(record));
}

/* Breaks when long names, pax headers or base-256 sizes are read wrongly. */
static void test_dialects(void **state)
{
    char name[256], spec[1024], record[300];
    vt_text tar = {0};
    memset(name, 'n', 150);
    memcpy(name + 150, ".png", 5);
    fx_tar_member(&tar, "././@LongLink", 'L', name, strlen(name) + 1); /* GNU */
    add_image(&tar, "cut", 4);
    memcpy(name + 150, ".cls", 5);
    snprintf(record, sizeof record, "%d path=%s\n", (int)strlen(name) + 10, name);
    add_pax(&tar, record);
    fx_tar_member(&tar, "cut", '0', "0", 1);
    fx_tar_member(&tar, "pax_global", 'g', "13 comment=x\n", 13);
    size_t at = tar.len; /* a size in base 256 */
    add_image(&tar, "b.png", 5);
    unsigned size = (unsigned)strtoul(tar.s + at + 124, NULL, 8);
    memset(tar.s + at + 124, 0, 12);
    tar.s[at + 124] = (char)0x80;
    tar.s[at + 134] = (char)(size >> 8);
    tar.s[at + 135] = (char)size;
    fx_tar_checksum(&tar, at);
    at = tar.len; /* a pax size that overrides the header's; a ustar prefix */
    fx_tar_member(&tar, "b.cls", '0', "1", 1);
    fx_tar_end(&tar);
    vt_text second = {0};
    at = 0;
    add_image(&second, "c.png", 6);
    memcpy(second.s + 345, "prefix/deep", 11);
    fx_tar_checksum(&second, 0);
    add_pax(&second, "10 size=1\n");
    at = second.len;
    fx_tar_member(&second, "c.cls", '0', "1", 1);
    memcpy(second.s + at + 124, "00000000000", 11);
    memcpy(second.s + at + 345, "prefix/deep", 11);
    fx_tar_checksum(&second, at);
    fx_tar_end(&second);
    write_tar("d0.tar", &tar);
    write_tar("d1.tar", &second);
    snprintf(spec, sizeof spec, "wds:%s/d{0..1}.tar", fx_dir());
    vt_source *s = fx_open("%s", spec);
    assert_int_equal(vt_source_count(s), 3);
    memcpy(name + 150, ".png", 5);
    snprintf(record, sizeof record, "d0.tar:%s", name);
    check_sample(s, 0, record, 0, 4);
    check_sample(s, 1, "d0.tar:b.png", 1, 5);
    check_sample(s, 2, "d1.tar:prefix/deep/c.png", 1, 6);
    vt_source_close(s);
}

/* Breaks when an incomplete or wrong sample is accepted or not named. */
static void test_bad_samples(void **state)
{
    static const struct {
        const char *members[4]; /* .cls hold the text after '='; images are real */
        const char *word;
    } cases[] = {
        {{"a.png", "b.png", "b.cls=1"}, "sample a: no a.cls"},
        {{"a.cls=1", "b.png", "b.cls=1"}, "sample a: no a.jpg, .png or .webp"},
        {{"a.png", "a.cls=1", "b.cls=1"}, "sample b: no b.jpg, .png or .webp"},
        {{"a.png", "a.cls=cat"}, "a.cls holds 'cat', which is no class number"},
        {{"a.png", "a.cls=-1"}, "a.cls holds '-1'"},
        {{"a.png", "a.cls=1 2"}, "a.cls holds '1 2'"},
        {{"a.png", "a.cls="}, "a.cls has 0 bytes"},
        {{"a.png", "a.cls=1000000"}, "the limit is 1000000 classes"},
        {{"a.png", "a.cls=99999999999999999999"}, "is no class number"},
        {{"a.png", "a.jpg", "a.cls=1"}, "sample a has two images"},
        {{"a.png", "a.cls=1", "a.cls=1"}, "sample a has two .cls"},
        {{"a.txt", "b.txt"}, "holds no samples"},
    };
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        vt_text tar = {0};
        for (int m = 0; m < 4 && cases[i].members[m]; m++) {
            char name[64];
            snprintf(name, sizeof name, "%s", cases[i].members[m]);
            char *text = strchr(name, '=');
            if (text)
                *text++ = '\0';
            if (vt_has_suffix(name, ".png") || vt_has_suffix(name, ".jpg"))
                add_image(&tar, name, 3);
            else
                fx_tar_member(&tar, name, '0', text ? text : "x", text ? strlen(text) : 1);
        }
        fx_tar_end(&tar);
        fx_open_fails(write_tar("bad.tar", &tar), VT_EFORMAT, "bad.tar", cases[i].word, NULL);
    }
}

static void two_samples(vt_text *tar)
{
    add_sample(tar, "a", 3, "0");
    add_sample(tar, "b", 3, "1");
    fx_tar_end(tar);
}

/* Breaks when an archive that was cut anywhere is accepted. */
static void test_every_cut_is_an_error(void **state)
{
    vt_text tar = {0};
    two_samples(&tar);
    for (size_t cut = 0; cut <= tar.len - 1024; cut += cut % 512 ? 411 : 101) {
        fx_write("cut.tar", tar.s, cut);
        fx_open_fails(fx_path("cut.tar"), VT_EFORMAT, "cut.tar", "truncated", NULL);
    }
    fx_write("cut.tar", tar.s, tar.len - 512); /* one block of zeros is an end */
    vt_source_close(fx_open("%s", fx_path("cut.tar")));
    vt_text_release(&tar);
}

/* Breaks when a hostile header crashes, hangs, or makes memory by what it declares. */
static void test_hostile_headers(void **state)
{
    static const struct {
        const char *size; /* 12 bytes of the size field */
        char type;
        const char *word;
    } cases[] = {
        {"777777777777", '0', "declares 68719476735 bytes"},
        {"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", '0', "declares"},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", '0', "a size that is no number"},
        {"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", '0', "a size that is no number"},
        {"00000000x000", '0', "a size that is no number"},
        {"00010000000\0", 'L', "declares"},
        {"00000000000\0", 'S', "sparse"},
    };
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        vt_text tar = {0};
        two_samples(&tar);
        memcpy(tar.s + 124, cases[i].size, 12);
        tar.s[156] = cases[i].type;
        fx_tar_checksum(&tar, 0);
        vt_err err = {0};
        vt_source *s;
        assert_int_not_equal(vt_source_open(&s, write_tar("hostile.tar", &tar), &err), VT_OK);
        if (!strstr(err.msg, cases[i].word))
            fail_msg("case %zu: %s", i, err.msg);
    }
    vt_text tar = {0};
    two_samples(&tar);
    tar.s[512 * 2] ^= 1; /* the name in the second header */
    fx_open_fails(write_tar("sum.tar", &tar), VT_EFORMAT, "wrong checksum in the header at byte 1024", NULL);
    static const char *const records[] = {"5 a=b\n",
                                          "99 path=x\n",
                                          "0 path=x\n",
                                          "path=x\n",
                                          "11 size=1x\n",
                                          "9 pathx=\n9",
                                          "28 size=99999999999999999999\n",
                                          "18446744073709551616 a=b\n"};
    for (size_t i = 0; i < VT_COUNT_OF(records); i++) {
        add_pax(&tar, records[i]);
        two_samples(&tar);
        fx_open_fails(write_tar("pax.tar", &tar), VT_EFORMAT, "pax", NULL);
    }
    char *big = calloc(1, 2 << 20);
    fx_tar_member(&tar, "x", 'x', big, (2 << 20) - 512);
    free(big);
    two_samples(&tar);
    fx_open_fails(write_tar("big.tar", &tar), VT_EFORMAT, "above 1 MiB", NULL);
    fx_write("text.tar", "this is no tar file, but it is longer than one might think", 58);
    fx_open_fails(fx_path("text.tar"), VT_EFORMAT, "text.tar", NULL);
    assert_int_equal(mkdir(fx_path("dir.tar"), 0755), 0);
    fx_open_fails(fx_path("dir.tar"), VT_EIO, "dir.tar", NULL);
}

/* Breaks (under sanitizers) when damaged archives make the reader read out of bounds. */
static void test_damaged_archives(void **state)
{
    vt_text tar = {0};
    add_pax(&tar, "14 path=a.png\n");
    two_samples(&tar);
    vt_rng r = vt_rng_at(11, VT_STREAM_TEST, 0, 0);
    vt_read_buffer b = {0};
    for (int round = 0; round < 300; round++) {
        vt_text copy = {0};
        vt_text_addn(&copy, tar.s, tar.len);
        size_t header = vt_rng_below(&r, (uint32_t)(tar.len / 512)) * 512;
        for (int k = 0; k < 3; k++)
            copy.s[header + (round % 2 ? 120 + vt_rng_below(&r, 40) : vt_rng_below(&r, 512))] = (char)vt_rng_u32(&r);
        if (round % 3)
            fx_tar_checksum(&copy, header);
        vt_source *s;
        vt_err err = {0};
        if (vt_source_open(&s, write_tar("damaged.tar", &copy), &err) == VT_OK) {
            for (int64_t i = 0; i < vt_source_count(s); i++) {
                if (vt_source_read(s, i, &b, &err) != VT_OK)
                    assert_non_null(strstr(err.msg, "damaged.tar"));
            }
        } else {
            assert_non_null(strstr(err.msg, "damaged.tar"));
        }
        vt_source_close(s);
    }
    vt_read_buffer_release(&b);
    vt_text_release(&tar);
}

static void write_gzip(const char *name, const void *data, size_t size)
{
    gzFile out = gzopen(fx_path("%s", name), "wb");
    assert_int_equal(gzwrite(out, data, (unsigned)size), (int)size);
    assert_int_equal(gzclose(out), Z_OK);
}

/* Files in the cache; *inode of the last one. */
static size_t cached_files(ino_t *inode)
{
    char **names;
    size_t n;
    struct stat st;
    assert_int_equal(vt_list_dir(fx_path("vitro/shards"), &names, &n, NULL), VT_OK);
    assert_int_equal(stat(fx_path("vitro/shards/%s", names[n - 1]), &st), 0);
    *inode = st.st_ino;
    vt_free_names(names, n);
    return n;
}

/* Breaks when a gzip shard is unpacked twice, read otherwise than the plain one, or a broken one leaves a file behind.
 */
static void test_gzip_shards(void **state)
{
    char plain[VT_HASH_HEX], packed[VT_HASH_HEX];
    ino_t inode[2];
    vt_text tar = {0};
    two_samples(&tar);
    fx_write("g.tar", tar.s, tar.len);
    write_gzip("g.tar.gz", tar.s, tar.len);
    vt_source *s = fx_open("%s", fx_path("g.tar"));
    vt_source_fingerprint(s, plain);
    vt_source_close(s);
    for (int time = 0; time < 2; time++) {
        s = fx_open("%s", fx_path("g.tar.gz"));
        check_sample(s, 1, "g.tar.gz:b.png", 1, 3);
        vt_source_fingerprint(s, packed);
        assert_string_equal(plain, packed);
        vt_source_close(s);
        assert_int_equal(cached_files(&inode[time]), 1);
    }
    assert_true(inode[0] == inode[1]);
    struct stat st;
    assert_int_equal(stat(fx_path("g.tar.gz"), &st), 0);
    assert_int_equal(truncate(fx_path("g.tar.gz"), st.st_size / 2), 0);
    fx_open_fails(fx_path("g.tar.gz"), VT_EFORMAT, "g.tar.gz", "truncated", NULL);
    assert_int_equal(cached_files(&inode[1]), 1);
    char *zeros = calloc(1, 32 << 20); /* unpacks to a thousand times its size */
    write_gzip("bomb.tar.gz", zeros, 32 << 20);
    free(zeros);
    fx_open_fails(fx_path("bomb.tar.gz"), VT_EFORMAT, "more than 100 times", NULL);
    assert_int_equal(cached_files(&inode[1]), 1);
    vt_text_release(&tar);
}

/* Breaks when class names do not reach a source of shards, or too few are accepted. */
static void test_class_names(void **state)
{
    char spec[1024];
    vt_text tar = {0};
    two_samples(&tar);
    write_tar("n.tar", &tar);
    fx_write("two.txt", "0\tcat\twords\n1\tdog\twords\n", 24);
    fx_write("three.txt", "cat\ndog\nbird\n", 13);
    fx_write("one.txt", "cat\n", 4);
    snprintf(spec, sizeof spec, "wds:%s?classes=%s", fx_path("n.tar"), fx_path("two.txt"));
    vt_source *s = fx_open("%s", spec);
    assert_true(vt_source_has_names(s));
    assert_string_equal(vt_source_class_name(s, 1), "dog");
    vt_source_close(s);
    snprintf(spec, sizeof spec, "wds:%s?classes=%s", fx_path("n.tar"), fx_path("three.txt"));
    s = fx_open("%s", spec);
    assert_int_equal(vt_source_classes(s), 3);
    vt_source_close(s);
    snprintf(spec, sizeof spec, "wds:%s?classes=%s", fx_path("n.tar"), fx_path("one.txt"));
    fx_open_fails(spec, VT_EINVAL, "names 1 classes", "numbered 1", NULL);
}

/* Breaks when more shards than are kept open cannot be read, or several sources together keep more open than a process
 * may. */
static void test_many_shards(void **state)
{
    char name[64], spec[1024];
    for (int i = 0; i < 300; i++) {
        vt_text tar = {0};
        add_sample(&tar, "x", 1 + i % 5, "0");
        fx_tar_end(&tar);
        snprintf(name, sizeof name, "many/%03d.tar", i);
        write_tar(name, &tar);
    }
    snprintf(spec, sizeof spec, "wds:%s/many/{000..299}.tar", fx_dir());
    vt_source *s = fx_open("%s", spec);
    assert_int_equal(vt_source_count(s), 300);
    check_sample(s, 298, "298.tar:x.png", 0, 4);
    vt_source_close(s);
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = (struct rlimit){VT_TAR_FILES_KEPT + 40, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    vt_source *sources[4];
    snprintf(spec, sizeof spec, "wds:%s/many/{000..199}.tar", fx_dir());
    for (int k = 0; k < 4; k++)
        sources[k] = fx_open("%s", spec);
    for (int k = 3; k >= 0; k--) {
        check_sample(sources[k], 198, "198.tar:x.png", 0, 4);
        vt_source_close(sources[k]);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* Breaks when the real shards are read wrongly: counts and names from the data's own description. */
static void test_real_shards(void **state)
{
    const char *found = fx_real("imagenette224-val-00.tar.gz");
    if (!found)
        skip();
    char spec[2048], shard[1024];
    snprintf(shard, sizeof shard, "%s", found);
    found = fx_real("imagenette224.classes.txt");
    assert_non_null(found);
    snprintf(spec, sizeof spec, "wds:%s?classes=%s", shard, found);
    vt_source *s = fx_open("%s", spec);
    vt_read_buffer b = {0};
    int members[10] = {0};
    assert_int_equal(vt_source_count(s), 160);
    assert_int_equal(vt_source_classes(s), 10);
    assert_string_equal(vt_source_class_name(s, 0), "n01440764");
    check_sample(s, 0, "imagenette224-val-00.tar.gz:002d-n01440764_4360.jpg", 0, 224);
    for (int64_t i = 0; i < 160; i++) {
        members[vt_source_label(s, i)]++;
        assert_int_equal(vt_source_read(s, i, &b, NULL), VT_OK);
        assert_int_equal(b.image.width < b.image.height ? b.image.width : b.image.height, 224);
    }
    for (int c = 0; c < 10; c++)
        assert_int_equal(members[c], 16);
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
    fx_dir();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),         cmocka_unit_test(test_dialects),
        cmocka_unit_test(test_bad_samples),     cmocka_unit_test(test_every_cut_is_an_error),
        cmocka_unit_test(test_hostile_headers), cmocka_unit_test(test_damaged_archives),
        cmocka_unit_test(test_gzip_shards),     cmocka_unit_test(test_class_names),
        cmocka_unit_test(test_many_shards),     cmocka_unit_test(test_real_shards),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
