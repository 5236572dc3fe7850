"""A soak: all kinds of clients at once, for minutes. Nothing is lost, nothing answered wrongly, and
memory and descriptors stay flat.

    test_soak.py [--minutes N]        $SOAK_MINUTES without it; a third of a minute without either

Every request of a catalogue is asked once alone. Then clients of five keys ask at random, whole,
streamed, slowly, pipelined; some vanish, cancel, or send what is broken; the server gets SIGHUP with
changing keys and limits, and its KV pool is so small that sequences are set aside. An answer that
is 200 must be the one that was given alone; any other must say which limit refused it.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
import unittest

from load_client import Process, Wire
from test_load import LoadCase, report

from specd_client import SLOW, parse_events

KEYS = [f"key-{i}" for i in range(5)]
WORDS = "the quick brown fox jumps over a lazy dog and then it comes back ".split()
LIMITS = {429: ("queue_full",), 503: ("out_of_memory",), 504: ("timeout",)}
COMPLETION, CHAT, NATIVE = "/v1/completions", "/v1/chat/completions", "/completion"


def text_of(rng, n):
    return " ".join(rng.choice(WORDS) for _ in range(n))


def schema_of(rng):
    return {"type": "object", "additionalProperties": False,
            "properties": {f"k{rng.randrange(9)}{i}": {"type": "string", "maxLength": rng.randint(1, 9)}
                           for i in range(rng.randint(1, 5))}}


TOOLS = [{"type": "function", "function": {"name": name, "parameters": {
    "type": "object", "properties": {"a": {"type": "string", "maxLength": 5}}, "required": ["a"],
    "additionalProperties": False}}} for name in ("get", "put")]


def generating(rng, i):
    """A request whose answer is a function of it."""
    body = {"max_tokens": rng.choice((1, 8, 40, 200)), "ignore_eos": True}
    body.update(rng.choice(({"temperature": 0}, {"seed": i}, {"seed": i, "temperature": 0.5, "top_p": 0.9},
                            {"temperature": 0, "presence_penalty": 0.7},
                            {"seed": i, "speculative": {"mode": rng.choice(("ratio", "block")), "fixed": 3}})))
    kind = rng.choice((COMPLETION, COMPLETION, CHAT, NATIVE))
    prefix = text_of(random.Random(i % 3), 20)  # some begin alike, so that blocks are shared
    if kind == CHAT:
        body["messages"] = [{"role": "user", "content": prefix + text_of(rng, rng.choice((1, 20, 60)))}]
        body.update(rng.choice(({}, {"logprobs": True, "top_logprobs": 3}, {"tools": TOOLS},
                                {"tools": TOOLS, "tool_choice": "required"})))
    else:
        body["prompt"] = prefix + text_of(rng, rng.choice((1, 30, 90)))
        body.update(rng.choice(({}, {"echo": True}, {"n_probs" if kind == NATIVE else "logprobs": 5})))
    if rng.random() < 0.2:
        body["n"] = rng.randint(2, 3)
    if rng.random() < 0.2 and "tools" not in body:
        body["response_format"] = {"type": "json_schema", "json_schema": {
            "name": "x", "schema": schema_of(rng)}}
    if rng.random() < 0.2:
        body["cache_salt"] = f"salt {rng.randrange(3)}"
    return kind, body


def other(rng):
    text = text_of(rng, rng.choice((5, 400, 6000)))
    return rng.choice((("/tokenize", {"content": text, "with_pieces": rng.random() < 0.5}),
                       ("/detokenize", {"tokens": [rng.randrange(256) for _ in range(rng.choice((3, 3000)))]}),
                       ("/apply-template", {"messages": [{"role": "user", "content": text}]})))


BROKEN = (b"", b"{", b'{"prompt":"x",}', b'{"prompt":"x","max_tokens":-7}', b'{"prompt":["x",1]}', b"[1,2",
          b'{"prompt":"\xff"}', b'{"prompt":"x","logit_bias":{"999999":1}}', b'{"max_tokens":1}',
          b'{"prompt":"x","response_format":{"type":"json_schema","json_schema":{"name":"x","schema":7}}}',
          json.dumps({"prompt": "word " * 20000}).encode(), b'{"prompt":"' + b"y" * 300000 + b'"}')


def request(path, body, key, close=False):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nContent-Type: "
            f"application/json\r\n{'Connection: close' if close else 'A: b'}\r\nContent-Length: {len(data)}\r\n\r\n")
    return head.encode() + data


CHANGES = {"id", "created", "timings", "speculative", "usage", "generation_settings", "tokens_cached"}


def lasting(v):
    """What of an answer must come again."""
    if isinstance(v, list):
        return [lasting(x) for x in v]
    if isinstance(v, dict):
        if set(v) == {"id", "type", "function"}:  # a call: its id is drawn
            return lasting(v["function"])
        return {k: lasting(x) for k, x in v.items() if k not in CHANGES or isinstance(x, int) and k == "id"}
    return v


def told(data, streamed):
    """(answer, None) or (None, error code)."""
    if not streamed:
        v = json.loads(data)
        return (None, v["error"]["code"]) if isinstance(v, dict) and "error" in v else (lasting(v), None)
    texts, events = {}, [e for e in parse_events(data) if e != "[DONE]"]
    for e in events:
        if "error" in e:
            return None, e["error"]["code"]
        for c in e.get("choices", [e]):
            delta = c.get("delta", {})
            text = texts.setdefault(c["index"], {"text": "", "calls": {}, "reason": None})
            text["text"] += c.get("text") or c.get("content") or delta.get("content") or ""
            for call in delta.get("tool_calls", ()):
                text["calls"].setdefault(call["index"], []).append(call["function"])
            text["reason"] = c.get("finish_reason") or c.get("stop_type") or text["reason"]
    assert events, data
    return {str(i): texts[i] for i in sorted(texts)}, None


class Soak(LoadCase):
    def setUp(self):
        super().setUp()
        self.rng = random.Random(self.seed())
        self.counts, self.wrong = {}, []
        self.keys = os.path.join(self.dir.name, "keys")
        self.config = os.path.join(self.dir.name, "config.json")
        self.access = os.path.join(self.dir.name, "access.log")

    def seed(self):
        seed = int(os.environ.get("SOAK_SEED", time.time_ns() % 10**9))
        print(f"SOAK_SEED={seed}", file=sys.stderr)
        return seed

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    # ---- what the server is told meanwhile

    def write_settings(self, rng, levels=("info", "debug", "warn")):
        keys = KEYS + [f"other-{rng.randrange(1000)}" for _ in range(rng.randrange(4))]
        rng.shuffle(keys)
        with open(self.keys, "w") as f:
            f.write("".join(f"{k}\n" for k in keys))
        with open(self.config, "w") as f:
            json.dump({"max-queue": rng.choice((20, 60)), "log-level": rng.choice(levels),
                       "request-memory": rng.choice(("16M", "64M")), "access-log": self.access,
                       "api-key-file": self.keys, "max-body": "256K"}, f)

    async def hang_up(self, server, end):
        while time.monotonic() < end:
            await asyncio.sleep(self.rng.uniform(0.2, 2))
            self.write_settings(self.rng)
            if self.rng.random() < 0.2 and os.path.exists(self.access):
                os.replace(self.access, self.access + ".old")
            server.signal(signal.SIGHUP)
            self.count("SIGHUP")

    # ---- clients

    async def alone(self, port, path, body, key=KEYS[0]):
        wire = await Wire.open(port)
        try:
            status, data = await asyncio.wait_for(wire.ask(request(path, body, key)), 60 * SLOW)
        except TimeoutError:
            raise AssertionError(f"no answer: {path} {body}")
        await wire.close()
        assert status == 200, (path, body, data)
        return told(data, body.get("stream", False))[0]

    def check(self, i, status, data):
        path, body, right = self.catalogue[i]
        if status != 200:
            code = json.loads(data)["error"]["code"]
            if code not in LIMITS.get(status, ()):
                self.wrong.append((path, body, status, data))
            self.count(f"{status} {code}")
            return
        answer, code = told(data, body.get("stream", False))
        if code:
            self.count(f"ended by {code}")
            if code not in sum(LIMITS.values(), ()):
                self.wrong.append((path, body, code))
        elif answer != right:
            self.wrong.append((path, body, answer, right))
        else:
            self.count("compared")

    async def read_slowly(self, wire):
        status, head = await wire.head()
        reader, pause = wire.reader, asyncio.sleep
        wire.reader = type("Slow", (), {})()

        async def exactly(n):
            await pause(0.002)
            return await reader.readexactly(n)

        wire.reader.readexactly, wire.reader.readline = exactly, reader.readline
        body = await wire.body(head)
        wire.reader = reader
        return status, body

    async def ask(self, wire, rng, key):
        i = rng.randrange(len(self.catalogue))
        path, body, _ = self.catalogue[i]
        how, data = rng.random(), request(path, body, key)
        if how < 0.08:  # one behind the other, not waiting for answers
            more = [i] + [rng.randrange(len(self.catalogue)) for _ in range(3)]
            wire.send(b"".join(request(*self.catalogue[k][:2], key) for k in more))
            for k in more:
                self.check(k, *await wire.reply())
            self.count("pipelined")
        elif how < 0.2:
            cut = rng.choice((len(data), rng.randrange(len(data))))
            wire.send(data[:cut])
            if cut == len(data):
                await asyncio.sleep(rng.random() * 0.3)
                if rng.random() < 0.5:
                    await wire.reader.read(rng.randint(1, 2000))
            wire.vanish(reset=rng.random() < 0.5)
            self.count("vanished")
            return False
        elif how < 0.28:
            wire.send(data)
            self.check(i, *await self.read_slowly(wire))
            self.count("slow")
        elif how < 0.36:
            broken = rng.choice(BROKEN)
            try:
                status, answer = await wire.ask(request(path, broken, key, close=True))
                assert 400 <= status < 500 and json.loads(answer)["error"]["code"], (status, answer)
            except (ConnectionError, asyncio.IncompleteReadError):
                assert len(broken) > 256 * 1024, broken  # refused at its header, and closed
            self.count("broken")
            return False
        elif how < 0.38:
            status, answer = await wire.ask(request(path, body, "no key"))
            assert status == 401, (status, answer)
            self.count("no key")
        else:
            self.check(i, *await wire.ask(data))
        return True

    async def client(self, port, n, end):
        rng = random.Random(self.rng.random())
        while time.monotonic() < end:
            wire = await Wire.open(port)
            kept = True
            while kept and rng.random() < 0.9 and time.monotonic() < end:
                kept = await asyncio.wait_for(self.ask(wire, rng, KEYS[n % len(KEYS)]), 120 * SLOW)
                await asyncio.sleep(rng.random() * 0.05)
            if kept:
                await wire.close()

    async def watch(self, process, end, samples):
        while time.monotonic() < end:
            samples.append((time.monotonic(), process.memory(), process.n_files()))
            await asyncio.sleep(1)

    def test_soak(self):
        minutes = float(os.environ.get("SOAK_MINUTES", "0.34"))
        self.write_settings(self.rng, ("info",))  # the log says where it listens
        asan = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=16"
        server = self.start("--config", self.config, "-np", "6", "--kv-memory", "2M", "--ctx-size", "1024",
                            "--lookup-shared", env={"ASAN_OPTIONS": asan.strip(":")})
        process = Process(server.process.pid)

        async def soak():
            rng = random.Random(self.rng.random())
            asked = [generating(rng, i) for i in range(50)]
            asked += [(path, {**body, "stream": True}) for path, body in asked[::2]]
            asked += [other(rng) for _ in range(12)]
            self.catalogue = [(path, body, await self.alone(server.port, path, body)) for path, body in asked]
            for path, body, right in self.catalogue:  # what it takes to be compared at all
                self.assertEqual(await self.alone(server.port, path, body, KEYS[1]), right, body)
            print(f"{len(asked)} requests alone", file=sys.stderr)
            n_files, began, samples = process.n_files(), time.monotonic(), []
            end = began + 60 * minutes
            await asyncio.gather(self.hang_up(server, end), self.watch(process, end, samples),
                                 *(self.client(server.port, n, end) for n in range(20)))
            return n_files, began, end, samples

        n_files, began, end, samples = asyncio.run(soak())
        preempted = self.metric_with_key(server, "num_preemptions_total")
        def most(which, a, b):
            return max(s[which] for s in samples if a <= (s[0] - began) / (end - began) <= b)
        report(f"soak, {minutes:g} minutes", ", ".join(f"{v} {k}" for k, v in sorted(self.counts.items())) +
               f"; {preempted:.0f} preemptions; MB at most {most(1, 0, .2):.0f} to 20 %, {most(1, .2, .6):.0f} to "
               f"60 %, {most(1, .6, 1):.0f} to the end; descriptors {most(2, .2, .6)}, {most(2, .6, 1)}, "
               f"{n_files} before; {len(self.wrong)} wrong")
        self.assertEqual(self.wrong[:3], [])
        self.check_rest(server, n_files)
        self.assertGreater(self.counts["compared"], 20)
        self.assertGreater(preempted, 0)
        if minutes > 5:
            self.assertLess(most(1, .6, 1), 1.1 * most(1, .2, .6) + 10)
            self.assertLess(most(2, .6, 1), most(2, .2, .6) + 10)

    def metric_with_key(self, server, name):
        text = server.get("/metrics", headers={"Authorization": "Bearer " + KEYS[0]}).text()
        return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"specd_{name} ")))

    def check_rest(self, server, n_files):
        """As check_at_rest, with a key; a connection that asked is closed a moment later."""
        end = time.monotonic() + 30 * SLOW
        names = ("num_requests_running", "num_requests_waiting", "num_requests_paused", "kv_cache_usage_perc",
                 "request_memory_bytes")
        while any(self.metric_with_key(server, n) for n in names) and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual([self.metric_with_key(server, n) for n in names], [0] * len(names))
        while Process(server.process.pid).n_files() > n_files and time.monotonic() < end:
            time.sleep(0.1)
        self.assertLessEqual(Process(server.process.pid).n_files(), n_files)


if __name__ == "__main__":
    if "--minutes" in sys.argv:
        at = sys.argv.index("--minutes")
        os.environ["SOAK_MINUTES"] = sys.argv[at + 1]
        del sys.argv[at:at + 2]
    unittest.main()
