/* The loader under load, alone: two epochs visit each sample exactly twice, and memory stays flat however many samples
 * pass. With "long" as argument over 2 million samples, else over fewer. */
#include "fixtures.h"
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/machine.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

static bool is_long;

/* IDX files of count grey images of 4 x 4 whose first pixels are the sample's number. */
static void write_numbered(int64_t count)
{
    unsigned char *images = calloc((size_t)count + 1, 16), *labels = calloc((size_t)count + 8, 1);
    const unsigned char dims[16] = {
        0, 0, 8, 3, 0, (unsigned char)(count >> 16), (unsigned char)(count >> 8), (unsigned char)count, 0, 0, 0,
        4, 0, 0, 0, 4};
    memcpy(images, dims, 16);
    memcpy(labels, dims, 8);
    labels[3] = 1;
    for (int64_t i = 0; i < count; i++) {
        unsigned char *p = images + 16 * (i + 1);
        p[0] = (unsigned char)(i >> 16);
        p[1] = (unsigned char)(i >> 8);
        p[2] = (unsigned char)i;
    }
    fx_write("numbered.images", images, 16 * ((size_t)count + 1));
    fx_write("numbered.labels", labels, (size_t)count + 8);
    free(images);
    free(labels);
}

/* Breaks when an epoch leaves a sample out or takes one twice, with any number of workers, across a restart. */
static void test_each_twice(void **state)
{
    const int64_t count = is_long ? 200003 : 20011;
    unsigned char *visits = calloc((size_t)count, 1);
    char spec[2200];
    rig r = {0};
    (void)state;
    write_numbered(count);
    snprintf(spec, sizeof spec, "idx:%s,%s", fx_path("numbered.images"), fx_path("numbered.labels"));
    rig_open(&r, spec, "[central_crop(4)]");
    assert_int_equal(vt_source_count(r.source), count);
    for (int workers = 1; workers <= 7; workers += 3) {
        memset(visits, 0, (size_t)count);
        for (int part = 0; part < 2; part++) { /* stopped in the first epoch, and gone on with */
            const int64_t middle = count / 64 / 2 * 64;
            r.options = (vt_loader_options){.height = 4,
                                            .width = 4,
                                            .batch = 64,
                                            .start = part ? middle : 0,
                                            .end = part ? 2 * count : middle,
                                            .shuffle = true,
                                            .seed = 11,
                                            .workers = workers,
                                            .slots = 4};
            rig_start(&r);
            for (;;) {
                vt_batch b;
                assert_int_equal(vt_loader_next(r.loader, &b, NULL), VT_OK);
                if (b.count == 0)
                    break;
                for (int64_t i = 0; i < b.count; i++) {
                    const uint8_t *p = b.images + i * 48;
                    visits[p[0] << 16 | p[3] << 8 | p[6]]++;
                }
                vt_loader_release_batch(r.loader);
            }
            rig_stop(&r);
        }
        for (int64_t i = 0; i < count; i++)
            if (visits[i] != 2)
                fail_msg("%d workers: sample %lld was visited %d times", workers, (long long)i, visits[i]);
    }
    free(visits);
    vt_source_close(r.source);
}

enum { FILES = 600, SIDE = 32 };

static void write_files(void)
{
    for (int i = 0; i < FILES; i++) {
        char name[64];
        size_t size;
        unsigned char *data =
            i % 3 ? fx_jpeg(SIDE, SIDE, (uint32_t)i + 1, i % 2, &size) : fx_png(SIDE, SIDE, (uint32_t)i + 1, &size);
        snprintf(name, sizeof name, "files/c%d/%03d.%s", i % 4, i, i % 3 ? "jpg" : "png");
        fx_write(name, data, i % 200 == 77 ? size / 2 : size); /* three are cut */
        free(data);
    }
}

/* Takes `images` through the loader; what anonymous memory grew by from a tenth on. */
static long long growth(rig *r, int64_t images, vt_cache *cache)
{
    vt_bad_list bad = {.limit = 3, .name = "max"};
    size_t early = 0, now = 0;
    r->options = (vt_loader_options){.height = SIDE,
                                     .width = SIDE,
                                     .batch = 100,
                                     .end = images,
                                     .shuffle = true,
                                     .seed = 4,
                                     .workers = 3,
                                     .slots = 4,
                                     .cache = cache,
                                     .bad = &bad};
    rig_start(r);
    for (int64_t done = 0; done < images;) {
        vt_batch b;
        vt_err err = {0};
        if (vt_loader_next(r->loader, &b, &err) != VT_OK)
            fail_msg("%s", err.msg);
        done += b.count;
        vt_loader_release_batch(r->loader);
        if (early == 0 && done >= images / 10)
            early = vt_resident_anonymous();
    }
    now = vt_resident_anonymous();
    rig_stop(r);
    assert_int_equal(bad.count, 3);
    vt_bad_release(&bad);
    printf("%lld samples%s: %.2f MiB at a tenth, %.2f MiB at the end\n", (long long)images, cache ? ", cached" : "",
           (double)early / 1048576, (double)now / 1048576);
    return (long long)now - (long long)early;
}

/* Breaks when reading, decoding, substitutes or the cache leave something behind for each sample. */
static void test_flat_memory(void **state)
{
    const long long allowed = 1 << 20; /* an allocator's arenas settle late */
    rig r = {0};
    vt_cache *cache = NULL;
    (void)state;
    write_files();
    rig_open(&r, fx_path("files"), "[pad(4), random_crop(32), flip]");
    assert_int_equal(vt_cache_open(&cache, VT_CACHE_FILE, r.source, &r.preprocess, 2, NULL), VT_OK);
    vt_cache_start(cache, NULL);
    long long decoded = growth(&r, SANITIZED ? 20000 : is_long ? 2000000 : 100000, NULL);
    long long cached = growth(&r, SANITIZED ? 20000 : is_long ? 2000000 : 200000, cache);
    vt_cache_close(cache);
    vt_source_close(r.source);
    if (!SANITIZED)
        assert_true(decoded < allowed && cached < allowed);
}

static int clean(void **state)
{
    (void)state;
    fx_remove_dir();
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_twice),
        cmocka_unit_test(test_flat_memory),
    };
    is_long = argc > 1 && strcmp(argv[1], "long") == 0;
    return cmocka_run_group_tests(tests, NULL, clean);
}
