# Golden values of calibration (expected error, NLL, Brier score, fitted temperature) and mean average precision.
#
#   tools/python/run tools/golden/calibration.py > tests/golden/calibration.json
#
# SciPy minimises NLL over ln beta, and gives softmax, sigmoid and their logarithms; vitro has its own of all of them.
# Logits follow the Philox rule of philox.py, so the file holds outputs only.

import json
import platform
import re

import numpy as np
import scipy
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from philox import lanes, philox4x32, uniform

COMMAND = "tools/python/run tools/golden/calibration.py > tests/golden/calibration.json"
SEED, STREAM, ORDER = 17, 100, 2
BINS = 15
CLASSES, WIDTH = 7, 3
SMALLEST_MARGIN = 1e-7  # of a confidence to the edge of a bin, and between the two largest logits

RULE = (
    "Philox4x32-10 as in philox.py, tensors named after the case: logit c of image i: sharpness * (2 u('NAME.logits') - 1), "
    "+ lift where c is a class of the image, in float32. Its first class is lane % classes of 'NAME.labels', of sets a "
    "second and third one are (first + 1 + k) % classes for k < lane % 3 of 'NAME.more'; rows are ascending, then -1."
)
CASES = (  # name, images, kind, sets, sharpness, lift
    ("sure", 301, "softmax", False, 6.0, 3.0),
    ("unsure", 120, "softmax", False, 0.5, 0.75),
    ("sets", 90, "softmax", True, 3.0, 1.5),
    ("one_by_one", 200, "sigmoid", False, 5.0, 2.0),
    ("sets_one_by_one", 151, "sigmoid", True, 2.0, 2.5),
)


def permute(seed, n):
    """vt_permute of base/philox.h for epoch 0: the sample at each position."""
    bits = 1
    while bits < 32 and (n - 1) >> (2 * bits):
        bits += 1
    mask = (1 << bits) - 1
    out = []
    for p in range(n):
        while True:
            left, right = p >> bits, p & mask
            for step in range(12):
                left, right = right, left ^ (int(philox4x32(seed, ORDER, 0, step, right)[..., 0]) & mask)
            p = left << bits | right
            if p < n:
                break
        out.append(p)
    return out


def draw(name, count, sets, sharpness, lift):
    logits = np.float32(sharpness) * (2 * uniform(f"{name}.logits", count * CLASSES, SEED, STREAM) - 1)
    logits = logits.reshape(count, CLASSES)
    first = lanes(f"{name}.labels", count, SEED, STREAM) % np.uint32(CLASSES)
    more = lanes(f"{name}.more", count, SEED, STREAM) % np.uint32(3) if sets else np.zeros(count, int)
    targets = np.zeros((count, CLASSES), bool)
    for i in range(count):
        for k in range(int(more[i]) + 1):
            targets[i, (int(first[i]) + k) % CLASSES] = True
    logits = logits + np.float32(lift) * targets.astype(np.float32)
    assert logits.dtype == np.float32
    two = np.sort(logits, 1)[:, -2:]
    assert (two[:, 1] - two[:, 0]).min() > SMALLEST_MARGIN
    return logits.astype(np.float64), targets


def nll(kind, z, targets):
    if kind == "softmax":
        return -(log_softmax(z, 1) * targets).sum(1) / targets.sum(1)
    return -np.where(targets, log_expit(z), log_expit(-z)).sum(1)


def figures(kind, z, targets):
    p = softmax(z, 1) if kind == "softmax" else expit(z)
    y = targets / targets.sum(1, keepdims=True) if kind == "softmax" else targets
    confidence, right = p.max(1), targets[np.arange(len(z)), z.argmax(1)]
    edges = np.arange(1, BINS + 1) / BINS
    assert np.abs(confidence[:, None] - edges[:-1]).min() > SMALLEST_MARGIN
    index = np.searchsorted(edges, confidence)
    ece, bins = 0.0, []
    for m in range(BINS):
        inside = index == m
        n = int(inside.sum())
        bins.append([n, int(right[inside].sum()), float(confidence[inside].mean()) if n else 0.0])
        ece += n / len(z) * abs(right[inside].mean() - confidence[inside].mean()) if n else 0.0
    return {
        "ece": float(ece),
        "nll": float(nll(kind, z, targets).mean()),
        "brier": float(((p - y) ** 2).sum(1).mean()),
        "bins": bins,
    }


def fit(kind, z, targets):
    best = minimize_scalar(
        lambda t: nll(kind, np.exp(t) * z, targets).mean(), bracket=(-1, 1), options={"xtol": 1e-12}
    )
    return float(np.exp(-best.x))


def mean_average_precision(z, targets):
    values = []
    for c in range(CLASSES):
        if targets[:, c].any():
            hits = targets[np.argsort(-z[:, c], kind="stable"), c]
            values.append((np.cumsum(hits) / np.arange(1, len(z) + 1))[hits].mean())
    return float(np.mean(values))


def case(name, count, kind, sets, sharpness, lift):
    z, targets = draw(name, count, sets, sharpness, lift)
    order = permute(0, count)
    halves = [sorted(order[: count // 2]), sorted(order[count // 2 :])]
    temperatures = [fit(kind, z[h], targets[h]) for h in halves]
    scaled = z.copy()
    for h in (0, 1):
        scaled[halves[h]] /= temperatures[1 - h]
    return {
        "name": name,
        "count": count,
        "kind": kind,
        "sets": sets,
        "sharpness": sharpness,
        "lift": lift,
        "temperatures": temperatures,
        "before": figures(kind, z, targets),
        "after": figures(kind, scaled, targets),
        "halves_before": [figures(kind, z[h], targets[h])["ece"] for h in halves],
        "halves_after": [figures(kind, scaled[h], targets[h])["ece"] for h in halves],
        "mean_average_precision": mean_average_precision(z, targets),
    }


def main():
    document = {
        "generator": "tools/golden/calibration.py",
        "command": COMMAND,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
        "rule": RULE,
        "philox_seed": SEED,
        "classes": CLASSES,
        "width": WIDTH,
        "cases": [case(*c) for c in CASES],
    }
    text = json.dumps(document, indent=1)
    print(re.sub(r"\[\s+([^][{}]+?)\s+\]", lambda match: "[" + " ".join(match[1].split()) + "]", text))


if __name__ == "__main__":
    main()
