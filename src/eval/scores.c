/* See scores.h. Average precision sorts one class's column at a time. */
#include "eval/scores.h"

#include <stdlib.h>

#include "base/machine.h"

size_t vt_scores_bytes(int64_t capacity, int64_t classes, int width)
{
    return (size_t)capacity * ((size_t)classes * sizeof(float) + (size_t)width * sizeof(int32_t));
}

vt_status vt_scores_new(vt_scores *s, int64_t capacity, int64_t classes, int width, vt_err *err)
{
    size_t bytes = vt_scores_bytes(capacity, classes, width);
    *s = (vt_scores){.classes = classes, .width = width};
    if (bytes <= vt_machine_memory()) {
        s->logits = malloc((size_t)(capacity * classes) * sizeof *s->logits + 1);
        s->labels = malloc((size_t)capacity * (size_t)width * sizeof *s->labels + 1);
    }
    if (!s->logits || !s->labels) {
        char need[32], have[32];
        vt_scores_release(s);
        return vt_fail(err, VT_ENOMEM,
                       "keeping the logits of %lld images in %lld classes needs %s, of %s that this machine has; take "
                       "fewer images (limit=N)",
                       (long long)capacity, (long long)classes, vt_format_bytes(need, (double)bytes),
                       vt_format_bytes(have, (double)vt_machine_memory()));
    }
    return VT_OK;
}

void vt_scores_release(vt_scores *s)
{
    free(s->logits);
    free(s->labels);
    *s = (vt_scores){0};
}

typedef struct {
    float logit;
    int64_t image;
} ranked;

static int falling(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return (x->image > y->image) - (x->image < y->image);
}

static int has_class(const vt_scores *s, int64_t image, int64_t class)
{
    const int32_t *row = s->labels + image * s->width;
    for (int k = 0; k < s->width && row[k] >= 0; k++)
        if (row[k] == class)
            return 1;
    return 0;
}

/* 0 where the class has no image. */
static double average_precision(const vt_scores *s, int64_t class, ranked *order)
{
    double sum = 0;
    int64_t found = 0;
    for (int64_t i = 0; i < s->count; i++)
        order[i] = (ranked){s->logits[i * s->classes + class], i};
    qsort(order, (size_t)s->count, sizeof *order, falling);
    for (int64_t i = 0; i < s->count; i++)
        if (has_class(s, order[i].image, class))
            sum += (double)++found / (double)(i + 1);
    return found > 0 ? sum / (double)found : 0;
}

double vt_mean_average_precision(const vt_scores *s, int64_t *met)
{
    double sum = 0;
    ranked *order = vt_xcalloc((size_t)s->count + 1, sizeof *order);
    char *seen = vt_xcalloc((size_t)s->classes, 1);
    *met = 0;
    for (int64_t i = 0; i < s->count * s->width; i++)
        if (s->labels[i] >= 0)
            seen[s->labels[i]] = 1;
    for (int64_t c = 0; c < s->classes; c++)
        if (seen[c]) {
            sum += average_precision(s, c, order);
            ++*met;
        }
    free(seen);
    free(order);
    return *met > 0 ? sum / (double)*met : 0;
}
