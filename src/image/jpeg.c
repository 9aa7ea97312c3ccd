/* JPEG by libjpeg-turbo's libjpeg interface: the only file with setjmp, through which libjpeg leaves on an error.
 *
 * The whole file is one buffer. At its end the source says "suspend" instead of inventing an end marker, as Pillow's
 * does: so a cut file shows as rows that do not come, while a file that is complete but for its last marker decodes.
 * Warnings (extraneous bytes, odd markers) are tolerated, as Pillow tolerates them. Limits: VT_MAX_PIXELS, libjpeg's
 * own memory, and the work that scans of a progressive file may ask for. CMYK and YCCK are inverted, as Adobe writes
 * them, then R = nK - C*nK/255 with nK = 255 - K (Pillow's formula).
 *
 * A part of an image costs the Huffman decoding of the rows above it, but transforms, upsampling and colours only of
 * itself and a margin, whose outer pixels the chroma upsampling may get wrong for want of neighbours; they are not
 * used. The rows below are not looked at; so that a cut file is refused all the same, a file without an end marker
 * is decoded in full. (Before any marker a decoder does not run out of bytes: it goes on with zeros.) */
#include <stdio.h>

#include <jerror.h>
#include <jpeglib.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "image/codec.h"

/* Each scan of a progressive file walks over the whole image. Real files have about ten. */
#define MAX_SCANS       1000
#define MAX_SCAN_PIXELS (16LL * VT_MAX_PIXELS)

typedef struct {
    struct jpeg_error_mgr base; /* first: libjpeg hands its address back */
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
} error_manager;

typedef struct {
    struct jpeg_decompress_struct d;
    error_manager errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    bool too_many_scans;
} decoder;

static void on_error(j_common_ptr c)
{
    error_manager *e = (error_manager *)c->err;
    e->base.format_message(c, e->message);
    longjmp(e->jump, 1);
}

static void on_message(j_common_ptr c, int level)
{
    if (level < 0)
        c->err->num_warnings++;
}

static void on_output(j_common_ptr c)
{
}

static void source_nothing(j_decompress_ptr d)
{
}

static boolean source_end(j_decompress_ptr d)
{
    return FALSE; /* suspend: there is no more */
}

static void source_skip(j_decompress_ptr d, long bytes)
{
    size_t skip = bytes > 0 ? (size_t)bytes : 0;
    if (skip > d->src->bytes_in_buffer)
        skip = d->src->bytes_in_buffer;
    d->src->next_input_byte += skip;
    d->src->bytes_in_buffer -= skip;
}

static void on_progress(j_common_ptr c)
{
    decoder *j = (decoder *)c;
    long long pixels = (long long)j->d.image_width * (long long)j->d.image_height;
    int scans = j->d.input_scan_number;
    j->too_many_scans = scans > MAX_SCANS || scans * pixels > MAX_SCAN_PIXELS;
    if (j->too_many_scans)
        longjmp(j->errors.jump, 1);
}

static void create(decoder *j, const void *data, size_t size)
{
    j->d.err = jpeg_std_error(&j->errors.base);
    j->errors.base.error_exit = on_error;
    j->errors.base.emit_message = on_message;
    j->errors.base.output_message = on_output;
    jpeg_create_decompress(&j->d);
    j->d.mem->max_memory_to_use = (long)VT_DECODER_BYTES;
    j->source.init_source = source_nothing;
    j->source.fill_input_buffer = source_end;
    j->source.skip_input_data = source_skip;
    j->source.resync_to_restart = jpeg_resync_to_restart;
    j->source.term_source = source_nothing;
    j->source.next_input_byte = data;
    j->source.bytes_in_buffer = size;
    j->d.src = &j->source;
    j->progress.progress_monitor = on_progress;
    j->d.progress = &j->progress;
}

static vt_status truncated(vt_err *err, const char *where)
{
    return vt_fail(err, VT_EFORMAT, "truncated JPEG: the file ends inside %s", where);
}

/* To be called inside the reach of setjmp. */
static vt_status read_header(decoder *j, vt_err *err)
{
    if (jpeg_read_header(&j->d, TRUE) != JPEG_HEADER_OK)
        return truncated(err, "its header");
    VT_TRY(vt_image_check_size(j->d.image_width, j->d.image_height, err));
    if (j->d.num_components != 1 && j->d.num_components != 3 && j->d.num_components != 4)
        return vt_fail(err, VT_EUNSUPPORTED, "a JPEG of %d components; 1, 3 and 4 are read", j->d.num_components);
    return VT_OK;
}

static uint8_t times_255(int a, int b)
{
    int t = a * b + 128;
    return (uint8_t)(((t >> 8) + t) >> 8);
}

static void cmyk_to_rgb(const uint8_t *cmyk, uint8_t *rgb, int64_t width)
{
    for (int64_t x = 0; x < width; x++, cmyk += 4, rgb += 3) {
        int n_k = cmyk[3]; /* the file holds the inverse, 255 - K */
        for (int c = 0; c < 3; c++)
            rgb[c] = (uint8_t)(n_k - times_255(255 - cmyk[c], n_k));
    }
}

/* Whether the pixels of a part are known to be those of a full decode: the samplings that cameras use, and no smoothing
 * of coefficients that a progressive file left coarse. To be called after jpeg_start_decompress. */
static bool may_be_partial(const decoder *j)
{
    const struct jpeg_decompress_struct *d = &j->d;
    for (int c = 0; c < d->num_components; c++) {
        const jpeg_component_info *info = &d->comp_info[c];
        const bool full = info->h_samp_factor == d->max_h_samp_factor && info->v_samp_factor == d->max_v_samp_factor;
        if (d->max_h_samp_factor > 2 || d->max_v_samp_factor > 2 || (c == 0 && !full))
            return false;
        for (int k = 0; d->coef_bits && k < DCTSIZE2; k++) {
            if (d->coef_bits[c][k] != 0)
                return false;
        }
    }
    return true;
}

/* Behind the headers, where the decoder is. */
static bool has_end_marker(const decoder *j)
{
    const unsigned char *at = j->source.next_input_byte;
    for (size_t i = j->source.bytes_in_buffer; i >= 2; i--) {
        if (at[i - 2] == 0xff && at[i - 1] == JPEG_EOI)
            return true;
    }
    return false;
}

/* Rows and columns around a part that are decoded with it: one unit of the coarsest sampling each way. */
#define MARGIN 16

/* Sets what libjpeg gives: columns from *x on, output_width of them; rows from *y to *end. */
static void choose_window(decoder *j, const vt_rect *part, JDIMENSION *x, JDIMENSION *y, JDIMENSION *end)
{
    struct jpeg_decompress_struct *d = &j->d;
    const int64_t left = part->x > MARGIN ? part->x - MARGIN : 0, right = part->x + part->width + MARGIN;
    const int64_t top = part->y > MARGIN ? part->y - MARGIN : 0, bottom = part->y + part->height;
    JDIMENSION width = (JDIMENSION)((right < d->output_width ? right : d->output_width) - left);
    *x = (JDIMENSION)left;
    if (width < d->output_width)
        jpeg_crop_scanline(d, x, &width);
    *y = (JDIMENSION)top;
    *end = (JDIMENSION)bottom;
    if (*y > 0)
        jpeg_skip_scanlines(d, *y);
}

static bool is_whole(const decoder *j, const vt_rect *part)
{
    return part->width == j->d.image_width && part->height == j->d.image_height;
}

static vt_status read_rows(decoder *j, vt_image *im, JDIMENSION y, JDIMENSION end, vt_err *err)
{
    const bool cmyk = j->d.num_components == 4;
    JSAMPARRAY wide = NULL;
    if (cmyk)
        wide = j->d.mem->alloc_sarray((j_common_ptr)&j->d, JPOOL_IMAGE, j->d.output_width * 4, 1);
    while (j->d.output_scanline < end) {
        uint8_t *row = im->pixels + (size_t)(j->d.output_scanline - y) * (size_t)im->width * 3;
        JSAMPROW target = cmyk ? wide[0] : row;
        if (jpeg_read_scanlines(&j->d, &target, 1) != 1)
            return vt_fail(err, VT_EFORMAT, "truncated JPEG: the file ends after %u of %u rows", j->d.output_scanline,
                           j->d.output_height);
        if (cmyk)
            cmyk_to_rgb(wide[0], row, im->width);
    }
    return VT_OK;
}

/* part: what is needed, or NULL. */
static vt_status read_pixels(decoder *j, vt_image *im, vt_rect *part, vt_err *err)
{
    j->d.out_color_space = j->d.num_components == 4 ? JCS_CMYK : JCS_RGB;
    if (!jpeg_start_decompress(&j->d))
        return truncated(err, "its scans");
    JDIMENSION x = 0, y = 0, end = j->d.output_height;
    if (part && !is_whole(j, part) && may_be_partial(j) && (j->d.coef_bits || has_end_marker(j))) {
        choose_window(j, part, &x, &y, &end);
        part->x -= x;
        part->y -= y;
    }
    VT_TRY(vt_image_resize_buffer(im, j->d.output_width, end - y, err));
    return read_rows(j, im, y, end, err);
}

static vt_status failed(const decoder *j, vt_err *err)
{
    int code = j->errors.base.msg_code;
    if (j->too_many_scans)
        return vt_fail(err, VT_EFORMAT, "this JPEG of %u x %u pixels has more than %d scans, more than it can need",
                       j->d.image_width, j->d.image_height, j->d.input_scan_number - 1);
    if (code == JERR_OUT_OF_MEMORY)
        return vt_fail(err, VT_ENOMEM, "no memory to decode this JPEG of %u x %u pixels", j->d.image_width,
                       j->d.image_height);
    if (code == JERR_NO_BACKING_STORE) /* our limit, whatever the machine has */
        return vt_fail(err, VT_EUNSUPPORTED, "decoding this JPEG of %u x %u pixels takes more than %ld MiB",
                       j->d.image_width, j->d.image_height, (long)VT_DECODER_BYTES >> 20);
    return vt_fail(err, VT_EFORMAT, "broken JPEG: %s", j->errors.message);
}

/* Decodes, or with im NULL reads the header only. All that lives across longjmp is behind pointers. */
static vt_status decode(decoder *j, vt_image *im, const void *data, size_t size, vt_rect *part, vt_err *err)
{
    if (setjmp(j->errors.jump))
        return failed(j, err);
    create(j, data, size);
    VT_TRY(read_header(j, err));
    return im ? read_pixels(j, im, part, err) : VT_OK;
}

vt_status vt_jpeg_decode(vt_image *im, const void *data, size_t size, vt_rect *part, vt_err *err)
{
    decoder *j = calloc(1, sizeof *j);
    if (!j)
        return vt_fail(err, VT_ENOMEM, "no memory for the JPEG decoder");
    vt_status status = decode(j, im, data, size, part, err);
    jpeg_destroy_decompress(&j->d);
    free(j);
    return status;
}

vt_status vt_jpeg_probe(const void *data, size_t size, int64_t *width, int64_t *height, vt_err *err)
{
    decoder *j = calloc(1, sizeof *j);
    if (!j)
        return vt_fail(err, VT_ENOMEM, "no memory for the JPEG decoder");
    vt_status status = decode(j, NULL, data, size, NULL, err);
    *width = j->d.image_width;
    *height = j->d.image_height;
    jpeg_destroy_decompress(&j->d);
    free(j);
    return status;
}
