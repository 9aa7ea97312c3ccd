/* safetensors: what is written is read back bit by bit, and a file that lies is refused with a sentence, never
 * believed. */
#include "scene.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/philox.h"
#include "base/text.h"
#include "train/safetensors.h"

static scene here;
static vt_device device;

static int set_up(void **state)
{
    (void)state;
    scene_make(&here);
    vt_device_init(&device);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vt_device_release(&device);
    scene_remove(&here);
    return 0;
}

static vt_stored_tensor tensor(vt_arena *arena, const char *name, vt_dtype dtype, int64_t rows, int64_t cols)
{
    vt_stored_tensor t = {.dtype = dtype, .n_dims = 2, .dims = {rows, cols}, .count = rows * cols};
    strcpy(t.name, name);
    t.data = vt_arena_take(arena, t.count, dtype == VT_DTYPE_F32 ? 4 : 2);
    return t;
}

/* A file written by hand: header text and data bytes. */
static const char *write_file(const char *header, uint64_t claimed, size_t data_bytes)
{
    vt_text text = {0};
    const char *path = scene_path(&here, "hand.safetensors");
    vt_text_addn(&text, (const char *)&claimed, sizeof claimed);
    vt_text_add(&text, header);
    for (size_t i = 0; i < data_bytes; i++)
        vt_text_addn(&text, "\0", 1);
    assert_int_equal(vt_file_write(path, text.s, text.len, NULL), VT_OK);
    vt_text_release(&text);
    return path;
}

/* Breaks when a byte, a shape or a type is lost on the way; sizes around the staging buffer. */
static void round_trip(void **state)
{
    char hex[VT_HASH_HEX], file_hex[VT_HASH_HEX];
    int64_t bytes = 0;
    vt_arena arena;
    vt_err err = {0};
    (void)state;
    assert_int_equal(vt_device_arena(&device, (size_t)4 << 20, "test", &arena, &err), VT_OK);
    vt_stored_tensor out[2] = {tensor(&arena, "a.weight", VT_DTYPE_F32, 517, 509),
                               tensor(&arena, "b", VT_DTYPE_BF16, 3, 5)};
    float *values = vt_xmalloc((size_t)out[0].count * sizeof *values);
    for (int64_t i = 0; i < out[0].count; i++)
        values[i] = (float)i * 0.37F - 11.0F;
    vt_device_write(&device, out[0].data, values, (size_t)out[0].count * sizeof *values);
    vt_device_write(&device, out[1].data, "0123456789abcdefghijklmnopqrst", 30);
    const char *path = scene_path(&here, "trip.safetensors");
    assert_int_equal(vt_safetensors_save(path, &device, out, 2, hex, &bytes, &err), VT_OK);
    assert_int_equal(vt_hash_file(path, file_hex, &err), VT_OK);
    assert_string_equal(hex, file_hex);

    vt_stored_tensor in[2] = {tensor(&arena, "a.weight", VT_DTYPE_F32, 517, 509),
                              tensor(&arena, "b", VT_DTYPE_BF16, 3, 5)};
    assert_int_equal(vt_safetensors_load(path, &device, in, 2, &err), VT_OK);
    float *read = vt_xmalloc((size_t)in[0].count * sizeof *read);
    char text[31] = {0};
    vt_device_read(&device, read, in[0].data, (size_t)in[0].count * sizeof *read);
    vt_device_read(&device, text, in[1].data, 30);
    assert_memory_equal(values, read, (size_t)in[0].count * sizeof *read);
    assert_string_equal(text, "0123456789abcdefghijklmnopqrst");
    free(read);
    free(values);
}

static void expect_refused(const char *path, const char *words)
{
    vt_arena arena;
    vt_err err = {0};
    assert_int_equal(vt_device_arena(&device, 4096, "test", &arena, &err), VT_OK);
    vt_stored_tensor t = tensor(&arena, "w", VT_DTYPE_F32, 2, 3);
    assert_int_not_equal(vt_safetensors_load(path, &device, &t, 1, &err), VT_OK);
    if (!strstr(err.msg, words))
        fail_msg("expected \"%s\" in: %s", words, err.msg);
    vt_device_release(&device);
    vt_device_init(&device);
}

#define GOOD "{\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}"

/* Breaks when a length, an offset, a type or a shape in the file is believed unchecked. */
static void lies_are_refused(void **state)
{
    (void)state;
    expect_refused(scene_path(&here, "absent.safetensors"), "cannot open");
    expect_refused(write_file("", 0, 0), "hand.safetensors");
    expect_refused(write_file(GOOD, (uint64_t)1 << 60, 24), "header claims");
    expect_refused(write_file("[1,2]", 5, 24), "not a JSON object");
    expect_refused(write_file("{\"w\":", 5, 24), "hand.safetensors");
    expect_refused(write_file(GOOD, strlen(GOOD), 20), "cut or broken");
    expect_refused(write_file("{\"v\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", strlen(GOOD), 24),
                   "tensor w is missing");
    expect_refused(write_file("{\"w\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", strlen(GOOD), 24),
                   "type F16; expected F32");
    expect_refused(write_file("{\"w\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[0,24]}}", strlen(GOOD), 24),
                   "3 x 2");
    expect_refused(write_file("{\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,24]}}", strlen(GOOD), 24),
                   "cannot be");
    expect_refused(
        write_file("{\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[-9,15]}}", strlen(GOOD) + 1, 24),
        "cannot be");
    const char *more = "{\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},\"x\":{}}";
    expect_refused(write_file(more, strlen(more), 24), "tensor x has no place");
}

/* Breaks (under the sanitizers) when a damaged header reads or writes where it must not. */
static void random_damage(void **state)
{
    vt_rng rng = vt_rng_at(3, VT_STREAM_TEST, 1, 0);
    (void)state;
    for (int i = 0; i < 500; i++) {
        char header[] = GOOD;
        for (uint32_t n = 1 + vt_rng_below(&rng, 3); n > 0; n--)
            header[vt_rng_below(&rng, sizeof header - 1)] = (char)(1 + vt_rng_below(&rng, 255));
        const char *path = write_file(header, strlen(header), 24);
        vt_arena arena;
        assert_int_equal(vt_device_arena(&device, 4096, "test", &arena, NULL), VT_OK);
        vt_stored_tensor t = tensor(&arena, "w", VT_DTYPE_F32, 2, 3);
        (void)!vt_safetensors_load(path, &device, &t, 1, NULL);
        vt_device_release(&device);
        vt_device_init(&device);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(lies_are_refused),
                                       cmocka_unit_test(random_damage)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
