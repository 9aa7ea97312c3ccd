/* The optimizer's step against a second implementation in plain doubles, its rules (decay, clipping, what is factored,
 * a gradient that is not finite), its memory, and the same bytes for any number of threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/philox.h"
#include "model/model.h"
#include "optim/optimizer.h"

/* One of each kind: fused heads above one another and side by side, both whole orientations, a matrix too small to be
 * factored, a vector, the classifier, and positions, which are factored but do not decay. */
static const vt_tensor kinds[] = {
    {"qkv.weight", 2, {192, 64}, 192 * 64, VT_PART_BODY, 1, 6, 32, 64, 32 * 64, 64, NULL, NULL},
    {"proj.weight", 2, {64, 64}, 64 * 64, VT_PART_BODY, 1, 2, 64, 32, 32, 64, NULL, NULL},
    {"fc1.weight", 2, {80, 33}, 80 * 33, VT_PART_BODY, 1, 1, 80, 33, 0, 33, NULL, NULL},
    {"small.weight", 2, {31, 40}, 31 * 40, VT_PART_BODY, 1, 1, 31, 40, 0, 40, NULL, NULL},
    {"norm.bias", 1, {37}, 37, VT_PART_BODY, 0, 0, 0, 0, 0, 0, NULL, NULL},
    {"pos_embed", 3, {1, 49, 64}, 49 * 64, VT_PART_BODY, 0, 1, 49, 64, 0, 64, NULL, NULL},
    {"head.weight", 2, {40, 64}, 40 * 64, VT_PART_HEAD, 1, 1, 40, 64, 0, 64, NULL, NULL},
    {"head.bias", 1, {40}, 40, VT_PART_HEAD, 0, 0, 0, 0, 0, 0, NULL, NULL},
};
enum { KINDS = VT_COUNT_OF(kinds) };

static const vt_optimizer_config paper = {
    .lr = 8e-4, .decay_body = 0.03, .decay_head = 3.0, .beta1 = 0.9, .beta2_cap = 0.999, .clip = 1.0};

typedef struct {
    vt_device device;
    vt_pool *pool;
    vt_backend backend;
    vt_tensor params[KINDS];
    int n;
    vt_optimizer optimizer;
    size_t state_bytes;
} bench;

static void place(bench *b, vt_arena *a)
{
    static const vt_limits limits = {.tokens = 64, .head_width = 64, .width = 256, .slices = 8};
    for (int i = 0; i < b->n; i++) {
        b->params[i].value = vt_arena_take(a, b->params[i].count, sizeof(float));
        b->params[i].grad = vt_arena_take(a, b->params[i].count, sizeof(float));
    }
    size_t before = a->used;
    vt_optimizer_place(&b->optimizer, a);
    b->state_bytes = a->used - before;
    vt_backend_place_scratch(&b->backend, a, &limits);
}

static void bench_open(bench *b, const vt_tensor *params, int n, const vt_optimizer_config *c, const vt_isa *isa,
                       int threads)
{
    memcpy(b->params, params, (size_t)n * sizeof *params);
    b->n = n;
    assert_int_equal(vt_pool_new(&b->pool, threads, NULL), VT_OK);
    vt_device_init(&b->device);
    vt_backend_init(&b->backend, isa, b->pool, &b->device);
    assert_int_equal(vt_optimizer_init(&b->optimizer, c, b->params, n, NULL), VT_OK);
    vt_arena counting = vt_arena_counting(), memory;
    place(b, &counting);
    assert_int_equal(vt_device_arena(&b->device, counting.high, "the test's tensors", &memory, NULL), VT_OK);
    place(b, &memory);
    assert_int_equal(memory.high, counting.high);
}

static void bench_close(bench *b)
{
    vt_optimizer_release(&b->optimizer);
    vt_device_release(&b->device);
    vt_pool_free(b->pool);
}

/* Numbers around 0 of the given size, some far smaller: moments that span orders of magnitude. */
static void draw(float *x, int64_t n, double size, uint64_t index, const char *name)
{
    vt_rng rng = vt_rng_at(5, VT_STREAM_TEST, index, vt_fnv1a(name));
    for (int64_t j = 0; j < n; j++) {
        double z = vt_rng_normal(&rng) * size;
        x[j] = (float)(vt_rng_below(&rng, 10) == 0 ? z * 1e-4 : z);
    }
}

static void fill(bench *b, int i, int grad, double size, uint64_t index)
{
    vt_tensor *t = &b->params[i];
    float *x = malloc((size_t)t->count * sizeof *x);
    draw(x, t->count, size, index, t->name);
    vt_device_write(&b->device, grad ? t->grad : t->value, x, (size_t)t->count * sizeof *x);
    free(x);
}

static void fill_with(bench *b, int i, int grad, float value)
{
    vt_tensor *t = &b->params[i];
    float *x = malloc((size_t)t->count * sizeof *x);
    for (int64_t j = 0; j < t->count; j++)
        x[j] = value;
    vt_device_write(&b->device, grad ? t->grad : t->value, x, (size_t)t->count * sizeof *x);
    free(x);
}

static float *read_values(bench *b, int i)
{
    float *x = malloc((size_t)b->params[i].count * sizeof *x);
    vt_device_read(&b->device, x, b->params[i].value, (size_t)b->params[i].count * sizeof *x);
    return x;
}

static size_t state_size(const vt_state_tensor *s)
{
    return (size_t)s->count * (s->is_bf16 ? 2 : 4);
}

/* Values, then state, of everything. */
static unsigned char *snapshot(bench *b, size_t *size)
{
    size_t total = 0, at = 0;
    for (int i = 0; i < b->n; i++)
        total += (size_t)b->params[i].count * sizeof(float);
    for (int i = 0; i < b->optimizer.n_state; i++)
        total += state_size(&b->optimizer.state[i]);
    unsigned char *all = malloc(total);
    for (int i = 0; i < b->n; i++) {
        vt_device_read(&b->device, all + at, b->params[i].value, (size_t)b->params[i].count * sizeof(float));
        at += (size_t)b->params[i].count * sizeof(float);
    }
    for (int i = 0; i < b->optimizer.n_state; i++) {
        vt_device_read(&b->device, all + at, b->optimizer.state[i].data, state_size(&b->optimizer.state[i]));
        at += state_size(&b->optimizer.state[i]);
    }
    *size = total;
    return all;
}

/* The second implementation: spec 3.2 tensor by tensor, everything in double but the stored momentum. */
typedef struct {
    double *value, *momentum, *full, *row, *col;
} twin;

static double to_bf16(double x)
{
    float f = (float)x;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000U;
    memcpy(&f, &bits, sizeof f);
    return (double)f;
}

static int factored(const vt_tensor *t)
{
    return (t->rows < t->cols ? t->rows : t->cols) >= 32;
}

static void twin_open(twin *w, const vt_tensor *t, const float *value)
{
    size_t n = (size_t)t->count;
    w->value = calloc(n, sizeof(double));
    w->momentum = calloc(n, sizeof(double));
    w->full = calloc(n, sizeof(double));
    w->row = calloc(n, sizeof(double));
    w->col = calloc(n, sizeof(double));
    for (size_t j = 0; j < n; j++)
        w->value[j] = (double)value[j];
}

static void twin_close(twin *w)
{
    free(w->value);
    free(w->momentum);
    free(w->full);
    free(w->row);
    free(w->col);
}

/* u of one block of a factored matrix. */
static void twin_block(twin *w, const vt_tensor *t, const double *g, double *u, int64_t block, double beta2)
{
    double *R = w->row + block * t->rows, *S = w->col + block * t->cols, mean = 0.0;
    const double *at = g + block * t->block_stride;
    for (int64_t r = 0; r < t->rows; r++) {
        double sum = 0.0;
        for (int64_t c = 0; c < t->cols; c++)
            sum += at[r * t->row_stride + c] * at[r * t->row_stride + c] + 1e-30;
        R[r] = beta2 * R[r] + (1.0 - beta2) * sum / (double)t->cols;
        mean += R[r] / (double)t->rows;
    }
    for (int64_t c = 0; c < t->cols; c++) {
        double sum = 0.0;
        for (int64_t r = 0; r < t->rows; r++)
            sum += at[r * t->row_stride + c] * at[r * t->row_stride + c] + 1e-30;
        S[c] = beta2 * S[c] + (1.0 - beta2) * sum / (double)t->rows;
    }
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t c = 0; c < t->cols; c++)
            u[block * t->block_stride + r * t->row_stride + c] = at[r * t->row_stride + c] / sqrt(R[r] * S[c] / mean);
}

static void twin_step(twin *w, const vt_tensor *t, const vt_optimizer_config *c, const float *grad, double scale,
                      int64_t step, double s)
{
    double beta2 = fmin(c->beta2_cap, 1.0 - pow((double)step + 1.0, -0.8));
    double *g = calloc((size_t)t->count, sizeof *g), *u = calloc((size_t)t->count, sizeof *u);
    double decay = !t->decays ? 0.0 : t->part == VT_PART_HEAD ? c->decay_head : c->decay_body;
    for (int64_t j = 0; j < t->count; j++)
        g[j] = scale * (double)grad[j];
    for (int64_t b = 0; factored(t) && b < t->blocks; b++)
        twin_block(w, t, g, u, b, beta2);
    for (int64_t j = 0; j < t->count; j++) {
        if (!factored(t)) {
            w->full[j] = beta2 * w->full[j] + (1.0 - beta2) * (g[j] * g[j] + 1e-30);
            u[j] = g[j] / sqrt(w->full[j]);
        }
        double m = (1.0 - c->beta1) * u[j] + c->beta1 * w->momentum[j];
        w->momentum[j] = to_bf16(m);
        w->value[j] -= s * c->lr * (m + decay * w->value[j]);
    }
    free(g);
    free(u);
}

/* Distance of the moves: where float and double round momentum to different bf16 neighbours (some in 10^5), one element
 * is off by some thousandths of a step. */
static void compare_moves(bench *b, const twin *w, float *const *start, double steps_size)
{
    for (int i = 0; i < b->n; i++) {
        float *now = read_values(b, i);
        double difference = 0.0, moved = 0.0, worst = 0.0, n = (double)b->params[i].count;
        for (int64_t j = 0; j < b->params[i].count; j++) {
            double d = (double)now[j] - w[i].value[j], m = w[i].value[j] - (double)start[i][j];
            difference += d * d;
            moved += m * m;
            worst = fmax(worst, fabs(d)); /* not a number: the sum has it */
        }
        double rounding = 10.0 * 6e-8 * 0.05 * sqrt(n); /* ten float32 values of size 0.05 */
        assert_true(sqrt(difference) <= 1e-4 * sqrt(moved) + rounding);
        assert_true(worst <= 0.02 * steps_size);
        free(now);
    }
}

/* Ten steps under a schedule, from gradients that are sometimes clipped. */
static void ten_steps(const vt_isa *isa)
{
    bench b;
    twin w[KINDS];
    float *start[KINDS];
    int clipped = 0;
    bench_open(&b, kinds, KINDS, &paper, isa, 2);
    for (int i = 0; i < KINDS; i++) {
        fill(&b, i, 0, 0.05, 1000);
        start[i] = read_values(&b, i);
        twin_open(&w[i], &b.params[i], start[i]);
    }
    for (int64_t t = 0; t < 10; t++) {
        double square = 0.0, s = t == 0 ? 0.0 : 1.0 / (double)t, size = t % 3 == 0 ? 0.002 : 0.02;
        float *grads[KINDS];
        for (int i = 0; i < KINDS; i++) {
            fill(&b, i, 1, size, (uint64_t)t);
            grads[i] = malloc((size_t)b.params[i].count * sizeof(float));
            draw(grads[i], b.params[i].count, size, (uint64_t)t, b.params[i].name);
            for (int64_t j = 0; j < b.params[i].count; j++)
                square += (double)grads[i][j] * (double)grads[i][j];
        }
        double norm = sqrt(square), scale = norm < paper.clip ? 1.0 : paper.clip / norm;
        vt_step_report report;
        vt_optimizer_step(&b.optimizer, &b.backend, t, s, &report);
        assert_int_equal(report.bad_param, -1);
        assert_true(fabs(report.grad_norm / norm - 1.0) < 1e-12);
        assert_true(fabs(report.clip_scale / scale - 1.0) < 1e-12);
        clipped += report.clip_scale < 1.0;
        for (int i = 0; i < KINDS; i++) {
            twin_step(&w[i], &b.params[i], &paper, grads[i], scale, t, s);
            free(grads[i]);
        }
    }
    assert_true(clipped > 0 && clipped < 10);
    compare_moves(&b, w, start, paper.lr);
    for (int i = 0; i < KINDS; i++) {
        twin_close(&w[i]);
        free(start[i]);
    }
    bench_close(&b);
}

/* Breaks when any part of a step leaves the equations: factoring, blocks, clipping, decay, schedule. */
static void test_ten_steps(void **state)
{
    (void)state;
    for (int i = 0; i < vt_n_isas; i++)
        if (vt_isas[i].usable())
            ten_steps(&vt_isas[i]);
}

/* Breaks when the numbers of the worked example (spec 3.2, tensor b) change. */
static void test_worked_example(void **state)
{
    (void)state;
    static const vt_tensor b2 = {.name = "b", .n_dims = 1, .dims = {2}, .count = 2, .part = VT_PART_BODY};
    static const float grads[2][2] = {{0.5F, -2.0F}, {1.0F, 1.0F}};
    /* V of step 1 is 0.68076187, 2.27695251; the stored momentum bf16(0.1) decays by 0.9 itself (not by bf16(0.9)) */
    static const double kept = 0.9 * 0.10009765625;
    const double outputs[2][2] = {{0.1, -0.1}, {0.1 / sqrt(0.68076187) + kept, 0.1 / sqrt(2.27695251) - kept}};
    vt_optimizer_config c = {.lr = 1.0, .beta1 = 0.9, .beta2_cap = 0.999};
    bench b;
    bench_open(&b, &b2, 1, &c, &vt_isas[vt_n_isas - 1], 1);
    for (int64_t t = 0; t < 2; t++) {
        vt_step_report report;
        fill_with(&b, 0, 0, 0.0F);
        vt_device_write(&b.device, b.params[0].grad, grads[t], sizeof grads[t]);
        vt_optimizer_step(&b.optimizer, &b.backend, t, 1.0, &report);
        float *value = read_values(&b, 0);
        for (int j = 0; j < 2; j++)
            assert_true(fabs(-(double)value[j] - outputs[t][j]) < 1e-7);
        free(value);
    }
    bench_close(&b);
}

/* Breaks when decay is not scaled by lr and schedule, is given to what has none, or mixes head and body (spec 3.4). */
static void test_decay(void **state)
{
    (void)state;
    bench b;
    bench_open(&b, kinds, KINDS, &paper, &vt_isas[0], 1);
    for (int i = 0; i < KINDS; i++) {
        fill_with(&b, i, 0, 0.5F);
        fill_with(&b, i, 1, 0.0F);
    }
    for (int64_t t = 0; t < 2; t++) {
        vt_step_report report;
        vt_optimizer_step(&b.optimizer, &b.backend, t, (double)t / 10.0, &report);
        assert_true(report.grad_norm == 0.0 && report.clip_scale == 1.0);
        for (int i = 0; i < KINDS; i++) {
            float *value = read_values(&b, i);
            double expected = !kinds[i].decays ? 0.0 : kinds[i].part == VT_PART_HEAD ? 1.2e-4 : 1.2e-6;
            for (int64_t j = 0; j < kinds[i].count; j++)
                assert_true(fabs(0.5 - (double)value[j] - (double)t * expected) < 4e-8);
            free(value);
        }
    }
    bench_close(&b);
}

/* Breaks when a gradient that is not finite reaches a parameter, or the wrong tensor is named. */
static void test_bad_gradient(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int isa = 0; isa < vt_n_isas; isa++) {
        if (!vt_isas[isa].usable())
            continue;
        bench b;
        bench_open(&b, kinds, KINDS, &paper, &vt_isas[isa], 2);
        vt_step_report report;
        for (int i = 0; i < KINDS; i++) {
            fill(&b, i, 0, 0.05, 1);
            fill(&b, i, 1, 0.05, 2);
        }
        vt_optimizer_step(&b.optimizer, &b.backend, 0, 1.0, &report);
        size_t size = 0;
        unsigned char *before = snapshot(&b, &size);
        for (size_t k = 0; k < VT_COUNT_OF(bad); k++) {
            vt_device_write(&b.device, b.params[3].grad + 17, &bad[k], sizeof bad[k]);
            vt_device_write(&b.device, b.params[6].grad, &bad[k], sizeof bad[k]);
            vt_optimizer_step(&b.optimizer, &b.backend, 1, 1.0, &report);
            assert_int_equal(report.bad_param, 3);
            assert_false(isfinite(report.grad_norm));
            unsigned char *after = snapshot(&b, &size);
            assert_memory_equal(before, after, size);
            free(after);
        }
        free(before);
        bench_close(&b);
    }
}

/* Breaks when the order of a sum depends on who computes it. */
static void test_threads(void **state)
{
    (void)state;
    for (int isa = 0; isa < vt_n_isas; isa++) {
        unsigned char *first = NULL;
        for (int threads = 1; threads <= 3 && vt_isas[isa].usable(); threads++) {
            bench b;
            bench_open(&b, kinds, KINDS, &paper, &vt_isas[isa], threads);
            for (int i = 0; i < KINDS; i++)
                fill(&b, i, 0, 0.05, 1);
            for (int64_t t = 0; t < 3; t++) {
                vt_step_report report;
                for (int i = 0; i < KINDS; i++)
                    fill(&b, i, 1, 0.05, (uint64_t)t);
                vt_optimizer_step(&b.optimizer, &b.backend, t, 1.0, &report);
            }
            size_t size = 0;
            unsigned char *all = snapshot(&b, &size);
            if (first == NULL)
                first = all;
            else {
                assert_memory_equal(first, all, size);
                free(all);
            }
            bench_close(&b);
        }
        free(first);
    }
}

static const vt_state_tensor *find_state(const vt_optimizer *o, const char *name)
{
    for (int i = 0; i < o->n_state; i++)
        if (strcmp(o->state[i].name, name) == 0)
            return &o->state[i];
    return NULL;
}

/* Breaks when names, shapes or the rule of what is factored change: saved states would not load. */
static void test_state_table(void **state)
{
    (void)state;
    vt_tensor params[KINDS];
    vt_optimizer o;
    memcpy(params, kinds, sizeof kinds);
    assert_int_equal(vt_optimizer_init(&o, &paper, params, KINDS, NULL), VT_OK);
    assert_int_equal(o.n_state, 5 * 3 + 3 * 2);
    const vt_state_tensor *m = find_state(&o, "qkv.weight.momentum"), *r = find_state(&o, "qkv.weight.row_moment");
    const vt_state_tensor *c = find_state(&o, "proj.weight.col_moment"),
                          *f = find_state(&o, "small.weight.full_moment");
    assert_true(m->is_bf16 && m->n_dims == 2 && m->dims[0] == 192 && m->dims[1] == 64);
    assert_true(!r->is_bf16 && r->n_dims == 2 && r->dims[0] == 6 && r->dims[1] == 32);
    assert_true(!c->is_bf16 && c->dims[0] == 2 && c->dims[1] == 32);
    assert_true(!f->is_bf16 && f->n_dims == 2 && f->count == 31 * 40);
    assert_null(find_state(&o, "small.weight.row_moment"));
    assert_null(find_state(&o, "norm.bias.row_moment"));
    assert_non_null(find_state(&o, "pos_embed.row_moment"));
    vt_optimizer_release(&o);
}

/* Breaks when the paper's saving is lost: state of half the parameters' memory for B/16, G/14. */
static void test_state_memory(void **state)
{
    (void)state;
    static const char *const shapes[] = {"B/16", "G/14"};
    for (size_t i = 0; i < VT_COUNT_OF(shapes); i++) {
        vt_model_config config = {.image_height = 224, .image_width = 224, .classes = 1000, .head = VT_HEAD_MAP};
        vt_model m;
        vt_optimizer o;
        vt_arena values = vt_arena_counting(), moments = vt_arena_counting();
        assert_int_equal(vt_model_shape(shapes[i], &config, NULL), VT_OK);
        assert_int_equal(vt_model_init(&m, &config, NULL), VT_OK);
        assert_int_equal(vt_optimizer_init(&o, &paper, m.params, m.n_params, NULL), VT_OK);
        vt_model_place_values(&m, &values);
        vt_optimizer_place(&o, &moments);
        double share = (double)moments.high / (double)values.high;
        assert_true(share > 0.5 && share < 0.52);
        vt_optimizer_release(&o);
        vt_model_release(&m);
    }
}

/* Breaks when a setting that would train on nonsense is let through. */
static void test_bad_config(void **state)
{
    (void)state;
    const vt_optimizer_config good = paper;
    vt_optimizer_config bad[8] = {good, good, good, good, good, good, good, good};
    bad[0].lr = -1;
    bad[1].lr = (double)NAN;
    bad[2].decay_body = -0.1;
    bad[3].decay_head = (double)INFINITY;
    bad[4].beta1 = 1.5;
    bad[5].beta2_cap = -0.5;
    bad[6].clip = -1;
    bad[7].clip = (double)NAN;
    for (size_t i = 0; i < VT_COUNT_OF(bad); i++) {
        vt_optimizer o;
        vt_err err = {0};
        assert_int_equal(vt_optimizer_init(&o, &bad[i], NULL, 0, &err), VT_EINVAL);
        assert_non_null(strstr(err.msg, "optimizer."));
        vt_optimizer_release(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ten_steps),    cmocka_unit_test(test_worked_example), cmocka_unit_test(test_decay),
        cmocka_unit_test(test_bad_gradient), cmocka_unit_test(test_threads),        cmocka_unit_test(test_state_table),
        cmocka_unit_test(test_state_memory), cmocka_unit_test(test_bad_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
