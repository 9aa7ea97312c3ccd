/* The points of a law: two columns of a table of runs, chosen, converted and checked, with a count and a reason for
 * every row left out.
 *
 * Frontier: sorted by (x up, y up), where x within 3e-4 of each other counts as equal, a point is kept only if its y is
 * strictly below every earlier one's; equal x therefore keeps the best run only. */
#ifndef VT_LAW_POINTS_H
#define VT_LAW_POINTS_H

#include <stdbool.h>
#include <stddef.h>

#include "law/table.h"

#define VT_SNAP                                                                                                        \
    3e-4 /* x closer than this, relatively, are the same cost: floating-point noise makes no frontier point */

/* What y is. A law is fitted to errors (fractions in (0, 1)) or losses (positive). */
typedef enum {
    VT_Y_ERROR,
    VT_Y_ERROR_PERCENT,
    VT_Y_ACCURACY,
    VT_Y_ACCURACY_PERCENT,
    VT_Y_LOSS,
    VT_N_Y_UNITS
} vt_y_unit;
extern const char *const vt_y_unit_names[VT_N_Y_UNITS + 1]; /* "error", "error%", ..., NULL */

/* What to take from a table; texts are the caller's. */
typedef struct {
    const char *x, *y;           /* columns; must be given */
    const char *x_unit, *y_unit; /* NULL: read from the column's name; where that names none, an error */
    const char *where;           /* "set=jft,metric=INet10|INet5,params_m<1000", or NULL */
    const char *group;           /* columns that name what runs share (a trunk): "model,data", or NULL */
    const char *seed;            /* column of seeds: runs alike but for it are averaged, their scatter kept; or NULL */
    const char *model;           /* column of models, or NULL: "model" or "run" where the table has them */
} vt_select;

typedef enum {
    VT_LEFT_TORN,      /* the row could not be read */
    VT_LEFT_WHERE,     /* --where asks for others */
    VT_LEFT_STATE,     /* the run crashed, failed or was killed */
    VT_LEFT_EMPTY,     /* x or y is missing */
    VT_LEFT_NO_NUMBER, /* x or y is no number */
    VT_LEFT_DIVERGED,  /* y is NaN or infinite */
    VT_LEFT_X,         /* x is not a positive finite number */
    VT_LEFT_Y,         /* y is out of the range of its unit, or exactly 0 or 1 */
    VT_LEFT_DUPLICATE, /* the same row twice */
    VT_LEFT_SEED,      /* averaged with its other seeds */
    VT_N_LEFT
} vt_left;
extern const char *const vt_left_reasons[VT_N_LEFT];

typedef struct {
    double x, y;  /* y as error or loss */
    size_t row;   /* of the table, from 0 */
    size_t group; /* index of its group's name; 0 without groups */
    size_t model; /* index into models */
    bool frontier;
} vt_point;

typedef struct {
    vt_point *p; /* sorted by x, then y */
    size_t n, n_frontier;
    char **groups, **models; /* names */
    size_t n_groups, n_models;
    size_t rows;             /* of the table, torn ones included */
    size_t left[VT_N_LEFT];  /* rows left out, by reason */
    size_t first[VT_N_LEFT]; /* the first of them, from 1 behind the header */
    vt_y_unit y_unit;
    char x_unit[32];
    double seed_sd; /* pooled standard deviation of ln y over seeds of one run; NaN without seeds */
    size_t seed_df; /* its degrees of freedom */
} vt_points;

vt_status vt_points_select(vt_points *pts, const vt_table *t, const vt_select *s, vt_err *err) VT_MUST_USE;
void vt_points_release(vt_points *pts);

/* Marks the frontier of p[0..n), sorted by (x, y); returns its size. */
size_t vt_frontier_mark(vt_point *p, size_t n);
/* Sorts by (x, y, row). */
void vt_points_sort(vt_point *p, size_t n);
/* Copies x and y of points with x <= x_max, of the frontier of those alone, or of all; returns how many (at most n). */
size_t vt_points_take(const vt_point *p, size_t n, double x_max, bool frontier, double *x, double *y);

/* A condition list compiled against a table, for others that walk its rows. */
typedef struct vt_where vt_where;
vt_status vt_where_parse(vt_where **w, const vt_table *t, const char *text, vt_err *err) VT_MUST_USE;
bool vt_where_holds(const vt_where *w, const vt_table *t, size_t row);
void vt_where_free(vt_where *w);

#endif
