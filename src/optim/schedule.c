/* Learning-rate schedules (spec 4): the curve of a kind times the two ramps that every kind has, up from 0 at t = 0 and
 * down to 0 at t = T. In double; big_vision's float32 values agree to 1e-6. */
#include "optim/schedule.h"

#include <assert.h>
#include <math.h>
#include <stddef.h>

#include "base/math.h"

static const double pi = 3.14159265358979323846;

/* The share of the curve between warm-up and end that lies behind t. */
static double progress(const vt_schedule *s, int64_t t)
{
    return t <= s->warmup ? 0.0 : (double)(t - s->warmup) / (double)(s->steps - s->warmup);
}

/* 1 (or less by the shift) until the warm-up ends, then falling as 1/sqrt: half its peak 3 timescales later. Never ends
 * by itself. */
static double rsqrt_at(const vt_schedule *s, int64_t t)
{
    double after = (t > s->warmup ? (double)(t - s->warmup) : 0.0) + s->shift;
    return 1.0 / sqrt(1.0 + after / s->timescale);
}

static double linear_at(const vt_schedule *s, int64_t t)
{
    return s->end + (1.0 - s->end) * (1.0 - progress(s, t));
}

static double cosine_at(const vt_schedule *s, int64_t t)
{
    return 0.5 * (1.0 + vt_cos(pi * progress(s, t)));
}

static double constant_at(const vt_schedule *s, int64_t t)
{
    (void)s;
    (void)t;
    return 1.0;
}

static double polynomial_at(const vt_schedule *s, int64_t t)
{
    return s->end + (1.0 - s->end) * vt_pow(1.0 - progress(s, t), s->power);
}

const vt_schedule_kind vt_schedule_kinds[] = {
    {"rsqrt", "1 / sqrt(1 + (t + shift - warmup) / timescale)", rsqrt_at},
    {"linear", "from 1 to end, in a straight line after the warm-up", linear_at},
    {"cosine", "(1 + cos(pi p)) / 2, p from 0 to 1 after the warm-up", cosine_at},
    {"constant", "1", constant_at},
    {"polynomial", "end + (1 - end) (1 - p)^power, p from 0 to 1 after the warm-up", polynomial_at},
};
const char *const vt_schedule_names[] = {"rsqrt", "linear", "cosine", "constant", "polynomial", NULL};

static double linear_cooldown(double left)
{
    return left;
}

static double sqrt_cooldown(double left)
{
    return 1.0 - sqrt(1.0 - left);
}

const vt_cooldown_kind vt_cooldown_kinds[] = {
    {"linear", "in a straight line to 0", linear_cooldown},
    {"1-sqrt", "1 - sqrt(p), p from 0 to 1: steep at first", sqrt_cooldown},
};
const char *const vt_cooldown_names[] = {"linear", "1-sqrt", NULL};

static vt_status check_between(const char *key, double value, double min, double max, vt_err *err)
{
    if (!(value >= min && value <= max))
        return vt_fail(err, VT_EINVAL, "schedule.%s is %g; it must be between %g and %g", key, value, min, max);
    return VT_OK;
}

vt_status vt_schedule_check(const vt_schedule *s, vt_err *err)
{
    if (s->kind < 0 || (size_t)s->kind >= VT_COUNT_OF(vt_schedule_kinds))
        return vt_fail(err, VT_EINVAL, "schedule.name: there is no schedule %d", s->kind);
    if (s->cooldown_kind < 0 || (size_t)s->cooldown_kind >= VT_COUNT_OF(vt_cooldown_kinds))
        return vt_fail(err, VT_EINVAL, "schedule.cooldown_shape: there is no cooldown %d", s->cooldown_kind);
    if (s->steps < 1)
        return vt_fail(err, VT_EINVAL, "schedule.length is %lld steps; a training has at least one step",
                       (long long)s->steps);
    if (s->warmup < 0 || s->cooldown < 0 || s->warmup > s->steps || s->cooldown > s->steps - s->warmup)
        return vt_fail(err, VT_EINVAL,
                       "schedule.warmup (%lld steps) and schedule.cooldown (%lld steps) must fit into the %lld steps "
                       "of the training",
                       (long long)s->warmup, (long long)s->cooldown, (long long)s->steps);
    double (*at)(const vt_schedule *, int64_t) = vt_schedule_kinds[s->kind].at;
    if (at == rsqrt_at && (!(s->timescale > 0.0) || !isfinite(s->timescale)))
        return vt_fail(err, VT_EINVAL, "schedule.timescale is %g steps; it must be above 0", s->timescale);
    if (at == rsqrt_at)
        VT_TRY(check_between("shift", s->shift, 0.0, 1e18, err));
    if (at == linear_at || at == polynomial_at)
        VT_TRY(check_between("end", s->end, 0.0, 1.0, err));
    if (at == polynomial_at)
        VT_TRY(check_between("power", s->power, 0.01, 100.0, err));
    return VT_OK;
}

/* 1 before the cooldown and without one. */
static double cooldown_at(const vt_schedule *s, int64_t t)
{
    int64_t left = s->steps - t;
    if (left >= s->cooldown)
        return 1.0;
    return vt_cooldown_kinds[s->cooldown_kind].at((double)left / (double)s->cooldown);
}

double vt_schedule_at(const vt_schedule *s, int64_t t)
{
    assert(t >= 0 && t <= s->steps);
    double rise = t < s->warmup ? (double)t / (double)s->warmup : 1.0;
    return vt_schedule_kinds[s->kind].at(s, t) * rise * cooldown_at(s, t);
}
