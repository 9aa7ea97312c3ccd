/* A model to start from, whoever made it: a run or checkpoint of vitro's, a safetensors file or a folder of them
 * (timm's, transformers', DINOv2's, OpenCLIP's names), or big_vision's .npz.
 *
 *   vt_foreign_open    lists the tensors, recognises the names, reads the config.json that may lie beside them
 *   vt_foreign_adopt   writes what is known of the model into the keys of a recipe, where nobody has set them; a fact
 *                      that neither shapes nor files tell is an error that names the key
 *   vt_foreign_load    the numbers into a model of that configuration: positions and patches resized where they must be
 *
 * Every tensor of the file is used, or left out by name in the log; every tensor of the model is found, begins anew
 * (log), or is an error. */
#ifndef VT_TRAIN_FOREIGN_H
#define VT_TRAIN_FOREIGN_H

#include "device/device.h"
#include "model/model.h"
#include "train/recipe.h"
#include "train/resample.h"

typedef struct vt_foreign vt_foreign;

/* path: as the key init takes it. *f is NULL after a failure. */
vt_status vt_foreign_open(vt_foreign **f, const char *path, vt_err *err) VT_MUST_USE;
void vt_foreign_close(vt_foreign *f); /* NULL is fine */

/* Whether path is a run or checkpoint of vitro's. */
bool vt_foreign_is_own(const char *path);

/* Sets model.* (but classes and head_bias), data.mean and data.std of r, as r->given allows; and, where it was not
 * given, data.eval_preprocess. Messages name every key that is missing, with its candidates. */
vt_status vt_foreign_adopt(const vt_foreign *f, vt_recipe *r, vt_err *err) VT_MUST_USE;

/* Width of the file's classifier, 0: it has none, or none that takes the features alone; the names of its classes, or
 * NULL where they are bare numbers. */
int64_t vt_foreign_classes(const vt_foreign *f);
char *const *vt_foreign_class_names(const vt_foreign *f);

/* vt_loss_kind that the model is evaluated by: its own, or softmax. */
int vt_foreign_loss(const vt_foreign *f);

/* The key model.class_names: names in place of the file's own; "" is no file. */
vt_status vt_foreign_name_classes(vt_foreign *f, const char *path, vt_err *err) VT_MUST_USE;

/* What the model is for. */
typedef struct {
    char *const *class_names; /* of the model's classes, or NULL where they are bare numbers */
    bool any_classes;         /* take the classifier as it is, whatever the names */
    vt_resample positions;    /* the key init_positions */
} vt_foreign_use;

/* The classifier is taken where its classes are the model's by name, in the model's order; else it stays as it is (the
 * caller's initial values), as does a MAP head that the file lacks. Memory: two copies of the largest tensor. */
vt_status vt_foreign_load(vt_foreign *f, vt_model *m, vt_device *device, const vt_foreign_use *use,
                          vt_err *err) VT_MUST_USE;

/* With the key init: opens, adopts, closes. Without: nothing. */
vt_status vt_init_adopt(vt_recipe *r, vt_err *err) VT_MUST_USE;

#endif
