#!/usr/bin/env python3
"""Folders with quantised weights against folders with what these stand for in float32, both served by
specd with float activations: the same tokens and log-probabilities, digit for digit. A folder whose
configuration says something else about its zeros or scales must differ.

usage: test_quant_folders.py SPECD
"""
import json
import os
import sys
import tempfile

import oracle

try:
    import numpy as np
except ImportError as e:
    oracle.skip(e)

Server = oracle.specd_server(sys.argv[1])

VOCAB, EMBD, FF, LAYERS, HEADS, KV_HEADS, GROUP, BLOCK = 300, 256, 320, 2, 4, 2, 64, 128
CONFIG = {
    "model_type": "llama", "vocab_size": VOCAB, "hidden_size": EMBD, "intermediate_size": FF,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
    "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "eos_token_id": VOCAB - 1,
}
D = EMBD // HEADS
MATRICES = {
    "self_attn.q_proj": (EMBD, EMBD), "self_attn.k_proj": (KV_HEADS * D, EMBD),
    "self_attn.v_proj": (KV_HEADS * D, EMBD), "self_attn.o_proj": (EMBD, EMBD),
    "mlp.gate_proj": (FF, EMBD), "mlp.up_proj": (FF, EMBD), "mlp.down_proj": (EMBD, FF),
}
rng = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))


# ---- formats: what is published, and what it stands for ------------------------------------------


def e4m3(codes):
    e, m = codes >> 3 & 15, codes & 7
    v = np.where(e == 0, np.ldexp(m.astype(float), -9), np.ldexp(8.0 + m, e.astype(int) - 10))
    return np.where(codes & 128, -v, v)


def blown_up(scales, rows, cols, shape):
    return np.repeat(np.repeat(scales, rows, 0), cols, 1)[: shape[0], : shape[1]]


def fp8(rows, cols, name, dtype):
    """A scale for so many rows and columns; dtype f4, or bf16 in u2."""

    def make(shape):
        codes = rng.integers(0, 127, shape, np.uint8) | rng.integers(0, 2, shape, np.uint8) << 7
        n, k = rows or shape[0], cols or shape[1]
        sides = -(-shape[0] // n), -(-shape[1] // k)
        scales = (rng.uniform(0.5, 2, sides) * shape[1] ** -0.5 / 100).astype(np.float32)
        stored = scales
        if dtype == "BF16":
            stored = (scales.view(np.uint32) >> 16).astype(np.uint16)
            scales = (stored.astype(np.uint32) << 16).view(np.float32)
        values = (e4m3(codes) * blown_up(scales.astype(float), n, k, shape)).astype(np.float32)
        if sides == (1, 1):
            stored = stored.reshape(())
        return values, {"weight": ("F8_E4M3", codes), name: (dtype, stored)}

    return make


def nvfp4(packed_name, scale_name, divides):
    """The number for all is a power of two, so that floats come out the same to the last bit."""

    def make(shape):
        codes = rng.integers(0, 16, shape, np.uint8)
        scales = rng.integers(0x28, 0x58, (shape[0], shape[1] // 16), np.uint8)
        of_all = np.float32(2.0 ** (rng.integers(-3, 4) - 4) * 2.0 ** -round(np.log2(shape[1]) / 2))
        numbers = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
        v = numbers[codes & 7] * np.where(codes & 8, -1, 1) * np.repeat(e4m3(scales), 16, 1)
        pairs = codes[:, 0::2] | codes[:, 1::2] << 4
        return (v * of_all).astype(np.float32), {
            packed_name: ("U8", pairs), "weight_scale": ("F8_E4M3", scales),
            scale_name: ("F32", np.array([1 / of_all if divides else of_all], np.float32))}

    return make


def packed(values, axis, order):
    """Eight numbers of four bits a word; order: which of eight is in the i-th place."""
    values = np.moveaxis(values.astype(np.uint32), axis, -1)
    values = values.reshape(*values.shape[:-1], -1, 8)
    words = sum(values[..., j] << np.uint32(4 * i) for i, j in enumerate(order))
    return np.moveaxis(words.astype(np.uint32), -1, axis).view(np.int32)


def int4(kind, centred=False, act_order=False):
    def make(shape):
        n, k = shape
        groups = -(-k // GROUP)
        q = rng.integers(0, 16, (k, n))
        z = np.full((groups, n), 8) if centred else rng.integers(1, 16, (groups, n))
        s = (rng.uniform(0.5, 2, (groups, n)) * k ** -0.5 / 5).astype(np.float16)
        g = np.arange(k) // GROUP
        if act_order:
            rng.shuffle(g)
        values = (s.astype(np.float64)[g] * (q - z[g])).astype(np.float32).T
        straight, awq = range(8), (0, 2, 4, 6, 1, 3, 5, 7)
        if kind == "awq":
            tensors = {"qweight": ("I32", packed(q, 1, awq)), "qzeros": ("I32", packed(z, 1, awq))}
        else:
            tensors = {"qweight": ("I32", packed(q, 0, straight)),
                       "qzeros": ("I32", packed(z - 1, 1, straight)),
                       "g_idx": ("I32", g.astype(np.int32)),
                       "bias": ("F16", np.zeros(n, np.float16))}
        return values, {**tensors, "scales": ("F16", s)}

    return make


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "sym": True, "desc_act": False,
        "checkpoint_format": "gptq"}
CASES = [
    ("fp8, 128 x 128", fp8(BLOCK, BLOCK, "weight_scale_inv", "F32"),
     {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
      "weight_block_size": [BLOCK, BLOCK]}),
    ("fp8, rows", fp8(1, None, "weight_scale", "BF16"),
     {"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
      "config_groups": {"group_0": {"weights": {"num_bits": 8, "strategy": "channel"}}}}),
    ("fp8, tensors", fp8(None, None, "weight_scale", "F32"),
     {"quant_method": "modelopt", "quant_algo": "FP8"}),
    ("nvfp4, modelopt", nvfp4("weight", "weight_scale_2", False),
     {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"],
      "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}}}),
    ("nvfp4, compressed-tensors", nvfp4("weight_packed", "weight_global_scale", True),
     {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized", "ignore": ["lm_head"],
      "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16,
                                                "strategy": "tensor_group"}}}}),
    ("gptq, zeros of 8", int4("gptq", centred=True), GPTQ),
    ("gptq", int4("gptq"), {**GPTQ, "sym": False}),
    ("gptq, act-order", int4("gptq", act_order=True), {**GPTQ, "desc_act": True}),
    ("awq", int4("awq"), {"quant_method": "awq", "bits": 4, "group_size": GROUP,
                          "version": "gemm", "zero_point": True, "modules_to_not_convert": None}),
]
PLANTED = [(CASES[6], {"checkpoint_format": "gptq_v2"}), (CASES[0], {"weight_block_size": [BLOCK + 1, BLOCK]})]


# ---- folders -------------------------------------------------------------------------------------


def save_tokenizer(folder):
    letters = [*oracle.BYTE_LEVEL] + [f"<{i}>" for i in range(VOCAB - 256)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump({"version": "1.0", "added_tokens": [], "pre_tokenizer": byte_level,
                   "decoder": byte_level,
                   "model": {"type": "BPE", "vocab": {c: i for i, c in enumerate(letters)},
                             "merges": []}}, f)


def save(folder, config, tensors):
    os.mkdir(folder)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    oracle.save_tensors(os.path.join(folder, "model.safetensors"), tensors)
    save_tokenizer(folder)


def model(make):
    """The same model twice: floats, and as published."""
    def normal(*shape):
        return "F32", rng.normal(0, 1, shape).astype(np.float32)

    both = {"model.embed_tokens.weight": normal(VOCAB, EMBD), "lm_head.weight": normal(VOCAB, EMBD),
            "model.norm.weight": normal(EMBD)}
    floats, quantised = {}, {}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            both[f"{prefix}{norm}.weight"] = normal(EMBD)
        for name, shape in MATRICES.items():
            values, tensors = make(shape)
            floats[f"{prefix}{name}.weight"] = ("F32", values)
            quantised.update({f"{prefix}{name}.{k}": v for k, v in tensors.items()})
    return {**both, **floats}, {**both, **quantised}


def answer(folder, ids):
    server = Server("-m", folder, "-t", "2", "--activations", "f32", "--kv-type", "f32", "-np", "1")
    try:
        reply = server.post("/completion", {"prompt": ids, "n_predict": 10, "temperature": 0,
                                            "n_probs": 20, "ignore_eos": True})
        return json.loads(reply.body).get("completion_probabilities")
    finally:
        problem = server.stop()
        if problem:
            sys.exit(problem)


def same(case, plant):
    name, make, config = case
    ids = rng.integers(0, VOCAB - 1, 36).tolist()
    floats, quantised = model(make)
    with tempfile.TemporaryDirectory() as folder:
        plain, other = os.path.join(folder, "plain"), os.path.join(folder, "quantised")
        save(plain, CONFIG, floats)
        save(other, {**CONFIG, "quantization_config": {**config, **plant}}, quantised)
        first, second = answer(plain, ids), answer(other, ids)
    return bool(first) and len(first) == 10 and first == second


for case in CASES:
    oracle.failures += not (ok := same(case, {}))
    print(f"{case[0]}: {'the same' if ok else 'DIFFERS'}")
for case, plant in PLANTED:
    oracle.failures += (ok := same(case, plant))
    print(f"{case[0]}, {plant}: {'NOT CAUGHT' if ok else 'caught'}")
sys.exit(oracle.failures > 0)
