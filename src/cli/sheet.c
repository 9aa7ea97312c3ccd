/* Rectangles, magnified images and bitmap text. */
#include "cli/sheet.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

void vt_sheet_fill(vt_image *sheet, int64_t x, int64_t y, int64_t width, int64_t height, uint32_t colour)
{
    const int64_t left = x < 0 ? 0 : x, top = y < 0 ? 0 : y;
    const int64_t right = x + width < sheet->width ? x + width : sheet->width;
    const int64_t bottom = y + height < sheet->height ? y + height : sheet->height;
    for (int64_t row = top; row < bottom; row++) {
        for (int64_t column = left; column < right; column++) {
            uint8_t *p = sheet->pixels + 3 * (row * sheet->width + column);
            p[0] = (uint8_t)(colour >> 16);
            p[1] = (uint8_t)(colour >> 8);
            p[2] = (uint8_t)colour;
        }
    }
}

void vt_sheet_place(vt_image *sheet, const vt_image *in, int64_t x, int64_t y, int64_t zoom)
{
    for (int64_t row = 0; row < in->height; row++) {
        for (int64_t column = 0; column < in->width; column++) {
            const uint8_t *p = in->pixels + 3 * (row * in->width + column);
            const uint32_t colour = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
            vt_sheet_fill(sheet, x + column * zoom, y + row * zoom, zoom, zoom, colour);
        }
    }
}

static void draw_glyph(vt_image *sheet, char c, int64_t x, int64_t y, int64_t zoom, uint32_t colour)
{
    const uint8_t *glyph = vt_font[c - ' '];
    for (int row = 0; row < VT_FONT_HEIGHT; row++)
        for (int column = 0; column < VT_FONT_WIDTH; column++)
            if (glyph[row] >> (VT_FONT_WIDTH - 1 - column) & 1)
                vt_sheet_fill(sheet, x + column * zoom, y + row * zoom, zoom, zoom, colour);
}

/* One character of the font for each of UTF-8. */
static char *printable(const char *text)
{
    char *out = vt_xcalloc(strlen(text) + 1, 1), *to = out;
    for (const char *p = text; *p; p++) {
        const unsigned char c = (unsigned char)*p;
        if ((c & 0xc0) != 0x80) /* not the second or a later byte of a character */
            *to++ = (char)(c >= ' ' && c < ' ' + VT_FONT_GLYPHS ? c : '?');
    }
    return out;
}

void vt_sheet_text(vt_image *sheet, const char *text, int64_t x, int64_t y, int64_t width, int64_t zoom, bool keep_end,
                   uint32_t colour)
{
    char *line = printable(text);
    const int64_t n = (int64_t)strlen(line), most = (width + zoom) / (VT_FONT_ADVANCE * zoom);
    const bool cut = n > most;
    const int64_t shown = cut ? most : n, skipped = n - shown;
    for (int64_t i = 0; i < shown; i++) {
        const bool dot = cut && (keep_end ? i < 2 : i >= shown - 2);
        const char c = dot ? '.' : line[keep_end ? skipped + i : i];
        draw_glyph(sheet, c, x + i * VT_FONT_ADVANCE * zoom, y, zoom, colour);
    }
    free(line);
}
