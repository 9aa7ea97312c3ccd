/* Sources: a SPEC is taken apart, its kind opens the collection, split= and limit= choose samples, and from there every
 * source looks the same. The table of kinds is at the top. */
#include "data/source.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "data/codec.h"
#include "data/collection.h"
#include "data/label_sets.h"
#include "data/select.h"

static const vt_collection_kind *const kinds[] = {&vt_folder_kind, &vt_wds_kind, &vt_idx_kind, &vt_synthetic_kind};
#define N_KINDS VT_COUNT_OF(kinds)

/* One row an entry of kinds, and NULL at the end; forms and sentences stand here because a table of constants cannot
 * read them from another file. */
const vt_source_help vt_source_kinds_help[] = {
    {"folder", "folder:PATH", "class folders: PATH/CLASS/IMAGE.jpg, .png or .webp"},
    {"wds", "wds:PATH/{000..012}.tar", "WebDataset shards, tar or tar.gz: KEY.jpg, .png or .webp beside KEY.cls"},
    {"idx", "idx:IMAGES,LABELS", "the two files of MNIST and its kin, plain or gzip"},
    {"synthetic", "synthetic:shapes?classes=16&noise=0.1&size=32&count=10000&seed=0",
     "coloured shapes drawn on the fly; noise is the share of wrong labels"},
    {NULL, NULL, NULL},
};

const vt_source_help vt_source_options_help[] = {
    {"split", "split=[A%:B%]", "the samples from A % to B % of the keyed order, every class in proportion"},
    {"limit", "limit=N", "the first N of them; a smaller N is part of a larger one"},
    {"labels", "labels=FILE",
     "each sample's classes, none or several: a row is NAME, TAB, classes with TAB or comma between"},
    {"classes", "classes=FILE", "names of the classes in order, one a line; not for synthetic:"},
    {NULL, NULL, NULL},
};
static const char *const common_options[] = {"split", "limit", "labels"};

struct vt_source {
    const vt_collection_kind *kind;
    vt_collection all;
    vt_spec spec;
    uint32_t *chosen; /* of all, or NULL: every sample */
    int64_t count;
    int most_labels;    /* of any chosen sample, at least 1 */
    bool single_labels; /* each has exactly one */
    char **numbers;     /* names of classes that have none */
    size_t name_bytes;
};

/* A bare path: a folder, or something that ends in .tar, .tar.gz or .tgz. */
static const vt_collection_kind *kind_of_path(const char *path, vt_err *err)
{
    if (vt_has_suffix(path, ".tar") || vt_has_suffix(path, ".tar.gz") || vt_has_suffix(path, ".tgz"))
        return &vt_wds_kind;
    if (vt_is_dir(path))
        return &vt_folder_kind;
    if (vt_is_file(path))
        vt_fail(err, VT_EINVAL, "this file is no .tar, .tar.gz or .tgz; say what it is, as in idx:IMAGES,LABELS");
    else
        vt_fail(err, VT_EINVAL,
                "no such folder or tar file; forms are folder:PATH, wds:PATH/{000..012}.tar, "
                "idx:IMAGES,LABELS and synthetic:shapes");
    return NULL;
}

static const vt_collection_kind *find_kind(const vt_spec *spec, vt_err *err)
{
    if (!spec->kind)
        return kind_of_path(spec->place, err);
    const char *names[N_KINDS];
    for (size_t i = 0; i < N_KINDS; i++) {
        names[i] = kinds[i]->name;
        if (strcmp(names[i], spec->kind) == 0)
            return kinds[i];
    }
    const char *near = vt_nearest(spec->kind, names, N_KINDS);
    vt_fail(err, VT_EINVAL, "unknown kind of data '%s'%s%s%s; kinds are folder, wds, idx, synthetic", spec->kind,
            near ? "; did you mean '" : "", near ? near : "", near ? "'" : "");
    return NULL;
}

static vt_status check_options(const vt_source *s, vt_err *err)
{
    const char *known[VT_COUNT_OF(common_options) + VT_COUNT_OF(s->kind->options)];
    int n = 0;
    for (size_t i = 0; i < VT_COUNT_OF(common_options); i++)
        known[n++] = common_options[i];
    for (const char *const *o = s->kind->options; *o; o++)
        known[n++] = *o;
    return vt_spec_check_options(&s->spec, known, n, err);
}

static vt_status choose(vt_source *s, vt_err *err)
{
    int64_t from, to, limit;
    VT_TRY(vt_spec_get_split(&s->spec, &from, &to, err));
    VT_TRY(vt_spec_get_i64(&s->spec, "limit", 0, 1, INT64_MAX, &limit, err));
    s->count = s->all.count;
    if (limit == 0 && from == 0 && to == VT_SHARE_ALL)
        return VT_OK;
    return vt_select(s->kind, &s->all, from, to, limit, &s->chosen, &s->count, err);
}

static int64_t sample_of(const vt_source *s, int64_t i)
{
    assert(i >= 0 && i < s->count);
    return s->chosen ? (int64_t)s->chosen[i] : i;
}

static void count_labels(vt_source *s)
{
    s->most_labels = 1;
    s->single_labels = true;
    for (int64_t i = 0; s->all.labels.rows && i < s->count; i++) {
        int n = (int)s->all.labels.rows[sample_of(s, i)].n;
        s->most_labels = n > s->most_labels ? n : s->most_labels;
        s->single_labels = s->single_labels && n == 1;
    }
}

static void name_classes(vt_source *s)
{
    int64_t n = s->all.classes;
    if (!s->all.class_names) {
        s->numbers = vt_xcalloc((size_t)n, sizeof *s->numbers);
        for (int64_t c = 0; c < n; c++)
            s->numbers[c] = vt_xasprintf("%lld", (long long)c);
    }
    for (int64_t c = 0; c < n; c++)
        s->name_bytes += sizeof(char *) + strlen(vt_source_class_name(s, c)) + 1;
}

/* The kind's messages name files; those of the SPEC itself get it in front. */
static vt_status open_parts(vt_source *s, const char *text, vt_err *err)
{
    vt_status status = vt_spec_parse(&s->spec, text, err);
    if (status == VT_OK) {
        s->kind = find_kind(&s->spec, err);
        status = s->kind ? check_options(s, err) : VT_EINVAL;
    }
    if (status == VT_OK) {
        VT_TRY(s->kind->open(&s->all, &s->spec, err));
        const char *labels = vt_spec_get(&s->spec, "labels");
        if (labels)
            VT_TRY(vt_label_sets_read(s->kind, &s->all, labels, err));
        assert(s->all.count >= 1 && s->all.classes >= 1);
        status = choose(s, err);
    }
    if (status != VT_OK)
        vt_prefix(err, "data '%.300s'", text);
    return status;
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
    name_classes(s);
    count_labels(s);
    *source = s;
    return VT_OK;
}

void vt_source_close(vt_source *s)
{
    if (!s)
        return;
    if (s->numbers)
        vt_free_names(s->numbers, (size_t)s->all.classes);
    if (s->all.class_names)
        vt_free_names(s->all.class_names, (size_t)s->all.classes);
    if (s->kind)
        s->kind->close(&s->all);
    vt_label_sets_release(&s->all.labels);
    free(s->chosen);
    vt_spec_release(&s->spec);
    free(s);
}

const char *vt_source_spec(const vt_source *s)
{
    return s->spec.text;
}

int64_t vt_source_count(const vt_source *s)
{
    return s->count;
}

int64_t vt_source_classes(const vt_source *s)
{
    return s->all.classes;
}

const char *vt_source_class_name(const vt_source *s, int64_t c)
{
    assert(c >= 0 && c < s->all.classes);
    return s->all.class_names ? s->all.class_names[c] : s->numbers[c];
}

bool vt_source_has_names(const vt_source *s)
{
    return s->all.class_names != NULL;
}

int64_t vt_source_label(const vt_source *s, int64_t i)
{
    return vt_label_sets_first(s->kind, &s->all, sample_of(s, i));
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
    int n = vt_label_sets_of(s->kind, &s->all, sample_of(s, i), all);
    assert(n <= width);
    for (int k = 0; k < width; k++)
        classes[k] = k < n ? all[k] : -1;
    return n;
}

void vt_source_class_counts(const vt_source *s, int64_t *counts)
{
    int32_t classes[VT_MAX_LABELS];
    memset(counts, 0, (size_t)s->all.classes * sizeof *counts);
    for (int64_t i = 0; i < s->count; i++) {
        int n = vt_label_sets_of(s->kind, &s->all, sample_of(s, i), classes);
        for (int k = 0; k < n; k++)
            counts[classes[k]]++;
    }
}

const char *vt_source_sample_name(const vt_source *s, int64_t i, char *buf, size_t size)
{
    s->kind->sample_name(&s->all, sample_of(s, i), buf, size);
    return buf;
}

/* The classes of labels=FILE, sample by sample, each list ended by -1. */
static void hash_labels(const vt_source *s, vt_hasher *h)
{
    int32_t classes[VT_MAX_LABELS + 1];
    for (int64_t i = 0; s->all.labels.rows && i < s->count; i++) {
        int n = vt_label_sets_of(s->kind, &s->all, sample_of(s, i), classes);
        classes[n] = -1;
        vt_hasher_add(h, classes, (size_t)(n + 1) * sizeof *classes);
    }
}

void vt_source_fingerprint(const vt_source *s, char hex[VT_HASH_HEX])
{
    vt_hasher *h = vt_hasher_new();
    char line[96];
    int n = snprintf(line, sizeof line, "vitro data 1 %s %lld %lld", s->kind->name, (long long)s->count,
                     (long long)s->all.classes);
    vt_hasher_add(h, line, (size_t)n + 1);
    for (int64_t c = 0; c < s->all.classes; c++) {
        const char *name = vt_source_class_name(s, c);
        vt_hasher_add(h, name, strlen(name) + 1);
    }
    if (s->kind->identify)
        s->kind->identify(&s->all, h);
    bool each = s->chosen || s->kind->identify_sample;
    for (int64_t i = 0; each && i < s->count; i++) {
        int64_t sample = sample_of(s, i);
        if (s->kind->identify_sample) {
            s->kind->identify_sample(&s->all, sample, h);
        } else {
            n = snprintf(line, sizeof line, "%lld", (long long)sample);
            vt_hasher_add(h, line, (size_t)n + 1);
        }
    }
    hash_labels(s, h);
    vt_hasher_finish(h, hex);
}

size_t vt_source_resident_bytes(const vt_source *s)
{
    size_t chosen = s->chosen ? (size_t)s->count * sizeof *s->chosen : 0;
    return sizeof *s + s->all.resident + s->name_bytes + chosen;
}

size_t vt_source_decode_bytes(const vt_source *s)
{
    return s->all.image_bytes ? 2 * s->all.image_bytes
                              : VT_MAX_FILE_BYTES + 2 * (size_t)VT_MAX_PIXELS * 3 + VT_DECODER_BYTES;
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

vt_status vt_source_fetch(const vt_source *s, int64_t i, vt_read_buffer *b, vt_err *err)
{
    b->encoded = false;
    return s->kind->fetch(&s->all, sample_of(s, i), b, err);
}

void vt_read_buffer_note(const vt_read_buffer *b, vt_work work)
{
    if (b->work)
        atomic_store_explicit(b->work, (int)work, memory_order_relaxed);
}

void vt_read_buffer_release(vt_read_buffer *b)
{
    free(b->bytes);
    vt_image_release(&b->image);
    *b = (vt_read_buffer){0};
}

vt_status vt_read_buffer_reserve(vt_read_buffer *b, size_t size, vt_err *err)
{
    if (size > VT_MAX_FILE_BYTES)
        return vt_fail(err, VT_EFORMAT, "%zu bytes are more than the limit of %u for one image", size,
                       VT_MAX_FILE_BYTES);
    if (size > b->capacity) {
        free(b->bytes);
        b->capacity = 0;
        b->bytes = malloc(size);
        if (!b->bytes)
            return vt_fail(err, VT_ENOMEM, "no memory for a file of %zu bytes", size);
        b->capacity = size;
    }
    b->size = size;
    b->encoded = true;
    return VT_OK;
}

static vt_status read_open_file(vt_read_buffer *b, int fd, const char *path, vt_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return vt_fail_errno(err, "%s", path);
    if (!S_ISREG(st.st_mode))
        return vt_fail(err, VT_EINVAL, "%s is %s; expected an image file", path,
                       S_ISDIR(st.st_mode) ? "a folder" : "a pipe or device");
    vt_status status = vt_read_buffer_reserve(b, (size_t)st.st_size, err);
    if (status == VT_OK)
        return vt_file_read_at(fd, path, 0, b->bytes, b->size, err);
    vt_prefix(err, "%s", path);
    return status;
}

vt_status vt_read_buffer_file(vt_read_buffer *b, const char *path, vt_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer must not hang us */
    if (fd < 0)
        return vt_fail_errno(err, "%s", path);
    vt_status status = read_open_file(b, fd, path, err);
    close(fd);
    return status;
}

vt_status vt_collection_name_classes(vt_collection *c, const vt_spec *spec, int64_t max_label, vt_err *err)
{
    const char *path = vt_spec_get(spec, "classes");
    c->classes = max_label + 1;
    if (!path)
        return VT_OK;
    VT_TRY(vt_class_file_read(path, &c->class_names, &c->classes, err));
    if (max_label >= c->classes && !vt_spec_get(spec, "labels"))
        return vt_fail(err, VT_EINVAL, "%s names %lld classes, but the data have a class numbered %lld", path,
                       (long long)c->classes, (long long)max_label);
    return VT_OK;
}
