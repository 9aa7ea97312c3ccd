/* A hash table over one growing text. */
#include "data/names.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/machine.h"

static uint64_t hash_of(const vt_names *names, const char *s, size_t n)
{
    uint64_t h = names->salt;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (unsigned char)s[i]) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 29;
    }
    return h ^ h >> 32;
}

/* The place of a text, or the free one where it belongs. */
static uint32_t place_of(const vt_names *names, const char *s, size_t n)
{
    uint32_t place = (uint32_t)hash_of(names, s, n) & (names->places - 1);
    for (;; place = (place + 1) & (names->places - 1)) {
        int32_t i = names->table[place];
        if (i < 0)
            return place;
        const char *other = vt_names_get(names, i);
        if (strncmp(other, s, n) == 0 && other[n] == '\0')
            return place;
    }
}

static void grow(vt_names *names)
{
    if (!names->places)
        names->salt = (uint64_t)vt_now_ns() * 0xd1342543de82ef95ull ^ (uint64_t)(uintptr_t)names;
    free(names->table);
    names->places = names->places ? names->places * 2 : 64;
    names->table = vt_xmalloc(names->places * sizeof *names->table);
    memset(names->table, 0xff, names->places * sizeof *names->table);
    for (int32_t i = 0; i < names->n; i++) {
        const char *s = vt_names_get(names, i);
        names->table[place_of(names, s, strlen(s))] = i;
    }
}

int32_t vt_names_add(vt_names *names, const char *s, size_t n)
{
    assert(!memchr(s, '\0', n));
    if ((uint32_t)names->n * 2 >= names->places)
        grow(names);
    int32_t *place = &names->table[place_of(names, s, n)];
    if (*place >= 0)
        return *place;
    if (names->n == names->capacity) {
        names->capacity = names->capacity ? names->capacity * 2 : 64;
        names->at = vt_xrealloc(names->at, (size_t)names->capacity * sizeof *names->at);
    }
    *place = names->n;
    names->at[names->n] = names->text.len;
    vt_text_addn(&names->text, s, n);
    vt_text_addn(&names->text, "", 1);
    return names->n++;
}

const char *vt_names_get(const vt_names *names, int32_t i)
{
    return names->text.s + names->at[i];
}

typedef struct {
    const char *name;
    int32_t i;
} entry;

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

int32_t *vt_names_sorted(const vt_names *names)
{
    entry *entries = vt_xmalloc(((size_t)names->n + 1) * sizeof *entries);
    int32_t *sorted = vt_xmalloc(((size_t)names->n + 1) * sizeof *sorted);
    for (int32_t i = 0; i < names->n; i++)
        entries[i] = (entry){vt_names_get(names, i), i};
    qsort(entries, (size_t)names->n, sizeof *entries, compare_entries);
    for (int32_t i = 0; i < names->n; i++)
        sorted[i] = entries[i].i;
    free(entries);
    return sorted;
}

void vt_names_release(vt_names *names)
{
    vt_text_release(&names->text);
    free(names->at);
    free(names->table);
    *names = (vt_names){0};
}
