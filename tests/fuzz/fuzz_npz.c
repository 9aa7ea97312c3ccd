/* Archives of NumPy arrays, as big_vision's models come: every array that is listed can be read or says why not, and as
 * a model to start from the archive gives a model or a sentence. */
#include <assert.h>

#include "fuzz.h"
#include "fuzz_foreign.h"
#include "train/npz.h"

enum { PIECE = 4096 };

static void read_arrays(const char *path)
{
    static unsigned char bytes[PIECE];
    vt_npz *z = NULL;
    vt_err err = {0};
    if (vt_npz_open(&z, path, &err) != VT_OK) {
        assert(err.msg[0]);
        return;
    }
    for (int64_t i = 0; i < vt_npz_count(z) && i < 64; i++) {
        const char *name = NULL;
        vt_npy header;
        if (vt_npz_header(z, i, &name, &header, &err) != VT_OK)
            continue;
        assert(name);
        if (vt_npz_read(z, i, 0, bytes, PIECE, &err) != VT_OK)
            assert(err.msg[0]);
    }
    vt_npz_close(z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(0, data, size, ".npz");
    read_arrays(path);
    fuzz_foreign(path);
    return 0;
}
