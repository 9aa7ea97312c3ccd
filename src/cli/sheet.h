/* Pictures and words on one large image: the contact sheet of `vitro data show`. What lies outside of the image is not
 * drawn. */
#ifndef VT_CLI_SHEET_H
#define VT_CLI_SHEET_H

#include <stdbool.h>
#include <stdint.h>

#include "image/image.h"

#define VT_FONT_WIDTH   5
#define VT_FONT_HEIGHT  7
#define VT_FONT_ADVANCE (VT_FONT_WIDTH + 1)
#define VT_FONT_GLYPHS  95 /* from ' ' */

extern const uint8_t vt_font[VT_FONT_GLYPHS][VT_FONT_HEIGHT];

/* Colours are 0xrrggbb. */
void vt_sheet_fill(vt_image *sheet, int64_t x, int64_t y, int64_t width, int64_t height, uint32_t colour);

/* in, each pixel zoom x zoom, its upper left corner at x, y. */
void vt_sheet_place(vt_image *sheet, const vt_image *in, int64_t x, int64_t y, int64_t zoom);

/* One line of text, zoom times as large as the font, cut to width pixels: at its end, or with keep_end at its
 * beginning; ".." stands where something is missing. Characters beyond ASCII (of UTF-8) are a '?'. */
void vt_sheet_text(vt_image *sheet, const char *text, int64_t x, int64_t y, int64_t width, int64_t zoom, bool keep_end,
                   uint32_t colour);

#endif
