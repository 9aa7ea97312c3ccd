/* folder:PATH, class folders, on disk or in a tar of them (tree.h). A class is a folder in PATH; its images are the
 * .jpg, .jpeg, .png and .webp files in it and in folders inside it (Tiny ImageNet keeps PATH/CLASS/images/FILE). Hidden
 * names are skipped; other files are counted and said. Order: by the bytes of the names, so that it is the same
 * everywhere; classes=FILE gives another order of classes. With classes=FILE and labels=FILE folders are no classes:
 * every image in PATH and below is a sample. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "data/collection.h"
#include "data/tree.h"

#define MAX_DEPTH 4 /* folders below a class; links to folders are followed for classes only */
#define MAX_FILES (1LL << 30)

typedef struct {
    size_t name;          /* offset in names: "class/file.jpg" */
    int64_t size, offset; /* offset in the tar */
    int32_t label;
} file_entry;

typedef struct {
    vt_tree tree;
    vt_text names;
    file_entry *files;
    int64_t n, capacity;
    int64_t others;   /* files that are no images, by their names */
    uint64_t changed; /* mixes that of all files */
} folder;

static vt_status add_file(folder *f, const char *name, const vt_tree_entry *entry, int32_t label, vt_err *err)
{
    if (f->n == MAX_FILES)
        return vt_fail(err, VT_EUNSUPPORTED, "%s: more than %lld images", f->tree.root, (long long)MAX_FILES);
    if (f->n == f->capacity) {
        f->capacity = f->capacity ? f->capacity * 2 : 1024;
        f->files = vt_xrealloc(f->files, (size_t)f->capacity * sizeof *f->files);
    }
    f->files[f->n++] = (file_entry){f->names.len, entry->size, entry->offset, label};
    f->changed = f->changed * 31 + entry->changed;
    vt_text_addn(&f->names, name, strlen(name) + 1);
    return VT_OK;
}

static vt_status add_folder(folder *f, const char *relative, int32_t label, int depth, vt_err *err);

static vt_status add_entry(folder *f, const char *relative, int32_t label, int depth, vt_err *err)
{
    vt_tree_entry entry;
    VT_TRY(vt_tree_look(&f->tree, relative, &entry, err));
    if (entry.folder && !entry.link && depth < MAX_DEPTH)
        return add_folder(f, relative, label, depth + 1, err);
    if (entry.file && vt_image_has_suffix(relative))
        return add_file(f, relative, &entry, label, err);
    f->others++;
    return VT_OK;
}

static vt_status add_folder(folder *f, const char *relative, int32_t label, int depth, vt_err *err)
{
    char **names;
    size_t n;
    VT_TRY(vt_tree_list(&f->tree, relative, &names, &n, err));
    vt_status status = VT_OK;
    for (size_t i = 0; i < n && status == VT_OK; i++) {
        if (names[i][0] == '.')
            continue;
        char *inner = vt_path_join(relative, names[i]);
        status = add_entry(f, inner, label, depth, err);
        free(inner);
    }
    vt_free_names(names, n);
    return status;
}

/* The names of the folders in the root, sorted: the first n_dirs of names. */
static void keep_dirs(const vt_tree *tree, char **names, size_t n, size_t *n_dirs)
{
    *n_dirs = 0;
    for (size_t i = 0; i < n; i++) {
        if (names[i][0] != '.' && vt_tree_is_folder(tree, names[i])) {
            char *t = names[*n_dirs];
            names[(*n_dirs)++] = names[i];
            names[i] = t;
        }
    }
}

/* Every folder must be a class of the file; the file's order holds. */
static vt_status order_classes(vt_collection *c, const char *root, const char *file, char **dirs, size_t n_dirs,
                               vt_err *err)
{
    VT_TRY(vt_class_file_read(file, &c->class_names, &c->classes, err));
    for (size_t i = 0; i < n_dirs; i++) {
        bool found = false;
        for (int64_t k = 0; k < c->classes && !found; k++)
            found = strcmp(c->class_names[k], dirs[i]) == 0;
        if (!found)
            return vt_fail(err, VT_EINVAL, "%s: the folder '%s' is no class of %s", root, dirs[i], file);
    }
    return VT_OK;
}

static void copy_classes(vt_collection *c, char **dirs, size_t n_dirs)
{
    c->classes = (int64_t)n_dirs;
    c->class_names = vt_xcalloc(n_dirs, sizeof *c->class_names);
    for (size_t i = 0; i < n_dirs; i++)
        c->class_names[i] = vt_xstrdup(dirs[i]);
}

static vt_status fail_without_classes(const char *root, char **names, size_t n, vt_err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (vt_has_suffix(names[i], ".tar") || vt_has_suffix(names[i], ".tar.gz"))
            return vt_fail(err, VT_EINVAL, "%s holds tar files but no class folders; name the shards: wds:%s/%s", root,
                           root, names[i]);
        if (vt_image_has_suffix(names[i]))
            return vt_fail(err, VT_EINVAL, "%s holds images but no class folders; put them into %s/CLASS/", root, root);
    }
    return vt_fail(err, VT_EINVAL, "%s has no class folders; images belong into %s/CLASS/", root, root);
}

/* All images, whatever folders they lie in; classes come from files alone. */
static vt_status read_flat(vt_collection *c, const char *file, vt_err *err)
{
    folder *f = c->state;
    char **names;
    size_t n;
    VT_TRY(vt_class_file_read(file, &c->class_names, &c->classes, err));
    VT_TRY(vt_tree_list(&f->tree, "", &names, &n, err));
    vt_status status = VT_OK;
    for (size_t i = 0; i < n && status == VT_OK; i++) {
        if (names[i][0] != '.')
            status = add_entry(f, names[i], 0, -1, err);
    }
    vt_free_names(names, n);
    if (status == VT_OK && f->n == 0)
        status = vt_fail(err, VT_EINVAL, "%s holds no .jpg, .jpeg, .png or .webp file", f->tree.root);
    return status;
}

static vt_status find_classes(vt_collection *c, const vt_spec *spec, vt_err *err)
{
    const folder *f = c->state;
    const char *file = vt_spec_get(spec, "classes");
    char **names;
    size_t n, n_dirs;
    VT_TRY(vt_tree_list(&f->tree, "", &names, &n, err));
    keep_dirs(&f->tree, names, n, &n_dirs);
    vt_status status = VT_OK;
    if (n_dirs == 0)
        status = fail_without_classes(f->tree.root, names, n, err);
    else if (n_dirs > VT_MAX_CLASSES)
        status = vt_fail(err, VT_EUNSUPPORTED, "%s: more than %d class folders", f->tree.root, VT_MAX_CLASSES);
    else if (file)
        status = order_classes(c, f->tree.root, file, names, n_dirs, err);
    else
        copy_classes(c, names, n_dirs);
    vt_free_names(names, n);
    return status;
}

/* A class of classes=FILE may lack its folder; a folder that is there must hold images. */
static vt_status read_class(folder *f, const char *name, int32_t label, bool listed, vt_err *err)
{
    if (listed && !vt_tree_is_folder(&f->tree, name))
        return VT_OK;
    int64_t before = f->n;
    VT_TRY(add_folder(f, name, label, 0, err));
    if (f->n == before)
        return vt_fail(err, VT_EINVAL,
                       "%s/%s: the class folder holds no .jpg, .jpeg, .png or .webp file; remove it or fill it",
                       f->tree.root, name);
    return VT_OK;
}

static vt_status read_classes(vt_collection *c, const vt_spec *spec, vt_err *err)
{
    folder *f = c->state;
    bool listed = vt_spec_get(spec, "classes") != NULL;
    VT_TRY(find_classes(c, spec, err));
    for (int64_t k = 0; k < c->classes; k++)
        VT_TRY(read_class(f, c->class_names[k], (int32_t)k, listed, err));
    return VT_OK;
}

static vt_status folder_open(vt_collection *c, const vt_spec *spec, vt_err *err)
{
    folder *f = c->state = vt_xcalloc(1, sizeof *f);
    VT_TRY(vt_tree_open(&f->tree, spec->place, err));
    const char *file = vt_spec_get(spec, "classes");
    if (file && vt_spec_get(spec, "labels"))
        VT_TRY(read_flat(c, file, err));
    else
        VT_TRY(read_classes(c, spec, err));
    if (f->others > 0)
        vt_log(VT_LOG_WARN, "%s: %lld files are no .jpg, .jpeg, .png or .webp and are left out", f->tree.root,
               (long long)f->others);
    vt_tree_settle(&f->tree);
    c->count = f->n;
    c->changed = f->changed;
    c->resident = (size_t)f->capacity * sizeof *f->files + f->names.cap;
    return VT_OK;
}

static void folder_close(vt_collection *c)
{
    folder *f = c->state;
    if (!f)
        return;
    vt_tree_release(&f->tree);
    free(f->files);
    vt_text_release(&f->names);
    free(f);
}

static int64_t folder_label(const vt_collection *c, int64_t i)
{
    const folder *f = c->state;
    return f->files[i].label;
}

static const char *name_of(const folder *f, int64_t i)
{
    return f->names.s + f->files[i].name;
}

static void folder_name(const vt_collection *c, int64_t i, char *buf, size_t size)
{
    snprintf(buf, size, "%s", name_of(c->state, i));
}

static const char *folder_key(const vt_collection *c, int64_t i, size_t *n)
{
    const char *name = name_of(c->state, i);
    *n = strlen(name);
    return name;
}

static void folder_identify_sample(const vt_collection *c, int64_t i, vt_hasher *h)
{
    const folder *f = c->state;
    const char *name = name_of(f, i);
    char size[32];
    int n = snprintf(size, sizeof size, "%lld", (long long)f->files[i].size);
    vt_hasher_add(h, name, strlen(name) + 1);
    vt_hasher_add(h, size, (size_t)n + 1);
}

static int64_t folder_stored_bytes(const vt_collection *c, int64_t i)
{
    const folder *f = c->state;
    return f->files[i].size;
}

static vt_status folder_fetch(const vt_collection *c, int64_t i, vt_read_buffer *b, vt_err *err)
{
    const folder *f = c->state;
    const file_entry *e = &f->files[i];
    return vt_tree_fetch(&f->tree, name_of(f, i), e->offset, e->size, b, err);
}

static vt_status folder_fetch_end(const vt_collection *c, int64_t i, unsigned char *end, size_t n, vt_err *err)
{
    const folder *f = c->state;
    const file_entry *e = &f->files[i];
    return vt_tree_fetch_end(&f->tree, name_of(f, i), e->offset, e->size, end, n, err);
}

const vt_collection_kind vt_folder_kind = {
    .name = "folder",
    .options = {"classes"},
    .open = folder_open,
    .close = folder_close,
    .label = folder_label,
    .sample_name = folder_name,
    .key = folder_key,
    .identify_sample = folder_identify_sample,
    .stored_bytes = folder_stored_bytes,
    .fetch = folder_fetch,
    .fetch_end = folder_fetch_end,
};
