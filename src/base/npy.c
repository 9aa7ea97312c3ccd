/* The dictionary is read by hand, by what numpy.lib.format writes and may write: three keys in any order, either kind
 * of quote, spaces anywhere between words. */
#include "base/npy.h"

#include <assert.h>
#include <string.h>

static const char magic[6] = {(char)0x93, 'N', 'U', 'M', 'P', 'Y'};

#define ALIGN 64
#define PLAIN 10 /* bytes before the dictionary in version 1.0 */

int64_t vt_npy_count(const vt_npy *array)
{
    int64_t n = 1;
    for (int i = 0; i < array->rank; i++)
        n *= array->shape[i];
    return n;
}

size_t vt_npy_item_bytes(const vt_npy *array)
{
    const char *d = array->descr;
    bool number = strlen(d) == 3 && strchr("<>=|", d[0]) && strchr("fiub", d[1]) && strchr("1248", d[2]);
    return number ? (size_t)(d[2] - '0') : 0;
}

void vt_npy_write_header(const vt_npy *array, vt_text *out)
{
    vt_text dict = {0};
    assert(array->rank >= 0 && array->rank <= VT_NPY_RANK && out->len == 0);
    vt_text_addf(&dict, "{'descr': '%s', 'fortran_order': %s, 'shape': (", array->descr,
                 array->fortran ? "True" : "False");
    for (int i = 0; i < array->rank; i++)
        vt_text_addf(&dict, i > 0 ? ", %lld" : "%lld", (long long)array->shape[i]);
    vt_text_add(&dict, array->rank == 1 ? ",), }" : "), }");
    while ((PLAIN + dict.len + 1) % ALIGN != 0)
        vt_text_add(&dict, " ");
    vt_text_add(&dict, "\n");
    const char version_and_length[4] = {1, 0, (char)(dict.len & 0xFF), (char)(dict.len >> 8)};
    vt_text_addn(out, magic, sizeof magic);
    vt_text_addn(out, version_and_length, sizeof version_and_length);
    vt_text_addn(out, dict.s, dict.len);
    vt_text_release(&dict);
}

/* What is left to read of the dictionary. */
typedef struct {
    const char *p, *end;
} cursor;

static void skip_space(cursor *c)
{
    while (c->p < c->end && strchr(" \t\n", *c->p) && *c->p)
        c->p++;
}

static bool take(cursor *c, const char *word)
{
    size_t n = strlen(word);
    skip_space(c);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, word, n) != 0)
        return false;
    c->p += n;
    return true;
}

/* A quoted word of fewer than `size` bytes. */
static bool take_quoted(cursor *c, char *word, size_t size)
{
    size_t n = 0;
    skip_space(c);
    char quote = c->p < c->end ? *c->p : '\0';
    if (quote != '\'' && quote != '"')
        return false;
    for (c->p++; c->p < c->end && *c->p != quote; c->p++) {
        if (n + 1 >= size)
            return false;
        word[n++] = *c->p;
    }
    word[n] = '\0';
    return c->p++ < c->end;
}

static bool take_side(cursor *c, int64_t *side)
{
    skip_space(c);
    const char *first = c->p;
    *side = 0;
    for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
        if (*side > (INT64_C(1) << 62) / 10 - 1)
            return false;
        *side = *side * 10 + (*c->p - '0');
    }
    (void)take(c, "L"); /* of Python 2 */
    return c->p > first;
}

static bool take_shape(cursor *c, vt_npy *a)
{
    int64_t product = 1;
    if (!take(c, "("))
        return false;
    for (a->rank = 0; !take(c, ")");) {
        if (a->rank == VT_NPY_RANK || !take_side(c, &a->shape[a->rank]))
            return false;
        int64_t side = a->shape[a->rank++];
        if (side > 0 && product > (INT64_C(1) << 62) / side)
            return false;
        product *= side > 0 ? side : 1;
        if (!take(c, ",")) {
            if (!take(c, ")"))
                return false;
            break;
        }
    }
    return true;
}

static bool take_value(cursor *c, const char *key, vt_npy *a, int *seen)
{
    if (strcmp(key, "descr") == 0) {
        *seen |= 1;
        return take_quoted(c, a->descr, sizeof a->descr);
    }
    if (strcmp(key, "shape") == 0) {
        *seen |= 2;
        return take_shape(c, a);
    }
    if (strcmp(key, "fortran_order") == 0) {
        *seen |= 4;
        a->fortran = take(c, "True");
        return a->fortran || take(c, "False");
    }
    return false;
}

static bool take_dictionary(cursor *c, vt_npy *a)
{
    int seen = 0;
    char key[16];
    if (!take(c, "{"))
        return false;
    while (!take(c, "}"))
        if (!take_quoted(c, key, sizeof key) || !take(c, ":") || !take_value(c, key, a, &seen) ||
            (!take(c, ",") && !(c->p < c->end && *c->p == '}')))
            return false;
    return seen == 7;
}

vt_status vt_npy_read_header(vt_npy *array, const void *data, size_t size, const char *place, size_t *offset,
                             vt_err *err)
{
    const unsigned char *d = data;
    *array = (vt_npy){0};
    if (size < PLAIN + 2 || memcmp(d, magic, sizeof magic) != 0)
        return vt_fail(err, VT_EFORMAT, "%s is no .npy file: it does not begin with \\x93NUMPY", place);
    if (d[6] < 1 || d[6] > 3)
        return vt_fail(err, VT_EUNSUPPORTED, "%s is of version %d.%d of .npy; 1.0 to 3.0 can be read", place, d[6],
                       d[7]);
    size_t begin = d[6] == 1 ? PLAIN : PLAIN + 2, length = d[8] | (size_t)d[9] << 8;
    if (d[6] > 1)
        length |= (size_t)d[10] << 16 | (size_t)d[11] << 24;
    if (length > size - begin)
        return vt_fail(err, VT_EFORMAT, "%s: its .npy header says %zu bytes; %zu are there", place, length,
                       size - begin);
    cursor c = {(const char *)d + begin, (const char *)d + begin + length};
    if (!take_dictionary(&c, array))
        return vt_fail(err, VT_EFORMAT,
                       "%s: its .npy header is not {'descr': TYPE, 'fortran_order': True or False, 'shape': (N, ...)} "
                       "with at most %d sides",
                       place, VT_NPY_RANK);
    *offset = begin + length;
    return VT_OK;
}
