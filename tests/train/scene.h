/* A scene for tests of training: a scratch folder, a small recipe on synthetic images, and a way to compare
 * checkpoints. */
#ifndef VT_TESTS_TRAIN_SCENE_H
#define VT_TESTS_TRAIN_SCENE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>

#include <cmocka.h>

#include "train/train.h"

typedef struct {
    char dir[64];
    const char *const *settings; /* overrides that every recipe of the scene begins with, NULL-terminated; or NULL */
} scene;

void scene_make(scene *s);
void scene_remove(scene *s);

/* DIR/name, in one of a few rotating buffers. */
const char *scene_path(const scene *s, const char *name);

/* The small recipe with overrides (NULL-terminated list of "key=value"): width 16, depth 2, MAP, images 12 x 12 in 4
 * classes, 24 steps of 16 images in micro-batches of 8. Fails the test when it is refused. */
vt_recipe scene_recipe(const scene *s, ...);

/* Trains it in DIR/run; returns the status, and the error in err. */
vt_status scene_train(const scene *s, vt_recipe *r, const char *run, const vt_train_observer *o,
                      vt_train_result *result, vt_err *err);

/* SHA-256 over all files of the final checkpoint of DIR/run, names included. */
void scene_hash(const scene *s, const char *run, char hex[VT_HASH_HEX]);

/* Trains with overrides to the end in a run of its own and hashes the final checkpoint. */
void scene_train_and_hash(const scene *s, const char *run, const vt_train_observer *o, vt_recipe r,
                          char hex[VT_HASH_HEX]);

#endif
