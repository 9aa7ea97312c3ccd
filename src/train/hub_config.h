/* config.json of a checkpoint: the form that timm and the Hub read (architecture, model_args, pretrained_cfg,
 * label_names), with a section "vitro" for what they do not know: preprocessing list, MLP width, where training stood.
 */
#ifndef VT_TRAIN_HUB_CONFIG_H
#define VT_TRAIN_HUB_CONFIG_H

#include "train/checkpoint.h"

vt_status vt_hub_config_save(const char *path, const vt_checkpoint_info *info, vt_err *err) VT_MUST_USE;
/* Fills info, which the caller releases also after a failure. Every value is checked before it is used. */
vt_status vt_hub_config_load(const char *path, vt_checkpoint_info *info, vt_err *err) VT_MUST_USE;

#endif
