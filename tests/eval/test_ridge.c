/* Few-shot arithmetic against NumPy's (tests/golden/fewshot.json, whose head says how it was made): the images that are
 * drawn, the weights, the right predictions; and what must hold for any shape. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/philox.h"
#include "eval/fewshot.h"
#include "eval/numpy_rng.h"
#include "eval/ridge.h"

static json_t *golden;

static int64_t integer(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* The rule of tests/golden: lane j of the tensor of that name. */
static uint32_t lane(const char *name, int64_t j)
{
    return vt_philox((uint32_t)integer(golden, "philox_seed"), VT_STREAM_TEST, (uint64_t)j / 4, vt_fnv1a(name), 0)
        .v[j % 4];
}

static float centred(const char *name, int64_t j)
{
    return 2.0F * ((float)(lane(name, j) >> 8) * 0x1p-24F) - 1.0F;
}

typedef struct {
    int64_t count, width, classes;
    float *features;
    int32_t *labels;
} labelled;

static labelled draw_set(const char *name, int64_t count)
{
    labelled s = {.count = count, .width = integer(golden, "width"), .classes = integer(golden, "classes")};
    char labels[32], features[32];
    snprintf(labels, sizeof labels, "%s.labels", name);
    snprintf(features, sizeof features, "%s.features", name);
    s.features = malloc((size_t)(count * s.width) * sizeof(float));
    s.labels = malloc((size_t)count * sizeof(int32_t));
    for (int64_t i = 0; i < count; i++) {
        s.labels[i] = (int32_t)(lane(labels, i) % (uint32_t)s.classes);
        for (int64_t f = 0; f < s.width; f++)
            s.features[i * s.width + f] =
                f == 3 ? 0.5F
                       : centred(features, i * s.width + f) + 0.75F * centred("centres", s.labels[i] * s.width + f);
    }
    return s;
}

static void free_set(labelled *s)
{
    free(s->features);
    free(s->labels);
}

/* A ridge over its own memory, exactly as much as it says. */
typedef struct {
    vt_ridge ridge;
    vt_pool *pool;
    void *memory;
} fitted;

static vt_status fit(fitted *f, const vt_feature_set *train, int64_t width, int64_t classes, double l2, int threads,
                     vt_err *err)
{
    *f = (fitted){.ridge = {.width = width, .classes = classes, .l2 = l2}};
    assert_int_equal(vt_pool_new(&f->pool, threads, err), VT_OK);
    size_t bytes = vt_ridge_bytes(&f->ridge, train->count, threads);
    f->memory = aligned_alloc(VT_ARENA_ALIGN, bytes);
    memset(f->memory, 0xFF, bytes); /* NaN: nothing may read what was not written */
    vt_arena arena = vt_arena_over(f->memory, bytes);
    vt_ridge_place(&f->ridge, &arena, train->count, threads);
    return vt_ridge_fit(&f->ridge, train, f->pool, err);
}

static void release(fitted *f)
{
    vt_pool_free(f->pool);
    free(f->memory);
}

/* Breaks when the generator is not NumPy's default_rng: few-shot subsets would be others than the field's. */
static void test_permutations(void **state)
{
    const char *key;
    json_t *list;
    json_object_foreach(json_object_get(golden, "permutations"), key, list)
    {
        int64_t n = (int64_t)json_array_size(list), x[64];
        vt_numpy_rng r;
        vt_numpy_rng_init(&r, (UINT64_C(1) << 40) + (uint64_t)n);
        for (int64_t i = 0; i < n; i++)
            x[i] = i;
        vt_numpy_permute(&r, x, n);
        for (int64_t i = 0; i < n; i++)
            assert_int_equal(x[i], json_integer_value(json_array_get(list, (size_t)i)));
    }
    static const int64_t known[2][5] = {{2, 4, 3, 0, 1}, {4, 0, 1, 2, 3}};
    for (uint64_t seed = 0; seed < 2; seed++) {
        int64_t x[5] = {0, 1, 2, 3, 4};
        vt_numpy_rng r;
        vt_numpy_rng_init(&r, seed);
        vt_numpy_permute(&r, x, 5);
        assert_memory_equal(x, known[seed], sizeof x);
    }
}

/* Breaks when classes are drawn in another order, with a generator each, or from an unsorted list. */
static void test_draw(void **state)
{
    labelled pool = draw_set("pool", integer(golden, "pool"));
    int64_t *first = malloc((size_t)(pool.classes + 1) * sizeof *first);
    int64_t *order = malloc((size_t)pool.count * sizeof *order);
    const json_t *seeds = json_object_get(golden, "drawn");
    for (size_t s = 0; s < json_array_size(seeds); s++) {
        vt_fewshot_draw(pool.labels, pool.count, pool.classes, s, first, order);
        assert_int_equal(first[0], 0);
        for (int64_t c = 0; c < pool.classes; c++) {
            const json_t *class = json_array_get(json_array_get(seeds, s), (size_t)c);
            assert_int_equal(first[c + 1] - first[c], json_array_size(class));
            for (int64_t i = first[c]; i < first[c + 1]; i++)
                assert_int_equal(order[i], json_integer_value(json_array_get(class, (size_t)(i - first[c]))));
        }
    }
    free(order);
    free(first);
    free_set(&pool);
}

/* The training set of a golden case: the first `shots` of each class's golden draw. */
static labelled gather(const labelled *pool, const json_t *drawn, int64_t shots)
{
    labelled s = {.width = pool->width, .classes = pool->classes};
    s.features = malloc((size_t)(pool->count * s.width) * sizeof(float));
    s.labels = malloc((size_t)pool->count * sizeof(int32_t));
    for (int64_t c = 0; c < pool->classes; c++) {
        const json_t *class = json_array_get(drawn, (size_t)c);
        for (size_t k = 0; k < json_array_size(class) && (int64_t)k < shots; k++, s.count++) {
            int64_t i = json_integer_value(json_array_get(class, k));
            memcpy(s.features + s.count * s.width, pool->features + i * s.width, (size_t)s.width * sizeof(float));
            s.labels[s.count] = (int32_t)c;
        }
    }
    return s;
}

static void check_weights(const vt_ridge *r, const json_t *rows)
{
    double worst = 0, norm = 0;
    for (int64_t f = 0; f <= r->width; f++)
        for (int64_t c = 0; c < r->classes; c++) {
            double known = json_number_value(json_array_get(json_array_get(rows, (size_t)f), (size_t)c));
            worst = fmax(worst, fabs(vt_ridge_weight(r, f, c) - known));
            norm = fmax(norm, fabs(known));
        }
    assert_true(worst < 1e-10 * norm);
}

/* Breaks when weights or predictions are not those of spec 6.1, with fewer images than features and with more. */
static void test_golden(void **state)
{
    labelled pool = draw_set("pool", integer(golden, "pool")), test = draw_set("test", integer(golden, "test"));
    int32_t *classes = malloc((size_t)test.count * sizeof *classes);
    const json_t *cases = json_object_get(golden, "cases"), *seeds = json_object_get(golden, "drawn");
    int wide = 0, tall = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *g = json_array_get(cases, i), *weights = json_object_get(g, "weights");
        labelled train = gather(&pool, json_array_get(seeds, (size_t)integer(g, "seed")), integer(g, "shots"));
        vt_feature_set set = {train.count, train.features, train.labels};
        fitted f;
        assert_int_equal(fit(&f, &set, pool.width, pool.classes, number(g, "l2"), 1, NULL), VT_OK);
        vt_ridge_predict(&f.ridge, test.features, test.count, f.pool, classes);
        int64_t right = 0;
        for (int64_t t = 0; t < test.count; t++)
            right += classes[t] == test.labels[t];
        assert_int_equal(right, integer(g, "right"));
        if (weights)
            check_weights(&f.ridge, weights);
        *(train.count <= pool.width ? &wide : &tall) += 1;
        release(&f);
        free_set(&train);
    }
    assert_true(wide > 0 && tall > 0);
    free(classes);
    free_set(&test);
    free_set(&pool);
}

/* Random features and labels of any shape. */
static labelled random_set(int64_t count, int64_t width, int64_t classes, uint32_t seed)
{
    labelled s = {.count = count, .width = width, .classes = classes};
    vt_rng rng = vt_rng_at(seed, VT_STREAM_TEST, 0, 0);
    s.features = malloc((size_t)(count * width) * sizeof(float));
    s.labels = malloc((size_t)count * sizeof(int32_t));
    for (int64_t i = 0; i < count * width; i++)
        s.features[i] = 3 * vt_rng_uniform(&rng) - 1;
    for (int64_t i = 0; i < count; i++)
        s.labels[i] = (int32_t)vt_rng_below(&rng, (uint32_t)classes);
    return s;
}

/* Feature f of image i as the regression sees it. */
static double seen(const vt_ridge *r, const labelled *s, int64_t i, int64_t f)
{
    return f == r->width ? 100.0 : ((double)s->features[i * s->width + f] - r->mean[f]) / r->deviation[f];
}

/* The largest element of X'(X W - Y) + l2 W, which is zero for the solution, against the largest of X'Y. */
static double residual(const vt_ridge *r, const labelled *s)
{
    double worst = 0, scale = 0;
    for (int64_t c = 0; c < s->classes; c++)
        for (int64_t f = 0; f <= r->width; f++) {
            double sum = r->l2 * vt_ridge_weight(r, f, c), target = 0;
            for (int64_t i = 0; i < s->count; i++) {
                double score = 0, y = s->labels[i] == c ? 1 : -1;
                for (int64_t g = 0; g <= r->width; g++)
                    score += seen(r, s, i, g) * vt_ridge_weight(r, g, c);
                sum += seen(r, s, i, f) * (score - y);
                target += seen(r, s, i, f) * y;
            }
            worst = fmax(worst, fabs(sum));
            scale = fmax(scale, fabs(target));
        }
    return worst / scale;
}

/* Breaks at the border between the two forms, at sizes that are no multiple of a panel, or when padding is read. */
static void test_normal_equations(void **state)
{
    static const int64_t counts[] = {1, 2, 5, 9, 10, 11, 12, 37};
    for (size_t i = 0; i < VT_COUNT_OF(counts); i++)
        for (int64_t width = 1; width <= 10; width += 3)
            for (int64_t classes = 1; classes <= 7; classes += 2) {
                labelled s = random_set(counts[i], width, classes, (uint32_t)(100 * width + classes));
                fitted f;
                vt_feature_set set = {s.count, s.features, s.labels};
                assert_int_equal(fit(&f, &set, width, classes, 0.3, 1, NULL), VT_OK);
                assert_true(residual(&f.ridge, &s) < 1e-10);
                release(&f);
                free_set(&s);
            }
}

/* Breaks when a result depends on the number of threads or on who takes which chunk. */
static void test_threads(void **state)
{
    static const int64_t counts[] = {29, 300};
    labelled test = random_set(501, 33, 14, 2);
    int32_t *one = malloc((size_t)test.count * sizeof *one), *three = malloc((size_t)test.count * sizeof *three);
    for (size_t i = 0; i < VT_COUNT_OF(counts); i++) {
        labelled s = random_set(counts[i], 33, 14, 1);
        vt_feature_set set = {s.count, s.features, s.labels};
        fitted a, b;
        assert_int_equal(fit(&a, &set, 33, 14, 5, 1, NULL), VT_OK);
        assert_int_equal(fit(&b, &set, 33, 14, 5, 3, NULL), VT_OK);
        for (int64_t f = 0; f <= 33; f++)
            for (int64_t c = 0; c < 14; c++)
                assert_true(vt_ridge_weight(&a.ridge, f, c) == vt_ridge_weight(&b.ridge, f, c));
        vt_pool_shuffle(b.pool, 7);
        vt_ridge_predict(&a.ridge, test.features, test.count, a.pool, one);
        vt_ridge_predict(&b.ridge, test.features, test.count, b.pool, three);
        assert_memory_equal(one, three, (size_t)test.count * sizeof *one);
        release(&a);
        release(&b);
        free_set(&s);
    }
    free(one);
    free(three);
    free_set(&test);
}

/* Breaks when equal scores do not go to the first class: two classes that never occur score the same everywhere. */
static void test_ties(void **state)
{
    labelled s = random_set(8, 4, 1, 3);
    int32_t classes[8];
    vt_feature_set set = {s.count, s.features, s.labels};
    for (int i = 0; i < 8; i++)
        s.labels[i] = 1;
    fitted f;
    assert_int_equal(fit(&f, &set, 4, 1 + 1, 1, 1, NULL), VT_OK);
    vt_ridge_predict(&f.ridge, s.features, 8, f.pool, classes);
    for (int i = 0; i < 8; i++)
        assert_int_equal(classes[i], 1);
    release(&f);
    for (int i = 0; i < 8; i++)
        s.labels[i] = i % 2; /* four classes: 2 and 3 are equal, and so are 0 and 1 at the mean of a symmetric set */
    for (int i = 0; i < 8; i += 2)
        for (int k = 0; k < 4; k++)
            s.features[4 * (i + 1) + k] = -s.features[4 * i + k];
    const float centre[4] = {0};
    assert_int_equal(fit(&f, &set, 4, 4, 1, 1, NULL), VT_OK);
    vt_ridge_predict(&f.ridge, centre, 1, f.pool, classes);
    assert_int_equal(classes[0], 0);
    release(&f);
    free_set(&s);
}

/* Breaks when a fit may take more memory than the plan counted, at any number of images up to the largest. */
static void test_bytes(void **state)
{
    for (int64_t width = 1; width <= 40; width += 13)
        for (int64_t most = 1; most <= 90; most += 11) {
            vt_ridge r = {.width = width, .classes = 9, .l2 = 1};
            size_t planned = vt_ridge_bytes(&r, most, 2);
            for (int64_t n = 1; n <= most; n++) {
                vt_arena a = vt_arena_counting();
                vt_ridge_place(&r, &a, n, 2);
                assert_true(a.high <= planned);
            }
        }
}

/* Breaks when reflections or the tridiagonal matrix are not those of A: (A + l2 I) x = y, for matrices of every small
 * size, of a rank that is not full, already tridiagonal, or diagonal. */
static void test_tridiagonal(void **state)
{
    for (int64_t m = 1; m <= 41; m += m < 8 ? 1 : 11)
        for (int kind = 0; kind < 4; kind++) {
            double a[41 * 41], y[2 * 41 * 4], kept[2 * 41 * 4];
            vt_rng rng = vt_rng_at((uint32_t)m, VT_STREAM_TEST, (uint64_t)kind, 0);
            vt_arena count = vt_arena_counting();
            vt_tridiagonal t = {.m = m};
            vt_pool *pool;
            int64_t rank = kind == 1 ? (m + 1) / 2 : m;
            float half[41][41];
            for (int64_t i = 0; i < m; i++)
                for (int64_t k = 0; k < m; k++)
                    half[i][k] = kind < 2                  ? vt_rng_uniform(&rng) - 0.5F
                                 : i == k                  ? 1 + vt_rng_uniform(&rng)
                                 : kind == 2 && i + 1 == k ? 0.5F
                                                           : 0;
            for (int64_t i = 0; i < m; i++)
                for (int64_t j = 0; j < m; j++) {
                    a[i * m + j] = 0;
                    for (int64_t k = 0; k < rank; k++)
                        a[i * m + j] += (double)half[i][k] * (double)half[j][k];
                }
            double full[41 * 41];
            memcpy(full, a, sizeof full);
            for (int64_t i = 0; i < m; i++)
                for (int64_t j = 0; j < i; j++)
                    a[i * m + j] = (double)NAN; /* only the upper triangle may be read */
            vt_tridiagonal_place(&t, &count);
            void *memory = aligned_alloc(VT_ARENA_ALIGN, count.high);
            vt_arena arena = vt_arena_over(memory, count.high);
            vt_tridiagonal_place(&t, &arena);
            t.a = a;
            assert_int_equal(vt_pool_new(&pool, 2, NULL), VT_OK);
            vt_tridiagonal_reduce(&t, pool);
            for (int64_t i = 0; i < 2 * m * 4; i++)
                kept[i] = y[i] = (double)vt_rng_uniform(&rng) - 0.5;
            vt_tridiagonal_apply(&t, true, y, 7, pool);
            assert_true(vt_tridiagonal_solve(&t, 0.01, y, 7, pool));
            vt_tridiagonal_apply(&t, false, y, 7, pool);
            for (int64_t p = 0; p < 2; p++)
                for (int64_t i = 0; i < m; i++)
                    for (int lane = 0; lane < 4; lane++) {
                        const double *x = y + p * m * 4;
                        double sum = 0.01 * x[i * 4 + lane];
                        for (int64_t j = 0; j < m; j++)
                            sum += full[i * m + j] * x[j * 4 + lane];
                        assert_true(fabs(sum - kept[(p * m + i) * 4 + lane]) < 1e-11);
                    }
            vt_pool_free(pool);
            free(memory);
        }
}

/* A ridge placed for a sweep, or fed in parts of `part` images (0: from memory), decomposed. */
static void prepare(fitted *f, const vt_feature_set *train, int64_t width, int64_t classes, int64_t part, int threads)
{
    *f = (fitted){.ridge = {.width = width, .classes = classes, .sweep = true, .streamed = part > 0}};
    assert_int_equal(vt_pool_new(&f->pool, threads, NULL), VT_OK);
    size_t bytes = vt_ridge_bytes(&f->ridge, train->count, threads);
    f->memory = aligned_alloc(VT_ARENA_ALIGN, bytes);
    memset(f->memory, 0xFF, bytes);
    vt_arena arena = vt_arena_over(f->memory, bytes);
    vt_ridge_place(&f->ridge, &arena, train->count, threads);
    if (part > 0) {
        vt_ridge_begin(&f->ridge);
        for (int64_t i = 0; i < train->count; i += part)
            vt_ridge_add(&f->ridge,
                         &(vt_feature_set){train->count - i < part ? train->count - i : part,
                                           train->features + i * width, train->labels + i},
                         f->pool);
        assert_int_equal(vt_ridge_end(&f->ridge, f->pool, NULL), VT_OK);
    } else {
        assert_int_equal(vt_ridge_build(&f->ridge, train, f->pool, NULL), VT_OK);
    }
    vt_ridge_decompose(&f->ridge, f->pool);
}

/* The largest difference between two sets of weights, against the largest weight. */
static double apart(const vt_ridge *a, const vt_ridge *b)
{
    double worst = 0, norm = 0;
    for (int64_t f = 0; f <= a->width; f++)
        for (int64_t c = 0; c < a->classes; c++) {
            worst = fmax(worst, fabs(vt_ridge_weight(a, f, c) - vt_ridge_weight(b, f, c)));
            norm = fmax(norm, fabs(vt_ridge_weight(b, f, c)));
        }
    return worst / norm;
}

/* Breaks when a sweep gives other predictions than NumPy's eigen-decomposition for some l2. */
static void test_golden_sweep(void **state)
{
    labelled pool = draw_set("pool", integer(golden, "pool")), test = draw_set("test", integer(golden, "test"));
    int32_t *classes = malloc((size_t)test.count * sizeof *classes);
    const json_t *sweeps = json_object_get(golden, "sweeps"), *l2 = json_object_get(golden, "l2");
    assert_int_equal(json_array_size(l2), 30);
    int checked = 0;
    for (size_t i = 0; i < json_array_size(sweeps); i++) {
        const json_t *g = json_array_get(sweeps, i), *rights = json_object_get(g, "right");
        const json_t *drawn = json_array_get(json_object_get(golden, "drawn"), (size_t)integer(g, "seed"));
        labelled train = gather(&pool, drawn, integer(g, "shots"));
        vt_feature_set set = {train.count, train.features, train.labels};
        fitted f;
        prepare(&f, &set, pool.width, pool.classes, 0, 1);
        for (size_t k = 0; k < json_array_size(l2); k++) {
            f.ridge.l2 = json_number_value(json_array_get(l2, k));
            assert_int_equal(vt_ridge_solve(&f.ridge, f.pool, NULL), VT_OK);
            vt_ridge_predict(&f.ridge, test.features, test.count, f.pool, classes);
            int64_t right = 0;
            for (int64_t t = 0; t < test.count; t++)
                right += classes[t] == test.labels[t];
            if (json_is_integer(json_array_get(rights, k))) {
                assert_int_equal(right, json_integer_value(json_array_get(rights, k)));
                checked++;
            }
        }
        release(&f);
        free_set(&train);
    }
    assert_true(checked > 200);
    free(classes);
    free_set(&test);
    free_set(&pool);
}

/* Breaks when a sweep is not the Cholesky solution at the same l2, whatever was solved before, in both forms. */
static void test_sweep_is_cholesky(void **state)
{
    static const int64_t counts[] = {1, 2, 9, 33, 34, 35, 120};
    static const double l2[] = {1024, 0x1p-10, 1, 0x1p19, 1};
    for (size_t i = 0; i < VT_COUNT_OF(counts); i++) {
        labelled s = random_set(counts[i], 33, 6, 8);
        vt_feature_set set = {s.count, s.features, s.labels};
        fitted sweep, one;
        prepare(&sweep, &set, 33, 6, 0, 3);
        for (size_t k = 0; k < VT_COUNT_OF(l2); k++) {
            sweep.ridge.l2 = l2[k];
            assert_int_equal(vt_ridge_solve(&sweep.ridge, sweep.pool, NULL), VT_OK);
            assert_int_equal(fit(&one, &set, 33, 6, l2[k], 1, NULL), VT_OK);
            assert_true(apart(&sweep.ridge, &one.ridge) < (l2[k] < 1 ? 1e-6 : 1e-9));
            release(&one);
        }
        release(&sweep);
        free_set(&s);
    }
}

/* Breaks when images that come in parts give other weights than all at once (to the bit, however they are cut; to
 * rounding against the set in memory), with features far from zero, constant, or sorted by class. */
static void test_stream(void **state)
{
    static const int64_t counts[] = {34, 255, 256, 257, 700};
    for (size_t i = 0; i < VT_COUNT_OF(counts); i++) {
        labelled s = random_set(counts[i], 33, 6, 9);
        vt_feature_set set = {s.count, s.features, s.labels};
        fitted whole, parts, one;
        for (int64_t k = 0; k < s.count; k++) {
            s.labels[k] = (int32_t)(k * 6 / s.count);
            s.features[k * 33 + 4] = 0.25F;
            s.features[k * 33 + 5] += 1000;
            s.features[k * 33 + 6] += (float)s.labels[k];
        }
        prepare(&whole, &set, 33, 6, s.count, 3);
        prepare(&parts, &set, 33, 6, 7, 1);
        assert_int_equal(fit(&one, &set, 33, 6, 16, 1, NULL), VT_OK);
        whole.ridge.l2 = parts.ridge.l2 = 16;
        assert_int_equal(vt_ridge_solve(&whole.ridge, whole.pool, NULL), VT_OK);
        assert_int_equal(vt_ridge_solve(&parts.ridge, parts.pool, NULL), VT_OK);
        assert_true(apart(&whole.ridge, &parts.ridge) == 0);
        assert_true(apart(&whole.ridge, &one.ridge) < 1e-8);
        for (int64_t f = 0; f < 33; f++)
            assert_true(fabs(whole.ridge.mean[f] - one.ridge.mean[f]) < 1e-9 * fmax(1, fabs(one.ridge.mean[f])));
        release(&whole);
        release(&parts);
        release(&one);
        free_set(&s);
    }
}

/* Breaks when features that are not numbers give weights, or an l2 lost in rounding gives anything but a sentence. */
static void test_refused(void **state)
{
    static const float bad[] = {NAN, INFINITY};
    vt_err err = {0};
    fitted f;
    for (size_t i = 0; i < VT_COUNT_OF(bad); i++) {
        labelled s = random_set(6, 4, 2, 4);
        vt_feature_set set = {s.count, s.features, s.labels};
        s.features[9] = bad[i];
        assert_int_equal(fit(&f, &set, 4, 2, 1, 1, &err), VT_EDIVERGED);
        assert_non_null(strstr(err.msg, "feature 1 of 4"));
        release(&f);
        free_set(&s);
    }
    labelled s = random_set(3, 4, 2, 4);
    vt_feature_set set = {s.count, s.features, s.labels};
    for (int i = 0; i < 12; i++)
        s.features[i] = 1; /* three equal images: their products have rank 1 */
    assert_int_equal(fit(&f, &set, 4, 2, 1e-300, 1, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "l2"));
    release(&f);
    prepare(&f, &set, 4, 2, 0, 1);
    f.ridge.l2 = 1e-300;
    assert_int_equal(vt_ridge_solve(&f.ridge, f.pool, &err), VT_EINVAL);
    f.ridge.l2 = 1; /* and the next one is as if that had not been */
    assert_int_equal(vt_ridge_solve(&f.ridge, f.pool, &err), VT_OK);
    release(&f);
    free_set(&s);
}

int main(int argc, char **argv)
{
    if (argc != 2 || !(golden = json_load_file(argv[1], 0, NULL)))
        return 2;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_permutations),
        cmocka_unit_test(test_draw),
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_normal_equations),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_tridiagonal),
        cmocka_unit_test(test_golden_sweep),
        cmocka_unit_test(test_sweep_is_cholesky),
        cmocka_unit_test(test_stream),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return failed;
}
