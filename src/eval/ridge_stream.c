/* The system of ridge.h from images as they come. With s the mean of the first block, G = sum (x - s)(x - s)' and for
 * each class S_c = sum (x - s) over its images are added up block by block; blocks are filled one after the other, so
 * it does not matter how images were handed over. At the end, with n images, e = sum (x - s) / n and deviations dev
 * from G_ff / n - e_f^2, what the standardised features would have given follows:
 *
 *   gram_fg = (G_fg - n e_f e_g) / (dev_f dev_g)
 *   (X'Y)_fc = 2 (S_cf - n_c e_f) / dev_f, since standardised features add up to zero
 *
 * and for the constant feature 100: 10000 n on the diagonal, zeros beside it, and 100 (2 n_c - n). s is near the mean,
 * so little cancels. */
#include "eval/ridge_stream.h"

#include <assert.h>
#include <string.h>

#include "eval/panels.h"

#define BLOCK 256 /* images */

/* sums (classes, width): S. block: (BLOCK, width) panels of x - s. */
void vt_ridge_place_stream(vt_ridge *r, vt_arena *arena)
{
    r->shift = vt_arena_take(arena, r->width, sizeof(double));
    r->sums = vt_arena_take(arena, r->classes * r->width, sizeof(double));
    r->block = vt_panels_take(arena, BLOCK, r->width);
    r->counts = vt_arena_take(arena, r->classes, sizeof(int64_t));
    r->pending = vt_arena_take(arena, BLOCK * r->width, sizeof(float));
    r->pending_labels = vt_arena_take(arena, BLOCK, sizeof(int32_t));
}

void vt_ridge_begin(vt_ridge *r)
{
    assert(r->streamed);
    r->n = 0;
    r->n_pending = 0;
    memset(r->system.a, 0, sizeof(double) * (size_t)(r->system.m * r->system.m));
    memset(r->sums, 0, sizeof(double) * (size_t)(r->classes * r->width));
    memset(r->counts, 0, sizeof(int64_t) * (size_t)r->classes);
    vt_panels_clear(r->block, BLOCK, r->width);
}

/* Chunk i: rows 4i .. 4i+3 of G, from the diagonal on. */
static void gram_chunk(void *context, int64_t i, int thread)
{
    const vt_ridge *r = context;
    const int64_t m = r->system.m;
    for (int64_t j = i; j < vt_panels(r->width); j++) {
        double c[VT_PANEL][VT_PANEL];
        vt_panel_product(r->block + i * BLOCK * VT_PANEL, r->block + j * BLOCK * VT_PANEL, r->n_pending, c);
        for (int64_t a = 0; a < VT_PANEL && i * VT_PANEL + a < r->width; a++)
            for (int64_t b = 0; b < VT_PANEL && j * VT_PANEL + b < r->width; b++)
                r->system.a[(i * VT_PANEL + a) * m + j * VT_PANEL + b] += c[a][b];
    }
}

static void choose_shift(vt_ridge *r)
{
    for (int64_t f = 0; f < r->width; f++) {
        double sum = 0;
        for (int i = 0; i < r->n_pending; i++)
            sum += (double)r->pending[i * r->width + f];
        r->shift[f] = sum / r->n_pending;
    }
}

static void add_block(vt_ridge *r, vt_pool *pool)
{
    if (r->n == 0)
        choose_shift(r);
    for (int i = 0; i < r->n_pending; i++) {
        double *own = r->sums + r->pending_labels[i] * r->width;
        r->counts[r->pending_labels[i]]++;
        for (int64_t f = 0; f < r->width; f++) {
            double x = (double)r->pending[i * r->width + f] - r->shift[f];
            r->block[vt_panel_at(BLOCK, i, f)] = x;
            own[f] += x;
        }
    }
    vt_pool_run(pool, vt_panels(r->width), gram_chunk, r);
    r->n += r->n_pending;
    r->n_pending = 0;
}

void vt_ridge_add(vt_ridge *r, const vt_feature_set *part, vt_pool *pool)
{
    for (int64_t i = 0; i < part->count; i++) {
        memcpy(r->pending + r->n_pending * r->width, part->features + i * r->width, (size_t)r->width * sizeof(float));
        r->pending_labels[r->n_pending++] = part->labels[i];
        if (r->n_pending == BLOCK)
            add_block(r, pool);
    }
}

/* X'Y, from S and the mean offset e, which lies in r->mean. */
static void finish_targets(vt_ridge *r)
{
    const int64_t d = r->width + 1;
    vt_panels_clear(r->weights, d, r->classes);
    for (int64_t c = 0; c < r->classes; c++) {
        for (int64_t f = 0; f < r->width; f++)
            r->weights[vt_panel_at(d, f, c)] =
                2 * (r->sums[c * r->width + f] - (double)r->counts[c] * r->mean[f]) / r->deviation[f];
        r->weights[vt_panel_at(d, r->width, c)] = VT_RIDGE_CONSTANT * (double)(2 * r->counts[c] - r->n);
    }
}

vt_status vt_ridge_end(vt_ridge *r, vt_pool *pool, vt_err *err)
{
    const int64_t m = r->system.m, width = r->width;
    double *g = r->system.a;
    if (r->n_pending > 0)
        add_block(r, pool);
    if (r->n < m)
        return vt_fail(err, VT_EINVAL, "%lld images are too few for %lld features in one go", (long long)r->n,
                       (long long)width);
    const double n = (double)r->n;
    for (int64_t f = 0; f < width; f++) {
        double sum = 0;
        for (int64_t c = 0; c < r->classes; c++)
            sum += r->sums[c * width + f];
        r->mean[f] = sum / n;
        double variance = g[f * m + f] / n - r->mean[f] * r->mean[f];
        r->deviation[f] = variance < 0 ? 0 : variance; /* not-a-number stays */
    }
    VT_TRY(vt_ridge_finish_deviation(r, err));
    for (int64_t i = 0; i < width; i++)
        for (int64_t j = i; j < width; j++)
            g[i * m + j] = (g[i * m + j] - n * r->mean[i] * r->mean[j]) / (r->deviation[i] * r->deviation[j]);
    for (int64_t i = 0; i < width; i++)
        g[i * m + width] = 0;
    g[width * m + width] = VT_RIDGE_CONSTANT * VT_RIDGE_CONSTANT * n;
    finish_targets(r);
    for (int64_t f = 0; f < width; f++)
        r->mean[f] += r->shift[f];
    return VT_OK;
}
