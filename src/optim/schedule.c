/* Learning-rate schedules (spec 4): the curve of a kind times the two ramps that every kind has, up from 0 at t = 0 and
 * down to 0 at t = T. In double; big_vision's float32 values agree to 1e-6. */
#include "optim/schedule.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>

/* 1 until the warm-up ends, then falling as 1/sqrt: half its peak 3 timescales later. Never ends by itself. */
static double rsqrt_at(const vt_schedule *s, int64_t t)
{
    double after = t > s->warmup ? (double)(t - s->warmup) : 0.0;
    return 1.0 / sqrt(1.0 + after / s->timescale);
}

const vt_schedule_kind vt_schedule_kinds[] = {
    {"rsqrt", "1 / sqrt(1 + (t - warmup) / timescale)", rsqrt_at},
};
const char *const vt_schedule_names[] = {"rsqrt", NULL};

vt_status vt_schedule_check(const vt_schedule *s, vt_err *err)
{
    if (s->kind < 0 || (size_t)s->kind >= VT_COUNT_OF(vt_schedule_kinds))
        return vt_fail(err, VT_EINVAL, "schedule.name: there is no schedule %d", s->kind);
    if (s->steps < 1)
        return vt_fail(err, VT_EINVAL, "schedule.length is %lld steps; a training has at least one step",
                       (long long)s->steps);
    if (s->warmup < 0 || s->cooldown < 0 || s->warmup > s->steps || s->cooldown > s->steps - s->warmup)
        return vt_fail(err, VT_EINVAL,
                       "schedule.warmup (%lld steps) and schedule.cooldown (%lld steps) must fit into the %lld steps "
                       "of the training",
                       (long long)s->warmup, (long long)s->cooldown, (long long)s->steps);
    if (!(s->timescale > 0.0) || !isfinite(s->timescale))
        return vt_fail(err, VT_EINVAL, "schedule.timescale is %g steps; it must be above 0", s->timescale);
    return VT_OK;
}

static double ramp(int64_t done, int64_t length)
{
    return done < length ? (double)done / (double)length : 1.0;
}

double vt_schedule_at(const vt_schedule *s, int64_t t)
{
    assert(t >= 0 && t <= s->steps);
    return vt_schedule_kinds[s->kind].at(s, t) * ramp(t, s->warmup) * ramp(s->steps - t, s->cooldown);
}
