/* One case of the checker: drawing its shape, its buffers between guards, and the comparison with ref.
 *
 * A buffer ends at (or, aligned, at most 63 bytes before) a page without access, so that reading or writing past the
 * end stops at the guilty instruction; before it and in the gap lie guard bytes that are looked at after every run. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, MAP_NORESERVE */

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/text.h"
#include "check.h"
#include "kernels/bf16.h"
#include "kernels/ref/ref.h"

#define SLOT_BYTES  ((size_t)128 << 20) /* of address space; pages are taken when touched */
#define GUARD_BYTES 64
#define GUARD       0xa5
#define POISON      0xff /* every float, double and bf16 of these bytes is NaN */

static const size_t type_bytes[] = {
    [CHECK_F32] = 4, [CHECK_F64] = 8, [CHECK_BF16] = 2, [CHECK_I32] = 4, [CHECK_U8] = 1};

unsigned char *check_slot(int slot, size_t bytes, bool aligned)
{
    static unsigned char *slots;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), stride = SLOT_BYTES + page;
    if (!slots) {
        slots = mmap(NULL, stride * (CHECK_MAX_BUFFERS + 1), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert(slots != MAP_FAILED);
        for (int i = 0; i <= CHECK_MAX_BUFFERS; i++)
            mprotect(slots + (size_t)i * stride + SLOT_BYTES, page, PROT_NONE);
    }
    assert(slot <= CHECK_MAX_BUFFERS && bytes + 2 * GUARD_BYTES <= SLOT_BYTES);
    unsigned char *start = slots + (size_t)slot * stride + SLOT_BYTES - bytes;
    return aligned ? start - (uintptr_t)start % 64 : start;
}

size_t check_buffer_bytes(const check_buffer *b)
{
    return (size_t)b->count * type_bytes[b->type];
}

/* Up to the inaccessible page: 0 .. 63. */
static size_t gap_behind(const check_buffer *b)
{
    return (size_t)(-(uintptr_t)(b->data + check_buffer_bytes(b)) % 64);
}

void *check_typed(check_case *c, const char *name, check_type type, int64_t count, bool output)
{
    assert(c->n_buffers < CHECK_MAX_BUFFERS && count >= 1);
    check_buffer *b = &c->buffers[c->n_buffers++];
    *b = (check_buffer){.name = name, .type = type, .count = count};
    const bool aligned = c->bench || vt_rng_below(&c->rng, 2);
    b->data = check_slot(c->n_buffers, check_buffer_bytes(b), aligned);
    b->initial = vt_xcalloc((size_t)count, type_bytes[type]);
    memset(b->data, 0, check_buffer_bytes(b));
    if (output) {
        b->expected = vt_xmalloc(check_buffer_bytes(b));
        b->bound = vt_xcalloc((size_t)count, sizeof *b->bound);
    }
    return b->data;
}

/* Nearly normal numbers: sums of four uniform ones, at a tenth of the price. */
static void fill_normal(check_case *c, float *x, int64_t count, double mean, double std)
{
    for (int64_t i = 0; i < count; i++) {
        const uint32_t u = vt_rng_u32(&c->rng), v = vt_rng_u32(&c->rng);
        const double sum = (double)(u >> 16) + (u & 0xffff) + (v >> 16) + (v & 0xffff); /* mean 131070, std 37837 */
        x[i] = (float)(mean + std * (sum - 131070) / 37837);
    }
}

float *check_in(check_case *c, const char *name, int64_t count, double mean, double std)
{
    float *x = check_typed(c, name, CHECK_F32, count, false);
    fill_normal(c, x, count, mean, std);
    check_keep(c, name);
    return x;
}

float *check_out(check_case *c, const char *name, int64_t count)
{
    float *x = check_typed(c, name, CHECK_F32, count, true);
    memset(x, POISON, (size_t)count * sizeof *x);
    check_keep(c, name);
    return x;
}

float *check_inout(check_case *c, const char *name, int64_t count, double mean, double std)
{
    float *x = check_typed(c, name, CHECK_F32, count, true);
    fill_normal(c, x, count, mean, std);
    check_keep(c, name);
    return x;
}

static void *drawn_real(check_case *c, const char *name, vt_real type, int64_t count, double mean, double std,
                        bool output)
{
    void *x = check_typed(c, name, type == VT_BF16 ? CHECK_BF16 : CHECK_F32, count, output);
    float *drawn = vt_xmalloc((size_t)count * sizeof *drawn);
    fill_normal(c, drawn, count, mean, std);
    for (int64_t i = 0; i < count; i++)
        vt_ref_put(x, type, i, (double)drawn[i]);
    free(drawn);
    check_keep(c, name);
    return x;
}

void *check_in_real(check_case *c, const char *name, vt_real type, int64_t count, double mean, double std)
{
    return drawn_real(c, name, type, count, mean, std, false);
}

void *check_inout_real(check_case *c, const char *name, vt_real type, int64_t count, double mean, double std)
{
    return drawn_real(c, name, type, count, mean, std, true);
}

void *check_out_real(check_case *c, const char *name, vt_real type, int64_t count)
{
    void *x = check_typed(c, name, type == VT_BF16 ? CHECK_BF16 : CHECK_F32, count, true);
    memset(x, POISON, check_buffer_bytes(&c->buffers[c->n_buffers - 1]));
    check_keep(c, name);
    return x;
}

int check_choose(check_case *c, const char *name, int n)
{
    const int choice = c->bench ? 0 : (int)vt_rng_below(&c->rng, (uint32_t)n);
    if (name) {
        const size_t len = strlen(c->variant);
        snprintf(c->variant + len, sizeof c->variant - len, " %s=%d", name, choice);
    }
    return choice;
}

vt_real check_bench_type = VT_F32;

vt_real check_choose_type(check_case *c, const char *name)
{
    const int bf16 = check_choose(c, name, 2);
    return c->bench ? check_bench_type : bf16 ? VT_BF16 : VT_F32;
}

static const check_buffer *find(const check_case *c, const char *name)
{
    for (int i = 0; i < c->n_buffers; i++)
        if (strcmp(c->buffers[i].name, name) == 0)
            return &c->buffers[i];
    assert(!"no buffer of this name");
    return NULL;
}

void check_keep(check_case *c, const char *name)
{
    const check_buffer *b = find(c, name);
    memcpy(b->initial, b->data, check_buffer_bytes(b));
}

const float *check_expected(const check_case *c, const char *name)
{
    return (const float *)(const void *)find(c, name)->expected;
}

double *check_bound(check_case *c, const char *name)
{
    return find(c, name)->bound;
}

double check_sum_error(int64_t n)
{
    return (4 + 2 * sqrt((double)n)) * CHECK_U;
}

double check_rounded(vt_real type, double value, double error)
{
    if (type == VT_F32)
        return error;
    const double rounded = (double)vt_bf16_to_f32(vt_bf16_from_f32((float)value));
    const double up = (double)vt_bf16_to_f32(vt_bf16_from_f32((float)(value + error)));
    const double down = (double)vt_bf16_to_f32(vt_bf16_from_f32((float)(value - error)));
    return fmax(up - rounded, rounded - down);
}

float *check_abs(const float *x, int64_t count)
{
    float *y = vt_xmalloc((size_t)count * sizeof *y);
    for (int64_t i = 0; i < count; i++)
        y[i] = fabsf(x[i]);
    return y;
}

/* Draws every dimension until the work fits. */
static void draw_dims(check_case *c, const check_op *op, double max_work)
{
    for (int tries = 0; tries < 10000; tries++) {
        for (int i = 0; i < CHECK_MAX_DIMS && op->dims[i].name; i++) {
            uint32_t n = 0;
            while (n < VT_COUNT_OF(op->dims[i].likely) && op->dims[i].likely[n] > 0)
                n++;
            c->dims[i] = vt_rng_below(&c->rng, 2) ? op->dims[i].likely[vt_rng_below(&c->rng, n)]
                                                  : 1 + (int64_t)vt_rng_below(&c->rng, (uint32_t)op->dims[i].max);
        }
        if (op->work(c->dims) <= max_work)
            return;
    }
    assert(!"no shape of this operation fits the work allowed");
}

void check_case_make(check_case *c, const check_op *op, uint32_t seed, uint32_t index, double max_work, bool bench)
{
    *c = (check_case){
        .bench = bench, .limits = {1, 1, 1, 1, 1}, .rng = vt_rng_at(seed, VT_STREAM_TEST, index, vt_fnv1a(op->name))};
    if (bench)
        memcpy(c->dims, op->bench[index], sizeof c->dims);
    else
        draw_dims(c, op, max_work);
    op->make(c);
}

void check_case_release(check_case *c)
{
    for (int i = 0; i < c->n_buffers; i++) {
        free(c->buffers[i].initial);
        free(c->buffers[i].expected);
        free(c->buffers[i].bound);
    }
    c->n_buffers = 0;
}

void check_case_reset(check_case *c)
{
    for (int i = 0; i < c->n_buffers; i++) {
        check_buffer *b = &c->buffers[i];
        memcpy(b->data, b->initial, check_buffer_bytes(b));
        memset(b->data - GUARD_BYTES, GUARD, GUARD_BYTES);
        memset(b->data + check_buffer_bytes(b), GUARD, gap_behind(b));
    }
}

void check_case_take_expected(check_case *c)
{
    for (int i = 0; i < c->n_buffers; i++)
        if (c->buffers[i].expected)
            memcpy(c->buffers[i].expected, c->buffers[i].data, check_buffer_bytes(&c->buffers[i]));
}

void check_case_print(const check_case *c, const check_op *op, char *text, size_t size)
{
    size_t len = 0;
    for (int i = 0; i < CHECK_MAX_DIMS && op->dims[i].name && len < size; i++)
        len += (size_t)snprintf(text + len, size - len, "%s%s=%lld", i ? " " : "", op->dims[i].name,
                                (long long)c->dims[i]);
    if (len < size)
        snprintf(text + len, size - len, "%s", c->variant);
}

static double element(const unsigned char *data, check_type type, int64_t i)
{
    switch (type) {
    case CHECK_F32:
        return (double)((const float *)(const void *)data)[i];
    case CHECK_F64:
        return ((const double *)(const void *)data)[i];
    case CHECK_BF16:
        return (double)vt_bf16_to_f32(((const uint16_t *)(const void *)data)[i]);
    case CHECK_I32:
        return ((const int32_t *)(const void *)data)[i];
    case CHECK_U8:
        return data[i];
    }
    return NAN;
}

static bool all_equal(const unsigned char *data, int value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (data[i] != value)
            return false;
    return true;
}

static bool same_bytes(const check_buffer *b, int64_t i)
{
    const size_t bytes = type_bytes[b->type], at = (size_t)i * bytes;
    return memcmp(b->data + at, b->initial + at, bytes) == 0;
}

/* Guard bytes around a buffer, and what the operation may not write. */
static bool untouched(const check_buffer *b, char *message, size_t size)
{
    if (!all_equal(b->data - GUARD_BYTES, GUARD, GUARD_BYTES))
        snprintf(message, size, "wrote before the start of %s", b->name);
    else if (!all_equal(b->data + check_buffer_bytes(b), GUARD, gap_behind(b)))
        snprintf(message, size, "wrote past the end of %s", b->name);
    else
        for (int64_t i = 0; i < b->count; i++)
            if ((!b->bound || b->bound[i] < 0) && !same_bytes(b, i)) {
                snprintf(message, size, "wrote %s[%lld], which is not a result", b->name, (long long)i);
                return false;
            }
    return message[0] == '\0';
}

/* |got - want| as a share of bound; infinite for a NaN or infinity on one side only. Results below the smallest normal
 * number may be flushed to zero. */
static double share_of_bound(double got, double want, double bound)
{
    if (!isfinite(want))
        return isfinite(got) ? INFINITY : 0;
    if (!isfinite(got))
        return INFINITY;
    return fabs(got - want) / (bound + 0x1p-124);
}

bool check_case_compare(const check_case *c, double *worst, char *message, size_t size)
{
    message[0] = '\0';
    *worst = 0;
    for (int k = 0; k < c->n_buffers; k++) {
        const check_buffer *b = &c->buffers[k];
        if (!untouched(b, message, size))
            return false;
        if (!b->bound)
            continue;
        int64_t at = 0;
        double worst_here = 0;
        for (int64_t i = 0; i < b->count; i++) {
            if (b->bound[i] < 0)
                continue;
            const double share =
                share_of_bound(element(b->data, b->type, i), element(b->expected, b->type, i), b->bound[i]);
            if (share > worst_here) {
                worst_here = share;
                at = i;
            }
        }
        if (worst_here > *worst)
            *worst = worst_here;
        if (worst_here > 1) {
            snprintf(message, size, "%s[%lld] is %.9g, ref has %.9g: %.3g times the bound of %.3g", b->name,
                     (long long)at, element(b->data, b->type, at), element(b->expected, b->type, at), worst_here,
                     b->bound[at]);
            return false;
        }
    }
    return true;
}

/* Moves a number by off, or to its neighbour where that is less than its last place. */
static void move_f32(float *x, double off)
{
    const float moved = (float)(*x + off);
    uint32_t bits;
    memcpy(&bits, &moved, sizeof bits);
    bits += moved == *x;
    memcpy(x, &bits, sizeof bits);
}

static void move_bf16(uint16_t *x, double off)
{
    const uint16_t moved = vt_bf16_from_f32((float)(vt_bf16_to_f32(*x) + off));
    *x = (uint16_t)(moved + (moved == *x));
}

bool check_case_break(check_case *c)
{
    for (int k = 0; k < c->n_buffers; k++) {
        check_buffer *b = &c->buffers[k];
        for (int64_t i = b->count / 2; b->bound && i < b->count; i++) {
            if (b->bound[i] < 0 || !isfinite(element(b->expected, b->type, i)))
                continue;
            const double off = 10 * b->bound[i] + 0x1p-120;
            if (b->type == CHECK_F32)
                move_f32((float *)(void *)b->data + i, off);
            else if (b->type == CHECK_F64)
                ((double *)(void *)b->data)[i] += off;
            else if (b->type == CHECK_BF16)
                move_bf16((uint16_t *)(void *)b->data + i, off);
            else
                continue;
            return true;
        }
    }
    return false;
}
