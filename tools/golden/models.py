# Golden values of the whole model: logits, loss and every gradient's norm and projections, for each head, with and
# without the representation layer, and for the variants: erf GELU, sincos2d positions, other losses, 257 tokens.
#
#   tools/python/run tools/golden/models.py tok > tests/golden/models_tok.json       (also: gap, map, more)
#
# The arithmetic is timm's in float64 on weights that are exact in float32 (timm has no representation layer: it is
# PyTorch's Linear and tanh). Beside it runs big_vision's model in flax, float32, from the same weights: the distance
# between the two goes to standard error. Weights and images follow the Philox rule: the files hold outputs only.

import argparse
import json
import platform
import sys

import flax
import jax
import jax.numpy as jnp
import numpy as np
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

import flax_vit
from losses import flax_loss, targets_of, torch_loss
from philox import lanes
from writing import DRAW_RULE, PROJECTION_RULE, SEED, STREAM, draw, number, numbers, one_line_arrays, projections

GENERATOR = "tools/golden/models.py"
SCALE, PROJECTIONS, DIGITS = 0.1, 64, 7
SHAPE = {"patch": 8, "depth": 2, "heads": 3, "mlp": 200, "classes": 37}
POOLS = {"tok": "token", "gap": "avg", "map": "map"}
SINGLE = [[1], [36], [0], [17], [5]]  # labels of the five images
MULTIPLE = [[1, 4, 9], [36], [], [17, 0], [5, 6]]

RULE = (
    DRAW_RULE + " Tensor 'images' (batch, row, column, RGB) has uint8 pixels lane >> 24, and the model reads "
    "pixel * (2/255) - 1. " + PROJECTION_RULE + f" Projections of gradients are printed with {DIGITS} digits. The root mean "
    "square over k of the differences of two tensors' projections estimates the L2 norm of their difference. The loss is "
    "averaged over the batch; sigmoid: summed over the classes; targets: off + (1 - smoothing - off) for each label, off = "
    "smoothing / (classes - 1) when smoothing is not 0. The class token has no position. sincos2d: no gradient, "
    "`positions_fixed` describes the tensor itself."
)


def draw_images(batch, height, width):
    count = batch * height * width * 3
    return (lanes("images", count, SEED, STREAM) >> np.uint32(24)).reshape(batch, height, width, 3)


def sincos2d(rows, columns, width):
    """[sin x, cos x, sin y, cos y] of each token, frequencies 10000^(-j/(q-1)); rounded to float32."""
    q = width // 4
    omega = 10000.0 ** (-np.arange(q) / (q - 1))
    y, x = (grid.reshape(-1, 1) * omega for grid in np.mgrid[:rows, :columns])
    table = np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)
    return table[None].astype(np.float32)


class Model(torch.nn.Module):
    """timm's model, with the representation layer that it lacks."""

    def __init__(self, case):
        super().__init__()
        self.representation = case["representation"]
        self.timm = VisionTransformer(
            img_size=case["image"],
            patch_size=SHAPE["patch"],
            embed_dim=case["width"],
            depth=SHAPE["depth"],
            num_heads=SHAPE["heads"],
            mlp_ratio=(SHAPE["mlp"] + 0.5) / case["width"],
            num_classes=SHAPE["classes"],
            global_pool=POOLS[case["head"]],
            class_token=case["head"] == "tok",
            no_embed_class=True,
            fc_norm=False,
            act_layer="gelu_tanh" if case["gelu"] == "tanh" else "gelu",
        )
        self.pre_logits = torch.nn.Linear(case["width"], case["width"]) if self.representation else None

    def forward(self, images):
        x = self.timm.forward_head(self.timm.forward_features(images), pre_logits=True)
        if self.representation:
            x = torch.tanh(self.pre_logits(x))
        return self.timm.head(x)

    def parameters_by_name(self):
        return {name.removeprefix("timm."): parameter for name, parameter in self.named_parameters()}


def weights_of(model, case):
    """{timm's name: float32 array}, drawn; sincos2d positions computed."""
    norms = {name.removeprefix("timm.") for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    weights = {}
    for name, parameter in model.parameters_by_name().items():
        owner, _, kind = name.rpartition(".")
        weights[name] = draw(name, tuple(parameter.shape), SCALE, 1.0 if owner in norms and kind == "weight" else 0.0)
    if case["positions"] == "sincos2d":
        rows, columns = (side // SHAPE["patch"] for side in case["image"])
        weights["pos_embed"] = sincos2d(rows, columns, case["width"])
    return weights


def run_timm(case, pixels, targets):
    """(weights, logits, loss, gradients) in float64."""
    model = Model(case).double()
    weights = weights_of(model, case)
    parameters = model.parameters_by_name()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(weights[name]))
    logits = model(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    loss = torch_loss(case["loss_kind"], logits, torch.from_numpy(targets)).mean()
    loss.backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in parameters.items()}
    return weights, logits.detach().numpy(), float(loss.detach()), gradients


def run_flax(case, weights, pixels, targets):
    """(logits, loss, gradients) of big_vision's model in float32."""
    model = flax_vit.VisionTransformer(**SHAPE, **{key: case[key] for key in ("width", "head", "representation", "gelu")})

    def loss_of(params):
        logits = model.apply({"params": params}, jnp.asarray(pixels, jnp.float32))
        return flax_loss(case["loss_kind"], logits, jnp.asarray(targets, jnp.float32)).mean(), logits

    (loss, logits), gradients = jax.value_and_grad(loss_of, has_aux=True)(flax_vit.to_flax(model, weights))
    return np.asarray(logits), float(loss), flax_vit.from_flax(model, gradients)


def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def cross_check(case, reference, flax_result):
    _, logits, loss, gradients = reference
    flax_logits, flax_loss_value, flax_gradients = flax_result
    if set(flax_gradients) != set(gradients):
        raise SystemExit(f"models.py: {case['name']}: tensors differ: {set(flax_gradients) ^ set(gradients)}")
    worst, name = max((distance(flax_gradients[name], gradient), name) for name, gradient in gradients.items())
    print(
        f"{case['name']}: flax float32 against timm float64: logits {distance(flax_logits, logits):.1e}, "
        f"loss {abs(flax_loss_value / loss - 1):.1e}, worst gradient {worst:.1e} ({name})",
        file=sys.stderr,
    )


def described(name, values):
    shown = [float(f"{p:.{DIGITS}g}") for p in projections(name, values, PROJECTIONS)]
    return {"shape": list(values.shape), "norm": number(np.linalg.norm(values)), "projections": shown}


def golden(case):
    pixels = draw_images(len(case["labels"]), *case["image"]) * (2 / 255) - 1
    targets = targets_of([[(label, 1.0) for label in labels] for labels in case["labels"]], SHAPE["classes"], case["smoothing"])
    reference = run_timm(case, pixels, targets)
    weights, logits, loss, gradients = reference
    cross_check(case, reference, run_flax(case, weights, pixels, targets))
    document = {**case, "logits": [numbers(row) for row in logits], "loss": number(loss)}
    if case["positions"] == "sincos2d":
        del gradients["pos_embed"]
        document["positions_fixed"] = described("pos_embed", weights["pos_embed"])
    return document | {"gradients": {name: described(name, gradient) for name, gradient in gradients.items()}}


def case(name, head, width=72, **more):
    return {"name": name, "head": head, "width": width, "representation": False, "gelu": "tanh", "positions": "learned",
            "image": [40, 24], "loss_kind": "sigmoid", "smoothing": 0.0, "labels": SINGLE, **more}  # fmt: skip


def heads(head):
    return [
        case(f"{head}_{width}" + ("_representation" if representation else ""), head, width, representation=representation)
        for width in (72, 96)
        for representation in (False, True)
    ]


CASES = {
    "tok": heads("tok"),
    "gap": heads("gap"),
    "map": heads("map"),
    "more": [
        case("gap_72_gelu_erf", "gap", gelu="erf"),
        case("gap_72_sincos2d", "gap", positions="sincos2d"),
        case("map_72_softmax_smoothing", "map", loss_kind="softmax", smoothing=0.1),
        case("gap_72_multi_hot", "gap", labels=MULTIPLE),
        case("tok_72_257_tokens", "tok", image=[128, 128], labels=SINGLE[:2]),
    ],
}


def main():
    parser = argparse.ArgumentParser(description="Golden values of the whole model.")
    parser.add_argument("group", choices=CASES)
    group = parser.parse_args().group
    example = "blocks.0.attn.qkv.weight"
    document = {
        "generator": GENERATOR,
        "command": f"tools/python/run {GENERATOR} {group} > tests/golden/models_{group}.json",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__,
                     "jax": jax.__version__, "flax": flax.__version__, "numpy": np.__version__},
        "rule": RULE,
        "seed": SEED,
        "stream": STREAM,
        "scale": SCALE,
        "shape": SHAPE,
        "drawn": {"images": draw_images(1, 1, 3).flatten()[:8].tolist(), example: numbers(draw(example, (8,), SCALE))},
        "cases": [golden(case) for case in CASES[group]],
    }  # fmt: skip
    print(one_line_arrays(json.dumps(document, indent=1)))


if __name__ == "__main__":
    main()
