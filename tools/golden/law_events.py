#!/usr/bin/env python3
"""Writes tests/law/events.inc: a TensorBoard event file of two scalars, made from the formats' definitions alone.

  tools/golden/law_events.py >tests/law/events.inc
"""
import struct


def crc32c(data):
    table = []
    for i in range(256):
        c = i
        for _ in range(8):
            c = c >> 1 ^ 0x82F63B78 if c & 1 else c >> 1
        table.append(c)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C


def masked(data):
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def record(data):
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def field(number, wire, payload):
    return bytes([number << 3 | wire]) + payload


def nested(number, data):
    return field(number, 2, bytes([len(data)]) + data)


def event(step, summary_value):
    return field(1, 1, struct.pack("<d", 1.6e9)) + field(2, 0, bytes([step])) + nested(5, nested(1, summary_value))


version = field(1, 1, struct.pack("<d", 1.6e9)) + nested(3, b"brain.Event:2")
old = nested(1, b"loss") + field(2, 5, struct.pack("<f", 0.5))
tensor = field(1, 0, bytes([1])) + nested(2, b"") + nested(4, struct.pack("<f", 0.25))
new = nested(1, b"acc") + nested(8, tensor)
data = record(version) + record(event(7, old)) + record(event(8, new))
for i in range(0, len(data), 16):
    print("    " + ", ".join(f"0x{b:02x}" for b in data[i : i + 16]) + ",")
