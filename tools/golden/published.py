# Tiny random models of every published family, as their own programs write them, and what those compute: the files in
# tests/golden/published and their golden outputs beside them, published.json.
#
#   OMP_NUM_THREADS=1 tools/python/run tools/golden/published.py tests/golden/published
#
# timm and transformers make and save the PyTorch models; flax_vit.py is big_vision's. Weights are drawn so that every
# part matters, and are exact in the type that they are stored in; the arithmetic is float64 (flax: float32).

import json
import os
import platform
import re
import shutil
import sys
from functools import partial

import numpy as np
import timm
import torch
import transformers
from safetensors.torch import save_file
from timm.layers import LayerNorm, SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer
from timm.layers.patch_embed import resample_patch_embed
from timm.layers.pos_embed import resample_abs_pos_embed

from writing import numbers

COMMAND = "OMP_NUM_THREADS=1 tools/python/run tools/golden/published.py tests/golden/published"
WIDTH, DEPTH, HEADS, MLP, PATCH, SIDE, CLASSES = 24, 2, 3, 40, 4, 16, 5
HF = dict(hidden_size=WIDTH, num_hidden_layers=DEPTH, num_attention_heads=HEADS, intermediate_size=MLP,
          image_size=SIDE, patch_size=PATCH, attn_implementation="eager")  # fmt: skip
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def draw(model, seed, dtype=torch.float16):
    """Random values of every parameter, exact in dtype: about 1 for factors, small for the rest."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            value = 0.25 * torch.randn(p.shape, generator=generator)
            is_factor = p.ndim == 1 and not name.endswith("bias") and "token" not in name and "embedding" not in name
            p.copy_((value + 1 if is_factor else value).to(dtype).float())
    return model.double().eval()


def images(rng):
    return rng.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)


def pixels_of(batch, mean=MEAN, std=STD):
    x = torch.from_numpy(batch).double() / 255
    return ((x - torch.tensor(mean).double()) / torch.tensor(std).double()).permute(0, 3, 1, 2)


def state(model, dtype):
    return {k: v.to(dtype).contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}


def timm_model(seed, dtype=torch.float16, **changes):
    args = dict(img_size=SIDE, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, mlp_ratio=MLP / WIDTH,
                num_classes=CLASSES)  # fmt: skip
    return draw(VisionTransformer(**(args | changes)), seed, dtype)


class Writer:
    def __init__(self, folder):
        self.folder = folder
        self.rng = np.random.default_rng(5)
        self.entries = []

    def path(self, name):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        return path

    def add(self, name, file, keys, batch, features, logits=None):
        self.entries.append({
            "name": name, "file": file, "keys": keys, "images": batch.ravel().tolist(),
            "features": [numbers(row) for row in np.asarray(features.detach())],
            "logits": None if logits is None else [numbers(row) for row in np.asarray(logits.detach())],
        })  # fmt: skip

    def timm(self, name, model, keys, dtype=torch.float16):
        """A bare file of timm's names: everything that shapes do not tell is given by keys."""
        batch = images(self.rng)
        x = pixels_of(batch)
        features = model.forward_head(model.forward_features(x), pre_logits=True)
        save_file(state(model, dtype), self.path(f"{name}.safetensors"))
        given = ["model.heads=3", "model.gelu=erf", "model.norm_eps=1e-6", f"data.mean={MEAN}", f"data.std={STD}"]
        self.add(name, f"{name}.safetensors", given + keys, batch, features, model(x))

    def transformers(self, name, model, features_of, dtype=torch.float16, shards=None, processor=True):
        """A folder as save_pretrained writes it: nothing has to be given."""
        batch = images(self.rng)
        features, logits = features_of(model, pixels_of(batch))
        folder = os.path.dirname(self.path(f"{name}/x"))
        model.to(dtype).save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
        if processor:
            with open(os.path.join(folder, "preprocessor_config.json"), "w") as f:
                json.dump({"image_mean": MEAN, "image_std": STD, "size": {"height": SIDE, "width": SIDE}}, f)
        self.add(name, name, [], batch, features, logits)


def timm_families(w):
    w.timm("timm-token", timm_model(1), ["model.head=tok"])
    w.timm("timm-map", timm_model(2, class_token=False, global_pool="map"), [], torch.float32)
    w.timm("timm-gap-pooled-norm", timm_model(3, torch.bfloat16, class_token=False, global_pool="avg", fc_norm=True), [], torch.bfloat16)
    w.timm("timm-registers", timm_model(4, reg_tokens=2, no_embed_class=True, init_values=1e-5), ["model.head=tok"])
    w.timm("timm-query-key-norm", timm_model(5, qk_norm=True, global_pool="avg", fc_norm=False), ["model.head=gap"])
    w.timm("timm-clip", timm_model(6, pre_norm=True, norm_layer=partial(LayerNorm, eps=1e-5), act_layer="quick_gelu"),
           ["model.head=tok", "model.gelu=quick", "model.norm_eps=1e-5"])  # fmt: skip
    w.timm("timm-swiglu", timm_model(7, mlp_ratio=2 * MLP / WIDTH, mlp_layer=SwiGLUPacked, act_layer="silu"), ["model.head=tok"])


def class_and_logits(model, x):
    out = model(pixel_values=x, output_hidden_states=True)
    return model.vit.layernorm(out.hidden_states[-1])[:, 0], out.logits


def class_vector(model, x):
    return model(pixel_values=x).last_hidden_state[:, 0], None


def pooled(model, x):
    return model.vision_model(pixel_values=x).pooler_output, None


def transformers_families(w):
    t = transformers
    names = {i: n for i, n in enumerate(["apple", "beach", "cloud", "delta", "eagle"])}
    w.transformers("transformers-vit", draw(t.ViTForImageClassification(t.ViTConfig(**HF, id2label=names)), 11),
                   class_and_logits, shards="20KB")  # fmt: skip
    dino = {k: v for k, v in HF.items() if k != "intermediate_size"} | {"mlp_ratio": 2}
    w.transformers("transformers-dinov2", draw(t.Dinov2Model(t.Dinov2Config(**dino)), 12), class_vector)
    w.transformers("transformers-dinov2-swiglu", draw(t.Dinov2Model(t.Dinov2Config(**dino, use_swiglu_ffn=True)), 13), class_vector)
    w.transformers("transformers-dinov2-registers",
                   draw(t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**dino, num_register_tokens=2)), 14),
                   class_vector)  # fmt: skip
    text = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=20,
                max_position_embeddings=4, bos_token_id=1, eos_token_id=2, projection_dim=8)  # fmt: skip
    siglip = t.SiglipConfig(text_config=text | {"projection_size": 8}, vision_config=HF)
    w.transformers("transformers-siglip", draw(t.SiglipModel(siglip), 15), pooled)
    clip = t.CLIPConfig(text_config=text, vision_config=HF, projection_dim=8)
    w.transformers("transformers-clip", draw(t.CLIPModel(clip), 16, torch.bfloat16), pooled, dtype=torch.bfloat16)


def big_vision(w, name, head, representation=False, stacked=False, prefix="params/", old=False):
    import jax.numpy as jnp

    from flax_vit import VisionTransformer as Flax
    from flax_vit import to_flax

    model = Flax(PATCH, WIDTH, DEPTH, HEADS, MLP, CLASSES, head, representation, "tanh")
    weights = {k: v.float().numpy() for k, v in state(timm_model(21, class_token=head == "tok", no_embed_class=True,
               global_pool={"map": "map", "gap": "avg", "tok": "token"}[head], fc_norm=False), torch.float32).items()}  # fmt: skip
    if representation:
        weights |= {"pre_logits.weight": w.rng.normal(0, 0.3, (WIDTH, WIDTH)).astype(np.float32),
                    "pre_logits.bias": w.rng.normal(0, 0.3, WIDTH).astype(np.float32)}  # fmt: skip
    tree = to_flax(model, weights)
    batch = images(w.rng)
    x = jnp.asarray(batch.astype(np.float32) * np.float32(2 / 255) - 1)
    logits = np.asarray(model.apply({"params": tree}, x))

    flat = {}

    def walk(node, path):
        for key, value in node.items():
            if isinstance(value, dict):
                walk(value, path + [key])
            else:
                flat["/".join(path + [key])] = np.ascontiguousarray(value)

    walk(tree, [])
    named = {}
    for key, value in flat.items():
        key = re.sub(r"^(encoderblock_\d+|encoder_norm)", r"Transformer/\1", key).replace("/Mlp_0/", "/MlpBlock_0/")
        if old:
            key = key.replace("MlpBlock_0", "MlpBlock_3").replace("LayerNorm_1", "LayerNorm_2")
            key = re.sub(r"(block_\d+/MultiHeadDotProductAttention_)0", r"\g<1>1", key)
        named[key] = value
    if old:  # the class token's position is a row of its own, which big_vision adds to the token
        row = w.rng.normal(0, 0.3, (1, 1, WIDTH)).astype(np.float32)
        named["cls"] = named["cls"] - row
        named["Transformer/posembed_input/pos_embedding"] = np.concatenate([row, named.pop("pos_embedding")], axis=1)
    if stacked:
        for key in [k for k in named if "encoderblock_0/" in k]:
            parts = [named.pop(key.replace("encoderblock_0", f"encoderblock_{i}")) for i in range(DEPTH)]
            named[key.replace("encoderblock_0", "encoderblock")] = np.stack(parts)
    arrays = {prefix + k: v for k, v in named.items()}
    if prefix == "params/":
        arrays["opt/count"] = np.zeros((), np.int32)
    (np.savez_compressed if stacked else np.savez)(w.path(f"{name}.npz"), **arrays)
    w.entries.append({"name": name, "file": f"{name}.npz", "keys": [], "images": batch.ravel().tolist(),
                      "features": None, "logits": [numbers(row) for row in logits]})  # fmt: skip


def resampling(rng):
    """timm's resizes, of positions and of a patch embedding."""
    positions = rng.normal(0, 1, (1, 12, 3)).astype(np.float32)  # 3 x 4 patches
    patch = rng.normal(0, 1, (2, 3, 4, 4)).astype(np.float32)
    out = {"positions": numbers(positions.ravel()), "patch": numbers(patch.ravel()), "to": []}
    for h, w in ((5, 4), (2, 3), (7, 9), (1, 1)):
        y = resample_abs_pos_embed(torch.from_numpy(positions), [h, w], old_size=[3, 4], num_prefix_tokens=0)
        out["to"].append({"height": h, "width": w, "values": numbers(y.ravel().numpy())})
    out["patches"] = []
    for side in (2, 3, 4, 6, 9):
        y = resample_patch_embed(torch.from_numpy(patch), [side, side])
        out["patches"].append({"side": side, "values": numbers(y.ravel().numpy())})
    return out


def main():
    folder = sys.argv[1]
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    transformers.logging.set_verbosity_error()
    w = Writer(folder)
    timm_families(w)
    transformers_families(w)
    big_vision(w, "big-vision-map", "map")
    big_vision(w, "big-vision-gap-stacked", "gap", stacked=True, prefix="params/img/")
    big_vision(w, "big-vision-token", "tok", representation=True)
    big_vision(w, "big-vision-old", "tok", prefix="opt/target/", old=True)
    document = {
        "generator": "tools/golden/published.py",
        "command": COMMAND,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__,
                     "transformers": transformers.__version__, "numpy": np.__version__},  # fmt: skip
        "side": SIDE,
        "resampling": resampling(np.random.default_rng(9)),
        "families": w.entries,
    }
    with open(os.path.join(folder, "published.json"), "w") as f:
        json.dump(document, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
