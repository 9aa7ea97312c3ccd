/* Lists of members. The cached file is: a mark, counts, the entries, the names, the kept contents, and the SHA-256 of
 * all that; it is found by the tar's path, size and time of change. One that does not check is made again. */
#include "data/tar_index.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "data/collection.h"
#include "data/tar.h"
#include "data/unpack.h"

#define WORTH_CACHING 256 /* members: fewer are walked in no time */
#define MAX_INDEX     (1LL << 36)

static const char mark[16] = "vitro members 1"; /* and the order of bytes in n: a copy from elsewhere does not check */

typedef struct {
    char mark[sizeof mark];
    int64_t n, names, contents, entry_bytes;
} head;

static vt_status add_member(vt_tar_index *x, const vt_tar_member *m, vt_err *err)
{
    if (x->n == x->capacity) {
        x->capacity = x->capacity ? x->capacity * 2 : 256;
        x->entries = vt_xrealloc(x->entries, (size_t)x->capacity * sizeof *x->entries);
    }
    vt_tar_entry *e = &x->entries[x->n++];
    *e = (vt_tar_entry){(int64_t)x->names.len, m->offset, m->size, -1,
                        m->folder ? VT_TAR_FOLDER
                        : m->link ? VT_TAR_LINK
                                  : VT_TAR_FILE};
    vt_text_addn(&x->names, m->name, strlen(m->name) + 1);
    if (e->kind != VT_TAR_FILE || m->size > VT_TAR_KEPT_BYTES)
        return VT_OK;
    char content[VT_TAR_KEPT_BYTES];
    VT_TRY(vt_tar_index_read_at(x, m->offset, content, (size_t)m->size, err));
    e->kept = (int64_t)x->contents.len;
    vt_text_addn(&x->contents, content, (size_t)m->size);
    return VT_OK;
}

static vt_status walk(vt_tar_index *x, const char *given, int64_t size, vt_err *err)
{
    vt_tar t;
    vt_tar_init(&t, x->fd, given, size);
    vt_status status = VT_OK;
    for (bool end = false; status == VT_OK && !end;) {
        vt_tar_member m;
        status = vt_tar_next(&t, &m, &end, err);
        if (status == VT_OK && !end)
            status = add_member(x, &m, err);
    }
    vt_tar_release(&t);
    return status;
}

/* --- the cached list --- */

static void save(const vt_tar_index *x, const char *name)
{
    vt_text out = {0};
    head h = {.n = x->n,
              .names = (int64_t)x->names.len,
              .contents = (int64_t)x->contents.len,
              .entry_bytes = sizeof *x->entries};
    char hex[VT_HASH_HEX];
    vt_err err = {0};
    memcpy(h.mark, mark, sizeof mark);
    vt_text_addn(&out, (const char *)&h, sizeof h);
    vt_text_addn(&out, (const char *)x->entries, (size_t)x->n * sizeof *x->entries);
    vt_text_addn(&out, x->names.s, x->names.len);
    vt_text_addn(&out, x->contents.s ? x->contents.s : "", x->contents.len);
    vt_hash_bytes(out.s, out.len, hex);
    vt_text_addn(&out, hex, VT_HASH_HEX);
    if (vt_file_write(name, out.s, out.len, &err) != VT_OK)
        vt_log(VT_LOG_WARN, "the list of members cannot be kept: %s", err.msg);
    vt_text_release(&out);
}

/* Whether every entry points into names, contents and a file of `size` bytes. */
static bool holds(const vt_tar_index *x, int64_t size)
{
    int64_t names = (int64_t)x->names.len, contents = (int64_t)x->contents.len;
    bool good = names > 0 && x->names.s[names - 1] == '\0';
    for (int64_t i = 0; i < x->n && good; i++) {
        const vt_tar_entry *e = &x->entries[i];
        good = e->name >= 0 && e->name < names && e->offset >= 0 && e->size >= 0 && e->offset <= size &&
               e->size <= size - e->offset && e->kind >= 0 && e->kind < VT_TAR_KINDS && e->kept >= -1 &&
               e->kept <= contents && (e->kept < 0 || e->size <= contents - e->kept);
    }
    return good;
}

static bool take(vt_tar_index *x, const unsigned char *data, size_t bytes, int64_t size)
{
    head h;
    char hex[VT_HASH_HEX];
    if (bytes < sizeof h + VT_HASH_HEX)
        return false;
    bytes -= VT_HASH_HEX;
    vt_hash_bytes(data, bytes, hex);
    memcpy(&h, data, sizeof h);
    if (memcmp(data + bytes, hex, VT_HASH_HEX) != 0 || memcmp(h.mark, mark, sizeof mark) != 0 || h.n < 1 ||
        h.n > MAX_INDEX || h.names < 0 || h.names > MAX_INDEX || h.contents < 0 || h.contents > MAX_INDEX ||
        h.entry_bytes != sizeof *x->entries ||
        sizeof h + (size_t)h.n * sizeof *x->entries + (size_t)h.names + (size_t)h.contents != bytes)
        return false;
    const unsigned char *at = data + sizeof h;
    x->entries = vt_xmalloc((size_t)h.n * sizeof *x->entries);
    memcpy(x->entries, at, (size_t)h.n * sizeof *x->entries);
    x->n = x->capacity = h.n;
    at += (size_t)h.n * sizeof *x->entries;
    vt_text_addn(&x->names, (const char *)at, (size_t)h.names);
    vt_text_addn(&x->contents, (const char *)at + h.names, (size_t)h.contents);
    if (holds(x, size))
        return true;
    vt_tar_index_drop_list(x);
    return false;
}

static bool load(vt_tar_index *x, const char *name, int64_t size)
{
    unsigned char *data = NULL;
    size_t bytes = 0;
    if (!vt_is_file(name) || vt_file_read(name, MAX_INDEX, &data, &bytes, NULL) != VT_OK)
        return false;
    bool good = take(x, data, bytes, size);
    free(data);
    return good;
}

/* --- opening --- */

static atomic_int files_open;

static void drop_file(vt_tar_index *x)
{
    if (!x->open)
        return;
    close(x->fd);
    x->open = false;
    atomic_fetch_sub(&files_open, 1);
}

static vt_status list_members(vt_tar_index *x, const char *given, const struct stat *st, vt_err *err)
{
    char *name = NULL;
    bool cache = vt_cache_name(x->path, st, "members", ".list", &name, NULL) == VT_OK;
    vt_status status = VT_OK;
    if (!cache || !load(x, name, (int64_t)st->st_size)) {
        status = walk(x, given, (int64_t)st->st_size, err);
        if (status == VT_OK && cache && x->n >= WORTH_CACHING)
            save(x, name);
    }
    free(name);
    return status;
}

vt_status vt_tar_index_open(vt_tar_index *x, const char *path, vt_err *err)
{
    bool gzip;
    struct stat st;
    *x = (vt_tar_index){0};
    VT_TRY(vt_is_gzip(path, &gzip, err));
    if (gzip)
        VT_TRY(vt_unpack_gzip(path, &x->path, err));
    else
        x->path = vt_xstrdup(path);
    x->fd = open(x->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    x->open = x->fd >= 0;
    if (!x->open)
        return vt_fail_errno(err, "%s", x->path);
    const bool keep = atomic_fetch_add(&files_open, 1) < VT_TAR_FILES_KEPT;
    if (fstat(x->fd, &st) != 0)
        return vt_fail_errno(err, "%s", x->path);
    if (!S_ISREG(st.st_mode))
        return vt_fail(err, VT_EINVAL, "%s: not a regular file", x->path);
    x->changed = vt_changed_mix(&st);
    VT_TRY(list_members(x, path, &st, err));
    if (!keep)
        drop_file(x);
    return VT_OK;
}

void vt_tar_index_drop_list(vt_tar_index *x)
{
    free(x->entries);
    x->entries = NULL;
    x->n = x->capacity = 0;
    vt_text_release(&x->names);
    vt_text_release(&x->contents);
}

void vt_tar_index_release(vt_tar_index *x)
{
    vt_tar_index_drop_list(x);
    drop_file(x);
    free(x->path);
    *x = (vt_tar_index){0};
}

vt_status vt_tar_index_read_at(const vt_tar_index *x, int64_t offset, void *data, size_t size, vt_err *err)
{
    if (x->open)
        return vt_file_read_at(x->fd, x->path, offset, data, size, err);
    int fd = open(x->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return vt_fail_errno(err, "%s", x->path);
    vt_status status = vt_file_read_at(fd, x->path, offset, data, size, err);
    close(fd);
    return status;
}

void vt_tar_index_announce(const vt_tar_index *x, int64_t offset, size_t size)
{
    if (x->open)
        (void)posix_fadvise(x->fd, (off_t)offset, (off_t)size, POSIX_FADV_WILLNEED);
}

vt_status vt_tar_index_read(const vt_tar_index *x, const vt_tar_entry *e, void *data, vt_err *err)
{
    if (e->kept < 0)
        return vt_tar_index_read_at(x, e->offset, data, (size_t)e->size, err);
    memcpy(data, x->contents.s + e->kept, (size_t)e->size);
    return VT_OK;
}
