/* A symmetric matrix as Q T Q', T tridiagonal, by Householder reflections (Golub & Van Loan, Matrix
 * Computations, 8.3.1): what solves (A + l2 I) x = y for any number of l2 at the price of one decomposition. An
 * eigen-decomposition would go on from here to make T diagonal, by an iteration that must converge; T + l2 I is solved
 * as it is in m operations a column, so that part is left out. Sums have an order fixed by shapes: threads change
 * nothing. */
#ifndef VT_EVAL_TRIDIAGONAL_H
#define VT_EVAL_TRIDIAGONAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/pool.h"

typedef struct {
    int64_t m;
    double *a;               /* (m, m) row-major: the matrix, whose upper triangle is read; then the reflections */
    double *diagonal, *off;  /* (m): of T */
    double *scale;           /* (m): reflection k is I - scale[k] v v', v in row k of a, right of the diagonal */
    double *product, *pivot; /* (m): work */
} vt_tridiagonal;

/* t->m is set; a stays the caller's. */
void vt_tridiagonal_place(vt_tridiagonal *t, vt_arena *arena);

/* t->a becomes Q and T. m >= 1. */
void vt_tridiagonal_reduce(vt_tridiagonal *t, vt_pool *pool);

/* Y becomes Q'Y, or QY; y (m, columns) in panels of four. */
void vt_tridiagonal_apply(const vt_tridiagonal *t, bool transposed, double *y, int64_t columns, vt_pool *pool);

/* Z becomes (T + l2 I)^-1 Z; z (m, columns) in panels. False where rounding has left nothing of a pivot: the matrix is
 * not positive definite to working precision. */
bool vt_tridiagonal_solve(vt_tridiagonal *t, double l2, double *z, int64_t columns, vt_pool *pool);

#endif
