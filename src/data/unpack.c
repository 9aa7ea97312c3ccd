/* Unpacking a .tar.gz shard into the cache by zlib. What a file unpacks to is bounded by its own size: images hardly
 * compress, so that a larger ratio means that the file is not what it says. */
#include "data/unpack.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"

#define MAX_RATIO   100
#define SLACK_BYTES (16LL << 20)
#define CHUNK_BYTES (1 << 20)

vt_status vt_is_gzip(const char *path, bool *gzip, vt_err *err)
{
    unsigned char magic[2] = {0, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return vt_fail_errno(err, "%s", path);
    ssize_t n = pread(fd, magic, sizeof magic, 0);
    vt_status status = n < 0 ? vt_fail_errno(err, "%s", path) : VT_OK;
    *gzip = n == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
    close(fd);
    return status;
}

vt_status vt_cache_name(const char *path, const struct stat *st, const char *folder, const char *suffix, char **name,
                        vt_err *err)
{
    char *cache = NULL, hex[VT_HASH_HEX], here[4096] = "";
    if (path[0] != '/' && !getcwd(here, sizeof here))
        return vt_fail_errno(err, "the current folder cannot be named");
    VT_TRY(vt_cache_dir(&cache, err));
    char *key = vt_xasprintf("%s/%s %lld %lld.%09ld", here, path, (long long)st->st_size, (long long)st->st_mtim.tv_sec,
                             st->st_mtim.tv_nsec);
    vt_hash_bytes(key, strlen(key), hex);
    char *place = vt_path_join(cache, folder);
    const char *base = vt_path_base(path);
    int n = (int)strcspn(base, ".");
    vt_status status = vt_make_dirs(place, err);
    if (status == VT_OK)
        *name = vt_xasprintf("%s/%.*s-%.16s%s", place, n, base, hex, suffix);
    free(place);
    free(key);
    free(cache);
    return status;
}

static vt_status inflate_all(gzFile in, const char *path, int64_t most, vt_atomic_file *out, vt_err *err)
{
    unsigned char *chunk = vt_xmalloc(CHUNK_BYTES);
    vt_status status = VT_OK;
    int64_t total = 0;
    int n = 1;
    while (status == VT_OK && n > 0) {
        int code = Z_OK;
        n = gzread(in, chunk, CHUNK_BYTES);
        const char *why = gzerror(in, &code);
        if (n < 0 || code == Z_BUF_ERROR)
            status =
                vt_fail(err, VT_EFORMAT, "%s: %s gzip file%s%s", path, code == Z_BUF_ERROR ? "truncated" : "broken",
                        code == Z_BUF_ERROR ? "" : ": ", code == Z_BUF_ERROR ? "" : why);
        else if ((total += n) > most)
            status =
                vt_fail(err, VT_EFORMAT,
                        "%s: unpacks to more than %d times its size, which shards of images never do; unpack it by "
                        "hand if that is right",
                        path, MAX_RATIO);
        else if (n > 0)
            status = vt_atomic_write(out, chunk, (size_t)n, err);
    }
    free(chunk);
    return status;
}

static vt_status unpack(const char *path, int64_t size, const char *copy, vt_err *err)
{
    vt_atomic_file out = {0};
    gzFile in = gzopen(path, "rb");
    if (!in)
        return vt_fail_errno(err, "%s", path);
    vt_status status = vt_atomic_open(&out, copy, err);
    if (status == VT_OK)
        status = inflate_all(in, path, size * MAX_RATIO + SLACK_BYTES, &out, err);
    if (status == VT_OK)
        status = vt_atomic_commit(&out, err);
    vt_atomic_release(&out);
    gzclose(in);
    return status;
}

vt_status vt_unpack_gzip(const char *path, char **copy, vt_err *err)
{
    struct stat st;
    *copy = NULL;
    if (stat(path, &st) != 0)
        return vt_fail_errno(err, "%s", path);
    VT_TRY(vt_cache_name(path, &st, "shards", ".tar", copy, err));
    if (vt_is_file(*copy))
        return VT_OK;
    vt_log(VT_LOG_INFO, "%s: unpacking once into %s", path, *copy);
    vt_status status = unpack(path, (int64_t)st.st_size, *copy, err);
    if (status != VT_OK) {
        free(*copy);
        *copy = NULL;
    }
    return status;
}
