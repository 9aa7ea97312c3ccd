/* Few-shot evaluation by closed-form ridge regression on frozen features (spec 6.1): the same k images of each class as
 * big_vision draws (numpy's default_rng permutation), then ridge.h. Only the drawn images and the test set go through
 * the model, once each, whatever the number of shots, seeds and l2. With all images of the pool instead of a few it is
 * a linear probe: the pool passes by once, and only sums over it are kept. */
#ifndef VT_EVAL_FEWSHOT_H
#define VT_EVAL_FEWSHOT_H

#include "eval/pass.h"

#define VT_MAX_SHOTS 8
#define VT_MAX_SEEDS 32
#define VT_MAX_L2    32

typedef struct {
    bool all; /* every image of the pool, once; shots and seeds are not looked at */
    int shots[VT_MAX_SHOTS], n_shots;
    int n_seeds;          /* seeds 0, 1, ..., n_seeds - 1 */
    double l2[VT_MAX_L2]; /* lambda, 1024 */
    int n_l2;
} vt_fewshot_options;

/* Of one l2 and number of shots. */
typedef struct {
    int64_t right[VT_MAX_SEEDS]; /* of test_count */
    double mean, deviation;      /* of the accuracy over seeds; deviation is the sample one */
} vt_fewshot_score;

typedef struct {
    int n_shots, n_seeds, n_l2; /* 1, 1, n_l2 with all */
    int shots[VT_MAX_SHOTS];
    double l2[VT_MAX_L2];
    vt_fewshot_score scores[VT_MAX_L2][VT_MAX_SHOTS];
    int64_t test_count, pool_count;
    int64_t fewest; /* of any class in the pool: classes with fewer images than shots give fewer */
} vt_fewshot_result;

/* train: pass over the pool the shots are drawn from (its picks are set here); test: pass over the test set. Classes
 * are the pool's; those of the test set must be the same in the same order, or test->label_map leads to them (train's
 * is NULL). VT_EINVAL: options out of range, other classes; VT_ENOMEM; and whatever a pass or a fit meets. */
vt_status vt_fewshot(const vt_eval_pass *train, const vt_eval_pass *test, const vt_fewshot_options *o,
                     vt_fewshot_result *r, vt_err *err) VT_MUST_USE;

/* Both must have the same classes in one order; VT_EINVAL shows the first difference. */
vt_status vt_fewshot_check_classes(const vt_source *pool, const vt_source *test, vt_err *err) VT_MUST_USE;

/* Host bytes that vt_fewshot takes at most beside what its passes take, for the plan. Options as vt_fewshot asks. */
size_t vt_fewshot_bytes(const vt_fewshot_options *o, int64_t width, int64_t classes, int64_t pool_count,
                        int64_t test_count, int threads);

/* The l2 sweep of spec 6.2: which of n_l2 is best for all data sets together, from their accuracies (sets, n_l2). In
 * each set the l2 are ranked, 0 for the worst; of equal ones the later ranks higher (argsort of argsort). The largest
 * mean of ranks wins, the first on ties. ranks (n_l2) receives the means, or is NULL. n_l2 <= VT_MAX_L2. */
int vt_fewshot_choose(const double *accuracy, int sets, int n_l2, double *ranks);

/* The draw of one seed: samples 0 .. count-1 ordered by class, each class permuted in its turn by one generator. order
 * (count) receives them, class c's from order[first[c]] to order[first[c + 1] - 1], first (classes + 1); k shots are
 * the first k of each class. */
void vt_fewshot_draw(const int32_t *labels, int64_t count, int64_t classes, uint64_t seed, int64_t *first,
                     int64_t *order);

#endif
