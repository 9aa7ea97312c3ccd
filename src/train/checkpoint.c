/* Saving, finding, checking and loading checkpoints.
 *
 * A checkpoint is written into a folder with a temporary name, every file synced, then renamed: whoever sees
 * checkpoints/step-00001200 sees all of it. manifest.json holds the hash of every other file, so that a broken
 * checkpoint is recognised and the one before it is taken. Nothing in a checkpoint tells time, machine or number of
 * threads.
 *
 * Where parameters are averaged (optimizer.average), the averages are the model: model.safetensors holds them, so that
 * whoever loads it, timm included, has them; the values that training goes on with are NAME.value in
 * optimizer.safetensors. Parameters and averages change places (vt_average_swap) while files are written or read. */
#include "train/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/version.h"
#include "train/hub_config.h"

#define MODEL_FILE     "model.safetensors"
#define CONFIG_FILE    "config.json"
#define OPTIMIZER_FILE "optimizer.safetensors"
#define STATE_FILE     "state.json"
#define MANIFEST_FILE  "manifest.json"
#define STEP_PREFIX    "step-"
#define TMP_PREFIX     ".tmp-"
#define AVERAGE_SUFFIX ".average" /* of optimizer state, in memory */
#define VALUE_SUFFIX   ".value"   /* what lies in its place in the file */

/* --- the tensors of an engine as a file sees them -------------------------------------------------------------------
 */

static void store(vt_stored_tensor *s, const char *name, vt_dtype dtype, int n_dims, const int64_t *dims, int64_t count,
                  void *data)
{
    *s = (vt_stored_tensor){.dtype = dtype, .n_dims = n_dims, .count = count, .data = data};
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    memcpy(s->dims, dims, (size_t)n_dims * sizeof *dims);
}

static vt_stored_tensor *model_tensors(const vt_engine *e)
{
    vt_stored_tensor *list = vt_xcalloc((size_t)e->model.n_params, sizeof *list);
    for (int i = 0; i < e->model.n_params; i++) {
        const vt_tensor *t = &e->model.params[i];
        store(&list[i], t->name, VT_DTYPE_F32, t->n_dims, t->dims, t->count, t->value);
    }
    return list;
}

/* The optimizer's state while parameters and averages have changed places. */
static vt_stored_tensor *optimizer_tensors(const vt_engine *e)
{
    vt_stored_tensor *list = vt_xcalloc((size_t)e->optimizer.n_state, sizeof *list);
    for (int i = 0; i < e->optimizer.n_state; i++) {
        const vt_state_tensor *t = &e->optimizer.state[i];
        char name[sizeof t->name];
        (void)snprintf(name, sizeof name, "%s", t->name);
        if (vt_has_suffix(name, AVERAGE_SUFFIX))
            (void)snprintf(name + strlen(name) - strlen(AVERAGE_SUFFIX), sizeof VALUE_SUFFIX, VALUE_SUFFIX);
        store(&list[i], name, t->type == VT_BF16 ? VT_DTYPE_BF16 : VT_DTYPE_F32, t->n_dims, t->dims, t->count, t->data);
    }
    return list;
}

/* --- finding --------------------------------------------------------------------------------------------------------
 */

/* The step that a folder's name tells, or -1. */
static int64_t step_of(const char *name)
{
    int64_t step = -1;
    if (!vt_has_prefix(name, STEP_PREFIX) || vt_parse_i64(name + strlen(STEP_PREFIX), &step, NULL) != VT_OK)
        return -1;
    return step;
}

static int by_step(const void *a, const void *b)
{
    int64_t x = step_of(*(char *const *)a), y = step_of(*(char *const *)b);
    return (x > y) - (x < y);
}

/* The names of step folders in RUN/checkpoints, oldest first; none when the folder is absent. */
static vt_status list_steps(const char *checkpoints, char ***names, size_t *n, vt_err *err)
{
    char **all = NULL;
    size_t count = 0, kept = 0;
    *names = NULL;
    *n = 0;
    if (!vt_is_dir(checkpoints))
        return VT_OK;
    VT_TRY(vt_list_dir(checkpoints, &all, &count, err));
    for (size_t i = 0; i < count; i++) {
        if (step_of(all[i]) >= 0)
            all[kept++] = all[i];
        else
            free(all[i]);
    }
    if (kept)
        qsort(all, kept, sizeof *all, by_step);
    *names = all;
    *n = kept;
    return VT_OK;
}

vt_status vt_checkpoint_newest(const char *run, int64_t most, char **dir, vt_err *err)
{
    char **names = NULL;
    size_t n = 0;
    char *checkpoints = vt_path_join(run, "checkpoints");
    *dir = NULL;
    vt_status status = list_steps(checkpoints, &names, &n, err);
    while (n > 0 && step_of(names[n - 1]) > most)
        free(names[--n]);
    for (size_t i = n; i-- > 0 && status == VT_OK && !*dir;) {
        vt_err why = {0};
        char *candidate = vt_path_join(checkpoints, names[i]);
        if (vt_checkpoint_verify(candidate, &why) == VT_OK) {
            *dir = candidate;
        } else {
            vt_log(VT_LOG_WARN, "%s; this checkpoint is left out", why.msg);
            free(candidate);
        }
    }
    if (status == VT_OK && n > 0 && !*dir)
        status = vt_fail(err, VT_EFORMAT, "%s: none of its %zu checkpoints is whole; remove that folder to begin anew",
                         checkpoints, n);
    vt_free_names(names, n);
    free(checkpoints);
    return status;
}

/* A checkpoint that was named itself: checked where it has a manifest. */
static vt_status take_named(const char *path, char **dir, vt_err *err)
{
    char *manifest = vt_path_join(path, MANIFEST_FILE);
    vt_status status = vt_is_file(manifest) ? vt_checkpoint_verify(path, err) : VT_OK;
    free(manifest);
    if (status == VT_OK)
        *dir = vt_xstrdup(path);
    return status;
}

vt_status vt_checkpoint_find(const char *path, char **dir, vt_err *err)
{
    char *config = vt_path_join(path, CONFIG_FILE);
    bool is_checkpoint = vt_is_file(config);
    free(config);
    *dir = NULL;
    if (is_checkpoint)
        return take_named(path, dir, err);
    if (!vt_is_dir(path))
        return vt_fail(err, VT_EINVAL, "%s is not a folder; give a run (with checkpoints/) or a checkpoint (with %s)",
                       path, CONFIG_FILE);
    VT_TRY(vt_checkpoint_newest(path, INT64_MAX, dir, err));
    if (!*dir)
        return vt_fail(err, VT_EINVAL, "%s holds no usable checkpoint: neither %s nor checkpoints/%s...", path,
                       CONFIG_FILE, STEP_PREFIX);
    return VT_OK;
}

/* --- checking and loading -------------------------------------------------------------------------------------------
 */

static vt_status verify_file(const char *dir, const char *name, const json_t *entry, vt_err *err)
{
    char hex[VT_HASH_HEX];
    const char *expected = NULL;
    char *path = vt_path_join(dir, name);
    vt_status status = vt_json_get_string(entry, "sha256", name, &expected, err);
    if (status == VT_OK)
        status = vt_hash_file(path, hex, err);
    if (status == VT_OK && strcmp(hex, expected) != 0)
        status = vt_fail(err, VT_EFORMAT, "%s is broken: its hash is %.12s..., the manifest says %.12s...", path, hex,
                         expected);
    free(path);
    return status;
}

vt_status vt_checkpoint_verify(const char *dir, vt_err *err)
{
    json_t *root = NULL, *entry;
    const char *name;
    char *path = vt_path_join(dir, MANIFEST_FILE);
    vt_status status = vt_json_load(path, &root, err);
    json_t *files = json_object_get(root, "files");
    if (status == VT_OK && !json_object_get(files, MODEL_FILE))
        status = vt_fail(err, VT_EFORMAT, "%s does not list %s", path, MODEL_FILE);
    if (status == VT_OK) {
        json_object_foreach(files, name, entry)
        {
            if (strchr(name, '/'))
                status = vt_fail(err, VT_EFORMAT, "%s lists %s, which is not a file of this folder", path, name);
            else
                status = verify_file(dir, name, entry, err);
            if (status != VT_OK)
                break;
        }
    }
    json_decref(root);
    free(path);
    return status;
}

vt_status vt_checkpoint_read_info(const char *dir, vt_checkpoint_info *info, vt_err *err)
{
    char *path = vt_path_join(dir, CONFIG_FILE);
    vt_status status = vt_hub_config_load(path, info, err);
    if (status != VT_OK)
        vt_checkpoint_info_release(info);
    free(path);
    return status;
}

vt_status vt_checkpoint_load_model(const char *dir, vt_engine *e, vt_err *err)
{
    char *path = vt_path_join(dir, MODEL_FILE);
    vt_stored_tensor *tensors = model_tensors(e);
    vt_status status = vt_safetensors_load(path, &e->device, tensors, e->model.n_params, err);
    free(tensors);
    free(path);
    return status;
}

void vt_train_state_release(vt_train_state *s)
{
    json_decref(s->skipped);
    json_decref(s->bad);
    *s = (vt_train_state){0};
}

/* The list of skipped updates, where there is one. */
static vt_status take_skipped(const char *path, const json_t *root, vt_train_state *state, vt_err *err)
{
    json_t *list = json_object_get(root, "skipped"), *entry;
    size_t i;
    if (!list)
        return VT_OK;
    if (!json_is_array(list) || json_array_size(list) > VT_MAX_SKIPPED)
        return vt_fail(err, VT_EFORMAT, "%s: \"skipped\" is no list of at most %d updates", path, VT_MAX_SKIPPED);
    json_array_foreach(list, i, entry)
    {
        int64_t update;
        VT_TRY(vt_json_get_i64(entry, "update", path, &update, err));
    }
    state->skipped = json_incref(list);
    return VT_OK;
}

/* The list of bad samples, where there is one. */
static vt_status take_bad(const char *path, const json_t *root, vt_train_state *state, vt_err *err)
{
    json_t *list = json_object_get(root, "bad"), *entry;
    json_int_t before = -1;
    size_t i;
    if (!list)
        return VT_OK;
    bool good = json_is_array(list) && json_array_size(list) <= VT_MAX_BAD;
    json_array_foreach(list, i, entry)
    {
        good = good && json_is_integer(entry) && json_integer_value(entry) > before;
        before = json_integer_value(entry);
    }
    if (!good)
        return vt_fail(err, VT_EFORMAT, "%s: \"bad\" is no ascending list of at most %d samples", path, VT_MAX_BAD);
    state->bad = json_incref(list);
    return VT_OK;
}

static vt_status load_state_file(const char *path, vt_train_state *state, vt_err *err)
{
    json_t *root = NULL;
    const char *recipe = NULL, *data = NULL, *isa = NULL;
    *state = (vt_train_state){0};
    VT_TRY(vt_json_load(path, &root, err));
    vt_status status = vt_json_get_i64(root, "step", path, &state->step, err);
    if (status == VT_OK)
        status = vt_json_get_i64(root, "schedule_steps", path, &state->schedule_steps, err);
    if (status == VT_OK)
        status = vt_json_get_i64(root, "cooldown_steps", path, &state->cooldown_steps, err);
    if (status == VT_OK)
        status = vt_json_get_string(root, "instruction_set", path, &isa, err);
    if (status == VT_OK)
        status = vt_json_get_string(root, "recipe_sha256", path, &recipe, err);
    if (status == VT_OK)
        status = vt_json_get_string(root, "data_sha256", path, &data, err);
    if (status == VT_OK && (state->step < 0 || state->schedule_steps < state->step || state->cooldown_steps < 0 ||
                            state->cooldown_steps > state->schedule_steps))
        status = vt_fail(err, VT_EFORMAT, "%s: step %lld of %lld cannot be", path, (long long)state->step,
                         (long long)state->schedule_steps);
    if (status == VT_OK)
        status = take_skipped(path, root, state, err);
    if (status == VT_OK)
        status = take_bad(path, root, state, err);
    if (status == VT_OK) {
        (void)snprintf(state->recipe_hash, sizeof state->recipe_hash, "%s", recipe);
        (void)snprintf(state->data_hash, sizeof state->data_hash, "%s", data);
        (void)snprintf(state->instruction_set, sizeof state->instruction_set, "%s", isa);
    }
    json_decref(root);
    return status;
}

vt_status vt_checkpoint_read_state(const char *dir, vt_train_state *state, vt_err *err)
{
    char *path = vt_path_join(dir, STATE_FILE);
    vt_status status = load_state_file(path, state, err);
    free(path);
    return status;
}

vt_status vt_checkpoint_load_state(const char *dir, vt_engine *e, vt_train_state *state, vt_err *err)
{
    char *state_path = vt_path_join(dir, STATE_FILE), *optimizer_path = vt_path_join(dir, OPTIMIZER_FILE);
    vt_average_swap(&e->optimizer);
    vt_stored_tensor *tensors = optimizer_tensors(e);
    vt_status status = load_state_file(state_path, state, err);
    if (status == VT_OK)
        status = vt_checkpoint_load_model(dir, e, err);
    if (status == VT_OK)
        status = vt_safetensors_load(optimizer_path, &e->device, tensors, e->optimizer.n_state, err);
    vt_average_swap(&e->optimizer);
    free(tensors);
    free(optimizer_path);
    free(state_path);
    return status;
}

/* --- saving ---------------------------------------------------------------------------------------------------------
 */

static void add_to_manifest(json_t *files, const char *name, const char *hex, int64_t bytes)
{
    json_object_set_new(files, name, json_pack("{s:s, s:I}", "sha256", hex, "bytes", (json_int_t)bytes));
}

static vt_status save_tensors(const char *dir, const char *name, vt_device *device, const vt_stored_tensor *tensors,
                              int n, json_t *files, vt_err *err)
{
    char hex[VT_HASH_HEX];
    int64_t bytes = 0;
    char *path = vt_path_join(dir, name);
    vt_status status = vt_safetensors_save(path, device, tensors, n, hex, &bytes, err);
    if (status == VT_OK)
        add_to_manifest(files, name, hex, bytes);
    free(path);
    return status;
}

/* Hashes a small file that was just written. */
static vt_status enlist(const char *dir, const char *name, json_t *files, vt_err *err)
{
    char hex[VT_HASH_HEX];
    unsigned char *data = NULL;
    size_t size = 0;
    char *path = vt_path_join(dir, name);
    vt_status status = vt_file_read(path, (size_t)1 << 30, &data, &size, err);
    if (status == VT_OK) {
        vt_hash_bytes(data, size, hex);
        add_to_manifest(files, name, hex, (int64_t)size);
    }
    free(data);
    free(path);
    return status;
}

static vt_status save_config(const char *dir, const vt_checkpoint_info *info, vt_err *err)
{
    char *path = vt_path_join(dir, CONFIG_FILE);
    vt_status status = vt_hub_config_save(path, info, err);
    free(path);
    return status;
}

static vt_status save_json(const char *dir, const char *name, json_t *root, vt_err *err)
{
    char *path = vt_path_join(dir, name);
    vt_status status = vt_json_save(path, root, err);
    json_decref(root);
    free(path);
    return status;
}

static vt_status write_files(const char *dir, vt_device *device, const vt_checkpoint_copy *t,
                             const vt_checkpoint_info *info, const vt_train_state *s, json_t *files, vt_err *err)
{
    json_t *state = json_pack("{s:I, s:I, s:I, s:I, s:s, s:s, s:s}", "step", (json_int_t)s->step, "images",
                              (json_int_t)info->images, "schedule_steps", (json_int_t)s->schedule_steps,
                              "cooldown_steps", (json_int_t)s->cooldown_steps, "instruction_set", s->instruction_set,
                              "recipe_sha256", s->recipe_hash, "data_sha256", s->data_hash);
    if (s->skipped)
        (void)json_object_set(state, "skipped", s->skipped);
    if (s->bad)
        (void)json_object_set(state, "bad", s->bad);
    VT_TRY(save_json(dir, STATE_FILE, state, err));
    VT_TRY(save_config(dir, info, err));
    VT_TRY(save_tensors(dir, MODEL_FILE, device, t->model, t->n_model, files, err));
    VT_TRY(save_tensors(dir, OPTIMIZER_FILE, device, t->optimizer, t->n_optimizer, files, err));
    VT_TRY(enlist(dir, STATE_FILE, files, err));
    VT_TRY(enlist(dir, CONFIG_FILE, files, err));
    json_t *manifest = json_pack("{s:{s:s, s:s, s:s}, s:s, s:s, s:I, s:O}", "program", "name", "vitro", "version",
                                 vt_version(), "instruction_set", t->instruction_set, "recipe_sha256", s->recipe_hash,
                                 "data_sha256", s->data_hash, "step", (json_int_t)s->step, "files", files);
    if (s->skipped)
        (void)json_object_set(manifest, "skipped", s->skipped);
    if (s->bad)
        (void)json_object_set(manifest, "bad", s->bad);
    VT_TRY(save_json(dir, MANIFEST_FILE, manifest, err));
    return vt_sync_dir(dir, err);
}

/* Leaves the newest `keep` up to `step`, which was just saved. One of a later step failed its hashes, or training would
 * have gone on from it: it goes too. What cannot be removed is only worth a warning. */
static void prune(const char *checkpoints, int64_t step, int64_t keep)
{
    char **names = NULL;
    size_t n = 0, current = 0;
    vt_err err = {0};
    if (list_steps(checkpoints, &names, &n, &err) != VT_OK)
        vt_log(VT_LOG_WARN, "old checkpoints stay: %s", err.msg);
    while (current < n && step_of(names[current]) < step)
        current++;
    for (size_t i = 0; i < n; i++) {
        if (i <= current && (int64_t)(current - i) < keep)
            continue;
        char *path = vt_path_join(checkpoints, names[i]);
        if (vt_remove_tree(path, &err) != VT_OK)
            vt_log(VT_LOG_WARN, "an old checkpoint stays: %s", err.msg);
        free(path);
    }
    vt_free_names(names, n);
}

/* Puts a finished folder under its name. One that is there already failed its hashes, or training would have gone on
 * from it: it makes room. */
static vt_status publish(const char *tmp, const char *path, const char *checkpoints, vt_err *err)
{
    if (vt_is_dir(path))
        VT_TRY(vt_remove_tree(path, err));
    VT_TRY(vt_rename(tmp, path, err));
    return vt_sync_dir(checkpoints, err);
}

/* Writes tensors of device memory, or of host memory where device is NULL. */
static vt_status write_checkpoint(const char *run, vt_device *device, const vt_checkpoint_copy *tensors,
                                  const vt_checkpoint_info *info, const vt_train_state *state, int64_t keep, char **dir,
                                  vt_err *err)
{
    char *checkpoints = vt_path_join(run, "checkpoints");
    char *path = vt_xasprintf("%s/" STEP_PREFIX "%08lld", checkpoints, (long long)state->step);
    char *tmp = vt_xasprintf("%s/" TMP_PREFIX STEP_PREFIX "%08lld", checkpoints, (long long)state->step);
    json_t *files = json_object();
    vt_err ignored = {0};

    vt_status status = vt_is_dir(tmp) ? vt_remove_tree(tmp, err) : VT_OK;
    if (status == VT_OK)
        status = vt_make_dirs(tmp, err);
    if (status == VT_OK)
        status = write_files(tmp, device, tensors, info, state, files, err);
    if (status == VT_OK)
        status = publish(tmp, path, checkpoints, err);
    if (status == VT_OK)
        prune(checkpoints, state->step, keep);
    else if (vt_is_dir(tmp) && vt_remove_tree(tmp, &ignored) != VT_OK)
        vt_log(VT_LOG_WARN, "%s", ignored.msg);
    json_decref(files);
    free(tmp);
    free(checkpoints);
    *dir = status == VT_OK ? path : NULL;
    if (status != VT_OK)
        free(path);
    return status;
}

/* Tables of what the engine holds, while parameters and averages have changed places. */
static vt_checkpoint_copy tables_of(const vt_engine *e)
{
    return (vt_checkpoint_copy){.model = model_tensors(e),
                                .optimizer = optimizer_tensors(e),
                                .n_model = e->model.n_params,
                                .n_optimizer = e->optimizer.n_state,
                                .instruction_set = e->backend.isa->bytes};
}

static void release_tables(vt_checkpoint_copy *t)
{
    free(t->model);
    free(t->optimizer);
    *t = (vt_checkpoint_copy){0};
}

vt_status vt_checkpoint_save(const char *run, vt_engine *e, const vt_checkpoint_info *info, const vt_train_state *state,
                             int64_t keep, char **dir, vt_err *err)
{
    vt_average_swap(&e->optimizer);
    vt_checkpoint_copy tables = tables_of(e);
    vt_status status = write_checkpoint(run, &e->device, &tables, info, state, keep, dir, err);
    release_tables(&tables);
    vt_average_swap(&e->optimizer);
    return status;
}

/* Where the tensors lie in a snapshot, one behind the other; its bytes. */
static size_t lay_out(vt_stored_tensor *tensors, int n, unsigned char *base, size_t at)
{
    for (int i = 0; i < n; i++) {
        tensors[i].data = base ? base + at : NULL;
        at += (vt_stored_bytes(&tensors[i]) + VT_ARENA_ALIGN - 1) / VT_ARENA_ALIGN * VT_ARENA_ALIGN;
    }
    return at;
}

size_t vt_checkpoint_bytes(vt_engine *e)
{
    vt_checkpoint_copy t = tables_of(e);
    size_t bytes = lay_out(t.optimizer, t.n_optimizer, NULL, lay_out(t.model, t.n_model, NULL, 0));
    release_tables(&t);
    return bytes;
}

static void copy_out(vt_device *device, const vt_stored_tensor *from, const vt_stored_tensor *to, int n)
{
    for (int i = 0; i < n; i++)
        vt_device_read(device, to[i].data, from[i].data, vt_stored_bytes(&from[i]));
}

vt_checkpoint_copy vt_checkpoint_take(vt_engine *e)
{
    vt_average_swap(&e->optimizer);
    vt_checkpoint_copy held = tables_of(e), copy = tables_of(e);
    lay_out(copy.optimizer, copy.n_optimizer, e->snapshot, lay_out(copy.model, copy.n_model, e->snapshot, 0));
    copy_out(&e->device, held.model, copy.model, copy.n_model);
    copy_out(&e->device, held.optimizer, copy.optimizer, copy.n_optimizer);
    release_tables(&held);
    vt_average_swap(&e->optimizer);
    return copy;
}

vt_status vt_checkpoint_write(const char *run, vt_checkpoint_copy *copy, const vt_checkpoint_info *info,
                              const vt_train_state *state, int64_t keep, char **dir, vt_err *err)
{
    vt_status status = write_checkpoint(run, NULL, copy, info, state, keep, dir, err);
    release_tables(copy);
    return status;
}

/* --- the label contract ---------------------------------------------------------------------------------------------
 */

/* near: where the name most likely stands. */
static int64_t index_of(const vt_checkpoint_info *info, const char *name, int64_t near)
{
    if (near < info->model.classes && strcmp(info->class_names[near], name) == 0)
        return near;
    for (int64_t i = 0; i < info->model.classes; i++)
        if (strcmp(info->class_names[i], name) == 0)
            return i;
    return -1;
}

vt_status vt_checkpoint_match_classes(const vt_checkpoint_info *info, const vt_source *source, int32_t *map,
                                      bool *permuted, vt_err *err)
{
    *permuted = false;
    for (int64_t c = 0; c < vt_source_classes(source); c++) {
        const char *name = vt_source_class_name(source, c);
        int64_t i = index_of(info, name, c);
        if (i < 0)
            return vt_fail(
                err, VT_EINVAL,
                "%s: class %lld is \"%s\", which the checkpoint does not know (its class %lld is \"%s\", of %lld)%s",
                vt_source_spec(source), (long long)c, name, (long long)(c < info->model.classes ? c : 0),
                info->class_names[c < info->model.classes ? c : 0], (long long)info->model.classes,
                info->named != vt_source_has_names(source)
                    ? "; one side has only numbers: give its names with ?classes=FILE"
                    : "");
        map[c] = (int32_t)i;
        *permuted = *permuted || i != c;
    }
    return VT_OK;
}
