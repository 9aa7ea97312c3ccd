/* Memory that tensors live in. Host memory only, so far: big regions from the system, on huge pages where it has them.
 *
 * Host code never dereferences a tensor: it copies through vt_device_read and vt_device_write, as it must when the
 * memory is a GPU's. The guard of the debug preset proves it: regions are then inaccessible (mprotect) except between
 * vt_device_enter and vt_device_leave, which vt_run (kernels/backend.h) puts around every kernel.
 *
 * A device belongs to the thread that calls kernels: none of these functions locks. */
#ifndef VT_DEVICE_DEVICE_H
#define VT_DEVICE_DEVICE_H

#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"

#define VT_MAX_REGIONS 16

typedef struct {
    struct {
        unsigned char *base;
        size_t bytes, mapped;
    } regions[VT_MAX_REGIONS];
    int n_regions;
    int entered; /* depth of enter */
} vt_device;

void vt_device_init(vt_device *d);
/* Unmaps all regions. */
void vt_device_release(vt_device *d);

/* An arena over a new zeroed region of exactly `bytes` (0 gives an empty arena); VT_ENOMEM names what, the bytes and the
 * limit of this machine. The region lives until vt_device_release. Every page is touched here, not in the first step. */
vt_status vt_device_arena(vt_device *d, size_t bytes, const char *what, vt_arena *arena, vt_err *err) VT_MUST_USE;

/* Copies between host memory and a tensor; complete on return. */
void vt_device_read(vt_device *d, void *host, const void *tensor, size_t bytes);
void vt_device_write(vt_device *d, void *tensor, const void *host, size_t bytes);

/* Makes regions accessible, and inaccessible again; nests. Nothing happens without the guard. */
void vt_device_enter(vt_device *d);
void vt_device_leave(vt_device *d);

/* Whether this build has the guard. */
int vt_device_guarded(void);

#endif
