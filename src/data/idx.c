/* idx:IMAGES,LABELS, the format of MNIST, plain or gzip. A file is: two zero bytes, the type (0x08: unsigned bytes),
 * the rank, one big-endian 32-bit size a dimension, the data (yann.lecun.com/exdb/mnist). Images have rank 3 (count,
 * height, width: grey) or 4 (count, height, width, 3: RGB); labels rank 1. Both files are kept in memory as they are.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/text.h"
#include "data/collection.h"

#define MAX_RANK     4
#define MAX_IDX_SIDE 65535
#define MAX_GZ_RATIO 1040       /* deflate reaches at most 1032 */
#define MAX_READ     (1u << 30) /* of one gzread, which counts in int */

typedef struct {
    int rank;
    int64_t dims[MAX_RANK];
    unsigned char *data;
    size_t bytes;
} idx_file;

typedef struct {
    char *base; /* the images' file name without folders and extensions, for sample names */
    idx_file images, labels;
} idx;

static vt_status read_exactly(gzFile in, const char *path, void *data, size_t size, vt_err *err)
{
    unsigned char *out = data;
    while (size > 0) {
        int code;
        unsigned want = size < MAX_READ ? (unsigned)size : MAX_READ;
        int n = gzread(in, out, want);
        if (n < 0) {
            const char *why = gzerror(in, &code);
            return vt_fail(err, VT_EFORMAT, "%s: broken gzip file: %s", path, why);
        }
        if (n == 0)
            return vt_fail(err, VT_EFORMAT, "%s: truncated: %zu bytes are missing", path, size);
        out += n;
        size -= (size_t)n;
    }
    return VT_OK;
}

static int64_t be32(const unsigned char *p)
{
    return (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | p[3];
}

static vt_status read_header(idx_file *f, gzFile in, const char *path, vt_err *err)
{
    unsigned char head[4], dims[4 * MAX_RANK];
    VT_TRY(read_exactly(in, path, head, sizeof head, err));
    if (head[0] != 0 || head[1] != 0)
        return vt_fail(err, VT_EFORMAT, "%s: not an IDX file: it starts with %02x %02x, not with two zero bytes", path,
                       head[0], head[1]);
    if (head[2] != 0x08)
        return vt_fail(err, VT_EUNSUPPORTED, "%s: IDX values of type 0x%02x; only unsigned bytes (0x08) are read", path,
                       head[2]);
    if (head[3] < 1 || head[3] > MAX_RANK)
        return vt_fail(err, VT_EFORMAT, "%s: IDX data of rank %d; images have rank 3 or 4, labels 1", path, head[3]);
    f->rank = head[3];
    VT_TRY(read_exactly(in, path, dims, (size_t)f->rank * 4, err));
    for (int i = 0; i < f->rank; i++)
        f->dims[i] = be32(dims + 4 * i);
    return VT_OK;
}

/* Bytes of data that the header declares, checked against what the file can hold and the machine can keep. */
static vt_status check_bytes(idx_file *f, const char *path, vt_err *err)
{
    int64_t bytes = 1, most = INT64_MAX / 2;
    struct stat st;
    if (stat(path, &st) != 0)
        return vt_fail_errno(err, "%s", path);
    if ((int64_t)st.st_size < most / MAX_GZ_RATIO)
        most = (int64_t)st.st_size * MAX_GZ_RATIO;
    for (int i = 0; i < f->rank; i++) {
        if (f->dims[i] == 0)
            return vt_fail(err, VT_EFORMAT, "%s: dimension %d is 0", path, i);
        if (bytes > most / f->dims[i])
            return vt_fail(err, VT_EFORMAT, "%s: its header declares more data than a file of %lld bytes can hold",
                           path, (long long)st.st_size);
        bytes *= f->dims[i];
    }
    f->bytes = (size_t)bytes;
    size_t memory = vt_machine_memory();
    if (f->bytes > memory)
        return vt_fail(err, VT_ENOMEM, "%s: %zu bytes of pixels do not fit into this machine's %zu", path, f->bytes,
                       memory);
    return VT_OK;
}

static vt_status read_file(idx_file *f, gzFile in, const char *path, vt_err *err)
{
    char beyond;
    VT_TRY(read_header(f, in, path, err));
    VT_TRY(check_bytes(f, path, err));
    f->data = malloc(f->bytes);
    if (!f->data)
        return vt_fail(err, VT_ENOMEM, "%s: no memory for %zu bytes", path, f->bytes);
    VT_TRY(read_exactly(in, path, f->data, f->bytes, err));
    int more = gzread(in, &beyond, 1); /* reads the checksum of a gzip file, too */
    if (more < 0)
        return vt_fail(err, VT_EFORMAT, "%s: broken gzip file: its checksum does not hold", path);
    if (more > 0)
        return vt_fail(err, VT_EFORMAT, "%s: holds more than the %zu bytes that its header declares", path, f->bytes);
    return VT_OK;
}

static vt_status open_file(idx_file *f, const char *path, vt_err *err)
{
    if (vt_is_dir(path))
        return vt_fail(err, VT_EINVAL, "%s: this is a folder; idx: wants two files, idx:IMAGES,LABELS", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not hang us */
    struct stat st;
    if (fd < 0)
        return vt_fail_errno(err, "%s", path);
    gzFile in = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? gzdopen(fd, "rb") : NULL;
    if (!in) {
        close(fd);
        return vt_fail(err, VT_EINVAL, "%s: not a regular file", path);
    }
    vt_status status = read_file(f, in, path, err);
    if (gzclose(in) == Z_BUF_ERROR && status == VT_OK)
        status = vt_fail(err, VT_EFORMAT, "%s: truncated gzip file: its checksum is missing", path);
    return status;
}

static vt_status check_shapes(const idx *x, const char *images, const char *labels, vt_err *err)
{
    const int64_t *d = x->images.dims;
    if (x->images.rank == 1 && x->labels.rank > 1)
        return vt_fail(err, VT_EINVAL, "%s holds labels and %s images; the order is idx:IMAGES,LABELS", images, labels);
    if (x->images.rank < 3)
        return vt_fail(err, VT_EFORMAT, "%s: IDX data of rank %d; images have rank 3 (grey) or 4 (RGB)", images,
                       x->images.rank);
    if (x->labels.rank != 1)
        return vt_fail(err, VT_EFORMAT, "%s: IDX data of rank %d; labels have rank 1", labels, x->labels.rank);
    if (x->images.rank == 4 && d[3] != 3)
        return vt_fail(err, VT_EUNSUPPORTED,
                       "%s: %lld values a pixel; images of rank 4 must be (count, height, width, 3)", images,
                       (long long)d[3]);
    if (d[1] > MAX_IDX_SIDE || d[2] > MAX_IDX_SIDE)
        return vt_fail(err, VT_EFORMAT, "%s: images of %lld x %lld pixels; the limit is %d a side", images,
                       (long long)d[2], (long long)d[1], MAX_IDX_SIDE);
    if (d[0] != x->labels.dims[0])
        return vt_fail(err, VT_EFORMAT, "%s holds %lld images, but %s holds %lld labels", images, (long long)d[0],
                       labels, (long long)x->labels.dims[0]);
    return VT_OK;
}

static vt_status open_pair(vt_collection *c, const vt_spec *spec, char *images, vt_err *err)
{
    idx *x = c->state;
    char *labels = strchr(images, ',');
    if (!labels || labels == images || labels[1] == '\0' || strchr(labels + 1, ','))
        return vt_fail(err, VT_EINVAL, "'%.300s' does not name two files; the form is idx:IMAGES,LABELS", spec->place);
    *labels++ = '\0';
    VT_TRY(open_file(&x->images, images, err));
    VT_TRY(open_file(&x->labels, labels, err));
    VT_TRY(check_shapes(x, images, labels, err));
    const char *base = vt_path_base(images);
    x->base = vt_xasprintf("%.*s", (int)strcspn(base, "."), base);
    int64_t max_label = 0;
    c->count = x->images.dims[0];
    for (int64_t i = 0; i < c->count; i++)
        max_label = x->labels.data[i] > max_label ? x->labels.data[i] : max_label;
    c->resident = x->images.bytes + x->labels.bytes;
    c->image_bytes = (size_t)(x->images.dims[1] * x->images.dims[2] * 3);
    return vt_collection_name_classes(c, spec, max_label, err);
}

static vt_status idx_open(vt_collection *c, const vt_spec *spec, vt_err *err)
{
    c->state = vt_xcalloc(1, sizeof(idx));
    char *place = vt_xstrdup(spec->place);
    vt_status status = open_pair(c, spec, place, err);
    free(place);
    return status;
}

static void idx_close(vt_collection *c)
{
    idx *x = c->state;
    if (!x)
        return;
    free(x->base);
    free(x->images.data);
    free(x->labels.data);
    free(x);
}

static int64_t idx_label(const vt_collection *c, int64_t i)
{
    const idx *x = c->state;
    return x->labels.data[i];
}

static void idx_name(const vt_collection *c, int64_t i, char *buf, size_t size)
{
    const idx *x = c->state;
    snprintf(buf, size, "%s[%lld]", x->base, (long long)i);
}

static void idx_identify(const vt_collection *c, vt_hasher *h)
{
    const idx *x = c->state;
    vt_hasher_add(h, x->images.dims, sizeof x->images.dims);
    vt_hasher_add(h, x->labels.data, x->labels.bytes);
    vt_hasher_add(h, x->images.data, x->images.bytes);
}

static vt_status idx_fetch(const vt_collection *c, int64_t i, vt_read_buffer *b, vt_err *err)
{
    const idx *x = c->state;
    int64_t height = x->images.dims[1], width = x->images.dims[2], pixels = height * width;
    VT_TRY(vt_image_resize_buffer(&b->image, width, height, err));
    if (x->images.rank == 4) {
        memcpy(b->image.pixels, x->images.data + i * pixels * 3, (size_t)pixels * 3);
        return VT_OK;
    }
    const unsigned char *grey = x->images.data + i * pixels;
    for (int64_t p = 0; p < pixels; p++)
        memset(b->image.pixels + p * 3, grey[p], 3);
    return VT_OK;
}

const vt_collection_kind vt_idx_kind = {
    .name = "idx",
    .options = {"classes"},
    .open = idx_open,
    .close = idx_close,
    .label = idx_label,
    .sample_name = idx_name,
    .identify = idx_identify,
    .fetch = idx_fetch,
};
