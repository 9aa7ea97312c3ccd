/* SPECs taken apart, and the small languages inside them: options, splits, lists of shards, files of class names. */
#include "data/spec.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

#define MAX_KIND        16     /* bytes of a kind's name */
#define MAX_PATHS       100000 /* that braces may spell out */
#define MAX_CLASS_BYTES (64u << 20)

/* "kind:" is lower-case letters before a colon; anything else is a bare path. */
static char *split_kind(vt_spec *spec)
{
    size_t n = 0;
    while (islower((unsigned char)spec->memory[n]) && n < MAX_KIND)
        n++;
    if (n == 0 || spec->memory[n] != ':')
        return spec->memory;
    spec->memory[n] = '\0';
    spec->kind = spec->memory;
    return spec->memory + n + 1;
}

static vt_status add_option(vt_spec *spec, char *item, vt_err *err)
{
    if (spec->n_options == VT_MAX_OPTIONS)
        return vt_fail(err, VT_EINVAL, "more than %d options", VT_MAX_OPTIONS);
    char *equals = strchr(item, '=');
    if (!equals || equals == item)
        return vt_fail(err, VT_EINVAL, "the option '%.100s' is not of the form name=value", item);
    *equals = '\0';
    if (vt_spec_get(spec, item))
        return vt_fail(err, VT_EINVAL, "the option '%.100s' is given twice", item);
    spec->options[spec->n_options++] = (vt_spec_option){item, equals + 1};
    return VT_OK;
}

vt_status vt_spec_parse(vt_spec *spec, const char *text, size_t n, vt_err *err)
{
    *spec = (vt_spec){0};
    if (n > VT_MAX_SPEC)
        return vt_fail(err, VT_EINVAL, "longer than %d bytes", VT_MAX_SPEC);
    spec->text = vt_xasprintf("%.*s", (int)n, text);
    spec->memory = vt_xstrdup(spec->text);
    spec->place = split_kind(spec);
    char *options = strchr(spec->place, '?');
    if (options)
        *options++ = '\0';
    if (*spec->place == '\0')
        return vt_fail(err, VT_EINVAL, "nothing stands where the place of the data belongs, as in folder:PATH");
    while (options && *options) {
        char *next = strchr(options, '&');
        if (next)
            *next++ = '\0';
        VT_TRY(add_option(spec, options, err));
        options = next;
    }
    return VT_OK;
}

void vt_spec_release(vt_spec *spec)
{
    free(spec->text);
    free(spec->memory);
    *spec = (vt_spec){0};
}

const char *vt_spec_get(const vt_spec *spec, const char *name)
{
    for (int i = 0; i < spec->n_options; i++) {
        if (strcmp(spec->options[i].name, name) == 0)
            return spec->options[i].value;
    }
    return NULL;
}

vt_status vt_spec_get_i64(const vt_spec *spec, const char *name, int64_t fallback, int64_t least, int64_t most,
                          int64_t *value, vt_err *err)
{
    const char *text = vt_spec_get(spec, name);
    *value = fallback;
    if (!text)
        return VT_OK;
    if (vt_parse_i64(text, value, err) != VT_OK)
        return vt_prefix(err, "option %s", name);
    if (*value < least || *value > most)
        return vt_fail(err, VT_EINVAL, "option %s is %lld; it must be from %lld to %lld", name, (long long)*value,
                       (long long)least, (long long)most);
    return VT_OK;
}

vt_status vt_spec_check_options(const vt_spec *spec, const char *const *known, int n, vt_err *err)
{
    for (int i = 0; i < spec->n_options; i++) {
        const char *name = spec->options[i].name;
        bool found = false;
        for (int k = 0; k < n; k++)
            found = found || strcmp(known[k], name) == 0;
        if (found)
            continue;
        const char *near = vt_nearest(name, known, (size_t)n);
        vt_text list = {0};
        for (int k = 0; k < n; k++)
            vt_text_addf(&list, "%s%s", k ? ", " : "", known[k]);
        vt_status status = vt_fail(err, VT_EINVAL, "unknown option '%.100s'%s%s%s; options here are %s", name,
                                   near ? "; did you mean '" : "", near ? near : "", near ? "'" : "", list.s);
        vt_text_release(&list);
        return status;
    }
    return VT_OK;
}

/* "12.5%" at *at as a share; empty text gives fallback. */
static bool parse_share(const char **at, int64_t fallback, int64_t *share)
{
    const char *s = *at;
    *share = fallback;
    if (!isdigit((unsigned char)*s))
        return true;
    int64_t v = 0;
    while (isdigit((unsigned char)*s) && v <= 100)
        v = v * 10 + (*s++ - '0');
    v *= VT_SHARE_ALL / 100;
    if (*s == '.') {
        s++;
        for (int64_t unit = VT_SHARE_ALL / 1000; unit >= 1 && isdigit((unsigned char)*s); unit /= 10)
            v += (*s++ - '0') * unit;
    }
    if (*s != '%' || v > VT_SHARE_ALL)
        return false;
    *at = s + 1;
    *share = v;
    return true;
}

vt_status vt_spec_get_split(const vt_spec *spec, int64_t *from, int64_t *to, vt_err *err)
{
    const char *text = vt_spec_get(spec, "split");
    *from = 0;
    *to = VT_SHARE_ALL;
    if (!text)
        return VT_OK;
    const char *at = text;
    bool good = *at++ == '[' && parse_share(&at, 0, from) && *at++ == ':' && parse_share(&at, VT_SHARE_ALL, to) &&
                strcmp(at, "]") == 0;
    if (!good)
        return vt_fail(err, VT_EINVAL, "option split is '%.100s'; it must look like [:90%%], [90%%:] or [12.5%%:50%%]",
                       text);
    if (*from >= *to)
        return vt_fail(err, VT_EINVAL, "option split is '%.100s', which holds nothing", text);
    return VT_OK;
}

/* --- files of class names --- */

/* The name on one line; NULL with the reason set. Cuts the line up. */
static const char *class_on_line(char *line, int64_t number, vt_err *err)
{
    size_t n = strlen(line);
    if (n > 0 && line[n - 1] == '\r')
        line[n - 1] = '\0';
    char *second = strchr(line, '\t');
    if (second)
        *second++ = '\0';
    bool numbered = second && *line && strspn(line, "0123456789") == strlen(line);
    const char *name = numbered ? second : line;
    int64_t v;
    if (numbered && (vt_parse_i64(line, &v, NULL) != VT_OK || v != number)) {
        vt_fail(err, VT_EFORMAT, "the line is numbered %.20s, but it is class %lld (counted from 0)", line,
                (long long)number);
        return NULL;
    }
    if (numbered && (second = strchr(second, '\t')) != NULL)
        *second = '\0';
    if (*name == '\0') {
        vt_fail(err, VT_EFORMAT, "no name stands here");
        return NULL;
    }
    return name;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static vt_status check_unique(char *const *names, int64_t n, vt_err *err)
{
    char **sorted = vt_xmalloc((size_t)n * sizeof *sorted);
    memcpy(sorted, names, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_names);
    vt_status status = VT_OK;
    for (int64_t i = 1; i < n && status == VT_OK; i++) {
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            status = vt_fail(err, VT_EFORMAT, "two classes are named '%.200s'", sorted[i]);
    }
    free(sorted);
    return status;
}

static vt_status split_classes(char *text, size_t size, char **names, int64_t *n, vt_err *err)
{
    if (memchr(text, '\0', size))
        return vt_fail(err, VT_EFORMAT, "not a text file");
    size_t end = size;
    while (end > 0 && (text[end - 1] == '\n' || text[end - 1] == '\r'))
        text[--end] = '\0';
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (*n == VT_MAX_CLASSES)
            return vt_fail(err, VT_EFORMAT, "more than %d classes", VT_MAX_CLASSES);
        const char *name = class_on_line(line, *n, err);
        if (!name) {
            vt_prefix(err, "line %lld", (long long)*n + 1);
            return VT_EFORMAT;
        }
        names[(*n)++] = vt_xstrdup(name);
    }
    return check_unique(names, *n, err);
}

vt_status vt_class_file_read(const char *path, char ***names, int64_t *n, vt_err *err)
{
    unsigned char *data = NULL;
    size_t size = 0, lines = 1;
    VT_TRY(vt_file_read(path, MAX_CLASS_BYTES, &data, &size, err));
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    *names = vt_xcalloc(lines, sizeof **names);
    *n = 0;
    vt_status status = split_classes((char *)data, size, *names, n, err);
    free(data);
    if (status != VT_OK) {
        vt_prefix(err, "%s", path);
        vt_free_names(*names, (size_t)*n);
        *names = NULL;
    }
    return status;
}

/* --- braces --- */

typedef struct {
    char **paths;
    int64_t n, capacity;
    vt_err *err;
} expansion;

static vt_status expand(expansion *e, const char *done, const char *rest);

static vt_status add_path(expansion *e, const char *path)
{
    if (e->n == MAX_PATHS)
        return vt_fail(e->err, VT_EINVAL, "the braces spell out more than %d paths", MAX_PATHS);
    if (e->n == e->capacity) {
        e->capacity = e->capacity ? e->capacity * 2 : 16;
        e->paths = vt_xrealloc(e->paths, (size_t)e->capacity * sizeof *e->paths);
    }
    e->paths[e->n++] = vt_xstrdup(path);
    return VT_OK;
}

/* One choice of a brace, and on with what follows it. */
static vt_status expand_with(expansion *e, const char *done, const char *choice, size_t n, const char *rest)
{
    char *longer = vt_xasprintf("%s%.*s", done, (int)n, choice);
    vt_status status = expand(e, longer, rest);
    free(longer);
    return status;
}

/* "000..012": numbers with the first one's width. */
static vt_status expand_range(expansion *e, const char *done, const char *from, const char *dots, const char *close)
{
    const char *to = dots + 2;
    size_t width = (size_t)(dots - from), to_width = (size_t)(close - to);
    bool digits = width >= 1 && to_width >= 1 && width <= 9 && to_width <= 9 && strspn(from, "0123456789") == width &&
                  strspn(to, "0123456789") == to_width;
    long first = digits ? strtol(from, NULL, 10) : 0, last = digits ? strtol(to, NULL, 10) : 0;
    if (!digits || last < first)
        return vt_fail(e->err, VT_EINVAL, "the braces {%.*s} are no rising range of numbers such as {000..012}",
                       (int)(close - from), from);
    for (long i = first; i <= last; i++) {
        char number[32];
        int n = snprintf(number, sizeof number, "%0*ld", (int)width, i);
        VT_TRY(expand_with(e, done, number, (size_t)n, close + 1));
    }
    return VT_OK;
}

static vt_status expand(expansion *e, const char *done, const char *rest)
{
    const char *open = strchr(rest, '{');
    if (!open) {
        char *path = vt_xasprintf("%s%s", done, rest);
        vt_status status = add_path(e, path);
        free(path);
        return status;
    }
    const char *close = strchr(open, '}');
    if (!close)
        return vt_fail(e->err, VT_EINVAL, "'{' without '}'");
    char *before = vt_xasprintf("%s%.*s", done, (int)(open - rest), rest);
    const char *dots = strstr(open, "..");
    vt_status status = VT_OK;
    if (dots && dots < close && !memchr(open, ',', (size_t)(close - open))) {
        status = expand_range(e, before, open + 1, dots, close);
    } else {
        const char *at = open + 1;
        while (status == VT_OK) {
            size_t n = strcspn(at, ",}");
            status = expand_with(e, before, at, n, close + 1);
            at += n;
            if (*at++ == '}')
                break;
        }
    }
    free(before);
    return status;
}

vt_status vt_spec_expand(const char *pattern, char ***paths, int64_t *n, vt_err *err)
{
    expansion e = {.err = err};
    vt_status status = expand(&e, "", pattern);
    if (status != VT_OK) {
        vt_free_names(e.paths, (size_t)e.n);
        return status;
    }
    *paths = e.paths;
    *n = e.n;
    return VT_OK;
}
