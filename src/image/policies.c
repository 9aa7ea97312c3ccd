/* The random policies. Draws, in order: RandAugment, for each of its n steps: operation, then sign (where it has one),
 * then cutout's row and column. TrivialAugment: operation, strength, sign. Erasing: whether; then for each attempt
 * area, aspect, and when it fits row, column, and a word for each pixel. */
#include "image/policies.h"

#include <math.h>

#include "base/attr.h"
#include "base/math.h"
#include "image/augment.h"

#define RA_FILL 128

/* amount = slope * level / 10 + base; sign: multiplied by -1 or 1 at random; whole: its fraction is dropped. */
typedef struct {
    vt_augmentation what;
    double slope, base;
    bool sign, whole, cutout;
} ra_row;

static const ra_row ra_rows[] = {
    {VT_AUG_AUTO_CONTRAST, 0, 0, false, false, false},  {VT_AUG_EQUALIZE, 0, 0, false, false, false},
    {VT_AUG_INVERT, 0, 0, false, false, false},         {VT_AUG_ROTATE, 30, 0, true, false, false},
    {VT_AUG_POSTERIZE, 4, 0, false, true, false},       {VT_AUG_SOLARIZE, 256, 0, false, true, false},
    {VT_AUG_COLOR, 1.8, 0.1, false, false, false},      {VT_AUG_CONTRAST, 1.8, 0.1, false, false, false},
    {VT_AUG_BRIGHTNESS, 1.8, 0.1, false, false, false}, {VT_AUG_SHARPNESS, 1.8, 0.1, false, false, false},
    {VT_AUG_SHEAR_X, 0.3, 0, true, false, false},       {VT_AUG_SHEAR_Y, 0.3, 0, true, false, false},
    {VT_AUG_TRANSLATE_X, 100, 0, true, false, false},   {VT_AUG_TRANSLATE_Y, 100, 0, true, false, false},
    {VT_AUG_IDENTITY, 40, 0, false, true, true},        {VT_AUG_SOLARIZE_ADD, 110, 0, false, true, false},
};

/* A square of side 2 pad about a random pixel. */
static void cutout(vt_image *im, int64_t pad, vt_rng *rng)
{
    const int64_t y = vt_rng_below(rng, (uint32_t)im->height), x = vt_rng_below(rng, (uint32_t)im->width);
    vt_fill_rect(im, (vt_rect){x - pad, y - pad, 2 * pad, 2 * pad}, RA_FILL);
}

vt_status vt_randaugment(vt_image *in, int n, int level, vt_rng *rng, vt_image *out, vt_err *err)
{
    for (int i = 0; i < n; i++) {
        const ra_row *row = &ra_rows[vt_rng_below(rng, VT_COUNT_OF(ra_rows))];
        double amount = (double)level / 10.0 * row->slope + row->base;
        if (row->whole)
            amount = floor(amount);
        if (row->sign && vt_rng_uniform(rng) < 0.5f)
            amount = -amount;
        VT_TRY(vt_augment(in, row->what, amount, RA_FILL, out, err));
        if (row->cutout)
            cutout(out, (int64_t)amount, rng);
        if (i + 1 < n) {
            vt_image t = *in;
            *in = *out;
            *out = t;
        }
    }
    return VT_OK;
}

/* amount = base + span * strength, strength 0 to 1 in 30 steps; whole: the fraction of the span is dropped. */
typedef struct {
    vt_augmentation what;
    double base, span;
    bool sign, whole;
} ta_row;

#define TA_STRENGTHS 31

static const ta_row ta_rows[] = {
    {VT_AUG_IDENTITY, 0, 0, false, false},        {VT_AUG_SHEAR_X, 0, 0.99, true, false},
    {VT_AUG_SHEAR_Y, 0, 0.99, true, false},       {VT_AUG_TRANSLATE_X, 0, 32, true, true},
    {VT_AUG_TRANSLATE_Y, 0, 32, true, true},      {VT_AUG_ROTATE, 0, 135, true, false},
    {VT_AUG_BRIGHTNESS, 1, 0.99, true, false},    {VT_AUG_COLOR, 1, 0.99, true, false},
    {VT_AUG_MEAN_CONTRAST, 1, 0.99, true, false}, {VT_AUG_SHARPNESS, 1, 0.99, true, false},
    {VT_AUG_POSTERIZE, 8.5, -6, false, false},    {VT_AUG_SOLARIZE, 255, -255, false, false},
    {VT_AUG_AUTO_CONTRAST, 0, 0, false, false},   {VT_AUG_EQUALIZE, 0, 0, false, false},
};

vt_status vt_trivial_augment(vt_image *in, vt_rng *rng, vt_image *out, vt_err *err)
{
    const ta_row *row = &ta_rows[vt_rng_below(rng, VT_COUNT_OF(ta_rows))];
    double span = row->span * (double)vt_rng_below(rng, TA_STRENGTHS) / (TA_STRENGTHS - 1);
    if (row->whole)
        span = floor(span);
    if (row->sign && vt_rng_uniform(rng) < 0.5f)
        span = -span;
    return vt_augment(in, row->what, row->base + span, 0, out, err);
}

#define ERASING_ATTEMPTS 10
#define MIN_ERASED_AREA  0.02
#define MAX_ERASED_AREA  (1.0 / 3.0)
#define MIN_ERASED_LN    -1.2039728043259361 /* ln 0.3 */
#define MAX_ERASED_LN    1.1939224684724346  /* ln 3.3 */

static void fill_noise(vt_image *im, vt_rect r, vt_rng *rng)
{
    for (int64_t y = r.y; y < r.y + r.height; y++) {
        for (int64_t x = r.x; x < r.x + r.width; x++) {
            const uint32_t word = vt_rng_u32(rng);
            for (int c = 0; c < 3; c++)
                im->pixels[(y * im->width + x) * 3 + c] = (uint8_t)(word >> 8 * c);
        }
    }
}

void vt_random_erasing(vt_image *im, double probability, vt_rng *rng)
{
    if ((double)vt_rng_uniform(rng) >= probability)
        return;
    for (int i = 0; i < ERASING_ATTEMPTS; i++) {
        const double share = MIN_ERASED_AREA + (double)vt_rng_uniform(rng) * (MAX_ERASED_AREA - MIN_ERASED_AREA);
        const double area = share * (double)im->width * (double)im->height;
        const double aspect = vt_exp(MIN_ERASED_LN + (double)vt_rng_uniform(rng) * (MAX_ERASED_LN - MIN_ERASED_LN));
        const int64_t h = (int64_t)rint(sqrt(area * aspect)), w = (int64_t)rint(sqrt(area / aspect));
        if (h < 1 || w < 1 || h >= im->height || w >= im->width)
            continue;
        const int64_t y = vt_rng_below(rng, (uint32_t)(im->height - h + 1));
        const int64_t x = vt_rng_below(rng, (uint32_t)(im->width - w + 1));
        fill_noise(im, (vt_rect){x, y, w, h}, rng);
        return;
    }
}
