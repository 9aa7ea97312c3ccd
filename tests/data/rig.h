/* A loader over a source, as tests of data/ put it together. */
#ifndef VT_TESTS_DATA_RIG_H
#define VT_TESTS_DATA_RIG_H

#include "base/hash.h"
#include "data/loader.h"

typedef struct {
    vt_source *source;
    vt_preprocess preprocess;
    vt_loader_options options;
    void *ring;
    vt_loader *loader;
} rig;

void rig_open(rig *r, const char *spec, const char *list);
/* Starts the loader of r->options, whose source, list and (where 0) width of labels are filled in. */
void rig_start(rig *r);
void rig_stop(rig *r);
/* A hash of all batches of a run; *batches and *samples are counted. */
void rig_hash(rig *r, char hex[VT_HASH_HEX], int64_t *batches, int64_t *samples);
/* A folder of 60 images of 8 x 8 pixels, of which these are text. */
void rig_folder(const char *dir, const int *bad, int n_bad);

#endif
