/* Splits that never leak: images with the same bytes stay together, and nothing else changes. */
#include "fixtures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "data/source.h"
#include "data/twins.h"

typedef struct {
    char hash[VT_HASH_HEX], name[128];
    int part;
} stored;

static int compare_stored(const void *a, const void *b)
{
    return strcmp(((const stored *)a)->hash, ((const stored *)b)->hash);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const stored *)a)->name, ((const stored *)b)->name);
}

/* Adds name and hash of every sample's bytes. */
static int64_t list_stored(const vt_source *s, int part, stored *list, int64_t n)
{
    vt_read_buffer b = {0};
    for (int64_t i = 0; i < vt_source_count(s); i++) {
        assert_int_equal(vt_source_fetch(s, i, &b, NULL), VT_OK);
        if (b.encoded)
            vt_hash_bytes(b.bytes, b.size, list[n].hash);
        else
            vt_hash_bytes(b.image.pixels, (size_t)(b.image.width * b.image.height * 3), list[n].hash);
        vt_source_sample_name(s, i, list[n].name, sizeof list[n].name);
        list[n++].part = part;
    }
    vt_read_buffer_release(&b);
    return n;
}

/* The parts must hold all n samples once, and no bytes in two of them. Returns how many samples repeat another. */
static int64_t check_parts(const char *place, const char *const *splits, int n_splits, int64_t n)
{
    stored *list = calloc((size_t)n + 1, sizeof *list);
    int64_t have = 0, repeats = 0;
    for (int k = 0; k < n_splits; k++) {
        vt_source *s = fx_open("%s?split=[%s]", place, splits[k]);
        assert_true(have + vt_source_count(s) <= n);
        have = list_stored(s, k, list, have);
        vt_source_close(s);
    }
    assert_int_equal(have, n);
    qsort(list, (size_t)n, sizeof *list, compare_stored);
    for (int64_t i = 1; i < n; i++) {
        bool same = strcmp(list[i].hash, list[i - 1].hash) == 0;
        if (same && list[i].part != list[i - 1].part)
            fail_msg("%s and %s have the same bytes", list[i].name, list[i - 1].name);
        repeats += same;
    }
    qsort(list, (size_t)n, sizeof *list, compare_names);
    for (int64_t i = 1; i < n; i++)
        assert_string_not_equal(list[i].name, list[i - 1].name);
    free(list);
    return repeats;
}

/* Two classes, each image's bytes by `content`. */
static void write_image(int class, int i, uint32_t content)
{
    size_t size;
    char name[64];
    unsigned char *png = fx_png(4, 4, content, &size);
    snprintf(name, sizeof name, "t/%s/%03d.png", class ? "dog" : "cat", i);
    fx_write(name, png, size);
    free(png);
}

static const char *const tenths[] = {":10%",    "10%:20%", "20%:30%", "30%:40%", "40%:50%",
                                     "50%:60%", "60%:70%", "70%:80%", "80%:90%", "90%:"};

/* Breaks when images with the same bytes come into two parts, are lost, or pull others with them. */
static void test_twins_stay_together(void **state)
{
    enum { N = 100 };
    for (int class = 0; class < 2; class ++) {
        for (int i = 0; i < N; i++)
            write_image(class, i, (uint32_t)(class * N + i + 1));
    }
    static const char *const halves[] = {":50%", "50%:"};
    assert_int_equal(check_parts(fx_path("t"), tenths, 10, 2 * N), 0);
    vt_source *before = fx_open("%s?split=[:50%%]", fx_path("t"));
    assert_int_equal(vt_source_count(before), N);
    for (int i = 0; i < 30; i += 2)
        write_image(0, i, (uint32_t)i + 2); /* cat i and i + 1 are twins */
    for (int i = 40; i < 44; i++)
        write_image(1, i, 41); /* dogs 40 to 43 are cat 40 */
    assert_int_equal(check_parts(fx_path("t"), tenths, 10, 2 * N), 19);
    assert_int_equal(check_parts(fx_path("t"), halves, 2, 2 * N), 19);
    vt_source *after = fx_open("%s?split=[:50%%]", fx_path("t"));
    assert_in_range(vt_source_count(after), N, N + 4);
    int64_t counts[2], same = 0;
    vt_source_class_counts(after, counts);
    assert_in_range(counts[0], 42, 58);
    for (int64_t i = 0; i < vt_source_count(before); i++) {
        char x[64], y[64];
        vt_source_sample_name(before, i, x, sizeof x);
        for (int64_t k = 0; k < vt_source_count(after); k++)
            same += strcmp(x, vt_source_sample_name(after, k, y, sizeof y)) == 0;
    }
    assert_true(same > 80); /* the order is that without twins, but for them */
    vt_source_close(before);
    vt_source_close(after);
}

/* Breaks when limits within a split are not nested. */
static void test_nested_limits(void **state)
{
    bool before[200] = {false};
    for (int limit = 5; limit <= 60; limit += 5) {
        bool now[200] = {false};
        vt_source *s = fx_open("%s?split=[30%%:70%%]&limit=%d", fx_path("t"), limit);
        assert_int_equal(vt_source_count(s), limit);
        for (int64_t i = 0; i < limit; i++) {
            char name[64];
            vt_source_sample_name(s, i, name, sizeof name);
            now[(name[0] == 'd' ? 100 : 0) + strtol(name + 4, NULL, 10)] = true;
        }
        for (int i = 0; i < 200; i++)
            assert_true(now[i] || !before[i]);
        memcpy(before, now, sizeof before);
        vt_source_close(s);
    }
}

/* Breaks when one image in all files makes a split that is empty, or a file that cannot be read fails it. */
static void test_extremes(void **state)
{
    char spec[512];
    for (int i = 0; i < 6; i++) {
        char name[64];
        snprintf(name, sizeof name, "same/cat/%d.png", i);
        fx_write(name, "no image, but the same bytes", 28);
    }
    vt_source *s = fx_open("%s?split=[:50%%]", fx_path("same"));
    assert_int_equal(vt_source_count(s), 6);
    vt_source_close(s);
    snprintf(spec, sizeof spec, "%s?split=[50%%:]", fx_path("same"));
    fx_open_fails(spec, VT_EINVAL, "none of the samples", "same bytes", NULL);
}

/* Breaks when large files are taken for equal because their ends are, or equal ones are parted. */
static void test_equal_ends(void **state)
{
    enum { N = 8, BYTES = 20000 };
    char *content = calloc(BYTES, 1);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < N; i++) {
            char name[64];
            content[0] = (char)(k ? i / 2 : i); /* all the rest is the same */
            snprintf(name, sizeof name, "%s/cat/%d.png", k ? "pairs" : "ends", i);
            fx_write(name, content, BYTES);
        }
    }
    free(content);
    vt_source *s = fx_open("%s?split=[:50%%]", fx_path("ends"));
    assert_int_equal(vt_source_count(s), N / 2);
    vt_source_close(s);
    static const char *const parts[] = {":30%", "30%:60%", "60%:"};
    assert_int_equal(check_parts(fx_path("ends"), parts, 3, N), 0);
    assert_int_equal(check_parts(fx_path("pairs"), parts, 3, N), N / 2);
}

/* Breaks when what the cache tells about equal images is trusted though it is damaged or a file changed. */
static void test_cached_twins(void **state)
{
    enum { N = 1200 };
    char name[64], content[32];
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "c/%s/%04d.png", i % 2 ? "dog" : "cat", i);
        snprintf(content, sizeof content, "%08d", i % 1100); /* the last hundred repeat the first */
        fx_write(name, content, 8);
    }
    assert_int_equal(check_parts(fx_path("c"), tenths, 10, N), 100);
    char **lists;
    size_t n;
    assert_int_equal(vt_list_dir(fx_path("vitro/twins"), &lists, &n, NULL), VT_OK);
    assert_int_equal(n, 1);
    char list[512];
    snprintf(list, sizeof list, "%s/%s", fx_path("vitro/twins"), lists[0]);
    vt_free_names(lists, n);
    unsigned char *data;
    size_t size;
    assert_int_equal(vt_file_read(list, 1 << 20, &data, &size, NULL), VT_OK);
    for (size_t at = 3; at < size; at += size / 3) {
        data[at] ^= 1;
        assert_int_equal(vt_file_write(list, data, size, NULL), VT_OK);
        data[at] ^= 1;
        static const char *const halves[] = {":50%", "50%:"};
        assert_int_equal(check_parts(fx_path("c"), halves, 2, N), 100);
    }
    free(data);
    assert_int_equal(unlink(fx_path("c/cat/0000.png")), 0);
    fx_write("c/cat/0000.png", "00000001", 8); /* the same size, other bytes: now like dog/0001 */
    assert_int_equal(check_parts(fx_path("c"), tenths, 10, N), 100);
}

static bool unreadable;
static int said;

static int64_t same_size(const vt_collection *c, int64_t i)
{
    (void)c, (void)i;
    return 8;
}

/* Every sample like its neighbour; for a while number 10 cannot be read. */
static vt_status fetch_pairs(const vt_collection *c, int64_t i, vt_read_buffer *b, vt_err *err)
{
    (void)c;
    if (unreadable && i == 10)
        return vt_fail(err, VT_EIO, "away");
    VT_TRY(vt_read_buffer_reserve(b, 8, err));
    memset(b->bytes, 0, 8);
    memcpy(b->bytes, &(int32_t){(int32_t)(i / 2)}, sizeof(int32_t));
    return VT_OK;
}

static void hear(void *context, vt_log_level level, const char *line)
{
    (void)context, (void)level;
    said += strstr(line, "1 images could not be read to be compared") != NULL;
}

/* Breaks when a failure that passes is kept: the image and its twin would stand on both sides of a split for good. */
static void test_unread_twins(void **state)
{
    enum { N = 1200 };
    const vt_collection_kind kind = {.name = "pairs", .stored_bytes = same_size, .fetch = fetch_pairs};
    const vt_collection c = {.count = N, .classes = 1};
    (void)state;
    vt_log_set(hear, NULL, VT_LOG_INFO);
    for (int k = 0; k < 2; k++) {
        uint32_t *first = NULL;
        unreadable = k == 0;
        assert_int_equal(vt_twins_find(&kind, &c, &first, NULL), VT_OK);
        assert_int_equal(first[11], unreadable ? 11 : 10);
        assert_int_equal(first[13], 12);
        free(first);
    }
    assert_int_equal(said, 1);
    vt_log_set(NULL, NULL, VT_LOG_INFO);
}

/* Breaks when the repeats inside a real set are parted. */
static void test_real_repeats(void **state)
{
    const char *shard = fx_real("imagenet200-32-train-00.tar.gz");
    if (!shard)
        skip();
    char place[1024];
    snprintf(place, sizeof place, "wds:%.*s{00,01}.tar.gz", (int)(strlen(shard) - strlen("00.tar.gz")), shard);
    static const char *const halves[] = {":37%", "37%:"};
    assert_int_equal(check_parts(place, halves, 2, 50000), 5);
}

static int clean(void **state)
{
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twins_stay_together),
        cmocka_unit_test(test_nested_limits),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_cached_twins),
        cmocka_unit_test(test_unread_twins),
        cmocka_unit_test(test_equal_ends),
        cmocka_unit_test(test_real_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
