#include "paper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/file.h"
#include "base/text.h"

bool paper_open(vt_table *t)
{
    const char *data = getenv("VITRO_DATA"), *source = getenv("MESON_SOURCE_ROOT");
    char *beside = data ? vt_path_join(data, "../spec/paper-runs.csv")
                        : vt_path_join(source ? source : ".", "../shared/spec/paper-runs.csv");
    const bool there = vt_is_file(beside);
    vt_err err = {0};
    if (!there)
        print_message("skipped: %s is not there (VITRO_DATA names the folder of data beside it)\n", beside);
    else if (vt_table_load(t, beside, &err) != VT_OK)
        fail_msg("%s", err.msg);
    free(beside);
    return there;
}

void paper_points(const vt_table *t, const char *where, vt_points *pts)
{
    vt_err err = {0};
    const vt_select s = {.x = "core_days", .y = "error", .where = where, .group = "model,patch,data"};
    if (vt_points_select(pts, t, &s, &err) != VT_OK)
        fail_msg("%s", err.msg);
}
