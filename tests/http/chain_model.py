"""A model that picks each token by the last one alone, so that a test says what it is likely to write.

Its embeddings are one-hot and its layer adds nothing: a row of its output matrix holds the logits of one
token behind each other. Byte-level BPE with a single merge: prompts are bytes, and longer tokens come in
answers alone. Needs gguf and numpy."""
import gguf
import numpy

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
END, WIDTH = 2, 352  # of an embedding: at least a token each
UNLIKELY = -5


def letters():
    """What a vocabulary of GPT-2's kind writes for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}


class Chain:
    def __init__(self, pieces, links, others, noise, seed):
        """links: text -> {text: logit}, of bytes or pieces, "" being the end; others: the same of all behind
        which nothing is said. What is named nowhere has UNLIKELY; noise: a standard deviation of all."""
        self.pieces = pieces = [*pieces, "~~"]
        logits = numpy.random.default_rng(seed).normal(UNLIKELY, noise, (WIDTH, WIDTH))
        for text in [chr(b) for b in range(128)] + pieces:
            for to, logit in links.get(text, others).items():
                logits[self.id(to), self.id(text)] += logit - UNLIKELY
        self.logits = logits

    def id(self, text):
        if text == "":
            return END
        return len(SPECIAL) + (256 + self.pieces.index(text) if text in self.pieces else ord(text))

    def write(self, path, context):
        letter = letters()
        tokens = SPECIAL + [letter[b] for b in range(256)]
        tokens += ["".join(letter[b] for b in p.encode()) for p in self.pieces]
        tokens += [f"<|unused{i}|>" for i in range(WIDTH - len(tokens))]
        kinds = [gguf.TokenType.CONTROL if t.startswith("<|") else gguf.TokenType.NORMAL for t in tokens]
        w = gguf.GGUFWriter(path, "llama")
        w.add_context_length(context)
        w.add_embedding_length(WIDTH)
        w.add_block_count(1)
        w.add_feed_forward_length(32)
        w.add_head_count(2)
        w.add_head_count_kv(1)
        w.add_key_length(16)
        w.add_value_length(16)
        w.add_rope_dimension_count(16)
        w.add_layer_norm_rms_eps(1e-5)
        w.add_vocab_size(WIDTH)
        w.add_tokenizer_model("gpt2")
        w.add_tokenizer_pre("gpt-2")
        w.add_token_list(tokens)
        w.add_token_types(kinds)
        w.add_token_merges(["~ ~"])
        w.add_eos_token_id(END)
        w.add_add_bos_token(False)
        shapes = {"attn_q": (32, WIDTH), "attn_k": (16, WIDTH), "attn_v": (16, WIDTH), "attn_output": (WIDTH, 32),
                  "ffn_gate": (32, WIDTH), "ffn_up": (32, WIDTH), "ffn_down": (WIDTH, 32)}
        tensors = {f"blk.0.{name}": numpy.zeros(shape) for name, shape in shapes.items()}
        for name in "output_norm", "blk.0.attn_norm", "blk.0.ffn_norm":
            tensors[name] = numpy.ones(WIDTH)
        tensors["token_embd"] = numpy.eye(WIDTH)
        tensors["output"] = self.logits / WIDTH ** .5  # RMSNorm makes sqrt(WIDTH) of a one
        for name, values in tensors.items():
            w.add_tensor(name + ".weight", values.astype(numpy.float32))
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
