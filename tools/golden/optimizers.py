# Golden values of the optimizers: parameters and state over twelve steps of big_vision's chain, rebuilt from optax.
#
#   tools/python/run tools/golden/optimizers.py adafactor > tests/golden/optimizer_adafactor.json
#   tools/python/run tools/golden/optimizers.py adam > tests/golden/optimizer_adam.json
#   tools/python/run tools/golden/optimizers.py sgd > tests/golden/optimizer_sgd.json
#
# Parameters and gradients follow the Philox rule, so the files hold outputs only. The chain runs on big_vision's
# layouts, compiled (jit); names, shapes and everything that is written are in timm's. Beside it runs the same step
# in NumPy float64 (moments still stored in bf16): the distance between the two goes to standard error.

import argparse
import json
import platform
import sys

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax

from writing import DRAW_RULE, PROJECTION_RULE, SEED, STREAM, base64_of, draw, number, numbers, one_line_arrays, projections

GENERATOR = "tools/golden/optimizers.py"
STEPS, HEADS, MLP, CLASSES = 12, 3, 100, 37
TOKENS = {72: 15, 96: 48}  # the position embedding is factored in the second: both sides are at least 32
SCALE = 0.1
GRAD_SCALES = [2.0**-e for e in (5, 8, 6, 9, 5, 4, 8, 7, 6, 9, 5, 8)]  # |gradient| on both sides of the clip
LR, CLIP, MIN_SIDE = 1e-3, 1.0, 32
DECAY_BODY, DECAY_HEAD = 0.03, 3.0  # times lr
WARMUP, TIMESCALE = 3, 10
BETA1, BETA2, EXPONENT, EPS_RMS, EPS_ADAM = 0.9, 0.999, 0.8, 1e-30, 1e-8
CHANGE_PROJECTIONS, STATE_PROJECTIONS, ELEMENTS = 4, 2, 4
STRIDE_ABOVE, STRIDE = 3000, 11  # of a longer tensor every eleventh final moment is stored

RULE = (
    DRAW_RULE
    + " Parameter NAME has scale `scale`; its gradient of step t has use = FNV-1a 32 of 'NAME.grad.t' and scale "
    "grad_scales[t], and never an offset of 1. " + PROJECTION_RULE
)
MEANING = {
    "order": "theta -= s[t] * (lr * lr_mult * u + lr * decay * theta), u from the clipped gradient; decay is decay_head for "
    "head.weight, decay_body for qkv, proj, fc1, 0 for the rest",
    "clip": "g * clip / norm where the norm over all tensors that are not frozen is not below clip",
    "momentum": "adafactor: m = beta1 m + 0.1 u, output m; adam: m = beta1 m + 0.1 g; sgd: m = g + beta1 m. The float32 m is "
    "used, then stored as momentum_type. Under decay 'bf16' beta1 is bf16(0.9) = 0.8984375 (what jit does where the stored "
    "moment is bf16), under 'exact' 0.9; 1 - beta1 is 0.1 in both",
    "blocks": "factored moments are those of `blocks` matrices of rows x cols: a block of qkv is one head's rows, a block of "
    "proj one head's columns; row_moment is blocks x rows (means over cols), col_moment blocks x cols",
    "steps": "after each step: change = theta - theta before step 0 (norm and projections in double of the float32 values), "
    "theta = values at `elements` (flat index), moments likewise; the arrays run over steps",
    "final": "after the last step: a bf16 momentum as base64 of little-endian uint16 at flat elements 0, stride, 2 stride, ...; factored moments as base64 of little-endian float32 in full",
}


class Layout:
    """One timm tensor, the big_vision tensors that it holds, and the matrices that a factored moment sees."""

    def __init__(self, name, shape, leaves, to_leaves, from_leaves, blocks=0, rows=0, cols=0, decay=0.0, offset=0.0):
        self.name, self.shape, self.leaves, self.decay, self.offset = name, shape, leaves, decay, offset
        self.to_leaves, self.from_leaves = to_leaves, from_leaves
        self.blocks, self.rows, self.cols = blocks, rows, cols
        self.factored = min(rows, cols) >= MIN_SIDE

    @property
    def count(self):
        return int(np.prod(self.shape))


def qkv(width):
    h = width // HEADS
    return Layout(
        "blocks.0.attn.qkv.weight", (3 * width, width), ("query", "key", "value"),
        lambda w: list(w.reshape(3, HEADS, h, width).transpose(0, 3, 1, 2)),  # (D, H, h) each
        lambda ws: np.stack(ws).transpose(0, 2, 3, 1).reshape(3 * width, width),
        blocks=3 * HEADS, rows=h, cols=width, decay=DECAY_BODY,
    )  # fmt: skip


def proj(width):
    h = width // HEADS
    return Layout(
        "blocks.0.attn.proj.weight", (width, width), ("out",),
        lambda w: [w.T.reshape(HEADS, h, width)],
        lambda ws: ws[0].reshape(width, width).T,
        blocks=HEADS, rows=width, cols=h, decay=DECAY_BODY,
    )  # fmt: skip


def dense(name, rows, cols, decay):
    return Layout(name, (rows, cols), ("kernel",), lambda w: [w.T], lambda ws: ws[0].T, 1, rows, cols, decay)


def same(name, shape, rows=0, cols=0, offset=0.0):
    return Layout(name, shape, ("value",), lambda w: [w], lambda ws: ws[0], 1 if rows else 0, rows, cols, 0.0, offset)


def layouts(width):
    return [
        same("pos_embed", (1, TOKENS[width], width), TOKENS[width], width),
        qkv(width),
        proj(width),
        same("blocks.0.norm2.weight", (width,), offset=1.0),
        dense("blocks.0.mlp.fc1.weight", MLP, width, DECAY_BODY),
        same("blocks.0.mlp.fc1.bias", (MLP,)),
        dense("head.weight", CLASSES, width, DECAY_HEAD),
    ]


def schedule(t):
    t = jnp.asarray(t, jnp.int32)
    s = 1.0 / jnp.sqrt(1 + jnp.maximum(t - WARMUP, 0) / TIMESCALE)
    return jnp.asarray(s * jnp.minimum(1.0, t / WARMUP), jnp.float32)


def beta2(cap):
    return lambda step, exponent: jnp.minimum(cap, 1.0 - (jnp.asarray(step, jnp.float32) + 1) ** -exponent)


def widened(transform):
    """`transform` that reads its bf16 state as float32, so that the Python scalar 0.9 stays 0.9."""

    def widen(leaf):
        return leaf.astype(jnp.float32) if leaf.dtype == jnp.bfloat16 else leaf

    def update(updates, state, params=None):
        return transform.update(updates, jax.tree.map(widen, state), params)

    return optax.GradientTransformation(transform.init, update)


def scaling(case):
    """The optimizer itself: what stands between clipping and the learning rate."""
    momentum_type = jnp.dtype(case["momentum_type"])
    wrap = widened if case["decay"] == "exact" else lambda transform: transform
    if case["optimizer"] == "adam":
        return wrap(optax.scale_by_adam(BETA1, BETA2, EPS_ADAM, mu_dtype=momentum_type))
    if case["optimizer"] == "sgd":
        return wrap(optax.trace(BETA1, accumulator_dtype=momentum_type))
    rms = optax.scale_by_factored_rms(
        decay_rate=EXPONENT, min_dim_size_to_factor=MIN_SIDE, epsilon=EPS_RMS, decay_rate_fn=beta2(case["beta2_cap"])
    )
    return optax.chain(rms, wrap(optax.ema(BETA1, debias=False, accumulator_dtype=momentum_type)))


def rate(case, layout):
    return case["lr_mult"].get(layout.name, 1.0)


def chain(case, tensors):
    """big_vision's order: clip, optimizer, lr, lr_mult, weight decay, schedule, -1. Trees are {name: [leaf, ...]}."""
    mults = {l.name: rate(case, l) for l in tensors}
    transforms = [optax.clip_by_global_norm(CLIP), scaling(case), optax.scale(LR)]
    transforms += [optax.stateless(lambda u, _: {n: [x * mults[n] for x in xs] for n, xs in u.items()})]
    for decay in (DECAY_BODY, DECAY_HEAD):
        mask = {l.name: l.decay == decay for l in tensors}
        transforms.append(optax.add_decayed_weights(decay * LR, mask))
    return optax.chain(*transforms, optax.scale_by_schedule(schedule), optax.scale(-1.0))


def gradient(layout, t):
    return draw(f"{layout.name}.grad.{t}", layout.shape, GRAD_SCALES[t])


def bf16(x):
    return np.asarray(x, np.float32).astype(ml_dtypes.bfloat16)


def find(state, kind):
    """The one state of class `kind` in a chain's nested tuples."""
    if isinstance(state, kind):
        return state
    if isinstance(state, tuple):
        return next((s for s in map(lambda part: find(part, kind), state) if s is not None), None)
    return None


def read_state(case, state, layout):
    """The state of one tensor in timm's layout: {piece: array}."""
    name = layout.name
    if case["optimizer"] == "sgd":
        return {"momentum": layout.from_leaves([np.asarray(x) for x in find(state, optax.TraceState).trace[name]])}
    if case["optimizer"] == "adam":
        adam = find(state, optax.ScaleByAdamState)
        return {k: layout.from_leaves([np.asarray(x) for x in v[name]]) for k, v in (("momentum", adam.mu), ("full_moment", adam.nu))}
    pieces = {"momentum": layout.from_leaves([np.asarray(x) for x in find(state, optax.EmaState).ema[name]])}
    second = find(state, optax.FactoredState)
    if not layout.factored:
        return pieces | {"full_moment": layout.from_leaves([np.asarray(x) for x in second.v[name]])}
    return pieces | factored_state(layout, [np.asarray(x) for x in second.v_row[name]], [np.asarray(x) for x in second.v_col[name]])


def factored_state(layout, v_row, v_col):
    """optax keeps in v_row the second longest axis, in v_col the longest."""
    short, long = np.stack(v_row), np.stack(v_col)
    if layout.rows > layout.cols:
        rows, cols = long, short
    else:
        rows, cols = short, long
    if "query" in layout.leaves:  # rows (3, H, h), cols (3, D, H); the output projection has rows (1, H, D), cols (1, H, h)
        cols = cols.transpose(0, 2, 1)
    return {"row_moment": rows.reshape(layout.blocks, layout.rows), "col_moment": cols.reshape(layout.blocks, layout.cols)}


def run(case, tensors):
    """Yields after each step (parameters, state, gradient norm, s), all in timm's layout."""
    trained = [l for l in tensors if l.name not in case["frozen"]]
    transform = chain(case, trained)
    params = {l.name: [jnp.asarray(x) for x in l.to_leaves(draw(l.name, l.shape, SCALE, l.offset))] for l in trained}
    state = transform.init(params)

    @jax.jit
    def step(params, state, grads):
        updates, state = transform.update(grads, state, params)
        return optax.apply_updates(params, updates), state, optax.tree.norm(grads)

    for t in range(STEPS):
        grads = {l.name: [jnp.asarray(x) for x in l.to_leaves(gradient(l, t))] for l in trained}
        params, state, norm = step(params, state, grads)
        yield (
            {l.name: l.from_leaves([np.asarray(x) for x in params[l.name]]) for l in trained},
            {l.name: read_state(case, state, l) for l in trained},
            float(norm),
            float(schedule(t)),
        )


class Judge:
    """The same steps by the equations, in NumPy float64, on timm's layout: what the chain is held against."""

    def __init__(self, case, tensors):
        self.case = case
        self.tensors = [l for l in tensors if l.name not in case["frozen"]]
        self.value = {l.name: draw(l.name, l.shape, SCALE, l.offset).astype(np.float64) for l in self.tensors}
        self.momentum = {l.name: np.zeros(l.shape) for l in self.tensors}
        self.second = {l.name: [0.0, 0.0] for l in self.tensors}

    def blocks(self, layout, x):
        if layout.blocks == HEADS:  # a head's columns
            return x.reshape(layout.rows, HEADS, layout.cols).transpose(1, 0, 2)
        return x.reshape(layout.blocks, layout.rows, layout.cols)

    def unblocked(self, layout, x):
        return (x.transpose(1, 0, 2) if layout.blocks == HEADS else x).reshape(layout.shape)

    def preconditioned(self, layout, g, k):
        b2, state = min(self.case["beta2_cap"], 1 - float(k) ** -EXPONENT), self.second[layout.name]
        square = g * g + EPS_RMS
        if not layout.factored:
            state[0] = b2 * state[0] + (1 - b2) * square
            return g / np.sqrt(state[0])
        square = self.blocks(layout, square)
        state[0] = b2 * state[0] + (1 - b2) * square.mean(2)
        state[1] = b2 * state[1] + (1 - b2) * square.mean(1)
        v = state[0][:, :, None] * state[1][:, None, :] / state[0].mean(1)[:, None, None]
        return g / np.sqrt(self.unblocked(layout, v))

    def output(self, layout, g, k):
        """The optimizer's output from the clipped gradient; the moment is stored in its type."""
        case, name = self.case, layout.name
        bf16_decay = case["decay"] == "bf16" and case["momentum_type"] == "bfloat16"
        beta1 = float(ml_dtypes.bfloat16(BETA1)) if bf16_decay else BETA1
        old = self.momentum[name]
        if case["optimizer"] == "sgd":
            u = m = g + beta1 * old
        elif case["optimizer"] == "adafactor":
            u = m = beta1 * old + 0.1 * self.preconditioned(layout, g, k)
        else:
            m = beta1 * old + 0.1 * g
            self.second[name][0] = BETA2 * self.second[name][0] + (1 - BETA2) * g * g
            u = m / (1 - BETA1**k) / (np.sqrt(self.second[name][0] / (1 - BETA2**k)) + EPS_ADAM)
        self.momentum[name] = (bf16(m) if case["momentum_type"] == "bfloat16" else m.astype(np.float32)).astype(np.float64)
        return u

    def step(self, t, s):
        grads = {l.name: gradient(l, t).astype(np.float64) for l in self.tensors}
        norm = np.sqrt(sum(np.sum(g * g) for g in grads.values()))
        scale = CLIP / norm if norm >= CLIP else 1.0
        for l in self.tensors:
            u = self.output(l, grads[l.name] * scale, t + 1)
            value = self.value[l.name]
            self.value[l.name] = value - s * (LR * rate(self.case, l) * u + LR * l.decay * value)


def cross_check(case, judge, params, state, worst):
    """Largest distances over tensors, steps and, where it says so, the stored elements only."""

    def keep(key, value):
        worst[key] = max(worst.get(key, 0), value)

    for l in judge.tensors:
        off = (judge.value[l.name] - params[l.name]).ravel()
        keep("parameter", float(np.abs(off).max()))
        keep("parameter, root mean square", float(np.sqrt(np.mean(off * off))))
        keep("parameter, stored elements", float(np.abs(off[picks(l)]).max()))
        if case["momentum_type"] == "bfloat16":
            ulps = np.abs(bits(state[l.name]["momentum"]).astype(int) - bits(judge.momentum[l.name]).astype(int))
            worst["moments"] = worst.get("moments", 0) + ulps.size
            worst["different"] = worst.get("different", 0) + int(np.count_nonzero(ulps))
            keep("units in the last place", int(ulps.max()))
            ulps = ulps[:: stride_of(l)]
            worst["final"] = worst.get("final", {}) | {l.name: (ulps.size, int(np.count_nonzero(ulps)), int(ulps.max()))}
        for piece, exact in zip(("row_moment", "col_moment") if l.factored else ("full_moment",), judge.second[l.name]):
            if piece in state[l.name]:
                keep("second moment, relative", float(np.abs(exact / state[l.name][piece] - 1).max()))


def picks(layout):
    """A few fixed flat indices, spread over the tensor."""
    return [(2 * i + 1) * layout.count // (2 * ELEMENTS) for i in range(ELEMENTS)]


def summary(name, values, elements, how_many):
    flat = np.asarray(values, np.float64).ravel()
    return {
        "norm": number(np.linalg.norm(flat)),
        "projections": numbers(projections(name, flat, how_many)),
        "values": numbers(flat[elements]),
    }


def columns(rows):
    """[{key: value}, ...] over steps as {key: [value, ...]}, lists flattened into one array."""
    return {key: sum((row[key] if isinstance(row[key], list) else [row[key]] for row in rows), []) for key in rows[0]}


def stride_of(layout):
    return STRIDE if layout.count > STRIDE_ABOVE else 1


def bits(values):
    """bf16 values as flat uint16."""
    return np.ascontiguousarray(bf16(values)).ravel().view(np.uint16)


def final(layout, state, full):
    out = {}
    for piece, values in state.items():
        if piece in ("row_moment", "col_moment"):
            out[piece] = base64_of(values, np.float32)
        elif values.dtype == ml_dtypes.bfloat16 and full:
            out |= {"stride": stride_of(layout), "momentum": base64_of(bits(values)[:: stride_of(layout)], np.uint16)}
    return out


def tensor_entry(case, layout, history, full):
    elements = picks(layout)
    entry = {"shape": list(layout.shape), "decay": layout.decay, "lr_mult": rate(case, layout), "layer_norm": layout.offset == 1}
    if layout.name in case["frozen"]:
        return entry | {"frozen": True}
    start = draw(layout.name, layout.shape, SCALE, layout.offset).astype(np.float64)
    entry |= {"factored": bool(layout.factored and case["optimizer"] == "adafactor")}
    if entry["factored"]:
        entry |= {"blocks": layout.blocks, "rows": layout.rows, "cols": layout.cols}
    rows = [summary(layout.name, p[layout.name] - start, elements, CHANGE_PROJECTIONS) for p, _ in history]
    entry["elements"] = elements
    entry["change"] = {k: v for k, v in columns(rows).items() if k != "values"}
    entry["theta"] = sum((numbers(p[layout.name].ravel()[elements]) for p, _ in history), [])
    for piece in history[0][1][layout.name]:
        if piece not in ("row_moment", "col_moment"):
            pieces = [s[layout.name][piece].astype(np.float64) for _, s in history]
            entry[piece] = columns([summary(layout.name, x, elements[:2], STATE_PROJECTIONS) for x in pieces])
        else:
            pieces = [s[layout.name][piece].astype(np.float64) for _, s in history]
            entry[piece] = {"norm": numbers([np.linalg.norm(x) for x in pieces])}
    return entry | {"final": final(layout, history[-1][1][layout.name], full)}


def golden(name, case):
    tensors = layouts(case["width"])
    judge, worst, history, norms, factors = Judge(case, tensors), {}, [], [], []
    for t, (params, state, norm, s) in enumerate(run(case, tensors)):
        judge.step(t, s)
        cross_check(case, judge, params, state, worst)
        history.append((params, state))
        norms.append(norm)
        factors.append(s)
    print(f"{name}: against NumPy float64: {worst}", file=sys.stderr)
    return {
        "name": name,
        **case,
        "grad_norms": numbers(norms),
        "s": numbers(factors),
        "tensors": {l.name: tensor_entry(case, l, history, not case["frozen"]) for l in tensors},
    }


def case(optimizer, width, momentum_type="bfloat16", decay="bf16", **more):
    return {"optimizer": optimizer, "width": width, "momentum_type": momentum_type, "decay": decay, "lr_mult": {},
            "frozen": [], **({"beta2_cap": 0.999} if optimizer == "adafactor" else {}), **more}  # fmt: skip


RULES = {"lr_mult": {"pos_embed": 0.5, "head.weight": 2.0}, "frozen": ["blocks.0.norm2.weight"]}
CASES = {
    "adafactor": {
        "adafactor_72": case("adafactor", 72),
        "adafactor_96": case("adafactor", 96),
        "adafactor_96_exact": case("adafactor", 96, decay="exact"),
        "adafactor_96_rules": case("adafactor", 96, beta2_cap=0.6, **RULES),  # the cap is reached in the fourth step
    },
    "adam": {
        "adam_72": case("adam", 72),
        "adam_72_exact": case("adam", 72, decay="exact"),
        "adam_72_float32": case("adam", 72, "float32", "exact"),
    },
    "sgd": {
        "sgd_72": case("sgd", 72),
        "sgd_72_exact": case("sgd", 72, decay="exact"),
        "sgd_72_float32": case("sgd", 72, "float32", "exact"),
    },
}


def main():
    parser = argparse.ArgumentParser(description="Golden values of an optimizer.")
    parser.add_argument("optimizer", choices=CASES)
    optimizer = parser.parse_args().optimizer
    document = {
        "generator": GENERATOR,
        "command": f"tools/python/run {GENERATOR} {optimizer} > tests/golden/optimizer_{optimizer}.json",
        "versions": {"python": platform.python_version(), "jax": jax.__version__, "optax": optax.__version__,
                     "numpy": np.__version__},
        "rule": RULE,
        "meaning": MEANING,
        "seed": SEED,
        "stream": STREAM,
        "scale": SCALE,
        "steps": STEPS,
        "grad_scales": GRAD_SCALES,
        "lr": LR,
        "clip": CLIP,
        "decay_body": DECAY_BODY,
        "decay_head": DECAY_HEAD,
        "beta1": BETA1,
        "beta2": BETA2,
        "schedule": {"kind": "rsqrt", "warmup": WARMUP, "timescale": TIMESCALE},
        "cases": [golden(name, case) for name, case in CASES[optimizer].items()],
    }  # fmt: skip
    print(one_line_arrays(json.dumps(document, indent=1)))


if __name__ == "__main__":
    main()
