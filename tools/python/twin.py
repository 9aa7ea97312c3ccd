# The PyTorch twin of vitro's model: timm's VisionTransformer with the arguments that make it the same function.

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer

GLOBAL_POOL = {"map": "map", "gap": "avg"}


def vision_transformer(*, image, patch, width, depth, heads, mlp, classes, head):
    """The model for a head of 'map' or 'gap'; image is a side or a pair (height, width)."""
    return VisionTransformer(
        img_size=image,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=(mlp + 0.5) / width,  # timm takes int(width * mlp_ratio), which mlp / width can miss by rounding
        num_classes=classes,
        global_pool=GLOBAL_POOL[head],
        class_token=False,
        fc_norm=False,  # timm's default for 'avg' would move the final norm behind the pooling
        act_layer="gelu_tanh",
    )


def sigmoid_cross_entropy(logits, labels):
    """Summed over the classes of one-hot targets, averaged over the batch."""
    targets = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(logits)
