/* The closed form of ridge.h: a set in memory, and the solutions. Matrices are in panels (panels.h).
 *
 * - system.a, the Gram matrix (m, m): X'X or XX', whichever is smaller; its upper triangle, row-major. Cholesky makes
 * it the R of R'R
 * - weights (width + 1, C): X'Y, then W; in the wide form, of fewer images than features, W only, and there
 * - dual (n, C): Y, then (XX' + l2 I)^-1 Y
 * - rotated (m, C), of a sweep: Q'X'Y or Q'Y, from which every l2 starts */
#include "eval/ridge.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "eval/panels.h"
#include "eval/ridge_stream.h"

#define SCORE_ROWS   32 /* rows of features in a chunk of prediction: all weights are read once for each chunk */
#define SMALLEST_DEV 1e-5
#define LOST         1e-14 /* what is left of a diagonal element below this share is rounding */

void vt_ridge_place(vt_ridge *r, vt_arena *arena, int64_t n, int threads)
{
    const int64_t d = r->width + 1;
    r->wide = !r->streamed && n < d;
    r->system.m = r->wide ? n : d;
    r->mean = vt_arena_take(arena, r->width, sizeof(double));
    r->deviation = vt_arena_take(arena, r->width, sizeof(double));
    r->weights = vt_panels_take(arena, d, r->classes);
    r->scratch = vt_arena_take(arena, threads * SCORE_ROWS * d, sizeof(double));
    r->system.a = vt_arena_take(arena, r->system.m * r->system.m, sizeof(double));
    r->x = NULL;
    r->dual = r->wide ? vt_panels_take(arena, n, r->classes) : NULL;
    if (r->streamed)
        vt_ridge_place_stream(r, arena);
    else
        r->x = r->wide ? vt_panels_take(arena, d, n) : vt_panels_take(arena, n, d);
    if (r->sweep) {
        vt_tridiagonal_place(&r->system, arena);
        r->rotated = vt_panels_take(arena, r->system.m, r->classes);
    }
}

/* Each form takes more for more images, but the wide one also takes a dual: count both. */
size_t vt_ridge_bytes(const vt_ridge *r, int64_t n_max, int threads)
{
    vt_ridge counted = *r;
    vt_arena wide = vt_arena_counting(), all = vt_arena_counting();
    vt_ridge_place(&counted, &wide, n_max < r->width ? n_max : r->width, threads);
    vt_ridge_place(&counted, &all, n_max, threads);
    return wide.used > all.used ? wide.used : all.used;
}

vt_status vt_ridge_finish_deviation(vt_ridge *r, vt_err *err)
{
    for (int64_t f = 0; f < r->width; f++) {
        r->deviation[f] = sqrt(r->deviation[f]) + SMALLEST_DEV;
        if (!isfinite(r->deviation[f]))
            return vt_fail(err, VT_EDIVERGED,
                           "feature %lld of %lld is not finite for some image: the model has diverged", (long long)f,
                           (long long)r->width);
    }
    return VT_OK;
}

/* Mean and population deviation of each feature. Sums of finite floats are finite in double, so one look at them shows
 * whether every feature was. */
static vt_status measure(vt_ridge *r, const vt_feature_set *train, vt_err *err)
{
    double n = (double)train->count;
    for (int64_t f = 0; f < r->width; f++)
        r->mean[f] = r->deviation[f] = 0;
    for (int64_t i = 0; i < train->count; i++)
        for (int64_t f = 0; f < r->width; f++)
            r->mean[f] += (double)train->features[i * r->width + f];
    for (int64_t f = 0; f < r->width; f++)
        r->mean[f] /= n;
    for (int64_t i = 0; i < train->count; i++)
        for (int64_t f = 0; f < r->width; f++) {
            double off = (double)train->features[i * r->width + f] - r->mean[f];
            r->deviation[f] += off * off;
        }
    for (int64_t f = 0; f < r->width; f++)
        r->deviation[f] /= n;
    return vt_ridge_finish_deviation(r, err);
}

/* Feature f of an image, f = width being the constant one. */
static double standardised(const vt_ridge *r, const float *features, int64_t f)
{
    return f == r->width ? VT_RIDGE_CONSTANT : ((double)features[f] - r->mean[f]) / r->deviation[f];
}

/* x: (n, d) panels where there are at least as many images as features, else its transpose, (d, n) panels. */
static void fill_x(vt_ridge *r, const vt_feature_set *train)
{
    const int64_t n = train->count, d = r->width + 1;
    vt_panels_clear(r->x, r->wide ? d : n, r->wide ? n : d);
    for (int64_t i = 0; i < n; i++)
        for (int64_t f = 0; f < d; f++)
            r->x[r->wide ? vt_panel_at(d, f, i) : vt_panel_at(n, i, f)] =
                standardised(r, train->features + i * r->width, f);
}

/* What the chunks of one parallel part work on. */
typedef struct {
    const vt_ridge *r;
    int64_t n, m; /* images; side of the Gram matrix */
    double *solved;
    const float *features;
    int32_t *classes;
} work;

/* Chunk i: rows 4i .. 4i+3 of the Gram matrix, from the diagonal on. */
static void gram_chunk(void *context, int64_t i, int thread)
{
    const work *w = context;
    int64_t rows = w->r->wide ? w->r->width + 1 : w->n, m = w->m;
    for (int64_t j = i; j < vt_panels(m); j++) {
        double c[VT_PANEL][VT_PANEL];
        vt_panel_product(w->r->x + i * rows * VT_PANEL, w->r->x + j * rows * VT_PANEL, rows, c);
        for (int64_t a = 0; a < VT_PANEL && i * VT_PANEL + a < m; a++)
            for (int64_t b = 0; b < VT_PANEL && j * VT_PANEL + b < m; b++)
                w->r->system.a[(i * VT_PANEL + a) * m + j * VT_PANEL + b] = c[a][b];
    }
}

/* gram + l2 I = R'R, R upper triangular, row by row. */
static bool decompose(vt_ridge *r)
{
    const int64_t m = r->system.m;
    for (int64_t i = 0; i < m; i++) {
        double *row = r->system.a + i * m;
        double before = row[i] += r->l2;
        for (int64_t k = 0; k < i; k++) {
            const double *above = r->system.a + k * m;
            double factor = above[i];
            for (int64_t j = i; j < m; j++)
                row[j] -= factor * above[j];
        }
        if (!(row[i] > LOST * before))
            return false;
        double pivot = sqrt(row[i]);
        for (int64_t j = i; j < m; j++)
            row[j] /= pivot;
    }
    return true;
}

/* X'Y in place of the weights: twice the sum over a class's images minus the sum over all. */
static void multiply_targets(vt_ridge *r, const vt_feature_set *train)
{
    int64_t n = train->count, d = r->width + 1;
    for (int64_t f = 0; f < d; f++) {
        double total = 0;
        for (int64_t i = 0; i < n; i++)
            total += r->x[vt_panel_at(n, i, f)];
        for (int64_t c = 0; c < r->classes; c++)
            r->weights[vt_panel_at(d, f, c)] = -total;
        for (int64_t i = 0; i < n; i++)
            r->weights[vt_panel_at(d, f, train->labels[i])] += 2 * r->x[vt_panel_at(n, i, f)];
    }
}

static void fill_targets(vt_ridge *r, const vt_feature_set *train)
{
    for (int64_t i = 0; i < train->count; i++)
        for (int64_t c = 0; c < r->classes; c++)
            r->dual[vt_panel_at(train->count, i, c)] = c == train->labels[i] ? 1 : -1;
}

/* Chunk p: four columns of (R'R) s = y, s in place of y. */
static void solve_chunk(void *context, int64_t p, int thread)
{
    const work *w = context;
    int64_t m = w->m;
    double(*y)[VT_PANEL] = (double(*)[VT_PANEL])(w->solved + p * m * VT_PANEL);
    for (int64_t k = 0; k < m; k++) {
        const double *row = w->r->system.a + k * m;
        double pivot[VT_PANEL];
        for (int j = 0; j < VT_PANEL; j++)
            pivot[j] = y[k][j] /= row[k];
        for (int64_t i = k + 1; i < m; i++)
            for (int j = 0; j < VT_PANEL; j++)
                y[i][j] -= row[i] * pivot[j];
    }
    for (int64_t i = m - 1; i >= 0; i--) {
        const double *row = w->r->system.a + i * m;
        double sum[VT_PANEL];
        memcpy(sum, y[i], sizeof sum);
        for (int64_t k = i + 1; k < m; k++)
            for (int j = 0; j < VT_PANEL; j++)
                sum[j] -= row[k] * y[k][j];
        for (int j = 0; j < VT_PANEL; j++)
            y[i][j] = sum[j] / row[i];
    }
}

/* Chunk i: rows 4i .. 4i+3 of W = X' dual. */
static void weights_chunk(void *context, int64_t i, int thread)
{
    const work *w = context;
    const vt_ridge *r = w->r;
    int64_t d = r->width + 1;
    double *x = r->scratch + thread * SCORE_ROWS * d; /* (n, 4), n < d */
    for (int64_t k = 0; k < w->n; k++)
        for (int64_t a = 0; a < VT_PANEL; a++)
            x[k * VT_PANEL + a] = i * VT_PANEL + a < d ? r->x[vt_panel_at(d, i * VT_PANEL + a, k)] : 0;
    for (int64_t p = 0; p < vt_panels(r->classes); p++) {
        double c[VT_PANEL][VT_PANEL];
        vt_panel_product(x, r->dual + p * w->n * VT_PANEL, w->n, c);
        for (int64_t a = 0; a < VT_PANEL && i * VT_PANEL + a < d; a++)
            memcpy(r->weights + vt_panel_at(d, i * VT_PANEL + a, p * VT_PANEL), c[a], sizeof c[a]);
    }
}

vt_status vt_ridge_build(vt_ridge *r, const vt_feature_set *train, vt_pool *pool, vt_err *err)
{
    assert(train->count >= 1 && !r->streamed);
    r->n = train->count;
    VT_TRY(measure(r, train, err));
    fill_x(r, train);
    work w = {.r = r, .n = r->n, .m = r->system.m};
    vt_pool_run(pool, vt_panels(w.m), gram_chunk, &w);
    vt_panels_clear(r->wide ? r->dual : r->weights, w.m, r->classes);
    if (r->wide)
        fill_targets(r, train);
    else
        multiply_targets(r, train);
    return VT_OK;
}

void vt_ridge_decompose(vt_ridge *r, vt_pool *pool)
{
    assert(r->sweep);
    vt_tridiagonal_reduce(&r->system, pool);
    memcpy(r->rotated, r->wide ? r->dual : r->weights,
           sizeof(double) * (size_t)(r->system.m * vt_panels(r->classes) * VT_PANEL));
    vt_tridiagonal_apply(&r->system, true, r->rotated, r->classes, pool);
}

vt_status vt_ridge_solve(vt_ridge *r, vt_pool *pool, vt_err *err)
{
    const int64_t m = r->system.m;
    work w = {.r = r, .n = r->n, .m = m, .solved = r->wide ? r->dual : r->weights};
    assert(r->l2 > 0);
    if (r->sweep)
        memcpy(w.solved, r->rotated, sizeof(double) * (size_t)(m * vt_panels(r->classes) * VT_PANEL));
    bool solved = r->sweep ? vt_tridiagonal_solve(&r->system, r->l2, w.solved, r->classes, pool) : decompose(r);
    if (!solved)
        return vt_fail(err, VT_EINVAL, "few-shot l2 %g is too small for these features; give a larger one", r->l2);
    if (r->sweep)
        vt_tridiagonal_apply(&r->system, false, w.solved, r->classes, pool);
    else
        vt_pool_run(pool, vt_panels(r->classes), solve_chunk, &w);
    if (r->wide)
        vt_pool_run(pool, vt_panels(r->width + 1), weights_chunk, &w);
    return VT_OK;
}

vt_status vt_ridge_fit(vt_ridge *r, const vt_feature_set *train, vt_pool *pool, vt_err *err)
{
    assert(!r->sweep);
    VT_TRY(vt_ridge_build(r, train, pool, err));
    return vt_ridge_solve(r, pool, err);
}

double vt_ridge_weight(const vt_ridge *r, int64_t feature, int64_t class)
{
    assert(feature >= 0 && feature <= r->width && class >= 0 && class < r->classes);
    return r->weights[vt_panel_at(r->width + 1, feature, class)];
}

/* Chunk i: images 32i .. 32i+31, in panels of four, against all classes. */
static void predict_chunk(void *context, int64_t i, int thread)
{
    const work *w = context;
    const vt_ridge *r = w->r;
    int64_t d = r->width + 1, first = i * SCORE_ROWS;
    int64_t rows = w->n - first < SCORE_ROWS ? w->n - first : SCORE_ROWS;
    double *x = r->scratch + thread * SCORE_ROWS * d, best[SCORE_ROWS]; /* x: (d, rows) panels */
    memset(x, 0, sizeof(double) * (size_t)(d * SCORE_ROWS));
    for (int64_t a = 0; a < rows; a++)
        for (int64_t f = 0; f < d; f++)
            x[vt_panel_at(d, f, a)] = standardised(r, w->features + (first + a) * r->width, f);
    for (int64_t p = 0; p < vt_panels(r->classes); p++)
        for (int64_t q = 0; q < vt_panels(rows); q++) {
            double score[VT_PANEL][VT_PANEL];
            vt_panel_product(x + q * d * VT_PANEL, r->weights + p * d * VT_PANEL, d, score);
            for (int64_t a = 0; a < VT_PANEL && q * VT_PANEL + a < rows; a++)
                for (int64_t c = 0; c < VT_PANEL && p * VT_PANEL + c < r->classes; c++) {
                    int64_t row = q * VT_PANEL + a;
                    if (p + c == 0 || score[a][c] > best[row]) {
                        best[row] = score[a][c];
                        w->classes[first + row] = (int32_t)(p * VT_PANEL + c);
                    }
                }
        }
}

void vt_ridge_predict(const vt_ridge *r, const float *features, int64_t n, vt_pool *pool, int32_t *classes)
{
    work w = {.r = r, .n = n, .features = features, .classes = classes};
    vt_pool_run(pool, (n + SCORE_ROWS - 1) / SCORE_ROWS, predict_chunk, &w);
}
