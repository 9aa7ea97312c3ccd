/* Forms of the same images: class folders, a tar of them, a list in CSV, shards with labels in .json and .txt. */
#include "fixtures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "data/source.h"

static void write_png(const char *name, int64_t width)
{
    size_t size;
    unsigned char *png = fx_png(width, 3, 1, &size);
    fx_write(name, png, size);
    free(png);
}

static void check_width(const vt_source *s, int64_t i, int64_t width)
{
    vt_read_buffer b = {0};
    vt_err err = {0};
    if (vt_source_read(s, i, &b, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(b.image.width, width);
    vt_read_buffer_release(&b);
}

static void write_text(const char *name, const char *text)
{
    fx_write(name, text, strlen(text));
}

static void add_png(vt_text *tar, const char *name, int64_t width)
{
    size_t size;
    unsigned char *png = fx_png(width, 3, 1, &size);
    fx_tar_member(tar, name, '0', png, size);
    free(png);
}

static void write_tar(const char *name, vt_text *tar)
{
    fx_tar_end(tar);
    fx_write(name, tar->s, tar->len);
    vt_text_release(tar);
}

static void write_gzip(const char *name, const vt_text *tar)
{
    gzFile out = gzopen(fx_path("%s", name), "wb");
    assert_int_equal(gzwrite(out, tar->s, (unsigned)tar->len), (int)tar->len);
    assert_int_equal(gzclose(out), Z_OK);
}

/* Both must list the same names, labels, classes and pixels. */
static void check_same(const vt_source *a, const vt_source *b)
{
    char x[256], y[256];
    assert_int_equal(vt_source_count(a), vt_source_count(b));
    assert_int_equal(vt_source_classes(a), vt_source_classes(b));
    for (int64_t c = 0; c < vt_source_classes(a); c++)
        assert_string_equal(vt_source_class_name(a, c), vt_source_class_name(b, c));
    vt_read_buffer p = {0}, q = {0};
    for (int64_t i = 0; i < vt_source_count(a); i++) {
        assert_string_equal(vt_source_sample_name(a, i, x, sizeof x), vt_source_sample_name(b, i, y, sizeof y));
        assert_int_equal(vt_source_label(a, i), vt_source_label(b, i));
        assert_int_equal(vt_source_read(a, i, &p, NULL), VT_OK);
        assert_int_equal(vt_source_read(b, i, &q, NULL), VT_OK);
        assert_true(p.image.width == q.image.width);
    }
    vt_read_buffer_release(&p);
    vt_read_buffer_release(&q);
    char one[VT_HASH_HEX], two[VT_HASH_HEX];
    vt_source_fingerprint(a, one);
    vt_source_fingerprint(b, two);
    assert_string_equal(one, two);
}

/* --- a tar of class folders --- */

/* Names that sort in other ways with '/' than without; the last is an older version of the second. */
static const char *const files[] = {"dog/b.png",     "dog/a.PNG",  "cat/x.png",       "cat/x/y.png", "cat/x-1/z.png",
                                    "cat/x.d/q.png", "cat/.h.png", "10/a.png",        "2/a.png",     "cat/notes.txt",
                                    "README",        ".git/x.png", "cat/1/2/3/4.png", "cat/a b.png", "dog/a.PNG"};

static void add_files(vt_text *tar, const char *before)
{
    char name[128];
    for (size_t i = VT_COUNT_OF(files); i-- > 0;) {
        snprintf(name, sizeof name, "%s%s", before, files[i]);
        if (i == VT_COUNT_OF(files) - 1)
            fx_tar_member(tar, name, '0', "old", 3);
        else
            add_png(tar, name, 4 + (int64_t)i);
    }
}

/* Breaks when a tar of class folders is not what its folder is: order, names, labels, classes, pixels, fingerprint. */
static void test_packed_folder(void **state)
{
    static const char *const before[] = {"", "./", "photos/", "/photos//./"};
    char name[128];
    for (size_t i = 0; i + 1 < VT_COUNT_OF(files); i++) {
        snprintf(name, sizeof name, "photos/%s", files[i]);
        write_png(name, 4 + (int64_t)i);
    }
    vt_source *folder = fx_open("%s", fx_path("photos"));
    assert_int_equal(vt_source_classes(folder), 4);
    assert_string_equal(vt_source_class_name(folder, 0), "10"); /* by bytes, not by number */
    assert_string_equal(vt_source_class_name(folder, 1), "2");
    for (size_t k = 0; k < VT_COUNT_OF(before); k++) {
        vt_text tar = {0};
        if (k == 2)
            fx_tar_member(&tar, "photos/", '5', "", 0);
        if (k == 2)
            fx_tar_member(&tar, "photos/dog/", '5', "", 0);
        add_files(&tar, before[k]);
        if (k == 3) {
            fx_tar_end(&tar);
            write_gzip("photos.tar.gz", &tar);
        }
        snprintf(name, sizeof name, "photos%zu.tar", k);
        write_tar(name, &tar);
        vt_source *packed = fx_open("folder:%s", fx_path("%s", name));
        check_same(folder, packed);
        vt_source_close(packed);
    }
    vt_source *packed = fx_open("folder:%s", fx_path("photos.tar.gz"));
    check_same(folder, packed);
    vt_source_close(packed);
    vt_source_close(folder);
    write_text("order.txt", "dog\nbird\n2\ncat\n10\n");
    folder = fx_open("folder:%s?classes=%s&split=[:60%%]", fx_path("photos"), fx_path("order.txt"));
    packed = fx_open("folder:%s?classes=%s&split=[:60%%]", fx_path("photos2.tar"), fx_path("order.txt"));
    check_same(folder, packed);
    vt_source_close(folder);
    vt_source_close(packed);
}

/* Breaks when a tar of folders is trusted where a folder is not. */
static void test_bad_packed_folders(void **state)
{
    char spec[512];
    vt_text tar = {0};
    add_png(&tar, "cat/a.png", 4);
    fx_tar_member(&tar, "dog/", '5', "", 0);
    write_tar("empty.tar", &tar);
    snprintf(spec, sizeof spec, "folder:%s", fx_path("empty.tar"));
    fx_open_fails(spec, VT_EINVAL, "empty.tar/dog", "holds no .jpg", NULL);
    add_png(&tar, "cat/../../a.png", 4);
    write_tar("outside.tar", &tar);
    snprintf(spec, sizeof spec, "folder:%s", fx_path("outside.tar"));
    fx_open_fails(spec, VT_EFORMAT, "lies outside", "cat/../../a.png", NULL);
    add_png(&tar, "a.png", 4);
    write_tar("flat.tar", &tar);
    snprintf(spec, sizeof spec, "folder:%s", fx_path("flat.tar"));
    fx_open_fails(spec, VT_EINVAL, "holds images but no class folders", NULL);
    write_tar("nothing.tar", &tar);
    snprintf(spec, sizeof spec, "folder:%s", fx_path("nothing.tar"));
    fx_open_fails(spec, VT_EINVAL, "no class folders", NULL);
    write_text("text.tar", "this is no tar file, but a text");
    snprintf(spec, sizeof spec, "folder:%s", fx_path("text.tar"));
    fx_open_fails(spec, VT_EFORMAT, "text.tar", "truncated tar", NULL);
    add_png(&tar, "photos/cat/a.png", 4);
    add_png(&tar, "photos/dog/a.png", 4);
    write_tar("cut.tar", &tar);
    snprintf(spec, sizeof spec, "folder:%s", fx_path("cut.tar"));
    vt_source *s = fx_open("%s", spec);
    assert_int_equal(truncate(fx_path("cut.tar"), 700), 0); /* while it is open */
    vt_read_buffer b = {0};
    vt_err err = {0};
    assert_int_equal(vt_source_read(s, 1, &b, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "cut.tar:dog/a.png"));
    vt_read_buffer_release(&b);
    vt_source_close(s);
    snprintf(spec, sizeof spec, "wds:%s", fx_path("photos0.tar"));
    fx_open_fails(spec, VT_EFORMAT, "photos0.tar", NULL);
}

/* Breaks when a list of members from the cache is trusted though the tar changed or the list is damaged. */
static void test_cached_lists(void **state)
{
    enum { N = 200 };
    char name[64];
    vt_text tar = {0};
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "%03d.png", i);
        add_png(&tar, name, 4 + i % 7);
        snprintf(name, sizeof name, "%03d.cls", i);
        fx_tar_member(&tar, name, '0', i % 2 ? "1" : "0", 1);
    }
    write_tar("many.tar", &tar);
    vt_source *first = fx_open("%s", fx_path("many.tar"));
    char **lists;
    size_t n;
    assert_int_equal(vt_list_dir(fx_path("vitro/members"), &lists, &n, NULL), VT_OK);
    assert_int_equal(n, 1); /* small tars are not kept */
    char list[512];
    snprintf(list, sizeof list, "%s/%s", fx_path("vitro/members"), lists[0]);
    vt_free_names(lists, n);
    vt_source *again = fx_open("%s", fx_path("many.tar"));
    check_same(first, again);
    vt_source_close(again);
    unsigned char *data;
    size_t size;
    assert_int_equal(vt_file_read(list, 1 << 20, &data, &size, NULL), VT_OK);
    for (size_t at = 0; at < size; at += size / 40) { /* any damage: the list is made again */
        data[at] ^= 4;
        assert_int_equal(vt_file_write(list, data, at % 3 ? size : at, NULL), VT_OK);
        data[at] ^= 4;
        again = fx_open("%s", fx_path("many.tar"));
        check_same(first, again);
        vt_source_close(again);
    }
    free(data);
    vt_source_close(first);
    add_png(&tar, "x.png", 9);
    fx_tar_member(&tar, "x.cls", '0', "2", 1);
    write_tar("many.tar", &tar);
    again = fx_open("%s", fx_path("many.tar"));
    assert_int_equal(vt_source_count(again), 1);
    vt_source_close(again);
}

/* --- labels of shards --- */

static const char *write_shard(const char *file, const char *const *members, size_t n)
{
    vt_text tar = {0};
    for (size_t i = 0; i < n && members[i]; i++) {
        char name[256];
        snprintf(name, sizeof name, "%s", members[i]);
        char *text = strchr(name, '=');
        if (text)
            *text++ = '\0';
        if (text)
            fx_tar_member(&tar, name, '0', text, strlen(text));
        else
            add_png(&tar, name, 4);
    }
    write_tar(file, &tar);
    return fx_path("%s", file);
}

/* Breaks when a label of .json or .txt is missed, taken for another, or a name matched by place. */
static void test_shard_labels(void **state)
{
    static const struct {
        const char *members[8], *options, *classes; /* expected names, ' ' between */
        int labels[4];
        bool named;
    } cases[] = {
        {{"a.png", "a.json={\"label\": 2}", "b.PNG", "b.JSON={\"cls\": 0}"}, "", "0 1 2", {2, 0}, false},
        {{"a.png", "a.json={\"label\": \"dog\"}", "b.png", "b.json={\"label\": \"cat\", \"cls\": 7}"},
         "",
         "cat dog",
         {1, 0},
         true},
        {{"a.png", "a.txt=2\n", "b.png", "b.txt=10"}, "", "0 1 2 3 4 5 6 7 8 9 10", {2, 10}, false},
        {{"a.png", "a.txt=dog", "b.png", "b.txt=10", "c.png", "c.txt=2"}, "", "10 2 dog", {2, 0, 1}, true},
        {{"a.png", "a.txt=01", "b.png", "b.txt=02"}, "", "01 02", {0, 1}, true},
        {{"a.png", "a.json={\"x\": 1}", "a.txt=a caption\nof two lines", "a.cls=3"}, "", "0 1 2 3", {3}, false},
        {{"a.png", "a.json={\"x\": 1}", "a.txt=3"}, "", "0 1 2 3", {3}, false},
        {{"a.png", "a.cls=3", "a.json={\"x\": \"dog\"}"}, "json_key=x", "dog", {0}, true},
        {{"a.png", "a.txt=b", "c.png", "c.txt=a"}, "FILE", "b a x 10 2", {0, 1}, true},
        {{"a.png", "a.txt=10", "c.png", "c.txt=2"}, "FILE", "b a x 10 2", {3, 4}, true}, /* names of FILE, not places */
        {{"a.png", "a.txt=0", "c.png", "c.txt=2"}, "FILE", "b a x 10 2", {0, 2}, true},  /* 0 is no name: numbers */
        {{"a.png", "a.cls=0", "c.png", "c.cls=2"}, "FILE", "b a x 10 2", {0, 2}, true},
        {{"a.png", "a.json={\"label\": \"2\"}"}, "FILE", "b a x 10 2", {4}, true},
        {{"x.y/a.b.png", "x.y/a.png", "x.y/a.seg.png", "x.y/a.cls=0", "__meta__.json={}"}, "", "0", {0}, false},
    };
    write_text("five.txt", "b\na\nx\n10\n2\n");
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        const char *path = write_shard("labels.tar", cases[i].members, 8);
        bool file = strcmp(cases[i].options, "FILE") == 0;
        vt_source *s = fx_open("%s?%s%s", path, file ? "classes=" : cases[i].options, file ? fx_path("five.txt") : "");
        vt_text names = {0};
        for (int64_t c = 0; c < vt_source_classes(s); c++)
            vt_text_addf(&names, "%s%s", c ? " " : "", vt_source_class_name(s, c));
        assert_string_equal(names.s, cases[i].classes);
        vt_text_release(&names);
        assert_int_equal(vt_source_has_names(s), cases[i].named);
        for (int64_t k = 0; k < vt_source_count(s); k++)
            assert_int_equal(vt_source_label(s, k), cases[i].labels[k]);
        vt_source_close(s);
    }
}

/* Breaks when a list of classes in .json is not the list of the sample. */
static void test_shard_lists(void **state)
{
    static const char *const members[] = {"a.png", "a.json={\"label\": [\"dog\", \"cat\"]}",
                                          "b.png", "b.json={\"label\": \"dog\"}",
                                          "c.png", "c.json={\"label\": []}"};
    int32_t classes[2];
    vt_source *s = fx_open("%s", write_shard("lists.tar", members, 6));
    assert_int_equal(vt_source_most_labels(s), 2);
    assert_int_equal(vt_source_labels(s, 0, classes, 2), 2);
    assert_true(classes[0] == 0 && classes[1] == 1);
    assert_int_equal(vt_source_labels(s, 1, classes, 2), 1);
    assert_int_equal(classes[0], 1);
    assert_int_equal(vt_source_label(s, 2), -1);
    vt_source_close(s);
}

/* Breaks when a label that is none is accepted, or the message names neither the sample nor what is wrong. */
static void test_wrong_shard_labels(void **state)
{
    static const struct {
        const char *members[6], *options, *words[3];
    } cases[] = {
        {{"a.png", "a.json={\"x\": 1}"}, "", {"sample a", "neither \"label\" nor \"cls\"", "json_key"}},
        {{"a.png", "a.json={\"label\": 1}"}, "?json_key=y", {"sample a", "no \"y\""}},
        {{"a.png", "a.cls=1"}, "?json_key=y", {"sample a", "json_key is given"}},
        {{"a.png", "a.json={\"label\": 1.5}"}, "", {"a.json", "no class"}},
        {{"a.png", "a.json={\"label\": true}"}, "", {"a.json", "no class"}},
        {{"a.png", "a.json={\"label\": -1}"}, "", {"a.json", "class -1"}},
        {{"a.png", "a.json={\"label\": \"\"}"}, "", {"a.json", "empty label"}},
        {{"a.png", "a.json={\"label\": [1, 1]}"}, "", {"a.json", "stands twice"}},
        {{"a.png", "a.json={\"label\": 1"}, "", {"a.json"}},
        {{"a.png", "a.json=[1]"}, "", {"sample a"}},
        {{"a.png", "a.json={\"label\": 1}", "b.png", "b.json={\"label\": \"x\"}"},
         "",
         {"b.png has the name", "a.png a number"}},
        {{"a.png", "a.cls=1", "b.png", "b.txt=x"}, "", {"b.png", "'x' is no class number"}},
        {{"a.png", "a.txt=two\nlines"}, "", {"a.txt holds a longer text"}},
        {{"a.png", "a.txt= "}, "", {"empty label"}},
        {{"a.png", "a.txt=y"}, "FILE", {"a.png", "'y' is no class of", "five.txt"}},
        {{"a.png", "a.txt=5"}, "FILE", {"names 5 classes", "a class numbered 5", "a.png"}},
        {{"a.png", "a.json={}", "a.json={}"}, "", {"two .json"}},
    };
    char spec[512];
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        bool file = strcmp(cases[i].options, "FILE") == 0;
        snprintf(spec, sizeof spec, "%s%s%s", write_shard("wrong.tar", cases[i].members, 6),
                 file ? "?classes=" : cases[i].options, file ? fx_path("five.txt") : "");
        vt_source *s;
        vt_err err = {0};
        if (vt_source_open(&s, spec, &err) == VT_OK)
            fail_msg("case %zu was opened", i);
        for (int k = 0; k < 3 && cases[i].words[k]; k++) {
            if (!strstr(err.msg, cases[i].words[k]) || !strstr(err.msg, file && k ? "" : "wrong.tar"))
                fail_msg("case %zu: %s", i, err.msg);
        }
    }
}

/* Breaks when the fingerprint of a plain source changes: runs could not go on. */
static void test_fingerprint_is_for_ever(void **state)
{
    static const char *const members[] = {"a.png", "a.cls=2", "b.png", "b.cls=0"};
    char line[64], want[VT_HASH_HEX], have[VT_HASH_HEX];
    size_t size;
    free(fx_png(4, 3, 1, &size));
    vt_source *s = fx_open("%s", write_shard("print.tar", members, 4));
    vt_source_fingerprint(s, have);
    vt_source_close(s);
    vt_hasher *h = vt_hasher_new();
    vt_hasher_add(h, "vitro data 1 wds 2 3", 21);
    vt_hasher_add(h,
                  "0\0"
                  "1\0"
                  "2",
                  6);
    for (int i = 0; i < 2; i++) {
        vt_hasher_add(h, i ? "b.png" : "a.png", 6);
        int n = snprintf(line, sizeof line, "%zu %d", size, i ? 0 : 2);
        vt_hasher_add(h, line, (size_t)n + 1);
    }
    vt_hasher_finish(h, want);
    assert_string_equal(have, want);
}

/* --- lists in CSV --- */

/* Breaks when columns, quotes, separators, roots or labels of a list are taken wrongly. */
static void test_lists_in_csv(void **state)
{
    char name[128];
    write_png("csv/a.png", 4);
    write_png("csv/b, c.png", 5);
    write_png("csv/deep/d.png", 6);
    write_text("csv/one.csv", "path,label\na.png,cat\n\"b, c.png\",dog\ndeep/d.png,cat\n");
    vt_source *s = fx_open("%s", fx_path("csv/one.csv"));
    assert_true(vt_source_count(s) == 3 && vt_source_classes(s) == 2 && vt_source_has_names(s));
    assert_string_equal(vt_source_class_name(s, 0), "cat");
    assert_string_equal(vt_source_sample_name(s, 1, name, sizeof name), "one.csv:b, c.png");
    for (int i = 0; i < 3; i++) {
        check_width(s, i, 4 + i);
        assert_int_equal(vt_source_label(s, i), i == 1);
    }
    vt_source_close(s);
    write_text("csv/two.tsv", "n\tclass\tfile\r\n0\t10\tdeep/d.png\r\n1\t2\ta.png\r\n");
    fx_open_fails(fx_path("csv/two.tsv"), VT_EINVAL, "no column is named 'path'", "n, class, file", "path=COLUMN",
                  NULL);
    s = fx_open("%s?path=file&label=class", fx_path("csv/two.tsv"));
    assert_true(vt_source_classes(s) == 11 && !vt_source_has_names(s)); /* bare numbers */
    assert_true(vt_source_label(s, 0) == 10 && vt_source_label(s, 1) == 2);
    vt_source_close(s);
    write_text("lists/three.csv", "# exported\nlabel,path\ncat; dog,a.png\n,deep/d.png\ndog|ant|cat,\"b, c.png\"\n");
    s = fx_open("%s?root=%s", fx_path("lists/three.csv"), fx_path("csv"));
    int32_t classes[3];
    assert_true(vt_source_most_labels(s) == 3 && vt_source_classes(s) == 3 && !vt_source_has_single_labels(s));
    assert_int_equal(vt_source_labels(s, 0, classes, 3), 2);
    assert_true(classes[0] == 1 && classes[1] == 2);
    assert_int_equal(vt_source_label(s, 1), -1);
    assert_int_equal(vt_source_labels(s, 2, classes, 3), 3);
    vt_source_close(s);
    char text[1024];
    snprintf(text, sizeof text, "path,label\n%s,1\n", fx_path("csv/a.png"));
    write_text("lists/absolute.csv", text);
    s = fx_open("%s?root=/", fx_path("lists/absolute.csv"));
    check_width(s, 0, 4);
    vt_source_close(s);
    write_text("lists/names.csv", "path\na.png\ndeep/d.png\n"); /* the labels come from elsewhere */
    write_text("lists/rows", "deep/d.png\t1\na.png\t0\n");
    s = fx_open("%s?root=%s&labels=%s", fx_path("lists/names.csv"), fx_path("csv"), fx_path("lists/rows"));
    assert_true(vt_source_label(s, 0) == 0 && vt_source_label(s, 1) == 1);
    vt_source_close(s);
}

/* Breaks when a list that is wrong, or leads outside, is accepted, or the line is not named. */
static void test_wrong_csv(void **state)
{
    static const struct {
        const char *text, *words[2];
    } cases[] = {
        {"", {"is empty"}},
        {"path,label\n", {"no row"}},
        {"path,path,label\na.png,a.png,1\n", {"two columns are named 'path'"}},
        {"path,class\na.png,1\n", {"no column is named 'label'", "label=COLUMN"}},
        {"path,label\na.png,1\na.png\n", {"w.csv:3", "1 cells, but the header has 2"}},
        {"path,label\na.png,1,2\n", {"w.csv:2", "3 cells"}},
        {"path,label\nnone.png,1\n", {"w.csv:2", "none.png: No such file"}},
        {"path,label\ndeep,1\n", {"w.csv:2", "is no file"}},
        {"path,label\npipe,1\n", {"w.csv:2", "is no file"}},
        {"path,label\n../csv/a.png,1\n", {"w.csv:2", "leads outside"}},
        {"path,label\ndeep/../../a.png,1\n", {"w.csv:2", "leads outside"}},
        {"path,label\ndeep/..,1\n", {"w.csv:2", "leads outside"}},
        {"path,label\n/etc/passwd,1\n", {"w.csv:2", "is absolute"}},
        {"path,label\n,1\n", {"w.csv:2", "no path"}},
        {"path,label\na.png,1;\n", {"w.csv:2", "behind the last separator"}},
        {"path,label\na.png,1;;2\n", {"w.csv:2", "empty label"}},
        {"path,label\na.png,x;x\n", {"w.csv:2", "stands twice"}},
        {"path,label\n\"a.png,1\n", {"w.csv:2", "never closed"}},
    };
    (void)mkfifo(fx_path("csv/pipe"), 0644);
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        write_text("csv/w.csv", cases[i].text);
        vt_source *s;
        vt_err err = {0};
        if (vt_source_open(&s, fx_path("csv/w.csv"), &err) == VT_OK)
            fail_msg("case %zu was opened", i);
        for (int k = 0; k < 2 && cases[i].words[k]; k++) {
            if (!strstr(err.msg, cases[i].words[k]))
                fail_msg("case %zu: %s", i, err.msg);
        }
    }
    assert_int_equal(unlink(fx_path("csv/pipe")), 0);
}

static int clean(void **state)
{
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed_folder),
        cmocka_unit_test(test_bad_packed_folders),
        cmocka_unit_test(test_cached_lists),
        cmocka_unit_test(test_shard_labels),
        cmocka_unit_test(test_shard_lists),
        cmocka_unit_test(test_wrong_shard_labels),
        cmocka_unit_test(test_fingerprint_is_for_ever),
        cmocka_unit_test(test_lists_in_csv),
        cmocka_unit_test(test_wrong_csv),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
