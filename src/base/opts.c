/* Command-line options from a table. Everything that is no option is handed back in order, so `key=value` arguments and
 * file names need no rules of their own. */
#include "base/opts.h"

#include <string.h>

#define MAX_OPTS 64 /* rows of one table */

/* "--" or "-", as a name of its length is typed. */
static const char *dashes(const vt_opt *o)
{
    return strlen(o->name) == 1 ? "-" : "--";
}

static const vt_opt *find(const vt_opt *opts, size_t n, const char *name, size_t name_len)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(opts[i].name) == name_len && memcmp(opts[i].name, name, name_len) == 0)
            return &opts[i];
    }
    return NULL;
}

static vt_status fail_unknown(const vt_opt *opts, size_t n, const char *arg, size_t n_dashes, size_t name_len,
                              vt_err *err)
{
    const char *names[MAX_OPTS], *nearest = NULL;
    char word[64];
    if (name_len < sizeof(word)) {
        memcpy(word, arg + n_dashes, name_len);
        word[name_len] = '\0';
        for (size_t i = 0; i < n && i < MAX_OPTS; i++)
            names[i] = opts[i].name;
        nearest = vt_nearest(word, names, n < MAX_OPTS ? n : MAX_OPTS);
    }
    if (nearest == NULL)
        return vt_fail(err, VT_EINVAL, "unknown option '%.80s'; -h lists the options", arg);
    return vt_fail(err, VT_EINVAL, "unknown option '%.80s'; did you mean %s%s?", arg, strlen(nearest) == 1 ? "-" : "--",
                   nearest);
}

/* Handles the option at argv[*i], moving *i to its last argument. */
static vt_status take_option(const vt_opt *opts, size_t n, int argc, char **argv, int *i, bool *help, vt_err *err)
{
    const char *arg = argv[*i];
    size_t n_dashes = arg[1] == '-' ? 2 : 1;
    const char *name = arg + n_dashes, *equals = strchr(name, '=');
    size_t name_len = equals == NULL ? strlen(name) : (size_t)(equals - name);
    if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
        *help = true;
        return VT_OK;
    }
    const vt_opt *o = find(opts, n, name, name_len);
    if (o == NULL || (n_dashes == 1 && name_len > 1))
        return fail_unknown(opts, n, arg, n_dashes, name_len, err);
    if (o->metavar == NULL) {
        if (equals != NULL)
            return vt_fail(err, VT_EINVAL, "%s%s takes no value, but '%.80s' gives one", dashes(o), o->name, arg);
        *(bool *)o->value = true;
        return VT_OK;
    }
    if (equals == NULL && *i + 1 == argc)
        return vt_fail(err, VT_EINVAL, "%s%s needs a value (%s)", dashes(o), o->name, o->metavar);
    if (equals == NULL)
        ++*i;
    *(const char **)o->value = equals == NULL ? argv[*i] : equals + 1;
    return VT_OK;
}

vt_status vt_opts_parse(const vt_opt *opts, size_t n, int argc, char **argv, const char **args, int *n_args, bool *help,
                        vt_err *err)
{
    bool ended = false;
    *n_args = 0;
    *help = false;
    for (int i = 0; i < argc; i++) {
        if (!ended && strcmp(argv[i], "--") == 0)
            ended = true;
        else if (ended || argv[i][0] != '-' || argv[i][1] == '\0')
            args[(*n_args)++] = argv[i];
        else
            VT_TRY(take_option(opts, n, argc, argv, &i, help, err));
    }
    return VT_OK;
}

void vt_opts_help(const vt_opt *opts, size_t n, vt_text *out)
{
    size_t width = strlen("-h, --help");
    for (size_t i = 0; i < n; i++) {
        size_t w = strlen(dashes(&opts[i])) + strlen(opts[i].name);
        w += opts[i].metavar == NULL ? 0 : 1 + strlen(opts[i].metavar);
        width = w > width ? w : width;
    }
    vt_text_add(out, "Options:\n");
    for (size_t i = 0; i < n; i++) {
        size_t start = out->len;
        vt_text_addf(out, "  %s%s", dashes(&opts[i]), opts[i].name);
        if (opts[i].metavar != NULL)
            vt_text_addf(out, " %s", opts[i].metavar);
        vt_text_addf(out, "%*s  %s\n", (int)(width + 2 - (out->len - start)), "", opts[i].help);
    }
    vt_text_addf(out, "  %-*s  %s\n", (int)width, "-h, --help", "show this text");
}
