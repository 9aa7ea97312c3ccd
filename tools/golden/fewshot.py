# Golden values of few-shot evaluation: which images each seed draws, the ridge weights and the right predictions.
#
#   tools/python/run tools/golden/fewshot.py > tests/golden/fewshot.json
#
# NumPy draws (default_rng) and solves (symmetric eigen-decomposition, float64); vitro has a generator of its own and a
# Cholesky decomposition. Features follow the Philox rule of philox.py, so the file holds outputs only.

import json
import platform
import re

import numpy as np

from philox import lanes, uniform

COMMAND = "tools/python/run tools/golden/fewshot.py > tests/golden/fewshot.json"
SEED, STREAM = 11, 100
WIDTH, CLASSES, POOL, TEST = 12, 5, 30, 60
SHOTS = (1, 2, 6)  # 5 and 10 images: fewer than the 13 features; 6 shots: more
SEEDS = (0, 1, 2)
L2 = (1024.0, 0.5)
SWEEP = tuple(2.0**i for i in range(-10, 20))
RANKED = (2, 6)  # shots whose sweeps of seeds 1 and 2 stand for two data sets
CONSTANT = 100.0
SMALLEST_MARGIN = 1e-5  # between the best and the second score: no prediction may hang on rounding

RULE = (
    "Philox4x32-10 as in philox.py; labels of set S ('pool', 'test'): lane % classes of tensor 'S.labels'; "
    "feature f of image i: (2 u('S.features') - 1) + 0.75 * (2 u('centres')[label, f] - 1), in float32; feature 3 is 0.5 "
    "for every image. Weights are (width + 1, classes), the constant feature last."
)


def draw_set(name, count):
    labels = lanes(f"{name}.labels", count, SEED, STREAM) % np.uint32(CLASSES)
    centres = 2 * uniform("centres", CLASSES * WIDTH, SEED, STREAM).reshape(CLASSES, WIDTH) - 1
    noise = 2 * uniform(f"{name}.features", count * WIDTH, SEED, STREAM).reshape(count, WIDTH) - 1
    features = noise + np.float32(0.75) * centres[labels]
    features[:, 3] = 0.5
    assert features.dtype == np.float32
    return features, labels.astype(int)


def draw_classes(labels, seed):
    generator = np.random.default_rng(seed)
    return [generator.permutation(np.flatnonzero(labels == c)) for c in range(CLASSES)]


def ridge(features, labels, l2):
    mean, deviation = features.mean(0), features.std(0) + 1e-5

    def prepare(x):
        return np.hstack([(x - mean) / deviation, np.full((len(x), 1), CONSTANT)])

    x, y = prepare(features), np.where(labels[:, None] == np.arange(CLASSES), 1.0, -1.0)
    if len(x) >= x.shape[1]:
        values, vectors = np.linalg.eigh(x.T @ x)
        weights = vectors @ ((vectors.T @ (x.T @ y)) / (values + l2)[:, None])
    else:
        values, vectors = np.linalg.eigh(x @ x.T)
        weights = (x.T @ vectors) @ ((vectors.T @ y) / (values + l2)[:, None])
    return weights, prepare


def count_right(pool, test, drawn, shots, l2):
    """Right predictions, weights, and the least margin between two scores."""
    chosen = np.concatenate([indices[:shots] for indices in drawn])
    weights, prepare = ridge(pool[0][chosen].astype(np.float64), pool[1][chosen], l2)
    scores = prepare(test[0].astype(np.float64)) @ weights
    best = np.sort(scores, 1)
    return int((scores.argmax(1) == test[1]).sum()), weights, (best[:, -1] - best[:, -2]).min()


def case(pool, test, drawn, shots, seed, l2):
    right, weights, margin = count_right(pool, test, drawn, shots, l2)
    if margin < SMALLEST_MARGIN:
        raise SystemExit("fewshot.py: two scores are almost equal; change SEED")
    entry = {"shots": shots, "seed": seed, "l2": l2, "right": right}
    if seed == 0:
        entry["weights"] = [[float(f"{w:.12g}") for w in row] for row in weights]
    return entry


def sweep(pool, test, drawn, shots, seed):
    """Right predictions for every l2; null where two scores are almost equal."""
    counts = []
    for l2 in SWEEP:
        right, _, margin = count_right(pool, test, drawn, shots, l2)
        counts.append(right if margin > SMALLEST_MARGIN else None)
    return {"shots": shots, "seed": seed, "right": counts}


def choose(rights):
    """Of the data sets' right predictions (sets, l2), spec 6.2: the l2 of the best mean rank, and the mean ranks."""
    ranks = np.mean([np.argsort(np.argsort(row, kind="stable"), kind="stable") for row in rights], axis=0)
    return {"right": [list(row) for row in rights], "mean_rank": ranks.tolist(), "chosen": int(ranks.argmax())}


def ranking(pool, test, drawn, shots):
    return choose([[count_right(pool, test, drawn[seed], shots, l2)[0] for l2 in SWEEP] for seed in (1, 2)])


def one_line_arrays(text):
    """Puts every array of numbers on one line of the indented JSON."""
    return re.sub(r"\[\s+([^][{}]+?)\s+\]", lambda match: "[" + " ".join(match[1].split()) + "]", text)


def main():
    pool, test = draw_set("pool", POOL), draw_set("test", TEST)
    drawn = {seed: draw_classes(pool[1], seed) for seed in SEEDS}
    document = {
        "generator": "tools/golden/fewshot.py",
        "command": COMMAND,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "rule": RULE,
        "philox_seed": SEED,
        "width": WIDTH,
        "classes": CLASSES,
        "pool": POOL,
        "test": TEST,
        "class_counts": np.bincount(pool[1], minlength=CLASSES).tolist(),
        "permutations": {str(n): np.random.default_rng(2**40 + n).permutation(n).tolist() for n in (1, 2, 5, 33)},
        "drawn": [[indices.tolist() for indices in drawn[seed]] for seed in SEEDS],
        "l2": list(SWEEP),
        "sweeps": [sweep(pool, test, drawn[seed], k, seed) for k in SHOTS for seed in SEEDS],
        "rankings": [ranking(pool, test, drawn, k) for k in RANKED],
        "cases": [case(pool, test, drawn[seed], k, seed, l2) for k in SHOTS for l2 in L2 for seed in SEEDS],
    }
    print(one_line_arrays(json.dumps(document, indent=1)))


if __name__ == "__main__":
    main()
