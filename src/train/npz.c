/* Reading NumPy's archives. Format of the members: NumPy's NEP 1 (magic, version, header length, header, numbers). */
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
#define MAGIC            "\x93NUMPY"
#define MAGIC_BYTES      6
#define SKIP_BYTES       ((int64_t)1 << 16)

struct vt_npz {
    char *path;
    zip_t *zip;
    int64_t count;
    char name[256];
    zip_file_t *open; /* the member that is being read, or NULL */
    int64_t member, position; /* its number; bytes of its numbers that were read */
};

/* --- the header of an array -----------------------------------------------------------------------------------------
 */

typedef struct {
    const char *at, *end, *place;
    vt_err *err;
} cursor;

static vt_status refuse(const cursor *c, const char *what)
{
    return vt_fail(c->err, VT_EFORMAT, "%s: its header has no %s where one must stand; NumPy did not write it",
                   c->place, what);
}

static void skip_blanks(cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n'))
        c->at++;
}

static bool take(cursor *c, const char *word)
{
    size_t n = strlen(word);
    skip_blanks(c);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0)
        return false;
    c->at += n;
    return true;
}

/* 'text' between quotes, without escapes. */
static vt_status take_quoted(cursor *c, char *text, size_t size)
{
    if (!take(c, "'"))
        return refuse(c, "quoted word");
    size_t n = 0;
    while (c->at < c->end && *c->at != '\'' && *c->at != '\\' && n + 1 < size)
        text[n++] = *c->at++;
    text[n] = '\0';
    return take(c, "'") ? VT_OK : refuse(c, "end of a quoted word");
}

static vt_status take_side(cursor *c, int64_t *side)
{
    const char *first = c->at;
    *side = 0;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9' && c->at - first < 18)
        *side = *side * 10 + (*c->at++ - '0');
    return c->at > first ? VT_OK : refuse(c, "number");
}

/* "(2, 3)", "(2,)", "()". */
static vt_status take_shape(cursor *c, vt_npy *h)
{
    h->n_dims = 0;
    h->count = 1;
    if (!take(c, "("))
        return refuse(c, "shape in parentheses");
    while (!take(c, ")")) {
        int64_t side = 0;
        VT_TRY(take_side(c, &side));
        if (h->n_dims == VT_NPY_DIMS)
            return vt_fail(c->err, VT_EUNSUPPORTED, "%s has more than %d sides", c->place, VT_NPY_DIMS);
        if (side > 0 && h->count > INT64_MAX / 16 / side)
            return vt_fail(c->err, VT_EFORMAT, "%s: its header claims more numbers than any file holds", c->place);
        h->dims[h->n_dims++] = side;
        h->count *= side;
        skip_blanks(c);
        if (!take(c, ",") && (h->n_dims == 1 || c->at == c->end || *c->at != ')'))
            return refuse(c, "comma in a shape");
        skip_blanks(c);
    }
    return VT_OK;
}

/* Bytes of a number of that type: the digits behind its letter. */
static int64_t item_bytes(const char *dtype)
{
    int64_t bytes = 0;
    if (strlen(dtype) < 3 || strlen(dtype) > 5 || !strchr("<>|=", dtype[0]) || vt_parse_i64(dtype + 2, &bytes, NULL))
        return 0;
    return bytes > 0 && bytes <= 1024 ? bytes : 0;
}

vt_status vt_npy_parse(const char *text, size_t length, const char *place, vt_npy *h, vt_err *err)
{
    cursor c = {text, text + length, place, err};
    bool fortran = false, seen[3] = {false};
    *h = (vt_npy){.count = 1};
    if (!take(&c, "{"))
        return refuse(&c, "{");
    while (!take(&c, "}")) {
        char key[16];
        VT_TRY(take_quoted(&c, key, sizeof key));
        int which = strcmp(key, "descr") == 0 ? 0 : strcmp(key, "fortran_order") == 0 ? 1 : strcmp(key, "shape") ? 3 : 2;
        if (which == 3 || seen[which] || !take(&c, ":"))
            return refuse(&c, "descr, fortran_order and shape, each once,");
        seen[which] = true;
        if (which == 0) {
            VT_TRY(take_quoted(&c, h->dtype, sizeof h->dtype));
        } else if (which == 1) {
            fortran = take(&c, "True");
            if (!fortran && !take(&c, "False"))
                return refuse(&c, "True or False");
        } else {
            VT_TRY(take_shape(&c, h));
        }
        if (!take(&c, ",") && (skip_blanks(&c), c.at == c.end || *c.at != '}'))
            return refuse(&c, "comma");
    }
    skip_blanks(&c);
    h->item_bytes = item_bytes(h->dtype);
    if (c.at != c.end || !seen[0] || !seen[1] || !seen[2] || h->item_bytes == 0)
        return refuse(&c, "complete description");
    if (fortran && h->n_dims > 1)
        return vt_fail(err, VT_EUNSUPPORTED, "%s is stored column by column; save it again by numpy.ascontiguousarray",
                       place);
    return VT_OK;
}

/* --- the archive ----------------------------------------------------------------------------------------------------
 */

static vt_status refuse_zip(const vt_npz *z, const char *what, const char *reason, vt_err *err)
{
    return vt_fail(err, VT_EFORMAT, "%s: %.120s: %s; the file is cut or broken", z->path, what, reason);
}

vt_status vt_npz_open(vt_npz **out, const char *path, vt_err *err)
{
    int code = 0;
    vt_npz *z = vt_xcalloc(1, sizeof *z);
    z->path = vt_xstrdup(path);
    z->member = -1;
    z->zip = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    *out = z;
    if (!z->zip) {
        zip_error_t error;
        zip_error_init_with_code(&error, code);
        vt_status status = vt_fail(err, VT_EFORMAT, "%s is no NumPy archive, or a broken one: %s", path,
                                   zip_error_strerror(&error));
        zip_error_fini(&error);
        return status;
    }
    z->count = zip_get_num_entries(z->zip, 0);
    if (z->count > MAX_MEMBERS)
        return vt_fail(err, VT_EFORMAT, "%s holds %lld members; at most %d are read", path, (long long)z->count,
                       MAX_MEMBERS);
    return VT_OK;
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

/* Opens the member and reads its header. */
static vt_status enter(vt_npz *z, int64_t member, vt_npy *h, vt_err *err)
{
    zip_stat_t st;
    unsigned char begin[MAGIC_BYTES + 6];
    leave_member(z);
    if (zip_stat_index(z->zip, (zip_uint64_t)member, 0, &st) != 0 || !(st.valid & ZIP_STAT_NAME) ||
        !(st.valid & ZIP_STAT_SIZE) || st.size > INT64_MAX / 2)
        return refuse_zip(z, "a member", zip_strerror(z->zip), err);
    (void)snprintf(z->name, sizeof z->name, "%s", st.name);
    z->open = zip_fopen_index(z->zip, (zip_uint64_t)member, 0);
    if (!z->open)
        return refuse_zip(z, z->name, zip_strerror(z->zip), err);
    VT_TRY(read_exactly(z, begin, MAGIC_BYTES + 4, err));
    if (memcmp(begin, MAGIC, MAGIC_BYTES) != 0 || begin[6] < 1 || begin[6] > 3)
        return refuse_zip(z, z->name, "it does not begin as an array of NumPy's", err);
    size_t length = (size_t)begin[8] | (size_t)begin[9] << 8, fixed = MAGIC_BYTES + 4;
    if (begin[6] >= 2) {
        VT_TRY(read_exactly(z, begin + fixed, 2, err));
        length |= (size_t)begin[10] << 16 | (size_t)begin[11] << 24;
        fixed += 2;
    }
    if (length > MAX_HEADER_BYTES)
        return refuse_zip(z, z->name, "its header is longer than NumPy's ever are", err);
    char text[MAX_HEADER_BYTES], place[400];
    VT_TRY(read_exactly(z, text, (int64_t)length, err));
    (void)snprintf(place, sizeof place, "%.200s: %.160s", z->path, z->name);
    VT_TRY(vt_npy_parse(text, length, place, h, err));
    if (h->count > INT64_MAX / 2 / h->item_bytes ||
        (int64_t)st.size != (int64_t)(fixed + length) + h->count * h->item_bytes)
        return refuse_zip(z, z->name, "it has not the length that its header tells", err);
    z->member = member;
    z->position = 0;
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
    return VT_OK;
}
