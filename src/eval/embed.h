/* Features of a collection as NumPy arrays, written while they are computed. Beside STEM.npy lie STEM.labels.npy,
 * STEM.keys.txt and STEM.classes.txt, and STEM.logits.npy where asked for. */
#ifndef VT_EVAL_EMBED_H
#define VT_EVAL_EMBED_H

#include "eval/pass.h"

/* Runs the pass and writes, row i being sample i (or picks[i]):
 *   STEM.npy          (count, feature_width) float32: the vector before the classifier
 *   STEM.logits.npy   (count, classes of the model) float32; only with `logits`
 *   STEM.labels.npy   int64, the source's class (count), or (count, most classes of a sample) filled with -1 where
 *                     labels=FILE gives some none or several
 *   STEM.keys.txt     the samples' names, a line each; control characters as \xHH
 *   STEM.classes.txt  the source's class names, a line each
 * path is STEM.npy. Every file has another name until all are complete; STEM.npy gets its name last. VT_EINVAL: path
 * does not end in .npy, or logits of a model without classifier; VT_EDIVERGED: a feature is not finite. */
vt_status vt_embed(const vt_eval_pass *pass, const char *path, bool logits, vt_err *err) VT_MUST_USE;

#endif
