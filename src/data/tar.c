/* The tar reader: header after header, with extended headers remembered for the member that follows them. */
#include "data/tar.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define BLOCK         512
#define MAX_NAME      4096      /* bytes of a member's name */
#define MAX_PAX_BYTES (1 << 20) /* of one extended header */

/* Offsets in a header block (ustar). */
enum { NAME = 0, SIZE = 124, CHECKSUM = 148, TYPE = 156, MAGIC = 257, PREFIX = 345 };
enum { NAME_BYTES = 100, SIZE_BYTES = 12, CHECKSUM_BYTES = 8, PREFIX_BYTES = 155 };

void vt_tar_init(vt_tar *t, int fd, const char *path, int64_t size)
{
    *t = (vt_tar){.fd = fd, .path = path, .size = size, .long_size = -1};
}

void vt_tar_release(vt_tar *t)
{
    vt_text_release(&t->name);
    vt_text_release(&t->long_name);
}

static vt_status broken(const vt_tar *t, vt_err *err, const char *what)
{
    return vt_fail(err, VT_EFORMAT, "%s: broken tar file: %s in the header at byte %lld", t->path, what,
                   (long long)t->at);
}

/* An octal number (spaces before, space or NUL behind), or base 256 where the first bit is set. */
static bool parse_number(const unsigned char *field, int n, int64_t *value)
{
    *value = 0;
    if (field[0] & 0x80) {
        int64_t v = field[0] & 0x7f;
        for (int i = 1; i < n; i++) {
            if (v > INT64_MAX >> 8)
                return false;
            v = v << 8 | field[i];
        }
        *value = v;
        return true;
    }
    int i = 0;
    while (i < n && field[i] == ' ')
        i++;
    for (; i < n && field[i] >= '0' && field[i] <= '7'; i++)
        *value = *value * 8 + (field[i] - '0'); /* 12 digits at most: no overflow */
    return i == n || field[i] == '\0' || field[i] == ' ';
}

static bool checksum_holds(const unsigned char *block)
{
    int64_t want;
    if (!parse_number(block + CHECKSUM, CHECKSUM_BYTES, &want))
        return false;
    int64_t plain = 0, as_signed = 0; /* old writers summed signed bytes */
    for (int i = 0; i < BLOCK; i++) {
        int b = i >= CHECKSUM && i < CHECKSUM + CHECKSUM_BYTES ? ' ' : block[i];
        plain += b;
        as_signed += b < 128 ? b : b - 256;
    }
    return want == plain || want == as_signed;
}

static bool is_zero(const unsigned char *block)
{
    for (int i = 0; i < BLOCK; i++) {
        if (block[i] != 0)
            return false;
    }
    return true;
}

static void set_ustar_name(vt_tar *t, const unsigned char *block)
{
    const char *text = (const char *)block;
    vt_text_clear(&t->name);
    if (memcmp(text + MAGIC, "ustar\0", 6) == 0 && text[PREFIX]) {
        vt_text_addn(&t->name, text + PREFIX, strnlen(text + PREFIX, PREFIX_BYTES));
        vt_text_add(&t->name, "/");
    }
    vt_text_addn(&t->name, text + NAME, strnlen(text + NAME, NAME_BYTES));
}

static vt_status set_long_name(vt_tar *t, const char *name, size_t n, vt_err *err)
{
    n = strnlen(name, n);
    if (n > MAX_NAME)
        return broken(t, err, "a member's name above 4096 bytes");
    vt_text_clear(&t->long_name);
    vt_text_addn(&t->long_name, name, n);
    return VT_OK;
}

/* One pax record "LENGTH KEY=VALUE\n" at s, of at most n bytes; its length, or 0 where it is malformed. */
static size_t pax_record(const char *s, size_t n, const char **key, const char **value, size_t *value_bytes)
{
    size_t length = 0, i = 0;
    while (i < n && i < 8 && s[i] >= '0' && s[i] <= '9')
        length = length * 10 + (size_t)(s[i++] - '0');
    if (i == 0 || i >= n || s[i] != ' ' || length > n || length < i + 4 || s[length - 1] != '\n')
        return 0;
    const char *equals = memchr(s + i, '=', length - i);
    if (!equals)
        return 0;
    *key = s + i + 1;
    *value = equals + 1;
    *value_bytes = (size_t)(s + length - 1 - *value);
    return length;
}

static bool parse_decimal(const char *s, size_t n, int64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9' || *value > (INT64_MAX - 9) / 10)
            return false;
        *value = *value * 10 + (s[i] - '0');
    }
    return n > 0;
}

static vt_status read_pax(vt_tar *t, const char *data, size_t n, vt_err *err)
{
    while (n > 0) {
        const char *key, *value;
        size_t value_bytes, used = pax_record(data, n, &key, &value, &value_bytes);
        if (used == 0)
            return broken(t, err, "a malformed pax record");
        if (strncmp(key, "path=", 5) == 0)
            VT_TRY(set_long_name(t, value, value_bytes, err));
        else if (strncmp(key, "size=", 5) == 0 && !parse_decimal(value, value_bytes, &t->long_size))
            return broken(t, err, "a pax size that is no number");
        else if (strncmp(key, "GNU.sparse.", 11) == 0)
            return vt_fail(err, VT_EUNSUPPORTED,
                           "%s: holds sparse files, which are not read; pack it again without them", t->path);
        data += used;
        n -= used;
    }
    return VT_OK;
}

/* The contents of an extended header ('x' or 'L'), kept for the next member. */
static vt_status read_extension(vt_tar *t, char type, int64_t size, vt_err *err)
{
    if (size > MAX_PAX_BYTES)
        return broken(t, err, "an extended header above 1 MiB");
    char *data = vt_xmalloc((size_t)size + 1);
    data[size] = '\0';
    vt_status status = vt_file_read_at(t->fd, t->path, t->at + BLOCK, data, (size_t)size, err);
    if (status == VT_OK)
        status = type == 'x' ? read_pax(t, data, (size_t)size, err) : set_long_name(t, data, (size_t)size, err);
    free(data);
    return status;
}

static vt_status read_header(vt_tar *t, unsigned char *block, bool *end, vt_err *err)
{
    if (t->size - t->at < BLOCK)
        return vt_fail(err, VT_EFORMAT, "%s: truncated tar file: it ends at byte %lld without an end mark", t->path,
                       (long long)t->size);
    VT_TRY(vt_file_read_at(t->fd, t->path, t->at, block, BLOCK, err));
    *end = is_zero(block);
    if (*end)
        return VT_OK;
    if (!checksum_holds(block))
        return t->at == 0 ? vt_fail(err, VT_EFORMAT, "%s: not a tar file", t->path)
                          : broken(t, err, "a wrong checksum");
    return VT_OK;
}

/* Size of the contents behind a header. Links, devices and folders have none, whatever their size field says. */
static vt_status content_size(const vt_tar *t, const unsigned char *block, char type, int64_t *size, vt_err *err)
{
    if (!parse_number(block + SIZE, SIZE_BYTES, size))
        return broken(t, err, "a size that is no number");
    bool extension = type == 'x' || type == 'g' || type == 'L' || type == 'K';
    if (!extension && t->long_size >= 0)
        *size = t->long_size;
    if (type >= '1' && type <= '6')
        *size = 0;
    if (*size > t->size - t->at - BLOCK)
        return vt_fail(
            err, VT_EFORMAT,
            "%s: truncated tar file: the member at byte %lld declares %lld bytes, but the file has only %lld", t->path,
            (long long)t->at, (long long)*size, (long long)t->size);
    return VT_OK;
}

vt_status vt_tar_next(vt_tar *t, vt_tar_member *member, bool *end, vt_err *err)
{
    unsigned char block[BLOCK];
    for (;;) {
        int64_t size;
        VT_TRY(read_header(t, block, end, err));
        if (*end)
            return VT_OK;
        char type = (char)block[TYPE];
        VT_TRY(content_size(t, block, type, &size, err));
        if (type == 'S')
            return vt_fail(err, VT_EUNSUPPORTED,
                           "%s: holds sparse files, which are not read; pack it again without them", t->path);
        int64_t offset = t->at + BLOCK;
        if (type == 'x' || type == 'L')
            VT_TRY(read_extension(t, type, size, err));
        /* The padding of the last member may be missing; the header that is then expected is what fails. */
        t->at = offset + (size + BLOCK - 1) / BLOCK * BLOCK;
        if (type == 'x' || type == 'L' || type == 'g' || type == 'K')
            continue;
        set_ustar_name(t, block);
        if (t->long_name.len > 0) {
            vt_text_clear(&t->name);
            vt_text_addn(&t->name, t->long_name.s, t->long_name.len);
        }
        vt_text_clear(&t->long_name);
        t->long_size = -1;
        if (t->name.len == 0)
            continue;
        if (type == '0' || type == '\0' || type == '7') {
            *member = (vt_tar_member){t->name.s, offset, size, false, false};
            return VT_OK;
        }
        if (type == '5' || type == '1' || type == '2') {
            *member = (vt_tar_member){t->name.s, offset, 0, type == '5', type != '5'};
            return VT_OK;
        }
    }
}
