/* How often intervals hold the truth, on tables whose truth is known: six kinds of tables, 2,000 of each, the law of
 * INet10 (0.634, 0.329, 0.128, 0.551) unless it says otherwise. Prints coverage beside the nominal value; docs/law.md
 * holds the result. Not a test: law_coverage [TABLES] [THREADS].
 *
 *   curve     delta method on ln E with Student's t, of the full form: where the curve is
 *   one run   vt_law_predict without widening: where a new run would lie
 *   widened   the same with the factors of the paper's back-test
 *   bootstrap percentiles of 100 draws of runs, on a tenth of the tables: where the curve is
 *
 * Fits begin from the truth and four starts around it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "base/pool.h"
#include "base/text.h"
#include "law/bootstrap.h"
#include "law/law.h"
#include "law/quantile.h"

#define MAX_POINTS 64
#define LEVEL      VT_LEVEL_80

static const double inet10[VT_N_P] = {.634, .329, .128, .551};

typedef struct {
    const char *name;
    size_t n, seeds;
    double noise, outliers; /* standard deviation in ln E; share of runs that are 20 to 60 % worse */
    bool broken;            /* the exponent changes half-way: no form fits */
    vt_loss loss;
} kind;

static const kind kinds[] = {
    {"right form", 33, 1, .028, 0, false, VT_LOSS_LOG},      {"wrong form", 33, 1, .028, 0, true, VT_LOSS_LOG},
    {"few points", 10, 1, .028, 0, false, VT_LOSS_LOG},      {"heavy noise", 33, 1, .10, 0, false, VT_LOSS_LOG},
    {"outliers", 33, 1, .028, .1, false, VT_LOSS_LOG},       {"outliers, huber", 33, 1, .028, .1, false, VT_LOSS_HUBER},
    {"3 seeds averaged", 12, 3, .06, 0, false, VT_LOSS_LOG},
};

enum { CURVE, ONE_RUN, WIDENED, BOOTSTRAP, N_INTERVALS };
static const double queries[] = {3, 10};

typedef struct {
    unsigned char covers[2][N_INTERVALS]; /* 0 no, 1 yes, 2 not asked */
    double width[2][N_INTERVALS];
    bool done;
} outcome;

typedef struct {
    const kind *k;
    outcome *out;
    size_t tables;
} job;

static double truth(const kind *k, double x)
{
    const double e = inet10[0] * pow(x + inet10[3], -inet10[1]) + inet10[2];
    return k->broken ? e * pow(1 + pow(x / 100, 2), -.04) : e;
}

/* One table: points sorted by x; the pooled scatter of seeds, 0 without. */
static double simulate(const kind *k, vt_rng *r, double *x, double *y, vt_point *points)
{
    double squares = 0;
    for (size_t i = 0; i < k->n; i++) {
        double sum = 0, values[8];
        x[i] = .267 * pow(1e4, (double)i / (double)(k->n - 1));
        for (size_t s = 0; s < k->seeds; s++) {
            values[s] = log(truth(k, x[i])) + k->noise * vt_rng_normal(r);
            if ((double)vt_rng_uniform(r) < k->outliers)
                values[s] += log(1.2 + .4 * (double)vt_rng_uniform(r));
            sum += values[s] / (double)k->seeds;
        }
        for (size_t s = 0; s < k->seeds; s++)
            squares += (values[s] - sum) * (values[s] - sum);
        y[i] = exp(sum);
        points[i] = (vt_point){.x = x[i], .y = y[i], .row = i, .frontier = true};
    }
    return k->seeds > 1 ? sqrt(squares / (double)(k->n * (k->seeds - 1))) : 0;
}

static void note(outcome *o, int q, int interval, double low, double high, double value)
{
    o->covers[q][interval] = low <= value && value <= high;
    o->width[q][interval] = log(high / low);
}

static void bootstrap(const kind *k, outcome *o, const vt_law *law, vt_point *points, const double at[2])
{
    vt_pool *pool;
    vt_bootstrap b;
    vt_points pts = {.p = points, .n = k->n, .n_frontier = k->n, .n_groups = 1};
    const vt_bootstrap_how how = {.draws = 100, .x = at, .n_x = 2};
    if (vt_pool_new(&pool, 1, NULL) != VT_OK)
        return;
    if (vt_bootstrap_run(&b, &pts, law, &how, pool, NULL) == VT_OK) {
        for (int q = 0; q < 2; q++) {
            double low, high;
            vt_bootstrap_interval(&b, VT_N_P + (size_t)q, vt_levels[LEVEL], &low, &high);
            note(o, q, BOOTSTRAP, low, high, truth(k, at[q]));
        }
        vt_bootstrap_release(&b);
    }
    vt_pool_free(pool);
}

static void one_table(void *context, int64_t table, int thread)
{
    static const vt_calibration none = {.source = ""};
    const job *j = context;
    const kind *k = j->k;
    double x[MAX_POINTS], y[MAX_POINTS], at[2];
    vt_point points[MAX_POINTS];
    vt_rng r = vt_rng_at(9, VT_STREAM_TEST, (uint64_t)table, (uint32_t)(k - kinds));
    outcome *o = &j->out[table];
    vt_law law;
    const double seed_sd = simulate(k, &r, x, y, points);
    const vt_law_how how = {.quick = true, .start = inet10, .loss = k->loss, .all_points = true};
    memset(o->covers, 2, sizeof o->covers);
    if (vt_law_of(&law, x, y, k->n, &how, NULL) != VT_OK)
        return;
    law.scatter = seed_sd > law.scatter ? seed_sd : law.scatter;
    o->done = true;
    for (int q = 0; q < 2; q++) {
        at[q] = x[k->n - 1] * queries[q];
        const vt_fit *f = &law.rows[VT_FORM_FULL].fit;
        const double e = vt_fit_at(f, at[q]), run = truth(k, at[q]) * exp(k->noise * vt_rng_normal(&r));
        const double half = vt_fit_se(f, at[q]) * vt_t_quantile((1 + vt_levels[LEVEL]) / 2, (double)(f->n - f->n_free));
        note(o, q, CURVE, e * exp(-half), e * exp(half), truth(k, at[q]));
        vt_prediction p = vt_law_predict(&law, &none, at[q], LEVEL);
        note(o, q, ONE_RUN, p.low, p.high, run);
        p = vt_law_predict(&law, &vt_calibration_paper, at[q], LEVEL);
        note(o, q, WIDENED, p.low, p.high, run);
    }
    if ((size_t)table < j->tables / 10)
        bootstrap(k, o, &law, points, at);
    vt_law_release(&law);
}

static void report(const kind *k, const outcome *out, size_t tables)
{
    double *widths = vt_xcalloc(tables, sizeof *widths);
    for (int q = 0; q < 2; q++) {
        printf("| %s | %gx |", q ? "" : k->name, queries[q]);
        for (int i = 0; i < N_INTERVALS; i++) {
            size_t n = 0, covered = 0;
            for (size_t t = 0; t < tables; t++)
                if (out[t].done && out[t].covers[q][i] < 2) {
                    covered += out[t].covers[q][i];
                    widths[n++] = out[t].width[q][i];
                }
            if (n > 0)
                printf(" %.0f%% (%.3f) |", 100 * (double)covered / (double)n, vt_sample_quantile(widths, n, .5));
            else
                printf(" - |");
        }
        printf("\n");
    }
    free(widths);
}

int main(int argc, char **argv)
{
    int64_t tables = 2000, threads = 2;
    vt_pool *pool;
    if ((argc > 1 && vt_parse_i64(argv[1], &tables, NULL) != VT_OK) ||
        (argc > 2 && vt_parse_i64(argv[2], &threads, NULL) != VT_OK) || tables < 10 || tables > 1000000 ||
        threads < 1 || vt_pool_new(&pool, (int)threads, NULL) != VT_OK)
        return 2;
    printf("nominal %.0f%%, %lld tables of each kind; median width of ln E in brackets\n\n"
           "| tables | at | curve | one run | widened | bootstrap |\n| --- | --- | --- | --- | --- | --- |\n",
           100 * vt_levels[LEVEL], (long long)tables);
    for (size_t i = 0; i < VT_COUNT_OF(kinds); i++) {
        job j = {&kinds[i], vt_xcalloc((size_t)tables, sizeof(outcome)), (size_t)tables};
        vt_pool_run(pool, tables, one_table, &j);
        report(&kinds[i], j.out, (size_t)tables);
        free(j.out);
    }
    vt_pool_free(pool);
    return 0;
}
