# The peers of bench/loader: images per second of torchvision (ImageFolder and DataLoader) or webdataset on the same files,
# as uint8 batches, in a random order without end. Answers every line "images N" on standard input with one line of JSON.
#
#   tools/python/run bench/peer_loader.py --library torchvision --data FOLDER --case 224 [--batch 64] [--workers 2]
#   tools/python/run bench/peer_loader.py --library webdataset --data 'SHARDS/x-{000000..000003}.tar' --case 32
#
# Both decode with Pillow and use torchvision's transforms v2 on its images, worker processes that stay, and prefetching as
# they come. torchvision draws with replacement, webdataset resamples shards and shuffles in a buffer of 1,000: no
# epoch ends, so no worker waits for one.

import argparse
import json
import sys
import time

import torch
from torchvision import datasets
from torchvision.transforms import InterpolationMode, v2

torch.set_num_threads(1)


def transforms(case):
    if case == 224:
        crop = [v2.RandomResizedCrop(224, scale=(0.05, 1.0), interpolation=InterpolationMode.BILINEAR)]
    else:
        crop = [v2.Pad(4), v2.RandomCrop(32)]
    return v2.Compose([v2.RGB(), *crop, v2.RandomHorizontalFlip(), v2.PILToTensor()])


def torchvision_batches(a):
    data = datasets.ImageFolder(a.data, transforms(a.case))
    return torch.utils.data.DataLoader(data, batch_size=a.batch, sampler=Endless(len(data)), num_workers=a.workers)


class Endless(torch.utils.data.Sampler):
    """Draws one at a time: RandomSampler would make its list first."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        while True:
            yield from torch.randint(self.count, (1024,), generator=generator).tolist()

    def __len__(self):
        return 1 << 40


def webdataset_batches(a):
    import webdataset

    data = (
        webdataset.WebDataset(a.data, resampled=True, shardshuffle=False)
        .shuffle(1000)
        .decode("pil")
        .to_tuple("jpg", "cls")
        .map_tuple(transforms(a.case), int)
        .batched(a.batch)
    )
    return webdataset.WebLoader(data, batch_size=None, num_workers=a.workers)


def main():
    parser = argparse.ArgumentParser(description="Images per second of another library's loader.")
    parser.add_argument("--library", choices=("torchvision", "webdataset"), required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--case", type=int, choices=(224, 32), required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    a = parser.parse_args()
    batches = iter(torchvision_batches(a) if a.library == "torchvision" else webdataset_batches(a))
    for line in sys.stdin:
        images, done, start = int(line.split()[1]), 0, time.perf_counter()
        while done < images:
            pixels = next(batches)[0]
            done += len(pixels)
        print(json.dumps({"images_per_s": done / (time.perf_counter() - start)}), flush=True)


if __name__ == "__main__":
    main()
