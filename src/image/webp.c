/* WebP by libwebp: still images and the first frame of an animation, which stands on its canvas with black around it.
 * The container is checked as a whole first (libwebpdemux), so that a cut file is an error even where its pixels are
 * there. libwebp takes memory by itself: four bytes a pixel of a lossless image, which is held to VT_DECODER_BYTES, one
 * byte a pixel of an alpha plane, and small tables, which only a crafted file can drive to 1.3 GiB (65,536 groups of
 * codes of 20 KB). */
#include <stdbool.h>
#include <string.h>
#include <webp/decode.h>
#include <webp/demux.h>

#include "image/codec.h"

#define RIFF_BYTES  12
#define CHUNK_BYTES 8         /* name and length, little-endian */
#define MAX_CHUNKS  (1 << 17) /* the demuxer notes each one: 65,536 frames, or a few kinds of metadata */

static size_t chunk_bytes(const unsigned char *chunk)
{
    return (size_t)chunk[4] | (size_t)chunk[5] << 8 | (size_t)chunk[6] << 16 | (size_t)chunk[7] << 24;
}

/* The demuxer goes into the chunks of a frame, too: 16 bytes behind its header. */
static bool has_too_many_chunks(const unsigned char *data, size_t size)
{
    int n = 0;
    for (size_t at = RIFF_BYTES; at + CHUNK_BYTES <= size && n <= MAX_CHUNKS; n++) {
        size_t length = chunk_bytes(data + at), step = CHUNK_BYTES + length + (length & 1);
        bool frame = memcmp(data + at, "ANMF", 4) == 0;
        at += frame ? CHUNK_BYTES + 16 : step;
    }
    return n > MAX_CHUNKS;
}

/* *demux is the caller's to delete, and *first to release, when this succeeds. */
static vt_status open_webp(const void *data, size_t size, WebPDemuxer **demux, WebPIterator *first, vt_err *err)
{
    const WebPData whole = {data, size};
    WebPDemuxState state;
    if (has_too_many_chunks(data, size))
        return vt_fail(err, VT_EFORMAT, "this WebP has more than %d chunks", MAX_CHUNKS);
    *demux = WebPDemuxPartial(&whole, &state);
    if (state == WEBP_DEMUX_DONE && WebPDemuxGetFrame(*demux, 1, first))
        return VT_OK;
    WebPDemuxDelete(*demux);
    if (state == WEBP_DEMUX_PARSING_HEADER || state == WEBP_DEMUX_PARSED_HEADER)
        return vt_fail(err, VT_EFORMAT, "truncated WebP: the file ends before its image does");
    return vt_fail(err, VT_EFORMAT, "broken WebP: its chunks do not make an image");
}

static vt_status check_sizes(const WebPDemuxer *demux, const WebPIterator *first, WebPBitstreamFeatures *f, vt_err *err)
{
    int64_t width = WebPDemuxGetI(demux, WEBP_FF_CANVAS_WIDTH), height = WebPDemuxGetI(demux, WEBP_FF_CANVAS_HEIGHT);
    VT_TRY(vt_image_check_size(width, height, err));
    if (WebPGetFeatures(first->fragment.bytes, first->fragment.size, f) != VP8_STATUS_OK || f->width != first->width ||
        f->height != first->height || first->x_offset + first->width > width ||
        first->y_offset + first->height > height)
        return vt_fail(err, VT_EFORMAT, "broken WebP: its frame and its canvas do not fit together");
    if (f->format != 1 && (size_t)f->width * (size_t)f->height > VT_DECODER_BYTES / 4)
        return vt_fail(err, VT_EUNSUPPORTED, "decoding this lossless WebP of %d x %d pixels takes more than %zu MiB",
                       f->width, f->height, VT_DECODER_BYTES >> 20);
    return VT_OK;
}

static vt_status fail_decode(VP8StatusCode code, vt_err *err)
{
    if (code == VP8_STATUS_OUT_OF_MEMORY)
        return vt_fail(err, VT_ENOMEM, "no memory to decode this WebP");
    if (code == VP8_STATUS_NOT_ENOUGH_DATA || code == VP8_STATUS_SUSPENDED)
        return vt_fail(err, VT_EFORMAT, "truncated WebP: its image data end early");
    return vt_fail(err, VT_EFORMAT, "broken WebP: its image data are damaged");
}

static vt_status decode_frame(vt_image *im, const WebPDemuxer *demux, const WebPIterator *first, vt_err *err)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return vt_fail(err, VT_EUNSUPPORTED, "libwebp is another version than the one vitro was built with");
    VT_TRY(check_sizes(demux, first, &config.input, err));
    VT_TRY(vt_image_resize_buffer(im, WebPDemuxGetI(demux, WEBP_FF_CANVAS_WIDTH),
                                  WebPDemuxGetI(demux, WEBP_FF_CANVAS_HEIGHT), err));
    size_t stride = (size_t)im->width * 3, bytes = stride * (size_t)im->height;
    if (first->width < im->width || first->height < im->height)
        memset(im->pixels, 0, bytes);
    size_t corner = (size_t)first->y_offset * stride + (size_t)first->x_offset * 3;
    config.output.colorspace = MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = im->pixels + corner;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = bytes - corner;
    VP8StatusCode code = WebPDecode(first->fragment.bytes, first->fragment.size, &config);
    WebPFreeDecBuffer(&config.output);
    return code == VP8_STATUS_OK ? VT_OK : fail_decode(code, err);
}

vt_status vt_webp_decode(vt_image *im, const void *data, size_t size, vt_err *err)
{
    WebPDemuxer *demux;
    WebPIterator first;
    VT_TRY(open_webp(data, size, &demux, &first, err));
    vt_status status = decode_frame(im, demux, &first, err);
    WebPDemuxReleaseIterator(&first);
    WebPDemuxDelete(demux);
    return status;
}

vt_status vt_webp_probe(const void *data, size_t size, int64_t *width, int64_t *height, vt_err *err)
{
    WebPDemuxer *demux;
    WebPIterator first;
    WebPBitstreamFeatures features;
    VT_TRY(open_webp(data, size, &demux, &first, err));
    *width = WebPDemuxGetI(demux, WEBP_FF_CANVAS_WIDTH);
    *height = WebPDemuxGetI(demux, WEBP_FF_CANVAS_HEIGHT);
    vt_status status = check_sizes(demux, &first, &features, err);
    WebPDemuxReleaseIterator(&first);
    WebPDemuxDelete(demux);
    return status;
}
