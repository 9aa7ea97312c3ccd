/* Random bytes into everything that reads what people or files bring: nothing may crash, hang or leak (the sanitizers
 * watch), and what is accepted must come back the same from its own printed form. Seeds are fixed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/keys.h"
#include "base/opts.h"
#include "base/philox.h"
#include "base/yaml.h"

enum { ROUNDS = 6000, MAX_BYTES = 200 };

/* Pieces that lead a parser further in than bytes alone would. */
static const char *const pieces[] = {": ",       "\n",
                                     "\n  ",     "- ",
                                     "[",        "]",
                                     "{",        "}",
                                     ", ",       "\"",
                                     "'",        "#",
                                     "&a ",      "*a",
                                     "!t ",      "|\n",
                                     ">\n",      "---\n",
                                     "...",      "a",
                                     "k.l",      "1",
                                     "1e9",      "2M",
                                     "-",        "0x1",
                                     "nan",      "auto",
                                     "5%",       "epochs",
                                     " ",        "true",
                                     "\\",       "\\u",
                                     "\xc3\xa9", "\xff",
                                     "\x01",     "null",
                                     "\t",       "? ",
                                     "list",     "amount",
                                     "text",     "num",
                                     "=",        "999999999999999999999",
                                     "(3, 4)",   "kind"};

/* A text of random pieces and bytes, terminated; its length. A zero byte may be inside. */
static size_t random_text(vt_rng *r, char text[MAX_BYTES + 32])
{
    size_t n = 0, want = vt_rng_below(r, MAX_BYTES);
    while (n < want) {
        if (vt_rng_below(r, 4) == 0) {
            text[n++] = (char)vt_rng_below(r, 256);
        } else {
            const char *piece = pieces[vt_rng_below(r, (uint32_t)VT_COUNT_OF(pieces))];
            memcpy(text + n, piece, strlen(piece));
            n += strlen(piece);
        }
    }
    text[n] = '\0';
    return n;
}

/* A buffer of exactly n bytes, so that a read behind its end is caught. */
static char *exact_copy(const char *text, size_t n)
{
    return memcpy(vt_xmalloc(n), text, n);
}

static void test_yaml(void **state)
{
    char text[MAX_BYTES + 32];
    vt_rng r = vt_rng_at(1, VT_STREAM_TEST, 0, 0);
    int accepted = 0;
    for (int i = 0; i < ROUNDS; i++) {
        vt_yaml y;
        vt_err err = {0};
        size_t n = random_text(&r, text);
        if (i % 2 == 0) { /* a start that leads in, and so short that some are whole */
            memcpy(text, "k: ", 3);
            n = 3 + n % 12;
        }
        char *copy = exact_copy(text, n);
        if (vt_yaml_parse(&y, copy, n, "f", &err) == VT_OK) {
            accepted += y.n > 0;
            for (size_t e = 0; e < y.n; e++)
                assert_true(strlen(y.entries[e].key) > 0 && y.entries[e].line > 0 && y.entries[e].column > 0);
            vt_yaml_release(&y);
        } else {
            assert_int_equal(err.code, VT_EFORMAT);
            assert_true(vt_has_prefix(err.msg, "f:"));
        }
        free(copy);
    }
    assert_true(accepted > 10);
}

static void test_json(void **state)
{
    char text[MAX_BYTES + 32];
    vt_rng r = vt_rng_at(2, VT_STREAM_TEST, 0, 0);
    for (int i = 0; i < ROUNDS; i++) {
        json_t *root, *again;
        size_t n = random_text(&r, text);
        if (i % 2 == 0) {
            text[0] = '[';
            n = n == 0 ? 1 : n;
        }
        char *copy = exact_copy(text, n);
        if (vt_json_parse(copy, n, "f", &root, NULL) == VT_OK) {
            vt_text line = {0};
            vt_json_line(root, &line);
            assert_int_equal(vt_json_parse(line.s, line.len, "f", &again, NULL), VT_OK);
            assert_true(json_equal(root, again));
            vt_text_release(&line);
            json_decref(again);
            json_decref(root);
        }
        free(copy);
    }
}

typedef struct {
    int64_t whole, automatic;
    double number;
    char *text, *list;
    vt_amount amount;
    int kind;
} fields;

static const char *const kinds[] = {"a", "auto", NULL};

static const vt_key table[] = {
    {"k.whole", VT_KEY_I64, offsetof(fields, whole), "0", 0, 0, NULL, NULL, false, "a"},
    {"k.auto", VT_KEY_AUTO_I64, offsetof(fields, automatic), "auto", 0, 100, NULL, NULL, false, "a"},
    {"k.num", VT_KEY_F64, offsetof(fields, number), "0", -HUGE_VAL, 1e10, NULL, NULL, false, "a"},
    {"k.text", VT_KEY_STRING, offsetof(fields, text), "", 0, 0, NULL, NULL, false, "a"},
    {"list", VT_KEY_STRING, offsetof(fields, list), NULL, 0, 0, NULL, NULL, false, "a"},
    {"k.l.amount", VT_KEY_AMOUNT, offsetof(fields, amount), NULL, 0, 0, NULL, NULL, false, "a"},
    {"kind", VT_KEY_ENUM, offsetof(fields, kind), "a", 0, 0, kinds, NULL, false, "a"},
};
#define N VT_COUNT_OF(table)

/* The dump of f reads back to the same dump. */
static void assert_reads_back(const fields *f)
{
    fields g = {0};
    vt_text first = {0}, second = {0};
    vt_yaml y;
    vt_err err = {0};
    vt_keys_dump(table, N, f, &first);
    vt_keys_default(table, N, &g);
    if (vt_yaml_parse(&y, first.s, first.len, "dump", &err) != VT_OK ||
        vt_keys_set_yaml(table, N, &g, &y, "dump", &err) != VT_OK)
        fail_msg("%s in\n%s", err.msg, first.s);
    vt_keys_dump(table, N, &g, &second);
    assert_string_equal(first.s, second.s);
    assert_string_equal(f->text, g.text);
    assert_true((f->list == NULL) == (g.list == NULL));
    if (f->list != NULL)
        assert_string_equal(f->list, g.list);
    assert_memory_equal(&f->number, &g.number, sizeof(f->number));
    vt_yaml_release(&y);
    vt_text_release(&first);
    vt_text_release(&second);
    vt_keys_release(table, N, &g);
}

static void test_keys(void **state)
{
    char text[MAX_BYTES + 32], assignment[MAX_BYTES + 64];
    vt_rng r = vt_rng_at(3, VT_STREAM_TEST, 0, 0);
    fields f = {0};
    vt_keys_default(table, N, &f);
    int set = 0;
    for (int i = 0; i < ROUNDS; i++) {
        vt_err err = {0};
        vt_status status;
        random_text(&r, text);
        const char *key = table[vt_rng_below(&r, (uint32_t)N)].name;
        switch (i % 4) {
        case 0:
            status = vt_keys_set_override(table, N, &f, text, &err);
            break;
        case 1:
            status = vt_keys_set(table, N, &f, text, "1", &err);
            break;
        case 2:
            memcpy(assignment, key, strlen(key));
            assignment[strlen(key)] = '=';
            memcpy(assignment + strlen(key) + 1, text, strlen(text) + 1);
            status = vt_keys_set_override(table, N, &f, assignment, &err);
            break;
        default:
            text[vt_rng_below(&r, 8)] = '\0'; /* short ones are sometimes numbers */
            status = vt_keys_set(table, N, &f, key, text, &err);
            break;
        }
        assert_true(status == VT_OK || strlen(err.msg) > 0);
        set += status == VT_OK;
        if (status == VT_OK)
            assert_reads_back(&f);
    }
    assert_true(set > 100);
    vt_keys_release(table, N, &f);
}

static void test_opts(void **state)
{
    static const char *const words[] = {"-",  "--", "-o", "--json", "--json=", "--n=1", "--n",
                                        "-h", "x",  "",   "--=",    "-oo",     "---",   "--\xff"};
    vt_rng r = vt_rng_at(4, VT_STREAM_TEST, 0, 0);
    for (int i = 0; i < ROUNDS; i++) {
        bool json = false, help;
        const char *o = NULL, *n = NULL, *args[8];
        int n_args, argc = (int)vt_rng_below(&r, 8);
        char copies[8][16], *argv[8];
        const vt_opt opts[] = {{"json", NULL, &json, "a"}, {"o", "F", &o, "b"}, {"n", "N", &n, "c"}};
        for (int a = 0; a < argc; a++) {
            const char *word = words[vt_rng_below(&r, (uint32_t)VT_COUNT_OF(words))];
            memcpy(copies[a], word, strlen(word) + 1);
            argv[a] = copies[a];
        }
        vt_status status = vt_opts_parse(opts, VT_COUNT_OF(opts), argc, argv, args, &n_args, &help, NULL);
        assert_true(status != VT_OK || n_args <= argc);
    }
}

static void test_numbers(void **state)
{
    static const char letters[] = "0123456789.eE+-_kMG";
    vt_rng r = vt_rng_at(5, VT_STREAM_TEST, 0, 0);
    for (int i = 0; i < 20 * ROUNDS; i++) {
        char text[16];
        size_t n = vt_rng_below(&r, 12);
        for (size_t k = 0; k < n; k++)
            text[k] = letters[vt_rng_below(&r, sizeof(letters) - 1)];
        text[n] = '\0';
        int64_t whole;
        double number;
        if (vt_parse_i64(text, &whole, NULL) == VT_OK && vt_parse_f64(text, &number, NULL) == VT_OK)
            assert_true(fabs((double)whole - number) <= fabs(number) * 0x1p-52);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_yaml), cmocka_unit_test(test_json),
                                       cmocka_unit_test(test_keys), cmocka_unit_test(test_opts),
                                       cmocka_unit_test(test_numbers)};
    return cmocka_run_group_tests_name("base/fuzz", tests, NULL, NULL);
}
