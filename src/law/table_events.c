/* TensorBoard event files: TFRecords (length, its masked CRC-32C, the bytes, their masked CRC-32C) of Event messages.
 * Read are scalars, old (Summary.Value.simple_value) and new (a float or double tensor of one element); a row is a
 * step, a column is a tag, beside "step" and "wall_time". What is no scalar is skipped.
 *
 *   Event: 1 wall_time double, 2 step int64, 5 summary;  Summary: 1 value (repeated)
 *   Value: 1 tag string, 2 simple_value float, 8 tensor;  TensorProto: 1 dtype, 4 tensor_content, 5 float_val, 6
 * double_val
 *
 * A reader of these few fields by hand is shorter than generated code and bounds everything by the record's length.
 * Sources: tensorflow core/util/event.proto, core/framework/summary.proto, core/lib/io/record_writer. */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "law/table_build.h"

typedef struct {
    const unsigned char *p, *end;
} span;

static uint32_t u32_of(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t u64_of(const unsigned char *p)
{
    return u32_of(p) | (uint64_t)u32_of(p + 4) << 32;
}

/* CRC-32C (Castagnoli), then TensorFlow's mask. */
static uint32_t masked_crc(const unsigned char *p, size_t n)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (0x82f63b78u & (0u - (crc & 1)));
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

bool vt_table_looks_like_events(const unsigned char *data, size_t size)
{
    return size >= 16 && masked_crc(data, 8) == u32_of(data + 8);
}

static bool read_varint(span *s, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && s->p < s->end; shift += 7) {
        const unsigned char byte = *s->p++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* One field of a message: number, wire type, its varint or fixed value, or its bytes. */
typedef struct {
    uint64_t number, wire, value;
    span bytes;
} field;

static bool next_field(span *s, field *f)
{
    uint64_t key;
    if (s->p == s->end || !read_varint(s, &key))
        return false;
    *f = (field){.number = key >> 3, .wire = key & 7};
    const size_t left = (size_t)(s->end - s->p);
    switch (f->wire) {
    case 0:
        return read_varint(s, &f->value);
    case 1:
    case 5: {
        const size_t n = f->wire == 1 ? 8 : 4;
        if (left < n)
            return false;
        f->value = n == 8 ? u64_of(s->p) : u32_of(s->p);
        f->bytes = (span){s->p, s->p + n};
        s->p += n;
        return true;
    }
    case 2:
        if (!read_varint(s, &f->value) || f->value > (size_t)(s->end - s->p))
            return false;
        f->bytes = (span){s->p, s->p + f->value};
        s->p += f->value;
        return true;
    default:
        return false;
    }
}

static double float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

static double double_of(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The one element of a float (dtype 1) or double (2) tensor. */
static bool tensor_scalar(span s, double *value)
{
    field f;
    uint64_t dtype = 0;
    bool found = false;
    while (next_field(&s, &f)) {
        const size_t n = f.bytes.p ? (size_t)(f.bytes.end - f.bytes.p) : 0;
        if (f.number == 1 && f.wire == 0)
            dtype = f.value;
        if (((f.number == 4 && dtype == 1) || f.number == 5) && n == 4)
            *value = float_of(u32_of(f.bytes.p)), found = true;
        if (((f.number == 4 && dtype == 2) || f.number == 6) && n == 8)
            *value = double_of(u64_of(f.bytes.p)), found = true;
    }
    return found;
}

/* A Summary.Value: its tag and scalar. */
static bool summary_scalar(span s, span *tag, double *value)
{
    field f;
    bool found = false;
    *tag = (span){0};
    while (next_field(&s, &f)) {
        if (f.number == 1 && f.wire == 2)
            *tag = f.bytes;
        else if (f.number == 2 && f.wire == 5)
            *value = float_of((uint32_t)f.value), found = true;
        else if (f.number == 8 && f.wire == 2)
            found = tensor_scalar(f.bytes, value) || found;
    }
    return found && tag->p && tag->end > tag->p;
}

typedef struct {
    vt_table *t;
    bool cells;
    uint64_t last_step; /* of the row being filled */
    bool has_row;
    size_t step_column, time_column;
} filling;

static vt_status set_number(vt_table *t, size_t column, double x, vt_err *err)
{
    char buf[32];
    (void)vt_format_f64(buf, x);
    return vt_table_set(t, column, buf, strlen(buf), err);
}

static vt_status begin_row(filling *f, uint64_t step, double wall, vt_err *err)
{
    if (f->has_row && f->last_step == step)
        return VT_OK;
    VT_TRY(vt_table_add_row(f->t, err));
    f->has_row = true;
    f->last_step = step;
    VT_TRY(set_number(f->t, f->step_column, (double)(int64_t)step, err));
    return set_number(f->t, f->time_column, wall, err);
}

static vt_status read_event(filling *f, span s, vt_err *err)
{
    field e, v;
    uint64_t step = 0;
    double wall = 0;
    span summary = {0};
    while (next_field(&s, &e)) {
        if (e.number == 1 && e.wire == 1)
            wall = double_of(e.value);
        else if (e.number == 2 && e.wire == 0)
            step = e.value;
        else if (e.number == 5 && e.wire == 2)
            summary = e.bytes;
    }
    while (summary.p && next_field(&summary, &v)) {
        span tag;
        double value = 0;
        size_t column;
        if (v.number != 1 || v.wire != 2 || !summary_scalar(v.bytes, &tag, &value))
            continue;
        VT_TRY(vt_table_column(f->t, (const char *)tag.p, (size_t)(tag.end - tag.p), !f->cells, &column, err));
        if (!f->cells || column == SIZE_MAX)
            continue;
        VT_TRY(begin_row(f, step, wall, err));
        VT_TRY(set_number(f->t, column, value, err));
    }
    return VT_OK;
}

/* All records; the rest of the file behind a damaged one is left out and counted once. */
static vt_status pass(filling *f, const unsigned char *data, size_t size, vt_err *err)
{
    size_t at = 0;
    for (size_t record = 1; at < size; record++) {
        const size_t left = size - at;
        const char *why = "a record is cut off: the file was still being written";
        if (left >= 16 && masked_crc(data + at, 8) != u32_of(data + at + 8))
            why = "a record's checksum is wrong";
        else if (left >= 16 && u64_of(data + at) <= left - 16) {
            const size_t n = (size_t)u64_of(data + at);
            if (masked_crc(data + at + 12, n) == u32_of(data + at + 12 + n)) {
                VT_TRY(read_event(f, (span){data + at + 12, data + at + 12 + n}, err));
                at += 16 + n;
                continue;
            }
            why = "a record's checksum is wrong";
        }
        if (f->cells)
            vt_table_torn(f->t, record, why);
        break;
    }
    return VT_OK;
}

vt_status vt_table_read_events(vt_table *t, const unsigned char *data, size_t size, vt_err *err)
{
    filling f = {.t = t};
    t->format = "TensorBoard events";
    VT_TRY(vt_table_column(t, "step", 4, true, &f.step_column, err));
    VT_TRY(vt_table_column(t, "wall_time", 9, true, &f.time_column, err));
    VT_TRY(pass(&f, data, size, err));
    f.cells = true;
    return pass(&f, data, size, err);
}
