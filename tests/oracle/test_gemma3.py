#!/usr/bin/env python3
"""gemma-3-270m as Q4_K_M (scripts/get-gemma3.sh) against transformers in float32 on the weights that
the file's blocks stand for: token ids of prompts, the log-probabilities of the 20 best and 64 greedy
tokens with --activations f32, and how far 8-bit activations move the law.

usage: test_gemma3.py SPECD      $SPECD_GEMMA3 is the file; $SPECD_PYTHON has torch and transformers
"""
import json
import math
import os
import sys

import oracle

try:
    import torch
    import transformers
    from gguf import GGUFReader, MODEL_ARCH, dequantize, get_tensor_name_map
except ImportError as e:
    oracle.skip(e)

Server = oracle.specd_server(sys.argv[1])

ANSWER, TOP = 64, 20
TOLERANCE = 5e-4  # of a log-probability, where sums in another order are 1e-4 off
CLOSE = 1e-3      # between the two best: either may come first

LONG = "".join(f"{i} plus {i + 1} is {2 * i + 1}; " for i in range(90))  # beyond the window
# With the ids of sentencepiece: BOS, no space ahead; runs of spaces and ends of lines are tokens.
PROMPTS = [("The capital of France is called", [2, 818, 5279, 529, 7001, 563, 2760]),
           ("def fib(n):\n    if n < 2:\n\n\n\treturn", None), (LONG, None)]
MEAN_KL = 0.003  # of laws with activations of 8 bits


def load(path):
    """The model of the file, and the file."""
    reader = GGUFReader(path)
    field = {k: f.contents() for k, f in reader.fields.items() if not k.startswith("tokenizer.ggml.t")}
    key = lambda name: field["gemma3." + name]
    layers = key("block_count")
    config = transformers.Gemma3TextConfig(
        vocab_size=262144, hidden_size=key("embedding_length"), num_hidden_layers=layers,
        intermediate_size=key("feed_forward_length"), num_attention_heads=key("attention.head_count"),
        num_key_value_heads=key("attention.head_count_kv"), head_dim=key("attention.key_length"),
        rms_norm_eps=key("attention.layer_norm_rms_epsilon"), sliding_window=key("attention.sliding_window"),
        query_pre_attn_scalar=key("attention.key_length"), max_position_embeddings=key("context_length"),
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": key("rope.freq_base")},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}})
    names = get_tensor_name_map(MODEL_ARCH.GEMMA3, layers)
    tensors = {t.name: t for t in reader.tensors}
    model = transformers.Gemma3ForCausalLM._from_config(
        config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            t = tensors.pop(names.get_name(name, try_suffixes=(".weight",)))
            values = torch.from_numpy(dequantize(t.data, t.tensor_type).copy()).reshape(p.shape)
            p.copy_(values - 1 if "norm" in name else values)
    if tensors:
        sys.exit(f"not in transformers' model: {sorted(tensors)}")
    return model


def expected(model, ids):
    """Greedy tokens, and the law at each."""
    ids, laws, cache = list(ids), [], None
    with torch.no_grad():
        rest = ids
        for _ in range(ANSWER):
            out = model(torch.tensor([rest]), past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            laws.append(torch.log_softmax(out.logits[0, -1].double(), -1))
            rest = [int(laws[-1].argmax())]
            ids += rest
    return ids[-ANSWER:], laws


def ask(server, ids):
    reply = server.post("/completion", {"prompt": ids, "n_predict": ANSWER, "temperature": 0,
                                        "n_probs": TOP, "ignore_eos": True, "cache_prompt": False})
    return json.loads(reply.body)


def compare(steps, tokens, laws):
    """Worst distance of a log-probability, and of how many; a text that goes another way."""
    worst = n = 0
    for i, (step, token, law) in enumerate(zip(steps, tokens, laws)):
        if set(law.topk(TOP).indices.tolist()) != {e["id"] for e in step["top_logprobs"]}:
            edge = law.topk(TOP + 1).values
            if float(edge[TOP - 1] - edge[TOP]) > CLOSE:
                return worst, n, f"token {i}: other ids among the {TOP} best"
        for entry in step["top_logprobs"]:
            worst = max(worst, abs(entry["logprob"] - float(law[entry["id"]])))
            n += 1
        if step["id"] != token:
            two = law.topk(2).values
            tie = float(two[0] - two[1])
            return worst, n, f"token {i} differs, a tie of {tie:.1g}" if tie < CLOSE else \
                f"TOKEN {i} IS {step['id']}, NOT {token}"
    return worst, n, None


def divergence(step, law):
    """Of the server's law from transformers': what the best ids say, the rest as one."""
    p = [math.exp(float(law[e["id"]])) for e in step["top_logprobs"]]
    q = [math.exp(e["logprob"]) for e in step["top_logprobs"]]
    rest_p, rest_q = max(1 - sum(p), 1e-12), max(1 - sum(q), 1e-12)
    return sum(a * math.log(a / b) for a, b in zip(p, q)) + rest_p * math.log(rest_p / rest_q)


def run(path, wanted, *options):
    """Yields each prompt's answer and what is wanted of it."""
    server = Server("-m", path, "-t", "2", "-np", "1", "-c", "2048", *options)
    try:
        for ids, tokens, laws in wanted:
            yield ask(server, ids), tokens, laws
    finally:
        problem = server.stop()
        if problem:
            sys.exit(problem)


def main():
    path = os.environ.get("SPECD_GEMMA3")
    if not path:
        oracle.skip("SPECD_GEMMA3 does not name the model")
    model, wanted, failed, laws_off = load(path), [], 0, []
    tokenizer = Server("-m", path, "-t", "2", "-np", "1", "-c", "2048")
    for text, ids in PROMPTS:
        got = json.loads(tokenizer.post("/tokenize", {"content": text, "add_special": True}).body)["tokens"]
        if ids and got != ids:
            failed += 1
            print(f"{text!r}: ids are {got}, expected {ids}")
        wanted.append((got, *expected(model, got)))
    tokenizer.stop()
    for (text, _), answer in zip(PROMPTS, run(path, wanted, "--activations", "f32", "--kv-type", "f32")):
        reply, tokens, laws = answer
        worst, n, problem = compare(reply["completion_probabilities"], tokens, laws)
        failed += worst > TOLERANCE or n == 0 or (problem is not None and "a tie" not in problem)
        print(f"{text[:30]!r}: {n} log-probabilities, at most {worst:.2g} off{': ' + problem if problem else ''}")
        if text.endswith("called") and " Paris" not in reply["content"]:
            failed += 1
            print(f"{text!r} goes on with {reply['content']!r}")
    for reply, tokens, laws in run(path, wanted):
        for step, token, law in zip(reply["completion_probabilities"], tokens, laws):
            laws_off.append(divergence(step, law))
            if step["id"] != token:
                break
    mean = sum(laws_off) / len(laws_off)
    failed += mean > MEAN_KL
    print(f"activations of 8 bits, KV of 16: KL over {len(laws_off)} laws {mean:.5f}, at most {max(laws_off):.4f}")
    sys.exit(failed > 0)


main()
