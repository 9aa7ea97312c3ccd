/* Few-shot evaluation as a whole, against its parts put together by hand on features of every image. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "eval/fewshot.h"
#include "eval/ridge.h"
#include "eval/stats.h"
#include "stage.h"

#define POOL    "synthetic:shapes?classes=3&size=8&count=60&seed=1&noise=0.5" /* 25, 21 and 14 images */
#define TEST    "synthetic:shapes?classes=3&size=8&count=41&seed=2"
#define CLASSES 3

/* 1 and 5 shots: 3 and 15 images, fewer than the 17 features; 9: more; 50: more than any class has. */
static const vt_fewshot_options options = {.shots = {1, 5, 9, 50}, .n_shots = 4, .n_seeds = 3, .l2 = 2};

/* Pool and test set share one model. */
typedef struct {
    stage pool;
    vt_source *test_source;
    vt_eval_pass test;
} scene;

static void open_scene(scene *s, const char *test_spec, int64_t samples, int threads)
{
    stage_open(&s->pool, POOL, 0, samples, threads);
    assert_int_equal(vt_source_open(&s->test_source, test_spec, NULL), VT_OK);
    s->test = s->pool.pass;
    s->test.source = s->test_source;
}

static void close_scene(scene *s)
{
    vt_source_close(s->test_source);
    stage_close(&s->pool);
}

/* Features and labels of every image of a pass. */
typedef struct {
    float *features;
    int32_t *labels;
    int64_t count;
} kept;

static vt_status keep(void *context, const vt_eval_rows *rows, vt_err *err)
{
    kept *k = context;
    memcpy(k->features + rows->position * STAGE_WIDTH, rows->features,
           (size_t)(rows->count * STAGE_WIDTH) * sizeof(float));
    memcpy(k->labels + rows->position, rows->labels, (size_t)rows->count * sizeof(int32_t));
    k->count += rows->count;
    return VT_OK;
}

static kept keep_all(const vt_eval_pass *pass)
{
    int64_t n = vt_source_count(pass->source);
    kept k = {.features = malloc((size_t)(n * STAGE_WIDTH) * sizeof(float)),
              .labels = malloc((size_t)n * sizeof(int32_t))};
    assert_int_equal(vt_eval_run(pass, keep, &k, NULL), VT_OK);
    assert_int_equal(k.count, n);
    return k;
}

static void free_kept(kept *k)
{
    free(k->features);
    free(k->labels);
}

static int64_t right_of(const kept *train, const kept *test, double l2)
{
    vt_ridge r = {.width = STAGE_WIDTH, .classes = CLASSES, .l2 = l2};
    vt_pool *pool;
    assert_int_equal(vt_pool_new(&pool, 1, NULL), VT_OK);
    size_t bytes = vt_ridge_bytes(&r, train->count, 1);
    void *memory = aligned_alloc(VT_ARENA_ALIGN, bytes);
    int32_t *classes = malloc((size_t)test->count * sizeof *classes);
    vt_arena arena = vt_arena_over(memory, bytes);
    vt_ridge_place(&r, &arena, train->count, 1);
    assert_int_equal(vt_ridge_fit(&r, &(vt_feature_set){train->count, train->features, train->labels}, pool, NULL),
                     VT_OK);
    vt_ridge_predict(&r, test->features, test->count, pool, classes);
    int64_t right = 0;
    for (int64_t i = 0; i < test->count; i++)
        right += classes[i] == test->labels[i];
    free(classes);
    free(memory);
    vt_pool_free(pool);
    return right;
}

/* The training set of k shots, in the order of classes and draws. */
static kept draw(const kept *all, int shots, int seed, int64_t *fewest)
{
    int64_t first[CLASSES + 1], order[60];
    kept k = {.features = malloc((size_t)(all->count * STAGE_WIDTH) * sizeof(float)),
              .labels = malloc((size_t)all->count * sizeof(int32_t))};
    vt_fewshot_draw(all->labels, all->count, CLASSES, (uint64_t)seed, first, order);
    *fewest = all->count;
    for (int64_t c = 0; c < CLASSES; c++) {
        *fewest = first[c + 1] - first[c] < *fewest ? first[c + 1] - first[c] : *fewest;
        for (int64_t i = first[c]; i < first[c + 1] && i < first[c] + shots; i++, k.count++) {
            memcpy(k.features + k.count * STAGE_WIDTH, all->features + order[i] * STAGE_WIDTH,
                   STAGE_WIDTH * sizeof(float));
            k.labels[k.count] = (int32_t)c;
        }
    }
    return k;
}

static void check_parts(const vt_fewshot_options *o, const int32_t *map)
{
    scene s;
    vt_fewshot_result r;
    open_scene(&s, TEST, 7, 2);
    s.test.label_map = map;
    kept pool = keep_all(&s.pool.pass), test = keep_all(&s.test);
    assert_int_equal(vt_fewshot(&s.pool.pass, &s.test, o, &r, NULL), VT_OK);
    assert_int_equal(r.test_count, 41);
    for (int k = 0; k < o->n_shots; k++) {
        double accuracy[3], mean, deviation;
        assert_int_equal(r.shots[k], o->shots[k]);
        for (int seed = 0; seed < o->n_seeds; seed++) {
            int64_t fewest;
            kept train = draw(&pool, o->shots[k], seed, &fewest);
            int64_t right = right_of(&train, &test, o->l2);
            assert_int_equal(r.fewest, fewest);
            assert_int_equal(r.right[k][seed], right);
            accuracy[seed] = (double)right / 41;
            assert_true(r.accuracy[k][seed] == accuracy[seed]);
            free_kept(&train);
        }
        vt_mean_deviation(accuracy, 3, &mean, &deviation);
        assert_true(r.mean[k] == mean && r.deviation[k] == deviation);
    }
    assert_true(r.fewest == 14);
    free_kept(&pool);
    free_kept(&test);
    close_scene(&s);
}

/* Breaks when rows of features and draws are mixed up anywhere between drawing and scoring, when the map from the test
 * set's classes to the pool's is not used, or when a mean is not over seeds. */
static void test_parts(void **state)
{
    static const int32_t map[CLASSES] = {2, 0, 1};
    static const vt_fewshot_options few = {
        .shots = {1, 4}, .n_shots = 2, .n_seeds = 3, .l2 = 2}; /* not all are drawn */
    static const vt_fewshot_options uneven = {.shots = {18, 2}, .n_shots = 2, .n_seeds = 3, .l2 = 2}; /* 18 + 18 + 14 */
    check_parts(&options, NULL);
    check_parts(&options, map);
    check_parts(&few, NULL);
    check_parts(&uneven, NULL);
}

/* Breaks when a result depends on micro-batch, threads or workers. */
static void test_same(void **state)
{
    vt_fewshot_result a, b;
    for (int64_t samples = 1; samples <= 64; samples = 4 * samples) {
        scene s;
        open_scene(&s, TEST, samples, samples == 1 ? 1 : 3);
        s.pool.pass.workers = s.test.workers = samples == 4 ? 3 : 1;
        assert_int_equal(vt_fewshot(&s.pool.pass, &s.test, &options, samples == 1 ? &a : &b, NULL), VT_OK);
        if (samples > 1)
            assert_memory_equal(&a, &b, sizeof a);
        close_scene(&s);
    }
}

static void note_total(void *context, int64_t done, int64_t total)
{
    *(int64_t *)context = total;
}

/* Breaks when more of the pool than the drawn images goes through the model, or an image drawn by two seeds goes twice.
 */
static void test_only_drawn(void **state)
{
    static const vt_fewshot_options one = {.shots = {2}, .n_shots = 1, .n_seeds = 1, .l2 = 1024};
    static const vt_fewshot_options all = {.shots = {50}, .n_shots = 1, .n_seeds = 32, .l2 = 1024};
    scene s;
    vt_fewshot_result r;
    int64_t total = 0;
    open_scene(&s, TEST, 7, 1);
    s.pool.pass.progress = note_total;
    s.pool.pass.progress_context = &total;
    assert_int_equal(vt_fewshot(&s.pool.pass, &s.test, &one, &r, NULL), VT_OK);
    assert_int_equal(total, 2 * CLASSES);
    assert_int_equal(vt_fewshot(&s.pool.pass, &s.test, &all, &r, NULL), VT_OK);
    assert_int_equal(total, 60);
    close_scene(&s);
}

static int asked;

static int stop_now(void)
{
    return --asked < 0;
}

/* Breaks when a signal does not end it, or when an ended one leaks: micro-batches of one image, 60 of the pool and 41
 * of the test set, then regressions. */
static void test_stop(void **state)
{
    static const struct {
        int after;
        const char *message;
    } cases[] = {{0, "0 of 60"}, {3, "3 of 60"}, {70, "10 of 41"}, {101, "1 shots, seed 0"}, {107, "9 shots, seed 0"}};
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        scene s;
        vt_fewshot_result r;
        vt_err err = {0};
        open_scene(&s, TEST, 1, 1);
        s.pool.pass.stop = s.test.stop = stop_now;
        asked = cases[i].after;
        assert_int_equal(vt_fewshot(&s.pool.pass, &s.test, &options, &r, &err), VT_ESTOPPED);
        assert_non_null(strstr(err.msg, cases[i].message));
        close_scene(&s);
    }
}

/* Breaks when options that make no sense, classes that differ, or a model that diverged give a figure. */
static void test_refused(void **state)
{
    static const struct {
        vt_fewshot_options options;
        const char *test, *message;
    } cases[] = {
        {{.shots = {0}, .n_shots = 1, .n_seeds = 1, .l2 = 1}, TEST, "shots"},
        {{.shots = {1}, .n_shots = 0, .n_seeds = 1, .l2 = 1}, TEST, "shots"},
        {{.shots = {1}, .n_shots = 1, .n_seeds = 0, .l2 = 1}, TEST, "seeds"},
        {{.shots = {1}, .n_shots = 1, .n_seeds = 33, .l2 = 1}, TEST, "seeds"},
        {{.shots = {1}, .n_shots = 1, .n_seeds = 1, .l2 = 0}, TEST, "l2"},
        {{.shots = {1}, .n_shots = 1, .n_seeds = 1, .l2 = (double)NAN}, TEST, "l2"},
        {{.shots = {1}, .n_shots = 1, .n_seeds = 1, .l2 = 1}, "synthetic:shapes?classes=4&size=8&count=20", "4"},
    };
    scene s;
    vt_fewshot_result r;
    vt_err err = {0};
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        open_scene(&s, cases[i].test, 4, 1);
        assert_int_equal(vt_fewshot(&s.pool.pass, &s.test, &cases[i].options, &r, &err), VT_EINVAL);
        assert_non_null(strstr(err.msg, cases[i].message));
        close_scene(&s);
    }
    static const char *const lists[] = {"solid disc", "solid square", ""};
    char file[256], spec[1024];
    stage_write_labels(file, 20, lists, 3);
    snprintf(spec, sizeof spec, "synthetic:shapes?classes=3&size=8&count=20&labels=%s", file);
    open_scene(&s, spec, 4, 1);
    assert_int_equal(vt_fewshot(&s.pool.pass, &s.test, &options, &r, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "exactly one class for every image; labels=FILE gives some image of synthetic"));
    close_scene(&s);
    unlink(file);

    open_scene(&s, TEST, 4, 1);
    stage_spoil(&s.pool);
    assert_int_equal(vt_fewshot(&s.pool.pass, &s.test, &options, &r, &err), VT_EDIVERGED);
    assert_non_null(strstr(err.msg, "shapes["));
    close_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts), cmocka_unit_test(test_same),    cmocka_unit_test(test_only_drawn),
        cmocka_unit_test(test_stop),  cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
