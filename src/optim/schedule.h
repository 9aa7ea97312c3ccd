/* Learning-rate schedules (spec 4): s(t) with peak 1, one row a kind. */
#ifndef VT_OPTIM_SCHEDULE_H
#define VT_OPTIM_SCHEDULE_H

#include <stdint.h>

#include "base/status.h"

typedef struct {
    int kind;                 /* row of vt_schedule_kinds */
    int64_t steps;            /* T: the last update is t = T-1 */
    int64_t warmup, cooldown; /* steps */
    double timescale;         /* steps, of rsqrt */
} vt_schedule;

typedef struct {
    const char *name, *help;
    double (*at)(const vt_schedule *s, int64_t t); /* without warm-up and cooldown */
} vt_schedule_kind;

extern const vt_schedule_kind vt_schedule_kinds[];
extern const char *const vt_schedule_names[]; /* for the recipe's table, NULL-terminated */

/* warmup + cooldown <= steps, timescale > 0; messages name schedule.* keys. */
vt_status vt_schedule_check(const vt_schedule *s, vt_err *err) VT_MUST_USE;
/* s(t) = kind(t) * min(1, t/warmup) * min(1, (T-t)/cooldown), 0 <= t <= steps; a ramp of 0 steps is 1. */
double vt_schedule_at(const vt_schedule *s, int64_t t);

#endif
