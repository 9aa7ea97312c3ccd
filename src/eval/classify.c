/* Top-1, top-5, loss and accuracy by class over one pass (spec 6.3). The rank of an image's class among its logits, the
 * best one where it has several, decides both: top-k is rank < k. Images without a class are left out. The loss comes
 * from the model's own operation; the mean is taken over positions in order, in double. */
#include "eval/classify.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/text.h"
#include "device/device.h"

typedef struct {
    const vt_eval_pass *pass;
    vt_classification *result;
    double loss; /* sum */
} tally;

/* Classes that come before `class`: a larger logit, or an equal one and a smaller index. */
static int64_t rank_of(const float *logits, int64_t classes, int64_t class)
{
    int64_t rank = 0;
    for (int64_t c = 0; c < classes; c++)
        rank += logits[c] > logits[class] || (logits[c] == logits[class] && c < class);
    return rank;
}

/* Rows in the model's width: the classes of each, then -1. */
static void write_labels(const vt_eval_pass *pass, const vt_eval_rows *rows)
{
    int32_t row[VT_MAX_LABELS];
    int width = pass->model->use.label_width;
    for (int64_t i = 0; i < rows->count; i++) {
        for (int k = 0; k < width; k++)
            row[k] = k < rows->width_labels ? rows->labels[i * rows->width_labels + k] : -1;
        vt_device_write(pass->backend->device, pass->model->labels + i * width, row, (size_t)width * sizeof *row);
    }
}

static vt_status add_losses(tally *t, const vt_eval_rows *rows, vt_err *err)
{
    const vt_eval_pass *pass = t->pass;
    vt_model *m = pass->model;
    vt_pass p = {.backend = pass->backend, .samples = rows->count, .slices = pass->slices, .weight = 1};
    p.loss.kind = pass->loss;
    write_labels(pass, rows);
    vt_model_loss(m, &p);
    float loss[256];
    for (int64_t i = 0; i < rows->count; i++) {
        int64_t lane = i % 256, left = rows->count - i;
        if (lane == 0)
            vt_device_read(pass->backend->device, loss, m->loss + i, (size_t)(left < 256 ? left : 256) * sizeof(float));
        if (rows->labels[i * rows->width_labels] >= 0)
            t->loss += (double)loss[lane];
        if (!isfinite(loss[lane])) {
            char name[256];
            return vt_fail(err, VT_EDIVERGED, "the loss of %s is not finite: the model's weights have diverged",
                           vt_eval_name(pass, rows->position + i, name, sizeof name));
        }
    }
    return VT_OK;
}

static void count_row(vt_classification *r, const float *logits, const int32_t *labels, int width)
{
    int64_t best = r->classes;
    if (labels[0] < 0) {
        r->unlabelled++;
        return;
    }
    for (int k = 0; k < width && labels[k] >= 0; k++) {
        int64_t rank = rank_of(logits, r->classes, labels[k]);
        best = rank < best ? rank : best;
    }
    r->count++;
    r->right1 += best < 1;
    r->right5 += best < 5;
    for (int k = 0; k < width && labels[k] >= 0; k++) {
        r->class_count[labels[k]]++;
        r->class_right[labels[k]] += best < 1;
    }
}

static vt_status count_rows(void *context, const vt_eval_rows *rows, vt_err *err)
{
    tally *t = context;
    vt_classification *r = t->result;
    VT_TRY(add_losses(t, rows, err));
    for (int64_t i = 0; i < rows->count; i++)
        count_row(r, rows->logits + i * r->classes, rows->labels + i * rows->width_labels, rows->width_labels);
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

vt_status vt_classify(const vt_eval_pass *pass, vt_classification *result, vt_err *err)
{
    *result = (vt_classification){.classes = pass->model->config.classes};
    VT_TRY(check_classes(pass, err));
    result->class_count = vt_xcalloc((size_t)result->classes, sizeof(int64_t));
    result->class_right = vt_xcalloc((size_t)result->classes, sizeof(int64_t));
    tally t = {.pass = pass, .result = result};
    VT_TRY(vt_eval_run(pass, count_rows, &t, err));
    if (result->count == 0 && result->unlabelled > 0)
        return vt_fail(err, VT_EINVAL, "no image of %s has a class: there is nothing to count",
                       vt_source_spec(pass->source));
    result->loss = t.loss / (double)(result->count > 0 ? result->count : 1);
    return VT_OK;
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
