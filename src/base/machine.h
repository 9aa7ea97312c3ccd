/* What this machine lets us use, limits of cgroups (v1 and v2) included, and the clock. */
#ifndef VT_BASE_MACHINE_H
#define VT_BASE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

int vt_machine_cpus(
    void); /* processors usable: affinity, cgroup quota (rounded up), OMP_NUM_THREADS as an upper hint; at least 1 */
size_t vt_machine_memory(void);        /* bytes: the least of physical memory and cgroup limits */
size_t vt_resident_anonymous(void);    /* bytes: RssAnon of this process; 0 where the system does not tell */
const char *vt_machine_cpu_name(void); /* "AMD EPYC ...", or the architecture's name */
const char *vt_machine_host(void);

int64_t vt_now_ns(void);   /* monotonic clock */
double vt_unix_time(void); /* seconds since 1970, for records only: no result depends on it */

#endif
