/* Rules by name: what they set, which one wins, what is refused, and that no text takes long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/philox.h"
#include "base/text.h"
#include "base/yaml.h"
#include "optim/rules.h"

enum { N = 6 };
static const char *const names[N] = {
    "pos_embed", "blocks.0.attn.qkv.weight", "blocks.1.mlp.fc1.bias", "blocks.10.mlp.fc1.weight", "head.weight",
    "head.bias"};
static vt_tensor params[N];

static vt_status apply(const char *text, vt_err *err)
{
    memset(params, 0, sizeof params);
    for (int i = 0; i < N; i++)
        (void)snprintf(params[i].name, sizeof params[i].name, "%s", names[i]);
    return vt_rules_apply(text, params, N, err);
}

static void expect(int i, double lr_factor, double decay, bool frozen)
{
    if (params[i].lr_factor != lr_factor || params[i].decay != decay || params[i].frozen != frozen)
        fail_msg("%s has lr %g, decay %g, frozen %d", params[i].name, params[i].lr_factor, params[i].decay,
                 params[i].frozen);
}

/* Breaks when a property is read or given to the wrong tensors: a pattern must match the whole name. */
static void test_properties(void **state)
{
    (void)state;
    static const char *const none[] = {"", "  ", "[]", "[ ]"};
    for (size_t i = 0; i < VT_COUNT_OF(none); i++) {
        assert_int_equal(apply(none[i], NULL), VT_OK);
        for (int k = 0; k < N; k++)
            expect(k, 1, -1, false);
    }
    static const char *const same[] = {
        "[head\\.weight: decay 3.0, blocks\\.[01]\\..*: freeze, pos_embed: lr 0.1 decay 0]",
        "head\\.weight:decay 3,blocks\\.[01]\\..*:freeze,pos_embed:decay 0\tlr 1e-1",
        "[\"head\\\\.weight: decay 3.0\", \"blocks\\\\.[01]\\\\..*: freeze\" , pos_embed: lr 0.1 decay 0]",
        " [ head\\.w[[:alpha:]]{5}: decay 3 , (x|blocks\\.[01]\\..*): freeze, pos_(embed)+: lr 0.1 decay 0 ] ",
        "[head\\.[^]b].*: decay 3, b.*[.][01][.].*: freeze, pos_embe[[.d.]]: lr 0.1 decay 0]"};
    for (size_t i = 0; i < VT_COUNT_OF(same); i++) {
        vt_err err = {0};
        if (apply(same[i], &err) != VT_OK)
            fail_msg("%s", err.msg);
        expect(0, 0.1, 0, false);
        expect(1, 1, -1, true);
        expect(2, 1, -1, true);
        expect(3, 1, -1, false);
        expect(4, 1, 3, false);
        expect(5, 1, -1, false);
    }
}

/* Breaks when a later rule overrides an earlier one, or a rule that sets one property keeps later ones from another. */
static void test_first_match(void **state)
{
    (void)state;
    assert_int_equal(apply("head.*: train lr 2, .*: freeze lr 3, head\\.bias: decay 5 lr 7", NULL), VT_OK);
    expect(0, 3, -1, true);
    expect(4, 2, -1, false);
    expect(5, 2, 5, false);
}

/* Breaks when a rule trains what the model fixed (sine and cosine positions). */
static void test_fixed_by_model(void **state)
{
    (void)state;
    vt_tensor two[2] = {{.name = "pos_embed", .frozen = true}, {.name = "head.weight"}};
    assert_int_equal(vt_rules_apply(".*: train lr 0.5", two, 2, NULL), VT_OK);
    assert_true(two[0].frozen && !two[1].frozen && two[1].lr_factor == 0.5);
    assert_int_equal(vt_rules_apply("head\\.weight: freeze", two, 2, NULL), VT_EINVAL);
}

/* Breaks when a list in a recipe's file does not arrive. */
static void test_from_yaml(void **state)
{
    (void)state;
    static const char text[] = "rules:\n  - 'head\\.weight: decay 3.0'\n  - 'blocks\\.[01]\\..*: freeze'\n";
    vt_yaml y;
    assert_int_equal(vt_yaml_parse(&y, text, sizeof text - 1, "test", NULL), VT_OK);
    assert_int_equal(apply(y.entries[0].value, NULL), VT_OK);
    expect(2, 1, -1, true);
    expect(4, 1, 3, false);
    vt_yaml_release(&y);
}

/* Breaks when a mistake is let through, or the message does not lead to it. */
static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"head.weigth: decay 3", "column 1: the pattern \"head.weigth\" matches no parameter"},
        {"head: decay 3", "\"head\" matches no parameter"},
        {"ead\\.weight: decay 3", "matches no parameter"},
        {"[pos_embed: lr 1, blocks.*(: freeze]", "column 19: the pattern \"blocks.*(\": "},
        {"head.*)(.*: freeze", "column 1: the pattern \"head.*)(.*\": "},
        {"pos_embed: lr 1, blocks[.1: freeze", "column 18: the pattern \"blocks[.1\": "},
        {"pos_embed", "column 1: expected PATTERN: PROPERTY"},
        {": freeze", "column 1: expected PATTERN: PROPERTY"},
        {"pos_embed: lr 1,", "column 17: expected PATTERN: PROPERTY"},
        {"pos_embed: lr 1,, head.*: freeze", "column 17: the pattern \", head.*\" holds a blank"},
        {"pos_embed freeze, head.*: freeze", "holds a blank"},
        {"pos_embed:", "the rule of \"pos_embed\" says nothing"},
        {"pos_embed: decy 1", "column 12: \"decy\" is no property; did you mean decay; expected"},
        {"pos_embed: lr", "column 14: lr is \"\"; expected a number from 0 to 1e6"},
        {"pos_embed: lr fast", "column 15: lr is \"fast\""},
        {"pos_embed: lr -1", "lr is \"-1\""},
        {"pos_embed: decay nan", "decay is \"nan\""},
        {"pos_embed: lr 1 lr 2", "column 17: \"lr\" says again"},
        {"pos_embed: freeze train", "\"train\" says again"},
        {"pos_embed: freeze; head.*: freeze", "\"freeze;\" is no property"},
        {"[\"pos_embed: freeze, head: freeze]", "column 2: a quotation mark that is not closed"},
        {"[\"pos_embed: freeze, head.*: freeze\"]", "column 2: a comma in a quoted rule"},
        {"[\"pos_embed: freeze\" head.*: freeze]", "column 22: expected a comma between rules"},
        {"[\"\"]", "column 2: an empty rule"},
        {"(.)(.*)\\2: freeze", "refers back"},
        {".*: freeze", "freeze every parameter"},
        {"pos_embed: 0123456789012345678901234567890123456789", "is no property"},
    };
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_err err = {0};
        assert_int_equal(apply(rows[i].text, &err), VT_EINVAL);
        if (!strstr(err.msg, rows[i].message))
            fail_msg("%s: \"%s\", expected \"%s\"", rows[i].text, err.msg, rows[i].message);
    }
}

static char *repeated(const char *before, const char *part, int times, const char *behind)
{
    vt_text t = {0};
    vt_text_add(&t, before);
    for (int i = 0; i < times; i++)
        vt_text_add(&t, part);
    vt_text_add(&t, behind);
    return t.s;
}

/* Breaks (by running out of memory or the test's time) when a pattern may cost without bound. */
static void test_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *before, *part;
        int times;
        const char *behind, *message;
    } rows[] = {
        {"((((a{99}){99}){99}){99}", "", 1, "): freeze", "repeats too much"},
        {"a{1,99999999999999999999}", "", 1, ": freeze", "repeats too much"},
        {"((((((((((((((((((((", ".+)+", 20, ": freeze", "repeats too much"},
        {"", "(.*", 40, "): freeze", NULL},
        {"", "(a|b|.)*", 20, ": freeze", NULL},
        {"", "x", 300, ": freeze", "at most 200"},
        {"head.bias: decay 1", ", head.bias: decay 1", 70, "", "more than 64 rules"},
        {"", "[", 5000, "", "expected PATTERN"},
        {"", "\"", 5000, "", NULL},
    };
    for (size_t i = 0; i < VT_COUNT_OF(rows); i++) {
        vt_err err = {0};
        char *text = repeated(rows[i].before, rows[i].part, rows[i].times, rows[i].behind);
        assert_int_equal(apply(text, &err), VT_EINVAL);
        if (rows[i].message && !strstr(err.msg, rows[i].message))
            fail_msg("%.40s...: \"%s\", expected \"%s\"", text, err.msg, rows[i].message);
        free(text);
    }
    /* texts by chance, of the characters that mean something */
    static const char letters[] = "ab.*+?{}()[]^$|\\:, \"0129-lrdecayfreeze";
    vt_rng rng = vt_rng_at(1, VT_STREAM_TEST, 0, vt_fnv1a("rules"));
    for (int i = 0; i < 3000; i++) {
        char text[64];
        uint32_t n = vt_rng_below(&rng, 60);
        for (uint32_t k = 0; k < n; k++)
            text[k] = letters[vt_rng_below(&rng, sizeof letters - 1)];
        (void)snprintf(text + n, sizeof text - n, "%s", "");
        vt_err err = {0};
        vt_status status = apply(text, &err);
        assert_true(status == VT_OK || err.msg[0] != '\0');
    }
}

/* Breaks: layer-wise decay whose embedding, blocks or head are a step off (BEiT: x^(depth + 1 - i)). */
static void test_layer_decay(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double factor;
    } wanted[] = {{"cls_token", 0.125},     {"pos_embed", 0.125},         {"patch_embed.proj.weight", 0.125},
                  {"norm_pre.bias", 0.125}, {"blocks.0.ls1.gamma", 0.25}, {"blocks.1.mlp.fc2.bias", 0.5},
                  {"norm.weight", 1},       {"attn_pool.latent", 1},      {"head.bias", 2}};
    vt_tensor list[VT_COUNT_OF(wanted)] = {0};
    for (size_t i = 0; i < VT_COUNT_OF(wanted); i++) {
        (void)snprintf(list[i].name, sizeof list[i].name, "%s", wanted[i].name);
        list[i].lr_factor = i + 1 == VT_COUNT_OF(wanted) ? 2 : 1; /* a rule's factor stays */
    }
    vt_layer_decay_apply(0.5, list, (int)VT_COUNT_OF(wanted));
    for (size_t i = 0; i < VT_COUNT_OF(wanted); i++)
        assert_true(list[i].lr_factor == wanted[i].factor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layer_decay),    cmocka_unit_test(test_properties), cmocka_unit_test(test_first_match),
        cmocka_unit_test(test_fixed_by_model), cmocka_unit_test(test_from_yaml),  cmocka_unit_test(test_errors),
        cmocka_unit_test(test_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
