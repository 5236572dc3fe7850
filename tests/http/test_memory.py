"""An allocation that a request caused and that fails costs that request, nothing else.

The daemon's allocator can be made to fail (faulty_memory.c). For each kind of request the n-th
allocation from some size on fails, for every n that the request reaches: the answer is the right one
or 503 out_of_memory, and the next request gets the right one. Sanitizers look for leaks.
"""

import http.client
import mmap
import os
import resource
import struct
import tempfile
import unittest

from specd_client import SLOW, SingleCase, parse_events

COMPLETION, CHAT, NATIVE = "/v1/completions", "/v1/chat/completions", "/completion"
GREEDY = {"temperature": 0, "max_tokens": 24, "ignore_eos": True}
WORDS = "the quick brown fox jumps over the lazy dog " * 12
SCHEMA = {"type": "object", "properties": {f"name{i}": {"type": "string", "pattern": "^[a-f]{1,3}$"}
                                           for i in range(6)}, "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "get", "parameters": {
    "type": "object", "properties": {"a": {"type": "string"}}}}}
MESSAGES = [{"role": "user", "content": WORDS}]

SMALL = {
    "log-probabilities of prompt and answer": (COMPLETION, {
        **GREEDY, "prompt": WORDS, "echo": True, "logprobs": 8, "n": 2}),
    "token ids": (NATIVE, {**GREEDY, "prompt": [ord(c) for c in WORDS], "n_probs": 3}),
    "a chat with tools": (CHAT, {**GREEDY, "messages": MESSAGES, "tools": [TOOL]}),
    "a schema": (COMPLETION, {**GREEDY, "prompt": "x", "response_format": {
        "type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}),
    "a prediction, a bias, stops": (CHAT, {
        **GREEDY, "messages": MESSAGES, "prediction": {"type": "content", "content": WORDS},
        "logit_bias": {"70": -5, "71": -100}, "stop": ["qqqqqq", "zzz"]}),
    "a stream": (COMPLETION, {**GREEDY, "prompt": WORDS, "logprobs": 4, "echo": True, "stream": True}),
    "a stream with tools": (CHAT, {**GREEDY, "messages": MESSAGES, "tools": [TOOL], "stream": True}),
}
LARGE = {
    "/tokenize": ("/tokenize", {"content": WORDS * 300, "with_pieces": True}),
    "/detokenize": ("/detokenize", {"tokens": [ord(c) for c in WORDS] * 20}),
    "/apply-template": ("/apply-template", {"messages": MESSAGES * 100}),
    "many values": (COMPLETION, {**GREEDY, "prompt": "x", "a": [{str(i): i for i in range(200)}] * 60}),
    "a long answer": (COMPLETION, {**GREEDY, "prompt": "x", "max_tokens": 900, "logprobs": 20}),
}


def wanted(data):
    """What of an answer must be the same again."""
    if isinstance(data, list):
        return [wanted(x) for x in data]
    if isinstance(data, dict):
        return {k: wanted(v) for k, v in data.items()
                if k not in ("id", "created", "timings", "speculative", "usage", "generation_settings",
                             "tokens_cached")}
    return data


class Faults:
    def __init__(self, path):
        with open(path, "wb") as f:
            f.write(bytes(24))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 24)
        self.set(-1, 1)

    def set(self, countdown, least):
        self.map[0:8] = struct.pack("q", countdown)
        self.map[8:16] = struct.pack("Q", least)

    def fell(self):
        return struct.unpack("q", self.map[0:8])[0] < 0


class Failing(SingleCase):
    def ask(self, server, path, body):
        """(error code or None, what the client got); None, None: cut off in the middle of an answer."""
        try:
            r = server.post(path, body)
        except (http.client.IncompleteRead, ConnectionError, http.client.RemoteDisconnected):
            return "cut off", None
        if r.status != 200:
            self.assertEqual(r.status, 503, r.body)
            return r.json()["error"]["code"], None
        data = parse_events(r.body) if body.get("stream") else r.json()
        if body.get("stream") and isinstance(data[-2], dict) and "error" in data[-2]:
            return data[-2]["error"]["code"], None
        return None, wanted(data)

    def check(self, kinds, least, step):
        faults = Faults(os.path.join(self.dir.name, "faults"))
        server = self.start("-np", "2", env={"FAULTY_MEMORY": os.path.join(self.dir.name, "faults")})
        for name, (path, body) in kinds.items():
            code, right = self.ask(server, path, body)
            self.assertIsNone(code, name)
            codes, n = [], 0
            while True:
                faults.set(n, least)
                code, got = self.ask(server, path, body)
                fell = faults.fell()
                faults.set(-1, least)
                self.assertIn(code, (None, "out_of_memory", "cut off"), (name, n))
                if code is None:
                    self.assertEqual(got, right, (name, n))
                codes.append(code)
                self.assertEqual(self.ask(server, path, body), (None, right), (name, n))
                if not fell:
                    break
                n += step
            print(f"{name}: {n} allocations of {least} bytes or more; "
                  f"{codes.count('out_of_memory')} refused, {codes.count('cut off')} cut off")
            self.assertGreater(codes.count("out_of_memory"), 0, name)
            self.assertLess(codes.count("cut off"), 1 + len(codes) / 3, name)

    def test_any_allocation(self):
        self.check(SMALL, 1, 1 if SLOW < 5 else 3)

    def test_large_allocations(self):
        self.check(LARGE, 4096, 1)


class LittleMemory(SingleCase):
    """Without a fault injector: the address space ends."""

    @unittest.skipIf(SLOW >= 5, "a sanitizer takes all of it")
    def test_large_requests_are_refused_and_small_ones_answered(self):
        room = self.start().process  # how much it takes at rest
        with open(f"/proc/{room.pid}/status") as f:
            size = int(next(line for line in f if line.startswith("VmSize")).split()[1]) * 1024
        limit = size + (40 << 20)
        server = self.start("--request-memory", "1G")
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (limit, limit))
        values = b'{"prompt":"x","max_tokens":1,"a":[' + b"[]," * 900000 + b"1]}"
        codes = []
        for _ in range(6):
            for path, body in ((COMPLETION, values), ("/tokenize", {"content": "~!" * 1900000})):
                r = server.post(path, body)
                codes.append(r.status)
                if r.status != 200:
                    self.assertEqual((r.status, r.json()["error"]["code"]), (503, "out_of_memory"))
            small = [server.post(COMPLETION, {**GREEDY, "prompt": "x"}).status for _ in range(3)]
            self.assertEqual(small[-1], 200)  # the first may come while there is too little
        self.assertIn(503, codes)


if __name__ == "__main__":
    unittest.main()
