/* Folders on disk are asked of the system; those of a tar are stretches of its sorted list of members. */
#include "data/tree.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "data/collection.h"

/* --- a tar --- */

/* '/' sorts before all bytes: a folder's members then follow it, as a walk meets them. */
static int order_of(unsigned char c)
{
    return c == '/' ? 1 : c == '\0' ? 0 : c + 2;
}

static int compare_paths(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return order_of((unsigned char)*a) - order_of((unsigned char)*b);
}

static int compare_members(const void *a, const void *b)
{
    const vt_tree_member *x = a, *y = b;
    int order = compare_paths(x->name, y->name);
    return order ? order : (x->member > y->member) - (x->member < y->member);
}

/* Adds a member's path without "." and empty parts; false where a part is "..". */
static bool add_path(vt_text *out, const char *path)
{
    size_t start = out->len;
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n == 2 && memcmp(path, "..", 2) == 0)
            return false;
        if (n > 0 && !(n == 1 && *path == '.')) {
            if (out->len > start)
                vt_text_add(out, "/");
            vt_text_addn(out, path, n);
        }
        path += n + (path[n] == '/');
    }
    return true;
}

/* The first member that is not before path. */
static int64_t lower_bound(const vt_tree *t, const char *path)
{
    int64_t low = 0, high = t->n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (compare_paths(t->members[middle].name, path) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* What follows folder and '/' in a member's name, or NULL. */
static const char *inside(const char *name, const char *folder)
{
    size_t n = strlen(folder);
    if (n == 0)
        return name;
    return strncmp(name, folder, n) == 0 && name[n] == '/' ? name + n + 1 : NULL;
}

static vt_status sort_members(vt_tree *t, vt_err *err)
{
    size_t *at = vt_xmalloc(((size_t)t->tar.n + 1) * sizeof *at);
    t->members = vt_xmalloc(((size_t)t->tar.n + 1) * sizeof *t->members);
    vt_status status = VT_OK;
    for (int64_t i = 0; i < t->tar.n && status == VT_OK; i++) {
        at[t->n] = t->names.len;
        if (!add_path(&t->names, vt_tar_index_name(&t->tar, i)))
            status = vt_fail(err, VT_EFORMAT, "%s: the member '%.200s' lies outside", t->root,
                             vt_tar_index_name(&t->tar, i));
        else if (t->names.len > at[t->n]) { /* "./" has no name */
            vt_text_addn(&t->names, "", 1);
            t->members[t->n++].member = i;
        }
    }
    for (int64_t i = 0; i < t->n; i++)
        t->members[i].name = t->names.s + at[i];
    free(at);
    VT_TRY(status);
    qsort(t->members, (size_t)t->n, sizeof *t->members, compare_members);
    int64_t kept = 0;
    for (int64_t i = 0; i < t->n; i++) { /* of two with one name the later one stays, as unpacking has it */
        if (i + 1 == t->n || strcmp(t->members[i].name, t->members[i + 1].name) != 0)
            t->members[kept++] = t->members[i];
    }
    t->n = kept;
    return VT_OK;
}

/* Where all lies in one folder that holds folders itself, that one is the root. */
static void enter_single_folder(vt_tree *t)
{
    char **names, **inner;
    size_t n, n_inner, folders = 0;
    if (vt_tree_list(t, "", &names, &n, NULL) != VT_OK)
        return;
    if (n == 1 && vt_tree_is_folder(t, names[0]) && vt_tree_list(t, names[0], &inner, &n_inner, NULL) == VT_OK) {
        for (size_t i = 0; i < n_inner; i++) {
            char *path = vt_path_join(names[0], inner[i]);
            folders += inner[i][0] != '.' && vt_tree_is_folder(t, path);
            free(path);
        }
        vt_free_names(inner, n_inner);
    }
    int64_t kept = 0;
    for (int64_t i = 0; folders > 0 && i < t->n; i++) {
        const char *name = inside(t->members[i].name, names[0]);
        if (name)
            t->members[kept++] = (vt_tree_member){name, t->members[i].member};
    }
    if (folders > 0)
        t->n = kept;
    vt_free_names(names, n);
}

static vt_status list_packed(const vt_tree *t, const char *folder, char ***names, size_t *n)
{
    size_t capacity = 0;
    *names = NULL;
    *n = 0;
    for (int64_t i = lower_bound(t, folder); i < t->n; i++) {
        const char *name = t->members[i].name, *rest = inside(name, folder);
        if (!rest && strcmp(name, folder) == 0)
            continue;
        if (!rest)
            break;
        size_t length = strcspn(rest, "/");
        if (*n > 0 && strncmp((*names)[*n - 1], rest, length) == 0 && (*names)[*n - 1][length] == '\0')
            continue;
        if (*n == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            *names = vt_xrealloc(*names, capacity * sizeof **names);
        }
        (*names)[(*n)++] = vt_xasprintf("%.*s", (int)length, rest);
    }
    return VT_OK;
}

static vt_status look_packed(const vt_tree *t, const char *path, vt_tree_entry *entry, vt_err *err)
{
    int64_t i = lower_bound(t, path);
    bool here = i < t->n && strcmp(t->members[i].name, path) == 0;
    int64_t below = here ? i + 1 : i;
    *entry = (vt_tree_entry){.changed = t->tar.changed};
    if (below < t->n && inside(t->members[below].name, path)) {
        entry->folder = true;
        return VT_OK;
    }
    if (!here)
        return vt_fail(err, VT_EIO, "%s: no member is named '%.200s'", t->root, path);
    const vt_tar_entry *e = &t->tar.entries[t->members[i].member];
    entry->folder = e->kind == VT_TAR_FOLDER;
    entry->file = e->kind == VT_TAR_FILE;
    entry->link = e->kind == VT_TAR_LINK;
    entry->size = e->size;
    entry->offset = e->offset;
    return VT_OK;
}

/* --- both --- */

vt_status vt_tree_open(vt_tree *t, const char *path, vt_err *err)
{
    *t = (vt_tree){.root = vt_xstrdup(path), .packed = vt_is_file(path)};
    for (size_t n = strlen(t->root); n > 1 && t->root[n - 1] == '/'; n--)
        t->root[n - 1] = '\0';
    if (!t->packed)
        return VT_OK;
    VT_TRY(vt_tar_index_open(&t->tar, path, err));
    VT_TRY(sort_members(t, err));
    enter_single_folder(t);
    return VT_OK;
}

void vt_tree_settle(vt_tree *t)
{
    vt_tar_index_drop_list(&t->tar);
    free(t->members);
    t->members = NULL;
    t->n = 0;
    vt_text_release(&t->names);
}

void vt_tree_release(vt_tree *t)
{
    vt_tree_settle(t);
    vt_tar_index_release(&t->tar);
    free(t->root);
    *t = (vt_tree){0};
}

vt_status vt_tree_list(const vt_tree *t, const char *folder, char ***names, size_t *n, vt_err *err)
{
    if (t->packed)
        return list_packed(t, folder, names, n);
    char *path = *folder ? vt_path_join(t->root, folder) : vt_xstrdup(t->root);
    vt_status status = vt_list_dir(path, names, n, err);
    free(path);
    return status;
}

vt_status vt_tree_look(const vt_tree *t, const char *path, vt_tree_entry *entry, vt_err *err)
{
    if (t->packed)
        return look_packed(t, path, entry, err);
    char *full = vt_path_join(t->root, path);
    struct stat st;
    vt_status status = VT_OK;
    bool found = lstat(full, &st) == 0, link = found && S_ISLNK(st.st_mode);
    if (!found || (link && stat(full, &st) != 0))
        status = vt_fail_errno(err, "%s", full);
    else
        *entry = (vt_tree_entry){S_ISDIR(st.st_mode), S_ISREG(st.st_mode), link, (int64_t)st.st_size, 0,
                                 vt_changed_mix(&st)};
    free(full);
    return status;
}

bool vt_tree_is_folder(const vt_tree *t, const char *path)
{
    vt_tree_entry entry;
    return vt_tree_look(t, path, &entry, NULL) == VT_OK && entry.folder;
}

vt_status vt_tree_fetch(const vt_tree *t, const char *path, int64_t offset, int64_t size, vt_read_buffer *b,
                        vt_err *err)
{
    vt_status status;
    if (!t->packed) {
        char *full = vt_path_join(t->root, path);
        status = vt_read_buffer_file(b, full, err);
        free(full);
        return status;
    }
    status = vt_read_buffer_reserve(b, (size_t)size, err);
    if (status == VT_OK)
        status = vt_tar_index_read_at(&t->tar, offset, b->bytes, b->size, err);
    return status == VT_OK ? VT_OK : vt_prefix(err, "%s:%s", vt_path_base(t->root), path);
}

vt_status vt_tree_fetch_end(const vt_tree *t, const char *path, int64_t offset, int64_t size, unsigned char *end,
                            size_t n, vt_err *err)
{
    if (t->packed)
        return vt_tar_index_read_at(&t->tar, offset + size - (int64_t)n, end, n, err);
    char *full = vt_path_join(t->root, path);
    vt_status status = vt_read_file_end(full, size, end, n, err);
    free(full);
    return status;
}
