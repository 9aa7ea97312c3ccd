/* A SPEC taken apart: "KIND:PLACE?OPTION=VALUE&...". What an option means is read here where it is common to all kinds
 * (split, limit, classes=FILE); a kind reads its own. Inside data/ only, but for
 * files of classes. */
#ifndef VT_DATA_SPEC_H
#define VT_DATA_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define VT_MAX_SPEC    4096 /* bytes */
#define VT_MAX_OPTIONS 16
#define VT_MAX_CLASSES 1000000
/* A share of the samples in thousandths of a percent, so that cuts are exact. */
#define VT_SHARE_ALL 100000

typedef struct {
    char *name, *value; /* value "" where there is no '=' */
} vt_spec_option;

typedef struct {
    char *text;   /* as it was given */
    char *memory; /* a copy that the pointers below point into */
    char *kind;   /* "folder", or NULL for a bare path */
    char *place;  /* what stands between the kind and '?' */
    vt_spec_option options[VT_MAX_OPTIONS];
    int n_options;
} vt_spec;

/* Takes the first n bytes of text apart; knows neither kinds nor options. */
vt_status vt_spec_parse(vt_spec *spec, const char *text, size_t n, vt_err *err) VT_MUST_USE;
void vt_spec_release(vt_spec *spec);

/* The value of an option, or NULL where it was not given. */
const char *vt_spec_get(const vt_spec *spec, const char *name);
/* A whole number between least and most; fallback where it was not given. */
vt_status vt_spec_get_i64(const vt_spec *spec, const char *name, int64_t fallback, int64_t least, int64_t most,
                          int64_t *value, vt_err *err) VT_MUST_USE;
/* Refuses options that are not among known (n of them). */
vt_status vt_spec_check_options(const vt_spec *spec, const char *const *known, int n, vt_err *err) VT_MUST_USE;
/* "[A%:B%]" as shares of VT_SHARE_ALL; the whole where it was not given. */
vt_status vt_spec_get_split(const vt_spec *spec, int64_t *from, int64_t *to, vt_err *err) VT_MUST_USE;

/* The names in a file of classes: a name a line, or "number TAB name [TAB words]" with numbers 0, 1, 2, ...; names are
 * unique. *names is malloc'ed, for vt_free_names. */
vt_status vt_class_file_read(const char *path, char ***names, int64_t *n, vt_err *err) VT_MUST_USE;

/* "a{000..012}b{x,y}.tar" spelled out, in order; a malloc'ed array, for vt_free_names. */
vt_status vt_spec_expand(const char *pattern, char ***paths, int64_t *n, vt_err *err) VT_MUST_USE;

#endif
