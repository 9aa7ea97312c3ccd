/* Every header of the folder compiles twice over and beside the others; names do not clash with the C library's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/attr.h"
#include "base/csv.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/keys.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/math.h"
#include "base/npy.h"
#include "base/opts.h"
#include "base/philox.h"
#include "base/pool.h"
#include "base/status.h"
#include "base/text.h"
#include "base/version.h"
#include "base/yaml.h"

#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/math.h"
#include "base/status.h"

/* "base/math.h" would hide the C library's, or a build would not know what it is. */
static void test_names(void **state)
{
    assert_true(sqrt(4.0) == 2.0 && vt_exp(0) == 1.0 && vt_ln(1) == 0.0);
    assert_true(strlen(vt_version()) > 0 && strlen(vt_commit()) > 0 && strlen(vt_compiler()) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names)};
    return cmocka_run_group_tests_name("base/headers", tests, NULL, NULL);
}
