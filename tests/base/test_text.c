/* Strings, numbers as people write them, and the nearest name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "base/text.h"

/* A growing text would lose bytes or its terminator. */
static void test_growth(void **state)
{
    vt_text t = {0};
    for (int i = 0; i < 1000; i++)
        vt_text_addf(&t, "%d,", i);
    assert_int_equal(t.len, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(strlen(t.s), t.len);
    vt_text_clear(&t);
    assert_string_equal(t.s, "");
    vt_text_addn(&t, "abcdef", 3);
    vt_text_add(&t, "!");
    assert_string_equal(t.s, "abc!");
    vt_text_release(&t);
    assert_null(t.s);
    vt_text_release(&t);
    char *s = vt_xasprintf("%s-%d", "x", 5);
    assert_string_equal(s, "x-5");
    free(s);
    free(vt_xmalloc(0));
}

static const struct {
    const char *text;
    int64_t value;
} wholes[] = {{"0", 0},
              {"-0", 0},
              {"500", 500},
              {"+7", 7},
              {"-12", -12},
              {"10k", 10000},
              {"2M", 2000000},
              {"1G", 1000000000},
              {"1.5M", 1500000},
              {"0.001k", 1},
              {"1_000_000", 1000000},
              {"1e6", 1000000},
              {"1.25e2", 125},
              {"1000e-3", 1},
              {"1.0", 1},
              {"9223372036854775807", INT64_MAX},
              {"-9223372036854775807", -INT64_MAX},
              {"0e999999999999", 0},
              {"0.000", 0}};

static const char *const no_wholes[] = {"",
                                        " ",
                                        "-",
                                        "+",
                                        ".",
                                        "k",
                                        "1.5",
                                        "1 ",
                                        " 1",
                                        "1x",
                                        "1kk",
                                        "1K",
                                        "1e",
                                        "1e+",
                                        "0x10",
                                        "_1",
                                        "1_",
                                        "1__0",
                                        "inf",
                                        "nan",
                                        "1e-3",
                                        "--1",
                                        "1,000",
                                        "9223372036854775808",
                                        "1e19",
                                        "1e999999999999",
                                        "99999999999999999999999",
                                        "1.5k5"};

/* A recipe's number would be read wrongly, or a wrong one accepted. */
static void test_parse_i64(void **state)
{
    vt_err err = {0};
    for (size_t i = 0; i < VT_COUNT_OF(wholes); i++) {
        int64_t value = 99;
        if (vt_parse_i64(wholes[i].text, &value, &err) != VT_OK)
            fail_msg("%s", err.msg);
        assert_int_equal(value, wholes[i].value);
    }
    for (size_t i = 0; i < VT_COUNT_OF(no_wholes); i++) {
        int64_t value = 99;
        if (vt_parse_i64(no_wholes[i], &value, &err) != VT_EINVAL)
            fail_msg("\"%s\" was read as %lld", no_wholes[i], (long long)value);
        assert_int_equal(value, 99);
    }
}

/* "nan", hexadecimal or trailing text would pass for a number. */
static void test_parse_f64(void **state)
{
    static const char *const bad[] = {"",   ".",     "nan",    "inf", "0x1p3", "1 ", " 1",
                                      "1e", "1e400", "-1e400", "1,5", "1k",    "1_0"};
    double value = 99;
    for (size_t i = 0; i < VT_COUNT_OF(bad); i++)
        assert_int_equal(vt_parse_f64(bad[i], &value, NULL), VT_EINVAL);
    assert_true(value == 99);
    assert_int_equal(vt_parse_f64("8e-4", &value, NULL), VT_OK);
    assert_true(value == 8e-4);
    assert_int_equal(vt_parse_f64("-.5", &value, NULL), VT_OK);
    assert_true(value == -0.5);
    assert_int_equal(vt_parse_f64("1e-400", &value, NULL), VT_OK);
    assert_true(value == 0);
}

/* A stored recipe would not come back bit for bit. */
static void test_format_f64_round_trip(void **state)
{
    static const double special[] = {0.1, 1.0 / 3, 8e-4, DBL_MAX, DBL_MIN, 5e-324, 0.0, -0.0, 123456789, 1e22};
    char buf[32];
    vt_rng r = vt_rng_at(1, VT_STREAM_TEST, 0, 0);
    for (size_t i = 0; i < 20000; i++) {
        uint64_t bits = (uint64_t)vt_rng_u32(&r) << 32 | vt_rng_u32(&r);
        double x, y;
        memcpy(&x, &bits, sizeof(x));
        if (i < VT_COUNT_OF(special))
            x = special[i];
        if (!isfinite(x))
            continue;
        assert_int_equal(vt_parse_f64(vt_format_f64(buf, x), &y, NULL), VT_OK);
        assert_memory_equal(&x, &y, sizeof(x));
    }
    assert_string_equal(vt_format_f64(buf, 0.1), "0.1");
    assert_string_equal(vt_format_f64(buf, 8e-4), "0.0008");
    assert_string_equal(vt_format_f64(buf, 30), "30");
}

/* In a program that set a locale with a decimal comma, 0.5 would read as 0. */
static void test_locale(void **state)
{
    static const char *const commas[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "C"};
    char buf[32];
    double value;
    for (size_t i = 0; setlocale(LC_ALL, commas[i]) == NULL; i++) {
    }
    assert_int_equal(vt_parse_f64("0.5", &value, NULL), VT_OK);
    assert_true(value == 0.5);
    assert_string_equal(vt_format_f64(buf, 0.25), "0.25");
    setlocale(LC_ALL, "C");
}

/* Switches would be read wrongly. */
static void test_parse_bool(void **state)
{
    bool value = false;
    assert_int_equal(vt_parse_bool("true", &value, NULL), VT_OK);
    assert_true(value);
    assert_int_equal(vt_parse_bool("no", &value, NULL), VT_OK);
    assert_false(value);
    assert_int_equal(vt_parse_bool("1", &value, NULL), VT_EINVAL);
    assert_int_equal(vt_parse_bool("True", &value, NULL), VT_EINVAL);
}

/* Figures that people see would be wrong at the changes of unit. */
static void test_format(void **state)
{
    char buf[32];
    assert_string_equal(vt_format_bytes(buf, 0), "0 B");
    assert_string_equal(vt_format_bytes(buf, 1023), "1023 B");
    assert_string_equal(vt_format_bytes(buf, 1024), "1.0 KiB");
    assert_string_equal(vt_format_bytes(buf, 1048575), "1.0 MiB");
    assert_string_equal(vt_format_bytes(buf, 12.3 * 1048576), "12.3 MiB");
    assert_string_equal(vt_format_bytes(buf, 5.1 * 1073741824), "5.1 GiB");
    assert_string_equal(vt_format_count(buf, 0), "0");
    assert_string_equal(vt_format_count(buf, 999), "999");
    assert_string_equal(vt_format_count(buf, 1000), "1.00 k");
    assert_string_equal(vt_format_count(buf, 65900), "65.9 k");
    assert_string_equal(vt_format_count(buf, 999960), "1.00 M");
    assert_string_equal(vt_format_count(buf, 1.843e9), "1.84 G");
    assert_string_equal(vt_format_count(buf, 0.5), "0.50");
    assert_string_equal(vt_format_seconds(buf, 3.4), "3.4 s");
    assert_string_equal(vt_format_seconds(buf, 0.0123), "12.3 ms");
    assert_string_equal(vt_format_seconds(buf, 59.97), "1 min 00 s");
    assert_string_equal(vt_format_seconds(buf, 3720), "1 h 02 min");
    assert_string_equal(vt_format_seconds(buf, 3599.7), "1 h 00 min");
    assert_string_equal(vt_format_seconds(buf, 100 * 3600), "4 d 04 h");
    assert_string_equal(vt_format_seconds(buf, (double)NAN), "?");
    assert_string_equal(vt_format_seconds(buf, -1), "?");
    vt_format_bytes(buf, 1e300); /* must stay within 32 bytes */
    vt_format_count(buf, 1e300);
    vt_format_seconds(buf, 1e300);
}

/* A typing error would be answered with the wrong name, or nonsense with any name. */
static void test_nearest(void **state)
{
    static const char *const names[] = {"optimizer.lr", "schedule.kind", "data.batch", "train.seed"};
    const size_t n = VT_COUNT_OF(names);
    assert_string_equal(vt_nearest("optimizer.Ir", names, n), "optimizer.lr");
    assert_string_equal(vt_nearest("shedule.kidn", names, n), "schedule.kind");
    assert_string_equal(vt_nearest("batch", names, n), "data.batch");
    assert_null(vt_nearest("colour", names, n));
    assert_null(vt_nearest("x", names, n));
    assert_null(vt_nearest("", names, n));
    assert_null(vt_nearest("train.seed", names, 0));
    char big[5000];
    memset(big, 'o', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    assert_null(vt_nearest(big, names, n));
    assert_true(vt_has_prefix("folder:x", "folder:") && !vt_has_prefix("f", "folder:"));
    assert_true(vt_has_suffix("a.tar", ".tar") && !vt_has_suffix("tar", ".tar"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_growth),    cmocka_unit_test(test_parse_i64),
                                       cmocka_unit_test(test_parse_f64), cmocka_unit_test(test_format_f64_round_trip),
                                       cmocka_unit_test(test_locale),    cmocka_unit_test(test_parse_bool),
                                       cmocka_unit_test(test_format),    cmocka_unit_test(test_nearest)};
    return cmocka_run_group_tests_name("base/text", tests, NULL, NULL);
}
