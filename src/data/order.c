/* The order of a run. A pool without classes is drawn by vt_permute over its samples, epoch after epoch of its own.
 *
 * Weights: positions come in cycles, as long as the sum of the weights (whole numbers without a common divisor); in
 * each cycle every pool has exactly as many turns as its weight, in an order keyed by the cycle. How many draws a pool
 * had before a position is then a product, and any position can be computed at once. Classes of a balanced pool take
 * turns in the same way, once each in a cycle, and each class has epochs of its own.
 *
 * Every permutation has an address of its own: pool, class, and how often it was used up. */
#include "data/order.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/philox.h"
#include "base/text.h"

#define MAX_MEMBERS (1LL << 31)

/* The high bits of a permutation's address: pools are numbered from 1 where there are several, classes from 1; 0 is the
 * one pool and all classes. */
#define POOL_BIT  57
#define CLASS_BIT 36
#define ALL_POOLS 127ull
#define ALL_CLASS ((1ull << (POOL_BIT - CLASS_BIT)) - 1)

static_assert(VT_MAX_PARTS < ALL_POOLS && VT_MAX_CLASSES + 1 < ALL_CLASS, "addresses must not meet");

static uint64_t address(uint64_t pool, uint64_t class, uint64_t round)
{
    return pool << POOL_BIT | class << CLASS_BIT | round;
}

static int64_t draw_balanced(const vt_draw_pool *q, uint32_t seed, uint64_t pool, uint64_t k)
{
    uint64_t n = (uint64_t)q->classes, round = k / n;
    uint64_t class = vt_permute(seed, address(pool, ALL_CLASS, round), n, k % n);
    uint64_t first = class > 0 ? (uint64_t)q->ends[class - 1] : 0, members = (uint64_t)q->ends[class] - first;
    return q->members[first + vt_permute(seed, address(pool, class + 1, round / members), members, round % members)];
}

/* The k-th draw from a pool, as the pool counts. */
static int64_t draw(const vt_draw_pool *q, uint32_t seed, uint64_t pool, uint64_t k)
{
    uint64_t n = (uint64_t)q->count;
    return q->classes > 0 ? draw_balanced(q, seed, pool, k)
                          : (int64_t)vt_permute(seed, address(pool, 0, k / n), n, k % n);
}

int64_t vt_order_draw(const vt_order *o, uint32_t seed, int64_t position)
{
    if (!o->turns)
        return o->pools[0].first + draw(&o->pools[0], seed, 0, (uint64_t)position);
    uint64_t n = (uint64_t)o->cycle, round = (uint64_t)position / n;
    int64_t turn = (int64_t)vt_permute(seed, address(ALL_POOLS, 0, round), n, (uint64_t)position % n);
    int i = 0;
    while (turn >= o->turns[i])
        turn -= o->turns[i++];
    uint64_t k = round * (uint64_t)o->turns[i] + (uint64_t)turn;
    return o->pools[i].first + draw(&o->pools[i], seed, (uint64_t)i + 1, k);
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

vt_status vt_order_set(vt_order *o, const vt_part *parts, int n_parts, vt_err *err)
{
    int weighted = 0;
    for (int i = 0; i < n_parts; i++)
        weighted += parts[i].weight > 0;
    if (weighted > 0 && weighted < n_parts)
        return vt_fail(err, VT_EINVAL,
                       "%d of %d joined sources have the option weight; give it to all of them, or none", weighted,
                       n_parts);
    bool pools = weighted > 1;
    o->n_pools = pools ? n_parts : 1;
    o->pools = vt_xcalloc((size_t)o->n_pools, sizeof *o->pools);
    for (int i = 0; i < n_parts; i++) {
        vt_draw_pool *q = &o->pools[pools ? i : 0];
        if (n_parts > 1 && !pools && parts[i].all.endless)
            return vt_fail(err, VT_EINVAL,
                           "'%.200s' has no end, so none of what is joined to it would come; give all "
                           "of them the option weight, or this one count=N",
                           parts[i].spec.text);
        if (pools || i == 0)
            q->first = parts[i].first;
        q->count += parts[i].count;
    }
    if (!pools)
        return VT_OK;
    int64_t divisor = 0;
    for (int i = 0; i < n_parts; i++)
        divisor = common_divisor(parts[i].weight, divisor);
    o->turns = vt_xcalloc((size_t)n_parts, sizeof *o->turns);
    for (int i = 0; i < n_parts; i++) {
        o->turns[i] = parts[i].weight / divisor;
        o->cycle += o->turns[i];
    }
    return VT_OK;
}

/* Sorts a pool's samples by class: counts, then places. of: the class of each, counts: zeros, one more than classes. */
static void group_members(vt_draw_pool *q, const int32_t *of, int64_t *counts, int64_t classes)
{
    for (int64_t i = 0; i < q->count; i++)
        counts[of[i]]++;
    int64_t end = 0;
    for (int64_t c = 0; c <= classes; c++) {
        int64_t n = counts[c];
        counts[c] = end; /* where its next member goes */
        end += n;
        if (n > 0)
            q->ends[q->classes++] = end;
    }
    for (int64_t i = 0; i < q->count; i++)
        q->members[counts[of[i]]++] = (uint32_t)i;
}

static vt_status balance_pool(vt_draw_pool *q, const vt_part *parts, int n_parts, int64_t classes, vt_err *err)
{
    if (q->count > MAX_MEMBERS)
        return vt_fail(err, VT_EUNSUPPORTED, "these are %lld samples; classes can be balanced among at most %lld",
                       (long long)q->count, MAX_MEMBERS);
    int32_t *of = malloc((size_t)q->count * sizeof *of);
    int64_t *counts = calloc((size_t)classes + 1, sizeof *counts);
    q->members = malloc((size_t)q->count * sizeof *q->members);
    q->ends = malloc(((size_t)classes + 1) * sizeof *q->ends);
    bool room = of && counts && q->members && q->ends;
    for (int k = 0; room && k < n_parts; k++) {
        const vt_part *p = &parts[k];
        for (int64_t i = 0; p->first >= q->first && p->first + p->count <= q->first + q->count && i < p->count; i++) {
            int64_t label = vt_part_label(p, i);
            of[p->first - q->first + i] = (int32_t)(label >= 0 ? label : classes);
        }
    }
    if (room)
        group_members(q, of, counts, classes);
    free(of);
    free(counts);
    return room ? VT_OK : vt_fail(err, VT_ENOMEM, "no memory to list %lld samples by class", (long long)q->count);
}

vt_status vt_order_balance(vt_order *o, const vt_part *parts, int n_parts, int64_t classes, vt_err *err)
{
    for (int i = 0; i < o->n_pools; i++) {
        assert(o->pools[i].classes == 0);
        VT_TRY(balance_pool(&o->pools[i], parts, n_parts, classes, err));
    }
    return VT_OK;
}

size_t vt_order_bytes(const vt_order *o)
{
    size_t bytes = (size_t)o->n_pools * (sizeof *o->pools + (o->turns ? sizeof *o->turns : 0));
    for (int i = 0; i < o->n_pools; i++) {
        const vt_draw_pool *q = &o->pools[i];
        if (q->classes > 0)
            bytes += (size_t)q->count * sizeof *q->members + (size_t)q->classes * sizeof *q->ends;
    }
    return bytes;
}

void vt_order_release(vt_order *o)
{
    for (int i = 0; o->pools && i < o->n_pools; i++) {
        free(o->pools[i].ends);
        free(o->pools[i].members);
    }
    free(o->pools);
    free(o->turns);
    *o = (vt_order){0};
}
