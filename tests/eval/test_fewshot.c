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
#include <jansson.h>

#include "eval/fewshot.h"
#include "eval/ridge.h"
#include "eval/stats.h"
#include "stage.h"

#define POOL    "synthetic:shapes?classes=3&size=8&count=60&seed=1&noise=0.5" /* 25, 21 and 14 images */
#define TEST    "synthetic:shapes?classes=3&size=8&count=41&seed=2"
#define CLASSES 3

/* 1 and 5 shots: 3 and 15 images, fewer than the 17 features; 9: more; 50: more than any class has. */
static json_t *golden; /* tests/golden/fewshot.json */

static const vt_fewshot_options options = {.shots = {1, 5, 9, 50}, .n_shots = 4, .n_seeds = 3, .l2 = {2}, .n_l2 = 1};

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
    assert_int_equal(r.n_l2, o->n_l2);
    for (int l = 0, k = 0; l < o->n_l2; k = (k + 1) % o->n_shots, l += k == 0) {
        const vt_fewshot_score *score = &r.scores[l][k];
        double accuracy[3], mean, deviation;
        assert_int_equal(r.shots[k], o->shots[k]);
        for (int seed = 0; seed < o->n_seeds; seed++) {
            int64_t fewest;
            kept train = draw(&pool, o->shots[k], seed, &fewest);
            int64_t right = right_of(&train, &test, o->l2[l]);
            assert_int_equal(r.fewest, fewest);
            assert_int_equal(score->right[seed], right);
            accuracy[seed] = (double)right / 41;
            free_kept(&train);
        }
        vt_mean_deviation(accuracy, 3, &mean, &deviation);
        assert_true(score->mean == mean && score->deviation == deviation);
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
        .shots = {1, 4}, .n_shots = 2, .n_seeds = 3, .l2 = {2}, .n_l2 = 1}; /* not all are drawn */
    static const vt_fewshot_options uneven = {
        .shots = {18, 2}, .n_shots = 2, .n_seeds = 3, .l2 = {2}, .n_l2 = 1}; /* 18 + 18 + 14 */
    check_parts(&options, NULL);
    check_parts(&options, map);
    check_parts(&few, NULL);
    check_parts(&uneven, NULL);
    static const vt_fewshot_options sweep = {
        .shots = {1, 9}, .n_shots = 2, .n_seeds = 2 + 1, .l2 = {1024, 0.25, 16}, .n_l2 = 3};
    check_parts(&sweep, map);
}

/* Breaks when a linear probe is not the regression on every image of the pool, or depends on the micro-batch; with a
 * pool larger than the features, and with a smaller one. */
static void test_all(void **state)
{
    static const vt_fewshot_options all = {.all = true, .l2 = {1024, 2}, .n_l2 = 2};
    static const vt_fewshot_options only = {.all = true, .l2 = {2}, .n_l2 = 1};
    for (int64_t samples = 1; samples <= 64; samples = 8 * samples) {
        scene s;
        vt_fewshot_result r;
        open_scene(&s, TEST, samples, 2);
        kept pool = keep_all(&s.pool.pass), test = keep_all(&s.test);
        assert_true(pool.count > STAGE_WIDTH);
        assert_int_equal(vt_fewshot(&s.pool.pass, &s.test, &all, &r, NULL), VT_OK);
        assert_true(r.n_shots == 1 && r.n_seeds == 1 && r.shots[0] == pool.count && r.n_l2 == 2);
        for (int k = 0; k < 2; k++)
            assert_int_equal(r.scores[k][0].right[0], right_of(&pool, &test, all.l2[k]));
        assert_int_equal(vt_fewshot(&s.pool.pass, &s.test, &only, &r, NULL), VT_OK);
        assert_int_equal(r.scores[0][0].right[0], right_of(&pool, &test, 2));

        vt_source *few; /* 12 images, fewer than the 16 features */
        vt_eval_pass small = s.pool.pass;
        assert_int_equal(vt_source_open(&few, "synthetic:shapes?classes=3&size=8&count=12&seed=4", NULL), VT_OK);
        small.source = few;
        kept twelve = keep_all(&small);
        assert_int_equal(vt_fewshot(&small, &s.test, &all, &r, NULL), VT_OK);
        for (int k = 0; k < 2; k++)
            assert_int_equal(r.scores[k][0].right[0], right_of(&twelve, &test, all.l2[k]));
        vt_source_close(few);
        free_kept(&twelve);
        free_kept(&pool);
        free_kept(&test);
        close_scene(&s);
    }
}

/* Breaks when the plan of a linear probe grows with the pool: two million images at the width of B, 1000 classes. */
static void test_all_memory(void **state)
{
    static const vt_fewshot_options all = {.all = true, .l2 = {1024, 2}, .n_l2 = 2};
    size_t some = vt_fewshot_bytes(&all, 768, 1000, 10000, 50000, 2);
    assert_int_equal(vt_fewshot_bytes(&all, 768, 1000, 2000000, 50000, 2), some);
    assert_true(some < 256u << 20);
}

/* Breaks when the chosen l2 is not that of NumPy's argsort of argsort over data sets. */
static void test_choose(void **state)
{
    const json_t *rankings = json_object_get(golden, "rankings");
    assert_true(json_array_size(rankings) >= 2);
    for (size_t i = 0; i < json_array_size(rankings); i++) {
        const json_t *g = json_array_get(rankings, i), *rights = json_object_get(g, "right");
        double accuracy[2 * 30], ranks[30];
        for (size_t k = 0; k < 60; k++)
            accuracy[k] = (double)json_integer_value(json_array_get(json_array_get(rights, k / 30), k % 30)) / 60;
        assert_int_equal(vt_fewshot_choose(accuracy, 2, 30, ranks), json_integer_value(json_object_get(g, "chosen")));
        for (size_t k = 0; k < 30; k++)
            assert_true(ranks[k] == json_number_value(json_array_get(json_object_get(g, "mean_rank"), k)));
    }
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
    static const vt_fewshot_options one = {.shots = {2}, .n_shots = 1, .n_seeds = 1, .l2 = {1024}, .n_l2 = 1};
    static const vt_fewshot_options all = {.shots = {50}, .n_shots = 1, .n_seeds = 32, .l2 = {1024}, .n_l2 = 1};
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
        {{.shots = {0}, .n_shots = 1, .n_seeds = 1, .l2 = {1}, .n_l2 = 1}, TEST, "shots"},
        {{.shots = {1}, .n_shots = 0, .n_seeds = 1, .l2 = {1}, .n_l2 = 1}, TEST, "shots"},
        {{.shots = {1}, .n_shots = 1, .n_seeds = 0, .l2 = {1}, .n_l2 = 1}, TEST, "seeds"},
        {{.shots = {1}, .n_shots = 1, .n_seeds = 33, .l2 = {1}, .n_l2 = 1}, TEST, "seeds"},
        {{.shots = {1}, .n_shots = 1, .n_seeds = 1, .l2 = {0}, .n_l2 = 1}, TEST, "l2"},
        {{.shots = {1}, .n_shots = 1, .n_seeds = 1, .l2 = {1}, .n_l2 = 0}, TEST, "l2"},
        {{.all = true, .l2 = {1, -1}, .n_l2 = 2}, TEST, "l2"},
        {{.shots = {1}, .n_shots = 1, .n_seeds = 1, .l2 = {(double)NAN}, .n_l2 = 1}, TEST, "l2"},
        {{.shots = {1}, .n_shots = 1, .n_seeds = 1, .l2 = {1}, .n_l2 = 1},
         "synthetic:shapes?classes=4&size=8&count=20",
         "4"},
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

int main(int argc, char **argv)
{
    if (argc != 2 || !(golden = json_load_file(argv[1], 0, NULL)))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),      cmocka_unit_test(test_same),    cmocka_unit_test(test_only_drawn),
        cmocka_unit_test(test_stop),       cmocka_unit_test(test_refused), cmocka_unit_test(test_all),
        cmocka_unit_test(test_all_memory), cmocka_unit_test(test_choose),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return failed;
}
