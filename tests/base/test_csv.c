/* CSV: cells as they were written, whatever separates and quotes them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/csv.h"
#include "base/philox.h"

/* All cells of a text, "|" behind each and "\n" behind each row. */
static void check(const char *text, const char *want)
{
    vt_csv r;
    vt_err err = {0};
    vt_text got = {0};
    assert_int_equal(vt_csv_begin(&r, "f", text, strlen(text), &err), VT_OK);
    while (vt_csv_next_row(&r)) {
        for (bool last = false; !last;) {
            assert_int_equal(vt_csv_next_cell(&r, &last, &err), VT_OK);
            vt_text_addf(&got, "%s|", r.cell.s);
        }
        vt_text_add(&got, "\n");
    }
    assert_string_equal(got.s, want);
    vt_text_release(&got);
    vt_csv_release(&r);
}

/* Breaks when a separator, a quote or the end of a line is taken for something else. */
static void test_cells(void **state)
{
    check("a,b\n1,2\n", "a|b|\n1|2|\n");
    check("\xef\xbb\xbf# note\r\n\r\na;b;c\r\n1,5;2;\r\n\r\n;;3", "a|b|c|\n1,5|2||\n||3|\n");
    check("a\tb c\n x \ty", "a|b c|\n x|y|\n");
    check("\"a,\"\"b\"\"\",c\n\"1\n2\",3\n", "a,\"b\"|c|\n1\n2|3|\n");
    check("one\nx\n", "one|\nx|\n");
    check("a,b\n1,", "a|b|\n1||\n");
}

/* Breaks when a text that is no CSV is not refused, or the line is not named. */
static void test_refusals(void **state)
{
    vt_csv r;
    vt_err err = {0};
    bool last;
    assert_int_equal(vt_csv_begin(&r, "f.csv", "a\0b", 3, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "f.csv holds zero bytes"));
    assert_int_equal(vt_csv_begin(&r, "f.csv", "\n# x\n\n", 6, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "f.csv is empty"));
    assert_int_equal(vt_csv_begin(&r, "f.csv", "a\n\"b", 4, &err), VT_OK);
    assert_int_equal(vt_csv_next_cell(&r, &last, &err), VT_OK);
    assert_true(last && vt_csv_next_row(&r));
    assert_int_equal(vt_csv_next_cell(&r, &last, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "f.csv:2: a quote"));
    vt_csv_release(&r);
}

/* Breaks (under sanitizers) when arbitrary bytes make the reader touch what is not there, or never end. */
static void test_random_bytes(void **state)
{
    static const char alphabet[] = "ab,;\t\"\n\r# 1";
    vt_rng rng = vt_rng_at(1, VT_STREAM_TEST, 0, 0);
    for (int round = 0; round < 2000; round++) {
        char text[64];
        size_t n = vt_rng_below(&rng, sizeof text);
        for (size_t i = 0; i < n; i++)
            text[i] = alphabet[vt_rng_below(&rng, sizeof alphabet - 1)];
        vt_csv r;
        size_t cells = 0;
        vt_status status = vt_csv_begin(&r, "f", text, n, NULL);
        while (status == VT_OK && vt_csv_next_row(&r)) {
            for (bool last = false; !last && status == VT_OK; cells++)
                status = vt_csv_next_cell(&r, &last, NULL);
        }
        assert_true(cells <= n + 1);
        vt_csv_release(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
