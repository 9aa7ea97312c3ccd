/* hierarchy=FILE: leaves, ancestors as labels, and files that are wrong. */
#include "fixtures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "data/source.h"

static const char *tree(const char *text)
{
    fx_write("tree", text, strlen(text));
    return fx_path("tree");
}

/* Over the data's first classes: two ways up from the ring, and names that the data lack. */
static const char shapes[] = "solid disc\tround\r\nsolid ring\tround\nsolid ring\thollow thing\nround\tshape\n"
                             "hollow thing\tshape\nsolid square\tshape\nvase\tpot\n";

/* Breaks when ancestors become labels without being asked for, or leaves are not those of the file. */
static void test_off(void **state)
{
    for (int k = 0; k < 2; k++) {
        vt_source *s =
            fx_open("synthetic:shapes?classes=8&count=16&hierarchy=%s%s", tree(shapes), k ? "&ancestors=off" : "");
        assert_int_equal(vt_source_classes(s), 8);
        assert_true(vt_source_has_single_labels(s) && vt_source_most_labels(s) == 1);
        for (int64_t c = 0; c < 8; c++)
            assert_true(vt_source_is_leaf(s, c));
        vt_source_close(s);
    }
    vt_source *s = fx_open("synthetic:shapes?classes=8&hierarchy=%s", tree("solid disc\tsolid ring\n"));
    assert_false(vt_source_is_leaf(s, 4)); /* a class of the data that lies above another */
    assert_true(vt_source_is_leaf(s, 0));
    vt_source_close(s);
}

static int64_t class_of(const vt_source *s, const char *name)
{
    for (int64_t c = 0; c < vt_source_classes(s); c++) {
        if (strcmp(vt_source_class_name(s, c), name) == 0)
            return c;
    }
    return -1;
}

/* Breaks when an ancestor is missed or counted twice on two ways up, or their order depends on the file's. */
static void test_on(void **state)
{
    vt_source *s = fx_open("synthetic:shapes?classes=8&count=16&hierarchy=%s&ancestors=on", tree(shapes));
    assert_int_equal(vt_source_classes(s), 11);
    assert_string_equal(vt_source_class_name(s, 8), "hollow thing"); /* sorted by bytes */
    assert_string_equal(vt_source_class_name(s, 9), "round");
    assert_string_equal(vt_source_class_name(s, 10), "shape");
    assert_int_equal(class_of(s, "pot"), -1);
    assert_int_equal(vt_source_most_labels(s), 4);
    assert_false(vt_source_has_single_labels(s));
    int32_t classes[4];
    assert_int_equal(vt_source_labels(s, 0, classes, 4), 3); /* disc */
    assert_true(classes[0] == 0 && classes[1] == 9 && classes[2] == 10 && classes[3] == -1);
    assert_int_equal(vt_source_labels(s, 4, classes, 4), 4); /* ring: shape is reached twice */
    assert_true(classes[0] == 4 && classes[1] == 8 && classes[2] == 9 && classes[3] == 10);
    assert_int_equal(vt_source_labels(s, 2, classes, 4), 1); /* triangle: not in the file */
    assert_int_equal(vt_source_label(s, 4), 4);
    for (int64_t c = 0; c < 11; c++)
        assert_int_equal(vt_source_is_leaf(s, c), c < 8);
    int64_t counts[11];
    vt_source_class_counts(s, counts);
    assert_true(counts[0] == 2 && counts[8] == 2 && counts[9] == 4 && counts[10] == 6);
    vt_source_close(s);
}

/* Breaks when the choice of samples or the fingerprint does not follow from what the options say. */
static void test_choice_and_fingerprint(void **state)
{
    static const char *const options[] = {"", "&hierarchy=FILE", "&hierarchy=FILE&ancestors=on"};
    char hex[3][VT_HASH_HEX], name[3][64];
    for (int k = 0; k < 3; k++) {
        char text[512];
        const char *file = strstr(options[k], "FILE");
        snprintf(text, sizeof text, "%.*s%s%s", file ? (int)(file - options[k]) : 0, options[k],
                 file ? tree(shapes) : "", file ? file + 4 : "");
        vt_source *s = fx_open("synthetic:shapes?classes=8&count=1000&split=[:10%%]%s", text);
        vt_source_fingerprint(s, hex[k]);
        vt_source_sample_name(s, 77, name[k], sizeof name[k]);
        vt_source_close(s);
        assert_string_equal(name[k], name[0]);
        for (int i = 0; i < k; i++)
            assert_string_not_equal(hex[k], hex[i]);
    }
}

/* Breaks when lists of classes do not get the ancestors of all of them, or joined sources lose them. */
static void test_lists_and_joins(void **state)
{
    static const char rows[] = "0\tsolid disc,solid ring\n1\n";
    fx_write("rows", rows, sizeof rows - 1);
    vt_source *s = fx_open("synthetic:shapes?classes=4 + synthetic:shapes?classes=8&count=2&labels=%s&hierarchy=%s&"
                           "ancestors=on",
                           fx_path("rows"), tree(shapes));
    int32_t classes[5];
    assert_int_equal(vt_source_classes(s), 11);
    assert_int_equal(vt_source_labels(s, 10000, classes, 5), 5);
    for (int i = 1; i < 5; i++)
        assert_true(classes[i] > classes[i - 1]);
    assert_string_equal(vt_source_class_name(s, classes[4]), "shape");
    assert_int_equal(vt_source_labels(s, 10001, classes, 5), 0);
    assert_false(vt_source_is_leaf(s, class_of(s, "round")));
    assert_true(vt_source_is_leaf(s, class_of(s, "solid plus")));
    vt_source_close(s);
}

/* Breaks when a wrong file is accepted, makes the reader hang, or is not explained. */
static void test_wrong_files(void **state)
{
    static const struct {
        const char *text, *words[2];
    } cases[] = {
        {"", {"no line"}},
        {"solid disc\n", {"line 1", "CHILD, TAB, PARENT"}},
        {"solid disc\tround\n\tx\n", {"line 2", "CHILD, TAB, PARENT"}},
        {"solid disc\ta\tb\n", {"line 1", "CHILD, TAB, PARENT"}},
        {"solid disc\tsolid disc\n", {"line 1", "its own parent"}},
        {"solid disc\ta\na\tb\nb\tsolid disc\n",
         {"above itself", "'solid disc' below 'a' below 'b' below 'solid disc'"}},
        {"solid disc\ta\nx\ty\ny\tx\n", {"above itself", "'x' below 'y' below 'x'"}},
        {"solid disc\ta\nb\tc\nsolid disc\ta\n", {"lines 1 and 3", "say the same"}},
        {"disc\tround\n", {"none of the data's classes", "'disc'"}},
    };
    char spec[512];
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        snprintf(spec, sizeof spec, "synthetic:shapes?hierarchy=%s&ancestors=on", tree(cases[i].text));
        fx_open_fails(spec, VT_EFORMAT + (i == 8) * (VT_EINVAL - VT_EFORMAT), "tree", cases[i].words[0],
                      cases[i].words[1], NULL);
    }
    fx_open_fails("synthetic:shapes?ancestors=on", VT_EINVAL, "needs hierarchy=FILE", NULL);
    snprintf(spec, sizeof spec, "synthetic:shapes?hierarchy=%s&ancestors=yes", tree(shapes));
    fx_open_fails(spec, VT_EINVAL, "must be on or off", NULL);
    static const unsigned char images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 5, 6};
    static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 0, 1};
    fx_write("images", images, sizeof images);
    fx_write("labels", labels, sizeof labels);
    snprintf(spec, sizeof spec, "idx:%s,%s?hierarchy=%s", fx_path("images"), fx_path("labels"), tree(shapes));
    fx_open_fails(spec, VT_EINVAL, "only numbers", "classes=FILE", NULL);
}

/* Breaks when a long chain ends the stack, takes quadratic time, or too many ancestors are cut off. */
static void test_long_chains(void **state)
{
    vt_text text = {0};
    vt_text_add(&text, "solid disc\tn0\n");
    for (int i = 0; i < 100000; i++)
        vt_text_addf(&text, "n%d\tn%d\n", i, i + 1);
    char spec[512];
    snprintf(spec, sizeof spec, "synthetic:shapes?hierarchy=%s&ancestors=on", tree(text.s));
    fx_open_fails(spec, VT_EUNSUPPORTED, "more than 63 ancestors", "solid disc", NULL);
    vt_source_close(fx_open("synthetic:shapes?hierarchy=%s", fx_path("tree")));
    vt_text_clear(&text);
    for (int i = 0; i < 63; i++)
        vt_text_addf(&text, "solid disc\tn%d\n", i);
    vt_source *s = fx_open("synthetic:shapes?hierarchy=%s&ancestors=on", tree(text.s));
    assert_int_equal(vt_source_most_labels(s), 64);
    vt_source_close(s);
    vt_text_release(&text);
}

/* Breaks (under sanitizers) when bytes of a hierarchy make the reader touch what is not there, or never end. */
static void test_random_files(void **state)
{
    static const char *const pieces[] = {"solid disc", "solid ring", "a", "b", "c", "\t", "\t", "\n", "\n", "\r"};
    vt_rng r = vt_rng_at(1, VT_STREAM_TEST, 0, 0);
    for (int round = 0; round < 200; round++) {
        vt_text text = {0};
        for (uint32_t k = vt_rng_below(&r, 30); k > 0; k--)
            vt_text_add(&text, pieces[vt_rng_below(&r, VT_COUNT_OF(pieces))]);
        char spec[512];
        snprintf(spec, sizeof spec, "synthetic:shapes?count=8&hierarchy=%s&ancestors=on", tree(text.s ? text.s : ""));
        vt_source *s;
        vt_err err = {0};
        if (vt_source_open(&s, spec, &err) == VT_OK) {
            int32_t classes[VT_MAX_LABELS];
            for (int64_t i = 0; i < 8; i++)
                assert_true(vt_source_labels(s, i, classes, VT_MAX_LABELS) >= 1);
        } else {
            assert_true(strlen(err.msg) > 10);
        }
        vt_source_close(s);
        vt_text_release(&text);
    }
}

static int clean(void **state)
{
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_off),
        cmocka_unit_test(test_on),
        cmocka_unit_test(test_choice_and_fingerprint),
        cmocka_unit_test(test_lists_and_joins),
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_long_chains),
        cmocka_unit_test(test_random_files),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
