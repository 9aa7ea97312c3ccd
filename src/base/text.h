/* Strings: a growable text, and the small parsers that people's input needs. */
#ifndef VT_BASE_TEXT_H
#define VT_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* A growable string, always terminated once anything was added. {0} is empty; release frees it. Out of memory ends
 * the program with a sentence: texts are small, and no caller could go on. */
typedef struct {
    char *s;
    size_t len, cap;
} vt_text;

void vt_text_add(vt_text *t, const char *s);
void vt_text_addn(vt_text *t, const char *s, size_t n);
void vt_text_addf(vt_text *t, const char *fmt, ...) VT_PRINTF(2, 3);
void vt_text_clear(vt_text *t);
void vt_text_release(vt_text *t);

/* malloc, realloc, strdup and printf-to-malloc that end the program with a sentence when memory is out; for small
 * things on the host. Tensors come from arenas, and whatever grows with data from outside is checked and bounded. */
void *vt_xmalloc(size_t bytes);
void *vt_xcalloc(size_t count, size_t bytes);
void *vt_xrealloc(void *p, size_t bytes);
char *vt_xstrdup(const char *s);
char *vt_xasprintf(const char *fmt, ...) VT_PRINTF(1, 2);

/* Whole-string numbers, locale-free; infinity and not-a-number are no numbers. Integers take a suffix k, M, G (powers
 * of 1000) and digits like 1_000 or 1e6 when the value is whole; the message names what was expected. */
vt_status vt_parse_i64(const char *s, int64_t *value, vt_err *err) VT_MUST_USE;
vt_status vt_parse_f64(const char *s, double *value, vt_err *err) VT_MUST_USE;
vt_status vt_parse_bool(const char *s, bool *value, vt_err *err) VT_MUST_USE; /* true false, yes no, on off */

/* x with 15 to 17 significant digits, as few as parse back to the same bits ("0.1", "30"); buf of at least 32 bytes,
 * returned. */
char *vt_format_f64(char *buf, double x);

/* "12.3 MiB", "5.1 GiB"; "1.84 G", "65.9 k"; "1 h 02 min", "3.4 s"; buf of at least 32 bytes, returned. */
char *vt_format_bytes(char *buf, double bytes);
char *vt_format_count(char *buf, double count);
char *vt_format_seconds(char *buf, double seconds);

/* The entry of names (n of them) nearest to word by edit distance, or NULL when none is near enough to be meant. "lr"
 * means "optimizer.lr". */
const char *vt_nearest(const char *word, const char *const *names, size_t n);

bool vt_has_prefix(const char *s, const char *prefix);
bool vt_has_suffix(const char *s, const char *suffix);

#endif
