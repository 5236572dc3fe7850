"""Vocabularies in GGUF files: reading and writing them."""
import struct

from gguf import GGUFWriter

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9


class Reader:
    """The metadata of a GGUF file. The gguf package's own reader takes half a minute for 280,000
    merges."""

    def __init__(self, data):
        self.data, self.at = data, 24
        _, version, _, n_kvs = struct.unpack_from("<4sIQQ", data)
        assert version in (2, 3), f"GGUF version {version}"
        self.fields = {}
        for _ in range(n_kvs):
            key = self.string()
            self.fields[key] = self.value(self.unpack("I"))

    def unpack(self, format):
        (value,) = struct.unpack_from("<" + format, self.data, self.at)
        self.at += struct.calcsize(format)
        return value

    def string(self):
        n = self.unpack("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.unpack(FORMATS[kind])
        kind, n = self.unpack("I"), self.unpack("Q")
        return [self.value(kind) for _ in range(n)]


def read(path):
    """tokenizer.ggml.* of a file, by the rest of their names."""
    prefix = "tokenizer.ggml."
    with open(path, "rb") as f:
        fields = Reader(f.read()).fields
    return {k[len(prefix):]: v for k, v in fields.items() if k.startswith(prefix)}


def sp_type(sp, i):
    if sp.is_unknown(i):
        return UNKNOWN
    if sp.is_control(i):
        return CONTROL
    if sp.is_unused(i):
        return UNUSED
    return BYTE if sp.is_byte(i) else NORMAL


def write_sentencepiece(path, sp, user_defined, add_prefix):
    pieces = [sp.id_to_piece(i) for i in range(sp.vocab_size())]
    types = [USER_DEFINED if p in user_defined else sp_type(sp, i) for i, p in enumerate(pieces)]
    w = GGUFWriter(path, "llama")
    w.add_tokenizer_model("llama")
    w.add_token_list(pieces)
    w.add_token_scores([sp.get_score(i) for i in range(len(pieces))])
    w.add_token_types(types)
    w.add_bos_token_id(sp.bos_id())
    w.add_eos_token_id(sp.eos_id())
    w.add_unk_token_id(sp.unk_id())
    w.add_add_space_prefix(add_prefix)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()


def merges_of(pieces, scores):
    """The merge list that gives the ids the scores give: every split of every piece, the best piece
    first, as the converters to tokenizer.json write it."""
    ids = {p: i for i, p in enumerate(pieces)}
    merges = []
    for piece, i in ids.items():
        for cut in range(1, len(piece)):
            if piece[:cut] in ids and piece[cut:] in ids:
                merges.append((-scores[i], i, ids[piece[:cut]], ids[piece[cut:]],
                               (piece[:cut], piece[cut:])))
    return [m[-1] for m in sorted(merges)]


def write_bpe(path, pre, tokens, merges):
    """A file with nothing but a vocabulary of byte-level BPE."""
    w = GGUFWriter(path, "llama")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types([NORMAL] * len(tokens))
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.close()
