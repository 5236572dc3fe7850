"""Many clients in one asyncio loop, and a prober in a process of its own; standard library only.

A Wire is one raw connection: what is sent and when it is closed is up to the test. Probe measures
how long the server takes to answer a GET while something else goes on: it is another process, since
in this one a busy loop would measure itself.
"""

import asyncio
import json
import os
import re
import socket
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http"))

from specd_client import parse_events  # noqa: E402

HEAD = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


def post_bytes(body, path="/v1/completions"):
    body = json.dumps(body).encode()
    return HEAD.format(path, len(body)).encode() + body


class Wire:
    @classmethod
    async def open(cls, port):
        wire = cls()
        wire.reader, wire.writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        return wire

    def send(self, data):
        if not self.writer.is_closing():  # or the server has cut it off
            self.writer.write(data)

    async def head(self):
        """Status and header text of the next response."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        return int(text.split()[1]), text

    async def body(self, head):
        length = re.search(r"(?i)^content-length: (\d+)", head, re.M)
        if length:
            return await self.reader.readexactly(int(length.group(1)))
        out = []
        while True:
            size = int(await self.reader.readline(), 16)
            out.append(await self.reader.readexactly(size + 2))
            if size == 0:
                return b"".join(piece[:-2] for piece in out)

    async def reply(self):
        status, head = await self.head()
        return status, await self.body(head)

    async def ask(self, data):
        self.send(data)
        return await self.reply()

    def vanish(self, reset):
        """Ends it without a good-bye; with reset, data on the way is lost, too."""
        if reset:
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self):
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass


def check_stream(body, n_tokens):
    """A complete stream: one event a token, one for the end, [DONE]."""
    events = parse_events(body)
    assert events[-1] == "[DONE]", events[-1:]
    assert len(events) == n_tokens + 2, (len(events), events[-2])
    assert events[-2]["choices"][0]["finish_reason"] == "length", events[-2]


class Probe:
    """with Probe(port, "/health") as probe: ...; then probe.ms: all latencies, sorted."""

    def __init__(self, port, path, interval=0.005):
        self.args = [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                                  "probe.py"), str(port), path, str(interval)]

    def __enter__(self):
        self.process = subprocess.Popen(self.args, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *exc):
        out, _ = self.process.communicate()  # the end of its input ends it
        assert self.process.returncode == 0, "the probe failed"
        self.ms = sorted(json.loads(out))

    def at(self, q):
        return self.ms[min(int(q * len(self.ms)), len(self.ms) - 1)]

    def text(self):
        return (f"{len(self.ms)} asked; ms: p50 {self.at(.5):.2f}, p99 {self.at(.99):.2f}, "
                f"p99.9 {self.at(.999):.2f}, longest {self.ms[-1]:.1f}")


class Process:
    """What /proc knows of a server."""

    def __init__(self, pid):
        self.folder = f"/proc/{pid}"

    def n_threads(self):
        return len(os.listdir(self.folder + "/task"))

    def n_files(self):
        return len(os.listdir(self.folder + "/fd"))

    def memory(self, name="RssAnon"):
        """MB of memory that is the process's own; the model's file is mapped and not in it."""
        with open(self.folder + "/status") as f:
            return int(re.search(rf"{name}:\s+(\d+)", f.read()).group(1)) / 1024
