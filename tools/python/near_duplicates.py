"""How many altered copies `vitro data check --against` finds, and how many images it takes for others.

    tools/python/run tools/python/near_duplicates.py VITRO SHARDS.tar[.gz] [--limit N]

Every image of the shards is altered in each of the ways below (Pillow), the copies are held against the originals, and
a row a way is printed: found = the copy's match is its original; wrong = it is another image. Last, the originals
are held against themselves: pairs that are reported there are for a person to look at.
"""
import argparse
import csv
import io
import os
import subprocess
import tarfile
import tempfile

from PIL import Image, ImageEnhance, ImageOps


def jpeg(image, quality):
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(io.BytesIO(data.getvalue())).convert("RGB")


def resized(image, factor):
    return image.resize([max(1, round(side * factor)) for side in image.size], Image.BICUBIC)


def cut(image, share, corner):
    """The middle, or the upper left part, with that share of each side."""
    width, height = (max(1, round(side * share)) for side in image.size)
    left, top = (0, 0) if corner else ((image.width - width) // 2, (image.height - height) // 2)
    return image.crop((left, top, left + width, top + height))


WAYS = {
    "JPEG, quality 60": lambda im: jpeg(im, 60),
    "JPEG, quality 20": lambda im: jpeg(im, 20),
    "resized to 0.8": lambda im: resized(im, 0.8),
    "resized to 0.5": lambda im: resized(im, 0.5),
    "middle 95 % of each side": lambda im: cut(im, 0.95, False),
    "corner 95 % of each side": lambda im: cut(im, 0.95, True),
    "middle 90 % of each side": lambda im: cut(im, 0.90, False),
    "brightness +10 %": lambda im: ImageEnhance.Brightness(im).enhance(1.1),
    "contrast +20 %": lambda im: ImageEnhance.Contrast(im).enhance(1.2),
    "grey": lambda im: im.convert("L").convert("RGB"),
    "mirrored": ImageOps.mirror,
    "mirrored, 0.8, quality 60": lambda im: jpeg(resized(ImageOps.mirror(im), 0.8), 60),
}


def read(shards):
    with tarfile.open(shards) as tar:
        for member in tar:
            key, extension = os.path.splitext(member.name)
            if extension in (".jpg", ".png"):
                yield key, Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")


def pairs(vitro, data, against):
    with tempfile.NamedTemporaryFile(suffix=".csv") as table:
        command = [vitro, "data", "check", data, "--list", table.name, *(["--against", against] if against else [])]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(table.name, newline="") as text:
            return [row for row in csv.DictReader(text) if not against or row["other_data"] == against]


def key_of(name):
    return os.path.splitext(name.split(":")[-1].split("/")[-1])[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vitro")
    parser.add_argument("shards")
    parser.add_argument("--limit", type=int, help="alter only the first N images; they are held against all")
    args = parser.parse_args()
    originals = list(read(args.shards))
    images = originals[: args.limit]
    spec = "wds:" + args.shards
    print(f"{len(images)} of {len(originals)} images of {os.path.basename(args.shards)}")
    with tempfile.TemporaryDirectory() as scratch:
        for way, alter in WAYS.items():
            folder = os.path.join(scratch, way.replace(" ", "_"), "a")
            os.makedirs(folder)
            for key, image in images:
                alter(image).save(os.path.join(folder, key + ".png"), compress_level=1)
            found = wrong = 0
            for row in pairs(args.vitro, "folder:" + os.path.dirname(folder), spec):
                same = key_of(row["image"]) == key_of(row["other"])
                found += same
                wrong += not same
            print(f"{way:28} found {found} ({100 * found / len(images):.1f} %), wrong {wrong}", flush=True)
    within = pairs(args.vitro, spec, None)
    n = len(originals)
    print(f"{'the originals':28} {len(within)} pairs reported of {n * (n - 1) // 2}")


if __name__ == "__main__":
    main()
