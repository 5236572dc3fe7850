#!/usr/bin/env python3
"""Records what Hugging Face transformers computes from the default model's GGUF file.

usage: record-logits.py MODEL.gguf > tests/golden/smollm2-logits.txt

Needs torch, transformers and accelerate (not among the tests' requirements). The output has, for each prompt, its
token ids and for each position the 20 largest logits: the file that tests/golden/test_logits.c reads.
Weights are dequantised to float32 and everything is computed in float32 on the CPU.
"""
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = [
    "The three largest rivers of Europe are",
    "def fibonacci(n):\n    if n < 2:\n        return n\n",
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
]
TOP = 20


def main(path):
    folder, name = os.path.split(os.path.abspath(path))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    model.eval()
    print(f"top {TOP}")
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = model(ids).logits[0]
        print("prompt", *ids[0].tolist())
        for position in range(ids.shape[1]):
            values, indices = logits[position].topk(TOP)
            print("logits", *(f"{i}:{v:.5f}" for i, v in zip(indices.tolist(), values.tolist())))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
