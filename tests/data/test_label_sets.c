/* labels=FILE: several classes for a sample or none, for every kind of source; and files that are wrong. */
#include "fixtures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/philox.h"
#include "data/source.h"

/* The source of a SPEC that ends in "labels=", with rows in a file behind it. */
static const char *with_rows(const char *spec, const char *rows)
{
    static char whole[2048];
    fx_write("rows.tsv", rows, strlen(rows));
    snprintf(whole, sizeof whole, "%s%s", spec, fx_path("rows.tsv"));
    return whole;
}

/* Classes of samples as text: "0,2 - 1" for three samples of which the second has none. */
static void assert_labels(const vt_source *s, const char *expected)
{
    vt_text have = {0};
    int32_t classes[VT_MAX_LABELS];
    int most = vt_source_most_labels(s);
    for (int64_t i = 0; i < vt_source_count(s); i++) {
        memset(classes, 0x77, sizeof classes);
        int n = vt_source_labels(s, i, classes, most + (i % 2 && most < VT_MAX_LABELS));
        vt_text_addf(&have, "%s%s", i ? " " : "", n ? "" : "-");
        for (int k = 0; k < n; k++)
            vt_text_addf(&have, "%s%d", k ? "," : "", classes[k]);
        for (int k = n; k < most; k++)
            assert_int_equal(classes[k], -1);
        assert_int_equal(vt_source_label(s, i), n ? classes[0] : -1);
    }
    assert_string_equal(have.s, expected);
    vt_text_release(&have);
}

static void check_labels(const char *spec, const char *rows, const char *expected)
{
    vt_source *s = fx_open("%s", with_rows(spec, rows));
    assert_labels(s, expected);
    vt_source_close(s);
}

static void write_image(const char *name)
{
    size_t size;
    unsigned char *png = fx_png(8, 8, 1, &size);
    fx_write(name, png, size);
    free(png);
}

/* Breaks when rows in another order, separators, line ends or an empty list of classes are read wrongly. */
static void test_rows(void **state)
{
    const char *spec = "synthetic:shapes?count=4&classes=5&labels=";
    check_labels(spec, "0\tsolid disc\n1\tsolid square\n2\tsolid disc\n3\tsolid plus\n", "0 1 0 3");
    check_labels(spec, "2\tsolid ring\tsolid disc\n0\n3\t\n1\tsolid plus,solid square\tsolid disc\n", "- 0,1,3 0,4 -");
    check_labels(spec, "0\tsolid ring, solid disc \r\n1\r\n2\tsolid plus\r\n3\t\r\n\r\n\n", "0,4 - 3 -");
    check_labels(spec, "3\n2\n1\n00", "- - - -");
}

/* Breaks when single and several classes are confounded, or counts of classes are not those of the rows. */
static void test_counts(void **state)
{
    const char *spec = "synthetic:shapes?count=3&classes=4&labels=";
    int64_t counts[4];
    vt_source *s = fx_open("%s", with_rows(spec, "0\tsolid disc\n1\tsolid disc\n2\tsolid plus\n"));
    assert_true(vt_source_has_single_labels(s));
    assert_int_equal(vt_source_most_labels(s), 1);
    vt_source_close(s);
    s = fx_open("%s", with_rows(spec, "0\tsolid disc\n1\n2\tsolid plus\n"));
    assert_false(vt_source_has_single_labels(s));
    assert_int_equal(vt_source_most_labels(s), 1);
    vt_source_close(s);
    s = fx_open("%s", with_rows(spec, "0\tsolid disc,solid square,solid plus\n1\n2\tsolid plus\n"));
    assert_false(vt_source_has_single_labels(s));
    assert_int_equal(vt_source_most_labels(s), 3);
    vt_source_class_counts(s, counts);
    assert_true(counts[0] == 1 && counts[1] == 1 && counts[2] == 0 && counts[3] == 2);
    vt_source_close(s);
    s = fx_open("%s", "synthetic:shapes?count=10&classes=4&noise=0.5");
    int64_t expected[4] = {0};
    for (int64_t i = 0; i < 10; i++)
        expected[vt_source_label(s, i)]++;
    vt_source_class_counts(s, counts);
    assert_memory_equal(counts, expected, sizeof counts);
    assert_true(vt_source_has_single_labels(s) && vt_source_most_labels(s) == 1);
    vt_source_close(s);
}

/* Breaks when folders' samples are not found by path, names with commas are cut up, or, with classes=FILE, folders are
 * still taken for classes and images beside or below them are missed. */
static void test_folder(void **state)
{
    char spec[1024];
    write_image("f/cat/1.png");
    write_image("f/cat/in/2.png");
    write_image("f/a, b/3.png");
    snprintf(spec, sizeof spec, "folder:%s?labels=", fx_path("f"));
    check_labels(spec, "a, b/3.png\ta, b\ncat/in/2.png\tcat\ta, b\ncat/1.png\n", "0 - 0,1");
    fx_open_fails(with_rows(spec, "a, b/3.png\ta\ncat/in/2.png\ncat/1.png\n"), VT_EFORMAT,
                  "rows.tsv: line 1:", "'a' is no class of these data", NULL);

    write_image("g/1.png");
    write_image("g/train/deep/2.png");
    write_image("g/val/3.png");
    fx_write("names.txt", "sea\nsun\nsand\n", 13);
    snprintf(spec, sizeof spec, "folder:%s?classes=%s&labels=", fx_path("g"), fx_path("names.txt"));
    check_labels(spec, "val/3.png\tsand,sea\n1.png\tsun\ntrain/deep/2.png\tsea\n", "1 0 0,2");
    fx_write("h/text.txt", "no", 2);
    snprintf(spec, sizeof spec, "folder:%s?classes=%s&labels=", fx_path("h"), fx_path("names.txt"));
    fx_open_fails(with_rows(spec, "x\n"), VT_EINVAL, "holds no .jpg, .jpeg, .png or .webp", NULL);
}

static const char *write_tar(const char *name, const char *const *members, int n)
{
    vt_text tar = {0};
    size_t size;
    unsigned char *png = fx_png(8, 8, 1, &size);
    for (int i = 0; i < n; i++) {
        bool image = strstr(members[i], ".png") != NULL;
        fx_tar_member(&tar, members[i], '0', image ? (const void *)png : "7", image ? size : 1);
    }
    fx_tar_end(&tar);
    fx_write(name, tar.s, tar.len);
    vt_text_release(&tar);
    free(png);
    return fx_path("%s", name);
}

/* Breaks when KEYs are cut elsewhere than at the first dot of the last part, .cls is still wanted or still counts, or a
 * KEY that stands for two samples is given to one of them. */
static void test_shards(void **state)
{
    static const char *const first[] = {"d.x/1.png", "d.x/2.png", "d.x/2.cls"}, *const second[] = {"d.x/1.png"};
    char spec[1024];
    snprintf(spec, sizeof spec, "wds:%s?labels=", write_tar("1.tar", first, 3));
    vt_source *s = fx_open("%s", with_rows(spec, "d.x/2\t4,1\nd.x/1\t0\n"));
    assert_labels(s, "0 1,4");
    assert_int_equal(vt_source_classes(s), 5); /* what the rows need; the .cls does not count */
    assert_false(vt_source_has_names(s));
    vt_source_close(s);
    s = fx_open("%s", with_rows(spec, "d.x/2\nd.x/1\n"));
    assert_int_equal(vt_source_classes(s), 1);
    vt_source_close(s);
    fx_open_fails(with_rows(spec, "d.x/2\tred\nd.x/1\t0\n"), VT_EFORMAT, "line 1: 'red' is no class", "classes=FILE",
                  NULL);
    fx_open_fails(with_rows(spec, "d.x/2\t1000000\nd.x/1\t0\n"), VT_EFORMAT, "line 1: '1000000' is no class", NULL);
    fx_open_fails(with_rows(spec, "d.x/2.png\t1\nd.x/1\t0\n"), VT_EFORMAT, "line 1: no sample is named 'd.x/2.png'",
                  NULL);
    fx_write("two.txt", "red\nblue\n", 9);
    snprintf(spec, sizeof spec, "wds:%s?classes=%s&labels=", fx_path("1.tar"), fx_path("two.txt"));
    check_labels(spec, "d.x/1\tblue,red\nd.x/2\tblue\n", "0,1 1"); /* .cls 7 is beyond the names: void */
    write_tar("2.tar", second, 1);
    snprintf(spec, sizeof spec, "wds:%s/{1,2}.tar?labels=", fx_dir());
    fx_open_fails(with_rows(spec, "d.x/1\t0\nd.x/2\t0\n"), VT_EINVAL, "two samples are named 'd.x/1'", NULL);
}

/* Breaks when IDX samples are not numbered from 0, or its own labels still count. */
static void test_idx(void **state)
{
    static const unsigned char images[16 + 12] = {0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 2},
                                           labels[8 + 3] = {0, 0, 8, 1, 0, 0, 0, 3, 9, 9, 9};
    char spec[1024];
    fx_write("images", images, sizeof images);
    fx_write("labels", labels, sizeof labels);
    snprintf(spec, sizeof spec, "idx:%s,%s?labels=", fx_path("images"), fx_path("labels"));
    vt_source *s = fx_open("%s", with_rows(spec, "2\t2,0\n0\n1\t1\n"));
    assert_labels(s, "- 1 0,2");
    assert_int_equal(vt_source_classes(s), 3);
    vt_source_close(s);
}

/* Breaks when a wrong file opens, or its message does not lead to the line and the thing. */
static void test_wrong_files(void **state)
{
    static const struct {
        const char *rows, *word;
    } cases[] = {
        {"0\n1\n", "no row for the sample '2' (2 rows, 3 samples)"},
        {"0\n1\n3\n", "line 3: no sample is named '3'; samples are numbered from 0"},
        {"0\n1\nx2\n", "line 3: no sample is named 'x2'"},
        {"0\n1\n-2\n", "line 3: no sample is named '-2'"},
        {"0\n1\n99999999999999999999999999\n", "line 3: no sample is named '9999"},
        {"0\n1\n1\n", "line 3: the sample had a row before"},
        {"0\n1\n2\n0\n", "line 4: the sample had a row before"},
        {"0\n\n1\n2\n", "line 2: the name of a sample is missing"},
        {"\n0\n1\n2\n", "line 1: the name of a sample is missing"},
        {"0\n\tsolid disc\n1\n2\n", "line 2: the name of a sample is missing"},
        {"0\tsolid disk\n1\n2\n", "line 1: 'solid disk' is no class of these data"},
        {"0\t0\n1\n2\n", "line 1: '0' is no class"},
        {"0\tsolid disc,solid cat\n1\n2\n", "line 1: 'solid cat' is no class"},
        {"0\n1\tsolid disc,\n2\n", "line 2: no class stands between two separators"},
        {"0\n1\t,\n2\n", "line 2: no class stands between"},
        {"0\n1\tsolid disc\t\n2\n", "line 2: no class stands between"},
        {"0\n1\t\tsolid disc\n2\n", "line 2: no class stands between"},
        {"0\n1\tsolid disc,solid square\tsolid disc\n2\n", "line 2: the class 'solid disc' stands twice"},
        {"", "line 1: the name of a sample is missing"},
        {"0", "no row for the sample '1'"},
        {"\n\n\n\n\n", "line 1: the name of a sample is missing"},
    };
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++)
        fx_open_fails(with_rows("synthetic:shapes?count=3&classes=4&labels=", cases[i].rows), VT_EFORMAT, "rows.tsv",
                      cases[i].word, NULL);
    char spec[1024];
    fx_write("zero.tsv", "0\0\n1\n2\n", 8);
    snprintf(spec, sizeof spec, "synthetic:shapes?count=3&labels=%s", fx_path("zero.tsv"));
    fx_open_fails(spec, VT_EFORMAT, "zero.tsv: not a text file", NULL);
    fx_open_fails("synthetic:shapes?count=3&labels=/nonexistent", VT_EIO, "/nonexistent", NULL);
    fx_open_fails("synthetic:shapes?count=3&labels=", VT_EIO, "cannot be opened", NULL);
    fx_open_fails("synthetic:shapes?count=3&labels=/dev/zero", VT_EINVAL, "/dev/zero", NULL);
    /* a short file must not cost memory for a trillion samples */
    fx_open_fails(with_rows("synthetic:shapes?count=1000000000000&labels=", "0\n"), VT_EUNSUPPORTED, "the limit", NULL);
    fx_open_fails(with_rows("synthetic:shapes?count=268435456&labels=", "0\n"), VT_EFORMAT, "too short", NULL);
}

/* Breaks when more classes than a sample may have overrun its list, or as many as it may have are refused. */
static void test_most_classes(void **state)
{
    static const char *const shapes[8] = {"disc", "square", "triangle", "plus", "ring", "diamond", "bar", "ell"};
    static const char *const textures[4] = {"solid", "striped", "checked", "hollow"};
    static const char *const colours[4] = {"red", "green", "blue", "yellow"};
    for (int n = VT_MAX_LABELS; n <= VT_MAX_LABELS + 1; n++) {
        vt_text rows = {0}, expected = {0};
        vt_text_add(&rows, "0");
        for (int k = n - 1; k >= 0; k--)
            vt_text_addf(&rows, "%c%s %s %s", k == n - 1 ? '\t' : ',', colours[k / 32], textures[k / 8 % 4],
                         shapes[k % 8]);
        for (int k = 0; k < n; k++)
            vt_text_addf(&expected, "%s%d", k ? "," : "", k);
        if (n == VT_MAX_LABELS)
            check_labels("synthetic:shapes?count=1&classes=128&labels=", rows.s, expected.s);
        else
            fx_open_fails(with_rows("synthetic:shapes?count=1&classes=128&labels=", rows.s), VT_EFORMAT,
                          "more than 64 classes", NULL);
        vt_text_release(&rows);
        vt_text_release(&expected);
    }
}

/* Breaks when a line of a megabyte, as a name or as a class, overruns a message or a list. */
static void test_huge_lines(void **state)
{
    enum { SIZE = 1 << 20 };
    char *rows = malloc(SIZE);
    for (int as_class = 0; as_class < 3; as_class++) {
        memset(rows, as_class == 2 ? ',' : '7', SIZE);
        if (as_class)
            memcpy(rows, "0\t", 2);
        memcpy(rows + SIZE - 8, "\n0\n1\n2\n", 8);
        fx_open_fails(with_rows("synthetic:shapes?count=3&labels=", rows), VT_EFORMAT, "line 1:", NULL);
    }
    free(rows);
}

static void fingerprint(const char *spec, char hex[VT_HASH_HEX])
{
    vt_source *s = fx_open("%s", spec);
    vt_source_fingerprint(s, hex);
    vt_source_close(s);
}

static const char *with_file(const char *spec, const char *name, const char *text)
{
    static char whole[2048];
    fx_write(name, text, strlen(text));
    snprintf(whole, sizeof whole, "%s%s", spec, fx_path("%s", name));
    return whole;
}

/* Breaks when lists in JSON (ReaL's form) go to other images than those of their place among the files' names. */
static void test_json(void **state)
{
    char spec[512];
    write_image("r/cat/v3.png");
    write_image("r/ant/v2.png");
    write_image("r/cat/v1.png");
    write_image("r/bee/v4.png");
    snprintf(spec, sizeof spec, "folder:%s?labels=", fx_path("r"));
    vt_source *s = fx_open("%s", with_file(spec, "real.json", "[[0], [2, 1], [], [\"cat\"]]"));
    assert_labels(s, "1,2 2 0 -"); /* ant/v2 bee/v4 cat/v1 cat/v3 */
    vt_source_close(s);
    s = fx_open("%s", with_file("synthetic:shapes?classes=3&count=3&labels=", "real.json", "[[2],[0,1],[]]"));
    assert_labels(s, "2 0,1 -");
    vt_source_close(s);
    static const struct {
        const char *text, *word;
    } wrong[] = {
        {"[[0],[1]]", "it has 2 lists, but there are 4 samples"},
        {"[[0],[1],[2],[3]]", "list 3: there is no class 3"},
        {"[[0],[1],[2],[-1]]", "there is no class -1"},
        {"[[0],[1],[2],[1,1]]", "stands twice"},
        {"[[0],[1],[2],[1.5]]", "neither a number nor a name"},
        {"[[0],[1],[2],[\"dog\"]]", "'dog' is no class"},
        {"[[0],[1],[2],3]", "element 3 is no list"},
        {"[[0],[1],[2]", "real.json"},
    };
    for (size_t i = 0; i < VT_COUNT_OF(wrong); i++)
        fx_open_fails(with_file(spec, "real.json", wrong[i].text), VT_EFORMAT, "real.json", wrong[i].word, NULL);
    write_image("r/bee/v1.png");
    fx_open_fails(with_file(spec, "real.json", "[[0],[0],[0],[0],[0]]"), VT_EINVAL, "two files are named 'v1.png'",
                  NULL);
    assert_int_equal(unlink(fx_path("r/bee/v1.png")), 0);
}

/* Breaks when JSON far too long for its samples is parsed, which takes many times its bytes, or 1 MiB is refused. */
static void test_json_size(void **state)
{
    enum { SIZE = (1 << 20) + 1 };
    const char *spec = "synthetic:shapes?classes=3&count=3&labels=";
    char *text = malloc(SIZE + 1);
    memset(text, ' ', SIZE);
    memcpy(text, "[[0],[1],", 9);
    memcpy(text + SIZE - 4, "[2]]", 5);
    fx_open_fails(with_file(spec, "long.json", text), VT_EFORMAT,
                  "long.json: 1048577 bytes of JSON; for 3 samples the limit is 1048576", NULL);
    memcpy(text + SIZE - 5, "[2]]", 5);
    vt_source *s = fx_open("%s", with_file(spec, "long.json", text));
    assert_labels(s, "0 1 2");
    vt_source_close(s);
    free(text);
}

/* Breaks when exclude=FILE drops every image of a name that two have, here in shards that each begin anew. */
static void test_exclude_twice(void **state)
{
    static const char *const first[] = {"1.png", "1.cls", "2.png", "2.cls"}, *const second[] = {"1.png", "1.cls"};
    char spec[1024];
    write_tar("x1.tar", first, 4);
    write_tar("x2.tar", second, 2);
    fx_write("drop1.txt", "2\n1\n", 4);
    fx_write("drop2.txt", "2\n", 2);
    snprintf(spec, sizeof spec, "wds:%s/x{1,2}.tar?exclude=%s", fx_dir(), fx_path("drop1.txt"));
    fx_open_fails(spec, VT_EINVAL, "drop1.txt: line 2: two images are named '1'", NULL);
    snprintf(spec, sizeof spec, "wds:%s/x{1,2}.tar?exclude=%s", fx_dir(), fx_path("drop2.txt"));
    vt_source *s = fx_open("%s", spec);
    assert_int_equal(vt_source_count(s), 2);
    vt_source_close(s);
}

/* Breaks when a CSV of names and classes is read otherwise than its header says. */
static void test_csv(void **state)
{
    char spec[512];
    snprintf(spec, sizeof spec, "folder:%s?labels=", fx_path("r"));
    vt_source *s = fx_open(
        "%s", with_file(spec, "labels.csv",
                        "n,label,path\n1,cat;ant,cat/v1.png\n2,,cat/v3.png\n3,bee|cat,ant/v2.png\n4,bee,bee/v4.png\n"));
    assert_labels(s, "1,2 1 0,2 -");
    vt_source_close(s);
    fx_open_fails(with_file(spec, "labels.csv", "file,label\ncat/v1.png,cat\n"), VT_EFORMAT, "labels.csv",
                  "no column is named 'path'", NULL);
    fx_open_fails(with_file(spec, "labels.csv", "path,name,label\nx,y,z\n"), VT_EFORMAT, "two columns", NULL);
    fx_open_fails(with_file(spec, "labels.csv", "path,label\ncat/v1.png,cat\n"), VT_EFORMAT, "no row for the sample",
                  NULL);
    fx_open_fails(with_file(spec, "labels.csv", "path,label\ncat/v1.png,dog\n"), VT_EFORMAT,
                  "line 2: 'dog' is no class", NULL);
    /* a class that fell out of its column, or a row without one, must not become other labels */
    fx_open_fails(with_file(spec, "labels.csv", "path,label\ncat/v1.png,cat,ant\n"), VT_EFORMAT,
                  "labels.csv: line 2: 3 cells, but the header has 2", NULL);
    fx_open_fails(with_file(spec, "labels.csv", "path,label\ncat/v1.png\n"), VT_EFORMAT,
                  "labels.csv: line 2: 1 cells, but the header has 2", NULL);
    fx_open_fails(with_file(spec, "labels.csv", "path,label\ncat/v1.png,cat;\n"), VT_EFORMAT,
                  "labels.csv: line 2: no class stands between two separators, or behind the last", NULL);
    fx_open_fails(with_file(spec, "labels.csv", "path,label\ncat/v9.png,cat\n"), VT_EFORMAT, "line 2: no sample", NULL);
}

/* Breaks when a run does not notice that labels changed, or takes another order of rows for a change. */
static void test_fingerprint(void **state)
{
    static const char *const rows[] = {"0\tsolid disc\n1\tsolid disc,solid ring\n2\n",
                                       "2\n1\tsolid ring\tsolid disc\n0\tsolid disc\n",
                                       "0\tsolid disc\n1\tsolid disc\n2\tsolid ring\n", "0\tsolid disc\n1\n2\n"};
    char hex[5][VT_HASH_HEX];
    fingerprint("synthetic:shapes?count=3", hex[0]);
    for (int i = 0; i < 4; i++)
        fingerprint(with_rows("synthetic:shapes?count=3&labels=", rows[i]), hex[i + 1]);
    assert_string_equal(hex[1], hex[2]);
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < i; k++)
            assert_true((i == 2 && k == 1) || strcmp(hex[i], hex[k]) != 0);
}

/* Breaks when a split does not hold first classes and samples without a class in proportion, when the labels of chosen
 * samples are those of others, or when a file that repeats the source's labels chooses otherwise than none. */
static void test_choice(void **state)
{
    enum { N = 400 };
    static const char *const names[4] = {"solid disc", "solid square", "solid triangle", "solid plus"};
    vt_text rows = {0}, plain = {0};
    for (int i = 0; i < N; i++) {
        vt_text_addf(&plain, "%d\t%s\n", i, names[i % 4]);
        int turn = i / 4 % 4; /* not the source's own class, i % 4; a quarter each: none; 1; 1 and 3; 3 */
        if (turn == 0)
            vt_text_addf(&rows, "%d\n", i);
        else
            vt_text_addf(&rows, "%d\t%s%s\n", i, names[turn == 2 ? 3 : turn], turn == 2 ? ",solid square" : "");
    }
    vt_source *s = fx_open("%s", with_rows("synthetic:shapes?count=400&classes=4&split=[25%:75%]&labels=", rows.s));
    int members[4] = {0};
    assert_int_equal(vt_source_count(s), N / 2);
    for (int64_t i = 0; i < N / 2; i++) {
        char name[64];
        int32_t classes[2];
        int64_t sample = strtol(strchr(vt_source_sample_name(s, i, name, sizeof name), '[') + 1, NULL, 10);
        int n = vt_source_labels(s, i, classes, 2), turn = (int)(sample / 4 % 4);
        members[turn]++;
        assert_true(classes[0] == (turn == 0 ? -1 : turn == 3 ? 3 : 1) && classes[1] == (turn == 2 ? 3 : -1));
        assert_int_equal(n, (classes[0] >= 0) + (classes[1] >= 0));
    }
    assert_in_range(members[0], 49, 51);
    assert_in_range(members[3], 49, 51);
    assert_in_range(members[1] + members[2], 99, 101);
    vt_source_close(s);

    char with[2048];
    snprintf(with, sizeof with, "%s", with_rows("synthetic:shapes?count=400&classes=4&limit=57&labels=", plain.s));
    vt_source *a = fx_open("%s", with), *b = fx_open("%s", "synthetic:shapes?count=400&classes=4&limit=57");
    int64_t same = 0;
    for (int64_t i = 0; i < 57; i++) {
        char x[64], y[64];
        vt_source_sample_name(a, i, x, sizeof x);
        vt_source_sample_name(b, i, y, sizeof y);
        same += strcmp(x, y) == 0;
        assert_int_equal(vt_source_label(a, i), (int64_t)strtol(strchr(x, '[') + 1, NULL, 10) % 4);
    }
    assert_true(same >= 50); /* members within a class are the same; turns at the end may differ */
    vt_source_close(a);
    vt_source_close(b);
    vt_text_release(&rows);
    vt_text_release(&plain);
}

/* Breaks (under sanitizers) when bytes from outside make the reader read or write where it must not; and when what it
 * accepts is not what the contract says. */
static void test_random_bytes(void **state)
{
    static const char *const pieces[] = {"0",
                                         "1",
                                         "2",
                                         "3",
                                         "\t",
                                         "\n",
                                         ",",
                                         "\r",
                                         " ",
                                         "solid disc",
                                         "solid square",
                                         "\t\t",
                                         "4294967296",
                                         "\xff",
                                         "solid disc,solid ring"};
    vt_rng r = vt_rng_at(1, VT_STREAM_TEST, 0, 0);
    int accepted = 0;
    for (int round = 0; round < 1500; round++) {
        char rows[600] = "0\tsolid disc\n1\tsolid square,solid ring\n2\n";
        size_t n = round % 2 ? strlen(rows) : 0, want = n + vt_rng_below(&r, 40);
        while (n < want) {
            const char *piece = pieces[vt_rng_below(&r, VT_COUNT_OF(pieces))];
            memcpy(rows + n, piece, strlen(piece));
            n += strlen(piece);
        }
        for (int k = (int)vt_rng_below(&r, 3); k > 0 && n > 0; k--)
            rows[vt_rng_below(&r, (uint32_t)n)] = (char)vt_rng_below(&r, 256);
        unlink(fx_path("random.tsv")); /* writing over a file waits for some disks */
        fx_write("random.tsv", rows, n);
        char spec[1024];
        snprintf(spec, sizeof spec, "synthetic:shapes?count=3&classes=8&labels=%s", fx_path("random.tsv"));
        vt_source *s;
        vt_err err = {0};
        if (vt_source_open(&s, spec, &err) != VT_OK) {
            assert_true(strlen(err.msg) > 10);
            continue;
        }
        accepted++;
        for (int64_t i = 0; i < 3; i++) {
            int32_t classes[VT_MAX_LABELS];
            int have = vt_source_labels(s, i, classes, VT_MAX_LABELS);
            assert_in_range(have, 0, vt_source_most_labels(s));
            for (int k = 0; k < have; k++)
                assert_true(classes[k] >= 0 && classes[k] < 8 && (k == 0 || classes[k] > classes[k - 1]));
        }
        vt_source_close(s);
    }
    assert_true(accepted > 10);
}

static int clean(void **state)
{
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),         cmocka_unit_test(test_counts),     cmocka_unit_test(test_folder),
        cmocka_unit_test(test_shards),       cmocka_unit_test(test_idx),        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_most_classes), cmocka_unit_test(test_huge_lines), cmocka_unit_test(test_fingerprint),
        cmocka_unit_test(test_choice),       cmocka_unit_test(test_json),       cmocka_unit_test(test_csv),
        cmocka_unit_test(test_random_bytes), cmocka_unit_test(test_json_size),  cmocka_unit_test(test_exclude_twice)};
    return cmocka_run_group_tests(tests, NULL, clean);
}
