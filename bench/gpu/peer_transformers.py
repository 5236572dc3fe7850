#!/usr/bin/env python3
"""Hugging Face transformers on models of the shapes that bench-gpu has: tokens per second, markdown.

usage: peer_transformers.py [--ours BENCH.md] [--seconds N] [--eager] [--tiny]

Plain decode: LlamaForCausalLM of Llama-3.1-8B's shape, bf16, random weights, greedy generate() after
a prompt of 512 tokens: as it comes, and with its static cache, which it compiles.

Assisted generation, 8B + 1B. Two random models hardly ever agree, so their embeddings and output
matrices are made to: token t stands for a random vector, the row of the output matrix of its
successor is that vector, and what layers add is scaled down until it cannot change a winner. The
draft has the target's successor for four tokens in five: greedy drafts are then accepted with
probability 0.8 each, and every product has its full size. K is 4 and constant. bench-gpu's forced
acceptance is the same 0.8 at K = 4, with sampling at temperature 1, which is more work than greedy.

Times are of generation after the prompt: a long answer's less a short one's, medians of three.
Without torch or transformers it prints what it skipped and ends well. --tiny: on the CPU, to try it.
"""
import argparse
import re
import signal
import statistics
import sys
import time

PROMPT, SHORT, LONG = 512, 16, 144
ALPHA, K = 0.8, 4
REACH = 4.0

SHAPES = {
    "target": dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
                   num_attention_heads=32, num_key_value_heads=8, head_dim=128, vocab_size=128256),
    "draft": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
                  num_attention_heads=32, num_key_value_heads=8, head_dim=64, vocab_size=128256),
}
TINY = {
    "target": dict(hidden_size=256, intermediate_size=512, num_hidden_layers=2,
                   num_attention_heads=4, num_key_value_heads=2, head_dim=64, vocab_size=1024),
    "draft": dict(hidden_size=128, intermediate_size=256, num_hidden_layers=1,
                  num_attention_heads=4, num_key_value_heads=2, head_dim=32, vocab_size=1024),
}


class TooLong(Exception):
    pass


def on_alarm(signum, frame):
    raise TooLong


def within(seconds, fn):
    """fn's value, or TooLong."""
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(seconds)
    try:
        return fn()
    finally:
        signal.alarm(0)


def model_make(torch, shape, device):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**shape, max_position_embeddings=8192, rms_norm_eps=1e-5,
                         tie_word_embeddings=False, use_cache=True, bos_token_id=None,
                         eos_token_id=None, pad_token_id=0)
    torch.manual_seed(1)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def successors_set(torch, model, successor):
    """After token t the model's largest logit is that of successor[t]."""
    with torch.no_grad():
        table = torch.randn_like(model.model.embed_tokens.weight)
        model.model.embed_tokens.weight.copy_(table)
        model.lm_head.weight[successor] = table
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(1e-3)
            layer.mlp.down_proj.weight.mul_(1e-3)


def pair_agree(torch, target, draft, device):
    n = target.config.vocab_size
    order = torch.randperm(n, device=device)
    successor = torch.empty(n, dtype=torch.long, device=device)
    successor[order] = order.roll(-1)  # one cycle through all tokens: no answer repeats itself
    successors_set(torch, target, successor)
    other = successor.clone()
    wrong = torch.rand(n, device=device) >= ALPHA
    other[wrong] = successor[wrong].roll(1)
    successors_set(torch, draft, other)


class Counter:
    """Forward passes of a model."""

    def __init__(self, model):
        self.n = 0
        self.handle = model.register_forward_hook(self.count)

    def count(self, *args):
        self.n += 1


def generate(torch, model, prompt, n, **options):
    """Seconds of an answer of n tokens."""
    if prompt.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    with torch.inference_mode():
        out = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False,
                             max_new_tokens=n, min_new_tokens=n, **options)
    if prompt.is_cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    if out.shape[1] != prompt.shape[1] + n:
        raise RuntimeError(f"{out.shape[1] - prompt.shape[1]} tokens came, not {n}")
    return seconds


def tokens_per_second(torch, model, prompt, **options):
    for n in (SHORT, LONG):
        generate(torch, model, prompt, n, **options)  # warm up, and compile
    times = {n: statistics.median(generate(torch, model, prompt, n, **options) for _ in range(3))
             for n in (SHORT, LONG)}
    return (LONG - SHORT) / (times[LONG] - times[SHORT])


def ours_read(path):
    """Tokens per second of bench-gpu's tables: plain, and with K drafts at forced acceptance."""
    plain = assisted = None
    section = ""
    try:
        lines = open(path).read().splitlines()
    except OSError:
        return None, None
    for line in lines:
        if line.startswith("## "):
            section = line
        cells = [c.strip() for c in line.strip("|").split("|")]
        if not re.match(r"^[0-9.]+$", cells[0]):
            continue
        if section.startswith("## Plain decode") and plain is None:
            plain = float(cells[0])
        elif section.startswith("## Speculation at forced") and cells[0] == str(K):
            assisted = float(cells[2]) / float(cells[3]) * 1e3
    return plain, assisted


def row(name, theirs, ours, note):
    if theirs is None:
        print(f"| {name} | - | - | - | {note} |", flush=True)
        return
    ratio = f"{ours / theirs:.2f}" if ours else "-"
    print(f"| {name} | {theirs:.1f} | {f'{ours:.1f}' if ours else 'not measured'} | {ratio} | "
          f"{note} |", flush=True)


def attempt(seconds, name, ours, fn):
    """A row; False when it failed for another reason than time."""
    try:
        theirs, note = within(seconds, fn)
    except TooLong:
        row(name, None, ours, f"skipped: took more than {seconds} s")
        return True
    except Exception as e:  # whatever a version of the library throws: the other rows still count
        row(name, None, ours, f"failed: {type(e).__name__}: {str(e).splitlines()[0][:120]}")
        return False
    row(name, theirs, ours, note)
    return True


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--ours")
    args.add_argument("--seconds", type=int, default=150)
    args.add_argument("--eager", action="store_true", help="nothing that is compiled")
    args.add_argument("--tiny", action="store_true")
    args = args.parse_args()
    try:
        import torch
        import transformers
    except ImportError as e:
        print(f"skipped 3 measures: {e}")
        return 0
    if not args.tiny and not torch.cuda.is_available():
        print("skipped 3 measures: torch sees no GPU")
        return 0
    device, shapes = ("cpu", TINY) if args.tiny else ("cuda", SHAPES)
    plain, assisted = ours_read(args.ours) if args.ours else (None, None)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}; prompt of {PROMPT} "
          f"tokens, {LONG - SHORT} tokens timed; to reach: {REACH:g} times\n")
    print("| measure | theirs, tokens/s | specd, tokens/s | ratio | |")
    print("|---|---:|---:|---:|---|", flush=True)
    target = model_make(torch, shapes["target"], device)
    prompt = torch.randint(0, target.config.vocab_size, (1, PROMPT), device=device)
    good = True

    def plain_decode(**options):
        return tokens_per_second(torch, target, prompt, **options), ""

    good &= attempt(args.seconds, "plain decode", plain, plain_decode)

    draft = model_make(torch, shapes["draft"], device)
    pair_agree(torch, target, draft, device)
    draft.generation_config.num_assistant_tokens = K
    draft.generation_config.num_assistant_tokens_schedule = "constant"
    draft.generation_config.assistant_confidence_threshold = 0.0

    def assisted_generation():
        rate = tokens_per_second(torch, target, prompt, assistant_model=draft)
        counter = Counter(target)
        generate(torch, target, prompt, LONG, assistant_model=draft)
        counter.handle.remove()
        expected = (1 - ALPHA ** (K + 1)) / (1 - ALPHA)
        return rate, f"{LONG / counter.n:.2f} tokens per pass, expected {expected:.2f}"

    good &= attempt(args.seconds, f"assisted generation, acceptance {ALPHA}, K = {K}", assisted,
                    assisted_generation)
    # Last: compiling may take longer than all the rest.
    if not args.eager:
        good &= attempt(args.seconds, "plain decode, static cache, compiled", plain,
                        lambda: plain_decode(cache_implementation="static"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
