/* Top-1, top-5, precision, loss and accuracy by class over one pass (spec 6.3). The ranks of an image's classes among
 * its logits decide: top-k counts when the best of them is below k, and of k classes those below k are its precision.
 * Images without a class are left out. The loss comes from the model's own operation; means are taken over positions in
 * order, in double. */
#include "eval/classify.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/text.h"
#include "device/device.h"

typedef struct {
    const vt_eval_pass *pass;
    vt_classification *result;
    vt_scores *keep;        /* or NULL */
    const uint8_t *leaves;  /* (classes) those that a prediction may be: pass->among without inner classes; NULL: all */
    double loss, precision; /* sums */
} tally;

static bool is_in(const uint8_t *mask, int64_t class)
{
    return !mask || mask[class];
}

/* Classes that come before `class`: a larger logit, or an equal one and a smaller index. */
static int64_t rank_of(const uint8_t *mask, int64_t classes, const float *logits, int64_t class)
{
    int64_t rank = 0;
    for (int64_t c = 0; c < classes; c++)
        rank += is_in(mask, c) && (logits[c] > logits[class] || (logits[c] == logits[class] && c < class));
    return rank;
}

/* The classes of an image that are in the mask; their number. */
static int counted(const uint8_t *mask, const int32_t *labels, int width, int32_t classes[VT_MAX_LABELS])
{
    int n = 0;
    for (int k = 0; k < width && labels[k] >= 0; k++)
        if (is_in(mask, labels[k]))
            classes[n++] = labels[k];
    return n;
}

/* Rows in the model's width: the classes of each, then -1. */
static void write_labels(const vt_eval_pass *pass, const vt_eval_rows *rows)
{
    int32_t row[VT_MAX_LABELS];
    int width = pass->model->use.label_width;
    for (int64_t i = 0; i < rows->count; i++) {
        for (int k = 0; k < width; k++)
            row[k] = k < rows->width_labels ? rows->labels[i * rows->width_labels + k] : -1;
        vt_device_write(pass->backend->device, pass->model->labels + (rows->row + i) * width, row,
                        (size_t)width * sizeof *row);
    }
}

static vt_status add_losses(tally *t, const vt_eval_rows *rows, vt_err *err)
{
    const vt_eval_pass *pass = t->pass;
    vt_model *m = pass->model;
    vt_pass p = {.backend = pass->backend, .samples = rows->row + rows->count, .slices = pass->slices, .weight = 1};
    p.loss.kind = pass->loss;
    write_labels(pass, rows);
    vt_model_loss(m, &p);
    float loss[256];
    int32_t classes[VT_MAX_LABELS];
    for (int64_t i = 0; i < rows->count; i++) {
        int64_t lane = i % 256, left = rows->count - i;
        if (lane == 0)
            vt_device_read(pass->backend->device, loss, m->loss + rows->row + i,
                           (size_t)(left < 256 ? left : 256) * sizeof(float));
        if (counted(t->leaves, rows->labels + i * rows->width_labels, rows->width_labels, classes) > 0)
            t->loss += (double)loss[lane];
        if (!isfinite(loss[lane])) {
            char name[256];
            return vt_fail(err, VT_EDIVERGED, "the loss of %s is not finite: the model's weights have diverged",
                           vt_eval_name(pass, rows->position + i, name, sizeof name));
        }
    }
    return VT_OK;
}

static void keep_row(tally *t, const float *logits, const int32_t *classes, int n)
{
    vt_scores *s = t->keep;
    float *to = s->logits + s->count * s->classes;
    int32_t *labels = s->labels + s->count * s->width;
    int64_t column = 0;
    int met = 0;
    for (int64_t c = 0; c < t->result->classes; c++) {
        if (!is_in(t->leaves, c))
            continue;
        if (met < n && classes[met] == c)
            labels[met++] = (int32_t)column;
        to[column++] = logits[c];
    }
    for (int k = met; k < s->width; k++)
        labels[k] = -1;
    s->count++;
}

/* Over all classes of pass->among, inner ones too. */
static void add_precision(tally *t, const float *logits, const int32_t *labels, int width)
{
    int32_t classes[VT_MAX_LABELS];
    int n = counted(t->pass->among, labels, width, classes), found = 0;
    for (int k = 0; k < n; k++)
        found += rank_of(t->pass->among, t->result->classes, logits, classes[k]) < n;
    t->precision += (double)found / (double)n;
    t->result->sets = t->result->sets || n > 1;
}

static void count_row(tally *t, const float *logits, const int32_t *labels, int width)
{
    vt_classification *r = t->result;
    int32_t classes[VT_MAX_LABELS];
    int n = counted(t->leaves, labels, width, classes);
    int64_t best = r->classes;
    if (n == 0) {
        *(labels[0] < 0 ? &r->unlabelled : &r->outside) += 1;
        return;
    }
    for (int k = 0; k < n; k++) {
        int64_t rank = rank_of(t->leaves, r->classes, logits, classes[k]);
        best = rank < best ? rank : best;
    }
    r->count++;
    r->right1 += best < 1;
    r->right5 += best < 5;
    for (int k = 0; k < n; k++) {
        r->class_count[classes[k]]++;
        r->class_right[classes[k]] += best < 1;
    }
    add_precision(t, logits, labels, width);
    if (t->keep)
        keep_row(t, logits, classes, n);
}

static vt_status count_rows(void *context, const vt_eval_rows *rows, vt_err *err)
{
    tally *t = context;
    VT_TRY(add_losses(t, rows, err));
    for (int64_t i = 0; i < rows->count; i++)
        count_row(t, rows->logits + i * t->result->classes, rows->labels + i * rows->width_labels, rows->width_labels);
    return VT_OK;
}

/* Without a map, a class of the source is the model's class of that number, so there must be as many. */
static vt_status check_classes(const vt_eval_pass *pass, vt_err *err)
{
    int64_t model = pass->model->config.classes, source = vt_source_classes(pass->source);
    if (model == 0)
        return vt_fail(err, VT_EINVAL, "the model has no classifier: it can be evaluated by few-shot only");
    if (!pass->label_map && source != model)
        return vt_fail(err, VT_EINVAL, "%s has %lld classes; the model has %lld", vt_source_spec(pass->source),
                       (long long)source, (long long)model);
    if (vt_source_most_labels(pass->source) > pass->model->use.label_width)
        return vt_fail(err, VT_EINVAL, "an image of %s has %d classes; the model was opened for %d",
                       vt_source_spec(pass->source), vt_source_most_labels(pass->source), pass->model->use.label_width);
    for (int64_t c = 0; pass->label_map && c < source; c++)
        assert(pass->label_map[c] >= 0 && pass->label_map[c] < model);
    return VT_OK;
}

static vt_status check_counts(const tally *t, vt_err *err)
{
    const vt_classification *r = t->result;
    if (r->count == 0 && r->bad > 0)
        return vt_fail(err, VT_EFORMAT, "no image of %s could be used", vt_source_spec(t->pass->source));
    if (r->count == 0 && r->unlabelled + r->outside > 0)
        return vt_fail(err, VT_EINVAL, "no image of %s has a class%s: there is nothing to count",
                       vt_source_spec(t->pass->source), t->leaves ? " among those that a prediction may be" : "");
    return VT_OK;
}

uint8_t *vt_leaf_mask(const vt_source *source, const int32_t *label_map, int64_t classes, const uint8_t *among)
{
    uint8_t *mask = NULL;
    for (int64_t c = 0; c < vt_source_classes(source); c++) {
        if (vt_source_is_leaf(source, c))
            continue;
        if (!mask) {
            mask = vt_xcalloc((size_t)classes, 1);
            for (int64_t k = 0; k < classes; k++)
                mask[k] = is_in(among, k);
        }
        mask[label_map ? label_map[c] : c] = 0;
    }
    return mask;
}

static vt_status classify(tally *t, int64_t images, vt_err *err)
{
    vt_classification *r = t->result;
    for (int64_t c = 0; c < r->classes; c++)
        r->among += is_in(t->leaves, c);
    if (t->keep)
        VT_TRY(vt_scores_new(t->keep, images, r->among, vt_source_most_labels(t->pass->source), err));
    r->class_count = vt_xcalloc((size_t)r->classes, sizeof(int64_t));
    r->class_right = vt_xcalloc((size_t)r->classes, sizeof(int64_t));
    VT_TRY(vt_eval_run(t->pass, count_rows, t, err));
    r->bad = images - r->count - r->unlabelled - r->outside;
    VT_TRY(check_counts(t, err));
    double n = (double)(r->count > 0 ? r->count : 1);
    r->loss = t->loss / n;
    r->precision = t->precision / n;
    return VT_OK;
}

vt_status vt_classify(const vt_eval_pass *pass, vt_scores *keep, vt_classification *result, vt_err *err)
{
    *result = (vt_classification){.classes = pass->model->config.classes};
    VT_TRY(check_classes(pass, err));
    uint8_t *mask = vt_leaf_mask(pass->source, pass->label_map, result->classes, pass->among);
    tally t = {.pass = pass, .result = result, .keep = keep, .leaves = mask ? mask : pass->among};
    vt_status status = classify(&t, pass->picks ? pass->n_picks : vt_source_count(pass->source), err);
    free(mask);
    return status;
}

void vt_classification_release(vt_classification *c)
{
    free(c->class_count);
    free(c->class_right);
    *c = (vt_classification){0};
}

/* Insertion into the best so far. Not-a-number comes last. */
void vt_top_k(const float *logits, int64_t classes, int k, int64_t *best)
{
    assert(k >= 1 && k <= classes);
    int n = 0;
    for (int64_t c = 0; c < classes; c++) {
        int at = n < k ? n++ : k;
        for (; at > 0; at--) {
            float before = logits[best[at - 1]];
            if (!(logits[c] > before || (isnan(before) && !isnan(logits[c]))))
                break;
            if (at < k)
                best[at] = best[at - 1];
        }
        if (at < k)
            best[at] = c;
    }
}
