/* Learning-rate schedules (spec 4): s(t) with peak 1, one row a kind. */
#ifndef VT_OPTIM_SCHEDULE_H
#define VT_OPTIM_SCHEDULE_H

#include <stdint.h>

#include "base/status.h"

typedef struct {
    int kind;                 /* row of vt_schedule_kinds */
    int64_t steps;            /* T: the last update is t = T-1 */
    int64_t warmup, cooldown; /* steps */
    int cooldown_kind;        /* row of vt_cooldown_kinds */
    double timescale, shift;  /* steps, of rsqrt; a shift continues the curve of a run with another batch size */
    double power;             /* of polynomial */
    double end;               /* where linear and polynomial arrive at t = T */
} vt_schedule;

typedef struct {
    const char *name, *help;
    double (*at)(const vt_schedule *s, int64_t t); /* without warm-up and cooldown */
} vt_schedule_kind;

extern const vt_schedule_kind vt_schedule_kinds[];
extern const char *const vt_schedule_names[]; /* for the recipe's table, NULL-terminated */

typedef struct {
    const char *name, *help;
    double (*at)(double left); /* what the curve is multiplied by while this share of the cooldown, 1 .. 0, is left */
} vt_cooldown_kind;

extern const vt_cooldown_kind vt_cooldown_kinds[];
extern const char *const vt_cooldown_names[];

/* warmup + cooldown <= steps; what the kind uses in its range. Messages name schedule.* keys. */
vt_status vt_schedule_check(const vt_schedule *s, vt_err *err) VT_MUST_USE;
/* s(t) = kind(t) * min(1, t/warmup) * cooldown_kind(t), 0 <= t <= steps; a ramp of 0 steps is 1. */
double vt_schedule_at(const vt_schedule *s, int64_t t);

#endif
