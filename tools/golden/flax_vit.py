# big_vision's Vision Transformer in flax, from its equations and layouts, and the way from timm's names to its own.

import flax.linen as nn
import jax.numpy as jnp
import numpy as np


class Mlp(nn.Module):
    hidden: int
    gelu: str

    @nn.compact
    def __call__(self, x):
        width = x.shape[-1]
        x = nn.gelu(nn.Dense(self.hidden)(x), approximate=self.gelu == "tanh")
        return nn.Dense(width)(x)


class Block(nn.Module):
    heads: int
    hidden: int
    gelu: str

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm()(x)
        x = x + nn.MultiHeadDotProductAttention(self.heads, deterministic=True)(y, y)
        return x + Mlp(self.hidden, self.gelu)(nn.LayerNorm()(x))


class MapHead(nn.Module):
    heads: int
    hidden: int
    gelu: str

    @nn.compact
    def __call__(self, x):
        batch, _, width = x.shape
        probe = self.param("probe", nn.initializers.zeros, (1, 1, width))
        x = nn.MultiHeadDotProductAttention(self.heads, deterministic=True)(jnp.tile(probe, (batch, 1, 1)), x)
        x = x + Mlp(self.hidden, self.gelu)(nn.LayerNorm()(x))
        return x[:, 0]


class VisionTransformer(nn.Module):
    patch: int
    width: int
    depth: int
    heads: int
    mlp: int
    classes: int
    head: str
    representation: bool
    gelu: str

    @nn.compact
    def __call__(self, images):
        x = nn.Conv(self.width, (self.patch,) * 2, strides=self.patch, padding="VALID", name="embedding")(images)
        x = x.reshape(len(x), -1, self.width)
        x = x + self.param("pos_embedding", nn.initializers.zeros, (1, x.shape[1], self.width))
        if self.head == "tok":
            cls = self.param("cls", nn.initializers.zeros, (1, 1, self.width))
            x = jnp.concatenate([jnp.tile(cls, (len(x), 1, 1)), x], axis=1)
        for i in range(self.depth):
            x = Block(self.heads, self.mlp, self.gelu, name=f"encoderblock_{i}")(x)
        x = nn.LayerNorm(name="encoder_norm")(x)
        if self.head == "map":
            x = MapHead(self.heads, self.mlp, self.gelu, name="MAPHead_0")(x)
        else:
            x = x[:, 0] if self.head == "tok" else x.mean(axis=1)
        if self.representation:
            x = jnp.tanh(nn.Dense(self.width, name="pre_logits")(x))
        return nn.Dense(self.classes, name="head")(x)


def transposed(w):
    return w.T


def identity(w):
    return w


def attention(name, module, heads, fused):
    """Rows of timm's attention: (timm name, module path, to flax, back). `fused` lists the parts of each timm matrix."""
    rows = []
    for timm, parts in fused.items():
        for part, flax in enumerate(parts):
            rows.append((f"{name}.{timm}.weight", part, len(parts), f"{module}/{flax}/kernel",
                         lambda w: w.T.reshape(w.shape[1], heads, -1), lambda k: k.reshape(k.shape[0], -1).T))  # fmt: skip
            rows.append((f"{name}.{timm}.bias", part, len(parts), f"{module}/{flax}/bias",
                         lambda b: b.reshape(heads, -1), lambda b: b.ravel()))  # fmt: skip
    rows.append((f"{name}.proj.weight", 0, 1, f"{module}/out/kernel",
                 lambda w: w.T.reshape(heads, -1, w.shape[0]), lambda k: k.reshape(-1, k.shape[2]).T))  # fmt: skip
    rows.append((f"{name}.proj.bias", 0, 1, f"{module}/out/bias", identity, identity))
    return rows


def dense(timm, flax):
    return [(f"{timm}.weight", 0, 1, f"{flax}/kernel", transposed, transposed),
            (f"{timm}.bias", 0, 1, f"{flax}/bias", identity, identity)]  # fmt: skip


def norm(timm, flax):
    return [(f"{timm}.weight", 0, 1, f"{flax}/scale", identity, identity),
            (f"{timm}.bias", 0, 1, f"{flax}/bias", identity, identity)]  # fmt: skip


def mlp(timm, flax):
    return dense(f"{timm}.fc1", f"{flax}/Dense_0") + dense(f"{timm}.fc2", f"{flax}/Dense_1")


def table(model):
    """Rows (timm name, part, parts, flax path, to flax, from flax): where each timm tensor, or part of it, goes."""
    rows = [
        ("patch_embed.proj.weight", 0, 1, "embedding/kernel",
         lambda w: w.transpose(2, 3, 1, 0), lambda k: k.transpose(3, 2, 0, 1)),
        ("patch_embed.proj.bias", 0, 1, "embedding/bias", identity, identity),
        ("pos_embed", 0, 1, "pos_embedding", identity, identity),
    ]  # fmt: skip
    if model.head == "tok":
        rows.append(("cls_token", 0, 1, "cls", identity, identity))
    for i in range(model.depth):
        timm, flax = f"blocks.{i}", f"encoderblock_{i}"
        rows += norm(f"{timm}.norm1", f"{flax}/LayerNorm_0") + norm(f"{timm}.norm2", f"{flax}/LayerNorm_1")
        rows += attention(f"{timm}.attn", f"{flax}/MultiHeadDotProductAttention_0", model.heads, {"qkv": ("query", "key", "value")})
        rows += mlp(f"{timm}.mlp", f"{flax}/Mlp_0")
    rows += norm("norm", "encoder_norm") + dense("head", "head")
    if model.representation:
        rows += dense("pre_logits", "pre_logits")
    if model.head == "map":
        rows.append(("attn_pool.latent", 0, 1, "MAPHead_0/probe", identity, identity))
        fused = {"q": ("query",), "kv": ("key", "value")}
        rows += attention("attn_pool", "MAPHead_0/MultiHeadDotProductAttention_0", model.heads, fused)
        rows += norm("attn_pool.norm", "MAPHead_0/LayerNorm_0") + mlp("attn_pool.mlp", "MAPHead_0/Mlp_0")
    return rows


def to_flax(model, weights):
    """timm's {name: array} as flax's tree."""
    tree = {}
    for timm, part, parts, path, convert, _ in table(model):
        *folders, leaf = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = convert(np.split(weights[timm], parts)[part])
    return tree


def from_flax(model, tree):
    """flax's tree as timm's {name: array}, parts of one matrix joined."""
    pieces = {}
    for timm, _, _, path, _, convert in table(model):
        node = tree
        for step in path.split("/"):
            node = node[step]
        pieces.setdefault(timm, []).append(convert(np.asarray(node)))
    return {timm: np.concatenate(parts) for timm, parts in pieces.items()}
