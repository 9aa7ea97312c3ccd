/* The checker of kernels: what a row of its tables holds, and the buffers of one case.
 *
 * A case is one call of one operation on a drawn shape. Its `make` allocates buffers (contents drawn too), fills in the
 * arguments, and its `bound` says for every element of every output how far an implementation may lie from ref. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/philox.h"
#include "kernels/ops.h"

#define CHECK_MAX_DIMS    6
#define CHECK_MAX_BUFFERS 16
#define CHECK_MAX_BENCH   7

typedef enum { CHECK_F32, CHECK_F64, CHECK_BF16, CHECK_I32, CHECK_U8 } check_type;

typedef struct {
    const char *name;
    check_type type;
    int64_t count;
    unsigned char *data;     /* what the arguments point to; guard bytes before it, an inaccessible page behind it */
    unsigned char *initial;  /* bytes before a run: poison where the operation must write */
    unsigned char *expected; /* bytes after ref's run */
    double *bound;           /* outputs: how far from ref each element may lie; below 0: it must keep its bytes.
                                NULL: an input, which must keep its bytes */
} check_buffer;

typedef struct {
    int64_t dims[CHECK_MAX_DIMS];
    bool bench; /* to be timed: the common variant, aligned buffers */
    vt_rng rng;
    check_buffer buffers[CHECK_MAX_BUFFERS];
    int n_buffers;
    vt_limits limits;  /* the tightest that allow this call */
    char variant[200]; /* what was drawn besides dims, for messages */
    union {
#define X(op) vt_##op##_args op;
        VT_OPS(X)
#undef X
    } args;
} check_case;

typedef struct {
    const char *name;
    struct {
        const char *name;
        int64_t max;       /* half of the draws lie in 1..max */
        int64_t likely[9]; /* the others are one of these, up to the first 0 */
    } dims[CHECK_MAX_DIMS];
    void (*call)(const vt_ops *ops, const vt_exec *ex, const check_case *c);
    void (*make)(check_case *c);
    void (*bound)(check_case *c);
    double (*work)(const int64_t *dims); /* what limits the draws, and what is timed: */
    const char *unit;                    /* "FLOP", or NULL: rate in bytes of all buffers */
    int64_t bench[CHECK_MAX_BENCH][CHECK_MAX_DIMS];
} check_op;

/* Tables that end with a row whose name is NULL. */
extern const check_op check_products[], check_attention[], check_rows[], check_scales[], check_updates[];

/* Generates call for an operation. */
#define CHECK_CALL(op)                                                                                                 \
    static void call_##op(const vt_ops *ops, const vt_exec *ex, const check_case *c)                                   \
    {                                                                                                                  \
        ops->op(ex, &c->args.op);                                                                                      \
    }

/* For make. Buffers are named after the argument. check_in draws normal numbers; check_out is poisoned; check_inout has
 * drawn contents that the operation reads and overwrites. */
float *check_in(check_case *c, const char *name, int64_t count, double mean, double std);
float *check_out(check_case *c, const char *name, int64_t count);
float *check_inout(check_case *c, const char *name, int64_t count, double mean, double std);
/* The same for a tensor of the call's type: what is drawn is rounded to it. */
void *check_in_real(check_case *c, const char *name, vt_real type, int64_t count, double mean, double std);
void *check_out_real(check_case *c, const char *name, vt_real type, int64_t count);
void *check_inout_real(check_case *c, const char *name, vt_real type, int64_t count, double mean, double std);
/* A buffer of another type, zeroed. */
void *check_typed(check_case *c, const char *name, check_type type, int64_t count, bool output);
/* Takes what make wrote over a buffer's data as its contents before each run. */
void check_keep(check_case *c, const char *name);
/* 0 .. n-1, at random; 0 when the case is to be timed. The name and choice are added to the variant's text. */
int check_choose(check_case *c, const char *name, int n);
/* The same for a type; check_bench_type when the case is to be timed. */
vt_real check_choose_type(check_case *c, const char *name);
extern vt_real check_bench_type;

/* For bound: the contents after ref's run, and the bounds to be filled in; by name. */
const float *check_expected(const check_case *c, const char *name);
double *check_bound(check_case *c, const char *name);

/* Unit roundoff of float32, and the error of a sum of n terms relative to the sum of their magnitudes: a multiple of
 * sqrt(n) roundings except with a tiny probability (Higham & Mary 2019; 2 leaves one in some ten million
 * even when a single term, a bias, carries the sum), and a few for products, scaling and the last rounding. */
#define CHECK_U 0x1p-24
double check_sum_error(int64_t n);

/* The bound of a stored result whose value, before it is rounded to the type, lies within `error` of `value`: that
 * error for float32; for bf16 what lies between the values that it may be rounded to, nothing where there is one. */
double check_rounded(vt_real type, double value, double error);

/* A copy with all signs removed, to be freed: magnitudes are ref's sums over these. */
float *check_abs(const float *x, int64_t count);

/* The life of a case. */
void check_case_make(check_case *c, const check_op *op, uint32_t seed, uint32_t index, double max_work, bool bench);
void check_case_reset(check_case *c);         /* initial bytes and guard bytes */
void check_case_take_expected(check_case *c); /* after ref's run */
void check_case_release(check_case *c);
void check_case_print(const check_case *c, const check_op *op, char *text, size_t size);

/* Memory whose end lies at an inaccessible page: slot 0 is for scratch, the others are the buffers'. */
unsigned char *check_slot(int slot, size_t bytes, bool aligned);

size_t check_buffer_bytes(const check_buffer *b);

/* Compares with ref and looks at guard bytes and inputs: the largest error as a share of its bound in *worst. False
 * when something is wrong, and then message says what. */
bool check_case_compare(const check_case *c, double *worst, char *message, size_t size);
/* Moves one element of the first output that has a finite one ten bounds away; false where there is none. */
bool check_case_break(check_case *c);

#endif
