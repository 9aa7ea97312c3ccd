/* The orientation that cameras note beside the pixels (EXIF tag 0x112), found in JPEG (APP1), PNG (eXIf) and WebP
 * (EXIF), and the turn that makes an image upright. What is malformed counts as not being there: orientation 1.
 *
 * EXIF is a TIFF: "II*\0" or "MM\0*" (byte order), the offset of a directory, there a count of entries, then entries of
 * 12 bytes: tag (2), type (2), count (4), value (4; of type 3, two bytes at its start). */
#include <stdbool.h>
#include <string.h>

#include "image/codec.h"

#define TAG_ORIENTATION 0x112
#define TYPE_SHORT      3

typedef struct {
    const unsigned char *data;
    size_t size;
} bytes;

static uint32_t number(const unsigned char *p, int n, bool big)
{
    uint32_t v = 0;
    for (int i = 0; i < n; i++)
        v |= (uint32_t)p[i] << 8 * (big ? n - 1 - i : i);
    return v;
}

static int orientation_of_exif(bytes e)
{
    if (e.size >= 6 && memcmp(e.data, "Exif\0\0", 6) == 0)
        e = (bytes){e.data + 6, e.size - 6};
    if (e.size < 8 || (memcmp(e.data, "II*\0", 4) != 0 && memcmp(e.data, "MM\0*", 4) != 0))
        return 1;
    const bool big = e.data[0] == 'M';
    const size_t at = number(e.data + 4, 4, big);
    if (at > e.size || e.size - at < 2)
        return 1;
    const size_t entries = number(e.data + at, 2, big);
    for (size_t i = 0; i < entries && e.size - at - 2 >= 12 * (i + 1); i++) {
        const unsigned char *entry = e.data + at + 2 + 12 * i;
        if (number(entry, 2, big) != TAG_ORIENTATION)
            continue;
        const uint32_t v = number(entry + 8, 2, big);
        return number(entry + 2, 2, big) == TYPE_SHORT && v >= 1 && v <= 8 ? (int)v : 1;
    }
    return 1;
}

/* Marker segments up to the first scan: FF, code, length (2, itself included). */
static bytes find_in_jpeg(bytes f)
{
    for (size_t at = 2; f.size - at >= 4 && f.data[at] == 0xff;) {
        const unsigned char code = f.data[at + 1];
        if (code == 0xff) { /* padding */
            at++;
            continue;
        }
        const size_t length = number(f.data + at + 2, 2, true);
        if (code == 0xda || length < 2 || length > f.size - at - 2)
            break;
        if (code == 0xe1 && length >= 8 && memcmp(f.data + at + 4, "Exif\0\0", 6) == 0)
            return (bytes){f.data + at + 4, length - 2};
        at += 2 + length;
    }
    return (bytes){NULL, 0};
}

/* Chunks: length, name, data, checksum (PNG); name, length, data, evened (WebP). */
static bytes find_chunk(bytes f, size_t at, const char *name, bool png)
{
    while (at <= f.size && f.size - at >= 12) {
        const unsigned char *chunk = f.data + at;
        const size_t length = number(chunk + (png ? 0 : 4), 4, png), rest = f.size - at - 8;
        if (length > rest)
            break;
        if (memcmp(chunk + (png ? 4 : 0), name, 4) == 0)
            return (bytes){chunk + 8, length};
        at += png ? length + 12 : 8 + length + (length & 1);
    }
    return (bytes){NULL, 0};
}

int vt_image_orientation(const void *data, size_t size)
{
    const bytes f = {data, size};
    switch (vt_image_format_of(data, size)) {
    case VT_FORMAT_JPEG:
        return orientation_of_exif(find_in_jpeg(f));
    case VT_FORMAT_PNG:
        return orientation_of_exif(find_chunk(f, 8, "eXIf", true));
    case VT_FORMAT_WEBP:
        return orientation_of_exif(find_chunk(f, 12, "EXIF", false));
    case VT_FORMAT_UNKNOWN:
        break;
    }
    return 1;
}

/* Upright pixel (x, y) of a stored image of width x height (as stored): its place there. 2, 3, 4: mirrored left-right,
 * turned by 180 degrees, mirrored top-bottom; 5 to 8 exchange the sides: transposed, to be turned by 90 degrees
 * clockwise, mirrored at the other diagonal, to be turned counter-clockwise. */
static void stored_place(int orientation, int64_t width, int64_t height, int64_t x, int64_t y, int64_t *sx, int64_t *sy)
{
    const bool sides = orientation >= 5;
    const int64_t u = sides ? y : x, v = sides ? x : y;
    const bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    *sx = mirror_x ? width - 1 - u : u;
    *sy = mirror_y ? height - 1 - v : v;
}

vt_rect vt_orient_rect(int orientation, int64_t width, int64_t height, vt_rect r)
{
    int64_t x0, y0, x1, y1;
    stored_place(orientation, width, height, r.x, r.y, &x0, &y0);
    stored_place(orientation, width, height, r.x + r.width - 1, r.y + r.height - 1, &x1, &y1);
    return (vt_rect){x0 < x1 ? x0 : x1, y0 < y1 ? y0 : y1, (x0 < x1 ? x1 - x0 : x0 - x1) + 1,
                     (y0 < y1 ? y1 - y0 : y0 - y1) + 1};
}

vt_status vt_orient_image(const vt_image *in, int orientation, vt_image *out, vt_err *err)
{
    const bool sides = orientation >= 5;
    VT_TRY(vt_image_resize_buffer(out, sides ? in->height : in->width, sides ? in->width : in->height, err));
    for (int64_t y = 0; y < out->height; y++) {
        int64_t sx, sy, next_x, next_y;
        stored_place(orientation, in->width, in->height, 0, y, &sx, &sy);
        stored_place(orientation, in->width, in->height, 1, y, &next_x, &next_y);
        const uint8_t *from = in->pixels + (sy * in->width + sx) * 3;
        const int64_t step = ((next_y - sy) * in->width + next_x - sx) * 3;
        uint8_t *to = out->pixels + y * out->width * 3;
        for (int64_t x = 0; x < out->width; x++, to += 3)
            memcpy(to, from + x * step, 3);
    }
    return VT_OK;
}
