/* Limits of cgroups, read from a tree of files as the system has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/machine_internal.h"
#include "base/text.h"

#define ROOT "test_machine.tmp"

static void put(const char *path, const char *text)
{
    char *full = vt_path_join(ROOT, path), *dir = vt_xstrdup(full);
    dir[strlen(dir) - strlen(vt_path_base(dir)) - 1] = '\0';
    assert_int_equal(vt_make_dirs(dir, NULL), VT_OK);
    assert_int_equal(vt_file_write(full, text, strlen(text), NULL), VT_OK);
    free(full);
    free(dir);
}

static int clear(void **state)
{
    return vt_remove_tree(ROOT, NULL) != VT_OK;
}

/* A container's limits would be ignored, and the run killed or starved. */
static void test_version_2(void **state)
{
    put("proc/self/cgroup", "0::/a/b\n");
    put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    put("sys/fs/cgroup/a/b/memory.max", "2147483648\n");
    put("sys/fs/cgroup/a/memory.max", "max\n");
    vt_cgroup_limits l = vt_cgroup_limits_at(ROOT);
    assert_true(l.cpus == 1.5);
    assert_true(l.memory == 2147483648.0);
}

/* In a container the group's own path is missing: the mount's root holds the limits. */
static void test_path_of_the_host(void **state)
{
    put("proc/self/cgroup", "0::/docker/0123\n");
    put("sys/fs/cgroup/cpu.max", "200000 100000\n");
    put("sys/fs/cgroup/memory.max", "1000\n");
    vt_cgroup_limits l = vt_cgroup_limits_at(ROOT);
    assert_true(l.cpus == 2);
    assert_true(l.memory == 1000);
}

/* An older system's limits would be ignored, or "none" taken for a limit. */
static void test_version_1(void **state)
{
    put("proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job/x\n0::/init\n");
    put("sys/fs/cgroup/cpu,cpuacct/job/x/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/job/x/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "50000\n");
    put("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
    put("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "4096\n");
    put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    vt_cgroup_limits l = vt_cgroup_limits_at(ROOT);
    assert_true(l.cpus == 0.5);
    assert_true(l.memory == 4096);
}

/* Missing or senseless files would crash or limit to nothing. */
static void test_no_limits(void **state)
{
    vt_cgroup_limits l = vt_cgroup_limits_at(ROOT);
    assert_true(isinf(l.cpus) && isinf(l.memory));
    put("proc/self/cgroup", "garbage\n:\n::\n0:\n\n1:name=systemd:/\n");
    l = vt_cgroup_limits_at(ROOT);
    assert_true(isinf(l.cpus) && isinf(l.memory));
    put("proc/self/cgroup", "0::/../..//\n");
    put("sys/fs/cgroup/cpu.max", "x y z\n");
    put("sys/fs/cgroup/memory.max", "-5\n");
    l = vt_cgroup_limits_at(ROOT);
    assert_true(isinf(l.cpus) && isinf(l.memory));
}

/* OMP_NUM_THREADS is a hint: nonsense in it must not count. */
static void test_thread_hint(void **state)
{
    assert_int_equal(vt_thread_hint("4"), 4);
    assert_int_equal(vt_thread_hint("4,2"), 4);
    assert_int_equal(vt_thread_hint(NULL), 0);
    assert_int_equal(vt_thread_hint(""), 0);
    assert_int_equal(vt_thread_hint("x"), 0);
    assert_int_equal(vt_thread_hint("4x"), 0);
    assert_int_equal(vt_thread_hint("-1"), 0);
    assert_int_equal(vt_thread_hint("99999999999999999999"), 0);
    int cpus = vt_machine_cpus();
    setenv("OMP_NUM_THREADS", "1", 1);
    assert_int_equal(vt_machine_cpus(), 1);
    setenv("OMP_NUM_THREADS", "100000", 1);
    assert_true(vt_machine_cpus() >= cpus);
    unsetenv("OMP_NUM_THREADS");
}

/* This machine would look empty. */
static void test_this_machine(void **state)
{
    assert_true(vt_machine_cpus() >= 1);
    assert_true(vt_machine_memory() > (size_t)16 << 20);
    assert_true(strlen(vt_machine_cpu_name()) > 0 && strlen(vt_machine_host()) > 0);
    int64_t before = vt_now_ns();
    assert_true(vt_now_ns() >= before && vt_unix_time() > 1.6e9);
}

/* Memory in use would be reported as none, and the memory test of the plan would pass in vain. */
static void test_resident(void **state)
{
    const size_t bytes = (size_t)32 << 20;
    size_t before = vt_resident_anonymous();
    unsigned char *p = malloc(bytes);
    assert_non_null(p);
    for (size_t i = 0; i < bytes; i += 1024)
        ((volatile unsigned char *)p)[i] = 1;
    size_t after = vt_resident_anonymous();
    if (before != 0)
        assert_true(after >= before + bytes / 2);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_version_2, clear, clear),
                                       cmocka_unit_test_setup_teardown(test_path_of_the_host, clear, clear),
                                       cmocka_unit_test_setup_teardown(test_version_1, clear, clear),
                                       cmocka_unit_test_setup_teardown(test_no_limits, clear, clear),
                                       cmocka_unit_test(test_thread_hint),
                                       cmocka_unit_test(test_this_machine),
                                       cmocka_unit_test(test_resident)};
    return cmocka_run_group_tests_name("base/machine", tests, NULL, NULL);
}
