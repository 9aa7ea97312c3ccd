/* Sources: parts are opened and joined (part.c, join.c), and from there every source looks the same: sample i is sample
 * i - first of the part that holds it, and its classes are the source's. */
#include "data/source.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "image/codec.h"
#include "data/hierarchy.h"
#include "data/join.h"
#include "data/label_sets.h"
#include "data/order.h"
#include "data/part.h"

struct vt_source {
    char *text;
    vt_part *parts;
    int n_parts;
    int64_t count;
    vt_class_list classes;
    int most_labels;    /* of any chosen sample, at least 1 */
    bool single_labels; /* each has exactly one */
    vt_order order;
};

static void count_labels(vt_source *s)
{
    int32_t classes[VT_MAX_LABELS];
    s->most_labels = 1;
    s->single_labels = true;
    for (int k = 0; k < s->n_parts; k++) {
        const vt_part *p = &s->parts[k];
        int above = p->all.hierarchy && !p->all.labels.rows ? vt_hierarchy_most(p->all.hierarchy, p->all.classes) : 0;
        if (above + 1 > s->most_labels)
            s->most_labels = above + 1;
        s->single_labels = s->single_labels && above == 0;
        for (int64_t i = 0; p->all.labels.rows && i < p->count; i++) {
            int n = vt_part_labels(p, i, classes);
            s->most_labels = n > s->most_labels ? n : s->most_labels;
            s->single_labels = s->single_labels && n == 1;
        }
    }
}

static vt_status open_parts(vt_source *s, const char *text, vt_err *err)
{
    s->text = vt_xstrdup(text);
    VT_TRY(vt_join_open(text, &s->parts, &s->n_parts, err));
    for (int k = 0; k < s->n_parts; k++) {
        s->parts[k].first = s->count;
        s->count += s->parts[k].count;
    }
    VT_TRY(vt_join_classes(s->parts, s->n_parts, &s->classes, err));
    return vt_order_set(&s->order, s->parts, s->n_parts, err);
}

vt_status vt_source_open(vt_source **source, const char *spec, vt_err *err)
{
    vt_source *s = vt_xcalloc(1, sizeof *s);
    vt_err local; /* prefixes need a message to stand before */
    vt_status status = open_parts(s, spec, err ? err : &local);
    if (status != VT_OK) {
        vt_source_close(s);
        *source = NULL;
        return status;
    }
    count_labels(s);
    *source = s;
    return VT_OK;
}

void vt_source_close(vt_source *s)
{
    if (!s)
        return;
    for (int k = 0; k < s->n_parts; k++)
        vt_part_close(&s->parts[k]);
    free(s->parts);
    vt_class_list_release(&s->classes);
    vt_order_release(&s->order);
    free(s->text);
    free(s);
}

/* The part that holds sample i; *inner is its index there. */
static const vt_part *part_of(const vt_source *s, int64_t i, int64_t *inner)
{
    assert(i >= 0 && i < s->count);
    int k = 0;
    while (i >= s->parts[k].first + s->parts[k].count)
        k++;
    *inner = i - s->parts[k].first;
    return &s->parts[k];
}

const char *vt_source_spec(const vt_source *s)
{
    return s->text;
}

int64_t vt_source_count(const vt_source *s)
{
    return s->count;
}

bool vt_source_is_endless(const vt_source *s)
{
    for (int k = 0; k < s->n_parts; k++) {
        if (s->parts[k].all.endless)
            return true;
    }
    return false;
}

int64_t vt_source_classes(const vt_source *s)
{
    return s->classes.n;
}

const char *vt_source_class_name(const vt_source *s, int64_t c)
{
    assert(c >= 0 && c < s->classes.n);
    return s->classes.names[c];
}

bool vt_source_has_names(const vt_source *s)
{
    return s->classes.named;
}

bool vt_source_is_leaf(const vt_source *s, int64_t c)
{
    assert(c >= 0 && c < s->classes.n);
    return !s->classes.inner || !s->classes.inner[c];
}

int64_t vt_source_label(const vt_source *s, int64_t i)
{
    const vt_part *p = part_of(s, i, &i);
    return vt_part_label(p, i);
}

bool vt_source_has_single_labels(const vt_source *s)
{
    return s->single_labels;
}

int vt_source_most_labels(const vt_source *s)
{
    return s->most_labels;
}

int vt_source_labels(const vt_source *s, int64_t i, int32_t *classes, int width)
{
    int32_t all[VT_MAX_LABELS];
    const vt_part *p = part_of(s, i, &i);
    int n = vt_part_labels(p, i, all);
    assert(n <= width);
    for (int k = 0; k < width; k++)
        classes[k] = k < n ? all[k] : -1;
    return n;
}

void vt_source_class_counts(const vt_source *s, int64_t *counts)
{
    int32_t classes[VT_MAX_LABELS];
    memset(counts, 0, (size_t)s->classes.n * sizeof *counts);
    for (int k = 0; k < s->n_parts; k++) {
        const vt_part *p = &s->parts[k];
        int64_t each = p->chosen || p->all.labels.rows || !p->kind->each_class ? 0 : p->kind->each_class(&p->all);
        int64_t own = p->all.hierarchy ? p->all.hierarchy->own : p->all.classes;
        for (int64_t c = 0; each > 0 && c < own; c++) {
            classes[0] = (int32_t)c;
            int n = p->all.hierarchy ? vt_hierarchy_expand(p->all.hierarchy, classes, 1, VT_MAX_LABELS) : 1;
            for (int j = 0; j < n; j++)
                counts[p->classes ? p->classes[classes[j]] : classes[j]] += each + (c < p->count - each * own);
        }
        for (int64_t i = 0; each == 0 && i < p->count; i++) {
            int n = vt_part_labels(p, i, classes);
            for (int j = 0; j < n; j++)
                counts[classes[j]]++;
        }
    }
}

const char *vt_source_sample_name(const vt_source *s, int64_t i, char *buf, size_t size)
{
    const vt_part *p = part_of(s, i, &i);
    p->kind->sample_name(&p->all, vt_part_sample(p, i), buf, size);
    return buf;
}

const char *vt_source_key(const vt_source *s, int64_t i, size_t *n)
{
    const vt_part *p = part_of(s, i, &i);
    *n = (size_t)vt_part_sample(p, i);
    return p->kind->key ? p->kind->key(&p->all, vt_part_sample(p, i), n) : NULL;
}

int64_t vt_source_order(const vt_source *s, uint32_t seed, int64_t position)
{
    return vt_order_draw(&s->order, seed, position);
}

vt_status vt_source_balance(vt_source *s, vt_err *err)
{
    if (vt_source_is_endless(s))
        return vt_fail(err, VT_EINVAL,
                       "%s has no end, and its classes are even already; give count=N, or leave them natural", s->text);
    VT_TRY(vt_order_balance(&s->order, s->parts, s->n_parts, s->classes.n, err) == VT_OK
               ? VT_OK
               : vt_prefix(err, "%s", s->text));
    return VT_OK;
}

/* --- fingerprint --- */

static void hash_line(vt_hasher *h, const char *fmt, ...) VT_PRINTF(2, 3);

static void hash_line(vt_hasher *h, const char *fmt, ...)
{
    char line[160];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    assert(n >= 0 && (size_t)n < sizeof line);
    vt_hasher_add(h, line, (size_t)n + 1);
}

/* The classes of labels=FILE, sample by sample, each list ended by -1. */
static void hash_labels(const vt_part *p, vt_hasher *h)
{
    int32_t classes[VT_MAX_LABELS + 1];
    for (int64_t i = 0; p->all.labels.rows && i < p->count; i++) {
        int n = vt_part_labels(p, i, classes);
        classes[n] = -1;
        vt_hasher_add(h, classes, (size_t)(n + 1) * sizeof *classes);
    }
}

static void hash_hierarchy(const vt_part *p, vt_hasher *h)
{
    const vt_hierarchy *tree = p->all.hierarchy;
    if (!tree)
        return;
    hash_line(h, "hierarchy %lld %d", (long long)tree->own, tree->first != NULL);
    vt_hasher_add(h, tree->inner, (size_t)p->all.classes * sizeof *tree->inner);
    if (tree->first) {
        vt_hasher_add(h, tree->first, ((size_t)p->all.classes + 1) * sizeof *tree->first);
        vt_hasher_add(h, tree->ancestors, tree->first[p->all.classes] * sizeof *tree->ancestors);
    }
}

static void hash_part(const vt_part *p, vt_hasher *h)
{
    if (p->kind->identify)
        p->kind->identify(&p->all, h);
    bool each = p->chosen || p->kind->identify_sample;
    for (int64_t i = 0; each && i < p->count; i++) {
        int64_t sample = vt_part_sample(p, i);
        if (p->kind->identify_sample)
            p->kind->identify_sample(&p->all, sample, h);
        else
            hash_line(h, "%lld", (long long)sample);
    }
    hash_labels(p, h);
    hash_hierarchy(p, h);
}

void vt_source_fingerprint(const vt_source *s, char hex[VT_HASH_HEX])
{
    vt_hasher *h = vt_hasher_new();
    bool joined = s->n_parts > 1;
    hash_line(h, "vitro data 1 %s %lld %lld", joined ? "joined" : s->parts[0].kind->name, (long long)s->count,
              (long long)s->classes.n);
    for (int64_t c = 0; c < s->classes.n; c++)
        vt_hasher_add(h, s->classes.names[c], strlen(s->classes.names[c]) + 1);
    for (int k = 0; k < s->n_parts; k++) {
        const vt_part *p = &s->parts[k];
        if (joined)
            hash_line(h, "part %s %lld weight %lld", p->kind->name, (long long)p->count, (long long)p->weight);
        if (p->classes)
            vt_hasher_add(h, p->classes, (size_t)p->all.classes * sizeof *p->classes);
        hash_part(p, h);
    }
    vt_hasher_finish(h, hex);
}

/* --- bytes --- */

size_t vt_source_resident_bytes(const vt_source *s)
{
    size_t bytes = sizeof *s + s->classes.bytes + vt_order_bytes(&s->order);
    for (int k = 0; k < s->n_parts; k++) {
        const vt_part *p = &s->parts[k];
        bytes += sizeof *p + p->all.resident + (p->chosen ? (size_t)p->count * sizeof *p->chosen : 0) +
                 (p->classes ? (size_t)p->all.classes * sizeof *p->classes : 0);
    }
    return bytes;
}

size_t vt_source_decode_bytes(const vt_source *s)
{
    size_t most = 0;
    for (int k = 0; k < s->n_parts; k++) {
        size_t image = s->parts[k].all.image_bytes;
        size_t bytes = image ? 2 * image : VT_MAX_FILE_BYTES + 2 * (size_t)VT_MAX_PIXELS * 3 + VT_DECODER_BYTES;
        most = bytes > most ? bytes : most;
    }
    return most;
}

size_t vt_source_image_bytes(const vt_source *s)
{
    size_t bytes = s->parts[0].all.image_bytes;
    for (int k = 1; k < s->n_parts; k++)
        bytes = s->parts[k].all.image_bytes == bytes ? bytes : 0;
    return bytes;
}

vt_status vt_source_fetch(const vt_source *s, int64_t i, vt_read_buffer *b, vt_err *err)
{
    const vt_part *p = part_of(s, i, &i);
    b->encoded = false;
    return p->kind->fetch(&p->all, vt_part_sample(p, i), b, err);
}

void vt_source_announce(const vt_source *s, int64_t i)
{
    const vt_part *p = part_of(s, i, &i);
    if (p->kind->announce)
        p->kind->announce(&p->all, vt_part_sample(p, i));
}

vt_status vt_source_read(const vt_source *s, int64_t i, vt_read_buffer *b, vt_err *err)
{
    char name[256];
    VT_TRY(vt_source_fetch(s, i, b, err));
    vt_read_buffer_note(b, VT_WORK_DECODE);
    if (!b->encoded)
        return VT_OK;
    b->encoded = false;
    return vt_image_decode(&b->image, b->bytes, b->size, vt_source_sample_name(s, i, name, sizeof name), err);
}
