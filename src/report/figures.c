/* Each figure is a text of data in blocks (gnuplot's index) and a script of a few lines; then gnuplot is run in the
 * folder. The terminal's options are pinned, so the same table gives the same bytes. */
#include "report/figures.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

#define CURVE_POINTS 200
#define MAX_SVG      ((size_t)16 << 20)

/* Colours that stay apart in print and for the colour-blind (Okabe and Ito), then darker ones. */
static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
                                      "#7f5f00", "#6a3d9a", "#333333", "#8c1d40", "#2f6f4f", "#999999"};

/* --- texts
 * ------------------------------------------------------------------------------------------------------------ */

/* What may stand between single quotes of a script: no quotes, no backslashes, no control characters. */
static char *plain(const char *text)
{
    char *copy = vt_xstrdup(text);
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p < 0x20 || strchr("'\"\\`@{}^_~&<>", *p))
            *p = ' ';
    return copy;
}

char *vt_figure_file_name(const char *text)
{
    char *copy = vt_xstrdup(text[0] ? text : "figure");
    for (char *p = copy; *p; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("-_", *p)))
            *p = '-';
    return copy;
}

static void begin(vt_text *gp, const vt_figure *f, bool log_x)
{
    char *title = plain(f->title), *x = plain(f->x_text), *y = plain(f->y_text);
    vt_text_addf(gp,
                 "# Restyle and run: gnuplot %s.gp\n"
                 "set terminal svg size 820,560 fixed font 'DejaVu Sans,13' background '#ffffff'\n"
                 "set output '%s.svg'\n"
                 "set encoding utf8\n"
                 "set title '%s' noenhanced\nset xlabel '%s' noenhanced\nset ylabel '%s' noenhanced\n"
                 "set key outside right top noenhanced spacing 1.1\nset grid lc rgb '#dddddd'\nset border 3\n"
                 "set tics nomirror\n",
                 f->name, f->name, title, x, y);
    vt_text_add(gp, log_x ? "set logscale xy\nset format x '10^{%T}'\n" : "set logscale y\n");
    free(title);
    free(x);
    free(y);
}

/* Labelled tics at round values of a logarithmic axis that may be shorter than a decade. */
static void y_tics(vt_text *gp, double low, double high)
{
    static const double steps[] = {1, 1.5, 2, 3, 4, 5, 7};
    bool first = true;
    vt_text_addf(gp, "set yrange [%.6g:%.6g]\nset ytics (", low, high);
    for (double decade = pow(10, floor(log10(low))); decade <= high; decade *= 10)
        for (size_t i = 0; i < VT_COUNT_OF(steps); i++)
            if (decade * steps[i] >= low && decade * steps[i] <= high) {
                vt_text_addf(gp, "%s%.6g", first ? "" : ", ", decade * steps[i]);
                first = false;
            }
    vt_text_add(gp, ")\n");
}

static void span(const vt_points *pts, double *low, double *high)
{
    *low = HUGE_VAL, *high = 0;
    for (size_t i = 0; i < pts->n; i++) {
        *low = pts->p[i].y < *low ? pts->p[i].y : *low;
        *high = pts->p[i].y > *high ? pts->p[i].y : *high;
    }
    *low /= 1.15;
    *high *= 1.08;
}

static void end_block(vt_text *dat)
{
    vt_text_add(dat, "\n\n");
}

static void begin_block(vt_text *dat, const char *name)
{
    char *safe = plain(name);
    vt_text_addf(dat, "# %s\n", safe);
    free(safe);
}

/* --- running gnuplot
 * -------------------------------------------------------------------------------------------------- */

extern char **environ;

static vt_status run_gnuplot(const char *dir, const char *name, vt_err *err)
{
    char *script = vt_xasprintf("./%s.gp", name), *enter = vt_xasprintf("cd '%s'", dir);
    char program[] = "gnuplot", dash_e[] = "-e";
    char *argv[] = {program, dash_e, enter, script, NULL};
    pid_t child;
    int wait_status = 0;
    vt_status status = VT_OK;
    posix_spawn_file_actions_t quiet;
    (void)posix_spawn_file_actions_init(&quiet);
    (void)posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
    const int failed = posix_spawnp(&child, program, &quiet, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&quiet);
    if (failed)
        status = vt_fail(err, VT_EIO,
                         "gnuplot cannot be started (%s); install gnuplot-nox, or draw %s/%s.gp elsewhere: "
                         "its data lie beside it",
                         strerror(failed), dir, name);
    while (!failed && waitpid(child, &wait_status, 0) < 0 && errno == EINTR)
        ;
    if (!failed && (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) != 0))
        status = vt_fail(err, VT_EIO, "gnuplot could not draw %s/%s.gp; run it there to see why", dir, name);
    free(script);
    free(enter);
    return status;
}

/* Writes both texts and draws; releases them. */
static vt_status finish(const vt_figure *f, vt_text *dat, vt_text *gp, vt_err *err)
{
    char *base = vt_path_join(f->dir, f->name), *dat_path = vt_xasprintf("%s.dat", base),
         *gp_path = vt_xasprintf("%s.gp", base);
    vt_status status = strchr(f->dir, '\'')
                           ? vt_fail(err, VT_EINVAL, "a folder with ' in its name cannot be given to gnuplot")
                           : vt_file_write(dat_path, dat->s, dat->len, err);
    if (status == VT_OK)
        status = vt_file_write(gp_path, gp->s, gp->len, err);
    if (status == VT_OK)
        status = run_gnuplot(f->dir, f->name, err);
    vt_text_release(dat);
    vt_text_release(gp);
    free(base);
    free(dat_path);
    free(gp_path);
    return status;
}

/* --- figures
 * ---------------------------------------------------------------------------------------------------------- */

/* Curves and band over the data and ten times beyond. */
static void law_blocks(vt_text *dat, const vt_law *law, const vt_calibration *cal, int level)
{
    const double low = log(law->x[0]), high = log(law->x[law->n - 1] * 10);
    begin_block(dat, "x low high centre full floor pure");
    for (int i = 0; i < CURVE_POINTS; i++) {
        const vt_prediction p = vt_law_predict(law, cal, exp(low + (high - low) * i / (CURVE_POINTS - 1)), level);
        vt_text_addf(dat, "%.8g %.6g %.6g %.6g %.6g %.6g %.6g\n", p.x, p.low, p.high, p.centre, p.full, p.floor,
                     p.pure);
    }
    end_block(dat);
}

vt_status vt_figure_law(const vt_figure *f, const vt_points *pts, const vt_labels *models, const vt_law *law,
                        const vt_calibration *cal, int level, vt_err *err)
{
    vt_text dat = {0}, gp = {0};
    double low, high;
    const bool levels = law->rows[VT_FORM_FULL].done && law->rows[VT_FORM_FLOOR].done;
    span(pts, &low, &high);
    begin(&gp, f, true);
    y_tics(&gp, low / 1.2, high);
    law_blocks(&dat, law, cal, level);
    begin_block(&dat, "frontier");
    for (size_t i = 0; i < pts->n; i++)
        if (pts->p[i].frontier)
            vt_text_addf(&dat, "%.8g %.6g\n", pts->p[i].x, pts->p[i].y);
    end_block(&dat);
    vt_text_addf(&gp,
                 "plot '%s.dat' index 0 using 1:2:3 with filledcurves fc rgb '#c8d8e8' fs solid 0.6 noborder "
                 "title '%.0f%% of new best runs'",
                 f->name, 100 * vt_levels[level]);
    for (size_t m = 0; m < models->n; m++) {
        char *name = plain(models->names[m]);
        begin_block(&dat, models->names[m]);
        for (size_t i = 0; i < pts->n; i++)
            if (models->of[i] == m)
                vt_text_addf(&dat, "%.8g %.6g\n", pts->p[i].x, pts->p[i].y);
        end_block(&dat);
        vt_text_addf(&gp, ", \\\n  '' index %zu using 1:2 with points pt %d ps 0.5 lc rgb '%s' title '%s'", m + 2,
                     m / VT_COUNT_OF(colours) % 2 ? 5 : 7, colours[m % VT_COUNT_OF(colours)], name);
        free(name);
    }
    vt_text_add(&gp, ", \\\n  '' index 1 using 1:2 with points pt 6 ps 0.9 lc rgb '#000000' title 'frontier'");
    if (levels)
        vt_text_add(&gp, ", \\\n  '' index 0 using 1:5 with lines lw 1.8 lc rgb '#000000' title 'a (C + d)^-b + c'"
                         ", \\\n  '' index 0 using 1:6 with lines lw 1.4 dt 2 lc rgb '#000000' title 'a C^-b + c'");
    vt_text_add(&gp, ", \\\n  '' index 0 using 1:7 with lines lw 1 dt 3 lc rgb '#888888' title 'a C^-b'\n");
    return finish(f, &dat, &gp, err);
}

/* Labels of `across` by falling best y. */
static void order_labels(const vt_points *pts, const vt_labels *across, size_t order[VT_MAX_SERIES])
{
    double best[VT_MAX_SERIES];
    for (size_t k = 0; k < across->n; k++) {
        order[k] = k;
        best[k] = HUGE_VAL;
    }
    for (size_t i = 0; i < pts->n; i++)
        if (pts->p[i].y < best[across->of[i]])
            best[across->of[i]] = pts->p[i].y;
    for (size_t k = 1; k < across->n; k++)
        for (size_t j = k; j > 0 && best[order[j]] > best[order[j - 1]]; j--) {
            const size_t swap = order[j];
            order[j] = order[j - 1];
            order[j - 1] = swap;
        }
}

vt_status vt_figure_best(const vt_figure *f, const vt_points *pts, const vt_labels *across, const vt_labels *lines,
                         vt_err *err)
{
    vt_text dat = {0}, gp = {0};
    size_t order[VT_MAX_SERIES];
    double low, high;
    span(pts, &low, &high);
    order_labels(pts, across, order);
    begin(&gp, f, false);
    y_tics(&gp, low, high);
    vt_text_addf(&gp, "set xrange [-0.5:%zu.5]\nset xtics (", across->n - 1);
    for (size_t k = 0; k < across->n; k++) {
        char *name = plain(across->names[order[k]]);
        vt_text_addf(&gp, "%s'%s' %zu", k ? ", " : "", name, k);
        free(name);
    }
    vt_text_add(&gp, ") noenhanced\nplot ");
    for (size_t s = 0; s < lines->n; s++) {
        char *name = plain(lines->names[s]);
        begin_block(&dat, lines->names[s]);
        for (size_t k = 0; k < across->n; k++) {
            double best = HUGE_VAL;
            for (size_t i = 0; i < pts->n; i++)
                if (across->of[i] == order[k] && lines->of[i] == s && pts->p[i].y < best)
                    best = pts->p[i].y;
            if (isfinite(best))
                vt_text_addf(&dat, "%zu %.6g\n", k, best);
        }
        end_block(&dat);
        vt_text_addf(&gp, "%s'%s.dat' index %zu using 1:2 with linespoints pt 7 ps 0.6 lw 1.3 lc rgb '%s' title '%s'",
                     s ? ", \\\n  " : "", f->name, s, colours[s % VT_COUNT_OF(colours)], name);
        free(name);
    }
    vt_text_add(&gp, "\n");
    return finish(f, &dat, &gp, err);
}

typedef struct {
    double x, y;
} pair;

static int by_x(const void *a, const void *b)
{
    const pair *p = a, *q = b;
    return p->x != q->x ? (p->x > q->x) - (p->x < q->x) : (p->y > q->y) - (p->y < q->y);
}

vt_status vt_figure_efficiency(const vt_figure *f, const vt_points *pts, const vt_labels *models, const double *x,
                               vt_err *err)
{
    vt_text dat = {0}, gp = {0};
    double low, high;
    span(pts, &low, &high);
    begin(&gp, f, true);
    y_tics(&gp, low, high);
    vt_text_add(&gp, "plot ");
    pair *list = vt_xcalloc(pts->n + 1, sizeof *list);
    for (size_t m = 0; m < models->n; m++) {
        size_t n = 0;
        double best = HUGE_VAL;
        for (size_t i = 0; i < pts->n; i++)
            if (models->of[i] == m && !isnan(x[i]))
                list[n++] = (pair){x[i], pts->p[i].y};
        if (n > 0)
            qsort(list, n, sizeof *list, by_x);
        char *name = plain(models->names[m]);
        begin_block(&dat, models->names[m]);
        for (size_t i = 0; i < n; i++)
            if (list[i].y < best) {
                best = list[i].y;
                vt_text_addf(&dat, "%.8g %.6g\n", list[i].x, best);
            }
        if (n == 0)
            vt_text_add(&dat, "nan nan\n");
        end_block(&dat);
        vt_text_addf(&gp, "%s'%s.dat' index %zu using 1:2 with linespoints pt 7 ps 0.5 lw 1.3 lc rgb '%s' title '%s'",
                     m ? ", \\\n  " : "", f->name, m, colours[m % VT_COUNT_OF(colours)], name);
        free(name);
    }
    free(list);
    vt_text_add(&gp, "\n");
    return finish(f, &dat, &gp, err);
}

/* --- the page
 * --------------------------------------------------------------------------------------------------------- */

static void escape(vt_text *out, const char *s)
{
    for (; *s; s++) {
        const char *entity = *s == '<'   ? "&lt;"
                             : *s == '>' ? "&gt;"
                             : *s == '&' ? "&amp;"
                             : *s == '"' ? "&quot;"
                                         : NULL;
        if (entity)
            vt_text_add(out, entity);
        else
            vt_text_addn(out, s, 1);
    }
}

static vt_status add_svg(vt_text *page, const char *dir, const char *name, vt_err *err)
{
    char *file = vt_xasprintf("%s.svg", name), *path = vt_path_join(dir, file);
    unsigned char *data = NULL;
    size_t size;
    vt_status status = vt_file_read(path, MAX_SVG, &data, &size, err);
    if (status == VT_OK) {
        const char *svg = strstr((const char *)data, "<svg");
        if (!svg)
            status = vt_fail(err, VT_EFORMAT, "%s is no SVG", path);
        else {
            vt_text_addf(page, "<figure id=\"%s\">\n%s</figure>\n", name, svg);
            vt_text_addf(page, "<p class=\"files\">data and script beside this page: %s.dat, %s.gp</p>\n", name, name);
        }
    }
    free(data);
    free(file);
    free(path);
    return status;
}

vt_status vt_figures_page(const char *dir, const char *title, char *const *names, size_t n, vt_err *err)
{
    vt_text page = {0};
    vt_status status = VT_OK;
    vt_text_add(&page, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    escape(&page, title);
    vt_text_add(
        &page,
        "</title>\n<style>body{font:15px/1.5 sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#222}"
        "figure{margin:2em 0 0}svg{max-width:100%;height:auto}.files{color:#777;font-size:12px;margin:0}</style>"
        "</head><body>\n<h1>");
    escape(&page, title);
    vt_text_add(&page, "</h1>\n");
    for (size_t i = 0; i < n && status == VT_OK; i++)
        status = add_svg(&page, dir, names[i], err);
    vt_text_add(&page, "</body></html>\n");
    char *path = vt_path_join(dir, "index.html");
    if (status == VT_OK)
        status = vt_file_write(path, page.s, page.len, err);
    free(path);
    vt_text_release(&page);
    return status;
}
