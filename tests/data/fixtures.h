/* What the tests of data/ share: a temporary folder, files and tar archives written into it, small images, and the
 * place of the real data (VITRO_DATA, or ../shared/data beside the project). */
#ifndef VT_TESTS_DATA_FIXTURES_H
#define VT_TESTS_DATA_FIXTURES_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/status.h"
#include "base/text.h"
#include "data/source.h"
#include "image/image.h"

/* A fresh folder, which is also XDG_CACHE_HOME; one a test program. */
const char *fx_dir(void);
void fx_remove_dir(void);

/* "DIR/format..."; valid until 16 later calls. */
const char *fx_path(const char *fmt, ...) VT_PRINTF(1, 2);
/* Writes DIR/name, making folders on the way. */
void fx_write(const char *name, const void *data, size_t size);

/* The real data's file, or NULL after printing why a test that needs it is skipped. */
const char *fx_real(const char *name);

/* A test image whose pixels depend on seed, and its encodings (malloc'ed). */
void fx_image(vt_image *im, int64_t width, int64_t height, uint32_t seed);
unsigned char *fx_png(int64_t width, int64_t height, uint32_t seed, size_t *size);
unsigned char *fx_jpeg(int64_t width, int64_t height, uint32_t seed, bool progressive, size_t *size);
/* With chroma reduced by across and down, 1 or 2 each; fx_jpeg takes 2 and 2. */
unsigned char *fx_jpeg_sampled(int64_t width, int64_t height, uint32_t seed, bool progressive, int across, int down,
                               size_t *size);

unsigned char *fx_webp(int64_t width, int64_t height, uint32_t seed, bool lossless, size_t *size);
/* One of the encodings above: 0 PNG, 1 JPEG, 2 progressive JPEG, 3 lossy WebP, 4 lossless WebP. */
#define FX_ENCODINGS 5
unsigned char *fx_encoded(int encoding, int64_t width, int64_t height, uint32_t seed, size_t *size);

/* Appends a ustar member, or the end mark. */
void fx_tar_member(vt_text *tar, const char *name, char type, const void *data, size_t size);
void fx_tar_end(vt_text *tar);
/* Recomputes the checksum of the header at offset, after a test changed it. */
void fx_tar_checksum(vt_text *tar, size_t offset);

/* Opens the source of that SPEC, which must succeed and keep the text. */
vt_source *fx_open(const char *fmt, ...) VT_PRINTF(1, 2);
/* Opens spec, which must fail with code and a message that holds every one of the words (NULL-terminated). */
void fx_open_fails(const char *spec, vt_status code, ...);

#endif
