/* The types of keys: one row in vt_key_kinds with parser and printer, so a new type is a row and two functions (and its
 * value of "not given"). Fields are read and written by memcpy, since the table knows only their offsets.
 *
 * A field that was not given and has no default holds a value that no text sets: NULL, INT64_MIN (also for auto), not a
 * number (minus infinity where that means auto), -1 for an enum, unit none for an amount, sides of 0 for a size. A
 * switch always has a default. */
#include "base/keys_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool vt_key_is_bounded(const vt_key *key)
{
    return (key->min != 0 || key->max != 0) && !(isinf(key->min) && isinf(key->max));
}

void vt_key_add_range(const vt_key *key, vt_text *out)
{
    char low[32], high[32];
    vt_format_f64(low, key->min);
    vt_format_f64(high, key->max);
    if (!vt_key_is_bounded(key))
        return;
    if (isinf(key->max))
        vt_text_addf(out, "at least %s", low);
    else if (isinf(key->min))
        vt_text_addf(out, "at most %s", high);
    else
        vt_text_addf(out, "%s to %s", low, high);
}

static vt_status check_range(const vt_key *key, double value, const char *text, vt_err *err)
{
    if (!vt_key_is_bounded(key) || (value >= key->min && value <= key->max))
        return VT_OK;
    vt_text range = {0};
    vt_key_add_range(key, &range);
    vt_fail(err, VT_EINVAL, "%s is %.80s; expected %s%s%s", key->name, text, range.s, key->unit == NULL ? "" : " ",
            key->unit == NULL ? "" : key->unit);
    vt_text_release(&range);
    return VT_EINVAL;
}

static vt_status parse_i64(const vt_key *key, void *field, const char *text, vt_err *err)
{
    int64_t value;
    if (vt_parse_i64(text, &value, err) != VT_OK)
        return vt_prefix(err, "%s", key->name);
    VT_TRY(check_range(key, (double)value, text, err));
    memcpy(field, &value, sizeof(value));
    return VT_OK;
}

static void print_i64(const vt_key *key, const void *field, vt_text *out)
{
    int64_t value;
    memcpy(&value, field, sizeof(value));
    vt_text_addf(out, "%lld", (long long)value);
}

static vt_status parse_auto_i64(const vt_key *key, void *field, const char *text, vt_err *err)
{
    if (strcmp(text, "auto") == 0) {
        memset(field, 0, sizeof(int64_t));
        return VT_OK;
    }
    int64_t value;
    if (vt_parse_i64(text, &value, NULL) != VT_OK)
        return vt_fail(err, VT_EINVAL, "%s is \"%.80s\"; expected auto or a whole number", key->name, text);
    VT_TRY(check_range(key, (double)value, text, err));
    memcpy(field, &value, sizeof(value));
    return VT_OK;
}

static void print_auto_i64(const vt_key *key, const void *field, vt_text *out)
{
    int64_t value;
    memcpy(&value, field, sizeof(value));
    if (value == 0)
        vt_text_add(out, "auto");
    else
        print_i64(key, field, out);
}

static vt_status parse_f64(const vt_key *key, void *field, const char *text, vt_err *err)
{
    double value;
    if (vt_parse_f64(text, &value, err) != VT_OK)
        return vt_prefix(err, "%s", key->name);
    VT_TRY(check_range(key, value, text, err));
    memcpy(field, &value, sizeof(value));
    return VT_OK;
}

static void print_f64(const vt_key *key, const void *field, vt_text *out)
{
    double value;
    char buf[32];
    memcpy(&value, field, sizeof(value));
    vt_text_add(out, vt_format_f64(buf, value));
}

static vt_status parse_auto_f64(const vt_key *key, void *field, const char *text, vt_err *err)
{
    double value = (double)NAN;
    if (strcmp(text, "auto") != 0) {
        if (vt_parse_f64(text, &value, NULL) != VT_OK)
            return vt_fail(err, VT_EINVAL, "%s is \"%.80s\"; expected auto or a number", key->name, text);
        VT_TRY(check_range(key, value, text, err));
    }
    memcpy(field, &value, sizeof(value));
    return VT_OK;
}

static void print_auto_f64(const vt_key *key, const void *field, vt_text *out)
{
    double value;
    memcpy(&value, field, sizeof(value));
    if (isnan(value))
        vt_text_add(out, "auto");
    else
        print_f64(key, field, out);
}

static vt_status parse_bool(const vt_key *key, void *field, const char *text, vt_err *err)
{
    bool value;
    if (vt_parse_bool(text, &value, err) != VT_OK)
        return vt_prefix(err, "%s", key->name);
    memcpy(field, &value, sizeof(value));
    return VT_OK;
}

static void print_bool(const vt_key *key, const void *field, vt_text *out)
{
    bool value;
    memcpy(&value, field, sizeof(value));
    vt_text_add(out, value ? "true" : "false");
}

void vt_key_add_choices(const vt_key *key, const char *separator, vt_text *out)
{
    for (size_t i = 0; key->choices[i] != NULL; i++)
        vt_text_addf(out, "%s%s", i == 0 ? "" : separator, key->choices[i]);
}

static vt_status parse_enum(const vt_key *key, void *field, const char *text, vt_err *err)
{
    size_t n = 0;
    for (; key->choices[n] != NULL; n++) {
        if (strcmp(key->choices[n], text) == 0) {
            int value = (int)n;
            memcpy(field, &value, sizeof(value));
            return VT_OK;
        }
    }
    const char *nearest = vt_nearest(text, key->choices, n);
    vt_text choices = {0};
    vt_key_add_choices(key, ", ", &choices);
    vt_fail(err, VT_EINVAL, "%s is \"%.80s\"; expected one of %s%s%s%s", key->name, text, choices.s,
            nearest == NULL ? "" : "; did you mean ", nearest == NULL ? "" : nearest, nearest == NULL ? "" : "?");
    vt_text_release(&choices);
    return VT_EINVAL;
}

static void print_enum(const vt_key *key, const void *field, vt_text *out)
{
    int value;
    memcpy(&value, field, sizeof(value));
    vt_text_add(out, key->choices[value]);
}

/* UTF-8 as RFC 3629 has it: shortest forms, no surrogates. Recipes are UTF-8, so texts in them are. */
static bool is_utf8(const char *s)
{
    for (const unsigned char *p = (const unsigned char *)s; *p != '\0';) {
        int more = *p < 0x80 ? 0 : *p < 0xc2 ? -1 : *p < 0xe0 ? 1 : *p < 0xf0 ? 2 : *p < 0xf5 ? 3 : -1;
        unsigned char low = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80;
        unsigned char high = *p == 0xed ? 0x9f : *p == 0xf4 ? 0x8f : 0xbf;
        if (more < 0)
            return false;
        for (int i = 1; i <= more; i++) {
            if (p[i] < (i == 1 ? low : 0x80) || p[i] > (i == 1 ? high : 0xbf))
                return false;
        }
        p += 1 + more;
    }
    return true;
}

static vt_status parse_string(const vt_key *key, void *field, const char *text, vt_err *err)
{
    if (!is_utf8(text))
        return vt_fail(err, VT_EINVAL, "%s is not a text in UTF-8", key->name);
    char *old, *value = vt_xstrdup(text);
    memcpy(&old, field, sizeof(old));
    free(old);
    memcpy(field, &value, sizeof(value));
    return VT_OK;
}

static void print_string(const vt_key *key, const void *field, vt_text *out)
{
    const char *value;
    memcpy(&value, field, sizeof(value));
    vt_text_add(out, value);
}

static const struct {
    const char *word, *plural;
} unit_names[] = {[VT_UNIT_STEPS] = {"step", "steps"},
                  [VT_UNIT_IMAGES] = {"image", "images"},
                  [VT_UNIT_EPOCHS] = {"epoch", "epochs"}};

/* The unit that is spelled out in text, or none. */
static vt_amount_unit unit_named(const char *text)
{
    if (text[0] == '\0')
        return VT_UNIT_STEPS;
    if (strcmp(text, "%") == 0)
        return VT_UNIT_PERCENT;
    for (vt_amount_unit u = VT_UNIT_STEPS; u <= VT_UNIT_EPOCHS; u++) {
        if (strcmp(text, unit_names[u].word) == 0 || strcmp(text, unit_names[u].plural) == 0)
            return u;
    }
    return VT_UNIT_NONE;
}

/* "NUMBER UNIT", "NUMBER%" or "NUMBER"; false where it is none of them. */
static bool read_amount(const char *text, vt_amount_unit bare, vt_amount *amount)
{
    char number[64];
    size_t n = strcspn(text, " %");
    if (n >= sizeof(number))
        return false;
    memcpy(number, text, n);
    number[n] = '\0';
    int64_t whole;
    if (vt_parse_i64(number, &whole, NULL) == VT_OK)
        amount->value = (double)whole;
    else if (vt_parse_f64(number, &amount->value, NULL) != VT_OK)
        return false;
    amount->unit = text[n] == '\0' ? bare : unit_named(text + n + strspn(text + n, " "));
    return amount->unit != VT_UNIT_NONE;
}

static vt_status parse_amount(const vt_key *key, void *field, const char *text, vt_err *err)
{
    vt_amount amount;
    bool images = key->unit != NULL && strcmp(key->unit, "images") == 0; /* what a bare number means */
    if (!read_amount(text, images ? VT_UNIT_IMAGES : VT_UNIT_STEPS, &amount))
        return vt_fail(
            err, VT_EINVAL,
            "%s is \"%.80s\"; expected an amount such as 500 (steps), 10k steps, 2M images, 30 epochs or 5%%",
            key->name, text);
    if (!(amount.value >= 0))
        return vt_fail(err, VT_EINVAL, "%s is %.80s; an amount is not negative", key->name, text);
    if (amount.unit == VT_UNIT_PERCENT && amount.value > 100)
        return vt_fail(err, VT_EINVAL, "%s is %.80s; at most 100%% of the steps can be meant", key->name, text);
    VT_TRY(check_range(key, amount.value, text, err));
    memcpy(field, &amount, sizeof(amount));
    return VT_OK;
}

static void print_amount(const vt_key *key, const void *field, vt_text *out)
{
    vt_amount amount;
    char buf[32];
    memcpy(&amount, field, sizeof(amount));
    vt_text_add(out, vt_format_f64(buf, amount.value));
    if (amount.unit == VT_UNIT_PERCENT)
        vt_text_add(out, "%");
    else
        vt_text_addf(out, " %s", amount.value == 1 ? unit_names[amount.unit].word : unit_names[amount.unit].plural);
}

static vt_status parse_size(const vt_key *key, void *field, const char *text, vt_err *err)
{
    char side[24];
    vt_size size;
    size_t n = strcspn(text, "x");
    if (n >= sizeof(side))
        n = 0;
    memcpy(side, text, n);
    side[n] = '\0';
    if (vt_parse_i64(side, &size.height, NULL) != VT_OK ||
        vt_parse_i64(text[n] == '\0' ? side : text + n + 1, &size.width, NULL) != VT_OK)
        return vt_fail(err, VT_EINVAL, "%s is \"%.80s\"; expected a side such as 224, or height x width such as 40x24",
                       key->name, text);
    VT_TRY(check_range(key, (double)size.height, text, err));
    VT_TRY(check_range(key, (double)size.width, text, err));
    memcpy(field, &size, sizeof(size));
    return VT_OK;
}

static void print_size(const vt_key *key, const void *field, vt_text *out)
{
    vt_size size;
    memcpy(&size, field, sizeof(size));
    if (size.height == size.width)
        vt_text_addf(out, "%lld", (long long)size.height);
    else
        vt_text_addf(out, "%lldx%lld", (long long)size.height, (long long)size.width);
}

const vt_key_kind vt_key_kinds[] = {
    [VT_KEY_I64] = {parse_i64, print_i64, "whole number"},
    [VT_KEY_F64] = {parse_f64, print_f64, "number"},
    [VT_KEY_BOOL] = {parse_bool, print_bool, "true or false"},
    [VT_KEY_ENUM] = {parse_enum, print_enum, "one of"},
    [VT_KEY_STRING] = {parse_string, print_string, "text"},
    [VT_KEY_AUTO_I64] = {parse_auto_i64, print_auto_i64, "auto or a whole number"},
    [VT_KEY_AUTO_F64] = {parse_auto_f64, print_auto_f64, "auto or a number"},
    [VT_KEY_AMOUNT] = {parse_amount, print_amount, "amount"},
    [VT_KEY_SIZE] = {parse_size, print_size, "side or height x width"},
};

void vt_key_set_absent(const vt_key *key, void *field)
{
    const int64_t no_i64 = INT64_MIN;
    const double no_f64 = key->type == VT_KEY_AUTO_F64 ? -HUGE_VAL : (double)NAN;
    const int no_choice = -1;
    const vt_amount no_amount = {0};
    const vt_size no_size = {0};
    char *const no_string = NULL;
    switch (key->type) {
    case VT_KEY_I64:
    case VT_KEY_AUTO_I64:
        memcpy(field, &no_i64, sizeof(no_i64));
        return;
    case VT_KEY_F64:
    case VT_KEY_AUTO_F64:
        memcpy(field, &no_f64, sizeof(no_f64));
        return;
    case VT_KEY_ENUM:
        memcpy(field, &no_choice, sizeof(no_choice));
        return;
    case VT_KEY_STRING:
        memcpy(field, &no_string, sizeof(no_string));
        return;
    case VT_KEY_AMOUNT:
        memcpy(field, &no_amount, sizeof(no_amount));
        return;
    case VT_KEY_SIZE:
        memcpy(field, &no_size, sizeof(no_size));
        return;
    case VT_KEY_BOOL:
        break;
    }
    assert(!"a switch needs a default");
}

bool vt_key_is_absent(const vt_key *key, const void *field)
{
    int64_t i64;
    double f64;
    int choice;
    const char *string;
    vt_amount amount;
    vt_size size;
    switch (key->type) {
    case VT_KEY_I64:
    case VT_KEY_AUTO_I64:
        memcpy(&i64, field, sizeof(i64));
        return i64 == INT64_MIN;
    case VT_KEY_F64:
        memcpy(&f64, field, sizeof(f64));
        return isnan(f64);
    case VT_KEY_AUTO_F64:
        memcpy(&f64, field, sizeof(f64));
        return isinf(f64);
    case VT_KEY_ENUM:
        memcpy(&choice, field, sizeof(choice));
        return choice < 0;
    case VT_KEY_STRING:
        memcpy(&string, field, sizeof(string));
        return string == NULL;
    case VT_KEY_AMOUNT:
        memcpy(&amount, field, sizeof(amount));
        return amount.unit == VT_UNIT_NONE;
    case VT_KEY_SIZE:
        memcpy(&size, field, sizeof(size));
        return size.height == 0;
    case VT_KEY_BOOL:
        return false;
    }
    return false;
}

vt_status vt_amount_steps(vt_amount a, int64_t batch, int64_t epoch_images, int64_t total_steps, int64_t *steps,
                          vt_err *err)
{
    assert(batch >= 1);
    double exact = a.value;
    if (a.unit == VT_UNIT_NONE)
        return vt_fail(err, VT_EINVAL, "no amount was given");
    if (a.unit == VT_UNIT_EPOCHS && epoch_images <= 0)
        return vt_fail(err, VT_EINVAL,
                       "an amount in epochs needs data with a known number of images; give it in steps or images");
    if (a.unit == VT_UNIT_PERCENT && total_steps <= 0)
        return vt_fail(err, VT_EINVAL, "an amount in %% has no meaning here; give it in steps, images or epochs");
    if (a.unit == VT_UNIT_IMAGES)
        exact = a.value / (double)batch;
    else if (a.unit == VT_UNIT_EPOCHS)
        exact = a.value * (double)epoch_images / (double)batch;
    else if (a.unit == VT_UNIT_PERCENT)
        exact = a.value * (double)total_steps / 100;
    if (!(exact >= 0 && exact < 0x1p52))
        return vt_fail(err, VT_EINVAL, "an amount comes to %g steps; at most %g can be counted", exact, 0x1p52);

    double whole = floor(exact), fraction = exact - whole;
    bool up = fraction > 0.5 || (fraction == 0.5 && fmod(whole, 2) == 1);
    *steps = (int64_t)whole + up;
    if (*steps == 0 && a.value > 0)
        *steps = 1;
    return VT_OK;
}
