# Trains the PyTorch twin of a vitro run: the same initial values, the same images in the same order, float32.
#
#   dump-batches RECIPE [key=value ...] | tools/python/run tools/python/train_twin.py OUT.jsonl [--threads N]
#
# Standard input is what dump-batches writes (tools/dump_batches.c says in which form). OUT.jsonl receives a line for
# every step and a last one for the evaluation, under the names of vitro's metrics.jsonl. It appears under its name
# only when complete.

import argparse
import json
import os
import sys
import time

import numpy as np
import torch

import twin


class Stream:
    """What dump-batches wrote."""

    def __init__(self, file):
        self.file = file
        self.settings = json.loads(file.readline())

    def array(self, shape, dtype):
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        data = self.file.read(count)
        if len(data) != count:
            raise EOFError(f"the stream ends early: {len(data)} of {count} bytes")
        return torch.from_numpy(np.frombuffer(bytearray(data), dtype).reshape(shape))

    def initial_values(self):
        return {row["name"]: self.array(row["shape"], np.float32) for row in self.settings["parameters"]}

    def batches(self, images):
        """Images in the model's value range, (count, 3, height, width), and labels."""
        height, width = self.settings["model"]["image"]
        scale, offset = (torch.tensor(x).view(3, 1, 1) for x in self.settings["pixels"])
        while images > 0:
            count = min(images, self.settings["batch"])
            pixels = self.array((count, height, width, 3), np.uint8)
            labels = self.array((count,), np.int32)
            yield pixels.permute(0, 3, 1, 2).float() * scale + offset, labels.long()
            images -= count


def train(model, optimizer, stream, write):
    settings = stream.settings
    schedule = {key: value for key, value in settings["schedule"].items() if key != "name"}
    if settings["schedule"]["name"] != "rsqrt":
        raise ValueError(f"schedule {settings['schedule']['name']} is not known here")
    start = time.perf_counter()
    for t, (images, labels) in enumerate(stream.batches(schedule["steps"] * settings["batch"])):
        model.zero_grad(set_to_none=True)
        loss = twin.sigmoid_cross_entropy(model(images), labels)
        loss.backward()
        factor = twin.rsqrt_schedule(t, **schedule)
        norm = optimizer.step(factor)
        write(
            step=t + 1,
            loss=loss.item(),
            lr=factor * optimizer.lr,
            grad_norm=norm,
            elapsed=time.perf_counter() - start,
        )


@torch.inference_mode()
def evaluate(model, batches):
    right, loss, count = 0, 0.0, 0
    for images, labels in batches:
        logits = model(images)
        right += (logits.argmax(1) == labels).sum().item()
        loss += twin.sigmoid_cross_entropy(logits, labels).item() * len(labels)
        count += len(labels)
    return {"eval_top1": right / count, "eval_loss": loss / count}


def main():
    parser = argparse.ArgumentParser(description="Train the PyTorch twin of a vitro run.")
    parser.add_argument("out", metavar="OUT.jsonl")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)

    stream = Stream(sys.stdin.buffer)
    settings = stream.settings
    model = twin.vision_transformer(**settings["model"])
    model.load_state_dict(stream.initial_values())
    evaluation = list(stream.batches(settings["eval_images"]))
    optimizer = twin.Adafactor(model.named_parameters(), heads=settings["model"]["heads"], **settings["optimizer"])

    part = arguments.out + ".part"
    with open(part, "w") as file:

        def write(**line):
            print(json.dumps(line), file=file, flush=True)

        train(model, optimizer, stream, write)
        if evaluation:
            write(step=settings["schedule"]["steps"], **evaluate(model.eval(), evaluation))
    os.replace(part, arguments.out)


if __name__ == "__main__":
    main()
