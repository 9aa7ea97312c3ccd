# Checks that timm loads a vitro checkpoint as it is and computes the same logits.
#
#   tools/check-timm CHECKPOINT_DIR LOGITS.json
#
# CHECKPOINT_DIR holds model.safetensors and config.json, which timm reads by itself ("local-dir:"). LOGITS.json holds
# what vitro computed from the same checkpoint:
#
#   {"input": {"images": N, "height": H, "width": W, "pixels_base64": "uint8, N x H x W x 3"},
#    "value_range": [[-1, -1, -1], [1, 1, 1]], "logits": [[...], ...]}
#
# Exit status: 0 the logits agree, 1 they do not or something does not load, 2 wrong use.

import argparse
import base64
import json
import logging
import os

import numpy as np
import timm
import torch

TOLERANCE = 1e-5  # relative L2 difference


def read_images(document):
    """Pixels as float32, N x 3 x H x W, in the stated value range."""
    info = document["input"]
    shape = (info["images"], info["height"], info["width"], 3)
    pixels = np.frombuffer(base64.b64decode(info["pixels_base64"], validate=True), np.uint8)
    if pixels.size != np.prod(shape):
        raise ValueError(f"pixels_base64 holds {pixels.size} bytes, not {np.prod(shape)} for {shape}")
    low, high = np.array(document["value_range"])
    values = pixels.reshape(shape).astype(np.float64) * ((high - low) / 255) + low
    return torch.from_numpy(values.astype(np.float32)).permute(0, 3, 1, 2)


def check_normalisation(config, value_range):
    """timm's users normalise by the checkpoint's mean and std: they must mean the same value range."""
    low, high = np.array(value_range)
    mean, std = -low / (high - low), 1 / (high - low)
    if not np.allclose(config["mean"], mean) or not np.allclose(config["std"], std):
        raise ValueError(
            f"config.json says mean {config['mean']} and std {config['std']}, but value_range {value_range} "
            f"means mean {mean} and std {std}"
        )


def timm_logits(checkpoint, images, value_range):
    model = timm.create_model(f"local-dir:{checkpoint}", pretrained=True).eval()
    check_normalisation(model.pretrained_cfg, value_range)
    with torch.inference_mode():
        return model(images).numpy()


def compare(checkpoint, logits_path):
    with open(logits_path) as file:
        document = json.load(file)
    expected = timm_logits(checkpoint, read_images(document), document["value_range"])
    got = np.array(document["logits"], np.float64)
    if got.shape != expected.shape:
        raise ValueError(f"vitro's logits have shape {got.shape}, timm's {expected.shape}")
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


def main():
    parser = argparse.ArgumentParser(prog="check-timm", description="Compare a vitro checkpoint's logits with timm's.")
    parser.add_argument("checkpoint", metavar="CHECKPOINT_DIR", type=os.path.abspath)
    parser.add_argument("logits", metavar="LOGITS.json")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)  # timm's warnings on keys that do not fit

    try:
        difference = compare(arguments.checkpoint, arguments.logits)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise SystemExit(f"check-timm: {type(error).__name__}: {error}")
    verdict = "ok" if difference <= TOLERANCE else f"FAILED, above {TOLERANCE:g}"
    print(f"check-timm: relative L2 difference {difference:.3g}: {verdict}")
    raise SystemExit(0 if difference <= TOLERANCE else 1)


if __name__ == "__main__":
    main()
