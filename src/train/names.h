/* One table from the tensor names of other programs to timm's, which are vitro's: transformers (ViT, DINOv2 with and
 * without registers, SigLIP, CLIP), DINOv2's own, OpenCLIP, big_vision, and timm's themselves. */
#ifndef VT_TRAIN_NAMES_H
#define VT_TRAIN_NAMES_H

#include <stdbool.h>
#include <stdint.h>

/* What happens to the numbers. A flax kernel keeps its inputs first. */
typedef enum {
    VT_NAME_AS_IS,    /* the same order of numbers; sides of 1 in front, and (heads, head width) for width, aside */
    VT_NAME_INPUT1,   /* (in, out ...) -> (out, in) */
    VT_NAME_OUTPUT1,  /* (in ..., out) -> (out, in) */
    VT_NAME_HWIO,     /* (P, P, 3, D) -> (D, 3, P, P) */
    VT_NAME_LEFT_OUT, /* known, and of no use here */
    VT_NAME_REFUSED   /* known, and the model would be another one without it */
} vt_name_how;

/* Which rows of the source become which rows of the target: `taken` of `of` equal parts of the source, from `first` on,
 * are part `part` of `parts` of the target. A whole tensor is 0, 1, 1 -> 0, 1. */
typedef struct {
    int first, taken, of, part, parts;
} vt_name_rows;

typedef struct {
    char target[64]; /* timm's name; empty where left out or refused */
    vt_name_how how;
    vt_name_rows rows;
    bool is_q_or_k; /* its second side, as big_vision keeps it, is the number of heads */
    bool stacked;   /* the source holds every block's, one behind another, and target has "#" for the block */
} vt_name_match;

/* Where the model begins in a file's names: "" or "vit." or "params/". `name` ends with the patch embedding's name of
 * some program: its length without that; else -1. */
int vt_names_prefix(const char *name);

/* Fills up to `most` matches of a name without its prefix (one tensor may hold two of timm's) and returns their number,
 * 0 for an unknown name. outside: the name stands beside the prefix, where only a classifier is the model's. */
int vt_names_match(const char *name, bool outside, vt_name_match *matches, int most);

#endif
