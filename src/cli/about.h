/* What this program is made of: version, commit and compiler (base/version.h) and the libraries that it runs with. */
#ifndef VT_CLI_ABOUT_H
#define VT_CLI_ABOUT_H

#include <jansson.h>

/* A library and the version that runs now. */
typedef struct {
    const char *name, *version, *use;
} vt_library;

#define VT_N_LIBRARIES 6
void vt_about_libraries(vt_library list[VT_N_LIBRARIES]);

/* The same as members of an object: version, commit, compiler, libraries. */
json_t *vt_about_json(void);

#endif
