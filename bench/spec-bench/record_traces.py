#!/usr/bin/env python3
"""Records where a draft model agrees with its target, for the simulation (bench/bench-policy.c).

usage: record_traces.py URL [TOKENS] >bench/policy/recorded.txt

URL is a specd with a draft model. Greedy answers to all prompts of all tasks; a line for each: the task
and, for every token behind the first, 1 where the draft would have had it and 0 where not. Greedy drafts
are a function of the text, so these bits say what any K would have brought. After K accepted tokens the
target's own token tells nothing, so each answer is asked for twice, with other K; what is still unknown
is '-'.
"""
import sys

import client
import prompts
import servers


def bits_of(trace):
    text = ""
    for k, accepted in trace[1:]:  # the first token comes out of the prompt's pass
        text += "1" * accepted + ("0" if accepted < k else "-")
    return text


def main(url, tokens):
    for task, (texts, _, fields) in prompts.TASKS.items():
        if "response_format" in fields:  # where a format is demanded no model drafts
            continue
        for text in texts:
            known = ""
            for k in (8, 5):
                body = {"messages": [{"role": "user", "content": text}], "temperature": 0,
                        "max_tokens": tokens,
                        "speculative": {"fixed": k, "drafter": "model", "trace": True}}
                bits = bits_of(client.ask(url, servers.CHAT, body)["trace"])
                known = known or bits
                # The last round is cut off somewhere: each ends a little earlier or later.
                known = "".join(b if a == "-" else a for a, b in zip(known, bits))
            print(task, known, flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 192)
