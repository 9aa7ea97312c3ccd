/* Matrices of doubles in panels of four columns: element (r, c) of a matrix with `rows` rows lies at panel c/4, row r,
 * lane c%4, and columns are padded to fours with zeros. Then every large product of a regression is a sum over the
 * shared rows of two panels, one loop serves them all, and no shape leaves a tail. */
#ifndef VT_EVAL_PANELS_H
#define VT_EVAL_PANELS_H

#include <stdint.h>
#include <string.h>

#include "base/arena.h"

#define VT_PANEL 4

static inline int64_t vt_panels(int64_t cols)
{
    return (cols + VT_PANEL - 1) / VT_PANEL;
}

static inline int64_t vt_panel_at(int64_t rows, int64_t r, int64_t c)
{
    return (c / VT_PANEL * rows + r) * VT_PANEL + c % VT_PANEL;
}

static inline double *vt_panels_take(vt_arena *arena, int64_t rows, int64_t cols)
{
    return vt_arena_take(arena, rows * vt_panels(cols) * VT_PANEL, sizeof(double));
}

static inline void vt_panels_clear(double *x, int64_t rows, int64_t cols)
{
    memset(x, 0, sizeof(double) * (size_t)(rows * vt_panels(cols) * VT_PANEL));
}

/* c[i][j] = sum_k a[k][i] * b[k][j] over k = 0, 1, ... rows - 1 in that order. */
static inline void vt_panel_product(const double *restrict a, const double *restrict b, int64_t rows,
                                    double c[VT_PANEL][VT_PANEL])
{
    double sum[VT_PANEL][VT_PANEL] = {{0}};
    for (int64_t k = 0; k < rows; k++)
        for (int i = 0; i < VT_PANEL; i++)
            for (int j = 0; j < VT_PANEL; j++)
                sum[i][j] += a[k * VT_PANEL + i] * b[k * VT_PANEL + j];
    memcpy(c, sum, sizeof sum);
}

#endif
