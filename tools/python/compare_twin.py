# What tools/check-twin left in its folder, as figures:
#
#   compare_twin.py losses OUT      the largest relative difference of two losses of a step; exit status 1 above 1e-3
#   compare_twin.py accuracy OUT    a row for every seed (seconds of all steps, and the median step), and the mean
#                                   difference with its 95 % interval; exit status 1 where it leaves out zero or reaches
#                                   beyond 2 points

import argparse
import itertools
import json
import math
import pathlib
import statistics

TOLERANCE = 1e-3  # of a loss, relative
WIDEST = 2.0  # points of top-1 that the interval may reach to either side
# Student's t, 97.5 %, for 1, 2, ... degrees of freedom
T_975 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]


def lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def compare_losses(out):
    vitro, torch = (
        {row["step"]: row["loss"] for row in lines(out / f"losses-{name}.jsonl") if "loss" in row}
        for name in ("vitro", "torch")
    )
    if vitro.keys() != torch.keys():
        raise SystemExit(f"check-twin: vitro logged {len(vitro)} steps, PyTorch {len(torch)}")
    differences = {step: abs(vitro[step] - torch[step]) / abs(torch[step]) for step in sorted(vitro)}
    worst = max(differences, key=differences.get)
    half = max(list(differences.values())[: len(differences) // 2])
    good = differences[worst] <= TOLERANCE
    print(
        f"check-twin: {len(vitro)} steps, loss {vitro[1]:.6g} to {vitro[max(vitro)]:.6g}; largest relative difference "
        f"{differences[worst]:.3g} at step {worst} ({half:.3g} in the first half): "
        + ("ok" if good else f"FAILED, above {TOLERANCE:g}")
    )
    return good


def result(path):
    rows = lines(path)
    elapsed = [row["elapsed"] for row in rows if "loss" in row]
    step = statistics.median(after - before for before, after in itertools.pairwise(elapsed))
    evaluation = [row for row in rows if "eval_top1" in row][-1]
    return 100 * evaluation["eval_top1"], evaluation["eval_loss"], elapsed[-1], 1000 * step


def compare_accuracy(out):
    """Whether the interval of the mean difference contains zero and is narrow enough to say something."""
    seeds = sorted(path.name[len("seed") : -len("-torch.jsonl")] for path in out.glob("seed*-torch.jsonl"))
    differences = []
    print("| seed | vitro: top-1 | loss | s | ms a step | PyTorch: top-1 | loss | s | ms a step | difference |")
    print("| --- " * 10 + "|")
    for seed in seeds:
        runs = [result(out / f"seed{seed}-{name}.jsonl") for name in ("vitro", "torch")]
        cells = " | ".join(f"{top1:.2f} % | {loss:.4f} | {total:.0f} | {step:.0f}" for top1, loss, total, step in runs)
        differences.append(runs[0][0] - runs[1][0])
        print(f"| {seed} | {cells} | {differences[-1]:+.2f} |")
    n = len(seeds)
    if not 2 <= n <= len(T_975) + 1:
        raise SystemExit(f"check-twin: {n} pairs of runs give no interval")
    mean = statistics.mean(differences)
    half = T_975[n - 2] * statistics.stdev(differences) / math.sqrt(n)
    low, high = mean - half, mean + half
    print(f"mean difference, vitro - PyTorch: {mean:+.2f} points, 95 % interval [{low:+.2f}, {high:+.2f}] (t, n = {n})")
    return -WIDEST <= low <= 0 <= high <= WIDEST


def main():
    parser = argparse.ArgumentParser(prog="check-twin")
    parser.add_argument("mode", choices=("losses", "accuracy"))
    parser.add_argument("out", type=pathlib.Path)
    arguments = parser.parse_args()
    good = {"losses": compare_losses, "accuracy": compare_accuracy}[arguments.mode](arguments.out)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
