/* The recipes that come with vitro: found beside the program (a build or an installation) or in the current folder. */
#ifndef VT_CLI_SHIPPED_H
#define VT_CLI_SHIPPED_H

#include <stddef.h>

#include "base/status.h"

/* The folder that holds them; malloc'ed. */
vt_status vt_shipped_dir(char **dir, vt_err *err) VT_MUST_USE;

/* "shapes-demo" -> its file; malloc'ed. The message lists the nearest name. */
vt_status vt_shipped_find(const char *name, char **path, vt_err *err) VT_MUST_USE;

/* Their names without ".yaml", sorted; freed by vt_free_names. */
vt_status vt_shipped_names(const char *dir, char ***names, size_t *n, vt_err *err) VT_MUST_USE;

/* A recipe that a person names: a file, a run folder, or a name of a recipe that comes with vitro; malloc'ed. */
vt_status vt_shipped_resolve(const char *given, char **path, vt_err *err) VT_MUST_USE;

#endif
