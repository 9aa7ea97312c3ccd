/* Rules by parameter name (spec 3.4, 3.7): learning-rate factor, weight decay and freezing of whatever a pattern
 * matches, as one text for the recipe:
 *
 *   [head\.weight: decay 3.0, blocks\.[01]\..*: freeze, pos_embed: lr 0.1 decay 0]
 *
 * A rule is PATTERN: PROPERTY ..., the pattern a POSIX extended regular expression that must match a whole name of
 * timm's. Properties: `lr X` multiplies the learning rate, `decay X` replaces optimizer.decay, `freeze`, and `train`
 * for what a later rule would freeze. For each property of a tensor the first matching rule that sets it wins. The
 * outer brackets may be left out; an item may stand in double quotes, as lists in YAML need it. */
#ifndef VT_OPTIM_RULES_H
#define VT_OPTIM_RULES_H

#include "base/status.h"
#include "kernels/tensor.h"

/* Sets lr_factor, decay and frozen of every tensor: 1, -1 and unchanged where no rule speaks (a tensor that the model
 * itself froze stays frozen). An empty text has no rules. VT_EINVAL tells the column of what cannot be read, a rule
 * that matches no tensor, and rules that leave nothing to train. Call it before gradients and optimizer are placed. */
vt_status vt_rules_apply(const char *text, vt_tensor *params, int n_params, vt_err *err) VT_MUST_USE;

/* Layer-wise decay of the learning rate (BEiT's, timm's): lr_factor is multiplied by decay^(depth + 1 - i), i = 0 for
 * what lies before the blocks, 1 .. depth for block i - 1, depth + 1 for the rest (final norm, pooling, head). After
 * vt_rules_apply, which sets lr_factor. */
void vt_layer_decay_apply(double decay, vt_tensor *params, int n_params);

#endif
