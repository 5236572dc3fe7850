#!/usr/bin/env python3
"""Real vocabularies, as their GGUF files carry them.

usage: test_vocabs.py smollm2    the default model ($SPECD_MODEL, or its place in the cache)
       test_vocabs.py gemma3     Gemma 3 270M ($SPECD_GEMMA3)
       test_vocabs.py others     ggml-vocab-*.gguf in the folder $SPECD_VOCABS
"""
import os
import sys
import unicodedata

import oracle

try:
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as pb
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers
    from tokenizers import pre_tokenizers as pre
    from tokenizers.models import BPE
    import gguf_vocab
    from gguf_vocab import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED
except ImportError as e:
    oracle.skip(e)

MARK = "\u2581"


def splitter(name):
    byte_level = pre.ByteLevel(add_prefix_space=False, use_regex=False)
    if name == "smollm":
        return pre.Sequence([pre.Digits(individual_digits=True),
                             pre.ByteLevel(add_prefix_space=False)])
    return pre.Sequence([pre.Split(Regex(oracle.PATTERNS[name]), "isolated"), byte_level])


def added(v, normalized=False):
    return [AddedToken(text, special=kind != USER_DEFINED, normalized=normalized)
            for text, kind in zip(v["tokens"], v["token_type"])
            if kind in (CONTROL, UNKNOWN, USER_DEFINED)]


def bpe(v, family):
    t = Tokenizer(BPE(vocab={x: i for i, x in enumerate(v["tokens"])},
                      merges=[tuple(m.split(" ")) for m in v["merges"]],
                      ignore_merges=family == "llama3"))
    t.pre_tokenizer = splitter(family)
    t.decoder = decoders.ByteLevel()
    if family == "qwen2":
        t.normalizer = normalizers.NFC()
    t.add_tokens(added(v))
    return t


def check_parts(name, path, v, t):
    """t: Hugging Face's tokenizer, which is left with special tokens as plain text."""
    control = {x: i for i, (x, k) in enumerate(zip(v["tokens"], v["token_type"]))
               if k in (CONTROL, UNKNOWN)}
    t.encode_special_tokens = False
    tries = texts_for(v)
    whole = {text: t.encode(text).ids for _, text in tries}
    t.encode_special_tokens = True
    oracle.compare_parts(name + ", parts", path, tries, control, whole.get, lambda x: t.encode(x).ids)


def texts_for(v):
    names = [x.content for x in added(v)]
    texts = list(oracle.valid_texts())
    texts += [("special tokens of the vocabulary", "".join(names[:300]) + " x".join(names[:20]))]
    return texts + [("fuzz", x) for x in oracle.fuzz_texts(4000, names[:20])]


def check_bpe(name, path, family):
    v = gguf_vocab.read(path)
    t = bpe(v, family)
    whole = set(pre.ByteLevel.alphabet()) <= set(v["tokens"])

    def decoded(text, ids):
        back = t.decode(ids, skip_special_tokens=False)
        same = unicodedata.normalize("NFC", text) if family == "qwen2" else text
        if whole and unicodedata.normalize("NFC", back) != unicodedata.normalize("NFC", same):
            oracle.fail(name + ", round trip", "", text, back, same)
        return back

    texts = texts_for(v)
    oracle.compare(name, path, texts, lambda x: t.encode(x).ids, [], decoded)
    t.encode_special_tokens = True
    oracle.compare(name + ", plain", path, texts, lambda x: t.encode(x).ids, ["--plain"], decoded)
    check_parts(name, path, v, t)
    if whole:
        oracle.compare_invalid(name, path)


def sentencepiece_of(v, prefix=True):
    """The model that a GGUF file was made from, which writes spaces of tokens as it does those of
    texts."""
    kinds = {NORMAL: 1, UNKNOWN: 2, CONTROL: 3, USER_DEFINED: 4, gguf_vocab.UNUSED: 5, BYTE: 6}
    model = pb.ModelProto()
    for text, score, kind in zip(v["tokens"], v["scores"], v["token_type"]):
        model.pieces.add(piece=text.replace(" ", MARK), score=score, type=kinds[kind])
    model.trainer_spec.model_type = 2
    model.trainer_spec.byte_fallback = True
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = prefix
    model.normalizer_spec.remove_extra_whitespaces = False
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def spm(v, prefix=True):
    own = [x if k == NORMAL else "" for x, k in zip(v["tokens"], v["token_type"])]
    merges = gguf_vocab.merges_of([x for x in own if x],
                                  [s for x, s in zip(own, v["scores"]) if x])
    t = Tokenizer(BPE(vocab={x: i for i, x in enumerate(v["tokens"])}, merges=merges,
                      unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    marks = normalizers.Replace(" ", MARK)
    t.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), marks]) if prefix else marks
    t.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(),
                                   decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.add_tokens(added(v))
    return t


def check_spm(name, path):
    v = gguf_vocab.read(path)
    sp, t = sentencepiece_of(v), spm(v)
    texts = texts_for(v)
    oracle.compare(name + ", sentencepiece", path, texts, sp.encode, ["--plain"],
                   lambda text, ids: text.replace(MARK, " "))
    oracle.compare(name + ", Hugging Face", path, texts, lambda x: t.encode(x).ids, [],
                   lambda text, ids: t.decode(ids, skip_special_tokens=False))
    check_parts(name, path, v, t)
    oracle.compare_invalid(name, path)


def gemma3():
    path = os.environ.get("SPECD_GEMMA3")
    if not path:
        oracle.skip("SPECD_GEMMA3 does not name the model")
    sp = sentencepiece_of(gguf_vocab.read(path), False)
    texts = list(oracle.valid_texts())
    texts += [("fuzz", x) for x in oracle.fuzz_texts(4000, ["<b>", "\t\t", "     ", "\n\n\n"])]
    # Runs of spaces are tokens of their own in the file, so a mark in a text is no space to it.
    texts = [(name, x) for name, x in texts if MARK not in x]
    oracle.compare("gemma3, sentencepiece", path, texts, sp.encode, ["--plain"],
                   lambda text, ids: text.replace(MARK, " "))
    oracle.compare_invalid("gemma3", path)


def smollm2():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = os.environ.get("SPECD_MODEL") or os.path.join(
        cache, "specd", "SmolLM2-135M-Instruct.Q4_1.gguf")
    if not os.path.exists(path):
        oracle.skip(f"{path} is not there")
    check_bpe("SmolLM2", path, "smollm")


def others():
    folder = os.environ.get("SPECD_VOCABS") or oracle.skip("SPECD_VOCABS names no folder")
    for name, family in (("gpt-2", "gpt2"), ("llama-bpe", "llama3"), ("qwen2", "qwen2"),
                         ("refact", "smollm"), ("starcoder", "smollm"), ("llama-spm", None)):
        path = os.path.join(folder, f"ggml-vocab-{name}.gguf")
        if not os.path.exists(path):
            oracle.skip(f"{path} is not there")
        if family:
            check_bpe(name, path, family)
        else:
            check_spm(name, path)


if __name__ == "__main__":
    {"smollm2": smollm2, "gemma3": gemma3, "others": others}[sys.argv[1]]()
    oracle.finish()
