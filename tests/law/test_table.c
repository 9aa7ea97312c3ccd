/* Tables of runs, from text that is well formed and text that is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "base/philox.h"
#include "base/text.h"
#include "law/table.h"

static vt_status parse(vt_table *t, const char *text, vt_err *err)
{
    return vt_table_parse(t, "t.csv", (const unsigned char *)text, strlen(text), err);
}

static void refused(const char *text, const char *sentence)
{
    vt_table t;
    vt_err err = {0};
    assert_int_not_equal(parse(&t, text, &err), VT_OK);
    if (!strstr(err.msg, sentence))
        fail_msg("\"%s\" was refused with \"%s\", not \"%s\"", text, err.msg, sentence);
}

/* Quotes, separators, a byte-order mark, comments or blank lines would shift cells into wrong columns. */
static void test_csv(void **state)
{
    static const char *const forms[] = {"a,b,c\n1,\"x, \"\"y\"\"\",3\n",
                                        "\xef\xbb\xbf# made by hand\r\n\r\na;b;c\r\n1;\"x, \"\"y\"\"\";3\r\n",
                                        "a\tb\tc\n1\tx, \"y\"\t3", "a,b,c\n\n1,\"x, \"\"y\"\"\" ,3\n\n"};
    for (size_t i = 0; i < VT_COUNT_OF(forms); i++) {
        vt_table t;
        vt_err err = {0};
        if (parse(&t, forms[i], &err) != VT_OK)
            fail_msg("%s", err.msg);
        assert_int_equal(t.n_columns, 3);
        assert_int_equal(t.n_rows, 1);
        assert_string_equal(vt_table_cell(&t, 0, 0), "1");
        assert_string_equal(vt_table_cell(&t, 0, 1), "x, \"y\"");
        assert_string_equal(vt_table_cell(&t, 0, 2), "3");
        vt_table_release(&t);
    }
}

/* A quoted line break must stay in its cell; a row of another length must be left out and counted, not shifted. */
static void test_csv_rows(void **state)
{
    vt_table t;
    assert_int_equal(parse(&t, "a,b\n\"1\n2\",3\n4\n5,6,7\n8,9\n", NULL), VT_OK);
    assert_int_equal(t.n_rows, 2);
    assert_int_equal(t.n_torn, 2);
    assert_int_equal(t.torn_line, 4);
    assert_string_equal(vt_table_cell(&t, 0, 0), "1\n2");
    assert_string_equal(vt_table_cell(&t, 1, 1), "9");
    vt_table_release(&t);
}

/* What is no table must be refused with a sentence that says why. */
static void test_refusals(void **state)
{
    refused("", "is empty");
    refused("a,b\n", "no rows");
    refused("a,a\n1,2\n", "two columns are named \"a\"");
    refused("a,b\n\"1,2\n", "a quote opens here and is never closed");
    refused("{\"a\"\n", "no line that is a JSON object");
    vt_table t;
    vt_err err = {0};
    assert_int_equal(vt_table_parse(&t, "t", (const unsigned char *)"a\0b\n1", 5, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "zero bytes"));
    assert_int_equal(parse(&t, "flops,error\n1,2\n", NULL), VT_OK);
    size_t c;
    assert_int_equal(vt_table_find(&t, "flop", &c, &err), VT_EINVAL);
    assert_string_equal(err.msg, "t.csv has no column \"flop\"; did you mean \"flops\"?");
    vt_table_release(&t);
}

/* More columns or rows than stated must be refused before they take memory. */
static void test_limits(void **state)
{
    vt_text s = {0};
    vt_table t;
    vt_err err = {0};
    for (int i = 0; i <= VT_TABLE_MAX_COLUMNS; i++)
        vt_text_addf(&s, "c%d,", i);
    vt_text_add(&s, "x\n1\n");
    assert_int_equal(parse(&t, s.s, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "more than 2000 columns"));
    vt_text_clear(&s);
    vt_text_add(&s, "x,y\n");
    for (int i = 0; i <= VT_TABLE_MAX_ROWS; i++)
        vt_text_add(&s, "1,2\n");
    assert_int_equal(parse(&t, s.s, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "more than 1000000 rows"));
    s.s[s.len - 4] = '\0'; /* exactly a million */
    assert_int_equal(parse(&t, s.s, &err), VT_OK);
    assert_int_equal(t.n_rows, VT_TABLE_MAX_ROWS);
    vt_table_release(&t);
    vt_text_release(&s);
}

/* JSON lines: members inside members, missing ones, and half a line of a program that was killed. */
static void test_json_lines(void **state)
{
    vt_table t;
    size_t step, top1 = 0, loss = 0;
    assert_int_equal(parse(&t,
                           "{\"step\": 10, \"eval\": {\"top1\": 0.5, \"list\": [1]}}\n\n"
                           "{\"step\": 20, \"loss\": 1.25, \"none\": null}\n{\"step\": 30, \"lo",
                           NULL),
                     VT_OK);
    assert_int_equal(t.n_rows, 2);
    assert_int_equal(t.n_torn, 1);
    assert_true(vt_table_has(&t, "step", &step) && vt_table_has(&t, "eval.top1", &top1) &&
                vt_table_has(&t, "loss", &loss));
    assert_string_equal(vt_table_cell(&t, 0, step), "10");
    assert_string_equal(vt_table_cell(&t, 0, top1), "0.5");
    assert_string_equal(vt_table_cell(&t, 0, loss), "");
    assert_string_equal(vt_table_cell(&t, 1, loss), "1.25");
    vt_table_release(&t);
}

/* A chart of W&B has a column for each run: each must become rows of its own. */
static void test_wandb(void **state)
{
    vt_table t;
    size_t run, y = 0;
    assert_int_equal(
        parse(&t,
              "\"Step\",\"big - b - val/acc\",\"big - b - val/acc__MIN\",\"big - b - val/acc__MAX\","
              "\"small - val/acc\",\"small - val/acc__MIN\",\"small - val/acc__MAX\"\n"
              "\"1\",\"0.5\",\"0.5\",\"0.5\",\"\",\"\",\"\"\n\"2\",\"0.6\",\"0.6\",\"0.6\",\"0.4\",\"0.4\",\"0."
              "4\"\n",
              NULL),
        VT_OK);
    assert_int_equal(t.n_rows, 3);
    assert_true(vt_table_has(&t, "run", &run) && vt_table_has(&t, "val/acc", &y));
    assert_string_equal(vt_table_cell(&t, 1, run), "big - b");
    assert_string_equal(vt_table_cell(&t, 2, run), "small");
    assert_string_equal(vt_table_cell(&t, 2, y), "0.4");
    vt_table_release(&t);
}

/* --- TensorBoard
 * ------------------------------------------------------------------------------------------------------ */

/* Two steps, written by TensorFlow's record format by hand (checksums from an independent CRC-32C): a simple_value 0.5
 * at step 7 with tag "loss", a float tensor 0.25 at step 8 with tag "acc". */
static const unsigned char events[] = {
#include "events.inc"
};

/* A wrong wire type or checksum rule would lose scalars, or invent them. */
static void test_events(void **state)
{
    vt_table t;
    vt_err err = {0};
    size_t step, loss = 0, acc = 0;
    if (vt_table_parse(&t, "events.out.tfevents.1", events, sizeof events, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(t.n_rows, 2);
    assert_int_equal(t.n_torn, 0);
    assert_true(vt_table_has(&t, "step", &step) && vt_table_has(&t, "loss", &loss) && vt_table_has(&t, "acc", &acc));
    assert_string_equal(vt_table_cell(&t, 0, step), "7");
    assert_string_equal(vt_table_cell(&t, 0, loss), "0.5");
    assert_string_equal(vt_table_cell(&t, 1, step), "8");
    assert_string_equal(vt_table_cell(&t, 1, acc), "0.25");
    vt_table_release(&t);
}

/* A file that is still being written, or damaged, must give what is whole and say so. */
static void test_events_torn(void **state)
{
    vt_table t;
    for (size_t n = 16; n < sizeof events; n++)
        if (vt_table_parse(&t, "e", events, n, NULL) == VT_OK) {
            assert_true(t.n_torn <= 1 && t.n_rows <= 2);
            vt_table_release(&t);
        }
    unsigned char damaged[sizeof events];
    memcpy(damaged, events, sizeof events);
    damaged[sizeof events - 8] ^= 1;
    assert_int_equal(vt_table_parse(&t, "e", damaged, sizeof damaged, NULL), VT_OK);
    assert_int_equal(t.n_rows, 1);
    assert_int_equal(t.n_torn, 1);
    vt_table_release(&t);
}

/* --- random bytes
 * ----------------------------------------------------------------------------------------------------- */

static const char *const pieces[] = {",",      ";",   "\t", "\n",  "\r\n", "\"", "\"\"",     "1",   "0.5", "nan",
                                     "-1e999", "inf", "x",  "y",   "#",    " ",  "__MIN",    "{",   "}",   ":",
                                     "\"a\"",  "[",   "]",  "1e5", "step", "=",  "\xc3\xa9", "\xff"};

/* Nothing that a file holds may crash, leak or be read beyond its end (the sanitizers watch). */
static void test_fuzz(void **state)
{
    vt_rng r = vt_rng_at(5, VT_STREAM_TEST, 0, 0);
    int accepted = 0;
    for (int round = 0; round < 6000; round++) {
        char text[512];
        size_t n = 0, want = vt_rng_below(&r, 400);
        if (round % 3 == 0)
            n = (size_t)snprintf(text, sizeof text, "x,y\n");
        if (round % 7 == 0) {
            n = sizeof events;
            memcpy(text, events, n);
            for (int k = 0; k < 4; k++) /* record lengths and checksums stay: the bytes inside change */
                text[12 + vt_rng_below(&r, (uint32_t)n - 12)] = (char)vt_rng_u32(&r);
        } else
            while (n < want) {
                const char *piece = pieces[vt_rng_below(&r, (uint32_t)VT_COUNT_OF(pieces))];
                memcpy(text + n, piece, strlen(piece));
                n += strlen(piece);
            }
        unsigned char *copy = memcpy(vt_xmalloc(n + 1), text, n);
        copy = vt_xrealloc(copy, n ? n : 1);
        vt_table t;
        vt_err err = {0};
        if (vt_table_parse(&t, "f", copy, n, &err) == VT_OK) {
            accepted++;
            for (size_t i = 0; i < t.n_rows; i++)
                for (size_t c = 0; c < t.n_columns; c++)
                    assert_true(strlen(vt_table_cell(&t, i, c)) <= n);
            vt_table_release(&t);
        } else
            assert_true(err.msg[0] != '\0');
        free(copy);
    }
    assert_true(accepted > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv),    cmocka_unit_test(test_csv_rows),    cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_json_lines),  cmocka_unit_test(test_wandb),
        cmocka_unit_test(test_events), cmocka_unit_test(test_events_torn), cmocka_unit_test(test_fuzz),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
