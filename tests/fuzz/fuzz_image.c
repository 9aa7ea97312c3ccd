/* Encoded images: what decodes has the sides that its header tells, within the limits; a part of it, turned upright,
 * has the pixels and the verdict of the whole. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"
#include "fuzz.h"

/* A header may ask for more than a quick run should fill; such images are left to the limits' own tests. */
#define MAX_FUZZ_PIXELS (1 << 22)

/* Four numbers that depend on all of the input. */
static void draw(const uint8_t *data, size_t size, uint32_t numbers[4])
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ data[i]) * 16777619u;
    for (int i = 0; i < 4; i++)
        numbers[i] = (h = h * 1664525u + 1013904223u) >> 8;
}

static vt_rect some_rect(const uint8_t *data, size_t size, const vt_image_header *h)
{
    uint32_t n[4];
    draw(data, size, n);
    vt_rect r = {.width = 1 + n[0] % h->width, .height = 1 + n[1] % h->height};
    r.x = n[2] % (h->width - r.width + 1);
    r.y = n[3] % (h->height - r.height + 1);
    return r;
}

static void check_part(const uint8_t *data, size_t size)
{
    vt_image whole = {0}, part = {0}, spare = {0};
    vt_image_header h;
    vt_err err = {0};
    const vt_status looked = vt_image_look(data, size, true, "input", &h, &err);
    assert(looked == VT_OK);
    vt_rect all = {0, 0, h.width, h.height}, r = some_rect(data, size, &h), at = r;
    const vt_status expected = vt_image_decode_part(&whole, &spare, data, size, "input", &h, &all, &err);
    const vt_status status = vt_image_decode_part(&part, &spare, data, size, "input", &h, &at, &err);
    assert(status == expected);
    for (int64_t y = 0; status == VT_OK && y < r.height; y++) {
        const uint8_t *a = whole.pixels + ((r.y + y) * whole.width + r.x) * 3;
        const uint8_t *b = part.pixels + ((at.y + y) * part.width + at.x) * 3;
        assert(memcmp(a, b, (size_t)r.width * 3) == 0);
    }
    vt_image_release(&whole);
    vt_image_release(&part);
    vt_image_release(&spare);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t width = 0, height = 0;
    vt_image im = {0};
    vt_err err = {0};
    if (vt_image_probe(data, size, "input", &width, &height, &err) != VT_OK) {
        assert(err.msg[0]);
        return 0;
    }
    assert(width >= 1 && height >= 1 && width <= VT_MAX_SIDE && height <= VT_MAX_SIDE);
    if (width * height > MAX_FUZZ_PIXELS)
        return 0;
    if (vt_image_decode(&im, data, size, "input", &err) == VT_OK)
        assert(im.width == width && im.height == height);
    else
        assert(err.msg[0]);
    vt_image_release(&im);
    check_part(data, size);
    return 0;
}
