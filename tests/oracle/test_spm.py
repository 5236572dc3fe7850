#!/usr/bin/env python3
"""SentencePiece BPE: models trained on the spot, as GGUF and as tokenizer.json.

The GGUF must give what sentencepiece gives, with and without byte fallback and the space prefix, and
with user-defined symbols. The folders, of the same vocabularies with a merge list, must give what
Hugging Face gives for each way of writing the space prefix.
"""
import json
import os
import tempfile

import oracle

try:
    import sentencepiece
    from tokenizers import AddedToken, Tokenizer, decoders, normalizers
    from tokenizers import pre_tokenizers as pre
    from tokenizers.models import BPE
    from tokenizers.processors import TemplateProcessing
    import gguf_vocab
except ImportError as e:
    oracle.skip(e)

MARK = "\u2581"
USER_DEFINED = ["<ud>", "<extra>", "<extra_1>", "<extra_12>", "한국어"]


def train(folder, byte_fallback, prefix, user_defined):
    base = os.path.join(folder, "sp")
    lines = [line for _, t in oracle.valid_texts() for line in t.split("\n")]
    lines = [x for x in lines if 0 < len(x.encode()) < 4000 and "\0" not in x] * 3
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=base, vocab_size=2200, model_type="bpe",
        byte_fallback=byte_fallback, add_dummy_prefix=prefix, remove_extra_whitespaces=False,
        normalization_rule_name="identity", character_coverage=0.98, allow_whitespace_only_pieces=True,
        user_defined_symbols=user_defined, split_digits=True, minloglevel=2)
    return sentencepiece.SentencePieceProcessor(model_file=base + ".model")


def fuzz(count, seed=2):
    return [("fuzz", x) for x in oracle.fuzz_texts(count, USER_DEFINED + ["<s>", "</s>", "<unk>"], seed)]


def check_gguf(what, sp, folder, prefix, user_defined):
    path = os.path.join(folder, "sp.gguf")
    gguf_vocab.write_sentencepiece(path, sp, user_defined, prefix)

    # Our decoding keeps the text; sentencepiece's writes unknown characters as U+2047.
    def decoded(text, ids):
        if sp.unk_id() in ids:
            return None
        text = text.replace(MARK, " ")
        return text if prefix or not text.startswith(" ") or MARK not in text else None

    texts = list(oracle.valid_texts()) + fuzz(3000)
    oracle.compare(what, path, texts, sp.encode, ["--plain"], decoded)
    if sp.is_byte(sp.piece_to_id("<0xFF>")):
        oracle.compare_invalid(what, path)


def hf_tokenizer(sp, byte_fallback, form):
    pieces = [sp.id_to_piece(i) for i in range(sp.vocab_size())]
    scores = [sp.get_score(i) for i in range(len(pieces))]
    inner = [p if gguf_vocab.sp_type(sp, i) == gguf_vocab.NORMAL else "" for i, p in enumerate(pieces)]
    merges = gguf_vocab.merges_of([p for p in inner if p],
                                  [s for p, s in zip(inner, scores) if p])
    t = Tokenizer(BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=merges, unk_token="<unk>",
                      fuse_unk=True, byte_fallback=byte_fallback,
                      ignore_merges=form == "whole"))
    replace = normalizers.Replace(" ", MARK)
    if form in ("prepend", "whole"):
        t.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), replace])
    elif form == "none":
        t.normalizer = replace
        t.pre_tokenizer = pre.Split(" ", "merged_with_previous")
    else:
        t.pre_tokenizer = pre.Metaspace(prepend_scheme=form, split=False)
    t.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(),
                                   decoders.Fuse()])
    t.add_tokens([AddedToken(x, special=True, normalized=False) for x in ("<unk>", "<s>", "</s>")])
    t.add_tokens([AddedToken(x, special=False, normalized=False) for x in USER_DEFINED])
    t.post_processor = TemplateProcessing(single="<s> $A </s>",
                                          special_tokens=[("<s>", sp.bos_id()), ("</s>", sp.eos_id())])
    return t


def check_folder(what, sp, byte_fallback, form):
    t = hf_tokenizer(sp, byte_fallback, form)
    texts = list(oracle.valid_texts()) + fuzz(1500, 3)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
            json.dump(json.loads(t.to_str()), f)
        oracle.compare(f"{what}, {form}", folder, texts, lambda x: t.encode(x).ids, ["--bos"])
        t.encode_special_tokens = True
        oracle.compare(f"{what}, {form}, plain", folder, texts,
                       lambda x: t.encode(x, add_special_tokens=False).ids, ["--plain"])


for fallback, add_prefix, symbols in [(True, True, []), (True, False, USER_DEFINED),
                                      (False, True, USER_DEFINED), (True, True, USER_DEFINED)]:
    name = (f"sentencepiece {'with' if fallback else 'without'} byte fallback, "
            f"{'prefix' if add_prefix else 'no prefix'}, {len(symbols)} symbols")
    with tempfile.TemporaryDirectory() as work:
        processor = train(work, fallback, add_prefix, symbols)
        check_gguf(name, processor, work, add_prefix, symbols)
        if not symbols or not fallback:
            for space_form in ("prepend", "first", "always", "none", "whole"):
                check_folder(name, processor, fallback, space_form)
oracle.finish()
