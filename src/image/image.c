/* Image buffers, recognition of formats by their first bytes, and the choice of the decoder. */
#include "image/image.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/attr.h"
#include "base/file.h"
#include "image/codec.h"

/* A buffer above this is given back when an image of ordinary size follows the huge one. */
#define LARGE_BYTES ((size_t)64 << 20)

/* Formats that are recognised but not decoded, so that the message can say what the file is. */
static const struct {
    size_t offset;
    const char *magic;
    size_t length;
    const char *name;
} other_formats[] = {
    {0, "GIF8", 4, "a GIF image"},
    {0, "BM", 2, "a BMP image"},
    {0, "II*\0", 4, "a TIFF image"},
    {0, "MM\0*", 4, "a TIFF image"},
    {0, "\0\0\1\0", 4, "a Windows icon"},
    {0, "P1", 2, "a PNM image"},
    {0, "P2", 2, "a PNM image"},
    {0, "P3", 2, "a PNM image"},
    {0, "P4", 2, "a PNM image"},
    {0, "P5", 2, "a PNM image"},
    {0, "P6", 2, "a PNM image"},
    {4, "ftypavif", 8, "an AVIF image"},
    {4, "ftyphei", 7, "a HEIC image"},
    {4, "ftypmif1", 8, "a HEIF image"},
    {4, "jP  \r\n", 6, "a JPEG 2000 image"},
    {0, "\xff\x4f\xff\x51", 4, "a JPEG 2000 image"},
    {0, "\xff\x0a", 2, "a JPEG XL image"},
    {4, "JXL ", 4, "a JPEG XL image"},
    {0, "8BPS", 4, "a Photoshop image"},
    {0, "%PDF", 4, "a PDF document"},
    {0, "<", 1, "markup text (HTML or XML)"},
    {0, "\x1f\x8b", 2, "gzip data"},
};

vt_status vt_image_check_size(int64_t width, int64_t height, vt_err *err)
{
    if (width < 1 || height < 1)
        return vt_fail(err, VT_EFORMAT, "an image of %lld x %lld pixels; both sides must be at least 1",
                       (long long)width, (long long)height);
    if (width > VT_MAX_SIDE || height > VT_MAX_SIDE || width > VT_MAX_PIXELS / height)
        return vt_fail(err, VT_EFORMAT,
                       "an image of %lld x %lld pixels is larger than the limit of %d pixels, %d a side",
                       (long long)width, (long long)height, VT_MAX_PIXELS, VT_MAX_SIDE);
    return VT_OK;
}

vt_status vt_image_resize_buffer(vt_image *im, int64_t width, int64_t height, vt_err *err)
{
    VT_TRY(vt_image_check_size(width, height, err));
    size_t need = (size_t)width * (size_t)height * 3;
    bool wasteful = im->capacity > LARGE_BYTES && need < im->capacity / 4;
    if (need > im->capacity || wasteful) {
        free(im->pixels);
        im->capacity = 0;
        im->pixels = malloc(need);
        if (!im->pixels)
            return vt_fail(err, VT_ENOMEM, "no memory for an image of %lld x %lld pixels (%zu bytes)", (long long)width,
                           (long long)height, need);
        im->capacity = need;
    }
    im->width = width;
    im->height = height;
    return VT_OK;
}

void vt_image_release(vt_image *im)
{
    free(im->pixels);
    *im = (vt_image){0};
}

vt_image_format vt_image_format_of(const void *data, size_t size)
{
    if (size >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0)
        return VT_FORMAT_JPEG;
    if (size >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0)
        return VT_FORMAT_PNG;
    if (size >= 12 && memcmp(data, "RIFF", 4) == 0 && memcmp((const unsigned char *)data + 8, "WEBP", 4) == 0)
        return VT_FORMAT_WEBP;
    return VT_FORMAT_UNKNOWN;
}

static vt_status refuse_format(const void *data, size_t size, vt_err *err)
{
    if (size == 0)
        return vt_fail(err, VT_EFORMAT, "the file is empty");
    if (size > VT_MAX_FILE_BYTES)
        return vt_fail(err, VT_EFORMAT, "%zu bytes are more than the limit of %u for one image", size,
                       VT_MAX_FILE_BYTES);
    for (size_t i = 0; i < VT_COUNT_OF(other_formats); i++) {
        size_t end = other_formats[i].offset + other_formats[i].length;
        const unsigned char *at = (const unsigned char *)data + other_formats[i].offset;
        if (size >= end && memcmp(at, other_formats[i].magic, other_formats[i].length) == 0)
            return vt_fail(err, VT_EUNSUPPORTED, "this is %s; JPEG, PNG and WebP are read", other_formats[i].name);
    }
    return vt_fail(err, VT_EFORMAT, "neither JPEG, PNG nor WebP, by its first bytes");
}

bool vt_image_has_suffix(const char *name)
{
    static const char *const suffixes[] = {".jpg", ".jpeg", ".png", ".webp"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < VT_COUNT_OF(suffixes); i++) {
        if (strcasecmp(dot, suffixes[i]) == 0)
            return true;
    }
    return false;
}

static vt_image_format format_within_limit(const void *data, size_t size)
{
    return size <= VT_MAX_FILE_BYTES ? vt_image_format_of(data, size) : VT_FORMAT_UNKNOWN;
}

/* part: of the stored image, or NULL for all of it. */
static vt_status decode_stored(vt_image *im, const void *data, size_t size, vt_rect *part, vt_err *err)
{
    switch (format_within_limit(data, size)) {
    case VT_FORMAT_JPEG:
        return vt_jpeg_decode(im, data, size, part, err);
    case VT_FORMAT_PNG:
        return vt_png_decode(im, data, size, err);
    case VT_FORMAT_WEBP:
        return vt_webp_decode(im, data, size, err);
    case VT_FORMAT_UNKNOWN:
        break;
    }
    return refuse_format(data, size, err);
}

static vt_status named(vt_status status, const char *name, vt_err *err)
{
    if (status != VT_OK)
        vt_prefix(err, "%s", name);
    return status;
}

vt_status vt_image_decode(vt_image *im, const void *data, size_t size, const char *name, vt_err *err)
{
    return named(decode_stored(im, data, size, NULL, err), name, err);
}

static vt_status probe(const void *data, size_t size, int64_t *width, int64_t *height, vt_err *err)
{
    switch (format_within_limit(data, size)) {
    case VT_FORMAT_JPEG:
        return vt_jpeg_probe(data, size, width, height, err);
    case VT_FORMAT_PNG:
        return vt_png_probe(data, size, width, height, err);
    case VT_FORMAT_WEBP:
        return vt_webp_probe(data, size, width, height, err);
    case VT_FORMAT_UNKNOWN:
        break;
    }
    return refuse_format(data, size, err);
}

vt_status vt_image_probe(const void *data, size_t size, const char *name, int64_t *width, int64_t *height, vt_err *err)
{
    return named(probe(data, size, width, height, err), name, err);
}

vt_status vt_image_look(const void *data, size_t size, bool orient, const char *name, vt_image_header *header,
                        vt_err *err)
{
    int64_t width, height;
    VT_TRY(vt_image_probe(data, size, name, &width, &height, err));
    const int orientation = orient ? vt_image_orientation(data, size) : 1;
    const bool sides = orientation >= 5;
    *header = (vt_image_header){orientation, sides ? height : width, sides ? width : height};
    return VT_OK;
}

static vt_status turn(vt_image *im, vt_image *spare, int orientation, vt_err *err)
{
    VT_TRY(vt_orient_image(im, orientation, spare, err));
    vt_image t = *im;
    *im = *spare;
    *spare = t;
    return VT_OK;
}

vt_status vt_image_turn_upright(vt_image *im, vt_image *spare, const void *data, size_t size, vt_err *err)
{
    const int orientation = vt_image_orientation(data, size);
    return orientation == 1 ? VT_OK : turn(im, spare, orientation, err);
}

vt_status vt_image_decode_part(vt_image *im, vt_image *spare, const void *data, size_t size, const char *name,
                               const vt_image_header *header, vt_rect *part, vt_err *err)
{
    const int orientation = header->orientation;
    const bool sides = orientation >= 5;
    /* turning upright and turning back differ in the two quarter turns only */
    const int back = orientation == 6 ? 8 : orientation == 8 ? 6 : orientation;
    vt_rect stored = vt_orient_rect(orientation, sides ? header->height : header->width,
                                    sides ? header->width : header->height, *part);
    vt_status status = decode_stored(im, data, size, &stored, err);
    if (status == VT_OK && orientation != 1) {
        *part = vt_orient_rect(back, sides ? im->height : im->width, sides ? im->width : im->height, stored);
        status = turn(im, spare, orientation, err);
    } else {
        *part = stored;
    }
    return named(status, name, err);
}

vt_status vt_image_write_png(const vt_image *im, const char *path, vt_err *err)
{
    unsigned char *data = NULL;
    size_t size = 0;
    vt_status status = vt_png_encode(im, &data, &size, err);
    if (status != VT_OK) {
        vt_prefix(err, "%s", path);
        return status;
    }
    status = vt_file_write(path, data, size, err);
    free(data);
    return status;
}
