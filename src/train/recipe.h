/* A recipe: what is trained, on what, and how. One table of keys (recipe_keys.c) gives parsing, overrides, messages and
 * docs. */
#ifndef VT_TRAIN_RECIPE_H
#define VT_TRAIN_RECIPE_H

#include "base/keys.h"
#include "data/cache.h"
#include "data/preprocess.h"
#include "data/source.h"
#include "model/model.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"

/* What the orientation that a file notes does to its pixels. */
typedef enum { VT_ORIENT_EXIF, VT_ORIENT_NONE } vt_orient_kind;

/* Which images come: each once an epoch, or classes in turns. */
typedef enum { VT_SAMPLING_NATURAL, VT_SAMPLING_BALANCED } vt_sampling;

/* What happens when a number is not finite. */
typedef enum { VT_DIVERGED_STOP, VT_DIVERGED_SKIP } vt_on_divergence;

#define VT_MAX_RECIPE_KEYS 256

/* Fields in the order of the table; strings are malloc'ed and owned. */
typedef struct {
    char *from;         /* checkpoint whose state the run starts from; "": a new training */
    char *init;         /* a model that the parameters begin with; "": drawn anew */
    int init_positions; /* vt_resample */
    struct {
        char *shape;
        int64_t heads;             /* 0: as the shape says */
        int head, positions, gelu; /* vt_head_kind, vt_positions_kind, vt_gelu_kind */
        int64_t representation;
        int class_token; /* vt_token_kind */
        int64_t registers;
        int mlp_kind; /* vt_mlp_kind */
        double layer_scale;
        bool norm_pre, qk_norm, norm_pooled;
        vt_size image;
        int64_t classes;
        char *class_names; /* a file; "": what the data or init's file say */
        double norm_eps, head_bias;
        double dropout, drop_path;
    } model;
    struct {
        char *train, *eval;                 /* SPECs; eval "": none */
        int sampling;                       /* vt_sampling */
        char *preprocess, *eval_preprocess; /* lists */
        int orient;                         /* vt_orient_kind */
        double value_min, value_max;
        char *mean, *std;  /* lists of 3; "": value_min and value_max */
        int64_t workers;   /* 0: auto */
        int cache;         /* vt_cache_kind */
        vt_amount max_bad; /* images, or percent of a source's */
    } data;
    struct {
        int64_t batch, micro_batch, slices, seed; /* micro_batch 0: auto */
        int recompute;                            /* vt_recompute */
        int precision, gradients;                 /* vt_real */
        int64_t threads;                          /* 0: auto */
        double max_minutes;                       /* 0: no limit */
        vt_amount save_every;                     /* 0: only at the end and on a signal */
        bool background_save;
        int64_t keep, log_every, watch_every;
        int on_divergence;    /* vt_on_divergence */
        double stall_minutes; /* 0: no watchdog */
    } train;
    struct {
        int kind; /* row of vt_optimizer_kinds */
        double lr, layer_decay, decay, decay_head, beta1, beta2, eps, clip;
        int moment; /* vt_moment */
        bool exact_beta1;
        char *rules;
        int average; /* vt_average_kind */
        double average_decay;
        vt_amount average_start;
    } optimizer;
    struct {
        int kind, cooldown_kind;
        vt_amount length, warmup, cooldown, timescale, shift;
        double power, end;
    } schedule;
    struct {
        int kind; /* vt_loss_kind */
        double smoothing, mixup;
        char *class_weights; /* none, balanced, or a list */
    } loss;
    struct {
        vt_amount every; /* 0: only at the end */
        char *fewshot, *fewshot_test;
        vt_amount fewshot_every;
        int64_t fewshot_shots, fewshot_images;
    } eval;
    /* Not a key: which rows of the table a person set, by file or override. */
    bool given[VT_MAX_RECIPE_KEYS];
} vt_recipe;

extern const vt_key vt_recipe_keys[];
extern const size_t vt_n_recipe_keys;

/* Defaults, then the file, then "key=value" overrides; checks required keys. path may name a run folder: its
 * recipe.yaml. */
vt_status vt_recipe_load(vt_recipe *r, const char *path, const char *const *overrides, int n_overrides,
                         vt_err *err) VT_MUST_USE;
void vt_recipe_release(vt_recipe *r);
/* A recipe of defaults and overrides alone, without what must be given. */
vt_status vt_recipe_of_overrides(vt_recipe *r, const char *const *overrides, int n_overrides, vt_err *err) VT_MUST_USE;
/* The whole recipe as YAML. */
void vt_recipe_dump(const vt_recipe *r, vt_text *out);

/* A recipe whose amounts, lists and names were turned into what the run needs. */
typedef struct {
    vt_model_config model;
    vt_model_use use; /* without samples */
    vt_preprocess preprocess, eval_preprocess;
    vt_pixel_range pixels;
    vt_optimizer_config optimizer;
    const char *rules; /* the recipe's text; NULL: none */
    vt_schedule schedule;
    vt_loss_kind loss;
    double smoothing, mixup;
    bool class_weights; /* whether there are any */
    size_t cache;       /* bytes of decoded images kept in memory (data.cache): for who opened the cache to set */
    bool snapshot;      /* write checkpoints in the background; vt_plan_training takes it back where there is no room */
    int64_t save_every, eval_every, fewshot_every; /* steps; 0: only at the end */
    int64_t batch, micro_batch;                    /* micro_batch 0 until vt_plan_training has chosen */
    int slices, threads, workers;
    uint32_t seed;
    int64_t images; /* of the whole run: schedule.steps * batch */
} vt_training;

/* The source of data.train in the order of data.sampling. */
vt_status vt_recipe_open_source(const vt_recipe *r, vt_source **source, vt_err *err) VT_MUST_USE;

/* What a recipe must know of its data (run_data.h). */
typedef struct {
    int64_t images, classes; /* images 0: they have no end, and no epochs */
    int most_labels;         /* classes of one sample */
} vt_data_facts;

/* t borrows texts of r. Messages name the key. */
vt_status vt_recipe_resolve(const vt_recipe *r, const vt_data_facts *data, vt_training *t, vt_err *err) VT_MUST_USE;

/* The model alone, with that many classes where model.classes is auto. */
vt_status vt_recipe_model(const vt_recipe *r, int64_t classes, vt_model_config *c, vt_err *err) VT_MUST_USE;

/* What a pixel becomes: data.value_min to data.value_max, or (pixel/255 - data.mean) / data.std. */
vt_status vt_recipe_pixels(const vt_recipe *r, vt_pixel_range *pixels, vt_err *err) VT_MUST_USE;

/* data.max_bad for a source of so many samples. */
int64_t vt_recipe_max_bad(const vt_recipe *r, int64_t samples);

/* loss.class_weights in numbers: weights (t->model.classes floats) from the counts of the training data's classes
 * (data_classes of them; an unused class weighs 1). */
vt_status vt_recipe_class_weights(const vt_recipe *r, const vt_training *t, const int64_t *counts, int64_t data_classes,
                                  int64_t images, float *weights, vt_err *err) VT_MUST_USE;

/* Compares a stored recipe with the one that a person gives to resume its run. Keys whose value is auto in `given` take
 * the stored value; keys that may change are taken from `given` and appended to changes, a line each; any other
 * difference is VT_EINVAL that lists the keys with both values. */
vt_status vt_recipe_reconcile(vt_recipe *given, const vt_recipe *stored, vt_text *changes, vt_err *err) VT_MUST_USE;

#endif
