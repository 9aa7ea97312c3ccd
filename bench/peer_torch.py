# The peer of bench: times a training step, float32 or autocast to bf16, of the same model in PyTorch and timm on the CPU.
#
#   tools/python/run bench/peer_torch.py --width 64 --depth 4 --heads 4 --mlp 256 --patch 7 --image 28 --batch 256
#
# A step is forward, sigmoid cross-entropy, backward and optimizer, on one fixed batch in memory. The result is one
# line of JSON. With --serve the program warms up, then answers every line "step N" on standard input with the
# result of N timed steps, until its input ends: so a caller can alternate it with another program in one session.
#
# Settings are those that PyTorch advises for the CPU: fused AdamW, gradients set to None, one thread a core,
# denormals flushed. The default allocator costs it up to 12 %; the caller should preload tcmalloc where there is one
# (Debian: libtcmalloc-minimal4):
#
#   LD_PRELOAD=libtcmalloc_minimal.so.4 tools/python/run bench/peer_torch.py ...

import argparse
import json
import os
import platform
import statistics
import sys
import time

import timm
import torch
import torch.nn.functional as F
from timm.optim import AdafactorBigVision

from twin import vision_transformer


def parse_arguments():
    parser = argparse.ArgumentParser(description="Time a training step of timm's VisionTransformer.")
    for name, default in [
        ("width", 192),
        ("depth", 12),
        ("heads", 3),
        ("mlp", 768),
        ("patch", 16),
        ("image", 224),
        ("classes", 1000),
        ("batch", 32),
        ("threads", os.cpu_count()),
        ("steps", 10),
        ("warmup", 3),
    ]:
        parser.add_argument(f"--{name}", type=int, default=default, help="default %(default)s")
    parser.add_argument("--head", choices=("map", "gap"), default="map", help="default %(default)s")
    parser.add_argument("--optimizer", choices=("adamw", "adafactor"), default="adamw", help="default %(default)s")
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32", help="bf16: autocast; default %(default)s")
    parser.add_argument("--compile", action="store_true", help="torch.compile: a first step of half a minute or more")
    parser.add_argument("--serve", action="store_true", help='answer lines "step N" on standard input')
    return parser.parse_args()


def make_step(arguments):
    """A function without arguments that does one training step."""
    model = vision_transformer(
        image=arguments.image,
        patch=arguments.patch,
        width=arguments.width,
        depth=arguments.depth,
        heads=arguments.heads,
        mlp=arguments.mlp,
        classes=arguments.classes,
        head=arguments.head,
    )
    if arguments.optimizer == "adamw":
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
    else:
        optimizer = AdafactorBigVision(model.parameters(), lr=1e-3, weight_decay=1e-4)

    if arguments.compile:
        model = torch.compile(model)

    torch.manual_seed(0)
    images = torch.rand(arguments.batch, 3, arguments.image, arguments.image) * 2 - 1
    labels = torch.randint(arguments.classes, (arguments.batch,))
    targets = F.one_hot(labels, arguments.classes).float()

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bf16"):
            logits = model(images)
        loss = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum") / len(images)
        loss.backward()
        optimizer.step()

    return step


def measure(step, count, batch):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - start))
    median = statistics.median(times)
    return {
        "median_ms": round(median, 3),
        "min_ms": round(min(times), 3),
        "images_per_s": round(1000 * batch / median, 2),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
    }


def answer(line, step, batch):
    match line.split():
        case ["step", count] if count.isdecimal() and int(count) > 0:
            return measure(step, int(count), batch)
    return {"error": f'expected "step N", got {line.strip()!r}'}


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)
    step = make_step(arguments)
    for _ in range(arguments.warmup):
        step()
    if not arguments.serve:
        print(json.dumps(measure(step, arguments.steps, arguments.batch)))
        return
    for line in sys.stdin:
        print(json.dumps(answer(line, step, arguments.batch)), flush=True)


if __name__ == "__main__":
    main()
