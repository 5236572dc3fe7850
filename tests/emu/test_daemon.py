"""The daemon with --device cuda over the emulator: tiny models through the whole server.

The kernels, the host code around them and the engine with two rounds in flight are the product's;
only the machine is not. So texts that must be equal are compared to the byte, and a fault of the
device has to end streams and process as it would on a real one.
"""

import json
import os
import tempfile
import threading
import unittest

from specd_client import ServerCase, SingleCase, parse_events, raw_request

COMPLETION = "/v1/completions"
PROMPT = "Once upon a time there was a"


def body(prompt=PROMPT, **kw):
    return {"prompt": prompt, "max_tokens": 24, "temperature": 0, "ignore_eos": True, **kw}


class Serving(ServerCase):
    def text(self, **kw):
        reply = self.server.post(COMPLETION, body(**kw))
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json()["choices"][0]["text"]

    def check_ways(self, **kw):
        """Whoever drafts, and however much: the same text. Returns it."""
        plain = self.text(speculative={"enabled": False}, **kw)
        self.assertEqual(len(plain) > 0, True)
        for way in ({"drafter": "model", "fixed": 3}, {"drafter": "lookup"}, {"drafter": "model"}):
            self.assertEqual(self.text(speculative=way, **kw), plain, way)
        return plain

    def test_greedy(self):
        self.check_ways()

    def test_seeded(self):
        sampled = {"temperature": 1, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.1}
        texts = {self.check_ways(seed=seed, **sampled) for seed in (1, 2)}
        self.assertEqual(len(texts), 2)

    def test_modes_accept(self):
        for mode in ("ratio", "block"):
            reply = self.server.post(COMPLETION, body(
                temperature=1, speculative={"mode": mode, "drafter": "model", "fixed": 3})).json()
            done = reply["speculative"]
            self.assertEqual(done["mode"], mode)
            self.assertGreater(done["draft_tokens"], done["accepted_tokens"] - 1)
            self.assertGreater(done["accepted_tokens"], 0)

    def test_schema(self):
        """Masks of a grammar, for drafts of the host and without any."""
        schema = {"type": "object", "additionalProperties": False, "required": ["color", "n"],
                  "properties": {"color": {"enum": ["red", "green"]},
                                 "n": {"type": "integer", "minimum": 0, "maximum": 99}}}
        texts = set()
        for seed in (1, 2):
            asked = body(json_schema=schema, max_tokens=100, temperature=1, seed=seed)
            plain, fixed = (self.server.post(COMPLETION, {**asked, "speculative": way}).json()
                            for way in ({"enabled": False}, {"fixed": 3}))
            choice = fixed["choices"][0]
            self.assertEqual(choice, plain["choices"][0])
            self.assertEqual(choice["finish_reason"], "stop")
            self.assertIn(json.loads(choice["text"])["color"], ("red", "green"))
            self.assertGreater(fixed["speculative"]["accepted_tokens"], 0)
            texts.add(choice["text"])
        self.assertEqual(len(texts), 2)

    def test_together(self):
        """Four streams at once, each what it is alone."""
        requests = [body(prompt=PROMPT[i:], seed=i, temperature=i % 2) for i in range(4)]
        alone = [self.server.post(COMPLETION, r).json()["choices"][0]["text"] for r in requests]
        together = [None] * 4

        def stream(i):
            reply = self.server.post(COMPLETION, {**requests[i], "stream": True})
            chunks = [e for e in parse_events(reply.body) if e != "[DONE]" and e["choices"]]
            together[i] = "".join(c["choices"][0]["text"] for c in chunks)

        threads = [threading.Thread(target=stream, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(together, alone)

    def test_logprobs(self):
        reply = self.server.post(COMPLETION, body(max_tokens=4, logprobs=3, echo=True)).json()
        lists = reply["choices"][0]["logprobs"]
        self.assertIsNone(lists["token_logprobs"][0])
        self.assertTrue(all(p <= 0 for p in lists["token_logprobs"][1:]))
        for own, top in list(zip(lists["token_logprobs"], lists["top_logprobs"]))[-4:]:
            self.assertAlmostEqual(own, max(top.values()), places=5)  # greedy

    def test_hang_up(self):
        for _ in range(3):
            s = self.server.connect()
            s.sendall(raw_request(json.dumps(body(max_tokens=120, stream=True)).encode()))
            s.recv(64)
            s.close()
        self.server.wait_metric("num_requests_running", 0, 30)
        self.server.wait_metric("num_requests_waiting", 0, 30)
        self.assertEqual(self.text(max_tokens=4), self.text(max_tokens=4))


class Eager(SingleCase):
    def test_same_text(self):
        """Captured graphs or not."""
        texts = []
        for args in ((), ("--no-graphs",), ("--reproducible",)):
            server = self.start(*args)
            request = body(max_tokens=12, temperature=1, seed=4)
            texts.append(server.post(COMPLETION, request).json()["choices"][0]["text"])
        self.assertEqual(texts[0], texts[1])
        self.assertTrue(texts[2])


class Faults(SingleCase):
    def test_device_fault(self):
        """Every live stream ends with an error event, new requests are refused, exit code 70."""
        with tempfile.TemporaryDirectory() as folder:
            trigger = os.path.join(folder, "fault")
            server = self.start(clean=False, env={"SPECD_EMU_FAULT": trigger})
            socks = []
            for i in range(3):
                s = server.connect()
                s.sendall(raw_request(json.dumps(body(max_tokens=120, stream=True)).encode()))
                data = b""
                while b"data: " not in data:
                    data += s.recv(4096)
                socks.append((s, data))
            open(trigger, "w").close()
            for s, data in socks:
                while more := s.recv(65536):
                    data += more
                self.assertIn(b'"code":"device_error"', data.replace(b'": "', b'":"'))
                s.close()
            self.assertEqual(server.wait(), 70)

    def test_no_such_device(self):
        server = self.start("--device", "cuda:7", clean=False, wait=None)
        self.assertEqual(server.wait(), 1)
        self.assertIn("CUDA device 7: there are 1", "".join(server.log))


if __name__ == "__main__":
    unittest.main()
