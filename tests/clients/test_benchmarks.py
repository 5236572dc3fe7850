"""Runs of load generators: the requests that they send (benchmarks.json), in the numbers and with the
concurrency of a short benchmark, read as they read them: events, a usage chunk, acceptance out of
/metrics. The programs themselves need PyTorch.
"""

import asyncio
import json
import os
import re
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "http"), os.path.join(HERE, "..", "load")]

from load_client import Wire, post_bytes  # noqa: E402
from specd_client import Server, parse_events  # noqa: E402

REQUESTS, CONCURRENCY, TOKENS = 64, 16, 24
SPECULATION = ("num_drafts", "num_draft_tokens", "num_accepted_tokens")


def fill(value, known):
    if isinstance(value, dict):
        return {k: fill(v, known) for k, v in value.items()}
    if isinstance(value, list):
        return [fill(v, known) for v in value]
    return known.get(value, value) if isinstance(value, str) else value


class Benchmarks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--max-queue", "64")
        cls.model = cls.server.get("/v1/models").json()["data"][0]["id"]

    @classmethod
    def tearDownClass(cls):
        wrong = cls.server.stop()
        assert wrong is None, wrong

    def scrape(self):
        text = self.server.get("/metrics").text()
        return [float(re.search(rf"^vllm:spec_decode_{name}_total (\S+)$", text, re.M).group(1))
                for name in SPECULATION]

    async def ask(self, wire, form, i):
        prompt = f"one two three {i % 7} one two three {i % 7} one two"
        body = fill(form["body"], {"$MODEL": self.model, "$PROMPT": prompt, "$TOKENS": TOKENS})
        status, data = await wire.ask(post_bytes(body, form["path"]))
        self.assertEqual(status, 200, data)
        events = parse_events(data)
        self.assertEqual(events.pop(), "[DONE]")
        usage = [e["usage"] for e in events if e.get("usage")]
        pieces = [e for e in events if e["choices"]]
        self.assertGreaterEqual(len(pieces), TOKENS)
        self.assertEqual(usage[-1]["completion_tokens"], TOKENS)
        self.assertEqual(events[-1]["choices"], [])
        if body["stream_options"].get("continuous_usage_stats"):
            self.assertEqual(len(usage), len(events))
        for e in pieces:
            choice = e["choices"][0]
            self.assertIsInstance(choice["text"] if "text" in choice else choice["delta"],
                                  str if "text" in choice else dict)

    async def run_form(self, form):
        left = iter(range(REQUESTS))

        async def client():
            wire = await Wire.open(self.server.port)
            for i in left:
                await self.ask(wire, form, i)
            await wire.close()

        await asyncio.gather(*(client() for _ in range(CONCURRENCY)))

    def test_runs(self):
        with open(os.path.join(HERE, "benchmarks.json")) as f:
            forms = json.load(f)
        for name, form in forms.items():
            with self.subTest(name):
                before = self.scrape()
                asyncio.run(self.run_form(form))
                drafts, drafted, accepted = (b - a for a, b in zip(before, self.scrape()))
                rate = accepted / drafted if drafted else 0
                print(f"{name}: {REQUESTS} requests, {drafts:.0f} drafts, acceptance {rate:.3f}",
                      file=sys.stderr)
                self.assertLessEqual(accepted, drafted)
        self.assertGreater(self.scrape()[1], 0)


if __name__ == "__main__":
    unittest.main()
