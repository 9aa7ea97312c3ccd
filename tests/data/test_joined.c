/* Joined sources and the order of a run: what is drawn, how often, and under which class. */
#include "fixtures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "data/source.h"

static void write_images(const char *class, int n)
{
    size_t size;
    unsigned char *png = fx_png(4, 4, 1, &size);
    char name[128];
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s/%02d.png", class, i);
        fx_write(name, png, size);
    }
    free(png);
}

/* Breaks when the order of a plain source, and with it every run so far, changes. */
static void test_natural_order(void **state)
{
    vt_source *s = fx_open("synthetic:shapes?count=301");
    for (int64_t p = 0; p < 1000; p++)
        assert_int_equal(vt_source_order(s, 7, p), vt_permute(7, (uint64_t)p / 301, 301, (uint64_t)p % 301));
    vt_source_close(s);
}

/* Breaks when samples of a concatenation are lost, come twice, or lie in another part than their index says. */
static void test_concatenation(void **state)
{
    enum { A = 70, B = 31, C = 12, N = A + B + C };
    int seen[N] = {0};
    char name[64];
    vt_source *s = fx_open("synthetic:shapes?count=%d&classes=4 + synthetic:shapes?count=%d&classes=8&seed=1 + "
                           "synthetic:shapes?count=100&limit=%d&classes=4&seed=2",
                           A, B, C);
    assert_int_equal(vt_source_count(s), N);
    assert_int_equal(vt_source_classes(s), 8);
    for (int64_t p = 0; p < 2 * N; p++) {
        seen[vt_source_order(s, 3, p)]++;
        for (int i = 0; p == N - 1 && i < N; i++)
            assert_int_equal(seen[i], 1);
    }
    for (int i = 0; i < N; i++)
        assert_int_equal(seen[i], 2);
    assert_string_equal(vt_source_sample_name(s, A - 1, name, sizeof name), "shapes[69]");
    assert_string_equal(vt_source_sample_name(s, A, name, sizeof name), "shapes[0]");
    assert_string_equal(vt_source_sample_name(s, A + B - 1, name, sizeof name), "shapes[30]");
    assert_int_equal(vt_source_label(s, A + 5), 5);
    int64_t counts[8], sum = 0;
    vt_source_class_counts(s, counts);
    for (int c = 0; c < 8; c++)
        sum += counts[c];
    assert_int_equal(sum, N);
    vt_read_buffer a = {0}, b = {0};
    vt_source *second = fx_open("synthetic:shapes?count=%d&classes=8&seed=1", B);
    assert_int_equal(vt_source_read(s, A + 9, &a, NULL), VT_OK);
    assert_int_equal(vt_source_read(second, 9, &b, NULL), VT_OK);
    assert_memory_equal(a.image.pixels, b.image.pixels, 32 * 32 * 3);
    vt_read_buffer_release(&a);
    vt_read_buffer_release(&b);
    vt_source_close(second);
    vt_source_close(s);
}

/* Breaks when classes are united by place instead of name: the label contract. */
static void test_classes_by_name(void **state)
{
    char name[64];
    write_images("one/cat", 2);
    write_images("one/dog", 1);
    write_images("two/ant", 1);
    write_images("two/cat", 1);
    write_images("two/dog", 3);
    vt_source *s = fx_open("%s + folder:%s", fx_path("one"), fx_path("two"));
    assert_int_equal(vt_source_classes(s), 3);
    assert_string_equal(vt_source_class_name(s, 0), "cat");
    assert_string_equal(vt_source_class_name(s, 1), "dog");
    assert_string_equal(vt_source_class_name(s, 2), "ant");
    for (int64_t i = 0; i < vt_source_count(s); i++) {
        vt_source_sample_name(s, i, name, sizeof name);
        const char *class = vt_source_class_name(s, vt_source_label(s, i));
        assert_memory_equal(name, class, strlen(class));
    }
    vt_source_close(s);
}

/* Breaks when labels of a part whose classes lie in another order are not ascending as the source counts. */
static void test_lists_of_labels(void **state)
{
    static const char one[] = "b\na\n", two[] = "a\nb\n", rows[] = "0\ta\tb\n1\tb\n";
    fx_write("l/one", one, sizeof one - 1);
    fx_write("l/two", two, sizeof two - 1);
    fx_write("l/rows", rows, sizeof rows - 1);
    static const unsigned char images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 5, 6};
    static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 0, 1};
    fx_write("l/images", images, sizeof images);
    fx_write("l/labels", labels, sizeof labels);
    vt_source *s =
        fx_open("idx:%s,%s?classes=%s + idx:%s,%s?classes=%s&labels=%s", fx_path("l/images"), fx_path("l/labels"),
                fx_path("l/one"), fx_path("l/images"), fx_path("l/labels"), fx_path("l/two"), fx_path("l/rows"));
    int32_t classes[2];
    assert_int_equal(vt_source_most_labels(s), 2);
    assert_false(vt_source_has_single_labels(s));
    assert_int_equal(vt_source_labels(s, 2, classes, 2), 2);
    assert_true(classes[0] == 0 && classes[1] == 1);
    assert_int_equal(vt_source_labels(s, 3, classes, 2), 1);
    assert_true(classes[0] == 0 && classes[1] == -1); /* "b" is class 0 here, and 1 there */
    vt_source_close(s);
}

/* Breaks when weights do not hold over every cycle, or a part repeats an image before it showed all. */
static void test_weights(void **state)
{
    enum { A = 30, B = 100, N = 4000 };
    int64_t seen[A + B] = {0};
    vt_source *s =
        fx_open("synthetic:shapes?count=%d&weight=0.75 + synthetic:shapes?count=%d&seed=1&weight=0.25", A, B);
    for (int64_t p = 0; p < N; p++) {
        seen[vt_source_order(s, 11, p)]++;
        int64_t first = 0;
        for (int i = 0; p % 4 == 3 && i < A; i++)
            first += seen[i];
        if (p % 4 == 3)
            assert_int_equal(first, (p + 1) / 4 * 3);
    }
    for (int i = 0; i < A + B; i++)
        assert_int_equal(seen[i], i < A ? N * 3 / 4 / A : N / 4 / B);
    vt_source_close(s);
}

/* Breaks when a position's sample depends on what was asked before, or seeds give the same order. */
static void test_any_position(void **state)
{
    const char *spec = "synthetic:shapes?count=30&weight=0.7 + synthetic:shapes?count=endless&weight=0.2 + "
                       "synthetic:shapes?count=7&weight=0.1";
    vt_source *s = fx_open("%s", spec), *again = fx_open("%s", spec);
    assert_true(vt_source_is_endless(s));
    int64_t same = 0, order[500];
    for (int64_t p = 0; p < 500; p++)
        order[p] = vt_source_order(s, 1, 100000 + p);
    for (int64_t p = 499; p >= 0; p--) {
        assert_int_equal(vt_source_order(again, 1, 100000 + p), order[p]);
        same += vt_source_order(again, 2, 100000 + p) == order[p];
    }
    assert_true(same < 100);
    vt_source_close(s);
    vt_source_close(again);
}

/* Breaks when classes do not take turns, or a class repeats an image before it showed all. */
static void test_balanced(void **state)
{
    vt_err err = {0};
    int64_t seen[64] = {0}, turns[3] = {0};
    write_images("b/few", 2);
    write_images("b/many", 12);
    write_images("b/some", 6);
    vt_source *s = fx_open("%s", fx_path("b"));
    assert_int_equal(vt_source_balance(s, &err), VT_OK);
    for (int64_t p = 0; p < 36; p++) {
        int64_t i = vt_source_order(s, 5, p);
        seen[i]++;
        turns[vt_source_label(s, i)]++;
        for (int c = 0; p % 3 == 2 && c < 3; c++)
            assert_int_equal(turns[c], (p + 1) / 3);
    }
    for (int64_t i = 0; i < 20; i++)
        assert_int_equal(seen[i], vt_source_label(s, i) == 0 ? 6 : vt_source_label(s, i) == 1 ? 1 : 2);
    vt_source_close(s);
    s = fx_open("%s?weight=1 + %s?weight=1&limit=3", fx_path("b"), fx_path("b")); /* each part by itself */
    assert_int_equal(vt_source_balance(s, &err), VT_OK);
    memset(seen, 0, sizeof seen);
    for (int64_t p = 0; p < 72; p++)
        seen[vt_source_order(s, 5, p)]++;
    assert_true(vt_source_label(s, 20) == 1 && vt_source_label(s, 21) == 1 && vt_source_label(s, 22) == 2);
    assert_true(seen[20] == 9 && seen[21] == 9 && seen[22] == 18);
    vt_source_close(s);
    s = fx_open("synthetic:shapes?count=endless");
    assert_int_equal(vt_source_balance(s, &err), VT_EINVAL);
    vt_source_close(s);
}

/* Breaks when images without end repeat, take memory or time by their number, or their classes are not even. */
static void test_endless(void **state)
{
    enum { N = 4000 };
    vt_source *s = fx_open("synthetic:shapes?count=endless&classes=10&noise=0.3");
    int64_t counts[10], members[10] = {0}, least = INT64_MAX, most = 0, *order = calloc(N, sizeof *order);
    vt_source_class_counts(s, counts);
    for (int c = 0; c < 10; c++) {
        least = counts[c] < least ? counts[c] : least;
        most = counts[c] > most ? counts[c] : most;
    }
    assert_true(most - least <= 1 && most > 1LL << 40);
    for (int p = 0; p < N; p++) {
        order[p] = vt_source_order(s, 9, p);
        members[vt_source_label(s, order[p])]++;
        for (int q = 0; q < p; q++)
            assert_true(order[q] != order[p]);
    }
    for (int c = 0; c < 10; c++)
        assert_in_range(members[c], 320, 480); /* four standard deviations */
    free(order);
    vt_source_close(s);
    fx_open_fails("synthetic:shapes?count=endless&limit=10", VT_EINVAL, "no end", "count=N", NULL);
    fx_open_fails("synthetic:shapes?count=endless&split=[:10%]", VT_EINVAL, "no end", "count=N", NULL);
    fx_open_fails("synthetic:shapes?count=endless&labels=x", VT_EINVAL, "no end", "count=N", NULL);
    fx_open_fails("synthetic:shapes?count=10 + synthetic:shapes?count=endless", VT_EINVAL, "no end", "weight", NULL);
}

/* Breaks when the share of wrong labels is not what was asked, or is not spread over the other classes. */
static void test_known_noise(void **state)
{
    enum { N = 100000, CLASSES = 5 };
    for (int tenth = 0; tenth <= 10; tenth += 5) {
        vt_source *s = fx_open("synthetic:shapes?count=%d&classes=%d&noise=0.%d%s", N, CLASSES, tenth % 10,
                               tenth == 10 ? "&seed=1" : "");
        int64_t wrong = 0, shift[CLASSES] = {0};
        for (int64_t i = 0; i < N; i++) {
            int64_t off = (vt_source_label(s, i) - i % CLASSES + CLASSES) % CLASSES;
            wrong += off != 0;
            shift[off]++;
        }
        int64_t want = N / 10 * (tenth % 10);
        assert_in_range(wrong, want - want / 70, want + want / 70); /* four standard deviations and more */
        for (int k = 1; k < CLASSES; k++)
            assert_in_range(shift[k], want / 4 - want / 100, want / 4 + want / 100);
        vt_source_close(s);
    }
}

/* Breaks when what enters a joined source does not change its fingerprint. */
static void test_fingerprints(void **state)
{
    static const char *const specs[] = {
        "synthetic:shapes?count=20",
        "synthetic:shapes?count=20 + synthetic:shapes?count=20",
        "synthetic:shapes?count=20 + synthetic:shapes?count=21",
        "synthetic:shapes?count=21 + synthetic:shapes?count=20",
        "synthetic:shapes?count=20&weight=1 + synthetic:shapes?count=20&weight=1",
        "synthetic:shapes?count=20&weight=2 + synthetic:shapes?count=20&weight=1",
        "synthetic:shapes?count=20 + synthetic:shapes?count=20&seed=1",
        "synthetic:shapes?count=20 + synthetic:shapes?count=20 + synthetic:shapes?count=20",
    };
    char hex[VT_COUNT_OF(specs)][VT_HASH_HEX];
    for (size_t i = 0; i < VT_COUNT_OF(specs); i++) {
        vt_source *s = fx_open("%s", specs[i]);
        vt_source_fingerprint(s, hex[i]);
        vt_source_close(s);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(hex[i], hex[k]);
    }
}

/* Breaks when a wrong join is accepted, or its message does not name the part. */
static void test_wrong_joins(void **state)
{
    char spec[2048];
    static const unsigned char images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 5, 6};
    static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 0, 1};
    fx_write("w/images", images, sizeof images);
    fx_write("w/labels", labels, sizeof labels);
    snprintf(spec, sizeof spec, "synthetic:shapes + idx:%s,%s", fx_path("w/images"), fx_path("w/labels"));
    fx_open_fails(spec, VT_EINVAL, "only numbers", "classes=FILE", "synthetic:shapes", "w/images", NULL);
    snprintf(spec, sizeof spec, "idx:%s,%s + idx:%s,%s", fx_path("w/images"), fx_path("w/labels"), fx_path("w/images"),
             fx_path("w/labels"));
    vt_source *s = fx_open("%s", spec); /* numbers join numbers */
    assert_true(vt_source_count(s) == 4 && vt_source_classes(s) == 2 && !vt_source_has_names(s));
    vt_source_close(s);
    fx_open_fails("synthetic:shapes?weight=1 + synthetic:shapes", VT_EINVAL, "1 of 2", "weight", NULL);
    fx_open_fails("synthetic:shapes?weight=0 + synthetic:shapes?weight=1", VT_EINVAL, "weight is 0", NULL);
    fx_open_fails("synthetic:shapes?weight=much + synthetic:shapes?weight=1", VT_EINVAL, "option weight", NULL);
    fx_open_fails("synthetic:shapes?weight=-1", VT_EINVAL, "weight is -1", NULL);
    fx_open_fails("synthetic:shapes + ", VT_EINVAL, "nothing stands", NULL);
    fx_open_fails(" + synthetic:shapes", VT_EINVAL, "nothing stands", NULL);
    fx_open_fails("synthetic:shapes + synthetic:none", VT_EINVAL, "synthetic:none", NULL);
    vt_text many = {0};
    for (int i = 0; i < 65; i++)
        vt_text_addf(&many, "%ssynthetic:shapes?count=2", i ? " + " : "");
    fx_open_fails(many.s, VT_EINVAL, "more than 64", NULL);
    vt_text_release(&many);
}

static int clean(void **state)
{
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_natural_order),   cmocka_unit_test(test_concatenation),
        cmocka_unit_test(test_classes_by_name), cmocka_unit_test(test_lists_of_labels),
        cmocka_unit_test(test_weights),         cmocka_unit_test(test_any_position),
        cmocka_unit_test(test_balanced),        cmocka_unit_test(test_endless),
        cmocka_unit_test(test_known_noise),     cmocka_unit_test(test_fingerprints),
        cmocka_unit_test(test_wrong_joins),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
