/* YAML as recipes need it (libyaml's events): nested maps of scalars and flat lists, every scalar untyped and with its
 * line and column. Anchors, aliases, tags, several documents, lists of lists or maps, keys without a value, more than
 * 2000 keys or 8 levels are refused with a sentence. */
#ifndef VT_BASE_YAML_H
#define VT_BASE_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"
#include "base/text.h"

/* One scalar or one list of a document, in the order of the file. An item that cannot stand bare in a list
 * is in double quotes there; a comma between parentheses needs none ("[crop(28, 4), flip]"). */
typedef struct {
    char *key;        /* dotted path, "optimizer.lr" */
    char *value;      /* the scalar's text; for a list its flow form "[a, b]" */
    int line, column; /* of the value, counted from 1 */
} vt_yaml_entry;

typedef struct {
    vt_yaml_entry *entries;
    size_t n;
} vt_yaml;

/* Parses a text of size bytes (at most 1 MiB). place is the file's name for messages ("place:line:column: ..."); a key
 * given twice is refused. */
vt_status vt_yaml_parse(vt_yaml *y, const char *text, size_t size, const char *place, vt_err *err) VT_MUST_USE;
vt_status vt_yaml_load(vt_yaml *y, const char *path, vt_err *err) VT_MUST_USE;
void vt_yaml_release(vt_yaml *y);

/* Whether "key: s" reads back as s; and s in double quotes, which always does. s is UTF-8. */
bool vt_yaml_is_plain(const char *s);
void vt_yaml_quote(const char *s, vt_text *out);

#endif
