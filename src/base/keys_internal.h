/* What the types of keys (keys_types.c) offer to the table (keys.c). field points at the field itself. */
#ifndef VT_BASE_KEYS_INTERNAL_H
#define VT_BASE_KEYS_INTERNAL_H

#include "base/keys.h"

typedef struct {
    vt_status (*parse)(const vt_key *key, void *field, const char *text, vt_err *err);
    void (*print)(const vt_key *key, const void *field, vt_text *out); /* a field that was given */
    const char *words;                                                 /* for the reference */
} vt_key_kind;

extern const vt_key_kind vt_key_kinds[]; /* a row for every vt_key_type */

/* The value of "not given". */
void vt_key_set_absent(const vt_key *key, void *field);
bool vt_key_is_absent(const vt_key *key, const void *field);

bool vt_key_is_bounded(const vt_key *key);
/* "at least 1", "0 to 1", "at most 5"; nothing without a range. */
void vt_key_add_range(const vt_key *key, vt_text *out);
void vt_key_add_choices(const vt_key *key, const char *separator, vt_text *out);

#endif
