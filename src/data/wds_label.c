/* Class numbers and names from the small files beside an image. All of them are bounded before they are read. */
#include "data/wds_label.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define MAX_CLS_BYTES  32
#define MAX_JSON_BYTES (1 << 20)

const char *const vt_wds_label_extensions[VT_WDS_LABELS] = {".cls", ".json", ".txt"};

static vt_status read_text(const vt_tar_index *index, const vt_tar_entry *e, int64_t most, char **text, size_t *n,
                           const char *what, vt_err *err)
{
    if (e->size < 1 || e->size > most)
        return vt_fail(err, VT_EFORMAT, "%s has %lld bytes; it must hold %s",
                       vt_tar_index_name(index, e - index->entries), (long long)e->size, what);
    *n = (size_t)e->size;
    *text = vt_xmalloc(*n + 1);
    (*text)[*n] = '\0';
    vt_status status = vt_tar_index_read(index, e, *text, err);
    if (status != VT_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}

static void trim(char **text, size_t *n)
{
    for (; *n > 0 && isspace((unsigned char)**text); ++*text)
        --*n;
    while (*n > 0 && isspace((unsigned char)(*text)[*n - 1]))
        (*text)[--*n] = '\0';
}

static vt_status read_cls(vt_label_build *b, const char *name, const char *text, size_t n, vt_err *err)
{
    int64_t label = 0;
    bool number = n > 0 && n <= 9 && strlen(text) == n;
    for (size_t i = 0; i < n && number; i++) {
        number = isdigit((unsigned char)text[i]) != 0;
        label = label * 10 + (text[i] - '0');
    }
    if (!number)
        return vt_fail(err, VT_EFORMAT, "%s holds '%.*s', which is no class number", name, (int)strcspn(text, "\r\n"),
                       text);
    return vt_label_build_number(b, label, err);
}

static vt_status read_txt(vt_label_build *b, const char *name, const char *text, size_t n, vt_err *err)
{
    if (n > VT_MAX_LABEL_BYTES || memchr(text, '\n', n) || memchr(text, '\0', n))
        return vt_fail(err, VT_EFORMAT, "%s holds a longer text, which is no class; put the class into KEY.cls", name);
    return vt_label_build_add(b, VT_LABEL_EITHER, text, n, err);
}

static vt_status add_value(vt_label_build *b, const json_t *value, const char *key, vt_err *err)
{
    if (json_is_string(value))
        return vt_label_build_add(b, VT_LABEL_NAME, json_string_value(value), json_string_length(value), err);
    if (json_is_integer(value))
        return vt_label_build_number(b, json_integer_value(value), err);
    return vt_fail(err, VT_EFORMAT,
                   "the value of \"%.100s\" is no class: it must be a whole number, a name, or a list "
                   "of them",
                   key);
}

static vt_status add_values(vt_label_build *b, const json_t *value, const char *key, vt_err *err)
{
    if (!json_is_array(value))
        return add_value(b, value, key, err);
    for (size_t i = 0; i < json_array_size(value); i++)
        VT_TRY(add_value(b, json_array_get(value, i), key, err));
    return VT_OK;
}

static vt_status read_json(vt_label_build *b, const char *member, const char *text, size_t n, const char *key,
                           bool *found, vt_err *err)
{
    json_t *root = NULL;
    VT_TRY(vt_json_parse(text, n, member, &root, err));
    const char *name = key ? key : "label";
    const json_t *value = json_object_get(root, name);
    if (!value && !key)
        value = json_object_get(root, name = "cls");
    *found = value != NULL;
    vt_status status = value ? add_values(b, value, name, err) : VT_OK;
    json_decref(root);
    return status == VT_OK ? VT_OK : vt_prefix(err, "%s", member);
}

/* One member, trimmed and read as what it is. */
static vt_status read_member(vt_label_build *b, const vt_tar_index *index, int64_t member, vt_wds_label form,
                             const char *key, bool *found, vt_err *err)
{
    static const struct {
        int64_t most;
        const char *what;
    } limits[VT_WDS_LABELS] = {{MAX_CLS_BYTES, "a class number"},
                               {MAX_JSON_BYTES, "an object of at most 1 MiB"},
                               {MAX_JSON_BYTES, "a class number or a name"}};
    const char *name = vt_tar_index_name(index, member);
    char *text = NULL;
    size_t n = 0;
    vt_status status = read_text(index, &index->entries[member], limits[form].most, &text, &n, limits[form].what, err);
    char *at = text;
    if (status == VT_OK) {
        trim(&at, &n);
        *found = true;
        status = form == VT_WDS_CLS    ? read_cls(b, name, at, n, err)
                 : form == VT_WDS_JSON ? read_json(b, name, at, n, key, found, err)
                                       : read_txt(b, name, at, n, err);
    }
    free(text);
    return status;
}

vt_status vt_wds_label_read(vt_label_build *b, const vt_tar_index *index, const int64_t members[VT_WDS_LABELS],
                            const char *key, bool *found, vt_err *err)
{
    *found = false;
    for (int form = 0; form < VT_WDS_LABELS && !*found; form++) {
        if (members[form] >= 0 && (!key || form == VT_WDS_JSON))
            VT_TRY(read_member(b, index, members[form], (vt_wds_label)form, key, found, err));
    }
    return VT_OK;
}
