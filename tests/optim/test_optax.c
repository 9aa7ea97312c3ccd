/* The optimizers against big_vision's chain of optax (tests/golden/optimizer_*.json, whose heads say how they were
 * made): clipping, moments, head and body decay, factors, frozen tensors and a warm-up over twelve steps, on every
 * instruction set that this processor has.
 *
 * Each step takes the reference's gradients. State is vitro's own, but for the two elements of each tensor whose state
 * the files have step by step: there, each step begins with the reference's. That matters for bf16 moments: float32
 * arithmetic in another order (errors of some 2^-24) comes to the other side of a rounding boundary (2^-8 apart) once
 * in some 10^4, and the difference of one unit then stays, while it decays. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/philox.h"
#include "base/text.h"
#include "bench.h"
#include "kernels/bf16.h"
#include "optim/rules.h"
#include "optim/schedule.h"

enum { HEADS = 3, MLP = 100, CLASSES = 37, TENSORS = 7, STEPS = 12, FED = 2 };

/* The norm of what a tensor with n elements may be off: of its change, that of float32 values near 0.1 (1 for a
 * LayerNorm weight), which are rounded in each step both here and there, and a share for moments rounded to other
 * neighbours. */
#define NORM_SHARE 1e-4
#define ROUNDING   4e-8

/* What a float32 moment may be off, relative. 1 - 0.999 is a rounded 0.001 there, and here what a rounded 0.999 leaves,
 * 1.3e-5 less; sums in another order add some 1e-7. */
#define MOMENT_SHARE 3e-5

static const char **golden_paths;
static int n_golden;

/* Everything that is looked at, for the summary line. */
typedef struct {
    double theta, change, moments, fed, fed_differing, elements, differing;
} worst;

static const json_t *get(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_non_null(value);
    return value;
}

static double number(const json_t *object, const char *key)
{
    assert_true(json_is_number(get(object, key)));
    return json_number_value(get(object, key));
}

static double at(const json_t *array, size_t i)
{
    assert_true(json_is_number(json_array_get(array, i)));
    return json_number_value(json_array_get(array, i));
}

static bool is(const json_t *object, const char *key, const char *text)
{
    return strcmp(json_string_value(get(object, key)), text) == 0;
}

static void keep(double *worst_of, double x)
{
    *worst_of = fmax(*worst_of, x);
}

/* The tensors of the file, in its order. */
static void describe(vt_tensor t[TENSORS], int64_t D)
{
    const int64_t h = D / HEADS, tokens = D == 72 ? 15 : 48;
    const vt_tensor all[TENSORS] = {
        {.name = "pos_embed", .n_dims = 3, .dims = {1, tokens, D}, .blocks = 1, .rows = tokens, .cols = D},
        {.name = "blocks.0.attn.qkv.weight",
         .n_dims = 2,
         .dims = {3 * D, D},
         .decays = 1,
         .blocks = 3 * HEADS,
         .rows = h,
         .cols = D,
         .block_stride = h * D},
        {.name = "blocks.0.attn.proj.weight",
         .n_dims = 2,
         .dims = {D, D},
         .decays = 1,
         .blocks = HEADS,
         .rows = D,
         .cols = h,
         .block_stride = h},
        {.name = "blocks.0.norm2.weight", .n_dims = 1, .dims = {D}},
        {.name = "blocks.0.mlp.fc1.weight",
         .n_dims = 2,
         .dims = {MLP, D},
         .decays = 1,
         .blocks = 1,
         .rows = MLP,
         .cols = D},
        {.name = "blocks.0.mlp.fc1.bias", .n_dims = 1, .dims = {MLP}},
        {.name = "head.weight",
         .n_dims = 2,
         .dims = {CLASSES, D},
         .part = VT_PART_HEAD,
         .decays = 1,
         .blocks = 1,
         .rows = CLASSES,
         .cols = D},
    };
    for (int i = 0; i < TENSORS; i++) {
        t[i] = all[i];
        t[i].count = 1;
        for (int d = 0; d < t[i].n_dims; d++)
            t[i].count *= t[i].dims[d];
        t[i].row_stride = t[i].rows ? D : 0;
    }
}

/* The case's factors and frozen tensors, by rules. */
static void apply_rules(const json_t *c, vt_tensor t[TENSORS])
{
    vt_text text = {0};
    const char *name;
    const json_t *factor, *frozen;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)get(c, "lr_mult"), name, factor)
        vt_text_addf(&text, "%s%s: lr %g", text.len ? ", " : "", name, json_number_value(factor));
    json_array_foreach(get(c, "frozen"), i, frozen) vt_text_addf(&text, ", %s: freeze", json_string_value(frozen));
    assert_int_equal(vt_rules_apply(text.s ? text.s : "", t, TENSORS, NULL), VT_OK);
    vt_text_release(&text);
}

static vt_optimizer_config config_of(const json_t *golden, const json_t *c)
{
    const bool f32 = is(c, "momentum_type", "float32");
    vt_optimizer_config config = {.lr = number(golden, "lr"),
                                  .decay_body = number(golden, "decay_body"),
                                  .decay_head = number(golden, "decay_head"),
                                  .beta1 = number(golden, "beta1"),
                                  .beta2 = number(golden, "beta2"),
                                  .eps = 1e-8,
                                  .clip = number(golden, "clip"),
                                  .exact_decay = is(c, "decay", "exact")};
    const char *name = f32 && is(c, "optimizer", "adam") ? "adamw" : json_string_value(get(c, "optimizer"));
    while (strcmp(vt_optimizer_names[config.kind], name) != 0)
        config.kind++;
    if (json_object_get(c, "beta2_cap"))
        config.beta2 = number(c, "beta2_cap");
    if (is(c, "optimizer", "sgd"))
        config.moment = f32 ? VT_MOMENT_F32 : VT_MOMENT_BF16;
    return config;
}

static float *start_of(const vt_tensor *t, double scale)
{
    float *x = vt_xcalloc((size_t)t->count, sizeof *x);
    bench_draw(t->name, (float)scale, x, t->count);
    for (int64_t j = 0; strstr(t->name, "norm") && j < t->count; j++)
        x[j] = 1.0F + x[j];
    return x;
}

static void draw_gradient(bench *b, int i, int step, double scale)
{
    const vt_tensor *t = &b->params[i];
    char name[96];
    float *x = vt_xcalloc((size_t)t->count, sizeof *x);
    (void)snprintf(name, sizeof name, "%.63s.grad.%d", t->name, step);
    bench_draw(name, (float)scale, x, t->count);
    bench_write_grad(b, i, x);
    free(x);
}

/* Random projection k of the golden files. */
static double project(const char *tensor, size_t k, const double *x, int64_t count)
{
    char name[80];
    double sum = 0;
    (void)snprintf(name, sizeof name, "%s.proj.%zu", tensor, k);
    const uint32_t use = vt_fnv1a(name);
    for (int64_t j = 0; j < count; j++)
        sum += vt_philox(7, VT_STREAM_TEST, (uint64_t)j / 4, use, 0).v[j % 4] & 1 ? -x[j] : x[j];
    return sum;
}

/* A vector's norm and projections against those of this step; the difference may have this norm. */
static void check_summary(const json_t *summary, const char *tensor, int step, const double *x, int64_t count,
                          double most, double *share)
{
    const json_t *projections = get(summary, "projections");
    const size_t n = json_array_size(projections) / STEPS;
    double square = 0;
    for (int64_t j = 0; j < count; j++)
        square += x[j] * x[j];
    const double off = fabs(sqrt(square) - at(get(summary, "norm"), (size_t)step));
    assert_true(off <= most);
    keep(share, off / most);
    /* A projection of a difference is about as large as its norm; five times that is never seen. */
    for (size_t k = 0; k < n; k++) {
        const double projected = project(tensor, k, x, count), expected = at(projections, (size_t)step * n + k);
        assert_true(fabs(projected - expected) <= 5 * most);
        keep(share, fabs(projected - expected) / (5 * most));
    }
}

/* Overwrites element j of a float32 or bf16 tensor. */
static void feed(bench *b, void *data, vt_real type, int64_t j, double value)
{
    const float f = (float)value;
    const uint16_t h = vt_bf16_from_f32(f);
    if (type == VT_BF16)
        vt_device_write(&b->device, (uint16_t *)data + j, &h, sizeof h);
    else
        vt_device_write(&b->device, (float *)data + j, &f, sizeof f);
}

/* Values after a step: some one by one, all by their change. */
static void check_values(bench *b, int i, const json_t *e, int step, const float *start, worst *w)
{
    const vt_tensor *t = &b->params[i];
    const json_t *elements = get(e, "elements"), *theta = get(e, "theta");
    const size_t n = json_array_size(elements);
    float *now = bench_read_value(b, i);
    for (size_t k = 0; k < n; k++) {
        const int64_t j = (int64_t)at(elements, k);
        const double expected = at(theta, (size_t)step * n + k), off = fabs((double)now[j] - expected);
        /* fed with the reference's state: a thousandth of lr; else a moment may have been off by 2^-8 for some steps */
        assert_true(off <= (k < FED ? 1e-6 : 1e-5));
        if (k < FED) {
            keep(&w->theta, off);
            feed(b, t->value, VT_F32, j, expected);
        }
    }
    double *change = vt_xcalloc((size_t)t->count, sizeof *change), square = 0;
    for (int64_t j = 0; j < t->count; j++) {
        change[j] = (double)now[j] - (double)start[j];
        square += change[j] * change[j];
    }
    const double unit = strstr(t->name, "norm") ? 10 * ROUNDING : ROUNDING;
    check_summary(get(e, "change"), t->name, step, change, t->count,
                  NORM_SHARE * sqrt(square) + unit * sqrt((double)t->count), &w->change);
    free(change);
    free(now);
}

static const vt_state_tensor *piece(const bench *b, int i, const char *what)
{
    char name[96];
    (void)snprintf(name, sizeof name, "%s.%s", b->params[i].name, what);
    return bench_find_state(&b->optimizer, name);
}

/* The file's names of state, and vitro's. */
static const vt_state_tensor *piece_of(const bench *b, int i, const char *what)
{
    if (!piece(b, i, what) && strcmp(what, "momentum") == 0)
        return piece(b, i, "first");
    return piece(b, i, what) ? piece(b, i, what) : piece(b, i, "second");
}

/* One unit in the last place of a bf16 of this size, or of less. */
static double unit_of(double x)
{
    int exponent;
    (void)frexp(x, &exponent);
    return ldexp(1.0, exponent - 8);
}

/* A piece that is whole: its summary and the fed elements; *peak, where given, keeps the largest size of each element.
 */
static void check_whole(bench *b, int i, const json_t *e, const json_t *summary, const vt_state_tensor *s, int step,
                        double *peak, worst *w)
{
    float *x = bench_read_state(b, s);
    double *wide = vt_xcalloc((size_t)s->count, sizeof *wide), square = 0, largest = 0;
    for (int64_t j = 0; j < s->count; j++) {
        wide[j] = (double)x[j];
        square += wide[j] * wide[j];
        keep(&largest, fabs(wide[j]));
        if (peak)
            keep(&peak[j], fabs(wide[j]));
    }
    /* of bf16, one unit in one element of a thousand, or in one */
    double most = MOMENT_SHARE * sqrt(square);
    if (s->type == VT_BF16)
        most += ceil((double)s->count / 1000) * unit_of(largest);
    check_summary(summary, b->params[i].name, step, wide, s->count, most, &w->moments);
    for (size_t k = 0; k < FED; k++) {
        const int64_t j = (int64_t)at(get(e, "elements"), k);
        const double expected = at(get(summary, "values"), (size_t)step * FED + k), off = fabs(wide[j] - expected);
        /* of float32, what rounding leaves of numbers of the tensor's size that cancel */
        assert_true(off <= (s->type == VT_BF16 ? unit_of(fmax(fabs(wide[j]), fabs(expected)))
                                               : MOMENT_SHARE * fabs(expected) + 1e-6 * largest));
        w->fed += s->type == VT_BF16;
        w->fed_differing += s->type == VT_BF16 && off > 0.1 * unit_of(expected); /* the file has nine digits */
        feed(b, s->data, s->type, j, expected);
    }
    free(x), free(wide);
}

/* State after a step: the pieces that the file has, and no others. */
static void check_state(bench *b, int i, const json_t *e, int step, double *peak, worst *w)
{
    static const char *const pieces[] = {"momentum", "full_moment", "row_moment", "col_moment"};
    int found = 0;
    for (size_t k = 0; k < VT_COUNT_OF(pieces); k++) {
        const json_t *summary = json_object_get(e, pieces[k]);
        if (!summary)
            continue;
        const vt_state_tensor *s = piece_of(b, i, pieces[k]);
        assert_non_null(s);
        found++;
        if (k < 2) {
            check_whole(b, i, e, summary, s, step, k == 0 ? peak : NULL, w);
            continue;
        }
        double square = 0;
        float *x = bench_read_state(b, s);
        for (int64_t j = 0; j < s->count; j++)
            square += (double)x[j] * (double)x[j];
        assert_true(fabs(sqrt(square) / at(get(summary, "norm"), (size_t)step) - 1) < 1e-5); /* float32 sums */
        free(x);
    }
    const vt_optimizer *o = &b->optimizer;
    for (int k = 0; k < o->n_state; k++)
        found -= strncmp(o->state[k].name, b->params[i].name, strlen(b->params[i].name)) == 0;
    assert_int_equal(found, 0);
}

static int digit_of(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = strchr(digits, c);
    return p && c ? (int)(p - digits) : 0; /* '=' adds zero bits that nobody reads */
}

static unsigned char *decode(const char *text, size_t *bytes)
{
    const size_t length = strlen(text);
    unsigned char *out = vt_xmalloc(length + 4);
    *bytes = 0;
    for (size_t i = 0; i + 3 < length; i += 4) {
        const uint32_t word = (uint32_t)digit_of(text[i]) << 18 | (uint32_t)digit_of(text[i + 1]) << 12 |
                              (uint32_t)digit_of(text[i + 2]) << 6 | (uint32_t)digit_of(text[i + 3]);
        for (int k = 16; k >= 0; k -= 8)
            out[(*bytes)++] = (unsigned char)(word >> k & 0xff);
    }
    while (*bytes > 0 && length > 0 && text[length - 1] == '=' &&
           *bytes > length / 4 * 3 - (text[length - 2] == '=' ? 2 : 1))
        (*bytes)--;
    return out;
}

/* bf16 moments after all steps, bit by bit. A few differ, by one unit of the largest size that they had since: what
 * was one unit when they were rounded to other neighbours has only decayed. */
static void check_final_momentum(bench *b, int i, const json_t *final, const double *peak, worst *w)
{
    size_t bytes;
    unsigned char *expected = decode(json_string_value(get(final, "momentum")), &bytes);
    const int64_t stride = (int64_t)number(final, "stride");
    float *x = bench_read_state(b, piece_of(b, i, "momentum"));
    assert_int_equal(bytes / 2, (b->params[i].count + stride - 1) / stride);
    for (size_t k = 0; k < bytes / 2; k++) {
        const int64_t j = (int64_t)k * stride;
        const double reference = (double)vt_bf16_to_f32((uint16_t)(expected[2 * k] | expected[2 * k + 1] << 8));
        assert_true(fabs((double)x[j] - reference) <= unit_of(peak[j]));
        w->differing += (double)x[j] != reference;
        w->elements++;
    }
    free(x), free(expected);
}

static void check_final_factor(bench *b, int i, const json_t *final, const char *what)
{
    size_t bytes;
    unsigned char *expected = decode(json_string_value(get(final, what)), &bytes);
    const vt_state_tensor *s = piece(b, i, what);
    float *x = bench_read_state(b, s);
    assert_int_equal(bytes / 4, s->count);
    for (int64_t k = 0; k < s->count; k++) {
        const unsigned char *p = expected + 4 * k;
        const uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        float reference;
        memcpy(&reference, &bits, sizeof reference);
        assert_true(fabs((double)x[k] / (double)reference - 1) < MOMENT_SHARE);
    }
    free(x), free(expected);
}

static void check_case(const json_t *golden, const json_t *c, const vt_isa *isa)
{
    static const vt_schedule schedule = {.steps = 100, .warmup = 3, .timescale = 10};
    const vt_optimizer_config config = config_of(golden, c);
    const json_t *tensors = get(c, "tensors");
    vt_tensor described[TENSORS];
    float *start[TENSORS];
    double *peak[TENSORS];
    worst w = {0};
    bench b;
    describe(described, (int64_t)number(c, "width"));
    apply_rules(c, described);
    bench_open(&b, described, TENSORS, &config, isa, 1);
    assert_int_equal(json_object_size(tensors), TENSORS);
    for (int i = 0; i < TENSORS; i++) {
        start[i] = start_of(&b.params[i], number(golden, "scale"));
        bench_write_value(&b, i, start[i]);
        peak[i] = vt_xcalloc((size_t)b.params[i].count, sizeof *peak[i]);
    }
    for (int step = 0; step < STEPS; step++) {
        vt_step_report report;
        const double s = vt_schedule_at(&schedule, step), norm = at(get(c, "grad_norms"), (size_t)step);
        assert_true(fabs(s - at(get(c, "s"), (size_t)step)) < 1e-6);
        for (int i = 0; i < TENSORS; i++)
            if (!b.params[i].frozen)
                draw_gradient(&b, i, step, at(get(golden, "grad_scales"), (size_t)step));
        vt_optimizer_step(&b.optimizer, &b.backend, step, s, false, &report);
        assert_true(fabs(report.grad_norm / norm - 1) < 1e-6); /* the file's is a float32 sum */
        assert_int_equal(report.clipped, norm >= config.clip);
        for (int i = 0; i < TENSORS; i++) {
            const json_t *e = get(tensors, b.params[i].name);
            if (b.params[i].frozen) {
                assert_true(json_is_true(get(e, "frozen")));
                continue;
            }
            check_values(&b, i, e, step, start[i], &w);
            check_state(&b, i, e, step, peak[i], &w);
        }
    }
    for (int i = 0; i < TENSORS; i++) {
        const json_t *final = json_object_get(get(tensors, b.params[i].name), "final");
        if (final && json_object_get(final, "momentum"))
            check_final_momentum(&b, i, final, peak[i], &w);
        if (final && json_object_get(final, "row_moment")) {
            check_final_factor(&b, i, final, "row_moment");
            check_final_factor(&b, i, final, "col_moment");
        }
        free(start[i]), free(peak[i]);
    }
    printf("  %-18s %-10s parameters within %.1e, changes %.2f of their bound, moments %.2f; bf16 moments that differ: "
           "%g of %g in one step, %g of %g in all\n",
           json_string_value(get(c, "name")), isa->name, w.theta, w.change, w.moments, w.fed_differing, w.fed,
           w.differing, w.elements);
    assert_true(w.differing <= 1e-3 * w.elements);
    bench_close(&b);
}

/* Breaks when a run would leave the course that big_vision's optimizers take. */
static void test_optax(void **state)
{
    (void)state;
    for (int f = 0; f < n_golden; f++) {
        json_error_t problem;
        json_t *golden = json_load_file(golden_paths[f], 0, &problem);
        const json_t *c;
        size_t k;
        assert_non_null(golden);
        assert_true(json_array_size(get(golden, "cases")) >= 3);
        json_array_foreach(get(golden, "cases"), k, c)
        {
            for (int i = 0; i < vt_n_isas; i++)
                if (vt_isas[i].usable())
                    check_case(golden, c, &vt_isas[i]);
        }
        json_decref(golden);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    golden_paths = (const char **)(void *)(argv + 1);
    n_golden = argc - 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_optax)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
