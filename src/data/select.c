/* The keyed order of a collection, and the stretch of it that split= and limit= ask for. */
#include "data/select.h"

#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "data/label_sets.h"
#include "data/twins.h"

/* Fixed, so that a split means the same samples for ever. */
#define MEMBER_KEY 0x53504c54u /* order within a class */
#define TURN_KEY   0x5455524eu /* order among classes that tie */
#define MAX_CHOICE (1LL << 28) /* samples: 24 bytes each while choosing */

typedef struct {
    uint64_t place; /* (2j + 1) / 2n, scaled by 2^32 */
    uint64_t turn;
    uint32_t sample;
} entry;

static int compare_entries(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    if (x->turn != y->turn)
        return x->turn < y->turn ? -1 : 1;
    return x->sample < y->sample ? -1 : x->sample > y->sample;
}

static int compare_samples(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The class that a sample is chosen by: its first; samples without any are one class more. */
static int64_t class_at(const vt_collection_kind *kind, const vt_collection *c, int64_t i)
{
    int64_t label = vt_label_sets_first(kind, c, i);
    return label >= 0 ? label : c->classes;
}

/* members: twice as many zeros as there are classes. */
static void place_entries(const vt_collection_kind *kind, const vt_collection *c, int64_t classes, int64_t *members,
                          entry *entries)
{
    int64_t *seen = members + classes;
    for (int64_t i = 0; i < c->count; i++)
        members[class_at(kind, c, i)]++;
    for (int64_t i = 0; i < c->count; i++) {
        uint64_t label = (uint64_t)class_at(kind, c, i), n = (uint64_t)members[label];
        uint64_t j = vt_permute(MEMBER_KEY, label, n, (uint64_t)seen[label]++);
        entries[i].place = ((2 * j + 1) << 31) / n;
        entries[i].turn = vt_permute(TURN_KEY, j, (uint64_t)classes, label);
        entries[i].sample = (uint32_t)i;
    }
}

/* Moves every sample directly behind the first of its twins, in an order that is sorted already. rank: room for count.
 */
static void gather_twins(entry *entries, int64_t count, const uint32_t *first, uint32_t *rank)
{
    memset(rank, 0xff, (size_t)count * sizeof *rank);
    for (int64_t i = 0; i < count; i++) {
        uint32_t group = first[entries[i].sample];
        if (rank[group] == UINT32_MAX)
            rank[group] = (uint32_t)i;
        entries[i].place = rank[group];
        entries[i].turn = (uint64_t)i;
    }
    qsort(entries, (size_t)count, sizeof *entries, compare_entries);
}

/* Where a cut before place `at` falls: behind the twins of what stands in front of it. */
static int64_t cut(const entry *entries, int64_t count, const uint32_t *first, int64_t at)
{
    while (first && at > 0 && at < count && first[entries[at].sample] == first[entries[at - 1].sample])
        at++;
    return at;
}

static vt_status order_all(const vt_collection_kind *kind, const vt_collection *c, const uint32_t *twins,
                           entry *entries, vt_err *err)
{
    int64_t classes = c->classes + (c->labels.rows != NULL), *members = calloc((size_t)classes * 2, sizeof *members);
    uint32_t *rank = twins ? malloc((size_t)c->count * sizeof *rank) : NULL;
    bool room = members && (rank || !twins);
    if (room) {
        place_entries(kind, c, classes, members, entries);
        qsort(entries, (size_t)c->count, sizeof *entries, compare_entries);
    }
    if (room && twins)
        gather_twins(entries, c->count, twins, rank);
    free(members);
    free(rank);
    return room ? VT_OK : vt_fail(err, VT_ENOMEM, "no memory to choose among %lld samples", (long long)c->count);
}

/* The samples at places first .. last-1 of the order, in rising order. */
static vt_status take(const entry *entries, int64_t first, int64_t last, int64_t limit, uint32_t **chosen, int64_t *n,
                      vt_err *err)
{
    if (first >= last)
        return vt_fail(err, VT_EINVAL, "the split holds none of the samples (those with the same bytes stay together)");
    if (limit > last - first)
        return vt_fail(err, VT_EINVAL, "option limit is %lld, but there are only %lld samples", (long long)limit,
                       (long long)(last - first));
    *n = limit > 0 ? limit : last - first;
    *chosen = malloc((size_t)*n * sizeof **chosen);
    if (!*chosen)
        return vt_fail(err, VT_ENOMEM, "no memory to choose %lld samples", (long long)*n);
    for (int64_t i = 0; i < *n; i++)
        (*chosen)[i] = entries[first + i].sample;
    qsort(*chosen, (size_t)*n, sizeof **chosen, compare_samples);
    return VT_OK;
}

vt_status vt_select(const vt_collection_kind *kind, const vt_collection *c, int64_t from, int64_t to, int64_t limit,
                    uint32_t **chosen, int64_t *n, vt_err *err)
{
    if (c->count > MAX_CHOICE)
        return vt_fail(err, VT_EUNSUPPORTED, "split and limit choose among at most %lld samples; these are %lld",
                       (long long)MAX_CHOICE, (long long)c->count);
    int64_t first = c->count * from / VT_SHARE_ALL, last = c->count * to / VT_SHARE_ALL;
    if (first >= last)
        return vt_fail(err, VT_EINVAL, "the split holds none of the %lld samples", (long long)c->count);
    uint32_t *twins = NULL;
    if (from > 0 || to < VT_SHARE_ALL)
        VT_TRY(vt_twins_find(kind, c, &twins, err));
    entry *entries = malloc((size_t)c->count * sizeof *entries);
    vt_status status = entries ? order_all(kind, c, twins, entries, err)
                               : vt_fail(err, VT_ENOMEM, "no memory to choose among %lld samples", (long long)c->count);
    if (status == VT_OK)
        status = take(entries, cut(entries, c->count, twins, first), cut(entries, c->count, twins, last), limit, chosen,
                      n, err);
    free(entries);
    free(twins);
    return status;
}
