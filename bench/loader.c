/* Times vitro's loader alone: what training takes from it, read, decoded and preprocessed, in training order without
 * end. Reads lines "images N" from standard input, takes N images for each and answers with one line of JSON, so that
 * bench/loader can take turns between programs in one run.
 *
 *   bench-loader --data SPEC --preprocess LIST --side 224 [--batch 64] [--workers 2] [--cache none|memory|file] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"
#include "base/opts.h"
#include "base/text.h"
#include "data/loader.h"

typedef struct {
    const char *data, *preprocess, *side, *batch, *workers, *cache;
} settings;

typedef struct {
    vt_source *source;
    vt_preprocess preprocess;
    vt_cache *cache;
    vt_loader *loader;
    void *cells, *ring;
} rig;

static vt_status number(const char *name, const char *text, int64_t *value, vt_err *err)
{
    if (vt_parse_i64(text, value, err) != VT_OK || *value < 1)
        return vt_fail(err, VT_EINVAL, "--%s is %s; expected a number above 0", name, text);
    return VT_OK;
}

static void *zeroed(size_t bytes)
{
    size_t rounded = (bytes + VT_ARENA_ALIGN) / VT_ARENA_ALIGN * VT_ARENA_ALIGN;
    void *memory = aligned_alloc(VT_ARENA_ALIGN, rounded);
    if (memory)
        memset(memory, 0, rounded);
    return memory;
}

static vt_status open_cache(rig *r, const char *name, int threads, vt_err *err)
{
    int kind = 0;
    while (vt_cache_names[kind] && strcmp(vt_cache_names[kind], name) != 0)
        kind++;
    if (!vt_cache_names[kind])
        return vt_fail(err, VT_EINVAL, "--cache is %s; expected none, memory or file", name);
    VT_TRY(vt_cache_open(&r->cache, (vt_cache_kind)kind, r->source, &r->preprocess, threads, err));
    if (vt_cache_memory(r->cache) > 0 && !(r->cells = zeroed(vt_cache_memory(r->cache))))
        return vt_fail(err, VT_ENOMEM, "no memory for %zu bytes of decoded images", vt_cache_memory(r->cache));
    vt_cache_start(r->cache, r->cells);
    return VT_OK;
}

static vt_status open_rig(rig *r, const settings *s, vt_err *err)
{
    int64_t side, batch, workers;
    VT_TRY(number("side", s->side, &side, err));
    VT_TRY(number("batch", s->batch, &batch, err));
    VT_TRY(number("workers", s->workers, &workers, err));
    VT_TRY(vt_preprocess_parse(&r->preprocess, s->preprocess, err));
    r->preprocess.orient = true;
    VT_TRY(vt_source_open(&r->source, s->data, err));
    VT_TRY(open_cache(r, s->cache, (int)workers, err));
    vt_loader_options o = {.source = r->source,
                           .preprocess = &r->preprocess,
                           .height = side,
                           .width = side,
                           .batch = batch,
                           .labels = vt_source_most_labels(r->source),
                           .end = INT64_MAX / 2,
                           .shuffle = true,
                           .workers = (int)workers,
                           .slots = 4,
                           .cache = r->cache};
    vt_arena count = vt_arena_counting();
    (void)vt_loader_place(&count, &o);
    r->ring = zeroed(count.used);
    return vt_loader_new(&r->loader, &o, r->ring, err);
}

static void close_rig(rig *r)
{
    vt_loader_free(r->loader);
    vt_cache_close(r->cache);
    vt_source_close(r->source);
    free(r->ring);
    free(r->cells);
}

/* Touches every image as a copy to a device would. */
static vt_status take(rig *r, int64_t images, vt_err *err)
{
    int64_t start = vt_now_ns(), done = 0;
    unsigned sum = 0;
    while (done < images) {
        vt_batch b;
        VT_TRY(vt_loader_next(r->loader, &b, err));
        for (int64_t i = 0; i < b.count; i++)
            sum += b.images[i];
        done += b.count;
        vt_loader_release_batch(r->loader);
    }
    double seconds = (double)(vt_now_ns() - start) * 1e-9;
    (void)printf("{\"images_per_s\": %.1f, \"resident_mib\": %.1f, \"sum\": %u}\n", (double)done / seconds,
                 (double)vt_resident_anonymous() / 1048576, sum);
    (void)fflush(stdout);
    return VT_OK;
}

static vt_status serve(rig *r, vt_err *err)
{
    char line[64];
    int64_t images = 0;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "images ", 7) != 0)
            return vt_fail(err, VT_EINVAL, "expected a line \"images N\", got \"%s\"", line);
        VT_TRY(number("images", line + 7, &images, err));
        VT_TRY(take(r, images, err));
    }
    return VT_OK;
}

int main(int argc, char **argv)
{
    settings s = {.side = "224", .batch = "64", .workers = "2", .cache = "none"};
    const vt_opt opts[] = {{"data", "SPEC", &s.data, "images"},
                           {"preprocess", "LIST", &s.preprocess, "what happens to them"},
                           {"side", "N", &s.side, "of an image behind it"},
                           {"batch", "N", &s.batch, "images in a slot"},
                           {"workers", "N", &s.workers, "threads"},
                           {"cache", "KIND", &s.cache, "none, memory or file"}};
    const char **rest = vt_xcalloc((size_t)argc + 1, sizeof *rest);
    int n_rest = 0;
    bool help = false;
    vt_err err = {0};
    rig r = {0};
    vt_status status = vt_opts_parse(opts, VT_COUNT_OF(opts), argc - 1, argv + 1, rest, &n_rest, &help, &err);
    free(rest);
    if (status == VT_OK && (help || !s.data || !s.preprocess))
        status = vt_fail(&err, VT_EINVAL,
                         "usage: bench-loader --data SPEC --preprocess LIST [--side N] [--batch N] [--workers N] "
                         "[--cache none|memory|file]");
    if (status == VT_OK)
        status = open_rig(&r, &s, &err);
    if (status == VT_OK)
        status = serve(&r, &err);
    close_rig(&r);
    if (status != VT_OK)
        (void)fprintf(stderr, "bench-loader: %s\n", err.msg);
    return status == VT_OK ? 0 : 1;
}
