/* Opens the sources of a run: training, evaluation, few-shot accuracy on the way. */
#include "train/run_data.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

#define FEWSHOT_L2 1024.0 /* 2^10, for every data set (spec 6.1) */

/* The source of SPEC; of more than `most` samples (0: any number) the first in the keyed order. */
static vt_status open_source(const char *key, const char *spec, int64_t most, vt_source **source, vt_err *err)
{
    if (vt_source_open(source, spec, err) != VT_OK)
        return vt_prefix(err, "%s", key);
    if (most == 0 || vt_source_count(*source) <= most)
        return VT_OK;
    vt_source_close(*source);
    *source = NULL;
    char *limited = vt_xasprintf("%s%climit=%lld", spec, strchr(spec, '?') ? '&' : '?', (long long)most);
    vt_status status = vt_source_open(source, limited, err);
    free(limited);
    return status == VT_OK ? VT_OK : vt_prefix(err, "%s", key);
}

vt_status vt_run_data_open(vt_run_data *d, const vt_recipe *r, vt_err *err)
{
    const char *test = r->eval.fewshot_test[0] != '\0' ? r->eval.fewshot_test : r->data.eval;
    *d = (vt_run_data){0};
    VT_TRY(vt_recipe_open_source(r, &d->train, err));
    if (r->data.eval[0] != '\0')
        VT_TRY(open_source("data.eval", r->data.eval, 0, &d->eval, err));
    if (r->eval.fewshot[0] == '\0')
        return VT_OK;
    if (test[0] == '\0')
        return vt_fail(err, VT_EINVAL, "eval.fewshot needs images to be measured on; name them by eval.fewshot_test");
    VT_TRY(open_source("eval.fewshot", r->eval.fewshot, 0, &d->shots, err));
    VT_TRY(open_source("eval.fewshot_test", test, r->eval.fewshot_images, &d->shots_test, err));
    return vt_fewshot_check_classes(d->shots, d->shots_test, err);
}

void vt_run_data_close(vt_run_data *d)
{
    vt_source_close(d->train);
    vt_source_close(d->eval);
    vt_source_close(d->shots);
    vt_source_close(d->shots_test);
    *d = (vt_run_data){0};
}

vt_data_facts vt_run_data_facts(const vt_run_data *d)
{
    vt_data_facts facts = {.images = vt_source_is_endless(d->train) ? 0 : vt_source_count(d->train),
                           .classes = vt_source_classes(d->train),
                           .most_labels = vt_source_most_labels(d->train)};
    if (d->eval && vt_source_most_labels(d->eval) > facts.most_labels)
        facts.most_labels = vt_source_most_labels(d->eval);
    return facts;
}

vt_fewshot_options vt_run_data_shots(const vt_recipe *r)
{
    return (vt_fewshot_options){
        .shots = {(int)r->eval.fewshot_shots}, .n_shots = 1, .n_seeds = 1, .l2 = {FEWSHOT_L2}, .n_l2 = 1};
}

vt_plan_data vt_run_data_memory(const vt_run_data *d, const vt_recipe *r, const vt_training *t)
{
    vt_plan_data data = {.sources = vt_source_resident_bytes(d->train), .decode = vt_source_decode_bytes(d->train)};
    const vt_fewshot_options o = vt_run_data_shots(r);
    int64_t features = t->model.representation ? t->model.representation : t->model.width;
    if (d->eval)
        data.sources += vt_source_resident_bytes(d->eval);
    if (d->shots)
        data.fewshot = vt_fewshot_bytes(&o, features, vt_source_classes(d->shots), vt_source_count(d->shots),
                                        vt_source_count(d->shots_test), t->threads) +
                       vt_source_resident_bytes(d->shots) + vt_source_resident_bytes(d->shots_test);
    return data;
}
