/* Decoders: agreement with Pillow on hard files, round trips, limits, and no crash on damaged files. */
#include "fixtures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/philox.h"
#include "image/codec.h"
#include "data/tar.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Sanitizers map memory of their own, and are slow. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* Files on which this program and the manifest (Pillow 13) part, each with its reason. */
static const struct {
    const char *file, *reason;
} differences[] = {
    {"gen__gray16_ramp.png", "16-bit grey: Pillow clips to 255, here the high byte is kept"},
    {"libpng__ibasn0g16.png", "16-bit grey: Pillow clips to 255, here the high byte is kept"},
    {"pil__i_trns.png", "16-bit grey: Pillow clips to 255, here the high byte is kept"},
    {"gen__badfilter.png", "a filter that does not exist; Pillow 9 refuses it, too"},
    {"gen__flip_idat.png", "damaged image data; Pillow 9 refuses it, too"},
    {"libpng__badadler.png", "a wrong checksum of the image data; Pillow 9 refuses it, too"},
    {"libpng__huge_IDAT.png", "the image's chunk runs past the end of the file: truncated"},
    {"gen__nopalette.png", "indices without a palette have no colours; Pillow invents greys"},
    {"libpng__empty_ancillary_chunks.png", "only metadata are broken, which are not read here"},
};

static bool known_difference(const char *file)
{
    for (size_t i = 0; i < VT_COUNT_OF(differences); i++) {
        if (strcmp(differences[i].file, file) == 0)
            return true;
    }
    return false;
}

/* The columns of the manifest that are used; the quotes of its csv need care only for commas. */
typedef struct {
    char file[128], format[16], mode[16], hash[VT_HASH_HEX];
    bool ok, stable;
} manifest_row;

static bool next_field(char **at, char *out, size_t size)
{
    char *s = *at;
    size_t n = 0;
    bool quoted = *s == '"';
    s += quoted;
    while (*s && *s != '\n' && (quoted ? *s != '"' : *s != ',')) {
        if (n + 1 < size)
            out[n++] = *s;
        s++;
    }
    out[n] = '\0';
    s += quoted && *s == '"';
    bool more = *s == ',';
    *at = s + (*s != '\0');
    return more;
}

static void parse_row(char **at, manifest_row *row)
{
    char field[512];
    for (int i = 0;; i++) {
        bool more = next_field(at, field, sizeof field);
        if (i == 0)
            snprintf(row->file, sizeof row->file, "%.127s", field);
        else if (i == 3)
            row->ok = strcmp(field, "ok") == 0;
        else if (i == 4)
            snprintf(row->format, sizeof row->format, "%.15s", field);
        else if (i == 7)
            snprintf(row->mode, sizeof row->mode, "%.15s", field);
        else if (i == 13)
            row->stable = strcmp(field, "yes") == 0;
        else if (i == 11)
            snprintf(row->hash, sizeof row->hash, "%.64s", field);
        if (!more)
            return;
    }
}

static manifest_row *load_manifest(const char *path, size_t *n)
{
    unsigned char *text;
    size_t size;
    assert_int_equal(vt_file_read(path, 1u << 20, &text, &size, NULL), VT_OK);
    manifest_row *rows = vt_xcalloc(400, sizeof *rows);
    char *at = (char *)text;
    *n = 0;
    parse_row(&at, &rows[0]);
    while (*at && *n < 400)
        parse_row(&at, &rows[(*n)++]);
    free(text);
    return rows;
}

/* A file that has to agree: JPEG, PNG, WebP or MPO (where Pillow found no format: by its name), judged alike by two
 * versions of Pillow, and not 16-bit grey, where the manifest holds Pillow's habit. */
static bool must_agree(const manifest_row *row)
{
    static const char *const formats[] = {"JPEG", "PNG", "WEBP", "MPO"};
    bool ours = row->format[0] == '\0' && (vt_image_has_suffix(row->file) || strstr(row->file, ".mpo"));
    for (size_t i = 0; i < VT_COUNT_OF(formats); i++)
        ours = ours || strcmp(row->format, formats[i]) == 0;
    return ours && row->stable && row->mode[0] != 'I';
}

/* Whether the decoder does what the manifest asks for. */
static bool agrees(const manifest_row *row, const unsigned char *data, size_t size, char *said, size_t said_size)
{
    static vt_image im;
    vt_err err = {0};
    char hex[VT_HASH_HEX] = "";
    bool ours = strcmp(row->format, "JPEG") == 0 || strcmp(row->format, "PNG") == 0 ||
                strcmp(row->format, "MPO") == 0 || strcmp(row->format, "WEBP") == 0;
    vt_status status = vt_image_decode(&im, data, size, row->file, &err);
    if (status == VT_OK)
        vt_hash_bytes(im.pixels, (size_t)(im.width * im.height * 3), hex);
    else
        assert_non_null(strstr(err.msg, row->file));
    snprintf(said, said_size, "%s", status == VT_OK ? hex : err.msg);
    vt_image_release(&im);
    if (ours && row->ok)
        return status == VT_OK && strcmp(hex, row->hash) == 0;
    return status != VT_OK;
}

/* Lets this process map so many bytes more; returns the limit that was. Half of what a decoder and its image may take
 * by the limits of image.h and codec.h is enough for every hard image, one of 100 megapixels among them. */
static struct rlimit limit_memory(size_t more)
{
    struct rlimit old, new;
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    if (f && fscanf(f, "%lu", &pages) == 1 && !SANITIZED) {
        new = old;
        new.rlim_cur = (rlim_t)pages *(rlim_t)sysconf(_SC_PAGESIZE) + more;
        assert_int_equal(setrlimit(RLIMIT_AS, &new), 0);
    }
    if (f)
        fclose(f);
    return old;
}

/* Breaks when a decoder gives other pixels than Pillow, accepts a broken file, refuses a good one, or takes memory that
 * a header asks for. */
static void test_hard_images(void **state)
{
    const char *path = fx_real("hard-images.manifest.csv");
    if (!path)
        skip();
    size_t n, met = 0, parted = 0, judged = 0, agreed = 0;
    manifest_row *rows = load_manifest(path, &n);
    path = fx_real("hard-images.tar");
    assert_non_null(path);
    struct stat st;
    int fd = open(path, O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    const struct rlimit before = limit_memory((VT_DECODER_BYTES + (size_t)VT_MAX_PIXELS * 3) / 2);
    vt_tar tar;
    vt_tar_init(&tar, fd, path, (int64_t)st.st_size);
    for (;;) {
        vt_tar_member m;
        bool end;
        char said[1024];
        assert_int_equal(vt_tar_next(&tar, &m, &end, NULL), VT_OK);
        if (end)
            break;
        const manifest_row *row = NULL;
        for (size_t i = 0; i < n && !row; i++)
            row = strcmp(rows[i].file, vt_path_base(m.name)) == 0 ? &rows[i] : NULL;
        assert_non_null(row);
        if (SANITIZED && strstr(row->file, "bomb_10000")) {
            met++;
            continue; /* 100 megapixels: seconds */
        }
        unsigned char *data = malloc((size_t)m.size + (m.size == 0)); /* exact, so that a sanitizer sees reads beyond */
        assert_int_equal(vt_file_read_at(fd, path, m.offset, data, (size_t)m.size, NULL), VT_OK);
        bool same = agrees(row, data, (size_t)m.size, said, sizeof said);
        if (same == known_difference(row->file))
            fail_msg("%s: %s, but %s", row->file, same ? "agrees with Pillow" : said,
                     same      ? "is listed as different"
                     : row->ok ? row->hash
                               : "Pillow refuses it");
        parted += !same;
        met++;
        judged += must_agree(row);
        agreed += must_agree(row) && same;
        free(data);
    }
    assert_int_equal(parted, VT_COUNT_OF(differences));
    assert_int_equal(met, n);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    print_message("hard images: %zu of %zu that must agree with the manifest do\n", agreed, judged);
    assert_true(judged > 200 && agreed * 100 >= judged * 98);
    vt_tar_release(&tar);
    close(fd);
    free(rows);
}

/* Breaks when the PNG that is written is not read back as the same pixels. */
static void test_png_round_trip(void **state)
{
    vt_image in = {0}, out = {0};
    size_t size;
    for (uint32_t k = 0; k < 4; k++) {
        int64_t width = 1 + 13 * k, height = 1 + 7 * k, w, h;
        fx_image(&in, width, height, k);
        unsigned char *png;
        const char *path = fx_path("%u.png", k);
        assert_int_equal(vt_image_write_png(&in, path, NULL), VT_OK);
        assert_int_equal(vt_file_read(path, 1u << 20, &png, &size, NULL), VT_OK);
        assert_int_equal(vt_image_decode(&out, png, size, "x.png", NULL), VT_OK);
        assert_int_equal(vt_image_probe(png, size, "x.png", &w, &h, NULL), VT_OK);
        assert_true(w == width && h == height && out.width == width && out.height == height);
        assert_memory_equal(in.pixels, out.pixels, (size_t)(width * height * 3));
        free(png);
    }
    vt_image_release(&in);
    vt_image_release(&out);
}

/* Breaks when a file that was cut anywhere decodes as if it were whole, or ends in no sentence. */
static void test_every_cut_is_an_error(void **state)
{
    vt_image im = {0};
    for (int kind = 0; kind < FX_ENCODINGS; kind++) {
        static const size_t unneeded[FX_ENCODINGS] = {16, 12, 2, 0, 0};
        size_t size;
        unsigned char *data = fx_encoded(kind, 40, 30, 1, &size);
        /* the IEND chunk and the end marker are not needed for pixels; baseline JPEG may look ahead a few bytes */
        size_t needed = size - unneeded[kind];
        assert_int_equal(vt_image_decode(&im, data, size, "x", NULL), VT_OK);
        for (size_t cut = 0; cut < needed; cut++) {
            vt_err err = {0};
            unsigned char *part = malloc(cut + (cut == 0));
            memcpy(part, data, cut);
            if (vt_image_decode(&im, part, cut, "x", &err) == VT_OK)
                fail_msg("kind %d cut to %zu of %zu bytes decodes", kind, cut, size);
            assert_true(strncmp(err.msg, "x: ", 3) == 0 && strlen(err.msg) > 10);
            free(part);
        }
        free(data);
    }
    vt_image_release(&im);
}

/* Breaks when an image above the limits is decoded or takes memory. */
static void test_limits(void **state)
{
    vt_image im = {0};
    vt_err err = {0};
    size_t size;
    unsigned char *data = fx_jpeg(16, 16, 0, false, &size);
    size_t sof = 0;
    for (size_t i = 0; i + 9 < size && !sof; i++)
        sof = data[i] == 0xff && data[i + 1] == 0xc0 ? i : 0;
    memset(data + sof + 5, 0xfd, 4); /* height and width: 65021 x 65021 */
    assert_int_equal(vt_image_decode(&im, data, size, "big.jpg", &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "65021 x 65021"));
    assert_null(im.pixels);
    free(data);
    data = fx_jpeg(16, 16, 0, true, &size); /* progressive, without subsampling: coefficients of 1 GB */
    for (size_t i = 0; i + 9 < size; i++)
        sof = data[i] == 0xff && data[i + 1] == 0xc2 ? i : sof;
    memcpy(data + sof + 5, (uint8_t[]){13000 >> 8, 13000 & 255, 13000 >> 8, 13000 & 255}, 4);
    data[sof + 11] = 0x11;
    assert_int_equal(vt_image_decode(&im, data, size, "big.jpg", &err), VT_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "13000 x 13000 pixels takes more than 640 MiB"));
    free(data);
    vt_image_release(&im);
    assert_int_equal(vt_image_resize_buffer(&im, VT_MAX_SIDE + 1, 1, &err), VT_EFORMAT);
    assert_int_equal(vt_image_resize_buffer(&im, 0, 1, &err), VT_EFORMAT);
    assert_int_equal(vt_image_resize_buffer(&im, INT64_MAX, INT64_MAX, &err), VT_EFORMAT);
    assert_int_equal(vt_image_resize_buffer(&im, 20000, 20000, &err), VT_EFORMAT);
}

/* A WebP of one lossless chunk that declares a size, and has no pixels. */
static void declare_webp(unsigned char out[30], uint32_t width, uint32_t height)
{
    const uint32_t sides = (width - 1) | (height - 1) << 14;
    memcpy(out, "RIFF\26\0\0\0WEBPVP8L\12\0\0\0\57\0\0\0\0\0\0\0\0\0", 30);
    for (int i = 0; i < 4; i++)
        out[21 + i] = (unsigned char)(sides >> 8 * i);
}

/* Breaks when a WebP that declares more than the limits is decoded or takes memory, or is taken for a machine without
 * memory, which ends a run whatever data.max_bad allows. */
static void test_webp_limits(void **state)
{
    vt_image im = {0};
    vt_err err = {0};
    unsigned char data[30];
    declare_webp(data, 16384, 16384);
    assert_int_equal(vt_image_decode(&im, data, sizeof data, "big.webp", &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "16384 x 16384"));
    declare_webp(data, 13500, 13200);
    assert_int_equal(vt_image_decode(&im, data, sizeof data, "big.webp", &err), VT_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "13500 x 13200 pixels takes more than 640 MiB"));
    assert_null(im.pixels);
    declare_webp(data, 20, 10);
    assert_int_equal(vt_image_decode(&im, data, sizeof data, "empty.webp", &err), VT_EFORMAT);
    vt_image_release(&im);
}

/* Breaks when a WebP of millions of tiny chunks makes its reader note each one. */
static void test_webp_chunks(void **state)
{
    vt_image im = {0};
    vt_err err = {0};
    const size_t chunks = 200000, size = 12 + 18 + 8 * chunks;
    unsigned char *data = calloc(1, size);
    memcpy(data, "RIFF\0\0\0\0WEBPVP8X\12\0\0\0", 20);
    for (size_t i = 0; i < 4; i++)
        data[4 + i] = (unsigned char)((size - 8) >> 8 * i);
    for (size_t i = 0; i < chunks; i++)
        memcpy(data + 30 + 8 * i, "abcd", 4);
    assert_int_equal(vt_image_decode(&im, data, size, "chunks.webp", &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "more than 131072 chunks"));
    free(data);
}

/* Breaks when a progressive file may ask for any number of passes over its image (a decoder that hangs). */
static void test_too_many_scans(void **state)
{
    size_t size, scan = 0;
    vt_image im = {0};
    vt_err err = {0};
    unsigned char *data = fx_jpeg(64, 64, 0, true, &size);
    for (size_t i = 2; i + 1 < size; i++)
        scan = data[i] == 0xff && data[i + 1] == 0xda ? i : scan; /* the last scan */
    vt_text file = {0};
    vt_text_addn(&file, (const char *)data, size - 2);
    for (int k = 0; k < 1500; k++)
        vt_text_addn(&file, (const char *)data + scan, size - 2 - scan);
    vt_text_addn(&file, "\xff\xd9", 2);
    assert_int_equal(vt_image_decode(&im, file.s, file.len, "scans.jpg", &err), VT_EFORMAT);
    assert_non_null(strstr(err.msg, "scans"));
    vt_text_release(&file);
    vt_image_release(&im);
    free(data);
}

/* Breaks when other formats are taken for damage, or named wrongly. */
static void test_other_formats(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        vt_status code;
        const char *word;
    } cases[] = {
        {"GIF89a......", 12, VT_EUNSUPPORTED, "GIF"},      {"RIFF....WEBPVP8 ", 16, VT_EFORMAT, "WebP"},
        {"BM..........", 12, VT_EUNSUPPORTED, "BMP"},      {"<html></html>", 13, VT_EUNSUPPORTED, "HTML"},
        {"....ftypavif", 12, VT_EUNSUPPORTED, "AVIF"},     {"", 0, VT_EFORMAT, "empty"},
        {"hello world!", 12, VT_EFORMAT, "neither"},       {"\xff\xd8\xff", 3, VT_EFORMAT, "truncated"},
        {"\x89PNG\r\n\x1a\n", 8, VT_EFORMAT, "truncated"},
    };
    vt_image im = {0};
    for (size_t i = 0; i < VT_COUNT_OF(cases); i++) {
        vt_err err = {0};
        int64_t w, h;
        assert_int_equal(vt_image_decode(&im, cases[i].bytes, cases[i].size, "f", &err), cases[i].code);
        if (!strstr(err.msg, cases[i].word))
            fail_msg("'%s' is not in: %s", cases[i].word, err.msg);
        assert_int_equal(vt_image_probe(cases[i].bytes, cases[i].size, "f", &w, &h, NULL), cases[i].code);
    }
    vt_image_release(&im);
}

/* Breaks (under sanitizers) when a damaged file makes a decoder read or write out of bounds. */
static void test_damaged_files(void **state)
{
    vt_image im = {0};
    vt_rng r = vt_rng_at(7, VT_STREAM_TEST, 1, 0);
    for (int kind = 0; kind < FX_ENCODINGS; kind++) {
        size_t size;
        unsigned char *data = fx_encoded(kind, 33, 21, 3, &size);
        for (int round = 0; round < 300; round++) {
            unsigned char *copy = malloc(size);
            memcpy(copy, data, size);
            int changes = 1 + (int)vt_rng_below(&r, 6);
            for (int k = 0; k < changes; k++)
                copy[vt_rng_below(&r, (uint32_t)(round % 2    ? size
                                                 : size < 700 ? size
                                                              : 700))] = (uint8_t)vt_rng_u32(&r);
            vt_err err = {0};
            if (vt_image_decode(&im, copy, size, "damaged", &err) != VT_OK)
                assert_true(strlen(err.msg) > 10);
            free(copy);
        }
        free(data);
    }
    vt_image_release(&im);
}

static int clean(void **state)
{
    fx_remove_dir();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hard_images),           cmocka_unit_test(test_png_round_trip),
        cmocka_unit_test(test_every_cut_is_an_error), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_webp_limits),           cmocka_unit_test(test_webp_chunks),
        cmocka_unit_test(test_too_many_scans),        cmocka_unit_test(test_other_formats),
        cmocka_unit_test(test_damaged_files),
    };
    return cmocka_run_group_tests(tests, NULL, clean);
}
