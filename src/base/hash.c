/* SHA-256 over libcrypto's EVP interface, which picks the processor's instructions for it. */
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"

#define READ_BYTES (1 << 18)

struct vt_hasher {
    EVP_MD_CTX *ctx;
};

vt_hasher *vt_hasher_new(void)
{
    vt_hasher *h = vt_xmalloc(sizeof(*h));
    h->ctx = EVP_MD_CTX_new();
    bool ready = h->ctx != NULL && EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) == 1;
    assert(ready); /* fails only without memory */
    return h;
}

void vt_hasher_add(vt_hasher *h, const void *data, size_t size)
{
    bool added = EVP_DigestUpdate(h->ctx, data, size) == 1;
    assert(added);
}

void vt_hasher_finish(vt_hasher *h, char hex[VT_HASH_HEX])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    bool done = EVP_DigestFinal_ex(h->ctx, digest, &size) == 1;
    assert(done && 2 * size + 1 == VT_HASH_HEX);
    for (unsigned i = 0; i < size; i++)
        snprintf(hex + 2 * i, 3, "%02x", (unsigned)digest[i]);
    EVP_MD_CTX_free(h->ctx);
    free(h);
}

void vt_hash_bytes(const void *data, size_t size, char hex[VT_HASH_HEX])
{
    vt_hasher *h = vt_hasher_new();
    vt_hasher_add(h, data, size);
    vt_hasher_finish(h, hex);
}

vt_status vt_hash_file(const char *path, char hex[VT_HASH_HEX], vt_err *err)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return vt_fail_errno(err, "%s: cannot be opened", path);
    vt_hasher *h = vt_hasher_new();
    unsigned char *buf = vt_xmalloc(READ_BYTES);
    ssize_t n;
    do {
        n = read(fd, buf, READ_BYTES);
        if (n > 0)
            vt_hasher_add(h, buf, (size_t)n);
    } while (n > 0 || (n < 0 && errno == EINTR));
    vt_status status = n == 0 ? VT_OK : vt_fail_errno(err, "%s: cannot be read", path);
    vt_hasher_finish(h, hex);
    free(buf);
    close(fd);
    return status;
}
