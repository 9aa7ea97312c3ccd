/* What a recipe becomes: amounts in steps, lists parsed, names looked up. The keys stand in recipe_keys.c. */
#include "train/recipe.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/math.h"
#include "data/bad.h"

/* Marks the key of that name, of `length` bytes, as set by a person. */
static void mark_given(vt_recipe *r, const char *name, size_t length)
{
    for (size_t i = 0; i < vt_n_recipe_keys; i++)
        if (strncmp(vt_recipe_keys[i].name, name, length) == 0 && vt_recipe_keys[i].name[length] == '\0')
            r->given[i] = true;
}

static void set_defaults(vt_recipe *r)
{
    assert(vt_n_recipe_keys <= VT_MAX_RECIPE_KEYS);
    vt_keys_default(vt_recipe_keys, vt_n_recipe_keys, r);
    memset(r->given, 0, sizeof r->given);
}

static vt_status set_overrides(vt_recipe *r, const char *const *overrides, int n, vt_err *err)
{
    for (int i = 0; i < n; i++) {
        VT_TRY(vt_keys_set_override(vt_recipe_keys, vt_n_recipe_keys, r, overrides[i], err));
        mark_given(r, overrides[i], strcspn(overrides[i], "="));
    }
    return VT_OK;
}

vt_status vt_recipe_of_overrides(vt_recipe *r, const char *const *overrides, int n_overrides, vt_err *err)
{
    set_defaults(r);
    vt_status status = set_overrides(r, overrides, n_overrides, err);
    if (status != VT_OK)
        vt_recipe_release(r);
    return status;
}

/* Where a model to begin with is named, its file tells the shape. */
static void leave_shape_open(vt_recipe *r)
{
    if (r->init[0] && !r->model.shape)
        r->model.shape = vt_xstrdup("");
}

vt_status vt_recipe_load(vt_recipe *r, const char *path, const char *const *overrides, int n_overrides, vt_err *err)
{
    vt_yaml yaml = {0};
    char *file = vt_is_dir(path) ? vt_path_join(path, "recipe.yaml") : vt_xstrdup(path);
    set_defaults(r);
    vt_status status = vt_yaml_load(&yaml, file, err);
    if (status == VT_OK)
        status = vt_keys_set_yaml(vt_recipe_keys, vt_n_recipe_keys, r, &yaml, file, err);
    for (size_t i = 0; i < yaml.n && status == VT_OK; i++)
        mark_given(r, yaml.entries[i].key, strlen(yaml.entries[i].key));
    if (status == VT_OK)
        status = set_overrides(r, overrides, n_overrides, err);
    if (status == VT_OK) {
        leave_shape_open(r);
        status = vt_keys_check_required(vt_recipe_keys, vt_n_recipe_keys, r, err);
        if (status != VT_OK)
            (void)vt_prefix(err, "%s", file);
    }
    vt_yaml_release(&yaml);
    free(file);
    if (status != VT_OK)
        vt_recipe_release(r);
    return status;
}

void vt_recipe_release(vt_recipe *r)
{
    vt_keys_release(vt_recipe_keys, vt_n_recipe_keys, r);
}

void vt_recipe_dump(const vt_recipe *r, vt_text *out)
{
    vt_keys_dump(vt_recipe_keys, vt_n_recipe_keys, r, out);
}

vt_status vt_recipe_model(const vt_recipe *r, int64_t classes, vt_model_config *c, vt_err *err)
{
    VT_TRY(vt_model_shape(r->model.shape, c, err));
    c->heads = r->model.heads ? r->model.heads : c->heads;
    c->image_height = r->model.image.height;
    c->image_width = r->model.image.width;
    c->head = r->model.head;
    c->positions = r->model.positions;
    c->gelu = r->model.gelu;
    c->representation = r->model.representation;
    c->class_token = r->model.class_token;
    c->registers = r->model.registers;
    c->mlp_kind = r->model.mlp_kind;
    c->layer_scale = r->model.layer_scale;
    c->norm_pre = r->model.norm_pre;
    c->qk_norm = r->model.qk_norm;
    c->norm_pooled = r->model.norm_pooled;
    c->norm_eps = r->model.norm_eps;
    c->classes = r->model.classes ? r->model.classes : classes;
    if (c->classes < classes)
        return vt_fail(err, VT_EINVAL, "model.classes is %lld, but data.train has %lld classes; raise it or write auto",
                       (long long)c->classes, (long long)classes);
    double quiet = r->loss.kind == VT_LOSS_SIGMOID ? -vt_ln((double)c->classes) : 0;
    c->head_bias = isnan(r->model.head_bias) ? quiet : r->model.head_bias;
    return vt_model_check(c, err);
}

static vt_status resolve_preprocess(const char *key, const char *list, vt_size image, bool may_be_random,
                                    vt_preprocess *p, vt_err *err)
{
    if (vt_preprocess_parse(p, list, err) != VT_OK || vt_preprocess_check(p, image.height, image.width, err) != VT_OK)
        return vt_prefix(err, "%s", key);
    if (!may_be_random && vt_preprocess_is_random(p))
        return vt_fail(err, VT_EINVAL,
                       "%s is %s; an evaluation must not draw random numbers: use resize, resize_small, central_crop, "
                       "center_crop or pad",
                       key, list);
    return VT_OK;
}

static vt_status resolve_amount(const char *key, vt_amount a, const vt_training *t, int64_t epoch_images, int64_t total,
                                int64_t *steps, vt_err *err)
{
    if (vt_amount_steps(a, t->batch, epoch_images, total, steps, err) != VT_OK)
        return vt_prefix(err, "%s", key);
    return VT_OK;
}

static vt_status resolve_schedule(const vt_recipe *r, int64_t epoch_images, vt_training *t, vt_err *err)
{
    vt_schedule *s = &t->schedule;
    int64_t timescale = 0, shift = 0;
    s->kind = r->schedule.kind;
    s->cooldown_kind = r->schedule.cooldown_kind;
    s->power = r->schedule.power;
    s->end = r->schedule.end;
    VT_TRY(resolve_amount("schedule.length", r->schedule.length, t, epoch_images, 0, &s->steps, err));
    VT_TRY(resolve_amount("schedule.warmup", r->schedule.warmup, t, epoch_images, s->steps, &s->warmup, err));
    VT_TRY(resolve_amount("schedule.cooldown", r->schedule.cooldown, t, epoch_images, s->steps, &s->cooldown, err));
    VT_TRY(resolve_amount("schedule.timescale", r->schedule.timescale, t, epoch_images, s->steps, &timescale, err));
    VT_TRY(resolve_amount("schedule.shift", r->schedule.shift, t, epoch_images, s->steps, &shift, err));
    VT_TRY(resolve_amount("optimizer.average_start", r->optimizer.average_start, t, epoch_images, s->steps,
                          &t->optimizer.average_start, err));
    VT_TRY(resolve_amount("train.save_every", r->train.save_every, t, epoch_images, s->steps, &t->save_every, err));
    VT_TRY(resolve_amount("eval.every", r->eval.every, t, epoch_images, s->steps, &t->eval_every, err));
    VT_TRY(
        resolve_amount("eval.fewshot_every", r->eval.fewshot_every, t, epoch_images, s->steps, &t->fewshot_every, err));
    t->snapshot = r->train.background_save && t->save_every > 0;
    s->timescale = (double)timescale;
    s->shift = (double)shift;
    if (s->steps > INT64_MAX / t->batch)
        return vt_fail(err, VT_EINVAL, "schedule.length is %lld steps of %lld images, more than can be counted",
                       (long long)s->steps, (long long)t->batch);
    t->images = s->steps * t->batch;
    return vt_schedule_check(s, err);
}

/* How the model is run, and what its logits are held to. */
static vt_status resolve_use(const vt_recipe *r, const vt_data_facts *data, vt_training *t, vt_err *err)
{
    t->use = (vt_model_use){.label_width = data->most_labels,
                            .train = true,
                            .recompute = (vt_recompute)r->train.recompute,
                            .type = (vt_real)r->train.precision,
                            .dropout = (float)r->model.dropout,
                            .drop_path = (float)r->model.drop_path,
                            .mix = r->loss.mixup > 0};
    t->use.grad_type = (vt_real)r->train.gradients;
    t->loss = (vt_loss_kind)r->loss.kind;
    t->smoothing = r->loss.smoothing;
    t->mixup = r->loss.mixup;
    t->class_weights = strcmp(r->loss.class_weights, "none") != 0;
    if (t->use.grad_type == VT_BF16 && t->micro_batch == 0)
        t->micro_batch = t->batch; /* auto has no other choice */
    if (t->use.grad_type == VT_BF16 && t->micro_batch != t->batch)
        return vt_fail(err, VT_EINVAL,
                       "train.gradients is bf16, which cannot add up micro-batches without losing digits; set "
                       "train.micro_batch to train.batch (%lld), or train.gradients to f32",
                       (long long)t->batch);
    if (t->smoothing > 0 && t->model.classes < 2)
        return vt_fail(err, VT_EINVAL, "loss.smoothing is %g, but there is only one class to share it with",
                       t->smoothing);
    if (t->use.mix && t->batch < 2)
        return vt_fail(err, VT_EINVAL, "loss.mixup mixes images of one batch; train.batch must be at least 2");
    return VT_OK;
}

/* Numbers of a list "[a, b, ...]" between least and most; how many there are, or -1 where the text is no such list or
 * has more than `limit`. */
static int64_t parse_list(const char *p, double least, double most, double *values, int64_t limit)
{
    int64_t n = 0;
    for (p += strspn(p, "[ "); *p != '\0' && *p != ']'; p += strspn(p, ", ")) {
        char number[32];
        double value = 0;
        size_t length = strcspn(p, ", ]");
        (void)snprintf(number, sizeof number, "%.*s", (int)(length < 31 ? length : 31), p);
        if (vt_parse_f64(number, &value, NULL) != VT_OK || !(value >= least && value <= most) || n == limit)
            return -1;
        values[n++] = value;
        p += length;
    }
    return n;
}

vt_status vt_recipe_pixels(const vt_recipe *r, vt_pixel_range *pixels, vt_err *err)
{
    double low = r->data.value_min, high = r->data.value_max, mean[3], std[3];
    if (high <= low)
        return vt_fail(err, VT_EINVAL, "data.value_max is %g; it must be above data.value_min (%g)", high, low);
    *pixels = vt_pixel_range_gray((float)((high - low) / 255.0), (float)low);
    if (r->data.mean[0] == '\0' && r->data.std[0] == '\0')
        return VT_OK;
    if (parse_list(r->data.mean, -1e6, 1e6, mean, 3) != 3)
        return vt_fail(err, VT_EINVAL,
                       "data.mean is \"%.60s\"; beside data.std it must be three numbers, as in "
                       "[0.485, 0.456, 0.406]",
                       r->data.mean);
    if (parse_list(r->data.std, 1e-6, 1e6, std, 3) != 3)
        return vt_fail(err, VT_EINVAL,
                       "data.std is \"%.60s\"; beside data.mean it must be three numbers from 1e-6 to "
                       "1e6, as in [0.229, 0.224, 0.225]",
                       r->data.std);
    for (int c = 0; c < 3; c++) {
        pixels->scale[c] = (float)(1.0 / (255.0 * std[c]));
        pixels->offset[c] = (float)(-mean[c] / std[c]);
    }
    return VT_OK;
}

vt_status vt_recipe_class_weights(const vt_recipe *r, const vt_training *t, const int64_t *counts, int64_t data_classes,
                                  int64_t images, float *weights, vt_err *err)
{
    int64_t classes = t->model.classes;
    for (int64_t c = 0; c < classes; c++) {
        bool counted = c < data_classes && counts[c] > 0;
        weights[c] = counted ? (float)((double)images / ((double)data_classes * (double)counts[c])) : 1.0F;
    }
    if (strcmp(r->loss.class_weights, "balanced") == 0)
        return VT_OK;
    double *list = vt_xcalloc((size_t)classes, sizeof *list);
    int64_t n = parse_list(r->loss.class_weights, 0, 1e6, list, classes);
    for (int64_t c = 0; c < n; c++)
        weights[c] = (float)list[c];
    free(list);
    if (n < 0)
        return vt_fail(err, VT_EINVAL,
                       "loss.class_weights is \"%.60s\"; expected none, balanced, or a list of %lld numbers from 0 to "
                       "1e6, one for each class",
                       r->loss.class_weights, (long long)classes);
    if (n != classes)
        return vt_fail(err, VT_EINVAL, "loss.class_weights lists %lld weights; there are %lld classes", (long long)n,
                       (long long)classes);
    return VT_OK;
}

vt_status vt_recipe_open_source(const vt_recipe *r, vt_source **source, vt_err *err)
{
    vt_status status = vt_source_open(source, r->data.train, err);
    if (status != VT_OK)
        return vt_prefix(err, "data.train");
    if (r->data.sampling == VT_SAMPLING_BALANCED && (status = vt_source_balance(*source, err)) != VT_OK) {
        vt_source_close(*source);
        *source = NULL;
        return vt_prefix(err, "data.sampling");
    }
    return VT_OK;
}

static vt_status check_max_bad(const vt_recipe *r, vt_err *err)
{
    const vt_amount *a = &r->data.max_bad;
    if (a->unit == VT_UNIT_PERCENT || (a->unit == VT_UNIT_IMAGES && a->value <= VT_MAX_BAD))
        return VT_OK;
    if (a->unit == VT_UNIT_IMAGES)
        return vt_fail(err, VT_EINVAL, "data.max_bad is %.0f images; at most %d can be kept account of", a->value,
                       VT_MAX_BAD);
    return vt_fail(err, VT_EINVAL, "data.max_bad counts images: write a number, as in 20, or a share, as in 0.1%%");
}

int64_t vt_recipe_max_bad(const vt_recipe *r, int64_t samples)
{
    const vt_amount *a = &r->data.max_bad;
    double most = a->unit == VT_UNIT_PERCENT ? a->value / 100 * (double)samples : a->value;
    return most < VT_MAX_BAD ? (int64_t)most : VT_MAX_BAD;
}

vt_status vt_recipe_resolve(const vt_recipe *r, const vt_data_facts *data, vt_training *t, vt_err *err)
{
    *t = (vt_training){0};
    VT_TRY(vt_recipe_model(r, data->classes, &t->model, err));
    VT_TRY(resolve_preprocess("data.preprocess", r->data.preprocess, r->model.image, true, &t->preprocess, err));
    VT_TRY(resolve_preprocess("data.eval_preprocess", r->data.eval_preprocess, r->model.image, false,
                              &t->eval_preprocess, err));
    t->preprocess.orient = t->eval_preprocess.orient = r->data.orient == VT_ORIENT_EXIF;
    VT_TRY(vt_recipe_pixels(r, &t->pixels, err));

    VT_TRY(check_max_bad(r, err));
    t->batch = r->train.batch;
    t->micro_batch = r->train.micro_batch;
    t->slices = (int)r->train.slices;
    if (t->micro_batch && t->batch % t->micro_batch != 0)
        return vt_fail(err, VT_EINVAL, "train.micro_batch is %lld; it must divide train.batch (%lld)",
                       (long long)t->micro_batch, (long long)t->batch);
    if ((t->slices & (t->slices - 1)) != 0)
        return vt_fail(err, VT_EINVAL,
                       "train.slices is %d; it must be a power of two, so that partial sums form a balanced tree",
                       t->slices);
    t->threads = r->train.threads ? (int)r->train.threads : vt_machine_cpus();
    t->workers = r->data.workers ? (int)r->data.workers : vt_machine_cpus();
    t->seed = (uint32_t)r->train.seed;
    VT_TRY(resolve_use(r, data, t, err));

    t->rules = r->optimizer.rules[0] != '\0' ? r->optimizer.rules : NULL;
    t->optimizer = (vt_optimizer_config){.kind = r->optimizer.kind,
                                         .lr = r->optimizer.lr,
                                         .layer_decay = r->optimizer.layer_decay,
                                         .decay_body = r->optimizer.decay,
                                         .decay_head = r->optimizer.decay_head,
                                         .beta1 = r->optimizer.beta1,
                                         .beta2 = r->optimizer.beta2,
                                         .eps = r->optimizer.eps,
                                         .clip = r->optimizer.clip,
                                         .moment = r->optimizer.moment,
                                         .exact_decay = r->optimizer.exact_beta1,
                                         .average = r->optimizer.average,
                                         .average_decay = r->optimizer.average_decay};
    return resolve_schedule(r, data->images, t, err);
}

/* Both values of one key, as a person types them. */
static void print_pair(const vt_key *key, const vt_recipe *a, const vt_recipe *b, vt_text *first, vt_text *second)
{
    vt_text_clear(first);
    vt_text_clear(second);
    vt_keys_print(key, a, first);
    vt_keys_print(key, b, second);
}

static bool is_auto(const vt_key *key, const vt_text *value)
{
    return (key->type == VT_KEY_AUTO_I64 || key->type == VT_KEY_AUTO_F64) && strcmp(value->s, "auto") == 0;
}

vt_status vt_recipe_reconcile(vt_recipe *given, const vt_recipe *stored, vt_text *changes, vt_err *err)
{
    vt_text old = {0}, new = {0}, refused = {0};
    vt_status status = VT_OK;
    for (size_t i = 0; i < vt_n_recipe_keys && status == VT_OK; i++) {
        const vt_key *key = &vt_recipe_keys[i];
        print_pair(key, stored, given, &old, &new);
        if (strcmp(old.s, new.s) == 0)
            continue;
        if (key->may_change)
            vt_text_addf(changes, "%s%s: %s -> %s", changes->len ? "\n" : "", key->name, old.s, new.s);
        else if (is_auto(key, &new))
            status = vt_keys_set(vt_recipe_keys, vt_n_recipe_keys, given, key->name, old.s, err);
        else
            vt_text_addf(&refused, "%s%s (%s in the run, now %s)", refused.len ? ", " : "", key->name, old.s, new.s);
    }
    if (status == VT_OK && refused.len)
        status = vt_fail(err, VT_EINVAL,
                         "the run was started with other settings that cannot change on the way: %s; give them as they "
                         "were, or another --run folder",
                         refused.s);
    vt_text_release(&old);
    vt_text_release(&new);
    vt_text_release(&refused);
    return status;
}
