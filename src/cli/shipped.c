/* Where recipes lie: SOURCE/build/src/cli/vitro finds SOURCE/recipes by walking up from the program, an installed
 * PREFIX/bin/vitro finds PREFIX/share/vitro/recipes; ./recipes comes first, so that a copy that was changed is taken.
 */
#include "cli/shipped.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

#define SUFFIX     ".yaml"
#define LEVELS     4 /* up from the program's folder */
#define PATH_BYTES 4096

/* A copy of path/name when that is a folder, else NULL. */
static char *folder(const char *path, const char *name)
{
    char *dir = vt_path_join(path, name);
    if (vt_is_dir(dir))
        return dir;
    free(dir);
    return NULL;
}

vt_status vt_shipped_dir(char **dir, vt_err *err)
{
    char place[PATH_BYTES];
    *dir = folder(".", "recipes");
    ssize_t n = readlink("/proc/self/exe", place, sizeof place - 1);
    place[n > 0 ? n : 0] = '\0';
    for (int i = 0; i < LEVELS && !*dir; i++) {
        char *slash = strrchr(place, '/');
        if (!slash)
            break;
        *slash = '\0';
        if (!(*dir = folder(place, "share/vitro/recipes")))
            *dir = folder(place, "recipes");
    }
    return *dir ? VT_OK
                : vt_fail(err, VT_EINVAL, "no folder 'recipes' here, nor beside the program; name a recipe's file");
}

vt_status vt_shipped_names(const char *dir, char ***names, size_t *n, vt_err *err)
{
    char **all = NULL;
    size_t count = 0;
    *names = NULL;
    *n = 0;
    VT_TRY(vt_list_dir(dir, &all, &count, err));
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (vt_has_suffix(all[i], SUFFIX)) {
            all[i][strlen(all[i]) - strlen(SUFFIX)] = '\0';
            all[kept++] = all[i];
        } else {
            free(all[i]);
        }
    }
    *names = all;
    *n = kept;
    return VT_OK;
}

/* dir/name.yaml when it exists; otherwise a sentence with the nearest name. */
static vt_status find_in(const char *dir, const char *name, char **path, vt_err *err)
{
    char *file = vt_has_suffix(name, SUFFIX) ? vt_xstrdup(name) : vt_xasprintf("%s" SUFFIX, name);
    *path = vt_path_join(dir, file);
    free(file);
    if (vt_is_file(*path))
        return VT_OK;
    free(*path);
    *path = NULL;
    char **names = NULL;
    size_t n = 0;
    VT_TRY(vt_shipped_names(dir, &names, &n, err));
    const char *near = vt_nearest(name, (const char *const *)names, n);
    vt_status status = near ? vt_fail(err, VT_EINVAL, "there is no recipe '%s'; did you mean '%s'?", name, near)
                            : vt_fail(err, VT_EINVAL, "there is no recipe '%s'; vitro recipe list shows them", name);
    vt_free_names(names, n);
    return status;
}

vt_status vt_shipped_find(const char *name, char **path, vt_err *err)
{
    char *dir = NULL;
    *path = NULL;
    VT_TRY(vt_shipped_dir(&dir, err));
    vt_status status = find_in(dir, name, path, err);
    free(dir);
    return status;
}

vt_status vt_shipped_resolve(const char *given, char **path, vt_err *err)
{
    *path = NULL;
    if (vt_is_dir(given)) {
        char *recipe = vt_path_join(given, "recipe.yaml");
        bool run = vt_is_file(recipe);
        free(recipe);
        if (!run)
            return vt_fail(
                err, VT_EINVAL,
                "%s is a folder without recipe.yaml, so no run; to train on images in it: vitro train folder "
                "data.train=folder:%s",
                given, given);
    } else if (!vt_is_file(given)) {
        vt_err why = {0};
        if (strchr(given, '/') == NULL && vt_shipped_find(given, path, &why) == VT_OK)
            return VT_OK;
        return vt_fail(err, VT_EIO, "%s: no such file%s%s", given, why.msg[0] ? "; " : "", why.msg);
    }
    *path = vt_xstrdup(given);
    return VT_OK;
}
