/* The list of preprocessing operations: one table gives names, arguments, help, sizes and code. */
#include "data/preprocess.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/philox.h"
#include "data/geometry.h"

#define MAX_OP_SIDE 8192 /* of a size written in a list: keeps buffers below VT_MAX_PIXELS */
#define MAX_PAD     1024

/* What is known of an image's size before any image was seen: the exact size, or only lower bounds. */
typedef struct {
    bool known;
    int64_t height, width; /* exact where known, else least */
} extent;

typedef struct {
    const char *name;
    int min_args, max_args;
    bool random, share; /* share: one more argument may follow, written with % */
    vt_status (*run)(const vt_preprocess_op *op, vt_rng *rng, const vt_image *in, vt_image *out, vt_err *err);
    void (*size)(const vt_preprocess_op *op, extent *e);
} op_kind;

/* H and W of an operation with one or two sizes. */
static int64_t arg_height(const vt_preprocess_op *op)
{
    return (int64_t)op->args[0];
}

static int64_t arg_width(const vt_preprocess_op *op)
{
    return (int64_t)op->args[op->n_args > 1 ? 1 : 0];
}

static vt_status run_resize(const vt_preprocess_op *op, vt_rng *rng, const vt_image *in, vt_image *out, vt_err *err)
{
    return vt_resize_bilinear(in, arg_height(op), arg_width(op), out, err);
}

static void size_fixed(const vt_preprocess_op *op, extent *e)
{
    *e = (extent){true, arg_height(op), arg_width(op)};
}

/* Round half to even of side * (size / shorter side), in float32. */
static int64_t scaled_side(int64_t side, int64_t shorter, int64_t size)
{
    float factor = (float)size / (float)shorter;
    return (int64_t)rintf((float)side * factor);
}

static vt_status run_resize_small(const vt_preprocess_op *op, vt_rng *rng, const vt_image *in, vt_image *out,
                                  vt_err *err)
{
    int64_t shorter = in->width < in->height ? in->width : in->height, size = arg_height(op);
    return vt_resize_area(in, scaled_side(in->height, shorter, size), scaled_side(in->width, shorter, size), out, err);
}

static void size_resize_small(const vt_preprocess_op *op, extent *e)
{
    int64_t shorter = e->width < e->height ? e->width : e->height, size = arg_height(op);
    if (e->known)
        *e = (extent){true, scaled_side(e->height, shorter, size), scaled_side(e->width, shorter, size)};
    else
        *e = (extent){false, size, size};
}

static vt_status check_crop(const vt_preprocess_op *op, const vt_image *in, const char *name, vt_err *err)
{
    if (arg_height(op) <= in->height && arg_width(op) <= in->width)
        return VT_OK;
    return vt_fail(err, VT_EINVAL,
                   "%s of %lld x %lld (height x width) does not fit into an image of %lld x %lld; resize first", name,
                   (long long)arg_height(op), (long long)arg_width(op), (long long)in->height, (long long)in->width);
}

static vt_status run_central_crop(const vt_preprocess_op *op, vt_rng *rng, const vt_image *in, vt_image *out,
                                  vt_err *err)
{
    VT_TRY(check_crop(op, in, "central_crop", err));
    int64_t h = arg_height(op), w = arg_width(op);
    return vt_crop_rect(in, (vt_rect){(in->width - w) / 2, (in->height - h) / 2, w, h}, out, err);
}

static vt_status run_random_crop(const vt_preprocess_op *op, vt_rng *rng, const vt_image *in, vt_image *out,
                                 vt_err *err)
{
    VT_TRY(check_crop(op, in, "random_crop", err));
    int64_t h = arg_height(op), w = arg_width(op);
    int64_t y = vt_rng_below(rng, (uint32_t)(in->height - h + 1));
    int64_t x = vt_rng_below(rng, (uint32_t)(in->width - w + 1));
    return vt_crop_rect(in, (vt_rect){x, y, w, h}, out, err);
}

static vt_status run_pad(const vt_preprocess_op *op, vt_rng *rng, const vt_image *in, vt_image *out, vt_err *err)
{
    return vt_pad_image(in, (int64_t)op->args[0], out, err);
}

static void size_pad(const vt_preprocess_op *op, extent *e)
{
    e->height += 2 * (int64_t)op->args[0];
    e->width += 2 * (int64_t)op->args[0];
}

static vt_status run_inception_crop(const vt_preprocess_op *op, vt_rng *rng, const vt_image *in, vt_image *out,
                                    vt_err *err)
{
    float least = op->share > 0 ? (float)(op->share / 100.0) : 0.05f;
    vt_rect r = vt_inception_rect(in->width, in->height, least, rng);
    return vt_resize_bilinear_rect(in, r, arg_height(op), arg_width(op), out, err);
}

static vt_status run_flip(const vt_preprocess_op *op, vt_rng *rng, const vt_image *in, vt_image *out, vt_err *err)
{
    VT_TRY(vt_crop_rect(in, (vt_rect){0, 0, in->width, in->height}, out, err));
    if (vt_rng_uniform(rng) < 0.5f)
        vt_flip_image(out);
    return VT_OK;
}

static void size_same(const vt_preprocess_op *op, extent *e)
{
}

static const op_kind kinds[] = {
    {"resize", 1, 2, false, false, run_resize, size_fixed},
    {"resize_small", 1, 1, false, false, run_resize_small, size_resize_small},
    {"central_crop", 1, 2, false, false, run_central_crop, size_fixed},
    {"random_crop", 1, 2, true, false, run_random_crop, size_fixed},
    {"pad", 1, 1, false, false, run_pad, size_pad},
    {"inception_crop", 1, 2, true, true, run_inception_crop, size_fixed},
    {"flip", 0, 0, true, false, run_flip, size_same},
};
#define N_KINDS ((int)VT_COUNT_OF(kinds))

/* One row an entry of kinds, and NULL at the end. */
const vt_preprocess_help_row vt_preprocess_help[] = {
    {"resize(S) or resize(H,W)", "resize to that size, aspect not kept, bilinear"},
    {"resize_small(S)", "resize the shorter side to S, aspect kept, area average"},
    {"central_crop(S) or central_crop(H,W)", "cut out the middle"},
    {"random_crop(S) or random_crop(H,W)", "cut out at a random place"},
    {"pad(N)", "add N zero pixels on each side"},
    {"inception_crop(S) or inception_crop(H,W), also with MIN% behind",
     "cut a random part (area 5 % or MIN % to all, aspect 0.75 to 1.33), resize to that size"},
    {"flip", "mirror left and right with probability 1/2"},
    {NULL, NULL},
};

/* --- the list as text --- */

typedef struct {
    const char *text, *at;
    vt_err *err;
} parser;

static void skip_space(parser *s)
{
    while (*s->at == ' ' || *s->at == '\t')
        s->at++;
}

static bool accept(parser *s, char c)
{
    skip_space(s);
    if (*s->at != c)
        return false;
    s->at++;
    return true;
}

static int column(const parser *s, const char *at)
{
    return (int)(at - s->text) + 1;
}

static vt_status parse_kind(parser *s, vt_preprocess_op *op)
{
    char name[32];
    size_t n = 0;
    const char *start = s->at;
    while ((isalnum((unsigned char)*s->at) || *s->at == '_') && n + 1 < sizeof name)
        name[n++] = *s->at++;
    name[n] = '\0';
    const char *names[N_KINDS];
    for (int k = 0; k < N_KINDS; k++) {
        names[k] = kinds[k].name;
        op->kind = k;
        if (strcmp(names[k], name) == 0)
            return VT_OK;
    }
    if (n == 0)
        return vt_fail(s->err, VT_EINVAL, "column %d: expected the name of an operation, found '%.16s'",
                       column(s, start), start);
    const char *near = vt_nearest(name, names, (size_t)N_KINDS);
    return vt_fail(s->err, VT_EINVAL, "column %d: unknown operation '%s'%s%s%s", column(s, start), name,
                   near ? "; did you mean '"
                        : "; operations are resize, resize_small, central_crop, random_crop, pad, "
                          "inception_crop, flip",
                   near ? near : "", near ? "'" : "");
}

static vt_status check_share(const parser *s, const op_kind *k, int index, double v, const char *at)
{
    if (!k->share || index < k->min_args)
        return vt_fail(s->err, VT_EINVAL, "column %d: argument %d of %s is a number of pixels, written without %%",
                       column(s, at), index + 1, k->name);
    if (v > 0 && v <= 100)
        return VT_OK;
    return vt_fail(s->err, VT_EINVAL, "column %d: argument %d of %s is %g%%; it must be above 0%% and at most 100%%",
                   column(s, at), index + 1, k->name, v);
}

static vt_status check_pixels(const parser *s, const op_kind *k, int index, double v, const char *at)
{
    bool pad = k->run == run_pad;
    int least = pad ? 0 : 1, most = pad ? MAX_PAD : MAX_OP_SIDE;
    if (v >= least && v <= most && v == floor(v))
        return VT_OK;
    return vt_fail(s->err, VT_EINVAL, "column %d: argument %d of %s is %g; it must be a whole number from %d to %d",
                   column(s, at), index + 1, k->name, v, least, most);
}

static vt_status parse_arg(parser *s, vt_preprocess_op *op, const op_kind *k)
{
    skip_space(s);
    const char *start = s->at;
    char number[32];
    size_t n = 0;
    while ((isdigit((unsigned char)*s->at) || *s->at == '.') && n + 1 < sizeof number)
        number[n++] = *s->at++;
    number[n] = '\0';
    double v;
    if (n == 0 || vt_parse_f64(number, &v, NULL) != VT_OK)
        return vt_fail(s->err, VT_EINVAL, "column %d: expected a number as argument of %s, found '%.16s'",
                       column(s, start), k->name, start);
    if (op->share > 0)
        return vt_fail(s->err, VT_EINVAL, "column %d: nothing may follow the share of %s", column(s, start), k->name);
    if (*s->at == '%') {
        s->at++;
        op->share = v;
        return check_share(s, k, op->n_args, v, start);
    }
    if (op->n_args >= k->max_args)
        return vt_fail(s->err, VT_EINVAL, "column %d: %s takes at most %d argument%s%s", column(s, start), k->name,
                       k->max_args, k->max_args == 1 ? "" : "s", k->share ? " and a share, written with % (60%)" : "");
    op->args[op->n_args++] = v;
    return check_pixels(s, k, op->n_args - 1, v, start);
}

static vt_status parse_op(parser *s, vt_preprocess_op *op)
{
    skip_space(s);
    const char *start = s->at;
    VT_TRY(parse_kind(s, op));
    const op_kind *k = &kinds[op->kind];
    if (accept(s, '(')) {
        do
            VT_TRY(parse_arg(s, op, k));
        while (accept(s, ','));
        if (!accept(s, ')'))
            return vt_fail(s->err, VT_EINVAL, "column %d: expected ')' after the arguments of %s", column(s, s->at),
                           k->name);
    }
    if (op->n_args < k->min_args)
        return vt_fail(s->err, VT_EINVAL, "column %d: %s needs an argument, as in %s", column(s, start), k->name,
                       vt_preprocess_help[op->kind].form);
    return VT_OK;
}

vt_status vt_preprocess_parse(vt_preprocess *p, const char *text, vt_err *err)
{
    parser s = {text, text, err};
    *p = (vt_preprocess){0};
    bool bracket = accept(&s, '[');
    skip_space(&s);
    bool empty = *s.at == '\0' || *s.at == ']';
    while (!empty) {
        if (p->n_ops == VT_MAX_PREPROCESS)
            return vt_fail(err, VT_EINVAL, "column %d: more than %d operations in '%.200s'", column(&s, s.at),
                           VT_MAX_PREPROCESS, text);
        VT_TRY(parse_op(&s, &p->ops[p->n_ops]));
        p->n_ops++;
        if (!accept(&s, ','))
            break;
    }
    if (bracket && !accept(&s, ']'))
        return vt_fail(err, VT_EINVAL, "column %d: expected ',' or ']', found '%.16s'", column(&s, s.at), s.at);
    skip_space(&s);
    if (*s.at != '\0')
        return vt_fail(err, VT_EINVAL, "column %d: expected %s, found '%.16s'", column(&s, s.at),
                       bracket ? "nothing after ']'" : "','", s.at);
    return VT_OK;
}

/* The shortest decimal without an exponent, which the list does not know, that reads back as v. */
static void print_number(double v, vt_text *out)
{
    char digits[64];
    for (int places = 0; places <= 32; places++) {
        snprintf(digits, sizeof digits, "%.*f", places, v);
        double back;
        if (vt_parse_f64(digits, &back, NULL) == VT_OK && back == v)
            break;
    }
    vt_text_add(out, digits);
}

void vt_preprocess_print(const vt_preprocess *p, vt_text *out)
{
    vt_text_add(out, "[");
    for (int i = 0; i < p->n_ops; i++) {
        const vt_preprocess_op *op = &p->ops[i];
        const op_kind *k = &kinds[op->kind];
        vt_text_addf(out, "%s%s", i ? ", " : "", k->name);
        for (int a = 0; a < op->n_args; a++) {
            vt_text_add(out, a ? ", " : "(");
            print_number(op->args[a], out);
        }
        if (op->share > 0) {
            vt_text_add(out, ", ");
            print_number(op->share, out);
            vt_text_add(out, "%");
        }
        if (op->n_args)
            vt_text_add(out, ")");
    }
    vt_text_add(out, "]");
}

/* --- use --- */

bool vt_preprocess_is_random(const vt_preprocess *p)
{
    for (int i = 0; i < p->n_ops; i++) {
        if (kinds[p->ops[i].kind].random)
            return true;
    }
    return false;
}

vt_status vt_preprocess_check(const vt_preprocess *p, int64_t height, int64_t width, vt_err *err)
{
    extent e = {false, 1, 1};
    for (int i = 0; i < p->n_ops; i++) {
        const vt_preprocess_op *op = &p->ops[i];
        const op_kind *k = &kinds[op->kind];
        bool crop = k->run == run_central_crop || k->run == run_random_crop;
        if (crop && e.known && (arg_height(op) > e.height || arg_width(op) > e.width))
            return vt_fail(err, VT_EINVAL,
                           "%s of %lld x %lld (height x width) cannot be cut from the %lld x %lld that the operations "
                           "before it leave",
                           k->name, (long long)arg_height(op), (long long)arg_width(op), (long long)e.height,
                           (long long)e.width);
        k->size(op, &e);
    }
    if (e.known && e.height == height && e.width == width)
        return VT_OK;
    char size[48];
    int n = snprintf(size, sizeof size, "%lld", (long long)height);
    if (height != width)
        snprintf(size + n, sizeof size - (size_t)n, ",%lld", (long long)width);
    vt_text list = {0};
    vt_preprocess_print(p, &list);
    vt_status status;
    if (e.known)
        status = vt_fail(err, VT_EINVAL,
                         "%.300s ends with images of %lld x %lld (height x width), but the model takes %lld x %lld",
                         list.s, (long long)e.height, (long long)e.width, (long long)height, (long long)width);
    else
        status = vt_fail(err, VT_EINVAL,
                         "%.300s leaves images of different sizes; the model takes %lld x %lld: end with resize(%s) or "
                         "central_crop(%s)",
                         list.s, (long long)height, (long long)width, size, size);
    vt_text_release(&list);
    return status;
}

int vt_preprocess_fixed(const vt_preprocess *p)
{
    int n = 0;
    while (n < p->n_ops && !kinds[p->ops[n].kind].random)
        n++;
    return n;
}

vt_status vt_preprocess_run_part(const vt_preprocess *p, int first, int end, uint32_t seed, uint64_t position,
                                 vt_image *image, vt_image *spare, vt_err *err)
{
    for (int i = first; i < end; i++) {
        vt_rng rng = vt_rng_at(seed, VT_STREAM_AUGMENT, position, (uint32_t)i);
        VT_TRY(kinds[p->ops[i].kind].run(&p->ops[i], &rng, image, spare, err));
        vt_image t = *image;
        *image = *spare;
        *spare = t;
    }
    return VT_OK;
}

vt_status vt_preprocess_run(const vt_preprocess *p, uint32_t seed, uint64_t position, vt_image *image, vt_image *spare,
                            vt_err *err)
{
    return vt_preprocess_run_part(p, 0, p->n_ops, seed, position, image, spare, err);
}

vt_status vt_preprocess_load_part(const vt_preprocess *p, int end, uint32_t seed, uint64_t position, vt_read_buffer *b,
                                  vt_image *spare, const char *name, vt_err *err)
{
    vt_read_buffer_note(b, VT_WORK_DECODE);
    if (b->encoded) {
        b->encoded = false;
        VT_TRY(vt_image_decode(&b->image, b->bytes, b->size, name, err));
    }
    vt_read_buffer_note(b, VT_WORK_PREPROCESS);
    vt_status status = vt_preprocess_run_part(p, 0, end, seed, position, &b->image, spare, err);
    return status == VT_OK ? VT_OK : vt_prefix(err, "%s", name);
}

vt_status vt_preprocess_load(const vt_preprocess *p, uint32_t seed, uint64_t position, vt_read_buffer *b,
                             vt_image *spare, const char *name, vt_err *err)
{
    return vt_preprocess_load_part(p, p->n_ops, seed, position, b, spare, name, err);
}
