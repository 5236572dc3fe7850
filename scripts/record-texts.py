#!/usr/bin/env python3
"""Asks a server for answers and writes their tokens, for bench-lookup. Standard library only.

usage: record-texts.py URL TASK... >texts.jsonl

TASK is chat, code, edit, json, summary or translation. Answers are greedy and drafted by nobody. A
line has a text's name, the token ids of prompt and answer and, of an edit, those of the code that
was given, as a prediction of the answer.
"""
import json
import pathlib
import sys
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
SUMMARY = (ROOT / "bench/prompt.txt").read_text()
JSON = (ROOT / "bench/prompt-json.txt").read_text()
EDITS = (
    ("base/buf.c", "Rename the parameter `b` of every function to `buffer`."),
    ("base/error.c", "Add a comment above each function that says what it does."),
    ("server/api_error.c", "Rename the parameter `e` of every function to `error`."),
    ("engine/stop.c", "Give every loop variable `i` the type size_t, and rename it to `at`."),
)


def tasks(name):
    """(name, question, the text that the answer repeats or None, most tokens)"""
    if name == "edit":
        for path, wish in EDITS:
            code = (ROOT / path).read_text()
            yield (f"edit of {path}", f"{wish} Answer with the whole file and nothing else.\n\n"
                   f"```c\n{code}```", f"```c\n{code}```", 1200)
        return
    questions = {
        "summary": [SUMMARY],
        "json": [JSON],
        "chat": ["Why is the sky blue, and why are sunsets red?",
                 "Plan three days in Lisbon for a family with small children."],
        "code": ["Write a Python class for a binary search tree with insert, delete, find and an "
                 "in-order iterator, and unit tests for each method.",
                 "Write a C program that counts the words of its standard input and prints the "
                 "twenty most frequent ones."],
        "translation": ["Translate into French:\n\n" + SUMMARY.split(":", 1)[1]],
    }
    for i, question in enumerate(questions[name]):
        yield f"{name} {i + 1}", question, None, 500


def post(url, path, body):
    request = urllib.request.Request(url + path, data=json.dumps(body).encode(),
                                     headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as response:
        return json.load(response)


def tokenize(url, text):
    return post(url, "/tokenize", {"content": text})["tokens"]


def record(url, name, question, prediction, most):
    chat = {"messages": [{"role": "user", "content": question}]}
    prompt = tokenize(url, post(url, "/apply-template", chat)["prompt"])
    answer = post(url, "/completion", {
        "prompt": prompt, "temperature": 0, "n_predict": most, "return_tokens": True,
        "speculative": {"enabled": False}})["tokens"]
    line = {"name": name, "prompt": prompt, "answer": answer}
    if prediction:
        line["prediction"] = tokenize(url, prediction)
    print(json.dumps(line), flush=True)


def main(url, names):
    for name in names:
        for task in tasks(name):
            record(url, *task)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"), sys.argv[2:])
