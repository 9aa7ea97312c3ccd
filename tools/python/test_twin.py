# Checks the twin's optimizer and schedule against values of the paper's code base (optax; its momentum taken as 0.9
# exactly).
#
#   tools/python/run tools/python/test_twin.py

import torch

import twin

GRADIENTS = [
    ([[0.1, -0.2, 0.3], [0.4, 0.5, -0.6]], [0.5, -2.0]),
    ([[-0.3, 0.1, 0.2], [0.05, -0.4, 0.25]], [1.0, 1.0]),
]
UPDATES = [
    [[0.06183469, -0.09468642, 0.11401755], [0.10546561, 0.10093607, -0.09723449]],
    [[-0.11928752, -0.04133587, 0.18536296], [0.11105433, -0.00626727, -0.03035036]],
]
ROW_MOMENTS = [[0.04666667, 0.25666669], [0.04666667, 0.15232658]]
COLUMN_MOMENTS = [[0.08500001, 0.14500000, 0.22500001], [0.06274398, 0.11053905, 0.12520683]]
FULL_MOMENTS = [[0.25, 4.0], [0.68076187, 2.27695251]]

# steps 1000, warm-up 100, cooldown 200, timescale 100
SCHEDULE = {0: 0.0, 50: 0.5, 200: 0.70710677, 800: 0.35355338, 900: 0.16666667}


def check(what, got, expected):
    expected = torch.tensor(expected)
    torch.testing.assert_close(torch.as_tensor(got), expected, rtol=1e-6, atol=1e-7, msg=lambda m: f"{what}: {m}")


def check_adafactor():
    weight, bias = torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(2))
    parameters = [("fc1.weight", weight), ("fc1.bias", bias)]
    optimizer = twin.Adafactor(
        parameters, heads=1, lr=1.0, decay_body=0, decay_head=0, beta1=0.9, beta2_cap=0.999, clip=0, min_side=2
    )
    for step, (of_weight, of_bias) in enumerate(GRADIENTS):
        weight.data.zero_()
        weight.grad, bias.grad = torch.tensor(of_weight), torch.tensor(of_bias)
        optimizer.step()
        check(f"update {step}", -weight.data, UPDATES[step])
        (rows, columns), (full,) = (row["moments"] for row in optimizer.rows)
        check(f"moment of rows, {step}", rows[0], ROW_MOMENTS[step])
        check(f"moment of columns, {step}", columns[0], COLUMN_MOMENTS[step])
        check(f"moment of the bias, {step}", full, FULL_MOMENTS[step])


def check_heads():
    """A head's moments come from that head's rows (q, k, v) or columns (proj) alone, and the view writes in place."""
    for name, shape, first in [("attn.qkv.weight", (192, 64), (0, 0)), ("attn.proj.weight", (64, 64), (0, 1))]:
        tensor = torch.zeros(shape)
        matrices = twin.second_moment_matrices(name, tensor, heads=2)
        matrices[1] = 1
        half = tensor[32:64] if name == "attn.qkv.weight" else tensor[:, 32:]
        if not (half == 1).all() or tensor.sum() != half.numel():
            raise AssertionError(f"{name}: the second head is not where it should be")


def check_decay_and_clipping():
    weight = torch.nn.Parameter(torch.full((1, 2), 0.5))
    settings = {"lr": 0.1, "decay_body": 0.03, "decay_head": 3.0, "beta1": 0.9, "beta2_cap": 0.999, "clip": 1.0}
    optimizer = twin.Adafactor([("head.weight", weight)], heads=1, **settings)
    weight.grad = torch.zeros(1, 2)
    optimizer.step(0.1)
    check("decay", weight.data, [[0.5 - 0.5 * 0.1 * 0.1 * 3.0] * 2])
    weight.grad = torch.tensor([[3.0, 4.0]])
    norm, scale = optimizer.clip_scale()
    check("norm and scale", [norm, scale], [5.0, 0.2])


def main():
    check_adafactor()
    check_heads()
    check_decay_and_clipping()
    for t, expected in SCHEDULE.items():
        check(f"schedule at {t}", twin.rsqrt_schedule(t, steps=1000, warmup=100, cooldown=200, timescale=100), expected)
    print("test_twin: optimizer and schedule as published")


if __name__ == "__main__":
    main()
