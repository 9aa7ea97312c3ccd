/* JSON lines: one object a line, as vitro's metrics.jsonl and big_vision's metrics are. Objects inside become columns
 * with '.' between the names, lists are left out. Lines are read twice: for the columns, then for the cells. A line
 * that is no object is left out and counted: a program that was killed leaves half a line. */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "base/text.h"
#include "law/table_build.h"

#define MAX_DEPTH 8

/* One member: adds its column (cells false), or sets its cell. */
static vt_status visit(vt_table *t, vt_text *name, const json_t *value, bool cells, int depth, vt_err *err)
{
    char buf[32];
    const char *s = buf;
    size_t column;
    if (json_is_object(value)) {
        const char *key;
        json_t *member;
        const size_t mark = name->len;
        if (depth == MAX_DEPTH)
            return VT_OK;
        json_object_foreach((json_t *)(uintptr_t)value, key, member)
        {
            vt_text_addf(name, "%s%s", mark ? "." : "", key);
            VT_TRY(visit(t, name, member, cells, depth + 1, err));
            name->len = mark;
            if (name->s)
                name->s[mark] = '\0';
        }
        return VT_OK;
    }
    if (json_is_string(value))
        s = json_string_value(value);
    else if (json_is_integer(value))
        (void)snprintf(buf, sizeof buf, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        (void)vt_format_f64(buf, json_real_value(value));
    else if (json_is_boolean(value))
        s = json_is_true(value) ? "true" : "false";
    else
        return VT_OK; /* null and lists: an empty cell */
    VT_TRY(vt_table_column(t, name->len ? name->s : "", name->len, !cells, &column, err));
    return cells && column != SIZE_MAX ? vt_table_set(t, column, s, strlen(s), err) : VT_OK;
}

/* One pass over the lines. NaN and Infinity, which Python writes and JSON has not, end up as torn lines. */
static vt_status pass(vt_table *t, const char *p, const char *end, bool cells, vt_err *err)
{
    vt_text name = {0};
    vt_status status = VT_OK;
    for (size_t line = 1; p < end && status == VT_OK; line++) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        stop = stop ? stop : end;
        while (p < stop && (*p == ' ' || *p == '\t' || *p == '\r'))
            p++;
        if (p < stop) {
            json_t *root = json_loadb(p, (size_t)(stop - p), 0, NULL);
            if (!json_is_object(root)) {
                if (cells)
                    vt_table_torn(t, line, "not a JSON object (NaN and Infinity are no JSON)");
            } else {
                if (cells)
                    status = vt_table_add_row(t, err);
                vt_text_clear(&name);
                if (status == VT_OK)
                    status = visit(t, &name, root, cells, 0, err);
            }
            json_decref(root);
        }
        p = stop + 1;
    }
    vt_text_release(&name);
    return status;
}

vt_status vt_table_read_json(vt_table *t, const unsigned char *data, size_t size, vt_err *err)
{
    const char *p = (const char *)data;
    t->format = "JSON lines";
    VT_TRY(pass(t, p, p + size, false, err));
    if (t->n_columns == 0)
        return vt_fail(err, VT_EFORMAT, "%s has no line that is a JSON object with members", t->path);
    return pass(t, p, p + size, true, err);
}
