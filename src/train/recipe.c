/* The table of recipe keys, and what a recipe becomes: amounts in steps, lists parsed, names looked up.
 *
 * Everything that a person can set stands in vt_recipe_keys, once; base/keys.c hangs parsing, overrides, messages and
 * the reference page (docs/recipe.md) on it. */
#include "train/recipe.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/machine.h"
#include "base/math.h"

static const char *const recompute_names[] = {"none", "block", NULL};

#define AT(field) offsetof(vt_recipe, field)
#define NO_LIMIT  1e18

const vt_key vt_recipe_keys[] = {
    {"model.shape", VT_KEY_STRING, AT(model.shape), NULL, 0, 0, NULL, NULL, false,
     "a name with its patch, S/16 or ti/28 or G/14, or a free shape like w64-d4-m256-h4-p7 (width, depth, MLP width, "
     "heads, patch)"},
    {"model.head", VT_KEY_ENUM, AT(model.head), "map", 0, 0, vt_head_names, NULL, false,
     "how tokens become one vector: map (attention pooling, the paper's) or gap (mean)"},
    {"model.image", VT_KEY_I64, AT(model.image), NULL, 1, 65536, NULL, "pixels", false,
     "side of the square images that the model sees; preprocessing must end at this size"},
    {"model.classes", VT_KEY_AUTO_I64, AT(model.classes), "auto", 0, 1 << 24, NULL, "classes", false,
     "width of the classifier; auto takes the number of classes of data.train"},
    {"model.head_bias", VT_KEY_AUTO_F64, AT(model.head_bias), "auto", -100, 100, NULL, NULL, false,
     "initial bias of the classifier; auto is -ln(classes), so that sigmoid losses start small (the paper: -10 for "
     "29,593 classes)"},

    {"data.train", VT_KEY_STRING, AT(data.train), NULL, 0, 0, NULL, NULL, false,
     "training images: a DATA spec (vitro data -h)"},
    {"data.eval", VT_KEY_STRING, AT(data.eval), "", 0, 0, NULL, NULL, false,
     "evaluation images: a DATA spec; empty for none"},
    {"data.preprocess", VT_KEY_STRING, AT(data.preprocess), NULL, 0, 0, NULL, NULL, false,
     "what happens to a training image: a list of operations, [inception_crop(224), flip]"},
    {"data.eval_preprocess", VT_KEY_STRING, AT(data.eval_preprocess), NULL, 0, 0, NULL, NULL, false,
     "what happens to an image that is evaluated or predicted: a list without randomness, [resize_small(256), "
     "central_crop(224)]"},
    {"data.value_min", VT_KEY_F64, AT(data.value_min), "-1", -1e6, 1e6, NULL, NULL, false,
     "the value that a pixel of 0 becomes"},
    {"data.value_max", VT_KEY_F64, AT(data.value_max), "1", -1e6, 1e6, NULL, NULL, false,
     "the value that a pixel of 255 becomes"},
    {"data.workers", VT_KEY_AUTO_I64, AT(data.workers), "auto", 0, 256, NULL, "threads", true,
     "threads that read, decode and preprocess; never changes results"},

    {"train.batch", VT_KEY_I64, AT(train.batch), "256", 1, 1 << 24, NULL, "images", false, "images in one update"},
    {"train.micro_batch", VT_KEY_AUTO_I64, AT(train.micro_batch), "auto", 0, 1 << 24, NULL, "images", false,
     "images in one pass, a divisor of train.batch; auto chooses by memory once, and the run's recipe keeps the "
     "choice"},
    {"train.slices", VT_KEY_I64, AT(train.slices), "8", 1, VT_MAX_SLICES, NULL, NULL, false,
     "partial sums over the samples of a micro-batch, added as a balanced tree; a power of two"},
    {"train.seed", VT_KEY_I64, AT(train.seed), "0", 0, 4294967295.0, NULL, NULL, false,
     "the key of all random numbers"},
    {"train.recompute", VT_KEY_ENUM, AT(train.recompute), "none", 0, 0, recompute_names, NULL, true,
     "block keeps only each block's input and computes the rest again in the backward pass: less memory, a third more "
     "work, and the same bytes for the same micro-batch"},
    {"train.threads", VT_KEY_AUTO_I64, AT(train.threads), "auto", 0, 1024, NULL, "threads", true,
     "threads that compute; never changes results"},
    {"train.max_minutes", VT_KEY_F64, AT(train.max_minutes), "0", 0, NO_LIMIT, NULL, "minutes", true,
     "start the cooldown early so that the run ends within this time, all its parts together; 0 for no limit"},
    {"train.save_every", VT_KEY_AMOUNT, AT(train.save_every), "0", 0, NO_LIMIT, NULL, NULL, true,
     "how often a checkpoint is written; one is always written at the end and on a signal"},
    {"train.keep", VT_KEY_I64, AT(train.keep), "2", 1, 1 << 20, NULL, "checkpoints", true,
     "how many of the newest checkpoints stay on disk"},
    {"train.log_every", VT_KEY_I64, AT(train.log_every), "10", 1, 1 << 30, NULL, "steps", true,
     "how often metrics.jsonl gets a line"},

    {"optimizer.lr", VT_KEY_F64, AT(optimizer.lr), "8e-4", 0, 1000, NULL, NULL, false,
     "peak learning rate, reached after the warm-up"},
    {"optimizer.decay", VT_KEY_F64, AT(optimizer.decay), "0.03", 0, 1000, NULL, NULL, false,
     "weight decay of the body's matrices, times lr (decoupled)"},
    {"optimizer.decay_head", VT_KEY_F64, AT(optimizer.decay_head), "3.0", 0, 1e5, NULL, NULL, false,
     "weight decay of the classifier's matrix, times lr: strong decay here serves few-shot transfer (the paper, 3.1)"},
    {"optimizer.beta1", VT_KEY_F64, AT(optimizer.beta1), "0.9", 0, 0.9999, NULL, NULL, false,
     "decay of the first moment, which is stored in bf16"},
    {"optimizer.beta2_cap", VT_KEY_F64, AT(optimizer.beta2_cap), "0.999", 0, 0.999999, NULL, NULL, false,
     "upper limit of the second moment's decay 1 - k^-0.8"},
    {"optimizer.clip", VT_KEY_F64, AT(optimizer.clip), "1.0", 0, NO_LIMIT, NULL, NULL, false,
     "largest global norm of the gradient; 0 for no clipping"},

    {"schedule.name", VT_KEY_ENUM, AT(schedule.kind), "rsqrt", 0, 0, vt_schedule_names, NULL, false,
     "shape of the learning-rate curve"},
    {"schedule.length", VT_KEY_AMOUNT, AT(schedule.length), NULL, 0, NO_LIMIT, NULL, NULL, false,
     "how long to train: 30 epochs, 2M images, 10k steps"},
    {"schedule.warmup", VT_KEY_AMOUNT, AT(schedule.warmup), "5%", 0, NO_LIMIT, NULL, NULL, false, "linear rise from 0"},
    {"schedule.cooldown", VT_KEY_AMOUNT, AT(schedule.cooldown), "20%", 0, NO_LIMIT, NULL, NULL, false,
     "linear fall to 0 at the end"},
    {"schedule.timescale", VT_KEY_AMOUNT, AT(schedule.timescale), "10k steps", 1, NO_LIMIT, NULL, NULL, false,
     "of rsqrt: the curve is 1/sqrt(1 + (t - warmup)/timescale)"},

    {"eval.every", VT_KEY_AMOUNT, AT(eval.every), "0", 0, NO_LIMIT, NULL, NULL, true,
     "how often data.eval is evaluated; always at the end; never changes the training"},
};
const size_t vt_n_recipe_keys = VT_COUNT_OF(vt_recipe_keys);

vt_status vt_recipe_load(vt_recipe *r, const char *path, const char *const *overrides, int n_overrides, vt_err *err)
{
    vt_yaml yaml = {0};
    char *file = vt_is_dir(path) ? vt_path_join(path, "recipe.yaml") : vt_xstrdup(path);
    vt_keys_default(vt_recipe_keys, vt_n_recipe_keys, r);
    vt_status status = vt_yaml_load(&yaml, file, err);
    if (status == VT_OK)
        status = vt_keys_set_yaml(vt_recipe_keys, vt_n_recipe_keys, r, &yaml, file, err);
    for (int i = 0; i < n_overrides && status == VT_OK; i++)
        status = vt_keys_set_override(vt_recipe_keys, vt_n_recipe_keys, r, overrides[i], err);
    if (status == VT_OK) {
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

static vt_status resolve_model(const vt_recipe *r, int64_t classes, vt_training *t, vt_err *err)
{
    vt_model_config *c = &t->model;
    VT_TRY(vt_model_shape(r->model.shape, c, err));
    c->image_height = c->image_width = r->model.image;
    c->head = r->model.head;
    c->classes = r->model.classes ? r->model.classes : classes;
    if (c->classes < classes)
        return vt_fail(err, VT_EINVAL, "model.classes is %lld, but data.train has %lld classes; raise it or write auto",
                       (long long)c->classes, (long long)classes);
    c->head_bias = isnan(r->model.head_bias) ? -vt_ln((double)c->classes) : r->model.head_bias;
    return vt_model_check(c, err);
}

static vt_status resolve_preprocess(const char *key, const char *list, int64_t image, bool may_be_random,
                                    vt_preprocess *p, vt_err *err)
{
    if (vt_preprocess_parse(p, list, err) != VT_OK || vt_preprocess_check(p, image, image, err) != VT_OK)
        return vt_prefix(err, "%s", key);
    if (!may_be_random && vt_preprocess_is_random(p))
        return vt_fail(
            err, VT_EINVAL,
            "%s is %s; an evaluation must not draw random numbers: use resize, resize_small, central_crop or pad", key,
            list);
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
    int64_t timescale = 0;
    s->kind = r->schedule.kind;
    VT_TRY(resolve_amount("schedule.length", r->schedule.length, t, epoch_images, 0, &s->steps, err));
    VT_TRY(resolve_amount("schedule.warmup", r->schedule.warmup, t, epoch_images, s->steps, &s->warmup, err));
    VT_TRY(resolve_amount("schedule.cooldown", r->schedule.cooldown, t, epoch_images, s->steps, &s->cooldown, err));
    VT_TRY(resolve_amount("schedule.timescale", r->schedule.timescale, t, epoch_images, s->steps, &timescale, err));
    VT_TRY(resolve_amount("train.save_every", r->train.save_every, t, epoch_images, s->steps, &t->save_every, err));
    VT_TRY(resolve_amount("eval.every", r->eval.every, t, epoch_images, s->steps, &t->eval_every, err));
    s->timescale = (double)timescale;
    if (s->steps > INT64_MAX / t->batch)
        return vt_fail(err, VT_EINVAL, "schedule.length is %lld steps of %lld images, more than can be counted",
                       (long long)s->steps, (long long)t->batch);
    t->images = s->steps * t->batch;
    return vt_schedule_check(s, err);
}

vt_status vt_recipe_resolve(const vt_recipe *r, int64_t epoch_images, int64_t classes, vt_training *t, vt_err *err)
{
    *t = (vt_training){0};
    VT_TRY(resolve_model(r, classes, t, err));
    VT_TRY(resolve_preprocess("data.preprocess", r->data.preprocess, r->model.image, true, &t->preprocess, err));
    VT_TRY(resolve_preprocess("data.eval_preprocess", r->data.eval_preprocess, r->model.image, false,
                              &t->eval_preprocess, err));
    if (r->data.value_max <= r->data.value_min)
        return vt_fail(err, VT_EINVAL, "data.value_max is %g; it must be above data.value_min (%g)", r->data.value_max,
                       r->data.value_min);
    t->pixels = (vt_pixel_range){(float)((r->data.value_max - r->data.value_min) / 255.0), (float)r->data.value_min};

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
    t->recompute = (vt_recompute)r->train.recompute;
    t->seed = (uint32_t)r->train.seed;

    t->optimizer = (vt_optimizer_config){.lr = r->optimizer.lr,
                                         .decay_body = r->optimizer.decay,
                                         .decay_head = r->optimizer.decay_head,
                                         .beta1 = r->optimizer.beta1,
                                         .beta2_cap = r->optimizer.beta2_cap,
                                         .clip = r->optimizer.clip};
    return resolve_schedule(r, epoch_images, t, err);
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
