/* The part of machine.c that reads limits from files, with a root folder in front of every path: for tests. */
#ifndef VT_BASE_MACHINE_INTERNAL_H
#define VT_BASE_MACHINE_INTERNAL_H

#include <stdint.h>

typedef struct {
    double cpus;   /* quota / period, the least on the way up; infinity: no limit */
    double memory; /* bytes, the least on the way up; infinity: no limit */
} vt_cgroup_limits;

/* Limits of the cgroups (v1 and v2) that ROOT/proc/self/cgroup names, read below ROOT/sys/fs/cgroup. */
vt_cgroup_limits vt_cgroup_limits_at(const char *root);

/* The first number of a text like OMP_NUM_THREADS ("4" or "4,2"), or 0 when it is NULL or names none. */
int vt_thread_hint(const char *text);

#endif
