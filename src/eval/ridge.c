/* The closed form of ridge.h. Matrices of doubles are stored in panels of four columns: element (r, c) of a matrix with
 * `rows` rows lies at panel c/4, row r, lane c%4, and columns are padded to fours with zeros. Then every large product
 * here is a sum over the shared rows of two panels, one loop serves them all (`tile`), and no shape leaves a tail.
 *
 * - gram (m, m): X'X or XX', whichever is smaller; its upper triangle becomes the R of R'R; row-major
 * - dual (m, C): (XX' + l2 I)^-1 Y, where there are fewer images than features */
#include "eval/ridge.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define PANEL        4
#define SCORE_ROWS   32 /* rows of features in a chunk of prediction: all weights are read once for each chunk */
#define CONSTANT     100.0
#define SMALLEST_DEV 1e-5
#define LOST         1e-14 /* what is left of a diagonal element below this share is rounding */

static int64_t panels(int64_t cols)
{
    return (cols + PANEL - 1) / PANEL;
}

static int64_t at(int64_t rows, int64_t r, int64_t c)
{
    return (c / PANEL * rows + r) * PANEL + c % PANEL;
}

static void *take_panels(vt_arena *arena, int64_t rows, int64_t cols)
{
    return vt_arena_take(arena, rows * panels(cols) * PANEL, sizeof(double));
}

/* c[i][j] = sum_k a[k][i] * b[k][j] over k = 0, 1, ... rows - 1 in that order. */
static void tile(const double *restrict a, const double *restrict b, int64_t rows, double c[PANEL][PANEL])
{
    double sum[PANEL][PANEL] = {{0}};
    for (int64_t k = 0; k < rows; k++)
        for (int i = 0; i < PANEL; i++)
            for (int j = 0; j < PANEL; j++)
                sum[i][j] += a[k * PANEL + i] * b[k * PANEL + j];
    memcpy(c, sum, sizeof sum);
}

void vt_ridge_place(vt_ridge *r, vt_arena *arena, int64_t n, int threads)
{
    int64_t d = r->width + 1, m = n < d ? n : d;
    r->mean = vt_arena_take(arena, r->width, sizeof(double));
    r->deviation = vt_arena_take(arena, r->width, sizeof(double));
    r->weights = take_panels(arena, d, r->classes);
    r->scratch = vt_arena_take(arena, threads * SCORE_ROWS * d, sizeof(double));
    r->x = n < d ? take_panels(arena, d, n) : take_panels(arena, n, d);
    r->gram = vt_arena_take(arena, m * m, sizeof(double));
    r->dual = n < d ? take_panels(arena, n, r->classes) : NULL;
}

/* Each form takes more for more images, but the one with fewer images than features also takes a dual: count both. */
size_t vt_ridge_bytes(const vt_ridge *r, int64_t n_max, int threads)
{
    vt_ridge counted = *r;
    vt_arena wide = vt_arena_counting(), all = vt_arena_counting();
    vt_ridge_place(&counted, &wide, n_max < r->width ? n_max : r->width, threads);
    vt_ridge_place(&counted, &all, n_max, threads);
    return wide.used > all.used ? wide.used : all.used;
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
    for (int64_t f = 0; f < r->width; f++) {
        r->deviation[f] = sqrt(r->deviation[f] / n) + SMALLEST_DEV;
        if (!isfinite(r->deviation[f]))
            return vt_fail(err, VT_EDIVERGED,
                           "feature %lld of %lld is not finite for some image: the model has diverged", (long long)f,
                           (long long)r->width);
    }
    return VT_OK;
}

/* Feature f of an image, f = width being the constant one. */
static double standardised(const vt_ridge *r, const float *features, int64_t f)
{
    return f == r->width ? CONSTANT : ((double)features[f] - r->mean[f]) / r->deviation[f];
}

/* x: (n, d) panels where there are at least as many images as features, else its transpose, (d, n) panels. */
static void fill_x(vt_ridge *r, const vt_feature_set *train)
{
    int64_t n = train->count, d = r->width + 1;
    if (n < d)
        memset(r->x, 0, sizeof(double) * (size_t)(d * panels(n) * PANEL));
    else
        memset(r->x, 0, sizeof(double) * (size_t)(n * panels(d) * PANEL));
    for (int64_t i = 0; i < n; i++)
        for (int64_t f = 0; f < d; f++)
            r->x[n < d ? at(d, f, i) : at(n, i, f)] = standardised(r, train->features + i * r->width, f);
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
    int64_t rows = w->n < w->r->width + 1 ? w->r->width + 1 : w->n, m = w->m;
    for (int64_t j = i; j < panels(m); j++) {
        double c[PANEL][PANEL];
        tile(w->r->x + i * rows * PANEL, w->r->x + j * rows * PANEL, rows, c);
        for (int64_t a = 0; a < PANEL && i * PANEL + a < m; a++)
            for (int64_t b = 0; b < PANEL && j * PANEL + b < m; b++)
                w->r->gram[(i * PANEL + a) * m + j * PANEL + b] = c[a][b];
    }
}

/* gram + l2 I = R'R, R upper triangular, row by row. */
static vt_status decompose(vt_ridge *r, int64_t m, vt_err *err)
{
    for (int64_t i = 0; i < m; i++) {
        double *row = r->gram + i * m;
        double before = row[i] += r->l2;
        for (int64_t k = 0; k < i; k++) {
            const double *above = r->gram + k * m;
            double factor = above[i];
            for (int64_t j = i; j < m; j++)
                row[j] -= factor * above[j];
        }
        if (!(row[i] > LOST * before))
            return vt_fail(err, VT_EINVAL, "few-shot l2 %g is too small for these features; give a larger one", r->l2);
        double pivot = sqrt(row[i]);
        for (int64_t j = i; j < m; j++)
            row[j] /= pivot;
    }
    return VT_OK;
}

/* X'Y in place of the weights: twice the sum over a class's images minus the sum over all. */
static void multiply_targets(vt_ridge *r, const vt_feature_set *train)
{
    int64_t n = train->count, d = r->width + 1;
    for (int64_t f = 0; f < d; f++) {
        double total = 0;
        for (int64_t i = 0; i < n; i++)
            total += r->x[at(n, i, f)];
        for (int64_t c = 0; c < r->classes; c++)
            r->weights[at(d, f, c)] = -total;
        for (int64_t i = 0; i < n; i++)
            r->weights[at(d, f, train->labels[i])] += 2 * r->x[at(n, i, f)];
    }
}

static void fill_targets(vt_ridge *r, const vt_feature_set *train)
{
    for (int64_t i = 0; i < train->count; i++)
        for (int64_t c = 0; c < r->classes; c++)
            r->dual[at(train->count, i, c)] = c == train->labels[i] ? 1 : -1;
}

/* Chunk p: four columns of (R'R) s = y, s in place of y. */
static void solve_chunk(void *context, int64_t p, int thread)
{
    const work *w = context;
    int64_t m = w->m;
    double(*y)[PANEL] = (double(*)[PANEL])(w->solved + p * m * PANEL);
    for (int64_t k = 0; k < m; k++) {
        const double *row = w->r->gram + k * m;
        double pivot[PANEL];
        for (int j = 0; j < PANEL; j++)
            pivot[j] = y[k][j] /= row[k];
        for (int64_t i = k + 1; i < m; i++)
            for (int j = 0; j < PANEL; j++)
                y[i][j] -= row[i] * pivot[j];
    }
    for (int64_t i = m - 1; i >= 0; i--) {
        const double *row = w->r->gram + i * m;
        double sum[PANEL];
        memcpy(sum, y[i], sizeof sum);
        for (int64_t k = i + 1; k < m; k++)
            for (int j = 0; j < PANEL; j++)
                sum[j] -= row[k] * y[k][j];
        for (int j = 0; j < PANEL; j++)
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
        for (int64_t a = 0; a < PANEL; a++)
            x[k * PANEL + a] = i * PANEL + a < d ? r->x[at(d, i * PANEL + a, k)] : 0;
    for (int64_t p = 0; p < panels(r->classes); p++) {
        double c[PANEL][PANEL];
        tile(x, r->dual + p * w->n * PANEL, w->n, c);
        for (int64_t a = 0; a < PANEL && i * PANEL + a < d; a++)
            memcpy(r->weights + at(d, i * PANEL + a, p * PANEL), c[a], sizeof c[a]);
    }
}

vt_status vt_ridge_fit(vt_ridge *r, const vt_feature_set *train, vt_pool *pool, vt_err *err)
{
    int64_t n = train->count, d = r->width + 1, m = n < d ? n : d;
    assert(n >= 1 && r->l2 > 0);
    VT_TRY(measure(r, train, err));
    fill_x(r, train);
    work w = {.r = r, .n = n, .m = m, .solved = n < d ? r->dual : r->weights};
    vt_pool_run(pool, panels(m), gram_chunk, &w);
    VT_TRY(decompose(r, m, err));
    memset(w.solved, 0, sizeof(double) * (size_t)(m * panels(r->classes) * PANEL));
    if (n < d)
        fill_targets(r, train);
    else
        multiply_targets(r, train);
    vt_pool_run(pool, panels(r->classes), solve_chunk, &w);
    if (n < d)
        vt_pool_run(pool, panels(d), weights_chunk, &w);
    return VT_OK;
}

double vt_ridge_weight(const vt_ridge *r, int64_t feature, int64_t class)
{
    assert(feature >= 0 && feature <= r->width && class >= 0 && class < r->classes);
    return r->weights[at(r->width + 1, feature, class)];
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
            x[at(d, f, a)] = standardised(r, w->features + (first + a) * r->width, f);
    for (int64_t p = 0; p < panels(r->classes); p++)
        for (int64_t q = 0; q < panels(rows); q++) {
            double score[PANEL][PANEL];
            tile(x + q * d * PANEL, r->weights + p * d * PANEL, d, score);
            for (int64_t a = 0; a < PANEL && q * PANEL + a < rows; a++)
                for (int64_t c = 0; c < PANEL && p * PANEL + c < r->classes; c++) {
                    int64_t row = q * PANEL + a;
                    if (p + c == 0 || score[a][c] > best[row]) {
                        best[row] = score[a][c];
                        w->classes[first + row] = (int32_t)(p * PANEL + c);
                    }
                }
        }
}

void vt_ridge_predict(const vt_ridge *r, const float *features, int64_t n, vt_pool *pool, int32_t *classes)
{
    work w = {.r = r, .n = n, .features = features, .classes = classes};
    vt_pool_run(pool, (n + SCORE_ROWS - 1) / SCORE_ROWS, predict_chunk, &w);
}
