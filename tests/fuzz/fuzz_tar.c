/* tar archives: members lie inside the file, and as shards every sample is either read or refused by name. */
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "data/source.h"
#include "data/tar.h"
#include "fuzz.h"

static void walk(const char *path, size_t size)
{
    vt_tar t;
    vt_tar_member m;
    vt_err err = {0};
    bool end = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert(fd >= 0);
    vt_tar_init(&t, fd, path, (int64_t)size);
    while (vt_tar_next(&t, &m, &end, &err) == VT_OK && !end)
        assert(m.offset >= 0 && m.size >= 0 && m.offset + m.size <= (int64_t)size && m.name[0]);
    vt_tar_release(&t);
    close(fd);
}

static void read_all(const char *kind, const char *path)
{
    vt_source *s = NULL;
    vt_read_buffer b = {0};
    vt_err err = {0};
    char *spec = vt_xasprintf("%s:%s", kind, path), name[256];
    if (vt_source_open(&s, spec, &err) == VT_OK) {
        for (int64_t i = 0; i < vt_source_count(s); i++) {
            assert(vt_source_label(s, i) < vt_source_classes(s));
            assert(vt_source_sample_name(s, i, name, sizeof name)[0]);
            if (vt_source_read(s, i, &b, &err) != VT_OK)
                assert(err.msg[0]);
        }
    } else {
        assert(err.msg[0]);
    }
    vt_read_buffer_release(&b);
    vt_source_close(s);
    free(spec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(0, data, size, "");
    walk(path, size);
    read_all("wds", path);
    read_all("folder", path);
    return 0;
}
