#!/usr/bin/env python3
"""What specd reads out of GGUF files against what the `gguf` package reads.

usage: test_gguf.py synth      one small model of every element type and architecture, made by
                               synth-model; compares sizes, ids, tokens, merges, the bytes of every
                               tensor, and what `gguf` dequantises with the f32 model of that seed
       test_gguf.py smollm2    the default model ($SPECD_MODEL)

$SPECD_MODEL_INFO and $SPECD_SYNTH_MODEL name the built programs. Exits 1 with a line per
difference, 77 when something it needs is not there.
"""
import json
import os
import subprocess
import sys
import tempfile
import zlib

import oracle

try:
    import numpy
    from gguf import GGUFReader, dequantize
except ImportError as e:
    oracle.skip(e)

LAYER_NAMES = {
    "attn_norm": "attn_norm.weight",
    "wq": "attn_q.weight",
    "wk": "attn_k.weight",
    "wv": "attn_v.weight",
    "wo": "attn_output.weight",
    "bq": "attn_q.bias",
    "bk": "attn_k.bias",
    "bv": "attn_v.bias",
    "q_norm": "attn_q_norm.weight",
    "k_norm": "attn_k_norm.weight",
    "ffn_norm": "ffn_norm.weight",
    "attn_post_norm": "post_attention_norm.weight",
    "ffn_post_norm": "post_ffw_norm.weight",
    "w_gate": "ffn_gate.weight",
    "w_up": "ffn_up.weight",
    "w_down": "ffn_down.weight",
}
TOP_NAMES = {
    "embed": "token_embd.weight",
    "out_norm": "output_norm.weight",
    "output": "output.weight",
}
# Largest error of one value, in units of the largest magnitude among 256 neighbours: half a step of
# the type's scale.
TOLERANCE = {
    "f32": 0,
    "f16": 2**-11,
    "bf16": 2**-8,
    "q8_0": 0.004,
    "q4_0": 0.126,
    "q4_1": 0.067,
    "q5_0": 0.063,
    "q5_1": 0.033,
    "q4_K": 0.067,
    "q5_K": 0.033,
    "q6_K": 0.0165,
    "q2_K": 0.4,
    "q3_K": 0.3,
    "iq4_nl": 0.13,
    "iq4_xs": 0.14,
    "mxfp4": 0.26,
    "nvfp4": 0.26,
}



def expect(what, got, want):
    if got != want:
        oracle.failures += 1
        print(f"{what}: specd reads {str(got)[:300]}, gguf {str(want)[:300]}")


def program(variable):
    return os.environ.get(variable) or oracle.skip(f"{variable} does not name the program")


def run_info(info, path, option):
    text = subprocess.run([info, path, option], check=True, stdout=subprocess.PIPE).stdout
    return [line.split(": ", 1) for line in text.decode().split("\n") if ": " in line]


def contents(reader, key, default=None):
    field = reader.get_field(key)
    return default if field is None else field.contents()


def check_sizes(path, info, reader):
    got = dict(run_info(info, path, ""))
    arch = contents(reader, "general.architecture")
    heads = contents(reader, f"{arch}.attention.head_count")
    embd = contents(reader, f"{arch}.embedding_length")
    names = {t.name for t in reader.tensors}
    want = {
        "arch": arch,
        "layers": contents(reader, f"{arch}.block_count"),
        "heads": heads,
        "kv_heads": contents(reader, f"{arch}.attention.head_count_kv", heads),
        "head_dim": contents(reader, f"{arch}.attention.key_length", embd // numpy.ravel(heads)[0]),
        "embd": embd,
        "ff": contents(reader, f"{arch}.feed_forward_length"),
        "ctx": contents(reader, f"{arch}.context_length"),
        "vocab": len(contents(reader, "tokenizer.ggml.tokens")),
        "bos": contents(reader, "tokenizer.ggml.bos_token_id", -1),
        "eos": contents(reader, "tokenizer.ggml.eos_token_id", -1),
        "pad": contents(reader, "tokenizer.ggml.padding_token_id", -1),
        "params": sum(
            int(t.n_elements) for t in reader.tensors if t.name != "rope_freqs.weight"
        ),
        "tied": "no" if "output.weight" in names else "yes",
        "file_bytes": os.path.getsize(path),
        "chat_template": f"{len(contents(reader, 'tokenizer.chat_template', '').encode())} bytes",
    }
    for key, value in want.items():
        expect(f"{path}: {key}", got[key], str(value))


def check_tensors(path, info, reader):
    tensors = {t.name: t for t in reader.tensors}
    seen = set()
    for _, value in [p for p in run_info(info, path, "--tensors") if p[0] == "tensor"]:
        name, dtype, rows, cols, digest = value.split()
        layer, _, slot = name.rpartition(".")
        full = f"blk.{layer}.{LAYER_NAMES[slot]}" if layer else TOP_NAMES[slot]
        if full == "output.weight" and full not in tensors:
            full = "token_embd.weight"
        t = tensors[full]
        seen.add(full)
        shape = [int(n) for n in reversed(t.shape)]
        expect(f"{path}: type of {full}", dtype.upper(), t.tensor_type.name)
        expect(f"{path}: shape of {full}", [int(rows), int(cols)], ([1] + shape)[-2:])
        expect(f"{path}: bytes of {full}", int(digest, 16), zlib.adler32(t.data.tobytes()))
    expect(f"{path}: tensors not taken", set(tensors) - seen - {"rope_freqs.weight"}, set())


def check_tokens(path, info, reader):
    lines = run_info(info, path, "--tokens")
    rows = [value.split(" ", 3) for key, value in lines if key == "token"]
    expect(
        f"{path}: token texts",
        [json.loads(r[3]) for r in rows],
        contents(reader, "tokenizer.ggml.tokens"),
    )
    types = contents(reader, "tokenizer.ggml.token_type")
    expect(f"{path}: token types", [int(r[1]) for r in rows], types)
    scores = contents(reader, "tokenizer.ggml.scores")
    if scores:
        got = [numpy.float32(r[2]) for r in rows]
        expect(f"{path}: scores", got, [numpy.float32(x) for x in scores])
    merges = [value.split(" ", 1)[1].split('" "') for key, value in lines if key == "merge"]
    expect(
        f"{path}: merges",
        [json.loads(a + '"') + " " + json.loads('"' + b) for a, b in merges],
        contents(reader, "tokenizer.ggml.merges", []),
    )


def check_file(path, info):
    reader = GGUFReader(path)
    check_sizes(path, info, reader)
    check_tensors(path, info, reader)
    check_tokens(path, info, reader)
    return reader


def values(reader):
    return {t.name: dequantize(t.data, t.tensor_type).reshape(-1) for t in reader.tensors}


def check_values(path, dtype, got, want):
    for name, exact in want.items():
        blocks = exact.reshape(-1, 256 if exact.size % 256 == 0 else exact.size)
        error = numpy.abs(got[name].reshape(blocks.shape) - blocks).max(axis=1)
        worst = (error / numpy.abs(blocks).max(axis=1)).max()
        if worst > TOLERANCE[dtype]:
            expect(f"{path}: error of {name}", float(worst), TOLERANCE[dtype])


def check_synth(info, synth):
    shape = "--layers 2 --embd 256 --heads 4 --kv-heads 2 --head-dim 64 --ff 512 --vocab 700"
    with tempfile.TemporaryDirectory() as folder:

        def make(name, options):
            path = f"{folder}/{name}.gguf"
            subprocess.run([synth, *shape.split(), *options.split(), path], check=True)
            return check_file(path, info)

        exact = values(make("f32", "--type f32 --seed 5"))
        for dtype in TOLERANCE:
            reader = make(dtype, f"--type {dtype} --seed 5")
            check_values(dtype, dtype, values(reader), exact)
        make("qwen2", "--arch qwen2 --type q8_0")
        make("qwen3", "--arch qwen3 --tied --type q4_0 --embd-type q6_k")
        make("spm", "--tokenizer spm --rope-llama3 8")
        make("layers", "--layers 4 --heads 4,2,8 --kv-heads 2,1,4 --ff 256,768,256")
        make("small", "--vocab 16 --rope-linear 2")


info = program("SPECD_MODEL_INFO")
if sys.argv[1:] == ["synth"]:
    check_synth(info, program("SPECD_SYNTH_MODEL"))
elif sys.argv[1:] == ["smollm2"]:
    model = os.environ.get("SPECD_MODEL", "")
    if not os.path.exists(model):
        oracle.skip("SPECD_MODEL does not name the default model")
    check_file(model, info)
else:
    sys.exit(__doc__)
oracle.finish()
