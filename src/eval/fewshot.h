/* Few-shot evaluation by closed-form ridge regression on frozen features (spec 6.1): the same k images of each class as
 * big_vision draws (numpy's default_rng permutation), then ridge.h. Only the drawn images and the test set go through
 * the model, once each, whatever the number of shots and seeds. */
#ifndef VT_EVAL_FEWSHOT_H
#define VT_EVAL_FEWSHOT_H

#include "eval/pass.h"

#define VT_MAX_SHOTS 8
#define VT_MAX_SEEDS 32

typedef struct {
    int shots[VT_MAX_SHOTS], n_shots;
    int n_seeds; /* seeds 0, 1, ..., n_seeds - 1 */
    double l2;   /* lambda, 1024 */
} vt_fewshot_options;

typedef struct {
    int n_shots, n_seeds;
    int shots[VT_MAX_SHOTS];
    int64_t right[VT_MAX_SHOTS][VT_MAX_SEEDS]; /* of test_count */
    double accuracy[VT_MAX_SHOTS][VT_MAX_SEEDS];
    double mean[VT_MAX_SHOTS], deviation[VT_MAX_SHOTS]; /* over seeds; deviation is the sample one */
    int64_t test_count;
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

/* The draw of one seed: samples 0 .. count-1 ordered by class, each class permuted in its turn by one generator. order
 * (count) receives them, class c's from order[first[c]] to order[first[c + 1] - 1], first (classes + 1); k shots are
 * the first k of each class. */
void vt_fewshot_draw(const int32_t *labels, int64_t count, int64_t classes, uint64_t seed, int64_t *first,
                     int64_t *order);

#endif
