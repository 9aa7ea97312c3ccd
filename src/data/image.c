/* Image buffers, recognition of formats by their first bytes, and the choice of the decoder. */
#include "data/image.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/attr.h"
#include "base/file.h"
#include "data/codec.h"

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
    {8, "WEBP", 4, "a WebP image"},
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
            return vt_fail(err, VT_EUNSUPPORTED, "this is %s; only JPEG and PNG are read", other_formats[i].name);
    }
    return vt_fail(err, VT_EFORMAT, "neither JPEG nor PNG, by its first bytes");
}

vt_status vt_image_decode(vt_image *im, const void *data, size_t size, const char *name, vt_err *err)
{
    vt_image_format format = size <= VT_MAX_FILE_BYTES ? vt_image_format_of(data, size) : VT_FORMAT_UNKNOWN;
    vt_status status;
    if (format == VT_FORMAT_JPEG)
        status = vt_jpeg_decode(im, data, size, err);
    else if (format == VT_FORMAT_PNG)
        status = vt_png_decode(im, data, size, err);
    else
        status = refuse_format(data, size, err);
    if (status != VT_OK)
        vt_prefix(err, "%s", name);
    return status;
}

vt_status vt_image_probe(const void *data, size_t size, const char *name, int64_t *width, int64_t *height, vt_err *err)
{
    vt_image_format format = size <= VT_MAX_FILE_BYTES ? vt_image_format_of(data, size) : VT_FORMAT_UNKNOWN;
    vt_status status;
    if (format == VT_FORMAT_JPEG)
        status = vt_jpeg_probe(data, size, width, height, err);
    else if (format == VT_FORMAT_PNG)
        status = vt_png_probe(data, size, width, height, err);
    else
        status = refuse_format(data, size, err);
    if (status != VT_OK)
        vt_prefix(err, "%s", name);
    return status;
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
