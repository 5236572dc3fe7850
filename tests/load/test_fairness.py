"""Fairness: what one client does, another one hardly feels.

One client (10.0.0.1, behind a trusted proxy) does its worst within the limits; another one (10.0.0.2)
asks for something small all the while. Its every request must be answered 200, with its first byte
within ten times what it takes alone, or half a second; /health must answer; and memory must stay
within bounds. Each attack is one that once kept everyone else out, or ended the process.
"""

import contextlib
import json
import socket
import statistics
import threading
import time
import unittest

from load_client import Process
from test_load import LoadCase, report, sized

from specd_client import SLOW, Connection

MIB = 1 << 20
BIG = 4 * MIB - 200


def send(server, path, body, by, receive_buffer=None, keep=0):
    """A request whose answer nobody reads yet; keep: so many bytes of its body stay behind."""
    body = json.dumps(body).encode()
    s = socket.socket()
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.settimeout(120 * SLOW)
    s.connect(("127.0.0.1", server.port))
    head = (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"X-Forwarded-For: {by}\r\nContent-Length: {len(body)}\r\n\r\n").encode()
    try:
        s.sendall(head + body[:len(body) - keep])
    except OSError:
        pass  # refused, and closed by now
    return s


def schema(i):
    return {"type": "object", "additionalProperties": False,
            "properties": {f"p{i}_{k}": {"type": "string", "maxLength": k % 7 + 1} for k in range(1000)}}


ATTACKS = {
    "answers that nobody reads": lambda s: [
        send(s, "/tokenize", {"content": "~!" * (BIG // 2), "with_pieces": True}, "10.0.0.1", 4096)
        for _ in range(sized(30, 12))],
    "prompts that can't fit": lambda s: [
        send(s, "/v1/completions", {"prompt": "a" * BIG, "max_tokens": 1}, "10.0.0.1")
        for _ in range(sized(20, 12))],
    "bodies without an end": lambda s: [
        send(s, "/v1/completions", {"prompt": "a" * BIG}, "10.0.0.1", keep=9) for _ in range(64)],
    "streams that nobody reads": lambda s: [
        send(s, "/v1/completions", {"prompt": "hello", "max_tokens": 6000, "stream": True,
                                    "ignore_eos": True, "logprobs": 20}, "10.0.0.1", 2048)
        for _ in range(24)],
    "errands in line": lambda s: [
        send(s, "/tokenize", {"content": "~!" * (BIG // 2)}, "10.0.0.1") for _ in range(sized(40, 20))],
    "many schemas": lambda s: [
        send(s, "/v1/completions", {"prompt": "x", "max_tokens": 1, "response_format": {
            "type": "json_schema", "json_schema": {"name": "x", "schema": schema(i)}}}, "10.0.0.1")
        for i in range(sized(100, 30))],
}

# All that a server of default size holds, again and again: 16 in slots, 256 in the queue.
ATTACKS["272 ordinary requests"] = lambda s: [
    send(s, "/v1/completions", {"prompt": f"{i} hello", "max_tokens": 100, "ignore_eos": True}, "10.0.0.1")
    for i in range(272 * sized(8, 3))]
DEFAULT_SIZE = {"272 ordinary requests"}


class Fairness(LoadCase):
    def first_byte(self, server):
        began = time.monotonic()
        with send(server, "/v1/completions", {"prompt": "x", "max_tokens": 4, "stream": True,
                                              "ignore_eos": True}, "10.0.0.2") as s:
            status = s.recv(15)
            took = time.monotonic() - began
            self.assertIn(b" 200", status)
            rest = b""
            while b"[DONE]" not in rest:
                rest = rest[-10:] + s.recv(65536)
        return took

    def health(self, server, stop, times):
        while not stop.is_set():
            began = time.monotonic()
            self.assertEqual(server.get("/health").status, 200)
            times.append(time.monotonic() - began)
            time.sleep(0.02)

    def attack(self, name):
        size = () if name in DEFAULT_SIZE else ("-np", "4", "--max-queue", "64")
        server = self.start("--trusted-proxy", "127.0.0.1", *size)
        self.first_byte(server)
        alone = statistics.median(self.first_byte(server) for _ in range(5))
        before = Process(server.process.pid).memory()
        stop, health = threading.Event(), []
        watcher = threading.Thread(target=self.health, args=(server, stop, health))
        watcher.start()
        held, firsts, most = [], [], 0
        attacker = threading.Thread(target=lambda: held.extend(ATTACKS[name](server)))
        attacker.start()
        end = time.monotonic() + sized(20, 2)
        while attacker.is_alive() or time.monotonic() < end:
            firsts.append(self.first_byte(server))
            most = max(most, Process(server.process.pid).memory() - before)
            time.sleep(0.1)
        stop.set()
        watcher.join()
        attacker.join()
        for s in held:
            s.close()
        report(f"{name}: another's first byte, ms (alone {alone * 1e3:.0f}); longest /health; memory",
               f"{max(firsts) * 1e3:.0f}; {max(health) * 1e3:.0f}; {most:.0f} MiB")
        self.assertLess(max(firsts), max(0.5, 10 * alone) * SLOW)
        self.assertLess(max(health), 0.25 * SLOW)
        self.assertLess(most, 700)


    def test_four_and_forty_at_a_time(self):
        """Two honest clients get as many tokens, however many requests each has under way: two of four
        slots each, and one always has more to do than its slots hold."""
        server = self.start("-np", "4", "--trusted-proxy", "127.0.0.1")
        tokens, counts, stop = {}, threading.Event(), threading.Event()

        def client(by):
            body = {"prompt": "hello", "max_tokens": 800, "ignore_eos": True}
            with contextlib.closing(Connection(server)) as conn:
                while not stop.is_set():
                    r = server.post("/v1/completions", body, conn=conn, headers={"X-Forwarded-For": by})
                    self.assertEqual(r.status, 200)
                    if counts.is_set() and not stop.is_set():
                        tokens[by] = tokens.get(by, 0) + r.json()["usage"]["completion_tokens"]

        threads = [threading.Thread(target=client, args=(by,))
                   for by, n in (("10.0.0.1", 4), ("10.0.0.2", 40)) for _ in range(n)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        counts.set()
        time.sleep(sized(20, 6))
        stop.set()
        for thread in threads:
            thread.join()
        few, many = tokens["10.0.0.1"], tokens["10.0.0.2"]
        report("tokens of a client with 4 requests at a time, and of one with 40", f"{few}; {many}")
        self.assertLess(abs(few - many), 0.2 * max(few, many))


def add(name):
    def test(self):
        self.attack(name)
    setattr(Fairness, "test_" + name.replace(" ", "_").replace("'", ""), test)


for each in ATTACKS:
    add(each)

if __name__ == "__main__":
    unittest.main()
