/* Tables of keys: a small one with every type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/keys.h"
#include "base/philox.h"

typedef struct {
    int64_t seed, batch, micro;
    double lr, bias;
    bool flip;
    int kind;
    char *train, *list, *shape;
    vt_amount length, every;
} fields;

static const char *const kinds[] = {"rsqrt", "cosine", "linear", NULL};

static const vt_key table[] = {
    {"shape", VT_KEY_STRING, offsetof(fields, shape), "Ti/16", 0, 0, NULL, NULL, false, "the model's shape"},
    {"data.train", VT_KEY_STRING, offsetof(fields, train), NULL, 0, 0, NULL, NULL, false, "what is learned from"},
    {"data.list", VT_KEY_STRING, offsetof(fields, list), "[flip]", 0, 0, NULL, NULL, false, "steps | a list"},
    {"optimizer.lr", VT_KEY_F64, offsetof(fields, lr), "8e-4", 0, 1, NULL, NULL, true, "peak learning rate"},
    {"data.batch", VT_KEY_I64, offsetof(fields, batch), "512", 1, HUGE_VAL, NULL, "images", false, "images a step"},
    {"train.micro", VT_KEY_AUTO_I64, offsetof(fields, micro), "auto", 1, 4096, NULL, "images", true, "images at once"},
    {"train.bias", VT_KEY_AUTO_F64, offsetof(fields, bias), "auto", -100, 100, NULL, NULL, false, "first bias"},
    {"train.seed", VT_KEY_I64, offsetof(fields, seed), "1", 0, 0, NULL, NULL, false, "seed of all random numbers"},
    {"train.flip", VT_KEY_BOOL, offsetof(fields, flip), "true", 0, 0, NULL, NULL, false, "mirror half of the images"},
    {"schedule.kind", VT_KEY_ENUM, offsetof(fields, kind), "cosine", 0, 0, kinds, NULL, false, "curve"},
    {"schedule.length", VT_KEY_AMOUNT, offsetof(fields, length), NULL, 0, 1e12, NULL, NULL, true, "how long"},
    {"schedule.every", VT_KEY_AMOUNT, offsetof(fields, every), "5%", 0, 0, NULL, NULL, true, "how often"},
};
#define N VT_COUNT_OF(table)

static void set(fields *f, const char *key, const char *value)
{
    vt_err err = {0};
    if (vt_keys_set(table, N, f, key, value, &err) != VT_OK)
        fail_msg("%s", err.msg);
}

static void assert_refused(fields *f, const char *key, const char *value, const char *message)
{
    vt_err err = {0};
    assert_int_equal(vt_keys_set(table, N, f, key, value, &err), VT_EINVAL);
    assert_string_equal(err.msg, message);
}

/* Defaults or values would land in the wrong field or form. */
static void test_defaults_and_set(void **state)
{
    fields f = {0};
    vt_keys_default(table, N, &f);
    assert_true(f.seed == 1 && f.batch == 512 && f.micro == 0 && f.lr == 8e-4 && isnan(f.bias) && f.flip &&
                f.kind == 1);
    assert_string_equal(f.shape, "Ti/16");
    assert_null(f.train);
    assert_true(f.length.unit == VT_UNIT_NONE && f.every.value == 5 && f.every.unit == VT_UNIT_PERCENT);

    set(&f, "data.batch", "1k");
    set(&f, "optimizer.lr", "1e-3");
    set(&f, "train.micro", "64");
    set(&f, "train.bias", "-10");
    set(&f, "train.flip", "no");
    set(&f, "schedule.kind", "linear");
    set(&f, "data.train", "folder:x");
    set(&f, "data.train", "folder:y");
    assert_true(f.batch == 1000 && f.lr == 1e-3 && f.micro == 64 && f.bias == -10 && !f.flip && f.kind == 2);
    assert_string_equal(f.train, "folder:y");
    vt_keys_release(table, N, &f);
    assert_null(f.train);
    vt_keys_release(table, N, &f);
}

/* Amounts would mean something else than people say. */
static void test_amounts(void **state)
{
    static const struct {
        const char *text;
        double value;
        vt_amount_unit unit;
    } rows[] = {
        {"30 epochs", 30, VT_UNIT_EPOCHS},    {"1 epoch", 1, VT_UNIT_EPOCHS}, {"0.5 epochs", 0.5, VT_UNIT_EPOCHS},
        {"2M images", 2e6, VT_UNIT_IMAGES},   {"1 image", 1, VT_UNIT_IMAGES}, {"10k steps", 1e4, VT_UNIT_STEPS},
        {"500", 500, VT_UNIT_STEPS},          {"1 step", 1, VT_UNIT_STEPS},   {"5%", 5, VT_UNIT_PERCENT},
        {"12.5 %", 12.5, VT_UNIT_PERCENT},    {"0", 0, VT_UNIT_STEPS},        {"1.5M images", 1.5e6, VT_UNIT_IMAGES},
        {"1_000  steps", 1000, VT_UNIT_STEPS}};
    static const char *const bad[] = {"",    " ",     "x",   "30 apples", "epochs",    "30epochs", "%",
                                      "5%%", "5 % x", "nan", "1e400",     "30 Epochs", "1 2 steps"};
    fields f = {0};
    vt_err err = {0};
    vt_keys_default(table, N, &f);
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        set(&f, "schedule.length", rows[i].text);
        assert_true(f.length.value == rows[i].value && f.length.unit == rows[i].unit);
    }
    for (size_t i = 0; i < VT_COUNT_OF(bad); i++)
        assert_int_equal(vt_keys_set(table, N, &f, "schedule.length", bad[i], &err), VT_EINVAL);
    assert_refused(&f, "schedule.length", "30 apples",
                   "schedule.length is \"30 apples\"; expected an amount such as 500 (steps), 10k steps, 2M images, 30 "
                   "epochs or 5%");
    assert_refused(&f, "schedule.length", "-5", "schedule.length is -5; an amount is not negative");
    assert_refused(&f, "schedule.length", "101%", "schedule.length is 101%; at most 100% of the steps can be meant");
    assert_refused(&f, "schedule.length", "2e12", "schedule.length is 2e12; expected 0 to 1000000000000");
    vt_keys_release(table, N, &f);
}

/* Steps would be rounded wrongly, or a unit without meaning would give some number. */
static void test_amount_steps(void **state)
{
    static const struct {
        vt_amount amount;
        int64_t steps;
    } rows[] = {{{500, VT_UNIT_STEPS}, 500},  {{1000, VT_UNIT_IMAGES}, 10}, {{1049, VT_UNIT_IMAGES}, 10},
                {{1050, VT_UNIT_IMAGES}, 10}, {{1150, VT_UNIT_IMAGES}, 12}, {{1, VT_UNIT_IMAGES}, 1},
                {{0, VT_UNIT_IMAGES}, 0},     {{2, VT_UNIT_EPOCHS}, 1200},  {{0.001, VT_UNIT_EPOCHS}, 1},
                {{5, VT_UNIT_PERCENT}, 50},   {{0.04, VT_UNIT_PERCENT}, 1}, {{2.5, VT_UNIT_STEPS}, 2},
                {{3.5, VT_UNIT_STEPS}, 4}};
    int64_t steps;
    vt_err err = {0};
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        assert_int_equal(vt_amount_steps(rows[i].amount, 100, 60000, 1000, &steps, &err), VT_OK);
        assert_int_equal(steps, rows[i].steps);
    }
    assert_int_equal(vt_amount_steps((vt_amount){5, VT_UNIT_PERCENT}, 100, 60000, 0, &steps, &err), VT_EINVAL);
    assert_int_equal(vt_amount_steps((vt_amount){5, VT_UNIT_EPOCHS}, 100, 0, 10, &steps, &err), VT_EINVAL);
    assert_int_equal(vt_amount_steps((vt_amount){0}, 100, 60000, 10, &steps, &err), VT_EINVAL);
    assert_int_equal(vt_amount_steps((vt_amount){1e300, VT_UNIT_EPOCHS}, 1, INT64_MAX, 10, &steps, &err), VT_EINVAL);
    assert_int_equal(vt_amount_steps((vt_amount){1e17, VT_UNIT_STEPS}, 1, 1, 1, &steps, &err), VT_EINVAL);
}

/* A typing error would be taken, or answered with a message that does not help. */
static void test_messages(void **state)
{
    fields f = {0};
    vt_keys_default(table, N, &f);
    assert_refused(&f, "optimizer.Ir", "1", "unknown key 'optimizer.Ir'; did you mean optimizer.lr?");
    assert_refused(&f, "lr", "1", "unknown key 'lr'; did you mean optimizer.lr?");
    assert_refused(&f, "train.batch", "1", "unknown key 'train.batch'; did you mean data.batch?");
    assert_refused(&f, "colour", "1", "unknown key 'colour'");
    assert_refused(&f, "optimizer", "1",
                   "'optimizer' is a section, which holds keys such as optimizer.lr, and takes no value itself");
    assert_refused(&f, "optimizer.lr", "fast",
                   "optimizer.lr: \"fast\" is not a number; expected one such as 0.03, 8e-4 or 10");
    assert_refused(&f, "optimizer.lr", "2", "optimizer.lr is 2; expected 0 to 1");
    assert_refused(&f, "data.batch", "0", "data.batch is 0; expected at least 1 images");
    assert_refused(&f, "data.batch", "1.5",
                   "data.batch: \"1.5\" is not a whole number; expected one such as 500, 1_000, 10k, 1.5M or 1e6");
    assert_refused(&f, "train.micro", "many", "train.micro is \"many\"; expected auto or a whole number");
    assert_refused(&f, "train.micro", "5000", "train.micro is 5000; expected 1 to 4096 images");
    assert_refused(&f, "train.bias", "x", "train.bias is \"x\"; expected auto or a number");
    assert_refused(&f, "train.flip", "maybe", "train.flip: \"maybe\" is neither true nor false");
    assert_refused(&f, "schedule.kind", "cosin",
                   "schedule.kind is \"cosin\"; expected one of rsqrt, cosine, linear; did you mean cosine?");
    assert_refused(&f, "schedule.kind", "7", "schedule.kind is \"7\"; expected one of rsqrt, cosine, linear");
    assert_refused(&f, "data.train", "a\xff", "data.train is not a text in UTF-8");
    vt_err err = {0};
    assert_int_equal(vt_keys_check_required(table, N, &f, &err), VT_EINVAL);
    assert_string_equal(err.msg, "keys without a default were not given: data.train, schedule.length");
    set(&f, "data.train", "x");
    set(&f, "schedule.length", "5");
    assert_int_equal(vt_keys_check_required(table, N, &f, &err), VT_OK);
    vt_keys_release(table, N, &f);
}

/* A mistake in a file would be reported without its place; one on the command line without its form. */
static void test_yaml_and_overrides(void **state)
{
    static const char good[] = "data: {train: x, list: [a(1, 2), b]}\noptimizer:\n  lr: 0.5\n";
    static const char bad[] = "data:\n  train: x\n  bacth: 3\n";
    fields f = {0};
    vt_yaml y;
    vt_err err = {0};
    vt_keys_default(table, N, &f);
    assert_int_equal(vt_yaml_parse(&y, good, strlen(good), "f", &err), VT_OK);
    assert_int_equal(vt_keys_set_yaml(table, N, &f, &y, "f", &err), VT_OK);
    vt_yaml_release(&y);
    assert_true(f.lr == 0.5);
    assert_string_equal(f.list, "[a(1, 2), b]");
    assert_int_equal(vt_yaml_parse(&y, bad, strlen(bad), "f", &err), VT_OK);
    assert_int_equal(vt_keys_set_yaml(table, N, &f, &y, "r.yaml", &err), VT_EINVAL);
    assert_string_equal(err.msg, "r.yaml:3:10: unknown key 'data.bacth'; did you mean data.batch?");
    vt_yaml_release(&y);

    assert_int_equal(vt_keys_set_override(table, N, &f, "optimizer.lr=0.25", &err), VT_OK);
    assert_true(f.lr == 0.25);
    assert_int_equal(vt_keys_set_override(table, N, &f, "data.train=a=b", &err), VT_OK);
    assert_string_equal(f.train, "a=b");
    assert_int_equal(vt_keys_set_override(table, N, &f, "data.list=[a,b(1,2)]", &err), VT_OK);
    assert_string_equal(f.list, "[a, b(1, 2)]");
    assert_int_equal(vt_keys_set_override(table, N, &f, "data.train=", &err), VT_OK);
    assert_string_equal(f.train, "");
    assert_int_equal(vt_keys_set_override(table, N, &f, "optimizer.lr", &err), VT_EINVAL);
    assert_string_equal(err.msg, "\"optimizer.lr\" is not of the form key=value");
    assert_int_equal(vt_keys_set_override(table, N, &f, "=1", &err), VT_EINVAL);
    vt_keys_release(table, N, &f);
}

static void assert_reads_back(const fields *f)
{
    fields g = {0};
    vt_text first = {0}, second = {0};
    vt_yaml y;
    vt_err err = {0};
    vt_keys_dump(table, N, f, &first);
    if (vt_yaml_parse(&y, first.s, first.len, "dump", &err) != VT_OK)
        fail_msg("%s in\n%s", err.msg, first.s);
    vt_keys_default(table, N, &g);
    if (vt_keys_set_yaml(table, N, &g, &y, "dump", &err) != VT_OK)
        fail_msg("%s in\n%s", err.msg, first.s);
    vt_keys_dump(table, N, &g, &second);
    assert_string_equal(first.s, second.s);
    assert_memory_equal(&f->lr, &g.lr, sizeof(f->lr));
    assert_true(f->seed == g.seed && f->batch == g.batch && f->micro == g.micro && f->flip == g.flip &&
                f->kind == g.kind);
    assert_true(f->length.value == g.length.value && f->length.unit == g.length.unit);
    assert_true(f->bias == g.bias || (isnan(f->bias) && isnan(g.bias)));
    assert_true((f->train == NULL) == (g.train == NULL));
    if (f->train != NULL)
        assert_string_equal(f->train, g.train);
    assert_string_equal(f->list, g.list);
    vt_yaml_release(&y);
    vt_text_release(&first);
    vt_text_release(&second);
    vt_keys_release(table, N, &g);
}

/* A run's stored recipe would differ from the one it ran. */
static void test_dump_reads_back(void **state)
{
    static const char *const texts[] = {"",     "plain",         "a: b",    "[a, b(3)]", "[a,b]", "[a",   "- x", " x ",
                                        "x\ny", "\"q\"",         "'",       "#c",        "~",     "true", "1e3", "{a}",
                                        "\\n",  "M\xc3\xbcller", "\x1b[0m", "a\tb",      "null",  "*a",   "&a",  "!a"};
    fields f = {0};
    vt_keys_default(table, N, &f);
    assert_reads_back(&f); /* keys that were not given stay out */
    vt_rng r = vt_rng_at(1, VT_STREAM_TEST, 0, 0);
    for (size_t i = 0; i < VT_COUNT_OF(texts); i++) {
        set(&f, "data.train", texts[i]);
        set(&f, "data.list", texts[(i + 1) % VT_COUNT_OF(texts)]);
        f.lr = (double)vt_rng_u32(&r) * 0x1p-32 * 0x1.123456789abcdp-3;
        f.seed = (int64_t)vt_rng_u32(&r) << 20;
        f.micro = (int64_t)(i % 3);
        f.bias = i % 2 == 0 ? (double)NAN : -(double)vt_rng_uniform(&r);
        f.kind = (int)(i % 3);
        f.flip = i % 2 == 0;
        f.length = (vt_amount){i % 4 == 3 ? 1.0 / 3 : (double)vt_rng_u32(&r), (vt_amount_unit)(1 + (int)(i % 4))};
        if (f.length.unit == VT_UNIT_PERCENT)
            f.length.value = 100.0 / 3;
        assert_reads_back(&f);
    }
    vt_keys_release(table, N, &f);
}

/* The stored recipe would be hard to read: sections once, in table order. */
static void test_dump_form(void **state)
{
    fields f = {0};
    vt_text t = {0};
    vt_keys_default(table, N, &f);
    set(&f, "data.train", "idx:a,b");
    set(&f, "schedule.length", "1 epoch");
    vt_keys_dump(table, N, &f, &t);
    assert_string_equal(t.s, "shape: Ti/16\n"
                             "data:\n"
                             "  train: idx:a,b\n"
                             "  list: [flip]\n"
                             "  batch: 512\n"
                             "optimizer:\n"
                             "  lr: 0.0008\n"
                             "train:\n"
                             "  micro: auto\n"
                             "  bias: auto\n"
                             "  seed: 1\n"
                             "  flip: true\n"
                             "schedule:\n"
                             "  kind: cosine\n"
                             "  length: 1 epoch\n"
                             "  every: 5%\n");
    vt_text_release(&t);
    vt_keys_release(table, N, &f);
}

/* The reference page would lack or misstate a key. */
static void test_reference(void **state)
{
    vt_text t = {0};
    vt_keys_reference(table, N, &t);
    assert_non_null(strstr(t.s, "| `optimizer.lr` | number, 0 to 1 | `8e-4` |  | may change | peak learning rate |\n"));
    assert_non_null(strstr(t.s, "| `data.list` | text | `[flip]` |  | fixed | steps \\| a list |\n"));
    assert_non_null(
        strstr(t.s, "| `data.batch` | whole number, at least 1 | `512` | images | fixed | images a step |\n"));
    assert_non_null(strstr(t.s, "| `schedule.kind` | one of rsqrt, cosine, linear | `cosine` |"));
    assert_non_null(strstr(t.s, "| `data.train` | text | must be given |"));
    vt_text_release(&t);
}

/* Images that are not square could not be asked for, or their sides would change places. */
static void test_size(void **state)
{
    static const vt_key row[] = {{"image", VT_KEY_SIZE, 0, NULL, 1, 65536, NULL, "pixels", false, "sides"}};
    static const char *const wrong[] = {"", "x", "40x", "x24", "40x24x3", "40 x 24", "-4", "0x8", "8x70000", "1.5"};
    vt_size size;
    vt_text text = {0};
    (void)state;
    vt_keys_default(row, 1, &size);
    assert_int_equal(vt_keys_check_required(row, 1, &size, NULL), VT_EINVAL);
    assert_int_equal(vt_keys_set(row, 1, &size, "image", "40x24", NULL), VT_OK);
    assert_int_equal(size.height, 40);
    assert_int_equal(size.width, 24);
    vt_keys_print(&row[0], &size, &text);
    assert_string_equal(text.s, "40x24");
    assert_int_equal(vt_keys_set(row, 1, &size, "image", "224", NULL), VT_OK);
    assert_true(size.height == 224 && size.width == 224);
    vt_text_clear(&text);
    vt_keys_print(&row[0], &size, &text);
    assert_string_equal(text.s, "224");
    for (size_t i = 0; i < VT_COUNT_OF(wrong); i++) {
        vt_err err = {0};
        assert_int_equal(vt_keys_set(row, 1, &size, "image", wrong[i], &err), VT_EINVAL);
        assert_non_null(strstr(err.msg, "image is"));
    }
    vt_text_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_defaults_and_set),
                                       cmocka_unit_test(test_amounts),
                                       cmocka_unit_test(test_amount_steps),
                                       cmocka_unit_test(test_messages),
                                       cmocka_unit_test(test_yaml_and_overrides),
                                       cmocka_unit_test(test_dump_reads_back),
                                       cmocka_unit_test(test_size),
                                       cmocka_unit_test(test_dump_form),
                                       cmocka_unit_test(test_reference)};
    return cmocka_run_group_tests_name("base/keys", tests, NULL, NULL);
}
