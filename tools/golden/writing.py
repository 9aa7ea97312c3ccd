# What the writers of golden files share: draws by the Philox rule, random projections, and numbers as text.

import base64
import re

import numpy as np

from philox import lanes, uniform

SEED, STREAM = 7, 100

DRAW_RULE = (
    "Philox4x32-10, key (seed, stream), counter (index low, index high, use, 0); element j of a row-major tensor is "
    "lane j % 4 of index j / 4; use = FNV-1a 32 of the tensor's name; u = (lane >> 8) * 2^-24; "
    "value = (2u - 1) * scale in float32; a LayerNorm weight is 1 + value."
)
PROJECTION_RULE = (
    "Projection k of tensor NAME is the sum over its elements, row-major, of sign_j * value_j, in double; sign_j is -1 "
    "where lane j of use = FNV-1a 32 of 'NAME.proj.k' is odd (lowest bit 1), +1 where it is even."
)


def draw(name, shape, scale, offset=0.0):
    """float32 by the rule; offset 1 for a LayerNorm weight."""
    value = (2 * uniform(name, int(np.prod(shape)), SEED, STREAM) - 1) * np.float32(scale)
    return (np.float32(offset) + value).reshape(shape) if offset else value.reshape(shape)


def signs(name, k, count):
    odd = lanes(f"{name}.proj.{k}", count, SEED, STREAM) & np.uint32(1)
    return 1.0 - 2.0 * odd.astype(np.float64)


def projections(name, values, how_many):
    flat = np.asarray(values, np.float64).ravel()
    return [float(np.dot(signs(name, k, flat.size), flat)) for k in range(how_many)]


def number(value):
    """Rounded to float32, with the nine digits that tell every float32 from its neighbours."""
    return float(f"{np.float32(value):.9g}")


def numbers(values):
    return [number(value) for value in values]


def base64_of(array, dtype):
    """Little-endian bytes of the array as `dtype`."""
    return base64.b64encode(np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).tobytes()).decode()


def one_line_arrays(text):
    """Puts every array of numbers on one line of the indented JSON."""
    return re.sub(r"\[\s+([^][{}]+?)\s+\]", lambda match: "[" + " ".join(match[1].split()) + "]", text)
