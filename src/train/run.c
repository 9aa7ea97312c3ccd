/* The run folder. Small files are replaced atomically; metrics.jsonl is appended line by line and flushed. */
#include "train/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"

#define MAX_METRICS_BYTES ((size_t)1 << 30)

/* An interrupted save leaves a folder that starts with a dot; nobody else makes such. */
static vt_status remove_leftovers(const char *dir, vt_err *err)
{
    char **names = NULL;
    size_t n = 0;
    char *checkpoints = vt_path_join(dir, "checkpoints");
    vt_status status = vt_is_dir(checkpoints) ? vt_list_dir(checkpoints, &names, &n, err) : VT_OK;
    for (size_t i = 0; i < n && status == VT_OK; i++) {
        if (vt_has_prefix(names[i], ".tmp-")) {
            char *path = vt_path_join(checkpoints, names[i]);
            status = vt_remove_tree(path, err);
            free(path);
        }
    }
    vt_free_names(names, n);
    free(checkpoints);
    return status;
}

/* A folder with other things in it is no place for a run: somebody's photos, or a recipe of theirs. */
static vt_status refuse_foreign(const char *dir, vt_err *err)
{
    char **names = NULL;
    size_t n = 0;
    bool is_run = false, foreign = false;
    VT_TRY(vt_list_dir(dir, &names, &n, err));
    for (size_t i = 0; i < n; i++) {
        is_run = is_run || strcmp(names[i], "lock") == 0;
        foreign = foreign || strcmp(names[i], "log.txt") != 0;
    }
    vt_free_names(names, n);
    if (foreign && !is_run)
        return vt_fail(err, VT_EINVAL, "%s is not empty, and no run of vitro; choose another --run folder", dir);
    return VT_OK;
}

vt_status vt_run_open(vt_run *run, const char *dir, vt_err *err)
{
    *run = (vt_run){.dir = vt_xstrdup(dir)};
    VT_TRY(vt_make_dirs(dir, err));
    VT_TRY(refuse_foreign(dir, err));
    char *lock = vt_path_join(dir, "lock");
    vt_status status = vt_lock_take(&run->lock, lock, err);
    free(lock);
    VT_TRY(status);
    return remove_leftovers(dir, err);
}

vt_status vt_run_read(vt_run *run, const char *dir, vt_err *err)
{
    char *recipe = vt_path_join(dir, "recipe.yaml");
    bool found = vt_is_file(recipe);
    free(recipe);
    *run = (vt_run){.dir = vt_xstrdup(dir)};
    if (!found)
        return vt_fail(err, VT_EINVAL,
                       "%s holds no run (it has no recipe.yaml); name the run's folder, or the recipe "
                       "with --run",
                       dir);
    return VT_OK;
}

void vt_run_close(vt_run *run)
{
    if (run->metrics)
        (void)fclose(run->metrics);
    vt_lock_release(&run->lock);
    free(run->dir);
    *run = (vt_run){0};
}

vt_status vt_run_clear(const vt_run *run, vt_err *err)
{
    static const char *const own[] = {"checkpoints", "metrics.jsonl", "recipe.yaml"};
    vt_status status = VT_OK;
    for (size_t i = 0; i < VT_COUNT_OF(own) && status == VT_OK; i++) {
        char *path = vt_path_join(run->dir, own[i]);
        if (vt_is_dir(path))
            status = vt_remove_tree(path, err);
        else if (unlink(path) != 0 && errno != ENOENT)
            status = vt_fail_errno(err, "%s: cannot be removed", path);
        free(path);
    }
    return status;
}

vt_status vt_run_load_recipe(const vt_run *run, vt_recipe *r, bool *found, vt_err *err)
{
    char *path = vt_path_join(run->dir, "recipe.yaml");
    *found = vt_is_file(path);
    vt_status status = *found ? vt_recipe_load(r, path, NULL, 0, err) : VT_OK;
    free(path);
    return status;
}

vt_status vt_run_save_recipe(const vt_run *run, const vt_recipe *r, vt_err *err)
{
    vt_text text = {0};
    char *path = vt_path_join(run->dir, "recipe.yaml");
    vt_recipe_dump(r, &text);
    vt_status status = vt_file_write(path, text.s, text.len, err);
    vt_text_release(&text);
    free(path);
    return status;
}

/* Copies the lines up to `step` into kept. A last line without its end (the process died) is dropped too. */
static void keep_lines(char *text, int64_t step, vt_text *kept, double *elapsed)
{
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        json_t *root = NULL;
        if (vt_json_parse(line, (size_t)(end - line), "metrics.jsonl", &root, NULL) != VT_OK)
            continue;
        if (json_integer_value(json_object_get(root, "step")) <= step) {
            vt_text_addn(kept, line, (size_t)(end - line) + 1);
            const json_t *seconds = json_object_get(root, "elapsed");
            if (seconds)
                *elapsed = json_number_value(seconds);
        }
        json_decref(root);
    }
}

static vt_status shorten_metrics(const char *path, int64_t step, double *elapsed, vt_err *err)
{
    unsigned char *data = NULL;
    size_t size = 0;
    vt_text kept = {0};
    VT_TRY(vt_file_read(path, MAX_METRICS_BYTES, &data, &size, err));
    keep_lines((char *)data, step, &kept, elapsed);
    vt_status status = vt_file_write(path, kept.s ? kept.s : "", kept.len, err);
    vt_text_release(&kept);
    free(data);
    return status;
}

vt_status vt_run_open_metrics(vt_run *run, int64_t step, double *elapsed, vt_err *err)
{
    char *path = vt_path_join(run->dir, "metrics.jsonl");
    *elapsed = 0;
    if (run->metrics)
        (void)fclose(run->metrics);
    run->metrics = NULL;
    vt_status status = vt_is_file(path) ? shorten_metrics(path, step, elapsed, err) : VT_OK;
    if (status == VT_OK && !(run->metrics = fopen(path, "a")))
        status = vt_fail_errno(err, "cannot append to %s", path);
    free(path);
    return status;
}

json_t *vt_run_find_metrics(const vt_run *run, int64_t step, const char *key)
{
    unsigned char *data = NULL;
    size_t size = 0;
    json_t *found = NULL;
    char *path = vt_path_join(run->dir, "metrics.jsonl");
    vt_status status = vt_file_read(path, MAX_METRICS_BYTES, &data, &size, NULL);
    for (char *line = (char *)data, *end; status == VT_OK && (end = strchr(line, '\n')) != NULL; line = end + 1) {
        json_t *root = NULL;
        if (vt_json_parse(line, (size_t)(end - line), path, &root, NULL) != VT_OK)
            continue;
        if (json_integer_value(json_object_get(root, "step")) == step && json_object_get(root, key)) {
            json_decref(found);
            found = json_incref(root);
        }
        json_decref(root);
    }
    free(data);
    free(path);
    return found;
}

void vt_run_log_metrics(vt_run *run, json_t *line)
{
    char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    if (!text || fprintf(run->metrics, "%s\n", text) < 0 || fflush(run->metrics) != 0)
        vt_log(VT_LOG_WARN, "a line of %s/metrics.jsonl could not be written: %s", run->dir, strerror(errno));
    free(text);
    json_decref(line);
}
