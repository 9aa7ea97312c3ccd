/* What the files of a foreign model share: foreign.c (tensors and names), facts.c and facts_config.c
 * (configuration), foreign_load.c. */
#ifndef VT_TRAIN_FOREIGN_INTERNAL_H
#define VT_TRAIN_FOREIGN_INTERNAL_H

#include <jansson.h>

#include "base/text.h"
#include "train/checkpoint.h"
#include "train/foreign.h"
#include "train/names.h"
#include "train/weights.h"

/* A tensor as timm has it, put together from one or more of the file's. */
typedef struct {
    char name[64];
    int n_dims; /* after vt_foreign_strip */
    int64_t dims[VT_WEIGHT_DIMS];
    int parts;
    unsigned covered; /* a bit for each part that the file has */
} vt_foreign_tensor;

/* One of the file's tensors, or a block of it, and where it goes. */
typedef struct {
    int weight, tensor;
    vt_name_match match;
    int64_t layer, layers; /* of a stacked one: which block of how many; else 0, 1 */
    int64_t src_dims[VT_WEIGHT_DIMS];
    int n_src_dims; /* without the stacking axis */
} vt_foreign_piece;

struct vt_foreign {
    char *path;   /* as given */
    char *folder; /* that config.json may lie in, or NULL */
    vt_weights weights;
    bool own;                      /* vitro's */
    bool flax;                     /* big_vision's names */
    vt_checkpoint_info info;       /* of its own */
    json_t *config, *preprocessor; /* config.json and preprocessor_config.json, or NULL */
    char prefix[64];
    vt_foreign_piece *pieces;
    int n_pieces;
    vt_foreign_tensor *tensors;
    int n_tensors;
    json_t *index;      /* name -> number in tensors */
    int64_t heads_seen; /* big_vision's shapes tell; else 0 */
    char **class_names;
    int64_t n_class_names;
    vt_text left_out; /* names, for the log */
};

/* Programs differ in the sides of 1 in front of tokens and positions: takes them away there. */
void vt_foreign_strip(const char *name, int64_t *dims, int *n_dims);

const vt_foreign_tensor *vt_foreign_tensor_of(const vt_foreign *f, const char *name);

/* What the shapes tell. */
typedef struct {
    int64_t width, depth, mlp, patch, representation;
    int64_t positions; /* rows of pos_embed; 0: none */
    bool class_token, map, swiglu, layer_scale, norm_pre, qk_norm, norm_pooled;
    int64_t registers, head_width; /* head_width: of q_norm; 0: not told */
} vt_foreign_shape;
vt_status vt_foreign_shape_of(const vt_foreign *f, vt_foreign_shape *s, vt_err *err) VT_MUST_USE;

/* The grid that pos_embed covers, and whether its first row is the class token's. image: a side pair that may be meant
 * (0: none). */
vt_status vt_foreign_grid(const vt_foreign *f, const vt_foreign_shape *s, vt_size image, int64_t *rows, int64_t *cols,
                          bool *class_row, vt_err *err) VT_MUST_USE;

/* The images of the file's own positions as config.json tells; 0 x 0: it does not. */
vt_size vt_foreign_image(const vt_foreign *f);

enum { VT_MAX_FACTS = 24, VT_FACT_BYTES = 160 };

/* Keys and their values as a person would type them. */
typedef struct {
    struct {
        const char *key;
        char value[VT_FACT_BYTES];
    } list[VT_MAX_FACTS];
    int n;
} vt_facts;
void vt_facts_tell(vt_facts *s, const char *key, const char *fmt, ...) VT_PRINTF(3, 4);

/* What the program that wrote the file tells of the model and its pixels, in config.json or by its habits. */
void vt_facts_of_config(const vt_foreign *f, const vt_foreign_shape *shape, vt_facts *list);
/* What evaluation does to an image, as that program does it, for a model of images of this size: an operation list. */
void vt_facts_preprocess(const vt_foreign *f, vt_size image, char list[VT_FACT_BYTES]);

#endif
