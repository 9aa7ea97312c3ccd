/* A recipe: what is trained, on what, and how. One table of keys (recipe.c) gives parsing, overrides, messages and
 * docs. */
#ifndef VT_TRAIN_RECIPE_H
#define VT_TRAIN_RECIPE_H

#include "base/keys.h"
#include "data/preprocess.h"
#include "model/model.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

/* Fields in the order of the table; strings are malloc'ed and owned. */
typedef struct {
    struct {
        char *shape;
        int head; /* vt_head_kind */
        int64_t image, classes;
        double head_bias;
    } model;
    struct {
        char *train, *eval;                 /* SPECs; eval "": none */
        char *preprocess, *eval_preprocess; /* lists */
        double value_min, value_max;
        int64_t workers; /* 0: auto */
    } data;
    struct {
        int64_t batch, micro_batch, slices, seed; /* micro_batch 0: auto */
        int recompute;                            /* vt_recompute */
        int64_t threads;                          /* 0: auto */
        double max_minutes;                       /* 0: no limit */
        vt_amount save_every;                     /* 0: only at the end and on a signal */
        int64_t keep, log_every;
    } train;
    struct {
        double lr, decay, decay_head, beta1, beta2_cap, clip;
    } optimizer;
    struct {
        int kind;
        vt_amount length, warmup, cooldown, timescale;
    } schedule;
    struct {
        vt_amount every; /* 0: only at the end */
    } eval;
} vt_recipe;

extern const vt_key vt_recipe_keys[];
extern const size_t vt_n_recipe_keys;

/* Defaults, then the file, then "key=value" overrides; checks required keys. path may name a run folder: its
 * recipe.yaml. */
vt_status vt_recipe_load(vt_recipe *r, const char *path, const char *const *overrides, int n_overrides,
                         vt_err *err) VT_MUST_USE;
void vt_recipe_release(vt_recipe *r);
/* The whole recipe as YAML. */
void vt_recipe_dump(const vt_recipe *r, vt_text *out);

/* A recipe whose amounts, lists and names were turned into what the run needs. */
typedef struct {
    vt_model_config model;
    vt_preprocess preprocess, eval_preprocess;
    vt_pixel_range pixels;
    vt_optimizer_config optimizer;
    vt_schedule schedule;
    int64_t save_every, eval_every; /* steps; 0: only at the end */
    int64_t batch, micro_batch;     /* micro_batch 0 until vt_plan_training has chosen */
    int slices, threads, workers;
    vt_recompute recompute;
    uint32_t seed;
    int64_t images; /* of the whole run: schedule.steps * batch */
} vt_training;

/* epoch_images and classes: of the training data. Messages name the key. */
vt_status vt_recipe_resolve(const vt_recipe *r, int64_t epoch_images, int64_t classes, vt_training *t,
                            vt_err *err) VT_MUST_USE;

/* Compares a stored recipe with the one that a person gives to resume its run. Keys whose value is auto in `given` take
 * the stored value; keys that may change are taken from `given` and appended to changes, a line each; any other
 * difference is VT_EINVAL that lists the keys with both values. */
vt_status vt_recipe_reconcile(vt_recipe *given, const vt_recipe *stored, vt_text *changes, vt_err *err) VT_MUST_USE;

#endif
