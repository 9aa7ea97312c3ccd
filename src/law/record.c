/* {"vitro_law": 1, "table": {...}, "x": {...}, "y": {...}, "points": [[x, y], ...], "fits": [...], ...} */
#include "law/record.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "base/version.h"

static json_t *text_or_null(const char *s)
{
    json_t *text = s ? json_string(s) : NULL;
    return text ? text : json_null();
}

static json_t *fit_json(const vt_law_row *r)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    json_t *o = json_object(), *se = json_object(), *bounds = json_array();
    (void)json_object_set_new(o, "form", json_string(vt_form_names[r->form]));
    (void)json_object_set_new(o, "loss", json_string(vt_loss_names[r->loss]));
    for (int i = 0; i < VT_N_P; i++)
        if (vt_form_has[r->form][i]) {
            (void)json_object_set_new(o, names[i], vt_json_number(r->fit.p[i]));
            (void)json_object_set_new(se, names[i], r->fit.free[i] ? vt_json_number(r->fit.se[i]) : json_null());
            if (r->fit.at_bound[i])
                (void)json_array_append_new(bounds, json_string(names[i]));
        }
    (void)json_object_set_new(o, "standard_errors", se);
    (void)json_object_set_new(o, "at_bound", bounds);
    (void)json_object_set_new(o, "objective", vt_json_number(r->fit.objective));
    (void)json_object_set_new(o, "rms_ln", vt_json_number(sqrt(r->fit.sse_log / (double)r->fit.n)));
    (void)json_object_set_new(o, "aicc", vt_json_number(r->aicc));
    (void)json_object_set_new(o, "held_out_rms_ln", vt_json_number(r->held_out));
    (void)json_object_set_new(o, "held_out_points", json_integer((json_int_t)r->n_held));
    (void)json_object_set_new(o, "largest_correlation", vt_json_number(r->fit.max_corr));
    (void)json_object_set_new(o, "starts", json_integer(r->fit.starts));
    (void)json_object_set_new(o, "starts_agree", json_integer(r->fit.agree));
    (void)json_object_set_new(o, "minpack", json_integer(r->fit.info));
    return o;
}

json_t *vt_calibration_json(const vt_calibration *cal)
{
    json_t *o = json_object(), *levels = json_array(), *bins = json_array();
    (void)json_object_set_new(o, "source", json_string(cal->source));
    for (int l = 0; l < VT_N_LEVELS; l++)
        (void)json_array_append_new(levels, json_real(vt_levels[l]));
    for (int b = 0; b < VT_N_BINS; b++) {
        json_t *bin = json_object(), *k = json_array();
        for (int l = 0; l < VT_N_LEVELS; l++)
            (void)json_array_append_new(k, json_real(cal->k[b][l]));
        (void)json_object_set_new(bin, "up_to", json_real(vt_bins[b]));
        (void)json_object_set_new(bin, "trials", json_integer((json_int_t)cal->n[b]));
        (void)json_object_set_new(bin, "k", k);
        (void)json_array_append_new(bins, bin);
    }
    (void)json_object_set_new(o, "levels", levels);
    (void)json_object_set_new(o, "distances", bins);
    return o;
}

static json_t *left_json(const vt_points *pts)
{
    json_t *o = json_object();
    for (int i = 0; i < VT_N_LEFT; i++)
        if (pts->left[i])
            (void)json_object_set_new(o, vt_left_reasons[i], json_integer((json_int_t)pts->left[i]));
    return o;
}

static void add_points(json_t *root, const vt_law *law)
{
    json_t *points = json_array(), *fits = json_array(), *notes = json_array();
    for (size_t i = 0; i < law->n; i++)
        (void)json_array_append_new(points, json_pack("[f,f]", law->x[i], law->y[i]));
    for (int i = 0; i < VT_LAW_ROWS; i++)
        if (law->rows[i].done)
            (void)json_array_append_new(fits, fit_json(&law->rows[i]));
    for (size_t i = 0; i < law->n_notes; i++)
        (void)json_array_append_new(notes, text_or_null(law->notes[i]));
    (void)json_object_set_new(root, "points", points);
    (void)json_object_set_new(root, "fits", fits);
    (void)json_object_set_new(root, "notes", notes);
}

json_t *vt_record_json(const vt_record *r, const vt_law *law, const vt_points *pts, const vt_table *t)
{
    json_t *root = json_object(), *table = json_object();
    (void)json_object_set_new(root, "vitro_law", json_integer(1));
    (void)json_object_set_new(root, "version", json_string(vt_version()));
    (void)json_object_set_new(root, "commit", json_string(vt_commit()));
    (void)json_object_set_new(table, "file", text_or_null(r->table));
    if (t) {
        (void)json_object_set_new(table, "format", json_string(t->format));
        (void)json_object_set_new(table, "sha256", json_string(t->hash));
    }
    if (pts) {
        (void)json_object_set_new(table, "rows", json_integer((json_int_t)pts->rows));
        (void)json_object_set_new(table, "runs_used", json_integer((json_int_t)pts->n));
        (void)json_object_set_new(table, "left_out", left_json(pts));
    }
    (void)json_object_set_new(root, "table", table);
    (void)json_object_set_new(root, "where", text_or_null(r->where));
    (void)json_object_set_new(root, "x", json_pack("{s:s,s:s}", "column", r->x, "unit", r->x_unit));
    (void)json_object_set_new(root, "y", json_pack("{s:s,s:s}", "column", r->y, "unit", vt_y_unit_names[r->y_unit]));
    (void)json_object_set_new(root, "rule",
                              json_string(law->how.all_points ? "all runs"
                                                              : "frontier: strictly better than every cheaper run; x "
                                                                "within 3e-4 counts as equal"));
    (void)json_object_set_new(root, "all_points", json_boolean(law->how.all_points));
    (void)json_object_set_new(root, "loss", json_string(vt_loss_names[law->how.loss]));
    (void)json_object_set_new(root, "delta", vt_json_number(law->rows[VT_FORM_PURE].fit.delta));
    (void)json_object_set_new(root, "scatter_ln", vt_json_number(law->scatter));
    (void)json_object_set_new(root, "seed_sd_ln", vt_json_number(r->seed_sd));
    (void)json_object_set_new(root, "best_form", json_string(vt_form_names[law->rows[law->best].form]));
    (void)json_object_set_new(root, "calibration", vt_calibration_json(&r->cal));
    add_points(root, law);
    return root;
}

/* --- reading
 * ---------------------------------------------------------------------------------------------------------- */

static vt_status read_calibration(vt_calibration *cal, const json_t *o, const char *place, vt_err *err)
{
    const json_t *bins = json_object_get(o, "distances");
    *cal = (vt_calibration){.source = "the back-test named by the file"};
    for (size_t b = 0; b < VT_N_BINS; b++) {
        const json_t *bin = json_array_get(bins, b), *k = json_object_get(bin, "k");
        const json_int_t n = json_integer_value(json_object_get(bin, "trials"));
        cal->n[b] = n > 0 ? (size_t)n : 0;
        for (size_t l = 0; l < VT_N_LEVELS; l++) {
            const json_t *value = json_array_get(k, l);
            cal->k[b][l] = json_number_value(value);
            if (!json_is_number(value) || !(cal->k[b][l] >= 0 && cal->k[b][l] <= 1e6) ||
                (l > 0 && cal->k[b][l] < cal->k[b][l - 1]))
                return vt_fail(
                    err, VT_EFORMAT,
                    "%s: calibration: 3 distances with 4 rising factors each are expected; make it by vitro law "
                    "backtest --out",
                    place);
        }
    }
    return VT_OK;
}

vt_status vt_calibration_load(vt_calibration *cal, const char *path, vt_err *err)
{
    json_t *root;
    VT_TRY(vt_json_load(path, &root, err));
    const json_t *inside = json_object_get(root, "calibration");
    vt_status status = read_calibration(cal, inside ? inside : root, path, err);
    json_decref(root);
    return status;
}

static vt_status read_points(const json_t *root, const char *path, double **x, double **y, size_t *n, vt_err *err)
{
    const json_t *points = json_object_get(root, "points");
    *n = json_array_size(points);
    if (*n == 0 || *n > VT_FIT_MAX_POINTS)
        return vt_fail(err, VT_EFORMAT, "%s: %zu points; 1 to %d are expected: is it a file of vitro law fit --out?",
                       path, *n, VT_FIT_MAX_POINTS);
    *x = vt_xcalloc(*n, sizeof **x);
    *y = vt_xcalloc(*n, sizeof **y);
    for (size_t i = 0; i < *n; i++) {
        const json_t *p = json_array_get(points, i);
        (*x)[i] = json_number_value(json_array_get(p, 0));
        (*y)[i] = json_number_value(json_array_get(p, 1));
        if (!((*x)[i] > 1e-60 && (*x)[i] < 1e60 && (*y)[i] > 0 && (*y)[i] < 1e6) || (i > 0 && (*x)[i] < (*x)[i - 1])) {
            free(*x);
            free(*y);
            return vt_fail(err, VT_EFORMAT, "%s: point %zu is not two positive numbers in rising order of x", path,
                           i + 1);
        }
    }
    return VT_OK;
}

static char *member(const json_t *root, const char *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object ? json_object_get(root, object) : root, key));
    return s ? vt_xstrdup(s) : NULL;
}

static vt_status read_how(const json_t *root, const char *path, vt_record *r, vt_law_how *how, vt_err *err)
{
    const char *loss = json_string_value(json_object_get(root, "loss"));
    const char *unit = json_string_value(json_object_get(json_object_get(root, "y"), "unit"));
    int l = 0, u = 0;
    while (l < 3 && (!loss || strcmp(loss, vt_loss_names[l]) != 0))
        l++;
    while (u < VT_N_Y_UNITS && (!unit || strcmp(unit, vt_y_unit_names[u]) != 0))
        u++;
    r->x_unit = member(root, "x", "unit");
    if (l == 3 || u == VT_N_Y_UNITS || !r->x_unit || !json_is_integer(json_object_get(root, "vitro_law")))
        return vt_fail(err, VT_EFORMAT,
                       "%s is no fit: x.unit, y.unit, loss or vitro_law is missing; make it by vitro law "
                       "fit --out",
                       path);
    *how = (vt_law_how){.loss = (vt_loss)l,
                        .delta = json_number_value(json_object_get(root, "delta")),
                        .all_points = json_is_true(json_object_get(root, "all_points"))};
    r->y_unit = (vt_y_unit)u;
    const json_t *sd = json_object_get(root, "seed_sd_ln");
    r->seed_sd = json_is_number(sd) ? json_number_value(sd) : (double)NAN;
    r->table = member(root, "table", "file");
    r->x = member(root, "x", "column");
    r->y = member(root, "y", "column");
    r->where = member(root, NULL, "where");
    return read_calibration(&r->cal, json_object_get(root, "calibration"), path, err);
}

vt_status vt_record_load(vt_record *r, vt_law *law, const char *path, vt_err *err)
{
    json_t *root;
    vt_law_how how;
    double *x = NULL, *y = NULL;
    size_t n;
    *r = (vt_record){0};
    VT_TRY(vt_json_load(path, &root, err));
    vt_status status = read_how(root, path, r, &how, err);
    if (status == VT_OK)
        status = read_points(root, path, &x, &y, &n, err);
    if (status == VT_OK) {
        status = vt_law_of(law, x, y, n, &how, err);
        if (status == VT_OK && r->seed_sd > law->scatter)
            law->scatter = r->seed_sd;
        free(x);
        free(y);
    }
    json_decref(root);
    if (status != VT_OK)
        vt_record_release(r);
    return status;
}

void vt_record_release(vt_record *r)
{
    free(r->table);
    free(r->x);
    free(r->y);
    free(r->where);
    free(r->x_unit);
    *r = (vt_record){0};
}
