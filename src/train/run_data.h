/* The data of a run, opened: what vitro plan plans with is what the run trains with. */
#ifndef VT_TRAIN_RUN_DATA_H
#define VT_TRAIN_RUN_DATA_H

#include "eval/fewshot.h"
#include "train/plan.h"

typedef struct {
    vt_source *train, *eval, *shots, *shots_test; /* all but the first may be NULL */
} vt_run_data;

/* Opens what the keys of data and eval name. Messages name the key; what failed to open may be closed. */
vt_status vt_run_data_open(vt_run_data *d, const vt_recipe *r, vt_err *err) VT_MUST_USE;
void vt_run_data_close(vt_run_data *d); /* {0} is fine */

/* What vt_recipe_resolve asks for. Rows of labels are as wide as any source here needs. */
vt_data_facts vt_run_data_facts(const vt_run_data *d);

/* Their memory for the plan of t, a resolved r; without the cache's index. */
vt_plan_data vt_run_data_memory(const vt_run_data *d, const vt_recipe *r, const vt_training *t);

/* How few-shot accuracy on the way is measured. */
vt_fewshot_options vt_run_data_shots(const vt_recipe *r);

#endif
