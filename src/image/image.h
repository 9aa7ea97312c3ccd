/* Images: 8-bit RGB in host memory, and the decoders that make them (JPEG by libjpeg-turbo, PNG by libspng, WebP by
 * libwebp). Everything a file declares is checked before it is believed: sides, pixel count, truncation. */
#ifndef VT_IMAGE_IMAGE_H
#define VT_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Larger images are refused before they are decoded: Pillow's limit, 512 MiB of RGB. */
#define VT_MAX_PIXELS     178956970
#define VT_MAX_SIDE       1000000      /* so that a decoder's row buffers stay small whatever the shape */
#define VT_MAX_FILE_BYTES (256u << 20) /* of one encoded image */

/* pixels (height, width, 3) uint8, in a buffer that grows as needed and is reused from image to image. {0} is empty. */
typedef struct {
    int64_t width, height;
    uint8_t *pixels;
    size_t capacity;
} vt_image;

/* A rectangle inside an image; x, y: its upper left corner. */
typedef struct {
    int64_t x, y, width, height;
} vt_rect;

/* Sets the size and makes room; pixels are unspecified. Sides 1 to VT_MAX_SIDE, at most VT_MAX_PIXELS in all (else
 * VT_EFORMAT). */
vt_status vt_image_resize_buffer(vt_image *im, int64_t width, int64_t height, vt_err *err) VT_MUST_USE;
void vt_image_release(vt_image *im);

typedef enum { VT_FORMAT_UNKNOWN, VT_FORMAT_JPEG, VT_FORMAT_PNG, VT_FORMAT_WEBP } vt_image_format;

/* By the first bytes, never by the name. */
vt_image_format vt_image_format_of(const void *data, size_t size);

/* Whether a name ends as the formats that are read do: .jpg, .jpeg, .png, .webp, in any case. */
bool vt_image_has_suffix(const char *name);

/* Decodes to RGB as Pillow's convert("RGB") does: grey is repeated, alpha dropped, palettes looked up, 16 bits reduced
 * to their high byte, CMYK by Pillow's simple formula, of an animation or MPO the first frame; no colour management, no
 * EXIF rotation. name: for messages. A truncated or broken file is VT_EFORMAT; a known but unsupported format (GIF,
 * TIFF, ...) VT_EUNSUPPORTED with the name of the format. */
vt_status vt_image_decode(vt_image *im, const void *data, size_t size, const char *name, vt_err *err) VT_MUST_USE;

/* Width and height from the header alone. */
vt_status vt_image_probe(const void *data, size_t size, const char *name, int64_t *width, int64_t *height,
                         vt_err *err) VT_MUST_USE;

/* What a file says of itself: its orientation (EXIF, 1 to 8; 1 unless it is asked for), and its size behind it. */
typedef struct {
    int orientation;
    int64_t width, height;
} vt_image_header;
vt_status vt_image_look(const void *data, size_t size, bool orient, const char *name, vt_image_header *header,
                        vt_err *err) VT_MUST_USE;

/* Decodes at least a part of an image, upright as header says; *part, of the upright image, becomes its place in im.
 * Its pixels, and whether the file is accepted, are those of a full decode. spare is a second buffer. */
vt_status vt_image_decode_part(vt_image *im, vt_image *spare, const void *data, size_t size, const char *name,
                               const vt_image_header *header, vt_rect *part, vt_err *err) VT_MUST_USE;

/* Turns a whole decoded image as its file's EXIF orientation asks for; spare is a second buffer. */
vt_status vt_image_turn_upright(vt_image *im, vt_image *spare, const void *data, size_t size, vt_err *err) VT_MUST_USE;

/* Writes an 8-bit RGB PNG, atomically. */
vt_status vt_image_write_png(const vt_image *im, const char *path, vt_err *err) VT_MUST_USE;

#endif
