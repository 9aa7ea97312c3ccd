#!/usr/bin/env python3
"""Fits of E = a (C + d)^-b + c by SciPy, the reference of src/law/fit.c: writes tests/golden/law.json.

  tools/golden/law.py >tests/golden/law.json
  tools/golden/law.py --chinchilla svg_extracted_data.csv    # why sums: the mean of the same losses stops early

Tables are made here (seeded), so no data are needed. Needs NumPy and SciPy.
"""
import argparse
import csv
import json

import numpy as np
import scipy
from scipy.optimize import least_squares, minimize

FORMS = {"pure": "ab", "shifted": "abd", "floor": "abc", "full": "abcd"}
DELTA = 0.03


def predict(p, x):
    return p["a"] * (x + p["d"]) ** -p["b"] + p["c"]


def residual(theta, names, x, y, loss):
    p = {"c": 0.0, "d": 0.0, **dict(zip(names, np.exp(theta)))}
    e = predict(p, x)
    return e - y if loss == "linear" else np.log(e) - np.log(y)


def objective(r, loss):
    return float(np.sum(np.where(np.abs(r) <= DELTA, r**2, 2 * DELTA * np.abs(r) - DELTA**2))) if loss == "huber" else float(np.sum(r**2))


def fit(x, y, form, loss):
    names, best = FORMS[form], None
    for a in (0.3, 0.7, 1.5):
        for b in (0.15, 0.3, 0.6):
            for c in (0.1, 0.5, 0.9) if "c" in names else (0,):
                for d in (0.01, 0.5, 3) if "d" in names else (0,):
                    start = dict(a=a * y.max() * x.min() ** b, b=b, c=c * y.min(), d=d * x.min())
                    theta = np.log([start[n] for n in names])
                    options = {"loss": "huber", "f_scale": DELTA} if loss == "huber" else {}
                    with np.errstate(all="ignore"):
                        try:
                            s = least_squares(residual, theta, args=(names, x, y, loss), xtol=1e-14, ftol=1e-14, gtol=1e-14, max_nfev=3000, **options)
                        except ValueError:  # a start that overflows
                            continue
                    value = objective(residual(s.x, names, x, y, loss), loss)
                    if best is None or value < best[0]:
                        best = (value, s.x)
    value, theta = best
    p = dict(zip(names, map(float, np.exp(theta))))
    out = {"form": form, "loss": loss, "objective": value, **p}
    if loss == "log":
        j = np.empty((len(x), len(names)))  # by natural parameters, central differences
        for i in range(len(names)):
            step = np.zeros(len(names))
            step[i] = 1e-5
            j[:, i] = (residual(theta + step, names, x, y, loss) - residual(theta - step, names, x, y, loss)) / 2e-5
        covariance = np.linalg.inv(j.T @ j) * value / (len(x) - len(names))
        out["se"] = {n: float(p[n] * np.sqrt(covariance[i, i])) for i, n in enumerate(names)}
    return out


def cases():
    rng = np.random.default_rng(20)
    truths = [(0.63, 0.33, 0.13, 0.55, 33, 0.03), (0.26, 0.4, 0.09, 0.2, 28, 0.02), (0.5, 0.22, 0.05, 1.0, 40, 0.01), (2.0, 0.3, 1.7, 2.0, 20, 0.005)]
    for a, b, c, d, n, noise in truths:
        x = np.geomspace(0.3, 3e4, n)
        y = (a * (x + d) ** -b + c) * np.exp(noise * rng.standard_normal(n))
        x, y = np.array([float(f"{v:.8g}") for v in x]), np.array([float(f"{v:.8g}") for v in y])
        fits = [fit(x, y, form, loss) for form in ("pure", "floor", "full") for loss in ("log", "huber", "linear")]
        yield {"truth": [a, b, c, d], "x": x.tolist(), "y": y.tolist(), "fits": fits}


def chinchilla(path):
    """Hoffmann's third approach on Besiroglu's points, five highest losses dropped, minimised as a mean and as a sum."""
    rows = [(float(r["Model Size"]), float(r["Training FLOP"]), float(r["loss"])) for r in csv.DictReader(open(path))]
    n, flop, loss = np.array(sorted(rows, key=lambda r: r[2])[:-5]).T
    ln_n, ln_d, ln_l = np.log(n), np.log(flop / (6 * n)), np.log(loss)

    def huber(t, reduce):
        r = np.abs(np.logaddexp.reduce([t[0] - t[3] * ln_n, t[1] - t[4] * ln_d, np.full_like(ln_n, t[2])]) - ln_l)
        return reduce(np.where(r <= 1e-3, r**2 / 2, 1e-3 * (r - 5e-4)))

    for name, reduce, options in (("mean, default tolerances", np.mean, {}), ("sum, tolerances 1e-15", np.sum, {"ftol": 1e-15, "gtol": 1e-12, "maxiter": 20000, "maxfun": 200000})):
        best = min((minimize(huber, [a, b, e, al, be], args=(reduce,), method="L-BFGS-B", options=options)
                    for a in (0, 10, 20) for b in (0, 10, 20) for e in (-1, 0.5) for al in (0.3, 1) for be in (0.3, 1)), key=lambda s: s.fun)
        t = best.x
        print(f"{name}: A {np.exp(t[0]):.1f} B {np.exp(t[1]):.1f} E {np.exp(t[2]):.4f} alpha {t[3]:.4f} beta {t[4]:.4f}, sum of Huber {huber(t, np.sum):.6g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chinchilla", metavar="CSV")
    args = parser.parse_args()
    if args.chinchilla:
        return chinchilla(args.chinchilla)
    head = {"generator": "tools/golden/law.py", "command": "tools/golden/law.py >tests/golden/law.json", "scipy": scipy.__version__, "numpy": np.__version__, "seed": 20, "huber_delta": DELTA}
    print(json.dumps({**head, "cases": list(cases())}, indent=1))


main()
