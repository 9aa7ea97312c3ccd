/* The preprocessing operations: one table gives names, arguments, help, sizes and code. */
#include "data/operations.h"

#include <math.h>
#include <stddef.h>

#include "base/attr.h"
#include "image/geometry.h"
#include "image/policies.h"

#define MAX_OP_SIDE 8192 /* of a size written in a list: keeps buffers below VT_MAX_PIXELS */
#define MAX_PAD     1024

typedef enum { NOT_GIVEN, TF_BILINEAR, TF_AREA, BILINEAR, BICUBIC, BOX } resize_method;
const char *const vt_resize_methods[] = {"", "tf_bilinear", "tf_area", "bilinear", "bicubic", "box", NULL};

static resize_method method_of(const vt_preprocess_op *op, resize_method otherwise)
{
    return op->method == NOT_GIVEN ? otherwise : (resize_method)op->method;
}

static vt_status resize(resize_method method, const vt_image *in, vt_rect r, int64_t height, int64_t width,
                        vt_image *out, vt_err *err)
{
    switch (method) {
    case TF_AREA:
        return vt_resize_tf_area(in, r, height, width, out, err);
    case BILINEAR:
        return vt_resize_pillow(in, r, height, width, VT_PILLOW_BILINEAR, out, err);
    case BICUBIC:
        return vt_resize_pillow(in, r, height, width, VT_PILLOW_BICUBIC, out, err);
    case BOX:
        return vt_resize_pillow(in, r, height, width, VT_PILLOW_BOX, out, err);
    case NOT_GIVEN:
    case TF_BILINEAR:
        break;
    }
    return vt_resize_tf_bilinear(in, r, height, width, out, err);
}

static vt_status run_resize(const vt_preprocess_op *op, vt_rng *rng, vt_image *in, vt_rect r, vt_image *out,
                            vt_err *err)
{
    return resize(method_of(op, TF_BILINEAR), in, r, vt_op_height(op), vt_op_width(op), out, err);
}

static void size_fixed(const vt_preprocess_op *op, vt_extent *e)
{
    *e = (vt_extent){true, vt_op_height(op), vt_op_width(op)};
}

/* A side when the shorter one becomes size. TensorFlow's methods: half to even of side * (size / shorter) in float32;
 * Pillow's: the fraction dropped, as torchvision's Resize does. */
static int64_t scaled_side(const vt_preprocess_op *op, int64_t side, int64_t shorter)
{
    const int64_t size = vt_op_height(op);
    const resize_method method = method_of(op, TF_AREA);
    if (method != TF_AREA && method != TF_BILINEAR)
        return size * side / shorter;
    const float factor = (float)size / (float)shorter;
    return (int64_t)rintf((float)side * factor);
}

static vt_status run_resize_small(const vt_preprocess_op *op, vt_rng *rng, vt_image *in, vt_rect r, vt_image *out,
                                  vt_err *err)
{
    const int64_t shorter = r.width < r.height ? r.width : r.height;
    return resize(method_of(op, TF_AREA), in, r, scaled_side(op, r.height, shorter), scaled_side(op, r.width, shorter),
                  out, err);
}

static void size_resize_small(const vt_preprocess_op *op, vt_extent *e)
{
    const int64_t shorter = e->width < e->height ? e->width : e->height, size = vt_op_height(op);
    if (e->known)
        *e = (vt_extent){true, scaled_side(op, e->height, shorter), scaled_side(op, e->width, shorter)};
    else
        *e = (vt_extent){false, size, size};
}

static vt_status check_crop(const vt_preprocess_op *op, int64_t width, int64_t height, vt_err *err)
{
    if (vt_op_height(op) <= height && vt_op_width(op) <= width)
        return VT_OK;
    return vt_fail(err, VT_EINVAL,
                   "%s of %lld x %lld (height x width) does not fit into an image of %lld x %lld; resize first",
                   vt_operations[op->kind].name, (long long)vt_op_height(op), (long long)vt_op_width(op),
                   (long long)height, (long long)width);
}

static vt_status cut_central(const vt_preprocess_op *op, vt_rng *rng, int64_t width, int64_t height, vt_rect *r,
                             vt_err *err)
{
    VT_TRY(check_crop(op, width, height, err));
    const int64_t h = vt_op_height(op), w = vt_op_width(op);
    *r = (vt_rect){(width - w) / 2, (height - h) / 2, w, h};
    return VT_OK;
}

/* Half of what is left over, half a pixel to the even side. */
static int64_t even_half(int64_t left)
{
    return left / 2 + (left % 2 && left / 2 % 2);
}

static vt_status cut_center(const vt_preprocess_op *op, vt_rng *rng, int64_t width, int64_t height, vt_rect *r,
                            vt_err *err)
{
    VT_TRY(check_crop(op, width, height, err));
    const int64_t h = vt_op_height(op), w = vt_op_width(op);
    *r = (vt_rect){even_half(width - w), even_half(height - h), w, h};
    return VT_OK;
}

static vt_status cut_random(const vt_preprocess_op *op, vt_rng *rng, int64_t width, int64_t height, vt_rect *r,
                            vt_err *err)
{
    VT_TRY(check_crop(op, width, height, err));
    const int64_t h = vt_op_height(op), w = vt_op_width(op);
    r->y = vt_rng_below(rng, (uint32_t)(height - h + 1));
    r->x = vt_rng_below(rng, (uint32_t)(width - w + 1));
    r->width = w;
    r->height = h;
    return VT_OK;
}

static vt_status run_crop(const vt_preprocess_op *op, vt_rng *rng, vt_image *in, vt_rect r, vt_image *out, vt_err *err)
{
    return vt_crop_rect(in, r, out, err);
}

static vt_status run_pad(const vt_preprocess_op *op, vt_rng *rng, vt_image *in, vt_rect r, vt_image *out, vt_err *err)
{
    return vt_pad_image(in, (int64_t)op->args[0], out, err);
}

static void size_pad(const vt_preprocess_op *op, vt_extent *e)
{
    e->height += 2 * (int64_t)op->args[0];
    e->width += 2 * (int64_t)op->args[0];
}

static vt_status cut_inception(const vt_preprocess_op *op, vt_rng *rng, int64_t width, int64_t height, vt_rect *r,
                               vt_err *err)
{
    const float least = op->share > 0 ? (float)(op->share / 100.0) : 0.05f;
    *r = vt_inception_rect(width, height, least, rng);
    return VT_OK;
}

static vt_status run_flip(const vt_preprocess_op *op, vt_rng *rng, vt_image *in, vt_rect r, vt_image *out, vt_err *err)
{
    VT_TRY(vt_crop_rect(in, r, out, err));
    if (vt_rng_uniform(rng) < 0.5f)
        vt_flip_image(out);
    return VT_OK;
}

static vt_status run_randaugment(const vt_preprocess_op *op, vt_rng *rng, vt_image *in, vt_rect r, vt_image *out,
                                 vt_err *err)
{
    return vt_randaugment(in, (int)op->args[0], (int)op->args[1], rng, out, err);
}

static vt_status run_trivial(const vt_preprocess_op *op, vt_rng *rng, vt_image *in, vt_rect r, vt_image *out,
                             vt_err *err)
{
    return vt_trivial_augment(in, rng, out, err);
}

static vt_status run_erasing(const vt_preprocess_op *op, vt_rng *rng, vt_image *in, vt_rect r, vt_image *out,
                             vt_err *err)
{
    VT_TRY(vt_crop_rect(in, r, out, err));
    vt_random_erasing(out, op->share > 0 ? op->share / 100.0 : 0.25, rng);
    return VT_OK;
}

static void size_same(const vt_preprocess_op *op, vt_extent *e)
{
}

#define SIDES .args = {{1, MAX_OP_SIDE}, {1, MAX_OP_SIDE}}

const vt_operation vt_operations[] = {
    {.name = "resize", .min_args = 1, .max_args = 2, SIDES, .method = true, .run = run_resize, .size = size_fixed},
    {.name = "resize_small",
     .min_args = 1,
     .max_args = 1,
     SIDES,
     .method = true,
     .run = run_resize_small,
     .size = size_resize_small},
    {.name = "central_crop",
     .min_args = 1,
     .max_args = 2,
     SIDES,
     .crop = true,
     .cut = cut_central,
     .run = run_crop,
     .size = size_fixed},
    {.name = "center_crop",
     .min_args = 1,
     .max_args = 2,
     SIDES,
     .crop = true,
     .cut = cut_center,
     .run = run_crop,
     .size = size_fixed},
    {.name = "random_crop",
     .min_args = 1,
     .max_args = 2,
     SIDES,
     .random = true,
     .crop = true,
     .cut = cut_random,
     .run = run_crop,
     .size = size_fixed},
    {.name = "pad", .min_args = 1, .max_args = 1, .args = {{0, MAX_PAD}}, .run = run_pad, .size = size_pad},
    {.name = "inception_crop",
     .min_args = 1,
     .max_args = 2,
     SIDES,
     .random = true,
     .share = true,
     .method = true,
     .cut = cut_inception,
     .run = run_resize,
     .size = size_fixed},
    {.name = "flip", .random = true, .run = run_flip, .size = size_same},
    {.name = "randaugment",
     .min_args = 2,
     .max_args = 2,
     .args = {{1, 16}, {0, VT_MAX_RANDAUGMENT_LEVEL}},
     .random = true,
     .run = run_randaugment,
     .size = size_same},
    {.name = "trivial_augment", .random = true, .run = run_trivial, .size = size_same},
    {.name = "random_erasing", .random = true, .share = true, .run = run_erasing, .size = size_same},
};
const int vt_n_operations = (int)VT_COUNT_OF(vt_operations);

/* One row an entry of vt_operations, and NULL at the end. */
const vt_preprocess_help_row vt_preprocess_help[] = {
    {"resize(S) or resize(H,W), also with METHOD behind",
     "resize to that size, aspect not kept; METHOD is tf_bilinear (if none is given) or another of the next line"},
    {"resize_small(S) or resize_small(S,METHOD)",
     "resize the shorter side to S, aspect kept; METHOD is tf_area (if none is given), tf_bilinear, or Pillow's "
     "bilinear, "
     "bicubic or box, which drop the fraction of the longer side as torchvision does"},
    {"central_crop(S) or central_crop(H,W)", "cut out the middle, half a pixel to the upper left (TensorFlow)"},
    {"center_crop(S) or center_crop(H,W)", "cut out the middle, half a pixel to the even side (torchvision)"},
    {"random_crop(S) or random_crop(H,W)", "cut out at a random place"},
    {"pad(N)", "add N zero pixels on each side"},
    {"inception_crop(S) or inception_crop(H,W), also with MIN% and METHOD behind",
     "cut a random part (area 5 % or MIN % to all, aspect 0.75 to 1.33), resize to that size, tf_bilinear"},
    {"flip", "mirror left and right with probability 1/2"},
    {"randaugment(N,M)", "N times one of 16 operations at level M; 10 is full strength, (2,15) is common"},
    {"trivial_augment", "one of 14 operations at a random strength"},
    {"random_erasing or random_erasing(P%)",
     "with probability 25 % or P %, fill a rectangle (2 to 33 % of the area) with noise"},
    {NULL, NULL},
};
