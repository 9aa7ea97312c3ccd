/* Encoded images: what decodes has the sides that its header tells, within the limits. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "data/image.h"
#include "fuzz.h"

/* A header may ask for more than a quick run should fill; such images are left to the limits' own tests. */
#define MAX_FUZZ_PIXELS (1 << 22)

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
    return 0;
}
