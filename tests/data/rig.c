/* See rig.h. */
#include "rig.h"

#include "fixtures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rig_open(rig *r, const char *spec, const char *list)
{
    vt_err err = {0};
    if (vt_source_open(&r->source, spec, &err) != VT_OK || vt_preprocess_parse(&r->preprocess, list, &err) != VT_OK)
        fail_msg("%s", err.msg);
}

void rig_start(rig *r)
{
    vt_err err = {0};
    r->options.source = r->source;
    r->options.preprocess = &r->preprocess;
    r->options.labels = r->options.labels ? r->options.labels : vt_source_most_labels(r->source);
    vt_arena counting = vt_arena_counting();
    assert_null(vt_loader_place(&counting, &r->options));
    r->ring = aligned_alloc(VT_ARENA_ALIGN, counting.used);
    memset(r->ring, 0x5a, counting.used);
    vt_arena arena = vt_arena_over(r->ring, counting.used);
    void *place = vt_loader_place(&arena, &r->options);
    assert_ptr_equal(place, r->ring);
    assert_int_equal(arena.used, counting.used);
    if (vt_loader_new(&r->loader, &r->options, place, &err) != VT_OK)
        fail_msg("%s", err.msg);
}

void rig_stop(rig *r)
{
    vt_loader_free(r->loader);
    free(r->ring);
    r->loader = NULL;
}

void rig_hash(rig *r, char hex[VT_HASH_HEX], int64_t *batches, int64_t *samples)
{
    vt_hasher *h = vt_hasher_new();
    *batches = *samples = 0;
    rig_start(r);
    for (;;) {
        vt_batch b;
        vt_err err = {0};
        if (vt_loader_next(r->loader, &b, &err) != VT_OK)
            fail_msg("%s", err.msg);
        if (b.count == 0)
            break;
        assert_int_equal(b.position, r->options.start + *samples);
        vt_hasher_add(h, b.images, (size_t)(b.count * r->options.height * r->options.width * 3));
        vt_hasher_add(h, b.labels, (size_t)b.count * sizeof *b.labels);
        *batches += 1;
        *samples += b.count;
        vt_loader_release_batch(r->loader);
    }
    assert_true(vt_loader_wait_ns(r->loader) >= 0);
    rig_stop(r);
    vt_hasher_finish(h, hex);
}

void rig_folder(const char *dir, const int *bad, int n_bad)
{
    size_t size;
    unsigned char *png = fx_png(8, 8, 1, &size);
    for (int i = 0; i < 60; i++) {
        char name[64];
        bool broken = false;
        for (int k = 0; k < n_bad; k++)
            broken = broken || bad[k] == i;
        snprintf(name, sizeof name, "%s/cat/%02d.png", dir, i);
        fx_write(name, broken ? (const void *)"text" : png, broken ? 4 : size);
    }
    free(png);
}
