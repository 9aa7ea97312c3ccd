/* A pass over a source and the classification on top of it, against images put through the model one by one. */
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

#include "eval/classify.h"
#include "stage.h"

#define COUNT   13
#define CLASSES 7
#define SPEC    "synthetic:shapes?classes=7&size=10&count=13&seed=3"

static const int64_t sizes[] = {1, 2, 3, 5, 13, 20};

/* What a receiver saw, against what it should see. */
typedef struct {
    const stage *stage;
    const int64_t *picks;
    const float *features, *logits; /* of every sample */
    int64_t next, total;
    int64_t stop_at; /* position at which to fail; -1: never */
} witness;

static vt_status watch(void *context, const vt_eval_rows *rows, vt_err *err)
{
    witness *w = context;
    int64_t most = w->stage->rig.model.use.samples, left = w->total - w->next;
    assert_int_equal(rows->position, w->next);
    assert_int_equal(rows->count, left < most ? left : most);
    if (w->stop_at >= 0 && w->next >= w->stop_at)
        return vt_fail(err, VT_EIO, "no more");
    for (int64_t i = 0; i < rows->count; i++) {
        int64_t sample = w->picks ? w->picks[w->next + i] : w->next + i;
        assert_int_equal(rows->labels[i], vt_source_label(w->stage->source, sample));
        assert_memory_equal(rows->features + i * STAGE_WIDTH, w->features + sample * STAGE_WIDTH,
                            STAGE_WIDTH * sizeof(float));
        assert_memory_equal(rows->logits + i * CLASSES, w->logits + sample * CLASSES, CLASSES * sizeof(float));
    }
    w->next += rows->count;
    return VT_OK;
}

/* Breaks when a sample is left out, comes twice or out of order, or when its results depend on its micro-batch or on
 * the loader's workers; and when a pass takes other memory than the plan counted. */
static void test_order(void **state)
{
    for (size_t i = 0; i < VT_COUNT_OF(sizes); i++)
        for (int workers = 1; workers <= 3; workers += 2) {
            stage s;
            float *features, *logits;
            stage_open(&s, SPEC, CLASSES, sizes[i], 2);
            stage_direct(&s, &features, &logits);
            witness w = {.stage = &s, .features = features, .logits = logits, .total = COUNT, .stop_at = -1};
            s.pass.workers = workers;
            assert_int_equal(vt_eval_run(&s.pass, watch, &w, NULL), VT_OK);
            assert_int_equal(w.next, COUNT);
            assert_true(s.memory.high == s.memory.size);
            free(features);
            free(logits);
            stage_close(&s);
        }
}

/* Breaks when picks come in another order than given, or a pick may not come twice. */
static void test_picks(void **state)
{
    static const int64_t picks[] = {12, 0, 7, 7, 3};
    stage s;
    float *features, *logits;
    stage_open(&s, SPEC, CLASSES, 2, 1);
    stage_direct(&s, &features, &logits);
    witness w = {.stage = &s, .picks = picks, .features = features, .logits = logits, .total = 5, .stop_at = -1};
    s.pass.picks = picks;
    s.pass.n_picks = 5;
    s.pass.workers = 2;
    assert_int_equal(vt_eval_run(&s.pass, watch, &w, NULL), VT_OK);
    assert_int_equal(w.next, 5);
    w.next = w.total = s.pass.n_picks = 0;
    assert_int_equal(vt_eval_run(&s.pass, watch, &w, NULL), VT_OK);
    free(features);
    free(logits);
    stage_close(&s);
}

static int asked;

static int stop_at_third(void)
{
    return ++asked >= 3;
}

static void note_progress(void *context, int64_t done, int64_t total)
{
    assert_true(done <= total && total == COUNT);
    *(int64_t *)context = done;
}

/* Breaks when a signal does not end a pass between two micro-batches, when an ended pass keeps its memory or its
 * workers, or when progress is not told. stage_close asserts that memory was given back. */
static void test_ends_early(void **state)
{
    stage s;
    float *features, *logits;
    vt_err err = {0};
    int64_t done = 0;
    stage_open(&s, SPEC, CLASSES, 4, 1);
    stage_direct(&s, &features, &logits);
    witness w = {.stage = &s, .features = features, .logits = logits, .total = COUNT, .stop_at = -1};
    asked = 0;
    s.pass.stop = stop_at_third;
    s.pass.progress = note_progress;
    s.pass.progress_context = &done;
    assert_int_equal(vt_eval_run(&s.pass, watch, &w, &err), VT_ESTOPPED);
    assert_int_equal(w.next, 8);
    assert_int_equal(done, 8);
    assert_non_null(strstr(err.msg, "8 of 13"));

    s.pass.stop = NULL;
    w.next = 0;
    w.stop_at = 5;
    assert_int_equal(vt_eval_run(&s.pass, watch, &w, &err), VT_EIO);
    assert_int_equal(w.next, 8);
    free(features);
    free(logits);
    stage_close(&s);
}

/* Breaks when an evaluation runs with random preprocessing, or on images of another size than the model's. */
static void test_preprocessing_refused(void **state)
{
    static const struct {
        const char *list, *message;
    } cases[] = {
        {"[resize(8,12), flip]", "random"}, {"[pad(1)]", "resize(8,12)"}, {"[resize(12,8)]", "model takes 8 x 12"}};
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        stage s;
        vt_err err = {0};
        witness w = {.stage = &s};
        stage_open(&s, SPEC, CLASSES, 4, 1);
        assert_int_equal(vt_preprocess_parse(&s.preprocess, cases[i].list, NULL), VT_OK);
        assert_int_equal(vt_eval_run(&s.pass, watch, &w, &err), VT_EINVAL);
        assert_non_null(strstr(err.msg, cases[i].message));
        stage_close(&s);
    }
}

/* The place of class `label` when all classes (of among) are sorted by logit, equal ones by number. */
static int64_t place_of(const float *logits, int64_t label, const uint8_t *among)
{
    int64_t order[CLASSES], n = 0;
    for (int64_t c = 0; c < CLASSES; c++) {
        if (among && !among[c])
            continue;
        int64_t at = n++;
        for (; at > 0 && logits[order[at - 1]] < logits[c]; at--)
            order[at] = order[at - 1];
        order[at] = c;
    }
    for (int64_t at = 0; at < n; at++)
        if (order[at] == label)
            return at;
    return CLASSES;
}

/* Sigmoid cross-entropy with targets 1 for the n classes of the image, 0 for others. */
static double loss_of(const float *logits, const int32_t *classes, int n)
{
    double sum = 0;
    for (int64_t c = 0; c < CLASSES; c++) {
        bool target = false;
        for (int k = 0; k < n; k++)
            target = target || classes[k] == c;
        sum += log1p(exp(target ? -(double)logits[c] : (double)logits[c]));
    }
    return sum;
}

/* The classes of an image, through a map. */
static int classes_of(const stage *s, int64_t i, const int32_t *map, int32_t classes[VT_MAX_LABELS])
{
    int n = vt_source_labels(s->source, i, classes, VT_MAX_LABELS);
    for (int k = 0; k < n; k++)
        classes[k] = map ? map[classes[k]] : classes[k];
    return n;
}

/* Those of the n classes that are among; their number. */
static int among_of(const uint8_t *among, int32_t classes[VT_MAX_LABELS], int n)
{
    int left = 0;
    for (int k = 0; k < n; k++)
        if (!among || among[classes[k]])
            classes[left++] = classes[k];
    return left;
}

/* Counts of the classification of logits under a map of labels. */
static vt_classification count_directly(const stage *s, const float *logits, const int32_t *map)
{
    vt_classification k = {.classes = CLASSES};
    k.class_count = calloc(CLASSES, sizeof *k.class_count);
    k.class_right = calloc(CLASSES, sizeof *k.class_right);
    for (int64_t c = 0; c < CLASSES; c++)
        k.among += !s->pass.among || s->pass.among[c];
    for (int64_t i = 0; i < COUNT; i++) {
        const float *row = logits + i * CLASSES;
        int32_t classes[VT_MAX_LABELS], all[VT_MAX_LABELS];
        int n_all = classes_of(s, i, map, all), n, found = 0;
        memcpy(classes, all, sizeof all);
        n = among_of(s->pass.among, classes, n_all);
        bool right1 = false, right5 = false;
        for (int j = 0; j < n; j++) {
            int64_t place = place_of(row, classes[j], s->pass.among);
            right1 = right1 || place == 0;
            right5 = right5 || place < 5;
            found += place < n;
        }
        k.right1 += right1;
        k.right5 += right5;
        k.sets = k.sets || n > 1;
        k.precision += n > 0 ? (double)found / n : 0;
        for (int j = 0; j < n; j++) {
            k.class_count[classes[j]]++;
            k.class_right[classes[j]] += right1;
        }
        k.loss += n > 0 ? loss_of(row, all, n_all) : 0;
        k.count += n > 0;
        k.unlabelled += n_all == 0;
        k.outside += n_all > 0 && n == 0;
    }
    k.loss /= (double)k.count;
    k.precision /= (double)k.count;
    return k;
}

static void check_same_counts(const vt_classification *a, const vt_classification *b)
{
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->classes, b->classes);
    assert_int_equal(a->among, b->among);
    assert_int_equal(a->unlabelled, b->unlabelled);
    assert_int_equal(a->outside, b->outside);
    assert_int_equal(a->sets, b->sets);
    assert_true(fabs(a->precision - b->precision) < 1e-12);
    assert_int_equal(a->right1, b->right1);
    assert_int_equal(a->right5, b->right5);
    assert_memory_equal(a->class_count, b->class_count, CLASSES * sizeof(int64_t));
    assert_memory_equal(a->class_right, b->class_right, CLASSES * sizeof(int64_t));
}

/* A SPEC with labels=FILE: none, one, two or three classes an image, or none for all. The file is the caller's. */
static void with_sets(char spec[1024], char file[256], bool all_empty)
{
    static const char *const lists[4] = {"", "solid bar", "solid disc,solid plus",
                                         "solid diamond,solid ring,solid square"};
    stage_write_labels(file, COUNT, lists, all_empty ? 1 : 4);
    snprintf(spec, 1024, SPEC "&labels=%s", file);
}

/* The kept logits are those of the images that count, over the classes among, with their labels renumbered. */
static void check_kept(const vt_scores *kept, const stage *s, const float *logits, const int32_t *map)
{
    int64_t row = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        int32_t classes[VT_MAX_LABELS];
        int n = among_of(s->pass.among, classes, classes_of(s, i, map, classes)), met = 0;
        int64_t column = 0;
        if (n == 0)
            continue;
        for (int64_t c = 0; c < CLASSES; c++) {
            if (s->pass.among && !s->pass.among[c])
                continue;
            bool own = false;
            for (int k = 0; k < n; k++)
                own = own || classes[k] == c;
            if (own)
                assert_int_equal(kept->labels[row * kept->width + met++], column);
            assert_true(kept->logits[row * kept->classes + column++] == logits[i * CLASSES + c]);
        }
        assert_int_equal(column, kept->classes);
        for (int k = n; k < kept->width; k++)
            assert_int_equal(kept->labels[row * kept->width + k], -1);
        row++;
    }
    assert_int_equal(row, kept->count);
}

/* Breaks when counts, precision or loss are not those of the images one by one, depend on the micro-batch, or miss the
 * label map; with one class an image, with several or none, and with some classes left out of the prediction. */
static void classify_all(const char *spec)
{
    static const int32_t map[CLASSES] = {3, 1, 0, 6, 5, 4, 2};
    static const uint8_t among[CLASSES] = {1, 0, 1, 1, 0, 1, 1};
    int64_t met = 0;
    for (int how = 0; how < 4; how++) {
        const bool mapped = how % 2;
        double loss = 0;
        for (size_t i = 0; i < VT_COUNT_OF(sizes); i++) {
            stage s;
            float *features, *logits;
            vt_classification c = {0};
            vt_scores kept = {0};
            stage_open(&s, spec, CLASSES, sizes[i], 1);
            stage_direct(&s, &features, &logits);
            s.pass.among = how < 2 ? NULL : among;
            vt_classification known = count_directly(&s, logits, mapped ? map : NULL);
            s.pass.label_map = mapped ? map : NULL;
            assert_int_equal(vt_classify(&s.pass, &kept, &c, NULL), VT_OK);
            check_kept(&kept, &s, logits, s.pass.label_map);
            vt_scores_release(&kept);
            check_same_counts(&c, &known);
            assert_true(fabs(c.loss - known.loss) < 1e-6 * known.loss);
            assert_true(i == 0 || c.loss == loss);
            loss = c.loss;
            met += c.right1 > 0 && c.right1 < c.right5 && c.right5 < COUNT;
            vt_classification_release(&c);
            vt_classification_release(&known);
            free(features);
            free(logits);
            stage_close(&s);
        }
    }
    assert_true(met > 0); /* else the counts would show little */
}

static void test_classify(void **state)
{
    classify_all(SPEC);
}

static void test_classify_sets(void **state)
{
    char spec[1024], file[256];
    stage s;
    vt_err err = {0};
    vt_classification c = {0};
    with_sets(spec, file, false);
    classify_all(spec);
    assert_int_equal(unlink(file), 0);

    with_sets(spec, file, true);
    stage_open(&s, spec, CLASSES, 5, 1);
    assert_int_equal(vt_classify(&s.pass, NULL, &c, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "no image"));
    vt_classification_release(&c);
    static const uint8_t none[CLASSES] = {0};
    s.pass.among = none;
    assert_int_equal(vt_classify(&s.pass, NULL, &c, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "among"));
    vt_classification_release(&c);
    stage_close(&s);
    assert_int_equal(unlink(file), 0);
}

/* Breaks when a class above others is predicted or looked for, or when precision does not count it: five of seven
 * classes are leaves, an image has its own and what lies above it. Labels are the two masks' by hand. */
static void test_classify_leaves(void **state)
{
    char spec[1024], file[256];
    vt_source *shapes;
    stage s;
    float *features, *logits;
    vt_classification c = {0};
    vt_scores kept = {0};
    const char *tmp = getenv("TMPDIR");
    assert_int_equal(vt_source_open(&shapes, SPEC, NULL), VT_OK);
    snprintf(file, sizeof file, "%s/vitro-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    int fd = mkstemp(file);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    assert_non_null(f);
    for (int64_t child = 2; child < 5; child++) /* 0 above 2, 3, 4; 1 above 0 */
        fprintf(f, "%s\t%s\n", vt_source_class_name(shapes, child), vt_source_class_name(shapes, 0));
    fprintf(f, "%s\t%s\n", vt_source_class_name(shapes, 0), vt_source_class_name(shapes, 1));
    assert_int_equal(fclose(f), 0);
    vt_source_close(shapes);
    snprintf(spec, sizeof spec, SPEC "&hierarchy=%s&ancestors=on", file);

    stage_open(&s, spec, CLASSES, 4, 1);
    stage_direct(&s, &features, &logits);
    assert_int_equal(vt_classify(&s.pass, &kept, &c, NULL), VT_OK);
    static const uint8_t leaves[CLASSES] = {0, 0, 1, 1, 1, 1, 1};
    int64_t right = 0, count = 0;
    double precision = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        int32_t own[VT_MAX_LABELS];
        int n = vt_source_labels(s.source, i, own, VT_MAX_LABELS), found = 0;
        int64_t leaf = vt_source_label(s.source, i);
        if (!leaves[leaf])
            continue;
        assert_int_equal(n, leaf < 5 ? 3 : 1);
        for (int k = 0; k < n; k++)
            found += place_of(logits + i * CLASSES, own[k], NULL) < n;
        right += place_of(logits + i * CLASSES, leaf, leaves) == 0;
        precision += (double)found / n;
        count++;
    }
    assert_true(count > 5 && count < COUNT);
    assert_int_equal(c.count, count);
    assert_int_equal(c.outside, COUNT - count);
    assert_int_equal(c.among, 5);
    assert_int_equal(c.right1, right);
    assert_true(c.sets && fabs(c.precision - precision / (double)count) < 1e-12);
    assert_true(kept.count == count && kept.classes == 5 && c.class_count[0] == 0 && c.class_count[1] == 0);
    vt_classification_release(&c);
    vt_scores_release(&kept);
    free(features);
    free(logits);
    stage_close(&s);
    assert_int_equal(unlink(file), 0);
}

/* Receives rows of labels and compares them with the source's, mapped. */
static vt_status watch_labels(void *context, const vt_eval_rows *rows, vt_err *err)
{
    const stage *s = context;
    assert_int_equal(rows->width_labels, 3);
    for (int64_t i = 0; i < rows->count; i++) {
        int32_t classes[VT_MAX_LABELS];
        const int32_t *row = rows->labels + i * 3;
        int n = classes_of(s, rows->position + i, s->pass.label_map, classes);
        for (int k = 0; k < 3; k++) {
            bool found = k >= n;
            for (int j = 0; j < n; j++)
                found = found || row[k] == classes[j];
            assert_true(found && (k < n ? row[k] >= 0 : row[k] == -1));
            assert_true(k == 0 || k >= n || row[k] > row[k - 1]);
        }
    }
    return VT_OK;
}

/* Breaks when a receiver sees rows of labels of another sample, unmapped, out of order or not filled up with -1. */
static void test_label_rows(void **state)
{
    static const int32_t map[CLASSES] = {3, 1, 0, 6, 5, 4, 2};
    char spec[1024], file[256];
    with_sets(spec, file, false);
    for (int mapped = 0; mapped < 2; mapped++) {
        stage s;
        stage_open(&s, spec, CLASSES, 4, 1);
        s.pass.label_map = mapped ? map : NULL;
        assert_int_equal(vt_eval_run(&s.pass, watch_labels, &s, NULL), VT_OK);
        stage_close(&s);
    }
    assert_int_equal(unlink(file), 0);
}

/* Breaks when a model that diverged, a model without classifier or another number of classes gives a figure instead of
 * a sentence. */
static void test_classify_refused(void **state)
{
    stage s;
    vt_err err = {0};
    vt_classification c = {0};
    stage_open(&s, SPEC, CLASSES, 4, 1);
    stage_spoil(&s);
    assert_int_equal(vt_classify(&s.pass, NULL, &c, &err), VT_EDIVERGED);
    assert_non_null(strstr(err.msg, "shapes[0]"));
    vt_classification_release(&c);
    stage_close(&s);
    stage_open(&s, SPEC, CLASSES + 2, 4, 1);
    assert_int_equal(vt_classify(&s.pass, NULL, &c, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "7 classes; the model has 9"));
    vt_classification_release(&c);
    stage_close(&s);
    stage_open(&s, SPEC, 0, 4, 1);
    assert_int_equal(vt_classify(&s.pass, NULL, &c, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "few-shot"));
    vt_classification_release(&c);
    stage_close(&s);
}

/* Breaks when equal logits do not go to the smaller class, or a not-a-number comes before a number. */
static void test_top_k(void **state)
{
    const float logits[8] = {1, 3, 3, NAN, 2, 3, -INFINITY, 2};
    static const int64_t sorted[8] = {1, 2, 5, 4, 7, 0, 6, 3};
    for (int k = 1; k <= 8; k++) {
        int64_t best[9];
        best[k] = -7;
        vt_top_k(logits, 8, k, best);
        assert_memory_equal(best, sorted, (size_t)k * sizeof *best);
        assert_int_equal(best[k], -7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),         cmocka_unit_test(test_picks),
        cmocka_unit_test(test_ends_early),    cmocka_unit_test(test_preprocessing_refused),
        cmocka_unit_test(test_classify),      cmocka_unit_test(test_classify_refused),
        cmocka_unit_test(test_classify_sets), cmocka_unit_test(test_classify_leaves),
        cmocka_unit_test(test_label_rows),    cmocka_unit_test(test_top_k),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
