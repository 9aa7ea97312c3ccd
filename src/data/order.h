/* The order in which training draws samples: for every position of a run one sample, computed from seed and position
 * alone. Inside data/ only; the contract is vt_source_order in source.h. */
#ifndef VT_DATA_ORDER_H
#define VT_DATA_ORDER_H

#include <stdint.h>

#include "base/status.h"
#include "data/part.h"

/* Samples that are drawn from together: all of a source, or one of its parts where parts have weights. */
typedef struct {
    int64_t first, count; /* samples of the source */
    int64_t classes;      /* balanced: classes that have samples here; else 0 */
    int64_t *ends;        /* of each class's stretch of members */
    uint32_t *members;    /* counted from first, class by class */
} vt_draw_pool;

typedef struct {
    vt_draw_pool *pools;
    int n_pools;
    int64_t *turns; /* of each pool in a cycle; NULL: one pool */
    int64_t cycle;
} vt_order;

/* Natural order. Weights: each part is a pool. Fails only where parts cannot be mixed so. */
vt_status vt_order_set(vt_order *o, const vt_part *parts, int n_parts, vt_err *err) VT_MUST_USE;
/* Every pool takes its classes in turns from now on. */
vt_status vt_order_balance(vt_order *o, const vt_part *parts, int n_parts, int64_t classes, vt_err *err) VT_MUST_USE;
size_t vt_order_bytes(const vt_order *o);
void vt_order_release(vt_order *o);

int64_t vt_order_draw(const vt_order *o, uint32_t seed, int64_t position);

#endif
