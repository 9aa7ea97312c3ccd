/* What the files of the optimizer share. */
#ifndef VT_OPTIM_OPTIMIZER_INTERNAL_H
#define VT_OPTIM_OPTIMIZER_INTERNAL_H

#include "optim/optimizer.h"

/* A parameter's pieces in o->state, -1 where it has none, and its decay. */
struct vt_optimizer_row {
    int first;                  /* momentum */
    int second;                 /* for each element */
    int row_moment, col_moment; /* or factored */
    int average;
    double decay; /* times lr and schedule */
};

/* What one update is the same for in all tensors. */
struct vt_update {
    const vt_backend *backend;
    int64_t t;
    double rate; /* s(t) * lr */
    float grad_scale;
    bool watch;
};

/* Adds a piece named after the parameter, "NAME.what"; its index. */
int vt_optimizer_add_state(vt_optimizer *o, int param, const char *what, vt_real type, int n_dims, const int64_t *dims);

/* How the first moment is stored. */
vt_real vt_optimizer_moment_type(const vt_optimizer *o);

/* The part of an average that stays in update t. */
double vt_average_kept(const vt_optimizer_config *c, int64_t t);
/* Takes the values after update t into the averages. */
void vt_average_update(vt_optimizer *o, const vt_backend *be, int64_t t);

#endif
