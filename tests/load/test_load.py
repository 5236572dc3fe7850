"""Load: many connections and streams, clients that vanish, clients that mean harm, the end under load.

The sizes are short; with $LOAD_FULL=1 those of bench/results/*/load.md. With $LOAD_REPORT=FILE what was
measured is appended there as rows of a Markdown table (scripts/bench.sh). Times are asserted loosely
here, since machines that test are busy.
"""

import asyncio
import os
import random
import signal
import sys
import time
import unittest

from load_client import Probe, Process, Wire, check_stream, post_bytes

from specd_client import BIN, FAKE, SLOW, SingleCase

FULL = os.environ.get("LOAD_FULL") == "1"
SANITIZED = os.environ.get("LOAD_SANITIZED") == "1"  # memory is several times as large


def sized(full, short):
    return full if FULL else short


def report(what, result):
    line = f"| {what} | {result} |"
    print(line, file=sys.stderr)
    if os.environ.get("LOAD_REPORT"):
        with open(os.environ["LOAD_REPORT"], "a") as f:
            print(line, file=f)


# The fake engine takes the order; it would be done at once.
PROMPT = "one two three one two token_ms=5"


def body(n_tokens, **kw):
    return {"prompt": PROMPT, "max_tokens": n_tokens, "temperature": 0,
            "ignore_eos": True, **kw}


async def stream(port, n_tokens, **kw):
    wire = await Wire.open(port)
    try:
        status, data = await wire.ask(post_bytes(body(n_tokens, stream=True, **kw)))
        assert status == 200, (status, data)
        check_stream(data, n_tokens)
    finally:
        await wire.close()


class LoadCase(SingleCase):
    def check_at_rest(self, server, n_files):
        """Nothing is left of what was: slots, queue, blocks, descriptors."""
        for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
            server.wait_metric(name, 0, timeout=30)
        process, end = Process(server.process.pid), time.monotonic() + 30 * SLOW
        while process.n_files() > n_files and time.monotonic() < end:
            time.sleep(0.05)
        self.assertLessEqual(process.n_files(), n_files)

    def rest(self, server):
        """Descriptors of a server that has served, and has nobody."""
        asyncio.run(stream(server.port, 4))
        time.sleep(0.3)
        return Process(server.process.pid).n_files()


class Streams(LoadCase):
    def test_idle_and_streams(self):
        n_idle, n_streams, n_tokens = sized(2000, 200), sized(500, 100), sized(48, 16)
        server = self.start("--max-queue", "1000", "-np", "16", "--idle-timeout", "600")
        process = Process(server.process.pid)
        n_files, before, threads = self.rest(server), process.memory(), process.n_threads()

        async def hold():
            idle = [await Wire.open(server.port) for _ in range(n_idle)]
            for wire in idle:
                status, _ = await wire.ask(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert status == 200
            return idle

        async def load():
            idle = await hold()
            kept = process.memory()
            streams = asyncio.gather(*(stream(server.port, n_tokens) for _ in range(n_streams)))
            peak = most = 0
            while not streams.done():
                peak, most = max(peak, process.memory()), max(most, process.n_threads())
                await asyncio.sleep(0.02)
            await streams
            for wire in idle:  # they are still there
                status, _ = await wire.ask(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert status == 200
                await wire.close()
            return kept, peak, most

        began = time.monotonic()
        with Probe(server.port, "/metrics", 0.02) as probe:
            kept, peak, most = asyncio.run(load())
        took = time.monotonic() - began
        report(f"{n_idle} idle connections, {n_streams} streams of {n_tokens} tokens at once",
               f"all complete in {took:.1f} s; memory beside weights' file: {before:.0f} MB at "
               f"rest, {kept:.0f} with the idle, {peak:.0f} at most; {threads} threads, {most} at "
               "most")
        report("`/metrics` meanwhile", probe.text())
        self.assertLessEqual(most, threads + 1)
        if not SANITIZED:
            self.assertLess(peak - before, 200)
        self.check_at_rest(server, n_files)


class Vanishing(LoadCase):
    KINDS = ("in the header", "in the body", "at once", "after a while", "in the stream")

    async def client(self, port, rng, counts):
        wire = await Wire.open(port)
        for _ in range(rng.randint(1, 4)):
            n_tokens, streaming = rng.randint(1, 24), rng.random() < 0.7
            data = post_bytes(body(n_tokens, stream=streaming, n=rng.choice((1, 1, 1, 2))
                                   if not streaming else 1))
            counts["requests"] += 1
            if rng.random() < 0.4:
                counts["vanished"] += 1
                await self.leave(wire, data, rng)
                return
            status, answer = await wire.ask(data)
            assert status == 200, (status, answer)
            if streaming:
                check_stream(answer, n_tokens)
        await wire.close()

    async def leave(self, wire, data, rng):
        kind = rng.choice(self.KINDS)
        cut = data.index(b"\r\n\r\n")
        if kind == "in the header":
            data = data[:rng.randrange(cut)]
        elif kind == "in the body":
            data = data[:rng.randrange(cut + 4, len(data))]
        wire.send(data)
        if kind == "after a while":
            await asyncio.sleep(rng.random() * 0.1)
        elif kind == "in the stream":
            await wire.reader.read(rng.randint(1, 3000))
        wire.vanish(reset=rng.random() < 0.5)

    def test_a_third_vanishes(self):
        total, at_once = sized(10000, 600), 64
        server = self.start("--max-queue", "1000")
        n_files = self.rest(server)
        rng, counts = random.Random(11), {"requests": 0, "vanished": 0}

        async def worker():
            while counts["requests"] < total:
                await self.client(server.port, rng, counts)

        async def load():
            await asyncio.gather(*(worker() for _ in range(at_once)))

        began = time.monotonic()
        asyncio.run(load())
        took = time.monotonic() - began
        self.check_at_rest(server, n_files)
        report(f"{counts['requests']} requests, {counts['vanished']} clients vanish",
               f"{took:.1f} s; afterwards no slot, waiting request, block or descriptor is held")
        self.assertGreater(counts["vanished"], counts["requests"] / 4)
        self.assertGreater(server.metric("client_disconnects_total"), 0)
        asyncio.run(stream(server.port, 8))


class Hostile(LoadCase):
    """Everything at once, while /health is asked."""

    async def slow_readers(self, port, until):
        wires = []
        for _ in range(24):
            wire = await Wire.open(port)
            wire.writer.transport.pause_reading()
            wire.send(post_bytes(body(900, stream=True)))
            wires.append(wire)
        await until
        return wires

    async def half_bodies(self, port, until):
        wires = []
        while not until.done():
            for _ in range(20):
                wire = await Wire.open(port)
                data = post_bytes(body(4, user="x" * 20000))
                wire.send(data[:random.Random(len(wires)).randrange(len(data))])
                wires.append(wire)
            await asyncio.wait([until], timeout=0.5)
            while len(wires) > 200:
                wires.pop(0).vanish(reset=False)
        return wires

    async def slow_headers(self, port, until):
        wires = [await Wire.open(port) for _ in range(100)]
        for wire in wires:
            wire.send(b"GET /health HTTP/1.1\r\nX: ")
        while not until.done():
            for wire in wires:
                wire.send(b"x")
            await asyncio.wait([until], timeout=1)
        return wires

    async def large_headers(self, port, until):
        while not until.done():
            wire = await Wire.open(port)
            wire.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n")
            try:
                status, _ = await wire.head()
                assert status == 431, status
            except (asyncio.IncompleteReadError, OSError):
                pass  # cut off while it still sent
            wire.vanish(reset=False)
            await asyncio.wait([until], timeout=0.05)
        return []

    async def large_bodies(self, port, until):
        """Much to parse: the largest body, full of small values, and one that is refused at its end."""
        values = b'{"prompt":"x","max_tokens":1,"a":[' + b"1," * 900000 + b"1]}"
        texts = b'{"prompt":"x","max_tokens":1,"a":["' + b"\xc3\xa9" * 1900000 + b'"]]}'
        while not until.done():
            for data, want in ((values, 200), (texts, 400)):
                wire = await Wire.open(port)
                head = (f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
                        f"\r\nContent-Length: {len(data)}\r\n\r\n")
                status, answer = await wire.ask(head.encode() + data)
                assert status == want, (status, answer)
                await wire.close()
            await asyncio.wait([until], timeout=0.3)
        return []

    async def pipelines(self, port, until):
        one = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
        while not until.done():
            wire = await Wire.open(port)
            wire.send(one * 500)
            for _ in range(500):
                status, _ = await wire.reply()
                assert status == 200
            await wire.close()
        return []

    async def tiny_requests(self, port, n):
        """Pipelined, so that it is the server that is kept busy; one of eight generates a token."""
        data, left = post_bytes(body(1)) + 7 * b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n", [n]

        async def worker():
            wire = await Wire.open(port)
            while left[0] > 0:
                left[0] -= 16
                wire.send(data * 2)
                for _ in range(16):
                    status, answer = await wire.reply()
                    assert status == 200, answer
            await wire.close()

        await asyncio.gather(*(worker() for _ in range(8)))

    def test_all_at_once(self):
        n_tiny = sized(100000, 2000)
        server = self.start("--max-queue", "1000", "--header-timeout", "20")
        n_files = self.rest(server)

        async def load():
            until = asyncio.get_running_loop().create_future()
            kinds = (self.slow_readers, self.half_bodies, self.slow_headers, self.large_headers,
                     self.large_bodies, self.pipelines)
            tasks = [asyncio.create_task(kind(server.port, until)) for kind in kinds]
            await asyncio.sleep(sized(10, 1))
            await self.tiny_requests(server.port, n_tiny)
            until.set_result(None)
            for wires in await asyncio.gather(*tasks):
                for wire in wires:
                    wire.vanish(reset=False)

        began = time.monotonic()
        with Probe(server.port, "/health") as probe:
            asyncio.run(load())
        took = time.monotonic() - began
        report(f"hostile: slow readers, half bodies, 1 MB headers, a byte a second, 4 MB bodies, "
               f"pipelines, {n_tiny} tiny requests, {took:.0f} s; `/health` meanwhile", probe.text())
        self.check_at_rest(server, n_files)
        self.assertLess(probe.ms[-1], 150 * SLOW)
        self.assertEqual(server.metric("request_success_total{finished_reason=\"error\"}"), 0)


class End(LoadCase):
    def test_term_under_load(self):
        # Enough that they can't be over before the signal: a tiny model writes 200 tokens in no time.
        n_streams, n_tokens = sized(200, 60), sized(400, 200) if FAKE else 900
        server = self.start("--max-queue", "1000", "--drain-timeout", "300")

        async def load():
            streams = [asyncio.create_task(stream(server.port, n_tokens)) for _ in range(n_streams)]
            while (await asyncio.to_thread(server.metric, "num_requests_running") +
                   await asyncio.to_thread(server.metric, "num_requests_waiting")) < n_streams * .8:
                await asyncio.sleep(0.01)
                assert not all(s.done() for s in streams), "the load was too short"
            began, n_done = time.monotonic(), sum(s.done() for s in streams)
            server.signal(signal.SIGTERM)
            await asyncio.gather(*streams)
            return time.monotonic() - began, n_done

        took, n_done = asyncio.run(load())
        code = server.wait()
        report(f"SIGTERM with {n_streams - n_done} streams accepted",
               f"all of them complete, the last after {took:.1f} s, exit code {code}")
        self.assertEqual(code, 0)

    def test_kill_and_start_again(self):
        path = os.path.join(self.dir.name, "socket")
        for again in range(2):
            server = self.start("--max-queue", "1000", clean=False)
            local = self.start(unix=path, clean=False)

            async def load():
                tasks = [asyncio.create_task(stream(server.port, 200)) for _ in range(30)]
                await asyncio.sleep(0.3)
                server.signal(signal.SIGKILL)
                local.signal(signal.SIGKILL)
                await asyncio.gather(*tasks, return_exceptions=True)

            asyncio.run(load())
            self.assertEqual((server.wait(), local.wait()), (-9, -9))
        args = ("--port", str(server.port))
        began = time.monotonic()
        server = self.start(*args)
        took = time.monotonic() - began
        local = self.start(unix=path)
        self.assertEqual(local.get("/ready").status, 200)
        asyncio.run(stream(server.port, 8))
        report(f"`{os.path.basename(BIN)}` killed under load, started again on the same port",
               f"ready after {took:.2f} s; a unix socket left behind is no obstacle")


if __name__ == "__main__":
    unittest.main()
