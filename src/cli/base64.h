/* Base64 (RFC 4648, with padding): how pixels travel inside JSON. */
#ifndef VT_CLI_BASE64_H
#define VT_CLI_BASE64_H

#include <stddef.h>
#include <stdint.h>

/* malloc'ed text. */
char *vt_base64(const uint8_t *data, size_t size);

#endif
