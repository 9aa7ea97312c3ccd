/* The scene: see scene.h. */
#include "scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static const char recipe_text[] =
    "model: {shape: w16-d2-m32-h2-p4, head: map, image: 12}\n"
    "data:\n"
    "  train: synthetic:shapes?classes=4&size=14&count=150&seed=1\n"
    "  eval: synthetic:shapes?classes=4&size=14&count=50&seed=2\n"
    "  preprocess: [random_crop(12), flip]\n"
    "  eval_preprocess: [central_crop(12)]\n"
    "train: {batch: 16, micro_batch: 8, slices: 4, seed: 5, save_every: 5 steps, log_every: 4}\n"
    "optimizer: {lr: 2e-3}\n"
    "schedule: {length: 24 steps, warmup: 3, cooldown: 6}\n";

void scene_make(scene *s)
{
    (void)snprintf(s->dir, sizeof s->dir, "/tmp/vitro-test-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
}

void scene_remove(scene *s)
{
    vt_err err = {0};
    if (vt_remove_tree(s->dir, &err) != VT_OK)
        fail_msg("%s", err.msg);
}

const char *scene_path(const scene *s, const char *name)
{
    static char paths[8][256];
    static int next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", s->dir, name);
    return path;
}

vt_recipe scene_recipe(const scene *s, ...)
{
    const char *overrides[32];
    int n = 0;
    for (const char *const *o = s->settings; o && *o; o++)
        overrides[n++] = *o;
    va_list list;
    va_start(list, s);
    for (const char *o; (o = va_arg(list, const char *)) != NULL;)
        overrides[n++] = o;
    va_end(list);

    vt_recipe r = {0};
    vt_err err = {0};
    const char *path = scene_path(s, "recipe.yaml");
    if (vt_file_write(path, recipe_text, strlen(recipe_text), &err) != VT_OK ||
        vt_recipe_load(&r, path, overrides, n, &err) != VT_OK)
        fail_msg("%s", err.msg);
    return r;
}

vt_status scene_train(const scene *s, vt_recipe *r, const char *run, const vt_train_observer *o,
                      vt_train_result *result, vt_err *err)
{
    return vt_train(r, scene_path(s, run), false, o, result, err);
}

void scene_hash(const scene *s, const char *run, char hex[VT_HASH_HEX])
{
    char *dir = NULL, **names = NULL, file_hash[VT_HASH_HEX];
    size_t n = 0;
    vt_err err = {0};
    vt_hasher *h = vt_hasher_new();
    if (vt_checkpoint_find(scene_path(s, run), &dir, &err) != VT_OK || vt_list_dir(dir, &names, &n, &err) != VT_OK)
        fail_msg("%s", err.msg);
    vt_hasher_add(h, vt_path_base(dir), strlen(vt_path_base(dir)));
    for (size_t i = 0; i < n; i++) {
        char *path = vt_path_join(dir, names[i]);
        if (vt_hash_file(path, file_hash, &err) != VT_OK)
            fail_msg("%s", err.msg);
        vt_hasher_add(h, names[i], strlen(names[i]));
        vt_hasher_add(h, file_hash, sizeof file_hash);
        free(path);
    }
    vt_hasher_finish(h, hex);
    vt_free_names(names, n);
    free(dir);
}

void scene_train_and_hash(const scene *s, const char *run, const vt_train_observer *o, vt_recipe r,
                          char hex[VT_HASH_HEX])
{
    vt_err err = {0};
    vt_train_result result;
    if (scene_train(s, &r, run, o, &result, &err) != VT_OK)
        fail_msg("%s: %s", run, err.msg);
    vt_train_result_release(&result);
    vt_recipe_release(&r);
    scene_hash(s, run, hex);
}
