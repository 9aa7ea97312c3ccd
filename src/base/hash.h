/* SHA-256 (libcrypto) of memory and files, as 64 hex digits: what manifests hold. */
#ifndef VT_BASE_HASH_H
#define VT_BASE_HASH_H

#include <stddef.h>

#include "base/status.h"

#define VT_HASH_HEX 65 /* bytes of a hash in hex with its terminator */

typedef struct vt_hasher vt_hasher;

vt_hasher *vt_hasher_new(void);
void vt_hasher_add(vt_hasher *h, const void *data, size_t size);
/* Writes the digest and frees h. */
void vt_hasher_finish(vt_hasher *h, char hex[VT_HASH_HEX]);

void vt_hash_bytes(const void *data, size_t size, char hex[VT_HASH_HEX]);
vt_status vt_hash_file(const char *path, char hex[VT_HASH_HEX], vt_err *err) VT_MUST_USE;

#endif
