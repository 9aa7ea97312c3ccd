/* JSON through jansson. Reading is strict (no duplicate keys, no trailing bytes, no not-a-number). Writing is our own,
 * because jansson prints 0.1 as 0.10000000000000001: numbers here have the fewest digits that read back the same. */
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"

#define MAX_BYTES ((size_t)64 << 20)

vt_status vt_json_parse(const char *text, size_t size, const char *place, json_t **root, vt_err *err)
{
    *root = NULL;
    if (size > MAX_BYTES)
        return vt_fail(err, VT_EFORMAT, "%s: %zu bytes of JSON; at most %zu are read", place, size, MAX_BYTES);
    json_error_t problem;
    *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &problem);
    if (*root == NULL)
        return vt_fail(err, VT_EFORMAT, "%s:%d:%d: not JSON: %s", place, problem.line, problem.column, problem.text);
    return VT_OK;
}

vt_status vt_json_load(const char *path, json_t **root, vt_err *err)
{
    *root = NULL;
    unsigned char *data;
    size_t size;
    VT_TRY(vt_file_read(path, MAX_BYTES, &data, &size, err));
    vt_status status = vt_json_parse((const char *)data, size, path, root, err);
    free(data);
    return status;
}

static void add_newline(int indent, vt_text *out)
{
    if (indent >= 0)
        vt_text_addf(out, "\n%*s", 2 * indent, "");
}

static void add_string(const char *s, size_t n, vt_text *out)
{
    json_t *string = json_stringn_nocheck(s, n);
    char *quoted = json_dumps(string, JSON_ENCODE_ANY);
    if (quoted != NULL)
        vt_text_add(out, quoted);
    free(quoted);
    json_decref(string);
}

static void add_real(double x, vt_text *out)
{
    char buf[32];
    vt_text_add(out, vt_format_f64(buf, x));
    if (strpbrk(buf, ".e") == NULL)
        vt_text_add(out, ".0"); /* read back as a real */
}

/* indent < 0: all on one line. */
static void add_value(const json_t *value, int indent, vt_text *out)
{
    int inner = indent < 0 ? -1 : indent + 1;
    const char *separator = "";
    switch (json_typeof(value)) {
    case JSON_OBJECT: {
        json_t *object = (json_t *)(uintptr_t)value; /* iterators take no const, though they change nothing */
        vt_text_add(out, "{");
        for (void *i = json_object_iter(object); i != NULL; i = json_object_iter_next(object, i)) {
            vt_text_add(out, separator);
            add_newline(inner, out);
            add_string(json_object_iter_key(i), strlen(json_object_iter_key(i)), out);
            vt_text_add(out, ": ");
            add_value(json_object_iter_value(i), inner, out);
            separator = indent < 0 ? ", " : ",";
        }
        if (json_object_size(object) > 0)
            add_newline(indent, out);
        vt_text_add(out, "}");
        return;
    }
    case JSON_ARRAY:
        vt_text_add(out, "[");
        for (size_t i = 0; i < json_array_size(value); i++) {
            vt_text_add(out, separator);
            add_newline(inner, out);
            add_value(json_array_get(value, i), inner, out);
            separator = indent < 0 ? ", " : ",";
        }
        if (json_array_size(value) > 0)
            add_newline(indent, out);
        vt_text_add(out, "]");
        return;
    case JSON_STRING:
        add_string(json_string_value(value), json_string_length(value), out);
        return;
    case JSON_INTEGER:
        vt_text_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return;
    case JSON_REAL:
        add_real(json_real_value(value), out);
        return;
    case JSON_TRUE:
    case JSON_FALSE:
    case JSON_NULL:
        vt_text_add(out, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
        return;
    }
}

void vt_json_line(const json_t *root, vt_text *out)
{
    add_value(root, -1, out);
}

vt_status vt_json_save(const char *path, const json_t *root, vt_err *err)
{
    vt_text text = {0};
    add_value(root, 0, &text);
    vt_text_add(&text, "\n");
    vt_status status = vt_file_write(path, text.s, text.len, err);
    vt_text_release(&text);
    return status;
}

json_t *vt_json_number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *vt_json_text(const char *s)
{
    json_t *text = json_string(s);
    if (text)
        return text;
    char *ascii = vt_xstrdup(s);
    for (char *p = ascii; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    text = json_string(ascii);
    free(ascii);
    return text;
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        return "null";
    }
    return "nothing";
}

static vt_status get(const json_t *object, const char *key, const char *place, const json_t **value, vt_err *err)
{
    if (!json_is_object(object))
        return vt_fail(err, VT_EFORMAT, "%s: expected an object with the key \"%s\"", place, key);
    *value = json_object_get(object, key);
    if (*value == NULL)
        return vt_fail(err, VT_EFORMAT, "%s: the key \"%s\" is missing", place, key);
    return VT_OK;
}

static vt_status fail_type(const json_t *value, const char *key, const char *place, const char *expected, vt_err *err)
{
    return vt_fail(err, VT_EFORMAT, "%s: \"%s\" is %s; expected %s", place, key, type_name(value), expected);
}

vt_status vt_json_get_string(const json_t *object, const char *key, const char *place, const char **value, vt_err *err)
{
    const json_t *v;
    VT_TRY(get(object, key, place, &v, err));
    if (!json_is_string(v))
        return fail_type(v, key, place, "a string", err);
    *value = json_string_value(v);
    return VT_OK;
}

vt_status vt_json_get_i64(const json_t *object, const char *key, const char *place, int64_t *value, vt_err *err)
{
    const json_t *v;
    VT_TRY(get(object, key, place, &v, err));
    if (!json_is_integer(v))
        return fail_type(v, key, place, "a whole number", err);
    *value = (int64_t)json_integer_value(v);
    return VT_OK;
}

vt_status vt_json_get_f64(const json_t *object, const char *key, const char *place, double *value, vt_err *err)
{
    const json_t *v;
    VT_TRY(get(object, key, place, &v, err));
    if (!json_is_number(v))
        return fail_type(v, key, place, "a number", err);
    *value = json_number_value(v);
    return VT_OK;
}
