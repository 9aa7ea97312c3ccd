/* Classification: top-1, top-5, precision of label sets, loss, and accuracy by class. */
#ifndef VT_EVAL_CLASSIFY_H
#define VT_EVAL_CLASSIFY_H

#include "eval/pass.h"
#include "eval/scores.h"
#include "eval/stats.h"

typedef struct {
    int64_t count, classes;
    int64_t among;      /* classes that a prediction may be: all, or those of pass->among */
    int64_t unlabelled; /* samples without any class: left out of count and of everything else */
    int64_t outside;    /* samples with classes, but none of pass->among: left out too */
    int64_t bad;        /* samples that could not be used (pass->bad): left out likewise */
    int64_t right1, right5;
    double precision; /* with k its number of classes, the share of them among its k best; mean over samples */
    bool sets;        /* some sample that counts has several classes */
    double loss;      /* mean, over all classes of the model */
    /* For each class the samples that have it, and those of them whose prediction is right; malloc'ed. */
    int64_t *class_count, *class_right;
} vt_classification;

/* A prediction counts for top-k when one of the sample's classes has fewer than k before it: those with a larger logit,
 * or an equal one and a smaller index. With pass->among, classes outside of it are neither predicted nor looked for.
 * VT_EINVAL where no sample has a class. keep, or NULL, receives the logits of the samples that count (the caller's, to
 * release in every case); its classes are those of pass->among in their order. */
vt_status vt_classify(const vt_eval_pass *pass, vt_scores *keep, vt_classification *result, vt_err *err) VT_MUST_USE;
void vt_classification_release(vt_classification *c);

/* The k best classes of one row of logits, best first; ties to the smaller index. */
void vt_top_k(const float *logits, int64_t classes, int k, int64_t *best);

#endif
