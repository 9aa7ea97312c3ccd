/* From a table's rows to points: columns and units are resolved first, then each row is kept or left out for the first
 * reason that holds, in the order of vt_left. */
#include "law/points.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/math.h"
#include "base/philox.h"
#include "base/text.h"

const char *const vt_y_unit_names[VT_N_Y_UNITS + 1] = {"error", "error%", "accuracy", "accuracy%", "loss", NULL};

const char *const vt_left_reasons[VT_N_LEFT] = {
    "could not be read",   "not asked for (--where)",        "the run did not finish",     "x or y is empty",
    "x or y is no number", "diverged: y is NaN or infinite", "x is not a positive number", "y is out of range",
    "the same row twice",  "averaged with other seeds",
};

/* Words in a column's name that tell its unit; matched between letters of other kinds, any case. */
static const struct {
    const char *word;
    vt_y_unit unit;
} y_words[] = {{"error%", VT_Y_ERROR_PERCENT},
               {"err%", VT_Y_ERROR_PERCENT},
               {"acc%", VT_Y_ACCURACY_PERCENT},
               {"accuracy%", VT_Y_ACCURACY_PERCENT},
               {"error", VT_Y_ERROR},
               {"err", VT_Y_ERROR},
               {"accuracy", VT_Y_ACCURACY},
               {"acc", VT_Y_ACCURACY},
               {"loss", VT_Y_LOSS},
               {"nll", VT_Y_LOSS}};

static const char *const x_words[] = {
    "flops",      "gflops",     "tflops",   "pflops",    "eflops",      "core_days",   "core_hours", "core-days",
    "core-hours", "gpu_hours",  "gpu_days", "gpu-hours", "h100_hours",  "images",      "images_m",   "samples",
    "steps",      "step",       "epochs",   "epoch",     "tokens",      "seconds",     "hours",      "params",
    "params_m",   "parameters", "gpu-days", "examples",  "images_seen", "core_seconds"};

/* Whether word stands in name with no letter or digit beside it. */
static bool holds_word(const char *name, const char *word)
{
    const size_t n = strlen(word);
    for (const char *p = name; *p; p++) {
        if (strncasecmp(p, word, n) != 0)
            continue;
        const char before = p == name ? ' ' : p[-1], after = p[n];
        const bool free_before = !((before >= 'a' && before <= 'z') || (before >= 'A' && before <= 'Z'));
        const bool free_after = !((after >= 'a' && after <= 'z') || (after >= 'A' && after <= 'Z') || after == '%');
        if (free_before && free_after)
            return true;
    }
    return false;
}

static vt_status resolve_y_unit(const vt_select *s, vt_y_unit *unit, vt_err *err)
{
    if (s->y_unit) {
        for (int i = 0; i < VT_N_Y_UNITS; i++)
            if (strcmp(s->y_unit, vt_y_unit_names[i]) == 0) {
                *unit = (vt_y_unit)i;
                return VT_OK;
            }
        return vt_fail(err, VT_EINVAL, "--y-unit is \"%.40s\"; expected error, error%%, accuracy, accuracy%% or loss",
                       s->y_unit);
    }
    for (size_t i = 0; i < VT_COUNT_OF(y_words); i++)
        if (holds_word(s->y, y_words[i].word)) {
            *unit = y_words[i].unit;
            return VT_OK;
        }
    return vt_fail(
        err, VT_EINVAL,
        "column \"%.60s\" does not say what it is; say --y-unit error, error%%, accuracy, accuracy%% or loss", s->y);
}

static vt_status resolve_x_unit(const vt_select *s, char unit[32], vt_err *err)
{
    const char *found = s->x_unit;
    for (size_t i = 0; i < VT_COUNT_OF(x_words) && !found; i++)
        if (strcasecmp(s->x, x_words[i]) == 0)
            found = x_words[i];
    for (size_t i = 0; i < VT_COUNT_OF(x_words) && !found; i++)
        if (holds_word(s->x, x_words[i]))
            found = x_words[i];
    if (!found)
        return vt_fail(err, VT_EINVAL,
                       "column \"%.60s\" does not say its unit; say --x-unit flops, core_days, images or another word",
                       s->x);
    if (strlen(found) >= 32 || !found[0])
        return vt_fail(err, VT_EINVAL, "--x-unit is \"%.40s\"; a word of 1 to 31 letters is expected", found);
    strcpy(unit, found);
    return VT_OK;
}

/* --- names of groups and models
 * --------------------------------------------------------------------------------------- */

typedef struct {
    char ***names;
    size_t *n;
    uint32_t *slots; /* open addressing; 1 + index */
    size_t n_slots;
} interner;

static size_t intern(interner *in, const char *name)
{
    if ((*in->n + 1) * 2 > in->n_slots) {
        in->n_slots = in->n_slots ? in->n_slots * 2 : 64;
        free(in->slots);
        in->slots = vt_xcalloc(in->n_slots, sizeof *in->slots);
        for (size_t i = 0; i < *in->n; i++) {
            size_t s = vt_fnv1a((*in->names)[i]) % in->n_slots;
            while (in->slots[s])
                s = (s + 1) % in->n_slots;
            in->slots[s] = (uint32_t)i + 1;
        }
        *in->names = vt_xrealloc(*in->names, in->n_slots * sizeof **in->names);
    }
    size_t slot = vt_fnv1a(name) % in->n_slots;
    for (; in->slots[slot]; slot = (slot + 1) % in->n_slots)
        if (strcmp((*in->names)[in->slots[slot] - 1], name) == 0)
            return in->slots[slot] - 1;
    (*in->names)[(*in->n)++] = vt_xstrdup(name);
    in->slots[slot] = (uint32_t)*in->n;
    return *in->n - 1;
}

typedef struct {
    size_t list[16], n;
} columns;

static vt_status parse_columns(const vt_table *t, const char *option, const char *text, columns *c, vt_err *err)
{
    char *copy = vt_xstrdup(text);
    vt_status status = VT_OK;
    for (char *p = copy, *next; *p && status == VT_OK; p = next) {
        next = p + strcspn(p, ",");
        if (*next)
            *next++ = '\0';
        if (c->n == VT_COUNT_OF(c->list))
            status = vt_fail(err, VT_EINVAL, "more than %zu columns", VT_COUNT_OF(c->list));
        else
            status = vt_table_find(t, p, &c->list[c->n++], err);
    }
    free(copy);
    return status == VT_OK ? VT_OK : vt_prefix(err, "--%s", option);
}

/* The cells of some columns, joined: "B/32 30M". */
static void join_cells(const vt_table *t, size_t row, const columns *c, vt_text *out)
{
    vt_text_clear(out);
    vt_text_add(out, "");
    for (size_t i = 0; i < c->n; i++)
        vt_text_addf(out, "%s%s", i ? " " : "", vt_table_cell(t, row, c->list[i]));
}

/* --- rows
 * ------------------------------------------------------------------------------------------------------------- */

typedef struct {
    const vt_table *t;
    vt_where *where;
    size_t x, y, state, seed;
    bool has_state;
    columns group, model;
} plan;

static bool is_unfinished(const char *state)
{
    static const char *const words[] = {"crashed", "failed", "killed", "diverged", "error", "nan", "oom", "stopped"};
    for (size_t i = 0; i < VT_COUNT_OF(words); i++)
        if (strcasecmp(state, words[i]) == 0)
            return true;
    return false;
}

static bool is_not_finite_word(const char *s)
{
    static const char *const words[] = {"nan", "inf", "infinity"};
    s += *s == '-' || *s == '+';
    for (size_t i = 0; i < VT_COUNT_OF(words); i++)
        if (strcasecmp(s, words[i]) == 0)
            return true;
    return false;
}

/* y as error or loss; false when it is out of its unit's range. */
static bool convert_y(vt_y_unit unit, double *y)
{
    static const double scale[VT_N_Y_UNITS] = {1, 0.01, 1, 0.01, 1};
    *y *= scale[unit];
    if (unit == VT_Y_ACCURACY || unit == VT_Y_ACCURACY_PERCENT)
        *y = 1 - *y;
    return *y > 0 && (unit == VT_Y_LOSS ? *y < 1e6 : *y < 1);
}

/* VT_N_LEFT: the row is a point. */
static vt_left judge_row(const plan *p, vt_y_unit unit, size_t row, vt_point *point)
{
    if (!vt_where_holds(p->where, p->t, row))
        return VT_LEFT_WHERE;
    if (p->has_state && is_unfinished(vt_table_cell(p->t, row, p->state)))
        return VT_LEFT_STATE;
    const char *x = vt_table_cell(p->t, row, p->x), *y = vt_table_cell(p->t, row, p->y);
    if (!x[0] || !y[0])
        return VT_LEFT_EMPTY;
    if (is_not_finite_word(y))
        return VT_LEFT_DIVERGED;
    if (is_not_finite_word(x))
        return VT_LEFT_X;
    *point = (vt_point){.row = row};
    if (vt_parse_f64(x, &point->x, NULL) != VT_OK || vt_parse_f64(y, &point->y, NULL) != VT_OK)
        return VT_LEFT_NO_NUMBER;
    if (!(point->x > 0 && point->x < 1e60 && point->x > 1e-60))
        return VT_LEFT_X;
    return convert_y(unit, &point->y) ? VT_N_LEFT : VT_LEFT_Y;
}

static void leave(vt_points *pts, vt_left why, size_t row)
{
    if (pts->left[why]++ == 0)
        pts->first[why] = row + 1;
}

static void select_rows(vt_points *pts, const plan *p)
{
    char **rows = NULL;
    size_t n_rows = 0, cap = 0;
    interner groups = {&pts->groups, &pts->n_groups, NULL, 0}, models = {&pts->models, &pts->n_models, NULL, 0};
    interner all = {&rows, &n_rows, NULL, 0};
    vt_text text = {0};
    for (size_t row = 0; row < p->t->n_rows; row++) {
        vt_point point;
        const vt_left why = judge_row(p, pts->y_unit, row, &point);
        if (why != VT_N_LEFT) {
            leave(pts, why, row);
            continue;
        }
        vt_text_clear(&text);
        for (size_t c = 0; c < p->t->n_columns; c++) {
            vt_text_add(&text, vt_table_cell(p->t, row, c));
            vt_text_addn(&text, "\x1f", 1);
        }
        const size_t before = n_rows;
        (void)intern(&all, text.s);
        if (n_rows == before) {
            leave(pts, VT_LEFT_DUPLICATE, row);
            continue;
        }
        join_cells(p->t, row, &p->group, &text);
        point.group = intern(&groups, text.s);
        join_cells(p->t, row, &p->model, &text);
        point.model = intern(&models, text.s);
        if (pts->n == cap) {
            cap = cap ? cap * 2 : 256;
            pts->p = vt_xrealloc(pts->p, cap * sizeof *pts->p);
        }
        pts->p[pts->n++] = point;
    }
    for (size_t i = 0; i < n_rows; i++)
        free(rows[i]);
    free(rows);
    free(all.slots);
    free(groups.slots);
    free(models.slots);
    vt_text_release(&text);
}

/* --- seeds
 * ------------------------------------------------------------------------------------------------------------ */

static int by_group_x(const void *a, const void *b)
{
    const vt_point *p = a, *q = b;
    if (p->group != q->group)
        return p->group < q->group ? -1 : 1;
    if (p->model != q->model)
        return p->model < q->model ? -1 : 1;
    if (p->x != q->x)
        return p->x < q->x ? -1 : 1;
    return (p->row > q->row) - (p->row < q->row);
}

/* Points of one group, model and cost become one, at the mean of ln y; their scatter is pooled. */
static void average_seeds(vt_points *pts)
{
    double squares = 0;
    size_t kept = 0, next;
    if (pts->n > 0)
        qsort(pts->p, pts->n, sizeof *pts->p, by_group_x);
    for (size_t i = 0; i < pts->n; i = next) {
        double sum = 0;
        for (next = i; next < pts->n && pts->p[next].group == pts->p[i].group &&
                       pts->p[next].model == pts->p[i].model && pts->p[next].x <= pts->p[i].x * (1 + VT_SNAP);
             next++)
            sum += vt_ln(pts->p[next].y);
        const double mean = sum / (double)(next - i);
        for (size_t k = i; k < next; k++) {
            const double d = vt_ln(pts->p[k].y) - mean;
            squares += d * d;
            if (k > i)
                leave(pts, VT_LEFT_SEED, pts->p[k].row);
        }
        pts->seed_df += next - i - 1;
        vt_point one = pts->p[i];
        one.y = next - i > 1 ? vt_exp(mean) : one.y;
        pts->p[kept++] = one;
    }
    pts->n = kept;
    if (pts->seed_df > 0)
        pts->seed_sd = sqrt(squares / (double)pts->seed_df);
}

/* --- all of it
 * -------------------------------------------------------------------------------------------------------- */

/* p->x and p->y are set. */
static vt_status make_plan(plan *p, const vt_table *t, const vt_select *s, vt_err *err)
{
    static const char *const model_words[] = {"model", "run", "Name", "name"}, *const state_words[] = {"State", "state",
                                                                                                       "status"};
    size_t c;
    const size_t x = p->x, y = p->y;
    *p = (plan){.t = t, .x = x, .y = y};
    if (p->x == p->y)
        return vt_fail(err, VT_EINVAL, "--x and --y are the same column, \"%.60s\"", s->x);
    if (s->group)
        VT_TRY(parse_columns(t, "group", s->group, &p->group, err));
    if (s->model)
        VT_TRY(parse_columns(t, "model", s->model, &p->model, err));
    for (size_t i = 0; i < VT_COUNT_OF(model_words) && p->model.n == 0; i++)
        if (vt_table_has(t, model_words[i], &c))
            p->model.list[p->model.n++] = c;
    for (size_t i = 0; i < VT_COUNT_OF(state_words) && !p->has_state; i++)
        p->has_state = vt_table_has(t, state_words[i], &p->state);
    if (s->seed)
        VT_TRY(vt_table_find(t, s->seed, &p->seed, err));
    return vt_where_parse(&p->where, t, s->where, err);
}

vt_status vt_points_select(vt_points *pts, const vt_table *t, const vt_select *s, vt_err *err)
{
    plan p;
    *pts = (vt_points){.rows = t->n_rows + t->n_torn, .seed_sd = (double)NAN};
    VT_TRY(vt_table_find(t, s->x, &p.x, err));
    VT_TRY(vt_table_find(t, s->y, &p.y, err));
    VT_TRY(resolve_x_unit(s, pts->x_unit, err));
    VT_TRY(resolve_y_unit(s, &pts->y_unit, err));
    VT_TRY(make_plan(&p, t, s, err));
    pts->left[VT_LEFT_TORN] = t->n_torn;
    pts->first[VT_LEFT_TORN] = t->torn_line;
    select_rows(pts, &p);
    vt_where_free(p.where);
    if (s->seed)
        average_seeds(pts);
    vt_points_sort(pts->p, pts->n);
    pts->n_frontier = vt_frontier_mark(pts->p, pts->n);
    return VT_OK;
}

void vt_points_release(vt_points *pts)
{
    for (size_t i = 0; i < pts->n_groups; i++)
        free(pts->groups[i]);
    for (size_t i = 0; i < pts->n_models; i++)
        free(pts->models[i]);
    free(pts->groups);
    free(pts->models);
    free(pts->p);
    *pts = (vt_points){0};
}
