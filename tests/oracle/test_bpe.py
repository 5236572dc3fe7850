#!/usr/bin/env python3
"""Byte-level BPE: vocabularies trained on the spot, loaded from tokenizer.json.

Each family's pre-tokenizer, with added tokens of every kind (special or not, normalised or not,
taking white space on either side), merges in both spellings, with and without the whole byte
alphabet.
"""
import json
import os
import tempfile

import oracle

try:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, trainers
    from tokenizers import pre_tokenizers as pre
    from tokenizers.models import BPE
    from tokenizers.processors import TemplateProcessing
except ImportError as e:
    oracle.skip(e)

ADDED = [
    AddedToken("<|begin|>", special=True, normalized=False),
    AddedToken("<|im_start|>", special=True, normalized=False),
    AddedToken("<|im_end|>", special=True, normalized=False),
    AddedToken("<|endoftext|>", special=True, normalized=True),
    AddedToken("<extra>", special=False, normalized=False),
    AddedToken("<extra><extra>", special=False, normalized=False),
    AddedToken("<extra>x", special=False, normalized=False),
    AddedToken("<extra_1>", special=False, normalized=False),
    AddedToken("<extra_12>", special=False, normalized=True),
    AddedToken("extra_1", special=False, normalized=True),
    AddedToken("<ud>", special=False, normalized=False, lstrip=True, rstrip=True),
    AddedToken("</s>", special=True, normalized=False, rstrip=True),
    AddedToken("<s>", special=True, normalized=False, lstrip=True),
    AddedToken("한국어", special=False, normalized=False),
    AddedToken("각각", special=False, normalized=True),
]


def byte_level():
    return pre.ByteLevel(add_prefix_space=False, use_regex=False)


def split(name):
    return pre.Split(Regex(oracle.PATTERNS[name]), "isolated")


FAMILIES = {
    "gpt2": dict(pre=pre.ByteLevel(add_prefix_space=False)),
    "gpt2-split": dict(pre=pre.Sequence([split("gpt2"), byte_level()])),
    "smollm": dict(pre=pre.Sequence([pre.Digits(individual_digits=True),
                                     pre.ByteLevel(add_prefix_space=False)]), alphabet=False),
    "llama3": dict(pre=pre.Sequence([split("llama3"), byte_level()]), ignore_merges=True),
    "qwen2": dict(pre=pre.Sequence([split("qwen2"), byte_level()]),
                  normalizer=normalizers.NFC(), spelling="string"),
}


def is_digit(c):
    return len(pre.Digits(individual_digits=True).pre_tokenize_str(f"a{c}a")) == 3


def is_number(c, number=pre.Split(Regex(r"\p{N}"), "isolated")):
    return len(number.pre_tokenize_str(f"a{c}a")) == 3


def train(family):
    model = BPE(ignore_merges=family.get("ignore_merges", False))
    t = Tokenizer(model)
    t.pre_tokenizer = family["pre"]
    t.decoder = decoders.ByteLevel()
    if "normalizer" in family:
        t.normalizer = family["normalizer"]
    alphabet = pre.ByteLevel.alphabet() if family.get("alphabet", True) else []
    trainer = trainers.BpeTrainer(vocab_size=2500, initial_alphabet=alphabet, show_progress=False)
    t.train_from_iterator([x for _, x in oracle.valid_texts()] * 3, trainer)
    t.add_tokens(ADDED)
    begin = t.token_to_id("<|begin|>")
    t.post_processor = TemplateProcessing(single="<|begin|> $A",
                                          special_tokens=[("<|begin|>", begin)])
    return t


def save(t, folder, spelling):
    data = json.loads(t.to_str())
    if spelling == "string":
        data["model"]["merges"] = [m if isinstance(m, str) else " ".join(m)
                                   for m in data["model"]["merges"]]
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(data, f, ensure_ascii=spelling == "string")


def check(name, family):
    t = train(family)
    texts = list(oracle.valid_texts())
    texts += [("fuzz", x) for x in oracle.fuzz_texts(2500, [a.content for a in ADDED])]
    chars = oracle.characters()
    if name == "smollm":  # Digits knows a newer Unicode than the regular expressions do: 13 more
        chars = [c for c in chars if is_digit(c) == is_number(c)]
        print(f"{name}: {len(oracle.characters()) - len(chars)} characters left out")
    whole = family.get("alphabet", True)

    def decoded(text, ids):
        back = t.decode(ids, skip_special_tokens=False)
        exact = "normalizer" not in family and not any(
            a.content in text for a in ADDED if a.lstrip or a.rstrip)
        if whole and exact and back not in (text, "<|begin|>" + text):
            oracle.fail(name + ", round trip", "", text, back, text)
        return back

    with tempfile.TemporaryDirectory() as folder:
        save(t, folder, family.get("spelling", "pair"))
        oracle.compare(name, folder, texts, lambda x: t.encode(x).ids, ["--bos"], decoded)
        t.encode_special_tokens = True
        if name != "gpt2-split":  # which is gpt2's pattern
            texts += oracle.character_texts(chars)
        oracle.compare(name + ", plain", folder, texts,
                       lambda x: t.encode(x, add_special_tokens=False).ids, ["--plain"], decoded)
        if whole:
            oracle.compare_invalid(name, folder)


for family_name, options in FAMILIES.items():
    check(family_name, options)
oracle.finish()
