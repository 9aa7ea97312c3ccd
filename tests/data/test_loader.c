/* The loader: its order, its independence of workers, its errors, its end. */
#include "fixtures.h"
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/philox.h"
#include "data/loader.h"

/* Breaks when the number of workers, of slots or the size of claims changes a byte or the order. */
static void test_same_bytes(void **state)
{
    rig r = {0};
    char first[VT_HASH_HEX], hex[VT_HASH_HEX];
    rig_open(&r, "synthetic:shapes?classes=5&size=12&count=97", "[pad(2), random_crop(12), flip]");
    for (int k = 0; k < 4; k++) {
        static const int workers[] = {1, 3, 7, 2}, slots[] = {2, 3, 5, 2};
        int64_t batches, samples;
        r.options = (vt_loader_options){.height = 12,
                                        .width = 12,
                                        .batch = 10,
                                        .end = 297,
                                        .shuffle = true,
                                        .seed = 5,
                                        .workers = workers[k],
                                        .slots = slots[k]};
        rig_hash(&r, k ? hex : first, &batches, &samples);
        assert_int_equal(batches, 30);
        assert_int_equal(samples, 297);
        if (k)
            assert_string_equal(hex, first);
    }
    vt_source_close(r.source);
}

/* Breaks when a resumed run does not go on with the same samples, or the batch size changes them. */
static void test_start_anywhere(void **state)
{
    rig r = {0};
    int32_t all[200], part[200];
    rig_open(&r, "synthetic:shapes?classes=40&size=8&count=60", "[resize(8)]");
    for (int run = 0; run < 2; run++) {
        int32_t *labels = run ? part : all;
        r.options = (vt_loader_options){.height = 8,
                                        .width = 8,
                                        .batch = run ? 7 : 10,
                                        .start = run ? 83 : 0,
                                        .end = 200,
                                        .shuffle = true,
                                        .seed = 1,
                                        .workers = 2,
                                        .slots = 2};
        rig_start(&r);
        vt_batch b;
        while (vt_loader_next(r.loader, &b, NULL) == VT_OK && b.count > 0) {
            memcpy(labels + b.position, b.labels, (size_t)b.count * sizeof *labels);
            vt_loader_release_batch(r.loader);
        }
        rig_stop(&r);
    }
    assert_memory_equal(all + 83, part + 83, 117 * sizeof *all);
    for (int64_t p = 0; p < 200; p++) { /* the order that the contract states */
        int64_t sample = (int64_t)vt_permute(1, (uint64_t)p / 60, 60, (uint64_t)p % 60);
        assert_int_equal(all[p], sample % 40);
    }
    vt_source_close(r.source);
}

/* Breaks when evaluation does not see every sample once, in order, with a short last batch. */
static void test_evaluation_order(void **state)
{
    rig r = {0};
    rig_open(&r, "synthetic:shapes?classes=9&size=8&count=25", "[resize(8)]");
    r.options = (vt_loader_options){.height = 8, .width = 8, .batch = 10, .end = 25, .workers = 2, .slots = 2};
    rig_start(&r);
    for (int64_t p = 0; p < 25; p += 10) {
        vt_batch b;
        assert_int_equal(vt_loader_next(r.loader, &b, NULL), VT_OK);
        assert_int_equal(b.count, p < 20 ? 10 : 5);
        for (int64_t i = 0; i < b.count; i++)
            assert_int_equal(b.labels[i], (p + i) % 9);
        vt_loader_release_batch(r.loader);
    }
    vt_batch b;
    assert_int_equal(vt_loader_next(r.loader, &b, NULL), VT_OK);
    assert_int_equal(b.count, 0);
    assert_int_equal(vt_loader_next(r.loader, &b, NULL), VT_OK);
    assert_int_equal(b.count, 0);
    rig_stop(&r);
    vt_source_close(r.source);
}

/* Breaks when picked samples come in another order or stead. */
static void test_picks(void **state)
{
    rig r = {0};
    int64_t picks[13];
    for (int i = 0; i < 13; i++)
        picks[i] = i * i % 25;
    rig_open(&r, "synthetic:shapes?classes=25&size=8&count=25", "[resize(8)]");
    r.options =
        (vt_loader_options){.height = 8, .width = 8, .batch = 5, .end = 13, .picks = picks, .workers = 3, .slots = 2};
    rig_start(&r);
    int64_t seen = 0;
    vt_batch b;
    while (vt_loader_next(r.loader, &b, NULL) == VT_OK && b.count > 0) {
        for (int64_t i = 0; i < b.count; i++)
            assert_int_equal(b.labels[i], picks[seen++]);
        vt_loader_release_batch(r.loader);
    }
    assert_int_equal(seen, 13);
    rig_stop(&r);
    vt_source_close(r.source);
}

/* --- mixup's partners, label rows, images that are not square --- */

enum { TALL = 40, WIDE = 24, PIXELS = TALL * WIDE * 3, UPDATE = 12, UPDATES = 4, RUN = UPDATE * UPDATES, ROW = 4 };

/* 31 samples with up to three classes each, and random crops. */
static void open_mixed(rig *r)
{
    vt_text rows = {0};
    for (int i = 0; i < 31; i++) {
        static const char *const lists[4] = {"", "\tsolid ring", "\tsolid ring,solid disc",
                                             "\tsolid bar,solid ring,solid disc"};
        vt_text_addf(&rows, "%d%s\n", i, lists[i % 4]);
    }
    fx_write("rows.tsv", rows.s, rows.len);
    vt_text_release(&rows);
    char spec[1024];
    snprintf(spec, sizeof spec, "synthetic:shapes?classes=8&size=12&count=31&labels=%s", fx_path("rows.tsv"));
    rig_open(r, spec, "[resize(44,26), random_crop(40,24), flip]");
}

static vt_loader_options mixed_options(int64_t batch, int64_t mix, int workers)
{
    return (vt_loader_options){.height = TALL,
                               .width = WIDE,
                               .batch = batch,
                               .labels = ROW,
                               .mix = mix,
                               .end = RUN,
                               .shuffle = true,
                               .seed = 9,
                               .workers = workers,
                               .slots = 2};
}

/* Every position's image and row, by slots of one without mixing. */
static void load_singly(rig *r, uint8_t *images, int32_t *labels)
{
    vt_batch b;
    r->options = mixed_options(1, 0, 2);
    rig_start(r);
    while (vt_loader_next(r->loader, &b, NULL) == VT_OK && b.count > 0) {
        memcpy(images + b.position * PIXELS, b.images, PIXELS);
        memcpy(labels + b.position * ROW, b.labels, ROW * sizeof *labels);
        vt_loader_release_batch(r->loader);
    }
    rig_stop(r);
}

/* Breaks when rows of labels are not those of their sample, are cut or filled wrongly, or images of 40 x 24 pixels are
 * taken for square ones. */
static void test_rows(void **state)
{
    rig r = {0};
    uint8_t *images = malloc(RUN * PIXELS);
    int32_t labels[RUN * ROW];
    vt_read_buffer buffer = {0};
    vt_image spare = {0};
    open_mixed(&r);
    load_singly(&r, images, labels);
    for (int64_t p = 0; p < RUN; p++) {
        static const int32_t rows[4][ROW] = {{-1, -1, -1, -1}, {4, -1, -1, -1}, {0, 4, -1, -1}, {0, 4, 6, -1}};
        int64_t sample = (int64_t)vt_permute(9, (uint64_t)p / 31, 31, (uint64_t)p % 31);
        assert_memory_equal(labels + p * ROW, rows[sample % 4], sizeof rows[0]);
        assert_int_equal(vt_source_read(r.source, sample, &buffer, NULL), VT_OK);
        assert_int_equal(vt_preprocess_run(&r.preprocess, 9, (uint64_t)p, &buffer.image, &spare, NULL), VT_OK);
        assert_true(buffer.image.height == TALL && buffer.image.width == WIDE);
        assert_memory_equal(images + p * PIXELS, buffer.image.pixels, PIXELS);
    }
    vt_read_buffer_release(&buffer);
    vt_image_release(&spare);
    free(images);
    vt_source_close(r.source);
}

/* Breaks when a sample's partner is not the one before it in the update's batch (of the first, the last), as it is at
 * its own position; whatever the slot, the workers and the position that a run goes on from. */
static void test_partners(void **state)
{
    static const int64_t slots[] = {1, 2, 3, 4, 6, 12};
    rig r = {0};
    uint8_t *images = malloc(RUN * PIXELS);
    int32_t labels[RUN * ROW];
    open_mixed(&r);
    load_singly(&r, images, labels);
    for (size_t k = 0; k < 2 * VT_COUNT_OF(slots); k++) {
        int64_t size = slots[k / 2], next = k % 2 ? 2 * UPDATE + (size < UPDATE ? size : 0) : 0;
        r.options = mixed_options(size, UPDATE, k % 2 ? 3 : 1);
        r.options.start = next;
        rig_start(&r);
        for (;;) {
            vt_batch b;
            assert_int_equal(vt_loader_next(r.loader, &b, NULL), VT_OK);
            if (b.count == 0)
                break;
            assert_int_equal(b.position, next);
            for (int64_t i = 0; i < b.count; i++) {
                int64_t p = b.position + i, partner = p % UPDATE ? p - 1 : p + UPDATE - 1;
                assert_memory_equal(b.images + i * PIXELS, images + p * PIXELS, PIXELS);
                assert_memory_equal(b.images + (i - 1) * PIXELS, images + partner * PIXELS, PIXELS);
                assert_memory_equal(b.labels + i * ROW, labels + p * ROW, ROW * sizeof *labels);
                assert_memory_equal(b.labels + (i - 1) * ROW, labels + partner * ROW, ROW * sizeof *labels);
            }
            next += b.count;
            vt_loader_release_batch(r.loader);
        }
        assert_int_equal(next, RUN);
        rig_stop(&r);
    }
    free(images);
    vt_source_close(r.source);
}

/* Breaks when time decides which of several bad samples is reported, or good batches before it are lost. */
static void test_first_error(void **state)
{
    static const int bad[] = {41, 27, 33, 29, 59};
    rig_folder("e", bad, 5);
    rig r = {0};
    rig_open(&r, fx_path("e"), "[resize(8)]");
    for (int workers = 1; workers <= 5; workers++) {
        r.options =
            (vt_loader_options){.height = 8, .width = 8, .batch = 10, .end = 60, .workers = workers, .slots = 4};
        rig_start(&r);
        vt_batch b;
        vt_err err = {0};
        for (int k = 0; k < 2; k++) {
            assert_int_equal(vt_loader_next(r.loader, &b, &err), VT_OK);
            assert_int_equal(b.count, 10);
            vt_loader_release_batch(r.loader);
        }
        for (int k = 0; k < 2; k++) {
            assert_int_equal(vt_loader_next(r.loader, &b, &err), VT_EFORMAT);
            assert_non_null(strstr(err.msg, "cat/27.png"));
        }
        rig_stop(&r);
    }
    vt_source_close(r.source);
}

/* Breaks when a partner that cannot be read lets its slot pass, or the number of workers decides what is reported. */
static void test_bad_partner(void **state)
{
    rig r = {0};
    int64_t last = 19, bad = (int64_t)vt_permute(3, 0, 60, (uint64_t)last); /* the partner of position 0 */
    rig_folder("p", (const int[]){(int)bad}, 1);
    char name[32];
    snprintf(name, sizeof name, "cat/%02d.png", (int)bad);
    rig_open(&r, fx_path("p"), "[resize(8)]");
    for (int workers = 1; workers <= 4; workers++) {
        vt_batch b;
        vt_err err = {0};
        r.options = (vt_loader_options){.height = 8,
                                        .width = 8,
                                        .batch = 5,
                                        .mix = 20,
                                        .end = 60,
                                        .shuffle = true,
                                        .seed = 3,
                                        .workers = workers,
                                        .slots = 3};
        rig_start(&r);
        assert_int_equal(vt_loader_next(r.loader, &b, &err), VT_EFORMAT);
        assert_non_null(strstr(err.msg, name));
        rig_stop(&r);
        r.options.start = 5;
        rig_start(&r);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(vt_loader_next(r.loader, &b, &err), VT_OK);
            vt_loader_release_batch(r.loader);
        }
        assert_int_equal(vt_loader_next(r.loader, &b, &err), VT_EFORMAT);
        rig_stop(&r);
    }
    vt_source_close(r.source);
}

/* Breaks when images that do not fit the slot overrun it instead of being named. */
static void test_wrong_size(void **state)
{
    rig_folder("w", NULL, 0);
    rig r = {0};
    vt_batch b;
    vt_err err = {0};
    rig_open(&r, fx_path("w"), "[pad(1)]");
    r.options = (vt_loader_options){.height = 8, .width = 8, .batch = 10, .end = 60, .workers = 2, .slots = 2};
    rig_start(&r);
    assert_int_equal(vt_loader_next(r.loader, &b, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "cat/00.png: 10 x 10 pixels"));
    assert_non_null(strstr(err.msg, "resize(8,8)"));
    rig_stop(&r);
    assert_int_equal(vt_preprocess_parse(&r.preprocess, "[central_crop(9)]", NULL), VT_OK);
    rig_start(&r);
    assert_int_equal(vt_loader_next(r.loader, &b, &err), VT_EINVAL);
    assert_non_null(strstr(err.msg, "cat/00.png: central_crop"));
    rig_stop(&r);
    vt_source_close(r.source);
}

/* Breaks when freeing hangs or leaks: before any batch, with one held, with all slots full, after the end. */
static void test_stop_anywhere(void **state)
{
    rig r = {0};
    rig_open(&r, "synthetic:shapes?classes=2&size=64&count=1000000000", "[flip]");
    for (int taken = 0; taken < 6; taken++) {
        r.options = (vt_loader_options){.height = 64,
                                        .width = 64,
                                        .batch = 8,
                                        .end = 1000000000,
                                        .shuffle = true,
                                        .workers = 1 + taken % 3,
                                        .slots = 2};
        rig_start(&r);
        vt_batch b;
        for (int k = 0; k < taken; k++) {
            assert_int_equal(vt_loader_next(r.loader, &b, NULL), VT_OK);
            if (k + 1 < taken || taken % 2)
                vt_loader_release_batch(r.loader);
        }
        rig_stop(&r);
    }
    vt_loader_free(NULL);
    vt_source_close(r.source);
}

static int clean(void **state)
{
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_start_anywhere),
        cmocka_unit_test(test_evaluation_order),
        cmocka_unit_test(test_picks),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_partners),
        cmocka_unit_test(test_bad_partner),
        cmocka_unit_test(test_first_error),
        cmocka_unit_test(test_wrong_size),
        cmocka_unit_test(test_stop_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
