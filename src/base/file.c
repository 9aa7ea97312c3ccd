/* Files over POSIX calls. Interrupted calls are repeated; writes go to PATH.tmp.PID first and reach their name by
 * rename, with the data and then the directory synced, so that after a power cut there is the old file or the new one,
 * whole. */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/machine.h"
#include "base/text.h"

#define MAX_TREE_DEPTH 64 /* folders that vitro makes are a few deep */

static int open_again(const char *path, int flags, mode_t mode)
{
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* Reads until size bytes or the end; the count, or -1 with errno. offset < 0: at the file's position. */
static ssize_t read_fully(int fd, void *data, size_t size, int64_t offset)
{
    size_t done = 0;
    while (done < size) {
        unsigned char *to = (unsigned char *)data + done;
        ssize_t n =
            offset < 0 ? read(fd, to, size - done) : pread(fd, to, size - done, (off_t)(offset + (int64_t)done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static vt_status read_open_file(int fd, const char *path, size_t max_bytes, unsigned char **data, size_t *size,
                                vt_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return vt_fail_errno(err, "%s: cannot be looked at", path);
    if (!S_ISREG(st.st_mode))
        return vt_fail(err, VT_EINVAL, "%s is %s; expected a file", path,
                       S_ISDIR(st.st_mode) ? "a directory" : "no regular file");
    if ((uint64_t)st.st_size > max_bytes)
        return vt_fail(err, VT_EFORMAT, "%s has %lld bytes; such a file may have at most %zu", path,
                       (long long)st.st_size, max_bytes);
    size_t want = (size_t)st.st_size;
    unsigned char *buf = malloc(want + 1);
    if (buf == NULL)
        return vt_fail(err, VT_ENOMEM, "%s: no memory for its %zu bytes", path, want);
    ssize_t n = read_fully(fd, buf, want, -1);
    if (n < 0) {
        vt_status status = vt_fail_errno(err, "%s: cannot be read", path);
        free(buf);
        return status;
    }
    buf[n] = '\0';
    *data = buf;
    *size = (size_t)n;
    return VT_OK;
}

vt_status vt_file_read(const char *path, size_t max_bytes, unsigned char **data, size_t *size, vt_err *err)
{
    *data = NULL;
    *size = 0;
    int fd = open_again(path, O_RDONLY | O_NONBLOCK, 0); /* non-blocking: a pipe without a writer must not hang us */
    if (fd < 0)
        return vt_fail_errno(err, "%s: cannot be opened", path);
    vt_status status = read_open_file(fd, path, max_bytes, data, size, err);
    close(fd);
    return status;
}

vt_status vt_file_read_at(int fd, const char *path, int64_t offset, void *data, size_t size, vt_err *err)
{
    if (offset < 0 || size > (size_t)(INT64_MAX - offset))
        return vt_fail(err, VT_EFORMAT, "%s: %zu bytes at offset %lld are beyond any file", path, size,
                       (long long)offset);
    ssize_t n = read_fully(fd, data, size, offset);
    if (n < 0)
        return vt_fail_errno(err, "%s: cannot be read", path);
    if ((size_t)n < size)
        return vt_fail(err, VT_EFORMAT, "%s ends early: %zu bytes expected at offset %lld, %zd found", path, size,
                       (long long)offset, n);
    return VT_OK;
}

vt_status vt_atomic_open(vt_atomic_file *f, const char *path, vt_err *err)
{
    *f = (vt_atomic_file){.path = vt_xstrdup(path), .tmp_path = vt_xasprintf("%s.tmp.%ld", path, (long)getpid())};
    f->fd = open_again(f->tmp_path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (f->fd < 0) {
        vt_status status = vt_fail_errno(err, "%s: cannot be written", f->tmp_path);
        vt_atomic_release(f);
        return status;
    }
    f->open = true;
    return VT_OK;
}

vt_status vt_atomic_write(vt_atomic_file *f, const void *data, size_t size, vt_err *err)
{
    const unsigned char *p = data;
    while (size > 0) {
        ssize_t n = write(f->fd, p, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vt_fail_errno(err, "%s: cannot be written", f->tmp_path);
        p += n;
        size -= (size_t)n;
    }
    return VT_OK;
}

/* Syncs the directory that holds path. */
static vt_status sync_parent(const char *path, vt_err *err)
{
    size_t n = (size_t)(vt_path_base(path) - path);
    if (n == 0)
        return vt_sync_dir(".", err);
    char *dir = vt_xstrdup(path);
    dir[n] = '\0';
    vt_status status = vt_sync_dir(dir, err);
    free(dir);
    return status;
}

vt_status vt_atomic_commit(vt_atomic_file *f, vt_err *err)
{
    if (fsync(f->fd) != 0)
        return vt_fail_errno(err, "%s: cannot be written to disk", f->tmp_path);
    f->open = false;
    int closed = close(f->fd);
    if (closed != 0 || rename(f->tmp_path, f->path) != 0) {
        vt_status status = vt_fail_errno(err, "%s: cannot be put in place", f->path);
        unlink(f->tmp_path);
        return status;
    }
    vt_status status = sync_parent(f->path, err);
    vt_atomic_release(f);
    return status;
}

void vt_atomic_release(vt_atomic_file *f)
{
    if (f->open) {
        close(f->fd);
        unlink(f->tmp_path);
    }
    free(f->path);
    free(f->tmp_path);
    *f = (vt_atomic_file){0};
}

vt_status vt_file_write(const char *path, const void *data, size_t size, vt_err *err)
{
    vt_atomic_file f;
    VT_TRY(vt_atomic_open(&f, path, err));
    vt_status status = vt_atomic_write(&f, data, size, err);
    if (status == VT_OK)
        status = vt_atomic_commit(&f, err);
    vt_atomic_release(&f);
    return status;
}

vt_status vt_make_dirs(const char *path, vt_err *err)
{
    char *part = vt_xstrdup(path);
    vt_status status = VT_OK;
    for (char *p = part; *p != '\0' && status == VT_OK;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        char kept = *p;
        *p = '\0';
        int why = mkdir(part, 0777) == 0 ? 0 : errno;
        if (why != 0 && !vt_is_dir(part)) {
            errno = why;
            status = vt_fail_errno(err, "%s: the directory cannot be made", part);
        }
        *p = kept;
    }
    free(part);
    return status;
}

static vt_status remove_at(int dir_fd, const char *name, const char *root, int depth, vt_err *err);

/* Removes all that the directory behind fd holds; closes fd. */
static vt_status empty_dir(int fd, const char *root, int depth, vt_err *err)
{
    DIR *dir = fdopendir(fd);
    if (dir == NULL) {
        close(fd);
        return vt_fail_errno(err, "%s: cannot be listed", root);
    }
    vt_status status = VT_OK;
    for (struct dirent *e = readdir(dir); e != NULL && status == VT_OK; e = readdir(dir)) {
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            status = remove_at(dirfd(dir), e->d_name, root, depth + 1, err);
    }
    closedir(dir);
    return status;
}

static vt_status remove_at(int dir_fd, const char *name, const char *root, int depth, vt_err *err)
{
    if (depth > MAX_TREE_DEPTH)
        return vt_fail(err, VT_EINVAL, "%s: more than %d folders deep, so it is not vitro's to remove", root,
                       MAX_TREE_DEPTH);
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT ? VT_OK : vt_fail_errno(err, "%s: cannot be removed", root);
    bool is_dir = S_ISDIR(st.st_mode);
    if (is_dir) {
        int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return vt_fail_errno(err, "%s: cannot be removed", root);
        VT_TRY(empty_dir(fd, root, depth, err));
    }
    if (unlinkat(dir_fd, name, is_dir ? AT_REMOVEDIR : 0) != 0 && errno != ENOENT)
        return vt_fail_errno(err, "%s: cannot be removed", root);
    return VT_OK;
}

vt_status vt_remove_tree(const char *path, vt_err *err)
{
    return remove_at(AT_FDCWD, path, path, 0, err);
}

vt_status vt_sync_dir(const char *path, vt_err *err)
{
    int fd = open_again(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return vt_fail_errno(err, "%s: cannot be opened", path);
    vt_status status = VT_OK;
    if (fsync(fd) != 0 && errno != EINVAL) /* EINVAL: a file system whose directories need no sync */
        status = vt_fail_errno(err, "%s: cannot be written to disk", path);
    close(fd);
    return status;
}

vt_status vt_rename(const char *from, const char *to, vt_err *err)
{
    if (rename(from, to) != 0)
        return vt_fail_errno(err, "%s: cannot be renamed to %s", from, to);
    return VT_OK;
}

bool vt_is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool vt_is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

char *vt_path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    return vt_xasprintf(n == 0 || dir[n - 1] == '/' ? "%s%s" : "%s/%s", dir, name);
}

const char *vt_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

vt_status vt_list_dir(const char *path, char ***names, size_t *n, vt_err *err)
{
    *names = NULL;
    *n = 0;
    DIR *dir = opendir(path);
    if (dir == NULL)
        return vt_fail_errno(err, "%s: cannot be listed", path);
    size_t cap = 0;
    errno = 0;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (*n == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            *names = vt_xrealloc(*names, cap * sizeof(**names));
        }
        (*names)[(*n)++] = vt_xstrdup(e->d_name);
        errno = 0;
    }
    vt_status status = errno == 0 ? VT_OK : vt_fail_errno(err, "%s: cannot be listed", path);
    closedir(dir);
    if (status != VT_OK) {
        vt_free_names(*names, *n);
        *names = NULL;
        *n = 0;
    } else if (*n > 0) {
        qsort(*names, *n, sizeof(**names), compare_names);
    }
    return status;
}

void vt_free_names(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

vt_status vt_cache_dir(char **path, vt_err *err)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME"), *tmp = getenv("TMPDIR");
    if (xdg != NULL && xdg[0] == '/')
        *path = vt_path_join(xdg, "vitro");
    else if (home != NULL && home[0] == '/')
        *path = vt_path_join(home, ".cache/vitro");
    else
        *path = vt_xasprintf("%s/vitro-cache-%ld", tmp != NULL && tmp[0] == '/' ? tmp : "/tmp", (long)geteuid());
    vt_status status = vt_make_dirs(*path, err);
    struct stat st;
    if (status == VT_OK && (stat(*path, &st) != 0 || st.st_uid != geteuid()))
        status =
            vt_fail(err, VT_EINVAL, "%s belongs to somebody else; set XDG_CACHE_HOME to a directory of yours", *path);
    if (status != VT_OK) {
        free(*path);
        *path = NULL;
    }
    return status;
}

/* Names the process that holds the lock, as it wrote itself into the file. */
static vt_status fail_held(int fd, const char *path, vt_err *err)
{
    char holder[300];
    ssize_t n = read_fully(fd, holder, sizeof(holder) - 1, 0);
    holder[n < 0 ? 0 : n] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    return vt_fail(err, VT_EBUSY, "%s is locked by %s; wait until it has ended, or stop it", path,
                   holder[0] == '\0' ? "another process" : holder);
}

vt_status vt_lock_take(vt_lock *lock, const char *path, vt_err *err)
{
    *lock = (vt_lock){.fd = -1};
    int fd = open_again(path, O_RDWR | O_CREAT, 0666);
    if (fd < 0)
        return vt_fail_errno(err, "%s: cannot be opened", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        vt_status status =
            errno == EWOULDBLOCK ? fail_held(fd, path, err) : vt_fail_errno(err, "%s: cannot be locked", path);
        close(fd);
        return status;
    }
    char *holder = vt_xasprintf("process %ld on %s\n", (long)getpid(), vt_machine_host());
    bool written = ftruncate(fd, 0) == 0 && write(fd, holder, strlen(holder)) == (ssize_t)strlen(holder);
    free(holder);
    if (!written) {
        vt_status status = vt_fail_errno(err, "%s: cannot be written", path);
        close(fd);
        return status;
    }
    *lock = (vt_lock){.fd = fd, .held = true};
    return VT_OK;
}

void vt_lock_release(vt_lock *lock)
{
    if (lock->held) {
        if (ftruncate(lock->fd, 0) != 0)
            lock->held = false; /* the stale name in the file misleads nobody while the lock is free */
        close(lock->fd);        /* unlocks */
    }
    *lock = (vt_lock){.fd = -1};
}
