# Philox4x32-10, vitro's counter-based random numbers, in plain NumPy: the reference for the C code,
# and the way golden tests draw tensors that then need not be stored.
#
# Run as a script it checks itself against the published known answer.

import numpy as np

MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
KEY_STEPS = (np.uint32(0x9E3779B9), np.uint32(0xBB67AE85))
ROUNDS = 10
LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)


def philox4x32(seed, stream, index, use, block=0):
    """Four uint32 lanes for each 64-bit index: key (seed, stream), counter (lo(index), hi(index), use, block)."""
    index = np.asarray(index, np.uint64)
    key = np.array([seed, stream], np.uint32)
    c0 = (index & LOW).astype(np.uint32)
    c1 = (index >> SHIFT).astype(np.uint32)
    c2 = np.full_like(c0, use)
    c3 = np.full_like(c0, block)
    for _ in range(ROUNDS):
        product0 = c0.astype(np.uint64) * MULTIPLIERS[0]
        product1 = c2.astype(np.uint64) * MULTIPLIERS[1]
        high0, low0 = (product0 >> SHIFT).astype(np.uint32), (product0 & LOW).astype(np.uint32)
        high1, low1 = (product1 >> SHIFT).astype(np.uint32), (product1 & LOW).astype(np.uint32)
        c0, c1, c2, c3 = high1 ^ c1 ^ key[0], low1, high0 ^ c3 ^ key[1], low0
        key = key + np.array(KEY_STEPS, np.uint32)
    return np.stack([c0, c1, c2, c3], axis=-1)


def fnv1a32(name):
    """FNV-1a, 32 bits, of a name's bytes: the 'use' that keeps the tensors of one stream apart."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def lanes(name, count, seed, stream):
    """The first `count` uint32 of tensor `name`: element j is lane j % 4 of index j / 4."""
    index = np.arange((count + 3) // 4, dtype=np.uint64)
    return philox4x32(seed, stream, index, fnv1a32(name)).reshape(-1)[:count]


def uniform(name, count, seed, stream):
    """float32 in [0, 1), 24 bits: (lane >> 8) * 2^-24."""
    return (lanes(name, count, seed, stream) >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


if __name__ == "__main__":
    answer = philox4x32(0, 0, 0, 0)
    if [f"{lane:08x}" for lane in answer] != ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]:
        raise SystemExit(f"philox.py: wrong known answer: {answer}")
    print("philox.py: the known answer is right")
