/* YAML as recipes need it: what is read, where it stands, what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "base/yaml.h"

static void read_text(vt_yaml *y, const char *text)
{
    vt_err err = {0};
    if (vt_yaml_parse(y, text, strlen(text), "f", &err) != VT_OK)
        fail_msg("%s", err.msg);
}

/* A recipe would be read wrongly, or its messages point at the wrong place. */
static void test_recipe(void **state)
{
    static const char text[] = "# a recipe\n"
                               "model: {shape: Ti/16, head: map}\n"
                               "data:\n"
                               "  train: idx:a.gz,b.gz   # a comment\n"
                               "  preprocess: [inception_crop(28, 0.05), flip]\n"
                               "  eval_preprocess:\n"
                               "    - resize(28)\n"
                               "    - \"a, b\"\n"
                               "optimizer.lr: 8e-4\n"
                               "note: 'it''s: \"x\"'\n"
                               "none: \"\"\n"
                               "block: |\n"
                               "  a\n"
                               "  b\n";
    static const struct {
        const char *key, *value;
        int line, column;
    } expected[] = {{"model.shape", "Ti/16", 2, 16},
                    {"model.head", "map", 2, 29},
                    {"data.train", "idx:a.gz,b.gz", 4, 10},
                    {"data.preprocess", "[inception_crop(28, 0.05), flip]", 5, 15},
                    {"data.eval_preprocess", "[resize(28), \"a, b\"]", 7, 5},
                    {"optimizer.lr", "8e-4", 9, 15},
                    {"note", "it's: \"x\"", 10, 7},
                    {"none", "", 11, 7},
                    {"block", "a\nb\n", 12, 8}};
    vt_yaml y;
    read_text(&y, text);
    assert_int_equal(y.n, VT_COUNT_OF(expected));
    for (size_t i = 0; i < y.n; i++) {
        assert_string_equal(y.entries[i].key, expected[i].key);
        assert_string_equal(y.entries[i].value, expected[i].value);
        assert_int_equal(y.entries[i].line, expected[i].line);
        assert_int_equal(y.entries[i].column, expected[i].column);
    }
    vt_yaml_release(&y);
    assert_int_equal(y.n, 0);
    vt_yaml_release(&y);
}

/* An empty recipe, which means all defaults, would be refused. */
static void test_empty(void **state)
{
    static const char *const texts[] = {"", "\n\n", "# nothing\n", "---\n", "{}\n", "a: {}\n"};
    for (size_t i = 0; i < VT_COUNT_OF(texts); i++) {
        vt_yaml y;
        read_text(&y, texts[i]);
        assert_int_equal(y.n, 0);
        vt_yaml_release(&y);
    }
}

/* What is not understood would be read as something else, or the person would not be told where it stands. */
static void test_refusals(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"a: 1\nb: 2\na: 3\n", "f:3:4: a was given on line 1 already"},
        {"a: {b: 1}\na.b: 2\n", "f:2:6: a.b was given on line 1 already"},
        {"a: &x 1\n", "f:1:4: anchors (&name) are not read here; write the value out"},
        {"a: *x\n", "f:1:4: aliases (*name) are not read here; write the value out"},
        {"a: !!int 1\n", "f:1:4: tags (!name) are not read here; write the plain value"},
        {"a: [{b: 1}]\n", "f:1:5: a map inside a list is not read here; write the items as plain words, such as flip "
                          "or inception_crop(28)"},
        {"a: [[1]]\n", "f:1:5: a list inside a list is not read here"},
        {"a: 1\n---\nb: 1\n", "f:2:1: a second document; a file holds one"},
        {"- a\n", "f:1:1: expected keys with values (\"key: value\")"},
        {"word\n", "f:1:1: expected keys with values (\"key: value\")"},
        {"a:\n", "f:1:3: a has no value; write \"\" for an empty text"},
        {"? [a]\n: 1\n", "f:1:3: expected a key, which is a word"},
        {"\"\": 1\n", "f:1:1: a key that is empty, too long, or holds a zero byte"},
        {"a: \"\\0\"\n", "f:1:4: a text with a zero byte"},
        {"a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}\n", "f:1:32: maps nested too deep"},
    };
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_yaml y;
        vt_err err = {0};
        assert_int_equal(vt_yaml_parse(&y, rows[i].text, strlen(rows[i].text), "f", &err), VT_EFORMAT);
        assert_string_equal(err.msg, rows[i].message);
        assert_int_equal(y.n, 0);
    }
}

/* The parser's own complaints would lack the place. */
static void test_syntax_errors(void **state)
{
    static const struct {
        const char *text, *start;
    } rows[] = {{"a: [1, 2\nb: 3\n", "f:2:2: not YAML: did not find expected ',' or ']'"},
                {"a: 1\n b: 2\n", "f:2:3: not YAML: mapping values are not allowed"},
                {"a: \"x\n", "f:2:1: not YAML: found unexpected end of stream"},
                {"a: 1\nb: \xff\n", "f:2:4: not YAML: invalid leading UTF-8 octet"},
                {"a: 1\nb: \x01\n", "f:2:4: not YAML: control characters are not allowed"},
                {"\ta: 1\n", "f:1:1: not YAML: found character that cannot start any token"}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_yaml y;
        vt_err err = {0};
        assert_int_equal(vt_yaml_parse(&y, rows[i].text, strlen(rows[i].text), "f", &err), VT_EFORMAT);
        if (!vt_has_prefix(err.msg, rows[i].start))
            fail_msg("\"%s\" instead of \"%s\"", err.msg, rows[i].start);
    }
}

/* A hostile file would take endless time, memory or stack. */
static void test_limits(void **state)
{
    static const char *const units[] = {"[",  "{", "a: {", "- ",  "? ", "a: 1\n", "k: [1,",
                                        "\"", "#", "!a ",  "&a ", "a,", "a: |\n"};
    const size_t size = (size_t)1 << 20;
    char *text = malloc(size + 1);
    for (size_t u = 0; u < VT_COUNT_OF(units); u++) {
        size_t n = strlen(units[u]);
        for (size_t i = 0; i < size; i++)
            text[i] = units[u][i % n];
        vt_yaml y;
        if (vt_yaml_parse(&y, text, size, "f", NULL) == VT_OK)
            vt_yaml_release(&y);
    }
    /* Many different keys: the search for keys given twice stays bounded. */
    vt_text t = {0};
    for (int i = 0; i < 100000; i++)
        vt_text_addf(&t, "k%d: 1\n", i);
    vt_yaml y;
    vt_err err = {0};
    assert_int_equal(vt_yaml_parse(&y, t.s, t.len, "f", &err), VT_EFORMAT);
    assert_string_equal(err.msg, "f:2001: more than 2000 keys");
    vt_text_release(&t);
    assert_int_equal(vt_yaml_parse(&y, text, size + 1, "f", &err), VT_EFORMAT);
    assert_string_equal(err.msg, "f: 1048577 bytes of YAML; at most 1048576 are read");
    free(text);
}

/* A file would be read differently from its text. */
static void test_load(void **state)
{
    const char *path = "test_yaml.tmp";
    vt_yaml y;
    vt_err err = {0};
    assert_int_equal(vt_file_write(path, "a: 1\n", 5, &err), VT_OK);
    assert_int_equal(vt_yaml_load(&y, path, &err), VT_OK);
    assert_int_equal(y.n, 1);
    vt_yaml_release(&y);
    assert_int_equal(vt_file_write(path, "a: [", 4, &err), VT_OK);
    assert_int_equal(vt_yaml_load(&y, path, &err), VT_EFORMAT);
    assert_string_equal(err.msg,
                        "test_yaml.tmp:2:1: not YAML: did not find expected node content while parsing a flow node");
    remove(path);
    assert_int_equal(vt_yaml_load(&y, path, &err), VT_EIO);
}

/* A text written into a recipe would come back changed. */
static void test_quote(void **state)
{
    static const char *const texts[] = {"a",
                                        "",
                                        " a",
                                        "a ",
                                        "a: b",
                                        "a #b",
                                        "#",
                                        "[a, b]",
                                        "[a",
                                        "{a}",
                                        "\"",
                                        "'",
                                        "\\",
                                        "a\nb",
                                        "a\tb",
                                        "\x01\x7f",
                                        "-",
                                        "- a",
                                        "?",
                                        "~",
                                        "null",
                                        "M\xc3\xbcl",
                                        "\xc2\x85",
                                        "\xe2\x80\xa8",
                                        "\xef\xbb\xbf",
                                        "\xf0\x9f\x98\x80",
                                        "%a",
                                        "@a",
                                        "`a",
                                        "!a",
                                        "&a",
                                        "*a",
                                        "|",
                                        ">",
                                        "a:"};
    for (size_t i = 0; i < VT_COUNT_OF(texts); i++) {
        vt_text t = {0};
        vt_yaml y;
        vt_text_add(&t, "k: ");
        if (vt_yaml_is_plain(texts[i]))
            vt_text_add(&t, texts[i]);
        else
            vt_yaml_quote(texts[i], &t);
        vt_text_add(&t, "\nl: ");
        vt_yaml_quote(texts[i], &t);
        read_text(&y, t.s);
        assert_int_equal(y.n, 2);
        assert_string_equal(y.entries[0].value, texts[i]);
        assert_string_equal(y.entries[1].value, texts[i]);
        vt_yaml_release(&y);
        vt_text_release(&t);
    }
    assert_true(vt_yaml_is_plain("[a, b(3, 4)]") && vt_yaml_is_plain("synthetic:shapes?classes=16&noise=0.1"));
    assert_false(vt_yaml_is_plain("[a,b]"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_recipe),   cmocka_unit_test(test_empty),
                                       cmocka_unit_test(test_refusals), cmocka_unit_test(test_syntax_errors),
                                       cmocka_unit_test(test_limits),   cmocka_unit_test(test_load),
                                       cmocka_unit_test(test_quote)};
    return cmocka_run_group_tests_name("base/yaml", tests, NULL, NULL);
}
