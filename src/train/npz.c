/* Reading NumPy's archives. A member that is open stays open, so that reading in rising order unpacks it once. */
#include "train/npz.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "base/file.h"
#include "base/text.h"

#define MAX_MEMBERS      65535
#define MAX_HEADER_BYTES 10000 /* NumPy's own limit */
#define FIXED_BYTES      12    /* magic, version, and the longer form of the header's length */
#define SKIP_BYTES       ((int64_t)1 << 16)

struct vt_npz {
    char *path;
    zip_t *zip;
    int64_t count;
    char name[256];
    zip_file_t *open;                 /* the member that is being read, or NULL */
    int64_t member, position, length; /* its number; bytes of its numbers that were read */
};

static vt_status refuse_zip(const vt_npz *z, const char *what, const char *reason, vt_err *err)
{
    return vt_fail(err, VT_EFORMAT, "%s: %.120s: %s; the file is cut or broken", z->path, what, reason);
}

static void leave_member(vt_npz *z)
{
    if (z->open)
        (void)zip_fclose(z->open);
    z->open = NULL;
    z->member = -1;
}

void vt_npz_close(vt_npz *z)
{
    if (!z)
        return;
    leave_member(z);
    if (z->zip)
        zip_discard(z->zip);
    free(z->path);
    free(z);
}

static vt_status open_zip(vt_npz *z, vt_err *err)
{
    int code = 0;
    z->zip = zip_open(z->path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    if (!z->zip) {
        zip_error_t error;
        zip_error_init_with_code(&error, code);
        vt_status status = vt_fail(err, VT_EFORMAT, "%s is no NumPy archive, or a broken one: %s", z->path,
                                   zip_error_strerror(&error));
        zip_error_fini(&error);
        return status;
    }
    z->count = zip_get_num_entries(z->zip, 0);
    if (z->count > MAX_MEMBERS)
        return vt_fail(err, VT_EFORMAT, "%s holds %lld members; at most %d are read", z->path, (long long)z->count,
                       MAX_MEMBERS);
    return VT_OK;
}

vt_status vt_npz_open(vt_npz **out, const char *path, vt_err *err)
{
    vt_npz *z = vt_xcalloc(1, sizeof *z);
    z->path = vt_xstrdup(path);
    z->member = -1;
    vt_status status = open_zip(z, err);
    if (status != VT_OK) {
        vt_npz_close(z);
        z = NULL;
    }
    *out = z;
    return status;
}

int64_t vt_npz_count(const vt_npz *z)
{
    return z->count;
}

static vt_status read_exactly(vt_npz *z, void *data, int64_t size, vt_err *err)
{
    for (int64_t done = 0; done < size;) {
        zip_int64_t n = zip_fread(z->open, (char *)data + done, (zip_uint64_t)(size - done));
        if (n < 0)
            return refuse_zip(z, z->name, zip_file_strerror(z->open), err);
        if (n == 0)
            return refuse_zip(z, z->name, "it ends early", err);
        done += n;
    }
    return VT_OK;
}

/* Bytes of a number; bfloat16, which NumPy does not know, is written as two bytes of no type. */
static int64_t item_bytes(const vt_npy *h)
{
    return strcmp(h->descr, "|V2") == 0 ? 2 : (int64_t)vt_npy_item_bytes(h);
}

/* The header of the member that was just opened. */
static vt_status read_header(vt_npz *z, vt_npy *h, size_t *offset, vt_err *err)
{
    unsigned char data[FIXED_BYTES + MAX_HEADER_BYTES];
    char place[400];
    (void)snprintf(place, sizeof place, "%.200s: %.160s", z->path, z->name);
    VT_TRY(read_exactly(z, data, FIXED_BYTES, err));
    size_t length = (size_t)data[8] | (size_t)data[9] << 8, fixed = FIXED_BYTES - 2;
    if (data[6] >= 2) {
        length |= (size_t)data[10] << 16 | (size_t)data[11] << 24;
        fixed = FIXED_BYTES;
    }
    if (length < 2 || length > MAX_HEADER_BYTES)
        return refuse_zip(z, z->name, "its header has a length that NumPy's never have", err);
    VT_TRY(read_exactly(z, data + FIXED_BYTES, (int64_t)(fixed + length - FIXED_BYTES), err));
    VT_TRY(vt_npy_read_header(h, data, fixed + length, place, offset, err));
    if (h->fortran && h->rank > 1)
        return vt_fail(err, VT_EUNSUPPORTED, "%s is stored column by column; save it again by numpy.ascontiguousarray",
                       place);
    return VT_OK;
}

/* Opens the member and reads its header. */
static vt_status enter(vt_npz *z, int64_t member, vt_npy *h, vt_err *err)
{
    zip_stat_t st;
    size_t offset = 0;
    leave_member(z);
    if (zip_stat_index(z->zip, (zip_uint64_t)member, 0, &st) != 0 || !(st.valid & ZIP_STAT_NAME) ||
        !(st.valid & ZIP_STAT_SIZE))
        return refuse_zip(z, "a member", zip_strerror(z->zip), err);
    (void)snprintf(z->name, sizeof z->name, "%s", st.name);
    z->open = zip_fopen_index(z->zip, (zip_uint64_t)member, 0);
    if (!z->open)
        return refuse_zip(z, z->name, zip_strerror(z->zip), err);
    VT_TRY(read_header(z, h, &offset, err));
    int64_t count = vt_npy_count(h), bytes = item_bytes(h);
    if (bytes == 0 || count > INT64_MAX / 2 / bytes || st.size != (zip_uint64_t)offset + (zip_uint64_t)(count * bytes))
        return refuse_zip(z, z->name, "it has not the length that its header tells", err);
    z->member = member;
    z->position = 0;
    z->length = count * bytes;
    return VT_OK;
}

vt_status vt_npz_header(vt_npz *z, int64_t member, const char **name, vt_npy *h, vt_err *err)
{
    VT_TRY(enter(z, member, h, err));
    size_t n = strlen(z->name);
    if (vt_has_suffix(z->name, ".npy"))
        z->name[n - strlen(".npy")] = '\0';
    *name = z->name;
    return VT_OK;
}

vt_status vt_npz_read(vt_npz *z, int64_t member, int64_t first, void *data, int64_t size, vt_err *err)
{
    vt_npy h;
    if (z->member != member || z->position > first)
        VT_TRY(enter(z, member, &h, err));
    while (z->position < first) {
        char skipped[SKIP_BYTES];
        int64_t n = first - z->position < SKIP_BYTES ? first - z->position : SKIP_BYTES;
        VT_TRY(read_exactly(z, skipped, n, err));
        z->position += n;
    }
    VT_TRY(read_exactly(z, data, size, err));
    z->position += size;
    char end;
    if (z->position == z->length && zip_fread(z->open, &end, 1) != 0) /* at the end its checksum is compared */
        return refuse_zip(z, z->name, zip_file_strerror(z->open), err);
    return VT_OK;
}
