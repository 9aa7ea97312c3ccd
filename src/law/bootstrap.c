/* Draws are chunks of the pool; each writes its own column, failures are squeezed out at the end in order. */
#include "law/bootstrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "base/text.h"
#include "law/quantile.h"

#define LAW_STREAM 20 /* of philox.h's streams: none of training's */
#define CHUNK      25 /* draws a chunk */
#define ROOM       4  /* runs of a draw, in runs of the table: large groups may be drawn often */

typedef struct {
    const vt_points *pts;
    const vt_law *law;
    const vt_bootstrap_how *how;
    bool by_group;
    size_t n_units;
    double *values; /* rows x draws */
    unsigned char *ok;
} context;

typedef struct {
    uint32_t *times; /* how often each unit was drawn */
    vt_point *points;
    double *x, *y;
} scratch;

/* The runs of draw i, sorted as pts is; how many. Copies matter only where all runs are fitted. */
static size_t draw_points(const context *c, size_t i, scratch *s)
{
    vt_rng rng = vt_rng_at(c->how->seed, LAW_STREAM, i, 0);
    const size_t room = ROOM * c->pts->n;
    size_t n = 0;
    memset(s->times, 0, c->n_units * sizeof *s->times);
    for (size_t u = 0; u < c->n_units; u++)
        s->times[vt_rng_below(&rng, (uint32_t)c->n_units)]++;
    for (size_t p = 0; p < c->pts->n; p++) {
        const uint32_t times = s->times[c->by_group ? c->pts->p[p].group : p];
        const uint32_t copies = c->law->how.all_points ? times : times > 0;
        for (uint32_t k = 0; k < copies && n < room; k++)
            s->points[n++] = c->pts->p[p];
    }
    (void)vt_frontier_mark(s->points, n);
    return n;
}

static void one_draw(const context *c, size_t i, scratch *s)
{
    const size_t n = draw_points(c, i, s);
    const vt_law_row *main = &c->law->rows[c->law->rows[VT_FORM_FULL].done ? VT_FORM_FULL : VT_FORM_PURE];
    const size_t m = vt_points_take(s->points, n, HUGE_VAL, !c->law->how.all_points, s->x, s->y);
    const vt_fit_how how = {.form = main->form, .loss = main->loss, .delta = c->law->how.delta, .start = main->fit.p};
    vt_fit fit;
    c->ok[i] = m >= 6 && vt_fit_run(&fit, &how, s->x, s->y, m, NULL) == VT_OK;
    if (!c->ok[i])
        return;
    const size_t draws = c->how->draws;
    for (size_t p = 0; p < VT_N_P; p++)
        c->values[p * draws + i] = fit.p[p];
    for (size_t q = 0; q < c->how->n_x; q++)
        c->values[(VT_N_P + q) * draws + i] = vt_fit_at(&fit, c->how->x[q]);
}

static void draw_chunk(void *p, int64_t chunk, int thread)
{
    const context *c = p;
    const size_t n = c->pts->n;
    scratch s = {.times = vt_xcalloc(c->n_units, sizeof *s.times),
                 .points = vt_xcalloc(ROOM * n, sizeof *s.points),
                 .x = vt_xcalloc(ROOM * n, sizeof *s.x),
                 .y = vt_xcalloc(ROOM * n, sizeof *s.y)};
    for (size_t i = (size_t)chunk * CHUNK; i < c->how->draws && i < ((size_t)chunk + 1) * CHUNK; i++)
        one_draw(c, i, &s);
    free(s.times);
    free(s.points);
    free(s.x);
    free(s.y);
}

/* Rows of the draws that could be fitted, in order. */
static void squeeze(vt_bootstrap *b, const unsigned char *ok, size_t rows)
{
    for (size_t i = 0; i < b->draws; i++)
        b->n += ok[i];
    size_t to = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < b->draws; i++)
            if (ok[i])
                b->values[to++] = b->values[r * b->draws + i];
    b->failed = b->draws - b->n;
}

vt_status vt_bootstrap_run(vt_bootstrap *b, const vt_points *pts, const vt_law *law, const vt_bootstrap_how *how,
                           vt_pool *pool, vt_err *err)
{
    *b = (vt_bootstrap){.draws = how->draws, .n_x = how->n_x};
    if (how->draws < 20 || how->draws > VT_BOOTSTRAP_MAX)
        return vt_fail(err, VT_EINVAL, "%zu draws; 20 to %d are possible", how->draws, VT_BOOTSTRAP_MAX);
    b->form = law->rows[VT_FORM_FULL].done ? VT_FORM_FULL : VT_FORM_PURE;
    b->by_group = pts->n_groups > 1 && !how->by_run;
    b->n_units = b->by_group ? pts->n_groups : pts->n;
    const size_t rows = VT_N_P + how->n_x;
    context c = {.pts = pts, .law = law, .how = how, .by_group = b->by_group, .n_units = b->n_units};
    b->values = c.values = vt_xcalloc(rows * how->draws, sizeof *c.values);
    c.ok = vt_xcalloc(how->draws, 1);
    vt_pool_run(pool, (int64_t)((how->draws + CHUNK - 1) / CHUNK), draw_chunk, &c);
    squeeze(b, c.ok, rows);
    free(c.ok);
    if (b->n * 2 < b->draws) {
        const size_t failed = b->failed;
        vt_bootstrap_release(b);
        return vt_fail(err, VT_EINVAL, "%zu of %zu draws left too few runs on the frontier; there are too few groups",
                       failed, how->draws);
    }
    return VT_OK;
}

void vt_bootstrap_release(vt_bootstrap *b)
{
    free(b->values);
    *b = (vt_bootstrap){0};
}

void vt_bootstrap_interval(vt_bootstrap *b, size_t row, double level, double *low, double *high)
{
    double *v = b->values + row * b->n;
    *low = vt_sample_quantile(v, b->n, (1 - level) / 2);
    *high = vt_sample_quantile(v, b->n, (1 + level) / 2);
}
