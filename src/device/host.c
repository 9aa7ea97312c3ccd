/* Host memory for tensors: one mapping for each region, on huge pages where the system has them (a step streams through
 * gigabytes, and the allocator's small pages cost PyTorch an eighth of its time).
 *
 * Every page is touched when the region is made, so that no step pays for page faults and a machine that cannot hold
 * the plan says so before the first step. The guard (VT_GUARD=1, the debug preset) keeps regions at PROT_NONE between
 * kernels; the depth of vt_device_enter says whether one is running.
 *
 * A device belongs to one thread, the one that calls kernels: nothing here is locked. The threads of the pool work only
 * inside an enter of that thread. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, madvise */

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/machine.h"
#include "base/text.h"
#include "device/device.h"

#ifndef VT_GUARD
#define VT_GUARD 0
#endif

#define HUGE_PAGE ((size_t)2 << 20) /* bytes, on x86-64 and on aarch64 with 4 KiB pages; elsewhere only an alignment   \
                                     */

void vt_device_init(vt_device *d)
{
    *d = (vt_device){.n_regions = 0};
}

void vt_device_release(vt_device *d)
{
    assert(d->entered == 0);
    for (int i = 0; i < d->n_regions; i++)
        munmap(d->regions[i].base, d->regions[i].mapped);
    *d = (vt_device){.n_regions = 0};
}

static void protect(vt_device *d, int access)
{
    for (int i = 0; i < d->n_regions; i++) {
        int failed = mprotect(d->regions[i].base, d->regions[i].mapped, access);
        assert(!failed);
        (void)failed;
    }
}

/* Maps `mapped` bytes at a multiple of HUGE_PAGE: maps more, then gives the ends back. NULL when the system refuses. */
static unsigned char *map_aligned(size_t mapped)
{
    void *p = mmap(NULL, mapped + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    unsigned char *start = p;
    size_t before = (HUGE_PAGE - (uintptr_t)start % HUGE_PAGE) % HUGE_PAGE;
    size_t after = HUGE_PAGE - before;
    if (before > 0)
        munmap(start, before);
    if (after > 0)
        munmap(start + before + mapped, after);
    return start + before;
}

static vt_status refuse(size_t bytes, size_t in_use, const char *what, vt_err *err)
{
    char need[32], have[32], used[32];
    return vt_fail(
        err, VT_ENOMEM,
        "%s needs %zu bytes (%s), which do not fit: tensors already take %s, and the limit of this machine is "
        "%s; lower train.micro_batch or the model's shape (vitro plan shows memory by line)",
        what, bytes, vt_format_bytes(need, (double)bytes), vt_format_bytes(used, (double)in_use),
        vt_format_bytes(have, (double)vt_machine_memory()));
}

vt_status vt_device_arena(vt_device *d, size_t bytes, const char *what, vt_arena *arena, vt_err *err)
{
    assert(d->n_regions < VT_MAX_REGIONS);
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), limit = vt_machine_memory();
    size_t in_use = 0;
    for (int i = 0; i < d->n_regions; i++)
        in_use += d->regions[i].bytes;
    if (in_use > limit || bytes > limit - in_use)
        return refuse(bytes, in_use, what, err);

    /* An empty arena has a page of its own, since a base of NULL would count. The limit is far below SIZE_MAX, so that
     * rounding up cannot overflow. */
    const size_t mapped = bytes == 0 ? page : (bytes + page - 1) / page * page;
    unsigned char *base = map_aligned(mapped);
    if (!base)
        return refuse(bytes, in_use, what, err);
    (void)madvise(base, mapped, MADV_HUGEPAGE); /* a wish: without huge pages everything works, only slower */
    for (size_t i = 0; i < bytes; i += page)
        ((volatile unsigned char *)base)[i] = 0;

    d->regions[d->n_regions].base = base;
    d->regions[d->n_regions].bytes = bytes;
    d->regions[d->n_regions].mapped = mapped;
    d->n_regions++;
    *arena = vt_arena_over(base, bytes);
    if (VT_GUARD && d->entered == 0)
        protect(d, PROT_NONE);
    return VT_OK;
}

void vt_device_read(vt_device *d, void *host, const void *tensor, size_t bytes)
{
    vt_device_enter(d);
    memcpy(host, tensor, bytes);
    vt_device_leave(d);
}

void vt_device_write(vt_device *d, void *tensor, const void *host, size_t bytes)
{
    vt_device_enter(d);
    memcpy(tensor, host, bytes);
    vt_device_leave(d);
}

void vt_device_enter(vt_device *d)
{
    if (d->entered++ == 0 && VT_GUARD)
        protect(d, PROT_READ | PROT_WRITE);
}

void vt_device_leave(vt_device *d)
{
    assert(d->entered > 0);
    if (--d->entered == 0 && VT_GUARD)
        protect(d, PROT_NONE);
}

int vt_device_guarded(void)
{
    return VT_GUARD;
}
