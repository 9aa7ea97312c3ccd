# Golden values of preprocessing: resizes by TensorFlow and by Pillow, bit for bit; TensorFlow's random crops as
# histograms; RandAugment's operations on pixels.
#
#   python -m venv tf && tf/bin/pip install tensorflow-cpu==2.21.0 pillow==13.0.0
#   tf/bin/python tools/golden/preprocess.py > tests/golden/preprocess.json
#
# TensorFlow has an environment of its own: it pins other versions than the rest.

import hashlib
import json
import math
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import PIL
import tensorflow as tf
from PIL import Image

from philox import lanes
from writing import one_line_arrays

COMMAND = "tf/bin/python tools/golden/preprocess.py > tests/golden/preprocess.json"
SEED, STREAM, DRAWS, BINS = 7, 100, 100000, 20
RULE = (
    "Byte j (row-major, RGB) of the image NAME is low + lane % span, lane = lane j % 4 of Philox4x32-10 with key (7, 100) and "
    "counter (j / 4, 0, FNV-1a 32 of NAME, 0); NAME is HEIGHTxWIDTH. Resizes: low 0, span 256. sha256: of the result's bytes."
)
SIZES = (
    ((37, 53), (64, 80)), ((97, 131), (28, 33)), ((1, 1), (5, 3)), ((64, 48), (64, 31)), ((64, 48), (17, 48)),
    ((5, 700), (9, 70)), ((300, 7), (33, 129)), ((39, 10), (22, 3)), ((39, 12), (22, 3)), ((99, 64), (40, 64)), ((225, 301), (224, 224)), ((33, 65), (1, 1)), ((48, 48), (48, 48)),
)  # fmt: skip


def image(height, width, low=0, span=256):
    values = lanes(f"{height}x{width}", height * width * 3, SEED, STREAM).astype(np.uint64)
    return (low + values % span).astype(np.uint8).reshape(height, width, 3)


def digest(pixels):
    assert pixels.dtype == np.uint8
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def truncated(values):
    return tf.cast(tf.clip_by_value(values, 0, 255), tf.uint8).numpy()


def tf_resize(pixels, size, method):
    return truncated(tf.image.resize(tf.constant(pixels), size, method, antialias=False))


def pillow_resize(pixels, size, method):
    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), method))


RESIZES = {
    "tf_bilinear": lambda p, size: tf_resize(p, size, "bilinear"),
    "tf_area": lambda p, size: tf_resize(p, size, "area"),
    "box": lambda p, size: pillow_resize(p, size, Image.Resampling.BOX),
    "bilinear": lambda p, size: pillow_resize(p, size, Image.Resampling.BILINEAR),
    "bicubic": lambda p, size: pillow_resize(p, size, Image.Resampling.BICUBIC),
}


def resizes():
    rows = []
    for source, target in SIZES:
        for method, resize in RESIZES.items():
            row = {"from": list(source), "to": list(target), "method": method}
            rows.append(row | {"sha256": digest(resize(image(*source), target))})
    return rows


# --- the crop ---


def histogram(values, low, high):
    places = np.floor((np.asarray(values, np.float64) - low) / (high - low) * BINS).astype(int)
    return np.bincount(np.clip(places, 0, BINS - 1), minlength=BINS).tolist()


@tf.function
def draw_crops(height, width, least):
    boxes = tf.zeros([1, 0, 4])

    def one(seed):
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            tf.stack([height, width, 3]), boxes, seed=tf.stack([seed, 17]), min_object_covered=0.0,
            aspect_ratio_range=(0.75, 1.33), area_range=(least, 1.0), max_attempts=100,
            use_image_if_no_bounding_boxes=True,
        )  # fmt: skip
        return tf.stack([begin[0], begin[1], size[0], size[1]])

    return tf.map_fn(one, tf.range(DRAWS), parallel_iterations=1)


def crops():
    rows = []
    for height, width, least in ((375, 500, 0.05), (224, 224, 0.05), (600, 200, 0.3)):
        y, x, h, w = draw_crops(height, width, least).numpy().astype(np.float64).T
        rows.append(
            {
                "size": [height, width], "least": least,
                "area": histogram(w * h / (width * height), 0, 1),
                "aspect": histogram(w / h, 0.7, 1.4),
                "height": histogram(h / height, 0, 1),
                "x": histogram((x + 0.5) / np.maximum(width - w, 1), 0, 1),
                "y": histogram((y + 0.5) / np.maximum(height - h, 1), 0, 1),
            }  # fmt: skip
        )
    return rows


# --- RandAugment's operations ---


def blended(degenerate, pixels, factor):
    a, b = tf.cast(degenerate, tf.float32), tf.cast(pixels, tf.float32)
    return truncated(a + tf.constant(factor, tf.float32) * (b - a))


def auto_contrast(p):
    out = np.empty_like(p)
    for c in range(3):
        channel = tf.cast(p[..., c], tf.float32)
        low, high = tf.reduce_min(channel), tf.reduce_max(channel)
        if high > low:
            scale = 255.0 / (high - low)
            out[..., c] = truncated(channel * scale + -low * scale)
        else:
            out[..., c] = p[..., c]
    return out


def equalize(p):
    out = np.empty_like(p)
    for c in range(3):
        counts = tf.histogram_fixed_width(tf.cast(p[..., c], tf.int32), [0, 255], nbins=256).numpy()
        step = (counts.sum() - counts[counts != 0][-1]) // 255
        if step == 0:
            out[..., c] = p[..., c]
            continue
        lut = (np.cumsum(counts) + step // 2) // step
        lut = np.clip(np.concatenate([[0], lut[:-1]]), 0, 255)
        out[..., c] = lut[p[..., c]]
    return out


def smoothed(p):
    wide = p.astype(np.int64)
    out = wide.copy()
    total = 4 * wide[1:-1, 1:-1]
    for dy in range(3):
        for dx in range(3):
            total = total + wide[dy : dy + p.shape[0] - 2, dx : dx + p.shape[1] - 2]
    out[1:-1, 1:-1] = total // 13  # exact where a float convolution may miss a whole number
    return out.astype(np.uint8)


def transformed(p, row, fill):
    result = tf.raw_ops.ImageProjectiveTransformV3(
        images=p[None], transforms=tf.stack([*(tf.cast(v, tf.float32) for v in row), 0.0, 0.0])[None], output_shape=list(p.shape[:2]),
        fill_value=float(fill), interpolation="NEAREST", fill_mode="CONSTANT",
    )  # fmt: skip
    return result[0].numpy()


def rotated(p, degrees, fill):
    height, width = p.shape[0] - 1, p.shape[1] - 1
    angle = tf.constant(degrees * math.pi / 180, tf.float32)
    c, s = tf.cos(angle), tf.sin(angle)
    right, bottom = tf.constant(width, tf.float32), tf.constant(height, tf.float32)
    x = (right - (c * right - s * bottom)) / 2.0
    y = (bottom - (s * right + c * bottom)) / 2.0
    return transformed(p, [c, -s, x, s, c, y], fill)


def grey(p):
    return np.repeat(tf.image.rgb_to_grayscale(p).numpy(), 3, axis=2)


def contrast(p, factor):
    constant = min(p.shape[0] * p.shape[1] / 256, 255)
    return blended(np.full(p.shape, int(constant), np.uint8), p, factor)


AUGMENTATIONS = {
    "auto_contrast": lambda p, a, f: auto_contrast(p),
    "equalize": lambda p, a, f: equalize(p),
    "invert": lambda p, a, f: 255 - p,
    "rotate": rotated,
    "posterize": lambda p, a, f: (p.astype(int) >> (8 - int(a)) << (8 - int(a))).astype(np.uint8),
    "solarize": lambda p, a, f: np.where(p < a, p, 255 - p).astype(np.uint8),
    "solarize_add": lambda p, a, f: np.where(p < 128, np.clip(p.astype(int) + int(a), 0, 255), p).astype(np.uint8),
    "color": lambda p, a, f: blended(grey(p), p, a),
    "contrast": lambda p, a, f: contrast(p, a),
    "brightness": lambda p, a, f: blended(np.zeros_like(p), p, a),
    "sharpness": lambda p, a, f: blended(smoothed(p), p, a),
    "shear_x": lambda p, a, f: transformed(p, [1, a, 0, 0, 1, 0], f),
    "shear_y": lambda p, a, f: transformed(p, [1, 0, 0, a, 1, 0], f),
    "translate_x": lambda p, a, f: transformed(p, [1, 0, a, 0, 1, 0], f),
    "translate_y": lambda p, a, f: transformed(p, [1, 0, 0, 0, 1, a], f),
}
FACTORS = (0.1, 0.64, 1.0, 1.9, 2.8)
AMOUNTS = {
    "auto_contrast": (0,), "equalize": (0,), "invert": (0,), "rotate": (0, 3, -17, 30, 90, -135),
    "posterize": (0, 3, 4, 8), "solarize": (0, 77, 256), "solarize_add": (0, 60, 110), "color": FACTORS,
    "contrast": FACTORS, "brightness": FACTORS, "sharpness": FACTORS, "shear_x": (0, 0.3, -0.45),
    "shear_y": (0, 0.3, -0.45), "translate_x": (0, 10, -30), "translate_y": (0, 7, -100),
}  # fmt: skip


def augmentations():
    rows = []
    for size in ((224, 224), (41, 67), (2, 3)):
        for name, run in AUGMENTATIONS.items():
            for amount in AMOUNTS[name]:
                row = {"name": name, "amount": amount, "size": list(size), "fill": 128}
                rows.append(row | {"sha256": digest(run(image(*size, 20, 190), amount, 128))})
    return rows


print(
    one_line_arrays(
        json.dumps(
            {
                "command": COMMAND,
                "versions": {"tensorflow": tf.__version__, "pillow": PIL.__version__, "numpy": np.__version__},
                "rule": RULE,
                "resizes": resizes(),
                "crop_rule": f"{DRAWS} draws by stateless_sample_distorted_bounding_box, {BINS} bins from 0 to 1 (aspect, "
                "width / height: 0.7 to 1.4) of crop area / area, height / height, (x + 0.5) / (width left), likewise y.",
                "crops": crops(),
                "augment_rule": "low 20, span 190; pixels from outside are fill",
                "augmentations": augmentations(),
            },
            indent=1,
        )
    )
)
