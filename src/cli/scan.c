/* Samples are read in windows: the pool's threads fill one, then it is handed on in order, so memory stays small and
 * the output does not depend on the number of threads. */
#include "cli/scan.h"

#include <stdlib.h>

#include "base/machine.h"
#include "base/pool.h"
#include "base/text.h"

#define WINDOW 256 /* samples */

typedef struct {
    const vt_scan *scan;
    vt_read_buffer *buffers; /* one a thread */
    vt_scan_sample samples[WINDOW];
} window;

static void add_pixels(vt_scan_sample *s, const vt_image *image)
{
    const int64_t n = image->width * image->height;
    for (int64_t i = 0; i < n; i++) {
        for (int c = 0; c < 3; c++) {
            const uint64_t v = image->pixels[3 * i + c];
            s->sum[c] += v;
            s->squares[c] += v * v;
        }
    }
}

static void read_sample(void *context, int64_t chunk, int thread)
{
    window *w = context;
    vt_scan_sample *s = &w->samples[chunk];
    vt_read_buffer *buffer = &w->buffers[thread];
    vt_err err = {0};
    s->status = vt_source_read(w->scan->source, s->index, buffer, &err);
    if (s->status != VT_OK) {
        s->why = vt_xstrdup(err.msg);
        return;
    }
    s->width = buffer->image.width;
    s->height = buffer->image.height;
    if (w->scan->pixels)
        add_pixels(s, &buffer->image);
}

vt_status vt_scan_run(const vt_scan *scan, vt_err *err)
{
    vt_pool *pool = NULL;
    const int threads = vt_machine_cpus();
    const int64_t count = vt_source_count(scan->source), n = scan->n < count ? scan->n : count;
    VT_TRY(vt_pool_new(&pool, threads, err));
    window *w = vt_xcalloc(1, sizeof *w);
    w->scan = scan;
    w->buffers = vt_xcalloc((size_t)threads, sizeof *w->buffers);
    vt_term_counter counter = vt_term_counting(scan->term, scan->what);
    for (int64_t first = 0; first < n; first += WINDOW) {
        const int64_t size = n - first < WINDOW ? n - first : WINDOW;
        for (int64_t i = 0; i < size; i++) /* (first + i) * count / n, without its overflow */
            w->samples[i] = (vt_scan_sample){.index = count / n * (first + i) + count % n * (first + i) / n};
        vt_pool_run(pool, size, read_sample, w);
        for (int64_t i = 0; i < size; i++) {
            scan->receive(scan->context, &w->samples[i]);
            free(w->samples[i].why);
        }
        vt_term_count(&counter, first + size, n);
    }
    vt_term_clear(scan->term);
    for (int t = 0; t < threads; t++)
        vt_read_buffer_release(&w->buffers[t]);
    free(w->buffers);
    free(w);
    vt_pool_free(pool);
    return VT_OK;
}
