/* Which runs to make next: those that shrink the interval at a target most for what they cost. A run at C adds g g' to
 * the information of a fit (g: the gradient of ln E by the parameters); the interval at the target follows without
 * making the run. Both forms that level off are asked, and the mean of their variances is shrunk. */
#ifndef VT_LAW_NEXT_H
#define VT_LAW_NEXT_H

#include "law/law.h"

#define VT_NEXT_MAX 16

typedef struct {
    double x, expected; /* what it costs, and the error expected */
    double se;          /* of ln E at the target, once this run and those before it are made */
} vt_next_run;

typedef struct {
    double target, se_now; /* standard error of ln E of the curve at the target */
    vt_next_run runs[VT_NEXT_MAX];
    size_t n;
    double spent;
} vt_next;

/* Runs of at most x_max each and budget together (both in units of x), most useful first. */
vt_status vt_next_runs(vt_next *next, const vt_law *law, double target, double budget, double x_max,
                       vt_err *err) VT_MUST_USE;

#endif
