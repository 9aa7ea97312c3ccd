# Golden values of the losses: per-sample loss and gradient by the logits, for hard, multiple, mixed, smoothed and
# weighted targets.
#
#   tools/python/run tools/golden/losses.py > tests/golden/losses.json
#
# PyTorch in float64, from the formulas below; logits and class weights follow the Philox rule. models.py takes its
# targets and losses from here.

import json
import platform

import jax
import numpy as np
import torch
import torch.nn.functional as F

from writing import DRAW_RULE, SEED, STREAM, draw, number, numbers, one_line_arrays

COMMAND = "tools/python/run tools/golden/losses.py > tests/golden/losses.json"
BATCH, CLASSES, WEIGHT_SCALE = 5, 37, 0.9

RULE = (
    DRAW_RULE + " Tensor 'logits' is batch x classes with the case's scale; 'class_weights' has scale 0.9 and is "
    "1 + value. targets: for each sample a list of [label, share]; y_c = off + (on - off) * (sum of shares of label c), "
    "on = 1 - smoothing, off = smoothing / (classes - 1). sigmoid: sum over c of w_c (y_c softplus(-z_c) + (1 - y_c) "
    "softplus(z_c)); softmax: -sum over c of w_c y_c log softmax(z)_c; w_c = 1 where `weighted` is false. `losses` are the "
    "samples' own; `gradient` is that of their mean by the logits, batch x classes, row-major."
)

TARGETS = {
    "one_hot": [[(1, 1.0)], [(36, 1.0)], [(0, 1.0)], [(17, 1.0)], [(5, 1.0)]],
    "multi_hot": [[(1, 1.0), (4, 1.0), (9, 1.0)], [(36, 1.0)], [], [(17, 1.0), (0, 1.0)], [(5, 1.0), (6, 1.0)]],
    # mixup with a = 0.75: each sample's label, and its neighbour's; the second sample's two labels are one class.
    "mixed": [[(1, 0.75), (5, 0.25)], [(1, 0.75), (1, 0.25)], [(0, 0.75), (36, 0.25)], [(17, 0.75), (0, 0.25)],
              [(5, 0.75), (17, 0.25)]],
    "mixed_multi_hot": [[(1, 0.75), (4, 0.75), (5, 0.25)], [(36, 0.75), (1, 0.25), (4, 0.25)], [(36, 0.25)],
                        [(17, 0.75), (0, 0.75)], [(5, 0.75), (17, 0.25), (0, 0.25)]],
}  # fmt: skip

# targets, smoothing, weighted, scale of the logits
CASES = [
    ("one_hot", 0.0, False, 4.0),
    ("one_hot", 0.1, False, 4.0),
    ("one_hot", 0.0, True, 4.0),
    ("one_hot", 0.0, False, 200.0),  # exponentials overflow unless the formulas avoid it
    ("multi_hot", 0.0, False, 4.0),
    ("mixed", 0.0, False, 4.0),
    ("mixed", 0.1, True, 4.0),
    ("mixed_multi_hot", 0.1, False, 4.0),
]


def targets_of(samples, classes, smoothing):
    """y as float64, from (label, share) pairs."""
    on, off = 1.0 - smoothing, smoothing / (classes - 1)
    y = np.full((len(samples), classes), off)
    for row, pairs in zip(y, samples):
        for label, share in pairs:
            row[label] += (on - off) * share
    return y


def torch_loss(kind, logits, targets, weights=1.0):
    """Per sample."""
    if kind == "sigmoid":
        return (weights * (targets * F.softplus(-logits) + (1 - targets) * F.softplus(logits))).sum(1)
    return -(weights * targets * F.log_softmax(logits, dim=1)).sum(1)


def flax_loss(kind, logits, targets):
    """The same without weights, in JAX."""
    if kind == "sigmoid":
        return -(targets * jax.nn.log_sigmoid(logits) + (1 - targets) * jax.nn.log_sigmoid(-logits)).sum(1)
    return -(targets * jax.nn.log_softmax(logits)).sum(1)


def golden(kind, targets, smoothing, weighted, scale):
    drawn = draw("logits", (BATCH, CLASSES), scale).astype(np.float64)
    logits = torch.from_numpy(drawn).requires_grad_()
    y = torch.from_numpy(targets_of(TARGETS[targets], CLASSES, smoothing))
    weights = torch.from_numpy(draw("class_weights", (CLASSES,), WEIGHT_SCALE, 1.0).astype(np.float64)) if weighted else 1.0
    losses = torch_loss(kind, logits, y, weights)
    losses.mean().backward()
    return {
        "kind": kind,
        "targets": [[list(pair) for pair in pairs] for pairs in TARGETS[targets]],
        "smoothing": smoothing,
        "weighted": weighted,
        "scale": scale,
        "losses": numbers(losses.detach()),
        "mean": number(losses.detach().mean()),
        "gradient": numbers(logits.grad.flatten()),
    }


def main():
    document = {
        "generator": "tools/golden/losses.py",
        "command": COMMAND,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "rule": RULE,
        "seed": SEED,
        "stream": STREAM,
        "batch": BATCH,
        "classes": CLASSES,
        "cases": [golden(kind, *case) for kind in ("sigmoid", "softmax") for case in CASES],
    }
    print(one_line_arrays(json.dumps(document, indent=1)))


if __name__ == "__main__":
    main()
