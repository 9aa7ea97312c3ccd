/* What the commands of the law share: which rows and columns to take, and how tables and numbers are printed. */
#ifndef VT_CLI_CMD_LAW_H
#define VT_CLI_CMD_LAW_H

#include "cli/cli.h"
#include "law/law.h"

/* Options that fill a vt_select s. */
#define VT_LAW_OPTS(s)                                                                                                 \
    {"x", "COLUMN", &(s).x, "what was spent: compute, images, ..."},                                                   \
        {"y", "COLUMN", &(s).y, "what came of it: error, accuracy or loss"},                                           \
        {"x-unit", "WORD", &(s).x_unit, "unit of x, where the column's name does not tell it"},                        \
        {"y-unit", "WORD", &(s).y_unit, "error, error%, accuracy, accuracy% or loss, where the name does not tell"},   \
        {"where", "LIST", &(s).where, "rows to take: set=jft,metric=INet10|INet5,params_m<1000"},                      \
        {"group", "COLUMNS", &(s).group, "columns that name what runs share (a trunk): model,data"},                   \
        {"seed", "COLUMN", &(s).seed, "column of seeds: runs alike but for it are averaged"},                          \
    {                                                                                                                  \
        "model", "COLUMNS", &(s).model, "columns that name the model; default: model or run"                           \
    }

/* Fails where --x or --y is missing. */
vt_status vt_law_check_select(const vt_select *s, vt_err *err) VT_MUST_USE;

/* "log", "huber" or "linear" (NULL: log); a positive number (NULL: fallback). */
vt_status vt_law_loss(const char *text, vt_loss *loss, vt_err *err) VT_MUST_USE;
vt_status vt_law_number(const char *option, const char *text, double min, double max, double fallback, double *value,
                        vt_err *err) VT_MUST_USE;
/* "80" or "80%": an index into vt_levels; NULL gives 80 %. */
vt_status vt_law_level(const char *text, int *level, vt_err *err) VT_MUST_USE;
/* "1e19,3e19": at most max numbers. */
vt_status vt_law_numbers(const char *option, const char *text, double *list, size_t max, size_t *n,
                         vt_err *err) VT_MUST_USE;
/* Built in, or from a file of law backtest --out. */
vt_status vt_law_calibration(const char *path, vt_calibration *cal, vt_err *err) VT_MUST_USE;

/* The table of what was read and what was left out, and why; with the frontier, where it is what is fitted. */
void vt_law_print_points(const vt_table *t, const vt_points *pts, bool frontier);
json_t *vt_law_points_json(const vt_table *t, const vt_points *pts);

/* The name of y in sentences: "error" or "loss". */
const char *vt_law_y_word(vt_y_unit unit);

#endif
