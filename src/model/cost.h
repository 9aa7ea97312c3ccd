/* What a model costs, by arithmetic alone: parameters by part, floating-point operations (spec 1.1, 1.2). */
#ifndef VT_MODEL_COST_H
#define VT_MODEL_COST_H

#include "model/model.h"

typedef struct {
    int64_t embed, positions, blocks,
        final_norm;         /* the body, as the paper counts it (spec 1.2); a sincos2d table too */
    int64_t body;           /* sum of the four */
    int64_t front;          /* class token and registers, if any */
    int64_t map_head;       /* map only */
    int64_t representation; /* the tanh layer, if any */
    int64_t classifier;
    int64_t total;
} vt_param_counts;

vt_param_counts vt_model_param_counts(const vt_model_config *c);

/* Forward operations of one image, a multiply-add counted as 2. */
typedef struct {
    double products; /* all matrix products of this model, class token, MAP head, representation and classifier
                        included: what speed is measured by */
    double paper; /* the paper's convention (spec 1.1): products and elementwise work of the body, GAP, a classifier of
                     29,593 classes */
} vt_flops;

vt_flops vt_model_flops(const vt_model_config *c);

#endif
