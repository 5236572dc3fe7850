"""Token ids of seeded and greedy requests over every kind of drafter: written to a file by one
build and compared by another, which must give the same ones.

    TEST_BIN=build/specd tests/http/record_tokens.py --models build/tests/models [--large GGUF]
        [--write FILE | --check FILE]

--models: the folder of the tests' synthetic pair. --large: a real model besides. Of answers that
replay as a whole (a fixed K) the counts of drafted and accepted tokens are compared, too. Without
--write and --check it is a test of one build: answers that may not depend on the drafter are asked
of all servers, and must be the same.
"""

import argparse
import concurrent.futures
import json
import os
import sys

os.environ.setdefault("TEST_FAKE", "0")
import specd_client
from specd_client import Server

SCHEMA = {"type": "object", "required": ["name", "size", "tags"], "additionalProperties": False,
          "properties": {"name": {"type": "string", "maxLength": 12},
                         "size": {"enum": ["small", "medium", "very large"]},
                         "tags": {"type": "array", "items": {"type": "integer"}, "maxItems": 3}}}
PENALTIES = {"presence_penalty": 0.4, "frequency_penalty": 0.3, "repetition_penalty": 1.2}
LAW = {"temperature": 0.9, "top_k": 60, "top_p": 0.95, "min_p": 0.01}
PROMPTS = ("The quick brown fox jumps over the lazy dog. The quick brown",
           "one two three four one two three four one two",
           "In the year 1969, people")


def requests(drafters):
    """(name, body); drafters: those of the server that a request may name."""
    for p, prompt in enumerate(PROMPTS):
        base = {"prompt": prompt, "max_tokens": 24, "seed": 1000 + p, "return_tokens": True,
                "ignore_eos": True}
        greedy = {**base, "temperature": 0}
        sampled = {**base, **LAW}
        for drafter in drafters:
            s = {"drafter": drafter}
            yield f"{p} {drafter} greedy", {**greedy, "speculative": s}
            yield f"{p} {drafter} greedy K=3", {**greedy, "speculative": {**s, "fixed": 3}}
            yield f"{p} {drafter} coupled", {**sampled, "speculative": s}
            for mode in "ratio", "block", "coupled":
                yield (f"{p} {drafter} {mode} K=2",
                       {**sampled, "speculative": {**s, "mode": mode, "fixed": 2}})
        ratio = {"mode": "ratio", "fixed": 3}
        yield f"{p} penalties", {**sampled, **PENALTIES, "speculative": ratio}
        yield f"{p} n=3", {**sampled, "n": 3, "speculative": ratio}
        yield f"{p} draft law", {**sampled, "speculative": {**ratio, "temperature": 0.5}}
        yield f"{p} plain", {**sampled, "speculative": {"enabled": False}}
        shaped = {"json_schema": SCHEMA, "ignore_eos": False, "max_tokens": 40}
        yield f"{p} schema greedy", {**greedy, **shaped}
        yield f"{p} schema coupled", {**sampled, **shaped}
        yield f"{p} schema K=3", {**sampled, **shaped, "speculative": ratio}
        yield f"{p} schema lookup", {**sampled, **shaped,
                                     "speculative": {**ratio, "drafter": "lookup"}}


def servers(models, large):
    """(name, arguments, drafters)"""
    target, draft = os.path.join(models, "target.gguf"), os.path.join(models, "draft.gguf")
    small = ("-m", target, "--ctx-size", "256", "-np", "4", "-t", "2")
    yield "model,lookup", (*small, "-md", draft + ",lookup"), ("default", "model", "lookup")
    yield "lookup,model", (*small, "-md", "lookup," + draft), ("default",)
    yield "self,lookup", (*small, "-md", "self:0-1,lookup"), ("default", "self")
    yield "none", (*small, "-md", "none"), ()
    if large:
        args = ("-m", large, "--ctx-size", "256", "-np", "4", "-t", "2")
        yield "large", (*args, "-md", "lookup,self:0-9+29"), ("default",)


def ask(server, body):
    """One entry for each choice: its ids, and the counts of an answer that replays."""
    reply = server.post("/v1/completions", body)
    if reply.status != 200:
        raise SystemExit(f"{body}: {reply.status} {reply.text()}")
    answer, entries = reply.json(), []
    for choice in answer["choices"]:
        entry = {"tokens": choice["tokens"], "finish": choice["finish_reason"]}
        if "fixed" in body.get("speculative", {}):
            entry["speculative"] = {**answer, **choice}["speculative"]
        entries.append(entry)
    return entries


def run(models, large, wanted=lambda name: True):
    """{server: {request: entries}}; of each server all requests one by one, then four at a time."""
    record = {}
    for name, args, drafters in servers(models, large):
        server = Server(*args)
        bodies = {n: b for n, b in requests(drafters) if wanted(n)}
        try:
            answers = {n: ask(server, b) for n, b in bodies.items()}
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                together = list(pool.map(lambda b: ask(server, b), bodies.values()))
        finally:
            wrong = server.stop()
        if wrong:
            raise SystemExit(wrong)
        for (n, alone), other in zip(answers.items(), together):
            if [e["tokens"] for e in alone] != [e["tokens"] for e in other]:
                raise SystemExit(f"{name}: {n}: other tokens among neighbours")
        record[name] = answers
    return record


def check(before, after):
    """How many answers differ, or are on one side only; each is told."""
    n = 0
    for server in sorted(before.keys() | after.keys()):
        a, b = before.get(server, {}), after.get(server, {})
        for name in sorted(a.keys() | b.keys()):
            if a.get(name) != b.get(name):
                print(f"{server}: {name}:\n  {a.get(name)}\n  {b.get(name)}")
                n += 1
    return n


def free_of_drafter(name):
    """A greedy answer, or a coupled one, is that of plain decoding; here of the first prompts."""
    return name[0] in "01" and name.split(" ", 1)[1] in (
        "default greedy", "default greedy K=3", "default coupled", "default coupled K=2",
        "plain", "schema greedy", "schema coupled")


def compare_drafters(models):
    by_request, n = {}, 0
    for server, answers in run(models, None, free_of_drafter).items():
        for name, entries in answers.items():
            prompt, kind = name.split(" ", 1)
            law = "greedy" if "greedy" in kind else "sampled"
            group = prompt, law, kind.startswith("schema")
            tokens = [e["tokens"] for e in entries]
            first = by_request.setdefault(group, (server, name, tokens))
            if tokens != first[2]:
                print(f"{server}: {name} differs from {first[0]}: {first[1]}:\n"
                      f"  {tokens}\n  {first[2]}")
                n += 1
    return n


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", required=True)
    parser.add_argument("--large")
    parser.add_argument("--write")
    parser.add_argument("--check")
    a = parser.parse_args()
    specd_client.ARGS = []
    if not a.write and not a.check:
        sys.exit(compare_drafters(a.models) > 0)
    record = run(a.models, a.large)
    print(sum(len(answers) for answers in record.values()), "requests, each twice")
    if a.write:
        with open(a.write, "w") as f:
            json.dump(record, f, indent=1)
    if a.check:
        with open(a.check) as f:
            n = check(json.load(f), record)
        print(n, "answers differ")
        sys.exit(n > 0)


if __name__ == "__main__":
    main()
