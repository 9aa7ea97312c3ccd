/* A folder, or a tar file of one, looked at in the same way: what is in it in the order of the bytes of names, and its
 * files. So whatever is decided by looking at a folder is decided for its tar too. Inside data/ only. */
#ifndef VT_DATA_TREE_H
#define VT_DATA_TREE_H

#include "data/source.h"
#include "data/tar_index.h"

typedef struct {
    const char *name; /* below the tree's root, without "./"; points into `names` */
    int64_t member;
} vt_tree_member;

/* {0} may be released. */
typedef struct {
    char *root; /* without a '/' at the end */
    bool packed;
    vt_tar_index tar;
    vt_tree_member *members; /* of the tar, sorted as a walk through folders would meet them */
    int64_t n;
    vt_text names;
} vt_tree;

typedef struct {
    bool folder, file, link; /* a link on disk tells what it points to; one in a tar is neither folder nor file */
    int64_t size, offset;    /* of a file; offset in the tar */
    uint64_t changed;        /* mixes size and time of change */
} vt_tree_entry;

/* A path that is a regular file is a tar or .tar.gz. In a tar, one folder around everything is the root. */
vt_status vt_tree_open(vt_tree *t, const char *path, vt_err *err) VT_MUST_USE;
void vt_tree_release(vt_tree *t);

/* The names in a folder ("" is the root), sorted by bytes, for vt_free_names. */
vt_status vt_tree_list(const vt_tree *t, const char *folder, char ***names, size_t *n, vt_err *err) VT_MUST_USE;
/* What stands at a path below the root; an error where nothing does. */
vt_status vt_tree_look(const vt_tree *t, const char *path, vt_tree_entry *entry, vt_err *err) VT_MUST_USE;
bool vt_tree_is_folder(const vt_tree *t, const char *path);
/* Once no more looks are needed: only vt_tree_fetch goes on. */
void vt_tree_settle(vt_tree *t);
/* Reads a file whole: by its path, or in a tar by offset and size. */
vt_status vt_tree_fetch(const vt_tree *t, const char *path, int64_t offset, int64_t size, vt_read_buffer *b,
                        vt_err *err) VT_MUST_USE;

/* The last n bytes of it. */
vt_status vt_tree_fetch_end(const vt_tree *t, const char *path, int64_t offset, int64_t size, unsigned char *end,
                            size_t n, vt_err *err) VT_MUST_USE;

#endif
