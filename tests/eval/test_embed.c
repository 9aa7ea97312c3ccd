/* The files of vt_embed, read back by the header reader, against images put through the model one by one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/npy.h"
#include "eval/embed.h"
#include "stage.h"

#define COUNT   13
#define CLASSES 7
#define SPEC    "synthetic:shapes?classes=7&size=10&count=13&seed=3"

static char folder[256];

static char *in_folder(const char *name)
{
    return vt_path_join(folder, name);
}

static int setup(void **state)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/vitro-embed-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    return vt_remove_tree(folder, NULL) == VT_OK ? 0 : -1;
}

/* The data behind the header of a file, malloc'ed with the header in front; *data points at them. */
static unsigned char *read_array(const char *name, vt_npy *array, const unsigned char **data)
{
    char *path = in_folder(name);
    unsigned char *bytes;
    size_t size, offset = 0;
    assert_int_equal(vt_file_read(path, 1 << 20, &bytes, &size, NULL), VT_OK);
    assert_int_equal(vt_npy_read_header(array, bytes, size, path, &offset, NULL), VT_OK);
    assert_int_equal(size - offset, (size_t)vt_npy_count(array) * vt_npy_item_bytes(array));
    *data = bytes + offset;
    free(path);
    return bytes;
}

static void check_floats(const char *name, int64_t count, int64_t width, const float *expected)
{
    vt_npy array;
    const unsigned char *data;
    unsigned char *bytes = read_array(name, &array, &data);
    assert_string_equal(array.descr, "<f4");
    assert_true(!array.fortran && array.rank == 2 && array.shape[0] == count && array.shape[1] == width);
    assert_memory_equal(data, expected, (size_t)(count * width) * sizeof(float));
    free(bytes);
}

static vt_status embed(const vt_eval_pass *pass, const char *name, bool logits, vt_err *err)
{
    char *path = in_folder(name);
    vt_status status = vt_embed(pass, path, logits, err);
    free(path);
    return status;
}

/* How many names lie in the folder, and whether one of them is that. */
static size_t listed(const char *name, bool *there)
{
    char **names;
    size_t n;
    *there = false;
    assert_int_equal(vt_list_dir(folder, &names, &n, NULL), VT_OK);
    for (size_t i = 0; i < n; i++)
        *there = *there || strcmp(names[i], name) == 0;
    vt_free_names(names, n);
    return n;
}

/* Breaks when rows are lost, doubled, in another order or of another image, whatever the micro-batch. */
static void test_arrays(void **state)
{
    static const int64_t sizes[] = {1, 5, 13, 20};
    for (size_t k = 0; k < VT_COUNT_OF(sizes); k++) {
        stage s;
        float *features, *logits;
        vt_npy array;
        const unsigned char *data;
        bool there;
        stage_open(&s, SPEC, CLASSES, sizes[k], 1);
        stage_direct(&s, &features, &logits);
        assert_int_equal(embed(&s.pass, "a.npy", true, NULL), VT_OK);
        check_floats("a.npy", COUNT, STAGE_WIDTH, features);
        check_floats("a.logits.npy", COUNT, CLASSES, logits);
        unsigned char *bytes = read_array("a.labels.npy", &array, &data);
        assert_string_equal(array.descr, "<i8");
        assert_true(array.rank == 1 && array.shape[0] == COUNT);
        for (int64_t i = 0; i < COUNT; i++) {
            int64_t class;
            memcpy(&class, data + (size_t)i * 8, 8);
            assert_int_equal(class, vt_source_label(s.source, i));
        }
        free(bytes);
        assert_int_equal(listed("a.npy", &there), 5); /* no temporary is left */
        free(features);
        free(logits);
        stage_close(&s);
    }
}

/* Breaks when chosen samples get the names or features of others. */
static void test_picks(void **state)
{
    static const int64_t picks[] = {12, 0, 7};
    stage s;
    float *features, *logits, expected[3][STAGE_WIDTH];
    unsigned char *text;
    size_t size;
    stage_open(&s, SPEC, CLASSES, 2, 1);
    stage_direct(&s, &features, &logits);
    s.pass.picks = picks;
    s.pass.n_picks = 3;
    for (int i = 0; i < 3; i++)
        memcpy(expected[i], features + picks[i] * STAGE_WIDTH, sizeof expected[i]);
    assert_int_equal(embed(&s.pass, "picked.npy", false, NULL), VT_OK);
    check_floats("picked.npy", 3, STAGE_WIDTH, expected[0]);
    char *path = in_folder("picked.keys.txt");
    assert_int_equal(vt_file_read(path, 1000, &text, &size, NULL), VT_OK);
    assert_string_equal((char *)text, "shapes[12]\nshapes[0]\nshapes[7]\n");
    free(text);
    free(path);
    free(features);
    free(logits);
    stage_close(&s);
}

/* Breaks when images with several classes or none lose some, or rows are not filled up with -1. */
static void test_label_sets(void **state)
{
    static const char *const lists[3] = {"solid bar", "", "solid diamond,solid ring,solid square"};
    char file[256], spec[1024];
    stage s;
    vt_npy array;
    const unsigned char *data;
    stage_write_labels(file, COUNT, lists, 3);
    snprintf(spec, sizeof spec, SPEC "&labels=%s", file);
    stage_open(&s, spec, CLASSES, 4, 1);
    assert_int_equal(embed(&s.pass, "sets.npy", false, NULL), VT_OK);
    unsigned char *bytes = read_array("sets.labels.npy", &array, &data);
    assert_true(array.rank == 2 && array.shape[0] == COUNT && array.shape[1] == 3);
    for (int64_t i = 0; i < COUNT; i++) {
        int32_t classes[3];
        int64_t row[3];
        vt_source_labels(s.source, i, classes, 3);
        memcpy(row, data + (size_t)i * sizeof row, sizeof row);
        for (int k = 0; k < 3; k++)
            assert_int_equal(row[k], classes[k]);
    }
    free(bytes);
    stage_close(&s);
    assert_int_equal(unlink(file), 0);
}

static int stop(void)
{
    return 1;
}

/* Breaks when a failed or stopped one leaves a partial file, or takes the complete one of before away. */
static void test_never_partial(void **state)
{
    for (int how = 0; how < 2; how++) {
        stage s;
        float *features, *logits;
        vt_err err = {0};
        bool there;
        stage_open(&s, SPEC, CLASSES, 4, 1);
        stage_direct(&s, &features, &logits);
        assert_int_equal(embed(&s.pass, "kept.npy", false, NULL), VT_OK);
        size_t before = listed("kept.npy", &there);
        if (how == 0)
            stage_spoil(&s);
        else
            s.pass.stop = stop;
        assert_int_equal(embed(&s.pass, "kept.npy", true, &err), how == 0 ? VT_EDIVERGED : VT_ESTOPPED);
        assert_non_null(strstr(err.msg, how == 0 ? "shapes[0]" : "stopped"));
        assert_int_equal(listed("kept.npy", &there), before);
        assert_true(there);
        check_floats("kept.npy", COUNT, STAGE_WIDTH, features);
        free(features);
        free(logits);
        stage_close(&s);
    }
}

/* Breaks when what cannot be written is begun. */
static void test_refused(void **state)
{
    stage s;
    vt_err err = {0};
    stage_open(&s, SPEC, 0, 4, 1);
    assert_int_equal(embed(&s.pass, "x.npy", true, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "no classifier"));
    assert_int_equal(embed(&s.pass, "x.bin", false, &err), VT_EINVAL);
    assert_int_equal(embed(&s.pass, ".npy", false, &err), VT_EINVAL);
    assert_int_equal(embed(&s.pass, "x.npy", false, &err), VT_OK); /* features need no classifier */
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arrays),        cmocka_unit_test(test_picks),   cmocka_unit_test(test_label_sets),
        cmocka_unit_test(test_never_partial), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
