/* Classification: top-1, top-5, loss, and accuracy by class. */
#ifndef VT_EVAL_CLASSIFY_H
#define VT_EVAL_CLASSIFY_H

#include "eval/pass.h"
#include "eval/stats.h"

typedef struct {
    int64_t count, classes;
    int64_t unlabelled; /* samples without any class: left out of count and of everything else */
    int64_t right1, right5;
    double loss; /* mean sigmoid cross-entropy */
    /* For each class the samples that have it, and those of them whose prediction is right; malloc'ed. */
    int64_t *class_count, *class_right;
} vt_classification;

/* A prediction counts for top-k when one of the sample's classes has fewer than k before it: those with a larger logit,
 * or an equal one and a smaller index. VT_EINVAL where no sample has a class. */
vt_status vt_classify(const vt_eval_pass *pass, vt_classification *result, vt_err *err) VT_MUST_USE;
void vt_classification_release(vt_classification *c);

/* The k best classes of one row of logits, best first; ties to the smaller index. */
void vt_top_k(const float *logits, int64_t classes, int k, int64_t *best);

#endif
