/* Finding the same picture twice: byte for byte, pixel for pixel, or nearly (encoded again, resized, cut a little,
 * brighter, mirrored). Whole numbers only, so that what is found is the same on every machine.
 *
 * A look is what is kept of an image: hashes of its file and of its pixels, a thumbnail of 16 x 16 (grey, colour at
 * half the resolution), and 64 bits of shape: the signs of the thumbnail's 8 x 8 lowest cosine frequencies without the
 * constant one. Near looks differ in few bits, whatever the size, brightness and contrast. The bits lead to candidates;
 * the thumbnails decide.
 *
 * The search: bits are cut into four parts of 16; a table for each part lists the looks by its value. A query visits
 * the values that differ in at most two bits from its own, in each table: so every look within 11 bits is met, and most
 * of those beyond. Work grows with n * n / 65536, at most VT_SIMILAR_WORK comparisons of 64 bits a query (a millisecond
 * or two; thumbnails count as many), the likeliest first. */
#ifndef VT_DATA_SIMILAR_H
#define VT_DATA_SIMILAR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "image/image.h"

#define VT_SIMILAR_WORK (1 << 20)
#define VT_LOOK_SIDE    16
#define VT_LOOK_GREY    (VT_LOOK_SIDE * VT_LOOK_SIDE)
#define VT_LOOK_COLOUR  (VT_LOOK_GREY / 4)

typedef struct {
    uint64_t bytes[2], pixels[2]; /* 128 bits of SHA-256; of the file (zero: no file) and of sides and pixels */
    uint64_t shape;
    uint8_t grey[VT_LOOK_GREY];
    uint8_t blue[VT_LOOK_COLOUR], red[VT_LOOK_COLOUR]; /* Cb and Cr of JPEG */
} vt_look;

/* file: the encoded bytes, or NULL. spare is a buffer. */
vt_status vt_look_at(const vt_image *image, const void *file, size_t size, vt_image *spare, vt_look *look,
                     vt_err *err) VT_MUST_USE;

typedef enum { VT_SAME_NONE, VT_SAME_FILE, VT_SAME_PIXELS, VT_SAME_NEARLY, VT_SAME_MIRRORED } vt_same;

typedef struct {
    vt_same same;
    int64_t other;  /* the look that is the same */
    int difference; /* of the thumbnails, per cent of their contrast */
    bool cut_short; /* the search ended at VT_SIMILAR_WORK; something nearer may be there */
} vt_match;

typedef struct vt_similar vt_similar;

/* An index over n looks, borrowed; used[i] false leaves one out (NULL: none). n < 2^31. */
vt_status vt_similar_new(vt_similar **index, const vt_look *looks, const bool *used, int64_t n,
                         vt_err *err) VT_MUST_USE;
void vt_similar_free(vt_similar *s);

/* Bytes of an index over n looks and of the looks, to plan with. */
size_t vt_similar_bytes(int64_t n);

/* The same picture among the first `before` looks of the index: one with the same file, else with the same pixels, else
 * the nearest where near is true; of equals the first. Thread-safe. */
vt_match vt_similar_find(const vt_similar *s, const vt_look *look, int64_t before, bool near);

#endif
