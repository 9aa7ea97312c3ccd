/* .npy headers against the bytes that NumPy writes, and whatever else a file may begin with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/npy.h"
#include "base/philox.h"

/* numpy.save of arrays of zeros, NumPy 2.4: 128 bytes of header for each. */
static const struct {
    const char *dictionary;
    vt_npy array;
} known[] = {
    {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }", {"<f4", false, 2, {3, 4}}},
    {"{'descr': '<i8', 'fortran_order': False, 'shape': (7,), }", {"<i8", false, 1, {7}}},
    {"{'descr': '<f8', 'fortran_order': False, 'shape': (), }", {"<f8", false, 0, {0}}},
    {"{'descr': '<f2', 'fortran_order': True, 'shape': (0, 5, 2), }", {"<f2", true, 3, {0, 5, 2}}},
};

static size_t bytes_of(const char *dictionary, char out[128])
{
    memset(out, ' ', 128);
    memcpy(out, "\x93NUMPY\x01\x00\x76\x00", 10);
    memcpy(out + 10, dictionary, strlen(dictionary));
    out[127] = '\n';
    return 128;
}

static void check_read(const void *data, size_t size, const vt_npy *expected, size_t begin)
{
    vt_npy a;
    size_t offset = 0;
    vt_err err = {0};
    assert_int_equal(vt_npy_read_header(&a, data, size, "x.npy", &offset, &err), VT_OK);
    assert_int_equal(offset, begin);
    assert_string_equal(a.descr, expected->descr);
    assert_int_equal(a.fortran, expected->fortran);
    assert_int_equal(a.rank, expected->rank);
    assert_memory_equal(a.shape, expected->shape, sizeof a.shape);
}

/* NumPy would not open what embed wrote, or other programs' arrays would be misread. */
static void test_known(void **state)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char bytes[128];
        vt_text text = {0};
        bytes_of(known[i].dictionary, bytes);
        check_read(bytes, sizeof bytes, &known[i].array, 128);
        vt_npy_write_header(&known[i].array, &text);
        assert_int_equal(text.len % 64, 0);
        assert_memory_equal(text.s + 10, known[i].dictionary, strlen(known[i].dictionary));
        check_read(text.s, text.len, &known[i].array, text.len);
        vt_text_release(&text);
    }
    vt_npy a = known[0].array;
    assert_int_equal(vt_npy_count(&a), 12);
    assert_int_equal(vt_npy_item_bytes(&a), 4);
    strcpy(a.descr, "<c8");
    assert_int_equal(vt_npy_item_bytes(&a), 0);
}

/* Other versions, orders of keys and quotes would be refused, though the format allows them. */
static void test_other_forms(void **state)
{
    static const char version2[] = "\x93NUMPY\x02\x00\x3b\x00\x00\x00"
                                   "{\"shape\":(3,4),'fortran_order' : False ,\"descr\":'<f4'}     \n";
    check_read(version2, 12 + 0x3b, &known[0].array, 12 + 0x3b);
}

/* A file of another kind, or a header that lies, would be believed. */
static void test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{}",
        "{'descr': '<f4', 'fortran_order': False, }",
        "{'descr': '<f4', 'fortran_order': Perhaps, 'shape': (3,), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, -4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4",
    };
    vt_npy a;
    size_t offset;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char bytes[128];
        vt_err err = {0};
        bytes_of(bad[i], bytes);
        assert_int_equal(vt_npy_read_header(&a, bytes, sizeof bytes, "x.npy", &offset, &err), VT_EFORMAT);
        assert_non_null(strstr(err.msg, "x.npy"));
    }
    char bytes[128];
    bytes_of(known[0].dictionary, bytes);
    for (size_t n = 0; n < sizeof bytes; n++) {
        char *cut = malloc(n + 1); /* so that a read beyond is seen */
        memcpy(cut, bytes, n);
        assert_int_equal(vt_npy_read_header(&a, cut, n, "x.npy", &offset, NULL), VT_EFORMAT);
        free(cut);
    }
    bytes[6] = 9;
    assert_int_equal(vt_npy_read_header(&a, bytes, sizeof bytes, "x.npy", &offset, NULL), VT_EUNSUPPORTED);
}

/* Bytes from outside would crash the reader. */
static void test_spoiled(void **state)
{
    vt_rng rng = vt_rng_at(1, VT_STREAM_TEST, 0, 0);
    for (int round = 0; round < 20000; round++) {
        char bytes[128];
        vt_npy a;
        size_t offset = 0;
        bytes_of(known[round % 4].dictionary, bytes);
        for (int k = 0; k < 1 + round % 3; k++)
            bytes[6 + vt_rng_below(&rng, 80)] = (char)vt_rng_below(&rng, 256);
        if (vt_npy_read_header(&a, bytes, sizeof bytes, "x.npy", &offset, NULL) == VT_OK)
            assert_true(offset <= sizeof bytes && a.rank <= VT_NPY_RANK && vt_npy_count(&a) >= 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_other_forms),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_spoiled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
