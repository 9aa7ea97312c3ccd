/* JPEG by libjpeg-turbo's libjpeg interface, which leaves on an error through longjmp; PNG is written by png.c. */
#include "image/encode.h"

#include <stdio.h>

#include <jpeglib.h>
#include <setjmp.h>
#include <stdlib.h>

#include "image/codec.h"

typedef struct {
    struct jpeg_error_mgr base; /* first: libjpeg hands its address back */
    jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
} error_manager;

/* All that lives across longjmp. */
typedef struct {
    struct jpeg_compress_struct c;
    error_manager errors;
    unsigned char *data;
    unsigned long size;
} encoder;

static void on_error(j_common_ptr c)
{
    error_manager *e = (error_manager *)c->err;
    e->base.format_message(c, e->message);
    longjmp(e->jump, 1);
}

static vt_status encode(encoder *j, const vt_image *im, int quality, vt_err *err)
{
    if (setjmp(j->errors.jump))
        return vt_fail(err, VT_EIO, "the JPEG of %lld x %lld pixels could not be written: %s", (long long)im->width,
                       (long long)im->height, j->errors.message);
    j->c.err = jpeg_std_error(&j->errors.base);
    j->errors.base.error_exit = on_error;
    jpeg_create_compress(&j->c);
    jpeg_mem_dest(&j->c, &j->data, &j->size);
    j->c.image_width = (JDIMENSION)im->width;
    j->c.image_height = (JDIMENSION)im->height;
    j->c.input_components = 3;
    j->c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&j->c);
    jpeg_set_quality(&j->c, quality, TRUE);
    j->c.comp_info[0].h_samp_factor = j->c.comp_info[0].v_samp_factor = 1; /* 4:4:4 */
    j->c.optimize_coding = TRUE;
    j->c.dct_method = JDCT_ISLOW;
    jpeg_start_compress(&j->c, TRUE);
    while (j->c.next_scanline < j->c.image_height) {
        JSAMPROW row = im->pixels + (size_t)j->c.next_scanline * (size_t)im->width * 3;
        (void)jpeg_write_scanlines(&j->c, &row, 1);
    }
    jpeg_finish_compress(&j->c);
    return VT_OK;
}

static vt_status jpeg_encode(const vt_image *im, int quality, unsigned char **data, size_t *size, vt_err *err)
{
    encoder *j = calloc(1, sizeof *j);
    if (!j)
        return vt_fail(err, VT_ENOMEM, "no memory for the JPEG encoder");
    vt_status status = encode(j, im, quality, err);
    jpeg_destroy_compress(&j->c);
    if (status == VT_OK) {
        *data = j->data;
        *size = (size_t)j->size;
    } else {
        free(j->data);
    }
    free(j);
    return status;
}

vt_status vt_image_encode(const vt_image *im, vt_image_format format, int quality, unsigned char **data, size_t *size,
                          vt_err *err)
{
    *data = NULL;
    *size = 0;
    if (format == VT_FORMAT_JPEG)
        return jpeg_encode(im, quality, data, size, err);
    return vt_png_encode(im, data, size, err);
}
