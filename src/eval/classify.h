/* Classification: top-1, top-5, precision of label sets, loss, and accuracy by class. */
#ifndef VT_EVAL_CLASSIFY_H
#define VT_EVAL_CLASSIFY_H

#include "eval/pass.h"
#include "eval/scores.h"
#include "eval/stats.h"

typedef struct {
    int64_t count, classes;
    int64_t among; /* classes that a prediction may be: leaves of the source's hierarchy, of pass->among where given */
    int64_t unlabelled; /* samples without any class: left out of count and of everything else */
    int64_t outside;    /* samples with classes, but none of those: left out too */
    int64_t bad;        /* samples that could not be used (pass->bad): left out likewise */
    int64_t right1, right5;
    double precision; /* with k its number of classes, the share of them among its k best; mean over samples. Over inner
                       * classes too, where ancestors=on makes them labels */
    bool sets;        /* some sample that counts has several classes */
    double loss;      /* mean, over all classes of the model */
    /* For each class the samples that have it, and those of them whose prediction is right; malloc'ed. */
    int64_t *class_count, *class_right;
} vt_classification;

/* A prediction counts for top-k when one of the sample's classes has fewer than k before it: those with a larger logit,
 * or an equal one and a smaller index. Classes that the source's hierarchy has above others, and those outside of
 * pass->among, are neither predicted nor looked for. VT_EINVAL where no sample has a class. keep, or NULL, receives the
 * logits of the samples that count (the caller's, to release in every case), over the classes that a prediction may be,
 * in their order. */
vt_status vt_classify(const vt_eval_pass *pass, vt_scores *keep, vt_classification *result, vt_err *err) VT_MUST_USE;
void vt_classification_release(vt_classification *c);

/* Which of the model's classes a prediction may be: those of among (NULL: all) but those that the source's hierarchy
 * has above others, found by label_map (NULL: the same numbers). malloc'ed, or NULL where the source has only leaves.
 */
uint8_t *vt_leaf_mask(const vt_source *source, const int32_t *label_map, int64_t classes, const uint8_t *among);

/* The k best classes of one row of logits, best first; ties to the smaller index. */
void vt_top_k(const float *logits, int64_t classes, int k, int64_t *best);

#endif
