#!/usr/bin/env python3
"""Prints the table `golden` of test_matmul.c: hashes of what the gguf package decodes.

Blocks are bytes of a 64-bit congruential generator, with the exponent of each 16-bit scale kept
below 16 so that all values are finite. Needs numpy and gguf; the test itself needs neither.
"""
import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf.quants import dequantize

N_BLOCKS = 64
TYPES = [  # type, bytes of a block, offsets of its 16-bit scales
    (Q.F16, 2, [0]), (Q.Q4_0, 18, [0]), (Q.Q4_1, 20, [0, 2]), (Q.Q5_0, 22, [0]),
    (Q.Q5_1, 24, [0, 2]), (Q.Q8_0, 34, [0]), (Q.Q4_K, 144, [0, 2]), (Q.Q5_K, 176, [0, 2]),
    (Q.Q6_K, 210, [208]), (Q.Q2_K, 84, [80, 82]), (Q.Q3_K, 110, [108]), (Q.IQ4_NL, 18, [0]),
    (Q.IQ4_XS, 136, [0]), (Q.MXFP4, 17, []), (Q.NVFP4, 36, []),
]


def blocks(size, scales):
    state, out = 1, bytearray()
    for _ in range(size * N_BLOCKS):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        out.append(state >> 56)
    for b in range(N_BLOCKS):
        for s in scales:
            out[b * size + s + 1] &= 0xBF
    return np.frombuffer(bytes(out), dtype=np.uint8).reshape(1, -1)


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


for qtype, size, scales in TYPES:
    raw = blocks(size, scales)
    if qtype == Q.F16:
        values = raw.view(np.float16).astype(np.float32)
    else:
        values = dequantize(raw, qtype).astype(np.float32)
    print(f"    {{DT_{qtype.name}, 0x{fnv1a(values.tobytes()):016x}}},")
