/* See bench.h. */
#include "bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/philox.h"
#include "base/text.h"
#include "kernels/bf16.h"

enum { SEED = 7 };

static size_t bytes_of(int64_t count, vt_real type)
{
    return (size_t)count * (type == VT_BF16 ? sizeof(uint16_t) : sizeof(float));
}

static void place(bench *b, vt_arena *a)
{
    static const vt_limits limits = {.tokens = 64, .head_width = 64, .width = 256, .slices = 8};
    for (int i = 0; i < b->n; i++) {
        vt_tensor *t = &b->params[i];
        t->value = vt_arena_take(a, t->count, sizeof(float));
        if (!t->frozen)
            t->grad = vt_arena_take(a, t->count, bytes_of(1, t->grad_type));
    }
    size_t before = a->used;
    vt_optimizer_place(&b->optimizer, a);
    b->state_bytes = a->used - before;
    vt_backend_place_scratch(&b->backend, a, &limits);
}

void bench_open(bench *b, const vt_tensor *params, int n, const vt_optimizer_config *c, const vt_isa *isa, int threads)
{
    assert_true(n <= BENCH_MAX);
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

void bench_close(bench *b)
{
    vt_optimizer_release(&b->optimizer);
    vt_device_release(&b->device);
    vt_pool_free(b->pool);
}

void bench_draw(const char *name, float scale, float *x, int64_t count)
{
    uint32_t use = vt_fnv1a(name);
    for (int64_t j = 0; j < count; j++) {
        uint32_t word = vt_philox(SEED, VT_STREAM_TEST, (uint64_t)j / 4, use, 0).v[j % 4];
        x[j] = (2.0F * ((float)(word >> 8) * 0x1p-24F) - 1.0F) * scale;
    }
}

void bench_write_value(bench *b, int i, const float *x)
{
    vt_device_write(&b->device, b->params[i].value, x, bytes_of(b->params[i].count, VT_F32));
}

void bench_write_grad(bench *b, int i, const float *x)
{
    const vt_tensor *t = &b->params[i];
    uint16_t *rounded = vt_xcalloc((size_t)t->count, sizeof *rounded);
    for (int64_t j = 0; j < t->count; j++)
        rounded[j] = vt_bf16_from_f32(x[j]);
    vt_device_write(&b->device, t->grad, t->grad_type == VT_BF16 ? (const void *)rounded : x,
                    bytes_of(t->count, t->grad_type));
    free(rounded);
}

float *bench_read_value(bench *b, int i)
{
    float *x = vt_xcalloc((size_t)b->params[i].count, sizeof *x);
    vt_device_read(&b->device, x, b->params[i].value, bytes_of(b->params[i].count, VT_F32));
    return x;
}

const vt_state_tensor *bench_find_state(const vt_optimizer *o, const char *name)
{
    for (int i = 0; i < o->n_state; i++)
        if (strcmp(o->state[i].name, name) == 0)
            return &o->state[i];
    return NULL;
}

float *bench_read_state(bench *b, const vt_state_tensor *s)
{
    float *x = vt_xcalloc((size_t)s->count, sizeof *x);
    uint16_t *bits = vt_xcalloc((size_t)s->count, sizeof *bits);
    if (s->type == VT_BF16) {
        vt_device_read(&b->device, bits, s->data, bytes_of(s->count, VT_BF16));
        for (int64_t j = 0; j < s->count; j++)
            x[j] = vt_bf16_to_f32(bits[j]);
    } else {
        vt_device_read(&b->device, x, s->data, bytes_of(s->count, VT_F32));
    }
    free(bits);
    return x;
}

unsigned char *bench_snapshot(bench *b, size_t *size)
{
    size_t total = 0, at = 0;
    for (int i = 0; i < b->n; i++)
        total += bytes_of(b->params[i].count, VT_F32);
    for (int i = 0; i < b->optimizer.n_state; i++)
        total += bytes_of(b->optimizer.state[i].count, b->optimizer.state[i].type);
    unsigned char *all = vt_xmalloc(total);
    for (int i = 0; i < b->n; i++) {
        size_t n = bytes_of(b->params[i].count, VT_F32);
        vt_device_read(&b->device, all + at, b->params[i].value, n);
        at += n;
    }
    for (int i = 0; i < b->optimizer.n_state; i++) {
        const vt_state_tensor *s = &b->optimizer.state[i];
        vt_device_read(&b->device, all + at, s->data, bytes_of(s->count, s->type));
        at += bytes_of(s->count, s->type);
    }
    *size = total;
    return all;
}
