# Golden values of the whole model: logits, loss and gradients of a tiny timm ViT, with a MAP and with a GAP head.
#
#   tools/python/run tools/golden/timm_tiny.py > tests/golden/timm_tiny.json
#
# Weights and images follow the Philox rule of philox.py, so the file holds outputs only. The arithmetic is
# float64 on weights that are exact in float32.

import json
import platform
import re

import numpy as np
import timm
import torch

from philox import lanes, uniform
from twin import sigmoid_cross_entropy, vision_transformer

COMMAND = "tools/python/run tools/golden/timm_tiny.py > tests/golden/timm_tiny.json"
SEED, STREAM, SCALE = 7, 100, 0.2
SHAPE = {"image": [12, 20], "patch": 4, "width": 24, "depth": 2, "heads": 3, "mlp": 40, "classes": 5}
LABELS = [1, 4, 0]
FIRST = 4  # leading gradient values that are stored for each parameter
NOISE = 1e-12  # a smaller gradient is the rounding of an exact zero (a key's bias): stored as 0

RULE = (
    "Philox4x32-10, key (seed, stream), counter (index low, index high, use, 0); element j of a row-major tensor is "
    "lane j % 4 of index j / 4; use = FNV-1a 32 of the tensor's name; u = (lane >> 8) * 2^-24; "
    "value = (2u - 1) * scale in float32; a LayerNorm weight is 1 + value; "
    "tensor 'images' (batch, row, column, RGB) has uint8 pixels lane >> 24, and the model reads pixel * (2/255) - 1. "
    "The loss is summed over classes, averaged over the batch. Gradients below 1e-12 are stored as 0."
)


def draw_images(batch, height, width):
    count = batch * height * width * 3
    return (lanes("images", count, SEED, STREAM) >> np.uint32(24)).reshape(batch, height, width, 3)


def draw_weight(name, shape, is_layer_norm):
    value = (2 * uniform(name, int(np.prod(shape)), SEED, STREAM) - 1) * np.float32(SCALE)
    if is_layer_norm and name.endswith(".weight"):
        value = 1 + value
    return torch.from_numpy(value.reshape(shape))


def fill(model):
    layer_norms = {name for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            owner = name.rpartition(".")[0]
            parameter.copy_(draw_weight(name, tuple(parameter.shape), owner in layer_norms))


def number(value):
    """Rounded to float32, with the nine digits that tell every float32 from its neighbours."""
    return float(f"{np.float32(value):.9g}")


def numbers(values):
    return [number(value) for value in values]


def gradient_entry(gradient):
    first = gradient.flatten()[:FIRST]
    first = torch.where(first.abs() < NOISE, 0, first)
    return {"shape": list(gradient.shape), "norm": number(gradient.norm()), "first": numbers(first)}


def golden(head, images):
    model = vision_transformer(head=head, **SHAPE).double()
    fill(model)
    pixels = torch.from_numpy(images).double().permute(0, 3, 1, 2)
    logits = model(pixels * (2 / 255) - 1)
    loss = sigmoid_cross_entropy(logits, torch.tensor(LABELS))
    loss.backward()
    return {
        "logits": [numbers(row) for row in logits.detach()],
        "loss": number(loss.detach()),
        "gradients": {name: gradient_entry(parameter.grad) for name, parameter in model.named_parameters()},
    }


def one_line_arrays(text):
    """Puts every array of numbers on one line of the indented JSON."""
    return re.sub(r"\[\s+([^][{}]+?)\s+\]", lambda match: "[" + " ".join(match[1].split()) + "]", text)


def main():
    images = draw_images(len(LABELS), *SHAPE["image"])
    qkv = "blocks.0.attn.qkv.weight"
    document = {
        "generator": "tools/golden/timm_tiny.py",
        "command": COMMAND,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "timm": timm.__version__,
            "numpy": np.__version__,
        },
        "rule": RULE,
        "seed": SEED,
        "stream": STREAM,
        "scale": SCALE,
        "shape": SHAPE,
        "batch": len(LABELS),
        "labels": LABELS,
        "drawn": {
            "images": images.flatten()[:8].tolist(),
            qkv: numbers(draw_weight(qkv, (8,), is_layer_norm=False)),
        },
        "heads": {head: golden(head, images) for head in ("map", "gap")},
    }
    print(one_line_arrays(json.dumps(document, indent=1)))


if __name__ == "__main__":
    main()
