# The PyTorch twin of vitro: timm's VisionTransformer with the arguments that make it the same function, and the paper's
# loss, optimizer and schedule as vitro computes them.

import math

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


def second_moment_matrices(name, tensor, heads, min_side=32):
    """The tensor as the matrices of its factored second moment, (blocks, rows, columns); None for what is not factored.

    Each attention head is a matrix of its own, as in the paper's code base.
    """
    if tensor.ndim < 2 or name.endswith("latent"):
        return None
    if name.endswith(("qkv.weight", ".q.weight", ".kv.weight")):
        matrices = tensor.view(-1, tensor.shape[1] // heads, tensor.shape[1])
    elif name.endswith("proj.weight") and tensor.ndim == 2:
        matrices = tensor.view(tensor.shape[0], heads, -1).permute(1, 0, 2)
    elif tensor.ndim == 4:  # the patch projection: a matrix for each colour and row of a patch
        matrices = tensor.view(tensor.shape[0], -1, tensor.shape[3]).permute(1, 0, 2)
    else:
        matrices = tensor.view(1, -1, tensor.shape[-1])
    return matrices if min(matrices.shape[1:]) >= min_side else None


def decay_of(name, body, head):
    """Weight decay applies to the kernels alone; the classifier has its own."""
    if name == "head.weight":
        return head
    return body if name.endswith(".weight") and "norm" not in name else 0.0


def rsqrt_schedule(t, *, steps, warmup, cooldown, timescale):
    """The factor of the learning rate for update t = 0, 1, ...: its peak is 1."""
    up = t / warmup if t < warmup else 1.0
    down = (steps - t) / cooldown if steps - t < cooldown else 1.0
    return up * down / math.sqrt(1 + max(0, t - warmup) / timescale)


class Adafactor:
    """The paper's modified Adafactor, with clipping by the global norm before and decoupled weight decay behind it: a
    first moment kept in bf16, no step relative to the parameter, a second moment whose decay is capped.
    """

    TINY = 1e-30  # added to squared gradients

    def __init__(self, named_parameters, *, heads, lr, decay_body, decay_head, beta1, beta2_cap, clip, min_side=32):
        self.lr, self.beta1, self.beta2_cap, self.clip = lr, beta1, beta2_cap, clip
        self.updates = 0
        self.rows = []
        for name, parameter in named_parameters:

            def view(tensor, name=name):
                return second_moment_matrices(name, tensor, heads, min_side)

            matrices = view(parameter.data)
            shapes = [parameter.shape] if matrices is None else [matrices.shape[:2], matrices.shape[::2]]
            self.rows.append(
                {
                    "parameter": parameter,
                    "view": view,
                    "momentum": torch.zeros_like(parameter.data, dtype=torch.bfloat16),
                    "moments": [torch.zeros(shape) for shape in shapes],
                    "decay": decay_of(name, decay_body, decay_head),
                }
            )

    def clip_scale(self):
        norms = torch._foreach_norm([row["parameter"].grad for row in self.rows])
        norm = torch.linalg.vector_norm(torch.stack(norms)).item()
        return norm, (self.clip / norm if 0 < self.clip <= norm else 1.0)

    def precondition(self, row, gradient, beta2):
        """The gradient divided by the root of its second moment."""
        moments = row["moments"]
        if len(moments) == 1:
            moments[0].mul_(beta2).add_(gradient.square().add_(self.TINY), alpha=1 - beta2)
            return gradient / moments[0].sqrt()
        matrices = row["view"](gradient)
        squares = matrices.square().add_(self.TINY)
        of_rows, of_columns = moments
        of_rows.mul_(beta2).add_(squares.mean(2), alpha=1 - beta2)
        of_columns.mul_(beta2).add_(squares.mean(1), alpha=1 - beta2)
        relative = of_rows / of_rows.mean(1, keepdim=True)
        scale = relative.rsqrt().unsqueeze(2) * of_columns.rsqrt().unsqueeze(1)
        update = torch.empty_like(gradient)
        torch.mul(matrices, scale, out=row["view"](update))
        return update

    @torch.no_grad()
    def step(self, factor=1.0):
        """One update with the schedule's factor; returns the gradient's norm before clipping."""
        norm, clip_scale = self.clip_scale()
        self.updates += 1
        beta2 = min(self.beta2_cap, 1 - self.updates**-0.8)
        rate = factor * self.lr
        for row in self.rows:
            parameter = row["parameter"]
            gradient = parameter.grad if clip_scale == 1 else parameter.grad * clip_scale
            update = self.precondition(row, gradient, beta2).mul_(1 - self.beta1)
            update.add_(row["momentum"].float(), alpha=self.beta1)
            row["momentum"].copy_(update)
            parameter.mul_(1 - rate * row["decay"]).sub_(update, alpha=rate)
        return norm
