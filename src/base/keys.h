/* A table of keys: one row gives the parser, default, range, `key=value` override, "did you mean", help, reference page
 * and the complete dump. train/recipe_keys.c holds the recipe's table; this file is what hangs on any table. */
#ifndef VT_BASE_KEYS_H
#define VT_BASE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/text.h"
#include "base/yaml.h"

typedef enum {
    VT_KEY_I64,      /* int64_t; "10k", "2M" */
    VT_KEY_F64,      /* double */
    VT_KEY_BOOL,     /* bool */
    VT_KEY_ENUM,     /* int, index into choices */
    VT_KEY_STRING,   /* char *, malloc'ed */
    VT_KEY_AUTO_I64, /* int64_t, "auto" is stored as 0 */
    VT_KEY_AUTO_F64, /* double, "auto" is stored as NaN */
    VT_KEY_AMOUNT,   /* vt_amount: "30 epochs", "2M images", "10k steps", "5%" */
    VT_KEY_SIZE      /* vt_size: "224", or "40x24" (height x width) */
} vt_key_type;

typedef enum { VT_UNIT_NONE, VT_UNIT_STEPS, VT_UNIT_IMAGES, VT_UNIT_EPOCHS, VT_UNIT_PERCENT } vt_amount_unit;

typedef struct {
    double value;
    vt_amount_unit unit; /* a bare number means steps, or images where that is the key's unit */
} vt_amount;

/* Sides of an image. */
typedef struct {
    int64_t height, width;
} vt_size;

typedef struct {
    const char *name; /* "optimizer.lr" */
    vt_key_type type;
    size_t offset;        /* of the field in the caller's struct */
    const char *fallback; /* the default, as a person would type it; NULL: must be given */
    double min, max; /* inclusive range of numbers (an amount's value, both sides of a size); HUGE_VAL: no end; 0, 0: no
                        range */
    const char *const *choices; /* NULL-terminated, for VT_KEY_ENUM */
    const char *unit;           /* "images", "seconds", ... or NULL */
    bool may_change;            /* may differ when a run is resumed */
    const char *help;           /* one sentence */
} vt_key;

/* Sets every field to its default, and one without default (never a switch) to a value that no text gives: a string to
 * NULL, an amount's unit to none. A default that breaks its own row is an assert. Release frees the strings and leaves
 * NULL. */
void vt_keys_default(const vt_key *table, size_t n, void *fields);
void vt_keys_release(const vt_key *table, size_t n, void *fields);

/* Sets one key from text. An unknown key names the nearest one; type and range errors name key, value and what is
 * expected. Texts must be UTF-8. Amounts are never negative, percent at most 100. */
vt_status vt_keys_set(const vt_key *table, size_t n, void *fields, const char *key, const char *value,
                      vt_err *err) VT_MUST_USE;

/* Sets all entries of a parsed file; messages begin with "place:line:column: ". */
vt_status vt_keys_set_yaml(const vt_key *table, size_t n, void *fields, const vt_yaml *y, const char *place,
                           vt_err *err) VT_MUST_USE;

/* "key=value" as typed on a command line; a list may be typed without blanks, "[a,b]". */
vt_status vt_keys_set_override(const vt_key *table, size_t n, void *fields, const char *assignment,
                               vt_err *err) VT_MUST_USE;

/* Fails with the names of required keys that were not given. */
vt_status vt_keys_check_required(const vt_key *table, size_t n, const void *fields, vt_err *err) VT_MUST_USE;

/* The value of one key as a person would type it (parsing it gives the same value bit for bit); nothing for a key that
 * was not given. */
void vt_keys_print(const vt_key *key, const void *fields, vt_text *out);
/* The whole struct as YAML that reads back to the same values: a section for each first part of a dotted name, in table
 * order; keys that were not given stay out. */
void vt_keys_dump(const vt_key *table, size_t n, const void *fields, vt_text *out);
/* A Markdown table of all keys: name, type and range, default, unit, whether it may change on resume, meaning. */
void vt_keys_reference(const vt_key *table, size_t n, vt_text *out);

/* An amount in steps: batch images a step, epoch_images images an epoch, total_steps for percent (0 where percent has
 * no meaning, then VT_EINVAL). Rounded to nearest, half to even; at least 1 unless the amount is 0. */
vt_status vt_amount_steps(vt_amount a, int64_t batch, int64_t epoch_images, int64_t total_steps, int64_t *steps,
                          vt_err *err) VT_MUST_USE;

#endif
