/* YAML through libyaml's events, flattened into dotted keys with texts. What recipes do not need is refused by name:
 * anchors and aliases (which can grow without bound), tags, several documents, lists of lists and of maps. */
#include "base/yaml.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/file.h"
#include "base/text.h"

#define MAX_BYTES   ((size_t)1 << 20)
#define MAX_DEPTH   8    /* maps in maps; a recipe has 2 */
#define MAX_ENTRIES 2000 /* also bounds the search for keys given twice */
#define MAX_KEY     200  /* bytes of a dotted key */

typedef struct {
    yaml_parser_t parser;
    yaml_event_t event; /* the one looked at */
    const char *text, *place;
    vt_yaml *out;
    vt_text path; /* of the map that is being read, "a.b." */
    vt_err *err;
} reader;

static vt_status fail_here(reader *r, const char *what)
{
    yaml_mark_t at = r->event.start_mark;
    return vt_fail(r->err, VT_EFORMAT, "%s:%zu:%zu: %s", r->place, at.line + 1, at.column + 1, what);
}

/* libyaml's own complaint. One about bytes has no mark, but an offset. */
static vt_status fail_parser(reader *r)
{
    const yaml_parser_t *p = &r->parser;
    const char *problem = p->problem == NULL ? "not YAML" : p->problem;
    size_t line = p->problem_mark.line + 1, column = p->problem_mark.column + 1;
    if (p->error == YAML_MEMORY_ERROR)
        return vt_fail(r->err, VT_ENOMEM, "%s: no memory to read it", r->place);
    if (p->error == YAML_READER_ERROR) {
        line = column = 1;
        for (size_t i = 0; i < p->problem_offset && r->text[i] != '\0'; i++) {
            column = r->text[i] == '\n' ? 1 : column + 1;
            line += r->text[i] == '\n';
        }
    }
    return vt_fail(r->err, VT_EFORMAT, "%s:%zu:%zu: not YAML: %s%s%s", r->place, line, column, problem,
                   p->context == NULL ? "" : " ", p->context == NULL ? "" : p->context);
}

/* Moves to the next event. */
static vt_status advance(reader *r)
{
    yaml_event_delete(&r->event);
    if (!yaml_parser_parse(&r->parser, &r->event)) {
        memset(&r->event, 0, sizeof(r->event));
        return fail_parser(r);
    }
    const yaml_event_t *e = &r->event;
    if (e->type == YAML_ALIAS_EVENT)
        return fail_here(r, "aliases (*name) are not read here; write the value out");
    bool anchor = (e->type == YAML_SCALAR_EVENT && e->data.scalar.anchor != NULL) ||
                  (e->type == YAML_SEQUENCE_START_EVENT && e->data.sequence_start.anchor != NULL) ||
                  (e->type == YAML_MAPPING_START_EVENT && e->data.mapping_start.anchor != NULL);
    if (anchor)
        return fail_here(r, "anchors (&name) are not read here; write the value out");
    bool tag = (e->type == YAML_SCALAR_EVENT && e->data.scalar.tag != NULL) ||
               (e->type == YAML_SEQUENCE_START_EVENT && e->data.sequence_start.tag != NULL) ||
               (e->type == YAML_MAPPING_START_EVENT && e->data.mapping_start.tag != NULL);
    return tag ? fail_here(r, "tags (!name) are not read here; write the plain value") : VT_OK;
}

static const char *scalar_text(const reader *r)
{
    return (const char *)r->event.data.scalar.value;
}

static bool has_zero_byte(const reader *r)
{
    return strlen(scalar_text(r)) != r->event.data.scalar.length;
}

/* Adds an entry for the key in r->path; takes value over. */
static vt_status add_entry(reader *r, yaml_mark_t at, char *value)
{
    vt_yaml *y = r->out;
    const char *key = r->path.s;
    for (size_t i = 0; i < y->n; i++) {
        if (strcmp(y->entries[i].key, key) == 0) {
            free(value);
            return vt_fail(r->err, VT_EFORMAT, "%s:%zu:%zu: %s was given on line %d already", r->place, at.line + 1,
                           at.column + 1, key, y->entries[i].line);
        }
    }
    if (y->n == MAX_ENTRIES) {
        free(value);
        return vt_fail(r->err, VT_EFORMAT, "%s:%zu: more than %d keys", r->place, at.line + 1, MAX_ENTRIES);
    }
    if ((y->n & (y->n - 1)) == 0) /* full: capacities are powers of two */
        y->entries = vt_xrealloc(y->entries, (y->n == 0 ? 1 : 2 * y->n) * sizeof(*y->entries));
    y->entries[y->n++] =
        (vt_yaml_entry){.key = vt_xstrdup(key), .value = value, .line = (int)at.line + 1, .column = (int)at.column + 1};
    return VT_OK;
}

/* Whether an item can stand in "[a, b]" as it is. A comma between parentheses is part of "crop(28, 4)". */
static bool is_plain_item(const char *s)
{
    if (s[0] == '\0' || s[0] == ' ' || s[strlen(s) - 1] == ' ' || strchr("-?:&*!|>%@`", s[0]) != NULL)
        return false;
    int depth = 0;
    for (const char *p = s; *p != '\0'; p++) {
        depth += (*p == '(') - (*p == ')');
        if ((*p == ',' && depth == 0) || strchr("[]{}\"'\\#", *p) != NULL || (unsigned char)*p < 0x20 ||
            (*p == ':' && (p[1] == ' ' || p[1] == '\0')))
            return false;
    }
    return true;
}

/* Reads a list up to its end into "[a, b]". */
static vt_status read_list(reader *r, vt_text *value)
{
    vt_text_add(value, "[");
    for (;;) {
        VT_TRY(advance(r));
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            break;
        if (r->event.type == YAML_MAPPING_START_EVENT)
            return fail_here(r, "a map inside a list is not read here; write the items as plain words, such as flip or "
                                "inception_crop(28)");
        if (r->event.type != YAML_SCALAR_EVENT)
            return fail_here(r, "a list inside a list is not read here");
        if (has_zero_byte(r))
            return fail_here(r, "a text with a zero byte");
        if (value->len > 1)
            vt_text_add(value, ", ");
        if (is_plain_item(scalar_text(r)))
            vt_text_add(value, scalar_text(r));
        else
            vt_yaml_quote(scalar_text(r), value);
    }
    vt_text_add(value, "]");
    return VT_OK;
}

static vt_status read_map(reader *r, int depth);

static vt_status read_value(reader *r, int depth)
{
    yaml_mark_t at = r->event.start_mark;
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        if (has_zero_byte(r))
            return fail_here(r, "a text with a zero byte");
        if (r->event.data.scalar.length == 0 && r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
            return vt_fail(r->err, VT_EFORMAT, "%s:%zu:%zu: %s has no value; write \"\" for an empty text", r->place,
                           at.line + 1, at.column + 1, r->path.s);
        return add_entry(r, at, vt_xstrdup(scalar_text(r)));
    case YAML_SEQUENCE_START_EVENT: {
        vt_text value = {0};
        vt_status status = read_list(r, &value);
        if (status == VT_OK)
            return add_entry(r, at, value.s);
        vt_text_release(&value);
        return status;
    }
    case YAML_MAPPING_START_EVENT:
        if (depth == MAX_DEPTH)
            return fail_here(r, "maps nested too deep");
        vt_text_add(&r->path, ".");
        return read_map(r, depth + 1);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT:
    case YAML_DOCUMENT_END_EVENT:
    case YAML_ALIAS_EVENT:
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        break;
    }
    return fail_here(r, "expected a value");
}

/* Reads the entries of a map up to its end; r->path is its place. */
static vt_status read_map(reader *r, int depth)
{
    size_t base = r->path.len;
    for (;;) {
        VT_TRY(advance(r));
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return VT_OK;
        if (r->event.type != YAML_SCALAR_EVENT)
            return fail_here(r, "expected a key, which is a word");
        if (has_zero_byte(r) || r->event.data.scalar.length == 0 || base + r->event.data.scalar.length > MAX_KEY)
            return fail_here(r, "a key that is empty, too long, or holds a zero byte");
        vt_text_add(&r->path, scalar_text(r));
        VT_TRY(advance(r));
        VT_TRY(read_value(r, depth));
        r->path.len = base;
        r->path.s[base] = '\0';
    }
}

static vt_status read_stream(reader *r)
{
    VT_TRY(advance(r)); /* stream start */
    VT_TRY(advance(r));
    if (r->event.type == YAML_STREAM_END_EVENT)
        return VT_OK; /* nothing but comments */
    VT_TRY(advance(r));
    bool empty = r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.length == 0 &&
                 r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (!empty && r->event.type != YAML_MAPPING_START_EVENT)
        return fail_here(r, "expected keys with values (\"key: value\")");
    if (!empty)
        VT_TRY(read_map(r, 1));
    VT_TRY(advance(r)); /* document end */
    VT_TRY(advance(r));
    return r->event.type == YAML_STREAM_END_EVENT ? VT_OK : fail_here(r, "a second document; a file holds one");
}

vt_status vt_yaml_parse(vt_yaml *y, const char *text, size_t size, const char *place, vt_err *err)
{
    *y = (vt_yaml){0};
    if (size > MAX_BYTES)
        return vt_fail(err, VT_EFORMAT, "%s: %zu bytes of YAML; at most %zu are read", place, size, MAX_BYTES);
    reader r = {.text = text, .place = place, .out = y, .err = err};
    if (!yaml_parser_initialize(&r.parser))
        return vt_fail(err, VT_ENOMEM, "%s: no memory to read it", place);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    vt_text_add(&r.path, "");
    vt_status status = read_stream(&r);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    vt_text_release(&r.path);
    if (status != VT_OK)
        vt_yaml_release(y);
    return status;
}

vt_status vt_yaml_load(vt_yaml *y, const char *path, vt_err *err)
{
    *y = (vt_yaml){0};
    unsigned char *data;
    size_t size;
    VT_TRY(vt_file_read(path, MAX_BYTES, &data, &size, err));
    vt_status status = vt_yaml_parse(y, (const char *)data, size, path, err);
    free(data);
    return status;
}

void vt_yaml_release(vt_yaml *y)
{
    for (size_t i = 0; i < y->n; i++) {
        free(y->entries[i].key);
        free(y->entries[i].value);
    }
    free(y->entries);
    *y = (vt_yaml){0};
}

/* The code point at *s, moving behind it; s is valid UTF-8. */
static uint32_t next_code_point(const char **s)
{
    const unsigned char *p = (const unsigned char *)*s;
    int more = *p < 0x80 ? 0 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : 3;
    uint32_t code = more == 0 ? *p : *p & (0x3fU >> more);
    for (int i = 1; i <= more; i++)
        code = code << 6 | (p[i] & 0x3fU);
    *s += 1 + more;
    return code;
}

void vt_yaml_quote(const char *s, vt_text *out)
{
    vt_text_add(out, "\"");
    while (*s != '\0') {
        const char *from = s;
        uint32_t code = next_code_point(&s);
        /* Control characters, other line breaks, the byte order mark and what is no character. */
        bool odd = code < 0x20 || (code >= 0x7f && code <= 0xa0) || code == 0x2028 || code == 0x2029 ||
                   code == 0xfeff || code == 0xfffe || code == 0xffff;
        if (code == '"' || code == '\\')
            vt_text_addf(out, "\\%c", (char)code);
        else if (code == '\n')
            vt_text_add(out, "\\n");
        else if (odd)
            vt_text_addf(out, "\\u%04X", (unsigned)code);
        else
            vt_text_addn(out, from, (size_t)(s - from));
    }
    vt_text_add(out, "\"");
}

bool vt_yaml_is_plain(const char *s)
{
    vt_text line = {0};
    vt_yaml y;
    vt_text_addf(&line, "k: %s\n", s);
    bool plain = s[0] != '\0' && line.len <= MAX_BYTES && vt_yaml_parse(&y, line.s, line.len, "", NULL) == VT_OK;
    if (plain) {
        plain = y.n == 1 && strcmp(y.entries[0].key, "k") == 0 && strcmp(y.entries[0].value, s) == 0;
        vt_yaml_release(&y);
    }
    vt_text_release(&line);
    return plain;
}
