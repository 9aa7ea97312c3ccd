/* Tables of runs, by their content CSV, JSON lines or TensorBoard events; the first byte chooses the name. */
#include <assert.h>

#include "fuzz.h"
#include "law/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const places[] = {"runs.csv", "metrics.jsonl", "events.out.tfevents.1", "table"};
    vt_table t = {0};
    vt_err err = {0};
    if (size < 1)
        return 0;
    if (vt_table_parse(&t, places[data[0] % 4], data + 1, size - 1, &err) == VT_OK) {
        for (size_t row = 0; row < t.n_rows; row++)
            for (size_t column = 0; column < t.n_columns; column++)
                assert(vt_table_cell(&t, row, column));
    } else {
        assert(err.msg[0]);
    }
    vt_table_release(&t);
    return 0;
}
