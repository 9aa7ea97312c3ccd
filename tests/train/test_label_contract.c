/* The label contract: a model's classes and those of data are the same where their names are, whatever their places. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "train/checkpoint.h"

static char dir[64] = "/tmp/vitro-contract-XXXXXX";

/* DIR/set with a folder for each name; every one but that which ends in '-' holds a file named as an image. */
static const char *write_set(const char *set, const char *const *names, int n)
{
    static char place[256];
    vt_err err = {0};
    for (int i = 0; i < n; i++) {
        char path[512];
        size_t length = strcspn(names[i], "-");
        snprintf(path, sizeof path, "%s/%s/%.*s", dir, set, (int)length, names[i]);
        assert_int_equal(vt_make_dirs(path, &err), VT_OK);
        snprintf(path, sizeof path, "%s/%s/%.*s/a.png", dir, set, (int)length, names[i]);
        if (names[i][length] == '\0')
            assert_int_equal(vt_file_write(path, "x", 1, &err), VT_OK);
    }
    snprintf(place, sizeof place, "folder:%s/%s", dir, set);
    return place;
}

static vt_source *open_source(const char *spec)
{
    vt_source *s;
    vt_err err = {0};
    if (vt_source_open(&s, spec, &err) != VT_OK)
        fail_msg("%s: %s", spec, err.msg);
    return s;
}

/* What a training on these data writes beside its weights. */
static vt_checkpoint_info info_of(const char *const *names, int n, bool named)
{
    vt_checkpoint_info info = {.named = named};
    info.model.classes = n;
    info.class_names = calloc((size_t)n, sizeof *info.class_names);
    for (int i = 0; i < n; i++)
        info.class_names[i] = strdup(names[i]);
    return info;
}

static void release(vt_checkpoint_info *info)
{
    for (int64_t i = 0; i < info->model.classes; i++)
        free(info->class_names[i]);
    free(info->class_names);
}

/* Every class of spec must be mapped to that of its name. */
static void check_match(const vt_checkpoint_info *info, const char *spec, bool permuted)
{
    vt_source *s = open_source(spec);
    vt_err err = {0};
    int32_t map[16];
    bool other = !permuted;
    if (vt_checkpoint_match_classes(info, s, map, &other, &err) != VT_OK)
        fail_msg("%s: %s", spec, err.msg);
    for (int64_t c = 0; c < vt_source_classes(s); c++)
        assert_string_equal(info->class_names[map[c]], vt_source_class_name(s, c));
    assert_int_equal(other, permuted);
    vt_source_close(s);
}

static void check_refusal(const vt_checkpoint_info *info, const char *spec, const char *const *words)
{
    vt_source *s = open_source(spec);
    vt_err err = {0};
    int32_t map[16];
    bool permuted;
    assert_int_equal(vt_checkpoint_match_classes(info, s, map, &permuted, &err), VT_EINVAL);
    for (; *words; words++) {
        if (!strstr(err.msg, *words))
            fail_msg("'%s' is not in: %s", *words, err.msg);
    }
    vt_source_close(s);
}

#define LIST(...)                                                                                                      \
    (const char *const[])                                                                                              \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }

/* Breaks when a folder `10`, which sorts before `2`, is taken for class 0 of data that list 2 first. */
static void test_ten_before_two(void **state)
{
    vt_checkpoint_info info = info_of(LIST("2", "9", "10"), 3, true);
    check_match(&info, write_set("digits", LIST("2", "9", "10"), 3), true);
    release(&info);
    info = info_of(LIST("10", "2", "9"), 3, true);
    check_match(&info, write_set("digits", LIST("2", "9", "10"), 3), false);
    release(&info);
}

/* Breaks when data that lack a class shift those behind it. */
static void test_missing_class(void **state)
{
    vt_checkpoint_info info = info_of(LIST("ant", "bee", "cat"), 3, true);
    check_match(&info, write_set("less", LIST("ant", "cat"), 2), true);
    check_match(&info, write_set("last", LIST("ant", "bee"), 2), false);
    release(&info);
}

/* Breaks when a class that the model does not know is accepted, or the message does not show the first that differs. */
static void test_extra_class(void **state)
{
    vt_checkpoint_info info = info_of(LIST("ant", "bee", "cat"), 3, true);
    check_refusal(&info, write_set("more", LIST("ant", "bee", "cat", "dog"), 4),
                  LIST("class 3 is \"dog\"", "does not know", "of 3"));
    check_refusal(&info, write_set("other", LIST("ant", "bed", "cat"), 3),
                  LIST("class 1 is \"bed\"", "class 1 is \"bee\""));
    check_refusal(&info, "synthetic:shapes?classes=2&count=4", LIST("class 0 is \"solid disc\"", "class 0 is \"ant\""));
    release(&info);
}

/* Breaks when bare numbers pass for names, or the way out is not said. */
static void test_numbers(void **state)
{
    static const unsigned char images[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 5, 6};
    static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 0, 1};
    char spec[512];
    vt_err err = {0};
    snprintf(spec, sizeof spec, "%s/images", dir);
    assert_int_equal(vt_file_write(spec, images, sizeof images, &err), VT_OK);
    snprintf(spec, sizeof spec, "%s/labels", dir);
    assert_int_equal(vt_file_write(spec, labels, sizeof labels, &err), VT_OK);
    snprintf(spec, sizeof spec, "idx:%s/images,%s/labels", dir, dir);
    vt_checkpoint_info info = info_of(LIST("ant", "bee"), 2, true);
    check_refusal(&info, spec, LIST("class 0 is \"0\"", "only numbers", "classes=FILE"));
    release(&info);
    info = info_of(LIST("0", "1", "2"), 3, false);
    check_match(&info, spec, false);
    release(&info);
}

/* Breaks when an empty class folder goes unseen: its class would have no image, and nobody would know. */
static void test_empty_folder(void **state)
{
    vt_source *s = NULL;
    vt_err err = {0};
    const char *spec = write_set("empty", LIST("ant", "bee-", "cat"), 3);
    assert_int_equal(vt_source_open(&s, spec, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "empty/bee: the class folder holds no"));
}

/* Breaks when joined data are matched by the places of their parts. */
static void test_joined(void **state)
{
    char spec[600], first[256];
    snprintf(first, sizeof first, "%s", write_set("one", LIST("cat", "dog"), 2));
    snprintf(spec, sizeof spec, "%s + %s", first, write_set("two", LIST("ant", "cat"), 2));
    vt_checkpoint_info info = info_of(LIST("ant", "cat", "dog"), 3, true);
    check_match(&info, spec, true);
    release(&info);
}

static int make_dir(void **state)
{
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    return vt_remove_tree(dir, NULL) == VT_OK ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_before_two), cmocka_unit_test(test_missing_class), cmocka_unit_test(test_extra_class),
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_empty_folder),  cmocka_unit_test(test_joined),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
