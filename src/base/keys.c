/* What hangs on a table of keys, whatever the types in it: defaults, setting from text, from YAML and from key=value,
 * the dump that reads back the same, the reference page. The types themselves are in keys_types.c. */
#include "base/keys.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/keys_internal.h"

#define MAX_NAMES 512 /* rows of one table */

static void *field_of(const vt_key *key, void *fields)
{
    return (char *)fields + key->offset;
}

static const void *field_in(const vt_key *key, const void *fields)
{
    return (const char *)fields + key->offset;
}

static bool is_absent(const vt_key *key, const void *fields)
{
    return vt_key_is_absent(key, field_in(key, fields));
}

void vt_keys_default(const vt_key *table, size_t n, void *fields)
{
    for (size_t i = 0; i < n; i++) {
        void *field = field_of(&table[i], fields);
        if (table[i].type == VT_KEY_STRING)
            memset(field, 0, sizeof(char *));
        if (table[i].fallback == NULL) {
            vt_key_set_absent(&table[i], field);
        } else {
            vt_status status = vt_key_kinds[table[i].type].parse(&table[i], field, table[i].fallback, NULL);
            assert(status == VT_OK); /* a default breaks its own row's rules */
        }
    }
}

void vt_keys_release(const vt_key *table, size_t n, void *fields)
{
    for (size_t i = 0; i < n; i++) {
        if (table[i].type != VT_KEY_STRING)
            continue;
        char *value;
        memcpy(&value, field_of(&table[i], fields), sizeof(value));
        free(value);
        memset(field_of(&table[i], fields), 0, sizeof(value));
    }
}

static const char *after_dot(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot == NULL ? name : dot + 1;
}

/* The first key of the section that word names, or NULL. */
static const char *first_of_section(const vt_key *table, size_t n, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i < n; i++) {
        if (len > 0 && strncmp(table[i].name, word, len) == 0 && table[i].name[len] == '.')
            return table[i].name;
    }
    return NULL;
}

static vt_status fail_unknown(const vt_key *table, size_t n, const char *key, vt_err *err)
{
    assert(n <= MAX_NAMES);
    const char *member = first_of_section(table, n, key);
    if (member != NULL)
        return vt_fail(err, VT_EINVAL, "'%.80s' is a section, which holds keys such as %s, and takes no value itself",
                       key, member);
    const char *names[MAX_NAMES];
    for (size_t i = 0; i < n; i++)
        names[i] = table[i].name;
    const char *nearest = vt_nearest(key, names, n);
    if (nearest == NULL) /* the right word in a wrong section */
        nearest = vt_nearest(after_dot(key), names, n);
    if (nearest == NULL)
        return vt_fail(err, VT_EINVAL, "unknown key '%.80s'", key);
    return vt_fail(err, VT_EINVAL, "unknown key '%.80s'; did you mean %s?", key, nearest);
}

vt_status vt_keys_set(const vt_key *table, size_t n, void *fields, const char *key, const char *value, vt_err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, key) == 0)
            return vt_key_kinds[table[i].type].parse(&table[i], field_of(&table[i], fields), value, err);
    }
    return fail_unknown(table, n, key, err);
}

vt_status vt_keys_set_yaml(const vt_key *table, size_t n, void *fields, const vt_yaml *y, const char *place,
                           vt_err *err)
{
    for (size_t i = 0; i < y->n; i++) {
        const vt_yaml_entry *e = &y->entries[i];
        vt_status status = vt_keys_set(table, n, fields, e->key, e->value, err);
        if (status != VT_OK) {
            vt_prefix(err, "%s:%d:%d", place, e->line, e->column);
            return status;
        }
    }
    return VT_OK;
}

/* A list typed on a command line, "[a,b]", in the form that lists of files have, "[a, b]"; else a copy of text. */
static char *in_list_form(const char *text)
{
    if (text[0] != '[')
        return vt_xstrdup(text);
    vt_yaml y;
    char *line = vt_xasprintf("k: %s\n", text), *form = NULL;
    if (vt_yaml_parse(&y, line, strlen(line), "", NULL) == VT_OK) {
        form = y.n == 1 && strcmp(y.entries[0].key, "k") == 0 ? vt_xstrdup(y.entries[0].value) : NULL;
        vt_yaml_release(&y);
    }
    free(line);
    return form == NULL ? vt_xstrdup(text) : form;
}

vt_status vt_keys_set_override(const vt_key *table, size_t n, void *fields, const char *assignment, vt_err *err)
{
    const char *equals = strchr(assignment, '=');
    if (equals == NULL || equals == assignment)
        return vt_fail(err, VT_EINVAL, "\"%.80s\" is not of the form key=value", assignment);
    char *key = vt_xstrdup(assignment), *value = in_list_form(equals + 1);
    key[equals - assignment] = '\0';
    vt_status status = vt_keys_set(table, n, fields, key, value, err);
    free(key);
    free(value);
    return status;
}

vt_status vt_keys_check_required(const vt_key *table, size_t n, const void *fields, vt_err *err)
{
    vt_text missing = {0};
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_absent(&table[i], fields))
            vt_text_addf(&missing, "%s%s", count++ == 0 ? "" : ", ", table[i].name);
    }
    if (count > 0)
        vt_fail(err, VT_EINVAL, "%s without a default %s not given: %s", count == 1 ? "a key" : "keys",
                count == 1 ? "was" : "were", missing.s);
    vt_text_release(&missing);
    return count == 0 ? VT_OK : VT_EINVAL;
}

void vt_keys_print(const vt_key *key, const void *fields, vt_text *out)
{
    if (!is_absent(key, fields))
        vt_key_kinds[key->type].print(key, field_in(key, fields), out);
}

/* The value as YAML: quoted only where the bare text would not read back. */
static void add_yaml_value(const vt_key *key, const void *fields, vt_text *out)
{
    vt_text value = {0};
    vt_text_add(&value, "");
    vt_keys_print(key, fields, &value);
    if (key->type == VT_KEY_STRING && !vt_yaml_is_plain(value.s))
        vt_yaml_quote(value.s, out);
    else
        vt_text_add(out, value.s);
    vt_text_release(&value);
}

/* Bytes of the name up to its first dot; 0 for a name without section, which counts as a section without name. */
static size_t section_len(const char *name)
{
    const char *dot = strchr(name, '.');
    return dot == NULL ? 0 : (size_t)(dot - name);
}

static bool same_section(const char *a, const char *b)
{
    size_t n = section_len(a);
    return n == section_len(b) && memcmp(a, b, n) == 0;
}

/* The keys of table[i]'s section, under its name where it has one. */
static void add_section(const vt_key *table, size_t n, size_t i, const void *fields, vt_text *out)
{
    size_t len = section_len(table[i].name);
    bool opened = len == 0;
    for (size_t j = i; j < n; j++) {
        if (!same_section(table[i].name, table[j].name) || is_absent(&table[j], fields))
            continue;
        if (!opened)
            vt_text_addf(out, "%.*s:\n", (int)len, table[i].name);
        opened = true;
        vt_text_addf(out, "%s%s: ", len == 0 ? "" : "  ", table[j].name + (len == 0 ? 0 : len + 1));
        add_yaml_value(&table[j], fields, out);
        vt_text_add(out, "\n");
    }
}

void vt_keys_dump(const vt_key *table, size_t n, const void *fields, vt_text *out)
{
    vt_text_add(out, ""); /* an empty text is a text */
    for (size_t i = 0; i < n; i++) {
        size_t first = 0;
        while (!same_section(table[first].name, table[i].name))
            first++;
        if (first == i)
            add_section(table, n, i, fields, out);
    }
}

/* Text for a cell of a Markdown table. */
static void add_cell(const char *text, vt_text *out)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '|')
            vt_text_add(out, "\\");
        vt_text_addn(out, *p == '\n' ? " " : p, 1);
    }
    vt_text_add(out, " | ");
}

static void add_code_cell(const char *text, vt_text *out)
{
    vt_text code = {0};
    vt_text_addf(&code, "`%s`", text[0] == '\0' ? "\"\"" : text);
    add_cell(code.s, out);
    vt_text_release(&code);
}

static void add_kind(const vt_key *key, vt_text *out)
{
    vt_text range = {0};
    vt_text_add(&range, vt_key_kinds[key->type].words);
    if (key->type == VT_KEY_ENUM) {
        vt_text_add(&range, " ");
        vt_key_add_choices(key, ", ", &range);
    } else if (vt_key_is_bounded(key) && key->type != VT_KEY_STRING && key->type != VT_KEY_BOOL) {
        vt_text_add(&range, ", ");
        vt_key_add_range(key, &range);
    }
    add_cell(range.s, out);
    vt_text_release(&range);
}

void vt_keys_reference(const vt_key *table, size_t n, vt_text *out)
{
    vt_text_add(out, "| key | type and range | default | unit | on resume | meaning |\n"
                     "| --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < n; i++) {
        const vt_key *key = &table[i];
        vt_text_addf(out, "| `%s` | ", key->name);
        add_kind(key, out);
        if (key->fallback == NULL)
            add_cell("must be given", out);
        else
            add_code_cell(key->fallback, out);
        add_cell(key->unit == NULL ? "" : key->unit, out);
        add_cell(key->may_change ? "may change" : "fixed", out);
        add_cell(key->help, out);
        out->s[--out->len] = '\0'; /* the blank behind the last bar */
        vt_text_add(out, "\n");
    }
}
