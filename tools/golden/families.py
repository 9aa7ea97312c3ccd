# Golden values of the variants that published families need: logits, loss and every gradient's norm and projections.
#
#   tools/python/run tools/golden/families.py > tests/golden/models_families.json
#
# The arithmetic is timm's in float64 on weights that are exact in float32; a class token with a position beside
# registers without, as DINOv2 has them, is timm's with that one step written out. Weights and images follow the Philox
# rule: the file holds outputs only. Cases of models.py, which has the paper's own model, in the same format.

import json
import platform

import numpy as np
import timm
import torch
from timm.layers import SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer

from losses import targets_of, torch_loss
from models import DIGITS, POOLS, draw_images
from writing import DRAW_RULE, PROJECTION_RULE, SEED, STREAM, draw, number, numbers, one_line_arrays, projections

GENERATOR = "tools/golden/families.py"
SCALE, PROJECTIONS = 0.2, 64
SHAPE = {"patch": 8, "depth": 2, "heads": 3, "mlp": 40, "classes": 7}
WIDTH, IMAGE, LABELS = 24, [24, 16], [[1], [6], [0]]
NOISE = 1e-12  # a gradient below is the rounding of an exact zero (the bias of a key's norm): stored as 0
BOUNDS = {"logits": 2e-6, "gradients": 1e-5}

RULE = (
    DRAW_RULE + " Tensor 'images' (batch, row, column, RGB) has uint8 pixels lane >> 24, and the model reads "
    "pixel * (2/255) - 1. " + PROJECTION_RULE + f" Projections of gradients are printed with {DIGITS} digits. The root mean "
    "square over k of the differences of two tensors' projections estimates the L2 norm of their difference. The loss is "
    "averaged over the batch; softmax: cross-entropy; sigmoid: summed over the classes. Gradients below 1e-12 are 0."
)
ACTS = {"tanh": "gelu_tanh", "erf": "gelu", "quick": "quick_gelu"}


class Model(VisionTransformer):
    """timm's model of a case, and the tokens of DINOv2 where registers stand beside a class token with a position."""

    def __init__(self, case):
        gate = case["mlp_kind"] == "swiglu"
        rows = SHAPE["mlp"] * (2 if gate else 1)
        token, self.own_tokens = case["class_token"], case["class_token"] == "position" and case["registers"] > 0
        super().__init__(
            img_size=IMAGE,
            patch_size=SHAPE["patch"],
            embed_dim=WIDTH,
            depth=SHAPE["depth"],
            num_heads=SHAPE["heads"],
            mlp_ratio=(rows + 0.5) / WIDTH,
            num_classes=SHAPE["classes"],
            global_pool=POOLS[case["head"]],
            class_token=token != "none",
            no_embed_class=token != "position" or self.own_tokens,
            reg_tokens=case["registers"],
            init_values=1.0 if case["layer_scale"] else None,
            pre_norm=case["norm_pre"],
            qk_norm=case["qk_norm"],
            fc_norm=case["norm_pooled"],
            pool_include_prefix=case["head"] == "map",
            norm_layer=lambda width, **more: torch.nn.LayerNorm(width, eps=case["norm_eps"], **more),
            act_layer="silu" if gate else ACTS[case["gelu"]],
            **({"mlp_layer": SwiGLUPacked} if gate else {}),
        )
        if self.own_tokens:
            self.pos_embed = torch.nn.Parameter(torch.empty(1, self.patch_embed.num_patches + 1, WIDTH))

    def _pos_embed(self, x):
        if not self.own_tokens:
            return super()._pos_embed(x)
        token = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        return torch.cat([token, self.reg_token.expand(len(x), -1, -1), x + self.pos_embed[:, 1:]], dim=1)


def run(case, pixels, targets):
    """(logits, loss, gradients) in float64."""
    model = Model(case).double()
    norms = {name for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            owner, _, kind = name.rpartition(".")
            offset = 1.0 if owner in norms and kind == "weight" else 0.0
            parameter.copy_(torch.from_numpy(draw(name, tuple(parameter.shape), SCALE, offset)))
    logits = model(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    loss = torch_loss(case["loss_kind"], logits, torch.from_numpy(targets)).mean()
    loss.backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    return logits.detach().numpy(), float(loss.detach()), gradients


def described(name, values):
    values = values if np.linalg.norm(values) > NOISE else np.zeros_like(values)
    shown = [float(f"{p:.{DIGITS}g}") for p in projections(name, values, PROJECTIONS)]
    return {"shape": list(values.shape), "norm": number(np.linalg.norm(values)), "projections": shown}


def golden(case):
    pixels = draw_images(len(LABELS), *IMAGE) * (2 / 255) - 1
    targets = targets_of([[(label, 1.0) for label in labels] for labels in LABELS], SHAPE["classes"], 0.0)
    logits, loss, gradients = run(case, pixels, targets)
    return {
        **case,
        "logits": [numbers(row) for row in logits],
        "loss": number(loss),
        "gradients": {name: described(name, gradient) for name, gradient in gradients.items()},
    }


def case(name, head, **more):
    return {"name": name, "head": head, "width": WIDTH, "image": IMAGE, "representation": False, "positions": "learned",
            "loss_kind": "softmax", "smoothing": 0.0, "labels": LABELS, "gelu": "erf", "class_token": "none",
            "registers": 0, "layer_scale": False, "norm_pre": False, "qk_norm": False, "norm_pooled": False,
            "mlp_kind": "gelu", "norm_eps": 1e-6, **more}  # fmt: skip


CASES = [
    case("vit", "tok", class_token="position"),
    case("dinov2_registers", "tok", class_token="position", registers=4, layer_scale=True),
    case("timm_registers_gap", "gap", class_token="plain", registers=4, layer_scale=True),
    case("clip", "tok", class_token="position", norm_pre=True, gelu="quick", norm_eps=1e-5),
    case("siglip_with_tokens", "map", class_token="plain", registers=2, gelu="tanh", loss_kind="sigmoid"),
    case("swiglu", "tok", class_token="position", mlp_kind="swiglu", layer_scale=True),
    case("fc_norm", "gap", class_token="position", norm_pooled=True),
    case("qk_norm", "gap", qk_norm=True),
]


def main():
    torch.manual_seed(0)
    example = "blocks.0.attn.qkv.weight"
    document = {
        "generator": GENERATOR,
        "command": f"tools/python/run {GENERATOR} > tests/golden/models_families.json",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__,
                     "numpy": np.__version__},
        "rule": RULE,
        "seed": SEED,
        "stream": STREAM,
        "scale": SCALE,
        "shape": SHAPE,
        "bounds": BOUNDS,
        "drawn": {"images": draw_images(1, 1, 3).flatten()[:8].tolist(), example: numbers(draw(example, (8,), SCALE))},
        "cases": [golden(case) for case in CASES],
    }  # fmt: skip
    print(one_line_arrays(json.dumps(document, indent=1)))


if __name__ == "__main__":
    main()
