#!/usr/bin/env python3
"""Streams one chat answer and then prints how it was decoded. Standard library only.

usage: ask.py URL
"""
import json
import sys
import urllib.request

TEXT = """The harbour town of Vell was founded by fishermen in 1320. The harbour town of Vell grew
rich from the salt trade, and in 1611 the town built a stone lighthouse that still stands on the
northern pier. A storm destroyed the fishing fleet in 1784, and many families left the harbour town
of Vell for the capital. Today the harbour town of Vell lives from visitors, who come to see the
stone lighthouse on the northern pier and the old salt houses along the quay."""

REQUEST = {
    "messages": [
        {"role": "user", "content": "Summarise this text in three sentences:\n\n" + TEXT},
    ],
    "temperature": 0,
    "max_tokens": 160,
    # Draft wherever there is something to draft: a first request is otherwise a careful one, as K
    # follows what earlier rounds showed.
    "speculative": {"min": 4},
    "stream": True,
    "stream_options": {"include_usage": True},
}


def events(response):
    for line in response:
        line = line.decode().strip()
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line[6:])


def main(url):
    request = urllib.request.Request(
        url + "/v1/chat/completions",
        data=json.dumps(REQUEST).encode(),
        headers={"Content-Type": "application/json"},
    )
    last = {}
    with urllib.request.urlopen(request, timeout=600) as response:
        for event in events(response):
            if "error" in event:
                sys.exit(event["error"]["message"])
            last.update({k: event[k] for k in ("timings", "speculative") if event.get(k)})
            for choice in event["choices"]:
                print(choice["delta"].get("content") or "", end="", flush=True)
    timings, spec = last["timings"], last["speculative"]
    print("\n")
    print(f"prompt      {timings['prompt_n']} tokens in {timings['prompt_ms']:.0f} ms")
    print(f"answer      {timings['predicted_n']} tokens in {timings['predicted_ms']:.0f} ms, "
          f"{timings['predicted_per_second']:.1f} tokens/s")
    print(f"rounds      {spec['rounds']}, {spec['draft_tokens']} tokens drafted ({spec['drafter']}), "
          f"{spec['accepted_tokens']} accepted")
    print(f"mean accepted length  {spec['mean_accepted_length']:.2f} tokens per round")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
