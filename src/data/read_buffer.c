/* A reader's buffers: room for one encoded file, read whole. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "data/collection.h"

void vt_read_buffer_note(const vt_read_buffer *b, vt_work work)
{
    if (b->work)
        atomic_store_explicit(b->work, (int)work, memory_order_relaxed);
}

void vt_read_buffer_release(vt_read_buffer *b)
{
    free(b->bytes);
    vt_image_release(&b->image);
    *b = (vt_read_buffer){0};
}

vt_status vt_read_buffer_reserve(vt_read_buffer *b, size_t size, vt_err *err)
{
    if (size > VT_MAX_FILE_BYTES)
        return vt_fail(err, VT_EFORMAT, "%zu bytes are more than the limit of %u for one image", size,
                       VT_MAX_FILE_BYTES);
    if (size > b->capacity) {
        free(b->bytes);
        b->capacity = 0;
        b->bytes = malloc(size);
        if (!b->bytes)
            return vt_fail(err, VT_ENOMEM, "no memory for a file of %zu bytes", size);
        b->capacity = size;
    }
    b->size = size;
    b->encoded = true;
    return VT_OK;
}

static vt_status read_open_file(vt_read_buffer *b, int fd, const char *path, vt_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return vt_fail_errno(err, "%s", path);
    if (!S_ISREG(st.st_mode))
        return vt_fail(err, VT_EINVAL, "%s is %s; expected an image file", path,
                       S_ISDIR(st.st_mode) ? "a folder" : "a pipe or device");
    if (vt_read_buffer_reserve(b, (size_t)st.st_size, err) != VT_OK)
        return vt_prefix(err, "%s", path);
    return vt_file_read_at(fd, path, 0, b->bytes, b->size, err);
}

vt_status vt_read_buffer_file(vt_read_buffer *b, const char *path, vt_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not hang us */
    if (fd < 0)
        return vt_fail_errno(err, "%s", path);
    vt_status status = read_open_file(b, fd, path, err);
    close(fd);
    return status;
}

vt_status vt_read_file_end(const char *path, int64_t size, unsigned char *end, size_t n, vt_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0)
        return vt_fail_errno(err, "%s", path);
    vt_status status = VT_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (int64_t)st.st_size != size)
        status = vt_fail(err, VT_EFORMAT, "%s changed while it was read", path);
    else
        status = vt_file_read_at(fd, path, size - (int64_t)n, end, n, err);
    close(fd);
    return status;
}
