/* See fixtures.h. */
#include "fixtures.h"

#include <stdio.h>

#include <jpeglib.h>
#include <webp/encode.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/philox.h"
#include "image/codec.h"
#include "data/source.h"
#include "data/spec.h"

static char dir[256];

const char *fx_dir(void)
{
    if (!dir[0]) {
        const char *tmp = getenv("TMPDIR");
        snprintf(dir, sizeof dir, "%s/vitro-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
        assert_non_null(mkdtemp(dir));
        setenv("XDG_CACHE_HOME", dir, 1);
    }
    return dir;
}

void fx_remove_dir(void)
{
    if (dir[0])
        assert_int_equal(vt_remove_tree(dir, NULL), VT_OK);
    dir[0] = '\0';
}

const char *fx_path(const char *fmt, ...)
{
    static char paths[16][1024];
    static int next;
    char *path = paths[next++ % 16];
    int n = snprintf(path, sizeof paths[0], "%s/", fx_dir());
    va_list args;
    va_start(args, fmt);
    vsnprintf(path + n, sizeof paths[0] - (size_t)n, fmt, args);
    va_end(args);
    return path;
}

void fx_write(const char *name, const void *data, size_t size)
{
    vt_err err = {0};
    char *path = vt_path_join(fx_dir(), name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(vt_make_dirs(path, &err), VT_OK);
    *slash = '/';
    FILE *f = fopen(path, "wb"); /* not vt_file_write, whose fsync is slow a thousand times over */
    assert_non_null(f);
    assert_int_equal(size ? fwrite(data, 1, size, f) : 0, size);
    assert_int_equal(fclose(f), 0);
    free(path);
}

const char *fx_real(const char *name)
{
    static char path[1024];
    const char *root = getenv("VITRO_DATA");
    const char *const places[] = {root ? root : "", "../shared/data", "../../shared/data",
                                  VITRO_SOURCE "/../shared/data"};
    for (size_t i = root ? 0 : 1; i < (root ? 1 : VT_COUNT_OF(places)); i++) {
        snprintf(path, sizeof path, "%s/%s", places[i], name);
        if (access(path, R_OK) == 0)
            return path;
    }
    print_message("skipped: %s is not in VITRO_DATA nor in ../shared/data\n", name);
    return NULL;
}

void fx_image(vt_image *im, int64_t width, int64_t height, uint32_t seed)
{
    assert_int_equal(vt_image_resize_buffer(im, width, height, NULL), VT_OK);
    vt_rng r = vt_rng_at(seed, VT_STREAM_TEST, 0, 0);
    uint32_t base[3] = {vt_rng_below(&r, 256), vt_rng_below(&r, 256), vt_rng_below(&r, 256)};
    for (int64_t p = 0; p < width * height; p++) {
        for (int c = 0; c < 3; c++)
            im->pixels[p * 3 + c] =
                (uint8_t)(base[c] + (uint32_t)(p % width) * 3 + (uint32_t)(p / width) * 5 + vt_rng_below(&r, 16));
    }
}

unsigned char *fx_png(int64_t width, int64_t height, uint32_t seed, size_t *size)
{
    vt_image im = {0};
    unsigned char *data = NULL;
    fx_image(&im, width, height, seed);
    assert_int_equal(vt_png_encode(&im, &data, size, NULL), VT_OK);
    vt_image_release(&im);
    return data;
}

unsigned char *fx_jpeg(int64_t width, int64_t height, uint32_t seed, bool progressive, size_t *size)
{
    return fx_jpeg_sampled(width, height, seed, progressive, 2, 2, size);
}

unsigned char *fx_jpeg_sampled(int64_t width, int64_t height, uint32_t seed, bool progressive, int across, int down,
                               size_t *size)
{
    vt_image im = {0};
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    unsigned char *data = NULL;
    unsigned long bytes = 0;
    fx_image(&im, width, height, seed);
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &data, &bytes);
    c.image_width = (JDIMENSION)width;
    c.image_height = (JDIMENSION)height;
    c.input_components = 3;
    c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c);
    c.comp_info[0].h_samp_factor = across;
    c.comp_info[0].v_samp_factor = down;
    if (progressive)
        jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < c.image_height) {
        JSAMPROW row = im.pixels + (size_t)c.next_scanline * (size_t)width * 3;
        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    vt_image_release(&im);
    *size = bytes;
    return data;
}

unsigned char *fx_webp(int64_t width, int64_t height, uint32_t seed, bool lossless, size_t *size)
{
    vt_image im = {0};
    uint8_t *encoded = NULL;
    const int w = (int)width, h = (int)height;
    fx_image(&im, width, height, seed);
    *size = lossless ? WebPEncodeLosslessRGB(im.pixels, w, h, w * 3, &encoded)
                     : WebPEncodeRGB(im.pixels, w, h, w * 3, 80, &encoded);
    assert_true(*size > 0);
    unsigned char *data = malloc(*size);
    memcpy(data, encoded, *size);
    WebPFree(encoded);
    vt_image_release(&im);
    return data;
}

unsigned char *fx_encoded(int encoding, int64_t width, int64_t height, uint32_t seed, size_t *size)
{
    if (encoding == 0)
        return fx_png(width, height, seed, size);
    if (encoding >= 3)
        return fx_webp(width, height, seed, encoding == 4, size);
    return fx_jpeg(width, height, seed, encoding == 2, size);
}

void fx_tar_checksum(vt_text *tar, size_t offset)
{
    unsigned char *block = (unsigned char *)tar->s + offset;
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += block[i];
    snprintf((char *)block + 148, 8, "%06o", sum);
}

void fx_tar_member(vt_text *tar, const char *name, char type, const void *data, size_t size)
{
    char block[512] = {0};
    size_t start = tar->len;
    memcpy(block, name, strlen(name) < 100 ? strlen(name) : 100);
    memcpy(block + 100, "0000644", 8);
    snprintf(block + 124, 12, "%011zo", size);
    block[156] = type;
    memcpy(block + 257, "ustar\00000", 8);
    vt_text_addn(tar, block, sizeof block);
    fx_tar_checksum(tar, start);
    if (size > 0)
        vt_text_addn(tar, data, size);
    memset(block, 0, sizeof block);
    vt_text_addn(tar, block, (512 - size % 512) % 512);
}

void fx_tar_end(vt_text *tar)
{
    static const char zeros[1024];
    vt_text_addn(tar, zeros, sizeof zeros);
}

vt_source *fx_open(const char *fmt, ...)
{
    char spec[VT_MAX_SPEC + 1];
    va_list args;
    va_start(args, fmt);
    vsnprintf(spec, sizeof spec, fmt, args);
    va_end(args);
    vt_source *s;
    vt_err err = {0};
    if (vt_source_open(&s, spec, &err) != VT_OK)
        fail_msg("%s: %s", spec, err.msg);
    assert_string_equal(vt_source_spec(s), spec);
    return s;
}

void fx_open_fails(const char *spec, vt_status code, ...)
{
    vt_source *s = NULL;
    vt_err err = {0};
    vt_status status = vt_source_open(&s, spec, &err);
    if (status == VT_OK)
        fail_msg("%s was opened", spec);
    assert_null(s);
    va_list words;
    va_start(words, code);
    for (const char *word; (word = va_arg(words, const char *)) != NULL;) {
        if (!strstr(err.msg, word))
            fail_msg("'%s' is not in the message: %s", word, err.msg);
    }
    va_end(words);
    if (status != code || err.code != code)
        fail_msg("status %d, expected %d: %s", (int)status, (int)code, err.msg);
    assert_int_equal(vt_source_open(&s, spec, NULL), code); /* err may be NULL */
}
