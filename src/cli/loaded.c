/* Opening a checkpoint: the newest of a run whose hashes hold, its config.json, an engine without gradients, its
 * weights. Another program's model: what its files and the keys of the command line tell, then the same. */
#include "cli/loaded.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/machine.h"
#include "train/foreign.h"

#define DEFAULT_BATCH 64
#define MEMORY_SHARE  0.9 /* of the machine, as in train/plan.c */
#define SLICES        8   /* the default of train.slices; forward passes do not depend on it */

vt_status vt_load_options_check(const vt_load_options *o, vt_err *err)
{
    int64_t unused;
    VT_TRY(vt_cli_integer("threads", o->threads, 1, 1024, 0, &unused, err));
    return vt_cli_integer("batch", o->batch, 1, 65536, 0, &unused, err);
}

static size_t total(const size_t bytes[VT_N_ARENAS])
{
    size_t sum = 0;
    for (int i = 0; i < VT_N_ARENAS; i++)
        sum += bytes[i];
    return sum;
}

/* The default batch, halved until its memory fits; the engine explains itself when one image is too much. */
static vt_status choose_batch(vt_engine_options *o, vt_err *err)
{
    size_t bytes[VT_N_ARENAS];
    for (o->use.samples = DEFAULT_BATCH; o->use.samples > 1; o->use.samples /= 2) {
        VT_TRY(vt_engine_measure(o, bytes, err));
        if ((double)total(bytes) <= MEMORY_SHARE * (double)vt_machine_memory())
            break;
    }
    return VT_OK;
}

static vt_status open_engine(vt_loaded *l, const vt_load_options *given, vt_err *err)
{
    int64_t threads = 0, batch = 0;
    vt_engine_options o = {.model = l->info.model, .slices = SLICES};
    VT_TRY(vt_cli_integer("threads", given->threads, 1, 1024, vt_machine_cpus(), &threads, err));
    VT_TRY(vt_cli_integer("batch", given->batch, 1, 65536, 0, &batch, err));
    VT_TRY(vt_isa_pick(getenv("VITRO_ISA"), &o.isa, err));
    o.threads = (int)threads;
    o.workers = l->workers = vt_machine_cpus();
    o.use = (vt_model_use){.samples = batch, .label_width = VT_MAX_LABELS};
    l->slices = SLICES;
    if (batch == 0)
        VT_TRY(choose_batch(&o, err));
    return vt_engine_open(&l->engine, &o, err);
}

/* What a model of this configuration is, for the commands. */
static vt_status describe(vt_loaded *l, const vt_foreign *f, vt_recipe *r, bool given_loss, vt_err *err)
{
    vt_checkpoint_info *info = &l->info;
    int64_t classes = vt_foreign_classes(f);
    char *const *names = vt_foreign_class_names(f);
    r->model.head_bias = 0; /* the file holds it */
    VT_TRY(vt_recipe_model(r, classes, &info->model, err));
    VT_TRY(vt_recipe_pixels(r, &info->pixels, err));
    info->model.classes = classes;
    info->named = names != NULL;
    info->loss = given_loss ? r->loss.kind : vt_foreign_loss(f);
    info->preprocess = vt_xstrdup(r->data.eval_preprocess);
    info->orient = r->data.orient == VT_ORIENT_EXIF;
    info->class_names = vt_xcalloc((size_t)classes + 1, sizeof *info->class_names);
    for (int64_t i = 0; i < classes; i++)
        info->class_names[i] = names ? vt_xstrdup(names[i]) : vt_xasprintf("%lld", (long long)i);
    vt_log(VT_LOG_INFO, "%s: %s, head %s, images %lldx%lld, %s", l->dir, r->model.shape,
           vt_head_names[info->model.head], (long long)info->model.image_height, (long long)info->model.image_width,
           info->preprocess);
    return VT_OK;
}

/* A model that is read through the keys of a recipe: another program's, or a checkpoint that shall be another one. */
static vt_status open_foreign(vt_loaded *l, const vt_args *args, const vt_load_options *o, vt_err *err)
{
    vt_foreign *f = NULL;
    vt_recipe r;
    vt_foreign_use use = {.any_classes = true};
    VT_TRY(vt_recipe_of_overrides(&r, args->keys, args->n_keys, err));
    bool given_loss = false;
    for (int i = 0; i < args->n_keys; i++)
        given_loss = given_loss || vt_has_prefix(args->keys[i], "loss.name=");
    l->dir = vt_xstrdup(args->list[0]);
    vt_status status = vt_foreign_open(&f, args->list[0], err);
    if (status == VT_OK)
        status = vt_foreign_name_classes(f, r.model.class_names, err);
    if (status == VT_OK)
        status = vt_foreign_adopt(f, &r, err);
    if (status == VT_OK)
        status = describe(l, f, &r, given_loss, err);
    if (status == VT_OK && vt_preprocess_parse(&l->preprocess, l->info.preprocess, err) != VT_OK)
        status = vt_prefix(err, "data.eval_preprocess");
    l->preprocess.orient = l->info.orient;
    use.positions = (vt_resample)r.init_positions;
    if (status == VT_OK)
        status = open_engine(l, o, err);
    if (status == VT_OK)
        status = vt_foreign_load(f, &l->engine.model, &l->engine.device, &use, err);
    vt_foreign_close(f);
    vt_recipe_release(&r);
    return status;
}

vt_status vt_loaded_open(vt_loaded *l, const vt_args *args, const vt_load_options *o, vt_err *err)
{
    const char *path = args->list[0];
    *l = (vt_loaded){0};
    if (args->n_keys > 0 || vt_is_file(path) || (vt_is_dir(path) && !vt_foreign_is_own(path)))
        return open_foreign(l, args, o, err);
    VT_TRY(vt_checkpoint_find(path, &l->dir, err));
    VT_TRY(vt_checkpoint_read_info(l->dir, &l->info, err));
    if (vt_preprocess_parse(&l->preprocess, l->info.preprocess, err) != VT_OK)
        return vt_prefix(err, "%s/config.json", l->dir);
    l->preprocess.orient = l->info.orient;
    VT_TRY(open_engine(l, o, err));
    return vt_checkpoint_load_model(l->dir, &l->engine, err);
}

void vt_loaded_close(vt_loaded *l)
{
    vt_engine_close(&l->engine);
    vt_checkpoint_info_release(&l->info);
    free(l->dir);
    *l = (vt_loaded){0};
}

vt_status vt_loaded_need_classifier(const vt_loaded *l, vt_err *err)
{
    return l->info.model.classes > 0
               ? VT_OK
               : vt_fail(err, VT_EINVAL, "%s: the model has no classifier: use vitro embed or fewshot", l->dir);
}

void vt_loaded_print(const vt_loaded *l)
{
    char step[32];
    if (l->info.step > 0)
        printf("checkpoint  %s (step %s)\n", l->dir, vt_cli_number(step, l->info.step));
    else
        printf("model       %s\n", l->dir);
}

vt_eval_pass vt_loaded_pass(vt_loaded *l, const vt_source *source)
{
    return (vt_eval_pass){.model = &l->engine.model,
                          .backend = &l->engine.backend,
                          .source = source,
                          .preprocess = &l->preprocess,
                          .pixels = l->info.pixels,
                          .loss = (vt_loss_kind)l->info.loss,
                          .workers = l->workers,
                          .slices = l->slices,
                          .memory = &l->engine.arenas[VT_ARENA_EVAL]};
}

/* dir when a recipe.yaml lies in it; else NULL, and dir is freed. */
static char *if_run(char *dir)
{
    char *recipe = vt_path_join(dir, "recipe.yaml");
    bool found = vt_is_file(recipe);
    free(recipe);
    if (found)
        return dir;
    free(dir);
    return NULL;
}

char *vt_loaded_run(const vt_loaded *l, const char *path)
{
    if (!vt_is_dir(path))
        return NULL;
    char *run = if_run(vt_xstrdup(path));
    return run ? run : if_run(vt_path_join(l->dir, "../..")); /* RUN/checkpoints/step-... */
}
