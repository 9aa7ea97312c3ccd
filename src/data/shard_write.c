/* A member is a header of 512 bytes, then its contents, padded with zeros to a multiple of 512 (IEEE 1003.1, ustar
 * interchange format). Two blocks of zeros end the file. */
#include "data/shard_write.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define BLOCK 512

/* Offsets and bytes in a header. */
enum { NAME = 0, MODE = 100, UID = 108, GID = 116, SIZE = 124, TIME = 136, CHECKSUM = 148, TYPE = 156, MAGIC = 257 };
enum { PREFIX = 345, NAME_BYTES = 100, NUMBER_BYTES = 8, LONG_BYTES = 12, PREFIX_BYTES = 155 };

/* Where a long name is cut: the bytes before the slash go to the prefix. 0: it needs no cut; -1: it does not fit. */
static int cut_of(const char *name)
{
    const size_t n = strlen(name);
    if (n <= NAME_BYTES)
        return 0;
    for (size_t i = n - NAME_BYTES - 1; i <= PREFIX_BYTES && i + 1 < n; i++)
        if (name[i] == '/' && i > 0)
            return (int)i;
    return -1;
}

bool vt_shard_name_fits(const char *name)
{
    return name[0] && cut_of(name) >= 0;
}

static int64_t padded(int64_t size)
{
    return (size + BLOCK - 1) / BLOCK * BLOCK;
}

int64_t vt_shard_member_bytes(int64_t size)
{
    return BLOCK + padded(size);
}

/* Octal digits that fill the field but for its terminator. */
static void put_number(unsigned char *header, int offset, int bytes, uint64_t value)
{
    for (int i = bytes - 2; i >= 0; i--) {
        header[offset + i] = (unsigned char)('0' + (value & 7));
        value >>= 3;
    }
}

static void fill_header(unsigned char *header, const char *name, size_t size)
{
    const int cut = cut_of(name);
    unsigned sum = 0;
    memset(header, 0, BLOCK);
    const char *tail = cut > 0 ? name + cut + 1 : name;
    memcpy(header + NAME, tail, strlen(tail));
    if (cut > 0)
        memcpy(header + PREFIX, name, (size_t)cut);
    put_number(header, MODE, NUMBER_BYTES, 0644);
    put_number(header, UID, NUMBER_BYTES, 0);
    put_number(header, GID, NUMBER_BYTES, 0);
    put_number(header, SIZE, LONG_BYTES, size);
    put_number(header, TIME, LONG_BYTES, 0);
    header[TYPE] = '0';
    memcpy(header + MAGIC, "ustar\00000", 8);
    memset(header + CHECKSUM, ' ', NUMBER_BYTES);
    for (int i = 0; i < BLOCK; i++)
        sum += header[i];
    put_number(header, CHECKSUM, NUMBER_BYTES - 1, sum); /* six digits, zero, space */
    header[CHECKSUM + NUMBER_BYTES - 2] = '\0';
}

static vt_status put(vt_shard *s, const void *data, size_t size, vt_err *err)
{
    vt_hasher_add(s->hasher, data, size);
    s->bytes += (int64_t)size;
    return vt_atomic_write(&s->file, data, size, err);
}

vt_status vt_shard_open(vt_shard *s, const char *path, vt_err *err)
{
    *s = (vt_shard){0};
    VT_TRY(vt_atomic_open(&s->file, path, err));
    s->hasher = vt_hasher_new();
    return VT_OK;
}

vt_status vt_shard_add(vt_shard *s, const char *name, const void *data, size_t size, vt_err *err)
{
    static const unsigned char zeros[BLOCK];
    unsigned char header[BLOCK];
    if (!vt_shard_name_fits(name))
        return vt_fail(err, VT_EINVAL, "%s: the name '%.300s' does not fit into a tar header", s->file.path, name);
    fill_header(header, name, size);
    VT_TRY(put(s, header, BLOCK, err));
    VT_TRY(put(s, data, size, err));
    return put(s, zeros, (size_t)(padded((int64_t)size) - (int64_t)size), err);
}

vt_status vt_shard_finish(vt_shard *s, char hex[VT_HASH_HEX], vt_err *err)
{
    static const unsigned char zeros[2 * BLOCK];
    VT_TRY(put(s, zeros, sizeof zeros, err));
    vt_hasher_finish(s->hasher, hex);
    s->hasher = NULL;
    return vt_atomic_commit(&s->file, err);
}

void vt_shard_release(vt_shard *s)
{
    char unused[VT_HASH_HEX];
    if (s->hasher)
        vt_hasher_finish(s->hasher, unused);
    vt_atomic_release(&s->file);
    *s = (vt_shard){0};
}
