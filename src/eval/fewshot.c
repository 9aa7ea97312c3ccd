/* Few-shot evaluation, in the order of spec 6.1: every seed draws its images; the union of all draws and the test set
 * go through the model once; each pair of shots and seed is then a ridge regression on rows of kept features, solved
 * for every l2. All memory is one block, laid out by `place`, which counts first and places second. */
#include "eval/fewshot.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/text.h"
#include "eval/numpy_rng.h"
#include "eval/ridge.h"
#include "eval/stats.h"

typedef struct {
    bool streamed; /* the whole pool, of which nothing is kept */
    int64_t width, classes, pool_count, test_count;
    int max_shots;
    int64_t per_seed; /* images that one seed draws at most, */
    int64_t n_drawn;  /* and what it draws */
    vt_ridge ridge;
    size_t ridge_bytes;

    int32_t *pool_labels; /* (pool_count) */
    int64_t *first;       /* (classes + 1), as vt_fewshot_draw */
    int64_t *order;       /* (pool_count) */
    int64_t *drawn; /* (n_seeds, n_drawn) samples, then rows of pool_features; class by class, at most max_shots each */
    int64_t *picks; /* (n_picks <= n_seeds * per_seed, pool_count) samples, ascending: the union of all draws */
    int64_t n_picks;
    float *pool_features;             /* (n_picks, width) */
    float *test_features;             /* (test_count, width) */
    int32_t *test_labels, *predicted; /* (test_count) */
    float *features;                  /* (per_seed, width): the training set of one regression */
    int32_t *labels;                  /* (per_seed) */
    void *ridge_memory;
} workspace;

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* All images of a pool that is smaller than the features are just so many shots. */
static vt_fewshot_options plain(const vt_fewshot_options *o, int64_t width, int64_t pool_count)
{
    vt_fewshot_options p = *o;
    if (!o->all)
        return p;
    p.all = pool_count > width;
    p.n_shots = p.n_seeds = 1;
    p.shots[0] = pool_count < INT_MAX ? (int)pool_count : INT_MAX;
    return p;
}

static workspace sizes(const vt_fewshot_options *o, int64_t width, int64_t classes, int64_t pool_count,
                       int64_t test_count)
{
    workspace w = {.width = width, .classes = classes, .pool_count = pool_count, .test_count = test_count};
    w.streamed = o->all;
    for (int i = 0; i < o->n_shots; i++)
        w.max_shots = o->shots[i] > w.max_shots ? o->shots[i] : w.max_shots;
    w.per_seed = smaller((int64_t)w.max_shots * classes, pool_count);
    w.ridge = (vt_ridge){.width = width, .classes = classes, .sweep = o->n_l2 > 1, .streamed = o->all};
    return w;
}

static void place(workspace *w, vt_arena *a, int n_seeds)
{
    int64_t all = n_seeds * w->per_seed, rows = smaller(all, w->pool_count);
    w->test_features = vt_arena_take(a, w->test_count * w->width, sizeof(float));
    w->test_labels = vt_arena_take(a, w->test_count, sizeof(int32_t));
    w->predicted = vt_arena_take(a, w->test_count, sizeof(int32_t));
    w->ridge_memory = vt_arena_take(a, (int64_t)w->ridge_bytes, 1);
    if (w->streamed)
        return;
    w->pool_labels = vt_arena_take(a, w->pool_count, sizeof(int32_t));
    w->first = vt_arena_take(a, w->classes + 1, sizeof(int64_t));
    w->order = vt_arena_take(a, w->pool_count, sizeof(int64_t));
    w->drawn = vt_arena_take(a, all, sizeof(int64_t));
    w->picks = vt_arena_take(a, all, sizeof(int64_t));
    w->pool_features = vt_arena_take(a, rows * w->width, sizeof(float));
    w->features = vt_arena_take(a, w->per_seed * w->width, sizeof(float));
    w->labels = vt_arena_take(a, w->per_seed, sizeof(int32_t));
}

size_t vt_fewshot_bytes(const vt_fewshot_options *o, int64_t width, int64_t classes, int64_t pool_count,
                        int64_t test_count, int threads)
{
    const vt_fewshot_options p = plain(o, width, pool_count);
    workspace w = sizes(&p, width, classes, pool_count, test_count);
    vt_arena count = vt_arena_counting();
    w.ridge_bytes = vt_ridge_bytes(&w.ridge, w.per_seed, threads);
    place(&w, &count, p.n_seeds);
    return count.used;
}

void vt_fewshot_draw(const int32_t *labels, int64_t count, int64_t classes, uint64_t seed, int64_t *first,
                     int64_t *order)
{
    memset(first, 0, (size_t)(classes + 1) * sizeof *first);
    for (int64_t i = 0; i < count; i++)
        first[labels[i] + 1]++;
    for (int64_t c = 0; c < classes; c++)
        first[c + 1] += first[c];
    for (int64_t i = 0; i < count; i++) /* first[c] runs to the end of class c ... */
        order[first[labels[i]]++] = i;
    for (int64_t c = classes; c > 0; c--) /* ... which is where class c + 1 begins */
        first[c] = first[c - 1];
    first[0] = 0;
    vt_numpy_rng generator;
    vt_numpy_rng_init(&generator, seed);
    for (int64_t c = 0; c < classes; c++)
        vt_numpy_permute(&generator, order + first[c], first[c + 1] - first[c]);
}

static int compare_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

vt_status vt_fewshot_check_classes(const vt_source *pool, const vt_source *test, vt_err *err)
{
    const int64_t n = vt_source_classes(pool), m = vt_source_classes(test);
    if (n != m)
        return vt_fail(err, VT_EINVAL, "%s has %lld classes and %s has %lld; few-shot needs the same classes",
                       vt_source_spec(pool), (long long)n, vt_source_spec(test), (long long)m);
    for (int64_t c = 0; c < n; c++)
        if (strcmp(vt_source_class_name(pool, c), vt_source_class_name(test, c)) != 0)
            return vt_fail(err, VT_EINVAL,
                           "class %lld is \"%s\" in %s and \"%s\" in %s; few-shot needs the same classes in the same "
                           "order: give both the same classes=FILE",
                           (long long)c, vt_source_class_name(pool, c), vt_source_spec(pool),
                           vt_source_class_name(test, c), vt_source_spec(test));
    return VT_OK;
}

/* Draws for every seed, and lists the union in the order of the source. */
static void draw_all(workspace *w, const vt_source *pool, int n_seeds, int64_t *fewest)
{
    int64_t *out = w->drawn;
    for (int64_t i = 0; i < w->pool_count; i++)
        w->pool_labels[i] = (int32_t)vt_source_label(pool, i);
    for (int s = 0; s < n_seeds; s++) {
        vt_fewshot_draw(w->pool_labels, w->pool_count, w->classes, (uint64_t)s, w->first, w->order);
        for (int64_t c = 0; c < w->classes; c++) {
            int64_t n = smaller(w->first[c + 1] - w->first[c], w->max_shots);
            memcpy(out, w->order + w->first[c], (size_t)n * sizeof *out);
            out += n;
        }
    }
    *fewest = w->pool_count;
    for (int64_t c = 0; c < w->classes; c++)
        *fewest = smaller(*fewest, w->first[c + 1] - w->first[c]);

    int64_t n = out - w->drawn;
    w->n_drawn = n / n_seeds;
    memcpy(w->picks, w->drawn, (size_t)n * sizeof *out);
    qsort(w->picks, (size_t)n, sizeof *w->picks, compare_i64);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || w->picks[i] != w->picks[i - 1])
            w->picks[w->n_picks++] = w->picks[i];
    for (int64_t i = 0; i < n; i++) {
        const int64_t *row = bsearch(&w->drawn[i], w->picks, (size_t)w->n_picks, sizeof *w->picks, compare_i64);
        w->drawn[i] = row - w->picks;
    }
}

/* Where the rows of a pass go. */
typedef struct {
    const vt_eval_pass *pass;
    float *features;
    int32_t *labels; /* or NULL */
    int64_t width;
} store;

static vt_status keep_rows(void *context, const vt_eval_rows *rows, vt_err *err)
{
    store *s = context;
    VT_TRY(vt_eval_check_features(s->pass, rows, err));
    memcpy(s->features + rows->position * s->width, rows->features, (size_t)(rows->count * s->width) * sizeof(float));
    if (s->labels)
        memcpy(s->labels + rows->position, rows->labels, /* one a row: checked */
               (size_t)rows->count * sizeof(int32_t));
    return VT_OK;
}

static vt_status compute_features(workspace *w, const vt_eval_pass *train, const vt_eval_pass *test, vt_err *err)
{
    vt_eval_pass picked = *train;
    picked.picks = w->picks;
    picked.n_picks = w->n_picks;
    store pool = {.pass = &picked, .features = w->pool_features, .width = w->width};
    store tested = {.pass = test, .features = w->test_features, .labels = w->test_labels, .width = w->width};
    VT_TRY(vt_eval_run(&picked, keep_rows, &pool, err));
    return vt_eval_run(test, keep_rows, &tested, err);
}

/* The first `shots` drawn of each class become the training set; returns their number. */
static int64_t gather(workspace *w, int seed, int shots)
{
    int64_t n = 0;
    const int64_t *rows = w->drawn + seed * w->n_drawn;
    for (int64_t c = 0; c < w->classes; c++) {
        int64_t in_class = w->first[c + 1] - w->first[c], take = smaller(in_class, shots);
        for (int64_t k = 0; k < take; k++, n++) {
            memcpy(w->features + n * w->width, w->pool_features + rows[k] * w->width, (size_t)w->width * sizeof(float));
            w->labels[n] = (int32_t)c;
        }
        rows += smaller(in_class, w->max_shots);
    }
    return n;
}

/* Right predictions of one training set for every l2; the system is built. */
static vt_status score(workspace *w, int shot, int seed, vt_pool *pool, vt_fewshot_result *r, vt_err *err)
{
    if (w->ridge.sweep)
        vt_ridge_decompose(&w->ridge, pool);
    for (int k = 0; k < r->n_l2; k++) {
        int64_t right = 0;
        w->ridge.l2 = r->l2[k];
        VT_TRY(vt_ridge_solve(&w->ridge, pool, err));
        vt_ridge_predict(&w->ridge, w->test_features, w->test_count, pool, w->predicted);
        for (int64_t i = 0; i < w->test_count; i++)
            right += w->predicted[i] == w->test_labels[i];
        r->scores[k][shot].right[seed] = right;
    }
    return VT_OK;
}

static vt_status regress(workspace *w, int shot, int seed, vt_pool *pool, vt_fewshot_result *r, vt_err *err)
{
    int64_t n = gather(w, seed, r->shots[shot]);
    vt_arena memory = vt_arena_over(w->ridge_memory, w->ridge_bytes);
    vt_ridge_place(&w->ridge, &memory, n, vt_pool_threads(pool));
    VT_TRY(vt_ridge_build(&w->ridge, &(vt_feature_set){n, w->features, w->labels}, pool, err));
    return score(w, shot, seed, pool, r, err);
}

typedef struct {
    const vt_eval_pass *pass;
    vt_ridge *ridge;
} feed;

static vt_status feed_rows(void *context, const vt_eval_rows *rows, vt_err *err)
{
    feed *f = context;
    VT_TRY(vt_eval_check_features(f->pass, rows, err));
    vt_ridge_add(f->ridge, &(vt_feature_set){rows->count, rows->features, rows->labels}, /* one label a row: checked */
                 f->pass->backend->exec.pool);
    return VT_OK;
}

static vt_status run_streamed(workspace *w, const vt_eval_pass *train, const vt_eval_pass *test, vt_fewshot_result *r,
                              vt_err *err)
{
    vt_pool *pool = train->backend->exec.pool;
    vt_arena memory = vt_arena_over(w->ridge_memory, w->ridge_bytes);
    feed pooled = {train, &w->ridge};
    store tested = {.pass = test, .features = w->test_features, .labels = w->test_labels, .width = w->width};
    vt_ridge_place(&w->ridge, &memory, w->pool_count, vt_pool_threads(pool));
    vt_ridge_begin(&w->ridge);
    VT_TRY(vt_eval_run(train, feed_rows, &pooled, err));
    VT_TRY(vt_ridge_end(&w->ridge, pool, err));
    VT_TRY(vt_eval_run(test, keep_rows, &tested, err));
    r->fewest = w->pool_count;
    return score(w, 0, 0, pool, r, err);
}

static vt_status run(workspace *w, const vt_eval_pass *train, const vt_eval_pass *test, vt_fewshot_result *r,
                     vt_err *err)
{
    draw_all(w, train->source, r->n_seeds, &r->fewest);
    VT_TRY(compute_features(w, train, test, err));
    for (int k = 0; k < r->n_shots; k++)
        for (int s = 0; s < r->n_seeds; s++) {
            if (test->stop && test->stop())
                return vt_fail(err, VT_ESTOPPED, "stopped at %d shots, seed %d", r->shots[k], s);
            VT_TRY(regress(w, k, s, train->backend->exec.pool, r, err));
        }
    return VT_OK;
}

static void summarise(vt_fewshot_result *r)
{
    double accuracy[VT_MAX_SEEDS];
    for (int k = 0; k < r->n_l2; k++)
        for (int i = 0; i < r->n_shots; i++) {
            vt_fewshot_score *score = &r->scores[k][i];
            for (int s = 0; s < r->n_seeds; s++)
                accuracy[s] = (double)score->right[s] / (double)r->test_count;
            vt_mean_deviation(accuracy, r->n_seeds, &score->mean, &score->deviation);
        }
}

static vt_status check_options(const vt_fewshot_options *o, vt_err *err)
{
    if (o->n_l2 < 1 || o->n_l2 > VT_MAX_L2)
        return vt_fail(err, VT_EINVAL, "%d values of l2; 1 to %d are possible", o->n_l2, VT_MAX_L2);
    for (int i = 0; i < o->n_l2; i++)
        if (!(o->l2[i] > 0) || !isfinite(o->l2[i]))
            return vt_fail(err, VT_EINVAL, "l2 is %g; it must be above 0 (the paper's code uses 1024)", o->l2[i]);
    if (o->all)
        return VT_OK;
    if (o->n_shots < 1 || o->n_shots > VT_MAX_SHOTS)
        return vt_fail(err, VT_EINVAL, "%d numbers of shots; 1 to %d are possible", o->n_shots, VT_MAX_SHOTS);
    for (int i = 0; i < o->n_shots; i++)
        if (o->shots[i] < 1)
            return vt_fail(err, VT_EINVAL, "%d shots; at least 1 is needed", o->shots[i]);
    if (o->n_seeds < 1 || o->n_seeds > VT_MAX_SEEDS)
        return vt_fail(err, VT_EINVAL, "%d seeds; 1 to %d are possible", o->n_seeds, VT_MAX_SEEDS);
    return VT_OK;
}

/* A number of shots means the same on both sides only if the classes are the same. */
static vt_status check_classes(const vt_eval_pass *train, const vt_eval_pass *test, vt_err *err)
{
    const vt_source *pool = train->source, *tested = test->source;
    assert(!train->label_map);
    if (!vt_source_has_single_labels(pool) || !vt_source_has_single_labels(tested))
        return vt_fail(
            err, VT_EINVAL,
            "few-shot evaluation needs exactly one class for every image; labels=FILE gives some image of %s "
            "none or several",
            vt_source_spec(vt_source_has_single_labels(pool) ? tested : pool));
    return test->label_map ? VT_OK : vt_fewshot_check_classes(pool, tested, err);
}

vt_status vt_fewshot(const vt_eval_pass *train, const vt_eval_pass *test, const vt_fewshot_options *o,
                     vt_fewshot_result *r, vt_err *err)
{
    assert(train->model == test->model && train->backend == test->backend);
    VT_TRY(check_options(o, err));
    VT_TRY(check_classes(train, test, err));
    int64_t test_count = test->picks ? test->n_picks : vt_source_count(test->source);
    int64_t pool_count = vt_source_count(train->source);
    int64_t width = train->model->feature_width, classes = vt_source_classes(train->source);
    int threads = vt_pool_threads(train->backend->exec.pool);
    const vt_fewshot_options p = plain(o, width, pool_count);
    assert(test_count >= 1);
    memset(r, 0, sizeof *r);
    r->n_shots = p.n_shots;
    r->n_seeds = p.n_seeds;
    r->n_l2 = p.n_l2;
    r->test_count = test_count;
    r->pool_count = pool_count;
    memcpy(r->shots, p.shots, sizeof r->shots);
    memcpy(r->l2, p.l2, sizeof r->l2);

    workspace w = sizes(&p, width, classes, pool_count, test_count);
    size_t bytes = vt_fewshot_bytes(o, width, classes, pool_count, test_count, threads);
    void *block = bytes <= vt_machine_memory() ? aligned_alloc(VT_ARENA_ALIGN, bytes) : NULL;
    if (!block) {
        char need[32], have[32];
        return vt_fail(err, VT_ENOMEM,
                       "few-shot evaluation needs %s for features and regressions, of %s that this machine "
                       "has; take fewer shots, seeds or test images",
                       vt_format_bytes(need, (double)bytes), vt_format_bytes(have, (double)vt_machine_memory()));
    }
    vt_arena memory = vt_arena_over(block, bytes);
    w.ridge_bytes = vt_ridge_bytes(&w.ridge, w.per_seed, threads);
    place(&w, &memory, p.n_seeds);
    vt_status status = w.streamed ? run_streamed(&w, train, test, r, err) : run(&w, train, test, r, err);
    if (status == VT_OK)
        summarise(r);
    free(block);
    return status;
}

int vt_fewshot_choose(const double *accuracy, int sets, int n_l2, double *ranks)
{
    double mean[VT_MAX_L2] = {0};
    int best = 0;
    assert(sets >= 1 && n_l2 >= 1 && n_l2 <= VT_MAX_L2);
    for (int k = 0; k < n_l2; k++) {
        int64_t rank = 0;
        for (int s = 0; s < sets; s++)
            for (int j = 0; j < n_l2; j++) {
                double own = accuracy[s * n_l2 + k], other = accuracy[s * n_l2 + j];
                rank += other < own || (other == own && j < k);
            }
        mean[k] = (double)rank / sets;
        best = mean[k] > mean[best] ? k : best;
        if (ranks)
            ranks[k] = mean[k];
    }
    return best;
}
