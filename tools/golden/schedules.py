# Golden values of the learning-rate schedules: s(t) in float32, as JAX computes big_vision's formulas.
#
#   tools/python/run tools/golden/schedules.py > tests/golden/schedules.json
#
# The rows of `PUBLISHED` were obtained by running big_vision's own function; this script stops when its transcription
# misses one of their printed digits. The drawn cases take their numbers from philox.py.

import json
import platform

import jax
import jax.numpy as jnp
import numpy as np

from philox import lanes
from writing import number, numbers, one_line_arrays

COMMAND = "tools/python/run tools/golden/schedules.py > tests/golden/schedules.json"
SEED, STREAM = 7, 100
KINDS = ("rsqrt", "linear", "cosine", "constant", "polynomial")
DEFAULTS = {
    "warmup": 0, "cooldown": 0, "cooldown_kind": "linear", "timescale": 10000, "shift": 0, "power": 1, "end": 0.0,
    "base": 1.0,
}  # fmt: skip

RULE = (
    "s(t) in float32. p = clip((t - warmup) / (steps - warmup), 0, 1); linear, polynomial: end + (base - end) (1 - p)^power "
    "(linear: power 1); cosine: base (1 + cos(pi p)) / 2; rsqrt: base / sqrt(1 + (t + shift - warmup) / timescale), "
    "before the warm-up's end base / sqrt(1 + shift / timescale); constant: base; stair: base * mults[i], i = number of "
    "boundaries <= t, 1 before the first. Times min(1, t / warmup), times the cooldown over the last `cooldown` steps: "
    "linear: min(1, (steps - t) / cooldown); 1-sqrt: 1 - sqrt(max(0, t - (steps - cooldown)) / cooldown). "
    "`given` says how durations were written (percent of steps; epochs of `epoch` images, batches of `batch`; "
    "base * batch / 256); the numbers beside it are what they come to, rounded to nearest, half to even."
)

# Arguments, and t -> s as printed.
PUBLISHED = {
    "rsqrt g/14": (
        {"kind": "rsqrt", "steps": 1000000, "timescale": 10000, "warmup": 10000, "cooldown": 50000},
        "0→0; 1→1e-4; 5000→0.5; 9999→0.9999; 10000→1; 20000→0.70710677; 40000→0.5; 110000→0.30151135; 500000→0.14142136; "
        "949999→0.10259789; 950000→0.10259783; 975000→0.05063697; 999999→2.0000009e-6; 1000000→0",
    ),
    "rsqrt shift": (
        {"kind": "rsqrt", "steps": 100000, "timescale": 10000, "shift": 30000, "warmup": 5000},
        "2500→0.25; 5000→0.5; 15000→0.44721359; 50000→0.34299719; 100000→0.27216554",
    ),
    "rsqrt": (
        {"kind": "rsqrt", "steps": 200000, "timescale": 100000, "warmup": 10000, "cooldown": 10000},
        "110000→0.70710677; 190000→0.59761429; 195000→0.29617444",
    ),
    "rsqrt percent": (
        {"kind": "rsqrt", "steps": 1000, "timescale": 100, "warmup": 100, "cooldown": 200,
         "given": {"warmup_percent": 10, "cooldown_percent": 20}},
        "50→0.5; 200→0.70710677; 800→0.35355338; 900→0.16666667",
    ),
    "cosine": (
        {"kind": "cosine", "steps": 20000, "warmup": 500},
        "1→0.002; 250→0.5; 500→1; 5375→0.85355341; 10250→0.49999997; 15125→0.14644662; 19999→0",
    ),
    "cosine base 3": ({"kind": "cosine", "steps": 100, "base": 3.0}, "0→3; 25→2.56066036; 50→1.4999999; 100→0"),
    "cosine batch scaling": (
        {"kind": "cosine", "steps": 100, "base": 4.0, "given": {"base": 1, "batch": 1024, "scale_with_batch": True}},
        "0→4; 50→2",
    ),
    "cosine epochs": (
        {"kind": "cosine", "steps": 10000, "warmup": 488, "given": {"warmup_epochs": 5, "epoch": 50000, "batch": 512}},
        "244→0.5; 488→1; 5244→0.5",
    ),
    "linear": ({"kind": "linear", "steps": 1000, "warmup": 100}, "50→0.5; 100→1; 550→0.5; 999→0.00111109; 1000→0"),
    "linear end 0.1": ({"kind": "linear", "steps": 1000, "warmup": 100, "end": 0.1}, "550→0.55; 1000→0.1"),
    "polynomial 2, end 0.01": (
        {"kind": "polynomial", "steps": 1000, "warmup": 100, "power": 2, "end": 0.01}, "550→0.2575; 1000→0.01"),
    "stair": (
        {"kind": "stair", "steps": 1000, "warmup": 100, "cooldown": 100, "boundaries": [300, 600], "mults": [0.1, 0.01]},
        "299→1; 300→0.1; 599→0.1; 600→0.01; 950→0.005",
    ),
    "constant": (
        {"kind": "constant", "steps": 1000, "warmup": 100, "cooldown": 200}, "50→0.5; 500→1; 800→1; 900→0.5; 1000→0"),
}  # fmt: skip


def curve(case, t):
    base = case["base"]
    p = jnp.clip((t - case["warmup"]) / float(case["steps"] - case["warmup"]), 0.0, 1.0)
    match case["kind"]:
        case "linear" | "polynomial":
            return case["end"] + (base - case["end"]) * (1.0 - p) ** case["power"]
        case "cosine":
            return base * 0.5 * (1.0 + jnp.cos(jnp.pi * p))
        case "rsqrt":
            after = jnp.maximum(t - case["warmup"], 0) + case["shift"]
            return base / jnp.sqrt(1 + after / case["timescale"])
        case "stair":
            passed = jnp.sum(t >= jnp.array(case["boundaries"]))
            return base * jnp.array([1.0, *case["mults"]])[passed]
        case "constant":
            return jnp.float32(base)


def schedule(case, t):
    """s(t) in float32; t is an int32 array, so that no step runs in Python's float64."""
    s, cooldown = curve(case, t), case["cooldown"]
    if case["warmup"]:
        s = s * jnp.minimum(1.0, t / case["warmup"])
    if cooldown and case["cooldown_kind"] == "linear":
        s = s * jnp.minimum(1.0, (case["steps"] - t) / cooldown)
    elif cooldown:
        s = s * (1.0 - jnp.sqrt(jnp.maximum(t - (case["steps"] - cooldown), 0) / cooldown))
    return jnp.asarray(s, jnp.float32)


def evaluate(case, times):
    return np.array([schedule(case, jnp.int32(t)) for t in times])


def check_published(name, s, printed):
    """Equal to the printed digits: within half a unit of the last one."""
    digits = len(printed.partition("e")[0].partition(".")[2])
    unit = 10.0 ** (int(printed.partition("e")[2] or 0) - digits)
    if np.float32(printed) != s and abs(float(printed) - float(s)) > 0.5 * unit:
        raise SystemExit(f"schedules.py: {name}: {s:.9g}, published {printed}")


def published():
    for name, (arguments, values) in PUBLISHED.items():
        case = {**DEFAULTS, **arguments}
        pairs = [value.split("→") for value in values.split("; ")]
        times = [int(t) for t, _ in pairs]
        s = evaluate(case, times)
        for (t, printed), found in zip(pairs, s):
            check_published(f"{name} at {t}", found, printed)
        yield {"name": name, "published": True, **case, "t": times, "s": numbers(s)}


def drawn():
    """Every kind with every cooldown, and lengths, ramps and shapes by chance."""
    for i, (kind, cooldown_kind) in enumerate((k, c) for k in KINDS for c in ("linear", "1-sqrt")):
        name = f"schedule.{i}"
        a, b, c, d, e, *more = (int(lane) for lane in lanes(name, 10, SEED, STREAM))
        steps = 100 + a % 200000
        warmup, cooldown = b % (steps // 5), 1 + c % (steps // 3)
        case = {**DEFAULTS, "kind": kind, "steps": steps, "warmup": warmup, "cooldown": cooldown,
                "cooldown_kind": cooldown_kind}  # fmt: skip
        if kind == "rsqrt":
            case |= {"timescale": 1 + d % steps, "shift": e % steps}
        if kind in ("linear", "polynomial"):
            case |= {"end": (d % 64) / 256}
        if kind == "polynomial":
            case |= {"power": 2 + e % 3}
        bend = steps - cooldown
        times = {0, 1, warmup // 2, warmup, warmup + 1, (warmup + bend) // 2, bend - 1, bend, bend + 1, bend + cooldown // 2}
        times |= {steps - 1, steps} | {lane % steps for lane in more}
        times = sorted(t for t in times if 0 <= t <= steps)
        yield {"name": name, "published": False, **case, "t": times, "s": numbers(evaluate(case, times))}


def main():
    document = {
        "generator": "tools/golden/schedules.py",
        "command": COMMAND,
        "versions": {"python": platform.python_version(), "jax": jax.__version__, "numpy": np.__version__},
        "rule": RULE,
        "seed": SEED,
        "stream": STREAM,
        "cases": [*published(), *drawn()],
    }
    print(one_line_arrays(json.dumps(document, indent=1)))


if __name__ == "__main__":
    main()
