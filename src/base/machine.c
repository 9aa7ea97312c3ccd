/* What this machine lets us use, from Linux's files. Limits of cgroups hold for a group and everything below it, so the
 * least on the way from our group to the root counts:
 *
 *   v2  /proc/self/cgroup "0::/a/b"             cpu.max "QUOTA|max PERIOD", memory.max "BYTES|max"
 *   v1  /proc/self/cgroup "4:cpu,cpuacct:/a/b"  cpu.cfs_quota_us (-1: none) and cpu.cfs_period_us,
 * memory.limit_in_bytes
 *
 * Groups are looked for at their usual place, /sys/fs/cgroup. In a container the path may be one of the host that is
 * not there; then its parents, and at last the root of the mount, which is the container's own group, give the limits.
 */
#define _GNU_SOURCE /* sched_getaffinity */

#include "base/machine.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/machine_internal.h"
#include "base/text.h"

#define SMALL_FILE 4096 /* bytes; those files are far shorter */

/* Reads the start of a small file into buf (terminated); false where there is none. */
static bool read_small(const char *path, char buf[SMALL_FILE])
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    size_t n = fread(buf, 1, SMALL_FILE - 1, f);
    buf[n] = '\0';
    fclose(f);
    return n > 0;
}

/* The number at the start of a file dir/name; infinity for "max", a negative number or no such file. */
static double read_limit(const char *dir, const char *name)
{
    char path[SMALL_FILE], buf[SMALL_FILE];
    int n = snprintf(path, sizeof(path), "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= sizeof(path) || !read_small(path, buf))
        return HUGE_VAL;
    char *end;
    long long value = strtoll(buf, &end, 10);
    return end == buf || value < 0 ? HUGE_VAL : (double)value;
}

static double cpus_v2(const char *dir)
{
    char path[SMALL_FILE], buf[SMALL_FILE];
    int n = snprintf(path, sizeof(path), "%s/cpu.max", dir);
    long long quota, period;
    if (n < 0 || (size_t)n >= sizeof(path) || !read_small(path, buf) ||
        sscanf(buf, "%lld %lld", &quota, &period) != 2 || quota <= 0 || period <= 0)
        return HUGE_VAL;
    return (double)quota / (double)period;
}

static double cpus_v1(const char *dir)
{
    double quota = read_limit(dir, "cpu.cfs_quota_us"), period = read_limit(dir, "cpu.cfs_period_us");
    return isfinite(quota) && isfinite(period) && quota > 0 && period > 0 ? quota / period : HUGE_VAL;
}

static double memory_v2(const char *dir)
{
    return read_limit(dir, "memory.max");
}

static double memory_v1(const char *dir)
{
    return read_limit(dir, "memory.limit_in_bytes");
}

/* The least of read() over mount/group, its parents and mount itself. */
static double least_upwards(const char *mount, const char *group, double (*read)(const char *dir))
{
    char dir[SMALL_FILE];
    int n = snprintf(dir, sizeof(dir), "%s%s", mount, group);
    if (n < 0 || (size_t)n >= sizeof(dir))
        return read(mount);
    double least = HUGE_VAL;
    size_t mount_len = strlen(mount);
    for (;;) {
        least = fmin(least, read(dir));
        char *slash = strrchr(dir + mount_len, '/');
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

/* Whether the comma-separated list holds word. */
static bool lists(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; p != NULL; p = strchr(p, ',')) {
        p += *p == ',';
        if (strncmp(p, word, n) == 0 && (p[n] == '\0' || p[n] == ','))
            return true;
    }
    return false;
}

vt_cgroup_limits vt_cgroup_limits_at(const char *root)
{
    static const struct {
        const char *controller, *mount; /* controller "": version 2 */
        double (*cpus)(const char *), (*memory)(const char *);
    } places[] = {
        {"", "/sys/fs/cgroup", cpus_v2, memory_v2},           {"", "/sys/fs/cgroup/unified", cpus_v2, memory_v2},
        {"cpu", "/sys/fs/cgroup/cpu", cpus_v1, NULL},         {"cpu", "/sys/fs/cgroup/cpu,cpuacct", cpus_v1, NULL},
        {"memory", "/sys/fs/cgroup/memory", NULL, memory_v1},
    };
    vt_cgroup_limits limits = {.cpus = HUGE_VAL, .memory = HUGE_VAL};
    char path[SMALL_FILE], buf[SMALL_FILE], mount[SMALL_FILE], *rest = NULL;
    int n = snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    if (n < 0 || (size_t)n >= sizeof(path) || !read_small(path, buf))
        return limits;
    for (char *line = strtok_r(buf, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *list = strchr(line, ':'), *group = list == NULL ? NULL : strchr(list + 1, ':');
        if (group == NULL)
            continue;
        list++;
        *group++ = '\0';
        for (size_t i = 0; i < VT_COUNT_OF(places); i++) {
            bool ours = places[i].controller[0] == '\0' ? list[0] == '\0' : lists(list, places[i].controller);
            n = snprintf(mount, sizeof(mount), "%s%s", root, places[i].mount);
            if (!ours || n < 0 || (size_t)n >= sizeof(mount))
                continue;
            if (places[i].cpus != NULL)
                limits.cpus = fmin(limits.cpus, least_upwards(mount, group, places[i].cpus));
            if (places[i].memory != NULL)
                limits.memory = fmin(limits.memory, least_upwards(mount, group, places[i].memory));
        }
    }
    return limits;
}

int vt_thread_hint(const char *text)
{
    if (text == NULL)
        return 0;
    char *end;
    long value = strtol(text, &end, 10);
    return end == text || (*end != '\0' && *end != ',') || value < 1 || value > 1 << 20 ? 0 : (int)value;
}

int vt_machine_cpus(void)
{
    int cpus = 0;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        cpus = CPU_COUNT(&set);
    if (cpus < 1) /* more processors than the set holds */
        cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    double quota = ceil(vt_cgroup_limits_at("").cpus);
    if (quota < cpus)
        cpus = (int)quota;
    int hint = vt_thread_hint(getenv("OMP_NUM_THREADS"));
    if (hint > 0 && hint < cpus)
        cpus = hint;
    return cpus < 1 ? 1 : cpus;
}

size_t vt_machine_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    size_t physical = pages > 0 && page > 0 ? (size_t)pages * (size_t)page : 0;
    double limit = vt_cgroup_limits_at("").memory;
    return limit < (double)physical ? (size_t)limit : physical;
}

/* The text behind "key" and its colon in a file of "key: value" lines, trimmed, into buf; false where there is none. */
static bool find_field(const char *path, const char *key, char *buf, size_t size)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    char line[512];
    bool found = false;
    while (!found && fgets(line, sizeof(line), f) != NULL) {
        char *colon = strchr(line, ':');
        if (colon == NULL || !vt_has_prefix(line, key))
            continue;
        const char *value = colon + 1 + strspn(colon + 1, " \t");
        snprintf(buf, size, "%.*s", (int)strcspn(value, "\n"), value);
        found = true;
    }
    fclose(f);
    return found;
}

size_t vt_resident_anonymous(void)
{
    char value[64];
    if (!find_field("/proc/self/status", "RssAnon", value, sizeof(value)))
        return 0;
    return (size_t)strtoull(value, NULL, 10) * 1024; /* the file counts in kB, and means KiB */
}

static pthread_once_t names_once = PTHREAD_ONCE_INIT;
static char cpu_name[128], host_name[256];

static void find_names(void)
{
    struct utsname u;
    bool known = uname(&u) == 0;
    snprintf(host_name, sizeof(host_name), "%s", known ? u.nodename : "unknown");
    if (!find_field("/proc/cpuinfo", "model name", cpu_name, sizeof(cpu_name)) || cpu_name[0] == '\0')
        snprintf(cpu_name, sizeof(cpu_name), "%s", known ? u.machine : "unknown");
}

const char *vt_machine_cpu_name(void)
{
    pthread_once(&names_once, find_names);
    return cpu_name;
}

const char *vt_machine_host(void)
{
    pthread_once(&names_once, find_names);
    return host_name;
}

int64_t vt_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

double vt_unix_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
