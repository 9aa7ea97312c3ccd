/* Tensors, gradients and an optimizer in device memory, for the tests of this folder. */
#ifndef TESTS_OPTIM_BENCH_H
#define TESTS_OPTIM_BENCH_H

#include "optim/optimizer.h"

#define BENCH_MAX 12

typedef struct {
    vt_device device;
    vt_pool *pool;
    vt_backend backend;
    vt_tensor params[BENCH_MAX];
    int n;
    vt_optimizer optimizer;
    size_t state_bytes;
} bench;

/* Copies the tensors' descriptions and places everything; frozen tensors get no gradient. */
void bench_open(bench *b, const vt_tensor *params, int n, const vt_optimizer_config *c, const vt_isa *isa, int threads);
void bench_close(bench *b);

/* count numbers in [-scale, scale) by the rule of the golden files: Philox, named. */
void bench_draw(const char *name, float scale, float *x, int64_t count);

void bench_write_value(bench *b, int i, const float *x);
void bench_write_grad(bench *b, int i, const float *x); /* rounded to the gradient's type */
float *bench_read_value(bench *b, int i);               /* to be freed */

/* A piece of state by name, or NULL; and its contents as floats, to be freed. */
const vt_state_tensor *bench_find_state(const vt_optimizer *o, const char *name);
float *bench_read_state(bench *b, const vt_state_tensor *s);

/* The bytes of all values, then of all state; to be freed. */
unsigned char *bench_snapshot(bench *b, size_t *size);

#endif
