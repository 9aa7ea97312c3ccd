/* See stage.h. */
#include "stage.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void stage_open(stage *s, const char *spec, int64_t classes, int64_t samples, int threads)
{
    vt_err err = {0};
    vt_model_config config = {.width = STAGE_WIDTH,
                              .depth = 1,
                              .mlp = 24,
                              .heads = 2,
                              .patch = 4,
                              .image_height = 8,
                              .image_width = 12,
                              .classes = classes,
                              .head = VT_HEAD_MAP,
                              .norm_eps = 1e-6};
    rig_open(&s->rig,
             &(rig_options){.config = config, .samples = samples, .label_width = VT_MAX_LABELS, .threads = threads});
    vt_status status = vt_source_open(&s->source, spec, &err);
    assert(status == VT_OK);
    status = vt_preprocess_parse(&s->preprocess, "[resize(8,12)]", &err);
    assert(status == VT_OK);

    vt_arena count = vt_arena_counting();
    vt_eval_place(&count, &s->rig.model, samples);
    void *memory = aligned_alloc(VT_ARENA_ALIGN, count.high);
    memset(memory, 0xFF, count.high);
    s->memory = vt_arena_over(memory, count.high);
    s->pass = (vt_eval_pass){.model = &s->rig.model,
                             .backend = &s->rig.backend,
                             .source = s->source,
                             .preprocess = &s->preprocess,
                             .pixels = s->rig.pass.pixels,
                             .workers = 1,
                             .slices = 1,
                             .memory = &s->memory};
}

void stage_close(stage *s)
{
    assert(s->memory.used == 0);
    free(s->memory.base);
    vt_source_close(s->source);
    rig_close(&s->rig);
}

void stage_direct(stage *s, float **features, float **logits)
{
    vt_model *m = &s->rig.model;
    vt_device *device = &s->rig.device;
    int64_t n = vt_source_count(s->source), classes = m->config.classes;
    vt_read_buffer buffer = {0};
    vt_image spare = {0};
    *features = malloc((size_t)(n * STAGE_WIDTH) * sizeof(float));
    *logits = malloc((size_t)(n * classes) * sizeof(float));
    s->rig.pass.samples = 1;
    for (int64_t i = 0; i < n; i++) {
        vt_err err = {0};
        vt_status status = vt_source_read(s->source, i, &buffer, &err);
        assert(status == VT_OK);
        status = vt_preprocess_run(&s->preprocess, 0, 0, &buffer.image, &spare, &err);
        assert(status == VT_OK);
        vt_device_write(device, m->images, buffer.image.pixels, 8 * 12 * 3);
        vt_model_forward(m, &s->rig.pass);
        vt_device_read(device, *features + i * STAGE_WIDTH, m->features, STAGE_WIDTH * sizeof(float));
        vt_device_read(device, *logits + i * classes, m->logits, (size_t)classes * sizeof(float));
    }
    vt_read_buffer_release(&buffer);
    vt_image_release(&spare);
}

void stage_write_labels(char file[256], int64_t count, const char *const *lists, int n)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(file, 256, "%s/vitro-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    int fd = mkstemp(file);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    assert(f);
    for (int64_t i = 0; i < count; i++)
        fprintf(f, "%lld\t%s\n", (long long)i, lists[i % n]);
    int closed = fclose(f);
    assert(closed == 0);
}

void stage_spoil(stage *s)
{
    float bad = NAN;
    vt_tensor *t = vt_model_param(&s->rig.model, "patch_embed.proj.bias");
    vt_device_write(&s->rig.device, t->value, &bad, sizeof bad);
}
