/* Figures of laws: DIR/NAME.dat (data), DIR/NAME.gp (script of gnuplot) and DIR/NAME.svg, and one page that holds them
 * all. Names that come from tables are stripped of what a script could take for a command. */
#ifndef VT_REPORT_FIGURES_H
#define VT_REPORT_FIGURES_H

#include "law/law.h"

#define VT_MAX_SERIES 40

/* The runs of a table sorted into named series; of[i] belongs to pts->p[i]. */
typedef struct {
    char **names;
    size_t n;
    size_t *of;
} vt_labels;

/* By the cells of columns "model,patch"; NULL gives one series. More than VT_MAX_SERIES are refused. */
vt_status vt_labels_make(vt_labels *l, const vt_table *t, const vt_points *pts, const char *columns,
                         vt_err *err) VT_MUST_USE;
void vt_labels_release(vt_labels *l);

typedef struct {
    const char *dir, *name, *title, *x_text, *y_text;
} vt_figure;

/* All runs coloured by series, their frontier, the two forms that level off, the pure power law, and the interval of a
 * new best run as a band (the paper's figures 2, 4 and 9). */
vt_status vt_figure_law(const vt_figure *f, const vt_points *pts, const vt_labels *models, const vt_law *law,
                        const vt_calibration *cal, int level, vt_err *err) VT_MUST_USE;

/* The best y of every label of `across`, a line for each series of `lines` (figure 2 right: the bottlenecks). */
vt_status vt_figure_best(const vt_figure *f, const vt_points *pts, const vt_labels *across, const vt_labels *lines,
                         vt_err *err) VT_MUST_USE;

/* The best y of each series up to x[i], for pts->p[i] (figure 3: sample efficiency). NaN in x leaves a run out. */
vt_status vt_figure_efficiency(const vt_figure *f, const vt_points *pts, const vt_labels *models, const double *x,
                               vt_err *err) VT_MUST_USE;

/* DIR/index.html with the figures of these names inside; it needs no other file. */
vt_status vt_figures_page(const char *dir, const char *title, char *const *names, size_t n, vt_err *err) VT_MUST_USE;

/* A name of a file from a text of a table: letters, digits, '.', '_' and '-'. malloc'ed. */
char *vt_figure_file_name(const char *text);

#endif
