/* bench-decode SPEC LIST [SECONDS]: images a second of processor time, on one thread, through a preprocessing list,
 * from encoded files in memory: with the parts of JPEG files that the list's first operation needs, and with whole
 * images, by turns. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/text.h"
#include "data/preprocess.h"

#define MAX_FILES 400

typedef struct {
    int64_t n;
    vt_read_buffer files[MAX_FILES];
    vt_preprocess list;
    vt_read_buffer work;
    vt_image spare;
} bench;

static vt_status load(bench *b, const char *spec, const char *list, vt_err *err)
{
    vt_source *source = NULL;
    VT_TRY(vt_preprocess_parse(&b->list, list, err));
    b->list.orient = true;
    VT_TRY(vt_source_open(&source, spec, err));
    const int64_t count = vt_source_count(source);
    b->n = count < MAX_FILES ? count : MAX_FILES;
    vt_status status = VT_OK;
    for (int64_t i = 0; i < b->n && status == VT_OK; i++)
        status = vt_source_fetch(source, i, &b->files[i], err);
    if (status == VT_OK && !b->files[0].encoded)
        status = vt_fail(err, VT_EINVAL, "%s holds pixels, no files", spec);
    vt_source_close(source);
    return status;
}

static vt_status process(bench *b, uint64_t position, bool parts, vt_err *err)
{
    const vt_read_buffer *file = &b->files[position % (uint64_t)b->n];
    b->work.bytes = file->bytes; /* lent */
    b->work.size = file->size;
    b->work.encoded = true;
    if (parts)
        return vt_preprocess_load(&b->list, 0, position, &b->work, &b->spare, "image", err);
    VT_TRY(vt_preprocess_load_part(&b->list, 0, 0, position, &b->work, &b->spare, "image", err));
    return vt_preprocess_run(&b->list, 0, position, &b->work.image, &b->spare, err);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static vt_status measure(bench *b, double seconds, bool parts, vt_err *err)
{
    const double start = cpu_seconds();
    uint64_t done = 0;
    while (cpu_seconds() < start + seconds || done % (uint64_t)b->n != 0)
        VT_TRY(process(b, done++, parts, err));
    printf("%s: %.1f images/s\n", parts ? "parts" : "whole", (double)done / (cpu_seconds() - start));
    return VT_OK;
}

int main(int argc, char **argv)
{
    bench *b = vt_xcalloc(1, sizeof *b);
    vt_err err = {0};
    double seconds = 5.0;
    if (argc < 3 || (argc > 3 && vt_parse_f64(argv[3], &seconds, &err) != VT_OK)) {
        fprintf(stderr, "usage: bench-decode SPEC LIST [SECONDS]\n");
        return 2;
    }
    vt_status status = load(b, argv[1], argv[2], &err);
    for (int round = 0; round < 4 && status == VT_OK; round++)
        status = measure(b, seconds, round % 2, &err);
    if (status != VT_OK)
        fprintf(stderr, "bench-decode: %s\n", err.msg);
    b->work.bytes = NULL;
    vt_read_buffer_release(&b->work);
    vt_image_release(&b->spare);
    for (int64_t i = 0; i < b->n; i++)
        vt_read_buffer_release(&b->files[i]);
    free(b);
    return status != VT_OK;
}
