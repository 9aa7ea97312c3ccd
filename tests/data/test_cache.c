/* The cache of decoded pixels: the same pixels from it as without it, whatever lies in its file. */
#include "fixtures.h"
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "data/cache_file.h"

static int damaged, anew, no_room;

static void hear(void *context, vt_log_level level, const char *line)
{
    (void)context, (void)level;
    damaged += strstr(line, "are damaged") != NULL;
    anew += strstr(line, "is made anew") != NULL;
    no_room += strstr(line, "goes on without") != NULL;
}

/* 70 images of many sizes, one of them broken. */
static void write_mixed(const char *dir)
{
    for (int i = 0; i < 70; i++) {
        char name[64];
        size_t size;
        unsigned char *data = i % 2 ? fx_png(20 + i % 7, 18 + i % 11, (uint32_t)i + 1, &size)
                                    : fx_jpeg(24 + i % 5, 20 + i % 3, (uint32_t)i + 1, false, &size);
        snprintf(name, sizeof name, "%s/c%d/%02d.%s", dir, i % 3, i, i % 2 ? "png" : "jpg");
        fx_write(name, data, i == 33 ? 50 : size);
        free(data);
    }
}

typedef struct {
    rig r;
    vt_cache *cache;
    void *memory;
    vt_bad_list bad;
} scene;

static void open_scene(scene *s, vt_cache_kind kind, const char *spec, const char *list)
{
    vt_err err = {0};
    *s = (scene){.bad = {.limit = 1, .name = "max"}};
    rig_open(&s->r, spec, list);
    if (vt_cache_open(&s->cache, kind, s->r.source, &s->r.preprocess, 2, &err) != VT_OK)
        fail_msg("%s", err.msg);
    size_t bytes = (vt_cache_memory(s->cache) + VT_ARENA_ALIGN) / VT_ARENA_ALIGN * VT_ARENA_ALIGN;
    if (kind == VT_CACHE_MEMORY) {
        s->memory = aligned_alloc(VT_ARENA_ALIGN, bytes);
        memset(s->memory, 0, bytes);
    }
    vt_cache_start(s->cache, s->memory);
}

static void close_scene(scene *s)
{
    vt_cache_close(s->cache);
    vt_bad_release(&s->bad);
    free(s->memory);
    vt_source_close(s->r.source);
}

/* Three epochs through the scene. */
static void hash_scene(scene *s, int64_t count, int workers, char hex[VT_HASH_HEX])
{
    int64_t batches, samples;
    s->r.options = (vt_loader_options){.height = 16,
                                       .width = 16,
                                       .batch = 7,
                                       .end = 3 * count,
                                       .shuffle = true,
                                       .seed = 2,
                                       .workers = workers,
                                       .slots = 3,
                                       .cache = s->cache,
                                       .bad = &s->bad};
    rig_hash(&s->r, hex, &batches, &samples);
}

static void hash_once(vt_cache_kind kind, const char *spec, const char *list, char hex[VT_HASH_HEX])
{
    scene s;
    open_scene(&s, kind, spec, list);
    hash_scene(&s, vt_source_count(s.r.source), 3, hex);
    close_scene(&s);
}

/* How many of the samples are kept. */
static int64_t count_kept(scene *s)
{
    vt_image image = {0};
    int64_t n = 0;
    for (int64_t i = 0; i < vt_source_count(s->r.source); i++)
        n += vt_cache_get(s->cache, i, &image);
    vt_image_release(&image);
    return n;
}

/* Path of the only file in the cache folder. */
static const char *cache_path(void)
{
    char **names;
    size_t n;
    const char *folder = fx_path("vitro/pixels");
    assert_int_equal(vt_list_dir(folder, &names, &n, NULL), VT_OK);
    assert_int_equal(n, 1);
    const char *path = fx_path("vitro/pixels/%s", names[0]);
    vt_free_names(names, n);
    return path;
}

static void empty_cache(void)
{
    const char *folder = fx_path("vitro/pixels");
    if (vt_is_dir(folder))
        assert_int_equal(vt_remove_tree(folder, NULL), VT_OK);
}

static const struct {
    const char *spec, *list;
    int64_t kept;
} cases[] = {
    {"folder", "[inception_crop(16), flip]", 69}, /* whole images of many sizes */
    {"folder", "[resize_small(18), random_crop(16), flip]", 69},
    {"folder", "[resize(20), random_crop(16), flip]", 69}, /* one size, known from the list */
    {"synthetic:shapes?classes=3&size=12&count=40", "[pad(3), random_crop(16), flip]", 40}, /* known from the source */
    {"synthetic:shapes?classes=3&size=12&count=40", "[resize(16)]", 40},                    /* nothing random */
};

static const char *spec_of(int k)
{
    return cases[k].spec[0] == 'f' ? fx_path("mixed") : cases[k].spec;
}

/* Breaks when the cache changes a byte, keeps a broken sample, or keeps nothing; first filling it, then full. */
static void test_same_bytes(void **state)
{
    (void)state;
    for (size_t k = 0; k < VT_COUNT_OF(cases); k++) {
        char plain[VT_HASH_HEX], cached[VT_HASH_HEX];
        hash_once(VT_CACHE_NONE, spec_of((int)k), cases[k].list, plain);
        empty_cache();
        for (int kind = VT_CACHE_MEMORY; kind <= VT_CACHE_FILE; kind++) {
            scene s;
            open_scene(&s, (vt_cache_kind)kind, spec_of((int)k), cases[k].list);
            assert_int_equal(count_kept(&s), 0);
            for (int workers = 1; workers <= 4; workers += 3) {
                hash_scene(&s, vt_source_count(s.r.source), workers, cached);
                assert_string_equal(cached, plain);
                assert_int_equal(count_kept(&s), cases[k].kept);
            }
            close_scene(&s);
        }
        scene s; /* another run finds the file full */
        open_scene(&s, VT_CACHE_FILE, spec_of((int)k), cases[k].list);
        assert_int_equal(count_kept(&s), cases[k].kept);
        hash_scene(&s, vt_source_count(s.r.source), 2, cached);
        assert_string_equal(cached, plain);
        close_scene(&s);
        assert_int_equal(damaged + anew + no_room, 0);
    }
}

static void flip_byte(const char *path, long at)
{
    unsigned char c;
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, at < 0 ? SEEK_END : SEEK_SET), 0);
    assert_int_equal(fread(&c, 1, 1, f), 1);
    c ^= 4;
    assert_int_equal(fseek(f, -1, SEEK_CUR), 0);
    assert_int_equal(fwrite(&c, 1, 1, f), 1);
    fclose(f);
}

/* Breaks when a damaged or truncated file is believed, ends the program, or is not mended. */
static void test_damage(void **state)
{
    struct stat st;
    char plain[VT_HASH_HEX], cached[VT_HASH_HEX];
    (void)state;
    empty_cache();
    hash_once(VT_CACHE_NONE, spec_of(0), cases[0].list, plain);
    hash_once(VT_CACHE_FILE, spec_of(0), cases[0].list, cached);
    char path[1024];
    snprintf(path, sizeof path, "%s", cache_path());
    assert_int_equal(stat(path, &st), 0);
    const long at[] = {0, 30, 90, 4096, 4096 + 8 * 40, 8192 + 4, 8192 + 200, -700};
    for (size_t k = 0; k < VT_COUNT_OF(at); k++) {
        damaged = anew = 0;
        flip_byte(path, at[k]);
        hash_once(VT_CACHE_FILE, spec_of(0), cases[0].list, cached);
        assert_string_equal(cached, plain);
        assert_int_equal(anew, at[k] >= 0 && at[k] < 8192);
        assert_int_equal(damaged, !anew);
        damaged = 0;
        hash_once(VT_CACHE_FILE, spec_of(0), cases[0].list, cached); /* mended */
        assert_int_equal(damaged, 0);
    }
    const off_t sizes[] = {0, 50, 5000, st.st_size / 2, st.st_size - 1};
    for (size_t k = 0; k < VT_COUNT_OF(sizes); k++) {
        anew = 0;
        assert_int_equal(truncate(path, sizes[k]), 0);
        hash_once(VT_CACHE_FILE, spec_of(0), cases[0].list, cached);
        assert_string_equal(cached, plain);
        assert_int_equal(anew, 1);
        assert_int_equal(stat(path, &st), 0);
    }
}

/* Breaks when a file that somebody cuts short while it is open ends the program. */
static void test_cut_while_open(void **state)
{
    scene s;
    char plain[VT_HASH_HEX], cached[VT_HASH_HEX];
    (void)state;
    hash_once(VT_CACHE_NONE, spec_of(0), cases[0].list, plain);
    open_scene(&s, VT_CACHE_FILE, spec_of(0), cases[0].list);
    assert_int_equal(truncate(cache_path(), 9000), 0);
    hash_scene(&s, vt_source_count(s.r.source), 2, cached);
    assert_string_equal(cached, plain);
    close_scene(&s);
    damaged = anew = 0;
}

/* Breaks when two processes that fill one file hinder each other, or a third finds other than their pixels. */
static void test_two_processes(void **state)
{
    char plain[VT_HASH_HEX], cached[VT_HASH_HEX];
    (void)state;
    hash_once(VT_CACHE_NONE, spec_of(1), cases[1].list, plain);
    for (int round = 0; round < 3; round++) {
        pid_t child[2];
        empty_cache();
        for (int k = 0; k < 2; k++) {
            child[k] = fork();
            if (child[k] == 0) {
                hash_once(VT_CACHE_FILE, spec_of(1), cases[1].list, cached);
                _exit(strcmp(cached, plain) != 0 || damaged + anew + no_room);
            }
        }
        for (int k = 0; k < 2; k++) {
            int status = -1;
            waitpid(child[k], &status, 0);
            assert_int_equal(status, 0);
        }
        hash_once(VT_CACHE_FILE, spec_of(1), cases[1].list, cached);
        assert_string_equal(cached, plain);
        assert_int_equal(damaged, 0);
    }
}

/* Breaks when other data of the same names, another list or another orientation get each other's pixels. */
static void test_key(void **state)
{
    char first[VT_HASH_HEX], second[VT_HASH_HEX], plain[VT_HASH_HEX];
    (void)state;
    empty_cache();
    size_t size, other_size;
    unsigned char *a = fx_png(16, 16, 1, &size), *b = fx_png(16, 16, 2, &other_size);
    size_t most = size > other_size ? size : other_size;
    unsigned char *padded = calloc(2, most);
    memcpy(padded, a, size);
    memcpy(padded + most, b, other_size);
    fx_write("one/c/i.png", padded, most);
    fx_write("two/c/i.png", padded + most, most); /* same name, same size */
    hash_once(VT_CACHE_FILE, fx_path("one"), "[flip]", first);
    hash_once(VT_CACHE_FILE, fx_path("two"), "[flip]", second);
    assert_string_not_equal(first, second);
    hash_once(VT_CACHE_FILE, fx_path("two"), "[pad(1), central_crop(16), flip]", second);
    hash_once(VT_CACHE_NONE, fx_path("two"), "[pad(1), central_crop(16), flip]", plain);
    assert_string_equal(second, plain);
    free(a);
    free(b);
    free(padded);
}

/* Breaks when a full disk ends the run instead of the cache. */
static void test_no_room(void **state)
{
    struct rlimit before, small = {20000, RLIM_INFINITY};
    char plain[VT_HASH_HEX], cached[VT_HASH_HEX];
    (void)state;
    empty_cache();
    hash_once(VT_CACHE_NONE, spec_of(0), cases[0].list, plain);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    no_room = 0;
    hash_once(VT_CACHE_FILE, spec_of(0), cases[0].list, cached);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_string_equal(cached, plain);
    assert_int_equal(no_room, 1);
    char **names;
    size_t n;
    assert_int_equal(vt_list_dir(fx_path("vitro/pixels"), &names, &n, NULL), VT_OK);
    assert_int_equal(n, 0); /* nothing half made */
    vt_free_names(names, n);
}

/* Breaks when memory is asked for beyond what is used, or images without end are kept. */
static void test_sizes(void **state)
{
    rig r = {0};
    vt_cache *cache;
    vt_err err = {0};
    (void)state;
    rig_open(&r, "synthetic:shapes?classes=3&size=12&count=40", "[pad(3), random_crop(16), flip]");
    assert_int_equal(vt_cache_open(&cache, VT_CACHE_MEMORY, r.source, &r.preprocess, 1, &err), VT_OK);
    assert_int_equal(vt_cache_memory(cache), 40 * (16 + 18 * 18 * 3 + 4));
    vt_cache_close(cache);
    vt_source_close(r.source);
    rig_open(&r, fx_path("mixed"), "[resize(20), random_crop(16)]");
    assert_int_equal(vt_cache_open(&cache, VT_CACHE_FILE, r.source, &r.preprocess, 1, &err), VT_OK);
    assert_int_equal(vt_cache_memory(cache), 0);
    assert_int_equal(vt_cache_file_bytes(cache), 4096 + 70 * (16 + 1200));
    vt_cache_close(cache);
    vt_source_close(r.source);
}

/* Breaks when whoever finds the file made by another that measured otherwise reads and writes it by its own measures.
 */
static void test_lost_race(void **state)
{
    (void)state;
    const char key[VT_HASH_HEX] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    vt_cells won = {.count = 3, .offsets = calloc(4, sizeof(uint64_t))}, lost = {.count = 3, .cell = 208};
    won.offsets[1] = 16; /* the first could not be measured */
    won.offsets[2] = 16 + 208;
    won.offsets[3] = 16 + 2 * 208;
    vt_cache_file a = {.fd = -1}, b = {.fd = -1};
    vt_image in = {0}, out = {0};
    fx_image(&in, 8, 8, 5);
    assert_int_equal(vt_cache_file_make(&a, key, &won, NULL), VT_OK);
    assert_int_equal(vt_cache_file_make(&b, key, &lost, NULL), VT_OK);
    assert_int_equal(vt_cells_room(&lost, 0), 0);
    vt_cache_file_put(&b, &lost, 1, &in);
    assert_true(vt_cache_file_get(&a, &won, 1, &out));
    assert_memory_equal(out.pixels, in.pixels, 8 * 8 * 3);
    assert_false(vt_cache_file_get(&a, &won, 2, &out) || atomic_load(&a.damaged));
    free(won.offsets);
    free(lost.offsets);
    vt_cache_file_close(&a);
    vt_cache_file_close(&b);
    vt_image_release(&in);
    vt_image_release(&out);
    empty_cache();
}

static int start(void **state)
{
    (void)state;
    vt_log_set(hear, NULL, VT_LOG_INFO);
    write_mixed("mixed");
    return 0;
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
        cmocka_unit_test(test_same_bytes),    cmocka_unit_test(test_damage),    cmocka_unit_test(test_cut_while_open),
        cmocka_unit_test(test_two_processes), cmocka_unit_test(test_key),       cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_sizes),         cmocka_unit_test(test_lost_race),
    };
    return cmocka_run_group_tests(tests, start, clean);
}
