/* The way that eval, fewshot and init take, without running the model. */
#include "fuzz_foreign.h"

#include <assert.h>
#include <stdint.h>

#include "base/text.h"
#include "train/foreign.h"

#define SMALL (1 << 16) /* parameters */

/* What files seldom tell. */
static const char *const hints[] = {
    "model.heads=2",
    "model.head=gap",
    "model.gelu=erf",
    "model.norm_eps=1e-6",
    "data.mean=[0.5,0.5,0.5]",
    "data.std=[0.5,0.5,0.5]",
    "data.preprocess=[resize(8)]",
};

static void load(vt_foreign *f, const vt_model_config *config)
{
    vt_model m;
    vt_device device;
    vt_err err = {0};
    const vt_foreign_use use = {.any_classes = true, .positions = VT_RESAMPLE_BICUBIC};
    if (vt_model_init(&m, config, &err) != VT_OK)
        return;
    vt_device_init(&device);
    vt_arena arena = vt_arena_counting();
    vt_model_place_values(&m, &arena);
    if (m.param_count <= SMALL && vt_device_arena(&device, arena.used, "a model", &arena, &err) == VT_OK) {
        vt_model_place_values(&m, &arena);
        if (vt_foreign_load(f, &m, &device, &use, &err) != VT_OK)
            assert(err.msg[0]);
    }
    vt_device_release(&device);
    vt_model_release(&m);
}

void fuzz_foreign(const char *path)
{
    vt_foreign *f = NULL;
    vt_recipe r;
    vt_model_config config;
    vt_err err = {0};
    if (vt_foreign_open(&f, path, &err) != VT_OK) {
        assert(!f && err.msg[0]);
        return;
    }
    if (vt_recipe_of_overrides(&r, hints, (int)VT_COUNT_OF(hints), &err) == VT_OK) {
        if (vt_foreign_adopt(f, &r, &err) == VT_OK &&
            vt_recipe_model(&r, vt_foreign_classes(f), &config, &err) == VT_OK)
            load(f, &config);
        vt_recipe_release(&r);
    }
    vt_foreign_close(f);
}
