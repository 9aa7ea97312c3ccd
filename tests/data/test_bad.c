/* Samples that cannot be used: what stands for them, what is said of them, and where it ends. */
#include "fixtures.h"
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COUNT = 60, SIDE = 8, PIXELS = SIDE * SIDE * 3 };

/* What was told, in order. */
typedef struct {
    int64_t samples[COUNT];
    int n;
    bool named;
} heard;

static void hear(void *context, int64_t sample, const char *why)
{
    heard *h = context;
    h->samples[h->n++] = sample;
    h->named = h->named && why && strstr(why, "cat/");
}

/* 60 different images, these of them broken, each in a way of its own. */
static void different_folder(const char *dir, const int *bad, int n_bad)
{
    for (int i = 0; i < COUNT; i++) {
        char name[64];
        size_t size;
        unsigned char *png = fx_png(SIDE, SIDE, (uint32_t)i + 1, &size);
        snprintf(name, sizeof name, "%s/cat/%02d.png", dir, i);
        fx_write(name, png, size);
        free(png);
        for (int k = 0; k < n_bad; k++) {
            if (bad[k] != i)
                continue;
            const char *path = fx_path("%s", name);
            assert_int_equal(truncate(path, k % 3 ? 40 : 0), 0);
            if (k % 3 == 1)
                assert_int_equal(unlink(path), 0);
            if (k % 3 == 2)
                assert_int_equal(unlink(path) | mkfifo(path, 0600), 0);
        }
    }
}

static vt_loader_options training(int64_t batch, int64_t mix, int workers, vt_bad_list *bad)
{
    return (vt_loader_options){.height = SIDE,
                               .width = SIDE,
                               .batch = batch,
                               .mix = mix,
                               .end = 240,
                               .shuffle = true,
                               .seed = 3,
                               .workers = workers,
                               .slots = 3,
                               .bad = bad};
}

static const int broken[] = {3, 17, 18, 19, 44};

/* Opened whole, then spoilt: the index holds files that are no longer there. */
static void open_spoilt(rig *r, const char *dir)
{
    different_folder(dir, NULL, 0);
    rig_open(r, fx_path("%s", dir), "[random_crop(8), flip]");
    different_folder(dir, broken, VT_COUNT_OF(broken));
}

/* Breaks when the number of workers, the size of slots or the point where a run goes on changes what stands for a bad
 * sample, in what order bad samples are told, or one is told twice. */
static void test_same_bytes(void **state)
{
    rig r = {0};
    static uint8_t all[240 * PIXELS];
    heard first = {0};
    (void)state;
    open_spoilt(&r, "same");
    for (int k = 0; k < 8; k++) {
        static const int64_t batches[] = {20, 5, 10, 1};
        heard h = {.named = true};
        vt_bad_list bad = {.limit = 5, .name = "max", .tell = hear, .context = &h};
        r.options = training(batches[k / 2], k % 2 ? 20 : 0, 1 + k % 4, &bad);
        r.options.start = k == 6 ? 100 : 0;
        rig_start(&r);
        for (;;) {
            vt_batch b;
            vt_err err = {0};
            if (vt_loader_next(r.loader, &b, &err) != VT_OK)
                fail_msg("%s", err.msg);
            if (b.count == 0)
                break;
            assert_int_equal(b.n_missing, 0);
            for (int64_t i = 0; i < b.count; i++) {
                uint8_t *row = all + (b.position + i) * PIXELS;
                if (k == 0)
                    memcpy(row, b.images + i * PIXELS, PIXELS);
                assert_memory_equal(b.images + i * PIXELS, row, PIXELS);
            }
            vt_loader_release_batch(r.loader);
        }
        rig_stop(&r);
        assert_true(h.named);
        assert_int_equal(h.n, 5);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(bad.samples[i], broken[i]);
            if (k == 0 || k == 2 || k == 4) /* the same order, without partners in front */
                assert_int_equal(h.samples[i], (k ? first.samples : h.samples)[i]);
        }
        if (k == 0)
            first = h;
        vt_bad_release(&bad);
    }
    vt_source_close(r.source);
}

/* Breaks when a bad sample's place is taken by another image than the documented substitute, or the list of bad ones
 * does not lead to it. */
static void test_substitutes(void **state)
{
    rig r = {0};
    vt_read_buffer buffer = {0};
    vt_image spare = {0};
    vt_batch b;
    int replaced = 0;
    vt_bad_list bad = {.limit = 5, .name = "max"};
    (void)state;
    open_spoilt(&r, "stand");
    r.options = training(240, 0, 3, &bad);
    rig_start(&r);
    assert_int_equal(vt_loader_next(r.loader, &b, NULL), VT_OK);
    for (int64_t p = 0; p < 240; p++) {
        int64_t sample = vt_source_order(r.source, 3, p), k = 0;
        while (vt_bad_has(&bad, sample))
            sample = vt_loader_substitute(r.source, 3, p, (int)++k);
        replaced += k > 0;
        assert_int_equal(vt_loader_sample_without(r.source, 3, p, &bad), sample);
        assert_int_equal(vt_source_read(r.source, sample, &buffer, NULL), VT_OK);
        assert_int_equal(vt_preprocess_run(&r.preprocess, 3, (uint64_t)p, &buffer.image, &spare, NULL), VT_OK);
        assert_memory_equal(b.images + p * PIXELS, buffer.image.pixels, PIXELS);
    }
    assert_int_equal(replaced, 4 * 5); /* four epochs */
    rig_stop(&r);
    vt_bad_release(&bad);
    vt_read_buffer_release(&buffer);
    vt_image_release(&spare);
    vt_source_close(r.source);
}

/* Breaks when the limit is passed in silence, at a point that workers decide, or forgotten by the next call. */
static void test_limit(void **state)
{
    rig r = {0};
    char first[sizeof(vt_err)] = "";
    (void)state;
    open_spoilt(&r, "limit");
    for (int workers = 1; workers <= 4; workers++) {
        vt_err err = {0};
        vt_batch b;
        int64_t good = 0;
        vt_bad_list bad = {.limit = 3, .name = "data.max_bad"};
        r.options = training(4, 0, workers, &bad);
        rig_start(&r);
        while (vt_loader_next(r.loader, &b, &err) == VT_OK && b.count > 0) {
            good += b.count;
            vt_loader_release_batch(r.loader);
        }
        assert_true(good > 0 && good < COUNT);
        assert_non_null(strstr(err.msg, "3 images could not be used, which is all that data.max_bad allows"));
        if (workers == 1)
            snprintf(first, sizeof first, "%s", err.msg);
        assert_string_equal(err.msg, first);
        assert_int_not_equal(vt_loader_next(r.loader, &b, &err), VT_OK);
        assert_string_equal(err.msg, first);
        assert_int_equal(bad.count, 3);
        rig_stop(&r);
        vt_bad_release(&bad);
    }
    vt_source_close(r.source);
}

/* Breaks when a list that knows three bad samples lets five pass, or counts the three again. */
static void test_known(void **state)
{
    rig r = {0};
    vt_batch b;
    vt_err err = {0};
    (void)state;
    open_spoilt(&r, "known");
    for (int limit = 4; limit <= 5; limit++) {
        heard h = {0};
        vt_bad_list bad = {.limit = limit, .name = "max", .tell = hear, .context = &h};
        vt_status status;
        for (int i = 4; i >= 2; i--)
            vt_bad_add(&bad, broken[i]);
        r.options = training(20, 0, 2, &bad);
        rig_start(&r);
        while ((status = vt_loader_next(r.loader, &b, &err)) == VT_OK && b.count > 0)
            vt_loader_release_batch(r.loader);
        assert_int_equal(status == VT_OK, limit == 5);
        assert_int_equal(h.n, limit - 3);
        rig_stop(&r);
        vt_bad_release(&bad);
    }
    vt_source_close(r.source);
}

/* Breaks when a set of nothing but bad samples makes the loader look for a good one for ever. */
static void test_all_bad(void **state)
{
    rig r = {0};
    vt_batch b;
    vt_err err = {0};
    int every[COUNT];
    vt_bad_list bad = {.limit = COUNT, .name = "max"};
    (void)state;
    for (int i = 0; i < COUNT; i++)
        every[i] = i;
    rig_folder("none", every, COUNT);
    rig_open(&r, fx_path("none"), "[random_crop(8)]");
    r.options = training(20, 20, 3, &bad);
    rig_start(&r);
    assert_int_equal(vt_loader_next(r.loader, &b, &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "drawn one after the other"));
    rig_stop(&r);
    vt_bad_release(&bad);
    vt_source_close(r.source);
}

/* Breaks when an evaluation counts a black image in a bad one's place, or loses a good one beside it. */
static void test_evaluation(void **state)
{
    rig r = {0};
    vt_batch b;
    (void)state;
    open_spoilt(&r, "eval");
    for (int workers = 1; workers <= 3; workers++) {
        vt_bad_list bad = {.limit = 5, .name = "max"};
        int64_t seen = 0, missing = 0;
        r.options = (vt_loader_options){
            .height = SIDE, .width = SIDE, .batch = 10, .end = COUNT, .workers = workers, .slots = 2, .bad = &bad};
        rig_start(&r);
        while (vt_loader_next(r.loader, &b, NULL) == VT_OK && b.count > 0) {
            seen += b.count;
            for (int64_t i = 0; i < b.n_missing; i++) {
                assert_int_equal(b.position + b.missing[i], broken[missing++]);
                assert_int_equal(b.labels[b.missing[i]], -1);
            }
            vt_loader_release_batch(r.loader);
        }
        assert_int_equal(seen, COUNT);
        assert_int_equal(missing, 5);
        assert_int_equal(bad.count, 5);
        rig_stop(&r);
        vt_bad_release(&bad);
    }
    vt_source_close(r.source);
}

static int clean(void **state)
{
    (void)state;
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_substitutes), cmocka_unit_test(test_limit),
        cmocka_unit_test(test_known),      cmocka_unit_test(test_all_bad),     cmocka_unit_test(test_evaluation),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
