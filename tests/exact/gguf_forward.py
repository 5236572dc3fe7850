"""A llama forward pass in double precision, straight from a GGUF file: the oracle of front_door.py.

Written from the architecture's definition (RMSNorm, rotated pairs of neighbours, grouped-query
attention, SwiGLU) and numpy, independently of specd's readers and kernels. Made for models of a few
symbols: `tree` gives the logits after every continuation of a prompt at once.
"""

import gguf
import numpy as np


def field(reader, key, default=None):
    found = reader.fields.get(key)
    return default if found is None else found.parts[found.data[0]][0]


class Llama:
    def __init__(self, path):
        reader = gguf.GGUFReader(path)

        def size(key):
            return int(field(reader, "llama." + key))

        self.n_layers, self.n_heads = size("block_count"), size("attention.head_count")
        self.n_kv_heads, self.head = size("attention.head_count_kv"), size("attention.key_length")
        self.eps = float(field(reader, "llama.attention.layer_norm_rms_epsilon"))
        base = float(field(reader, "llama.rope.freq_base", 10000.0))
        self.frequency = base ** (-np.arange(0, self.head, 2) / self.head)
        self.w = {t.name: np.array(t.data, np.float64) for t in reader.tensors}
        assert all(t.tensor_type == gguf.GGMLQuantizationType.F32 for t in reader.tensors)
        self.n_vocab = len(self.w["token_embd.weight"])

    def norm(self, x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.w[weight]

    def rotate(self, x, position):
        """Turns the pairs (2i, 2i + 1) of heads x (B, heads, head) by position * frequency_i."""
        angle = position * self.frequency
        even, odd, out = x[..., 0::2], x[..., 1::2], np.empty_like(x)
        out[..., 0::2] = even * np.cos(angle) - odd * np.sin(angle)
        out[..., 1::2] = even * np.sin(angle) + odd * np.cos(angle)
        return out

    def attend(self, q, keys, values):
        """q (B, heads, head) over keys and values (B, T, kv heads, head)."""
        group = self.n_heads // self.n_kv_heads
        q = q.reshape(len(q), self.n_kv_heads, group, self.head)
        score = np.einsum("bgqd,btgd->bgqt", q, keys) / np.sqrt(self.head)
        score = np.exp(score - score.max(-1, keepdims=True))
        score /= score.sum(-1, keepdims=True)
        return np.einsum("bgqt,btgd->bgqd", score, values).reshape(len(q), -1)

    def start(self):
        """The cache of one empty sequence: per layer keys and values (B, T, kv heads, head)."""
        empty = np.zeros((1, 0, self.n_kv_heads, self.head))
        return [(empty, empty)] * self.n_layers

    def feed(self, cache, tokens):
        """One more token on each of B sequences: (their cache, the logits (B, V) after it)."""
        x, position, grown = self.w["token_embd.weight"][tokens], cache[0][0].shape[1], []
        for i, (keys, values) in enumerate(cache):
            w = {name: self.w[f"blk.{i}.{name}.weight"] for name in (
                "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")}

            def heads(name, h):
                return (h @ w[name].T).reshape(len(h), -1, self.head)

            h = self.norm(x, f"blk.{i}.attn_norm.weight")
            key = self.rotate(heads("attn_k", h), position)
            keys = np.concatenate([keys, key[:, None]], 1)
            values = np.concatenate([values, heads("attn_v", h)[:, None]], 1)
            grown.append((keys, values))
            x = x + self.attend(self.rotate(heads("attn_q", h), position), keys, values) \
                @ w["attn_output"].T
            h = self.norm(x, f"blk.{i}.ffn_norm.weight")
            gate = h @ w["ffn_gate"].T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w["ffn_up"].T)) @ w["ffn_down"].T
        out = self.w.get("output.weight", self.w["token_embd.weight"])
        return grown, self.norm(x, "output_norm.weight") @ out.T

    def tree(self, cache, logits, depth):
        """Logits after every continuation: [(1, V), (V, V), (V^2, V), ...], `depth` of them. Row r
        of level d follows the tokens that are the d digits of r in base V, first token first."""
        levels, v = [logits], self.n_vocab
        for _ in range(1, depth):
            tokens = np.tile(np.arange(v), len(logits))
            cache, logits = self.feed([(np.repeat(k, v, 0), np.repeat(x, v, 0)) for k, x in cache],
                                      tokens)
            levels.append(logits)
        return levels

    def prefixes(self, text, lengths):
        """{length: (cache, logits)} of the beginnings of one text."""
        cache, found = self.start(), {}
        for n, token in enumerate(text, 1):
            cache, logits = self.feed(cache, np.array([token]))
            if n in lengths:
                found[n] = (cache, logits)
        return found
