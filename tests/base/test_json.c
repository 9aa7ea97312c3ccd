/* JSON: strict in, pretty and exact out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

static const char pretty[] = "{\n"
                             "  \"z\": 1,\n"
                             "  \"a\": [\n"
                             "    0.1,\n"
                             "    2.0,\n"
                             "    1e+300,\n"
                             "    null,\n"
                             "    true\n"
                             "  ],\n"
                             "  \"empty\": {},\n"
                             "  \"none\": [],\n"
                             "  \"t\\\\x\": \"q\\\"\\u0001\xc3\xa9\"\n"
                             "}\n";

/* Files would change when they are read and written again, or not read the same elsewhere. */
static void test_save_and_load(void **state)
{
    const char *path = "test_json.tmp";
    json_t *root, *again;
    unsigned char *data;
    size_t size;
    vt_err err = {0};
    if (vt_json_parse(pretty, strlen(pretty), "text", &root, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(vt_json_save(path, root, &err), VT_OK);
    assert_int_equal(vt_file_read(path, 10000, &data, &size, &err), VT_OK);
    assert_string_equal((char *)data, pretty);
    free(data);
    assert_int_equal(vt_json_load(path, &again, &err), VT_OK);
    assert_true(json_equal(root, again));
    json_decref(again);
    json_decref(root);
    remove(path);
    assert_int_equal(vt_json_load(path, &root, &err), VT_EIO);
    assert_null(root);
}

/* Lines of metrics would not be lines. */
static void test_line(void **state)
{
    vt_text t = {0};
    json_t *root = json_pack("{s:i, s:o, s:o, s:[s, b]}", "step", 3, "loss", vt_json_number(0.1), "bad",
                             vt_json_number((double)NAN), "list", "a\nb", 1);
    vt_json_line(root, &t);
    assert_string_equal(t.s, "{\"step\": 3, \"loss\": 0.1, \"bad\": null, \"list\": [\"a\\nb\", true]}");
    json_decref(root);
    vt_text_release(&t);
}

/* Broken files would be taken, or refused without saying where. */
static void test_refusals(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {{"{\"a\": 1,\n \"a\": 2}", "f:2:4: not JSON: duplicate object key near '\"a\"'"},
                {"{\"a\": NaN}", "f:1:9: not JSON: invalid token near 'NaN'"},
                {"[1] x", "f:1:5: not JSON: end of file expected near 'x'"},
                {"", "f:1:0: not JSON: '[' or '{' expected near end of file"},
                {"[1e999]", "f:1:6: not JSON: real number overflow near '1e999'"}};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        json_t *root;
        vt_err err = {0};
        assert_int_equal(vt_json_parse(rows[i].text, strlen(rows[i].text), "f", &root, &err), VT_EFORMAT);
        assert_string_equal(err.msg, rows[i].message);
        assert_null(root);
    }
    /* Nesting without end must not exhaust the stack. */
    char *deep = malloc(1000000);
    json_t *root;
    memset(deep, '[', 1000000);
    assert_int_equal(vt_json_parse(deep, 1000000, "f", &root, NULL), VT_EFORMAT);
    free(deep);
}

/* A member of the wrong type would be read as something. */
static void test_members(void **state)
{
    json_t *root;
    const char *text = "{\"s\": \"x\", \"i\": 3, \"f\": 0.5, \"n\": null}", *s;
    int64_t i;
    double f;
    vt_err err = {0};
    assert_int_equal(vt_json_parse(text, strlen(text), "f", &root, &err), VT_OK);
    assert_int_equal(vt_json_get_string(root, "s", "f", &s, &err), VT_OK);
    assert_string_equal(s, "x");
    assert_int_equal(vt_json_get_i64(root, "i", "f", &i, &err), VT_OK);
    assert_int_equal(i, 3);
    assert_int_equal(vt_json_get_f64(root, "i", "f", &f, &err), VT_OK);
    assert_true(f == 3);
    assert_int_equal(vt_json_get_f64(root, "f", "f", &f, &err), VT_OK);
    assert_true(f == 0.5);
    assert_int_equal(vt_json_get_i64(root, "f", "state.json", &i, &err), VT_EFORMAT);
    assert_string_equal(err.msg, "state.json: \"f\" is a fraction; expected a whole number");
    assert_int_equal(vt_json_get_string(root, "n", "f", &s, &err), VT_EFORMAT);
    assert_int_equal(vt_json_get_f64(root, "s", "f", &f, &err), VT_EFORMAT);
    assert_int_equal(vt_json_get_f64(root, "gone", "state.json", &f, &err), VT_EFORMAT);
    assert_string_equal(err.msg, "state.json: the key \"gone\" is missing");
    assert_int_equal(vt_json_get_f64(json_object_get(root, "i"), "x", "f", &f, &err), VT_EFORMAT);
    assert_int_equal(vt_json_get_f64(NULL, "x", "f", &f, &err), VT_EFORMAT);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_save_and_load), cmocka_unit_test(test_line),
                                       cmocka_unit_test(test_refusals), cmocka_unit_test(test_members)};
    return cmocka_run_group_tests_name("base/json", tests, NULL, NULL);
}
