"""Writes the seeds of tests/fuzz/corpus: small valid inputs of every kind, and a few that are broken in known ways.

  tools/python/run tools/fuzz_seeds.py
"""
import gzip
import io
import json
import pathlib
import struct
import tarfile

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests/fuzz/corpus"


def write(target, name, data):
    path = ROOT / target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def encoded(mode, size, form, **options):
    rng = np.random.default_rng(len(mode) + size[0])
    channels = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4, "P": 1, "1": 1, "I;16": 1}[mode]
    if mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, size[::-1], dtype=np.uint16))
    elif mode == "1":
        image = Image.fromarray(rng.integers(0, 2, size[::-1], dtype=np.uint8) * 255).convert("1")
    elif mode == "P":
        image = Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).quantize(16)
    else:
        shape = size[::-1] if channels == 1 else (*size[::-1], channels)
        image = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode)
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def images():
    exif = Image.Exif()
    exif[0x112] = 6
    yield "grey.jpg", encoded("L", (9, 7), "JPEG")
    yield "colour.jpg", encoded("RGB", (17, 9), "JPEG", quality=50)
    yield "progressive.jpg", encoded("RGB", (17, 9), "JPEG", progressive=True)
    yield "cmyk.jpg", encoded("CMYK", (9, 9), "JPEG")
    yield "turned.jpg", encoded("RGB", (9, 5), "JPEG", exif=exif)
    yield "restart.jpg", encoded("RGB", (33, 17), "JPEG", restart_marker_blocks=2)
    yield "grey.png", encoded("L", (5, 4), "PNG")
    yield "colour.png", encoded("RGB", (5, 4), "PNG")
    yield "alpha.png", encoded("RGBA", (5, 4), "PNG")
    yield "palette.png", encoded("P", (5, 4), "PNG")
    yield "bits.png", encoded("1", (9, 4), "PNG")
    yield "deep.png", encoded("I;16", (5, 4), "PNG")
    yield "lossy.webp", encoded("RGB", (9, 7), "WEBP")
    yield "lossless.webp", encoded("RGBA", (9, 7), "WEBP", lossless=True)
    yield "turned.webp", encoded("RGB", (9, 7), "WEBP", exif=exif)


def tar(members, form=tarfile.USTAR_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as t:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()[:8192]


def idx(shape, data, magic=0x08):
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, magic, len(shape), *shape) + data


def safetensors(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def pack(tensors):
    header, data = {}, b""
    for name, value in tensors.items():
        raw = value.astype(np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    return safetensors(header, data)


def tiny_timm(width=4, mlp=8, patch=2, grid=2):
    rng = np.random.default_rng(0)
    shapes = {"cls_token": (1, 1, width), "pos_embed": (1, grid * grid + 1, width), "patch_embed.proj.weight": (width, 3, patch, patch),
              "patch_embed.proj.bias": (width,), "norm.weight": (width,), "norm.bias": (width,), "head.weight": (2, width), "head.bias": (2,)}
    for name, shape in {"norm1.weight": (width,), "norm1.bias": (width,), "attn.qkv.weight": (3 * width, width), "attn.qkv.bias": (3 * width,),
                        "attn.proj.weight": (width, width), "attn.proj.bias": (width,), "norm2.weight": (width,), "norm2.bias": (width,),
                        "mlp.fc1.weight": (mlp, width), "mlp.fc1.bias": (mlp,), "mlp.fc2.weight": (width, mlp), "mlp.fc2.bias": (width,)}.items():
        shapes["blocks.0." + name] = shape
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def tiny_big_vision(width=4, heads=2, mlp=8, patch=2, grid=2):
    rng = np.random.default_rng(1)
    block, head = "Transformer/encoderblock_0/", width // heads
    shapes = {"embedding/kernel": (patch, patch, 3, width), "embedding/bias": (width,), "pos_embedding": (1, grid * grid, width),
              "Transformer/encoder_norm/scale": (width,), "Transformer/encoder_norm/bias": (width,), "head/kernel": (width, 2), "head/bias": (2,),
              block + "MlpBlock_0/Dense_0/kernel": (width, mlp), block + "MlpBlock_0/Dense_0/bias": (mlp,),
              block + "MlpBlock_0/Dense_1/kernel": (mlp, width), block + "MlpBlock_0/Dense_1/bias": (width,)}
    for i in "01":
        shapes.update({block + f"LayerNorm_{i}/scale": (width,), block + f"LayerNorm_{i}/bias": (width,)})
    attention = block + "MultiHeadDotProductAttention_0/"
    for name in ("query", "key", "value"):
        shapes.update({attention + name + "/kernel": (width, heads, head), attention + name + "/bias": (heads, head)})
    shapes.update({attention + "out/kernel": (heads, head, width), attention + "out/bias": (width,)})
    return {"params/" + name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def npz(arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def main():
    small = encoded("RGB", (3, 3), "PNG")
    for name, data in images():
        write("image", name, data)
        write("image", "cut-" + name, data[: len(data) * 2 // 3])

    write("tar", "cls.tar", tar([("a.png", small), ("a.cls", b"0"), ("b.png", small), ("b.cls", b"1")]))
    write("tar", "json.tar", tar([("a.png", small), ("a.json", b'{"label": 3, "caption": "x"}')]))
    write("tar", "text.tar", tar([("a.png", small), ("a.txt", b"cat")]))
    write("tar", "long.tar", tar([("x" * 120 + ".png", small), ("x" * 120 + ".cls", b"2")], tarfile.GNU_FORMAT))
    write("tar", "pax.tar", tar([("\u00e4" * 80 + ".png", small), ("\u00e4" * 80 + ".cls", b"2")], tarfile.PAX_FORMAT))

    pairs = {"plain": (idx((2, 2, 2), bytes(8)), idx((2,), b"\0\1")), "colour": (idx((1, 2, 2, 3), bytes(12)), idx((1,), b"\4"))}
    for name, (a, b) in pairs.items():
        write("idx", name, struct.pack(">H", len(a)) + a + b)
        packed = gzip.compress(a, mtime=0)
        write("idx", name + "-gzip", struct.pack(">H", len(packed)) + packed + gzip.compress(b, mtime=0))

    write("csv", "comma", '\0model,flops,error\nS/16,1e18,0.31\n"B,16",2e18,0.28\n')
    write("csv", "tab", "\0a\tb\n1\t2\n")
    write("csv", "lines", '\1{"step": 1, "loss": 2.5}\n{"step": 2, "loss": null}\n')

    for i, text in enumerate(("wds:a/{000..012}.tar?split=[:90%]&limit=10", "synthetic:shapes?classes=4&noise=0.1&count=50",
                              "folder:a?labels=b&classes=c", "csv:a.csv?path=file&label=class", "folder:a?weight=2 + wds:b.tar?weight=1")):
        write("spec", f"spec-{i}", "\0" + text)
    write("spec", "braces", "\1a{000..003}b{x,y}.tar")
    for i, text in enumerate(("[inception_crop(32,10%), flip]", "[resize_small(256), central_crop(224)]", "[pad(4), random_crop(32,28), flip]")):
        write("spec", f"list-{i}", "\2" + text)
    write("spec", "shape", "\3w64-d4-m256-h4-p7")
    write("spec", "classes", "\4zero\tcat\n1\tdog\twords\n")

    for path in sorted((ROOT.parent.parent.parent / "recipes").glob("*.yaml")):
        write("recipe", path.stem, path.read_bytes())

    tensors = safetensors({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
                           "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}}, bytes(32))
    config = json.dumps({"num_classes": 1, "global_pool": "map", "label_names": ["a"], "model_args": {
        "img_size": [8, 8], "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2, "global_pool": "map", "act_layer": "gelu_tanh"},
        "vitro": {"mlp": 16, "head_bias": 0.0, "preprocess": "[resize(8)]", "pixel_scale": 0.0078, "pixel_offset": -1.0, "step": 1, "images": 1}}).encode()
    write("safetensors", "good", struct.pack(">H", len(config)) + config + tensors)
    timm = tiny_timm()
    write("safetensors", "timm", struct.pack(">H", 0) + pack(timm))
    write("npz", "big_vision", npz(tiny_big_vision()))
    write("npz", "plain", npz({"a": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float16)}))
    write("npz", "cut", npz(tiny_big_vision())[:700])
    write("safetensors", "cut", struct.pack(">H", len(config) // 2) + config[: len(config) // 2] + tensors[:40])


if __name__ == "__main__":
    main()
