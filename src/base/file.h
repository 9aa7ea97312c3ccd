/* Files: read whole, written atomically, locked. Paths are bytes; every message names the path. */
#ifndef VT_BASE_FILE_H
#define VT_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Reads a regular file of at most max_bytes; *data is malloc'ed (the caller's), with a zero byte behind it. */
vt_status vt_file_read(const char *path, size_t max_bytes, unsigned char **data, size_t *size, vt_err *err) VT_MUST_USE;

/* Reads exactly size bytes at offset; a short file is VT_EFORMAT. */
vt_status vt_file_read_at(int fd, const char *path, int64_t offset, void *data, size_t size, vt_err *err) VT_MUST_USE;

/* A file that appears under its name only when complete: written as PATH.tmp.PID, synced, renamed on commit. After a
 * failed write or without commit, release removes the temporary. {0} may be released. */
typedef struct {
    char *path, *tmp_path;
    int fd;
    bool open;
} vt_atomic_file;

vt_status vt_atomic_open(vt_atomic_file *f, const char *path, vt_err *err) VT_MUST_USE;
vt_status vt_atomic_write(vt_atomic_file *f, const void *data, size_t size, vt_err *err) VT_MUST_USE;
vt_status vt_atomic_commit(vt_atomic_file *f, vt_err *err) VT_MUST_USE;
void vt_atomic_release(vt_atomic_file *f);

/* The three above in one. */
vt_status vt_file_write(const char *path, const void *data, size_t size, vt_err *err) VT_MUST_USE;

/* mkdir -p; an existing directory is fine. */
vt_status vt_make_dirs(const char *path, vt_err *err) VT_MUST_USE;
/* rm -rf of a directory that vitro made itself (at most 64 deep); symbolic links are removed, not followed. */
vt_status vt_remove_tree(const char *path, vt_err *err) VT_MUST_USE;
/* fsync of a directory, so that a rename in it survives a power cut. */
vt_status vt_sync_dir(const char *path, vt_err *err) VT_MUST_USE;
/* rename(2) with a sentence. */
vt_status vt_rename(const char *from, const char *to, vt_err *err) VT_MUST_USE;

bool vt_is_dir(const char *path);
bool vt_is_file(const char *path);
/* "a/b" from "a" and "b"; malloc'ed. */
char *vt_path_join(const char *dir, const char *name);
const char *vt_path_base(const char *path);

/* The names in a directory, without "." and "..", sorted by bytes; malloc'ed array of malloc'ed names. */
vt_status vt_list_dir(const char *path, char ***names, size_t *n, vt_err *err) VT_MUST_USE;
void vt_free_names(char **names, size_t n);

/* $XDG_CACHE_HOME/vitro or ~/.cache/vitro (TMPDIR/vitro-cache-UID where there is no home), made if absent; malloc'ed.
 * A directory of somebody else is refused. */
vt_status vt_cache_dir(char **path, vt_err *err) VT_MUST_USE;

/* An advisory lock (flock) on a file, held until release or the process ends; the file holds the holder's process id
 * and host, which the VT_EBUSY message of the second one names. */
typedef struct {
    int fd;
    bool held;
} vt_lock;

vt_status vt_lock_take(vt_lock *lock, const char *path, vt_err *err) VT_MUST_USE;
void vt_lock_release(vt_lock *lock);

#endif
