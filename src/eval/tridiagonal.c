/* Step k takes v from row k, so that the reflection I - scale v v' leaves one element right of the diagonal, and
 * changes what lies below and right of it: with p = scale A v and w = p - (scale / 2)(p'v) v, A becomes A - v w' - w
 * v'. Rows are shared among threads in chunks; both triangles are kept, so that a row's part of A v is one contiguous
 * sum. */
#include "eval/tridiagonal.h"

#include <math.h>
#include <string.h>

#include "eval/panels.h"

#define ROWS  32    /* of a chunk */
#define LANES 8     /* of a sum */
#define LOST  1e-14 /* what is left of a pivot below this share is rounding */

void vt_tridiagonal_place(vt_tridiagonal *t, vt_arena *arena)
{
    double **vectors[] = {&t->diagonal, &t->off, &t->scale, &t->product, &t->pivot};
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
        *vectors[i] = vt_arena_take(arena, t->m, sizeof(double));
}

static double dot(const double *restrict x, const double *restrict y, int64_t n)
{
    double lanes[LANES] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] += x[i + j] * y[i + j];
    for (; i < n; i++)
        sum += x[i] * y[i];
    for (int j = 0; j < LANES; j++)
        sum += lanes[j];
    return sum;
}

/* What the chunks of one parallel part work on. */
typedef struct {
    const vt_tridiagonal *t;
    int64_t k; /* step */
    double *y;
    bool transposed;
} work;

/* Rows of product = scale A v, right of and below the diagonal element of step k. */
static void multiply_chunk(void *context, int64_t chunk, int thread)
{
    const work *w = context;
    const vt_tridiagonal *t = w->t;
    const int64_t m = t->m, first = w->k + 1;
    const double *v = t->a + w->k * m + first;
    for (int64_t i = first + chunk * ROWS; i < first + (chunk + 1) * ROWS && i < m; i++)
        t->product[i] = t->scale[w->k] * dot(t->a + i * m + first, v, m - first);
}

static void update_chunk(void *context, int64_t chunk, int thread)
{
    const work *w = context;
    const vt_tridiagonal *t = w->t;
    const int64_t m = t->m, first = w->k + 1;
    const double *restrict v = t->a + w->k * m, *restrict p = t->product;
    for (int64_t i = first + chunk * ROWS; i < first + (chunk + 1) * ROWS && i < m; i++) {
        double *restrict row = t->a + i * m;
        const double vi = v[i], pi = p[i];
        for (int64_t j = first; j < m; j++)
            row[j] -= vi * p[j] + pi * v[j];
    }
}

/* Row k, right of the diagonal, becomes v; returns whether there is anything to reflect. */
static bool reflect(vt_tridiagonal *t, int64_t k)
{
    double *v = t->a + k * t->m + k + 1;
    const int64_t n = t->m - k - 1;
    double rest = dot(v + 1, v + 1, n - 1), length = sqrt(v[0] * v[0] + rest);
    t->off[k] = v[0];
    t->scale[k] = 0;
    if (rest == 0)
        return false;
    double target = v[0] > 0 ? -length : length; /* so that nothing cancels in v[0] - target */
    t->off[k] = target;
    v[0] -= target;
    t->scale[k] = -1 / (target * v[0]);
    return true;
}

void vt_tridiagonal_reduce(vt_tridiagonal *t, vt_pool *pool)
{
    const int64_t m = t->m;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < i; j++)
            t->a[i * m + j] = t->a[j * m + i];
    for (int64_t k = 0; k + 2 < m; k++) {
        work w = {.t = t, .k = k};
        const int64_t first = k + 1, chunks = (m - first + ROWS - 1) / ROWS;
        if (!reflect(t, k))
            continue;
        vt_pool_run(pool, chunks, multiply_chunk, &w);
        const double *v = t->a + k * m;
        double half = t->scale[k] / 2 * dot(t->product + first, v + first, m - first);
        for (int64_t i = first; i < m; i++)
            t->product[i] -= half * v[i];
        vt_pool_run(pool, chunks, update_chunk, &w);
    }
    for (int64_t i = 0; i < m; i++)
        t->diagonal[i] = t->a[i * m + i];
    if (m >= 2)
        t->off[m - 2] = t->a[(m - 2) * m + m - 1];
}

/* Chunk c: panel c of Y through all reflections, the first one first for Q'. */
static void apply_chunk(void *context, int64_t chunk, int thread)
{
    const work *w = context;
    const vt_tridiagonal *t = w->t;
    const int64_t m = t->m;
    double(*y)[VT_PANEL] = (double(*)[VT_PANEL])(w->y + chunk * m * VT_PANEL);
    for (int64_t n = 0; n + 2 < m; n++) {
        const int64_t k = w->transposed ? n : m - 3 - n;
        const double *v = t->a + k * m;
        double sum[VT_PANEL] = {0};
        if (t->scale[k] == 0)
            continue;
        for (int64_t i = k + 1; i < m; i++)
            for (int j = 0; j < VT_PANEL; j++)
                sum[j] += v[i] * y[i][j];
        for (int j = 0; j < VT_PANEL; j++)
            sum[j] *= t->scale[k];
        for (int64_t i = k + 1; i < m; i++)
            for (int j = 0; j < VT_PANEL; j++)
                y[i][j] -= v[i] * sum[j];
    }
}

void vt_tridiagonal_apply(const vt_tridiagonal *t, bool transposed, double *y, int64_t columns, vt_pool *pool)
{
    work w = {.t = t, .y = y, .transposed = transposed};
    vt_pool_run(pool, vt_panels(columns), apply_chunk, &w);
}

/* T + l2 I = L D L', L with off/pivot below a diagonal of ones. */
static void solve_chunk(void *context, int64_t chunk, int thread)
{
    const work *w = context;
    const vt_tridiagonal *t = w->t;
    const int64_t m = t->m;
    double(*z)[VT_PANEL] = (double(*)[VT_PANEL])(w->y + chunk * m * VT_PANEL);
    for (int64_t i = 1; i < m; i++)
        for (int j = 0; j < VT_PANEL; j++)
            z[i][j] -= t->off[i - 1] / t->pivot[i - 1] * z[i - 1][j];
    for (int64_t i = m - 1; i >= 0; i--)
        for (int j = 0; j < VT_PANEL; j++)
            z[i][j] = (z[i][j] - (i + 1 < m ? t->off[i] * z[i + 1][j] : 0)) / t->pivot[i];
}

bool vt_tridiagonal_solve(vt_tridiagonal *t, double l2, double *z, int64_t columns, vt_pool *pool)
{
    for (int64_t i = 0; i < t->m; i++) {
        const double before = t->diagonal[i] + l2;
        t->pivot[i] = before - (i > 0 ? t->off[i - 1] * (t->off[i - 1] / t->pivot[i - 1]) : 0);
        if (!(t->pivot[i] > LOST * before))
            return false;
    }
    work w = {.t = t, .y = z};
    vt_pool_run(pool, vt_panels(columns), solve_chunk, &w);
    return true;
}
