/* Samples are worked on in windows: the pool's threads fill one, then it is handed on in order, so memory stays small
 * and the output does not depend on the number of threads. */
#include "cli/scan.h"

#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/pool.h"
#include "base/text.h"
#include "data/preprocess.h"

#define WINDOW 256 /* samples */

typedef struct {
    const vt_scan *scan;
    vt_scan_tools *tools; /* one a thread */
    unsigned char *items;
    vt_scan_sample samples[WINDOW];
} window;

static void work_on_sample(void *context, int64_t chunk, int thread)
{
    window *w = context;
    vt_scan_sample *s = &w->samples[chunk];
    vt_err err = {0};
    s->status = w->scan->work(w->scan->context, s->index, &w->tools[thread], s->item, &err);
    if (s->status != VT_OK)
        s->why = vt_xstrdup(err.msg);
}

static void start_window(window *w, int64_t first, int64_t size)
{
    const vt_scan *scan = w->scan;
    if (scan->item_bytes)
        memset(w->items, 0, (size_t)size * scan->item_bytes);
    for (int64_t i = 0; i < size; i++) {
        const int64_t index = scan->sample ? scan->sample(scan->context, first + i) : first + i;
        w->samples[i] = (vt_scan_sample){.index = index, .item = w->items + (size_t)i * scan->item_bytes};
    }
}

/* After a failure the rest of the window is handed on to nobody. */
static vt_status hand_on(window *w, int64_t size, vt_err *err)
{
    vt_status status = VT_OK;
    for (int64_t i = 0; i < size; i++) {
        if (status == VT_OK)
            status = w->scan->receive(w->scan->context, &w->samples[i], err);
        if (w->scan->drop)
            w->scan->drop(w->scan->context, w->samples[i].item);
        free(w->samples[i].why);
    }
    return status;
}

vt_status vt_scan_run(const vt_scan *scan, vt_err *err)
{
    vt_pool *pool = NULL;
    const int threads = vt_machine_cpus();
    vt_status status = VT_OK;
    VT_TRY(vt_pool_new(&pool, threads, err));
    window *w = vt_xcalloc(1, sizeof *w);
    w->scan = scan;
    w->tools = vt_xcalloc((size_t)threads, sizeof *w->tools);
    w->items = vt_xcalloc(WINDOW, scan->item_bytes + 1);
    vt_term_counter counter = vt_term_counting(scan->term, scan->what);
    for (int64_t first = scan->first; first < scan->end && status == VT_OK; first += WINDOW) {
        const int64_t size = scan->end - first < WINDOW ? scan->end - first : WINDOW;
        start_window(w, first, size);
        vt_pool_run(pool, size, work_on_sample, w);
        status = hand_on(w, size, err);
        vt_term_count(&counter, first - scan->first + size, scan->end - scan->first);
    }
    vt_term_clear(scan->term);
    for (int t = 0; t < threads; t++) {
        vt_read_buffer_release(&w->tools[t].buffer);
        vt_image_release(&w->tools[t].spare);
    }
    free(w->tools);
    free(w->items);
    free(w);
    vt_pool_free(pool);
    return status;
}

vt_status vt_scan_load(const vt_source *source, int64_t index, vt_scan_tools *tools, bool *file, vt_err *err)
{
    const vt_preprocess none = {.orient = true};
    char name[256];
    VT_TRY(vt_source_fetch(source, index, &tools->buffer, err));
    *file = tools->buffer.encoded;
    return vt_preprocess_load(&none, 0, 0, &tools->buffer, &tools->spare,
                              vt_source_sample_name(source, index, name, sizeof name), err);
}
