/* PNG by libspng. Only the critical chunks (IHDR, PLTE, IDAT, IEND) are handed to it: ancillary chunks hold nothing
 * that changes pixels here (no gamma, no profiles, alpha is dropped), are often malformed, and may unpack to any size.
 * The walk over the chunk headers also finds files that end inside a chunk.
 *
 * A chunk is length (4 bytes, big-endian), type (4), data (length), CRC (4); upper case in the first letter of its type
 * means critical (PNG specification, section 5). */
#include <spng.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "image/codec.h"

#define SIGNATURE_BYTES 8
#define FRAME_BYTES     12 /* of a chunk around its data */
/* Bounds of what libspng may store of chunks; of the critical ones only PLTE is stored, 768 bytes. */
#define MAX_CHUNK_BYTES (1u << 16)
#define MAX_CACHE_BYTES (1u << 20)

/* The file as libspng sees it: visible bytes from `at`, `left` of them in the current piece. */
typedef struct {
    const unsigned char *data;
    size_t size, at, left;
    char cut_type[5];   /* the chunk that runs past the end, or "" */
    size_t cut_missing; /* bytes that it lacks */
} stream;

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Moves to the next critical chunk; false at the end of the file. */
static bool next_piece(stream *s)
{
    while (s->size - s->at >= 8) {
        const unsigned char *chunk = s->data + s->at;
        size_t total = (size_t)be32(chunk) + FRAME_BYTES, rest = s->size - s->at;
        bool critical = (chunk[4] & 0x20) == 0;
        if (total > rest) {
            memcpy(s->cut_type, chunk + 4, 4);
            s->cut_missing = total - rest;
        }
        if (critical) {
            s->left = total < rest ? total : rest;
            return true;
        }
        if (total > rest)
            return false;
        s->at += total;
    }
    return false;
}

static int read_stream(spng_ctx *ctx, void *user, void *target, size_t length)
{
    stream *s = user;
    unsigned char *out = target;
    while (length > 0) {
        if (s->left == 0 && !next_piece(s))
            return SPNG_IO_EOF;
        size_t n = length < s->left ? length : s->left;
        memcpy(out, s->data + s->at, n);
        out += n;
        length -= n;
        s->at += n;
        s->left -= n;
    }
    return 0;
}

static vt_status fail_spng(const stream *s, int code, vt_err *err)
{
    if (code == SPNG_EMEM)
        return vt_fail(err, VT_ENOMEM, "no memory to decode this PNG");
    if (code == SPNG_IO_EOF || code == SPNG_EOF || s->cut_type[0]) {
        for (const char *c = s->cut_type; *c; c++) {
            if (*c < 'A' || *c > 'z')
                return vt_fail(err, VT_EFORMAT, "broken PNG: a chunk has a length or type that cannot be");
        }
        if (s->cut_type[0])
            return vt_fail(err, VT_EFORMAT, "truncated PNG: the chunk %s lacks %zu bytes", s->cut_type, s->cut_missing);
        return vt_fail(err, VT_EFORMAT, "truncated PNG: the file ends before its image does");
    }
    return vt_fail(err, VT_EFORMAT, "broken PNG: %s", spng_strerror(code));
}

/* *ctx is the caller's to free, failed or not. */
static vt_status open_png(spng_ctx **ctx_out, stream *s, int64_t *width, int64_t *height, vt_err *err)
{
    spng_ctx *ctx = *ctx_out = spng_ctx_new(0);
    if (!ctx)
        return vt_fail(err, VT_ENOMEM, "no memory for the PNG decoder");
    struct spng_ihdr header;
    int code = spng_set_png_stream(ctx, read_stream, s);
    if (code == 0)
        code = spng_set_chunk_limits(ctx, MAX_CHUNK_BYTES, MAX_CACHE_BYTES);
    if (code == 0)
        code = spng_get_ihdr(ctx, &header);
    if (code != 0)
        return fail_spng(s, code, err);
    *width = header.width;
    *height = header.height;
    return vt_image_check_size(header.width, header.height, err);
}

vt_status vt_png_probe(const void *data, size_t size, int64_t *width, int64_t *height, vt_err *err)
{
    stream s = {.data = data, .size = size, .left = SIGNATURE_BYTES};
    spng_ctx *ctx;
    vt_status status = open_png(&ctx, &s, width, height, err);
    spng_ctx_free(ctx);
    return status;
}

vt_status vt_png_decode(vt_image *im, const void *data, size_t size, vt_err *err)
{
    stream s = {.data = data, .size = size, .left = SIGNATURE_BYTES};
    int64_t width = 0, height = 0;
    spng_ctx *ctx;
    vt_status status = open_png(&ctx, &s, &width, &height, err);
    if (status == VT_OK)
        status = vt_image_resize_buffer(im, width, height, err);
    if (status == VT_OK) {
        size_t bytes = (size_t)width * (size_t)height * 3;
        int code = spng_decode_image(ctx, im->pixels, bytes, SPNG_FMT_RGB8, 0);
        if (code != 0)
            status = fail_spng(&s, code, err);
    }
    spng_ctx_free(ctx);
    return status;
}

vt_status vt_png_encode(const vt_image *im, unsigned char **data, size_t *size, vt_err *err)
{
    spng_ctx *ctx = spng_ctx_new(SPNG_CTX_ENCODER);
    if (!ctx)
        return vt_fail(err, VT_ENOMEM, "no memory for the PNG encoder");
    struct spng_ihdr header = {.width = (uint32_t)im->width,
                               .height = (uint32_t)im->height,
                               .bit_depth = 8,
                               .color_type = SPNG_COLOR_TYPE_TRUECOLOR};
    size_t bytes = (size_t)im->width * (size_t)im->height * 3;
    int code = spng_set_option(ctx, SPNG_ENCODE_TO_BUFFER, 1);
    if (code == 0)
        code = spng_set_ihdr(ctx, &header);
    if (code == 0)
        code = spng_encode_image(ctx, im->pixels, bytes, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    if (code == 0)
        *data = spng_get_png_buffer(ctx, size, &code);
    spng_ctx_free(ctx);
    if (code != 0 || !*data)
        return vt_fail(err, VT_EIO, "the PNG could not be written: %s", spng_strerror(code));
    return VT_OK;
}
