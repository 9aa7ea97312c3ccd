/* SPECs: the choice of samples by split= and limit=, files of class names, braces, and SPECs that are wrong. */
#include "fixtures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/philox.h"
#include "data/source.h"
#include "data/spec.h"

/* --- choice of samples --- */

/* Names of all samples of a source, and its labels counted. */
static void list_samples(const char *options, bool *in, int64_t n, int *members)
{
    vt_source *s = fx_open("synthetic:shapes?classes=7&count=%lld%s", (long long)n, options);
    char name[64];
    int64_t last = -1;
    memset(in, 0, (size_t)n);
    memset(members, 0, 7 * sizeof *members);
    for (int64_t i = 0; i < vt_source_count(s); i++) {
        int64_t k = strtol(strchr(vt_source_sample_name(s, i, name, sizeof name), '[') + 1, NULL, 10);
        assert_true(k > last && k < n); /* rising, so that files are read in order */
        last = k;
        in[k] = true;
        members[vt_source_label(s, i)]++;
    }
    vt_source_close(s);
}

/* Breaks when limits are not nested, splits not disjoint and complete, or classes not in proportion. */
static void test_choice(void **state)
{
    enum { N = 701 };
    bool small[N], large[N], head[N], tail[N];
    int a[7], b[7];
    list_samples("&limit=70", small, N, a);
    list_samples("&limit=141", large, N, b);
    for (int c = 0; c < 7; c++) {
        assert_int_equal(a[c], 10);
        assert_in_range(b[c], 19, 21);
    }
    for (int i = 0; i < N; i++)
        assert_true(!small[i] || large[i]);
    list_samples("&split=[:12.5%]", head, N, a);
    list_samples("&split=[12.5%:]", tail, N, b);
    for (int i = 0; i < N; i++)
        assert_true(head[i] != tail[i]);
    for (int c = 0; c < 7; c++)
        assert_in_range(a[c], 12, 13);
    list_samples("&split=[12.5%:]&limit=30", small, N, a);
    for (int i = 0; i < N; i++)
        assert_true(!small[i] || tail[i]);
    list_samples("&limit=2", small, 700, a); /* fewer than classes, which tie: not the first ones */
    assert_true(a[0] + a[1] < 2);
    char whole[VT_HASH_HEX], part[VT_HASH_HEX], again[VT_HASH_HEX];
    static const char *const specs[] = {"synthetic:shapes?classes=7&count=701",
                                        "synthetic:shapes?classes=7&count=701&limit=70",
                                        "synthetic:shapes?limit=70&count=701&classes=7"};
    char *const hashes[] = {whole, part, again};
    for (int i = 0; i < 3; i++) {
        vt_source *s = fx_open("%s", specs[i]);
        vt_source_fingerprint(s, hashes[i]);
        vt_source_close(s);
    }
    assert_string_equal(part, again);
    assert_string_not_equal(whole, part);
}

/* Breaks when classes of different sizes are not taken in proportion. */
static void test_choice_in_proportion(void **state)
{
    unsigned char labels[8 + 1110] = {0, 0, 8, 1, 0, 0, 1110 >> 8, 1110 & 255}, images[16 + 2220];
    memset(labels + 8, 1, 100);
    memset(labels + 108, 2, 10);
    memcpy(images, "\0\0\x08\3\0\0\4\x56\0\0\0\1\0\0\0\2", 16);
    for (int i = 0; i < 2220; i++) /* no two alike */
        images[16 + i] = (unsigned char)(i % 2 ? i / 2 : i / 512);
    fx_write("p/labels", labels, sizeof labels);
    fx_write("p/images", images, sizeof images);
    static const char *const options[] = {"limit=111", "split=[50%:60%]"};
    for (int k = 0; k < 2; k++) {
        vt_source *s = fx_open("idx:%s,%s?%s", fx_path("p/images"), fx_path("p/labels"), options[k]);
        int members[3] = {0};
        for (int64_t i = 0; i < vt_source_count(s); i++)
            members[vt_source_label(s, i)]++;
        assert_in_range(members[0], 99, 101);
        assert_in_range(members[1], 9, 11);
        assert_in_range(members[2], 1, 1);
        vt_source_close(s);
    }
}

/* Breaks when the keyed order changes: a recipe's split would silently mean other images. */
static void test_choice_is_for_ever(void **state)
{
    static const int64_t expected[8] = {86, 147, 206, 210, 225, 258, 264, 599};
    bool in[701];
    int members[7], n = 0;
    list_samples("&limit=8", in, 701, members);
    for (int64_t i = 0; i < 701; i++) {
        if (in[i])
            assert_int_equal(i, expected[n++]);
    }
    assert_int_equal(n, 8);
}

/* --- SPECs --- */

/* Breaks when a wrong SPEC is accepted, or its message does not say what to do. */
static void test_wrong_specs(void **state)
{
    static const struct {
        const char *spec, *word;
    } cases[] = {
        {"foldr:x", "did you mean 'folder'"},
        {"http:x", "kinds are folder, wds, csv, idx, synthetic"},
        {"synthetic:circles", "synthetic:shapes"},
        {"synthetic:", "nothing stands where"},
        {"", "nothing stands where"},
        {"synthetic:shapes?limt=3", "did you mean 'limit'"},
        {"synthetic:shapes?limit=0", "from 1 to"},
        {"synthetic:shapes?limit=10001", "only 10000 samples"},
        {"synthetic:shapes?limit=many", "option limit"},
        {"synthetic:shapes?limit", "name=value"},
        {"synthetic:shapes?limit=5&limit=6", "given twice"},
        {"synthetic:shapes?classes=1", "from 2 to 128"},
        {"synthetic:shapes?noise=2", "from 0 to 1"},
        {"synthetic:shapes?noise=nan", "noise"},
        {"synthetic:shapes?size=100000", "from 8 to 1024"},
        {"synthetic:shapes?split=90", "must look like [:90%]"},
        {"synthetic:shapes?split=[90%:10%]", "holds nothing"},
        {"synthetic:shapes?split=[:101%]", "must look like"},
        {"synthetic:shapes?split=[:0.0001%]", "must look like"},
        {"synthetic:shapes?count=3&split=[:1%]", "holds none of the 3 samples"},
        {"synthetic:shapes?count=1000000000&limit=5", "at most"},
        {"wds:a{000..b}.tar", "no rising range"},
        {"wds:a{5..3}.tar", "no rising range"},
        {"wds:a{0..999999999}.tar", "more than 100000 paths"},
        {"wds:a{000.tar", "'{' without '}'"},
        {"wds:/nonexistent.tar", "/nonexistent.tar"},
    };
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        vt_source *s;
        vt_err err = {0};
        vt_status status = vt_source_open(&s, cases[i].spec, &err);
        if (status == VT_OK || !strstr(err.msg, cases[i].word))
            fail_msg("%s: %s", cases[i].spec, status == VT_OK ? "opened" : err.msg);
    }
    char *longer = malloc(6000);
    memset(longer, 'a', 5999);
    longer[5999] = '\0';
    fx_open_fails(longer, VT_EINVAL, "longer than", NULL);
    free(longer);
}

/* Breaks when braces are spelled out wrongly or in another order. */
static void test_braces(void **state)
{
    static const char *const expected[] = {"a08x.tar", "a08.tar", "a09x.tar", "a09.tar", "a10x.tar", "a10.tar"};
    char **paths;
    int64_t n;
    assert_int_equal(vt_spec_expand("a{08..10}{x,}.tar", &paths, &n, NULL), VT_OK);
    assert_int_equal(n, 6);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(paths[i], expected[i]);
        free(paths[i]);
    }
    free(paths);
}

static void class_file_fails(const char *text, const char *word)
{
    char **names;
    int64_t n;
    vt_err err = {0};
    fx_write("bad.txt", text, strlen(text));
    assert_int_equal(vt_class_file_read(fx_path("bad.txt"), &names, &n, &err), VT_EFORMAT);
    if (!strstr(err.msg, word) || !strstr(err.msg, "bad.txt"))
        fail_msg("'%s' is not in: %s", word, err.msg);
}

/* Breaks when class files in one of their forms are read wrongly, or broken ones accepted. */
static void test_class_files(void **state)
{
    static const char *const forms[] = {"cat\ndog", "cat\r\ndog\r\n", "0\tcat\n1\tdog\n\n",
                                        "0\tcat\ta cat, Felis\n1\tdog\t\t5\n"};
    for (size_t i = 0; i < VT_COUNT_OF(forms); i++) {
        char **names;
        int64_t n;
        vt_err err = {0};
        fx_write("good.txt", forms[i], strlen(forms[i]));
        if (vt_class_file_read(fx_path("good.txt"), &names, &n, &err) != VT_OK)
            fail_msg("%s", err.msg);
        assert_int_equal(n, 2);
        assert_string_equal(names[0], "cat");
        assert_string_equal(names[1], "dog");
        free(names[0]);
        free(names[1]);
        free(names);
    }
    class_file_fails("cat\n\ndog\n", "line 2: no name");
    class_file_fails("cat\ndog\ncat\n", "two classes are named 'cat'");
    class_file_fails("0\tcat\n2\tdog\n", "line 2: the line is numbered 2");
    class_file_fails("", "no name");
    const char *real = fx_real("imagenet200-32.classes.txt");
    if (!real)
        return;
    char **names;
    int64_t n;
    assert_int_equal(vt_class_file_read(real, &names, &n, NULL), VT_OK);
    assert_int_equal(n, 200);
    assert_string_equal(names[1], "n01629819");
    for (int64_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

/* Breaks (under sanitizers) when a mangled SPEC makes its parsers read out of bounds. */
static void test_mangled_specs(void **state)
{
    static const char letters[] = "?&=[]%:{},.0123456789aslimtdcount";
    vt_rng r = vt_rng_at(9, VT_STREAM_TEST, 0, 0);
    for (int round = 0; round < 3000; round++) {
        char text[80] = "wds:a{00..12}b{x,y}.tar?split=[12.5%:50%]&limit=10&count=20";
        for (int k = 0; k < 4; k++)
            text[vt_rng_below(&r, 59)] = letters[vt_rng_below(&r, sizeof letters - 1)];
        vt_spec spec;
        vt_err err = {0};
        int64_t from, to, n;
        char **paths;
        if (vt_spec_parse(&spec, text, strlen(text), &err) == VT_OK) {
            if (vt_spec_get_split(&spec, &from, &to, &err) == VT_OK)
                assert_true(from >= 0 && from < to && to <= VT_SHARE_ALL);
            if (vt_spec_get_i64(&spec, "limit", 0, 1, 100, &n, &err) == VT_OK)
                assert_in_range(n, 0, 100);
            if (vt_spec_expand(spec.place, &paths, &n, &err) == VT_OK)
                vt_free_names(paths, (size_t)n);
        } else {
            assert_true(strlen(err.msg) > 10);
        }
        vt_spec_release(&spec);
    }
}

/* Breaks when a kind of source lacks its help, or an example in the help is refused. */
static void test_help(void **state)
{
    int n = 0;
    for (; vt_source_kinds_help[n].name; n++) {
        const vt_source_help *h = &vt_source_kinds_help[n];
        assert_true(vt_has_prefix(h->form, h->name) && h->form[strlen(h->name)] == ':' && strlen(h->help) > 10);
        if (strcmp(h->name, "synthetic") == 0)
            vt_source_close(fx_open("%s", h->form));
    }
    assert_int_equal(n, 5);
}

static int clean(void **state)
{
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_choice_in_proportion),
        cmocka_unit_test(test_choice_is_for_ever),
        cmocka_unit_test(test_wrong_specs),
        cmocka_unit_test(test_braces),
        cmocka_unit_test(test_class_files),
        cmocka_unit_test(test_mangled_specs),
        cmocka_unit_test(test_help),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
