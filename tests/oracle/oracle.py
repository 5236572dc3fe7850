"""What the tokenizer oracles share: the texts, the program under test, the comparison.

A script here compares the ids that `specd-tokenize` prints with those of Hugging Face `tokenizers`
or `sentencepiece`. It prints what it counted, exits 1 on a difference and 77 when something it
needs is not there.
"""
import json
import os
import random
import re
import struct
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
failures = 0

PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}

PLAIN = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTE_LEVEL = {chr(b): b for b in PLAIN}  # GPT-2's letters for bytes
BYTE_LEVEL.update((chr(256 + i), b) for i, b in enumerate(b for b in range(256) if b not in PLAIN))


def skip(reason):
    print(f"skip: {reason}")
    sys.exit(77)


def corpus():
    """(name, bytes) of every entry; some are not valid UTF-8."""
    with open(os.path.join(HERE, "corpus.json"), encoding="utf-8") as f:
        for entry in json.load(f):
            if "hex" in entry:
                yield entry["name"], bytes.fromhex(entry["hex"])
            else:
                yield entry["name"], entry["text"].encode()


def valid_texts():
    for name, data in corpus():
        try:
            yield name, data.decode()
        except UnicodeDecodeError:
            pass


# Blocks assigned long ago: the libraries compared know different versions of Unicode.
RANGES = [(0x20, 0x7E)] * 6 + [
    (0x01, 0x1F), (0x80, 0xFF), (0x100, 0x17F), (0x250, 0x2AD), (0x300, 0x33F), (0x391, 0x3A1),
    (0x400, 0x45F), (0x5D0, 0x5EA), (0x620, 0x669), (0x905, 0x94D), (0xE01, 0xE3A), (0x1100, 0x1175),
    (0x11A8, 0x11C2), (0x1E00, 0x1EFF), (0x1F00, 0x1F15), (0x2000, 0x206F), (0x2070, 0x2071),
    (0x20A0, 0x20AC), (0x2150, 0x2188), (0x2460, 0x24FF), (0x2600, 0x26FF), (0x3000, 0x30FF),
    (0x4E00, 0x4FFF), (0xAC00, 0xADFF), (0xF900, 0xF9FF), (0xFB00, 0xFB06), (0xFE00, 0xFE0F),
    (0xFF01, 0xFF5E), (0x1D400, 0x1D454), (0x1F300, 0x1F64F), (0x20000, 0x200FF),
]
SNIPPETS = [
    " ", "  ", "   ", "\n", "\n\n", " \n", "\r\n", "\t", "\u00a0", "\u3000", "'s", "'S", "'ll", "'Re",
    "'", "1", "22", "333", "4444", "the", " the", "ing", "The", "é", "e\u0301", "\u0301", "▁", "字",
    "👍🏽", "👨\u200d👩\u200d👧", "\u200d", ".", "...", "!\n", "_", "ſ", "İ", "가", "각",
]


def fuzz_texts(count, extra=(), seed=1):
    rng = random.Random(seed)
    words = sorted({w for _, t in valid_texts() for w in t.split() if len(w) < 40})
    pool = SNIPPETS + list(extra) * 3
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 24)):
            kind = rng.random()
            if kind < 0.4:
                parts.append(rng.choice(pool))
            elif kind < 0.7:
                parts.append(rng.choice(words) + rng.choice(["", " "]))
            else:
                low, high = rng.choice(RANGES)
                parts.append(chr(rng.randint(low, high)))
        yield "".join(parts)


def characters():
    """Every code point of which something is known, and some of those of which nothing is, among
    letters, digits, blanks and marks; of large scripts, the ends and every 61st."""
    wide = [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xD800, 0xF8FF),
            (0x17000, 0x18CFF), (0x20000, 0x323FF), (0x32400, 0xDFFFF), (0xE0200, 0x10FFFF)]
    known = [cp for cp in range(0xA1, 0x110000)
             if not any(a + 40 < cp < b - 40 and cp % 61 for a, b in wide)]
    return [chr(cp) for cp in known if not 0xD800 <= cp < 0xE000]


def character_texts(chars=None):
    chars = chars or characters()
    for i in range(0, len(chars), 32):
        yield (f"U+{ord(chars[i]):04X} on",
               "".join(f"a{c}b 1{c}2 {c} {c}{c}\nq{c}\u0301q\u0301{c}\u0327" for c in chars[i:i + 32]))


def run_tool(model, texts, *flags):
    """[(ids, decoded bytes)] for texts, a list of bytes."""
    tool = os.environ.get("SPECD_TOKENIZE") or skip("SPECD_TOKENIZE does not name the program")
    lines = b"".join(t.hex().encode() + b"\n" for t in texts)
    run = subprocess.run([tool, "--hex", "--decode", *flags, model], input=lines,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if run.returncode != 0:
        print(run.stderr.decode(errors="replace"))
        raise SystemExit(f"specd-tokenize {' '.join(flags)} {model}: exit {run.returncode}")
    out = []
    for line in run.stdout.decode().splitlines():
        ids, decoded = line.split("\t")
        out.append(([int(i) for i in ids.split()], bytes.fromhex(decoded)))
    assert len(out) == len(texts), f"{len(out)} answers to {len(texts)} lines"
    return out


def fail(what, name, text, got, expected):
    global failures
    failures += 1
    if failures > 10:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b),
              min(len(got), len(expected)))
    low = max(0, at - 3)
    print(f"FAIL {what}: {name}: {text[:200]!r}\n  at {at}: specd {got[low:at + 8]!r}"
          f"\n  expected {expected[low:at + 8]!r}")


def compare(what, model, texts, encode, flags=(), decode=None):
    """texts: [(name, str)]. encode and decode are the oracle's; decode may return None."""
    before = failures
    n_ids = 0
    answers = run_tool(model, [t.encode() for _, t in texts], *flags)
    for (name, text), (ids, decoded) in zip(texts, answers):
        expected = encode(text)
        n_ids += len(expected)
        if ids != expected:
            fail(what, name, text, ids, expected)
        back = decode(text, ids) if decode else None
        if back is not None and decoded.decode() != back:
            fail(what + ", decoded", name, text, decoded.decode(), back)
    print(f"{what}: {len(texts)} texts, {n_ids} ids, {failures - before} differences")


def compare_parts(what, model, texts, control, encode, encode_plain, seed=2):
    """Texts of which random parts are a client's. A text that spells no control token is encoded as
    if it had no parts; in others, a control token is one only where no byte of it is a client's."""
    before, spelled = failures, 0
    rng = random.Random(seed)
    names = re.compile("|".join(map(re.escape, sorted(control, key=len, reverse=True))) or "(?!)")
    texts = [(n, t) for n, t in texts if "\2" not in t and "\3" not in t]
    cut = []
    for _, text in texts:
        ends = [0, *sorted(rng.sample(range(len(text) + 1), min(rng.randint(1, 6), len(text) + 1))),
                len(text)]
        cut.append([(text[a:b], rng.random() < 0.5) for a, b in zip(ends, ends[1:])])
    lines = ["".join(f"\2{t}\3" if theirs else t for t, theirs in parts) for parts in cut]
    answers = run_tool(model, [x.encode() for x in lines], "--client")
    for (name, text), parts, line, (ids, _) in zip(texts, cut, lines, answers):
        if not names.search(text):
            expected = encode(text)
        else:
            spelled += 1
            own = "".join("\0" * len(t) if theirs else t for t, theirs in parts)
            expected, at = [], 0
            for m in [*names.finditer(own), None]:
                end = m.start() if m else len(text)
                expected += encode_plain(text[at:end]) if end > at else []
                if m:
                    expected.append(control[m.group()])
                    at = m.end()
        if ids != expected:
            fail(what, name, line, ids, expected)
    print(f"{what}: {len(texts)} texts in parts, {spelled} with control tokens, "
          f"{failures - before} differences")


def compare_invalid(what, model):
    """What is no UTF-8 keeps its bytes: decoded, they are what Python's errors="replace" gives."""
    before = failures
    entries = [(n, d) for n, d in corpus() if n.startswith("invalid")]
    for (name, data), (_, decoded) in zip(entries, run_tool(model, [d for _, d in entries], "--plain")):
        if decoded.decode() != data.decode(errors="replace"):
            fail(what, name, data, decoded.decode(), data.decode(errors="replace"))
    print(f"{what}: {len(entries)} invalid texts, {failures - before} differences")


def finish():
    print(f"{failures} differences in all")
    sys.exit(1 if failures else 0)


def save_tensors(path, tensors):
    """A safetensors file; tensors: name to (dtype, array of numpy)."""
    import numpy as np
    header, data = {}, b""
    for name, (dtype, values) in tensors.items():
        raw = np.ascontiguousarray(values).tobytes()
        header[name] = {"dtype": dtype, "shape": list(values.shape),
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + data)


def specd_server(program):
    """The class Server of tests/http, for the daemon at this path."""
    os.environ["TEST_BIN"] = program
    os.environ["TEST_ARGS"] = ""
    sys.path.insert(0, os.path.join(HERE, "..", "http"))
    from specd_client import Server
    return Server
