/* IDX pairs, plain or gzip: the input is the length of the first file (2 bytes), then both files. */
#include <assert.h>
#include <stdlib.h>

#include "base/text.h"
#include "data/source.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t first = (size_t)data[0] << 8 | data[1];
    data += 2, size -= 2;
    first = first < size ? first : size;
    const char *images = fuzz_file(0, data, first, ""), *labels = fuzz_file(1, data + first, size - first, "");
    char *spec = vt_xasprintf("idx:%s,%s", images, labels);
    vt_source *s = NULL;
    vt_read_buffer b = {0};
    vt_err err = {0};
    if (vt_source_open(&s, spec, &err) == VT_OK) {
        for (int64_t i = 0; i < vt_source_count(s) && i < 100; i++) {
            assert(vt_source_label(s, i) >= 0 && vt_source_label(s, i) < vt_source_classes(s));
            assert(vt_source_read(s, i, &b, &err) == VT_OK);
        }
    } else {
        assert(err.msg[0]);
    }
    vt_read_buffer_release(&b);
    vt_source_close(s);
    free(spec);
    return 0;
}
