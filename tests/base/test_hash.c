/* SHA-256 against the examples of FIPS 180-2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/hash.h"

/* Manifests would hold wrong hashes. */
static void test_known_answers(void **state)
{
    char hex[VT_HASH_HEX];
    vt_hash_bytes("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    vt_hash_bytes("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    vt_hasher *h = vt_hasher_new();
    vt_hasher_add(h, "a", 1);
    vt_hasher_add(h, "bc", 2);
    vt_hasher_finish(h, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* A file's hash would differ from that of its bytes, or a missing file would pass. */
static void test_file(void **state)
{
    char hex[VT_HASH_HEX];
    vt_err err = {0};
    const char *path = "test_hash.tmp";
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (int i = 0; i < 1000000; i++)
        fputc('a', f);
    fclose(f);
    assert_int_equal(vt_hash_file(path, hex, &err), VT_OK);
    assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    remove(path);
    assert_int_equal(vt_hash_file(path, hex, &err), VT_EIO);
    assert_string_equal(err.msg, "test_hash.tmp: cannot be opened: No such file or directory");
    assert_int_equal(vt_hash_file(".", hex, &err), VT_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_answers), cmocka_unit_test(test_file)};
    return cmocka_run_group_tests_name("base/hash", tests, NULL, NULL);
}
