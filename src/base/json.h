/* JSON files by jansson, with the file and line in every message. Not-a-number has no JSON form: write null on purpose.
 */
#ifndef VT_BASE_JSON_H
#define VT_BASE_JSON_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"

/* Parses a text or file of at most 64 MiB (an object or array, nested at most 2048 deep, no key twice); *root is a new
 * reference. place: file for messages. */
vt_status vt_json_parse(const char *text, size_t size, const char *place, json_t **root, vt_err *err) VT_MUST_USE;
vt_status vt_json_load(const char *path, json_t **root, vt_err *err) VT_MUST_USE;

/* Writes root atomically: two-space indent, keys in insertion order, a final newline. Takes no reference. */
vt_status vt_json_save(const char *path, const json_t *root, vt_err *err) VT_MUST_USE;

/* root on one line, as json lines and --json print it; numbers with the fewest digits that read back the same. */
void vt_json_line(const json_t *root, vt_text *out);

/* A finite number, or null. */
json_t *vt_json_number(double x);

/* A text of bytes that may not be UTF-8 (file names are bytes): then what is not ASCII becomes '?'. */
json_t *vt_json_text(const char *s);

/* Members that must be there with their type; messages name place and key. Strings are borrowed from object. */
vt_status vt_json_get_string(const json_t *object, const char *key, const char *place, const char **value,
                             vt_err *err) VT_MUST_USE;
vt_status vt_json_get_i64(const json_t *object, const char *key, const char *place, int64_t *value,
                          vt_err *err) VT_MUST_USE;
vt_status vt_json_get_f64(const json_t *object, const char *key, const char *place, double *value,
                          vt_err *err) VT_MUST_USE;

#endif
