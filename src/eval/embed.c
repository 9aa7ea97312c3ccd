/* One row of the table below is one file: how it begins and what a micro-batch adds to it. Memory is one micro-batch.
 */
#include "eval/embed.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/npy.h"

enum { KEYS, CLASSES, LABELS, LOGITS, FEATURES, N_FILES }; /* in the order in which they get their names */

static const char *const suffixes[N_FILES] = {
    [KEYS] = ".keys.txt",     [CLASSES] = ".classes.txt", [LABELS] = ".labels.npy",
    [LOGITS] = ".logits.npy", [FEATURES] = ".npy",
};

typedef struct {
    const vt_eval_pass *pass;
    vt_atomic_file files[N_FILES];
    bool wanted[N_FILES];
    int label_width; /* columns of labels; 1 is written as a vector */
    vt_text bytes;   /* what one micro-batch adds to one file */
} writer;

/* A line of text; what would break the line, or hide, is shown by its number. */
static void add_line(vt_text *t, const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 32)
            vt_text_addf(t, "\\x%02x", (unsigned char)*s);
        else
            vt_text_addn(t, s, 1);
    vt_text_add(t, "\n");
}

static void add_keys(writer *w, const vt_eval_rows *rows)
{
    char name[8192];
    for (int64_t i = rows->position; i < rows->position + rows->count; i++)
        add_line(&w->bytes, vt_eval_name(w->pass, i, name, sizeof name));
}

static void add_labels(writer *w, const vt_eval_rows *rows)
{
    for (int64_t i = 0; i < rows->count; i++)
        for (int k = 0; k < w->label_width; k++) {
            int64_t class = rows->labels[i * rows->width_labels + k];
            vt_text_addn(&w->bytes, (const char *)&class, sizeof class);
        }
}

static vt_status write_rows(void *context, const vt_eval_rows *rows, vt_err *err)
{
    writer *w = context;
    const vt_model *m = w->pass->model;
    VT_TRY(vt_eval_check_features(w->pass, rows, err));
    vt_text_clear(&w->bytes);
    add_keys(w, rows);
    VT_TRY(vt_atomic_write(&w->files[KEYS], w->bytes.s, w->bytes.len, err));
    vt_text_clear(&w->bytes);
    add_labels(w, rows);
    VT_TRY(vt_atomic_write(&w->files[LABELS], w->bytes.s, w->bytes.len, err));
    if (w->wanted[LOGITS])
        VT_TRY(vt_atomic_write(&w->files[LOGITS], rows->logits,
                               (size_t)(rows->count * m->config.classes) * sizeof(float), err));
    return vt_atomic_write(&w->files[FEATURES], rows->features,
                           (size_t)(rows->count * m->feature_width) * sizeof(float), err);
}

static vt_status write_header(vt_atomic_file *file, const vt_npy *array, vt_err *err)
{
    vt_text header = {0};
    vt_npy_write_header(array, &header);
    vt_status status = vt_atomic_write(file, header.s, header.len, err);
    vt_text_release(&header);
    return status;
}

static vt_status write_class_names(writer *w, vt_err *err)
{
    for (int64_t c = 0; c < vt_source_classes(w->pass->source); c++)
        add_line(&w->bytes, vt_source_class_name(w->pass->source, c));
    return vt_atomic_write(&w->files[CLASSES], w->bytes.s, w->bytes.len, err);
}

static vt_status begin(writer *w, const char *path, vt_err *err)
{
    const vt_model *m = w->pass->model;
    int64_t count = w->pass->picks ? w->pass->n_picks : vt_source_count(w->pass->source);
    vt_npy features = {"<f4", false, 2, {count, m->feature_width}},
           logits = {"<f4", false, 2, {count, m->config.classes}};
    vt_npy labels = {"<i8", false, w->label_width == 1 ? 1 : 2, {count, w->label_width}};
    for (int i = 0; i < N_FILES; i++)
        if (w->wanted[i]) {
            char *name = vt_xasprintf("%.*s%s", (int)(strlen(path) - strlen(".npy")), path, suffixes[i]);
            vt_status status = vt_atomic_open(&w->files[i], name, err);
            free(name);
            VT_TRY(status);
        }
    VT_TRY(write_header(&w->files[FEATURES], &features, err));
    VT_TRY(write_header(&w->files[LABELS], &labels, err));
    if (w->wanted[LOGITS])
        VT_TRY(write_header(&w->files[LOGITS], &logits, err));
    return write_class_names(w, err);
}

static vt_status run(writer *w, const char *path, vt_err *err)
{
    VT_TRY(begin(w, path, err));
    VT_TRY(vt_eval_run(w->pass, write_rows, w, err));
    for (int i = 0; i < N_FILES; i++)
        if (w->wanted[i])
            VT_TRY(vt_atomic_commit(&w->files[i], err));
    return VT_OK;
}

vt_status vt_embed(const vt_eval_pass *pass, const char *path, bool logits, vt_err *err)
{
    writer w = {.pass = pass, .wanted = {true, true, true, logits, true}};
    assert(!pass->label_map && !pass->bad); /* labels are the source's, and every image has its row */
    if (!vt_has_suffix(path, ".npy") || *vt_path_base(path) == '.')
        return vt_fail(err, VT_EINVAL, "%s: features are written to a file whose name ends in .npy", path);
    if (logits && pass->model->config.classes == 0)
        return vt_fail(err, VT_EINVAL, "the model has no classifier: there are no logits to write");
    w.label_width = vt_source_has_single_labels(pass->source) ? 1 : vt_source_most_labels(pass->source);
    vt_status status = run(&w, path, err);
    for (int i = 0; i < N_FILES; i++)
        vt_atomic_release(&w.files[i]);
    vt_text_release(&w.bytes);
    return status;
}
