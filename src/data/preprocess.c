/* A list of preprocessing operations: read from text, printed, checked, and run. The operations are in operations.c. */
#include "data/preprocess.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/philox.h"
#include "image/codec.h"
#include "data/operations.h"

/* --- the list as text --- */

#define MAX_KINDS 32

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

/* The word of letters, digits and '_' at the parser, cut to what fits. */
static size_t take_word(parser *s, char *word, size_t size)
{
    size_t n = 0;
    while ((isalnum((unsigned char)*s->at) || *s->at == '_') && n + 1 < size)
        word[n++] = *s->at++;
    word[n] = '\0';
    return n;
}

static vt_status fail_unknown(const parser *s, const char *start, const char *name)
{
    const char *names[MAX_KINDS];
    vt_text all = {0};
    for (int k = 0; k < vt_n_operations; k++) {
        names[k] = vt_operations[k].name;
        vt_text_addf(&all, "%s%s", k ? ", " : "", names[k]);
    }
    const char *near = vt_nearest(name, names, (size_t)vt_n_operations);
    vt_status status = vt_fail(s->err, VT_EINVAL, "column %d: unknown operation '%s'; %s%s%s", column(s, start), name,
                               near ? "did you mean '" : "operations are ", near ? near : all.s, near ? "'" : "");
    vt_text_release(&all);
    return status;
}

static vt_status parse_kind(parser *s, vt_preprocess_op *op)
{
    char name[32];
    const char *start = s->at;
    const size_t n = take_word(s, name, sizeof name);
    for (op->kind = 0; op->kind < vt_n_operations; op->kind++) {
        if (strcmp(vt_operations[op->kind].name, name) == 0)
            return VT_OK;
    }
    if (n == 0)
        return vt_fail(s->err, VT_EINVAL, "column %d: expected the name of an operation, found '%.16s'",
                       column(s, start), start);
    return fail_unknown(s, start, name);
}

static vt_status check_share(const parser *s, const vt_operation *k, int index, double v, const char *at)
{
    if (!k->share || index < k->min_args)
        return vt_fail(s->err, VT_EINVAL, "column %d: argument %d of %s is written without %%", column(s, at),
                       index + 1, k->name);
    if (v > 0 && v <= 100)
        return VT_OK;
    return vt_fail(s->err, VT_EINVAL, "column %d: argument %d of %s is %g%%; it must be above 0%% and at most 100%%",
                   column(s, at), index + 1, k->name, v);
}

static vt_status check_number(const parser *s, const vt_operation *k, int index, double v, const char *at)
{
    const int least = k->args[index].least, most = k->args[index].most;
    if (v >= least && v <= most && v == floor(v))
        return VT_OK;
    return vt_fail(s->err, VT_EINVAL, "column %d: argument %d of %s is %g; it must be a whole number from %d to %d",
                   column(s, at), index + 1, k->name, v, least, most);
}

static vt_status parse_method(parser *s, vt_preprocess_op *op, const vt_operation *k)
{
    const char *start = s->at;
    char word[32];
    take_word(s, word, sizeof word);
    for (int m = 1; vt_resize_methods[m]; m++) {
        if (strcmp(vt_resize_methods[m], word) == 0) {
            op->method = m;
            return VT_OK;
        }
    }
    return vt_fail(
        s->err, VT_EINVAL,
        "column %d: unknown method '%s' of %s; there are tf_bilinear, tf_area, and Pillow's bilinear, bicubic "
        "and box",
        column(s, start), word, k->name);
}

static vt_status parse_arg(parser *s, vt_preprocess_op *op, const vt_operation *k)
{
    skip_space(s);
    const char *start = s->at;
    char number[32];
    size_t n = 0;
    if (op->method > 0)
        return vt_fail(s->err, VT_EINVAL, "column %d: nothing may follow the method of %s", column(s, start), k->name);
    if (k->method && op->n_args >= k->min_args && isalpha((unsigned char)*start))
        return parse_method(s, op, k);
    while ((isdigit((unsigned char)*s->at) || *s->at == '.') && n + 1 < sizeof number)
        number[n++] = *s->at++;
    number[n] = '\0';
    double v;
    if (n == 0 || vt_parse_f64(number, &v, NULL) != VT_OK)
        return vt_fail(s->err, VT_EINVAL, "column %d: expected a number as argument of %s, found '%.16s'",
                       column(s, start), k->name, start);
    if (op->share > 0)
        return vt_fail(s->err, VT_EINVAL, "column %d: nothing may follow the share of %s%s", column(s, start), k->name,
                       k->method ? " but a method" : "");
    if (*s->at == '%') {
        s->at++;
        op->share = v;
        return check_share(s, k, op->n_args, v, start);
    }
    if (op->n_args >= k->max_args)
        return vt_fail(s->err, VT_EINVAL, "column %d: %s takes at most %d argument%s%s", column(s, start), k->name,
                       k->max_args, k->max_args == 1 ? "" : "s", k->share ? " and a share, written with % (60%)" : "");
    op->args[op->n_args++] = v;
    return check_number(s, k, op->n_args - 1, v, start);
}

static vt_status parse_op(parser *s, vt_preprocess_op *op)
{
    skip_space(s);
    const char *start = s->at;
    VT_TRY(parse_kind(s, op));
    const vt_operation *k = &vt_operations[op->kind];
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
        const vt_operation *k = &vt_operations[op->kind];
        vt_text_addf(out, "%s%s", i ? ", " : "", k->name);
        const char *before = "(";
        for (int a = 0; a < op->n_args; a++, before = ", ") {
            vt_text_add(out, before);
            print_number(op->args[a], out);
        }
        if (op->share > 0) {
            vt_text_add(out, before);
            print_number(op->share, out);
            vt_text_add(out, "%");
            before = ", ";
        }
        if (op->method > 0) {
            vt_text_addf(out, "%s%s", before, vt_resize_methods[op->method]);
            before = ", ";
        }
        if (before[0] == ',')
            vt_text_add(out, ")");
    }
    vt_text_add(out, "]");
}

/* --- use --- */

bool vt_preprocess_is_random(const vt_preprocess *p)
{
    for (int i = 0; i < p->n_ops; i++) {
        if (vt_operations[p->ops[i].kind].random)
            return true;
    }
    return false;
}

vt_status vt_preprocess_check(const vt_preprocess *p, int64_t height, int64_t width, vt_err *err)
{
    vt_extent e = {false, 1, 1};
    for (int i = 0; i < p->n_ops; i++) {
        const vt_preprocess_op *op = &p->ops[i];
        const vt_operation *k = &vt_operations[op->kind];
        if (k->crop && e.known && (vt_op_height(op) > e.height || vt_op_width(op) > e.width))
            return vt_fail(err, VT_EINVAL,
                           "%s of %lld x %lld (height x width) cannot be cut from the %lld x %lld that the operations "
                           "before it leave",
                           k->name, (long long)vt_op_height(op), (long long)vt_op_width(op), (long long)e.height,
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

bool vt_preprocess_extent(const vt_preprocess *p, int end, int64_t *height, int64_t *width)
{
    vt_extent e = {*height > 0, *height > 0 ? *height : 1, *width > 0 ? *width : 1};
    for (int i = 0; i < end; i++) {
        const vt_preprocess_op *op = &p->ops[i];
        const vt_operation *k = &vt_operations[op->kind];
        if (k->crop && e.known && (vt_op_height(op) > e.height || vt_op_width(op) > e.width))
            return false;
        k->size(op, &e);
    }
    *height = e.height;
    *width = e.width;
    return e.known && vt_image_check_size(e.width, e.height, NULL) == VT_OK;
}

int vt_preprocess_fixed(const vt_preprocess *p)
{
    int n = 0;
    while (n < p->n_ops && !vt_operations[p->ops[n].kind].random)
        n++;
    return n;
}

static void swap(vt_image *a, vt_image *b)
{
    vt_image t = *a;
    *a = *b;
    *b = t;
}

static vt_status run_operation(const vt_preprocess_op *op, vt_rng *rng, vt_rect r, vt_image *image, vt_image *spare,
                               vt_err *err)
{
    VT_TRY(vt_operations[op->kind].run(op, rng, image, r, spare, err));
    swap(image, spare);
    return VT_OK;
}

vt_status vt_preprocess_run_part(const vt_preprocess *p, int first, int end, uint32_t seed, uint64_t position,
                                 vt_image *image, vt_image *spare, vt_err *err)
{
    for (int i = first; i < end; i++) {
        const vt_preprocess_op *op = &p->ops[i];
        vt_rng rng = vt_rng_at(seed, VT_STREAM_AUGMENT, position, (uint32_t)i);
        vt_rect r = {0, 0, image->width, image->height};
        if (vt_operations[op->kind].cut)
            VT_TRY(vt_operations[op->kind].cut(op, &rng, image->width, image->height, &r, err));
        VT_TRY(run_operation(op, &rng, r, image, spare, err));
    }
    return VT_OK;
}

vt_status vt_preprocess_run(const vt_preprocess *p, uint32_t seed, uint64_t position, vt_image *image, vt_image *spare,
                            vt_err *err)
{
    return vt_preprocess_run_part(p, 0, p->n_ops, seed, position, image, spare, err);
}

/* Decodes what the first operation looks at, and runs it. */
static vt_status load_cut(const vt_preprocess *p, uint32_t seed, uint64_t position, vt_read_buffer *b, vt_image *spare,
                          const char *name, vt_err *err)
{
    const vt_preprocess_op *op = &p->ops[0];
    vt_rng rng = vt_rng_at(seed, VT_STREAM_AUGMENT, position, 0);
    vt_image_header header;
    vt_rect r;
    VT_TRY(vt_image_look(b->bytes, b->size, p->orient, name, &header, err));
    vt_status status = vt_operations[op->kind].cut(op, &rng, header.width, header.height, &r, err);
    if (status == VT_OK) {
        VT_TRY(vt_image_decode_part(&b->image, spare, b->bytes, b->size, name, &header, &r, err));
        vt_read_buffer_note(b, VT_WORK_PREPROCESS);
        status = run_operation(op, &rng, r, &b->image, spare, err);
    }
    if (status != VT_OK)
        vt_prefix(err, "%s", name);
    return status;
}

static vt_status load_whole(bool orient, vt_read_buffer *b, vt_image *spare, const char *name, vt_err *err)
{
    VT_TRY(vt_image_decode(&b->image, b->bytes, b->size, name, err));
    return orient ? vt_image_turn_upright(&b->image, spare, b->bytes, b->size, err) : VT_OK;
}

vt_status vt_preprocess_load_part(const vt_preprocess *p, int end, uint32_t seed, uint64_t position, vt_read_buffer *b,
                                  vt_image *spare, const char *name, vt_err *err)
{
    int done = 0;
    vt_read_buffer_note(b, VT_WORK_DECODE);
    if (b->encoded) {
        const bool cut = end > 0 && vt_operations[p->ops[0].kind].cut;
        b->encoded = false;
        if (cut)
            VT_TRY(load_cut(p, seed, position, b, spare, name, err));
        else
            VT_TRY(load_whole(p->orient, b, spare, name, err));
        done = cut;
    }
    vt_read_buffer_note(b, VT_WORK_PREPROCESS);
    vt_status status = vt_preprocess_run_part(p, done, end, seed, position, &b->image, spare, err);
    if (status != VT_OK)
        vt_prefix(err, "%s", name);
    return status;
}

vt_status vt_preprocess_load(const vt_preprocess *p, uint32_t seed, uint64_t position, vt_read_buffer *b,
                             vt_image *spare, const char *name, vt_err *err)
{
    return vt_preprocess_load_part(p, p->n_ops, seed, position, b, spare, name, err);
}
