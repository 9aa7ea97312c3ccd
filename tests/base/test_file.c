/* Files: whole or not at all, locked, listed, removed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

#define ROOT "test_file.tmp"

static int make_root(void **state)
{
    return vt_remove_tree(ROOT, NULL) != VT_OK || vt_make_dirs(ROOT "/a/b", NULL) != VT_OK;
}

static int remove_root(void **state)
{
    return vt_remove_tree(ROOT, NULL) != VT_OK;
}

static void assert_holds(const char *path, const char *text)
{
    unsigned char *data;
    size_t size;
    vt_err err = {0};
    if (vt_file_read(path, 1000000, &data, &size, &err) != VT_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(data, text, size + 1);
    free(data);
}

static size_t count_names(const char *path)
{
    char **names;
    size_t n;
    assert_int_equal(vt_list_dir(path, &names, &n, NULL), VT_OK);
    vt_free_names(names, n);
    return n;
}

/* What was written would not be what is read, or limits would not hold. */
static void test_read(void **state)
{
    unsigned char *data = NULL, four[4];
    size_t size;
    vt_err err = {0};
    assert_int_equal(vt_file_write(ROOT "/f", "hello", 5, &err), VT_OK);
    assert_holds(ROOT "/f", "hello");
    assert_int_equal(vt_file_read(ROOT "/f", 4, &data, &size, &err), VT_EFORMAT);
    assert_string_equal(err.msg, ROOT "/f has 5 bytes; such a file may have at most 4");
    assert_null(data);
    assert_int_equal(vt_file_read(ROOT "/none", 4, &data, &size, &err), VT_EIO);
    assert_string_equal(err.msg, ROOT "/none: cannot be opened: No such file or directory");
    assert_int_equal(vt_file_read(ROOT, 4, &data, &size, &err), VT_EINVAL);
    assert_string_equal(err.msg, ROOT " is a directory; expected a file");
    assert_int_equal(mkfifo(ROOT "/pipe", 0600), 0);
    assert_int_equal(vt_file_read(ROOT "/pipe", 4, &data, &size, &err), VT_EINVAL);

    int fd = open(ROOT "/f", O_RDONLY);
    assert_int_equal(vt_file_read_at(fd, "f", 1, four, 4, &err), VT_OK);
    assert_memory_equal(four, "ello", 4);
    assert_int_equal(vt_file_read_at(fd, "f", 2, four, 4, &err), VT_EFORMAT);
    assert_string_equal(err.msg, "f ends early: 4 bytes expected at offset 2, 3 found");
    assert_int_equal(vt_file_read_at(fd, "f", -1, four, 4, &err), VT_EFORMAT);
    assert_int_equal(vt_file_read_at(fd, "f", INT64_MAX, four, 4, &err), VT_EFORMAT);
    close(fd);
}

/* A half-written file would appear under its name, or temporaries would stay. */
static void test_atomic(void **state)
{
    vt_atomic_file f;
    vt_err err = {0};
    assert_int_equal(vt_file_write(ROOT "/a/f", "old", 3, &err), VT_OK);
    assert_int_equal(vt_atomic_open(&f, ROOT "/a/f", &err), VT_OK);
    assert_int_equal(vt_atomic_write(&f, "new", 3, &err), VT_OK);
    assert_holds(ROOT "/a/f", "old");
    vt_atomic_release(&f); /* not committed */
    assert_holds(ROOT "/a/f", "old");
    assert_int_equal(count_names(ROOT "/a"), 2);

    assert_int_equal(vt_atomic_open(&f, ROOT "/a/f", &err), VT_OK);
    assert_int_equal(vt_atomic_write(&f, "new", 3, &err), VT_OK);
    assert_int_equal(vt_atomic_commit(&f, &err), VT_OK);
    vt_atomic_release(&f);
    assert_holds(ROOT "/a/f", "new");
    assert_int_equal(count_names(ROOT "/a"), 2);

    f = (vt_atomic_file){0};
    vt_atomic_release(&f);
    assert_int_equal(vt_atomic_open(&f, ROOT "/none/f", &err), VT_EIO);
    vt_atomic_release(&f);
    assert_int_equal(vt_file_write(ROOT "/a/b", "x", 1, &err), VT_EIO); /* a directory is in the way */
    assert_int_equal(count_names(ROOT "/a"), 2);
}

/* A full disk would leave a broken file: here a limit on file sizes refuses the write. */
static void test_refused_write(void **state)
{
    static char big[100000];
    struct rlimit old;
    vt_err err = {0};
    assert_int_equal(vt_file_write(ROOT "/a/f", "old", 3, &err), VT_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){.rlim_cur = 5000, .rlim_max = old.rlim_max}), 0);
    vt_status status = vt_file_write(ROOT "/a/f", big, sizeof(big), &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, VT_EIO);
    assert_non_null(strstr(err.msg, "cannot be written: File too large"));
    assert_holds(ROOT "/a/f", "old");
    assert_int_equal(count_names(ROOT "/a"), 2);
}

/* Folders could not be made, or a file in the way would pass for one. */
static void test_make_dirs(void **state)
{
    vt_err err = {0};
    assert_int_equal(vt_make_dirs(ROOT "//a/c/d/", &err), VT_OK);
    assert_int_equal(vt_make_dirs(ROOT "/a/c/d", &err), VT_OK);
    assert_true(vt_is_dir(ROOT "/a/c/d") && !vt_is_file(ROOT "/a/c/d"));
    assert_int_equal(vt_file_write(ROOT "/f", "", 0, &err), VT_OK);
    assert_true(vt_is_file(ROOT "/f") && !vt_is_dir(ROOT "/f"));
    assert_int_equal(vt_make_dirs(ROOT "/f/g", &err), VT_EIO);
    assert_string_equal(err.msg, ROOT "/f: the directory cannot be made: File exists");
    assert_int_equal(vt_make_dirs("", &err), VT_OK);
    assert_int_equal(vt_sync_dir(ROOT, &err), VT_OK);
    assert_int_equal(vt_sync_dir(ROOT "/none", &err), VT_EIO);
    assert_int_equal(vt_rename(ROOT "/f", ROOT "/g", &err), VT_OK);
    assert_int_equal(vt_rename(ROOT "/f", ROOT "/g", &err), VT_EIO);
}

/* Removing a checkpoint would follow a link and delete somebody's data, or fail on one already gone. */
static void test_remove_tree(void **state)
{
    vt_err err = {0};
    assert_int_equal(vt_make_dirs(ROOT "/kept", &err), VT_OK);
    assert_int_equal(vt_file_write(ROOT "/kept/f", "x", 1, &err), VT_OK);
    assert_int_equal(vt_file_write(ROOT "/a/b/f", "x", 1, &err), VT_OK);
    assert_int_equal(symlink("../kept", ROOT "/a/link"), 0);
    assert_int_equal(vt_remove_tree(ROOT "/a", &err), VT_OK);
    assert_false(vt_is_dir(ROOT "/a"));
    assert_holds(ROOT "/kept/f", "x");
    assert_int_equal(vt_remove_tree(ROOT "/a", &err), VT_OK);
    assert_int_equal(symlink("kept", ROOT "/link"), 0);
    assert_int_equal(vt_remove_tree(ROOT "/link", &err), VT_OK);
    assert_holds(ROOT "/kept/f", "x");
    assert_int_equal(count_names(ROOT), 1);
}

/* Classes would get other numbers on another file system. */
static void test_list_dir(void **state)
{
    static const char *const files[] = {"b", "a10", "a2", "B", "\xc3\xa9"};
    char **names;
    size_t n;
    vt_err err = {0};
    for (size_t i = 0; i < VT_COUNT_OF(files); i++) {
        char *path = vt_path_join(ROOT "/a/b/", files[i]);
        assert_int_equal(vt_file_write(path, "", 0, &err), VT_OK);
        free(path);
    }
    assert_int_equal(vt_list_dir(ROOT "/a/b", &names, &n, &err), VT_OK);
    assert_int_equal(n, 5);
    assert_string_equal(names[0], "B");
    assert_string_equal(names[1], "a10");
    assert_string_equal(names[2], "a2");
    assert_string_equal(names[3], "b");
    assert_string_equal(names[4], "\xc3\xa9");
    vt_free_names(names, n);
    assert_int_equal(vt_list_dir(ROOT "/none", &names, &n, &err), VT_EIO);
    assert_true(names == NULL && n == 0);
    assert_string_equal(vt_path_base("a/b.c"), "b.c");
    assert_string_equal(vt_path_base("b.c"), "b.c");
}

/* Two trainings would write into one run. */
static void test_lock(void **state)
{
    vt_lock first, second = {0};
    vt_err err = {0};
    assert_int_equal(vt_lock_take(&first, ROOT "/lock", &err), VT_OK);
    assert_int_equal(vt_lock_take(&second, ROOT "/lock", &err), VT_EBUSY);
    char *who = vt_xasprintf(ROOT "/lock is locked by process %ld on ", (long)getpid());
    assert_true(vt_has_prefix(err.msg, who));
    free(who);
    assert_false(second.held);
    vt_lock_release(&second);
    vt_lock_release(&first);
    assert_int_equal(vt_lock_take(&second, ROOT "/lock", &err), VT_OK);
    vt_lock_release(&second);
    vt_lock_release(&second);
    assert_int_equal(vt_lock_take(&first, ROOT "/none/lock", &err), VT_EIO);
}

/* The cache would land where the person did not want it. */
static void test_cache_dir(void **state)
{
    char *path, *here = vt_xmalloc(4096), *root;
    vt_err err = {0};
    assert_non_null(getcwd(here, 4096));
    root = vt_xasprintf("%s/" ROOT "/cache", here);
    setenv("XDG_CACHE_HOME", root, 1);
    assert_int_equal(vt_cache_dir(&path, &err), VT_OK);
    assert_true(vt_has_suffix(path, ROOT "/cache/vitro") && vt_is_dir(path));
    free(path);
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", root, 1);
    assert_int_equal(vt_cache_dir(&path, &err), VT_OK);
    assert_true(vt_has_suffix(path, ROOT "/cache/.cache/vitro") && vt_is_dir(path));
    free(path);
    unsetenv("HOME");
    setenv("TMPDIR", root, 1);
    assert_int_equal(vt_cache_dir(&path, &err), VT_OK);
    assert_non_null(strstr(path, ROOT "/cache/vitro-cache-"));
    free(path);
    unsetenv("TMPDIR");
    free(root);
    free(here);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_read, make_root, remove_root),
                                       cmocka_unit_test_setup_teardown(test_atomic, make_root, remove_root),
                                       cmocka_unit_test_setup_teardown(test_refused_write, make_root, remove_root),
                                       cmocka_unit_test_setup_teardown(test_make_dirs, make_root, remove_root),
                                       cmocka_unit_test_setup_teardown(test_remove_tree, make_root, remove_root),
                                       cmocka_unit_test_setup_teardown(test_list_dir, make_root, remove_root),
                                       cmocka_unit_test_setup_teardown(test_lock, make_root, remove_root),
                                       cmocka_unit_test_setup_teardown(test_cache_dir, make_root, remove_root)};
    return cmocka_run_group_tests_name("base/file", tests, NULL, NULL);
}
