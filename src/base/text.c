/* Growable strings, numbers as people write them, and the nearest name. Numbers never depend on the locale: parsing and
 * printing of doubles run under the "C" locale, also inside a host program that set another. */
#include "base/text.h"

#include <assert.h>
#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Memory for small things is out: no caller could go on, so this is the one place below cli/ that ends the program. */
static void die_of_memory(size_t bytes)
{
    fprintf(stderr, "vitro: out of memory (%zu bytes more were refused)\n", bytes);
    _Exit(1);
}

void *vt_xmalloc(size_t bytes)
{
    void *p = malloc(bytes == 0 ? 1 : bytes);
    if (p == NULL)
        die_of_memory(bytes);
    return p;
}

void *vt_xcalloc(size_t count, size_t bytes)
{
    void *p = calloc(count == 0 ? 1 : count, bytes == 0 ? 1 : bytes);
    if (p == NULL)
        die_of_memory(bytes);
    return p;
}

void *vt_xrealloc(void *p, size_t bytes)
{
    void *q = realloc(p, bytes == 0 ? 1 : bytes);
    if (q == NULL)
        die_of_memory(bytes);
    return q;
}

char *vt_xstrdup(const char *s)
{
    size_t size = strlen(s) + 1;
    return memcpy(vt_xmalloc(size), s, size);
}

char *vt_xasprintf(const char *fmt, ...)
{
    assert(fmt != NULL);
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    size_t size = n < 0 ? 1 : (size_t)n + 1;
    char *s = vt_xmalloc(size);
    s[0] = '\0';
    vsnprintf(s, size, fmt, again);
    va_end(again);
    va_end(args);
    return s;
}

/* Makes room for extra bytes and the terminator. */
static void reserve(vt_text *t, size_t extra)
{
    if (extra > SIZE_MAX / 4 || t->len > SIZE_MAX / 4)
        die_of_memory(extra);
    size_t need = t->len + extra + 1;
    if (need <= t->cap)
        return;
    size_t cap = t->cap < 32 ? 64 : t->cap * 2;
    t->cap = cap < need ? need : cap;
    t->s = vt_xrealloc(t->s, t->cap);
}

void vt_text_addn(vt_text *t, const char *s, size_t n)
{
    reserve(t, n);
    if (n > 0)
        memcpy(t->s + t->len, s, n);
    t->len += n;
    t->s[t->len] = '\0';
}

void vt_text_add(vt_text *t, const char *s)
{
    vt_text_addn(t, s, strlen(s));
}

void vt_text_addf(vt_text *t, const char *fmt, ...)
{
    assert(fmt != NULL);
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    if (n >= 0) {
        reserve(t, (size_t)n);
        vsnprintf(t->s + t->len, (size_t)n + 1, fmt, again);
        t->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

void vt_text_clear(vt_text *t)
{
    t->len = 0;
    if (t->s != NULL)
        t->s[0] = '\0';
}

void vt_text_release(vt_text *t)
{
    free(t->s);
    *t = (vt_text){0};
}

/* A decimal number as digits * 10^exponent, with "k", "M" or "G" counted into the exponent. */
typedef struct {
    bool negative;
    uint64_t digits;
    int exponent;
} decimal;

#define MAX_EXPONENT 1000 /* larger ones fit no integer, and would overflow an int some day */

/* Reads digits and single underscores between them; false when there are too many digits. *n counts digits. */
static bool read_digits(const char **s, uint64_t *digits, int *n)
{
    const char *p = *s;
    for (;; p++) {
        if (*p == '_' && p > *s && isdigit((unsigned char)p[-1]) && isdigit((unsigned char)p[1]))
            continue;
        if (!isdigit((unsigned char)*p))
            break;
        unsigned digit = (unsigned)(*p - '0');
        if (*digits > (UINT64_MAX - digit) / 10)
            return false;
        *digits = *digits * 10 + digit;
        if (*n < MAX_EXPONENT)
            ++*n;
    }
    *s = p;
    return true;
}

static bool read_exponent(const char **s, int *exponent)
{
    const char *p = *s;
    if (*p != 'e' && *p != 'E')
        return true;
    p++;
    bool negative = *p == '-';
    p += *p == '-' || *p == '+';
    if (!isdigit((unsigned char)*p))
        return false;
    int value = 0;
    for (; isdigit((unsigned char)*p); p++)
        value = value < MAX_EXPONENT ? value * 10 + (*p - '0') : value;
    *exponent += negative ? -value : value;
    *s = p;
    return true;
}

static bool read_decimal(const char *s, decimal *d)
{
    *d = (decimal){.negative = *s == '-'};
    s += *s == '-' || *s == '+';
    int whole = 0, fraction = 0;
    if (!read_digits(&s, &d->digits, &whole))
        return false;
    if (*s == '.') {
        s++;
        if (!read_digits(&s, &d->digits, &fraction))
            return false;
    }
    if (whole + fraction == 0 || !read_exponent(&s, &d->exponent))
        return false;
    d->exponent -= fraction;
    static const char suffixes[] = "kMG";
    const char *suffix = *s == '\0' ? NULL : strchr(suffixes, *s);
    if (suffix != NULL) {
        d->exponent += 3 * (int)(suffix - suffixes + 1);
        s++;
    }
    return *s == '\0';
}

vt_status vt_parse_i64(const char *s, int64_t *value, vt_err *err)
{
    static const char expected[] = "expected one such as 500, 1_000, 10k, 1.5M or 1e6";
    decimal d;
    if (!read_decimal(s, &d))
        return vt_fail(err, VT_EINVAL, "\"%.80s\" is not a whole number; %s", s, expected);
    for (; d.exponent < 0 && d.digits % 10 == 0 && d.digits != 0; d.exponent++)
        d.digits /= 10;
    if (d.digits == 0)
        d.exponent = 0;
    if (d.exponent < 0)
        return vt_fail(err, VT_EINVAL, "\"%.80s\" is not a whole number; %s", s, expected);
    uint64_t limit = (uint64_t)INT64_MAX;
    for (; d.exponent > 0 && d.digits <= limit / 10; d.exponent--)
        d.digits *= 10;
    if (d.exponent > 0 || d.digits > limit)
        return vt_fail(err, VT_EINVAL, "\"%.80s\" is too large; the largest number is %lld", s, (long long)INT64_MAX);
    *value = d.negative ? -(int64_t)d.digits : (int64_t)d.digits;
    return VT_OK;
}

/* Whether s is digits with an optional sign, point and exponent: strtod alone would take "inf", "nan" and hexadecimal.
 */
static bool is_plain_number(const char *s)
{
    s += *s == '-' || *s == '+';
    size_t whole = strspn(s, "0123456789"), fraction = 0;
    s += whole;
    if (*s == '.') {
        fraction = strspn(s + 1, "0123456789");
        s += 1 + fraction;
    }
    int exponent = 0;
    return whole + fraction > 0 && read_exponent(&s, &exponent) && *s == '\0';
}

vt_status vt_parse_f64(const char *s, double *value, vt_err *err)
{
    if (!is_plain_number(s))
        return vt_fail(err, VT_EINVAL, "\"%.80s\" is not a number; expected one such as 0.03, 8e-4 or 10", s);
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), old = uselocale(c);
    double x = strtod(s, NULL);
    uselocale(old);
    freelocale(c);
    if (!isfinite(x))
        return vt_fail(err, VT_EINVAL, "\"%.80s\" is too large for a number", s);
    *value = x;
    return VT_OK;
}

char *vt_format_f64(char *buf, double x)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0), old = uselocale(c);
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(buf, 32, "%.*g", digits, x);
        if (strtod(buf, NULL) == x)
            break;
    }
    uselocale(old);
    freelocale(c);
    return buf;
}

vt_status vt_parse_bool(const char *s, bool *value, vt_err *err)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < VT_COUNT_OF(words); i++) {
        if (strcmp(s, words[i]) == 0) {
            *value = i % 2 == 1;
            return VT_OK;
        }
    }
    return vt_fail(err, VT_EINVAL, "\"%.80s\" is neither true nor false", s);
}

/* x with its unit, three digits; divides by step while x would print as step or more. */
static char *format_scaled(char *buf, double x, double step, const char *const *units, size_t n_units)
{
    size_t unit = 0;
    while (unit + 1 < n_units && fabs(x) >= step * (1 - 0.5e-3)) {
        x /= step;
        unit++;
    }
    int decimals = unit == 0 && x == floor(x) ? 0 : fabs(x) < 9.995 ? 2 : fabs(x) < 99.95 ? 1 : 0;
    snprintf(buf, 32, "%.*f%s%s", decimals, x, units[unit][0] == '\0' ? "" : " ", units[unit]);
    return buf;
}

char *vt_format_bytes(char *buf, double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    while (unit + 1 < VT_COUNT_OF(units) && fabs(bytes) >= (unit == 0 ? 1024 : 1023.95)) {
        bytes /= 1024;
        unit++;
    }
    snprintf(buf, 32, "%.*f %s", unit == 0 ? 0 : 1, bytes, units[unit]);
    return buf;
}

char *vt_format_count(char *buf, double count)
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};
    return format_scaled(buf, count, 1000, units, VT_COUNT_OF(units));
}

char *vt_format_seconds(char *buf, double seconds)
{
    if (!(seconds >= 0) || seconds > 1e15) { /* also not-a-number */
        snprintf(buf, 32, "?");
    } else if (seconds < 0.0995) {
        snprintf(buf, 32, "%.*f ms", seconds < 0.00995 ? 2 : 1, seconds * 1e3);
    } else if (seconds < 59.95) {
        snprintf(buf, 32, "%.*f s", seconds < 0.995 ? 2 : 1, seconds);
    } else {
        long long whole = (long long)(seconds + 0.5), minutes = (whole + 30) / 60, hours = (minutes + 30) / 60;
        if (whole < 3600)
            snprintf(buf, 32, "%lld min %02lld s", whole / 60, whole % 60);
        else if (minutes < 24 * 60)
            snprintf(buf, 32, "%lld h %02lld min", minutes / 60, minutes % 60);
        else
            snprintf(buf, 32, "%lld d %02lld h", hours / 24, hours % 24);
    }
    return buf;
}

#define MAX_WORD 64 /* bytes; nobody means a name by a longer word */

/* Optimal string alignment: insertions, deletions, replacements and swaps of neighbours that turn a into b. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][MAX_WORD + 1], na = strlen(a), nb = strlen(b);
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= nb; j++)
        last[j] = j;
    for (size_t i = 1; i <= na; i++) {
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        size_t *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[nb];
}

const char *vt_nearest(const char *word, const char *const *names, size_t n)
{
    size_t len = strlen(word), best = SIZE_MAX;
    const char *nearest = NULL;
    if (len == 0 || len > MAX_WORD)
        return NULL;
    size_t allowed = len < 2 ? 0 : len < 6 ? 1 : len / 3;
    for (size_t i = 0; i < n; i++) {
        size_t name_len = strlen(names[i]);
        if (name_len > MAX_WORD)
            continue;
        /* "lr" means "optimizer.lr": the section is what people forget. */
        bool is_tail = name_len > len && names[i][name_len - len - 1] == '.' && vt_has_suffix(names[i], word);
        size_t distance = is_tail ? 1 : edit_distance(word, names[i]);
        if (distance < best && (is_tail || distance <= allowed)) {
            best = distance;
            nearest = names[i];
        }
    }
    return nearest;
}

bool vt_has_prefix(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool vt_has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}
