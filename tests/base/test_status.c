/* Failures carry code and sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/status.h"

static vt_status fails(vt_err *err)
{
    return vt_fail(err, VT_EFORMAT, "line %d", 3);
}

static vt_status passes_on(vt_err *err, int *reached)
{
    VT_TRY(fails(err));
    *reached = 1;
    return VT_OK;
}

/* A failure would be swallowed or lose its place. */
static void test_try_and_prefix(void **state)
{
    vt_err err = {0};
    int reached = 0;
    assert_int_equal(passes_on(&err, &reached), VT_EFORMAT);
    assert_int_equal(reached, 0);
    assert_int_equal(vt_prefix(&err, "file %s", "a"), VT_EFORMAT);
    assert_string_equal(err.msg, "file a: line 3");
    assert_int_equal(err.code, VT_EFORMAT);
    assert_int_equal(fails(NULL), VT_EFORMAT);
    assert_int_equal(vt_prefix(NULL, "x"), VT_EINVAL);
}

/* The reason of the system would be missing. */
static void test_errno(void **state)
{
    vt_err err = {0};
    errno = ENOENT;
    assert_int_equal(vt_fail_errno(&err, "%s: cannot be opened", "f"), VT_EIO);
    assert_string_equal(err.msg, "f: cannot be opened: No such file or directory");
}

/* A message longer than the buffer would overrun it; one built from itself would be garbled. */
static void test_long_and_own_message(void **state)
{
    vt_err err = {0};
    char big[2000];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    vt_fail(&err, VT_EINVAL, "%s", big);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
    vt_prefix(&err, "%s", big);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
    errno = EIO;
    vt_fail_errno(&err, "%s", big);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
    vt_fail(&err, VT_EINVAL, "short");
    vt_fail(&err, VT_EIO, "outer (%s)", err.msg);
    assert_string_equal(err.msg, "outer (short)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_try_and_prefix), cmocka_unit_test(test_errno),
                                       cmocka_unit_test(test_long_and_own_message)};
    return cmocka_run_group_tests_name("base/status", tests, NULL, NULL);
}
