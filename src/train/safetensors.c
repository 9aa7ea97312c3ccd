/* safetensors: 8 bytes of header length (little-endian), a JSON object name -> {dtype, shape, data_offsets}, then the
 * data, without gaps. Format: the safetensors project's README. Data goes through one small buffer in both directions,
 * so a checkpoint of any size costs no memory. The processor is little-endian, as every target of vitro is. */
#include "train/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#define STAGING_BYTES    ((size_t)1 << 20)
#define MAX_HEADER_BYTES ((uint64_t)64 << 20)
#define DATA_ALIGN       8

const char *const vt_dtype_names[] = {"F32", "BF16", NULL};
static const size_t dtype_bytes[] = {4, 2};

size_t vt_stored_bytes(const vt_stored_tensor *t)
{
    return (size_t)t->count * dtype_bytes[t->dtype];
}

/* --- writing -------------------------------------------------------------------------------------------------------
 */

typedef struct {
    int fd;
    const char *path;
    vt_hasher *hasher;
    int64_t written;
} sink;

static vt_status put(sink *s, const void *data, size_t size, vt_err *err)
{
    const unsigned char *p = data;
    vt_hasher_add(s->hasher, data, size);
    for (size_t done = 0; done < size;) {
        ssize_t n = write(s->fd, p + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vt_fail_errno(err, "cannot write %s", s->path);
        done += (size_t)n;
    }
    s->written += (int64_t)size;
    return VT_OK;
}

static void header_of(const vt_stored_tensor *tensors, int n, vt_text *header)
{
    size_t offset = 0;
    vt_text_add(header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < n; i++) {
        const vt_stored_tensor *t = &tensors[i];
        vt_text_addf(header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, vt_dtype_names[t->dtype]);
        for (int d = 0; d < t->n_dims; d++)
            vt_text_addf(header, "%s%lld", d ? "," : "", (long long)t->dims[d]);
        vt_text_addf(header, "],\"data_offsets\":[%zu,%zu]}", offset, offset + vt_stored_bytes(t));
        offset += vt_stored_bytes(t);
    }
    vt_text_add(header, "}");
    while (header->len % DATA_ALIGN != 0)
        vt_text_add(header, " ");
}

static vt_status put_all(sink *s, vt_device *device, const vt_stored_tensor *tensors, int n, unsigned char *staging,
                         vt_err *err)
{
    vt_text header = {0};
    header_of(tensors, n, &header);
    uint64_t length = header.len;
    vt_status status = put(s, &length, sizeof length, err);
    if (status == VT_OK)
        status = put(s, header.s, header.len, err);
    vt_text_release(&header);
    for (int i = 0; i < n && status == VT_OK; i++) {
        size_t size = vt_stored_bytes(&tensors[i]);
        for (size_t done = 0; done < size && status == VT_OK; done += STAGING_BYTES) {
            size_t part = size - done < STAGING_BYTES ? size - done : STAGING_BYTES;
            if (device)
                vt_device_read(device, staging, (const char *)tensors[i].data + done, part);
            else
                memcpy(staging, (const char *)tensors[i].data + done, part);
            status = put(s, staging, part, err);
        }
    }
    return status;
}

vt_status vt_safetensors_save(const char *path, vt_device *device, const vt_stored_tensor *tensors, int n,
                              char hex[VT_HASH_HEX], int64_t *bytes, vt_err *err)
{
    sink s = {.path = path, .fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
    if (s.fd < 0)
        return vt_fail_errno(err, "cannot create %s", path);
    unsigned char *staging = vt_xmalloc(STAGING_BYTES);
    s.hasher = vt_hasher_new();
    vt_status status = put_all(&s, device, tensors, n, staging, err);
    if (status == VT_OK && fsync(s.fd) != 0)
        status = vt_fail_errno(err, "cannot sync %s", path);
    if (close(s.fd) != 0 && status == VT_OK)
        status = vt_fail_errno(err, "cannot close %s", path);
    vt_hasher_finish(s.hasher, hex);
    free(staging);
    *bytes = s.written;
    return status;
}

/* --- reading -------------------------------------------------------------------------------------------------------
 */

typedef struct {
    int fd;
    const char *path;
    json_t *header;
    int64_t data_start, data_bytes;
} reader;

static vt_status open_reader(reader *r, const char *path, vt_err *err)
{
    struct stat st;
    uint64_t length = 0;
    *r = (reader){.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (r->fd < 0)
        return vt_fail_errno(err, "cannot open %s", path);
    if (fstat(r->fd, &st) != 0)
        return vt_fail_errno(err, "cannot stat %s", path);
    VT_TRY(vt_file_read_at(r->fd, path, 0, &length, sizeof length, err));
    if (length > MAX_HEADER_BYTES || length > (uint64_t)st.st_size - sizeof length)
        return vt_fail(
            err, VT_EFORMAT,
            "%s: its header claims %llu bytes, the file has %lld; this is no safetensors file, or a broken one", path,
            (unsigned long long)length, (long long)st.st_size);
    char *text = vt_xmalloc((size_t)length + 1);
    vt_status status = vt_file_read_at(r->fd, path, sizeof length, text, (size_t)length, err);
    if (status == VT_OK)
        status = vt_json_parse(text, (size_t)length, path, &r->header, err);
    free(text);
    VT_TRY(status);
    if (!json_is_object(r->header))
        return vt_fail(err, VT_EFORMAT, "%s: the header is not a JSON object", path);
    r->data_start = (int64_t)(sizeof length + length);
    r->data_bytes = (int64_t)st.st_size - r->data_start;
    return VT_OK;
}

static void close_reader(reader *r)
{
    json_decref(r->header);
    if (r->fd >= 0)
        (void)close(r->fd);
}

static void print_shape(const json_t *shape, vt_text *out)
{
    size_t i;
    json_t *d;
    json_array_foreach(shape, i, d) vt_text_addf(out, "%s%lld", i ? " x " : "", (long long)json_integer_value(d));
}

static bool same_shape(const json_t *shape, const vt_stored_tensor *t)
{
    if (!json_is_array(shape) || (int)json_array_size(shape) != t->n_dims)
        return false;
    for (int d = 0; d < t->n_dims; d++)
        if (json_integer_value(json_array_get(shape, (size_t)d)) != t->dims[d])
            return false;
    return true;
}

static vt_status refuse_shape(const reader *r, const vt_stored_tensor *t, const json_t *shape, vt_err *err)
{
    vt_text found = {0}, wanted = {0};
    print_shape(shape, &found);
    for (int d = 0; d < t->n_dims; d++)
        vt_text_addf(&wanted, "%s%lld", d ? " x " : "", (long long)t->dims[d]);
    vt_status status = vt_fail(err, VT_EFORMAT, "%s: tensor %s is %s; this model has it as %s", r->path, t->name,
                               found.s ? found.s : "without a shape", wanted.s ? wanted.s : "a single number");
    vt_text_release(&found);
    vt_text_release(&wanted);
    return status;
}

/* Finds one tensor in the header and its offset in the file. */
static vt_status locate(const reader *r, const vt_stored_tensor *t, int64_t *offset, vt_err *err)
{
    const json_t *entry = json_object_get(r->header, t->name);
    if (!json_is_object(entry))
        return vt_fail(err, VT_EFORMAT, "%s: tensor %s is missing", r->path, t->name);
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    if (!dtype || strcmp(dtype, vt_dtype_names[t->dtype]) != 0)
        return vt_fail(err, VT_EFORMAT, "%s: tensor %s is of type %s; expected %s", r->path, t->name,
                       dtype ? dtype : "unknown", vt_dtype_names[t->dtype]);
    if (!same_shape(json_object_get(entry, "shape"), t))
        return refuse_shape(r, t, json_object_get(entry, "shape"), err);
    const json_t *offsets = json_object_get(entry, "data_offsets");
    int64_t begin = json_integer_value(json_array_get(offsets, 0)),
            end = json_integer_value(json_array_get(offsets, 1));
    if (!json_is_array(offsets) || begin < 0 || end < begin || end > r->data_bytes ||
        end - begin != (int64_t)vt_stored_bytes(t))
        return vt_fail(err, VT_EFORMAT,
                       "%s: tensor %s lies at bytes %lld to %lld of %lld, which cannot be; the file is cut or broken",
                       r->path, t->name, (long long)begin, (long long)end, (long long)r->data_bytes);
    *offset = r->data_start + begin;
    return VT_OK;
}

static vt_status check_no_more(const reader *r, const vt_stored_tensor *tensors, int n, vt_err *err)
{
    const char *name;
    json_t *entry;
    size_t known = 0;
    for (int i = 0; i < n; i++)
        known += json_object_get(r->header, tensors[i].name) != NULL;
    known += json_object_get(r->header, "__metadata__") != NULL;
    if (known == json_object_size(r->header))
        return VT_OK;
    json_object_foreach(r->header, name, entry)
    {
        bool found = strcmp(name, "__metadata__") == 0;
        for (int i = 0; i < n && !found; i++)
            found = strcmp(name, tensors[i].name) == 0;
        if (!found)
            return vt_fail(err, VT_EFORMAT, "%s: tensor %s has no place in this model", r->path, name);
    }
    return VT_OK;
}

static vt_status fill(const reader *r, vt_device *device, const vt_stored_tensor *t, int64_t offset,
                      unsigned char *staging, vt_err *err)
{
    size_t size = vt_stored_bytes(t);
    for (size_t done = 0; done < size; done += STAGING_BYTES) {
        size_t part = size - done < STAGING_BYTES ? size - done : STAGING_BYTES;
        VT_TRY(vt_file_read_at(r->fd, r->path, offset + (int64_t)done, staging, part, err));
        vt_device_write(device, (char *)t->data + done, staging, part);
    }
    return VT_OK;
}

vt_status vt_safetensors_load(const char *path, vt_device *device, const vt_stored_tensor *tensors, int n, vt_err *err)
{
    reader r;
    int64_t *offsets = vt_xcalloc((size_t)n, sizeof *offsets);
    unsigned char *staging = vt_xmalloc(STAGING_BYTES);
    vt_status status = open_reader(&r, path, err);
    for (int i = 0; i < n && status == VT_OK; i++)
        status = locate(&r, &tensors[i], &offsets[i], err);
    if (status == VT_OK)
        status = check_no_more(&r, tensors, n, err);
    for (int i = 0; i < n && status == VT_OK; i++)
        status = fill(&r, device, &tensors[i], offsets[i], staging, err);
    close_reader(&r);
    free(staging);
    free(offsets);
    return status;
}

/* One entry of the header, checked: what any program wrote, in any type. */
static vt_status read_entry(const reader *r, const char *name, const json_t *entry, vt_safetensors_entry *e,
                            vt_err *err)
{
    const json_t *shape = json_object_get(entry, "shape"), *offsets = json_object_get(entry, "data_offsets");
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    int64_t begin = json_integer_value(json_array_get(offsets, 0)),
            end = json_integer_value(json_array_get(offsets, 1));
    size_t n_dims = json_array_size(shape);
    *e = (vt_safetensors_entry){.name = name, .n_dims = (int)n_dims, .count = 1};
    if (!dtype || !json_is_array(shape) || n_dims > VT_SAFETENSORS_DIMS)
        return vt_fail(err, VT_EFORMAT, "%s: tensor %.80s has no type or no shape of at most %d sides", r->path, name,
                       VT_SAFETENSORS_DIMS);
    if (!json_is_array(offsets) || json_array_size(offsets) != 2 || begin < 0 || end < begin || end > r->data_bytes)
        return vt_fail(
            err, VT_EFORMAT,
            "%s: tensor %.80s lies at bytes %lld to %lld of %lld, which cannot be; the file is cut or broken", r->path,
            name, (long long)begin, (long long)end, (long long)r->data_bytes);
    (void)snprintf(e->dtype, sizeof e->dtype, "%s", dtype);
    for (size_t d = 0; d < n_dims; d++) {
        const json_t *side = json_array_get(shape, d);
        e->dims[d] = json_integer_value(side);
        if (!json_is_integer(side) || e->dims[d] < 0 || (e->dims[d] > 0 && e->count > INT64_MAX / 16 / e->dims[d]))
            return vt_fail(err, VT_EFORMAT, "%s: tensor %.80s has a side of %lld, which cannot be", r->path, name,
                           (long long)e->dims[d]);
        e->count *= e->dims[d];
    }
    e->offset = r->data_start + begin;
    e->bytes = end - begin;
    return VT_OK;
}

vt_status vt_safetensors_scan(const char *path, vt_safetensors_fn *each, void *context, vt_err *err)
{
    reader r;
    const char *name;
    json_t *entry;
    vt_status status = open_reader(&r, path, err);
    if (status == VT_OK) {
        json_object_foreach(r.header, name, entry)
        {
            vt_safetensors_entry e;
            if (strcmp(name, "__metadata__") == 0)
                continue;
            status = read_entry(&r, name, entry, &e, err);
            if (status == VT_OK)
                status = each(context, &e, err);
            if (status != VT_OK)
                break;
        }
    }
    close_reader(&r);
    return status;
}
